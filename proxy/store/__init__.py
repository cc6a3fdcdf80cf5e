"""What replicas share, in verbs of the domain: atomicity lives in the store, so the store's verbs are whole acts.

One contract, two stores: SQLite in a file for the workers of one machine, Redis for replicas anywhere. One test suite
runs over both.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from proxy.budget import Alert, Ask, Granted, Limit, Refused
from proxy.feedback import Feedback
from proxy.footprint import spared
from proxy.ledger import Counter, Entry
from proxy.quota import Crowded, Entered, Entering, Quota

LARGEST_STATE = 256 * 1024  # characters; no vendor's reasoning state of one step is larger
MOST_STATES = 100_000  # the oldest go first: state that was never asked for must not fill a disk
PAGE = 500  # rows that are read at once
OLD_NOTICE_SECONDS = 30 * 86_400  # a notice that nobody changed for so long may be taken down


class StoreError(Exception):
    """The store is out of reach, or too slow to be of use. Nothing was done, or nobody knows."""


class Lost(StoreError):
    """The store has forgotten something: it came back empty, or older than it was. Nothing was done.

    Whoever hears this hands over what it knows (`recover`) before any money is held again.
    """


class Recovering(StoreError):
    """The store is being told again what it forgot. Nothing was done; ask again in a moment."""


class Settlement(msgspec.Struct, frozen=True):
    """A row to be written, and the limits whose alerts it may set off.

    `text` is the row as `ledger.encode` writes it, where that is done: the journal has needed it, too.
    """

    entry: Entry
    limits: tuple[Limit, ...] = ()
    text: bytes = b""


class Hold(msgspec.Struct, frozen=True):
    """A hold as the store knows it: the row it will become (`at` is set), and how much."""

    entry: Entry
    amount: int


class Notice(msgspec.Struct, frozen=True):
    """What stands on the board under a key: the serial number of its last change, and its text.

    `ours` in the answer of `pin` alone: it was done. The text does not tell: somebody else may have put up the same.
    """

    serial: int
    text: bytes
    ours: bool = False


class Notices(msgspec.Struct, frozen=True):
    """What has changed on the board: `serial` is the number of the last change of all, `at` the store's clock (ms)."""

    serial: int
    at: int
    changed: Mapping[str, Notice]


KEPT = "keep:"  # notices whose key begins so are never taken down: one that is old is put up anew


class Board(Protocol):
    """A notice board that all replicas read: small texts, each changed by whoever saw its last state.

    It knows nothing of what the texts mean. Serial numbers grow with each change, not by one. A board may be forgotten:
    a Redis comes back empty. No number comes again on the next one, so nobody takes its texts for those that he saw.
    """

    look_seconds: float  # how often to ask for notices, if no bell rings

    async def pin(self, key: str, serial: int, text: bytes, *, ring: bool) -> Notice:
        """Put up `text` if the notice of `key` is still the one of `serial` (0: none was there); one act.

        Returns what stands there now: with a new serial number, and `ours`, if it was done; `Notice(0, b"")` if nothing
        stands there any more. `ring`: the others hear of it at once. Raises `StoreError`; it may have been done then.
        """
        ...

    async def notices(self, since: int) -> Notices:
        """All notices that were changed after the serial number `since`; 0: all. Raises `StoreError`.

        If the board was forgotten since, its `serial` is below `since`, and `changed` is empty: ask for all then, and
        put up again what is missing.
        """
        ...

    async def bell(self) -> None:
        """Returns when somebody rang since the last call, ourselves included; never, where there is no bell.

        It may also return though nobody rang: the first time, and when it is in order again. Raises `StoreError` when
        it is out of order, and at once while it cannot be repaired: look then, wait a little, and call again. Raises
        `StoreError` too when the store is closed.
        """
        ...


class Store(Board, Protocol):
    """What is kept for a request until another one needs it, all the money, and the board."""

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
        """The ledger from `start` up to, not including, `end` (milliseconds), oldest first, in pages of any size.

        The last row of a request has what was said of it (`Entry.score`, `Entry.comment`)."""
        ...

    async def enter(self, entering: Entering) -> Entered | Crowded:
        """Take a place, a request and its tokens from a key's quota, all of them or none; one act. The same id twice is
        one. `proxy.quota` says what is decided."""
        ...

    async def leave(self, key: str, id: str, quota: Quota, tokens: int) -> None:
        """Give the place back. `tokens`: how many more it took than was said when it came (below zero: how many fewer).
        An id that is not inside is none: its place has run out."""
        ...

    async def judge(self, feedback: Feedback) -> bool:
        """Keep what somebody said of a request; what was said of it before is gone. False if there is no row of that
        request, or if it was another key's (`Entry.key`). Rows are found by the ids that `proxy.toll` gives them
        ("REQUEST/N", "REQUEST/end"), for three days at least; what was said is forgotten when the rows are."""
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
        with spared():
            from proxy.store.redis import RedisStore  # only here: redis-py is slow to import, and most do without

        return RedisStore(redis_url, replica=replica)
    from proxy.store.sqlite import SqliteStore

    return SqliteStore(data_dir / "tollhouse.db")
