"""One connection: what of an answer is understood, however it arrives, and when it may be used again."""

import asyncio
from collections.abc import Awaitable, Iterable

import pytest

from proxy.http1.connection import (
    HEAD,
    MOST_BARREN,
    MOST_GATHERED,
    MOST_HEADERS,
    MOST_UNREAD,
    SOME,
    WHOLE,
    Connection,
)

HOUR = 3600.0
FAR = 1e9
SHORT = 0.05


class Wire(asyncio.Transport):
    """The other end of a connection, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = self.paused = False
        self.unsent = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.sent.extend(map(bytes, list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    close = abort


async def came(waiting: Awaitable[bool]) -> bool:
    """What it comes to, in whatever task waits for it."""
    return await waiting


async def soon(waiting: Awaitable[bool]) -> bool:
    """What it comes to; a test that would wait for ever fails instead."""
    return await asyncio.wait_for(waiting, 20)


def connected() -> tuple[Connection, Wire, list[Connection]]:
    gone: list[Connection] = []
    connection, wire = Connection(asyncio.get_running_loop(), gone.append), Wire()
    connection.connection_made(wire)
    return connection, wire, gone


async def asked() -> tuple[Connection, Wire]:
    connection, wire, _ = connected()
    connection.ask(b"POST / HTTP/1.1\r\n\r\n", b"{}")
    await asyncio.sleep(0)  # it is sent when the turn is over
    return connection, wire


def feed(connection: Connection, wire: Wire, data: bytes, step: int) -> None:
    """What arrives, in pieces; none once it is closed, as from a transport."""
    for at in range(0, len(data), step):
        if not wire.closed:
            connection.data_received(data[at : at + step])


START = b"HTTP/1.1 200 OK\r\n"
WITH_LENGTH = b"content-length: 5\r\n\r\nhello"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"
HINTS = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nx-early: 1\r\n\r\n"

# Answers: how each one comes, its status, its body, and whether its connection can be used again.
ANSWERS = {
    "with a length": (START + WITH_LENGTH, 200, b"hello", True),
    "in chunks": (CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", 200, b"hello", True),
    "in chunks with extensions": (CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0\r\n\r\n', 200, b"hello", True),
    "in chunks with trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nx-a: 1\r\nx-said: no\r\n\r\n", 200, b"hello", True),
    "without a body": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "of length 0": (START + b"content-length: 0\r\n\r\n", 200, b"", True),
    "after others that are none": (HINTS + START + WITH_LENGTH, 200, b"hello", True),
    "that announces another protocol": (
        START + b"upgrade: h2c\r\nconnection: upgrade, keep-alive\r\n" + WITH_LENGTH,
        200,
        b"hello",
        True,
    ),
    "that says that it closes": (START + b"connection: close\r\n" + WITH_LENGTH, 200, b"hello", False),
    "of HTTP/1.0": (b"HTTP/1.0 200 OK\r\n" + WITH_LENGTH, 200, b"hello", False),
    "of HTTP/1.0 that goes on": (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n" + WITH_LENGTH, 200, b"hello", True),
    "of an error": (b"HTTP/1.1 529 \r\n" + WITH_LENGTH, 529, b"hello", True),
    "without words for its status": (b"HTTP/1.1 200\r\n" + WITH_LENGTH, 200, b"hello", True),
}


@pytest.mark.parametrize("step", [1, 7, 1_000_000])
@pytest.mark.parametrize(("answer", "status", "body", "reusable"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_is_the_same_however_it_arrives(
    answer: bytes, status: int, body: bytes, reusable: bool, step: int
) -> None:
    connection, wire = await asked()
    feed(connection, wire, answer, step)
    assert (connection.status, connection.complete, b"".join(connection.parts)) == (status, True, body)
    assert not {b"x-early", b"x-said", b"x-a"} & connection.head.keys()
    connection.take()
    assert connection.reusable is reusable
    if reusable:
        connection.ask(b"POST /2 HTTP/1.1\r\n\r\n", b"")
        await asyncio.sleep(0)
        feed(connection, wire, b"HTTP/1.1 201 OK\r\nx-b: 2\r\ncontent-length: 1\r\n\r\n!", step)
        assert (connection.status, connection.take(), connection.complete) == (201, b"!", True)
        assert connection.head == {b"x-b": b"2", b"content-length": b"1"}
        assert connection.reusable


@pytest.mark.parametrize("step", [1, 1_000_000])
@pytest.mark.parametrize("junk", [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"HTTP/1.", b"x", b"\x00"])
@pytest.mark.parametrize("name", ["with a length", "in chunks", "in chunks with trailers", "without a body"])
async def test_what_comes_behind_an_answer_spoils_the_connection_and_not_the_answer(
    name: str, junk: bytes, step: int
) -> None:
    answer, status, body, _ = ANSWERS[name]
    connection, wire = await asked()
    feed(connection, wire, answer + junk, step)
    assert (connection.status, connection.take(), connection.complete) == (status, body, True)
    assert not connection.reusable
    assert wire.closed


LONG = b"a" * 1000
TOO_OFTEN = MOST_BARREN // len(LONG) + 1
LITTLE = [b"x-%d: 1\r\n" % number for number in range(MOST_HEADERS + 2)]
BROKEN = {
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "a length and chunks": START + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": START + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    "a length beyond measure": START + b"content-length: 99999999999999999999999\r\n\r\n",
    "a negative length": START + b"content-length: -1\r\n\r\n",
    "no length of a chunk": CHUNKED + b"zz\r\n",
    "a chunk beyond measure": CHUNKED + b"fffffffffffffffff\r\n",
    "a chunk longer than it says": CHUNKED + b"1\r\nhello\r\n",
    "a header of two lines": START + b"x: a\rb: c\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "another protocol, unnamed": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "a head without an end": START + b"x: " + LONG * TOO_OFTEN,
    "a status without an end": b"HTTP/1.1 200 " + LONG * TOO_OFTEN,
    "more headers than any": START + b"".join(LITTLE) + b"\r\n",
    "words before it without an end": b"HTTP/1.1 100 Continue\r\n\r\n" * (MOST_BARREN // 25 + 1),
    "an extension without an end": CHUNKED + b"5;" + LONG * TOO_OFTEN,
    "trailers without an end": CHUNKED + b"0\r\n" + b"".join(b"x-%d: %b\r\n" % (n, LONG) for n in range(TOO_OFTEN)),
    "small trailers without an end": CHUNKED + b"0\r\n" + b"".join(LITTLE),
}


@pytest.mark.parametrize("step", [101, 1_000_000])
@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_what_is_no_answer_ends_the_connection_at_once(answer: bytes, step: int) -> None:
    connection, wire = await asked()
    feed(connection, wire, answer, step)
    assert wire.closed
    assert not connection.complete
    assert connection.lost is not None
    connection.connection_lost(None)
    assert connection.lost is not None
    assert not connection.reusable
    assert await connection.until(WHOLE, 0.0, 0.0), "who asks is told at once"


async def test_a_stream_may_be_of_small_chunks_with_much_around_them() -> None:
    connection, wire = await asked()
    connection.data_received(CHUNKED)
    for number in range(2 * TOO_OFTEN):
        connection.data_received(b"1;" + LONG + b"\r\n")
        connection.data_received(b"x\r\n")
        assert connection.take() == b"x", number
    connection.data_received(b"0\r\n\r\n")
    assert connection.reusable
    assert not wire.closed


async def test_long_heads_are_no_fault_if_each_of_them_ends() -> None:
    connection, wire = await asked()
    long = START + b"".join(b"x-%d: %b\r\n" % (number, LONG) for number in range(TOO_OFTEN * 2 // 3))
    for _ in range(3):
        feed(connection, wire, long + b"content-length: 0\r\n\r\n", 1000)
        assert connection.reusable
        connection.ask(b"head", b"")
        await asyncio.sleep(0)


@pytest.mark.parametrize("said", [b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n", b"\r\n", b"x"])
async def test_what_nobody_asked_for_closes_an_idle_connection(said: bytes) -> None:
    connection, wire, _ = connected()
    connection.data_received(said)
    assert wire.closed
    assert not connection.alive(0.0)


async def test_a_request_is_one_write_and_a_long_one_is_not_copied() -> None:
    connection, wire, _ = connected()
    connection.ask(b"head", b"body")
    assert wire.sent == []
    await asyncio.sleep(0)
    assert wire.sent == [b"headbody"]
    connection, wire, _ = connected()
    long = b"x" * 50_000
    connection.ask(b"head", long)
    await asyncio.sleep(0)
    assert wire.sent == [b"head", long]


async def test_a_connection_whose_request_was_not_sent_whole_is_not_used_again() -> None:
    connection, wire = await asked()
    wire.unsent = 1
    connection.data_received(ANSWERS["with a length"][0])
    connection.take()
    assert connection.complete
    assert not connection.reusable


async def test_a_connection_whose_answer_was_not_read_whole_is_not_used_again() -> None:
    connection, _ = await asked()
    connection.data_received(ANSWERS["with a length"][0][:-1])
    connection.take()
    assert not connection.reusable
    connection.data_received(b"o")
    assert not connection.reusable, "there it is, but not read"
    connection.take()
    assert connection.reusable


@pytest.mark.parametrize(
    ("head", "exc", "complete"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nhel", None, True),
        (b"HTTP/1.1 200 OK\r\n\r\nhel", ConnectionResetError(), False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", None, False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", None, False),
        (b"HTTP/1.1 200 OK\r\nx:", None, False),
        (b"", None, False),
    ],
    ids=["as long as it lives", "reset", "half of its length", "half of its chunks", "half of its head", "nothing"],
)
async def test_the_end_of_a_connection_is_the_end_of_an_answer_that_has_no_other(
    head: bytes, exc: Exception | None, complete: bool
) -> None:
    connection, wire, gone = connected()
    connection.ask(b"head", b"")
    feed(connection, wire, head, 1_000_000)
    connection.connection_lost(exc)
    assert connection.complete is complete
    assert connection.lost is not None
    assert gone == [connection]
    assert not connection.reusable


@pytest.mark.parametrize(
    ("wanted", "before", "last"),
    [
        (HEAD, b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n", b"\r\n"),
        (SOME, b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", b"a"),
        (WHOLE, b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab", b"c"),
    ],
    ids=["a head", "some", "all"],
)
async def test_who_waits_is_woken_by_what_he_waits_for_and_not_before(wanted: int, before: bytes, last: bytes) -> None:
    connection, wire = await asked()
    wait = asyncio.create_task(came(connection.until(wanted, FAR, FAR, HOUR)))
    await asyncio.sleep(0)
    feed(connection, wire, before, 1)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not wait.done()
    connection.data_received(last)
    assert await soon(wait) is True


PART = b"x" * 65536


def fill(connection: Connection, wire: Wire) -> int:
    """As many bytes as it takes at a time."""
    fed = 0
    while not wire.paused:
        connection.data_received(PART)
        fed += len(PART)
    return fed


async def test_a_reader_that_is_slow_makes_the_vendor_wait() -> None:
    connection, wire = await asked()
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 900000000\r\n\r\n")
    fed = fill(connection, wire)
    assert MOST_UNREAD < fed <= MOST_UNREAD + len(PART)
    assert len(connection.take()) == fed
    assert wire.paused is False


async def test_who_wants_all_makes_nobody_wait_and_is_woken_to_gather_what_is_there() -> None:
    connection, wire = await asked()
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 900000000\r\n\r\n")
    fill(connection, wire)
    wait = asyncio.create_task(came(connection.until(WHOLE, FAR, FAR, HOUR)))
    await asyncio.sleep(0)
    assert not wire.paused, "else the whole would never come"
    while not wait.done():
        connection.data_received(PART)
        assert not wire.paused
        await asyncio.sleep(0)
    assert MOST_GATHERED < len(connection.take()) <= MOST_GATHERED + 2 * len(PART)


async def test_each_part_renews_the_patience_with_an_answer_that_is_awaited_whole() -> None:
    loop = asyncio.get_running_loop()
    connection, _ = await asked()
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
    now = loop.time()
    wait = asyncio.create_task(came(connection.until(WHOLE, now + HOUR, now + HOUR, SHORT)))
    await asyncio.sleep(0)
    connection.data_received(b"x")
    assert await soon(wait) is False, "it is short once something came"
    assert connection.patience < now + HOUR


async def test_the_earlier_of_two_times_counts_though_a_later_one_was_awaited_before() -> None:
    loop = asyncio.get_running_loop()
    connection, _ = await asked()
    wait = asyncio.create_task(came(connection.until(HEAD, loop.time() + HOUR, loop.time() + HOUR)))
    await asyncio.sleep(0)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
    assert await soon(wait) is True
    assert await soon(connection.until(SOME, loop.time() + HOUR, loop.time() + SHORT)) is False
    assert await soon(connection.until(SOME, loop.time() - 1, loop.time() + HOUR)) is False


async def test_a_later_time_counts_though_an_earlier_one_was_awaited_before() -> None:
    loop = asyncio.get_running_loop()
    connection, _ = await asked()
    rung = asyncio.Event()
    wait = asyncio.create_task(came(connection.until(HEAD, loop.time() + SHORT, loop.time() + HOUR)))
    await asyncio.sleep(0)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
    assert await soon(wait) is True
    wait = asyncio.create_task(came(connection.until(SOME, loop.time() + HOUR, loop.time() + HOUR)))
    loop.call_later(2 * SHORT, rung.set)
    await soon(rung.wait())
    assert not wait.done()
    connection.data_received(b"x")
    assert await soon(wait) is True


async def test_a_later_time_counts_though_an_earlier_one_came_while_nobody_waited() -> None:
    loop = asyncio.get_running_loop()
    connection, _ = await asked()
    rung = asyncio.Event()
    wait = asyncio.create_task(came(connection.until(HEAD, loop.time() + SHORT, loop.time() + HOUR)))
    await asyncio.sleep(0)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
    assert await soon(wait) is True
    loop.call_later(2 * SHORT, rung.set)
    await soon(rung.wait())
    assert await soon(connection.until(SOME, loop.time() + SHORT, loop.time() + HOUR)) is False


async def test_who_is_cancelled_takes_nothing_with_him() -> None:
    connection, _ = await asked()
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
    wait = asyncio.create_task(came(connection.until(SOME, FAR, FAR)))
    await asyncio.sleep(0)
    connection.data_received(b"o")
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    connection.data_received(b"k")
    assert connection.take() == b"ok"
    assert connection.reusable
