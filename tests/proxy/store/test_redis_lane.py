"""The connection to Redis that all share: what goes together, and whose answer is whose."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import Connection, SSLConnection

from proxy.store.redis_lane import Lane
from tests.proxy.http1.authority import Authority
from tests.redis_server import RedisServer, redis_server

GENEROUS = 5  # seconds: for a hang to be told from an answer, not for measuring


@asynccontextmanager
async def lane_to(port: int, seconds: float = GENEROUS) -> AsyncIterator[Lane]:
    lane = Lane(Connection(host="127.0.0.1", port=port, protocol=2, driver_info=None), ["return 1"], seconds)
    async with asyncio.timeout(GENEROUS):
        yield lane
        await lane.close()


@pytest.fixture
async def lane(server: RedisServer) -> AsyncIterator[Lane]:
    async with lane_to(server.port) as lane:
        yield lane


@asynccontextmanager
async def speaking(answer: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """The port of a server that answers each piece that arrives as it is told."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while piece := await reader.read(2**20):
            writer.write(answer(piece))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in writers:
        writer.close()


async def names(replies: list[asyncio.Future[Any]]) -> list[str]:
    return [type(await reply).__name__ for reply in replies]


async def test_what_is_asked_in_one_turn_of_the_loop_goes_in_one_piece() -> None:
    pieces: list[bytes] = []

    def answer(piece: bytes) -> bytes:
        pieces.append(piece)
        return b"+OK\r\n" * piece.count(b"\r\n$4\r\n")  # of each command the first word, and that has four letters

    async with speaking(answer) as port, lane_to(port) as lane:
        await lane.put("ECHO", "begin")
        pieces.clear()
        first = [lane.put("ECHO", n) for n in range(50)]
        assert await asyncio.gather(*first) == [b"OK"] * 50
        assert len(pieces) == 1


async def test_what_comes_while_a_batch_is_on_its_way_goes_together_with_the_next(lane: Lane) -> None:
    first = [lane.put("ECHO", n) for n in range(200)]
    await first[0]
    later = [lane.put("ECHO", n) for n in range(200, 220)]
    assert await asyncio.gather(*first, *later) == [b"%d" % n for n in range(220)]


async def test_thousands_who_come_go_and_are_cut_off_never_hear_the_answer_of_another() -> None:
    dice = random.Random(7)
    with redis_server() as server:
        async with lane_to(server.port) as lane, Redis.from_url(server.url) as raw:
            heard = {"own": 0, "none": 0}

            async def ask(name: str) -> None:
                for n in range(100):
                    word = f"{name}.{n}"
                    reply = lane.put("ECHO", word)
                    if dice.random() < 0.2:
                        asyncio.get_running_loop().call_soon(reply.cancel)
                    try:
                        answer = await reply
                    except asyncio.CancelledError:
                        continue
                    if isinstance(answer, Exception):
                        heard["none"] += 1
                    else:
                        assert answer == word.encode()
                        heard["own"] += 1

            async def cut() -> None:
                for _ in range(15):
                    await raw.client_kill_filter(_type="normal", skipme=True)

            await asyncio.gather(*(ask(f"asker{n}") for n in range(40)), cut())
            assert heard["own"] > 1_000
            assert await lane.put("ECHO", "still here") == b"still here"


async def test_a_connection_that_was_closed_while_nobody_asked_is_no_failure(lane: Lane, server: RedisServer) -> None:
    assert await lane.put("ECHO", "a") == b"a"
    wire = lane._wire
    async with Redis.from_url(server.url) as raw:
        await raw.client_kill_filter(_type="normal", skipme=True)
    while lane._wire is wire:  # noqa: ASYNC110  # until we hear of it; the kernel rings no bell
        await asyncio.sleep(0)
    assert await lane.put("ECHO", "b") == b"b"


@pytest.mark.parametrize("more", [b"$7\r\nanother\r\n", b"$7\r\nano"])
async def test_an_answer_that_nobody_asked_for_is_nobodys(more: bytes) -> None:
    """It would be taken for that of whoever asks next."""

    def answer(piece: bytes) -> bytes:
        return b"+OK\r\n" * piece.count(b"\r\n$6\r\nSCRIPT") or b"$3\r\nown\r\n" + more

    async with speaking(answer) as port, lane_to(port) as lane:
        for _ in range(2):
            assert await lane.put("ECHO", "own") == b"own"
            assert lane._wire is None, "the connection is not used any more"


