"""Budgets: what may be held, what is refused, when somebody is told. Pure; the stores act on what is decided here.

A budget bounds one scope of the ledger (all traffic, one user, each user, ...) in one window. Its counter is there
whether it is configured or not, so that a budget that is set today knows of this morning's spending.

The Redis store decides in Lua, inside its one act; `tests/proxy/store` holds both to the same answers.
"""

from collections.abc import Iterable, Sequence

import msgspec

from proxy.ledger import ALL, OPTIONAL, Counter, Entry, Window

MOST = 9_000_000_000_000_000  # nano-dollars: numbers of Lua are doubles, exact below 2^53
EACH = "*"
PART = 1_000_000  # `share` is in millionths
THRESHOLDS = (90, 100)  # percent of a limit at which somebody is told


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """At most `limit` nano-dollars in each window, for one value of a dimension, or for each (`*`) on its own."""

    limit: int
    window: Window
    dimension: str = ""  # one of `ledger.DIMENSIONS`; empty: all traffic
    value: str = ""

    @property
    def name(self) -> str:
        """What people call it: "daily", "monthly of user=alice"."""
        word = {"day": "daily", "month": "monthly"}[self.window]
        return f"{word} of {self.scope}" if self.dimension else word

    @property
    def scope(self) -> str:
        """The counter that it bounds; of one for each value, there is none of this name."""
        return f"{self.dimension}={self.value}" if self.dimension else ALL


class Limit(msgspec.Struct, frozen=True, cache_hash=True):
    """A budget as it applies to one request: `scope` names one counter of `window`."""

    budget: str
    scope: str
    window: Window
    nano: int


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be held, all or nothing, in all scopes of `entry`; and granted only within all `limits`.

    Anything from `least` to `most` will do. With a `share` (millionths) at most that part of what is left is granted,
    or `least`, so that one request without a cap does not take what many could use. `seconds` is how long a request may
    take; what is not settled by then is an orphan. The same id held twice is one hold.
    """

    entry: Entry
    limits: tuple[Limit, ...]
    least: int
    most: int
    share: int = PART
    seconds: int = 960
    final: bool = True  # a refusal is the last word: only then may it say that a budget is used up


class Granted(msgspec.Struct, frozen=True):
    """The money is held. `at` is the store's time, which is the row's from now on."""

    amount: int
    at: int


class Refused(msgspec.Struct, frozen=True):
    """No budget was touched. `limit` is the one with the least left; `label` its window, `counter` its state."""

    limit: Limit
    label: str
    counter: Counter
    alert: "Alert | None" = None


class Alert(msgspec.Struct, frozen=True):
    """A budget has come to `percent` of its limit. Said once per budget and window, whoever noticed."""

    limit: Limit
    label: str
    percent: int
    counter: Counter

    @property
    def key(self) -> str:
        """What must be said only once. A limit that was changed is another limit."""
        return alert_key(self.limit, self.label, self.percent)


def alert_key(limit: Limit, label: str, percent: int) -> str:
    """The mark under which a store remembers that it was said."""
    return f"{label}|{limit.scope}|{limit.nano}|{percent}"


def left(limit: Limit, counter: Counter) -> int:
    """What may still be held under it; below zero after an overrun."""
    return limit.nano - counter.spent - counter.unproven - counter.held


def grant(ask: Ask, counters: Sequence[Counter]) -> int | Limit:
    """The amount to hold, or the limit that forbids it; `counters` go with `ask.limits`, one each."""
    if not ask.limits:
        return ask.most
    rooms = [left(limit, counter) for limit, counter in zip(ask.limits, counters, strict=True)]
    room = min(rooms)
    if room < ask.least:
        return ask.limits[rooms.index(room)]
    return max(ask.least, min(ask.most, room * ask.share // PART))


def exhausted(ask: Ask, limit: Limit, counter: Counter) -> bool:
    """Whether a refusal says that the budget is used up: not even when all holds come back would this fit."""
    return ask.final and counter.used * 100 >= limit.nano * THRESHOLDS[0] and limit.nano - counter.used < ask.least


def reached(limit: Limit, counter: Counter) -> tuple[int, ...]:
    """The thresholds that a counter has come to."""
    return tuple(percent for percent in THRESHOLDS if counter.used * 100 >= limit.nano * percent)


def settled(entry: Entry, held: int, before: Entry | None = None) -> Counter:
    """What a settlement adds to each counter of its row: `held` goes back, the cost lands, whatever the hold was.

    `before` is the orphan that the row takes the place of.
    """
    spent, unproven = (entry.cost or 0), entry.unproven
    if before is not None:
        spent, unproven = spent - (before.cost or 0), unproven - before.unproven
    return Counter(spent=spent, held=-held, unproven=unproven)


def limits(budgets: Iterable[Budget], entry: Entry) -> tuple[Limit, ...]:
    """The budgets that apply to a row; one that names a value goes before the one for `each` of its dimension."""
    found: dict[tuple[str, Window], tuple[bool, Limit]] = {}
    for budget in budgets:
        value = getattr(entry, budget.dimension) if budget.dimension else ""
        named = budget.value != EACH
        if budget.dimension and (value != budget.value if named else not value and budget.dimension in OPTIONAL):
            continue
        scope = f"{budget.dimension}={value}" if budget.dimension else ALL
        limit = Limit(budget.name, scope, budget.window, budget.limit)
        known = found.get((scope, budget.window))
        if known is None or (named, -budget.limit) > (known[0], -known[1].nano):
            found[scope, budget.window] = named, limit
    return tuple(limit for _, limit in found.values())
