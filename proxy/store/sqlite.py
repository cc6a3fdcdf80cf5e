"""The embedded store: one SQLite file, shared by the workers of one machine.

What requests wait for (`sqlite_turns`) is done on the event loop, all that one turn of it brings in one transaction: to
hand it to a thread costs more than to do it. All else, and whatever has to wait for another process, is done on one
thread. Between processes SQLite's own lock decides, and whoever waits for it waits a quarter of a second at most:
slow is worse than away.

The file is not synced at each commit (`synchronous=NORMAL`): what was committed survives the death of any process; a
power cut may take the last moments, never the file. The journal has them.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from proxy.budget import Alert, Ask, Granted, Refused
from proxy.feedback import Feedback
from proxy.ledger import Counter, Entry
from proxy.quota import Crowded, Entered, Entering, Quota
from proxy.store import (
    LARGEST_STATE,
    MOST_STATES,
    Hold,
    Notice,
    Notices,
    Settlement,
    StoreError,
    sqlite_board,
    sqlite_feedback,
    sqlite_money,
    sqlite_quota,
)
from proxy.store.sqlite_counters import Counters
from proxy.store.sqlite_turns import Turns, together

T = TypeVar("T")
_AT_ONCE = 16  # rows that are settled on the event loop, a millisecond; more are left to the thread
_OPENINGS = 20
_OPEN_SECONDS = 5.0  # workers that start together make the file one after the other
_MILLI = 1_000
_DAY = 86_400 * _MILLI
_RESTORED_SECONDS = 960  # how long a hold may live that was handed over: as long as one that is new
_PRUNED = 1_000  # rows of one transaction, some milliseconds
_PRUNES = 8  # transactions of one call


class SqliteStore:
    """A store in a file. `wall` is its clock, in seconds since the epoch."""

    look_seconds = 0.2  # to look is to read a file

    def __init__(self, path: Path, *, most_states: int = MOST_STATES, wall: Callable[[], float] = time.time) -> None:
        self._path = path
        self._most_states = most_states
        self._wall = wall
        self._turns: Turns | None = None
        self._closed = False
        self._ended = asyncio.Event()

    async def open(self) -> None:
        """Open the file, and make it if it is not there. After a failure it may be called again."""
        if self._turns is None:
            with self._foreign():
                connection = await asyncio.to_thread(self._open)
                self._turns = Turns(connection, self._path)

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        for again in reversed(range(_OPENINGS)):
            try:
                return self._connected()
            except sqlite3.OperationalError as error:
                # Who turns a new file to WAL at the same moment is refused at once, whatever the timeout says.
                if not again or "locked" not in str(error):
                    raise
                time.sleep(_OPEN_SECONDS / _OPENINGS / 10)
        raise AssertionError("unreachable: the last try returns or raises")

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_OPEN_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(files("proxy.store").joinpath("schema.sql").read_text())
            connection.execute("PRAGMA busy_timeout=0")
        except BaseException:
            connection.close()
            raise
        return connection

    async def remember(self, states: Mapping[str, str], seconds: int) -> None:
        """Keep each state; what is over-long is not kept, what is over-many goes oldest first."""
        rows = [(key, value, seconds) for key, value in states.items() if len(value) <= LARGEST_STATE]
        if rows:
            await self._act(lambda file, _: self._remember(file, rows))

    def _remember(self, file: sqlite3.Connection, rows: Sequence[tuple[str, str, int]]) -> None:
        file.executemany("INSERT OR REPLACE INTO state VALUES (?, ?, unixepoch() + ?)", rows)
        file.execute("DELETE FROM state WHERE expires <= unixepoch()")
        file.execute(
            "DELETE FROM state WHERE key IN (SELECT key FROM state ORDER BY expires DESC LIMIT -1 OFFSET ?)",
            (self._most_states,),
        )

    async def recall(self, keys: Sequence[str]) -> dict[str, str]:
        """The states of those `keys` that are still known."""
        marks = ",".join("?" * len(keys))
        query = f"SELECT key, value FROM state WHERE expires > unixepoch() AND key IN ({marks})"
        return await self._read(lambda file: dict(file.execute(query, list(keys)).fetchall())) if keys else {}

    # What each request calls hands on a coroutine, rather than wrap it in another.

    def hold(self, ask: Ask) -> Coroutine[Any, Any, Granted | Refused]:
        """Take money from all budgets at once, or from none."""
        return self._soon(lambda file, counters: sqlite_money.hold(file, counters, ask, self._now()))

    def settle(self, settlements: Sequence[Settlement]) -> Coroutine[Any, Any, list[Alert]]:
        """Give each hold back, book its cost, write its row; all of them in one transaction, or none."""
        do = self._soon if len(settlements) <= _AT_ONCE else self._act
        return do(lambda file, counters: sqlite_money.settle(file, counters, settlements, self._now()))

    async def expired(self) -> list[Hold]:
        """Holds past their time; they stand until somebody settles them."""
        return await self._read(lambda file: sqlite_money.expired(file, self._now()))

    async def counters(self, label: str) -> dict[str, Counter]:
        """All counters of a window, by scope."""
        return await self._read(lambda file: sqlite_money.counters(file, label))

    async def now(self) -> int:
        """The clock of this machine; milliseconds since the epoch."""
        return self._now()

    def _now(self) -> int:
        return int(self._wall() * _MILLI)

    async def rows(self, start: int, end: int) -> AsyncIterator[list[Entry]]:
        """The ledger of that time, oldest first; between two pages the thread is free for others."""
        last: Entry | None = None
        while page := await self._page(start, end, last):
            yield page
            last = page[-1]

    async def _page(self, start: int, end: int, last: Entry | None) -> list[Entry]:
        return await self._read(lambda file: sqlite_money.rows(file, start, end, last))

    def enter(self, entering: Entering) -> Coroutine[Any, Any, Entered | Crowded]:
        """Take a place, a request and its tokens, all of them or none."""
        return self._soon(lambda file, _: sqlite_quota.enter(file, entering, self._now()))

    def leave(self, key: str, id: str, quota: Quota, tokens: int) -> Coroutine[Any, Any, None]:
        """Give the place back."""
        return self._soon(lambda file, _: sqlite_quota.leave(file, key, id, quota, tokens, self._now()))

    async def judge(self, feedback: Feedback) -> bool:
        """Keep what somebody said of a request; False if it has no row, or if it was another key's."""
        return await self._act(lambda file, _: sqlite_feedback.judge(file, feedback))

    async def prune(self, days: int) -> None:
        """Forget what is older, at most some thousands of rows a call; between its steps others have their turn."""
        before = max(0, self._now() - days * _DAY)
        for _ in range(_PRUNES):
            if not await self._act(lambda file, _: sqlite_money.prune(file, before, _PRUNED)):
                return

    async def beat(self) -> None:
        """See whether the file can be written. It forgets nothing, and nobody waits for who lives."""
        await self._act(lambda file, _: None)

    async def recover(self, rows: AsyncIterator[Sequence[Settlement]], holds: Sequence[Hold]) -> None:
        """Add what is not there yet. No alert is set off: it would be told to nobody."""
        async for page in rows:
            await self.settle([Settlement(settlement.entry) for settlement in page])
        await self._act(lambda file, counters: self._restore(file, counters, holds))

    def _restore(self, file: sqlite3.Connection, counters: Counters, holds: Sequence[Hold]) -> None:
        for hold in holds:
            sqlite_money.restore(file, counters, hold, self._now() + _RESTORED_SECONDS * _MILLI)

    async def pin(self, key: str, serial: int, text: bytes, *, ring: bool) -> Notice:
        """Put up a text where that notice still stands. There is no bell to ring."""
        return await self._act(lambda file, _: sqlite_board.pin(file, key, serial, text, self._wall()))

    async def notices(self, since: int) -> Notices:
        """All notices that were changed after that serial number."""
        return await self._read(lambda file: sqlite_board.notices(file, since, self._now()))

    async def bell(self) -> None:
        """There is none: between processes a file cannot call. Raises `StoreError` when the store is closed."""
        await self._ended.wait()
        raise StoreError("the store is closed")

    async def close(self) -> None:
        """Close the file."""
        self._closed = True
        self._ended.set()
        if self._turns is not None:
            turns, self._turns = self._turns, None
            with self._foreign():
                await turns.close()

    async def _soon(self, act: Callable[[sqlite3.Connection, Counters], T]) -> T:
        """What requests wait for: all of it or nothing."""
        told: T | BaseException = await self._open_turns().soon(act)
        if isinstance(told, BaseException):
            with self._foreign():
                raise told
        return told

    async def _act(self, act: Callable[[sqlite3.Connection, Counters], T]) -> T:
        """All of it or nothing, on the thread."""

        def whole() -> T:
            told: T | StoreError = together(self._file(), [act])[0]
            if isinstance(told, StoreError):
                raise told
            return told

        return await self._run(whole)

    async def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """One statement needs no transaction."""
        return await self._run(lambda: read(self._file()))

    def _file(self) -> sqlite3.Connection:
        return self._open_turns().connection

    async def _run(self, act: Callable[[], T]) -> T:
        with self._foreign():
            return await self._open_turns().later(act)

    def _open_turns(self) -> Turns:
        if self._closed:
            raise StoreError("the store is closed")
        if self._turns is None:
            raise StoreError("the store is not open")
        return self._turns

    @contextmanager
    def _foreign(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
            raise StoreError(f"{self._path}: {error}") from error
