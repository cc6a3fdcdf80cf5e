"""The figures for Prometheus."""

import contextlib
from collections.abc import Sequence

from litestar import Response, get
from litestar.datastructures import State
from prometheus_client import CONTENT_TYPE_LATEST

from proxy.admin.asking import FRESH
from proxy.admin.guard import guard_unless_near
from proxy.budget import EACH, Budget
from proxy.fleet import Fleet
from proxy.ledger import Counter, labels
from proxy.store import Store, StoreError

_PROMETHEUS = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")  # Litestar says it again


@get("/metrics", guards=[guard_unless_near], media_type=_PROMETHEUS)
async def metrics(state: State) -> Response[bytes]:
    """The figures of this replica, as Prometheus reads them; and how the budgets stand, if the store can be asked."""
    fleet: Fleet = state.fleet
    state.metrics.circuits(fleet.shared(), fleet.own(), fleet.now())
    state.metrics.gauges(in_flight=state.presence.serving, waiting=len(state.queue))
    named = [budget for budget in state.purse.all() if budget.value != EACH]
    if named:
        with contextlib.suppress(StoreError):
            state.metrics.budgets(await _standing(state.store, named))
    return Response(state.metrics.text(), headers=FRESH)


async def _standing(store: Store, named: Sequence[Budget]) -> list[tuple[Budget, Counter]]:
    """Each budget with the counter of its scope, in the windows of this moment."""
    windows = {label.partition(":")[0]: await store.counters(label) for label in labels(await store.now())}
    return [(budget, windows[budget.window].get(budget.scope, Counter())) for budget in named]


HANDLERS = (metrics,)
