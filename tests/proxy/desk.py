"""The whole way of a request within this process: our own app, in front of vendors that do what a test tells them.

The vendors speak OpenAI's format over real sockets. Nothing here waits for a time: a vendor waits for an event, a
client for a part.
"""

import asyncio
import json
import time
import warnings
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.base import Failure, Kind
from proxy.app import build
from proxy.auth import NOBODY
from proxy.downstream import Downstream
from proxy.gate import Gate
from proxy.health import Outcome
from proxy.ledger import Entry
from proxy.settings import load
from proxy.store.sqlite import SqliteStore
from proxy.telemetry import Record

GENEROUS = 20  # seconds: for a hang to be told from an answer, not for measuring
QUICK = "retries: {base: 0.001, longest: 2}\n"
ONCE = "retries: {rounds: 1, queue: 0}\n"
HEDGING = "hedging: {enabled: true, spend: 1.0, least: 0.01}\n"
TIMEOUTS = "timeouts: {connect: 5, first_byte: 20, first_byte_plain: 20, idle: 20, total: 60}\n"
PROMPT, SAID = 11, 3  # tokens, as each vendor counts them
USAGE = {"prompt_tokens": PROMPT, "completion_tokens": SAID, "total_tokens": PROMPT + SAID}
EACH = PROMPT * 1_000 + SAID * 2_000  # nano-dollars of a whole answer: USD 1 and 2 a million


class Call:
    """One request as a vendor sees it."""

    def __init__(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.body = body
        self._writer = writer

    async def head(self, status: int = 200, **headers: Any) -> None:
        """The head; the body ends with the connection."""
        said = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self._writer.write(f"HTTP/1.1 {status} So\r\nconnection: close\r\n{said}\r\n".encode())
        await self._writer.drain()

    async def say(self, *events: Any) -> None:
        """Events of a stream; text as it is."""
        for event in events:
            data = event if isinstance(event, str) else f"data: {json.dumps(event)}\n\n"
            self._writer.write(data.encode())
        await self._writer.drain()


Play = Callable[[Call], Coroutine[Any, Any, None]]


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk({}, "stop")
COUNT = {**STOP, "choices": [], "usage": USAGE}
DONE = "data: [DONE]\n\n"


def words(*said: str) -> list[Any]:
    return [chunk({"content": word}) for word in said]


async def well(call: Call, *said: str) -> None:
    """A whole answer, or a stream of it."""
    if call.body.get("stream"):
        await call.head(content_type="text/event-stream")
        await call.say(ROLE, *words(*(said or ("one", " two"))), STOP, COUNT, DONE)
        return
    message = {"role": "assistant", "content": "".join(said or ("one", " two"))}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    await call.head(content_type="application/json")
    await call.say(json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
                               "choices": [choice], "usage": USAGE}))  # fmt: skip


def refuses(status: int = 500, **headers: Any) -> Play:
    async def play(call: Call) -> None:
        await call.head(status, content_type="application/json", **headers)
        await call.say(json.dumps({"error": {"message": "so it is", "type": "x", "code": None, "param": None}}))

    return play


def after(event: asyncio.Event, then: Play) -> Play:
    """Wait for it before the first byte."""

    async def play(call: Call) -> None:
        await event.wait()
        await then(call)

    return play


class Vendor:
    """Each request is played by the next of `plays`, else by `usual`. `heard` are their bodies; `there` is set with the
    first that has come since it was cleared."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.plays: deque[Play] = deque()
        self.usual: Play = well
        self.heard: list[dict[str, Any]] = []
        self.heads: list[str] = []  # of the same requests, in lower case
        self.there = asyncio.Event()
        self.left = 0  # requests that we hung up on
        self.under_way: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Listen; the base URL."""
        server = self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        finally:
            server.close()
            for task in self.under_way:
                task.cancel()
            await asyncio.gather(*self.under_way, return_exceptions=True)

    def shut(self) -> None:
        """Listen no more: whoever comes now is turned away."""
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.under_way.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split()[0])
            body = json.loads(await reader.readexactly(length))
            self.heard.append(body)
            self.heads.append(head.decode())
            play = self.plays.popleft() if self.plays else self.usual
            self.there.set()
            playing = asyncio.create_task(play(Call(body, writer)))
            closing = asyncio.create_task(reader.read())
            try:
                await asyncio.wait([playing, closing], return_when=asyncio.FIRST_COMPLETED)
                self.left += not playing.done() or playing.exception() is not None
            finally:
                playing.cancel()
                closing.cancel()
                await asyncio.gather(playing, closing, return_exceptions=True)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.under_way.discard(task)
            writer.close()


