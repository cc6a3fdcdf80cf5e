"""A house of ours that is measured: a server process on one core, everything on, and those who ask it on the other.

CPU is that of the whole process tree, user and system, settlements included, divided by good answers. Each answer is
checked: it names its request.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple, cast

import httpx

from tests.bench.installation import ours
from tests.bench.process import Cores, Server, cpu
from tests.namesake import environ_of, mark
from tests.redis_server import free_port, redis_server
from tests.tollhouse import ROOT, surroundings

MODEL = "gpt-4.1-mini"  # takes a million tokens
CLIENT, ADMIN = "sk-bench-client", "sk-bench-admin"
CLIENTS = 16
WARM_SECONDS = 1.5  # in which the board is read, too
AFTERWARDS = 0.4  # seconds in which what was put off is done; it counts
RUNS = 3
PATIENCE = 60.0  # seconds until it listens
_WORDS = " The quick brown fox asks a question, and hears what it has asked for."  # not one letter: searches like words
OURS = "budgets:\n- {user: '*', daily: '100000'}\n"


class House(NamedTuple):
    """A server that listens; `key` is the client's."""

    port: int
    pid: int
    directory: Path
    redis: str | None
    key: str


class Setting(NamedTuple):
    """How a house is set up: `size` of the prompt, in bytes; what is made before it starts and after."""

    size: int = 200
    environ: Mapping[str, str] = {}
    config: str = OURS
    made: Callable[[Path], dict[str, str]] | None = None
    prepare: Callable[[House], Awaitable[House]] | None = None


class Asker(asyncio.Protocol):
    """One connection that asks again as soon as it is answered, until it is told to stop."""

    def __init__(self, before: bytes, after: bytes, names: Iterator[int]) -> None:
        self._before, self._after, self._names = before, after, names
        self._came, self._name = b"", b""
        self.until, self.good = 0.0, 0
        self.idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not descend from it

    def ask(self, until: float) -> None:
        self.until, self._came = until, b""
        if self.idle.done():
            self.idle = asyncio.get_running_loop().create_future()
        self._next()

    def _next(self) -> None:
        self._name = b"n%dx" % next(self._names)
        self.transport.write(b"".join((self._before, self._name, self._after)))

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, found, body = self._came.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length:")[2].split(None, 1)[0]):
            return
        if not head.startswith(b"HTTP/1.1 200") or self._name not in body:
            self.idle.set_exception(RuntimeError(f"{head[:40]!r} {body[:300]!r}"))
            return
        self.good += 1
        self._came = b""
        if time.monotonic() < self.until:
            self._next()
        else:
            self.idle.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.idle.done():
            self.idle.set_exception(error or ConnectionError("closed"))


def _question(key: str, size: int) -> tuple[bytes, bytes]:
    """A request in two halves, between which the name goes; names are seven digits long."""
    prompt = mark("\0") + (_WORDS * (size // len(_WORDS) + 1))[:size]
    asked = {"model": MODEL, "user": "alice", "messages": [{"role": "user", "content": prompt}]}
    before, after = json.dumps(asked).encode().split(json.dumps("\0")[1:-1].encode())
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(before) + len(after) + len('n1000000x')}\r\n\r\n"
    return head.encode() + before, after


async def measured(house: House, size: int, seconds: float) -> float:
    """Microseconds of CPU per answer: the least of some runs, since what else the machine does only adds."""
    loop, names = asyncio.get_running_loop(), count(1_000_000)
    before, after = _question(house.key, size)
    clients = [
        (await loop.create_connection(lambda: Asker(before, after, names), "127.0.0.1", house.port))[1]
        for _ in range(CLIENTS)
    ]

    async def run(seconds: float) -> float:
        for client in clients:
            client.good = 0
        spent = cpu(house.pid)
        for client in clients:
            client.ask(time.monotonic() + seconds)
        await asyncio.gather(*(client.idle for client in clients))
        await asyncio.sleep(AFTERWARDS)
        return (cpu(house.pid) - spent) / sum(client.good for client in clients) * 1e6

    try:
        await run(WARM_SECONDS)
        return min([await run(seconds) for _ in range(RUNS)])
    finally:
        for client in clients:
            client.transport.abort()


async def opened(house: House) -> None:
    """Until it answers, and its store grants money."""
    question = "".join(part.decode() for part in _question(house.key, 200)).partition("\r\n\r\n")[2]
    body = question.replace("~.", "~n1000000x.")
    head = {"authorization": f"Bearer {house.key}", "content-type": "application/json"}
    end = time.monotonic() + PATIENCE
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        while True:
            try:
                url = f"http://127.0.0.1:{house.port}/v1/chat/completions"
                answer = await http.post(url, content=body, headers=head)
                if answer.status_code == 200:
                    return
                why = answer.text
            except httpx.TransportError as error:
                why = repr(error)
            if time.monotonic() > end:
                raise RuntimeError(f"it does not answer: {why[:300]}")
            await asyncio.sleep(0.02)


@asynccontextmanager
async def housed(setting: Setting, store: str, vendor: str) -> AsyncIterator[House]:
    """A house, from its start to its end; `store` is sqlite or redis, `vendor` the address of all three."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tollhouse-bench-")))
        redis = stack.enter_context(redis_server()).url if store == "redis" else None
        (directory / "config.yaml").write_text(setting.config)
        environ = {
            **{"TOLLHOUSE_CLIENT_KEYS": CLIENT, "TOLLHOUSE_ADMIN_KEY": ADMIN, "TOLLHOUSE_LOG": "json"},
            **{"LLM_DAILY_BUDGET": "1000000", "LLM_MONTHLY_BUDGET": "9000000"},
            **{"TOLLHOUSE_CONFIG": str(directory / "config.yaml"), "TOLLHOUSE_DATA_DIR": str(directory)},
            **({"REDIS_URL": redis} if redis else {}),
            "PYTHONPATH": str(ROOT),
            **environ_of(vendor),
            **setting.environ,
            **(setting.made(directory) if setting.made else {}),
        }
        port = free_port()
        argv = [str(ours().home / "bin/python"), "-m", "proxy", "serve", "--port", str(port)]
        server = Server(argv, surroundings(environ), ROOT, directory / "log", Cores.found().subject)
        stack.callback(server.stop)
        server.start()
        house = House(port, server.pid, directory, redis, CLIENT)
        await opened(house)
        yield await setting.prepare(house) if setting.prepare else house
