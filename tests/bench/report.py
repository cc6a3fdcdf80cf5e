"""What came of a run, as Markdown: what had to be reached, and the tables."""

import os
import platform
import re
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.bench.cases import CASES, PROMISED
from tests.bench.interpreter import quickest
from tests.bench.peers import SUBJECTS
from tests.bench.rounds import Figures, Plan
from tests.redis_server import NoRedisServer, find_redis_server

OURS, LIMIT = "tollhouse-redis", "nginx"
NOTHING = "\N{EN DASH}"
TIMES_LESS, OF_THEIRS = "{:.0f} \N{MULTIPLICATION SIGN} less", "{:.2f} \N{MULTIPLICATION SIGN} theirs"
Reading = Callable[[Figures], float | None]


@dataclass(frozen=True, slots=True)
class Must:
    """A line of what had to be reached. `up`: more is better."""

    title: str
    read: Reading
    must: float
    aim: float
    form: str
    up: bool = False

    def line(self, figures: Figures) -> str:
        found = self.read(figures)
        sign = "≥" if self.up else "≤"
        told = f"| {self.title} | {sign} {self.form.format(self.must)} | {sign} {self.form.format(self.aim)} |"
        if found is None:
            return f"{told} {NOTHING} | not measured |"
        verdict = "**not held**"
        for bar, word in ((self.must, "held"), (self.aim, "held, and the aim")):
            if found >= bar if self.up else found <= bar:
                verdict = word
        return f"{told} {self.form.format(found)} | {verdict} |"


def ratio(figures: Figures, case: str, one: str, other: str) -> float | None:
    """How many times the processor time of `other` a request costs `one`."""
    here, there = figures.micro(case, one), figures.micro(case, other)
    return here / there if here and there else None


def _times_limit(case: str) -> Reading:
    return lambda figures: ratio(figures, case, OURS, LIMIT)


def _worst(pairs: Callable[[Figures], Iterator[float | None]], pick: Callable[[list[float]], float]) -> Reading:
    def read(figures: Figures) -> float | None:
        found = [value for value in pairs(figures) if value is not None]
        return pick(found) if found else None

    return read


def _against(name: str) -> Reading:
    """How many times less we cost than this one, where it is least."""
    return _worst(lambda figures: (ratio(figures, case, name, OURS) for case in PROMISED), min)


def _against_compiled(*, like: bool) -> Reading:
    """What part of theirs we cost, where it is most."""
    names = [name for name, subject in SUBJECTS.items() if subject.compiled and subject.like is like]
    return _worst(lambda figures: (ratio(figures, case, OURS, name) for case in PROMISED for name in names), max)


def _median(values: Sequence[float] | None) -> float | None:
    return statistics.median(values) if values else None


MUSTS = (
    Must("200 B prompt", _times_limit("plain"), 9, 5, "{:.1f} \N{MULTIPLICATION SIGN} nginx"),
    Must("50 KB prompt", _times_limit("long"), 6, 4, "{:.1f} \N{MULTIPLICATION SIGN} nginx"),
    Must("stream of 64 chunks", _times_limit("stream"), 3.5, 2, "{:.1f} \N{MULTIPLICATION SIGN} nginx"),
    Must(
        "Anthropic translation",
        _times_limit("anthropic"),
        9,
        5,
        "{:.1f} \N{MULTIPLICATION SIGN} nginx with the same bytes",
    ),
    Must(
        "the same, streamed",
        _times_limit("anthropic-stream"),
        5,
        3,
        "{:.1f} \N{MULTIPLICATION SIGN} nginx with the same bytes",
    ),
    Must("added p50 at a low rate", lambda figures: figures.added("plain", OURS, "p50"), 2, 1, "{:.2f} ms"),
    Must("idle memory", lambda figures: _median(figures.idle.get(OURS)), 70, 45, "{:.1f} MB"),
    Must("start to first answer", lambda figures: _median(figures.starts.get(OURS)), 1.5, 0.8, "{:.2f} s"),
    Must("against LiteLLM with the same on, the worst case", _against("litellm-like"), 60, 100, TIMES_LESS, up=True),
    Must("against LiteLLM with nothing on, the worst case", _against("litellm"), 60, 100, TIMES_LESS, up=True),
    Must("against compiled peers with the same on, the worst case", _against_compiled(like=True), 1, 0.5, OF_THEIRS),
    Must("against compiled peers with nothing on, the worst case", _against_compiled(like=False), 1, 0.5, OF_THEIRS),
)


