"""docs/reliability.md: the part of it that `make soak` writes, and its picture."""

import os
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import NamedTuple

from proxy.cost import dollars
from tests.bench.plot import Chart, Line, svg
from tests.reliability.soak_books import Books
from tests.reliability.soak_clients import LONGEST, SHORTEST
from tests.reliability.soak_watch import Moment, drift, settled


class Found(NamedTuple):
    """What came of a soak. `before` the load and `after` it: a look at the process; `deeds`: when what was done to
    Redis, in seconds since the beginning; `faults`: how many came and went."""

    seconds: float
    rate: float
    before: Moment
    moments: Sequence[Moment]
    after: Moment
    counts: Mapping[str, int]
    codes: Mapping[str, int]
    manners: Mapping[str, int]
    deeds: Sequence[tuple[float, str]]
    faults: int
    books: Books
    complaints: Sequence[str]


TEXT = """\
`make soak` wrote this part on {date}, {cores} cores, Python {python}: {seconds:g} seconds of everything at once against
one `tollhouse serve` on a core of its own, with a client key, budgets that are never used up, health, a log to a file,
metrics and a journal, on a Redis with an append-only file. {rate:g} clients a second come independently of each other;
prompts are of {shortest:,} to {longest:,} bytes, for three vendors, half of the answers streams. {faults} faults of
vendors came and went, each of the table above in turn, at one vendor or at all. Redis was stopped in the middle of a
word, restarted or killed {deeds} times; meanwhile requests are refused, because budgets apply
(`budget_store_unavailable`).

| clients | |
|---|--:|
{manners}

| what they heard | |
|---|--:|
{counts}

| | before | first third, median | last third, median | after | drift over the last two thirds | at most |
|---|--:|--:|--:|--:|--:|--:|
{growth}

“After” is when the load is over and nobody is waited for any more. Drift is the slope of Theil and Sen (the median of
the slopes between all pairs of seconds) times the length of that time; the first third is warm-up, in which caches of a
fixed size fill and the tokenizer is loaded. Memory may drift by {memory:g} MB, for arenas of the allocator come and go
in steps of a megabyte; that is {small:,.0f} bytes for each client of that time. Descriptors may drift by {descriptors}:
of {thousand:,} clients not one in {one_in:,} may leave one behind.

| the ledger | |
|---|--:|
| rows, one per attempt | {rows:,} |
| told by the vendors, and equal to the vendors' own ledger for each request | ${told} |
| rows that are marked as estimates: the client left, or the vendor broke off | {estimates:,} |
| estimated and booked there | ${estimated} |
| withheld as unproven there | ${unproven} |
| what the vendors bill there | ${billed} |

Complaints: {complaints}.

![Memory, descriptors, rate and errors over time](reliability/soak.svg)
"""

WORDS = {
    "answered": "an answer, each its own",
    "vendors": "an error because of vendors, before or within an answer",
    "store": "503 `budget_store_unavailable`, while Redis was away",
    "left": "left before the end",
    "crossed": "asked on a connection that ended at that moment, and nothing was heard",
    "unexpected": "another error",
    "broken": "a broken connection",
    "wrong": "a wrong answer",
}
# Megabytes, and descriptors, that the last two thirds may add.
MEMORY_DRIFT, DESCRIPTORS_DRIFT = 4.0, 10
_READ: Mapping[str, tuple[str, Callable[[Moment], float], float]] = {
    "memory (PSS)": ("{:.1f} MB", lambda moment: moment.pss, MEMORY_DRIFT),
    "memory (RSS)": ("{:.1f} MB", lambda moment: moment.rss, MEMORY_DRIFT),
    "descriptors, all": ("{:.0f}", lambda moment: sum(moment.descriptors.values()), DESCRIPTORS_DRIFT),
    "to clients": ("{:.0f}", lambda moment: moment.descriptors["clients"], DESCRIPTORS_DRIFT),
    "to vendors": ("{:.0f}", lambda moment: moment.descriptors["vendors"], DESCRIPTORS_DRIFT),
    "to Redis": ("{:.0f}", lambda moment: moment.descriptors["redis"], DESCRIPTORS_DRIFT),
    "files": ("{:.0f}", lambda moment: moment.descriptors["files"], DESCRIPTORS_DRIFT),
    "requests in flight": ("{:.0f}", lambda moment: moment.gauges.get("in_flight_requests", 0), DESCRIPTORS_DRIFT),
    "rows not delivered": ("{:.0f}", lambda moment: moment.gauges.get("journal_undelivered", 0), DESCRIPTORS_DRIFT),
}


