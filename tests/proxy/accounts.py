"""Books on a real store, journal and clock, and what stands for the world outside: a store that fails or falls silent.

`Moody` is the real SQLite store; only the way to it is bad. Nothing here waits for a time: `until` looks again and
again at what has no bell.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from proxy.alerts import Alerts
from proxy.books import Books
from proxy.bound import Rules
from proxy.budget import Alert, Ask, Budget, Granted, Limit, Refused
from proxy.journal import Journal
from proxy.ledger import Counter, Entry, labels
from proxy.metrics import Metrics
from proxy.quota import Crowded, Entered, Entering, Quota
from proxy.spending import Purse
from proxy.store import Hold, Notice, Notices, Settlement, Store, StoreError
from proxy.store.sqlite import SqliteStore

GENEROUS = 20  # seconds: for a hang to be told from an answer, not for measuring
NOW = 1_795_000_000.0  # seconds since the epoch, at noon or so: no window ends while a test runs
DAILY = Budget(limit=1_000_000, window="day")
LIMIT = Limit("daily", "all", "day", DAILY.limit)


class Hand:
    """A clock that goes when it is told."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Moody(SqliteStore):
    """`failing`: verb -> what it raises, nothing done. `shut`: verbs that wait at the door, nothing done. `mute`: verbs
    that are done, and of which nobody hears. `asked` are all verbs in their order."""

    def __init__(self, path: Path, wall: Callable[[], float]) -> None:
        super().__init__(path, wall=wall)
        self.failing: dict[str, Exception] = {}
        self.shut: dict[str, asyncio.Event] = {}
        self.mute: set[str] = set()
        self.asked: list[str] = []
        self.told: defaultdict[str, int] = defaultdict(int)  # id of a row -> how often it was settled

    async def _door(self, verb: str) -> None:
        self.asked.append(verb)
        if verb in self.shut:
            await self.shut[verb].wait()
        if verb in self.failing:
            raise self.failing[verb]

    async def _answer(self, verb: str) -> None:
        if verb in self.mute:
            await asyncio.Event().wait()

    async def open(self) -> None:
        await self._door("open")
        await super().open()

    async def hold(self, ask: Ask) -> Granted | Refused:
        await self._door("hold")
        answer = await super().hold(ask)
        await self._answer("hold")
        return answer

    async def settle(self, settlements: Sequence[Settlement]) -> list[Alert]:
        await self._door("settle")
        alerts = await super().settle(settlements)
        for settlement in settlements:
            self.told[settlement.entry.id] += 1
        return alerts

    async def expired(self) -> list[Hold]:
        await self._door("expired")
        return await super().expired()

    async def beat(self) -> None:
        await self._door("beat")
        await super().beat()

    async def enter(self, entering: Entering) -> Entered | Crowded:
        await self._door("enter")
        answer = await super().enter(entering)
        await self._answer("enter")
        return answer

    async def leave(self, key: str, id: str, quota: Quota, tokens: int) -> None:
        await self._door("leave")
        await super().leave(key, id, quota, tokens)

    async def prune(self, days: int) -> None:
        await self._door("prune")
        await super().prune(days)

    async def recover(self, rows: AsyncIterator[Sequence[Settlement]], holds: Sequence[Hold]) -> None:
        await self._door("recover")
        self.failing.pop("hold", None)
        await super().recover(rows, holds)

    async def pin(self, key: str, serial: int, text: bytes, *, ring: bool) -> Notice:
        await self._door("pin")
        return await super().pin(key, serial, text, ring=ring)

    async def notices(self, since: int) -> Notices:
        await self._door("notices")
        return await super().notices(since)


class House:
    """One process after the other over one directory: each `opened` has a journal, a store and a clock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock, self.wall = Hand(100.0), Hand()
        self.processes = 0

    def moody(self) -> Moody:
        return Moody(self.directory / "tollhouse.db", self.wall)

    def journal(self) -> Journal:
        self.processes += 1
        return Journal(self.directory / "journal", f"p{self.processes}", wall=self.wall)

    def books(self, store: Store, budgets: Sequence[Budget] = (DAILY,), rules: Rules | None = None) -> Books:
        metrics = Metrics()
        return Books(
            store,
            self.journal(),
            Alerts(None, None, metrics=metrics),
            metrics,
            Purse(budgets, rules),
            clock=self.clock,
            wall=self.wall,
        )

    @asynccontextmanager
    async def opened(self, store: Store, budgets: Sequence[Budget] = (DAILY,)) -> AsyncIterator[Books]:
        books = self.books(store, budgets)
        await books.open()
        try:
            yield books
        finally:
            await books.close()

    def written(self) -> bytes:
        """All that is in the journal."""
        return b"".join(path.read_bytes() for path in sorted((self.directory / "journal").iterdir()))

    async def rows(self) -> dict[str, Entry]:
        """The ledger, as somebody else reads it."""
        return {row.id: row for row in await self._read(_rows)}

    async def counter(self) -> Counter:
        """The counter of today's traffic, as somebody else reads it."""
        found: dict[str, Counter] = await self._read(lambda store: store.counters(labels(int(self.wall() * 1000))[0]))
        return found.get("all", Counter())

    async def _read(self, read: Callable[[SqliteStore], Any]) -> Any:
        store = SqliteStore(self.directory / "tollhouse.db", wall=self.wall)
        await store.open()
        try:
            return await read(store)
        finally:
            await store.close()


async def _rows(store: Store) -> list[Entry]:
    return [row async for page in store.rows(0, 2**52) for row in page]


def entry(id: str = "r/1", **more: Any) -> Entry:
    return Entry(**{"id": id, "request": id.partition("/")[0], "provider": "openai", "model": "gpt", **more})


def row(id: str = "r/1", **more: Any) -> Entry:
    """A row of an answer that was served just now."""
    return entry(id, **{"at": int(NOW * 1000), "cost": 5, "status": 200, **more})


def ask(id: str = "r/1", *, most: int = 100, seconds: int = 960) -> Ask:
    return Ask(entry=entry(id), limits=(LIMIT,), least=10, most=most, seconds=seconds)


async def held(books: Books, id: str = "r/1", **more: Any) -> Entry:
    """Hold the money of an attempt; the row that it will be."""
    answer = await books.hold(ask(id, **more))
    assert isinstance(answer, Hold), answer
    assert answer.entry == msgspec.structs.replace(
        entry(id), at=answer.entry.at, held=answer.amount, cost=answer.amount
    )
    return msgspec.structs.replace(entry(id), at=answer.entry.at, held=answer.amount)


async def until(condition: Callable[[], Any]) -> None:
    """Look until it is so; `condition` may be awaited."""
    async with asyncio.timeout(GENEROUS):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.002)


OUTAGE = StoreError("as if the cable were cut")
