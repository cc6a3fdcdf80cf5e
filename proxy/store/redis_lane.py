"""One connection to Redis, shared by all who call at the same time.

Whoever calls in one turn of the event loop goes in one batch, and what comes while a batch is on its way goes with the
next: two hundred calls at once are two round trips, not two hundred connections. A batch that fails takes all that wait
with it, so nobody waits for two failures; and its connection is closed, so no late reply is ever taken for another's.

redis-py connects, says who we are and tells the scripts; then the connection is ours. A reply goes from the transport
to hiredis to whoever waits for it: without redis-py's streams, tasks and timeouts that is half of the work.
"""

import asyncio
import math
from asyncio import get_running_loop
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hiredis import Reader, pack_command
from redis._parsers.base import BaseParser
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, InvalidResponse, NoScriptError, ReadOnlyError

from proxy.store.patience import Patience, end

_BATCH = 128  # calls; a script takes the server some 40 µs
_MOST_WAITING = 1024  # calls; whoever comes later would wait longer than the store may take
_STEPS = 5  # of a timeout, as in `Patience`
_MORE = object()  # what hiredis says when the rest of a reply is still to come
_DEAF = NoScriptError, ReadOnlyError  # not the server that we connected to: another may answer at the same address

Word = str | bytes | int

# A command as it goes on the wire.
packed: Callable[[tuple[Word, ...]], bytes] = pack_command  # type: ignore[assignment]  # its stub says one word


class Lane:
    """`seconds` bounds the connecting, and then each batch; `scripts` are told to the server with each connection."""

    def __init__(self, connection: AbstractConnection, scripts: Iterable[str], seconds: float) -> None:
        self._connection = connection
        self._scripts = list(scripts)
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None  # of the first call, and of all others
        self._waiting: list[tuple[bytes, asyncio.Future[Any]]] = []  # commands, and who asks
        self._wire: _Wire | None = None
        self._busy = False  # a flush is due, or what is under way will see to it
        self._connecting: asyncio.Task[None] | None = None

    def put(self, *words: Word) -> asyncio.Future[Any]:
        """Send a command with the next batch. What comes is the reply, or the exception that stands for it.

        Whoever stops waiting, or is cancelled, leaves a reply to nobody.
        """
        return self.send(packed(words))

    def send(self, command: bytes) -> asyncio.Future[Any]:
        """As `put`, of a command that is `packed` already."""
        loop = self._loop
        if loop is None:
            self._loop = loop = get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if not self._busy:  # then nobody waits
            self._busy = True
            loop.call_soon(self._flush)
        elif len(self._waiting) >= _MOST_WAITING:
            future.set_result(BlockingIOError("too many calls are waiting"))
            return future
        self._waiting.append((command, future))
        return future

    async def close(self) -> None:
        """Let go of the connection; who still waits is told."""
        error = ConnectionError("the store is closed")
        if self._connecting is not None:
            await end([self._connecting])
        if self._wire is not None:
            self._wire.fail(error)
        self._fail(error)
        await self._connection.disconnect(nowait=True)

    def _flush(self) -> None:
        if not self._waiting:
            self._busy = False
        elif self._wire is None and self._connecting is None:
            self._connecting = get_running_loop().create_task(self._connect())
        elif self._wire is not None and not self._wire.waiting:
            commands, futures = zip(*self._waiting[:_BATCH], strict=True)
            self._waiting = self._waiting[_BATCH:]
            self._wire.send(commands, deque(futures))

    def _done(self) -> None:
        """A batch was answered. Those whom it woke have their turn before the next goes."""
        if self._waiting:
            get_running_loop().call_soon(self._flush)
        else:
            self._busy = False

    def _lost(self, error: BaseException, unanswered: Sequence[asyncio.Future[Any]]) -> None:
        """The connection is gone. From one that was idle nobody expected anything: the next flush connects anew."""
        self._wire = None
        if unanswered:
            self._fail(error, unanswered)
        else:
            self._done()

    def _fail(self, error: BaseException, unanswered: Sequence[asyncio.Future[Any]] = ()) -> None:
        waiting, self._waiting, self._busy = self._waiting, [], False
        for future in (*unanswered, *(future for _, future in waiting)):
            if not future.done():
                future.set_result(error)

    async def _connect(self) -> None:
        try:
            with Patience(self._seconds):
                self._wire = _Wire(await self._connected(), self._seconds, self._done, self._lost)
        except (Exception, asyncio.CancelledError) as error:
            await self._connection.disconnect(nowait=True)
            self._connecting = None
            self._fail(error)
        else:
            self._connecting = None
            self._flush()

    async def _connected(self) -> asyncio.WriteTransport:
        """A transport on which the server knows the scripts, and has said all that it had to say."""
        connection = self._connection
        await connection.disconnect(nowait=True)  # what redis-py still knows of the last one
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py left it out
        loads = [packed(("SCRIPT", "LOAD", script)) for script in self._scripts]
        await connection.send_packed_command(loads, check_health=False)
        for _ in loads:
            await connection.read_response(timeout=math.inf)
        if connection._writer is None:
            raise ConnectionError("lost at once")
        return connection._writer.transport


