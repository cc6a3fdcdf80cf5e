"""The till: money is held before a request is forwarded, and settled after."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
import structlog

from adapters.base import Failure, Kind
from proxy import ledger
from proxy.books import Books
from proxy.bound import End, Quote, bill, wanted
from proxy.budget import MOST, Ask, Limit, Refused
from proxy.cost import dollars
from proxy.ledger import Entry
from proxy.prices import Price
from proxy.spending import Purse
from proxy.store import Lost, Recovering, StoreError

_SLACK_SECONDS = 60  # that a hold outlives the longest request


class Held(msgspec.Struct, kw_only=True):
    """An attempt that may be forwarded. `amount` is 0 where no budget applies; `cap` the output tokens it pays for."""

    entry: Entry
    amount: int
    limits: tuple[Limit, ...]
    price: Price | None
    quote: Quote | None
    cap: int | None
    settled: bool = False


class Till:
    """One per process. `longest` is how long a request may take, in seconds; it may change."""

    def __init__(self, books: Books, purse: Purse, *, longest: float, wall: Callable[[], float]) -> None:
        self.books = books
        self.longest = longest
        self._purse = purse
        self._wall = wall
        self._late: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Open the books."""
        await self.books.open()

    async def close(self) -> None:
        """Settle what is still being counted, and close the books."""
        if self._late:
            await asyncio.wait(self._late, timeout=5)
        await self.books.close()

    async def hold(
        self,
        entry: Entry,
        price: Price | None,
        quote: Quote | None,
        tighten: Callable[[Quote], Awaitable[Quote]],
    ) -> Held:
        """Hold the money for one attempt. Raises `Failure`: too little left, no price, or no store to ask.

        `entry` names the version of `price`. `quote` is None where that is not known. `tighten` counts the prompt more
        exactly, which takes a while: it is asked only when the cheap bound does not fit.
        """
        limits = self._purse.of(entry)
        if not limits:
            return self._unheld(entry, price, quote, ())
        if price is None or quote is None:
            raise _not_priced(entry)
        try:
            ask = self._ask(entry, limits, quote, tight=False)
            answer = await self.books.hold(ask)
            if isinstance(answer, Refused):
                quote = await tighten(quote)
                ask = self._ask(entry, limits, quote, tight=True)
                answer = await self.books.hold(ask)
                if isinstance(answer, Refused):
                    raise _used_up(answer, ask.least, self._wall())
        except StoreError as error:
            if self._purse.rules.on_store_outage == "allow":
                # Under another id: the first one may be given back as a hold that nobody knows of.
                return self._unheld(msgspec.structs.replace(entry, id=f"{entry.id}u"), price, quote, limits)
            raise _no_store(error) from error
        amount = answer.amount
        # The whole pays for the whole cap; but not the `MOST` that stands for all that is more.
        cap = quote.most if amount == ask.most < MOST else quote.cap(amount)
        return Held(entry=answer.entry, amount=amount, limits=limits, price=price, quote=quote, cap=cap)

    def _ask(self, entry: Entry, limits: tuple[Limit, ...], quote: Quote, *, tight: bool) -> Ask:
        least, most, share = wanted(quote, self._purse.rules, tight=tight)
        return Ask(
            entry=entry,
            limits=limits,
            least=least,
            most=most,
            share=share,
            seconds=int(self.longest) + _SLACK_SECONDS,
            final=tight,
        )

    def _unheld(self, entry: Entry, price: Price | None, quote: Quote | None, limits: tuple[Limit, ...]) -> Held:
        """No budget applies, or none can be asked: the journal alone knows what is under way."""
        most = quote.amount(quote.most) if quote else None
        if price is None:
            structlog.get_logger().warning("cost unknown", provider=entry.provider, model=entry.served[:200])
        entry = msgspec.structs.replace(entry, at=int(self._wall() * 1000), cost=most)
        self.books.begin(entry)
        return Held(entry=entry, amount=0, limits=limits, price=price, quote=quote, cap=None)

    def settle(self, held: Held, end: End) -> Entry:
        """Book what an attempt cost. Never waits and never raises: it is called from a `finally`. Once per hold."""
        quote = held.quote
        entry = bill(held.entry, held.price, held.amount, None if quote is None else quote.rate, end)
        if not held.settled:
            held.settled = True
            self.books.book(entry, held.limits)
        return entry

    def settle_later(self, held: Held, end: Awaitable[End]) -> None:
        """The same, when what was heard has to be counted first. Until then the hold stands."""
        task = asyncio.create_task(self._settle_later(held, end))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _settle_later(self, held: Held, end: Awaitable[End]) -> None:
        try:
            heard = await end
        except Exception:
            structlog.get_logger().exception("not counted", attempt=held.entry.id)
            heard = End(sent=True)  # nobody knows what it came to: what is held for it is not given out again
        self.settle(held, heard)


def _not_priced(entry: Entry) -> Failure:
    return Failure(
        Kind.UNSUPPORTED,
        f"No price is known for `{entry.provider}/{entry.served[:200]}`, and a budget applies to this request. Add the "
        "model to the price table (TOLLHOUSE_PRICING), or ask for one that has a price.",
        status=400,
        type="invalid_request_error",
        code="model_not_priced",
        param="model",
    )


def _no_store(error: StoreError) -> Failure:
    why = "is being rebuilt" if isinstance(error, Lost | Recovering) else "cannot be reached"
    return Failure(
        Kind.STORE,
        f"The store that counts what the budgets have left {why}; nothing was forwarded. Ask again in a moment.",
        status=503,
        code="budget_store_unavailable",
        retry_after=1,
    )


def _used_up(refused: Refused, least: int, now: float) -> Failure:
    counter, end = refused.counter, ledger.end(refused.label) / 1000
    held = f", {dollars(counter.held)} held by requests in flight" if counter.held else ""
    unproven = f", {dollars(counter.unproven)} withheld as unproven" if counter.unproven else ""
    return Failure(
        Kind.BUDGET,
        f"The budget `{refused.limit.budget}` ({refused.limit.scope}) does not allow this request: of USD "
        f"{dollars(refused.limit.nano)}, {dollars(counter.spent)} are spent{held}{unproven}; at least {dollars(least)} "
        f"are needed. It resets at {datetime.fromtimestamp(end, UTC):%Y-%m-%dT%H:%M:%SZ}.",
        status=429,
        type="insufficient_quota",
        code="budget_exceeded",
        retry_after=max(1.0, end - now),
    )
