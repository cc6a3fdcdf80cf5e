"""The counters of an SQLite file as one transaction sees them.

Each is read once and written once, however many rows of the transaction count in it: what fifty requests add to the
same budgets are as many writes as one of them.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, repeat
from operator import add
from sqlite3 import Connection

from proxy.ledger import WINDOWS, Counter, Entry, Window, labels

_DAY = 86_400_000
_READ = "SELECT spent, held, unproven FROM counter WHERE label = ? AND scope = ?"
_ADD = """
    INSERT INTO counter (label, scope, spent, held, unproven) VALUES {}
    ON CONFLICT (label, scope) DO UPDATE SET
        spent = spent + excluded.spent, held = held + excluded.held, unproven = unproven + excluded.unproven
"""
_MOST = 16  # rows of one statement: those of one request, nearly always

Place = tuple[str, str]  # label and scope


class Counters:
    """Of one transaction; `write` ends them. Amounts in nano-dollars."""

    def __init__(self, file: Connection) -> None:
        self._file = file
        self._read: dict[Place, tuple[int, int, int]] = {}
        self._spent: dict[Place, int] = {}  # what was added
        self._held: dict[Place, int] = {}
        self._unproven: dict[Place, int] = {}

    def of(self, label: str, scope: str) -> Counter:
        """What a scope has used in a window, with what was added."""
        place = label, scope
        if (read := self._read.get(place)) is None:
            read = self._read[place] = self._file.execute(_READ, place).fetchone() or (0, 0, 0)
        spent, held, unproven = read
        return Counter(
            spent + self._spent.get(place, 0), held + self._held.get(place, 0), unproven + self._unproven.get(place, 0)
        )

    def add(self, entry: Entry, change: Counter) -> None:
        """Add to the counters of a row, in both windows of its time."""
        here = places(entry)
        if change.spent:
            _add(self._spent, here, change.spent)
        if change.held:
            _add(self._held, here, change.held)
        if change.unproven:
            _add(self._unproven, here, change.unproven)

    def write(self) -> None:
        """Write what was added."""
        spent, held, unproven = self._spent, self._held, self._unproven
        rows = [
            (*place, spent.get(place, 0), held.get(place, 0), unproven.get(place, 0))
            for place in {**spent, **held, **unproven}
        ]
        for start in range(0, len(rows), _MOST):
            some = rows[start : start + _MOST]
            self._file.execute(_adding(len(some)), [*chain.from_iterable(some)])


def _add(sums: dict[Place, int], here: Sequence[Place], amount: int) -> None:
    """Add to each; without a loop, since there are fourteen of them, and this was half of the work of a hold."""
    sums.update(zip(here, map(add, map(sums.get, here, repeat(0)), repeat(amount)), strict=False))


def named(at: int) -> dict[Window, str]:
    """The windows of a time, by their kind."""
    return _named(at // _DAY)


def places(entry: Entry) -> Sequence[Place]:
    """The counters in which a row counts."""
    return _places(entry.at // _DAY, entry.scopes)


@lru_cache(maxsize=1_024)
def _places(day: int, scopes: tuple[str, ...]) -> tuple[Place, ...]:
    return tuple((label, scope) for label in _named(day).values() for scope in scopes)


@lru_cache(maxsize=_MOST)
def _adding(number: int) -> str:
    """Adds to so many counters: half as dear as so many statements."""
    return _ADD.format(", ".join(["(?, ?, ?, ?, ?)"] * number))


@lru_cache(maxsize=64)
def _named(day: int) -> dict[Window, str]:
    return dict(zip(WINDOWS, labels(day * _DAY), strict=True))
