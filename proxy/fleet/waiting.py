"""The requests of this replica that are under way at one model, and whether it has stopped to answer them."""

import math
from collections.abc import Sequence
from itertools import islice

import msgspec

from proxy.health import Cell

_ENOUGH = 20  # values that a percentile can stand on
_LEAST_SECONDS = 10.0
_TIMES = 3  # the 99th percentile
WITNESSES = 3  # fewer prove nothing
_MILLI = 1_000


class Sent(msgspec.Struct, eq=False):
    """A request that waits for its first part; one is like no other. `first_byte`: when it is given up. Seconds."""

    at: float
    first_byte: float
    stream: bool


class Waiting:
    """Seconds, of a monotonic clock."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.sent: dict[Sent, None] = {}  # those that wait for their first part, oldest first
        self._answered = -math.inf  # when the last of all was answered

    def begin(self, sent: Sent) -> None:
        """One is sent."""
        self.in_flight += 1
        self.sent[sent] = None

    def answered(self, sent: Sent, now: float) -> None:
        """Its first part has come."""
        if sent in self.sent:
            del self.sent[sent]
            self._answered = now

    def end(self, sent: Sent) -> None:
        """It is over, answered or not. Once for each."""
        self.in_flight -= 1
        self.sent.pop(sent, None)

    def stalled(self, cell: Cell, now: float) -> bool:
        """Whether they wait in vain, as far as can be told."""
        if len(self.sent) < WITNESSES:
            return False
        first = next(iter(self.sent))
        if now - first.at <= min(_LEAST_SECONDS, first.first_byte / 2):
            return False  # nor has anybody after it waited for longer
        oldest = tuple(islice(self.sent, WITNESSES))
        if now - oldest[-1].at <= min(_LEAST_SECONDS, oldest[-1].first_byte / 2):
            return False  # nobody is less patient than that, and a percentile takes its time
        return stalled(oldest, self._answered, now, cell)


def stalled(oldest: Sequence[Sent], answered: float, now: float, cell: Cell) -> bool:
    """Whether so many have waited too long, and nobody was answered since the first of them was sent.

    A vendor that hangs would collect all traffic until the first timeout comes; a slow one answers somebody.
    """
    late = [sent.at for sent in oldest if now - sent.at > patience(cell, sent)]
    return len(late) >= WITNESSES and answered < min(late)


def patience(cell: Cell, sent: Sent) -> float:
    """How long a first part may take before it looks odd, in seconds. Never so long that the timeout comes first; and
    where nothing is known of what is usual, half of that."""
    known = cell.first if sent.stream else cell.whole
    most = sent.first_byte / 2
    if known.total < _ENOUGH:
        return most
    usual = (known.quantile(0.99) or 0.0) / _MILLI
    return min(max(_LEAST_SECONDS, _TIMES * usual), most)
