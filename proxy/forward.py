"""One candidate, once: translate, take its toll, forward, relay; and what was learnt of it.

A vendor has answered when the first part that says something is in hand; until then the next candidate may be asked.
"""

import asyncio
from collections.abc import Callable

import msgspec

from adapters import ADAPTERS, Adapter
from adapters.base import NO_NEEDS, NOTHING, Answer, Call, Failure, Kind, Needs, Stream, Supplies, Target, Usage
from adapters.sse import encode as event
from proxy import headers
from proxy.attempts import Ended
from proxy.cost import cost, dollars
from proxy.downstream import Headers
from proxy.fleet import Fleet, Ticket
from proxy.habits import Habits
from proxy.health import Outcome, ratelimit
from proxy.images import Images
from proxy.memory import Memory
from proxy.meter import Meter
from proxy.routing import Candidate, Need
from proxy.telemetry import HEDGE_LOST, Attempt, milliseconds
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
    first_byte: float = 0.0  # milliseconds from the sending to its headers


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

    async def attempt(self, candidate: Candidate, exchange: Exchange, need: Need, *, force: bool = False) -> Ended:
        """Ask one candidate. Raises its `Failure` only if the client was hearing it. Whatever happens, the fleet is
        told how it ended, and so is the record."""
        target, stream = candidate.target, need.stream
        timings = self.timeouts.of(target)
        first_byte = timings.first_byte if stream else timings.first_byte_plain
        needed = need.prompt, int(candidate.expected.output)
        ticket = await self.fleet.begin(
            target.provider, candidate.model, needed, first_byte=first_byte, stream=stream, force=force
        )
        if ticket is None:
            return ()
        errand = Errand(candidate, exchange, ticket, timings)
        began, ended = self.clock(), _LEFT
        outcome, message = "cancelled", None
        try:
            toll = await self._send(errand)
            ended = self._well(errand, toll)
            outcome = "ok"
            return None
        except Failure as failure:
            self.upstream.conceal(target.provider, failure)
            outcome, message = failure.kind.value, failure.message
            ended = self._ill(errand, failure)
            if errand.toll is not None and errand.toll is exchange.spoken:
                raise
            return [(candidate, failure)]
        except asyncio.CancelledError:
            if errand.toll is not None and exchange.spoken is not None and exchange.spoken is not errand.toll:
                outcome = HEDGE_LOST
                self.tolls.lose(errand.toll, exchange)
            raise
        finally:
            self.fleet.end(ticket, ended)
            record = exchange.record
            took, at = milliseconds(self.clock() - began), milliseconds(began - record.started)
            record.attempts.append(Attempt(target.provider, target.model, outcome, took, message, at, candidate.model))

    def _well(self, errand: Errand, toll: Toll) -> Outcome:
        end, sent, first = toll.end, toll.sent, toll.first
        if end.whole and end.usage is not None:
            entry, choices = errand.exchange.entry, errand.exchange.envelope.choices
            self.habits.learn(entry.user or entry.key, errand.candidate.model, end.usage, choices)
        speaking, whole = None if first is None else (first - sent) * 1000, (self.clock() - sent) * 1000
        return Outcome(first=speaking, whole=whole, tokens=toll.tokens, windows=toll.windows)

    def _ill(self, errand: Errand, failure: Failure) -> Outcome:
        toll, name, exchange = errand.toll, errand.candidate.name, errand.exchange
        if toll is not None:
            toll.failure = failure
        # However often one request fails at a candidate: it is one witness. What it fails by may be its own.
        again = name in exchange.blamed and failure.kind is not Kind.RATE_LIMITED
        exchange.blamed |= {name}
        return Outcome(failure=failure, left=again, known=errand.candidate.known, windows=toll.windows if toll else {})

    async def _send(self, errand: Errand) -> Toll:
        exchange, target = errand.exchange, errand.candidate.target
        envelope = exchange.envelope
        adapter = ADAPTERS[target.vendor, "chat"]
        needs = adapter.needs(envelope, target)
        supplies = NOTHING if needs is NO_NEEDS else await self._supplies(needs, target, exchange)
        call = adapter.request(envelope, target, supplies)
        began = self.clock()
        try:
            toll = errand.toll = exchange.take(await self.tolls.hold(call, target, exchange), target)
        except BaseException:
            exchange.held(self.clock() - began)
            raise
        sent = self.clock()
        holding = sent - began
        cap, quote = toll.held.cap, toll.held.quote
        if cap is not None and quote is not None and cap < quote.most:
            errand.cap = cap
            call = adapter.request(envelope, msgspec.structs.replace(target, cap=cap), supplies)
            sent = self.clock()
        toll.sent = sent
        patience = exchange.deadline - sent
        toll.end.sent = patience > 0  # else nothing leaves this house
        self.fleet.sent(errand.ticket)
        exchange.ask(toll, sent, holding)
        try:
            async with self.upstream.send(target.provider, call, errand.timings, patience, exchange.passing) as reply:
                await self._hear(adapter, reply, call, errand, toll)
        except Failure as failure:
            toll.end.sent &= failure.kind is not Kind.UNREACHABLE
            raise
        finally:
            if toll.awaited:
                exchange.answered(toll, self.clock())
        return toll

    async def _hear(self, adapter: Adapter, reply: Reply, call: Call, errand: Errand, toll: Toll) -> None:
        exchange, head = errand.exchange, reply.headers
        id = head.get("x-request-id") or head.get("request-id")
        id = id and self.upstream.concealed(toll.target.provider, id)
        if headroom := adapter.headroom(head):
            now = self.fleet.now()
            toll.windows = {kind: ratelimit.told(room, now) for kind, room in headroom.items()}
        if reply.status != 200:
            exchange.record.upstream_id = id
            toll.end.refused = reply.status >= 300  # 201 and the like are no refusals, though no answers either
            raise adapter.error(reply.status, head, await reply.body())
        errand.id, errand.connect, errand.first_byte = id, reply.connecting, milliseconds(self.clock() - toll.sent)
        if call.reading.stream:
            await self._relay(reply, adapter.stream(call, exchange.stamp), call, errand, toll)
        else:
            body = reply.here() or await reply.body()
            exchange.answered(toll, self.clock())
            answer = adapter.response(body, call, exchange.stamp)
            self._weigh(answer, exchange, toll)
            if answer.states:
                await self.memory.remember(toll.target.vendor, answer.states)
            await exchange.down.answer(200, self._headed(answer, call, errand, toll), answer.body)

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

    def _speak(self, call: Call, errand: Errand, toll: Toll, kind: Headers) -> list[tuple[bytes, bytes]]:
        """This attempt is the one that the client hears. From here on nobody else is asked. `kind`: of the answer."""
        exchange, target = errand.exchange, toll.target
        now = self.clock()
        exchange.speak(toll, now)
        self.fleet.answered(errand.ticket)
        record = exchange.record
        record.status, record.upstream_id = 200, errand.id
        record.provider, record.served = target.provider, target.model
        if call.warnings:
            record.warnings = str(call.warnings)
        passed = now - record.started
        ours = passed - exchange.aside - exchange.queue - exchange.hold - exchange.vendors
        record.first_part = milliseconds(passed)
        record.timings = exchange.timings(errand.connect, errand.first_byte, milliseconds(ours) if ours > 0 else 0.0)
        under_way = 1 if exchange.race is None else exchange.under_way
        return headers.answer(record, target, call, errand.cap, kind=kind, more=exchange.more, under_way=under_way)

    def _weigh(self, answer: Answer, exchange: Exchange, toll: Toll) -> None:
        """What a whole answer took, by its own word."""
        end = toll.end
        end.usage, end.tier = toll.believed(answer.usage, exchange.envelope.choices), answer.service_tier
        if not toll.tokens:
            toll.body = answer.body
        if not toll.tokens or exchange.keep:
            toll.heard.add(_as_said(answer.body))
        end.whole = end.usage is not None and _told(end.usage, toll)

    def _headed(self, answer: Answer, call: Call, errand: Errand, toll: Toll) -> list[tuple[bytes, bytes]]:
        """A whole answer is the one that the client hears: with what it cost."""
        head = self._speak(call, errand, toll, headers.JSON)
        errand.exchange.record.finish = answer.finish
        end, price = toll.end, toll.held.price
        if end.whole and end.usage is not None and price is not None:
            nano = end.cost = cost(end.usage, price, end.tier)
            head.append((b"x-tollhouse-cost-usd", dollars(nano).encode()))
        return head

    async def _relay(self, reply: Reply, stream: Stream, call: Call, errand: Errand, toll: Toll) -> None:
        """Pass a stream on, part by part. Before the first part a failure is raised and nobody is the wiser."""
        exchange = errand.exchange
        down, heard = exchange.down, toll.heard
        meter = Meter(toll.held, heard, self.tolls.tokenizer, toll.target)
        try:
            part = await self._opening(reply, stream, toll, exchange.deadline)
            first = toll.first = self.clock()
            exchange.answered(toll, first)
            reply.begun(exchange.over - first)
            toll.end.silent = first - toll.sent
            await down.start(200, self._speak(call, errand, toll, headers.STREAM))
            bound = down.bound(exchange.over - first)
            try:
                while part:
                    done = stream.done
                    if done and stream.states:
                        await self.memory.remember(toll.target.vendor, stream.states)
                    await down.write(part, more=not done)
                    if not done:
                        if heard.exceeds(meter.enough):
                            await meter.check()
                    elif stream.failure is None:
                        break
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
            end = toll.end
            end.beyond, end.tier = meter.beyond, stream.service_tier
            usage = end.usage = toll.believed(stream.usage, exchange.envelope.choices)
            end.whole = stream.done and usage is not None and _told(usage, toll)

    async def _opening(self, reply: Reply, stream: Stream, toll: Toll, deadline: float) -> bytes:
        """The first part that says something, with all opening words before it."""
        heard, until = toll.heard, 0.0
        said = await _next(reply, stream)
        heard.add(said, stream.framing)
        while not (stream.done or len(said) > _OPENING_BYTES or heard.spoken):
            if not until:
                now = self.clock()
                until = now + min(_KEPT_SECONDS, (deadline - now) / 2)
            try:
                async with asyncio.timeout(until - self.clock()):
                    part = await _next(reply, stream)
            except TimeoutError:
                break
            if not part:
                break
            heard.add(part, stream.framing)
            said += part
        return said


def _told(usage: Usage, toll: Toll) -> bool:
    """Whether this can be all that was used: no prompt is empty, and nobody has spoken in no tokens."""
    return bool((usage.in_text or usage.prompt) and (toll.tokens or not any(toll.heard.text())))


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
