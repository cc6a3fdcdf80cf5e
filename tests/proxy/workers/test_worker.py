"""A worker's end of the line, with the other end in the test's hand."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from proxy.workers import line
from proxy.workers.worker import Worker
from tests.proxy.replicas import until


@pytest.fixture
def pair() -> Iterator[tuple[Worker, socket.socket]]:
    theirs, ours = socket.socketpair()
    ours.settimeout(30)
    with theirs, ours:
        yield Worker(2, theirs), ours


async def told(ours: socket.socket, word: bytes, *files: socket.socket) -> None:
    assert line.say(ours, word, files)


async def next_word(ours: socket.socket) -> bytes:
    word, _ = await asyncio.to_thread(line.heard, ours)
    return word


def attached(worker: Worker) -> list[str]:
    did: list[str] = []
    worker.attach(
        drain=lambda: did.append("drain"), cut=lambda: did.append("cut"), reconfigure=lambda: did.append("read")
    )
    return did


async def test_it_does_what_it_is_told_and_takes_the_end_of_the_line_for_a_wish_to_drain(pair):
    worker, ours = pair
    did = attached(worker)
    for word in (line.RECONFIGURE, line.DRAIN, line.CUT):
        await told(ours, word)
    await until(lambda: len(did) == 3)
    ours.close()
    await until(lambda: len(did) == 4)
    assert did == ["read", "drain", "cut", "drain"]


async def test_it_says_how_far_it_is(pair):
    worker, ours = pair
    worker.ready()
    worker.shut()
    assert [await next_word(ours), await next_word(ours)] == [line.READY, line.SHUT]


async def test_it_asks_for_its_sockets(pair):
    worker, ours = pair
    with socket.create_server(("127.0.0.1", 0)) as one:
        await told(ours, line.SOCKETS, one)
        (got,) = worker.sockets()
        assert got.getsockname() == one.getsockname()
        got.close()
    assert await next_word(ours) == line.BEGIN


@pytest.mark.parametrize("word", [line.DRAIN, b""], ids=["stopped", "the supervisor is gone"])
def test_it_gets_none_if_it_is_not_wanted_any_more(pair, word):
    worker, ours = pair
    if word:
        line.say(ours, word)
    else:
        ours.shutdown(socket.SHUT_RDWR)
    assert worker.sockets() == []


async def test_to_who_asks_it_tells_its_figures(pair):
    worker, ours = pair
    attached(worker)

    async def figures() -> bytes:
        return b"# HELP a A\na 1\n" * 50_000  # more than fits into a socket at once

    worker.tells = figures
    here, there = socket.socketpair()
    with here:
        with there:
            await told(ours, line.ASK, there)
        parts = []
        while part := await asyncio.to_thread(here.recv, 1 << 20):
            parts.append(part)
    assert b"".join(parts) == b"2\n" + await figures() + b"# EOF\n"


async def test_a_listener_that_goes_away_does_no_harm(pair):
    worker, ours = pair
    did = attached(worker)

    async def figures() -> bytes:
        return b"a 1\n" * 1_000_000

    worker.tells = figures
    here, there = socket.socketpair()
    here.close()
    with there:
        await told(ours, line.ASK, there)
    await told(ours, line.CUT)
    await until(lambda: did == ["cut"])


SAID = {
    "whole": b"3\n# HELP a A\n# TYPE a gauge\na 5\n# EOF\n",
    "of one that died over it": b"4\n# HELP a A\n# TYPE a gauge\na 7",
    "of one that died before": b"",
}


async def test_the_figures_of_all_are_its_own_and_what_others_told_to_the_end(pair):
    worker, ours = pair
    attached(worker)
    asking = asyncio.ensure_future(worker.figures(b"# HELP a A\n# TYPE a gauge\na 1\n"))
    assert await next_word(ours) == line.ASK
    mine, theirs = zip(*(socket.socketpair() for _ in SAID), strict=True)
    for text, end in zip(SAID.values(), mine, strict=True):
        end.sendall(text)
        end.close()
    await told(ours, line.READ, *theirs)
    for end in theirs:
        end.close()
    assert await asking == b'# HELP a A\n# TYPE a gauge\na{worker="2"} 1\na{worker="3"} 5\n'


async def test_without_a_supervisor_its_figures_are_its_own(pair):
    worker, ours = pair
    attached(worker)
    ours.close()
    assert await worker.figures(b"# HELP a A\na 1\n") == b'# HELP a A\na{worker="2"} 1\n'


async def test_who_is_not_introduced_in_time_tells_its_own_and_leaves_nothing_open():
    theirs, ours = socket.socketpair()
    worker = Worker(1, theirs, patience=0.05)
    with theirs, ours:
        attached(worker)
        assert await worker.figures(b"# HELP a A\na 1\n") == b'# HELP a A\na{worker="1"} 1\n'
        here, there = socket.socketpair()
        with here:
            with there:
                await told(ours, line.READ, there)  # too late
            assert await asyncio.to_thread(here.recv, 1) == b""