class Client:
    """One request, as ASGI shows it."""

    def __init__(self, body: dict[str, Any], headers: dict[str, str]) -> None:
        self._messages: list[Any] = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
        self._gone = asyncio.Event()
        self._news = asyncio.Event()
        self.heard: list[Any] = []
        self.stuck = ""  # a kind of message: it takes the first of these, and no more
        scope: Any = {
            "type": "http",
            "method": "POST",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        self.down = Downstream(scope, self._receive, self._send)
        self.serving: asyncio.Task[None]

    async def _receive(self) -> Any:
        if self._messages:
            return self._messages.pop(0)
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.heard.append(message)
        self._news.set()
        if self.stuck == message["type"]:
            await asyncio.Event().wait()

    def leave(self) -> None:
        """Hang up."""
        self._gone.set()

    async def hears(self, text: str) -> None:
        """Wait until this was said."""
        async with asyncio.timeout(GENEROUS):
            while text not in self.text:
                self._news.clear()
                await self._news.wait()

    async def end(self) -> "Client":
        """Wait until it is over."""
        async with asyncio.timeout(GENEROUS):
            await self.serving
        return self

    @property
    def status(self) -> int:
        """0: no answer has begun."""
        starts = [message for message in self.heard if message["type"] == "http.response.start"]
        assert len(starts) <= 1, "a second answer was begun"
        return starts[0]["status"] if starts else 0

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.heard[0]["headers"]}

    @property
    def text(self) -> str:
        return b"".join(m["body"] for m in self.heard if m["type"] == "http.response.body").decode()

    @property
    def whole(self) -> bool:
        """It has come to an end, once."""
        ends = [m for m in self.heard if m["type"] == "http.response.body" and not m["more_body"]]
        assert len(ends) <= 1, "it was ended twice"
        return bool(ends)

    @property
    def code(self) -> Any:
        return json.loads(self.text)["error"]["code"]


class Desk:
    """One process of ours, and its vendors: `a`, `b` and `c`, each with a model `m` of its own name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.vendors = {name: Vendor(name) for name in "abc"}
        self.a, self.b, self.c = self.vendors.values()
        self.records: list[Record] = []
        self.caller = NOBODY
        self.gate: Gate

    def ask(self, model: str = "pair", *, headers: dict[str, str] | None = None, **more: Any) -> Client:
        """Send a request; it is under way when this returns."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hello there"}], **more}
        client = Client(body, headers or {})
        client.serving = asyncio.create_task(self.gate.serve(client.down, lambda _: self.caller))
        return client

    async def asked(self, model: str = "pair", **more: Any) -> Client:
        """A request, and its whole answer."""
        return await self.ask(model, **more).end()

    async def know(self, name: str, milliseconds: float = 1.0) -> None:
        """Have it known how fast a vendor is as a rule, and that there is money for hedging."""
        fleet = self.gate.trips.fleet
        for _ in range(25):
            ticket = await fleet.begin(name, f"{name}m")
            assert ticket is not None
            fleet.end(ticket, Outcome(first=milliseconds, whole=milliseconds))
        fleet.gather()
        self.gate.trips.hedges.spent(10**15)

    async def hear(self, name: str, kind: Kind, seconds: float | None = None) -> None:
        """Have a vendor known to have failed so; `seconds` is what it said of when to come again."""
        fleet = self.gate.trips.fleet
        ticket = await fleet.begin(name, f"{name}m", force=True)
        assert ticket is not None
        fleet.end(ticket, Outcome(failure=Failure(kind, "so it is", retry_after=seconds)))

    def outcomes(self, at: int = -1) -> list[tuple[str, str]]:
        """(provider, outcome) of the attempts of a request that is over, in the order in which they ended."""
        return [(attempt.provider, attempt.outcome) for attempt in self.records[at].attempts]

    @property
    def in_flight(self) -> int:
        """Attempts that the fleet believes to be under way."""
        fleet = self.gate.trips.fleet
        return sum(fleet.standing(name, f"{name}m").in_flight for name in self.vendors)

    async def rows(self) -> list[Entry]:
        """The ledger, once the process has ended, in the order of the attempts."""
        store = SqliteStore(self.directory / "tollhouse.db")
        await store.open()
        try:
            found = [row async for page in store.rows(0, 2**52) for row in page]
        finally:
            await store.close()
        return sorted(found, key=lambda row: (row.request, row.id))


MODELS = """
  - name: {name}
    base_url: "{url}"
    key: none
    capabilities: {{{capabilities}}}
    models:
      - model: {name}m
        class: standard
        preferred: true
        limits: {{context: {context}, max_output: 4096}}
        prices: [{{source: x, per_mtok: {{input: "1", output: "2"}}}}]
"""
ALIASES = "aliases: {pair: [a/am, b/bm], all: [a/am, b/bm, c/cm], one: a/am}\n"


@asynccontextmanager
async def desk(
    directory: Path,
    config: str = "",
    *,
    lacking: dict[str, str] | None = None,
    contexts: dict[str, int] | None = None,
    budget: str = "",
    strategy: str = "fallback",
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Desk]:
    """A process on `directory`. `lacking`: name -> capabilities, as in the file; `contexts`: name -> tokens;
    `budget`: dollars a day."""
    found = Desk(directory)
    async with AsyncExitStack() as stack:
        rows = ""
        for name, vendor in found.vendors.items():
            url = await stack.enter_async_context(vendor.open())
            able, context = (lacking or {}).get(name, ""), (contexts or {}).get(name, 100_000)
            rows += MODELS.format(name=name, url=url, capabilities=able, context=context)
        path = directory / "config.yaml"
        defaults = [words for words in (ALIASES, TIMEOUTS) if words.partition(":")[0] not in config]
        path.write_text(f"providers:{rows}{''.join(defaults)}{config}")
        ours = {"TOLLHOUSE_DATA_DIR": str(directory), "PRIMARY_LLM_PROVIDER": "a", "LLM_ROUTING_STRATEGY": strategy}
        settings = load({**ours, **({"LLM_DAILY_BUDGET": budget} if budget else {})}, config=str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Litestar's, of words of its own
            app = build(settings, sinks=(found.records.append,), clock=clock)
        await stack.enter_async_context(app.lifespan())
        found.gate = app.state["gate"]
        yield found
