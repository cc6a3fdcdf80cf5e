"""In which order the candidates are asked: one row per strategy, each a pure function."""

from collections.abc import Callable, Mapping, Sequence

from adapters.base import Target
from proxy.catalog import Route

Order = Callable[[Route], Sequence[Target]]


def fallback(route: Route) -> Sequence[Target]:
    """The model that was asked for, then its equivalents, primary first: the catalog's own order."""
    return route.candidates


STRATEGIES: Mapping[str, Order] = {"fallback": fallback}
