"""A listener by itself, with an application behind it, and clients that send what they like."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from proxy.limits import Limits
from proxy.line import Answer, Line
from proxy.listener import Listener, listening

PATIENCE = 30.0
HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"
Answered = Callable[[Any, Any, Any], Awaitable[None]]


class Place:
    """A listener, and what its application saw. `straight`: what answers a POST on a line; True: `app`, too."""

    def __init__(self, app: Answered | None = None, *, straight: Answer | bool = False, **limits: Any) -> None:
        self.app = app or self.echo
        self.straight = {b"/": self.spelled if straight is True else straight} if straight else {}
        self.kind = listening(Limits(**limits))
        self.state = ServerState()
        self.seen: list[Any] = []
        self.left = asyncio.Event()
        self.wires: list[asyncio.StreamWriter] = []
        self.port = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope)
        await self.app(scope, receive, send)

    async def spelled(self, line: Line) -> None:
        """What comes on a line, in the words of ASGI."""
        head: Any = None
        read = False

        async def receive() -> Any:
            nonlocal read
            if read:
                line.watch()
                await asyncio.Event().wait()
            try:
                whole = await line.body(1 << 30)
            except asyncio.CancelledError:
                return {"type": "http.disconnect"}
            read = True
            return {"type": "http.request", "body": whole, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal head
            if message["type"] == "http.response.start":
                head = message
                if not head["headers"]:  # no length is said: it comes in parts
                    await line.start(head["status"], [])
            elif line.started:
                await line.write(message["body"], more=message.get("more_body", False))
            else:
                await line.answer(head["status"], [], message["body"])

        try:
            await self({"headers": list(reversed(line._headers.items()))}, receive, send)
        except asyncio.CancelledError:
            if not line.left:
                raise
            self.left.set()

    async def body(self, receive: Any) -> bytes | None:
        """All of it; None if the client has left."""
        whole = b""
        while True:
            message: dict[str, Any] = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                return None
            whole += bytes(message["body"])
            if not message["more_body"]:
                return whole

    async def echo(self, scope: Any, receive: Any, send: Any) -> None:
        if (body := await self.body(receive)) is None:
            return
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})

    async def waits(self, scope: Any, receive: Any, send: Any) -> None:
        """Begins to answer, and goes on for as long as somebody listens."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await self.body(receive)
        while not self.left.is_set() and (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()

    @property
    def connections(self) -> list[Listener]:
        return list(self.state.connections)  # type: ignore[arg-type]  # all of them are made by this place

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Place"]:
        config = uvicorn.Config(self, http=self.kind, ws="none", lifespan="off", log_config=None, proxy_headers=False)
        config.load()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: self.kind(config=config, server_state=self.state, app_state={}), "127.0.0.1", 0
        )
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for wire in self.wires:
                wire.transport.abort()
                with contextlib.suppress(OSError):
                    await wire.wait_closed()
            for connection in self.connections:
                connection.transport.abort()
            for task in self.state.tasks:
                task.cancel()
            await asyncio.gather(*self.state.tasks, return_exceptions=True)


class Wire:
    """A client that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, place: Place, *parts: bytes) -> "Wire":
        wire = cls(*await asyncio.open_connection("127.0.0.1", place.port))
        place.wires.append(wire.writer)
        await wire.send(*parts)
        return wire

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def until(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(end), PATIENCE)

    async def rest(self) -> bytes:
        """All until the connection ends."""
        return await asyncio.wait_for(self.reader.read(), PATIENCE)
