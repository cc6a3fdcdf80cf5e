"""`tollhouse explain MODEL`: who would be asked now, in which order, and why. Nothing is sent.

It chooses as the gate does, by the health that the replicas share. What each replica knows for itself is not known
here: its requests in flight, its own way to a provider, and how long its callers' answers are.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

import msgspec

from adapters.base import Failure
from adapters.completion import encode
from proxy.aliases import rows_of
from proxy.catalog import Route
from proxy.chooser import Chooser
from proxy.cost import dollars
from proxy.decisions import out_json
from proxy.fleet import Fleet
from proxy.habits import Habits
from proxy.health import Standing
from proxy.pricebook import Pricebook
from proxy.routing import Candidate, Choice, Need
from proxy.routing.strategies import expected_cost
from proxy.settings import Settings
from proxy.stats import iso
from proxy.store import Store, StoreError, open_store
from proxy.vitals import standing_json

ROLLS = 1_000  # how often the dice are thrown, to see whether they decide
_FILE = "tollhouse.db"  # of the embedded store, in the data directory
_BEYOND = 1 << 53  # a serial number that the board never comes to
_GAP = "  "

Json = dict[str, Any]


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """What would be chosen `at` a time (milliseconds since the epoch).

    `firsts`: by name, the part of all requests that would go there first: more than one name if the dice decide.
    `queue`: seconds that a request waits at most if all who could serve are rate limited.
    """

    asked: str
    at: int
    strategy: str
    route: Route
    need: Need
    choice: Choice
    firsts: Mapping[str, float]
    queue: float
    notes: tuple[str, ...] = ()

    @property
    def dice(self) -> bool:
        """Whether two requests that are the same may go to different places."""
        return len(self.firsts) > 1


def run(settings: Settings, asked: str, need: Need, *, as_json: bool) -> int:
    """Print it. The exit code: 0, or 2 if nobody can serve that name."""
    try:
        found = asyncio.run(explain(settings, asked, need))
    except Failure as failure:
        print(f"tollhouse: {failure.message}", file=sys.stderr)
        return 2
    text = msgspec.json.format(encode(to_json(found))).decode() if as_json else "\n".join(lines(found))
    print(text)
    return 0


async def explain(settings: Settings, asked: str, need: Need) -> Explained:
    """Choose as the gate would. A `Failure` (404, 503) if nobody can serve that name."""
    replica = f"explain-{os.urandom(4).hex()}"
    redis_url = settings.redis_url.reveal() if settings.redis_url else None
    store = open_store(redis_url, settings.data_dir, replica)
    fleet = Fleet(store, settings.health, replica=replica, clock=time.monotonic, wall=time.time)
    chooser = _chooser(settings, fleet)
    route = chooser.route(asked)
    try:
        wrong = await _opened(store, settings)
        if wrong is None:
            await fleet.exchange.join()  # to read once is enough: nobody tells, and nobody listens
        return _explained(chooser, route, asked, need, settings.retries.queue, [wrong] if wrong else [])
    finally:
        await fleet.close()
        await store.close()


def _chooser(settings: Settings, fleet: Fleet) -> Chooser:
    return Chooser(
        book=Pricebook(settings.catalog, rows_of(settings.providers)),
        fleet=fleet,
        habits=Habits(),
        strategy=settings.strategy,
        tasks=settings.tasks,
        groups=settings.groups,
        primary=settings.primary,
        fallback=settings.fallback,
        rng=Random(0),
    )


async def _opened(store: Store, settings: Settings) -> str | None:
    """What is wrong with the store, if anything is. One that is not there yet is not made."""
    if settings.redis_url is None and not (settings.data_dir / _FILE).exists():
        return f"There is no store in {settings.data_dir} yet: nothing is known of anybody's health."
    try:
        await store.open()
        await store.notices(_BEYOND)
    except StoreError as error:
        return f"The store cannot be reached ({error}): nothing is known of anybody's health."
    return None


def _explained(chooser: Chooser, route: Route, asked: str, need: Need, queue: float, notes: Sequence[str]) -> Explained:
    """The choice that is made most often; without dice, the one that is always made."""
    at, strategy = chooser.fleet.now(), chooser.named(route)
    candidates = chooser.candidates(route, need, caller="", when=at // 1_000)
    rolled = [_rolled(chooser, seed, route, need, candidates) for seed in range(ROLLS)]
    orders = [tuple(candidate.name for candidate in choice.order) for choice in rolled]
    usual, _ = Counter(orders).most_common(1)[0]
    firsts = Counter(order[0] for order in orders if order)
    if strategy == "load_balance":
        notes = [*notes, "Requests in flight are each replica's own; none are counted here."]
    return Explained(
        asked=asked,
        at=at,
        strategy=strategy,
        route=route,
        need=need,
        choice=rolled[orders.index(usual)],
        firsts={name: times / ROLLS for name, times in firsts.most_common()},
        queue=queue,
        notes=tuple(notes),
    )


def _rolled(chooser: Chooser, seed: int, route: Route, need: Need, candidates: Sequence[Candidate]) -> Choice:
    return msgspec.structs.replace(chooser, rng=Random(seed)).choose(route, need, candidates)


def to_json(found: Explained) -> Json:
    """All of it, for machines. Money as a decimal of dollars, moments in ISO 8601."""
    choice, group = found.choice, found.route.group
    return {
        "model": found.asked,
        "at": iso(found.at),
        "strategy": found.strategy,
        "group": group.name if group else None,
        "task": found.need.task,
        "tokens": found.need.prompt,
        "stream": found.need.stream,
        "order": [_candidate_json(candidate, found) for candidate in choice.order],
        "out": [out_json(out) for out in choice.out],
        "least_bad": choice.least_bad,
        "wait_until": None if choice.wait is None else iso(choice.wait),
        "dice": found.dice,
        "notes": list(found.notes),
        "conclusion": conclusion(found),
    }


def _candidate_json(candidate: Candidate, found: Explained) -> Json:
    nano = expected_cost(candidate, found.need)
    return {
        "name": candidate.name,
        "expected_cost_usd": None if nano is None else dollars(nano),
        "expected_output_tokens": round(candidate.expected.output),
        "asked_first": found.firsts.get(candidate.name, 0.0),
        "stand_in": candidate.stand_in,
        "standing": standing_json(candidate.standing),
    }


def lines(found: Explained) -> Iterator[str]:
    """All of it, for people."""
    task = f", task {found.need.task}" if found.need.task else ""
    group = f", group {found.route.group.name}" if found.route.group else ""
    size = f"{found.need.prompt:,} tokens in{', streamed' if found.need.stream else ''}"
    yield f"{found.asked}: strategy {found.strategy}{group}{task}; {size}; {iso(found.at)}"
    yield from found.notes
    if found.choice.order:
        yield ""
        head = ("", "candidate", "expected cost", "state", "first part", *(["asked first"] if found.dice else []))
        yield from _table([head, *(_row(i, c, found) for i, c in enumerate(found.choice.order, 1))])
    if found.choice.out:
        yield ""
        yield from _table(
            [("", "out, or after the others", "why"), *(("", o.name, f"{o.why}: {o.said}") for o in found.choice.out)]
        )
    yield ""
    yield conclusion(found)


def _row(number: int, candidate: Candidate, found: Explained) -> tuple[str, ...]:
    nano, first = expected_cost(candidate, found.need), candidate.standing.first
    cells = (
        str(number),
        candidate.name,
        "not known" if nano is None else f"USD {dollars(nano)} for {candidate.expected.output:.0f} tokens out",
        _state(candidate.standing),
        "not known" if first is None else f"{first:.0f} ms",
    )
    return (*cells, f"{found.firsts.get(candidate.name, 0.0):.0%}") if found.dice else cells


def _state(standing: Standing) -> str:
    if standing.state == "open":
        return f"open until {iso(standing.until)} ({standing.scope}: {standing.why})"
    if standing.state == "half_open":
        return f"half-open: probes only ({standing.scope}: {standing.why})"
    return "closed" if standing.share >= 1 else f"closed, slow start with {standing.share:.0%}"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def conclusion(found: Explained) -> str:
    """All of it in a sentence."""
    choice = found.choice
    if not choice.order:
        return _nobody(found)
    first, *rest = choice.order
    if choice.least_bad:
        return f"All circuits are open: {first.name} is the least bad, and would be asked all the same."
    if found.dice:
        parts = ", ".join(f"{name} for about {part:.0%}" for name, part in found.firsts.items())
        return f"The dice decide who would be asked first: {parts} of all requests."
    probe = " (as a probe, if there is a place for one)" if first.standing.state == "half_open" else ""
    after = f"; if it fails, {', then '.join(one.name for one in rest)}" if rest else ", and nobody after it"
    return f"{first.name} would be asked first{probe}{after}."


def _nobody(found: Explained) -> str:
    wait = found.choice.wait
    if wait is None:
        return "Nobody can be asked: a request is refused."
    if wait - found.at > found.queue * 1_000:
        return (
            f"Nobody can be asked before {iso(wait)}: no request waits for so long ({found.queue:g} s), it is refused."
        )
    return (
        f"Nobody can be asked before {iso(wait)}: a request waits for that, if its deadline allows, else it is refused."
    )
