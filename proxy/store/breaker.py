"""A store that fails again and again is left alone for a moment: it is worse to wait for it than to be told no."""

from collections.abc import Callable

from proxy.store import StoreError

_AFTER = 3  # failures in a row; then nobody asks the store for a moment
_SECONDS = 1.0


class Breaker:
    """One per process. `well`: the store did what it was last asked; then nothing need be asked of us."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.opened = False  # it was connected once
        self.well = False
        self.failures = 0  # in a row
        self._until = 0.0  # seconds, by the clock

    @property
    def open(self) -> bool:
        """It has failed so often that it is left alone."""
        return self.failures >= _AFTER

    def pass_by(self) -> None:
        """Whoever wants to ask the store; when the moment is over, one asks for all. Raises `StoreError`."""
        now = self._clock()
        if not self.opened or now < self._until:
            raise StoreError("the store is away")
        if self.open:
            self._until = now + _SECONDS

    def failed(self) -> None:
        """It did not answer as it should."""
        self.well = False
        self.failures += 1
        if self.open:
            self._until = self._clock() + _SECONDS

    def worked(self) -> None:
        """It did."""
        self.well, self.failures, self._until = True, 0, 0.0
