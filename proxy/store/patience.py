"""A timeout that is fair to the other side: the time in which this process did not listen does not count.

Where the event loop is late by a second, an answer of a millisecond looks a second old, and a plain timeout gives up on
a store that is well. So the time is cut into steps, and each begins only when the one before was noticed: a late loop
makes a step longer, and what has arrived meanwhile is read before the next.
"""

import asyncio
from collections.abc import Iterable
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
    """`async with Patience(seconds): ...` raises `TimeoutError` as `asyncio.timeout` does, at half its cost."""

    __slots__ = ("_before", "_expired", "_left", "_step", "_task", "_timer")

    _task: asyncio.Task[Any]
    _timer: asyncio.TimerHandle

    def __init__(self, seconds: float) -> None:
        self._step = seconds / _STEPS
        self._left = _STEPS
        self._expired = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("there is no task that could wait")
        self._task, self._before = task, task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(self._step, self._tick)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        # Who was cancelled by somebody else, too, stays cancelled.
        if self._expired and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _tick(self) -> None:
        self._left -= 1
        if self._left:
            self._timer = asyncio.get_running_loop().call_later(self._step, self._tick)
        else:
            self._expired = True
            self._task.cancel()
