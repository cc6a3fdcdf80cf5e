"""All managed keys, as every replica knows them: kept on the store's notice board, heard of through its bell.

A replica decides on what it knows: no request waits for the store. A key that is made, changed or revoked at one is
heard by the others at once (where there is a bell) or at their next look.

What is known is not unlearnt: a key that was revoked stays so here, whatever the board says, and a board that has
forgotten is told again. A notice that cannot be read changes nothing, but for a ring that was open: it closes it.
"""

import asyncio
import secrets
from collections.abc import Callable
from functools import partial

import msgspec
import structlog

from proxy import keys
from proxy.environment import Secret
from proxy.keys import Key, State, Terms
from proxy.keys.index import Index, KeyTaken
from proxy.store import KEPT, Board, Notice, StoreError
from proxy.store.patience import Patience, end

PREFIX = f"{KEPT}key:"
PEPPER = f"{KEPT}pepper"

_SECONDS = 1.0  # that the board may take for one answer
_TRIES = 8  # of a pin that others were quicker with
_FAILURES = 2  # of them without an answer: the second try finds out whether the first was done
_PEPPER_BYTES = 32
_MOST_PEPPERS = 16
_HINT = 4  # characters

_decoder = msgspec.json.Decoder(list[str])


class Roster:
    """One per process; used on the event loop. A `Reader` of the board (`proxy.fleet.exchange`).

    `secret` is what keys are hashed with; without one it is made at random, kept on the board, and the same for all.
    `wall` in seconds since the epoch. `changed` is told of each key that is new, or no longer what it was.
    """

    prefix = KEPT

    def __init__(
        self,
        board: Board,
        secret: Secret | None,
        *,
        wall: Callable[[], float],
        changed: Callable[[Key], None] = lambda _: None,
    ) -> None:
        self._board, self._wall, self._changed = board, wall, changed
        self._secret = secret is not None
        self._index = Index(secret.reveal().encode()) if secret else Index()
        self._serials: dict[str, int] = {}  # notice -> the serial number of what was heard last
        self._strange: set[str] = set()  # notices that could not be read
        self._unsaid: set[str] = set()  # notices that the board does not have as they are known here
        self._boards = 0  # how many were forgotten
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._away = False
        self.read = False  # the board was read: who is not known by now is a stranger
        self.sealed = False  # a process before us, in the same place, knew of keys

    async def open(self) -> None:
        """Read the board, if it can be had, or else when it can. Never raises."""
        await self._settled()
        self._tasks = [asyncio.create_task(self._run(), name="roster")]

    async def close(self) -> None:
        """Listen and tell no more."""
        await end(self._tasks)
        self._tasks = []

    # ---- asked by requests: nothing here waits ------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether a key was ever made: then nobody comes in without one."""
        return bool(self._index or self._strange - {PEPPER})

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return int(self._wall() * 1000)

    def find(self, presented: str, now: int) -> Key | None:
        """The key, if it is one of ours and good at this time (milliseconds since the epoch)."""
        return self._index.find(presented, now)

    def state(self, presented: str, now: int) -> State:
        """Why `find` does not find it."""
        return self._index.state(presented, now)

    def get(self, name: str) -> Key | None:
        """The key of that name, revoked or not."""
        return self._index.get(name)

    def all(self) -> list[Key]:
        """All of them, by name; those revoked too."""
        return list(self._index)

    # ---- acts -----------------------------------------------------------------------------------------------------

    async def create(self, name: str, terms: Terms) -> tuple[Key, str]:
        """A new key, and its text, which nobody hears again. Raises `Fault`, `KeyTaken`, `StoreError`."""
        keys.named(name)
        text, digest = await self._text()

        def act() -> Key:
            known = self.get(name)
            if known is None and PREFIX + name not in self._strange:
                return keys.created(name, terms, digest, text[-_HINT:], self.now())
            if known is None or known.digest != digest:
                raise KeyTaken(name)
            return known

        return await self._write(name, act), text

    async def rotate(self, name: str, grace_seconds: int = 0) -> tuple[Key, str]:
        """The key with a new text; the one before is good for so long. Raises `KeyUnknown`, `KeyRevoked`,
        `StoreError`."""
        self._index.live(name)
        text, digest = await self._text()

        def act() -> Key:
            key = self._index.live(name)
            if key.digest == digest:
                return key
            return keys.rotated(key, digest, text[-_HINT:], self.now(), grace_seconds * 1000)

        return await self._write(name, act), text

    async def revoke(self, name: str) -> Key:
        """The key, which is good no more. Raises `KeyUnknown`; `StoreError` if the others cannot be told: here it is
        done all the same, and they are told when the board is back."""

        def act() -> Key:
            return keys.revoked(self._index.known(name), self.now())

        try:
            return await self._write(name, act)
        except StoreError:
            self._take(act())
            self._say(PREFIX + name)
            raise

    async def change(self, name: str, terms: Terms) -> Key:
        """The key under other terms. Raises `KeyUnknown`, `KeyRevoked`, `StoreError`."""
        return await self._write(name, lambda: keys.changed(self._index.live(name), terms))

    async def _text(self) -> tuple[str, str]:
        """A key that nobody ever had, and its digest."""
        made = _written((secrets.token_bytes(_PEPPER_BYTES),))

        def draft() -> bytes | None:
            if PEPPER in self._strange and not self._index.peppers:
                raise StoreError(f"{PEPPER} cannot be read")
            return None if self._index.peppers else made

        await self._put_up(PEPPER, draft)
        text = keys.PREFIX + secrets.token_urlsafe(32)
        return text, keys.digest(text, self._index.peppers[0])

    async def _write(self, name: str, act: Callable[[], Key]) -> Key:
        """Put up what `act` makes of what is known. `act` knows its own work when it sees it."""
        notice, wanted = PREFIX + name, act()

        def draft() -> bytes | None:
            nonlocal wanted
            wanted = act()
            return None if wanted is self.get(name) and notice not in self._unsaid else keys.encode(wanted)

        await self._put_up(notice, draft)
        return wanted

    async def _put_up(self, notice: str, draft: Callable[[], bytes | None]) -> None:
        """Pin what is drafted, anew whenever something else was found there and heard, until nothing is to be said.
        Raises `StoreError`."""
        failures = 0
        for _ in range(_TRIES):
            text, boards = draft(), self._boards
            if text is None:
                return
            try:
                with Patience(_SECONDS):
                    stands = await self._board.pin(notice, self._serials.get(notice, 0), text, ring=True)
            except (StoreError, TimeoutError) as error:
                failures += 1  # it may have been done: who asks again hears of it
                if failures == _FAILURES:
                    raise StoreError(str(error) or "no answer in time") from error
                continue
            if boards != self._boards:
                continue  # that was another board
            if stands.text:
                self.hear(notice, stands)
            else:
                self.forget()  # what is kept is not taken down
            if stands.ours:
                return
        raise StoreError("others were quicker, again and again")

    # ---- heard ----------------------------------------------------------------------------------------------------

    def hear(self, key: str, notice: Notice) -> None:
        """A notice was changed."""
        if key != PEPPER and not key.startswith(PREFIX):
            return  # others keep notices, too
        if notice.serial < self._serials.get(key, 0):
            return
        self._serials[key] = notice.serial
        try:
            same = self._hear_peppers(notice.text) if key == PEPPER else self._hear_key(key, notice.text)
        except ValueError as error:
            if key not in self._strange:
                self._strange.add(key)
                structlog.get_logger().error("key not understood, what was known stays", notice=key, why=str(error))
            return
        self._strange.discard(key)
        if same:
            self._unsaid.discard(key)
        else:
            self._say(key)

    def _hear_key(self, key: str, text: bytes) -> bool:
        """Whether the board has it as it is known here from now on. Raises `ValueError`."""
        heard = keys.decode(text)
        if PREFIX + heard.name != key:
            raise ValueError("it is of another name")
        known = self.get(heard.name)
        holds = keys.prevailing(known, heard) if known else heard
        self._take(holds)
        return holds == heard

    def _hear_peppers(self, text: bytes) -> bool:
        """As above. Boards that knew nothing of each other may have had one each: all of them are good."""
        if self._secret:
            return True
        heard = tuple(map(bytes.fromhex, _decoder.decode(text)))
        if not 1 <= len(heard) <= _MOST_PEPPERS or min(map(len, heard)) < _PEPPER_BYTES:
            raise ValueError(f"expected 1 to {_MOST_PEPPERS} secrets of {_PEPPER_BYTES} bytes")
        return self._index.season(heard)

    def _take(self, key: Key) -> None:
        if self._index.put(key):
            self._changed(key)

    def forget(self) -> None:
        """The board was forgotten: put up again what is known."""
        self._boards += 1
        self._serials.clear()
        for key in self._index:
            self._say(PREFIX + key.name)
        if self._index.peppers and not self._secret:
            self._say(PEPPER)

    # ---- told, in the background ----------------------------------------------------------------------------------

    def _say(self, notice: str) -> None:
        self._unsaid.add(notice)
        self._news.set()

    async def _run(self) -> None:
        while True:
            if self.read and not self._unsaid:
                await self._news.wait()
            self._news.clear()
            if not await self._settled():
                await asyncio.sleep(self._board.look_seconds)

    async def _settled(self) -> bool:
        """Read the board if that was never done, and say what is unsaid. Never raises; whether all is done."""
        log = structlog.get_logger()
        try:
            if not self.read:
                await self._look()
            await self._say_all()
        except Exception as error:  # whatever it is, the next time may see it gone
            if not self._away:
                log.warning("keys not shared", why=str(error) or "no answer in time")
            self._away = True
            return False
        if self._away:
            log.info("keys shared again")
        self._away = False
        return not self._unsaid

    async def _look(self) -> None:
        with Patience(_SECONDS):
            notices = await self._board.notices(0)
        for key, notice in notices.changed.items():
            self.hear(key, notice)
        self.read = True

    async def _say_all(self) -> None:
        """What hashes keys goes first: without it nobody knows them."""
        unsaid = sorted(self._unsaid, key=lambda notice: notice != PEPPER)
        for notice in unsaid:
            await self._put_up(notice, partial(self._told, notice))
        if unsaid:
            structlog.get_logger().info("keys put up again", notices=len(unsaid))

    def _told(self, notice: str) -> bytes | None:
        """What is still to be said."""
        if notice not in self._unsaid:
            return None
        if notice == PEPPER:
            return _written(self._index.peppers)
        return keys.encode(self._index.known(notice.removeprefix(PREFIX)))


def _written(peppers: tuple[bytes, ...]) -> bytes:
    return msgspec.json.encode([pepper.hex() for pepper in peppers])
