"""Numbers for Prometheus, in a registry of their own. They are for curves and alarms; the ledger is for the money.

Dollars are floats here: a metric may be off by less than anybody sees, and nothing decides on it. Labels are bounded:
what a client made up (a model without a price, a user's name) is never one. `METRICS` says what there is;
docs/telemetry.md is made of it.
"""

import threading
from collections import Counter as Bag
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Literal, NamedTuple, get_args

from msgspec.structs import astuple
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    GCCollector,
    ProcessCollector,
    generate_latest,
)

from adapters.base import Kind, Usage
from proxy import __version__, ledger
from proxy.budget import EACH, Alert, Budget
from proxy.cost import NANO
from proxy.health import Cell, circuit
from proxy.health.circuit import State
from proxy.ledger import Entry
from proxy.routing.candidate import OTHER
from proxy.tallies import Counter, Histogram
from proxy.telemetry import HEDGE_LOST, Attempt, Record

CONTENT_TYPE = CONTENT_TYPE_LATEST
_USED = Usage.__struct_fields__
TOKENS = tuple(bucket for bucket in _USED if bucket not in ("web_searches", "map_queries"))
_TOKENS = frozenset(TOKENS)
STATES: tuple[State, ...] = get_args(State)
HEDGES = ("won", "lost", "failed")  # the second one answered, the first one did, nobody did
ALL, LINE = "all", "line"  # models of a circuit that is its provider's, and of our own way there
_UNPAID = frozenset({Kind.BUDGET.value, Kind.STORE.value})  # outcomes of who was not sent anything
_UNBLAMED = frozenset({"ok", "cancelled", HEDGE_LOST})
_MOST_CODES = 64  # of refusals; ours are fewer
_MOST_ASIDE = 64  # records, and rows
_MILLI = 1_000
_ATTEMPTS, _TRIED = attrgetter("attempts"), attrgetter("provider", "counted", "outcome")
_ENDED = attrgetter("status", "stream")

# Seconds. A whole answer may take minutes, a first token hardly ever a minute, our own part a millisecond.
WHOLE = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FIRST = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0)
OURS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
WAITED = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

Make = Literal["counter", "gauge", "histogram"]
_KINDS: Mapping[Make, Callable[..., Any]] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}


class Metric(NamedTuple):
    """One metric: how it is made, what it is told by, and what it means. Units are base units, and the name says them:
    seconds, dollars; else it is a number of things."""

    kind: Make
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_MODEL, _BUDGET = ("provider", "model"), ("budget", "window")
METRICS: dict[str, Metric] = {
    "requests_total": Metric(
        "counter", "Requests that are over and were sent to somebody", (*_MODEL, "status", "stream")
    ),
    "requests_refused_total": Metric("counter", "Requests that ended before they were sent to anybody", ("code",)),
    "in_flight_requests": Metric("gauge", "Requests that are being served now"),
    "queue_waiting": Metric("gauge", "Requests that wait for a vendor's rate limit now"),
    "attempts_total": Metric("counter", "Tries, by how they ended", (*_MODEL, "outcome")),
    "retries_total": Metric("counter", "Tries at a model that the same request had tried before", _MODEL),
    "fallbacks_total": Metric("counter", "Requests that this model answered after another had failed", _MODEL),
    "hedges_total": Metric("counter", "Requests sent to a second model before the first had answered", ("outcome",)),
    "request_seconds": Metric("histogram", "Until the request was over", _MODEL, WHOLE),
    "first_part_seconds": Metric("histogram", "Until the first part of the answer", _MODEL, FIRST),
    "vendor_first_byte_seconds": Metric("histogram", "From the sending until the answer began", _MODEL, FIRST),
    "overhead_seconds": Metric("histogram", "Our own time until the first part of the answer", (), OURS),
    "hold_seconds": Metric("histogram", "Until the store had held the money", (), OURS),
    "queue_seconds": Metric("histogram", "Of waiting for a rate limit or until a retry, if any", (), WAITED),
    "tokens_total": Metric("counter", "Tokens, in disjoint kinds", (*_MODEL, "kind")),
    "spend_dollars_total": Metric("counter", "What attempts cost; an orphan in full", _MODEL),
    "requests_unpriced_total": Metric("counter", "Attempts whose cost is not known", _MODEL),
    "budget_limit_dollars": Metric("gauge", "What may be spent in the window", _BUDGET),
    "budget_spent_dollars": Metric("gauge", "What was spent in the window", _BUDGET),
    "budget_held_dollars": Metric("gauge", "What requests in flight may still cost", _BUDGET),
    "budget_unproven_dollars": Metric("gauge", "What vendors may have billed beyond the spent", _BUDGET),
    "budget_alerts_total": Metric("counter", "Thresholds that budgets came to", (*_BUDGET, "percent")),
    "circuit_state": Metric("gauge", "1 for the state that the circuit is in, 0 for the others", (*_MODEL, "state")),
    "circuit_openings_total": Metric("counter", "Openings that this replica saw before the others", (*_MODEL, "why")),
    "store_up": Metric("gauge", "Whether the store can be reached"),
    "journal_undelivered": Metric("gauge", "Rows that the store does not have yet"),
    "telemetry_lost_total": Metric("counter", "What OpenTelemetry's collector did not take in time", ("signal",)),
    "build_info": Metric("gauge", "1; the label says which version runs", ("version",)),
}
# Values of labels that are words of ours; the others name what was configured, or stand in the price table.
LABELS: dict[str, tuple[str, ...]] = {
    "model": (OTHER, ALL, LINE),
    "kind": TOKENS,
    "outcome": ("ok", "cancelled", HEDGE_LOST, *(kind.value for kind in Kind), *HEDGES),
    "why": tuple(kind.value for kind in Kind),
    "state": STATES,
    "window": ledger.WINDOWS,
    "signal": ("span", "metric"),
    "code": (OTHER,),
}


