"""The wiring: settings in, a Litestar application out. The only place where rooms are put together."""

import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from litestar import Litestar
from litestar.datastructures import State

from proxy import __version__, admin, api
from proxy.alerts import Alerts
from proxy.auth import Keyring
from proxy.books import Books
from proxy.catalog import Listed, ProviderRow, load
from proxy.forward import Forward
from proxy.gate import Gate
from proxy.images import Images
from proxy.journal import Journal
from proxy.memory import Memory
from proxy.metrics import Metrics
from proxy.pricebook import Pricebook
from proxy.providers import Provider
from proxy.reload import Watcher
from proxy.routing import STRATEGIES
from proxy.settings import Settings
from proxy.store import Store, open_store
from proxy.telemetry import Sink, log_request
from proxy.till import Till
from proxy.tokenizer import Tokenizer
from proxy.upstream import Upstream


def build(
    settings: Settings,
    *,
    sinks: Sequence[Sink] = (log_request,),
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> Litestar:
    """The application. Time comes in here and nowhere else."""
    upstream = Upstream(settings.providers, settings.timeouts, agent=f"tollhouse/{__version__}")
    replica = os.urandom(6).hex()
    redis_url = settings.redis_url.reveal() if settings.redis_url else None
    store = open_store(redis_url, settings.data_dir, replica)
    metrics = Metrics()
    till = _till(settings, store, metrics, replica, clock, wall)
    book = Pricebook(settings.catalog, tuple(map(_row, settings.providers)))
    forward = Forward(
        book=book,
        upstream=upstream,
        images=Images(settings.limits),
        memory=Memory(store),
        till=till,
        tokenizer=Tokenizer(),
        clock=clock,
        replica=replica,
    )

    def listing() -> list[Listed]:
        return book.catalog.listing(book.rows, datetime.fromtimestamp(wall(), UTC).date())

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await till.open()
        try:
            async with upstream, Watcher(settings.pricing, load, book.take, known=settings.catalog):
                yield
        finally:
            await till.close()

    return Litestar(
        route_handlers=(*api.HANDLERS, *admin.HANDLERS),
        exception_handlers={Exception: api.refuse},
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
        state=State(
            {
                "gate": _gate(settings, forward, sinks, clock, wall),
                "keyring": Keyring(settings.client_keys),
                "listing": listing,
                "draining": False,
                "store": store,
                "budgets": settings.budgets,
                "metrics": metrics,
                "admin": Keyring((settings.admin_key,) if settings.admin_key else ()),
            }
        ),
    )


def _row(provider: Provider) -> ProviderRow:
    return ProviderRow(
        name=provider.name, vendor=provider.vendor, capabilities=provider.capabilities, models=provider.models
    )


def _gate(
    settings: Settings,
    forward: Forward,
    sinks: Sequence[Sink],
    clock: Callable[[], float],
    wall: Callable[[], float],
) -> Gate:
    return Gate(
        forward=forward,
        primary=settings.primary,
        fallback=settings.fallback,
        order=STRATEGIES[settings.strategy],
        sinks=sinks,
        largest_body=settings.limits.body,
        clock=clock,
        wall=wall,
    )


def _till(
    settings: Settings,
    store: Store,
    metrics: Metrics,
    replica: str,
    clock: Callable[[], float],
    wall: Callable[[], float],
) -> Till:
    books = Books(
        store,
        Journal(settings.data_dir / "journal", replica, wall=wall, keep=settings.redis_url is not None),
        Alerts(settings.alerts.webhook, settings.alert_secret, metrics=metrics, wall=wall),
        metrics,
        budgets=settings.budgets,
        rules=settings.spending,
        clock=clock,
        wall=wall,
    )
    return Till(books, budgets=settings.budgets, rules=settings.spending, longest=settings.timeouts.total, wall=wall)
