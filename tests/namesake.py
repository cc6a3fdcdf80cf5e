"""A light vendor whose answers name their request: whoever gets another's answer knows it at once.

A prompt holds a mark, `~NAME.PLAY.NUMBER~`: NAME is repeated in the answer, in each part of a stream too; PLAY is how
it is answered, one of `PLAYS`. All three vendors' formats, over one `asyncio.Protocol` without a task or a parser of
its own, so that a test may ask it thousands of times and a measurement hardly sees it.
"""

import asyncio
import re
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

from tests.phrases import FORMATS, PLACE, breaths, parts, whole

MARK = re.compile(rb"~([0-9a-z]+)\.([a-z]+)(?:\.([0-9]+))?~")
WORDS = 8  # parts of a stream that say something, where the play does not tell
FOREIGN = "nobody"  # the name in what nobody has asked for
LATE_SECONDS = 0.02
OVERDUE_SECONDS = 0.5  # longer than whoever asks so is ready to wait
EVERY_SECONDS = 0.1  # between two parts of a paced stream,
EACH_PART = 5  # of so many tokens: 50 tokens a second
THINKING_SECONDS = 0.4  # before the first of them
_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream" *: *true')
_BROKEN = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets


def mark(name: str, play: str = "well", number: int = WORDS) -> str:
    """What a prompt must hold."""
    return f"~{name}.{play}.{number}~"


def words(name: str, number: int = WORDS) -> str:
    """What the answer says, whole."""
    return f"{name} " * number


# ---- one connection ----------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """One request, as the vendor reads it."""

    path: bytes  # a key of `FORMATS`
    name: bytes
    play: str
    number: int
    stream: bool


class Line(asyncio.Protocol):
    """One connection: one request after the other, each played as it asks to be."""

    transport: asyncio.Transport

    def __init__(self, vendor: "Namesake") -> None:
        self._vendor = vendor
        self._came = b""
        self._timers: list[asyncio.TimerHandle] = []
        self.questions = 0
        self.ended = False  # we shall say no more on it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not descend from it
        self._vendor.lines += 1
        self._vendor.connections += 1

    def connection_lost(self, error: Exception | None) -> None:
        self._vendor.lines -= 1
        for timer in self._timers:
            timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, found, body = self._came.partition(b"\r\n\r\n")
        if not found:
            return
        length = _LENGTH.search(head)
        if length is None or len(body) < int(length[1]):
            return
        self._came = b""
        marked = MARK.search(body)
        if marked is None or self.ended:  # whoever asks on a line that we have ended has not heard of it yet
            self.transport.abort()
            return
        target = head.split(b" ", 2)[1]
        path = next(path for path in FORMATS if path in target)
        self.questions += 1
        stream = b":stream" in target or _STREAM.search(body) is not None
        play = marked[2].decode()
        asked = Asked(path, marked[1], play, int(marked[3] or WORDS), stream)
        self._vendor.heard[asked.play] += 1
        if self._vendor.told is not None:
            self._vendor.told("heard", asked.name.decode())
        PLAYS[play](self, asked)

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Nothing is said on a line that is gone. Who asks again before he is answered hears both, as he deserves."""
        loop = asyncio.get_running_loop()
        self._timers = [timer for timer in self._timers if timer.when() > loop.time()]
        self._timers.append(loop.call_later(seconds, act))

    def send(self, *parts: bytes) -> None:
        self.transport.write(b"".join(parts))

    def begin(self, asked: Asked) -> None:
        """The head of a stream."""
        self.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

    def reset(self) -> None:
        """Gone, and whoever reads is told so at once."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:  # else the other side was quicker
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _BROKEN)
        self.transport.abort()

    def pace(self, asked: Asked, parts: Sequence[bytes], at: int = 0) -> None:
        """One part after the other."""
        if not at and self._vendor.told is not None:
            self._vendor.told("said", asked.name.decode())
        more = at < len(parts) - 1
        self.send(_chunk(parts[at].replace(PLACE, asked.name)), b"" if more else b"0\r\n\r\n")
        if more:
            self.later(EVERY_SECONDS, lambda: self.pace(asked, parts, at + 1))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _answer(asked: Asked) -> bytes:
    """All of it, head and body."""
    if asked.stream:
        said = b"".join(parts(asked.path, asked.number, 1)).replace(PLACE, asked.name)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        return b"%b%b0\r\n\r\n" % (head, _chunk(said))
    said = whole(asked.path, asked.number).replace(PLACE, asked.name)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(said)
    return head + said


