"""A timeout that is fair to the other side: the time in which this process did not listen does not count.

Where the event loop is late by a second, an answer of a millisecond looks a second old, and a plain timeout gives up on
a store that is well. So the time is cut into steps, and each begins only when the one before was noticed: a late loop
makes a step longer, and what has arrived meanwhile is read before the next.
"""

import asyncio
from asyncio import current_task, get_running_loop
from collections.abc import Iterable
from itertools import takewhile
from types import TracebackType
from typing import Any, Self

_STEPS = 5
_AGAIN_SECONDS = 0.05


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended. Once is not enough: `asyncio.wait_for` of Python 3.11, which redis-py uses,
    swallows a cancellation that comes in the moment in which what it waits for is done."""
    under_way = set(tasks)
    while under_way:
        for task in under_way:
            task.cancel()
        _, under_way = await asyncio.wait(under_way, timeout=_AGAIN_SECONDS)


class Patience:
    """`with Patience(seconds): ...` around an `await` raises `TimeoutError` as `asyncio.timeout` does, at a fraction of
    its cost: one timer ticks for all who have as much patience. Who begins between two ticks waits up to a step longer.

    `loop` is the one that runs, if somebody has it at hand: Python asks the system for its process to find it.
    """

    __slots__ = ("_before", "_expired", "_loop", "_seconds", "_task", "_ticks")

    _task: asyncio.Task[Any]
    _before: int
    _ticks: "_Ticks"

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._seconds, self._loop = seconds, loop
        self._expired = False

    def __enter__(self) -> Self:
        loop = self._loop or get_running_loop()
        task = current_task(loop)
        if task is None:
            raise RuntimeError("there is no task that could wait")
        self._task, self._before = task, task.cancelling()
        self._ticks = ticks = _ticking.get((loop, self._seconds)) or _Ticks(loop, self._seconds)
        ticks.waiting[self] = ticks.count + _STEPS
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticks.waiting.pop(self, None)
        # Who was cancelled by somebody else, too, stays cancelled.
        if self._expired and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """The time is over."""
        self._expired = True
        self._task.cancel()


class _Ticks:
    """The timer of all who have so much patience on one event loop; it ends when a whole step long nobody waits."""

    __slots__ = ("_loop", "_seconds", "count", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop, self._seconds = loop, seconds
        self.count = 0
        self.waiting: dict[Patience, int] = {}  # until after which tick; the first is the first to go
        for other in [other for other in _ticking if other[0].is_closed()]:
            del _ticking[other]
        _ticking[loop, seconds] = self
        self._wind()

    def _wind(self) -> None:
        self._loop.call_later(self._seconds / _STEPS, self._tick)

    def _tick(self) -> None:
        if not self.waiting:
            del _ticking[self._loop, self._seconds]
            return
        late = [*takewhile(lambda one: self.waiting[one] <= self.count, self.waiting)]
        self.count += 1
        for one in late:
            del self.waiting[one]
            one.expire()
        self._wind()


_ticking: dict[tuple[asyncio.AbstractEventLoop, float], _Ticks] = {}
