"""Watching replicas from outside: their health, their logs, and traffic that goes on meanwhile."""

import asyncio
import itertools
import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from proxy.simulator import Simulator
from tests.reliability.crowd import MODEL, Heard, ask, body, session
from tests.tollhouse import Tollhouse

PATIENCE = 30.0  # seconds until what is looked for is given up
_AGAIN = 0.02  # seconds between two looks


def admin(url: str, path: str, *, post: bool = False, key: str | None = None) -> dict[str, Any]:
    """An admin endpoint's answer. Raises `urllib.error.HTTPError`."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(url + path, method="POST" if post else "GET", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return dict(json.loads(answer.read()))


def moment(line: dict[str, Any]) -> float:
    """When a line of the log was written; Unix seconds."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def turns(house: Tollhouse, event: str, **fields: Any) -> list[float]:
    """When this was logged, each time."""
    wanted = {"event": event, **fields}
    return [moment(line) for line in house.logs if wanted.items() <= line.items()]


def came(vendors: Simulator, vendor: str, start: float, end: float | None = None, model: str = "") -> list[float]:
    """When requests arrived at a vendor between two moments; Unix seconds."""
    until = time.time() if end is None else end
    arrivals = [entry["started"] for entry in vendors.arrivals(vendor) if entry["model"].startswith(model)]
    return [at for at in arrivals if start < at < until]


async def until(ready: Callable[[], object], what: str) -> None:
    """Look again and again, off the loop, until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(ready):
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(_AGAIN)  # looked at again, not waited blindly: nobody tells a stranger


class Traffic:
    """`async with Traffic(urls, rate=30) as traffic:` requests that come all the while, at the places in turn."""

    def __init__(self, places: Sequence[str], *, rate: float = 30.0, model: str = MODEL) -> None:
        self.heard: list[Heard] = []
        self._places, self._rate, self._model = places, rate, model
        self._over = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._flow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        await self._task

    async def _flow(self) -> None:
        async with session() as clients, asyncio.TaskGroup() as group:

            async def one(number: int) -> None:
                said = body(number, stream=number % 2 == 0, model=self._model)
                self.heard.append(await ask(clients, self._places[number % len(self._places)], said))

            for number in itertools.count():
                if self._over.is_set():
                    return
                group.create_task(one(number))
                await asyncio.sleep(1 / self._rate)  # the traffic's own pace: nothing is waited for

    @property
    def unanswered(self) -> list[Heard]:
        """Those who got no answer."""
        return [heard for heard in self.heard if not heard.answered]

    def since(self, at: float) -> list[Heard]:
        """Those who came after a moment, in Unix seconds, and have heard."""
        return [heard for heard in self.heard if heard.sent > at]


async def one(url: str, *, model: str = MODEL, stream: bool = False) -> Heard:
    """A single request."""
    async with session() as clients:
        return await ask(clients, url, body(0, stream=stream, model=model))
