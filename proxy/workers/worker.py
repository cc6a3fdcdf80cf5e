"""A worker's end of the line: what it is told by the supervisor, and how it comes by the figures of the others."""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

from proxy.workers import line
from proxy.workers.exposition import merged

_SECONDS = 2.0  # that the figures of the others are waited for; of one that is late, they are missing this time
_END = b"# EOF\n"

Act = Callable[[], object]
Figures = Callable[[], Awaitable[bytes]]


class Worker:
    """`number` counts from 1; whoever takes the place of a dead one has its number. Used on the event loop."""

    def __init__(self, number: int, post: socket.socket, *, patience: float = _SECONDS) -> None:
        self.number, self._patience = number, patience
        self._post = post
        self._acts: Mapping[bytes, Act] = {}
        self.tells: Figures | None = None  # our own figures, for the others
        self._asked: deque[asyncio.Future[list[socket.socket]]] = deque()
        self._telling: set[asyncio.Task[None]] = set()

    @classmethod
    def of(cls, number: int, fd: int) -> "Worker":
        """By the number of the inherited file."""
        return cls(number, socket.socket(fileno=fd))

    def sockets(self) -> list[socket.socket]:
        """What to listen on; nothing if the supervisor is gone, or wants no more of us. Waits; before the loop runs."""
        line.say(self._post, line.BEGIN)
        word, sockets = line.heard(self._post)
        return sockets if word == line.SOCKETS else []

    def attach(self, *, drain: Act, cut: Act, reconfigure: Act) -> None:
        """From here on, do what the supervisor says. That it is gone says: drain."""
        self._acts = {line.DRAIN: drain, line.CUT: cut, line.RECONFIGURE: reconfigure, b"": drain}
        self._post.setblocking(False)
        asyncio.get_running_loop().add_reader(self._post, self._hear)

    def ready(self) -> None:
        """We listen."""
        line.say(self._post, line.READY)

    def shut(self) -> None:
        """We listen no more, and nobody shall wait at our door."""
        line.say(self._post, line.SHUT)

    async def figures(self, own: bytes) -> bytes:
        """Those of all workers: our `own`, and what the others tell in time."""
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[list[socket.socket]] = loop.create_future()
        told: list[bytes] = []
        if line.say(self._post, line.ASK):
            self._asked.append(asked)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    told = await asyncio.gather(*(_read(other, self._patience / 2) for other in await asked))
        texts = {self.number: own}
        for text in told:
            number, _, rest = text.partition(b"\n")
            if rest.endswith(_END):  # else it died over it
                texts[int(number)] = rest.removesuffix(_END)
        return merged(texts)

    def _hear(self) -> None:
        try:
            word, files = line.heard(self._post)
        except BlockingIOError:
            return
        if word == b"":
            asyncio.get_running_loop().remove_reader(self._post)
        if word == line.READ:
            self._take(files)
        elif word == line.ASK:
            telling = asyncio.ensure_future(self._tell(files[0]))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)
        else:
            self._acts[word]()

    def _take(self, files: list[socket.socket]) -> None:
        asked = self._asked.popleft()
        if asked.done():  # too late
            for file in files:
                file.close()
        else:
            asked.set_result(files)

    async def _tell(self, to: socket.socket) -> None:
        assert self.tells is not None
        with to, contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._patience):
                to.setblocking(False)
                text = b"%d\n%b%b" % (self.number, await self.tells(), _END)
                await asyncio.get_running_loop().sock_sendall(to, text)


async def _read(other: socket.socket, patience: float) -> bytes:
    """All that it says; what it had said, if it died or was too slow."""
    loop, parts = asyncio.get_running_loop(), bytearray()
    with other, contextlib.suppress(OSError, TimeoutError):
        other.setblocking(False)
        async with asyncio.timeout(patience):
            while part := await loop.sock_recv(other, 65_536):
                parts += part
    return bytes(parts)
