"""One HTTP/1.1 connection of a client: parses requests, writes answers, keeps alive, feels back-pressure, can break."""

import asyncio
import http
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

import httptools

from proxy.simulator.vocabulary import Request

Handler = Callable[["Connection", Request], None]

STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in http.HTTPStatus}
LINGER_ZERO = struct.pack("ii", 1, 0)  # close() then sends RST instead of FIN


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """The status line and the headers, without the blank line that ends them."""
    line = STATUS_LINES.get(status) or f"HTTP/1.1 {status} Overloaded\r\n".encode()
    return line + "".join(f"{name}: {value}\r\n" for name, value in headers).encode()


def chunk(data: bytes) -> bytes:
    """`data` in the framing of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Connection(asyncio.Protocol):
    """Gives one request at a time to `handle`, which answers at once or through a task started with `run`.

    Requests that come before the answer is out (pipelining) wait. Reading never pauses, so that a client's leaving is
    noticed while it waits.
    """

    def __init__(self, handle: Handler, peers: "set[Connection]") -> None:
        self.handle = handle
        self.peers = peers
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.parser = httptools.HttpRequestParser(self)
        self.waiting: deque[tuple[Request, bool]] = deque()
        self.busy = False
        self.keep_alive = True
        self.gone = False
        self.task: asyncio.Task[None] | None = None
        self.thaw: asyncio.Future[None] | None = None
        self.url = b""
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from asyncio's
        self.peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self.peers.discard(self)
        self.resume_writing()
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self.thaw = self.loop.create_future()

    def resume_writing(self) -> None:
        if self.thaw is not None and not self.thaw.done():
            self.thaw.set_result(None)
        self.thaw = None

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # nobody upgrades here: the request itself was already handed over
        except httptools.HttpParserError:
            self.transport.write(head(400, [("content-length", "0"), ("connection", "close")]) + b"\r\n")
            self.transport.close()

    # What the parser tells.

    def on_message_begin(self) -> None:
        self.url, self.headers, self.body = b"", {}, []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        url = httptools.parse_url(self.url)
        query = dict(parse_qsl(url.query.decode("latin-1"), keep_blank_values=True)) if url.query else {}
        method = self.parser.get_method().decode("latin-1")
        path = (url.path or b"/").decode("latin-1")
        request = Request(method, unquote(path) if "%" in path else path, query, self.headers, b"".join(self.body))
        if self.busy:
            self.waiting.append((request, self.parser.should_keep_alive()))
        else:
            self._begin(request, self.parser.should_keep_alive())

    def _begin(self, request: Request, keep_alive: bool) -> None:
        self.busy, self.keep_alive = True, keep_alive
        self.handle(self, request)

    # What a handler does.

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Answer in the background; the client's leaving cancels the work."""
        if self.gone:
            work.close()
            return
        self.task = self.loop.create_task(work)

    def write(self, data: bytes) -> None:
        """Raw bytes, unless the client is gone."""
        if not self.gone:
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written."""
        if self.thaw is not None:
            await self.thaw

    def reply(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """A whole answer in one write; the connection is then ready for the next request."""
        self.write(head(status, headers) + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        self.finish()

    def finish(self) -> None:
        """The answer is complete: take the next request, or close if the client wanted that."""
        self.busy, self.task = False, None
        if not self.keep_alive:
            self.transport.close()
        elif self.waiting:
            self.loop.call_soon(self._next)

    def _next(self) -> None:
        if self.waiting and not self.busy and not self.gone:
            self._begin(*self.waiting.popleft())

    def close(self) -> None:
        """End with FIN after what was written."""
        self.transport.close()

    def reset(self) -> None:
        """End with RST. What the kernel already took of earlier writes still arrives."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.gone:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self.transport.abort()
