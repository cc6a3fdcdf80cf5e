"""`make faults`: every fault against real processes, once and for long, and docs/reliability.md from what came of it.

Exits with 1 if anybody heard what they should not have heard. Times are written down, not judged.
"""

import argparse
import asyncio
import gc
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from tests.reliability.ailments import AILMENTS, Ailment
from tests.reliability.crowd import Heard, arrivals, come, traced
from tests.reliability.report import PROMISED, page
from tests.reliability.ward import Cell, Siege, Ward

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
SEED = 20261123  # the same arrivals in each run
ROUNDS = 5  # of requests for each cell; fewer in a quick run
CELL_LANES = 6  # ailments side by side for the cells, which mostly wait
HEALTHY = 10  # as a divisor: the part of a long run before the ailment
T = TypeVar("T")
Measured = tuple[Cell, Sequence[Heard]]


class Progress:
    """Lines on standard error, with the time since the start."""

    def __init__(self, out: Callable[[str], object] = lambda text: print(text, file=sys.stderr, flush=True)) -> None:
        self._out, self._began = out, time.monotonic()

    def say(self, text: str) -> None:
        self._out(f"{time.monotonic() - self._began:6.0f} s  {text}")


async def in_waves(width: int, ailments: Sequence[Ailment], job: Callable[[Ailment, Ward], Awaitable[T]]) -> list[T]:
    """The job for each ailment, so many at once, each with processes of its own; in the order of the ailments.

    All of a wave start together, and are warm before anything is measured: the start of a process costs a core for a
    second, which the others would notice.
    """
    found: list[T] = []
    for start in range(0, len(ailments), width):
        wave = ailments[start : start + width]
        with ExitStack() as stack:
            wards = [stack.enter_context(await asyncio.to_thread(Ward.open)) for _ in wave]
            for ward in wards:
                await come([ward.house.url], [number / 100 for number in range(100)])
            gc.collect()
            found += await asyncio.gather(*map(job, wave, wards))
    return found


async def cells(ailment: Ailment, ward: Ward, *, rounds: int, progress: Progress) -> list[Measured]:
    """An ailment at the first candidate and at all, for whole answers and for streams."""
    found: list[Measured] = []
    for stream in ailment.forms:
        plain = await ward.cell(None, stream=stream, everyone=False, rounds=rounds)
        for everyone in (False, True):
            turns = 1 if everyone else rounds
            heard = await ward.cell(ailment, stream=stream, everyone=everyone, rounds=turns)
            found.append((Cell(ailment=ailment, stream=stream, everyone=everyone, heard=heard), plain))
    wrong = sum(len(cell.wrong) for cell, _ in found)
    progress.say(f"each: {ailment.name}: {f'{wrong} WRONG' if wrong else 'as it should be'}")
    return found


async def siege(ailment: Ailment, ward: Ward, *, given: argparse.Namespace, progress: Progress) -> Siege:
    """The long run of one ailment."""
    rate = ailment.rate or given.rate
    healthy = given.seconds / HEALTHY
    seconds = given.seconds + healthy
    times = traced(given.trace, seconds, rate) if given.trace else arrivals(seconds, rate, random.Random(SEED))
    await asyncio.to_thread(ward.cure)
    found = await ward.siege(ailment, times, healthy=healthy, rate=rate)
    said = f"{found.share:.4%} of {len(found.during)} answered, {found.met} met it, {len(found.opened)} openings"
    progress.say(f"long: {ailment.name}: {said}{f', {dict(found.unanswered)}' if found.unanswered else ''}")
    return found


def complaints(measured: Sequence[Measured], sieges: Sequence[Siege]) -> Iterator[str]:
    """What should not have been."""
    for cell, _ in measured:
        if wrong := cell.wrong:
            place = (
                f"{cell.ailment.name}, {'stream' if cell.stream else 'whole'}, {'all' if cell.everyone else 'first'}"
            )
            one = wrong[0]
            heard = f"{one.status} {one.code} {one.broken} {one.message}"
            yield f"{place}: {len(wrong)} of {len(cell.heard)} wrong: {heard}"
    for long in sieges:
        if not long.ailment.late and long.share < PROMISED:
            yield f"{long.ailment.name}: {long.share:.4%} answered: {dict(long.unanswered)}"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each long run (default: 60)")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second in a long run (default: 50)")
    parser.add_argument("--lanes", type=int, default=3, help="long runs side by side (default: 3)")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="ailments whose name has this word")
    parser.add_argument("--trace", type=Path, help="a CSV that says when clients come, made to fit --rate")
    parser.add_argument("--output", type=Path, default=DOCUMENT, help="where to write (default: docs/reliability.md)")
    return parser.parse_args(words)


async def measure(given: argparse.Namespace, progress: Progress) -> int:
    """Everything; how many complaints there were."""
    chosen = [one for one in AILMENTS if not given.only or any(word in one.name for word in given.only)]
    rounds = max(1, min(ROUNDS, int(given.seconds // 10)))
    measured = await in_waves(CELL_LANES, chosen, partial(cells, rounds=rounds, progress=progress))
    sieges = await in_waves(given.lanes, chosen, partial(siege, given=given, progress=progress))
    flat = [pair for found in measured for pair in found]
    text = page(flat, sieges, seconds=given.seconds, healthy=given.seconds / HEALTHY)
    given.output.write_text(text, encoding="utf-8")
    found = list(complaints(flat, sieges))
    for line in found:
        progress.say(f"WRONG: {line}")
    progress.say(f"{given.output.name} is written; {len(found)} complaints")
    return len(found)


def main() -> None:
    """Measure, write, and say whether all is well."""
    sys.exit(1 if asyncio.run(measure(arguments(), Progress())) else 0)


if __name__ == "__main__":
    main()
