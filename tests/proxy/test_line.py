"""A request answered straight, past ASGI's messages: over real sockets, by the listener's own connection."""

import asyncio
from typing import Any

import pytest

from proxy.downstream import LINE, Downstream
from proxy.line import Line
from tests.proxy.accounts import until
from tests.proxy.place import HEAD, Place, Wire

TYPE = (b"content-type", b"text/plain")
ASK = HEAD + b"content-length: 2\r\n\r\nhi"


def down(scope: Any, receive: Any, send: Any) -> Downstream:
    assert isinstance(scope["extensions"][LINE], Line)
    return Downstream(scope, receive, send)


async def whole(scope: Any, receive: Any, send: Any) -> None:
    at = down(scope, receive, send)
    body = await at.body(100)
    await at.answer(200, [TYPE, (b"x-said", body)], b"you said " + body)


async def parts(scope: Any, receive: Any, send: Any) -> None:
    at = down(scope, receive, send)
    await at.body(100)
    await at.start(200, [TYPE])
    for part in (b"one", b"two"):
        await at.write(part)
    await at.write(b"", more=False)


def told(head: bytes) -> dict[bytes, bytes]:
    lines = head.split(b"\r\n")[1:-2]
    return {name: value for name, _, value in (line.partition(b": ") for line in lines)}


async def test_a_whole_answer_is_what_http_says_it_is_and_the_connection_goes_on():
    async with Place(whole).open() as place:
        wire = await Wire.to(place, ASK)
        for _ in range(2):
            head = await wire.until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert told(head).keys() == {b"content-type", b"x-said", b"content-length"}
            assert await wire.reader.readexactly(int(told(head)[b"content-length"])) == b"you said hi"
            await wire.send(ASK)
        assert len(place.connections) == 1


async def test_parts_are_chunks_and_the_head_comes_with_the_first():
    async with Place(parts).open() as place:
        wire = await Wire.to(place, ASK, ASK)
        for _ in range(2):
            head = await wire.until(b"\r\n\r\n")
            assert told(head).keys() == {b"content-type", b"transfer-encoding"}
            assert await wire.until(b"0\r\n\r\n") == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


@pytest.mark.parametrize("app", [whole, parts])
@pytest.mark.parametrize(
    "ask",
    [ASK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), ASK.replace(b"HTTP/1.1", b"HTTP/1.0")],
    ids=["as it was asked to", "as HTTP/1.0 does"],
)
async def test_a_connection_that_is_not_kept_says_so_and_ends(app, ask):
    async with Place(app).open() as place:
        wire = await Wire.to(place, ask)
        head = await wire.until(b"\r\n\r\n")
        assert told(head)[b"connection"] == b"close"
        assert (await wire.rest()).endswith((b"you said hi", b"0\r\n\r\n"))


async def test_while_the_process_drains_each_answer_says_that_its_connection_closes():
    async with Place(whole).open() as place:
        place.state.default_headers = [*place.state.default_headers, (b"connection", b"close")]
        wire = await Wire.to(place, ASK)
        said = await wire.rest()
        assert said.count(b"connection: close\r\n") == 1
        assert said.endswith(b"you said hi")


async def test_who_leaves_is_noticed_at_once_and_what_is_said_to_him_is_lost():
    served = asyncio.Event()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        at = down(scope, receive, send)
        await at.body(100)
        at.watch()
        served.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert at.left
            await at.answer(200, [], b"lost")
            place.left.set()

    async with Place(waits).open() as place:
        wire = await Wire.to(place, ASK)
        await served.wait()
        wire.writer.transport.abort()
        await asyncio.wait_for(place.left.wait(), 30)


async def test_who_had_left_before_anybody_watched_is_noticed_then():
    gone = asyncio.Event()

    async def late(scope: Any, receive: Any, send: Any) -> None:
        at = down(scope, receive, send)
        await at.body(100)
        await until(lambda: scope["extensions"][LINE].gone)
        try:
            at.watch()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert at.left
            gone.set()

    async with Place(late).open() as place:
        wire = await Wire.to(place, ASK)
        wire.writer.transport.abort()
        await asyncio.wait_for(gone.wait(), 30)


async def test_after_the_answer_nobody_cares_who_leaves():
    over = asyncio.Event()

    async def answers(scope: Any, receive: Any, send: Any) -> None:
        at = down(scope, receive, send)
        await at.body(100)
        at.watch()
        await at.answer(200, [], b"done")
        await until(lambda: scope["extensions"][LINE]._cycle.transport.is_closing())
        over.set()

    async with Place(answers).open() as place:
        wire = await Wire.to(place, ASK)
        assert (await wire.until(b"done")).endswith(b"done")
        wire.writer.transport.abort()
        await asyncio.wait_for(over.wait(), 30)


async def test_who_reads_slowly_holds_the_writer_up():
    """What is written waits in this process up to a bound, and no further."""
    said, most = 0, 2**26

    async def pours(scope: Any, receive: Any, send: Any) -> None:
        nonlocal said
        at = down(scope, receive, send)
        await at.body(100)
        await at.start(200, [])
        while said < most:
            said += 2**16
            await at.write(b"x" * 2**16)

    async with Place(pours).open() as place:
        wire = await Wire.to(place, ASK)
        await wire.until(b"\r\n\r\n")
        before = -1
        while said != before:  # until nothing moves any more
            before = said
            for _ in range(1_000):
                await asyncio.sleep(0)
        assert said < most / 4


async def test_a_method_that_has_no_body_is_answered_in_asgis_words():
    """A HEAD must not have one."""

    async def refuses(scope: Any, receive: Any, send: Any) -> None:
        await down(scope, receive, send).answer(405, [TYPE], b"no")

    async with Place(refuses).open() as place:
        wire = await Wire.to(place, b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await wire.rest()).endswith(b"\r\n\r\n")
