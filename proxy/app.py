"""The wiring: settings in, a Litestar application out. The only place where rooms are put together."""

import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random

from litestar import Litestar
from litestar.datastructures import State

from proxy import __version__, admin, api
from proxy.alerts import Alerts
from proxy.attempts import RetryBudget
from proxy.auth import Keyring
from proxy.books import Books
from proxy.catalog import Listed, ProviderRow, load
from proxy.chooser import Chooser
from proxy.decisions import Decisions
from proxy.fleet import Fleet
from proxy.forward import Forward
from proxy.gate import Gate
from proxy.habits import Habits
from proxy.hedges import Hedges
from proxy.images import Images
from proxy.journal import Journal
from proxy.memory import Memory
from proxy.metrics import Metrics
from proxy.pricebook import Pricebook
from proxy.providers import Provider
from proxy.queue import Queue
from proxy.reload import Watcher
from proxy.settings import Settings
from proxy.store import Store, open_store
from proxy.telemetry import Sink, log_request
from proxy.till import Till
from proxy.tokenizer import Tokenizer
from proxy.toll import Tolls
from proxy.trip import Trips
from proxy.upstream import Upstream


def build(
    settings: Settings,
    *,
    sinks: Sequence[Sink] = (log_request,),
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    rng: Random | None = None,
) -> Litestar:
    """The application. Time and dice come in here and nowhere else."""
    upstream = Upstream(settings.providers, settings.timeouts, agent=f"tollhouse/{__version__}")
    replica = os.urandom(6).hex()
    redis_url = settings.redis_url.reveal() if settings.redis_url else None
    store = open_store(redis_url, settings.data_dir, replica)
    metrics = Metrics()
    till = _till(settings, store, metrics, replica, clock, wall)
    book = Pricebook(settings.catalog, tuple(map(_row, settings.providers)))
    fleet = Fleet(store, settings.health, replica=replica, clock=clock, wall=wall)
    tolls = Tolls(book=book, upstream=upstream, till=till, tokenizer=Tokenizer(), clock=clock, replica=replica)
    decisions = Decisions(wall=wall)
    gate = _gate(settings, _forward(settings, tolls, fleet, store), (*sinks, decisions), rng or Random(), wall)

    def listing() -> list[Listed]:
        today = datetime.fromtimestamp(wall(), UTC).date()
        return book.catalog.listing(book.rows, today, groups=settings.groups)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await till.open()
        await fleet.open()
        try:
            async with upstream, Watcher(settings.pricing, load, book.take, known=settings.catalog):
                yield
        finally:
            await fleet.close()
            await till.close()

    return Litestar(
        route_handlers=(*api.HANDLERS, *admin.HANDLERS),
        exception_handlers={Exception: api.refuse},
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
        state=State(
            {
                "gate": gate,
                "keyring": Keyring(settings.client_keys),
                "listing": listing,
                "draining": False,
                "store": store,
                "budgets": settings.budgets,
                "metrics": metrics,
                "admin": Keyring((settings.admin_key,) if settings.admin_key else ()),
                "fleet": fleet,
                "decisions": decisions,
                "book": book,
                "replica": replica,
            }
        ),
    )


def _row(provider: Provider) -> ProviderRow:
    return ProviderRow(
        name=provider.name, vendor=provider.vendor, capabilities=provider.capabilities, models=provider.models
    )


def _forward(settings: Settings, tolls: Tolls, fleet: Fleet, store: Store) -> Forward:
    return Forward(
        upstream=tolls.upstream,
        timeouts=settings.timeouts,
        images=Images(settings.limits),
        memory=Memory(store),
        tolls=tolls,
        fleet=fleet,
        habits=Habits(),
        clock=tolls.clock,
    )


def _gate(settings: Settings, forward: Forward, sinks: Sequence[Sink], rng: Random, wall: Callable[[], float]) -> Gate:
    chooser = Chooser(
        book=forward.tolls.book,
        fleet=forward.fleet,
        habits=forward.habits,
        strategy=settings.strategy,
        tasks=settings.tasks,
        groups=settings.groups,
        primary=settings.primary,
        fallback=settings.fallback,
        rng=rng,
    )
    hedging = settings.hedging
    trips = Trips(
        chooser=chooser,
        forward=forward,
        fleet=forward.fleet,
        queue=Queue(),
        retries=settings.retries,
        budget=RetryBudget(settings.retries.share),
        hedges=Hedges(enabled=hedging.enabled, spend=hedging.spend, least=hedging.least),
        clock=forward.clock,
    )
    return Gate(
        chooser=chooser,
        trips=trips,
        sinks=sinks,
        largest_body=settings.limits.body,
        longest=settings.timeouts.longest,
        clock=forward.clock,
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
    return Till(books, budgets=settings.budgets, rules=settings.spending, longest=settings.timeouts.longest, wall=wall)
