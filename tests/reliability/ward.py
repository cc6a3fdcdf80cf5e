"""Three simulated vendors and a tollhouse in front of them, to be made ill in one way at a time and watched."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from proxy.simulator import Simulator
from proxy.simulator.vocabulary import VENDORS
from tests.reliability.ailments import FIRST, HANG, Ailment
from tests.reliability.crowd import Heard, come
from tests.reliability.watch import PATIENCE, admin, moment, turns
from tests.tollhouse import Tollhouse, environ_of

COOLDOWN = 10  # seconds; short enough for a minute to see it half-open
CONFIG = f"""
timeouts: {{connect: 2, first_byte: {HANG:g}, first_byte_plain: {HANG:g}, idle: {HANG:g}, total: 30}}
health: {{cooldown: {COOLDOWN}}}
"""
PACE = 2  # milliseconds between two events of a stream: what comes after its first part comes later
AT_ONCE = 4  # fewer than open a circuit, so that each of them meets the fault


class Cell(msgspec.Struct, kw_only=True):
    """What came of an ailment of the first candidate, or of `everyone`, for whole answers or for streams."""

    ailment: Ailment
    stream: bool
    everyone: bool
    heard: list[Heard] = []

    @property
    def wrong(self) -> list[Heard]:
        """Those who heard neither an answer nor the right error."""
        return [heard for heard in self.heard if not self._right(heard)]

    def _right(self, heard: Heard) -> bool:
        status, *codes = self.ailment.error or (200,)
        if self.ailment.late:
            return heard.status == 200 and heard.code in codes and not heard.done
        if self.everyone and self.ailment.error:
            return heard.refused and heard.status == status and heard.code in codes
        return heard.answered


class Siege(msgspec.Struct, kw_only=True):
    """A long run: traffic before and during an ailment of the first candidate. Times in Unix seconds."""

    ailment: Ailment
    rate: float
    began: float  # the ailment
    before: list[Heard]
    during: list[Heard]
    met: int  # requests that the fault struck
    opened: list[float]  # when circuits of the first candidate opened
    elsewhere: int = 0  # how often circuits of others did, who were well

    @property
    def unanswered(self) -> Counter[str]:
        """What clients heard in place of an answer, and how often."""
        return Counter(heard.code or heard.broken or "half an answer" for heard in self.during if not heard.answered)

    @property
    def share(self) -> float:
        """Of those who came during the ailment, who was answered."""
        return sum(heard.answered for heard in self.during) / len(self.during)

    @property
    def open(self) -> list[Heard]:
        """Those who came once the circuit had opened."""
        return [heard for heard in self.during if self.opened and heard.sent > self.opened[0]]


class Ward:
    """`with Ward.open() as ward: await ward.cell(...)`."""

    def __init__(self, vendors: Simulator, house: Tollhouse) -> None:
        self.vendors, self.house = vendors, house

    @classmethod
    def open(cls, config: str = CONFIG) -> Self:
        """Start the processes."""
        vendors = Simulator.start(pace=PACE)
        try:
            return cls(vendors, Tollhouse.start(environ_of(vendors), config=config))
        except BaseException:
            vendors.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.house.stop()
        self.vendors.stop()

    def cure(self) -> None:
        """All vendors are well, and all circuits closed."""
        self.vendors.reset()
        for vendor in VENDORS:
            admin(self.house.url, f"/providers/health/{vendor}/reset", post=True)

    async def cell(self, ailment: Ailment | None, *, stream: bool, everyone: bool, rounds: int) -> list[Heard]:
        """Requests that all meet the ailment, or none, a few at once."""
        found: list[Heard] = []
        for _ in range(rounds):
            await asyncio.to_thread(self.cure)
            if ailment is not None:
                await asyncio.to_thread(ailment.strike, self.vendors, everyone=everyone)
            found += await come([self.house.url], [0.0] * AT_ONCE, stream=lambda _: stream)
        return found

    async def siege(self, ailment: Ailment, times: Sequence[float], *, healthy: float, rate: float) -> Siege:
        """Traffic at `times`; after so many `healthy` seconds the first candidate falls ill, and stays so."""
        forms, start = ailment.forms, time.time()
        traffic = asyncio.create_task(come([self.house.url], times, stream=lambda number: forms[number % len(forms)]))
        await asyncio.sleep(healthy)
        await asyncio.to_thread(ailment.strike, self.vendors)
        heard = await traffic
        fault = await asyncio.to_thread(self.vendors.faults)
        assert fault, "the ailment has been cured by somebody"
        lines = await self._lines(start, len(times))
        began = heard[0].sent - times[0] + healthy
        return Siege(
            ailment=ailment,
            rate=rate,
            began=began,
            before=[one for one in heard if one.sent < began],
            during=[one for one in heard if one.sent >= began + 0.1],  # the order to fail takes a moment
            met=sum(struck(line) for line in lines),
            opened=[at for at in turns(self.house, "circuit opened", provider=FIRST) if at > began],
            elsewhere=sum(line["event"] == "circuit opened" and line["provider"] != FIRST for line in self.house.logs),
        )

    async def _lines(self, start: float, count: int) -> list[dict[str, Any]]:
        """The log's lines of so many requests since a moment; the last ones may come a bit after the answers."""
        deadline = time.monotonic() + PATIENCE
        while len(lines := [line for line in self.house.logs if _is_request(line, start)]) < count:
            assert time.monotonic() < deadline, f"{len(lines)} lines of the log for {count} requests"
            await asyncio.sleep(0.05)  # looked at again, not waited blindly
        return lines


def _is_request(line: dict[str, Any], start: float) -> bool:
    return line["event"] == "request" and moment(line) >= start


def struck(line: dict[str, Any]) -> bool:
    """Whether the request of a line of the log met the fault."""
    return any(one["provider"] == FIRST and one["outcome"] != "ok" for one in line.get("attempts", ()))
