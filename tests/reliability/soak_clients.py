"""The clients of a soak: they come when they come, and do all that clients do to a server, good and bad.

Each prompt names its request and the simulated model echoes it: an answer that went astray is seen. Each request has a
trace id made of its number, by which its line of the log, and so its rows of the ledger, are found again.
"""

import asyncio
import json
import math
import random
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from tests.clientele import CLIENT, MODELS
from tests.money.load import Heard, Wish

SHORTEST, LONGEST = 100, 100_000  # bytes of a system prompt
PROMPTS = 48  # different ones, so that vendors have something to cache; their lengths are spread by the logarithm
USERS = 20
LONG = 1_000  # words of an answer that is read slowly: several times what the sockets between take
MOST_IDLE = 16  # connections that are kept: what is opened in a rush is closed again
AT_ONCE = 256  # more than are ever needed, unless the server stands still: then memory is bounded here, too
HANG = 90.0  # seconds after which a client takes it that it was forgotten
STORE = "budget_store_unavailable"
# What a client may hear of vendors that fail on purpose.
OF_VENDORS = frozenset(
    {"upstream_connection_error", "upstream_stream_truncated", "upstream_malformed_output", "empty_upstream_response"}
    | {"upstream_timeout", "upstream_quota_exhausted", "upstream_auth_error", "upstream_misconfigured"}
    | {"server_is_overloaded", "server_error", "rate_limit_exceeded", "model_not_found"}
)
_WORDS = ("river", "stone", "lamp", "seven", "window", "quiet", "orange", "paper", "north", "salt", "winter", "garden")
_BROKEN = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets


class Manner(NamedTuple):
    """What a client does. `share`: how often, of a hundred. It leaves after `sends` of its bytes (1: all of them), or
    after so many `parts` of an answer, or after a while of at most `waits` seconds; or listens to the end."""

    share: int
    sends: float = 1.0  # below 0.01: within the head
    pieces: int = 1  # in which it sends, with a pause between
    parts: int | None = None
    waits: float | None = None
    pause: float = 0.0  # seconds between two reads
    long: bool = False  # it asks for a long answer
    half: bool = False  # it says that it has no more to say, and listens

    @property
    def stays(self) -> bool:
        """Whether it is owed an answer."""
        return self.sends == 1 and self.parts is None and self.waits is None and not self.half


MANNERS: Mapping[str, Manner] = {
    "stays": Manner(63),
    "writes slowly": Manner(3, pieces=5),
    "reads slowly": Manner(3, pause=0.005, long=True),
    "stops reading": Manner(1, waits=20.0, pause=30.0, long=True),
    "closes its half": Manner(2, half=True),
    "leaves connected": Manner(4, sends=0.0),
    "leaves within the head": Manner(4, sends=0.005),
    "leaves within the body": Manner(4, sends=0.9),
    "leaves when it has asked": Manner(4, waits=0.0),
    "leaves while it waits": Manner(5, waits=0.05),
    "leaves within the answer": Manner(7, parts=3),
}


class Asked(NamedTuple):
    """One request."""

    wish: Wish
    manner: Manner
    raw: bytes


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.used = False

    @classmethod
    async def open(cls, port: int, *, narrow: bool) -> "Line":
        """`narrow`: it takes little at once, so that who does not read is felt on the other side."""
        sock = socket.socket()
        sock.setblocking(False)
        if narrow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            return cls(*await asyncio.open_connection(sock=sock, limit=1 << 12 if narrow else 1 << 16))
        except BaseException:
            sock.close()
            raise

    def leave(self, *, broken: bool) -> None:
        """Hang up, or break off."""
        if broken:
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _BROKEN)
            self.writer.transport.abort()
        else:
            self.writer.close()