class _Wire(asyncio.Protocol):
    """A connection in use: one batch at a time, its replies in the order of its calls.

    `done` is called when all are there; `lost` once, with the calls that were not answered.
    """

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        seconds: float,
        done: Callable[[], None],
        lost: Callable[[BaseException, Sequence[asyncio.Future[Any]]], None],
    ) -> None:
        self._transport = transport
        self._done, self._lost = done, lost
        self._reader = Reader(replyError=self._error, protocolError=InvalidResponse, notEnoughData=_MORE)
        self.waiting: deque[asyncio.Future[Any]] = deque()
        self._deaf: BaseException | None = None
        self._closed = False
        self._step, self._left = seconds / _STEPS, 0
        self._timer: asyncio.TimerHandle | None = None
        transport.set_protocol(self)

    def send(self, commands: Iterable[bytes], futures: deque[asyncio.Future[Any]]) -> None:
        """Send a batch; the one before was answered."""
        self.waiting = futures
        self._transport.write(b"".join(commands))
        # A timer that goes on ticking is set anew each step, not for each batch. It begins in the midst of a step.
        self._left = _STEPS
        if self._timer is None:
            self._timer = get_running_loop().call_later(self._step, self._tick)

    def data_received(self, data: bytes) -> None:
        """Give each reply to whoever waits for it."""
        waiting, reader = self.waiting, self._reader
        try:
            reader.feed(data)
            gets, first = reader.gets, waiting.popleft
            while waiting:
                reply = gets()
                if reply is _MORE:
                    return
                try:
                    first().set_result(reply)
                except asyncio.InvalidStateError:
                    continue  # who asked waits no more
        except InvalidResponse as error:  # no Redis
            self.fail(ConnectionError(type(error).__name__))
            return
        if self._deaf is None and not reader.has_data():
            self._done()
        else:
            self.fail(self._deaf or ConnectionError("an answer that nobody asked for"))

    def _error(self, told: str) -> Exception:
        """What stands for an error among the replies."""
        error: Exception = BaseParser.parse_error(told)  # type: ignore[no-untyped-call]  # redis-py left it out
        if isinstance(error, _DEAF):
            self._deaf = error
        return error

    def connection_lost(self, error: Exception | None) -> None:
        """The other side hung up."""
        self.fail(ConnectionError("closed by the server"))

    def fail(self, error: BaseException) -> None:
        """Close the connection at once; what comes on it is heard by nobody."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._transport.abort()
        self._lost(error, self.waiting)

    def _tick(self) -> None:
        """As `Patience`: a step in which the loop was late is one step, however long."""
        self._timer = None
        if not self.waiting:
            return
        self._left -= 1
        if self._left:
            self._timer = get_running_loop().call_later(self._step, self._tick)
        else:
            self.fail(TimeoutError())


def unnumbered(*words: Word) -> bytes:
    """A part of a command as it goes on the wire: without the number of its words, which stands before the first."""
    command = packed(words)
    return command[command.index(b"\n") + 1 :]
