"""One candidate, once: translate, take its toll, forward, relay; and what was learnt of it.

A vendor has answered when the first part that says something is in hand; until then the next candidate may be asked.
"""

import asyncio
from collections.abc import Callable

import msgspec

from adapters import ADAPTERS, Adapter
from adapters.base import NO_NEEDS, NOTHING, Answer, Call, Failure, Kind, Needs, Stream, Supplies, Target, Usage
from adapters.heard import Heard
from adapters.sse import encode as event
from proxy import headers
from proxy.cost import cost, dollars
from proxy.downstream import Headers
from proxy.fleet import Fleet, Ticket
from proxy.habits import Habits
from proxy.health import Outcome, ratelimit
from proxy.images import Images
from proxy.memory import Memory
from proxy.meter import Meter
from proxy.routing import Candidate
from proxy.telemetry import HEDGE_LOST, Attempt
from proxy.timeouts import Timeouts, Timings
from proxy.toll import Exchange, Toll, Tolls
from proxy.upstream import Reply, Upstream

# Opening words (a role, an empty text) are kept back until something is said: so a vendor that breaks off in between
# can still be replaced. Not for longer than this: balancers in front of us give up on who is silent for a minute.
_KEPT_SECONDS = 10.0
_OPENING_BYTES = 1_024  # what is longer says something; it need not be opened to see that
_LEFT = Outcome(left=True)


class Errand(msgspec.Struct):
    """One candidate of one request, with what it takes, and what its answer is accompanied by."""

    candidate: Candidate
    exchange: Exchange
    ticket: Ticket
    timings: Timings
    toll: Toll | None = None  # from the moment that money is held
    cap: int | None = None  # of the output, that the money at hand came to
    id: str | None = None  # the vendor's own, of the request
    connect: float | None = None  # milliseconds that its connection took; None: it was open already
    first_byte: float = 0.0  # seconds from the sending to its headers


