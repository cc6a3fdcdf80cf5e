"""The clients of a benchmark: keep-alive connections that ask, take the answer whole, and check every byte of its text.

`closed` keeps all connections busy, for CPU per request; `steady` asks at a fixed rate, for times.
"""

import asyncio
import itertools
import re
from collections import deque
from dataclasses import dataclass, field
from time import perf_counter  # uvloop's own clock counts whole milliseconds
from typing import cast

from tests.bench import wire
from tests.bench.cases import BLANK, NAME, Case, text, usage_of

PATIENCE = 60.0  # seconds in which an answer that is under way may come
KEPT = 5  # complaints that are shown
# An answer's text in OpenAI's words; in those of the vendors.
_TEXT = {
    "openai": re.compile(rb'"content": ?"([^"]*)"'),
    "anthropic": re.compile(rb'"text": ?"([^"]*)"'),
    "gemini": re.compile(rb'"text": ?"([^"]*)"'),
}
_COUNTS = {
    "openai": (re.compile(rb'"prompt_tokens": ?(\d+)'), re.compile(rb'"completion_tokens": ?(\d+)')),
    "anthropic": (re.compile(rb'"input_tokens": ?(\d+)'), re.compile(rb'"output_tokens": ?(\d+)')),
    "gemini": (re.compile(rb'"promptTokenCount": ?(\d+)'), re.compile(rb'"candidatesTokenCount": ?(\d+)')),
}
# Names never come twice, not in one case nor in another: the first digits are the case's, or a vendor's count of names
# would be too small.
_NUMBERS = itertools.count(1)


@dataclass(slots=True)
class Tally:
    """What came of a run. Times in seconds; tokens as the answers told them."""

    good: int = 0
    prompt: int = 0
    answer: int = 0
    wrong: int = 0
    complaints: list[str] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)

    def complain(self, what: str) -> None:
        self.wrong += 1
        if len(self.complaints) < KEPT:
            self.complaints.append(what)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: the case, the language in which the answer is told, the request in two halves."""

    case: Case
    language: str
    before: bytes
    after: bytes
    text: bytes

    @classmethod
    def of(cls, case: Case, language: str, halves: tuple[bytes, bytes]) -> "Question":
        return cls(case, language, *halves, text(case).encode())

    def judge(self, number: int, head: bytes, content: bytes) -> str | tuple[int, int]:
        """(tokens of the prompt, of the answer), or what is wrong with it."""
        if not head.startswith(b"HTTP/1.1 200"):
            return f"{head[:30]!r} {content[:300]!r}"
        if self.case.stream and self.language == "openai" and not content.rstrip().endswith(b"data: [DONE]"):
            return f"no [DONE]: {content[-200:]!r}"
        said = b"".join(_TEXT[self.language].findall(content))
        if said != self.text.replace(BLANK, NAME % number):
            return f"not the answer to {NAME % number!r}: {said[:300]!r} in {content[:300]!r}"
        counts = tuple(int(found[-1]) if (found := one.findall(content)) else 0 for one in _COUNTS[self.language])
        if counts != usage_of(number):
            return f"usage {counts} instead of {usage_of(number)}"
        return counts[0], counts[1]


class Client(asyncio.Protocol):
    """One connection of a crowd, one request at a time."""

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd = crowd
        self._buffer = bytearray()
        self._asked: tuple[Question, int, float] | None = None
        self._body: tuple[int, int] | None = None
        self._first = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not descend from it

    def ask(self, question: Question) -> None:
        number = next(_NUMBERS)
        self._first, self._body, self._buffer = 0.0, None, bytearray()
        self._asked = (question, number, perf_counter())
        self.transport.write(b"".join((question.before, NAME % number, question.after)))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if self._body is None and (found := wire.head(buffer)):
            self._body = found
        if self._body is None or self._asked is None:
            return
        begin, length = self._body
        if not self._first and len(buffer) > begin:
            self._first = perf_counter()
        if wire.ends(buffer, begin, length) is not None:
            self._judge(*self._asked, begin, length)

    def _judge(self, question: Question, number: int, since: float, begin: int, length: int) -> None:
        tally, now = self._crowd.tally, perf_counter()
        self._asked = None
        found: str | tuple[int, int]
        try:
            content = wire.body(self._buffer, begin, length)
            found = question.judge(number, bytes(self._buffer[:begin]), content)
        except wire.WireError as error:
            found = str(error)
        if isinstance(found, str):
            tally.complain(found)
        else:
            tally.good += 1
            tally.prompt += found[0]
            tally.answer += found[1]
            tally.whole.append(now - since)
            tally.first.append(self._first - since)
        self._crowd.back(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self._asked is not None:
            self._crowd.tally.complain(f"the connection was lost: {error!r}, after {bytes(self._buffer[:200])!r}")
        self._asked = None
        self._crowd.lost(self)


class Crowd:
    """Clients at one address."""

    def __init__(self, port: int, size: int) -> None:
        self.tally = Tally()
        self._port, self._size = port, size
        self._clients: set[Client] = set()
        self._idle: deque[Client] = deque()
        self._until = 0.0
        self._question: Question | None = None
        self._all_idle = asyncio.Event()

    async def __aenter__(self) -> "Crowd":
        loop = asyncio.get_running_loop()
        for _ in range(self._size):
            _, client = await loop.create_connection(lambda: Client(self), "127.0.0.1", self._port)
            self._clients.add(client)
            self._idle.append(client)
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in list(self._clients):
            client.transport.abort()

    async def closed(self, question: Question, seconds: float) -> Tally:
        """Everybody asks again as soon as they have their answer."""
        self._begin(question, perf_counter() + seconds)
        for _ in range(len(self._idle)):
            self._idle.popleft().ask(question)
        return await self._end()

    async def steady(self, question: Question, seconds: float, rate: float) -> Tally:
        """So many requests a second; whoever is idle asks. If nobody is, everybody waits for an answer: a complaint."""
        self._begin(question, 0.0)
        begin = perf_counter()
        for at in range(int(seconds * rate)):
            await asyncio.sleep(max(0.0, begin + at / rate - perf_counter()))
            if self._idle:
                self._idle.popleft().ask(question)
            else:
                self.tally.complain(f"nobody is free to ask {rate:.0f} times a second")
        return await self._end()

    def back(self, client: Client) -> None:
        """It has its answer."""
        if client.transport.is_closing():
            return
        if self._question is not None and perf_counter() < self._until:
            client.ask(self._question)
            return
        self._idle.append(client)
        self._look()

    def lost(self, client: Client) -> None:
        """It is not there any more, and is not replaced."""
        self._clients.discard(client)
        if client in self._idle:
            self._idle.remove(client)
        self._look()

    def _begin(self, question: Question, until: float) -> None:
        self.tally = Tally()
        self._question, self._until = question, until
        self._all_idle.clear()

    async def _end(self) -> Tally:
        self._all_idle.clear()  # all may have been idle for a moment before the last request
        self._look()
        try:
            await asyncio.wait_for(self._all_idle.wait(), max(0.0, self._until - perf_counter()) + PATIENCE)
        except TimeoutError:
            self.tally.complain(f"{len(self._clients) - len(self._idle)} answers did not come in {PATIENCE:.0f} s")
        return self.tally

    def _look(self) -> None:
        if len(self._idle) == len(self._clients):
            self._all_idle.set()
