"""What was spent, added up: from the rows of the ledger (`Stats`), and from the counters of the budgets (`summary`).

Pure. Money is added as integers of nano-dollars and written as decimals of dollars at the very end, so that both agree
with each other, and with the rows, to the last digit.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, TypeVar

import msgspec

from proxy.budget import EACH, Budget, Limit, left
from proxy.cost import dollars
from proxy.ledger import ALL, DIMENSIONS, Counter, Entry, Window, end, labels

TOP = 50  # values of a dimension that are shown one by one; what is beyond them is added up
# Bucket of `Usage` -> what people read. The buckets are disjoint: no token is in two of them.
KINDS: Mapping[str, str] = {
    "in_text": "input_tokens",
    "in_audio": "input_audio_tokens",
    "in_image": "input_image_tokens",
    "cache_read": "cached_tokens",
    "cache_read_audio": "cached_audio_tokens",
    "cache_write_5m": "cache_written_5m_tokens",
    "cache_write_1h": "cache_written_1h_tokens",
    "cache_write_30m": "cache_written_30m_tokens",
    "cache_write_12h": "cache_written_12h_tokens",
    "out_text": "output_tokens",
    "out_reasoning": "output_reasoning_tokens",
    "out_audio": "output_audio_tokens",
    "out_image": "output_image_tokens",
    "web_searches": "web_searches",
    "map_queries": "map_queries",
}
_KINDS = tuple(KINDS.values())
_COUNTS = ("requests", "errors", "attempts")
_CAVEATS = ("unpriced_attempts", "estimated_attempts", "orphan_attempts")
_MONEY = ("cost", "unproven", "estimated_cost", "orphan_cost")
_TIMES = ("total", "first_part")
_PERCENTILES = (50, 95, 99)

# Times are counted in bins: 16 to an octave of microseconds, exact up to 31. The middle of a bin is never further than
# a 32nd (3.2 %) from what fell into it. The last bin ends at 2^40 microseconds, which is 12 days.
_PER_OCTAVE = 16
_LONGEST = (1 << 40) - 1
_BINS = 592
_MICRO = 1_000  # microseconds of a millisecond
_MILLIONTHS = 1_000_000  # of a score

Key = str | tuple[str, int]  # the name of a sum, or a time and its bin
Sums = defaultdict[Key, int]
Json = dict[str, Any]
T = TypeVar("T")
_KEYS = {name: tuple((name, index) for index in range(_BINS)) for name in _TIMES}  # made once, shared by all cells


class Stats:
    """Adds rows up. Memory does not grow with the rows, but with the distinct values: each user has a cell of its own.

    Without `hours` there are no cells by the hour: over a year they would be 8,760.
    """

    def __init__(self, *, hours: bool = True) -> None:
        self._totals: Sums = defaultdict(int)
        self._by: dict[str, dict[str, Sums]] = {name: {} for name in DIMENSIONS}
        self._over: dict[str, dict[str, Sums]] = {name: {} for name in (*["hour"] * hours, "day", "month")}

    def add(self, entry: Entry) -> None:
        """Count a row."""
        parts = [(key, amount) for key, amount in _parts(entry) if amount]
        for sums in self._cells(entry):
            for key, amount in parts:
                sums[key] += amount

    def _cells(self, entry: Entry) -> Iterator[Sums]:
        yield self._totals
        for dimension, cells in self._by.items():
            yield cells.setdefault(getattr(entry, dimension), defaultdict(int))
        time = iso(entry.at)
        starts = {"hour": f"{time[:13]}:00:00Z", "day": time[:10], "month": time[:7]}
        for window, cells in self._over.items():
            yield cells.setdefault(starts[window], defaultdict(int))

    def to_json(self, top: int = TOP) -> Json:
        """`{"totals": CELL, "by": {"user": {"top": [{"value", **CELL}], "others": CELL | None}}, "over": ...}`.

        At most `top` values of a dimension, the dearest first; `others` is the sum of the rest, so that they add up.
        """
        return {
            "totals": _cell(self._totals),
            "by": {dimension: _ranked(cells, _dearest, _cell, _sum, top) for dimension, cells in self._by.items()},
            "over": {
                window: [{"start": start, **_cell(cells[start])} for start in sorted(cells)]
                for window, cells in self._over.items()
            },
        }


def _parts(entry: Entry) -> Iterator[tuple[Key, int]]:
    """What a row adds to each of its cells."""
    yield "attempts", 1
    if entry.last:
        yield "requests", 1
        yield "errors", int(entry.status >= 400 or bool(entry.code))
        if not entry.orphan:  # nobody knows how long an orphan took
            yield from _time("total", entry.total)
        if entry.first is not None:
            yield from _time("first_part", entry.first)
    if entry.score is not None:
        yield "feedback", 1
        yield "score", round(entry.score * _MILLIONTHS)
    used = msgspec.structs.astuple(entry.usage)
    cost = entry.cost or 0
    yield "cost", cost
    yield "unproven", entry.unproven
    yield "unpriced_attempts", int(entry.cost is None and any(used))
    yield "estimated_attempts", int(entry.estimated)
    yield "estimated_cost", cost * entry.estimated
    yield "orphan_attempts", int(entry.orphan)
    yield "orphan_cost", cost * entry.orphan
    yield from zip(_KINDS, used, strict=True)


def _time(name: str, milliseconds: float) -> Iterator[tuple[Key, int]]:
    micro = min(max(round(milliseconds * _MICRO), 0), _LONGEST)
    shift = max(micro.bit_length() - 5, 0)
    yield f"{name}_us", micro
    yield _KEYS[name][shift * _PER_OCTAVE + (micro >> shift)], 1


def _middle(index: int) -> float:
    """What stands for the values of a bin; milliseconds."""
    shift = max(index // _PER_OCTAVE - 1, 0)
    return (((index - shift * _PER_OCTAVE) << shift) + ((1 << shift) - 1) / 2) / _MICRO


def _cell(sums: Sums) -> Json:
    return {
        **{name: sums.get(name, 0) for name in _COUNTS},
        **{f"{name}_usd": usd(sums.get(name, 0)) for name in _MONEY},
        **{name: sums.get(name, 0) for name in _CAVEATS},
        "usage": {kind: sums.get(kind, 0) for kind in _KINDS},
        "latency_ms": {name: _latency(sums, name) for name in _TIMES},
        "feedback": _feedback(sums),
    }


def _feedback(sums: Sums) -> Json:
    """How many requests somebody spoke of, and the mean of their scores, from -1 to 1."""
    count = sums.get("feedback", 0)
    return {"count": count, "mean_score": round(sums.get("score", 0) / count / _MILLIONTHS, 6) if count else None}


def _latency(sums: Sums, name: str) -> Json:
    bins = sorted((key[1], n) for key, n in sums.items() if isinstance(key, tuple) and key[0] == name)
    count = sum(n for _, n in bins)
    if not count:
        return {"count": 0, "mean": None, **{f"p{percent}": None for percent in _PERCENTILES}}
    mean = round(sums.get(f"{name}_us", 0) / count / _MICRO, 3)
    return {
        "count": count,
        "mean": mean,
        **{f"p{percent}": _percentile(bins, count, percent) for percent in _PERCENTILES},
    }


def _percentile(bins: Sequence[tuple[int, int]], count: int, percent: int) -> float:
    """The nearest rank: the least value that `percent` of all do not exceed."""
    rank = -(-count * percent // 100)
    index, _ = bins[bisect_left(list(accumulate(n for _, n in bins)), rank)]
    return round(_middle(index), 3)


def _sum(cells: Iterable[Sums]) -> Sums:
    whole: Sums = defaultdict(int)
    for cell in cells:
        for key, amount in cell.items():
            whole[key] += amount
    return whole


def _dearest(sums: Sums) -> tuple[int, ...]:
    return -sums.get("cost", 0), -sums.get("unproven", 0), -sums.get("attempts", 0)


def _ranked(
    cells: Mapping[str, T],
    order: Callable[[T], tuple[int, ...]],
    show: Callable[[T], Json],
    add: Callable[[Iterable[T]], T],
    top: int,
) -> Json:
    """The first `top` of them one by one, the rest as one; equal ones by name."""
    ranked = sorted(cells, key=lambda value: (order(cells[value]), value))
    rest = ranked[top:]
    others = {"values": len(rest), **show(add(cells[value] for value in rest))} if rest else None
    return {"top": [{"value": value, **show(cells[value])} for value in ranked[:top]], "others": others}


def summary(budgets: Sequence[Budget], at: int, day: Mapping[str, Counter], month: Mapping[str, Counter]) -> Json:
    """What is spent and held in the day and the month of `at` (milliseconds), and how each budget stands.

    `day` and `month` are the counters of `ledger.labels(at)`, by scope. A budget for each value (`*`) has a row for
    each value with a counter, except those with a budget of their own; at most `TOP` rows, the most used first, and
    `budgets_left_out` counts the others.
    """
    windows: Mapping[Window, tuple[str, Mapping[str, Counter]]] = dict(
        zip(("day", "month"), zip(labels(at), (day, month), strict=True), strict=True)
    )
    rows: list[Json] = []
    left_out = 0
    for budget in budgets:
        label, counters = windows[budget.window]
        scopes = _scopes(budget, budgets, counters)
        left_out += len(scopes[TOP:])
        rows += [_standing(budget, scope, label, counters.get(scope, Counter())) for scope in scopes[:TOP]]
    return {
        "as_of": iso(at),
        "today": {"date": labels(at)[0].partition(":")[2], **_window(day)},
        "this_month": {"month": labels(at)[1].partition(":")[2], **_window(month)},
        "budgets": rows,
        "budgets_left_out": left_out,
    }


def _window(counters: Mapping[str, Counter]) -> Json:
    """All of it, and by dimension."""
    by: dict[str, dict[str, Counter]] = {dimension: {} for dimension in DIMENSIONS}
    for scope, counter in counters.items():
        dimension, _, value = scope.partition("=")
        if dimension in by:
            by[dimension][value] = counter
    return {
        **_figures(counters.get(ALL, Counter())),
        "by": {dimension: _ranked(found, _most_used, _figures, _add_up, TOP) for dimension, found in by.items()},
    }


def _figures(counter: Counter) -> Json:
    return {"spent_usd": usd(counter.spent), "held_usd": usd(counter.held), "unproven_usd": usd(counter.unproven)}


def _most_used(counter: Counter) -> tuple[int, ...]:
    return -counter.used, -counter.held


def _add_up(counters: Iterable[Counter]) -> Counter:
    whole = Counter()
    for counter in counters:
        whole.spent += counter.spent
        whole.held += counter.held
        whole.unproven += counter.unproven
    return whole


def _scopes(budget: Budget, budgets: Sequence[Budget], counters: Mapping[str, Counter]) -> list[str]:
    """The counters that a budget bounds, the most used first."""
    if not budget.dimension:
        return [ALL]
    prefix = f"{budget.dimension}="
    if budget.value != EACH:
        return [prefix + budget.value]
    same = [other for other in budgets if (other.dimension, other.window) == (budget.dimension, budget.window)]
    named = {prefix + other.value for other in same if other.value != EACH}
    scopes = [scope for scope in counters if scope.startswith(prefix) and scope not in named]
    return sorted(scopes, key=lambda scope: (_most_used(counters[scope]), scope))


def _standing(budget: Budget, scope: str, label: str, counter: Counter) -> Json:
    room = left(Limit(budget.name, scope, budget.window, budget.limit), counter)
    # Cut, not rounded: a budget is not said to be used up before it is.
    hundredths = counter.used * 10_000 // budget.limit if budget.limit > 0 else 10_000
    whole, rest = divmod(hundredths, 100)
    return {
        "name": budget.name,
        "scope": scope,
        "window": budget.window,
        "limit_usd": usd(budget.limit),
        **_figures(counter),
        "left_usd": usd(min(room, budget.limit)),
        "used_percent": f"{whole}.{rest:02d}",
        "resets_at": f"{iso(end(label))[:19]}Z",
    }


def usd(nano: int) -> str:
    """Nano-dollars as an exact decimal of dollars; what is left of a budget may be below zero."""
    return dollars(nano) if nano >= 0 else f"-{dollars(-nano)}"


def iso(at: int) -> str:
    """Milliseconds since the epoch as people write them: `2026-11-23T14:05:06.789Z`."""
    return f"{datetime.fromtimestamp(at // 1_000, UTC).isoformat()[:19]}.{at % 1_000:03d}Z"
