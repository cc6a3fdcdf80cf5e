"""The way of one request, from the door to the vendor and back, top to bottom.

Stream or not, well or ill, staying or leaving: everything goes through `Gate.serve` and its one `finally`. A vendor has
answered when its first translated part is in hand; until then the next candidate is asked, after it nobody.
"""

import asyncio
import math
import os
from collections.abc import Callable, Sequence

import msgspec
import structlog

from adapters import ADAPTERS, Adapter
from adapters.base import Answer, Call, Failure, Fetched, Kind, Stamp, Stream, Supplies, Target
from adapters.completion import error_object
from adapters.envelope import Envelope, seal
from adapters.sse import encode as event
from proxy.attempts import attempts
from proxy.catalog import Catalog, ProviderRow, Route
from proxy.cost import cost, dollars
from proxy.downstream import Downstream, Headers
from proxy.images import Images
from proxy.memory import Memory
from proxy.prices import Price
from proxy.routing import Order
from proxy.telemetry import Attempt, Record, Sink
from proxy.upstream import Reply, Upstream

JSON: Headers = ((b"content-type", b"application/json"),)
STREAM: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_SHUTTING_DOWN = "server_shutting_down"
_UPSTREAM_IDS = ("x-request-id", "request-id")


class Exchange(msgspec.Struct):
    """One request on its way: what came, who hears the answer, and what there is to say of it afterwards."""

    envelope: Envelope
    stamp: Stamp
    down: Downstream
    record: Record
    images: dict[str, Fetched] = {}  # fetched once, whoever is asked


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What all requests share."""

    catalog: Catalog
    providers: tuple[ProviderRow, ...]
    primary: str | None
    fallback: bool
    order: Order
    upstream: Upstream
    images: Images
    memory: Memory
    sinks: Sequence[Sink]
    largest_body: int
    price: Callable[[Target, int], Price | None]  # at a time, in seconds since the epoch; None: unknown, not free
    clock: Callable[[], float]  # seconds, monotonic
    wall: Callable[[], float]  # seconds since the epoch

    async def serve(self, down: Downstream, admit: Callable[[], None]) -> None:
        """Serve one chat completion. Never raises but for a cancellation from outside."""
        token = os.urandom(16).hex()
        record = Record(f"req_{token}", self.clock(), attempts=[])
        try:
            admit()
            envelope = seal(await down.body(self.largest_body))
            record.model, record.stream, record.user = envelope.model, envelope.stream, envelope.user
            route = self.catalog.route(envelope.model, self.providers, primary=self.primary, fallback=self.fallback)
            down.watch()
            stamp = Stamp(f"chatcmpl-{token}", int(self.wall()))
            await self._follow(route, Exchange(envelope, stamp, down, record, {}))
        except Failure as failure:
            await _refuse(failure, down, record)
        except asyncio.CancelledError:
            if not down.left:
                await _refuse(_shutting_down(), down, record)
                raise
            record.status, record.code = 499, "client_left"
        except Exception:
            structlog.get_logger().exception("internal error", request_id=record.request_id)
            await _refuse(_ours(), down, record)
        finally:
            down.unwatch()
            record.total = self._since(record.started)
            for sink in self.sinks:
                sink(record)

    async def _follow(self, route: Route, exchange: Exchange) -> None:
        """Ask one candidate after the other, as the plan says."""
        tried = exchange.record.attempts
        plan = attempts(self.order(route), choosy=not route.auto)
        target = next(plan)
        while True:
            began = self.clock()
            try:
                await self._attempt(target, exchange)
                tried.append(Attempt(target.provider, target.model, "ok", self._since(began)))
                return
            except Failure as failure:
                outcome = failure.kind.value
                tried.append(Attempt(target.provider, target.model, outcome, self._since(began), failure.message))
                if exchange.down.started:
                    raise
                try:
                    target = plan.send(failure)
                except StopIteration as stop:
                    raise stop.value from failure

    async def _attempt(self, target: Target, exchange: Exchange) -> None:
        """One candidate, once. Raises `Failure`; whoever catches it looks at `down.started` before asking another."""
        adapter = ADAPTERS[target.vendor, "chat"]
        record = exchange.record
        call = adapter.request(exchange.envelope, target, await self._supplies(adapter, target, exchange))
        async with self.upstream.send(target.provider, call) as reply:
            record.upstream_id = next((id for name in _UPSTREAM_IDS if (id := reply.headers.get(name))), None)
            if reply.status != 200:
                raise adapter.error(reply.status, reply.headers, await reply.body())
            head = _head(record, target, call)
            record.provider, record.served, record.warnings = target.provider, target.model, str(call.warnings)
            if call.reading.stream:
                await self._relay(reply, adapter.stream(call, exchange.stamp), target, head, exchange)
            else:
                answer = adapter.response(await reply.body(), call, exchange.stamp)
                await self._answer(answer, target, head, exchange)

    async def _supplies(self, adapter: Adapter, target: Target, exchange: Exchange) -> Supplies:
        """What the translator cannot get for itself."""
        needs = adapter.needs(exchange.envelope, target)
        if missing := [image for image in needs.images if image.url not in exchange.images]:
            exchange.images.update(await self.images.fetch(missing))
        states = await self.memory.recall(target.vendor, needs.states) if needs.states else {}
        return Supplies(images=exchange.images, states=states)

    async def _answer(self, answer: Answer, target: Target, head: Headers, exchange: Exchange) -> None:
        record = exchange.record
        record.first_part = self._since(record.started)
        record.status, record.finish = 200, answer.finish
        self._account(answer, target, exchange)
        if answer.states:
            await self.memory.remember(target.vendor, answer.states)
        spent = [] if record.cost_nano is None else [(b"x-tollhouse-cost-usd", dollars(record.cost_nano).encode())]
        await exchange.down.answer(200, [*JSON, *head, *spent], answer.body)

    async def _relay(self, reply: Reply, stream: Stream, target: Target, head: Headers, exchange: Exchange) -> None:
        """Pass a stream on, part by part. Before the first part a failure is raised and nobody is the wiser."""
        down, record = exchange.down, exchange.record
        try:
            part = await _next(reply, stream)
            record.first_part = self._since(record.started)
            record.status = 200
            await down.start(200, [*STREAM, *head])
            while part:
                if stream.done and stream.states:
                    await self.memory.remember(target.vendor, stream.states)
                await down.write(part, more=not stream.done)
                part = await _next(reply, stream)
            if not down.ended:
                await down.write(b"", more=False)
            await reply.drain()
        finally:
            record.finish = stream.finish
            self._account(stream, target, exchange)

    def _account(self, answered: Answer | Stream, target: Target, exchange: Exchange) -> None:
        """What it cost, as far as the vendor has said: by the price of the second in which the request began."""
        record = exchange.record
        record.usage = answered.usage
        price = self.price(target, exchange.stamp.created)
        if price is not None and answered.usage is not None:
            record.cost_nano = cost(answered.usage, price, answered.service_tier)

    def _since(self, then: float) -> float:
        return round((self.clock() - then) * 1000, 3)


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


async def _refuse(failure: Failure, down: Downstream, record: Record) -> None:
    """Tell the client what went wrong, in the way that is still open."""
    record.fail(failure)
    body = failure.body if failure.body and b"\n" not in failure.body else error_object(failure)
    if not down.started:
        await down.answer(failure.status, [*JSON, *_refusal_head(failure, record)], body)
    elif not down.ended:
        # As an event, and without a proper end: half an answer must not look like a whole one.
        await down.write(event(body), more=False)


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
    if failure.status >= 500 and failure.code != _SHUTTING_DOWN:
        # Everybody has been asked already: that the client asks again by itself would multiply the load.
        said["x-should-retry"] = "false"
    return [(name.encode(), _plain(value)) for name, value in said.items()]


def _plain(value: str) -> bytes:
    """A header's value: names of models and paths of parameters come from outside, and may hold anything."""
    return "".join(c if " " <= c <= "~" else "?" for c in value[:1000]).encode()


def _ours() -> Failure:
    return Failure(Kind.TRANSIENT, "The proxy failed; its log says why.", status=500, code="internal_error")


def _shutting_down() -> Failure:
    return Failure(
        Kind.TRANSIENT,
        "The proxy is shutting down; ask again.",
        status=503,
        code=_SHUTTING_DOWN,
        retry_after=1,
    )
