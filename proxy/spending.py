"""Budgets as they are written down: in two variables, and in the file of configuration.

`LLM_DAILY_BUDGET` and `LLM_MONTHLY_BUDGET` bound all traffic. A row of `budgets` bounds what one provider, model,
client key, user, agent or team spends, or (`"*"`) what each of them does; without a dimension it bounds all traffic,
too. A managed key brings budgets of its own.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from proxy.bound import Rules
from proxy.budget import EACH, MOST, Budget, Limit, limits
from proxy.cost import NANO
from proxy.environment import Environment
from proxy.ledger import DIMENSIONS, OPTIONAL, Entry, Window

_DOLLARS = re.compile(r"[0-9]{1,8}(?:\.[0-9]{1,9})?", re.ASCII)
_EXPECTED = 'USD as a decimal, more than 0 and at most 9000000, such as "12.50"'
_REMEMBERED = 4_096  # of those who spend; whoever is new is looked up
_WORDS: dict[str, Window] = {"daily": "day", "monthly": "month"}


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of `budgets`: at most one dimension, at least one window."""

    daily: str | int | None = None
    monthly: str | int | None = None
    provider: str | None = None
    model: str | None = None
    key: str | None = None
    user: str | None = None
    agent: str | None = None
    team: str | None = None

    def budgets(self) -> Iterator[Budget]:
        """What the row says. Raises `ValueError`."""
        named = [name for name in DIMENSIONS if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(f"a budget has one dimension; this one has {' and '.join(named)}")
        amounts = {window: getattr(self, word) for word, window in _WORDS.items() if getattr(self, word) is not None}
        if not amounts:
            raise ValueError("a budget has `daily` or `monthly` or both")
        for window, amount in amounts.items():
            dimension = named[0] if named else ""
            value = getattr(self, dimension) if dimension else ""
            if dimension in OPTIONAL and not value:
                raise ValueError(f'`{dimension}` is a name, or "*": who has none is counted in none')
            yield Budget(limit=nano(str(amount)), window=window, dimension=dimension, value=value)


def nano(text: str) -> int:
    """A decimal of dollars in nano-dollars. Raises `ValueError`."""
    if not _DOLLARS.fullmatch(text):
        raise ValueError(f"expected {_EXPECTED}" + (f"; got {text!r}" if len(text) <= 16 else ""))
    whole, _, fraction = text.partition(".")
    amount = int(whole) * NANO + int(fraction.ljust(9, "0") or 0)
    if not 0 < amount <= MOST:
        raise ValueError(f"expected {_EXPECTED}; got {text!r}")
    return amount


def read(env: Environment, rows: Any, where: str) -> tuple[Budget, ...]:
    """All budgets. Faults go to `env`, one line each; `where` says in which file the rows stand."""
    found: list[Budget] = []
    for name, window in (("LLM_DAILY_BUDGET", "day"), ("LLM_MONTHLY_BUDGET", "month")):
        if limit := env.read(name, nano, 0, _EXPECTED):
            found.append(Budget(limit=limit, window="day" if window == "day" else "month"))
    if rows is not None and not isinstance(rows, list):
        env.faults.append(f"{where}: expected a list of budgets")
        rows = None
    for at, row in enumerate(rows or ()):
        try:
            found.extend(msgspec.convert(row, Row).budgets())
        except (msgspec.ValidationError, ValueError) as error:
            env.faults.append(f"{where}[{at}]: {error}")
    taken: set[tuple[str, str, str]] = set()
    for budget in found:
        place = (budget.window, budget.dimension, budget.value)
        if place in taken:
            env.faults.append(f"{where}: the budget {budget.name} is set twice")
        taken.add(place)
    return tuple(found)


class Purse:
    """The budgets in force, and the rules: those of the configuration, and budgets that managed keys bring.

    One per process. `configured` and `rules` are put in their place anew when the configuration is.
    """

    def __init__(self, configured: Sequence[Budget] = (), rules: Rules | None = None) -> None:
        self._known: dict[tuple[Any, ...], tuple[Limit, ...]] = {}  # by whom they apply to
        self._index: dict[tuple[str, str], list[Budget]] = {}
        self._configured: tuple[Budget, ...] = ()
        self.configured = tuple(configured)
        self.rules = rules or Rules()
        self._of_keys: dict[str, tuple[Budget, ...]] = {}
        self._gone: set[str] = set()  # keys that are revoked: what is still under way counts, and nobody asks for more

    @property
    def configured(self) -> tuple[Budget, ...]:
        """Those of the configuration."""
        return self._configured

    @configured.setter
    def configured(self, budgets: tuple[Budget, ...]) -> None:
        self._configured = budgets
        self._index = _indexed(budgets)
        self._known.clear()

    def __bool__(self) -> bool:
        return bool(self.configured or self._of_keys)

    def give(self, key: str, budgets: Sequence[Budget], *, gone: bool = False) -> None:
        """These are the budgets of a key now; none: it has none any more. `gone`: nobody can use it any more."""
        (self._gone.add if gone else self._gone.discard)(key)
        self._known.clear()
        if budgets:
            self._of_keys[key] = tuple(budgets)
        else:
            self._of_keys.pop(key, None)

    def all(self) -> tuple[Budget, ...]:
        """All of them, to be shown; not those of keys that are gone."""
        living = (budgets for key, budgets in self._of_keys.items() if key not in self._gone)
        return (*self.configured, *(budget for budgets in living for budget in budgets))

    def of(self, entry: Entry) -> tuple[Limit, ...]:
        """Those that apply to a row; a key's own are found by its name, however many keys there are."""
        who = entry.provider, entry.model, entry.key, entry.user, entry.agent, entry.team
        known = self._known.get(who)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()  # so many at once are not asked for again soon
            known = self._known[who] = limits(self._near(entry), entry)
        return known

    def _near(self, entry: Entry) -> Iterator[Budget]:
        """Those that can apply to a row, whoever else has budgets of his own."""
        yield from self._index.get(("", ""), ())
        for dimension in DIMENSIONS:
            yield from self._index.get((dimension, getattr(entry, dimension)), ())
            yield from self._index.get((dimension, EACH), ())
        yield from self._of_keys.get(entry.key, ())


def _indexed(budgets: Sequence[Budget]) -> dict[tuple[str, str], list[Budget]]:
    """By dimension and value; those of all traffic by neither."""
    index: dict[tuple[str, str], list[Budget]] = {}
    for budget in budgets:
        place = (budget.dimension, budget.value) if budget.dimension else ("", "")
        index.setdefault(place, []).append(budget)
    return index
