"""What replicas share, in verbs of the domain: atomicity lives in the store, so the store's verbs are whole acts.

One contract, two stores: SQLite in a file for the workers of one machine, Redis for replicas anywhere. One test suite
runs over both.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from proxy.budget import Alert, Ask, Granted, Limit, Refused
from proxy.ledger import Counter, Entry

LARGEST_STATE = 256 * 1024  # characters; no vendor's reasoning state of one step is larger
MOST_STATES = 100_000  # the oldest go first: state that was never asked for must not fill a disk
PAGE = 500  # rows that are read at once


class StoreError(Exception):
    """The store is out of reach, or too slow to be of use. Nothing was done, or nobody knows."""


class Lost(StoreError):
    """The store has forgotten something: it came back empty, or older than it was. Nothing was done.

    Whoever hears this hands over what it knows (`recover`) before any money is held again.
    """


class Recovering(StoreError):
    """The store is being told again what it forgot. Nothing was done; ask again in a moment."""


class Settlement(msgspec.Struct, frozen=True):
    """A row to be written, and the limits whose alerts it may set off."""

    entry: Entry
    limits: tuple[Limit, ...] = ()


class Hold(msgspec.Struct, frozen=True):
    """A hold as the store knows it: the row it will become (`at` is set), and how much."""

    entry: Entry
    amount: int


class Store(Protocol):
    """What is kept for a request until another one needs it, and all the money."""

    async def open(self) -> None:
        """Connect. Raises `StoreError` if the store cannot be used now; it may be called again."""
        ...

    async def remember(self, states: Mapping[str, str], seconds: int) -> None:
        """Keep each state for at least `seconds`; a key that is there already is kept anew. One act."""
        ...

    async def recall(self, keys: Sequence[str]) -> dict[str, str]:
        """The states of those `keys` that are still known."""
        ...

    async def hold(self, ask: Ask) -> Granted | Refused:
        """Take money from all budgets at once, or from none. An id that is held already is granted as it was.

        An id that is settled already raises `StoreError`: whoever asks has been given up for dead.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> list[Alert]:
        """Give each hold back, book its cost, write its row: one act each, exactly once per id, in any order.

        A cost above its hold lands all the same. A row without a hold is booked too. A row that is there already stays,
        unless it is an orphan's and this one is not: then this one takes its place, and the difference is booked.
        Returns the alerts that these rows set off, each for the first and only time.
        """
        ...

    async def expired(self) -> list[Hold]:
        """Holds past their time, at most `PAGE` of them: to be settled as orphans by whoever asks."""
        ...

    async def counters(self, label: str) -> dict[str, Counter]:
        """All counters of a window (`ledger.labels`), by scope; those that are zero may be left out."""
        ...

    async def now(self) -> int:
        """The store's clock; milliseconds since the epoch."""
        ...

    def rows(self, start: int, end: int) -> AsyncIterator[list[Entry]]:
        """The ledger from `start` up to, not including, `end` (milliseconds), oldest first, in pages of any size."""
        ...

    async def prune(self, days: int) -> None:
        """Forget rows and counters that are older; a few at a time, so that nobody waits for it."""
        ...

    async def beat(self) -> None:
        """Say that this replica lives, and see whether the store has forgotten anything. Raises `Lost`."""
        ...

    async def recover(self, rows: AsyncIterator[Sequence[Settlement]], holds: Sequence[Hold]) -> None:
        """After `Lost`: hand over all rows that this replica knows, and its open holds; returns when holds are granted
        again, that is when every replica that lives has done the same. Raises `StoreError`; then begin anew."""
        ...

    async def close(self) -> None:
        """Let go of the store."""
        ...


def open_store(redis_url: str | None, data_dir: Path, replica: str = "replica") -> Store:
    """The store that the settings ask for; its `open` connects it. `replica` names this process to the others."""
    if redis_url is not None:
        from proxy.store.redis import RedisStore  # only here: redis-py is slow to import, and most do without

        return RedisStore(redis_url, replica=replica)
    from proxy.store.sqlite import SqliteStore

    return SqliteStore(data_dir / "tollhouse.db")
