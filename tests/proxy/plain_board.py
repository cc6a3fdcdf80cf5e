"""The contract of the notice board in dicts, with moods: a store that is away, or hangs, or does not answer."""

import asyncio
from collections.abc import Callable

from proxy.store import Notice, Notices, StoreError


class Paper:
    """What stands on the board, however many look at it. `wall` is its clock, in seconds."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self.wall = wall
        self.standing: dict[str, Notice] = {}
        self.bells: list[asyncio.Event] = []
        self._last = 0
        self._born = 0

    def put(self, key: str, text: bytes) -> Notice:
        self._last += 1
        self.standing[key] = Notice(self._last, text)
        return self.standing[key]

    def wipe(self) -> None:
        """It comes back empty. No number comes again."""
        self.standing.clear()
        self._born = self._last + 1

    def notices(self, since: int) -> Notices:
        at = int(self.wall() * 1000)
        if 0 < since < self._born:
            return Notices(0, at, {})
        last = max((notice.serial for notice in self.standing.values()), default=0)
        return Notices(last, at, {key: notice for key, notice in self.standing.items() if notice.serial > since})


class PlainBoard:
    """One replica's way to the paper.

    `away`: it raises, nothing done. `mute`: it is done, and then it raises. `shut`: whoever comes waits at the door,
    nothing done. `stuck`: it is done, and the answer waits. `rivals`: so many pins come too late, because somebody has
    put up the same again. `broken`: the bell is out of order. `pins` counts those that were done or refused.
    """

    def __init__(self, paper: Paper, *, look_seconds: float = 0.05) -> None:
        self.look_seconds = look_seconds
        self.away = self.mute = self.broken = False
        self.shut: asyncio.Event | None = None
        self.stuck: asyncio.Event | None = None
        self.rivals = 0
        self.pins = 0
        self._paper = paper
        self._rung = asyncio.Event()
        paper.bells.append(self._rung)

    async def pin(self, key: str, serial: int, text: bytes, *, ring: bool) -> Notice:
        await self._door()
        self.pins += 1
        if self.rivals and key in self._paper.standing:
            self.rivals -= 1
            self._paper.put(key, self._paper.standing[key].text)
        stands = self._paper.standing.get(key, Notice(0, b""))
        if stands.serial == serial:
            done = self._paper.put(key, text)
            stands = Notice(done.serial, done.text, ours=True)
            for bell in self._paper.bells if ring else ():
                bell.set()
        await self._answer()
        return stands

    async def notices(self, since: int) -> Notices:
        await self._door()
        notices = self._paper.notices(since)
        await self._answer()
        return notices

    async def bell(self) -> None:
        if self.broken:
            raise StoreError("the bell is out of order")
        await self._rung.wait()
        self._rung.clear()

    async def _door(self) -> None:
        await asyncio.sleep(0)  # as any store: others have their turn in the meantime
        if self.shut is not None:
            await self.shut.wait()
        if self.away:
            raise StoreError("the store is away")

    async def _answer(self) -> None:
        if self.stuck is not None:
            await self.stuck.wait()
        if self.mute:
            raise StoreError("nobody heard the answer")
