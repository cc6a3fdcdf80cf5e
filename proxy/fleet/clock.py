"""The clock that all replicas share: this process's own, put right by what the store says."""

from collections.abc import Callable

_MILLI = 1_000


class SharedClock:
    """`clock` in seconds, monotonic; `wall` in seconds since the epoch, believed until the store tells better."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._clock, self._wall = clock, wall
        self._offset: float | None = None  # milliseconds

    def now(self) -> int:
        """Milliseconds since the epoch."""
        if self._offset is None:
            return int(self._wall() * _MILLI)
        return int(self._clock() * _MILLI + self._offset)

    def learn(self, at: int, asked: float, answered: float) -> None:
        """The store's clock stood at `at` (milliseconds) at some time between the question and its answer (seconds).

        So the truth lies between two bounds, and we go to the nearer one if we are not within: a slow answer says
        little and moves little, and the clock never runs back by more than it must.
        """
        offset = self._offset if self._offset is not None else (self._wall() - self._clock()) * _MILLI
        least, most = at - answered * _MILLI, at + 1 - asked * _MILLI
        self._offset = min(max(offset, least), most)
