"""What the vendors would bill: one entry per request that wanted an answer of a model, and who is still waiting."""

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from proxy.simulator.counting import tokens
from proxy.simulator.vocabulary import VENDORS, Event, Usage, VendorName

Outcome = Literal["complete", "cancelled", "fault", "refused", "open"]  # refused: beyond a rate limit
TAG = re.compile(rb"\btag=([\w.:-]+)")
MOST_ENTRIES = 200_000


class Entry(msgspec.Struct):
    """One request. `started` and `ended` are Unix seconds; usage is what the vendor bills, cut streams included."""

    vendor: VendorName
    model: str = ""
    request_id: str = ""
    stream: bool = False
    status: int = 0
    outcome: Outcome = "open"
    usage: Usage = msgspec.field(default_factory=Usage)
    started: float = 0.0
    ended: float = 0.0
    client_tag: str | None = None


class Bill:
    """Counts what a stream has delivered so far."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.thinking: list[str] = []

    def add(self, event: Event) -> None:
        if event.text:
            self.text.append(event.text)
        if event.thinking:
            self.thinking.append(event.thinking)

    def usage(self, full: Usage) -> Usage:
        """`full` with the output cut down to what was delivered."""
        out_text, thinking = tokens("".join(self.text)), tokens("".join(self.thinking))
        if full.out_reasoning == 0:  # the vendor does not tell thinking apart
            out_text, thinking = out_text + thinking, 0
        out_text, thinking = min(out_text, full.out_text), min(thinking, full.out_reasoning)
        return msgspec.structs.replace(full, out_text=out_text, out_reasoning=thinking)


class Ledger:
    """Finished entries, requests in progress, and those who wait for either to change."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.arrivals: deque[Entry] = deque(maxlen=MOST_ENTRIES)  # in the order of `started`; some are not over
        self.finished = 0
        self.received = dict.fromkeys(VENDORS, 0)
        self.in_progress = dict.fromkeys(VENDORS, 0)
        self.waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def open(self, vendor: VendorName) -> Entry:
        """A request has arrived."""
        self.received[vendor] += 1
        self.in_progress[vendor] += 1
        if self.waiters:
            self._tell()
        return Entry(vendor, started=time.time())

    def close(self, entry: Entry, outcome: Outcome, billed: bool) -> None:
        """A request is over; `billed` keeps the entry (lists of models and counts cost nothing)."""
        if entry.outcome != "open":
            return
        entry.outcome, entry.ended = outcome, time.time()
        self.in_progress[entry.vendor] -= 1
        if billed:
            self.finished += 1
            self.entries.append(entry)
            if len(self.entries) > MOST_ENTRIES:
                del self.entries[: MOST_ENTRIES // 2]
        if self.waiters:
            self._tell()

    async def wait(self, ready: Callable[[], bool], patience: float) -> bool:
        """Wait until `ready` says so; looked at whenever a request comes or goes. False after `patience` seconds."""
        if ready():
            return True
        future = asyncio.get_running_loop().create_future()
        waiter = (ready, future)
        self.waiters.append(waiter)
        try:
            await asyncio.wait_for(future, patience)
        except TimeoutError:
            return False
        finally:
            self.waiters.remove(waiter)
        return True

    def _tell(self) -> None:
        for ready, future in self.waiters:
            if not future.done() and ready():
                future.set_result(None)

    def clear(self) -> None:
        """Forget all finished entries, and who arrived when."""
        self.entries.clear()
        self.arrivals.clear()
        self.finished = 0

    def totals(self) -> dict[str, Any]:
        """{vendor: {model: {"requests": n, bucket: tokens, ...}}} over all entries."""
        sums: dict[str, dict[str, dict[str, int]]] = {}
        for entry in self.entries:
            row = sums.setdefault(entry.vendor, {}).setdefault(entry.model, {"requests": 0})
            row["requests"] += 1
            for bucket, count in msgspec.structs.asdict(entry.usage).items():
                row[bucket] = row.get(bucket, 0) + count
        return sums


def tag(text: bytes) -> str | None:
    """The caller's mark in a text (UTF-8): `tag=XXXX` in ASCII, the last one."""
    found = TAG.findall(text) if b"tag=" in text else None
    return found[-1].decode() if found else None
