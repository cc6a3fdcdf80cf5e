"""One candidate, once: translate, hold the money, forward, relay; and what there is to be settled afterwards.

A vendor has answered when its first translated part is in hand; until then the next candidate may be asked.
"""

import asyncio
from collections.abc import Callable

import msgspec

from adapters import ADAPTERS, Adapter
from adapters.base import Answer, Call, Failure, Fetched, Kind, Stamp, Stream, Supplies, Target, Usage
from adapters.envelope import Envelope
from adapters.heard import Heard
from adapters.sse import encode as event
from proxy import headers, ledger, tokens
from proxy.bound import End, Quote, hints, quoted
from proxy.cost import cost, dollars
from proxy.downstream import Downstream, Headers
from proxy.images import Images
from proxy.ledger import Entry
from proxy.memory import Memory
from proxy.meter import Meter
from proxy.pricebook import Pricebook
from proxy.prices import Price
from proxy.telemetry import Record
from proxy.till import Held, Till
from proxy.tokenizer import Tokenizer
from proxy.upstream import Reply, Upstream

_UPSTREAM_IDS = ("x-request-id", "request-id")
_COUNT_SECONDS = 3.0  # that a vendor may take to count a prompt; after that the cheap bound has to do


class Toll(msgspec.Struct):
    """What one attempt owes: the hold, how it ended, and what the client heard of it."""

    held: Held
    target: Target
    heard: Heard
    end: End
    body: bytes = b""  # an answer that came whole and told no usage
    sent: float = 0.0  # when, by the clock
    spoke: bool = False  # its first part has come


class Exchange(msgspec.Struct):
    """One request on its way: what came, who hears the answer, and what there is to say of it afterwards."""

    envelope: Envelope
    stamp: Stamp
    down: Downstream
    record: Record
    entry: Entry  # what is known of a row of it before anybody is asked
    images: dict[str, Fetched] = {}  # fetched once, whoever is asked
    toll: Toll | None = None  # of the attempt that is under way
    forwarded: Entry | None = None  # the attempt before it, which failed