class Forward(msgspec.Struct, frozen=True, kw_only=True):
    """What all attempts share."""

    upstream: Upstream
    timeouts: Timeouts
    images: Images
    memory: Memory
    tolls: Tolls
    fleet: Fleet
    habits: Habits
    clock: Callable[[], float]

    async def attempt(self, errand: Errand) -> None:
        """Ask one candidate. Raises `Failure`; whoever catches it looks at `down.started` before asking another.

        Whatever happens, the fleet is told how it ended, and so is the record.
        """
        exchange, candidate = errand.exchange, errand.candidate
        began, ended = self.clock(), _LEFT
        outcome, message = "cancelled", None
        try:
            await self._send(errand)
            ended = self._well(errand)
            outcome = "ok"
        except Failure as failure:
            self.upstream.conceal(candidate.target.provider, failure)
            outcome, message = failure.kind.value, failure.message
            if errand.toll is not None:
                errand.toll.failure = failure
            ended = self._ill(errand, failure)
            raise
        except asyncio.CancelledError:
            if errand.toll is not None and exchange.spoken is not None and exchange.spoken is not errand.toll:
                outcome = HEDGE_LOST
                self.tolls.lose(errand.toll, exchange)
            raise
        finally:
            self.fleet.end(errand.ticket, ended)
            target, record = candidate.target, exchange.record
            took, at = milliseconds(self.clock() - began), milliseconds(began - record.started)
            record.attempts.append(Attempt(target.provider, target.model, outcome, took, message, at, candidate.model))

    def _well(self, errand: Errand) -> Outcome:
        toll, exchange = errand.toll, errand.exchange
        assert toll is not None
        usage = toll.end.usage
        if usage is not None and toll.end.whole:
            caller = exchange.entry.user or exchange.entry.key
            self.habits.learn(caller, errand.candidate.model, usage, exchange.envelope.choices)
        return Outcome(
            first=None if toll.first is None else (toll.first - toll.sent) * 1000,
            whole=(self.clock() - toll.sent) * 1000,
            tokens=usage.completion if usage is not None else 0,
            windows=toll.windows,
        )

    def _ill(self, errand: Errand, failure: Failure) -> Outcome:
        windows = errand.toll.windows if errand.toll is not None else {}
        # However often one request fails at a candidate: it is one witness. What it fails by may be its own.
        name, blamed = errand.candidate.name, errand.exchange.blamed
        again = name in blamed and failure.kind is not Kind.RATE_LIMITED
        blamed.add(name)
        return Outcome(failure=failure, left=again, known=errand.candidate.known, windows=windows)

    async def _send(self, errand: Errand) -> None:
        exchange, target = errand.exchange, errand.candidate.target
        adapter = ADAPTERS[target.vendor, "chat"]
        needs = adapter.needs(exchange.envelope, target)
        supplies = NOTHING if needs is NO_NEEDS else await self._supplies(needs, target, exchange)
        call = adapter.request(exchange.envelope, target, supplies)
        began = self.clock()
        try:
            toll = errand.toll = await self.tolls.take(call, target, exchange)
        finally:
            exchange.held(self.clock() - began)
        held = toll.held
        if held.quote is not None and held.cap is not None and held.cap < held.quote.most:
            errand.cap = held.cap
            call = adapter.request(exchange.envelope, msgspec.structs.replace(target, cap=held.cap), supplies)
        toll.sent = self.clock()
        patience = exchange.deadline - toll.sent
        toll.end.sent = patience > 0  # else nothing leaves this house
        self.fleet.sent(errand.ticket)
        exchange.ask(toll, toll.sent)
        sending = self.upstream.send(target.provider, call, errand.timings, patience, exchange.passing)
        try:
            async with sending as reply:
                await self._hear(adapter, reply, call, errand, toll)
        except Failure as failure:
            toll.end.sent &= failure.kind is not Kind.UNREACHABLE
            raise
        finally:
            if toll.awaited:
                exchange.answered(toll, self.clock())

    async def _hear(self, adapter: Adapter, reply: Reply, call: Call, errand: Errand, toll: Toll) -> None:
        exchange = errand.exchange
        id = reply.headers.get("x-request-id") or reply.headers.get("request-id")
        id = id and self.upstream.concealed(toll.target.provider, id)
        if headroom := adapter.headroom(reply.headers):
            now = self.fleet.now()
            toll.windows = {kind: ratelimit.told(room, now) for kind, room in headroom.items()}
        if reply.status != 200:
            exchange.record.upstream_id = id
            toll.end.refused = reply.status >= 300  # 201 and the like are no refusals, though no answers either
            raise adapter.error(reply.status, reply.headers, await reply.body())
        errand.id, errand.connect, errand.first_byte = id, reply.connecting, self.clock() - toll.sent
        if call.reading.stream:
            await self._relay(reply, adapter.stream(call, exchange.stamp), call, errand, toll)
        else:
            body = await reply.body()
            exchange.answered(toll, self.clock())
            answer = adapter.response(body, call, exchange.stamp)
            await self._answer(answer, call, errand, toll)

    async def _supplies(self, needs: Needs, target: Target, exchange: Exchange) -> Supplies:
        """What the translator cannot get for itself."""
        if needs.images:
            began = self.clock()
            if exchange.fetching is None:
                exchange.fetching = asyncio.Lock()
            try:
                async with exchange.fetching:  # two that are asked at once may want the same
                    if missing := [image for image in needs.images if image.url not in exchange.images]:
                        exchange.images.update(await self.images.fetch(missing))
            finally:
                exchange.apart(self.clock() - began)
        states = await self.memory.recall(target.vendor, needs.states) if needs.states else {}
        return Supplies(images=exchange.images, states=states)

    def _speak(self, call: Call, errand: Errand, toll: Toll) -> Headers:
        """This attempt is the one that the client hears. From here on nobody else is asked."""
        exchange, target = errand.exchange, toll.target
        now = self.clock()
        exchange.speak(toll, now)
        self.fleet.answered(errand.ticket)
        record = exchange.record
        record.upstream_id = errand.id
        record.provider, record.served = target.provider, target.model
        record.warnings = str(call.warnings) if call.warnings else ""
        record.first_part = milliseconds(now - record.started)
        record.status = 200
        timings = record.timings
        timings.connect, timings.first_byte = errand.connect, milliseconds(errand.first_byte)
        others = timings.queue + timings.hold + timings.vendors
        ours = now - record.started - exchange.aside - others / 1000
        timings.overhead = milliseconds(ours) if ours > 0 else 0.0
        under_way = 1 if len(exchange.tolls) == 1 else exchange.under_way
        said = headers.answer(record, target, call, errand.cap, under_way=under_way)
        return [*said, *exchange.more] if exchange.more else said

    async def _answer(self, answer: Answer, call: Call, errand: Errand, toll: Toll) -> None:
        end = toll.end
        usage = toll.believed(answer.usage, errand.exchange.envelope.choices)
        end.usage, end.tier = usage, answer.service_tier
        unknown = usage is None or not usage.completion
        if unknown:
            toll.body = answer.body
        if unknown or errand.exchange.keep:
            toll.heard.add(_as_said(answer.body))
        end.whole = _told(end.usage, toll.heard)
        if answer.states:
            await self.memory.remember(toll.target.vendor, answer.states)
        head = self._speak(call, errand, toll)
        errand.exchange.record.finish = answer.finish
        spent = []
        if end.whole and usage is not None and toll.held.price is not None:
            nano = end.cost = cost(usage, toll.held.price, answer.service_tier)
            spent = [(b"x-tollhouse-cost-usd", dollars(nano).encode())]
        await errand.exchange.down.answer(200, [*headers.JSON, *head, *spent], answer.body)

    async def _relay(self, reply: Reply, stream: Stream, call: Call, errand: Errand, toll: Toll) -> None:
        """Pass a stream on, part by part. Before the first part a failure is raised and nobody is the wiser."""
        exchange = errand.exchange
        down, heard = exchange.down, toll.heard
        meter = Meter(toll.held, heard, self.tolls.tokenizer, toll.target)
        try:
            part = await self._opening(reply, stream, toll, exchange.deadline)
            toll.first = self.clock()
            exchange.answered(toll, toll.first)
            reply.begun(exchange.over - toll.first)
            toll.end.silent = toll.first - toll.sent
            await down.start(200, [*headers.STREAM, *self._speak(call, errand, toll)])
            bound = down.bound(exchange.over - toll.first)
            try:
                while part:
                    if stream.done and stream.states:
                        await self.memory.remember(toll.target.vendor, stream.states)
                    await down.write(part, more=not stream.done)
                    if not stream.done and heard.exceeds(meter.enough):
                        await meter.check()
                    part = await _next(reply, stream)
                    heard.add(part, stream.framing)
                if not down.ended:
                    await down.write(b"", more=False)
            finally:
                bound.cancel()
            await reply.drain()
        finally:
            if not stream.done and (unread := reply.buffered()):
                heard.add(stream.feed(unread))  # the client has not heard it, but the vendor said it
            if toll is exchange.spoken:
                exchange.record.finish = stream.finish
            toll.end.beyond, toll.end.tier = meter.beyond, stream.service_tier
            usage = toll.believed(stream.usage, exchange.envelope.choices)
            toll.end.usage, toll.end.whole = usage, stream.done and _told(usage, heard)

    async def _opening(self, reply: Reply, stream: Stream, toll: Toll, deadline: float) -> bytes:
        """The first part that says something, with all opening words before it."""
        said = await _next(reply, stream)
        toll.heard.add(said, stream.framing)
        now = self.clock()
        until = now + min(_KEPT_SECONDS, (deadline - now) / 2)
        while not (stream.done or len(said) > _OPENING_BYTES or toll.heard.spoken):
            try:
                async with asyncio.timeout(until - self.clock()):
                    part = await _next(reply, stream)
            except TimeoutError:
                break
            if not part:
                break
            toll.heard.add(part, stream.framing)
            said += part
        return said


def milliseconds(seconds: float) -> float:
    """The same, to the microsecond. `round` takes three times as long, and each request has nine durations."""
    return int(seconds * 1e6 + 0.5) / 1000


def _told(usage: Usage | None, heard: Heard) -> bool:
    """Whether this can be all that was used: no prompt is empty, and nobody has spoken in no tokens."""
    return bool(usage and usage.prompt and (usage.completion or not any(heard.text())))


def _as_said(body: bytes) -> bytes:
    """A whole answer as a stream would have said it: its words are to be counted, not what they are wrapped in."""
    choices = msgspec.json.decode(body).get("choices") or ()
    said = [{"index": at, "delta": choice.get("message")} for at, choice in enumerate(choices)]
    return event(msgspec.json.encode({"choices": said}))


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