# ---- how it is answered --------------------------------------------------------------------------------------------


def _well(line: Line, asked: Asked) -> None:
    line.send(_answer(asked))


def _late(line: Line, asked: Asked) -> None:
    line.later(LATE_SECONDS, lambda: line.send(_answer(asked)))


def _overdue(line: Line, asked: Asked) -> None:
    """Whoever asked has given up by then; who comes after him on this line would hear it."""
    line.later(OVERDUE_SECONDS, lambda: line.send(_answer(asked)))


def _drip(line: Line, asked: Asked) -> None:
    """A few bytes at a time, wherever they end."""
    answer = _answer(asked)
    size = max(1, len(answer) // 6)

    def more(at: int) -> None:
        line.send(answer[at : at + size])
        if at + size < len(answer):
            line.later(LATE_SECONDS / 10, lambda: more(at + size))

    more(0)


def _half(line: Line, asked: Asked, end: Callable[[Line], None] = lambda line: line.transport.close()) -> None:
    answer = _answer(asked)
    line.send(answer[: len(answer) // 2])
    line.later(LATE_SECONDS / 10, lambda: end(line))


def _twice(line: Line, asked: Asked) -> None:
    """A whole answer, and with it one that nobody has asked for."""
    line.send(_answer(asked), _answer(asked._replace(name=FOREIGN.encode())))


def _afterwards(line: Line, asked: Asked) -> None:
    """A whole answer, and to a line that lay idle for a moment a farewell that nobody has asked for."""
    line.send(_answer(asked))
    questions = line.questions

    def end() -> None:
        if line.questions > questions:
            return
        line.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        line.ended = True
        line.transport.close()

    line.later(LATE_SECONDS / 10, end)


def _farewell(line: Line, asked: Asked) -> None:
    """A whole answer, then no more of this line, though nobody was told."""
    line.send(_answer(asked))
    line.ended = True
    if line.transport.can_write_eof():
        line.transport.write_eof()
    else:  # TLS has no half of a line
        line.transport.close()


def _paced(line: Line, asked: Asked) -> None:
    """`number` tokens, as fast as a vendor writes."""
    events = breaths(asked.path, asked.number, EACH_PART)

    def begin() -> None:
        line.begin(asked)
        line.pace(asked, events)

    line.later(THINKING_SECONDS, begin)


PLAYS: Mapping[str, Callable[[Line, Asked], None]] = {
    "well": _well,
    "late": _late,
    "overdue": _overdue,
    "drip": _drip,
    "half": _half,
    "cut": lambda line, asked: _half(line, asked, Line.reset),
    "reset": lambda line, _: line.reset(),
    "silent": lambda line, _: line.later(LATE_SECONDS, line.transport.close),
    "twice": _twice,
    "afterwards": _afterwards,
    "farewell": _farewell,
    "paced": _paced,
}


class Namesake:
    """`heard`: how often each play was asked for; `lines`: connections that are open; `told` hears ("heard", NAME) of
    each request, and ("said", NAME) of the first part of a paced stream, when it happens."""

    def __init__(self, told: Callable[[str, str], None] | None = None) -> None:
        self.heard: Counter[str] = Counter()
        self.lines = self.connections = 0
        self.told = told

    async def listen(self, tls: ssl.SSLContext | None = None) -> tuple[asyncio.Server, str]:
        """Listen on loopback; the server, and its address."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Line(self), "127.0.0.1", 0, ssl=tls, backlog=1024)
        scheme, port = "https" if tls else "http", server.sockets[0].getsockname()[1]
        return server, f"{scheme}://localhost:{port}" if tls else f"{scheme}://127.0.0.1:{port}"

    @contextmanager
    def aside(self) -> Iterator[str]:
        """Listen in a thread and on a loop of its own; the address."""
        loop, address = asyncio.new_event_loop(), ""
        server, address = loop.run_until_complete(self.listen())
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield address
        finally:
            loop.call_soon_threadsafe(server.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def environ_of(address: str) -> dict[str, str]:
    """The environment that points a tollhouse at it, for all three vendors."""
    return {
        "OPENAI_API_KEY": "sk-openai-canary",
        "OPENAI_BASE_URL": f"{address}/v1",
        "ANTHROPIC_API_KEY": "sk-ant-canary",
        "ANTHROPIC_BASE_URL": address,
        "GEMINI_API_KEY": "AIza-gemini-canary",
        "GEMINI_BASE_URL": address,
    }
