"""Budgets, minutes and turns of circuits, as the page draws them. Pure.

Money is a decimal of dollars, as everywhere; moments are milliseconds since the epoch where an axis needs them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from proxy import series
from proxy.budget import Budget
from proxy.ledger import end, labels
from proxy.pulse import Money, Pulse, Turn
from proxy.series import KEPT, MINUTE, Minute, Series
from proxy.stats import iso, summary, usd

POINTS = 120  # of a curve: more than a phone has pixels to tell apart
TURNS = 100  # circuits' turns, the last ones
_LINE = "line"

Json = dict[str, Any]


def money(pulse: Pulse, found: Money) -> tuple[list[Json], Json]:
    """How budgets stand, each with its curve and where it leads; and what was spent on what."""
    budgets = pulse.budgets()
    said = summary(budgets, found.at, found.day, found.month)
    limits = {budget.name: budget for budget in budgets}
    rows = [{**row, **_course(pulse, found, limits[row["name"]], row["scope"])} for row in said.pop("budgets")]
    return rows, said


def _course(pulse: Pulse, found: Money, budget: Budget, scope: str) -> Json:
    day, month = labels(found.at)
    label, counters = (day, found.day) if budget.window == "day" else (month, found.month)
    start, over = begin(label), end(label)
    used = counters[scope].used if scope in counters else 0
    seen = [(at, min(nano, used)) for at, nano in pulse.points(label, scope) if start < at < found.at]
    points = [(start, 0), *seen, (found.at, used)]
    leads = series.projected(points, budget.limit, start, over, found.at)
    return {
        "starts_at_ms": start,
        "ends_at_ms": over,
        "points": [[at, usd(nano)] for at, nano in series.thinned(points, POINTS)],
        "projection": {
            "state": leads.state,
            "used_at_end_usd": None if leads.used_at_end is None else usd(leads.used_at_end),
            "reached_at": None if leads.reached is None else iso(leads.reached),
        },
    }


def begin(label: str) -> int:
    """When a window begins; milliseconds since the epoch. The day before it ends then."""
    window, _, date = label.partition(":")
    day = 86_400_000
    if window == "day":
        return end(label) - day
    year, month = (int(part) for part in date.split("-"))
    return end(f"month:{year - (month == 1):04d}-{(month - 2) % 12 + 1:02d}")


def minutes(whole: Series, now: int) -> Json:
    """The last hours by the minute, in columns of equal length, the one under way last; null: nobody was timed."""
    last = now // MINUTE
    rows = [whole.minutes.get(n, _NOTHING) for n in range(last - KEPT + 1, last + 1)]
    names = sorted({name for row in rows for name in row.attempts})
    return {
        "start_ms": (last - KEPT + 1) * MINUTE,
        "step_ms": MINUTE,
        "requests": [row.requests for row in rows],
        "errors": [row.errors for row in rows],
        "failed": [row.failed for row in rows],
        "cost_usd": [usd(row.cost) for row in rows],
        "retries": [row.retries for row in rows],
        "hedges": [row.hedges for row in rows],
        "first_part_ms": {f"p{q}": [_rounded(row.first_part(q / 100)) for row in rows] for q in (50, 95)},
        "attempts": {name: [row.attempts.get(name, 0) for row in rows] for name in names},
        "failures": {name: [row.failures.get(name, 0) for row in rows] for name in names},
    }


def turns(found: Iterable[Turn], now: int) -> list[Json]:
    """How circuits turned in the last hours, the last one first; `model` is null for a provider's own and our way."""
    recent: Sequence[Turn] = sorted((turn for turn in found if turn.at > now - KEPT * MINUTE), key=lambda turn: turn.at)
    return [
        {
            "at": iso(turn.at),
            "provider": turn.provider,
            "scope": "line" if turn.model == _LINE else "model" if turn.model else "provider",
            "model": turn.model if turn.model not in ("", _LINE) else None,
            "state": turn.state,
            "why": turn.why or None,
        }
        for turn in recent[::-1][:TURNS]
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


_NOTHING = Minute()
