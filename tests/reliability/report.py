"""docs/reliability.md: what was measured, in words and tables."""

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path

from tests.reliability.ailments import FIRST, HANG
from tests.reliability.crowd import Heard, percentile
from tests.reliability.ward import AT_ONCE, COOLDOWN, Cell, Siege

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
SOAK = DOCUMENT.with_suffix("") / "soak.md"  # what stands between the markers: `make soak` writes it, not we
PROMISED = 0.9999  # of all requests are answered, whatever one vendor does

INTRODUCTION = """\
# Reliability

What clients notice when a vendor fails, in each way that the simulator knows. `make faults` wrote this page, with real
processes and real sockets: a tollhouse, three simulated vendors, and clients that do not wait for one another.
`make faults ARGS='--seconds 10'` is the quick form; `ARGS=--help` lists the rest. Another machine gives other
milliseconds and the same verdicts.
"""

MEANING = """\
All requests are for one model of the provider `{first}`; two others have equivalents. The simulated vendors answer at
once, so a time here is what tollhouse and the fault add, and nothing else. "Added" is the difference to the same
percentile without a fault, measured by the same clients on the same processes; a few milliseconds either way are noise
of a machine that does all of it at once. Times are to the first byte of the answer's body.
"""

EACH = """\
## Each fault, once

Each request met the fault: circuits were closed again after {at_once} requests. With the fault at the first candidate a
client should notice nothing but time; with the fault at all three it should hear the right error, in OpenAI's words.
A vendor that says nothing is given {hang:g} seconds here (`timeouts`); the default is 60, and 300 for whole answers.
"""

LATE = """\
A stream that breaks after its first part cannot be answered by somebody else: the client has heard something already.
It hears an error event and no `[DONE]`, so that half an answer never looks like a whole one. Opening words (a role, an
empty text) are kept back until something is said, so that they do not count as a first part.
"""

LONG = """\
## One vendor ill for {seconds:g} seconds

{rate:g} requests a second, half of them streams; {healthy:g} healthy seconds first, which "added" is measured against.
Cooldowns begin with {cooldown} seconds here instead of 300, so that probes of the vendor that is still ill are part of
it. "Met" counts requests that the fault struck before somebody else answered them; "once open" are those that came
after the circuit had opened for the first time, probes among them.
"""

NOT_REPLACED = """\
Streams alone, broken after their first part: those who met the fault heard an error, until the circuit opened.
"""

SOAKED = """\
## Everything at once, for long

<!-- soak -->
{soak}
<!-- /soak -->
"""


def page(
    cells: Sequence[tuple[Cell, Sequence[Heard]]], sieges: Sequence[Siege], *, seconds: float, healthy: float
) -> str:
    """The whole document. With each cell: what the same requests came to without a fault."""
    usual = max((siege.rate for siege in sieges), default=0.0)
    parts = [
        INTRODUCTION,
        MEANING.format(first=FIRST),
        _circumstances(),
        EACH.format(at_once=AT_ONCE, hang=HANG),
        _table(_each(pair for pair in cells if not pair[0].ailment.late)),
        LATE,
        _table(_each_late(cell for cell, _ in cells if cell.ailment.late)),
        LONG.format(seconds=seconds, rate=usual, healthy=healthy, cooldown=COOLDOWN),
        _table(_long(siege for siege in sieges if not siege.ailment.late)),
        *_footnotes(sieges, usual),
        NOT_REPLACED,
        _table(_long(siege for siege in sieges if siege.ailment.late)),
        SOAKED.format(soak=SOAK.read_text(encoding="utf-8").strip() if SOAK.exists() else ""),
    ]
    return "\n".join(parts)


def _circumstances() -> str:
    cores, version = os.cpu_count(), platform.python_version()
    return f"Measured on {date.today().isoformat()}, {cores} cores for all processes together, Python {version}.\n"


def _footnotes(sieges: Sequence[Siege], usual: float) -> Iterator[str]:
    if slow := [siege for siege in sieges if siege.rate != usual]:
        said = "; ".join(f"“{siege.ailment.name}”: {siege.rate:g} a second" for siege in slow)
        yield f"Fewer requests, because the simulator writes each byte by itself: {said}.\n"


def _each(cells: Iterable[tuple[Cell, Sequence[Heard]]]) -> Iterator[Sequence[str]]:
    yield ("fault", "form", "first candidate", "added p50", "added p99", "all candidates")
    pairs = list(cells)
    everyone = {(cell.ailment.name, cell.stream): cell for cell, _ in pairs if cell.everyone}
    for cell, plain in pairs:
        if cell.everyone:
            continue
        firsts, usual = _firsts(cell.heard), _firsts(plain)
        added = [_added(percentile(firsts, part), percentile(usual, part)) for part in (0.5, 0.99)]
        form = "stream" if cell.stream else "whole"
        other = everyone.get((cell.ailment.name, cell.stream))
        yield (cell.ailment.name, form, _verdict(cell, "answered"), *added, _outcome(other) if other else "")


def _each_late(cells: Iterable[Cell]) -> Iterator[Sequence[str]]:
    yield ("fault", "clients", "hear", "after")
    for cell in cells:
        if not cell.everyone:
            wait = percentile((heard.total for heard in cell.heard), 0.5)
            yield (cell.ailment.name, _verdict(cell, "right"), _codes(cell.heard), _milliseconds(wait))


def _verdict(cell: Cell, word: str) -> str:
    return f"{len(cell.heard) - len(cell.wrong)}/{len(cell.heard)} {word}"


def _outcome(cell: Cell) -> str:
    return f"{_codes(cell.heard)}{'' if not cell.wrong else f', {len(cell.wrong)} wrong'}"


def _codes(heard: Sequence[Heard]) -> str:
    seen = dict.fromkeys(f"{one.status} `{one.code}`" if one.code else "answered" for one in heard)
    return ", ".join(seen)


def _long(sieges: Iterable[Siege]) -> Iterator[Sequence[str]]:
    yield ("fault", "answered", "met", "openings", "added p99 once open", "added p99 in all", "longest")
    for siege in sieges:
        usual = percentile(_firsts(siege.before), 0.99)
        during = _firsts(siege.during)
        answered = sum(heard.answered for heard in siege.during)
        errors = ", ".join(f"{count} `{code}`" for code, count in siege.unanswered.most_common())
        yield (
            siege.ailment.name,
            f"{answered}/{len(siege.during)} = {_percent(siege.share)}{f'; {errors}' if errors else ''}",
            str(siege.met),
            f"{len(siege.opened)}{f', {siege.elsewhere} elsewhere' if siege.elsewhere else ''}",
            _added(percentile(_firsts(siege.open), 0.99), usual),
            _added(percentile(during, 0.99), usual),
            _milliseconds(max(during, default=None)),
        )


def _firsts(heard: Iterable[Heard]) -> list[float]:
    return [one.first for one in heard if one.first is not None]


def _percent(share: float) -> str:
    return "100 %" if share == 1 else f"{int(share * 100_000) / 1000:.3f} %"


def _added(value: float | None, usual: float | None) -> str:
    return "" if value is None or usual is None else _milliseconds(max(0.0, value - usual))


def _milliseconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.2f} s"


def _table(rows: Iterable[Sequence[str]]) -> str:
    head, *others = rows
    lines = [head, ["---"] * len(head), *others]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
