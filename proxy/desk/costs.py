"""`tollhouse costs`: what was spent, by whom or on what, and how full the budgets are."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

import msgspec

from proxy.desk import rows, window
from proxy.desk.client import Client
from proxy.desk.screen import Cell, Column, Screen
from proxy.desk.trouble import BAD_NEWS, NOT_REACHED, OK, Trouble
from proxy.desk.window import Edge, Window
from proxy.ledger import ALL
from proxy.stats import Stats, iso

_HOURS_WITHIN = 31 * window.DAY  # over longer times there are no figures by the hour, as in the API
_NEARLY = 80  # percent of a budget from which on it is shown as nearly used up
_SPARE = frozenset({"errors", "attempts", "tokens in", "tokens out", "held USD", "left USD"})
_NAMELESS = "(none)"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be shown: the dimension, at most `top` of its values, and the time."""

    by: str
    top: int
    since: Edge | None = None
    until: Edge | None = None


class _Sum(msgspec.Struct, kw_only=True):
    requests: int
    errors: int
    attempts: int
    cost_usd: Decimal
    unproven_usd: Decimal
    estimated_cost_usd: Decimal
    orphan_cost_usd: Decimal
    unpriced_attempts: int
    estimated_attempts: int
    orphan_attempts: int
    usage: dict[str, int]
    value: str = ""
    values: int = 0  # how many others these are


class _Ranked(msgspec.Struct):
    top: list[_Sum]
    others: _Sum | None


class _Stats(msgspec.Struct, kw_only=True):
    totals: _Sum
    by: dict[str, _Ranked]
    start_date: str = ""
    end_date: str = ""
    start: str | None = None
    end: str | None = None

    @property
    def period(self) -> str:
        """Of when it is."""
        if self.start_date:
            return f"From {self.start_date} to {self.end_date}, whole days, UTC"
        return f"From {self.start or 'the beginning of the month'} to {self.end or 'now'}"


class _Budget(msgspec.Struct, kw_only=True):
    name: str
    scope: str
    window: str
    limit_usd: Decimal
    spent_usd: Decimal
    held_usd: Decimal
    left_usd: Decimal
    used_percent: Decimal
    resets_at: str

    @property
    def label(self) -> str:
        """What people call it; of a budget for each value (`user=*`), whose it is."""
        return self.name if self.scope == ALL else f"{self.name.partition(' of ')[0]} of {self.scope}"


class _Summary(msgspec.Struct):
    as_of: str
    budgets: list[_Budget]
    budgets_left_out: int = 0


def show(client: Client, screen: Screen, asked: Asked, *, as_json: bool) -> int:
    """Print it. The exit code: 1 if a budget is used up."""
    told = client.get("/providers/costs/summary")
    summary = client.read(told, _Summary)
    now = window.at(summary.as_of)
    try:
        time = window.window(asked.since, asked.until, now)
    except ValueError as error:
        raise Trouble(str(error)) from None
    body = _stats(client, time, asked.top, now)
    stats = client.read(body, _Stats)
    if as_json:
        screen.raw(b'{"summary":%b,"stats":%b}' % (told.strip(), body.strip()))
    else:
        _print(screen, stats, summary, asked.by)
    return BAD_NEWS if any(budget.used_percent >= 100 for budget in summary.budgets) else OK


def _stats(client: Client, time: Window, top: int, now: int) -> bytes:
    """The API adds whole days up; of anything finer the rows are added up here, by the same code."""
    if time.whole:
        return client.get("/providers/costs/stats", top=str(top), **time.days)
    stats = Stats(hours=time.start is None or (time.end or now) - time.start <= _HOURS_WITHIN)
    with client.stream("/providers/costs/export", format="json", **time.days) as pieces:
        try:
            for entry in map(rows.entry, map(rows.read, rows.records(pieces))):
                if time.holds(entry.at):
                    stats.add(entry)
        except (ValueError, msgspec.DecodeError) as error:
            raise Trouble(f"The rows that {client.url} sends cannot be read: {error}.", NOT_REACHED) from None
    edges = {"start": time.start, "end": time.end}
    said = {name: None if edge is None else iso(edge) for name, edge in edges.items()}
    return msgspec.json.encode({**said, **stats.to_json(top)})


