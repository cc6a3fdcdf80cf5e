"""The price table that is in force: a reload puts another in its place, whole, between two requests."""

from collections.abc import Sequence
from math import inf

import msgspec

from adapters.base import Target
from proxy import ledger
from proxy.catalog import LONGEST_NAME, REMEMBERED, Catalog, ProviderRow
from proxy.prices import Model, Price


class _Tag(msgspec.Struct):
    """What is `said` of a target from `since` on, before `until`; seconds since the epoch."""

    model: Model | None
    said: tuple[str, Price | None]
    since: float = inf
    until: float = -inf

    def turn(self, when: int) -> None:
        """Another time has come, that may have a price of its own: no price begins between `since` and `until`."""
        rows = () if self.model is None else self.model.prices
        starts = [row.valid_from.timestamp() for row in rows if row.valid_from is not None]
        self.since = max((start for start in starts if start <= when), default=-inf)
        self.until = min((start for start in starts if start > when), default=inf)
        self.said = self.said[0], None if self.model is None else self.model.price_at(when)


class Pricebook:
    """`catalog` is the table of this moment; `rows` are the providers that there are."""

    def __init__(self, catalog: Catalog, rows: Sequence[ProviderRow]) -> None:
        self.catalog = catalog
        self.rows = tuple(rows)
        self._by_name = {row.name: row for row in self.rows}
        self._known: dict[tuple[str, str], _Tag] = {}  # by provider and name on the wire

    def take(self, catalog: Catalog) -> None:
        """From now on this one. A request that has its price keeps it."""
        self.catalog = catalog
        self._known.clear()

    def price(self, target: Target, when: int) -> tuple[str, Price | None]:
        """The name that a target is counted under, and its price at a time (seconds since the epoch).

        None: the price is not known, which is not free. Dated names and aliases count as the entry that they mean.
        """
        tag = self._known.get((target.provider, target.model)) or self._look(target)
        if not tag.since <= when < tag.until:
            tag.turn(when)
        return tag.said

    def _look(self, target: Target) -> "_Tag":
        """What is asked for again and again is looked for once; in bounds, since clients make up names."""
        model = self.entry(target)
        tag = _Tag(model, (ledger.name(target.model if model is None else model.model), None))
        if len(target.model) <= LONGEST_NAME:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[target.provider, target.model] = tag
        return tag

    def entry(self, target: Target) -> Model | None:
        """The entry of the table that a target means, if there is one."""
        return self.catalog.offer(self._by_name[target.provider], target.model)
