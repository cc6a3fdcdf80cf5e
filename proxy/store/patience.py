"""A timeout that is fair to the other side: the time in which this process did not listen does not count.

Where the event loop is late by a second, an answer of a millisecond looks a second old, and a plain timeout gives up on
a store that is well. So the time is cut into steps, and each begins only when the one before was noticed: a late loop
makes a step longer, and what has arrived meanwhile is read before the next.
"""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Self

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
    """`async with Patience(seconds): ...` raises `TimeoutError` as `asyncio.timeout` does."""

    def __init__(self, seconds: float) -> None:
        self._step = seconds / _STEPS
        self._left = _STEPS
        self._timeout = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._timer = asyncio.get_running_loop().call_later(self._step, self._tick)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._left -= 1
        if self._left:
            self._timer = loop.call_later(self._step, self._tick)
        else:
            self._timeout.reschedule(loop.time())