def _print(screen: Screen, stats: _Stats, summary: _Summary, by: str) -> None:
    totals = stats.totals
    screen.say(f"{stats.period}: USD {_usd(totals.cost_usd)}", "bold")
    screen.say(f"{totals.requests:,} requests, {totals.errors:,} of them errors; {totals.attempts:,} attempts")
    ranked = stats.by.get(by)
    if ranked is None:
        raise Trouble(f"This tollhouse counts nothing by {by}; it is older than this command.")
    if ranked.top:
        screen.say()
        screen.table(*_dimension(by, ranked, totals.cost_usd))
    if summary.budgets:
        screen.say()
        screen.table(*_budgets(summary.budgets))
    caveats = list(_caveats(totals, summary.budgets_left_out))
    if caveats:
        screen.say()
    for caveat in caveats:
        screen.say(caveat, "yellow")


def _dimension(by: str, ranked: _Ranked, whole: Decimal) -> tuple[Sequence[Column], Sequence[Sequence[Cell]]]:
    sums = [*ranked.top, *([ranked.others] if ranked.others else [])]
    names = [one.value or _NAMELESS for one in ranked.top]
    if ranked.others:
        names.append(f"({ranked.others.values} others)")
    shares = [float(100 * one.cost_usd / whole) if whole else 0.0 for one in sums]
    figures: dict[str, list[str]] = {
        "cost USD": _aligned(one.cost_usd for one in sums),
        "requests": [str(one.requests) for one in sums],
        "errors": [str(one.errors) for one in sums],
        "attempts": [str(one.attempts) for one in sums],
        "tokens in": [str(_tokens(one, output=False)) for one in sums],
        "tokens out": [str(_tokens(one, output=True)) for one in sums],
    }
    columns = [Column(by), *(Column(name, right=True, spare=name in _SPARE) for name in figures)]
    columns.append(Column("share", right=True))
    return columns, [
        [Cell(name), *map(Cell, cells), Cell(f"{share:.1f}%", full=share)]
        for name, share, *cells in zip(names, shares, *figures.values(), strict=True)
    ]


def _budgets(budgets: Sequence[_Budget]) -> tuple[Sequence[Column], Sequence[Sequence[Cell]]]:
    figures: dict[str, Callable[[_Budget], Decimal]] = {
        "limit USD": lambda one: one.limit_usd,
        "spent USD": lambda one: one.spent_usd,
        "held USD": lambda one: one.held_usd,
        "left USD": lambda one: one.left_usd,
    }
    cells = zip(*(_aligned(map(read, budgets)) for read in figures.values()), strict=True)
    columns = [Column("budget"), *(Column(name, right=True, spare=name in _SPARE) for name in figures)]
    columns += [Column("used", right=True), Column("resets at", spare=True)]
    return columns, [
        [
            Cell(budget.label),
            *map(Cell, amounts),
            Cell(f"{budget.used_percent}%", _alarm(budget.used_percent), full=float(budget.used_percent)),
            Cell(budget.resets_at),
        ]
        for budget, amounts in zip(budgets, cells, strict=True)
    ]


def _alarm(percent: Decimal) -> str:
    return "bold red" if percent >= 100 else "yellow" if percent >= _NEARLY else "green"


def _caveats(totals: _Sum, left_out: int) -> Iterator[str]:
    """What the sums do not say, or say without being sure."""
    if n := totals.unpriced_attempts:
        yield f"Attempts without a known price: {n:,}. They cost something, which is not in the sum."
    if n := totals.estimated_attempts:
        yield f"Estimated attempts: {n:,}, USD {_usd(totals.estimated_cost_usd)}. The vendor did not say what was used."
    if n := totals.orphan_attempts:
        yield f"Orphans: {n:,}, USD {_usd(totals.orphan_cost_usd)}. Charged in full, as nobody has settled them yet."
    if totals.unproven_usd:
        yield f"Unproven: USD {_usd(totals.unproven_usd)}. It may have been billed besides, and is not in the sum."
    if left_out:
        yield f"Budgets that are not shown, the least used ones: {left_out:,}."


def _tokens(one: _Sum, *, output: bool) -> int:
    return sum(n for kind, n in one.usage.items() if kind.endswith("_tokens") and kind.startswith("output") is output)


def _usd(amount: Decimal) -> str:
    return f"{amount:f}"


def _aligned(amounts: Iterable[Decimal]) -> list[str]:
    """With as many decimals as the one that has most of them: the points stand below each other."""
    texts = [_usd(amount) for amount in amounts]
    most = max((len(text.partition(".")[2]) for text in texts), default=0)
    return [
        f"{whole}.{part.ljust(most, '0')}" if most else whole for whole, _, part in (t.partition(".") for t in texts)
    ]
