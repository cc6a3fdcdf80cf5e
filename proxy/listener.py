"""The outermost door: HTTP/1.1 as it comes from anybody, with an end to everything that a client may draw out.

uvicorn's protocol, and what it leaves open: how large a head may be, how long a head and a body may take to arrive, how
long an answer may lie unread, how many connections and how many bytes of bodies there may be at once. What it refuses,
it refuses in OpenAI's words. Requests that are traffic go past what uvicorn makes of one: see `proxy.line`.

All of it is looked at once in a beat, over all connections, and timed from the first beat that sees it: so a request
costs neither timers nor clocks, and hardly anything at all.
"""

import asyncio
import math
from enum import Enum
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from adapters.base import Failure, Kind
from adapters.completion import error_object
from proxy.limits import Limits
from proxy.line import Connection, Line, Standing
from proxy.outgoing import Outgoing

_BEAT_SECONDS = 1.0
_LINGER_SECONDS = 2.0  # for a client to hear why it was refused, while it goes on sending
_IDLE_SECONDS = 75.0  # without a request; in place of uvicorn's timers
_PER_HEADER = 4  # bytes beside name and value
_CALLER = "invalid_request_error"


class _Phase(Enum):
    """What a connection waits for."""

    IDLE = "request"
    HEAD = "head"  # or the rest of it
    BODY = "body"
    ANSWER = "answer"
    LINGER = "end"  # it was refused, and may hear why


_HEAD, _BODY, _ANSWER, _IDLE, _LINGER = _Phase.HEAD, _Phase.BODY, _Phase.ANSWER, _Phase.IDLE, _Phase.LINGER


class _Trailers(list[tuple[bytes, bytes]]):
    """Header lines behind a body are read and dropped: they are no headers (RFC 9110 section 6.5.1), and whoever stands
    in front of us has not looked at them."""

    def append(self, _: tuple[bytes, bytes]) -> None:
        pass


_TRAILERS = _Trailers()


