"""What one attempt may cost and did cost: held before it is sent, settled when it is over, whatever happened."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from adapters import ADAPTERS, marks
from adapters.base import Call, Failure, Fetched, Stamp, Target, Usage
from adapters.envelope import Envelope
from adapters.heard import Heard
from proxy import ledger, tokens
from proxy.bound import End, Quote, credible, hints, quoted
from proxy.downstream import Downstream, Headers
from proxy.health.ratelimit import Windows
from proxy.ledger import Entry
from proxy.pricebook import Pricebook
from proxy.prices import Price
from proxy.race import Race
from proxy.telemetry import HEDGE_LOST, Record, Timings, milliseconds
from proxy.till import Held, Till
from proxy.tokenizer import Tokenizer
from proxy.upstream import Upstream

_BYTES_PER_TOKEN = 4
_COUNT_SECONDS = 3.0  # that a vendor may take to count a prompt; after that the cheap bound has to do


class Toll(msgspec.Struct):
    """What one attempt owes: the hold, how it ended, what the client heard of it. Times in seconds, by the clock."""

    held: Held
    target: Target
    end: End
    listening: Heard | None = None  # from the moment that somebody asks what was `heard`
    tokens: int = 0  # of the answer, as the vendor told them
    body: bytes = b""  # an answer that came whole and told no usage
    sent: float = 0.0  # when
    first: float | None = None  # when its first part came, of a stream
    windows: Windows = {}  # what the vendor's limits have left
    failure: Failure | None = None  # that it ended in
    settled: bool = False
    awaited: bool = False  # the vendor has been asked and has not answered

    @property
    def heard(self) -> Heard:
        """What the client heard. Of an answer that comes whole nobody asks, mostly: then it is never made."""
        if self.listening is None:
            self.listening = Heard()
        return self.listening

    def believed(self, usage: Usage | None, choices: int) -> Usage | None:
        """What the vendor says that it used; None if no model can have used so much. Then it is estimated."""
        if usage is None:
            return None
        target = self.target
        if credible(usage, target, choices):
            self.tokens = usage.completion
            return usage
        told = {"prompt": usage.prompt, "completion": usage.completion, "searches": usage.web_searches}
        structlog.get_logger().error("usage not believed", provider=target.provider, model=target.model[:200], **told)
        return None


class Exchange(msgspec.Struct):
    """One request on its way: what came, who hears the answer, and what there is to say of it afterwards."""

    envelope: Envelope
    stamp: Stamp
    down: Downstream
    record: Record
    entry: Entry  # what is known of a row of it before anybody is asked
    deadline: float  # until when the client waits for an answer, or for a stream to begin; seconds, by the clock
    over: float  # when a stream must have come to its end
    images: dict[str, Fetched] = {}  # fetched once, whoever is asked
    fetching: asyncio.Lock | None = None  # made by the first who fetches
    tolls: list[Toll] = []  # of all attempts that were sent
    blamed: frozenset[str] = frozenset()  # candidates whose health was told of a failure of this request
    race: Race | None = None  # between two that are asked at once
    spoken: Toll | None = None  # whose answer the client hears
    passing: Mapping[str, str] = {}  # headers that go to whoever is asked: the trace
    more: Headers = ()  # headers of the answer beside those that say who served
    keep: bool = False  # the words of the answer are wanted for the log
    asking: int = 0  # vendors that are waited for
    since: float = 0.0  # seconds, by the clock: since when at least one of them is
    queue: float = 0.0  # seconds of waiting for a rate limit, or until a retry
    hold: float = 0.0  # seconds until the money was held
    vendors: float = 0.0  # seconds with those who were asked, until one of them spoke
    aside: float = 0.0  # seconds that neither we took nor a vendor: until the letter was here, for images, at the quota

    def take(self, held: Held, target: Target) -> Toll:
        """So much is held for an attempt: whatever happens, it is settled when the request is over."""
        toll = Toll(held, target, End())
        self.tolls.append(toll)
        return toll

    def ask(self, toll: Toll, now: float, seconds: float) -> None:
        """A vendor is asked, once the money is `held`, which took so many seconds: from now on the time is not ours."""
        if not self.asking:
            self.since = now
            if self.spoken is None:
                self.hold += seconds
        self.asking += 1
        toll.awaited = True

    def answered(self, toll: Toll, now: float) -> None:
        """It has answered, or failed."""
        if toll.awaited:
            toll.awaited = False
            self.asking -= 1
            if not self.asking and self.spoken is None:
                self.vendors += now - self.since

    def held(self, seconds: float) -> None:
        """So long it took to hold the money; of who is only asked beside another, nobody waits for it."""
        if not self.asking and self.spoken is None:
            self.hold += seconds

    def apart(self, seconds: float) -> None:
        """So long it waited for who is neither we nor a vendor; while one is asked, that is the vendor's time."""
        if not self.asking:
            self.aside += seconds

    def paused(self, seconds: float) -> None:
        """So long it waited for a rate limit, or until a retry."""
        if self.spoken is None:
            self.queue += seconds

    def timings(
        self, connect: float | None = None, first_byte: float | None = None, overhead: float | None = None
    ) -> Timings:
        """Where the time went. The three are told of who answered, in milliseconds."""
        queue = milliseconds(self.queue) if self.queue else 0.0  # nearly always
        return Timings(queue, milliseconds(self.hold), connect, first_byte, milliseconds(self.vendors), overhead)

    def tokens(self, prompt: int) -> int:
        """How many it took, as far as is known by now. What no vendor has told goes by a guess of the `prompt`, and by
        the length of what was heard: who leaves before the end takes no less than that."""
        if all(toll.end.free for toll in self.tolls):
            return 0
        told, toll = self.record.usage or Usage(), self.spoken
        if toll is not None and toll.end.told:
            return told.prompt + told.completion
        heard = 0
        if toll is not None:
            toll.heard.text()  # before that, its size is that of what the words are wrapped in
            heard = toll.heard.size // _BYTES_PER_TOKEN
        return (told.prompt or prompt) + max(told.completion, heard)

    @property
    def under_way(self) -> int:
        """How many are being asked just now."""
        return sum(toll.failure is None and not toll.settled for toll in self.tolls)

    def speak(self, toll: Toll, now: float) -> None:
        """This one has `answered`, and something to say: nobody else will."""
        if self.spoken is None:
            if self.asking:  # of two that are asked at once, the other has not answered: nobody waits for it any more
                for other in self.tolls:
                    self.answered(other, now)
            self.spoken = toll
        elif self.spoken is not toll:
            raise asyncio.CancelledError  # it was cancelled, and somebody on its way has swallowed that
        if self.race is not None:
            self.race.won()


