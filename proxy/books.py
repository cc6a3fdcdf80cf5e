"""The books: a row is written to the journal first, then to the store, exactly once, whatever is away or dies.

Whoever books never waits: rows go to the store in the background, many at once when many wait. While the store is away
they wait here and in the journal. A store that forgot is told again what this process knows.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import islice

import msgspec
import structlog

from proxy.alerts import Alerts
from proxy.budget import Ask, Limit, Refused
from proxy.cost import dollars
from proxy.journal import Found, Journal, JournalError
from proxy.journal.scribe import Scribe, turn
from proxy.ledger import Entry, orphan
from proxy.metrics import Metrics
from proxy.spending import Purse
from proxy.store import Hold, Lost, Recovering, Settlement, Store, StoreError
from proxy.store.breaker import Breaker
from proxy.store.patience import Patience, end

_BATCH = 64  # rows that go to the store at once; fewer after a failure: one bad row must not hold up the others
_GATHER_SECONDS = 0.003  # for more to come, where many are under way: a row by itself costs as much as four together
_MANY = 8  # of few requests each frees its money at once: the next may need it
_STORE_SECONDS = 0.25  # a slow store is worse than one that is away
_BEAT_SECONDS = 1.0
_SWEEP_EVERY = 10  # beats
_PRUNE_EVERY = 60
_AGAIN_SECONDS = 1_200  # of rows, by their holds, that are settled again at the start: a store may have lost them
_MIRROR_DAYS = 40  # a month and more: what a store that forgot must be told again


class Books:
    """One per process."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        alerts: Alerts,
        metrics: Metrics,
        purse: Purse,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.store, self.metrics, self.alerts = store, metrics, alerts
        self._loop: asyncio.AbstractEventLoop | None = None  # the one in which it was opened
        self._scribe = Scribe(journal, lambda act: asyncio.get_running_loop().call_soon(act))
        self._purse, self._wall = purse, wall
        self._breaker = Breaker(clock)
        self._waiting: dict[str, Settlement] = {}  # in the journal when this turn is over, not yet in the store
        self._holds: dict[str, Hold] = {}  # granted, not yet settled; the rows as the journal has them
        self._news, self._lost, self._idle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._watched: dict[str, asyncio.Future[None]] = {}

    async def open(self) -> None:
        """Take over what processes before us left behind, and connect the store, if it can be had."""
        self._loop = asyncio.get_running_loop()
        try:
            found = await asyncio.to_thread(self._scribe.journal.open)
            self._scribe.open = True
            await self._take_over(found)
        except JournalError as error:
            if self._purse:
                raise
            structlog.get_logger().error("journal off", why=str(error), risk="spend is lost if we crash")
        try:
            await self._reopen()
            await self._beat_once()
            self.metrics.store(up=True, undelivered=len(self._waiting))
        except Lost:
            await self._recover()
        except StoreError as error:
            self._failed(error)
        self._tasks = [asyncio.create_task(self._deliver()), asyncio.create_task(self._beat())]

    async def _take_over(self, found: Found) -> None:
        if found.damaged:
            structlog.get_logger().error("journal damaged", lines=found.damaged)
        since = int((self._wall() - _AGAIN_SECONDS) * 1000)
        async for page in self._pages(since):
            for settlement in page:
                self._wait_for_store(settlement.entry, settlement.limits)
        for entry in found.undelivered:
            self._wait_for_store(entry)
        for entry in found.begun:
            self.book(orphan(entry, entry.cost))
        if found.undelivered or found.begun:
            structlog.get_logger().info("journal taken over", rows=len(found.undelivered), orphans=len(found.begun))

    async def close(self) -> None:
        """Deliver what waits, as far as the store takes it now; the journal keeps the rest."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                while self._waiting and self._breaker.opened and not self._breaker.open:
                    self._idle.clear()
                    self._news.set()
                    await self._idle.wait()
        await end(self._tasks)
        self._scribe.flush()
        await asyncio.to_thread(self._scribe.do, self._scribe.journal.close)
        await self.alerts.close()
        await self.store.close()

    async def hold(self, ask: Ask) -> Hold | Refused:
        """Ask the store, within bounds of time. Raises `StoreError`; then nothing is held.

        The row of what is held has its time, and as `cost` what the journal would charge if we died. A call that was
        not answered may have taken the money all the same: a row of no cost gives it back.
        """
        breaker = self._breaker
        if not breaker.well:
            breaker.pass_by()
        try:
            with Patience(_STORE_SECONDS, self._loop):
                answer = await self.store.hold(ask)
        except (Lost, Recovering) as error:
            self._refused(error)
            raise
        except Exception as error:
            self._failed(error)
            self._give_up(ask.entry, 503, "budget_store_unavailable")
            raise StoreError(str(error) or "no answer in time") from error
        except asyncio.CancelledError:
            self._give_up(ask.entry, 499, "client_left")
            raise
        if not breaker.well:
            self._worked()
        if isinstance(answer, Refused):
            if answer.alert is not None:
                self.alerts.tell(answer.alert)
            return answer
        amount = answer.amount
        entry = msgspec.structs.replace(ask.entry, at=answer.at, held=amount, cost=amount)
        self._holds[entry.id] = hold = Hold(entry, amount)
        # What takes the store may take us, too: then nobody else would know of this hold.
        self._scribe.begin(entry)
        try:
            await turn()  # the store answers many at once: they are written at once, too
        except asyncio.CancelledError:
            self._give_up(ask.entry, 499, "client_left")
            raise
        if self._scribe.begun:  # the first of them writes for all
            self._scribe.flush()
        return hold

    def _give_up(self, entry: Entry, status: int, code: str) -> None:
        now = int(self._wall() * 1000)
        self.book(msgspec.structs.replace(entry, at=now, status=status, code=code, cost=0, last=False))

    def begin(self, entry: Entry) -> None:
        """An attempt is under way, whether a store holds money for it or not. `cost` is its bound."""
        self._scribe.begin(entry)
        self._scribe.flush()

    def book(self, entry: Entry, limits: tuple[Limit, ...] = ()) -> None:
        """Write a row: to the journal before this turn of the event loop is over. Never waits and never raises."""
        self._wait_for_store(entry, limits, self._scribe.book(entry))
        self.metrics.observe(entry)

    async def returned(self, id: str) -> None:
        """Wait, a moment at most, until the hold of an attempt that failed is given back: the next one may need it."""
        if id in self._waiting:
            future = self._watched[id] = asyncio.get_running_loop().create_future()
            future.add_done_callback(lambda _: self._watched.pop(id, None))  # whoever waits may leave
            with contextlib.suppress(TimeoutError), Patience(_STORE_SECONDS, self._loop):
                await future

    async def landed(self, request: str) -> None:
        """Wait, a moment at most, until the rows of a request are in the store."""
        for id in [id for id in self._waiting if id.startswith(f"{request}/")]:
            await self.returned(id)

    def _wait_for_store(self, entry: Entry, limits: tuple[Limit, ...] = (), text: bytes = b"") -> None:
        if entry.orphan and entry.id in self._waiting:
            return  # what waits is the true row, or as good
        self._waiting[entry.id] = Settlement(entry, limits or self._purse.of(entry), text)
        self._news.set()

    # ---- in the background --------------------------------------------------------------------------------------

    async def _deliver(self) -> None:
        """Bring rows to the store as they come, many at once when many wait."""
        most = _BATCH
        while True:
            await self._news.wait()
            if len(self._holds) > _MANY and not self._watched and len(self._waiting) < most:
                await asyncio.sleep(_GATHER_SECONDS)
            batch = [*islice(self._waiting.values(), most)]
            if not batch:
                self._news.clear()
                self._idle.set()
                continue
            self._scribe.flush()  # these may have been booked just now
            try:
                for alert in await self.store.settle(batch):
                    self.alerts.tell(alert)
            except Exception as error:  # whatever it is, the other rows must go on
                self._news.clear()  # the next beat rings again, or the next row
                self._refused(error)
                await asyncio.to_thread(self._scribe.do, self._scribe.journal.sync)
                most = max(1, most // 2)
                for settlement in batch:  # behind the others, in case it is their fault
                    self._waiting[settlement.entry.id] = self._waiting.pop(settlement.entry.id, settlement)
                self._idle.set()
                continue
            self._worked()
            most = min(_BATCH, 2 * most)
            self._delivered(batch)

    def _delivered(self, batch: Sequence[Settlement]) -> None:
        holds, waiting, watched = self._holds, self._waiting, self._watched
        ended: list[str] = []
        for settlement in batch:
            id = settlement.entry.id
            holds.pop(id, None)
            if waiting.get(id) is not settlement:
                continue  # a later row of the same id waits: the true one, behind an orphan's
            del waiting[id]
            ended.append(id)
            if watched and (future := watched.get(id)) is not None and not future.done():
                future.set_result(None)
        self._scribe.do(self._scribe.journal.delivered, ended)

    async def _beat(self) -> None:
        beats = 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BEAT_SECONDS):
                    await self._lost.wait()
            beats += 1
            try:
                await self._reopen()
                if self._lost.is_set():
                    raise Lost("told so")
                await self._beat_once()
                if beats % _SWEEP_EVERY == 1:
                    await self._sweep()
                if beats % _PRUNE_EVERY == 1:
                    await self.store.prune(self._purse.rules.ledger_days)
            except Lost:
                await self._recover()
            except Exception as error:  # whatever it is, the next beat must come
                self._failed(error)
            if self._waiting:
                self._news.set()
            self.metrics.store(up=self._breaker.opened and not self._breaker.failures, undelivered=len(self._waiting))
            await asyncio.to_thread(self._keep, beats)

    async def _reopen(self) -> None:
        if not self._breaker.opened:
            await self.store.open()
            self._breaker.opened = True

    async def _beat_once(self) -> None:
        await self.store.beat()
        self._worked()

    async def _sweep(self) -> None:
        """Holds that nobody settled in time are charged in full until their settlement turns up."""
        for hold in await self.store.expired():
            if hold.entry.id not in self._holds and hold.entry.id not in self._waiting:
                structlog.get_logger().warning("orphan", attempt=hold.entry.id, charged_usd=dollars(hold.amount))
                self.book(orphan(hold.entry, hold.amount))

    async def _recover(self) -> None:
        """Tell the store again what it forgot: our rows of this month and the last, and what we hold."""
        self._lost.clear()
        structlog.get_logger().warning("store new or forgetful: told what we know", holds=len(self._holds))
        since = int((self._wall() - _MIRROR_DAYS * 86_400) * 1000)
        try:
            await self.store.recover(self._pages(since), list(self._holds.values()))
        except (StoreError, JournalError) as error:
            self._failed(error)
            self._lost.set()
            await asyncio.sleep(_STORE_SECONDS)
        else:
            self._lost.clear()  # by what was sent before we joined; what is lost since, the next beat hears of
            structlog.get_logger().info("the store is whole again")

    async def _pages(self, since: int) -> AsyncIterator[Sequence[Settlement]]:
        if not self._scribe.open:
            return
        pages = self._scribe.journal.rows(since)
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            yield [Settlement(entry, self._purse.of(entry)) for entry in page]

    def _keep(self, beats: int) -> None:
        """The journal's own housekeeping, on a thread."""
        do, journal = self._scribe.do, self._scribe.journal
        do(journal.sync)
        do(journal.checkpoint)
        if beats % _PRUNE_EVERY == 1:
            do(journal.prune, _MIRROR_DAYS)

    def _refused(self, error: Exception) -> None:
        if isinstance(error, Lost):
            self._lost.set()
        elif not isinstance(error, Recovering):
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._breaker.failed()
        if self._breaker.failures == 1:
            outage = self._purse.rules.on_store_outage if self._purse else "no budgets: traffic flows on"
            why, bug = str(error) or "no answer in time", not isinstance(error, StoreError | TimeoutError)
            structlog.get_logger().error("store away", why=why, outage=outage, exc_info=bug)

    def _worked(self) -> None:
        if self._breaker.failures:
            structlog.get_logger().info("store back", waiting=len(self._waiting))
        self._breaker.worked()
