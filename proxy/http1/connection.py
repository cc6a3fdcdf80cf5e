"""One connection to a vendor: a request at a time, and the answer as it comes.

What is written here is written for speed, since every request and every part of a stream passes. A request is one
`write`. An answer wakes whoever waits for it once, not once per event of the parser: `wanted` says for what. Clocks are
lazy: a timer is armed only if the one that is armed rings too late, and looks again when it rings. The parser is in C,
and hands headers and bodies straight to a dict and a list, without a function of ours in between.
"""

import asyncio
import math
import selectors
from collections.abc import Callable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from proxy.outgoing import Outgoing

# What a wait is for.
HEAD, SOME, WHOLE = range(3)

# Bytes that arrived and were not read: beyond these the vendor has to wait (those of one more read may come on top).
MOST_UNREAD = 256 * 1024
# While an answer is gathered whole, whoever waits is woken after so many bytes: to join what came in small pieces,
# which take many times their own size, and to see whether it ever ends.
MOST_GATHERED = 1024 * 1024
# Bytes in a row that bring nothing of a body: a head, words before it ("100 Continue"), a chunk's extensions, trailers.
MOST_BARREN = 128 * 1024
MOST_HEADERS = 256
_JOINED = 16 * 1024  # bytes of a body: up to so many are copied behind their head, and both are one write
_TICK = 0.002  # seconds by which a clock of milliseconds may ring too early
# Shorter than any vendor's own: a connection that the other side is about to close must not be taken for good.
KEEPALIVE_SECONDS = 30.0
_LOOKED_AT = 1.0  # seconds: what lay idle for longer is looked at before it is used


class Malformed(Exception):
    """What came is no HTTP/1.1, or more than any answer needs."""


class Cut(ConnectionError):
    """The other side closed before all was said."""