class Crowd:
    """`counts`: outcomes; `codes` of errors; `complaints`: what must not have been; `heard`: the numbers of those who
    were owed an answer, and got one, or an error."""

    def __init__(self, port: int, seed: int = 20261123) -> None:
        self.counts: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.manners: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.heard: list[int] = []
        self.busy = 0
        self._port, self._dice, self._numbers = port, random.Random(seed), count(1)
        self._prompts = [_text(self._dice, size) for size in _sizes()]
        self._idle: list[Line] = []

    async def come(self, rate: float, seconds: float) -> None:
        """So many a second, who know nothing of each other."""
        loop, at = asyncio.get_running_loop(), 0.0
        begun, places = loop.time(), asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            while (at := at + self._dice.expovariate(rate)) < seconds:
                await asyncio.sleep(begun + at - loop.time())
                await places.acquire()
                group.create_task(self._one()).add_done_callback(lambda _: places.release())
        while self._idle:
            self._idle.pop().leave(broken=False)

    async def _one(self) -> None:
        name = self._dice.choices(list(MANNERS), [manner.share for manner in MANNERS.values()])[0]
        number = next(self._numbers)
        self.manners[name] += 1
        asked = self._asked(number, MANNERS[name])
        self.busy += 1
        try:
            async with asyncio.timeout(HANG):
                heard = await self._ask(asked)
        except TimeoutError:
            heard = Heard(wish=asked.wish, broken="forgotten")
        finally:
            self.busy -= 1
        self._judge(number, name, heard)

    def _judge(self, number: int, name: str, heard: Heard) -> None:
        outcome = outcome_of(heard)
        if heard.broken == "crossed":
            outcome = "crossed"
        if heard.code is not None:
            self.codes[heard.code] += 1
        if MANNERS[name].stays and outcome in ("answered", "store", "vendors"):
            self.heard.append(number)
        self.counts[outcome] += 1
        if outcome in ("wrong", "broken", "unexpected"):
            said = f"{heard.status} {heard.code} {heard.broken} {heard.message[:200]} {heard.text[:80]!r}"
            self.complaints.append(f"{heard.wish.tag}, who {name}: {outcome}: {heard.complaint or said}")

    def _asked(self, number: int, manner: Manner) -> Asked:
        dice = self._dice
        words = " ".join(dice.choices(_WORDS, k=LONG if manner.long else dice.randint(3, 60)))
        wish = Wish(
            tag=f"s-{number}",
            model=dice.choice(MODELS),
            system=dice.choice(self._prompts),
            text=f"tag=s-{number} {words}",
            stream=manner.long or dice.random() < 0.5,
            cap=4_096 if manner.long else dice.choice((None, None, 20, 4_096)),
            user=f"user-{number % USERS}",
        )
        body = json.dumps(wish.body).encode()
        head = [
            "POST /v1/chat/completions HTTP/1.1",
            "host: localhost",
            f"authorization: Bearer {CLIENT}",
            "content-type: application/json",
            f"traceparent: 00-{trace_of(number)}-00000000000000ff-00",
            f"content-length: {len(body)}",
        ]
        return Asked(wish, manner, "\r\n".join([*head, "", ""]).encode() + body)

    async def _ask(self, asked: Asked) -> Heard:
        """Ask, and do what the manner says; a line that is still good is kept."""
        manner = asked.manner
        kept = [line for line in self._idle if not line.reader.at_eof()] if manner.stays and not manner.pause else []
        if kept:
            line = kept[-1]
            self._idle.remove(line)
        else:
            line = await Line.open(self._port, narrow=manner.long)
        broken = self._dice.random() < 0.5
        heard = Heard(wish=asked.wish)
        try:
            await _send(line, asked, self._dice)
            if manner.sends < 1:
                heard.left = True
            else:
                await _hear(line, asked, heard, self._dice)
        except (OSError, asyncio.IncompleteReadError) as error:
            crossed = line.used and not heard.status  # it asked on a line that was being closed: nobody heard it
            heard.broken = "crossed" if crossed else None if not manner.stays else type(error).__name__
            heard.left = not manner.stays
        except asyncio.CancelledError:
            line.leave(broken=True)
            raise
        line.used = True
        if heard.left or heard.broken or not manner.stays or manner.long or len(self._idle) >= MOST_IDLE:
            line.leave(broken=heard.left and broken)
        else:
            self._idle.append(line)
        return heard


