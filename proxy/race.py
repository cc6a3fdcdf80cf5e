"""Two attempts at one request at once, of which the first to have something to say goes on: hedging.

Dean and Barroso, "The Tail at Scale" (CACM 2013): the second is asked only when the first is later than nineteen in
twenty, so that it costs a twentieth more and takes away the tail.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from adapters.base import Failure

Attempt = Callable[[], Coroutine[Any, Any, None]]


class Race:
    """Of one request. Each runner calls `won` the moment that it has something to say, and before it says it."""

    def __init__(self) -> None:
        self._running: list[asyncio.Task[None]] = []
        self._decided = False
        self._winner: asyncio.Task[None] | None = None

    def won(self) -> None:
        """Called by a runner: all others are cancelled now, and none starts any more."""
        self._decided = True
        mine = self._winner = asyncio.current_task()
        for task in self._running:
            if task is not mine:
                task.cancel()

    async def run(self, first: Attempt, second: Attempt, after: float) -> list[Failure | None]:
        """Run the first, and `after` seconds later the second, unless the first has won, or failed, by then.

        Returns how each that was started failed, in their order; None for who won, or was cancelled for it. A
        cancellation from outside cancels both, and is waited for; a winner that is cancelled was the whole of it.
        """
        try:
            self._running.append(asyncio.create_task(first()))
            await asyncio.wait(self._running, timeout=after)
            if not self._decided and not self._running[0].done():
                self._running.append(asyncio.create_task(second()))
            await asyncio.wait(self._running)
        except asyncio.CancelledError:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            raise
        if self._winner is not None and self._winner.cancelled():
            raise asyncio.CancelledError
        return [_failure(task) for task in self._running]


def _failure(task: "asyncio.Task[None]") -> Failure | None:
    if task.cancelled():
        return None
    error = task.exception()
    if error is None or isinstance(error, Failure):
        return error
    raise error
