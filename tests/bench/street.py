"""A street of clients that hear streams, and the vendor at its other end: one process and one clock, so that what lies
between the two is known of each request by itself.
"""

import asyncio
import json
import re
from collections.abc import Sequence
from time import perf_counter  # uvloop's own clock counts whole milliseconds
from typing import Any, NamedTuple, cast

from tests.bench.house import CLIENT
from tests.clientele import unchunked
from tests.namesake import Namesake, mark

BYTES_PER_TOKEN = 4
MODELS = ("gpt-4.1-mini", "claude-haiku-4-5", "gemini-2.5-flash")  # in turn
USERS = 500  # in turn
PATIENCE = 120.0  # seconds for the last answer
_NAMES = re.compile(rb"n[0-9]+x")
_TEXT = " The quick brown fox asks a question, and hears what it has asked for." * 3_000


class Row(NamedTuple):
    """One request of the trace: when (seconds of the replay), and its tokens."""

    at: float
    prompt: int
    output: int


class Times(NamedTuple):
    """Of one answer, in seconds: until its first token was heard; of that, what the vendor took."""

    first: float
    vendors: float

    @property
    def added(self) -> float:
        return self.first - self.vendors


def question(number: int, row: Row) -> bytes:
    """A streamed request, named n{number}x."""
    asked: dict[str, Any] = {"model": MODELS[number % len(MODELS)], "stream": True, "user": f"user-{number % USERS}"}
    asked["stream_options"] = {"include_usage": True}
    prompt = mark(f"n{number}x", "paced", max(1, row.output)) + _TEXT[: row.prompt * BYTES_PER_TOKEN]
    body = json.dumps({**asked, "messages": [{"role": "user", "content": prompt}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {CLIENT}\r\n"
    return head.encode() + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


class Hearer(asyncio.Protocol):
    """One connection of a client; one request at a time."""

    def __init__(self, street: "Street") -> None:
        self._street = street
        self._parts: list[bytes] = []
        self._number, self._row, self._sent, self._first = 0, Row(0, 0, 0), 0.0, 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not descend from it

    def ask(self, number: int, row: Row) -> None:
        self._parts, self._number, self._row, self._first, self.busy = [], number, row, 0.0, True
        asked = question(number, row)
        self._sent = perf_counter()
        self._transport.write(asked)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        if not self._first and (len(self._parts) > 1 or data.index(b"\r\n\r\n") + 4 < len(data)):
            self._first = perf_counter()  # beyond the head
        if data.endswith(b"0\r\n\r\n") or not self._parts[0].startswith(b"HTTP/1.1 200"):
            self._judge()

    def _judge(self) -> None:
        whole = b"".join(self._parts)
        head, _, rest = whole.partition(b"\r\n\r\n")
        name, wrong = b"n%dx" % self._number, None
        if not head.startswith(b"HTTP/1.1 200"):
            wrong = whole[:300].decode(errors="replace")
        else:
            body, ended = unchunked(rest)
            heard = _NAMES.findall(body)
            if not ended or b"[DONE]" not in body or heard != [name] * max(1, self._row.output):
                wrong = f"{len(heard)} words of {self._row.output}, {sorted(set(heard))[:3]}"
        self._street.over(self, self._number, wrong, self._first - self._sent)

    def close(self) -> None:
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if self.busy:
            self._street.over(self, self._number, f"the connection was lost: {error!r}", 0.0, lost=True)
        self._street.idle.discard(self)


class Street:
    """All clients, and the vendor at the other end."""

    def __init__(self) -> None:
        self.vendor = Namesake(told=self._told)
        self.idle: set[Hearer] = set()
        self.busy = self.asked = 0  # clients that wait; questions that the vendor has not answered whole
        self.times: list[Times] = []
        self.wrong: list[str] = []
        self._when: dict[str, float] = {}  # by name: when the vendor had its question; then how long it took
        self._over = asyncio.Event()

    def _told(self, what: str, name: str) -> None:
        now = perf_counter()
        self._when[name] = now if what == "heard" else now - self._when.get(name, now)

    async def run(self, port: int, rows: Sequence[Row]) -> None:
        """Ask all of them, each in its time, and hear them to the end."""
        loop, began = asyncio.get_running_loop(), perf_counter()
        self.times, self.wrong = [], []
        making: set[asyncio.Task[None]] = set()

        async def fresh(number: int, row: Row) -> None:
            _, line = await loop.create_connection(lambda: Hearer(self), "127.0.0.1", port)
            line.ask(number, row)

        for number, row in enumerate(rows, 1):
            if (pause := row.at - (perf_counter() - began)) > 0.001:
                await asyncio.sleep(pause)
            self.busy += 1
            if self.idle:
                self.idle.pop().ask(number, row)
            else:
                task = asyncio.ensure_future(fresh(number, row))
                making.add(task)
                task.add_done_callback(making.discard)
        async with asyncio.timeout(PATIENCE):
            while self.busy:
                self._over.clear()
                await self._over.wait()

    def close(self) -> None:
        """Nobody is asked any more."""
        for client in list(self.idle):
            client.close()
        self.idle.clear()

    def over(self, client: Hearer, number: int, wrong: str | None, first: float, *, lost: bool = False) -> None:
        """A client has heard all that it will."""
        client.busy = False
        self.busy -= 1
        if wrong is None:
            self.times.append(Times(first, self._when.pop(f"n{number}x")))
        else:
            self.wrong.append(f"n{number}x: {wrong}")
        if not lost:
            self.idle.add(client)
        self._over.set()
