"""The way of one request, from the door to the vendor and back, top to bottom.

Stream or not, well or ill, staying or leaving: everything goes through `Gate.serve` and its one `finally`. A vendor has
answered when its first translated part is in hand; until then the next candidate is asked, after it nobody.
"""

import asyncio
import math
import os
from collections.abc import Callable, Sequence

import structlog

from adapters import ADAPTERS
from adapters.base import NOTHING, Answer, Call, Failure, Kind, Stamp, Stream, Supplies, Target
from adapters.completion import error_object
from adapters.envelope import Envelope, seal
from adapters.sse import encode as event
from proxy.attempts import attempts
from proxy.catalog import Catalog, ProviderRow, Route
from proxy.downstream import Downstream, Headers
from proxy.images import Images
from proxy.routing import Order
from proxy.telemetry import Attempt, Record, Sink
from proxy.upstream import Reply, Upstream

JSON: Headers = ((b"content-type", b"application/json"),)
STREAM: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_UPSTREAM_IDS = ("x-request-id", "request-id")


class Gate:
    """Holds what all requests share; a request itself lives in the arguments."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        providers: Sequence[ProviderRow],
        primary: str | None,
        fallback: bool,
        order: Order,
        upstream: Upstream,
        images: Images,
        sinks: Sequence[Sink],
        largest_body: int,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._catalog = catalog
        self._providers = tuple(providers)
        self._primary = primary
        self._fallback = fallback
        self._order = order
        self._upstream = upstream
        self._images = images
        self._sinks = sinks
        self._largest_body = largest_body
        self._clock = clock
        self._wall = wall
        self.in_flight = 0
        self.idle = asyncio.Event()
        self.idle.set()

    async def serve(self, down: Downstream, admit: Callable[[], None]) -> None:
        """Serve one chat completion. Never raises but for a cancellation from outside."""
        token = os.urandom(16).hex()
        record = Record(f"req_{token}", self._clock(), attempts=[])
        stamp = Stamp(f"chatcmpl-{token}", int(self._wall()))
        self._enter()
        try:
            admit()
            envelope = seal(await down.body(self._largest_body))
            record.model, record.stream, record.user = envelope.model, envelope.stream, envelope.user
            route = self._catalog.route(envelope.model, self._providers, primary=self._primary, fallback=self._fallback)
            down.watch()
            await self._follow(route, envelope, stamp, down, record)
        except Failure as failure:
            await self._refuse(failure, down, record)
        except asyncio.CancelledError:
            record.status, record.code = 499, "client_left"
            if not down.left:
                raise
        except Exception:
            structlog.get_logger().exception("internal error", request_id=record.request_id)
            await self._refuse(_ours(), down, record)
        finally:
            down.unwatch()
            record.total = self._since(record)
            self._leave()
            for sink in self._sinks:
                sink(record)

    async def _follow(self, route: Route, envelope: Envelope, stamp: Stamp, down: Downstream, record: Record) -> None:
        """Ask one candidate after the other, as the plan says."""
        candidates = self._order(route)
        plan = attempts(candidates, choosy=not route.auto)
        target = next(plan)
        while True:
            began = self._clock()
            try:
                await self._attempt(target, envelope, stamp, down, record)
                record.attempts.append(self._tried(target, "ok", began))
                return
            except Failure as failure:
                record.attempts.append(self._tried(target, failure.kind.value, began, failure.message))
                if down.started:
                    raise
                try:
                    target = plan.send(failure)
                except StopIteration as stop:
                    raise stop.value from failure

    async def _attempt(
        self, target: Target, envelope: Envelope, stamp: Stamp, down: Downstream, record: Record
    ) -> None:
        """One candidate, once. Raises `Failure`; whoever catches it looks at `down.started` before asking another."""
        adapter = ADAPTERS[target.vendor, "chat"]
        wanted = adapter.remote(envelope, target)
        supplies = Supplies(images=await self._images.fetch(wanted)) if wanted else NOTHING
        call = adapter.request(envelope, target, supplies)
        async with self._upstream.send(target.provider, call) as reply:
            record.upstream_id = next((id for name in _UPSTREAM_IDS if (id := reply.headers.get(name))), None)
            if reply.status != 200:
                raise adapter.error(reply.status, reply.headers, await reply.body())
            head = _head(record, target, call)
            record.provider, record.served, record.warnings = target.provider, target.model, str(call.warnings)
            if envelope.stream:
                stream = adapter.stream(call, stamp)
                await self._relay(reply, stream, [*STREAM, *head], down, record)
            else:
                answer = adapter.response(await reply.body(), call, stamp)
                await self._answer(answer, [*JSON, *head], down, record)

    async def _answer(self, answer: Answer, head: Headers, down: Downstream, record: Record) -> None:
        record.first_part = self._since(record)
        record.status, record.finish, record.usage = 200, answer.finish, answer.usage
        await down.answer(200, head, answer.body)

    async def _relay(self, reply: Reply, stream: Stream, head: Headers, down: Downstream, record: Record) -> None:
        """Pass a stream on, part by part. Before the first part a failure is raised and nobody is the wiser."""
        try:
            part = await _next(reply, stream)
            record.first_part = self._since(record)
            record.status = 200
            await down.start(200, head)
            while part:
                await down.write(part, more=not stream.done)
                part = await _next(reply, stream)
            if not down.ended:
                await down.write(b"", more=False)
            await reply.drain()
        finally:
            record.usage, record.finish = stream.usage, stream.finish

    async def _refuse(self, failure: Failure, down: Downstream, record: Record) -> None:
        """Tell the client what went wrong, in the way that is still open."""
        record.fail(failure)
        body = failure.body if failure.body and b"\n" not in failure.body else error_object(failure)
        if not down.started:
            await down.answer(failure.status, [*JSON, *_refusal_head(failure, record)], body)
        elif not down.ended:
            # As an event, and without a proper end: half an answer must not look like a whole one.
            await down.write(event(body), more=False)

    def _tried(self, target: Target, outcome: str, began: float, message: str | None = None) -> Attempt:
        took = round((self._clock() - began) * 1000, 3)
        return Attempt(target.provider, target.model, outcome, took, message)

    def _since(self, record: Record) -> float:
        return round((self._clock() - record.started) * 1000, 3)

    def _enter(self) -> None:
        self.in_flight += 1
        self.idle.clear()

    def _leave(self) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self.idle.set()


async def _next(reply: Reply, stream: Stream) -> bytes:
    """The next part worth saying; empty once `stream` is done. A failure is raised once all before it was said."""
    while not (stream.done or stream.failure):
        try:
            data = await reply.read()
        except Failure:
            # The connection broke; but an answer may have been complete without its closing words.
            part = stream.end()
            if not stream.done:
                raise
        else:
            part = stream.feed(data) if data is not None else stream.end()
        if part:
            return part
    if stream.failure:
        raise stream.failure
    return b""


def _head(record: Record, target: Target, call: Call) -> Headers:
    """What the answer says of itself, beyond OpenAI's words."""
    said = {
        "x-request-id": record.request_id,
        "x-tollhouse-provider": target.provider,
        "x-tollhouse-model": target.model,
        "x-tollhouse-attempts": str(len(record.attempts) + 1),
        "x-upstream-request-id": record.upstream_id or "",
    }
    if call.warnings:
        said["x-tollhouse-warnings"] = str(call.warnings)
        said["x-tollhouse-dropped-params"] = ",".join(call.warnings.dropped)
    return [(name.encode(), _plain(value)) for name, value in said.items() if value]


def _refusal_head(failure: Failure, record: Record) -> Headers:
    said = {"x-request-id": record.request_id, "x-tollhouse-attempts": str(len(record.attempts))}
    if record.upstream_id:
        said["x-upstream-request-id"] = record.upstream_id
    if failure.retry_after is not None and failure.status in (429, 503):
        said["retry-after"] = str(math.ceil(failure.retry_after))
        said["retry-after-ms"] = str(math.ceil(failure.retry_after * 1000))
    elif failure.status >= 500:
        # Everybody has been asked already: that the client asks again by itself would multiply the load.
        said["x-should-retry"] = "false"
    return [(name.encode(), _plain(value)) for name, value in said.items()]


def _plain(value: str) -> bytes:
    """A header's value: names of models and paths of parameters come from outside, and may hold anything."""
    return "".join(c if " " <= c <= "~" else "?" for c in value[:1000]).encode()


def _ours() -> Failure:
    return Failure(Kind.TRANSIENT, "The proxy failed; its log says why.", status=500, code="internal_error")
