"""One request of a connection, answered straight: an extension of ASGI's scope, for the endpoint that carries traffic.

ASGI's messages are dicts whose headers the server looks through one by one, and head and body are two writes; and to
learn that a client has left takes a task that listens for it. Here an answer is one write, and who has left says so.
All of that is done to the request's own cycle of uvicorn's, so that it can be gone on with in either way.
"""

from collections.abc import Callable, Sequence

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

Headers = Sequence[tuple[bytes, bytes]]
_CLOSE = b"connection: close\r\n"


class Line:
    """Headers are ours: in lower case, and of printable characters. `leaving` is called when the client is `gone`."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._head: bytes | None = None  # of a stream: it goes with the first part
        self.leaving: Callable[[], None] | None = None

    @property
    def gone(self) -> bool:
        """Nobody listens any more."""
        return bool(self._cycle.disconnected)

    def leave(self) -> None:
        """The client has gone; called by the connection."""
        if self.leaving is not None:
            leaving, self.leaving = self.leaving, None
            leaving()

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer."""
        cycle = self._cycle
        if await self._may_speak():
            cycle.chunked_encoding, cycle.expected_content_length = False, 0
            cycle.transport.write(self._headed(status, headers, b"content-length: %d\r\n\r\n" % len(body)) + body)
            self._complete()

    def start(self, status: int, headers: Headers) -> None:
        """The answer will come in parts; its head goes with the first."""
        self._cycle.chunked_encoding = True
        self._head = self._headed(status, headers, b"transfer-encoding: chunked\r\n\r\n")

    async def write(self, data: bytes, *, more: bool) -> None:
        """The next part of it; waits while the client reads more slowly than we write."""
        if not await self._may_speak():
            return
        head, self._head = self._head or b"", None
        part = b"%b%x\r\n%b\r\n" % (head, len(data), data) if data else head
        self._cycle.transport.write(part if more else part + b"0\r\n\r\n")
        if not more:
            self._complete()

    async def _may_speak(self) -> bool:
        cycle = self._cycle
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        return not cycle.disconnected

    def _headed(self, status: int, headers: Headers, end: bytes) -> bytes:
        cycle = self._cycle
        cycle.response_started, cycle.waiting_for_100_continue = True, False
        lines = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            if name == b"connection":
                cycle.keep_alive = False  # said below
            else:
                lines += name, b": ", value, b"\r\n"
        if not cycle.keep_alive:
            lines.append(_CLOSE)
        lines.append(end)
        return b"".join(lines)

    def _complete(self) -> None:
        cycle = self._cycle
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
