"""What passes between this replica's view and the board: telling, hearing, places for probes, and the store's clock.

Three tasks: one tells what is new, one looks, one waits for the bell. Nothing that a request waits for passes here but
the place of a probe. While the store is away, looking goes on, and what is found to be unsaid then is said.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from proxy.fleet.clock import SharedClock
from proxy.fleet.sheet import Sheet
from proxy.fleet.view import View
from proxy.store import Board, Notice, Notices
from proxy.store.patience import Patience, end

_TELL_SECONDS = 0.1  # what is not urgent waits for so long: many outcomes are one pin
_PIN_SECONDS = 0.25
_LOOK_SECONDS = 1.0  # it may be all that there is
_PLACE_SECONDS = 0.5  # that a request waits for the place of a probe
_CLOSE_SECONDS = 1.0
_TRIES = 4  # of a pin that others were quicker with
_AT_ONCE = 8  # pins


class Reader(Protocol):
    """Somebody else who reads the board: notices whose key begins with `prefix`. Called on the event loop."""

    prefix: str

    def hear(self, key: str, notice: Notice) -> None:
        """This stands there now; heard at least once after each change, our own among them. Must not raise."""
        ...

    def forget(self) -> None:
        """The board was forgotten: what is known here must be put up again. What is there still is heard after this."""
        ...


class Exchange:
    """One per process. `clock` in seconds, monotonic; `gather` is called before anything is told.

    `readers` may grow until it is opened; `looked` is set when the board was read for the first time.
    """

    def __init__(
        self,
        board: Board,
        view: View,
        time: SharedClock,
        clock: Callable[[], float],
        gather: Callable[[], None] = lambda: None,
    ) -> None:
        self._board, self._view, self._time, self._clock, self._gather = board, view, time, clock, gather
        self.readers: list[Reader] = []
        self.looked = asyncio.Event()
        self.opened = False
        self._away = False
        self._since = 0  # the serial number up to which all notices were read
        self._rung = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self) -> None:
        """Read the board, if it can be had. From now on there is somebody to be told: in rounds, if not by `open`."""
        self.opened = True
        await self.round()

    async def open(self) -> None:
        """Join, and begin."""
        await self.join()
        self._tasks = [asyncio.create_task(act()) for act in (self._tell, self._listen, self._hark)]

    async def close(self) -> None:
        """Say what is unsaid, if that is quickly done, and stop."""
        await end(self._tasks)
        self._tasks = []
        if self.opened:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self.say(list(self._view.dirty))
        self.opened = False

    async def round(self) -> None:
        """Look, and say what is unsaid. Never raises; the store is back when both were done."""
        try:
            await self.look()
        except Exception as error:  # whatever it is, the next look may see it gone
            self._failed(error)
            return
        self._gather()
        if await self.say(list(self._view.dirty)) and self._away:
            self._away = False
            structlog.get_logger().info("health shared again")

    async def look(self) -> None:
        """Read what was changed since the last look. Raises `StoreError` or `TimeoutError`."""
        notices = await self._notices(self._since)
        if notices.serial < self._since:
            structlog.get_logger().warning("health board forgotten", cure="put up again from what replicas know")
            self._view.forget()
            for reader in self.readers:
                reader.forget()
            notices = await self._notices(0)
        for key, notice in notices.changed.items():
            self._view.hear(key, notice)
            for reader in self.readers:
                if key.startswith(reader.prefix):
                    reader.hear(key, notice)
        self._since = notices.serial
        self.looked.set()

    async def say(self, sheets: Iterable[Sheet]) -> bool:
        """Pin what these have to say; False if the store could not be told."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(sheet: Sheet) -> Exception | None:
            async with turns:
                return await self._say(sheet)

        errors = [error for error in await asyncio.gather(*map(one, sheets)) if error]
        if errors:
            self._failed(errors[0])
        return not errors

    async def place(self, sheet: Sheet, probe: str) -> bool:
        """A place for a probe, the same for the whole fleet, if the board can be asked; else one of our own."""
        if sheet.key is None or sheet.foreign or self._away or not self.opened:
            return self._view.admit(sheet, probe)
        try:
            with Patience(_PLACE_SECONDS):
                async with sheet.turn:
                    return await self._ask(sheet, probe)
        except Exception as error:
            self._failed(error)
            return self._view.admit(sheet, probe)  # under the same name: the board may have given it
        except asyncio.CancelledError:
            self._view.void(sheet, probe)
            raise

    async def _ask(self, sheet: Sheet, probe: str) -> bool:
        view = self._view
        for _ in range(_TRIES):
            if not sheet.room(probe, view.policy, view.now()):
                return False
            draft = sheet.draft(view.replica, view.policy, view.now(), probe)
            if draft is None:
                return False
            if await self._pin(sheet, *draft):
                return True
        return sheet.foreign and self._view.admit(sheet, probe)

    async def _say(self, sheet: Sheet) -> Exception | None:
        view = self._view
        try:
            async with sheet.turn:
                for _ in range(_TRIES):
                    again = sheet.saying  # what has come since goes with the next pin
                    draft = sheet.draft(view.replica, view.policy, view.now()) if sheet.dirty else None
                    if draft is None or (await self._pin(sheet, *draft) and not again):
                        break
        except Exception as error:  # the other cells are told all the same
            return error
        if not sheet.dirty:
            view.dirty.discard(sheet)
        return None

    async def _pin(self, sheet: Sheet, text: bytes, ring: bool) -> bool:
        """Whether it stands there now."""
        serial = sheet.serial
        with Patience(_PIN_SECONDS):
            notice = await self._board.pin(sheet.key or "", serial, text, ring=ring)
        if not notice.text or notice.serial < serial == sheet.serial:
            sheet.forget()
        if notice.text:
            self._view.read(sheet, notice, heard=not notice.ours)
        return notice.ours

    async def _notices(self, since: int) -> Notices:
        asked = self._clock()
        with Patience(_LOOK_SECONDS):
            notices = await self._board.notices(since)
        self._time.learn(notices.at, asked, self._clock())
        return notices

    def _failed(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            structlog.get_logger().warning("health not shared", why=str(error) or "no answer in time")

    # ---- in the background --------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        view = self._view
        while True:
            await view.news.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TELL_SECONDS):
                    await view.urgent.wait()
            self._gather()
            view.news.clear()
            view.urgent.clear()
            if not self._away:  # else it is said when the store is back
                await self.say(list(view.dirty))

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._board.look_seconds):
                    await self._rung.wait()
            self._rung.clear()
            await self.round()

    async def _hark(self) -> None:
        while True:
            try:
                await self._board.bell()
                self._rung.set()
            except Exception:  # out of order: to look now and then has to do
                self._rung.set()
                await asyncio.sleep(self._board.look_seconds)
