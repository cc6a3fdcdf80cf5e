"""One request of a connection, answered straight: for the endpoint that carries traffic.

What uvicorn makes of a request (a scope, a cycle, an event, the messages of ASGI, and a task that listens whether its
client leaves) costs as much as translating it. A line is all of that in one: to uvicorn's connection it is the cycle of
a request, and to whoever serves the request its client's end. An answer is one write; who has left says so.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar

import structlog
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from proxy.downstream import Downstream, Headers, too_large

_CLOSE = b"connection: close\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_END = b"0\r\n\r\n"  # of chunks
_CHUNK = b"%b%x\r\n%b\r\n"  # behind a head, if it is the first
_LAST = _CHUNK + _END
_pair = b": ".join  # a name and its value


class Standing:
    """What all answers of a moment begin with, as bytes: uvicorn makes a list of their headers anew each second."""

    def __init__(self) -> None:
        self.headers: Sequence[tuple[bytes, bytes]] = ()  # of this moment
        self.openings = _Openings(())
        self.closes = False  # each answer closes its connection: the process drains

    def renew(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """A moment later."""
        self.headers = headers
        self.openings = _Openings(headers)
        self.closes = any(name == b"connection" for name, _ in headers)


class _Openings(dict[int, bytes]):
    """By status: the first line of an answer and the headers of the moment. A `connection` among them is said by
    whoever closes it."""

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self._lines = b"".join(_pair(one) + b"\r\n" for one in headers if one[0] != b"connection")

    def __missing__(self, status: int) -> bytes:
        opening = self[status] = STATUS_LINE[status] + self._lines
        return opening


class Line(Downstream):
    """The headers of answers are ours: in lower case, of printable characters, and `connection` is not among them."""

    message_event: ClassVar = asyncio.Event()  # uvicorn rings it; nobody listens
    method = "POST"

    # What uvicorn asks a cycle.
    disconnected = False  # nobody listens any more
    response_started = False  # a part of the answer has been written
    response_complete = False

    task: "asyncio.Task[None]"  # that serves it

    _whole = False  # all of its body has come
    _size = 0  # bytes of it that have
    _news: "asyncio.Future[None] | None" = None  # of a body that has not come yet
    _watched = False  # whoever serves it wants to hear at once that the client leaves
    _head = b""  # of a stream: it goes with the first part

    def __init__(self, connection: "Connection", keep_alive: bool) -> None:
        self._connection, self._transport, self._flow = connection, connection.transport, connection.flow
        self._headers = dict(reversed(connection.headers))
        self._parts: list[bytes] = []
        self.keep_alive = keep_alive

    # ---- what the connection tells ----------------------------------------------------------------------------------

    def take(self, part: bytes, size: int, whole: bool) -> None:
        """More of the body, so many bytes; `whole`: that was all of it. Reading stops while nobody asks for what there
        is."""
        self._parts.append(part)
        self._size += size
        self._whole = whole
        if self._news is not None:
            self._wake()
        elif self._size > HIGH_WATER_LIMIT and not whole:
            self._flow.pause_reading()

    def leave(self) -> None:
        """The client has gone."""
        self.disconnected = True
        self._wake()
        if self._watched:
            self._watched = False
            self._gone(self.task)

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # ---- what is asked by whoever serves it -------------------------------------------------------------------------

    def here(self, limit: int) -> bytes | None:
        """The whole body, if it has come; None: it is to be waited for, or refused (see `body`)."""
        if not self._whole or self.disconnected or self._size > limit or self._flow.read_paused:
            return None
        parts, self._parts = self._parts, []
        return b"".join(parts)  # of one part: that part itself

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises `Failure` (413) as soon as it is more than `limit` bytes."""
        if self._flow.read_paused:
            self._flow.resume_reading()  # or it would not be heard that the client leaves
        if self.disconnected or not self._whole:
            await self._arrival(limit)
        if self._size > limit:
            raise too_large(limit)
        parts, self._parts = self._parts, []
        return b"".join(parts)

    async def _arrival(self, limit: int) -> None:
        """Until all of it is here, or too much of it."""
        self.declared(limit)
        if (self.header(b"expect") or "").lower() == "100-continue" and not self._transport.is_closing():
            self._transport.write(_CONTINUE)
        try:
            while not (self._whole or self.disconnected or self._size > limit):
                self._news = self._connection.loop.create_future()
                await self._news
        finally:
            self._news = None
        if self.disconnected:
            self.left = True
            raise asyncio.CancelledError

    def watch(self) -> None:
        """From here on, cancel the task that serves this request when the client leaves."""
        self._watched = True
        if self.disconnected:
            self.leave()

    def unwatch(self) -> None:
        """The answer is complete: what the client does now concerns nobody."""
        self._watched = False

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer."""
        self.started = self.ended = True
        self._watched = False
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if not self.disconnected:
            self._transport.write(self._headed(status, headers, b"content-length: %d\r\n\r\n" % len(body)) + body)
            self._complete()

    async def start(self, status: int, headers: Headers) -> None:
        """The answer will come in parts; its head goes with the first."""
        self.started = True
        self._head = self._headed(status, headers, b"transfer-encoding: chunked\r\n\r\n")

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """The next part of it; waits while the client reads more slowly than we write."""
        if not more:
            self.ended = True
            self._watched = False
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        head, self._head = self._head, b""
        if data:
            self._transport.write((_CHUNK if more else _LAST) % (head, len(data), data))
        else:
            self._transport.write(head if more else head + _END)
        if not more:
            self._complete()

    def _headed(self, status: int, headers: Headers, end: bytes) -> bytes:
        """A head; `end` is its last line."""
        self.response_started = True
        connection = self._connection
        standing, moment = connection.standing, connection.server_state.default_headers
        if moment is not standing.headers:
            standing.renew(moment)
        if standing.closes and connection.cycle is self:  # nobody is in line behind it
            self.keep_alive = False
        if not self.keep_alive:
            end = _CLOSE + end
        return standing.openings[status] + b"\r\n".join([*map(_pair, headers), end])

    def _complete(self) -> None:
        self.response_complete = True
        if self._parts:
            self._parts.clear()  # of a body that nobody wanted
        if not self.keep_alive:
            self._transport.close()
        self._connection.on_response_complete()


Answer = Callable[[Line], Coroutine[Any, Any, None]]


class Connection(HttpToolsProtocol):
    """uvicorn's, with lines.

    An application may have `straight`: by target, what answers a POST to it on a `Line`. Every other request goes
    uvicorn's way: it hears of one when its head is complete.
    """

    cycle: Any  # of the last request that came: a `Line`, or uvicorn's
    pipeline: Any  # cycles that wait for their turn, and what answers them
    standing: Standing

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.straight: Mapping[bytes, Answer] = getattr(self.app, "straight", {})
        self.serving: Any = None  # a cycle too; `cycle` is the last of those that came at once

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def go_straight(self, answer: Answer) -> None:
        """The head of a request is complete; it will be answered on a line."""
        parser, last = self.parser, self.cycle
        line = self.cycle = Line(self, parser.should_keep_alive() and parser.get_http_version() != "1.0")
        if last is None or last.response_complete:
            self._start_straight(line, answer)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((line, answer))

    def go_uvicorns_way(self) -> None:
        """The head of a request is complete; uvicorn hears all of it now."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def leave(self) -> None:
        """Nobody listens any more to whom we speak."""
        serving = self.serving
        if serving is None or serving.response_complete:
            return
        if isinstance(serving, Line):
            serving.leave()
        else:
            serving.disconnected = True
            serving.message_event.set()

    def _start_straight(self, line: Line, answer: Answer) -> None:
        self.serving = line
        task = line.task = self.loop.create_task(self._serve(line, answer))
        self.tasks.add(task)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if isinstance(cycle, Line):
            self._start_straight(cycle, app)
        else:
            self.serving = cycle
            super()._start_asgi_task(cycle, app)

    async def _serve(self, line: Line, answer: Answer) -> None:
        try:
            await answer(line)
        except Exception:
            structlog.get_logger().exception("internal error")
        finally:
            self.tasks.discard(line.task)
            if not (line.response_complete or line.disconnected):
                self.transport.close()  # half an answer must not look like a whole one
