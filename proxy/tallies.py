"""Counters and histograms of one thread, told to Prometheus when it asks.

prometheus_client's own take a lock for each number that is added, and walk through all buckets: at a dozen numbers a
request that was a tenth of all that a request costs. These are plain numbers until somebody collects them.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import repeat
from operator import add
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

T = TypeVar("T")
_MOST_ASIDE = 64  # values


class Count:
    """A number that grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, by: float = 1.0) -> None:
        """It is that much more."""
        self.value += by


class Spread:
    """How values are spread over buckets; `bounds` are their upper ends, which belong to them.

    `within`: how many do not exceed each of the bounds; last of all, how many there are. `sum`: of them. Neither has
    what was only taken, until it is settled.
    """

    __slots__ = ("_aside", "_bounds", "sum", "within")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._aside: list[float] = []
        self.within = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """One more value, at once."""
        self._aside.append(value)
        self.settle()

    def take(self, values: Sequence[float]) -> None:
        """More values, some of which may be laid aside: to count many at once is cheaper."""
        self._aside += values
        if len(self._aside) >= _MOST_ASIDE:
            self.settle()

    def settle(self) -> None:
        """Count what was laid aside: sorted, for there are fewer bounds to be looked up among the values than values
        among the bounds."""
        if self._aside:
            ordered = sorted(self._aside)
            more = (*map(bisect_right, repeat(ordered), self._bounds), len(ordered))
            self.within = [*map(add, self.within, more)]
            self.sum = sum(self._aside, self.sum)
            self._aside = []


class _Family(Collector, Generic[T]):
    """One metric: a child for each combination of its labels' values; without labels, one that is there at once."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._meaning, self._labels = name, meaning, tuple(labels)
        self._children: dict[tuple[str, ...], T] = {}
        if not labels:
            self.labels()
        registry.register(self)

    def labels(self, *values: str) -> T:
        """The child of these values, in the order of the labels' names."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._new()
        return child

    def _new(self) -> T:
        raise NotImplementedError


class Counter(_Family[Count]):
    """`name` ends with `_total`."""

    def _new(self) -> Count:
        return Count()

    def inc(self, by: float = 1.0) -> None:
        """Of one without labels."""
        self.labels().inc(by)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """As Prometheus reads it."""
        family = CounterMetricFamily(self._name.removesuffix("_total"), self._meaning, labels=self._labels)
        for values, child in list(self._children.items()):  # others may count in another thread
            family.add_metric(values, child.value)
        yield family


class Histogram(_Family[Spread]):
    """`buckets`: the upper ends, but for the last, which has none."""

    def __init__(
        self, name: str, meaning: str, labels: Sequence[str], registry: CollectorRegistry, buckets: Sequence[float]
    ) -> None:
        self._bounds = tuple(buckets)
        super().__init__(name, meaning, labels, registry)

    def _new(self) -> Spread:
        return Spread(self._bounds)

    def observe(self, value: float) -> None:
        """Of one without labels."""
        self.labels().observe(value)

    def settle(self) -> None:
        """Count what its children have laid aside: to be done before it is collected, in no two threads at once."""
        for child in self._children.values():
            child.settle()

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """As Prometheus reads it: each bucket holds all that is less, too."""
        family = HistogramMetricFamily(self._name, self._meaning, labels=self._labels)
        ends = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, child in list(self._children.items()):  # as above
            family.add_metric(values, list(zip(ends, child.within, strict=True)), child.sum)
        yield family
