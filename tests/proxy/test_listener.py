"""The outermost door, over real sockets: what is drawn out comes to an end, and is refused in OpenAI's words.

Time is not waited for: a connection is told that it is later. All of it both ways: as uvicorn hands a request on, and
past that.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.proxy.place import HEAD, PATIENCE, Place, Wire

At = Callable[..., Place]


@pytest.fixture(params=[False, True], ids=["uvicorn's way", "straight"])
def at(request: pytest.FixtureRequest) -> At:
    """A place whose application is asked in this way."""
    return partial(Place, straight=request.param)


async def settled(ready: Callable[[], Any]) -> None:
    """Look again until it is so."""
    async with asyncio.timeout(PATIENCE):
        while not ready():  # noqa: ASYNC110  # what is waited for knows nothing of this test
            await asyncio.sleep(0)


def refusal(heard: bytes) -> tuple[int, str]:
    head, _, body = heard.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return int(head[9:12]), error["code"]


async def later(place: Place, seconds: float) -> None:
    """To each connection it is so much later now. What it waits for is counted from the first look that sees it."""
    await settled(lambda: place.connections)
    for connection in place.connections:
        connection.look(asyncio.get_running_loop().time() + seconds)


async def test_what_is_well_sent_is_served(at: At) -> None:
    async with at().open() as place:
        wire = await Wire.to(place, HEAD + b"content-length: 5\r\n\r\nhello", HEAD + b"content-length: 3\r\n\r\nyes")
        assert (await wire.until(b"hello")).startswith(b"HTTP/1.1 200")
        assert (await wire.until(b"yes")).startswith(b"HTTP/1.1 200")
        assert place.connections
        assert place.kind.house.bodies == 0


# ---- heads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        (HEAD, b"x-big: ", *([b"a" * 500] * 20)),
        (HEAD + b"".join(b"x-%d: a\r\n" % at for at in range(1_000)) + b"content-length: 0\r\n\r\n",),
        (b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\n\r\n",),
        (b"GET / HTTP/1.1\r\n" + b"a" * 5_000,),
    ],
    ids=["one header without end", "many headers", "a long target", "a name without end"],
)
async def test_a_head_that_is_too_large_is_refused(at: At, parts: tuple[bytes, ...]) -> None:
    async with at(head=1_000).open() as place:
        wire = await Wire.to(place, *parts)
        assert refusal(await wire.rest()) == (431, "request_headers_too_large")
        assert place.seen == []


async def test_a_large_body_makes_no_large_head(at: At) -> None:
    body = b"a" * 50_000
    async with at(head=1_000).open() as place:
        whole = HEAD + b"content-length: 50000\r\n\r\n" + body
        wire = await Wire.to(place, whole + whole.replace(b"50000\r\n", b"50000\r\nconnection: close\r\n"))
        assert (await wire.rest()).count(body) == 2


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nx y: z\r\n\r\n", bytes(range(256)), b"\x16\x03\x01"]
)
async def test_what_is_no_http_is_refused_in_the_words_of_all_refusals(at: At, sent: bytes) -> None:
    async with at().open() as place:
        assert refusal(await (await Wire.to(place, sent)).rest()) == (400, "invalid_http")


async def test_what_stands_behind_a_body_is_no_header(at: At) -> None:
    chunks = b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nhi\r\n0\r\nx-tollhouse-user: root\r\n\r\n"
    async with at().open() as place:
        assert (await (await Wire.to(place, HEAD + chunks)).rest()).endswith(b"hi")
        assert [name for name, _ in place.seen[0]["headers"]] == [b"host", b"transfer-encoding", b"connection"]


# ---- time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "refused"),
    [(HEAD, (408, "request_timeout")), (HEAD + b"content-length: 9\r\n\r\nhalf", (408, "request_timeout"))],
    ids=["head", "body"],
)
async def test_who_sends_too_slowly_is_refused(at: At, sent: bytes, refused: tuple[int, str]) -> None:
    async with at(head_seconds=20, body_seconds=40).open() as place:
        wire = await Wire.to(place, sent)
        await settled(lambda: place.seen or (place.connections and vars(place.connections[0])["_read"]))
        await later(place, 0)
        await later(place, 19)
        assert not wire.reader.at_eof()
        await later(place, 41)
        assert refusal(await wire.rest()) == refused


async def test_a_head_that_began_behind_another_request_may_not_take_longer_than_others(at: At) -> None:
    async with at(head_seconds=20).open() as place:
        wire = await Wire.to(place, HEAD + b"content-length: 2\r\n\r\nhi" + HEAD)
        await wire.until(b"hi")
        await later(place, 0)
        await later(place, 19)
        assert not place.connections[0].transport.is_closing()
        await later(place, 21)
        assert await wire.rest() == b""


async def test_a_head_in_pieces_is_not_taken_for_a_large_one_because_of_the_body_before_it(at: At) -> None:
    async with at(head=1_000).open() as place:
        wire = await Wire.to(place)
        await settled(lambda: place.connections)
        for _ in range(2):
            for part in (HEAD, b"content-length: 4000\r\n\r\n", b"a" * 2_000, b"b" * 2_000):
                place.connections[0].data_received(part)
            assert (await wire.until(b"b" * 2_000)).startswith(b"HTTP/1.1 200")


async def test_an_application_that_waits_for_a_body_hears_that_none_will_come(at: At) -> None:
    async with at().open() as place:
        wire = await Wire.to(place, HEAD + b"content-length: 9\r\n\r\nhalf")
        await settled(lambda: place.seen)
        await later(place, 0)
        await later(place, 1_000)
        await asyncio.wait_for(place.left.wait(), PATIENCE)
        await wire.rest()
        await settled(lambda: place.kind.house.bodies == 0)


async def test_who_is_not_read_on_is_not_late(at: At) -> None:
    asked = asyncio.Event()

    async def waits(place: Place, *call: Any) -> None:
        await asked.wait()
        await place.echo(*call)

    async with at().open() as place:
        place.app = partial(waits, place)
        wire = await Wire.to(place, HEAD + b"content-length: 20000000\r\n\r\n")
        sending = asyncio.ensure_future(wire.send(b"a" * 20_000_000))
        await settled(lambda: place.connections and place.connections[0].flow.read_paused)
        for hour in range(1, 4):
            await later(place, hour * 3_600)
        asked.set()
        assert (await wire.until(b"a" * 100)).startswith(b"HTTP/1.1 200")
        sending.cancel()


async def test_who_says_nothing_is_told_nothing(at: At) -> None:
    async with at().open() as place:
        wire = await Wire.to(place)
        await later(place, 0)
        await later(place, 1_000)
        assert await wire.rest() == b""


async def test_a_request_that_is_being_answered_may_take_its_time(at: At) -> None:
    async with at().open() as place:
        place.app = place.waits
        wire = await Wire.to(place, HEAD + b"content-length: 0\r\n\r\n")
        await wire.until(b"begun")
        await later(place, 0)
        await later(place, 1_000_000)
        assert not place.left.is_set()
        wire.writer.close()
        await asyncio.wait_for(place.left.wait(), PATIENCE)


async def test_a_connection_that_is_kept_for_nothing_is_closed_without_a_word(at: At) -> None:
    async with at().open() as place:
        wire = await Wire.to(place, HEAD + b"content-length: 2\r\n\r\nhi")
        await wire.until(b"hi")
        await later(place, 0)
        await later(place, 74)
        assert not place.connections[0].transport.is_closing()
        await later(place, 76)
        assert await wire.rest() == b""


async def test_a_connection_that_serves_one_request_after_the_other_is_never_idle_for_long(at: At) -> None:
    async with at().open() as place:
        wire = await Wire.to(place)
        for hour in range(4):  # each time it is found waiting for the next one, as the last time
            await wire.send(HEAD + b"content-length: 2\r\n\r\nhi")
            await wire.until(b"hi")
            await later(place, hour * 3_600)
        await wire.send(HEAD + b"content-length: 3\r\n\r\nyes")
        await wire.until(b"yes")


async def test_bytes_that_begin_no_request_do_not_keep_a_connection_for_ever(at: At) -> None:
    async with at().open() as place:
        wire = await Wire.to(place, HEAD + b"content-length: 2\r\n\r\nhi")
        await wire.until(b"hi")
        await wire.send(b"\r\n")
        await settled(lambda: vars(place.connections[0])["_read"])
        await later(place, 0)
        await later(place, 1_000)
        assert refusal(await wire.rest()) == (408, "request_timeout")


async def test_the_beat_comes_by_itself(at: At) -> None:
    async with at(head_seconds=0.05).open() as place:
        assert refusal(await (await Wire.to(place, HEAD)).rest()) == (408, "request_timeout")


# ---- how much at once --------------------------------------------------------------------------------------------


async def test_no_more_bodies_are_taken_than_there_is_room_for(at: At) -> None:
    async with at(bodies=10_000).open() as place:
        first = await Wire.to(place, HEAD + b"content-length: 9000\r\n\r\n" + b"a" * 8_000)
        await settled(lambda: place.kind.house.bodies == 8_000)
        second = await Wire.to(place, HEAD + b"content-length: 9000\r\n\r\n" + b"a" * 8_000)
        assert refusal(await second.rest()) == (503, "overloaded")
        await settled(lambda: place.kind.house.bodies == 8_000)
        await first.send(b"a" * 1_000)
        await first.until(b"a" * 9_000)
        assert place.kind.house.bodies == 0


async def test_a_whole_body_for_which_there_is_no_room_is_not_served(at: At) -> None:
    async with at(bodies=10_000).open() as place:
        first = await Wire.to(place, HEAD + b"content-length: 9000\r\n\r\n" + b"a" * 8_000)
        await settled(lambda: place.kind.house.bodies == 8_000)
        second = await Wire.to(place, HEAD + b"content-length: 8000\r\n\r\n" + b"a" * 8_000)
        assert refusal(await second.rest()) == (503, "overloaded")
        await settled(lambda: place.kind.house.bodies == 8_000)
        first.writer.close()
        await settled(lambda: place.kind.house.bodies == 0)


async def test_who_leaves_in_the_middle_of_a_body_gives_its_room_back(at: At) -> None:
    async with at().open() as place:
        wire = await Wire.to(place, HEAD + b"content-length: 9000\r\n\r\n" + b"a" * 8_000)
        await settled(lambda: place.kind.house.bodies == 8_000)
        wire.writer.close()
        await settled(lambda: place.kind.house.bodies == 0)


async def test_no_more_connections_are_taken_than_there_may_be(at: At) -> None:
    async with at(connections=1).open() as place:
        first = await Wire.to(place, HEAD)
        await settled(lambda: len(place.connections) == 1)
        assert refusal(await (await Wire.to(place)).rest()) == (503, "overloaded")
        await first.send(b"content-length: 2\r\n\r\nhi")
        await first.until(b"hi")


# ---- answers -----------------------------------------------------------------------------------------------------


async def flood(place: Place, scope: Any, receive: Any, send: Any) -> None:
    """Writes for as long as somebody reads."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    left = asyncio.ensure_future(place.body(receive))
    await left
    gone = asyncio.ensure_future(receive())
    while not gone.done():
        await send({"type": "http.response.body", "body": b"a" * 65_536, "more_body": True})
    place.left.set()


