"""Where requests wait for a vendor's rate limit: the most urgent first, then the earliest deadline (EDF).

A limit that ends lets nobody storm in: those who waited for it go one after the other, so that what the first hears is
known before the last has asked.
"""

import asyncio
import heapq
from itertools import count

_MOST = 1_000  # requests that wait; whoever comes later is refused at once
_GAP_SECONDS = 0.01  # between two that go

NORMAL = 1
URGENCIES = {"high": 0, "normal": NORMAL, "low": 2}  # the words of the header x-tollhouse-priority


class Queue:
    """One per process."""

    def __init__(self) -> None:
        self._waiting = 0
        self._ready: list[tuple[int, float, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._usher: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many wait."""
        return self._waiting

    async def wait(self, seconds: float, *, urgency: int, deadline: float) -> bool:
        """Wait so long, and then for one's turn. False, at once: too many wait already."""
        if self._waiting >= _MOST:
            return False
        self._waiting += 1
        try:
            await asyncio.sleep(seconds)
            turn = asyncio.get_running_loop().create_future()
            heapq.heappush(self._ready, (urgency, deadline, next(self._numbers), turn))
            if self._usher is None:
                self._usher = asyncio.create_task(self._let_go())
            await turn
        finally:
            self._waiting -= 1
        return True

    async def _let_go(self) -> None:
        # Whoever wakes in the same moment is in the heap before the first goes.
        await asyncio.sleep(0)
        while self._ready:
            *_, turn = heapq.heappop(self._ready)
            if not turn.done():
                turn.set_result(None)
                await asyncio.sleep(_GAP_SECONDS)
        self._usher = None
