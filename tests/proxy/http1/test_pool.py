"""Connections are used again, and never by two, nor after they broke."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress

import pytest

from proxy.http1.connection import HEAD, MOST_UNREAD, SOME, WHOLE, Connection
from proxy.http1.dial import first, interleaved
from proxy.http1.head import Head
from proxy.http1.pool import Pool
from proxy.http1.route import route
from tests.proxy.http1.vendor import OK, Caller, answering, kind, vendor

FOREVER = 1e9


@asynccontextmanager
async def pool_to(port: int) -> AsyncIterator[Pool]:
    pool = Pool(route(f"http://127.0.0.1:{port}"))
    try:
        yield pool
    finally:
        await pool.close()


async def borrowed(pool: Pool) -> Connection:
    return pool.lend(now()) or await pool.dial()


def now() -> float:
    return asyncio.get_running_loop().time()


def head(length: int) -> bytes:
    return Head(route("http://x"), {}).made("/", length)


async def asked(pool: Pool, body: bytes = b"hello") -> bytes:
    """One exchange, as `proxy.upstream` does it; it fails if it would last for ever."""
    connection = await borrowed(pool)
    try:
        connection.ask(head(len(body)), body)
        async with asyncio.timeout(20):
            await connection.until(HEAD, FOREVER, FOREVER)
            if not connection.complete:
                await connection.until(WHOLE, FOREVER, FOREVER, FOREVER)
        if not connection.complete:
            raise connection.lost or AssertionError
        return connection.take()
    finally:
        pool.give_back(connection, now())


async def test_one_connection_serves_one_after_the_other() -> None:
    async with vendor(kind) as there, pool_to(there.port) as pool:
        for _ in range(5):
            assert await asked(pool) == b"ok"
        assert there.connections == 1
        assert repr(pool) == "<Pool: 1 open, 1 idle>"


async def test_those_at_the_same_time_have_one_each() -> None:
    async with vendor(kind) as there, pool_to(there.port) as pool:
        assert await asyncio.gather(*(asked(pool) for _ in range(7))) == [b"ok"] * 7
        assert there.connections == 7
        assert await asyncio.gather(*(asked(pool) for _ in range(7))) == [b"ok"] * 7
        assert there.connections == 7


CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize("first_answer", [CLOSING, OK + b"HTTP/1.1 200 OK", OK + OK], ids=["said", "junk", "a second"])
async def test_a_connection_that_cannot_be_used_again_is_closed_at_once(first_answer: bytes) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        caller.say(first_answer)
        await caller.reader.read()  # until we have gone

    async with vendor(script) as there, pool_to(there.port) as pool:
        assert await asked(pool) == b"ok"
        await there.empty()
        assert await asked(pool) == b"ok"
        assert there.connections == 2


async def test_what_the_vendor_closed_is_not_used_again() -> None:
    async with vendor(answering(OK)) as there, pool_to(there.port) as pool:
        for turn in range(1, 4):
            assert await asked(pool) == b"ok"
            await there.empty()
            await closed(pool)
            assert there.connections == turn


async def closed(pool: Pool) -> None:
    """Wait until our side has heard that all connections are closed."""
    async with asyncio.timeout(20):
        while "<Pool: 0 open" not in repr(pool):  # noqa: ASYNC110 - it tells nobody; and one round is enough
            await asyncio.sleep(0)


async def test_what_the_vendor_closed_a_moment_ago_is_seen_before_the_loop_tells() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with pool_to(server.getsockname()[1]) as pool:
            connection = await pool.dial()
            there, _ = server.accept()
            # From here on the loop stands still, as it does while it is busy.
            pool.give_back(connection, now())
            assert pool.lend(now() + 5) is connection
            pool.give_back(connection, now())
            there.close()
            until = time.monotonic() + 20
            while pool.lend(now() + 5) is connection:  # the kernel has not heard yet
                pool.give_back(connection, now())
                assert time.monotonic() < until
            assert not connection.reusable


async def test_what_has_lain_for_too_long_is_not_used_again() -> None:
    async with vendor(kind) as there, pool_to(there.port) as pool:
        connection = await borrowed(pool)
        pool.give_back(connection, now() - 31)
        assert pool.lend(now()) is None
        await there.empty()


async def test_what_has_lain_for_too_long_is_closed_though_nobody_asks() -> None:
    async with vendor(kind) as there, pool_to(there.port) as pool:
        oldest, old, young = [await pool.dial() for _ in range(3)]
        pool.give_back(oldest, now() - 29.99)
        pool.give_back(old, now() - 29.9)
        pool.give_back(young, now() + 100)
        async with asyncio.timeout(20):
            while there.open > 1:
                there.left.clear()
                await there.left.wait()
        assert pool.lend(now()) is young
        pool.give_back(young, now())


async def test_a_pool_that_is_closed_closes_all_and_makes_no_more() -> None:
    async with vendor(kind) as there, pool_to(there.port) as pool:
        under_way, idle = await borrowed(pool), await borrowed(pool)
        pool.give_back(idle, now())
        await pool.close()
        await there.empty()
        pool.give_back(under_way, now())
        assert pool.lend(now()) is None
        with pytest.raises(ConnectionError):
            await pool.dial()
        await there.empty()


async def test_who_is_cancelled_while_connecting_leaves_nothing_open() -> None:
    async with vendor(kind) as there, pool_to(there.port) as pool:
        for rounds in range(12):  # somewhere in between it is connected
            dialling = asyncio.create_task(pool.dial())
            for _ in range(rounds):
                await asyncio.sleep(0)
            if dialling.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await dialling
            else:
                (await dialling).abort()
        await closed(pool)
        await asked(pool)  # the vendor takes callers in the order in which they came: now it has seen all of them
        await pool.close()
        await there.empty()


async def test_what_was_not_sent_is_not_sent_once_nobody_wants_an_answer() -> None:
    over = asyncio.Event()

    async def deaf(caller: Caller) -> None:
        await caller.reader.readuntil(b"\r\n\r\n")
        await over.wait()

    async with vendor(deaf) as there, pool_to(there.port) as pool:
        connection = await borrowed(pool)
        connection.ask(head(2), bytes(64 * 1024 * 1024))
        pool.give_back(connection, now())
        await closed(pool)  # though the vendor reads nothing, so that nothing could be sent
        over.set()


async def test_a_slow_reader_holds_no_more_than_the_measure_however_fast_the_vendor_is() -> None:
    more = 64 * 1024 * 1024

    async def script(caller: Caller) -> None:
        await caller.request()
        caller.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % more)
        for _ in range(more // 65536):
            caller.say(b"x" * 65536)
            await caller.writer.drain()

    async with vendor(script) as there, pool_to(there.port) as pool:
        connection = await borrowed(pool)
        connection.ask(head(2), b"{}")
        assert await connection.until(HEAD, FOREVER, FOREVER)
        most = size = 0
        while not connection.complete or connection.parts:
            if not connection.parts:
                assert await connection.until(SOME, FOREVER, FOREVER)
            for _ in range(5):
                await asyncio.sleep(0)  # slow: five rounds of the loop for each part
            part = connection.take()
            most, size = max(most, len(part)), size + len(part)
        assert size == more
        assert most <= 2 * MOST_UNREAD


async def unreliable(caller: Caller) -> None:
    """Each answer is its request; some are reset, some end in the middle, some come in two parts."""
    while True:
        _, body = await caller.request()
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        way = int(body.rpartition(b"-")[2]) % 7
        if way == 3:
            caller.writer.transport.abort()
            return
        caller.say(answer[:-2])
        if way == 4:
            return
        if way == 5:
            await asyncio.sleep(0)
        caller.say(answer[-2:])


async def outcome(pool: Pool, number: int) -> str:
    """What becomes of a request that is cancelled somewhere, if its number says so."""
    name = b"request-%d" % number
    task = asyncio.create_task(asked(pool, name))
    if number % 11 == 0:
        for _ in range(number % 5):
            await asyncio.sleep(0)
        task.cancel()
    try:
        return "right" if await task == name else "wrong"
    except ConnectionError:
        return "broken"
    except asyncio.CancelledError:
        return "cancelled"


async def test_thousands_of_requests_each_get_their_own_answer_though_others_break() -> None:
    counts: Counter[str] = Counter()

    async def worker(numbers: Iterator[int]) -> None:
        for number in numbers:
            counts[await outcome(pool, number)] += 1

    async with vendor(unreliable) as there, pool_to(there.port) as pool:
        numbers = iter(range(2000))
        await asyncio.gather(*(worker(numbers) for _ in range(32)))
        assert there.connections < 2000, "they are used again"
    assert counts.keys() == {"right", "broken", "cancelled"}
    assert counts["right"] > 1200
    assert counts["broken"] > 300
    assert counts["cancelled"] > 50


# --- several addresses

V4, V6 = socket.AF_INET, socket.AF_INET6


def test_addresses_are_tried_by_turns_of_their_families() -> None:
    assert interleaved([(V6, 1), (V6, 2), (V4, 3), (V6, 4)]) == [(V6, 1), (V4, 3), (V6, 2), (V6, 4)]
    assert interleaved([(V4, 1)]) == [(V4, 1)]


def refusing() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def test_the_next_address_is_tried_when_one_refuses() -> None:
    async with vendor(kind) as there:
        sock = await first([(V4, ("127.0.0.1", refusing())), (V4, ("127.0.0.1", there.port))], head_start=FOREVER)
        assert sock.getpeername()[1] == there.port
        sock.close()
        await there.empty()


async def test_the_next_address_is_tried_beside_one_that_is_silent() -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # fill its queue: to whoever comes now the kernel says nothing
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        async with vendor(kind) as there:
            addresses = [(V4, full.getsockname()), (V4, ("127.0.0.1", there.port))]
            sock = await asyncio.wait_for(first(addresses, head_start=0.01), 20)
            assert sock.getpeername()[1] == there.port
            sock.close()
            await there.empty()


async def test_if_no_address_answers_the_first_one_tells_why() -> None:
    with pytest.raises(ConnectionRefusedError):
        await first([(V4, ("127.0.0.1", refusing())), (V4, ("127.0.0.1", refusing()))], head_start=0.01)


async def test_who_is_cancelled_between_addresses_leaves_nothing_open() -> None:
    async with vendor(kind) as there, pool_to(there.port) as pool:
        for rounds in range(8):
            trial = asyncio.create_task(first([(V4, ("127.0.0.1", there.port))] * 3, head_start=0))
            for _ in range(rounds):
                await asyncio.sleep(0)
            trial.cancel()
            with suppress(asyncio.CancelledError):
                (await trial).close()
        await asked(pool)  # the vendor takes callers in the order in which they came: now it has seen all of them
        await pool.close()
        await there.empty()
