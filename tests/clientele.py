"""Thousands of clients at once, each asking for an answer that names its request: some listen to the end, others leave.

Their vendor is `tests.namesake`, on the same event loop, so that a client can leave just when it has the
question.
"""

import asyncio
import json
import random
import re
import socket
import struct
from collections.abc import Mapping
from itertools import count
from typing import Any, NamedTuple, cast

from tests.namesake import FOREIGN, OVERDUE_SECONDS, mark, words

MODELS = ("gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash")
CLIENT = "sk-client"
AT_ONCE = 64
GENEROUS = 60  # seconds: for a hang to be told from an answer, not for measuring
WELL = frozenset({"well", "late", "drip", "twice", "afterwards", "farewell"})  # the answer itself is whole
# How often each is played, of a hundred.
SHARES: Mapping[str, int] = {
    **{"well": 40, "late": 14, "drip": 8, "twice": 4, "afterwards": 5, "farewell": 5},
    **{"overdue": 6, "half": 5, "cut": 5, "reset": 4, "silent": 4},
}
# What the client does, of a hundred: listens to the end; hangs up, or breaks off: at once, when the vendor has its
# question, or within the answer.
CLIENTS: Mapping[str, int] = {
    **{"stays": 76, "leaves": 4, "breaks": 4, "leaves asked": 4, "breaks asked": 4},
    **{"leaves within": 4, "breaks within": 4},
}
PATIENCE = OVERDUE_SECONDS / 2  # of who asks what is overdue, in seconds
_CONTENT = re.compile(rb'"content":"((?:[^"\\]|\\.)*)"')
_NAMES = re.compile(r"n[0-9]+x|" + FOREIGN)
_BROKEN = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets


class Case(NamedTuple):
    """One request: who it is, how it is answered, and what its client does."""

    name: str
    model: str
    stream: bool
    play: str
    client: str

    def head_and_body(self) -> bytes:
        asked: dict[str, Any] = {"model": self.model, "stream": self.stream, "max_tokens": 100}
        asked["messages"] = [{"role": "user", "content": mark(self.name, self.play)}]
        body = json.dumps(asked).encode()
        said = [
            "POST /v1/chat/completions HTTP/1.1",
            "host: localhost",
            f"authorization: Bearer {CLIENT}",
            f"content-length: {len(body)}",
        ]
        if self.play == "overdue":
            said.append(f"x-tollhouse-timeout: {PATIENCE}")
        return "\r\n".join([*said, "", ""]).encode() + body


class Heard(NamedTuple):
    """What a client heard: the status, 0 for none; the body; whether it was whole."""

    status: int
    body: bytes
    whole: bool


class Desk:
    """Who has asked what, and whose question the vendor has."""

    def __init__(self) -> None:
        self.waiting: dict[str, Client] = {}
        self.asked: set[str] = set()

    def told(self, _: str, name: str) -> None:
        """The vendor has it."""
        self.asked.add(name)
        if name in self.waiting:
            self.waiting[name].news.set()