async def test_what_is_said_while_nobody_asks_is_nobodys_either(lane: Lane) -> None:
    assert await lane.put("ECHO", "a") == b"a"
    assert lane._wire is not None
    lane._wire._transport.write(b"*2\r\n$4\r\nECHO\r\n$1\r\nb\r\n")
    wire = lane._wire
    while lane._wire is wire:  # noqa: ASYNC110  # until it is heard
        await asyncio.sleep(0)
    assert await lane.put("ECHO", "c") == b"c"


async def test_over_tls_it_is_the_same(server: RedisServer, tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    ways: list[asyncio.Task[Any]] = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", server.port)
        ways.extend(asyncio.create_task(carry(*way)) for way in ((reader, back), (there, writer)))

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    front = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=authority.server("127.0.0.1"))
    to = {"host": "127.0.0.1", "port": front.sockets[0].getsockname()[1], "protocol": 2}
    lane = Lane(SSLConnection(**to, ssl_ca_certs=str(authority.file)), ["return 1"], GENEROUS)
    replies = [lane.put("ECHO", n) for n in range(300)]
    assert await asyncio.gather(*replies) == [b"%d" % n for n in range(300)]
    stranger = Lane(SSLConnection(**to), [], GENEROUS)
    assert await names([stranger.put("ECHO", "a")]) == ["ConnectionError"], "it is told nothing"
    await lane.close()
    await stranger.close()
    front.close()
    await asyncio.gather(*ways)


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*-7\r\n", b"\x00"])
async def test_what_is_no_redis_is_as_good_as_away(said: bytes) -> None:
    def answer(piece: bytes) -> bytes:
        return b"+OK\r\n" * piece.count(b"\r\n$6\r\nSCRIPT") or said

    async with speaking(answer) as port, lane_to(port) as lane:
        assert await names([lane.put("ECHO", n) for n in range(3)]) == ["ConnectionError"] * 3


async def test_an_answer_in_many_pieces_is_one(lane: Lane) -> None:
    big = "x" * 1_000_000
    assert [await reply for reply in [lane.put("ECHO", big), lane.put("ECHO", "a")]] == [big.encode(), b"a"]


async def test_who_still_waits_when_it_is_closed_is_told(lane: Lane, server: RedisServer) -> None:
    async with lane_to(server.port) as other:
        never = other.put("ECHO", "a")  # it has not begun to connect
    assert await names([never]) == ["ConnectionError"]
    await lane.put("ECHO", "a")
    blocked = [lane.put("BLPOP", "nothing", 0), lane.put("ECHO", "a")]
    await asyncio.sleep(0)  # the batch goes
    waiting = lane.put("ECHO", "b")
    await lane.close()
    assert await names([*blocked, waiting]) == ["ConnectionError"] * 3


async def test_a_server_that_is_a_replica_now_is_left_for_whoever_answers_next() -> None:
    with redis_server() as server:
        async with lane_to(server.port) as lane, Redis.from_url(server.url) as raw:
            await raw.replicaof("127.0.0.1", 1)
            assert await names([lane.put("SET", "a", 1), lane.put("GET", "a")]) == ["ReadOnlyError", "NoneType"]
            assert lane._wire is None
            await raw.replicaof("NO", "ONE")
            assert await lane.put("SET", "a", 1) == b"OK"


async def test_a_silence_ends_in_the_time_that_was_said_and_takes_all_who_wait_with_it() -> None:
    with redis_server() as server:
        async with lane_to(server.port, seconds=0.05) as lane:
            await lane.put("ECHO", "a")
            server.pause()
            sent = lane.put("ECHO", "b")
            await asyncio.sleep(0)  # the batch goes
            assert await names([sent, lane.put("ECHO", "c")]) == ["TimeoutError"] * 2
            server.resume()
            assert await lane.put("ECHO", "d") == b"d"
