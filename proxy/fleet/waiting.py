"""The requests of this replica that are under way at one model, and whether it has stopped to answer them."""

import math
from collections.abc import Sequence
from itertools import islice

from proxy.health import Cell

_ENOUGH = 20  # values that a percentile can stand on
_LEAST_SECONDS = 10.0
_TIMES = 3  # the 99th percentile
_WITNESSES = 3
_MILLI = 1_000


class Waiting:
    """Seconds, of a monotonic clock."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._sent: dict[int, float] = {}  # those that wait for their first part, by number, oldest first
        self._answered = -math.inf  # when the last of all was answered

    def begin(self, number: int, now: float) -> None:
        """One is sent. Numbers are never used again."""
        self.in_flight += 1
        self._sent[number] = now

    def answered(self, number: int, now: float) -> None:
        """Its first part has come."""
        if self._sent.pop(number, None) is not None:
            self._answered = now

    def end(self, number: int) -> None:
        """It is over, answered or not. Once for each."""
        self.in_flight -= 1
        self._sent.pop(number, None)

    def stalled(self, cell: Cell, now: float, first_byte: float) -> bool:
        """Whether they wait in vain, as far as can be told. `first_byte`: seconds after which they are given up."""
        if len(self._sent) < _WITNESSES:
            return False
        oldest = tuple(islice(self._sent.values(), _WITNESSES))
        if now - oldest[-1] <= min(_LEAST_SECONDS, first_byte / 2):
            return False  # nobody is less patient than that, and a percentile takes its time
        return stalled(oldest, self._answered, now, patience(cell, first_byte))


def stalled(oldest: Sequence[float], answered: float, now: float, patience: float) -> bool:
    """Whether so many have waited too long, and nobody was answered since the first of them was sent.

    A vendor that hangs would collect all traffic until the first timeout comes; a slow one answers somebody.
    """
    late = [sent for sent in oldest if now - sent > patience]
    return len(late) >= _WITNESSES and answered < min(late)


def patience(cell: Cell, first_byte: float) -> float:
    """How long a first part may take before it looks odd, in seconds. Never so long that the timeout comes first."""
    known = cell.first if cell.first.total >= _ENOUGH else cell.whole
    usual = (known.quantile(0.99) or 0.0) / _MILLI
    return min(max(_LEAST_SECONDS, _TIMES * usual), first_byte / 2)