class Client(asyncio.Protocol):
    """One connection that is kept, one request at a time."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk
        self._came = b""
        self.news = asyncio.Event()
        self.gone = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not descend from it

    def data_received(self, data: bytes) -> None:
        self._came += data
        self.news.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        self.news.set()

    async def ask(self, case: Case) -> Heard:
        """Ask, and do what the case says. Raises `ConnectionError` if the line was gone before anything was heard."""
        self._came = b""
        self._desk.waiting[case.name] = self
        self.transport.write(case.head_and_body())
        if case.client in ("leaves", "breaks"):
            return self._end(case.client)
        while True:
            self.news.clear()
            heard = _heard(self._came, self.gone)
            if heard is not None:
                return heard
            if _enough(case, begun=bool(self._came), asked=case.name in self._desk.asked):
                return self._end(case.client)
            await self.news.wait()

    def _end(self, how: str) -> Heard:
        heard = Heard(0, self._came, whole=False)
        if how.startswith("breaks"):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _BROKEN)
            self.transport.abort()
        else:
            self.transport.close()
        self.gone = True
        return heard


def _enough(case: Case, *, begun: bool, asked: bool) -> bool:
    """Whether the client leaves now."""
    return (begun and case.client.endswith("within")) or (asked and case.client.endswith("asked"))


def _heard(came: bytes, gone: bool) -> Heard | None:
    """An answer, once there is nothing more to wait for."""
    head, found, rest = came.partition(b"\r\n\r\n")
    if not found:
        return Heard(0, came, whole=False) if gone else None
    status, lower = int(head[9:12]), head.lower()
    if b"transfer-encoding: chunked" in lower:
        body, ended = unchunked(rest)
    else:
        length = int(lower.partition(b"content-length:")[2].split(None, 1)[0])
        body, ended = rest[:length], len(rest) >= length
    return Heard(status, body, ended) if ended or gone else None


def unchunked(rest: bytes) -> tuple[bytes, bool]:
    """What the chunks hold, and whether the last one has come."""
    parts: list[bytes] = []
    while True:
        size, found, rest = rest.partition(b"\r\n")
        length = int(size, 16) if found else -1
        if not found or len(rest) < length + 2:
            return b"".join(parts), False
        if not length:
            return b"".join(parts), True
        parts.append(rest[:length])
        rest = rest[length + 2 :]


def bright(case: Case) -> bool:
    """Whether nothing is in the way of a whole answer."""
    return case.play in WELL and case.client == "stays"


def complaint(case: Case, heard: Heard) -> str | None:
    """What is wrong with what a client heard, if anything is."""
    text = heard.body.decode(errors="replace")
    others = set(_NAMES.findall(text)) - {case.name}
    if others:
        return f"{case}: heard {sorted(others)[:5]} in an answer of {heard.status}"
    if heard.status == 200 and not case.stream:
        said = json.loads(text)["choices"][0]["message"]["content"] if heard.whole else None
    else:
        said = b"".join(_CONTENT.findall(heard.body)).decode()
    right = words(case.name)
    if bright(case) and heard.status == 200:
        if not (heard.whole and said == right and (not case.stream or "[DONE]" in text)):
            return f"{case}: should have heard all of it; heard {heard}"
    elif heard.status == 200 and heard.whole and "error" not in text and said != right:
        return f"{case}: took half an answer for a whole one: {heard}"
    elif said and not right.startswith(said):
        return f"{case}: heard what nobody has said: {heard}"
    return None


def cases(number: int, seed: int) -> list[Case]:
    """So many requests, as the shares say, in any order."""
    dice = random.Random(seed)
    plays = dice.choices(list(SHARES), list(SHARES.values()), k=number)
    clients = dice.choices(list(CLIENTS), list(CLIENTS.values()), k=number)
    return [
        Case(f"n{at + 1}x", dice.choice(MODELS), dice.random() < 0.5, play, client)
        for at, (play, client) in enumerate(zip(plays, clients, strict=True))
    ]


class Crowd(NamedTuple):
    """What is wrong with what was heard, line by line; and how many were refused who should not have been."""

    complaints: list[str]
    refused: list[str]


async def opened(port: int, desk: Desk) -> None:
    """Until it has answered once: a store that is new is not asked for money at once."""
    _, line = await asyncio.get_running_loop().create_connection(lambda: Client(desk), "127.0.0.1", port)
    async with asyncio.timeout(GENEROUS):
        while (await line.ask(Case("n0x", MODELS[0], stream=False, play="well", client="stays"))).status == 503:
            pass
    line.transport.abort()


async def crowd(port: int, waiting: list[Case], desk: Desk) -> Crowd:
    """Ask them all, `AT_ONCE` at once, each client on a line that it keeps as long as it can."""
    loop, found = asyncio.get_running_loop(), Crowd([], [])
    tickets = count()

    async def one() -> None:
        line: Client | None = None
        while (at := next(tickets)) < len(waiting):
            if line is None or line.gone:
                _, line = await loop.create_connection(lambda: Client(desk), "127.0.0.1", port)
            heard = await line.ask(waiting[at])
            if wrong := complaint(waiting[at], heard):
                found.complaints.append(wrong)
            if bright(waiting[at]) and heard.status != 200:
                found.refused.append(f"{waiting[at]}: {heard}")
            if not heard.whole:
                line.transport.abort()
                line.gone = True
        if line is not None:
            line.transport.abort()

    async with asyncio.timeout(GENEROUS + len(waiting) / 20):
        await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    return found