class Tolls(msgspec.Struct, frozen=True, kw_only=True):
    """Takes them, and settles them."""

    book: Pricebook
    upstream: Upstream
    till: Till
    tokenizer: Tokenizer
    clock: Callable[[], float]
    replica: str  # the name of this process

    def hold(self, call: Call, target: Target, exchange: Exchange) -> Coroutine[Any, Any, Held]:
        """Hold what this attempt can cost at most: for `Exchange.take`. Raises `Failure`."""
        model, price = self.book.price(target, exchange.stamp.created)
        record = exchange.record
        record.numbered += 1
        entry = replace(
            exchange.entry,
            id=f"{record.request_id}/{record.numbered}",
            provider=target.provider,
            model=model,
            served=model if target.model == model else ledger.name(target.model),
            owner=self.replica,
            price=price.version if price is not None else None,
        )
        quote = self._quote(call, target, price, exchange) if price is not None else None
        tighten = partial(self._tightened, call, target, exchange)
        return self.till.hold(entry, price, quote, tighten)

    async def _tightened(self, call: Call, target: Target, exchange: Exchange, cheap: Quote) -> Quote:
        exact = await self._count(call, target, exchange)
        return cheap if exact is None else replace(cheap, prompt=min(cheap.prompt, exact))

    def _quote(self, call: Call, target: Target, price: Price, exchange: Exchange) -> Quote:
        fetched = 0
        if exchange.images and target.vendor != "openai":
            fetched = sum(len(image.data) for image in exchange.images.values())
        envelope = exchange.envelope
        media = tokens.media(envelope)
        found = call.marks
        if found is None:
            found = marks.read(call.body)
        prompt = tokens.prompt_bound(call.body, media, target, fetched=fetched, found=found)
        return quoted(
            prompt,
            price,
            hints(call.body, media, target.model, found),
            target,
            tier=envelope.tier,
            cap=envelope.cap,
            choices=envelope.choices,
            predicted=len(envelope.fields.get("prediction", b"")) if b'prediction"' in found.words else 0,
        )

    async def _count(self, call: Call, target: Target, exchange: Exchange) -> int | None:
        """A bound of the prompt's tokens that is nearer than its bytes: the vendor's own count, or its tokenizer's."""
        if hints(call.body, tokens.TEXT, target.model).searches:
            return None  # nobody can count what will be found
        adapter = ADAPTERS[target.vendor, "chat"]
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

    async def give_back(self, toll: Toll, exchange: Exchange, failure: Failure) -> None:
        """This attempt failed and another follows: settle it, and wait until the next can have its money."""
        self._settle(toll, exchange, failure.status, failure.code or failure.kind.value, last=False)
        if toll.held.amount:
            await self.till.books.returned(toll.held.entry.id)

    def lose(self, toll: Toll, exchange: Exchange) -> None:
        """Another one answered first: this one was cancelled, and is paid for as one whose client left."""
        self._settle(toll, exchange, 499, HEDGE_LOST, last=False)

    def _leave(self, toll: Toll, exchange: Exchange, status: int, code: str | None) -> None:
        """One of two at once, and not the one with which the request ended."""
        if (failure := toll.failure) is not None:
            self._settle(toll, exchange, failure.status, failure.code or failure.kind.value, last=False)
        elif exchange.spoken is not None:
            self.lose(toll, exchange)
        else:
            self._settle(toll, exchange, status, code, last=False)

    def close(self, exchange: Exchange) -> None:
        """The request is over: settle what is under way. Never waits, never raises.

        A request that was forwarded has one last row, even if its last attempt never got that far.
        """
        record, last = exchange.record, exchange.spoken
        status, code = record.status or 500, record.code
        if last is None:  # else it was said when it spoke
            record.timings = exchange.timings()
        if last is None or last.settled:
            last = next((toll for toll in reversed(exchange.tolls) if not toll.settled), None)
        for toll in exchange.tolls:
            if toll is last:
                self._settle(toll, exchange, status, code, last=True)
            elif not toll.settled:
                self._leave(toll, exchange, status, code)
        if last is None and exchange.tolls:
            entry = exchange.tolls[-1].held.entry
            end = replace(entry, id=f"{entry.request}/end", last=True, status=status, code=code, total=record.total)
            self.till.books.book(replace(end, cost=0, held=0, price=None))

    def _settle(self, toll: Toll, exchange: Exchange, status: int, code: str | None, *, last: bool) -> None:
        toll.settled = True
        record, held, end = exchange.record, toll.held, toll.end
        free = end.free
        held.entry = replace(
            held.entry,
            status=status,
            code=code,
            last=last,
            first=record.first_part if last else None,
            total=record.total if last else milliseconds(self.clock() - record.started),
        )
        if free or end.told:
            entry = self.till.settle(held, end)
            if last and not free:
                record.usage, record.cost_nano = entry.usage, entry.cost
        else:
            end.lasted = self.clock() - toll.sent
            if toll.first is None:
                end.silent = end.lasted
            if last:
                record.usage, record.estimated = end.usage, True
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
