"""What the page shows, told again whenever it changed: server-sent events, each with the parts that are new.

A raw ASGI route, as the one for traffic is: so that whoever leaves is noticed, and nobody is counted who has left. Who
may no longer look (the session is over) is shown out; when the process drains, so are all.
"""

import asyncio
from collections.abc import Callable

from litestar import asgi
from litestar.connection import ASGIConnection
from litestar.types import Receive, Scope, Send

from adapters.base import Failure, Kind
from adapters.completion import error_object
from proxy.admin.guard import Connection, guard
from proxy.dashboard.page import STRICT
from proxy.dashboard.snapshot import Audience, Parts, audience, joined

MOST = 32  # who look at once, at one process
_STEP_SECONDS = 1.0
_QUIET_SECONDS = 15.0  # then something is said, so that nobody on the way takes the connection for dead
_DEAF_SECONDS = 10.0  # whoever takes nothing for so long is not there any more, and has no place
_JSON = [(b"content-type", b"application/json")]
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx: pass it on as it comes
    *((name.encode(), value.encode()) for name, value in STRICT.items()),
]


class Listener:
    """One who looks: what it was told last, and when it last heard anything. `clock` in seconds, and so is `patience`
    with one who does not read what it is told."""

    def __init__(
        self, looking: Audience, send: Send, clock: Callable[[], float], patience: float = _DEAF_SECONDS
    ) -> None:
        self._looking, self._send, self._clock, self._patience = looking, send, clock, patience
        self._told: Parts = {}
        self._spoke = 0.0

    async def tell(self) -> None:
        """What is new; if nothing is for a while, that we are here. Cancels itself if it is not heard."""
        parts, now = await self._looking.parts(), self._clock()
        new = {name: part for name, part in parts.items() if self._told.get(name) != part}
        if new:
            await self._say(b"event: snapshot\ndata: %s\n\n" % joined(new, self._looking.now()))
        elif now - self._spoke >= _QUIET_SECONDS:
            await self._say(b"event: still\ndata: {}\n\n")
        else:
            return
        self._told, self._spoke = parts, now

    async def _say(self, words: bytes) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._send({"type": "http.response.body", "body": words, "more_body": True})
        except TimeoutError:
            raise asyncio.CancelledError from None


@asgi("/dashboard/events", guards=[guard], copy_scope=False)
async def events(scope: Scope, receive: Receive, send: Send) -> None:
    """Until the listener leaves, may not look any more, or the process drains."""
    connection: Connection = ASGIConnection(scope, receive)
    looking = audience(connection.app)
    if refusal := _refusal(connection, looking):
        await _refuse(send, refusal)
        return
    looking.listeners += 1
    left = asyncio.create_task(_left(receive))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        listener = Listener(looking, send, asyncio.get_running_loop().time)
        while not (left.done() or connection.app.state.draining) and _may_look(connection):
            await listener.tell()
            await asyncio.wait({left}, timeout=_STEP_SECONDS)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        looking.listeners -= 1
        left.cancel()


def _refusal(connection: Connection, looking: Audience) -> Failure | None:
    method = connection.scope.get("method")
    if method != "GET":
        message = f"Method {method} is not allowed here; use GET."
        return Failure(Kind.CALLER, message, status=405, type="invalid_request_error")
    if looking.listeners >= MOST or connection.app.state.draining:
        message = f"There is no room for more listeners: there are {looking.listeners}, or this process is ending."
        return Failure(Kind.OVERLOADED, message, status=503, code="too_many_listeners")
    return None


async def _refuse(send: Send, failure: Failure) -> None:
    await send({"type": "http.response.start", "status": failure.status, "headers": _JSON})
    await send({"type": "http.response.body", "body": error_object(failure), "more_body": False})


def _may_look(connection: Connection) -> bool:
    try:
        guard(connection, connection.scope["route_handler"])
    except Failure:
        return False
    return True


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


HANDLERS = (events,)
