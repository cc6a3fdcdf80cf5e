"""How fast a model answers: percentiles, and an average that forgets. Both add up, whoever counted. Pure.

A `Sketch` counts in buckets that grow by a tenth, as DDSketch does (Masson, Rim, Lee, VLDB 2019): a percentile is off
by 5 % at most. When it holds more than a thousand, all counts are halved: what was long ago fades. A `Pace` is an
average whose weights halve with time. Both add up in any order: a sketch exactly, as long as nothing is halved; an
average to within the precision of a float.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

import msgspec

_GROWTH = math.log(1.1)
_MOST = 1_000
_HALF_LIFE_MS = 60_000
_FORGOTTEN = 1e-9  # of a value: half an hour later nothing is known of it any more


class Sketch(msgspec.Struct, frozen=True, omit_defaults=True):
    """Positive numbers of any unit, to within 5 %. `counts` by bucket."""

    counts: dict[int, int] = {}

    @property
    def total(self) -> int:
        """How many are counted, old ones only in part."""
        return sum(self.counts.values())

    def quantile(self, q: float) -> float | None:
        """The value that a part `q` of them does not exceed; None if there is none."""
        if not self.counts:
            return None
        buckets = sorted(self.counts)
        upto = list(accumulate(map(self.counts.__getitem__, buckets)))
        return math.exp(buckets[bisect_left(upto, q * upto[-1])] * _GROWTH)

    def joined(self, other: "Sketch") -> "Sketch":
        """Both."""
        if not other.counts:
            return self
        counts = dict(self.counts)
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        if sum(counts.values()) > _MOST:
            counts = {bucket: half for bucket, count in counts.items() if (half := count // 2)}
        return Sketch(counts)


def sketch(values: Iterable[float]) -> Sketch:
    """Some values; what is not positive counts as the least."""
    counts: dict[int, int] = {}
    for value in values:
        bucket = round(math.log(value if value > 0.001 else 0.001) / _GROWTH)
        counts[bucket] = counts.get(bucket, 0) + 1
    return Sketch(counts)


class Pace(msgspec.Struct, frozen=True, omit_defaults=True):
    """An average of what was seen lately. `weight`: how many values it stands on, as of `at` (milliseconds)."""

    sum: float = 0.0
    weight: float = 0.0
    at: int = 0

    @property
    def mean(self) -> float | None:
        """The average; None if nothing was seen."""
        return self.sum / self.weight if self.weight else None

    def faded(self, now: int) -> "Pace":
        """As it counts at a later time."""
        factor = 0.5 ** (max(0, now - self.at) / _HALF_LIFE_MS)
        if self.weight * factor < _FORGOTTEN:
            return Pace(at=max(now, self.at))
        return Pace(self.sum * factor, self.weight * factor, max(now, self.at))

    def joined(self, other: "Pace") -> "Pace":
        """Both, as of the later time."""
        if not other.weight:
            return self
        now = max(self.at, other.at)
        a, b = self.faded(now), other.faded(now)
        return Pace(a.sum + b.sum, a.weight + b.weight, now)
