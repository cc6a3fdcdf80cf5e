"""A request answered straight, past ASGI's messages: over real sockets, by the listener's own connection."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
import structlog

from adapters.base import Failure
from proxy.downstream import Downstream
from proxy.line import Answer, Line
from tests.proxy.accounts import until
from tests.proxy.place import HEAD, PATIENCE, Place, Wire

TYPE = (b"content-type", b"text/plain")
ASK = HEAD + b"content-length: 2\r\n\r\nhi"
LIMIT = 100_000


async def whole(line: Line) -> None:
    body = await line.body(LIMIT)
    await line.answer(200, [TYPE, (b"x-size", b"%d" % len(body))], b"you said " + body)


async def parts(line: Line) -> None:
    await line.body(LIMIT)
    await line.start(200, [TYPE])
    for part in (b"one", b"two"):
        await line.write(part)
    await line.write(b"", more=False)


async def refuses(line: Line) -> None:
    """As `Gate.serve` does."""
    try:
        await whole(line)
    except Failure as failure:
        await line.answer(failure.status, [], (failure.code or "").encode())


def at(answer: Answer, **limits: Any) -> Place:
    return Place(straight=answer, **limits)


def told(head: bytes) -> dict[bytes, bytes]:
    lines = head.split(b"\r\n")[1:-2]
    return {name: value for name, _, value in (line.partition(b": ") for line in lines)}


# ---- answers -----------------------------------------------------------------------------------------------------


async def test_a_whole_answer_is_what_http_says_it_is_and_the_connection_goes_on():
    async with at(whole).open() as place:
        wire = await Wire.to(place, ASK)
        for _ in range(2):
            head = await wire.until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert told(head) == {b"content-type": b"text/plain", b"x-size": b"2", b"content-length": b"11"}
            assert await wire.reader.readexactly(11) == b"you said hi"
            await wire.send(ASK)
        assert len(place.connections) == 1


async def test_an_answer_may_have_no_headers_of_its_own():
    async def bare(line: Line) -> None:
        await line.answer(204, [], b"")

    async with at(bare).open() as place:
        wire = await Wire.to(place, HEAD + b"connection: close\r\n\r\n")
        assert await wire.rest() == b"HTTP/1.1 204 No Content\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


async def test_parts_are_chunks_and_the_head_comes_with_the_first():
    async with at(parts).open() as place:
        wire = await Wire.to(place, ASK, ASK)
        for _ in range(2):
            head = await wire.until(b"\r\n\r\n")
            assert told(head).keys() == {b"content-type", b"transfer-encoding"}
            assert await wire.until(b"0\r\n\r\n") == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


async def test_the_last_part_may_say_something_and_may_be_the_first():
    async def says(line: Line) -> None:
        await line.start(200, [TYPE])
        await line.write(await line.body(LIMIT), more=False)

    async with at(says).open() as place:
        wire = await Wire.to(place, ASK, ASK)
        for _ in range(2):
            assert told(await wire.until(b"\r\n\r\n")).keys() == {b"content-type", b"transfer-encoding"}
            assert await wire.until(b"0\r\n\r\n") == b"2\r\nhi\r\n0\r\n\r\n"


@pytest.mark.parametrize("answer", [whole, parts])
@pytest.mark.parametrize(
    "ask",
    [
        ASK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),
        ASK.replace(b"HTTP/1.1", b"HTTP/1.0"),
        ASK.replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\nconnection: keep-alive\r\n"),
    ],
    ids=["as it was asked to", "as HTTP/1.0 does", "though HTTP/1.0 asks for it"],
)
async def test_a_connection_that_is_not_kept_says_so_and_ends(answer, ask):
    async with at(answer).open() as place:
        wire = await Wire.to(place, ask)
        head = await wire.until(b"\r\n\r\n")
        assert told(head)[b"connection"] == b"close"
        assert (await wire.rest()).endswith((b"you said hi", b"0\r\n\r\n"))


async def test_the_headers_that_all_answers_have_are_those_of_the_moment():
    async with at(whole).open() as place:
        wire = await Wire.to(place)
        for day in (b"Monday", b"Tuesday"):
            place.state.default_headers = [(b"date", day), (b"via", b"us")]
            for _ in range(2):
                await wire.send(ASK)
                head = told(await wire.until(b"\r\n\r\n"))
                assert (head[b"date"], head[b"via"], head[b"content-type"]) == (day, b"us", b"text/plain")
                await wire.until(b"you said hi")


@pytest.mark.parametrize("asked", [1, 2], ids=["alone", "with one behind it"])
async def test_while_the_process_drains_the_last_answer_says_that_its_connection_closes(asked):
    async with at(whole).open() as place:
        place.state.default_headers = [*place.state.default_headers, (b"connection", b"close")]
        wire = await Wire.to(place, ASK * asked)
        said = await wire.rest()
        assert said.count(b"you said hi") == asked
        assert said.count(b"connection: close\r\n") == 1
        assert b"connection" in told(said[said.rindex(b"HTTP/1.1") :].partition(b"you said")[0])


async def test_answers_of_one_moment_have_each_its_own_status():
    async with at(refuses).open() as place:
        wire = await Wire.to(place)
        for _ in range(2):
            await wire.send(ASK)
            assert (await wire.until(b"you said hi")).startswith(b"HTTP/1.1 200 OK\r\n")
            await wire.send(HEAD + b"content-length: 100001\r\n\r\n" + b"a" * 100_001)
            assert (await wire.until(b"request_too_large")).startswith(b"HTTP/1.1 413 ")


async def test_who_reads_slowly_holds_the_writer_up():
    """What is written waits in this process up to a bound, and no further."""
    said, most = 0, 2**26

    async def pours(line: Line) -> None:
        nonlocal said
        await line.body(LIMIT)
        await line.start(200, [])
        while said < most:
            said += 2**16
            await line.write(b"x" * 2**16)

    async with at(pours).open() as place:
        wire = await Wire.to(place, ASK)
        await wire.until(b"\r\n\r\n")
        before = -1
        while said != before:  # until nothing moves any more
            before = said
            for _ in range(1_000):
                await asyncio.sleep(0)
        assert said < most / 4


async def test_who_does_not_read_one_answer_is_not_given_the_next():
    size = 2**24

    async def large(line: Line) -> None:
        await line.body(LIMIT)
        await line.answer(200, [], b"a" * size)

    async with at(large).open() as place:
        wire = await Wire.to(place, ASK + ASK)
        await until(lambda: place.state.tasks and place.connections[0].flow.write_paused)
        assert place.connections[0].transport.get_write_buffer_size() < 2 * size
        for _ in range(2):
            await wire.until(b"\r\n\r\n")
            await asyncio.wait_for(wire.reader.readexactly(size), PATIENCE)


async def test_what_fails_in_the_middle_of_an_answer_ends_the_connection_and_is_told_to_the_log():
    async def fails(line: Line) -> None:
        await line.start(200, [])
        await line.write(b"half")
        raise ValueError("a fault")

    with structlog.testing.capture_logs() as logs:
        async with at(fails).open() as place:
            heard = await (await Wire.to(place, ASK)).rest()
            assert heard.endswith(b"4\r\nhalf\r\n")
            assert not place.state.tasks
    assert [(log["event"], log["log_level"]) for log in logs] == [("internal error", "error")]


# ---- bodies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        (HEAD, b"content-length: 5\r\n\r\n", b"he", b"llo"),
        (HEAD + b"content-length: 5\r\n\r\n", b"hello"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n", b"0\r\n\r\n"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",),
    ],
)
async def test_a_body_in_pieces_is_read_as_one(sent):
    async with at(whole).open() as place:
        wire = await Wire.to(place)
        for part in sent:
            await wire.send(part)
            for _ in range(20):  # each comes by itself
                await asyncio.sleep(0)
        assert (await wire.until(b"hello")).endswith(b"you said hello")


async def test_a_request_may_have_no_body():
    async with at(whole).open() as place:
        wire = await Wire.to(place, HEAD + b"connection: close\r\n\r\n")
        assert (await wire.rest()).endswith(b"you said ")


@pytest.mark.parametrize(
    "sent",
    [
        b"content-length: 100001\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n186a1\r\n" + b"a" * 100_001,
        b"content-length: 100001\r\n\r\n" + b"a" * 100_001,
        b"transfer-encoding: chunked\r\n\r\n186a1\r\n" + b"a" * 100_001 + b"\r\n0\r\n\r\n",
    ],
    ids=["said to be", "that comes", "whole", "whole, and unsaid"],
)
async def test_a_body_that_is_too_large_is_refused_as_soon_as_that_is_known(sent):
    async with at(refuses).open() as place:
        wire = await Wire.to(place, HEAD + sent)
        head = await wire.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413")
        assert await wire.reader.readexactly(17) == b"request_too_large"


async def test_the_rest_of_a_body_that_was_refused_is_no_request():
    async with at(refuses).open() as place:
        wire = await Wire.to(place, HEAD + b"content-length: 100001\r\n\r\n")
        await wire.until(b"request_too_large")
        await wire.send(b"a" * 100_001 + ASK)
        assert (await wire.until(b"you said hi")).startswith(b"HTTP/1.1 200")
        assert place.kind.house.bodies == 0


async def test_a_connection_lies_idle_once_the_rest_of_a_body_that_was_refused_has_come():
    async with at(refuses).open() as place:
        wire = await Wire.to(place, HEAD + b"content-length: 100001\r\n\r\n")
        await wire.until(b"request_too_large")
        await wire.send(b"a" * 100_001)
        [connection] = place.connections
        await until(lambda: connection._read > 100_000)
        now = asyncio.get_running_loop().time()
        connection.look(now)
        assert not connection.transport.is_closing()
        connection.look(now + 100)
        assert connection.transport.is_closing()


async def test_a_body_that_nobody_asks_for_is_not_read_on_and_on():
    asks = asyncio.Event()

    async def waits(line: Line) -> None:
        await asks.wait()
        await line.answer(200, [], b"%d" % len(await line.body(2**30)))

    async with at(waits).open() as place:
        wire = await Wire.to(place, HEAD + b"content-length: 20000000\r\n\r\n")
        sending = asyncio.ensure_future(wire.send(b"a" * 20_000_000))
        await until(lambda: place.connections and place.connections[0].flow.read_paused)
        assert place.kind.house.bodies < 2**20
        asks.set()
        await wire.until(b"20000000")
        await sending


async def test_after_an_answer_without_asking_for_the_body_the_rest_of_it_is_read_away():
    async def refused(line: Line) -> None:
        if line.header(b"content-length") == "2":
            return await whole(line)
        await until(lambda: place.connections[0].flow.read_paused)
        return await line.answer(401, [], b"refused")

    async with at(refused).open() as place:
        wire = await Wire.to(place)
        sending = asyncio.ensure_future(wire.send(HEAD + b"content-length: 20000000\r\n\r\n", b"a" * 20_000_000, ASK))
        await wire.until(b"refused")
        await wire.until(b"you said hi")
        await sending


@pytest.mark.parametrize("size", [0, 2, LIMIT])
async def test_a_body_that_has_come_with_its_head_need_not_be_waited_for(size):
    async def takes(line: Line) -> None:
        here = line.here(LIMIT)
        assert here is not None
        assert not line._flow.read_paused, "what is whole holds nobody up"
        await line.answer(200, [], b"%d came" % len(here))

    async with at(takes).open() as place:
        wire = await Wire.to(place)
        place.connections[0].data_received(HEAD + b"content-length: %d\r\n\r\n" % size + b"a" * size)
        await wire.until(b"%d came" % size)
        assert place.kind.house.bodies == 0


@pytest.mark.parametrize(
    ("sent", "rest", "said"),
    [
        (HEAD + b"content-length: 3\r\n\r\nhi", b"!", b"yes"),
        (HEAD + b"content-length: %d\r\n\r\n" % (LIMIT + 1) + b"a" * (LIMIT + 1), b"", b"too much"),
        (ASK + ASK, b"", b"yes"),
    ],
    ids=["part of it", "too much", "with another behind it"],
)
async def test_a_body_that_cannot_be_had_at_once_is_waited_for_or_refused(sent, rest, said):
    found: list[bytes | None] = []

    async def looks(line: Line) -> None:
        found.append(line.here(LIMIT))
        try:
            await line.body(LIMIT)
        except Failure as failure:
            return await line.answer(failure.status, [], b"too much")
        await line.answer(200, [], b"yes")

    async with at(looks).open() as place:
        wire = await Wire.to(place)
        place.connections[0].data_received(sent)
        await until(lambda: found)
        await wire.send(rest)
        await wire.until(said)
        assert found[0] is None


async def test_who_had_left_before_his_body_was_looked_at_has_left():
    found: list[Any] = []

    async def looks(line: Line) -> None:
        found.append(line.here(LIMIT))

    async with at(looks).open() as place:
        await Wire.to(place)
        connection = place.connections[0]
        connection.data_received(ASK)
        connection.leave()
        await until(lambda: found)
        assert found == [None]


async def test_what_was_read_is_not_kept_while_it_is_answered():
    kept: list[bytes] = []

    async def looks(line: Line) -> None:
        body = await line.body(LIMIT)
        kept.extend(line._parts)
        await line.answer(200, [], body)

    async with at(looks).open() as place:
        await (await Wire.to(place, ASK)).until(b"hi")
        assert kept == []


async def test_what_was_read_is_not_kept_by_a_connection_that_waits():
    async with at(refuses).open() as place:
        wire = await Wire.to(place, ASK)
        await wire.until(b"you said hi")
        assert place.connections[0].cycle._parts == []
        await wire.send(HEAD + b"content-length: 100001\r\n\r\n" + b"a" * 100_001)
        await wire.until(b"request_too_large")
        assert place.connections[0].cycle._parts == []


async def test_who_is_cut_off_while_its_body_is_waited_for_is_not_read_on_and_on():
    said = asyncio.Event()

    async def waits(line: Line) -> None:
        try:
            await line.body(2**30)
        except asyncio.CancelledError:
            said.set()
            await asyncio.Event().wait()

    async with at(waits).open() as place:
        wire = await Wire.to(place, HEAD + b"content-length: 20000000\r\n\r\na")
        await until(lambda: place.kind.house.bodies)
        await until(lambda: place.connections[0].cycle._news)
        for task in place.state.tasks:
            task.cancel()
        await asyncio.wait_for(said.wait(), PATIENCE)
        sending = asyncio.ensure_future(wire.send(b"a" * 20_000_000))
        await until(lambda: place.connections[0].flow.read_paused)
        sending.cancel()


async def test_who_waits_to_be_asked_for_the_body_is_asked_once():
    async with at(whole).open() as place:
        wire = await Wire.to(place, HEAD + b"expect: 100-Continue\r\nconnection: close\r\ncontent-length: 2\r\n\r\n")
        assert await wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.send(b"h", b"i")
        assert (await wire.rest()).startswith(b"HTTP/1.1 200")


async def test_who_is_refused_for_the_head_is_not_asked_for_the_body():
    async with at(refuses).open() as place:
        wire = await Wire.to(place, HEAD + b"expect: 100-continue\r\ncontent-length: 100001\r\n\r\n")
        assert (await wire.until(b"request_too_large")).startswith(b"HTTP/1.1 413")


async def test_the_first_header_of_a_name_counts_however_it_is_spelled():
    async def says(line: Line) -> None:
        await line.answer(200, [], f"{line.header(b'x-a')} {line.header(b'x-b')} {line.method}".encode())

    async with at(says).open() as place:
        wire = await Wire.to(place, HEAD + b"X-a: 1\r\nx-A: 2\r\nconnection: close\r\n\r\n")
        assert (await wire.rest()).endswith(b"1 None POST")


# ---- who leaves --------------------------------------------------------------------------------------------------


async def test_who_leaves_is_noticed_at_once_and_what_is_said_to_him_is_lost():
    served = asyncio.Event()

    async def waits(line: Line) -> None:
        await line.body(LIMIT)
        line.watch()
        served.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert line.left
            await line.answer(200, [], b"lost")
            await line.start(200, [])
            await line.write(b"lost too", more=False)
            place.left.set()

    async with at(waits).open() as place:
        wire = await Wire.to(place, ASK)
        await served.wait()
        wire.writer.transport.abort()
        await asyncio.wait_for(place.left.wait(), PATIENCE)
        await until(lambda: not place.state.tasks)


async def test_who_had_left_before_anybody_watched_is_noticed_then():
    gone = asyncio.Event()

    async def late(line: Line) -> None:
        await line.body(LIMIT)
        await until(lambda: line.disconnected)
        before = line.left
        try:
            line.watch()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert (before, line.left) == (False, True)
            gone.set()

    async with at(late).open() as place:
        wire = await Wire.to(place, ASK)
        wire.writer.transport.abort()
        await asyncio.wait_for(gone.wait(), PATIENCE)


@pytest.mark.parametrize("length", [2, 3], ids=["with all of it sent", "in the middle of it"])
async def test_who_had_left_before_the_body_was_asked_for_has_left(length):
    gone = asyncio.Event()

    async def late(line: Line) -> None:
        await until(lambda: line.disconnected)
        try:
            await line.body(LIMIT)
        except asyncio.CancelledError:
            assert line.left
            gone.set()
            raise

    async with at(late).open() as place:
        wire = await Wire.to(place, HEAD + b"content-length: %d\r\n\r\nhi" % length)
        await until(lambda: place.state.tasks)
        wire.writer.transport.abort()
        await asyncio.wait_for(gone.wait(), PATIENCE)
        await until(lambda: not place.state.tasks)


async def test_who_leaves_while_its_body_is_waited_for_has_left():
    gone = asyncio.Event()

    async def waits(line: Line) -> None:
        try:
            await line.body(LIMIT)
        except asyncio.CancelledError:
            assert line.left
            gone.set()

    async with at(waits).open() as place:
        wire = await Wire.to(place, HEAD + b"content-length: 3\r\n\r\nhi")
        await until(lambda: place.kind.house.bodies)
        wire.writer.transport.abort()
        await asyncio.wait_for(gone.wait(), PATIENCE)


@pytest.mark.parametrize("answer", ["whole", "in parts", "by hand"])
async def test_after_the_answer_nobody_cares_who_leaves(answer):
    over = asyncio.Event()

    async def answers(line: Line) -> None:
        await line.body(LIMIT)
        line.watch()
        if answer == "in parts":
            await line.start(200, [])
            await line.write(b"done", more=False)
        elif answer == "whole":
            await line.answer(200, [], b"done")
        else:
            line.unwatch()
            line._transport.write(b"done")
        await until(lambda: line._transport.is_closing())
        assert not line.left
        over.set()

    async with at(answers).open() as place:
        wire = await Wire.to(place, ASK)
        assert (await wire.until(b"done")).endswith(b"done")
        wire.writer.transport.abort()
        await asyncio.wait_for(over.wait(), PATIENCE)


@pytest.mark.parametrize("rest", ["all of it", "its end"])
async def test_who_hangs_up_while_the_rest_of_an_answer_waits_for_him_has_not_left(rest):
    """It is said as far as we are concerned, and it is paid for."""
    waits, over = asyncio.Event(), asyncio.Event()

    async def pours(line: Line) -> None:
        await line.body(LIMIT)
        line.watch()
        while not line._flow.write_paused:  # an answer before this one, that nobody reads
            line._transport.write(b"x" * 2**16)
        waits.set()
        if rest == "all of it":
            await line.answer(200, [], b"done")
        else:
            await line.start(200, [])
            await line.write(b"done", more=False)
        assert (line.left, line.ended, line.disconnected) == (False, True, True)
        over.set()

    async with at(pours).open() as place:
        wire = await Wire.to(place, ASK)
        await waits.wait()
        wire.writer.transport.abort()
        await asyncio.wait_for(over.wait(), PATIENCE)


async def test_a_connection_that_is_over_leaves_nothing_to_the_collector():
    gc.disable()
    try:
        async with at(whole).open() as place:
            wire = await Wire.to(place, ASK)
            await wire.until(b"you said hi")
            place.connections[0].look(0.0)  # as each beat does
            connection = weakref.ref(place.connections[0])
            wire.writer.close()
            await until(lambda: connection() is None)
    finally:
        gc.enable()


# ---- several on one connection -----------------------------------------------------------------------------------

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
ELSEWHERE = ASK.replace(b"/ ", b"/elsewhere ")


@pytest.mark.parametrize(
    "asked",
    [(ASK, ASK, ASK), (ASK, GET, ASK), (GET, ASK, GET), (ELSEWHERE, ASK, ELSEWHERE, ASK)],
    ids=["lines", "uvicorn's between lines", "a line between uvicorn's", "other targets"],
)
async def test_requests_that_come_at_once_are_answered_one_after_the_other(asked):
    under_way = 0

    async def slow(line: Line) -> None:
        nonlocal under_way
        under_way += 1
        assert under_way == 1
        for _ in range(20):
            await asyncio.sleep(0)
        under_way -= 1
        await whole(line)

    async with at(slow).open() as place:
        wire = await Wire.to(place, b"".join(asked))
        for ask in asked:
            head = await wire.until(b"\r\n\r\n")
            body = await wire.reader.readexactly(int(told(head)[b"content-length"]))
            assert body == {ASK: b"you said hi", GET: b"", ELSEWHERE: b"hi"}[ask]
        assert len(place.seen) == sum(ask is not ASK for ask in asked)
        await until(lambda: not place.state.tasks)
        assert place.kind.house.bodies == 0


async def test_behind_a_request_that_waits_for_its_turn_nothing_is_read():
    goes = asyncio.Event()

    async def waits(line: Line) -> None:
        body = await line.body(LIMIT)
        await goes.wait()
        await line.answer(200, [], body + b"!")

    async with at(waits).open() as place:
        wire = await Wire.to(place, ASK)
        await until(lambda: place.connections and place.connections[0].cycle and not place.connections[0].cycle._parts)
        await wire.send(ASK)
        await until(lambda: place.connections[0].flow.read_paused)
        goes.set()
        for _ in range(2):
            await wire.until(b"hi!")
        assert not place.connections[0].flow.read_paused


@pytest.mark.parametrize("target", [b"/?a=b", b"/%2f", b"http://x/"])
async def test_a_target_that_is_spelled_in_another_way_goes_uvicorns_way(target):
    async with at(whole).open() as place:
        wire = await Wire.to(place, ASK.replace(b"POST /", b"POST " + target))
        assert (await wire.until(b"hi")).endswith(b"\r\n\r\nhi")
        assert len(place.seen) == 1


async def test_a_method_that_has_no_body_is_answered_in_asgis_words():
    """A HEAD must not have one."""

    async def refused(scope: Any, receive: Any, send: Any) -> None:
        await Downstream(scope, receive, send).answer(405, [TYPE], b"no")

    async with Place(refused, straight=whole).open() as place:
        wire = await Wire.to(place, b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        heard = await wire.rest()
        assert heard.startswith(b"HTTP/1.1 405")
        assert heard.endswith(b"\r\n\r\n")


async def test_on_uvicorns_way_all_headers_are_told():
    async with Place().open() as place:
        wire = await Wire.to(place, HEAD + b"X-a: 1\r\nx-A: 2\r\nconnection: close\r\n\r\n")
        await wire.rest()
        assert place.seen[0]["headers"][1:3] == [(b"x-a", b"1"), (b"x-a", b"2")]
        assert (place.seen[0]["path"], place.seen[0]["method"]) == ("/", "POST")