async def test_an_answer_that_nobody_reads_is_not_kept_for_ever(at: At) -> None:
    place = at(unread_seconds=60)
    place.app = lambda *call: flood(place, *call)
    async with place.open():
        await Wire.to(place, HEAD + b"content-length: 0\r\n\r\n")
        await settled(
            lambda: place.connections and place.connections[0].flow and place.connections[0].flow.write_paused
        )
        await later(place, 0)
        await later(place, 59)
        assert place.connections
        await later(place, 61)
        await asyncio.wait_for(place.left.wait(), PATIENCE)
        await settled(lambda: not place.connections)


async def large(scope: Any, receive: Any, send: Any) -> None:
    """All of it at once."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"20000000")]})
    await send({"type": "http.response.body", "body": b"a" * 20_000_000})


async def test_a_whole_answer_that_nobody_reads_is_not_kept_either(at: At) -> None:
    """It is complete, and its connection closing: no flow control would ever look at it again."""
    async with at(large).open() as place:
        await Wire.to(place, HEAD + b"connection: close\r\ncontent-length: 0\r\n\r\n")
        await settled(lambda: place.connections and place.connections[0].transport.is_closing())
        await later(place, 0)
        await later(place, 61)
        await settled(lambda: not place.connections)


async def test_a_slow_reader_is_not_cut_off_while_it_reads(at: At) -> None:
    async with at(large).open() as place:
        wire = await Wire.to(place, HEAD + b"connection: close\r\ncontent-length: 0\r\n\r\n")
        await settled(lambda: place.connections and place.connections[0].transport.is_closing())
        for hour in range(1, 4):
            await later(place, hour * 3_600)
            before = place.connections[0].transport.get_write_buffer_size()
            while place.connections[0].transport.get_write_buffer_size() >= before:
                assert await wire.reader.read(1 << 20)
        assert place.connections


async def test_who_leaves_with_a_second_request_behind_the_first_has_left_the_first(at: At) -> None:
    async with at().open() as place:
        place.app = place.waits
        wire = await Wire.to(place, HEAD + b"content-length: 0\r\n\r\n" + HEAD + b"content-length: 0\r\n\r\n")
        await wire.until(b"begun")
        wire.writer.close()
        await asyncio.wait_for(place.left.wait(), PATIENCE)
        assert len(place.seen) == 1


async def test_who_is_cut_off_is_not_served_what_he_sent_behind(at: At) -> None:
    """Its connection is closing, and nobody has heard of that yet."""
    async with at().open() as place:

        async def cuts(scope: Any, receive: Any, send: Any) -> None:
            place.connections[0].transport.abort()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

        place.app = cuts
        wire = await Wire.to(place, HEAD + b"content-length: 0\r\n\r\n" + HEAD + b"content-length: 0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await wire.rest()
        await settled(lambda: not place.connections and not place.state.tasks)
        assert len(place.seen) == 1


async def test_a_refusal_is_not_written_into_an_answer(at: At) -> None:
    async with at().open() as place:
        place.app = place.waits
        wire = await Wire.to(place, HEAD + b"content-length: 0\r\n\r\n")
        await wire.until(b"begun")
        await wire.send(b"nonsense\r\n\r\n")
        assert await wire.rest() == b"\r\n"
        await asyncio.wait_for(place.left.wait(), PATIENCE)


@pytest.mark.parametrize("to", [b"h2c", b"websocket"])
async def test_who_wants_another_protocol_is_served_in_this_one(at: At, to: bytes) -> None:
    async with at().open() as place:
        asks = b"connection: upgrade\r\nupgrade: " + to + b"\r\ncontent-length: 2\r\n\r\nhi"
        wire = await Wire.to(place, HEAD + asks)
        heard = await wire.rest()
        assert heard.startswith(b"HTTP/1.1 200")
