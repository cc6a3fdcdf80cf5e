"""The notice board in Redis, and its bell.

The board is two scripts: each replica runs them ten times a second while there is traffic. The bell is a subscription,
which needs a connection of its own; the channel's name holds the number of the database, since Redis rings in all of
them.
"""

import asyncio
import hashlib
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError

from proxy.store import KEPT, OLD_NOTICE_SECONDS, Notice, Notices, StoreError
from proxy.store.patience import Patience
from proxy.store.redis_lane import Lane, Word
from proxy.store.redis_money import PREFIX, script

_KEYS = (f"{PREFIX}:board", f"{PREFIX}:board:serials", f"{PREFIX}:board:born")
_OLD = OLD_NOTICE_SECONDS * 1_000_000


def channel(database: int) -> str:
    """The channel of those who share a database."""
    return f"{PREFIX}:bell:{database}"


def scripts() -> dict[str, str]:
    """What the board is."""
    return {name: script(name) for name in ("pin", "notices")}


class RedisBoard:
    """See `Board`. `lane` knows the `scripts`; what goes wrong is raised as it says it."""

    def __init__(self, lane: Lane, channel: str) -> None:
        self._lane = lane
        self._channel = channel
        self._digests = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in scripts().items()}

    async def pin(self, key: str, serial: int, text: bytes, *, ring: bool) -> Notice:
        """See `Board.pin`. If it raises, it may have been done: then that text stands there."""
        stands, *other = await self._act("pin", key, serial, text, self._channel if ring else "", _OLD, KEPT)
        return Notice(stands, other[0]) if other else Notice(stands, text, ours=True)

    async def notices(self, since: int) -> Notices:
        """See `Board.notices`."""
        serial, at, *words = await self._act("notices", since)
        found = zip(words[::3], words[1::3], words[2::3], strict=True)
        return Notices(serial, at, {key.decode(): Notice(number, text) for key, number, text in found})

    async def _act(self, name: str, *words: Word) -> list[Any]:
        """What its script returned: texts need not be UTF-8, so nothing is decoded."""
        call = ("EVALSHA", self._digests[name], len(_KEYS), *_KEYS, *words)
        reply = await self._lane.put(*call)
        if isinstance(reply, NoScriptError):  # the lane tells its scripts with each connection, and this one is gone
            reply = await self._lane.put(*call)
        if isinstance(reply, BaseException):
            raise reply
        answer: list[Any] = reply
        return answer


class Bell:
    """A subscription, from the first `heard` on. `seconds` bounds the connecting.

    A server that says nothing for `idle` seconds is asked whether it is there, and has as long to answer.
    """

    def __init__(self, connection: AbstractConnection, channel: str, *, seconds: float, idle: float) -> None:
        self._connection = connection
        self._channel = channel
        self._seconds = seconds
        self._idle = idle
        self._rung = asyncio.Event()
        self._listener: asyncio.Task[Exception] | None = None
        self._closed = False

    async def heard(self) -> None:
        """See `Board.bell`. It also returns when a subscription begins: nobody knows what rang before."""
        if self._listener is None and not self._closed:
            self._listener = asyncio.create_task(self._listen())
        listener = self._listener
        await self._rung.wait()
        if self._closed:
            raise StoreError("the store is closed")
        self._rung.clear()
        if listener is not None and listener.done():
            if self._listener is listener:  # else somebody who waited beside us has begun the next
                self._listener = None
            error = listener.result()
            raise StoreError(f"Redis: {type(error).__name__}") from error

    async def close(self) -> None:
        """Let go of the connection; who still waits is told."""
        self._closed = True
        self._rung.set()
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])

    async def _listen(self) -> Exception:
        """Returns what ended it, rather than raise it to nobody."""
        try:
            with Patience(self._seconds):
                await self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py left it out
                await self._connection.send_command("SUBSCRIBE", self._channel, check_health=False)
                await self._connection.read_response()
            self._rung.set()
            return await self._hear()
        except Exception as error:
            return error
        finally:
            await self._connection.disconnect(nowait=True)
            self._rung.set()

    async def _hear(self) -> Exception:
        silent = False
        while True:
            reply = await self._connection.read_response(timeout=self._idle)
            if reply is None and silent:
                return TimeoutError()
            silent = reply is None
            if silent:
                await self._connection.send_command("PING", check_health=False)
            elif reply[0] == b"message":
                self._rung.set()