def trace_of(number: int) -> str:
    """The trace id of a request."""
    return f"50ab{number:028x}"


def outcome_of(heard: Heard) -> str:
    """What came of it, in a word: answered, left, store, vendors; what must not be: wrong, broken, unexpected."""
    if heard.complaint is not None:
        return "wrong"
    if heard.left:
        return "left"
    if heard.broken is not None:
        return "broken"
    if heard.code is None:
        return "answered" if heard.status == 200 else "unexpected"
    return "store" if heard.code == STORE else "vendors" if heard.code in OF_VENDORS else "unexpected"


def _sizes() -> Iterator[int]:
    step = math.log(LONGEST / SHORTEST) / (PROMPTS - 1)
    yield from (int(SHORTEST * math.exp(step * n)) for n in range(PROMPTS))


def _text(dice: random.Random, size: int) -> str:
    return " ".join(dice.choices(_WORDS, k=size // 5))[:size]


async def _send(line: Line, asked: Asked, dice: random.Random) -> None:
    manner = asked.manner
    most = len(asked.raw) if manner.sends == 1 else int(len(asked.raw) * manner.sends)
    if 0 < manner.sends < 0.01:
        most = dice.randint(1, 100)  # within the head, however long the body is
    size = max(1, -(-most // manner.pieces))
    for at in range(0, most, size):
        line.writer.write(asked.raw[at : min(most, at + size)])
        await line.writer.drain()
        if manner.pieces > 1:
            await asyncio.sleep(0.02)  # the manner of who writes slowly
    if manner.half:
        line.writer.write_eof()


async def _hear(line: Line, asked: Asked, heard: Heard, dice: random.Random) -> None:
    """As much of the answer as the manner wants; raises what the connection does."""
    manner = asked.manner
    try:
        async with asyncio.timeout(None if manner.waits is None else manner.waits * dice.random()):
            await _listen(line, manner, heard)
    except TimeoutError:
        heard.left = True


async def _listen(line: Line, manner: Manner, heard: Heard) -> None:
    head = await line.reader.readuntil(b"\r\n\r\n")
    heard.status, lower = int(head[9:12]), head.lower()
    if b"transfer-encoding: chunked" not in lower:
        length = int(lower.partition(b"content-length:")[2].split(None, 1)[0])
        take(heard, (await line.reader.readexactly(length),))
        return
    parts = list[bytes]()
    try:
        while size := int(await line.reader.readline() or b"x", 16):
            parts.append((await line.reader.readexactly(size + 2))[:-2])
            if manner.pause:
                await asyncio.sleep(manner.pause)  # the manner of who reads slowly
            if manner.parts is not None and len(parts) >= manner.parts:
                heard.left = True
                return
        await line.reader.readexactly(2)
    except ValueError:
        raise asyncio.IncompleteReadError(b"", None) from None  # the end, where a size should have been
    finally:
        take(heard, _events(b"".join(parts), whole=not heard.left))


def _events(came: bytes, *, whole: bool) -> Sequence[bytes]:
    """What a stream says, event by event; what a leaver has half of an event is not one."""
    events = came.split(b"\n\n")
    return [event.removeprefix(b"data: ") for event in events if event.startswith(b"data: {")]


def take(heard: Heard, said: Iterable[bytes]) -> None:
    """Write down a whole answer, the events of one, or an error."""
    for one in said:
        try:
            told: dict[str, Any] = json.loads(one)
        except ValueError:
            continue  # half an event, at the end of a connection that broke
        if error := told.get("error"):
            heard.code, heard.message = error.get("code") or error.get("type"), error["message"]
            continue
        for choice in told["choices"]:
            words = choice.get("delta") or choice.get("message") or {}
            heard.text += words.get("content") or ""
            heard.finish = choice["finish_reason"] or heard.finish
