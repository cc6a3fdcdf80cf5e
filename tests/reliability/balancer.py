"""A plain TCP balancer: all that stands between clients and replicas in a Kubernetes service, or in front of two boxes.

It knows nothing of HTTP but the probe: connections are dealt out in turn to those that were ready when they were asked
last, and stay where they are. What cannot be connected is not tried elsewhere: the client hears of it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

PROBE_SECONDS = 0.2
FAILURES = 2  # probes in a row, until nobody is sent there any more


class Balancer:
    """`places` are the ports of the replicas at this moment; 0: there is none. `async with` it."""

    def __init__(self, places: Callable[[], Sequence[int]]) -> None:
        self._places = places
        self._failed: dict[int, int] = {}  # by port, in a row; at 0 it is ready
        self._turn = 0
        self._connections: set[asyncio.Task[None]] = set()
        self.refused = 0  # connections that came to nobody
        self.port = 0

    async def __aenter__(self) -> Self:
        await self._probe()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        self._probing = asyncio.create_task(self._go_on_probing())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in (self._probing, *self._connections):
            task.cancel()
        await asyncio.gather(self._probing, *self._connections, return_exceptions=True)

    def ready(self, port: int) -> bool:
        """Whether new connections go there."""
        return self._failed.get(port, FAILURES) < FAILURES

    async def _go_on_probing(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)  # the period of the probe
            await self._probe()

    async def _probe(self) -> None:
        async def one(port: int) -> None:
            well = await _well(port)
            self._failed[port] = 0 if well else self._failed.get(port, FAILURES) + 1

        await asyncio.gather(*(one(port) for port in self._places() if port))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            ready = [port for port in self._places() if self.ready(port)]
            self._turn += 1
            theirs = await asyncio.open_connection("127.0.0.1", ready[self._turn % len(ready)])
        except (OSError, ZeroDivisionError):
            self.refused += 1
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_pipe(reader, theirs[1]), _pipe(theirs[0], writer), return_exceptions=True)
        finally:
            for end in (writer, theirs[1]):
                end.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes as they come, and the end, too; a connection that breaks, breaks on the other side as well."""
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


async def _well(port: int) -> bool:
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                return (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
            finally:
                writer.close()
    return False
