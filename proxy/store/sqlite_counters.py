"""The counters of an SQLite file as one transaction sees them.

Each is read once and written once, however many rows of the transaction count in it: what fifty requests add to the
same budgets are as many writes as one of them.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
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
        self._added: dict[Place, tuple[int, int, int]] = {}

    def of(self, label: str, scope: str) -> Counter:
        """What a scope has used in a window, with what was added."""
        place = label, scope
        if (read := self._read.get(place)) is None:
            read = self._read[place] = self._file.execute(_READ, place).fetchone() or (0, 0, 0)
        spent, held, unproven = self._added.get(place, (0, 0, 0))
        return Counter(read[0] + spent, read[1] + held, read[2] + unproven)

    def add(self, entry: Entry, change: Counter) -> None:
        """Add to the counters of a row, in both windows of its time."""
        amounts = change.spent, change.held, change.unproven
        if any(amounts):
            added = self._added
            for place in places(entry):
                before = added.get(place)
                added[place] = (
                    (before[0] + amounts[0], before[1] + amounts[1], before[2] + amounts[2]) if before else amounts
                )

    def write(self) -> None:
        """Write what was added."""
        rows = [*map(add, self._added, self._added.values())]
        for start in range(0, len(rows), _MOST):
            some = rows[start : start + _MOST]
            self._file.execute(_adding(len(some)), [*chain.from_iterable(some)])


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
