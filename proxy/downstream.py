"""The client's end of the line: its request's body, the answer to it, and whether it is still there.

Works on ASGI's three callables themselves: a framework's response objects cost more than all the rest of a request,
and none of them closes a vendor's stream in time when a client leaves. `proxy.line` does the same for the requests that
are traffic, past ASGI.
"""

import asyncio
from collections.abc import Iterable, Sequence

from litestar.types import Receive, Scope, Send

from adapters.base import Failure, Kind

_MOMENT_SECONDS = 1.0

Headers = Sequence[tuple[bytes, bytes]]


class Downstream:
    """One request, and the answer to it."""

    started = False  # something has been said: no second answer can be given
    ended = False  # the answer is complete
    left = False  # the client has gone; nobody listens
    coming = 0.0  # seconds for which its body was waited for

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.method = str(scope["method"])  # type: ignore[typeddict-item]  # only HTTP requests come to this door
        self._watch: asyncio.Task[None] | None = None
        found: Iterable[tuple[bytes, bytes]] = scope["headers"]
        self._headers = dict(reversed(list(found)))

    def header(self, name: bytes) -> str | None:
        """The first header of this (lower-case) name."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    def raw(self, names: Sequence[bytes]) -> tuple[bytes | None, ...]:
        """The first header of each of these (lower-case) names, as it came: many at once cost hardly more than one."""
        return tuple(map(self._headers.get, names))

    def here(self, limit: int) -> bytes | None:
        """The whole body, if it has come already; else `body` waits for it, and refuses what is too large."""
        return None

    def declared(self, limit: int) -> None:
        """Raises `Failure` (413) if the body is said to be more than `limit` bytes."""
        declared = self.header(b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > limit:
            raise too_large(limit)

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises `Failure` (413) as soon as it is more than `limit` bytes."""
        self.declared(limit)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                self.left = True
                raise asyncio.CancelledError
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise too_large(limit)
            parts.append(part)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def watch(self) -> None:
        """From here on, cancel the task that serves this request when the client leaves."""
        serving = asyncio.current_task()
        assert serving is not None
        self._watch = asyncio.create_task(self._leave(serving))

    def _gone(self, serving: "asyncio.Task[None]") -> None:
        self.left = True
        serving.cancel()

    async def _leave(self, serving: "asyncio.Task[None]") -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone(serving)

    def unwatch(self) -> None:
        """The answer is complete: what the client does now concerns nobody."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def start(self, status: int, headers: Headers) -> None:
        """The status line and the headers."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """A piece of the body; waits while the client reads more slowly than the vendor writes."""
        if not more:
            self.ended = True
            self.unwatch()  # a client that hangs up once it has all of its answer has not left
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    def bound(self, seconds: float) -> asyncio.TimerHandle:
        """Who has not read what was written within so many seconds, and a moment, is taken to have left: the task that
        asks for this is cancelled then, unless the timer is before."""
        writing = asyncio.current_task()
        assert writing is not None
        return asyncio.get_running_loop().call_later(max(0.0, seconds) + _MOMENT_SECONDS, self._gone, writing)

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer."""
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self.write(body, more=False)


def too_large(limit: int) -> Failure:
    """Of a body of more than `limit` bytes."""
    return Failure(
        Kind.CALLER,
        f"The body of the request is larger than {limit} bytes.",
        status=413,
        type="invalid_request_error",
        code="request_too_large",
    )