def drifts(found: Found) -> Iterator[tuple[str, float, float]]:
    """What was watched, by how much it grew over the last two thirds, and by how much it may."""
    moments = settled(found.moments, found.seconds)
    for name, (_, value, most) in _READ.items():
        yield name, drift([(moment.at, value(moment)) for moment in moments]), most


def section(found: Found) -> str:
    """The text."""
    books, asked = found.books, sum(found.counts.values())
    late = max(1.0, asked * 2 / 3)
    return TEXT.format(
        date=date.today().isoformat(), cores=os.cpu_count(), python=platform.python_version(), seconds=found.seconds,
        rate=found.rate, shortest=SHORTEST, longest=LONGEST, faults=found.faults, deeds=len(found.deeds),
        manners="\n".join(f"| {name} | {count:,} |" for name, count in found.manners.items()),
        counts="\n".join(_heard(found)), growth="\n".join(_growth(found)), memory=MEMORY_DRIFT,
        small=MEMORY_DRIFT * 2**20 / late, descriptors=DESCRIPTORS_DRIFT, thousand=int(late),
        one_in=int(late / DESCRIPTORS_DRIFT), rows=books.rows, told=dollars(books.told), estimates=books.estimates,
        estimated=dollars(books.estimated), unproven=dollars(books.unproven), billed=dollars(books.billed),
        complaints="; ".join(found.complaints[:5]) or "none",
    )  # fmt: skip


def _heard(found: Found) -> Iterator[str]:
    yield from (f"| {said} | {found.counts.get(word, 0):,} |" for word, said in WORDS.items())
    for code, count in sorted(found.codes.items(), key=lambda pair: -pair[1]):
        yield f"| of the errors: `{code}` | {count:,} |"


def _growth(found: Found) -> Iterator[str]:
    early = [moment for moment in found.moments if moment.at < found.seconds / 3]
    late = [moment for moment in found.moments if moment.at >= found.seconds * 2 / 3]
    grown = {name: (by, most) for name, by, most in drifts(found)}
    for name, (form, value, _) in _READ.items():
        medians = [statistics.median(map(value, part)) if part else 0.0 for part in (early, late)]
        cells = [form.format(number) for number in (value(found.before), *medians, value(found.after))]
        by, most = grown[name]
        yield f"| {name} | {' | '.join(cells)} | {by:+.1f} | {most:+g} |"


def drawn(found: Found) -> str:
    """Four pictures over the seconds of the run."""
    moments = found.moments
    panels: Mapping[tuple[str, str], Mapping[str, Callable[[Moment], float]]] = {
        ("Memory", "MB"): {"PSS": lambda moment: moment.pss, "RSS": lambda moment: moment.rss},
        ("Open descriptors", "descriptors"): {
            "clients": lambda moment: moment.descriptors["clients"],
            "vendors": lambda moment: moment.descriptors["vendors"],
            "Redis": lambda moment: moment.descriptors["redis"],
            "files and others": lambda moment: moment.descriptors["files"] + moment.descriptors["others"],
        },
        ("In flight, and rows that wait for Redis", "requests, rows"): {
            "in flight": lambda moment: moment.gauges.get("in_flight_requests", 0),
            "rows": lambda moment: moment.gauges.get("journal_undelivered", 0),
        },
    }
    charts = [
        Chart(title, "second", unit, [Line(name, [(m.at, value(m)) for m in moments]) for name, value in of.items()])
        for (title, unit), of in panels.items()
    ]
    heard = {"Answers": ("answered", "left"), "Errors": ("vendors", "store", "wrong", "broken")}
    charts += [
        Chart(title, "second", "a second", [Line(word, rates(moments, word)) for word in words])
        for title, words in heard.items()
    ]
    return svg(*charts)


def rates(moments: Sequence[Moment], word: str) -> list[tuple[float, float]]:
    """How often a second that was heard, from one look to the next."""
    return [
        (after.at, (after.counts.get(word, 0) - before.counts.get(word, 0)) / max(0.1, after.at - before.at))
        for before, after in pairwise(moments)
    ]