class Connection(asyncio.Protocol):
    """Made by `proxy.http1.dial`; used by one request at a time.

    `status` and `head` (names as they were sent; of those that repeat, the first) are the answer's once it is `headed`;
    `parts` are those of its body that were not taken yet; `complete` says that no more will come. `lost` is why the
    connection is gone.
    """

    __slots__ = (
        "_alarm", "_barren", "_closed", "_deadline", "_idle", "_interim", "_loop", "_parser", "_paused", "_raw",
        "_timer", "_transport", "_unread", "_waiter", "_wanted", "complete", "head", "headed", "keep", "lost",
        "on_body", "on_header", "parts", "patience", "since", "status",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, closed: Callable[["Connection"], object]) -> None:
        self._loop = loop
        self._closed = closed  # is told when it is gone
        self._transport: Outgoing
        self._waiter: asyncio.Future[bool] | None = None
        self._wanted = HEAD
        self._timer: asyncio.TimerHandle | None = None
        self._alarm = math.inf  # when the timer rings
        self._deadline = self._idle = 0.0
        self._unread = self._barren = 0
        self._paused = self._interim = False
        self._raw: dict[bytes, bytes] = {}
        self.parts: list[bytes] = []
        self.patience = 0.0  # until when the vendor may be silent
        self.since = 0.0  # when it was put into the pool
        self.status = 0
        self.head: dict[bytes, bytes] = {}
        self.headed = False
        self.complete = True  # nothing is awaited: what comes now was not asked for
        self.keep = True
        self.lost: Exception | None = None
        # The parser takes these as they are: built-in methods, each cheaper than a call of a function of ours.
        self.on_header = self._raw.setdefault
        self.on_body = self.parts.append
        self._parser = HttpResponseParser(self)

    # --- what is asked of it

    def ask(self, head: bytes, body: bytes) -> None:
        """Send a request, whole, when this turn of the event loop is over. What the kernel does not take then lies in
        the transport."""
        self.complete = self.headed = False
        self._barren = 0
        if len(body) <= _JOINED:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    def until(self, wanted: int, patience: float, deadline: float, idle: float = 0.0) -> asyncio.Future[bool]:
        """To be awaited: until `wanted` has come, or never will; False if the time was over before.

        `patience` and `deadline` are times of the loop's clock: which one it was that ended is seen by `self.patience`.
        While a `WHOLE` answer comes, patience is renewed by each part, for `idle` seconds.
        """
        waiter = self._waiter = self._loop.create_future()
        if self.lost is not None:
            waiter.set_result(True)
            return waiter
        if self._paused:
            self._resume()
        self._wanted = wanted
        self._deadline = deadline
        self._idle = idle
        self.patience = patience
        due = patience if patience < deadline else deadline
        if due < self._alarm:
            self._arm(due)
        return waiter

    def take(self) -> bytes:
        """All of the body that has arrived and was not taken yet."""
        data = b"".join(self.parts)  # of one part: that part itself
        self.parts.clear()
        self._unread = 0
        if self._paused:
            self._resume()
        return data

    @property
    def reusable(self) -> bool:
        """Whether nothing is left of the last request: it was sent whole, its answer was read whole, and both sides
        mean to go on."""
        return self.complete and self.keep and not self.parts and not self._transport.get_write_buffer_size()

    def alive(self, now: float) -> bool:
        """Whether an idle connection can be used again: nothing came on it, not even its end.

        The loop tells of an end only in its next round. What lay idle for long is therefore looked at: else a request
        would be sent, and be lost, on a connection that the vendor has closed already.
        """
        if self._transport.is_closing():
            return False
        age = now - self.since
        return age < _LOOKED_AT or (age < KEEPALIVE_SECONDS and not _readable(self._transport))

    def close(self) -> None:
        """An idle connection is not wanted any more."""
        self.keep = False
        self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is under way; what was not sent is not sent."""
        self.keep = False
        self._transport.abort()

    # --- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        # uvloop's transports do not inherit from asyncio's.
        self._transport = Outgoing(cast(asyncio.Transport, transport), self._loop)

    def data_received(self, data: bytes) -> None:
        """Bytes came; up to 256 KiB."""
        if self.complete:
            self.abort()  # whose answer this is, nobody knows
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._stop(error)
        if not self.complete:  # else what is not taken yet is all that there will be
            if self.parts:
                self._barren = 0
                self._unread += len(data)
                if self._wanted == WHOLE:
                    self._renew()
                elif self._unread > MOST_UNREAD and not self._paused and not self._transport.is_closing():
                    self._paused = True
                    self._transport.pause_reading()
            else:
                self._barren += len(data)
                if self._barren > MOST_BARREN or len(self._raw) > MOST_HEADERS:
                    self._stop(None)
        waiter = self._waiter
        if waiter is not None and not waiter.done() and (self.complete or self._ready()):
            waiter.set_result(True)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed, by whomever."""
        if self.lost is None:
            # An answer without a length ends with its connection; any other was cut.
            if exc is None and self.headed and not self.complete and _endless(self.head):
                self.complete = True
            self.lost = exc or Cut("closed")
        self.keep = False
        del self._parser  # it holds our methods: neither would go before the next search for cycles
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)
        self._closed(self)

    # --- what the parser tells, beside `on_header` and `on_body`

    def on_message_begin(self) -> None:
        """The first byte of an answer."""
        if self.complete:
            raise Malformed("a second answer")  # stops the parser: nothing of it gets among the parts of the first

    def on_headers_complete(self) -> None:
        """The head is there. One before 200 is followed by another; but after a 101 the parser stops by itself, since
        it is an answer to what is never asked."""
        raw = self._raw
        if len(raw) > MOST_HEADERS:
            raise Malformed("too many headers")
        status = self._parser.get_status_code()
        if status < 200:
            self._interim = True
        else:
            self.status = status
            self.head = raw.copy()  # trailers go to the other
            self.headed = True

    def on_message_complete(self) -> None:
        """The answer is there, with its trailers, which nobody reads."""
        self._raw.clear()
        if self._interim:
            self._interim = False
        else:
            self.keep = self._parser.should_keep_alive()
            self.complete = True

    # --- inside

    def _ready(self) -> bool:
        if self.lost is not None:
            return True
        if self._wanted == WHOLE:
            return self._unread > MOST_GATHERED
        return self.headed if self._wanted == HEAD else bool(self.parts)

    def _resume(self) -> None:
        self._paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _renew(self) -> None:
        """A part came of an answer that is awaited whole."""
        self.patience = self._loop.time() + self._idle
        due = min(self.patience, self._deadline)
        if due < self._alarm:
            self._arm(due)

    def _stop(self, error: Exception | None) -> None:
        """No more is read. An answer that was complete stands: what came behind it harms none but the connection."""
        if not self.complete and self.lost is None:
            self.lost = error or Malformed("more than any answer needs")
        self.abort()

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._alarm = due
        self._timer = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer, self._alarm = None, math.inf
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        due = min(self.patience, self._deadline)
        if due > self._loop.time() + _TICK:
            self._arm(due)
        else:
            waiter.set_result(False)


def _endless(head: dict[bytes, bytes]) -> bool:
    """Whether an answer with this head is as long as its connection lives (RFC 9112, 6.3)."""
    return {b"content-length", b"transfer-encoding"}.isdisjoint(map(bytes.lower, head))


def _readable(transport: Outgoing) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(transport.get_extra_info("socket"), selectors.EVENT_READ)
        return bool(selector.select(0))
