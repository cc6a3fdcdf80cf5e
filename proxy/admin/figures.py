"""The figures for Prometheus."""

import asyncio
import threading
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
_TURN = threading.Lock()  # of two who ask at once, each is told all of it


@get("/metrics", guards=[guard_unless_near], media_type=_PROMETHEUS)
async def metrics(state: State) -> Response[bytes]:
    """The figures of this replica, as Prometheus reads them; where it has several workers, those of all of them."""
    own, together = await figures(state), state.get("together")
    return Response(own if together is None else await together(own), headers=FRESH)


async def figures(state: State) -> bytes:
    """The figures of this process; and how the budgets stand, if the store can be asked."""
    fleet: Fleet = state.fleet
    named = [budget for budget in state.purse.all() if budget.value != EACH]
    try:
        standing = await _standing(state.store, named) if named else []
    except StoreError:
        standing = None  # as they stood
    shared, own, now = fleet.shared(), fleet.own(), fleet.now()
    state.metrics.gauges(in_flight=state.presence.serving, waiting=len(state.queue))

    def told() -> bytes:
        with _TURN:
            state.metrics.circuits(shared, own, now)
            if standing is not None:
                state.metrics.budgets(standing)
            text: bytes = state.metrics.text()
            return text

    # Of thousands of keys with budgets this takes a third of a second, and streams must not wait for it.
    return await asyncio.to_thread(told)


async def _standing(store: Store, named: Sequence[Budget]) -> list[tuple[Budget, Counter]]:
    """Each budget with the counter of its scope, in the windows of this moment."""
    windows = {label.partition(":")[0]: await store.counters(label) for label in labels(await store.now())}
    return [(budget, windows[budget.window].get(budget.scope, Counter())) for budget in named]


HANDLERS = (metrics,)