class Forward(msgspec.Struct, frozen=True, kw_only=True):
    """What all attempts share."""

    book: Pricebook
    upstream: Upstream
    images: Images
    memory: Memory
    till: Till
    tokenizer: Tokenizer
    clock: Callable[[], float]
    replica: str  # the name of this process

    async def attempt(self, target: Target, exchange: Exchange) -> None:
        """Ask one candidate. Raises `Failure`; whoever catches it looks at `down.started` before asking another.

        Whatever happens, `exchange.toll` is there from the moment that money is held.
        """
        adapter = ADAPTERS[target.vendor, "chat"]
        supplies = await self._supplies(adapter, target, exchange)
        call = adapter.request(exchange.envelope, target, supplies)
        held = await self._hold(adapter, call, target, exchange)
        toll = exchange.toll = Toll(held, target, Heard(), End())
        cap = None
        if held.quote is not None and held.cap is not None and held.cap < held.quote.most:
            cap = held.cap
            call = adapter.request(exchange.envelope, msgspec.structs.replace(target, cap=cap), supplies)
        toll.end.sent, toll.sent = True, self.clock()
        try:
            async with self.upstream.send(target.provider, call) as reply:
                await self._hear(adapter, reply, call, cap, exchange, toll)
        except Failure as failure:
            toll.end.sent = failure.kind is not Kind.UNREACHABLE
            raise

    async def _hear(
        self, adapter: Adapter, reply: Reply, call: Call, cap: int | None, exchange: Exchange, toll: Toll
    ) -> None:
        record, target = exchange.record, toll.target
        record.upstream_id = next((id for name in _UPSTREAM_IDS if (id := reply.headers.get(name))), None)
        if reply.status != 200:
            toll.end.refused = reply.status >= 300  # 201 and the like are no refusals, though no answers either
            raise adapter.error(reply.status, reply.headers, await reply.body())
        head = headers.answer(record, target, call, cap)
        record.provider, record.served, record.warnings = target.provider, target.model, str(call.warnings)
        if call.reading.stream:
            await self._relay(reply, adapter.stream(call, exchange.stamp), head, exchange, toll)
        else:
            answer = adapter.response(await reply.body(), call, exchange.stamp)
            await self._answer(answer, head, exchange, toll)

    # ---- money --------------------------------------------------------------------------------------------------

    async def _hold(self, adapter: Adapter, call: Call, target: Target, exchange: Exchange) -> Held:
        """Hold what this attempt can cost at most. Raises `Failure`."""
        model, price = self.book.price(target, exchange.stamp.created)
        entry = msgspec.structs.replace(
            exchange.entry,
            id=f"{exchange.entry.request}/{len(exchange.record.attempts) + 1}",
            provider=target.provider,
            model=ledger.name(model),
            served=ledger.name(target.model),
            owner=self.replica,
        )
        quote = self._quote(call, target, price, exchange) if price is not None else None

        async def tighten(cheap: Quote) -> Quote:
            exact = await self._count(adapter, call, target, exchange)
            return cheap if exact is None else msgspec.structs.replace(cheap, prompt=min(cheap.prompt, exact))

        return await self.till.hold(entry, price, quote, tighten)

    def _quote(self, call: Call, target: Target, price: Price, exchange: Exchange) -> Quote:
        fetched = sum(len(image.data) for image in exchange.images.values()) if target.vendor != "openai" else 0
        envelope = exchange.envelope
        media = tokens.media(envelope)
        prompt = tokens.prompt_bound(call.body, media, target, fetched=fetched)
        return quoted(
            prompt,
            price,
            hints(call.body, media, target.model),
            target,
            tier=envelope.tier,
            cap=envelope.cap,
            choices=envelope.choices,
            predicted=len(envelope.fields.get("prediction", b"")) if b'"prediction"' in call.body else 0,
        )

    async def _count(self, adapter: Adapter, call: Call, target: Target, exchange: Exchange) -> int | None:
        """A bound of the prompt's tokens that is nearer than its bytes: the vendor's own count, or its tokenizer's."""
        if hints(call.body, tokens.TEXT, target.model).searches:
            return None  # nobody can count what will be found
        counting = adapter.counting(call, target)
        try:
            async with asyncio.timeout(_COUNT_SECONDS):
                if counting is not None:
                    async with self.upstream.send(target.provider, counting) as reply:
                        counted = adapter.counted(await reply.body()) if reply.status == 200 else None
                        return tokens.margin(counted) if counted else None
                if target.provider == "openai" and not tokens.media(exchange.envelope).payload:
                    counted = 0
                    for text in (call.body.decode("utf-8", "replace"), tokens.texts(call.body)):
                        counted = max(counted, await self.tokenizer.count(text, target.model))
                    return tokens.prompt_bound(call.body, tokens.media(exchange.envelope), target, text=counted)
        except (Failure, TimeoutError):
            pass
        return None

    async def give_back(self, exchange: Exchange, failure: Failure) -> None:
        """This attempt failed and another follows: settle it, and wait until the next can have its money."""
        toll = exchange.toll
        if toll is not None:
            self._settle(exchange, toll, failure.status, failure.code or failure.kind.value, last=False)
            exchange.forwarded = toll.held.entry
            if toll.held.amount:
                await self.till.books.returned(toll.held.entry.id)

    def close(self, exchange: Exchange) -> None:
        """The request is over: settle what is under way. Never waits, never raises.

        A request that was forwarded has one last row, even if its last attempt never got that far.
        """
        status, code = exchange.record.status or 500, exchange.record.code
        if exchange.toll is not None:
            self._settle(exchange, exchange.toll, status, code, last=True)
        elif exchange.forwarded is not None:
            self.till.books.book(
                msgspec.structs.replace(
                    exchange.forwarded,
                    id=f"{exchange.entry.request}/end",
                    last=True,
                    status=status,
                    code=code,
                    cost=0,
                    held=0,
                    price=None,
                    total=exchange.record.total,
                )
            )

    def _settle(self, exchange: Exchange, toll: Toll, status: int, code: str | None, *, last: bool) -> None:
        exchange.toll = None
        record, held = exchange.record, toll.held
        held.entry = msgspec.structs.replace(
            held.entry,
            status=status,
            code=code,
            last=last,
            first=record.first_part if last else None,
            total=round((self.clock() - record.started) * 1000, 3),
        )
        if toll.end.free or toll.end.told:
            entry = self.till.settle(held, toll.end)
            if not toll.end.free:
                record.usage, record.cost_nano = entry.usage, entry.cost
        else:
            if not toll.spoke:
                toll.end.silent = self.clock() - toll.sent
            record.usage, record.estimated = toll.end.usage, True
            self.till.settle_later(held, self._estimated(toll, exchange.envelope))

    async def _estimated(self, toll: Toll, envelope: Envelope) -> End:
        """The end of an answer whose usage the vendor did not tell, with what was heard counted."""
        end, model = toll.end, toll.target.model
        text, reasoning = toll.heard.text()
        if not text and not reasoning:
            text = toll.body.decode("utf-8", "replace")
        end.text = await self.tokenizer.count(text, model)
        end.reasoning = await self.tokenizer.count(reasoning, model)
        if end.usage is None or not end.usage.prompt:
            end.prompt = await self.tokenizer.messages(envelope, model)
        return end

    # ---- words --------------------------------------------------------------------------------------------------

    async def _supplies(self, adapter: Adapter, target: Target, exchange: Exchange) -> Supplies:
        """What the translator cannot get for itself."""
        needs = adapter.needs(exchange.envelope, target)
        if missing := [image for image in needs.images if image.url not in exchange.images]:
            exchange.images.update(await self.images.fetch(missing))
        states = await self.memory.recall(target.vendor, needs.states) if needs.states else {}
        return Supplies(images=exchange.images, states=states)

    async def _answer(self, answer: Answer, head: Headers, exchange: Exchange, toll: Toll) -> None:
        record, end = exchange.record, toll.end
        record.first_part = round((self.clock() - record.started) * 1000, 3)
        record.status, record.finish = 200, answer.finish
        end.usage, end.tier = answer.usage, answer.service_tier
        if answer.usage is None or not answer.usage.completion:
            toll.body = answer.body
            toll.heard.add(_as_said(answer.body))
        end.whole = _told(end.usage, toll.heard)
        if answer.states:
            await self.memory.remember(toll.target.vendor, answer.states)
        spent = []
        if end.told and answer.usage is not None and toll.held.price is not None:
            nano = cost(answer.usage, toll.held.price, answer.service_tier)
            spent = [(b"x-tollhouse-cost-usd", dollars(nano).encode())]
        await exchange.down.answer(200, [*headers.JSON, *head, *spent], answer.body)

    async def _relay(self, reply: Reply, stream: Stream, head: Headers, exchange: Exchange, toll: Toll) -> None:
        """Pass a stream on, part by part. Before the first part a failure is raised and nobody is the wiser."""
        down, record, heard = exchange.down, exchange.record, toll.heard
        meter = Meter(toll.held, heard, self.tokenizer, toll.target.model)
        try:
            part = await _next(reply, stream)
            toll.spoke, toll.end.silent = True, self.clock() - toll.sent
            record.first_part = round((self.clock() - record.started) * 1000, 3)
            record.status = 200
            await down.start(200, [*headers.STREAM, *head])
            while part:
                heard.add(part)
                if stream.done and stream.states:
                    await self.memory.remember(toll.target.vendor, stream.states)
                await down.write(part, more=not stream.done)
                if heard.size > meter.enough and not stream.done:
                    await meter.check()
                part = await _next(reply, stream)
            if not down.ended:
                await down.write(b"", more=False)
            await reply.drain()
        finally:
            if not stream.done and (unread := reply.buffered()):
                heard.add(stream.feed(unread))  # the client has not heard it, but the vendor said it
            record.finish = stream.finish
            toll.end.beyond, toll.end.tier = meter.beyond, stream.service_tier
            toll.end.usage, toll.end.whole = stream.usage, stream.done and _told(stream.usage, heard)


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