class House:
    """What all connections of a process share."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.most_head, self.most_bodies = limits.head, limits.bodies  # bytes
        self.standing = Standing()
        self.bodies = 0  # bytes of requests that are not answered yet
        self.patience = {  # seconds
            _IDLE: _IDLE_SECONDS,
            _HEAD: limits.head_seconds,
            _BODY: limits.body_seconds,
            _LINGER: _LINGER_SECONDS,
        }
        self._beat = min(_BEAT_SECONDS, *(seconds / 2 for seconds in (*self.patience.values(), limits.unread_seconds)))
        self._looking: asyncio.TimerHandle | None = None

    def watch(self, connections: "set[Any]", loop: asyncio.AbstractEventLoop) -> None:
        """Look at them from now on, for as long as there are any."""
        if self._looking is None:
            self._looking = loop.call_later(self._beat, self._look, connections, loop)

    def _look(self, connections: "set[Any]", loop: asyncio.AbstractEventLoop) -> None:
        self._looking = None
        now = loop.time()
        for connection in tuple(connections):
            connection.look(now)
        if connections:
            self.watch(connections, loop)


class Listener(Connection):
    """One connection. A class for a process is made by `listening`."""

    house: ClassVar[House]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # What one read brings of a body. The parser, made with the rest, takes this built-in method as it is: cheaper
        # than a call of a function of ours for each part.
        self._arrived: list[bytes] = []
        self.on_body = self._arrived.append  # type: ignore[method-assign, assignment]  # that is how the parser is told
        super().__init__(*args, **kwargs)
        self.standing = self.house.standing
        self._phase = _HEAD
        self._seen: tuple[_Phase, Any] | None = None  # what the last beat saw: the phase, and of which request
        self._since = 0.0  # seconds, by the loop's clock: the first beat that saw it
        self._read = 0  # bytes of this head, and perhaps of what came with it
        self._body = 0  # bytes of bodies that count among the house's
        self._failure: Failure | None = None  # why what is being parsed cannot be had
        self._unread = 0  # bytes of an answer that the client has not taken
        self._unread_since = 0.0

    # ---- the connection ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.transport = Outgoing(transport, self.loop)  # type: ignore[assignment]  # all that it is asked, it is
        self.house.watch(self.connections, self.loop)
        if len(self.connections) > self.house.limits.connections:
            self._refuse(_overloaded("There are too many connections."))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget_body()
        # uvicorn tells the last request that came; the one that is being served may be another, with others behind it.
        self.leave()
        self.cycle = self.serving = self._seen = None  # which know us: nothing is left for the collector

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase is _IDLE:
            self._phase = _HEAD
            self._read = len(data)
        elif phase is _LINGER:
            return
        else:
            self._read += len(data)
        try:
            self.parser.feed_data(data)
            if self._arrived:
                self.on_message_complete(whole=False)
        except (httptools.HttpParserError, Failure):  # by itself, or because we have told it to
            message = "Invalid HTTP request received."
            refused = Failure(Kind.CALLER, message, status=400, type=_CALLER, code="invalid_http")
            self._refuse(self._failure or refused)
        except httptools.HttpParserUpgrade:
            self._serve_all_the_same()
        if self._phase is _HEAD and self._read > self.house.most_head:
            self._refuse(self._too_large())

    # ---- the parser -------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self._phase = _HEAD  # it may be behind another one, in the same read

    def on_headers_complete(self) -> None:
        limit = self.house.most_head
        if self._read > limit and self._size() > limit:
            self._failure = self._too_large()
            raise self._failure
        answer = self.straight.get(self.url)
        if answer is not None and self.parser.get_method() == b"POST":
            self.go_straight(answer)
        else:
            self.go_uvicorns_way()
        self.headers = _TRAILERS
        self._read = 0
        self._phase = _BODY

    def on_message_complete(self, whole: bool = True) -> None:
        """Hand on what has come of a body; unless `whole`, it is not all yet."""
        cycle, house, arrived = self.cycle, self.house, self._arrived
        body = b"".join(arrived)  # of one part: that part itself
        arrived.clear()
        if whole:
            self._phase = _IDLE if cycle.response_complete else _ANSWER
        if cycle.response_complete:
            return
        size = len(body)
        self._body += size
        bodies = house.bodies = house.bodies + size
        if bodies > house.most_bodies:
            self._failure = _overloaded("Too much is being sent to it at once.")
            raise self._failure
        if isinstance(cycle, Line):
            cycle.take(body, size, whole)
        else:
            super().on_body(body)
            if whole:
                super().on_message_complete()

    def on_response_complete(self) -> None:
        self.house.bodies -= self._body
        self._body = 0
        if self.flow.read_paused or self.pipeline:
            self._go_on()
        if self._phase is _ANSWER and self.cycle.response_complete:
            self._phase = _IDLE

    def _go_on(self) -> None:
        """With what had to wait for an answer."""
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())

    def _serve_all_the_same(self) -> None:
        """An upgrade is not to be had. The request is served as it is, as RFC 9110 section 7.8 has it; the parser takes
        no other one behind it."""
        if self._over and self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    # ---- the ends ---------------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Whether it is over with this connection. Called once in a beat."""
        phase, seen = self._phase, (self._phase, self.cycle)
        seconds = self.house.patience.get(phase, math.inf)
        if seen != self._seen or self.flow.read_paused:  # it goes on; or it is we who do not read
            self._seen, self._since = seen, now
        elif now - self._since > seconds:
            late = phase is _BODY or (phase is _HEAD and self._read)
            self._refuse(_slow(phase.value, seconds) if late else None)
        self._look_unread(now)

    def _look_unread(self, now: float) -> None:
        """What nobody reads is not kept for ever. While an answer is being written, its size says nothing: it shrinks
        for certain only where nothing is added to it."""
        unread = self.transport.get_write_buffer_size()
        grows = not (self.flow.write_paused or self._over or self.transport.is_closing())
        if not unread or grows or not self._unread or unread < self._unread:
            self._unread, self._unread_since = (0 if grows else unread), now
        elif now - self._unread_since > self.house.limits.unread_seconds:
            self.transport.abort()

    @property
    def _over(self) -> bool:
        """Nothing is being answered."""
        return self.serving is None or self.serving.response_complete

    def _size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + _PER_HEADER for name, value in self.headers)

    def _too_large(self) -> Failure:
        message = f"The head of the request is larger than {self.house.limits.head} bytes."
        return Failure(Kind.CALLER, message, status=431, type=_CALLER, code="request_headers_too_large")

    def _forget_body(self) -> None:
        self.house.bodies -= self._body
        self._body = 0

    def _refuse(self, failure: Failure | None) -> None:
        """Say why, if that can be said now, and end the connection. None: there is nobody to say it to."""
        under_way = not self._over and self.serving is not None and self.serving.response_started
        self.leave()
        self._forget_body()
        self.pipeline.clear()
        if failure is None or under_way:  # inside another answer it would be a part of that
            self.transport.close()
            return
        body = error_object(failure)
        lines = [b"content-type: application/json", b"content-length: %d" % len(body), b"connection: close"]
        if failure.retry_after is not None:
            lines.append(b"retry-after: %d" % failure.retry_after)
        self.transport.write(STATUS_LINE[failure.status] + b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self._phase = _LINGER
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()  # to close it at once, with bytes unread, would take the answer back
        else:
            self.transport.close()


def listening(limits: Limits) -> type[Listener]:
    """The protocol of a process, for `uvicorn.Config(http=...)`."""

    class Listening(Listener):
        house = House(limits)

    return Listening


def _slow(what: str, seconds: float) -> Failure:
    message = f"The {what} of the request did not arrive within {seconds:g} seconds."
    return Failure(Kind.CALLER, message, status=408, type=_CALLER, code="request_timeout")


def _overloaded(why: str) -> Failure:
    return Failure(Kind.OVERLOADED, f"The proxy is overloaded. {why}", status=503, code="overloaded", retry_after=1)
