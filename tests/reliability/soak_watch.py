"""What a process is, seen from outside and once a second: memory, descriptors by what they lead to, its own gauges.

And whether that grows: the slope of Theil and Sen, the median of the slopes between all pairs of points, which a third
of wild points does not move.
"""

import asyncio
import os
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import aiohttp

from tests.bench.process import pss
from tests.reliability.soak_clients import Crowd

KINDS = ("clients", "vendors", "redis", "files", "others")  # of descriptors
_GAUGES = re.compile(r"^tollhouse_(in_flight_requests|journal_undelivered|store_up) ([0-9.e+]+)$", re.MULTILINE)
_LISTENS = "0A"  # the state of a socket, in /proc/net/tcp


class Ports(NamedTuple):
    """Who is where on loopback."""

    ours: int
    vendors: frozenset[int]
    redis: int


class Moment(NamedTuple):
    """One second: megabytes; descriptors by kind; gauges; what clients had heard until then, since the beginning."""

    at: float  # seconds since the beginning
    pss: float
    rss: float
    descriptors: Mapping[str, int]
    gauges: Mapping[str, float]  # empty if it did not answer in time
    counts: Mapping[str, int]


def descriptors(pid: int, ports: Ports) -> Counter[str]:
    """The open descriptors of a process, by kind."""
    peers = dict(_sockets(pid, ports))
    found: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with suppress(OSError):  # closed since
            target = os.readlink(entry.path)
            if target.startswith("/") and not target.startswith("/dev/"):
                found["files"] += 1
            else:
                found[peers.get(target, "others")] += 1
    return found


def _sockets(pid: int, ports: Ports) -> Iterator[tuple[str, str]]:
    """What the links of its sockets say -> what kind they are of."""
    for line in Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        words = line.split(None, 10)
        local, remote = (int(words[at].rpartition(":")[2], 16) for at in (1, 2))
        if words[3] == _LISTENS:
            continue
        if local == ports.ours:
            yield f"socket:[{words[9]}]", "clients"
        elif remote in ports.vendors:
            yield f"socket:[{words[9]}]", "vendors"
        elif remote == ports.redis:
            yield f"socket:[{words[9]}]", "redis"


def rss(pid: int) -> float:
    """Megabytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch:
    """Looks at a process once a second, for as long as it is a task."""

    def __init__(self, pid: int, ports: Ports, admin: str, crowd: Crowd) -> None:
        self.moments: list[Moment] = []
        self._pid, self._ports, self._crowd = pid, ports, crowd
        self._url = f"http://127.0.0.1:{ports.ours}/metrics"
        # A connection of its own each time: it is not to be counted among those that clients keep.
        self._heads = {"authorization": f"Bearer {admin}", "connection": "close"}

    async def run(self) -> None:
        """Until it is cancelled."""
        began = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._heads) as http:
            while True:
                self.moments.append(await self.look(http, time.monotonic() - began))
                await asyncio.sleep(max(0.0, began + len(self.moments) - time.monotonic()))

    async def look(self, http: aiohttp.ClientSession, at: float) -> Moment:
        """Now."""
        gauges: dict[str, float] = {}
        with suppress(aiohttp.ClientError, TimeoutError):
            async with http.get(self._url) as answer:
                gauges = {name: float(value) for name, value in _GAUGES.findall(await answer.text())}
        return Moment(
            at, pss(self._pid), rss(self._pid), descriptors(self._pid, self._ports), gauges, dict(self._crowd.counts)
        )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """By how much y grows for each of x, in the median of all pairs; 0 of fewer than two points."""
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] != a[0]]
    return statistics.median(slopes) if slopes else 0.0


def drift(points: Sequence[tuple[float, float]]) -> float:
    """By how much y has grown from the first point to the last, if it grew evenly."""
    return slope(points) * (points[-1][0] - points[0][0]) if points else 0.0


def settled(moments: Sequence[Moment], seconds: float) -> Sequence[Moment]:
    """The last two thirds of the load: in the first one caches fill, and the tokenizer is loaded."""
    return [moment for moment in moments if seconds / 3 <= moment.at <= seconds]
