"""Writes of one turn go out when it is over: in order, whole, and before whatever ends the connection."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.outgoing import Outgoing

LARGE = b"x" * 65_536


@asynccontextmanager
async def lines(number: int = 1) -> AsyncIterator[list[tuple[Outgoing, socket.socket]]]:
    """So many connections, each with its other end."""
    loop = asyncio.get_running_loop()
    found = []
    for _ in range(number):
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        found.append((Outgoing(transport, loop), theirs))
    yield found
    for outgoing, theirs in found:
        outgoing.abort()
        theirs.close()


def came(theirs: socket.socket) -> bytes | None:
    """What is in the kernel; None if nothing is."""
    try:
        return theirs.recv(1_000_000)
    except BlockingIOError:
        return None


async def heard(theirs: socket.socket) -> bytes:
    """All, up to the end."""
    loop, parts = asyncio.get_running_loop(), list[bytes]()
    while part := await loop.sock_recv(theirs, 1_000_000):
        parts.append(part)
    return b"".join(parts)


async def test_all_that_was_written_in_a_turn_is_there_when_it_is_over_and_not_before():
    async with lines(2) as [(one, first), (other, second)]:
        one.write(b"a")
        other.write(b"b")
        one.write(b"c")
        one.write(b"")
        assert (came(first), came(second)) == (None, None)
        await asyncio.sleep(0)
        assert (came(first), came(second)) == (b"ac", b"b")
        one.write(b"d")
        await asyncio.sleep(0)
        assert (came(first), came(second)) == (b"d", None)


async def test_what_is_large_goes_at_once_behind_what_was_written_before():
    async with lines() as [(outgoing, theirs)]:
        outgoing.write(b"a")
        outgoing.write(LARGE)
        outgoing.write(b"b")
        outgoing.close()
        assert await heard(theirs) == b"a" + LARGE + b"b"


async def test_what_is_much_together_is_handed_over_in_order_too():
    async with lines() as [(outgoing, theirs)]:
        parts = [b"a" * 20_000, b"b", b"c" * 20_000]
        for part in parts:
            outgoing.write(part)
        outgoing.close()
        assert await heard(theirs) == b"".join(parts)


@pytest.mark.parametrize("end", ["close", "write_eof"])
async def test_what_was_written_comes_before_the_end(end):
    async with lines() as [(outgoing, theirs)]:
        outgoing.write(b"the last words")
        getattr(outgoing, end)()
        assert await heard(theirs) == b"the last words"


async def test_what_is_aborted_is_not_sent():
    async with lines() as [(outgoing, theirs)]:
        outgoing.write(b"too late")
        outgoing.abort()
        await asyncio.sleep(0)
        assert await heard(theirs) == b""


async def test_whoever_writes_on_a_closed_connection_hears_nothing_of_it():
    async with lines() as [(outgoing, theirs)]:
        outgoing.write(b"a")
        outgoing._transport.abort()
        assert await heard(theirs) == b""
        outgoing.write(b"b")
        await asyncio.sleep(0)
        assert outgoing.is_closing()


async def test_what_waits_here_counts_as_not_taken():
    async with lines() as [(outgoing, _)]:
        outgoing.write(b"four")
        outgoing.write(b"more")
        assert outgoing.get_write_buffer_size() == 8
        await asyncio.sleep(0)
        assert outgoing.get_write_buffer_size() == 0


async def test_all_else_is_the_transports_own():
    async with lines() as [(outgoing, _)]:
        assert outgoing.get_extra_info("socket").fileno() > 0
        assert outgoing.can_write_eof()
