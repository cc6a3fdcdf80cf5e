"""One run of a benchmark: who is started, in which order all are measured, and what was found."""

import asyncio
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tests.bench.cases import CASES
from tests.bench.installation import NotInstalledError
from tests.bench.peers import SUBJECTS
from tests.bench.process import Cores
from tests.bench.stage import Actor, Measured, Vendors, actor, crowded, direct, steady

STARTS = 3  # of each subject; of one that takes longer than this many seconds, once
SLOW = 4.0
REST = 1.0  # seconds after the first answer until memory is looked at
TIMED = ("plain", "stream")  # the cases whose times are taken at a low rate
DIRECT = "direct"
Cell = tuple[str, str]  # case, subject


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for. Seconds of each measurement; `steady` of one at a low rate, 0: none."""

    cases: Sequence[str]
    subjects: Sequence[str]
    rounds: int = 3
    seconds: float = 1.5
    steady: float = 4.0
    connections: int = 32


@dataclass(frozen=True, slots=True)
class Times:
    """Of one measurement at a low rate, in milliseconds: of whole answers, and until their first byte of body."""

    p50: float
    p99: float
    first50: float
    first99: float

    @classmethod
    def of(cls, found: Measured) -> "Times":
        whole, first = found.tally.whole, found.tally.first
        ranks = (percentile(whole, 0.5), percentile(whole, 0.99), percentile(first, 0.5), percentile(first, 0.99))
        return cls(*(value * 1e3 for value in ranks))


@dataclass(slots=True)
class Figures:
    """All that was found; lists have one entry a round."""

    versions: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    starts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    idle: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    loaded: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    micros: dict[Cell, list[float]] = field(default_factory=lambda: defaultdict(list))
    rates: dict[Cell, list[float]] = field(default_factory=lambda: defaultdict(list))
    store: dict[Cell, list[float]] = field(default_factory=lambda: defaultdict(list))
    times: dict[Cell, list[Times]] = field(default_factory=lambda: defaultdict(list))
    answers: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def micro(self, case: str, name: str) -> float | None:
        """Microseconds of processor time a request: the median of the rounds."""
        found = self.micros.get((case, name))
        return statistics.median(found) if found else None

    def added(self, case: str, name: str, figure: str) -> float | None:
        """Milliseconds more than the direct way takes: the median of the rounds, each against its own direct way."""
        there, here = self.times.get((case, name)), self.times.get((case, DIRECT))
        if not there or not here:
            return None
        gaps: list[float] = [
            getattr(one, figure) - getattr(other, figure) for one, other in zip(there, here, strict=True)
        ]
        return statistics.median(gaps)

    def json(self) -> dict[str, Any]:
        """For a file: cells are `case subject`."""
        whole: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in ("micros", "rates", "store"):
            whole[name] = {" ".join(cell): found for cell, found in whole[name].items()}
        times = {" ".join(cell): [asdict(one) for one in found] for cell, found in self.times.items()}
        return {**whole, "times": times}


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank; 0 if there is nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Run:
    """Carries out a plan; says on standard error what it does."""

    def __init__(self, plan: Plan, cores: Cores, mock: Vendors, stack: ExitStack) -> None:
        self.plan, self.cores, self.mock = plan, cores, mock
        self.figures = Figures()
        self.actors: list[Actor] = []
        self._stack = stack
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.0f} s  {text}", file=sys.stderr, flush=True)

    async def everything(self) -> Figures:
        """Starts one by one; then all in turns. While one runs, all others stand still."""
        for name in self.plan.subjects:
            await self._open(name)
        for turn in range(self.plan.rounds):
            for case in self.plan.cases:
                await self._busy(turn, case)
        for turn in range(self.plan.rounds if self.plan.steady else 0):
            for case in TIMED:
                if case in self.plan.cases:
                    await self._calm(turn, case)
        self.figures.seconds = time.monotonic() - self._began
        return self.figures

    async def _open(self, name: str) -> None:
        """Install it, start it some times, and let it run. Its memory is that of a process that runs alone."""
        figures, subject = self.figures, SUBJECTS[name]
        try:
            installed = await asyncio.to_thread(subject.install)
            one = self._stack.enter_context(actor(name, subject, installed, self.mock, self.cores))
            figures.versions[name] = installed.version
            for last in (number == STARTS for number in range(1, STARTS + 1)):
                figures.starts[name].append(await one.begin())
                await asyncio.sleep(REST)
                figures.idle[name].append(one.memory())
                if last or figures.starts[name][-1] > SLOW:
                    break
                one.end()
        except NotInstalledError as error:
            figures.left_out[name] = str(error)
            self.say(f"{name}: left out: {error}")
            return
        one.sleep()
        self.actors.append(one)
        starts = " ".join(f"{start:.2f}" for start in figures.starts[name])
        self.say(f"{name} {figures.versions[name]}: {starts} s to the first answer, {figures.idle[name][-1]:.1f} MB")

    def _order(self, turn: int) -> list[Actor]:
        """Somebody else first in each round, and back to front in every other one."""
        begin = turn % max(1, len(self.actors))
        order = self.actors[begin:] + self.actors[:begin]
        return order[::-1] if turn % 2 else order

    async def _busy(self, turn: int, case: str) -> None:
        for one in self._order(turn):
            assert one.subject is not None
            if case not in one.subject.cases:
                continue
            with one.awake():
                found = await crowded(one, CASES[case], self.mock, self.plan.connections, self.plan.seconds)
            cell = (case, one.name)
            good = max(1, found.tally.good)
            self.figures.micros[cell].append(found.micros)
            self.figures.rates[cell].append(good / found.seconds)
            self.figures.store[cell].append(found.store / good * 1e6)
            self.figures.loaded[one.name] = max(self.figures.loaded[one.name], one.memory())
            busy = found.cpu / found.seconds
            self.say(f"{case:17}{one.name:16}{found.micros:9.1f} us {good / found.seconds:8.0f}/s {busy:5.0%} busy")
            self._book(case, one, found)

    async def _calm(self, turn: int, case: str) -> None:
        for one in [direct(self.mock), *self._order(turn)]:
            if one.subject and (one.subject.like or case not in one.subject.cases):
                continue
            rate = one.subject.rate if one.subject else 50.0
            with one.awake():
                found = await steady(one, CASES[case], self.mock, self.plan.steady, rate)
            times = Times.of(found)
            self.figures.times[case, one.name].append(times)
            self.say(f"{case:17}{one.name:16}{times.p50:9.2f} ms p50 {times.p99:8.2f} p99 {times.first50:8.2f} first")
            self._book(case, one, found)

    def _book(self, case: str, one: Actor, found: Measured) -> None:
        self.figures.answers += found.tally.good
        for fault in found.faults:
            self.figures.faults.append(f"{case}, {one.name}: {fault}")
            self.say(f"    WRONG: {fault}")
