"""The price table that is in force: a reload puts another in its place, whole, between two requests."""

from collections.abc import Sequence

from adapters.base import Target
from proxy import ledger
from proxy.catalog import LONGEST_NAME, REMEMBERED, Catalog, ProviderRow
from proxy.prices import Model, Price


class Pricebook:
    """`catalog` is the table of this moment; `rows` are the providers that there are."""

    def __init__(self, catalog: Catalog, rows: Sequence[ProviderRow]) -> None:
        self.catalog = catalog
        self.rows = tuple(rows)
        self._by_name = {row.name: row for row in self.rows}
        self._known: dict[tuple[str, str], tuple[str, Model | None]] = {}  # by provider and name on the wire

    def take(self, catalog: Catalog) -> None:
        """From now on this one. A request that has its price keeps it."""
        self.catalog = catalog
        self._known.clear()

    def price(self, target: Target, when: int) -> tuple[str, Price | None]:
        """The name that a target is counted under, and its price at a time (seconds since the epoch).

        None: the price is not known, which is not free. Dated names and aliases count as the entry that they mean.
        """
        known = self._known.get((target.provider, target.model))
        name, model = self._look(target) if known is None else known
        return name, None if model is None else model.price_at(when)

    def _look(self, target: Target) -> tuple[str, Model | None]:
        """What is asked for again and again is looked for once; in bounds, since clients make up names."""
        model = self.entry(target)
        found = ledger.name(target.model if model is None else model.model), model
        if len(target.model) <= LONGEST_NAME:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[target.provider, target.model] = found
        return found

    def entry(self, target: Target) -> Model | None:
        """The entry of the table that a target means, if there is one."""
        return self.catalog.offer(self._by_name[target.provider], target.model)
