"""The doors of the dashboard with what is behind them, and somebody who listens; in this process, over a real store."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from litestar import Litestar
from litestar.datastructures import State

from proxy.admin.session import COOKIE, Sessions
from proxy.admin.signin import HANDLERS as SESSION
from proxy.api import refuse
from proxy.auth import Keyring
from proxy.budget import Budget
from proxy.catalog import Catalog, ProviderRow
from proxy.cost import NANO
from proxy.dashboard import HANDLERS
from proxy.decisions import Decisions
from proxy.environment import Secret
from proxy.fleet import Fleet
from proxy.health import Policy
from proxy.pricebook import Pricebook
from proxy.prices import Limits, Model
from proxy.pulse import Pulse
from proxy.store.sqlite import SqliteStore
from proxy.telemetry import Record

GENEROUS = 20.0  # seconds: for a hang to be told from an answer, not for measuring
KEY = "admin-key"
BEARER = {"authorization": f"Bearer {KEY}"}
LIMITS = Limits(context=1_000, max_output=100)
CATALOG = Catalog([Model(provider="openai", model="gpt-4o", match=("gpt-4o-*",), limits=LIMITS)])
ROWS = (ProviderRow(name="openai", vendor="openai"), ProviderRow(name="groq", vendor="openai"))


class Hall(NamedTuple):
    """A client of the doors, and what is behind them."""

    http: httpx.AsyncClient
    app: Litestar
    pulse: Pulse
    fleet: Fleet
    store: SqliteStore

    @property
    def state(self) -> State:
        return self.app.state

    async def snapshot(self) -> dict[str, Any]:
        answer = await self.http.get("/dashboard/snapshot")
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    def hear(self, **fields: Any) -> None:
        """A request is over."""
        record = Record(**{"request_id": "req_1", "started": 0.0, "status": 200, "attempts": [], **fields})
        self.pulse(record)
        self.state.decisions(record)


@asynccontextmanager
async def hall(directory: Path, *, key: str | None = KEY) -> AsyncIterator[Hall]:
    store = SqliteStore(directory / "tollhouse.db")
    await store.open()
    fleet = Fleet(store, Policy(consecutive=3), replica="here", clock=time.monotonic, wall=time.time)
    budgets = (Budget(limit=NANO, window="day"),)
    pulse = Pulse(store, lambda: budgets, store, "here", clock=time.monotonic, wall=time.time, fleet=fleet)
    secret = Secret(key) if key else None
    state = {
        "admin": Keyring([secret] if secret else []),
        "sessions": Sessions(secret, wall=time.time),
        "anonymous": False,
        "store": store,
        "fleet": fleet,
        "pulse": pulse,
        "decisions": Decisions(wall=time.time),
        "book": Pricebook(CATALOG, ROWS),
        "replica": "here",
        "draining": False,
    }
    app = Litestar(
        (*HANDLERS, *SESSION),
        exception_handlers={Exception: refuse},
        openapi_config=None,
        logging_config=None,
        state=State(state),
    )
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # Litestar's scopes are typed more narrowly
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=BEARER) as http:
        try:
            yield Hall(http, app, pulse, fleet, store)
        finally:
            await store.close()


class Listener:
    """A browser that listens to the events, as the server sees it."""

    def __init__(self, found: Hall, *, method: str = "GET", cookie: str | None = None, key: bool = True) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self._news = asyncio.Event()
        self._left = asyncio.Event()
        headers = [(b"host", b"localhost")]
        if cookie is not None:
            headers.append((b"cookie", f"{COOKIE}={cookie}".encode()))
        elif key:
            headers.append((b"authorization", BEARER["authorization"].encode()))
        scope: Any = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": "/dashboard/events", "raw_path": b"/dashboard/events", "query_string": b"", "root_path": "",
            "headers": headers, "client": ("127.0.0.1", 5), "server": ("localhost", 80),
        }  # fmt: skip
        self.task = asyncio.create_task(found.app(scope, self._receive, self._send))

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """What was heard so far: (name, data)."""
        found = []
        for block in self.body.decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            found.append((fields["event"], json.loads(fields["data"])))
        return found

    async def heard(self, n: int) -> dict[str, Any]:
        """The data of the n-th event, from 1 on, once it has come."""
        await self._until(lambda: len(self.events) >= n or None)
        return self.events[n - 1][1]

    async def over(self) -> None:
        """Until the server has ended it."""
        await self._until(lambda: self.ended or None)
        async with asyncio.timeout(GENEROUS):
            await self.task

    async def leave(self) -> None:
        self._left.set()
        async with asyncio.timeout(GENEROUS):
            await self.task

    async def _until(self, found: Any) -> Any:
        async with asyncio.timeout(GENEROUS):
            while (value := found()) is None:
                self._news.clear()
                await self._news.wait()
            return value

    async def _receive(self) -> Any:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
            self.ended = not message.get("more_body")
        self._news.set()