class _Children(dict[tuple[Any, ...], Any]):
    """Children of metrics, by the metric's name and the values of its labels; made when they are first asked for."""

    def __init__(self, metrics: Mapping[str, Any]) -> None:
        self._metrics = metrics

    def __missing__(self, named: tuple[Any, ...]) -> Any:
        name, *values = named
        words = (str(value).lower() if isinstance(value, bool) else str(value) for value in values)
        found = self[named] = self._metrics[name].labels(*words)
        return found


class Metrics:
    """One per process; used on the event loop, but for `text` and `lost`, which may be called in any thread. Replicas
    and workers count each their own: Prometheus adds them up.

    `over` is told of requests; `observe`, of each row of the ledger. Both are laid aside and counted many at once:
    nobody looks before the `text` is asked for. `budgets`, `circuits` and `gauges` are told just before that.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._made: dict[str, Any] = {}
        for name, metric in METRICS.items():
            more = {"buckets": metric.buckets} if metric.buckets else {}
            told = f"tollhouse_{name}", metric.meaning, metric.labels
            self._made[name] = _KINDS[metric.kind](*told, registry=self._registry, **more)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._made["build_info"].labels(__version__).set(1)
        self._overhead, self._hold, self._queue = (
            self._made[f"{name}_seconds"].labels() for name in ("overhead", "hold", "queue")
        )
        self._histograms = [made for made in self._made.values() if isinstance(made, Histogram)]
        self._children = _Children(self._made)
        self._codes: set[str] = set()
        self._records: list[Record] = []  # laid aside, as are
        self._rows: list[Entry] = []
        self._threads = threading.Lock()

    # ---- as it happens ------------------------------------------------------------------------------------------

    def over(self, records: Sequence[Record]) -> None:
        """Requests are over, some at once: count what the ledger has no row of."""
        self._records += records
        if len(self._records) >= _MOST_ASIDE:
            self._gather()

    def observe(self, entry: Entry) -> None:
        """Count a row of the ledger.

        An orphan counts as spent and not as a request. If its true row turns up, that counts too: spent may be told too
        high then, never too low.
        """
        self._rows.append(entry)
        if len(self._rows) >= _MOST_ASIDE:
            self._gather()

    def _gather(self) -> None:
        """Count what was laid aside. The `text` is asked for in another thread: meanwhile the lists may grow."""
        with self._threads:
            records, rows = self._records[:], self._rows[:]
            del self._records[: len(records)], self._rows[: len(rows)]
            self._over(records)
            by_model = defaultdict[tuple[str, str], list[Entry]](list)
            for row in rows:
                by_model[row.provider, OTHER if row.price is None else row.model].append(row)
            for named, its in by_model.items():
                self._booked(named, its)

    def _over(self, records: Sequence[Record]) -> None:
        for tried, number in Bag(map(_TRIED, chain.from_iterable(map(_ATTEMPTS, records)))).items():
            self._children["attempts_total", *tried].value += number
        timings = [record.timings for record in records]
        self._queue.take([each.queue / _MILLI for each in timings if each.queue])
        self._hold.take([each.hold / _MILLI for each in timings if each.hold])
        self._overhead.take([each.overhead / _MILLI for each in timings if each.overhead is not None])
        firsts = defaultdict[tuple[str, str], list[float]](list)
        for record in records:
            first = record.timings.first_byte
            if first is not None and (answered := _answered(record)) is not None:
                firsts[answered.provider, answered.counted].append(first / _MILLI)
            if record.code is not None or len(record.attempts) > 1 or _hedged(record):
                self._odd(record)
        for named, seconds in firsts.items():
            self._children["vendor_first_byte_seconds", *named].take(seconds)

    def _odd(self, record: Record) -> None:
        """What else there is to be counted of a request that failed, or was tried more than once."""
        attempts, answered = record.attempts, _answered(record)
        if record.code is not None and record.numbered <= sum(attempt.outcome in _UNPAID for attempt in attempts):
            self._children["requests_refused_total", self._code(record.code)].inc()
        for at, attempt in enumerate(attempts):
            if any(_same(before, attempt) for before in attempts[:at]):
                self._children["retries_total", attempt.provider, attempt.counted].inc()
        if _hedged(record):
            self._children["hedges_total", _hedge(record, answered)].inc()
        if answered is not None and any(one.outcome not in _UNBLAMED and not _same(one, answered) for one in attempts):
            self._children["fallbacks_total", answered.provider, answered.counted].inc()

    def _code(self, code: str) -> str:
        if code not in self._codes and len(self._codes) < _MOST_CODES:
            self._codes.add(code)
        return code if code in self._codes else OTHER

    def alert(self, alert: Alert) -> None:
        """A budget came to a threshold. The label is the budget's name: "daily of user=*" for each user's."""
        self._children["budget_alerts_total", alert.limit.budget, alert.limit.window, alert.percent].inc()

    def opened(self, provider: str, model: str, why: str) -> None:
        """A circuit opened, as this replica saw and no other had told. `model`: its entry in the price table, `ALL` or
        `LINE`; `why`: the kind of the failure."""
        self._children["circuit_openings_total", provider, model, why].inc()

    def lost(self, signal: Literal["span", "metric"], number: int) -> None:
        """So many were made for OpenTelemetry's collector, and it did not get them. May be called from any thread."""
        with self._threads:
            self._made["telemetry_lost_total"].labels(signal).inc(number)

    def _booked(self, named: tuple[str, str], rows: Sequence[Entry]) -> None:
        child = self._children
        costs = [row.cost for row in rows if row.cost is not None]
        child["requests_unpriced_total", *named].value += len(rows) - len(costs)
        child["spend_dollars_total", *named].value += sum(costs) / NANO
        for kind, number in zip(_USED, map(sum, zip(*[astuple(row.usage) for row in rows], strict=True)), strict=True):
            if number and kind in _TOKENS:
                child["tokens_total", *named, kind].value += number
        over = [row for row in rows if row.last and not row.orphan]
        for how, number in Bag(map(_ENDED, over)).items():
            child["requests_total", *named, *how].value += number
        child["request_seconds", *named].take([row.total / _MILLI for row in over])
        child["first_part_seconds", *named].take([row.first / _MILLI for row in over if row.first is not None])

    # ---- as it is when somebody asks ----------------------------------------------------------------------------

    def budgets(self, figures: Iterable[tuple[Budget, ledger.Counter]]) -> None:
        """All budgets and how they stand. One for each value (`*`) is left out; one that is not told any more goes."""
        for word in ("limit", "spent", "held", "unproven"):
            self._made[f"budget_{word}_dollars"].clear()
        for budget, counter in figures:
            if budget.value == EACH:
                continue
            for word, nano in (
                ("limit", budget.limit),
                ("spent", counter.spent),
                ("held", counter.held),
                ("unproven", counter.unproven),
            ):
                self._made[f"budget_{word}_dollars"].labels(budget.name, budget.window).set(nano / NANO)

    def circuits(self, shared: Mapping[tuple[str, str], Cell], own: Mapping[tuple[str, str], Cell], now: int) -> None:
        """All circuits, as `Fleet.shared` and `Fleet.own` tell them at a time of their clock; those that are not told
        any more go. Of its own, a replica tells the ways to the providers: all others are everybody's."""
        gauge = self._made["circuit_state"]
        gauge.clear()
        lines = {key: cell for key, cell in own.items() if key[1] == LINE}
        for (provider, model), cell in {**shared, **lines}.items():
            found = circuit.state(cell.circuit, now)
            for state in STATES:
                gauge.labels(provider, model or ALL, state).set(state == found)

    def gauges(self, *, in_flight: int, waiting: int) -> None:
        """How many requests are being served, and how many of them wait for a vendor's rate limit."""
        self._made["in_flight_requests"].set(in_flight)
        self._made["queue_waiting"].set(waiting)

    def store(self, *, up: bool, undelivered: int) -> None:
        """How the store is, and how many rows wait for it in the journal."""
        self._made["store_up"].set(up)
        self._made["journal_undelivered"].set(undelivered)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format (`CONTENT_TYPE`)."""
        self._gather()
        with self._threads:
            for histogram in self._histograms:
                histogram.settle()
        return generate_latest(self._registry)


def _same(one: Attempt, other: Attempt) -> bool:
    return one.provider == other.provider and one.model == other.model


def _answered(record: Record) -> Attempt | None:
    """The attempt that the client heard, however it ended."""
    for one in reversed(record.attempts):
        if one.model == record.served and one.provider == record.provider:
            return one
    return None


def _hedged(record: Record) -> bool:
    return record.decision is not None and record.decision.hedged


def _hedge(record: Record, answered: Attempt | None) -> str:
    if answered is None:
        return "failed"
    # Who was asked before the one that answered, and was still under way when that was asked, was the first of the two.
    before = (one for one in record.attempts if one.started < answered.started < one.started + one.milliseconds)
    return "won" if any(before) else "lost"
