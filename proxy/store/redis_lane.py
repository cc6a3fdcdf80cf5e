"""One connection to Redis for the money, shared by all who call at the same time.

What comes while a batch is on its way goes with the next: two hundred calls at once are two round trips, not two
hundred connections. A batch that fails takes all that wait with it, so nobody waits for two failures; and its
connection is closed, so no late reply is ever taken for another's.
"""

import asyncio
import math
from collections import deque
from collections.abc import Iterable
from typing import Any

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from proxy.store.patience import Patience

_BATCH = 128  # calls; a script takes the server some 70 µs
_MOST_WAITING = 1024  # calls; whoever comes later would wait longer than the store may take
_DEAF = NoScriptError, ReadOnlyError  # not the server that we connected to: another may answer at the same address

Word = str | bytes | int


class Lane:
    """`seconds` bounds the connecting, and then each batch; `scripts` are told to the server with each connection."""

    def __init__(self, connection: AbstractConnection, scripts: Iterable[str], seconds: float) -> None:
        self._connection = connection
        self._loads = [_packed("SCRIPT", "LOAD", script) for script in scripts]
        self._seconds = seconds
        self._waiting: deque[tuple[bytes, asyncio.Future[Any]]] = deque()
        self._sender: asyncio.Task[None] | None = None

    def put(self, *words: Word) -> asyncio.Future[Any]:
        """Send a command with the next batch. What comes is the reply, or the exception that stands for it."""
        future = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= _MOST_WAITING:
            future.set_result(BlockingIOError("too many calls are waiting"))
            return future
        self._waiting.append((_packed(*words), future))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return future

    async def close(self) -> None:
        """Let go of the connection; who still waits is told."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])
        await self._connection.disconnect(nowait=True)

    async def _send(self) -> None:
        batch: list[tuple[bytes, asyncio.Future[Any]]] = []
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]
                replies = await self._exchange([packed for packed, _ in batch])
                for (_, future), reply in zip(batch, replies, strict=True):
                    if not future.done():
                        future.set_result(reply)
        except (Exception, asyncio.CancelledError) as error:
            for _, future in (*batch, *self._waiting):
                if not future.done():
                    future.set_result(error)
            self._waiting.clear()
        finally:
            self._sender = None

    async def _exchange(self, packed: list[bytes]) -> list[Any]:
        """Raises whatever went wrong; then the connection is closed."""
        connection = self._connection
        try:
            if not connection.is_connected:
                async with Patience(self._seconds):
                    await connection.connect()  # type: ignore[no-untyped-call]  # redis-py left it out
                    await connection.send_packed_command(self._loads, check_health=False)
                    for _ in self._loads:
                        await connection.read_response(timeout=math.inf)
            async with Patience(self._seconds):
                await connection.send_packed_command(packed, check_health=False)
                replies = [await self._reply() for _ in packed]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        if any(isinstance(reply, _DEAF) for reply in replies):
            await connection.disconnect(nowait=True)
        return replies

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response(timeout=math.inf)  # the whole batch is bounded, not each reply
        except ResponseError as error:
            return error


def _packed(*words: Word) -> bytes:
    packed: bytes = pack_command(words)  # type: ignore[arg-type]  # its stub says one word, where it means any number
    return packed
