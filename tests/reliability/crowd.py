"""Clients that come when they come, whether others still wait or not, and write down what they heard and when."""

import asyncio
import csv
import gzip
import random
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

PATIENCE = 60.0  # seconds until a client gives up
MODEL = "gpt-4o-mini"


class Heard(msgspec.Struct, kw_only=True):
    """What came of a request. `first` and `total` in milliseconds from its sending; None: nothing came.

    `sent` is in Unix seconds. `status` 0: no answer began; `broken`: how the connection ended, if not as it should.
    """

    stream: bool
    sent: float
    status: int = 0
    code: str | None = None
    message: str = ""
    provider: str = ""
    attempts: int = 0
    retry_after: float | None = None  # seconds
    first: float | None = None
    total: float = 0.0
    text: str = ""
    finish: str | None = None
    done: bool = False  # a stream came to its proper end
    broken: str | None = None

    @property
    def answered(self) -> bool:
        """A whole answer, which is what it should be."""
        whole = self.status == 200 and self.code is None and self.broken is None and self.finish == "stop"
        return whole and bool(self.text) and (self.done or not self.stream)

    @property
    def refused(self) -> bool:
        """An error in OpenAI's words, before anything else was said."""
        return self.status >= 400 and bool(self.code and self.message) and not self.text and self.broken is None


def body(number: int, *, stream: bool, model: str = MODEL) -> dict[str, Any]:
    """A small request, like no other."""
    said = {"model": model, "messages": [{"role": "user", "content": f"tag=r-{number} words 12"}]}
    return {**said, "stream": True} if stream else said


async def ask(session: aiohttp.ClientSession, url: str, said: dict[str, Any]) -> Heard:
    """Make one request at a base URL, and hear it out."""
    heard = Heard(stream=bool(said.get("stream")), sent=time.time())
    began = time.perf_counter()
    try:
        async with session.post(f"{url}/v1/chat/completions", json=said) as response:
            heard.status = response.status
            heard.provider = response.headers.get("x-tollhouse-provider", "")
            heard.attempts = int(response.headers.get("x-tollhouse-attempts", 0))
            if wait := response.headers.get("retry-after-ms"):
                heard.retry_after = float(wait) / 1000
            async for line in response.content:
                if heard.first is None:
                    heard.first = _since(began)
                _take(heard, line)
    except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
        heard.broken = type(error).__name__
    heard.total = _since(began)
    return heard


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def _take(heard: Heard, line: bytes) -> None:
    """A line of a stream, or a whole answer, or an error."""
    data = line.strip().removeprefix(b"data: ")
    if data == b"[DONE]":
        heard.done = True
    if not data.startswith(b"{"):
        return
    said = msgspec.json.decode(data)
    if error := said.get("error"):
        heard.code, heard.message = error.get("code") or error.get("type"), error["message"]
        return
    for choice in said["choices"]:
        words = choice.get("delta") or choice.get("message") or {}
        heard.text += words.get("content") or ""
        heard.finish = choice["finish_reason"] or heard.finish


def session() -> aiohttp.ClientSession:
    """As many connections as are wanted."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    headers = {"authorization": "Bearer client-key"}
    return aiohttp.ClientSession(
        timeout=timeout, headers=headers, connector=aiohttp.TCPConnector(limit=0), read_bufsize=1 << 20
    )


async def come(
    places: Sequence[str],
    times: Iterable[float],
    *,
    stream: Callable[[int], bool] = lambda number: number % 2 == 0,
    model: str = MODEL,
) -> list[Heard]:
    """A request at each of `times` (seconds from now, in order), at the base URLs in turn; in the order of `times`."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with session() as clients, asyncio.TaskGroup() as group:
        tasks = []
        for number, at in enumerate(times):
            await asyncio.sleep(start + at - loop.time())
            said = body(number, stream=stream(number), model=model)
            tasks.append(group.create_task(ask(clients, places[number % len(places)], said)))
        return [await task for task in tasks]


def arrivals(seconds: float, rate: float, rng: random.Random) -> list[float]:
    """When so many a second come who know nothing of each other."""
    times, at = list[float](), 0.0
    while (at := at + rng.expovariate(rate)) < seconds:
        times.append(at)
    return times


def traced(path: Path, seconds: float, rate: float) -> list[float]:
    """When they came to somebody else (column `seconds`, or TIMESTAMP, of a CSV), so much faster as gives the rate."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        moments = list(map(_moment, csv.DictReader(file)))
    pace = len(moments) / (moments[-1] - moments[0]) / rate
    return [at for moment in moments if (at := (moment - moments[0]) * pace) < seconds]


def _moment(row: dict[str, str]) -> float:
    # Seven digits of a second are one more than Python reads.
    return float(row["seconds"]) if "seconds" in row else datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp()


def percentile(values: Iterable[float], part: float) -> float | None:
    """The value that a part of them does not exceed; None if there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None
