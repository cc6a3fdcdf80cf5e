"""A vendor that answers by a script, and remembers who was connected."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

Script = Callable[["Caller"], Awaitable[object]]


class Caller:
    """One connection to the vendor."""

    def __init__(self, vendor: "Vendor", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.vendor, self.reader, self.writer = vendor, reader, writer

    async def request(self) -> tuple[bytes, bytes]:
        """The next request: its head without the blank line, and its body. Raises `IncompleteReadError` at the end."""
        head = (await self.reader.readuntil(b"\r\n\r\n"))[:-4]
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        body = await self.reader.readexactly(int(length.partition(b":")[2]))
        self.vendor.heard.append((head, body))
        return head, body

    def say(self, data: bytes) -> None:
        """Send, without waiting for anybody to listen."""
        self.writer.write(data)


class Vendor:
    """`connections` that were made, `open` ones; `left` is set whenever a caller has gone."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.connections = self.open = 0
        self.heard: list[tuple[bytes, bytes]] = []
        self.left = asyncio.Event()
        self.port = 0
        self.protocols: list[str | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        if (tls := writer.get_extra_info("ssl_object")) is not None:
            self.protocols.append(tls.selected_alpn_protocol())
        try:
            await self._script(Caller(self, reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
            self.open -= 1
            self.left.set()

    async def empty(self) -> None:
        """Wait until nobody is connected."""
        async with asyncio.timeout(20):
            while self.open:
                self.left.clear()
                await self.left.wait()


@asynccontextmanager
async def vendor(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Vendor]:
    """A vendor on loopback. At the end all callers have to be gone."""
    one = Vendor(script)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0, ssl=tls)
    one.port = server.sockets[0].getsockname()[1]
    async with server:
        yield one
        await one.empty()


def answering(*answers: bytes) -> Script:
    """To each request of a connection the next answer; after the last one, it closes."""

    async def script(caller: Caller) -> None:
        for answer in answers:
            await caller.request()
            caller.say(answer)

    return script


async def kind(caller: Caller) -> None:
    """Answers all, and for ever."""
    while True:
        await caller.request()
        caller.say(OK)
