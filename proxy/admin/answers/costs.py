"""What is told of money."""

import msgspec

from proxy.admin.answers.said import Count, Day, Milliseconds, Moment, Said, Usd
from proxy.export import COLUMNS, Value
from proxy.ledger import DIMENSIONS, Window
from proxy.stats import KINDS


class Figures(Said):
    """`spent_usd` is booked, `held_usd` is held for requests under way, `unproven_usd` may have been billed besides."""

    spent_usd: Usd
    held_usd: Usd
    unproven_usd: Usd


class FiguresOf(Figures):
    value: str


class FiguresOfOthers(Figures):
    values: Count


class RankedFigures(Said):
    """The dearest values, one by one; all others as one."""

    top: list[FiguresOf]
    others: FiguresOfOthers | None


FiguresBy = msgspec.defstruct(
    "FiguresBy", [(name, RankedFigures) for name in DIMENSIONS], kw_only=True, forbid_unknown_fields=True
)


class Today(Figures):
    date: Day
    by: FiguresBy  # type: ignore[valid-type]  # its members are the ledger's, named in one place


class ThisMonth(Figures):
    month: str
    by: FiguresBy  # type: ignore[valid-type]  # its members are the ledger's, named in one place


class BudgetStanding(Figures):
    """How one budget stands in its window."""

    name: str
    scope: str
    window: Window
    limit_usd: Usd
    left_usd: Usd
    used_percent: str
    resets_at: Moment


class CostsSummary(Said):
    as_of: Moment
    today: Today
    this_month: ThisMonth
    budgets: list[BudgetStanding]
    budgets_left_out: Count


class Latency(Said):
    """Milliseconds; null if nothing was counted."""

    count: Count
    mean: Milliseconds | None
    p50: Milliseconds | None
    p95: Milliseconds | None
    p99: Milliseconds | None


class Latencies(Said):
    total: Latency
    first_part: Latency


Used = msgspec.defstruct("Usage", [(kind, Count) for kind in KINDS.values()], kw_only=True, forbid_unknown_fields=True)


class Scores(Said):
    """What callers said of answers, from -1 to 1; null if nobody said anything."""

    count: Count
    mean_score: float | None


class Cell(Said):
    """Rows of the ledger, added up."""

    requests: Count
    errors: Count
    attempts: Count
    cost_usd: Usd
    unproven_usd: Usd
    estimated_cost_usd: Usd
    orphan_cost_usd: Usd
    unpriced_attempts: Count
    estimated_attempts: Count
    orphan_attempts: Count
    usage: Used  # type: ignore[valid-type]  # its members are those of `proxy.stats`
    latency_ms: Latencies
    feedback: Scores


class CellOf(Cell):
    value: str


class CellOfOthers(Cell):
    values: Count


class CellFrom(Cell):
    start: str


class RankedCells(Said):
    """The dearest values, one by one; all others as one."""

    top: list[CellOf]
    others: CellOfOthers | None


CellsBy = msgspec.defstruct(
    "CellsBy", [(name, RankedCells) for name in DIMENSIONS], kw_only=True, forbid_unknown_fields=True
)


class CellsOver(Said):
    """By time, the oldest first. There are no hours over more than 31 days."""

    day: list[CellFrom]
    month: list[CellFrom]
    hour: list[CellFrom] | msgspec.UnsetType = msgspec.UNSET


class CostsStats(Said):
    start_date: Day
    end_date: Day
    totals: Cell
    by: CellsBy  # type: ignore[valid-type]  # its members are the ledger's, named in one place
    over: CellsOver


# One row per attempt that reached a vendor.
LedgerRow = msgspec.defstruct(
    "LedgerRow", [(column, Value) for column in COLUMNS], kw_only=True, forbid_unknown_fields=True
)
