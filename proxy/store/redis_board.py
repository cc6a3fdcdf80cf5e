"""The notice board in Redis, and its bell.

The board is two scripts. The bell is a subscription, which needs a connection of its own; the channel's name holds the
number of the database, since Redis rings in all of them.
"""

import asyncio
import hashlib
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.client import NEVER_DECODE
from redis.exceptions import NoScriptError

from proxy.store import KEPT, OLD_NOTICE_SECONDS, Notice, Notices, StoreError
from proxy.store.patience import Patience
from proxy.store.redis_money import PREFIX, script

_KEYS = (f"{PREFIX}:board", f"{PREFIX}:board:serials", f"{PREFIX}:board:born")
_OLD = OLD_NOTICE_SECONDS * 1_000_000


def channel(database: int) -> str:
    """The channel of those who share a database."""
    return f"{PREFIX}:bell:{database}"


class RedisBoard:
    """See `Board`. `redis` is a client of redis-py; what goes wrong is raised as it raises it."""

    def __init__(self, redis: Any, channel: str) -> None:
        self._redis = redis
        self._channel = channel
        self._scripts = {name: script(name) for name in ("pin", "notices")}
        self._digests = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in self._scripts.items()}

    async def pin(self, key: str, serial: int, text: bytes, *, ring: bool) -> Notice:
        """See `Board.pin`. If it raises, it may have been done: then that text stands there."""
        stands, *other = await self._act("pin", key, serial, text, self._channel if ring else "", _OLD, KEPT)
        return Notice(stands, other[0]) if other else Notice(stands, text, ours=True)

    async def notices(self, since: int) -> Notices:
        """See `Board.notices`."""
        serial, at, *words = await self._act("notices", since)
        found = zip(words[::3], words[1::3], words[2::3], strict=True)
        return Notices(serial, at, {key.decode(): Notice(number, text) for key, number, text in found})

    async def _act(self, name: str, *words: str | bytes | int) -> list[Any]:
        """What its script returned: texts need not be UTF-8, so nothing is decoded."""
        call, raw = (len(_KEYS), *_KEYS, *words), {NEVER_DECODE: True}
        try:
            reply: list[Any] = await self._redis.execute_command("EVALSHA", self._digests[name], *call, **raw)
        except NoScriptError:
            reply = await self._redis.execute_command("EVAL", self._scripts[name], *call, **raw)
        return reply


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
            async with Patience(self._seconds):
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
