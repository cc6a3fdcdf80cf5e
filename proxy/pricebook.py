"""The price table that is in force: a reload puts another in its place, whole, between two requests."""

from collections.abc import Sequence

from adapters.base import Target
from proxy.catalog import Catalog, ProviderRow
from proxy.prices import Model, Price


class Pricebook:
    """`catalog` is the table of this moment; `rows` are the providers that there are."""

    def __init__(self, catalog: Catalog, rows: Sequence[ProviderRow]) -> None:
        self.catalog = catalog
        self.rows = tuple(rows)
        self._by_name = {row.name: row for row in self.rows}

    def take(self, catalog: Catalog) -> None:
        """From now on this one. A request that has its price keeps it."""
        self.catalog = catalog

    def price(self, target: Target, when: int) -> tuple[str, Price | None]:
        """The name that a target is counted under, and its price at a time (seconds since the epoch).

        None: the price is not known, which is not free. Dated names and aliases count as the entry that they mean.
        """
        model = self.catalog.offer(self._by_name[target.provider], target.model)
        return (target.model, None) if model is None else (model.model, model.price_at(when))

    def entry(self, target: Target) -> Model | None:
        """The entry of the table that a target means, if there is one."""
        return self.catalog.offer(self._by_name[target.provider], target.model)