def machine() -> dict[str, str]:
    """What it was measured on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
    packages = ("uvloop", "httptools", "uvicorn", "litestar", "msgspec", "redis", "granian", "pyreqwest")
    return {
        "processor": f"{model[1] if model else platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{int(memory[1]) / 2**20:.0f} GB" if memory else "unknown",
        "system": f"Linux {'.'.join(platform.release().split('.')[:2])}",
        "Python": f"{quickest().version}, and {platform.python_version()} for what measures",
        "Redis": _redis(),
        "packages": ", ".join(f"{name} {found}" for name in packages if (found := _version(name))),
        "load before the run": f"{os.getloadavg()[0]:.2f}",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return ""


def _redis() -> str:
    try:
        said = subprocess.run([find_redis_server(), "--version"], capture_output=True, text=True, check=False).stdout
    except NoRedisServer:
        return "none"
    found = re.search(r"v=(\S+)", said)
    return found[1] if found else "unknown"


def text(figures: Figures, plan: Plan, machine: dict[str, str]) -> str:
    """All of it."""
    present = [name for name in plan.subjects if name in figures.versions]
    parts = [_told(figures, plan, machine), _musts(figures), _processor(figures, plan, present)]
    parts += [_ratios(figures, plan, present, other) for other in (LIMIT, OURS) if other in present]
    parts += [_calm(figures, present)] if figures.times else []
    parts += [_size(figures, present), _who(figures, present)]
    return "\n\n".join(parts)


def _told(figures: Figures, plan: Plan, machine: dict[str, str]) -> str:
    on = "; ".join(f"{name}: {value}" for name, value in machine.items())
    faults = (
        f"**{len(figures.faults)} faults**" if figures.faults else "none was wrong, and the vendors counted the same"
    )
    return (
        f"{on}. {plan.rounds} rounds of {plan.seconds:g} s with {plan.connections} connections; the whole run took "
        f"{figures.seconds / 60:.1f} minutes. {figures.answers:,} answers were checked: {faults}."
    )


def _musts(figures: Figures) -> str:
    rows = [must.line(figures) for must in MUSTS]
    return "\n".join(
        ["### What had to be reached", "", "| | must | aim | measured | |", "|---|---|---|---|---|", *rows]
    )


def _grid(title: str, heads: Sequence[str], rows: Iterator[list[str]]) -> str:
    lines = [f"### {title}", "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _processor(figures: Figures, plan: Plan, present: Sequence[str]) -> str:
    def rows() -> Iterator[list[str]]:
        for name in present:
            yield [SUBJECTS[name].title, *(_spread(figures.micros.get((case, name))) for case in plan.cases)]

    heads = ["", *(CASES[case].title for case in plan.cases)]
    return _grid("Processor time: µs a request (median of the rounds, ± half of their spread)", heads, rows())


def _spread(found: Sequence[float] | None) -> str:
    if not found:
        return NOTHING
    middle = statistics.median(found)
    digits = 1 if middle < 100 else 0
    half = (max(found) - min(found)) / 2
    return f"{middle:,.{digits}f} ± {half:,.{digits}f}" if len(found) > 1 else f"{middle:,.{digits}f}"


def _ratios(figures: Figures, plan: Plan, present: Sequence[str], other: str) -> str:
    def rows() -> Iterator[list[str]]:
        for name in present:
            found = (ratio(figures, case, name, other) for case in plan.cases)
            yield [
                SUBJECTS[name].title,
                *(NOTHING if one is None else f"{one:,.{2 if one < 10 else 0}f}" for one in found),
            ]

    heads = ["", *(CASES[case].title for case in plan.cases)]
    return _grid(f"The same as multiples of {SUBJECTS[other].title}", heads, rows())


def _calm(figures: Figures, present: Sequence[str]) -> str:
    columns = (("plain", "p50"), ("plain", "p99"), ("stream", "first50"), ("stream", "first99"))

    def rows() -> Iterator[list[str]]:
        for name in present:
            if not any(figures.times.get((case, name)) for case, _ in columns):
                continue  # whose times were not taken: with the same on, they add more
            found = (figures.added(case, name, figure) for case, figure in columns)
            rate = f"{SUBJECTS[name].rate:.0f}/s"
            yield [SUBJECTS[name].title, rate, *(NOTHING if one is None else f"{one:.2f}" for one in found)]

    heads = ["", "rate", "p50", "p99", "first chunk p50", "first chunk p99"]
    return _grid("Time added to the direct way at a low rate: ms", heads, rows())


def _size(figures: Figures, present: Sequence[str]) -> str:
    def rows() -> Iterator[list[str]]:
        for name in present:
            start, idle = _median(figures.starts[name]) or 0.0, _median(figures.idle[name]) or 0.0
            stored = [one for (_, who), found in figures.store.items() if who == name for one in found]
            store = f"{statistics.median(stored):.0f}" if SUBJECTS[name].redis and stored else NOTHING
            yield [SUBJECTS[name].title, f"{idle:.1f}", f"{figures.loaded[name]:.1f}", f"{start:.2f}", store]

    heads = ["", "idle: MB (PSS)", "loaded: MB", "start to first answer: s", "Redis besides: µs a request"]
    return _grid("Memory and start", heads, rows())


def _who(figures: Figures, present: Sequence[str]) -> str:
    rows = [f"- {SUBJECTS[name].title} {figures.versions[name]}: {SUBJECTS[name].about}." for name in present]
    rows += [f"- {SUBJECTS[name].title}: left out: {why}" for name, why in figures.left_out.items()]
    return "\n".join(["### Who was measured, and how each was set up", "", *rows])
