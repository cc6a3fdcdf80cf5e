"""The wiring: settings in, a Litestar application out. The only place where rooms are put together."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from litestar import Litestar
from litestar.datastructures import State

from adapters.base import Target
from proxy import __version__
from proxy.api import HANDLERS, refuse
from proxy.auth import Keyring
from proxy.catalog import Listed, ProviderRow
from proxy.gate import Gate
from proxy.images import Images
from proxy.memory import Memory
from proxy.prices import Price
from proxy.routing import STRATEGIES
from proxy.settings import Settings
from proxy.store import open_store
from proxy.telemetry import Sink, log_request
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
    redis_url = settings.redis_url.reveal() if settings.redis_url else None
    memory = Memory(open_store(redis_url, settings.data_dir))
    rows = tuple(
        ProviderRow(name=row.name, vendor=row.vendor, capabilities=row.capabilities, models=row.models)
        for row in settings.providers
    )
    by_name = {row.name: row for row in rows}

    def price(target: Target, when: int) -> Price | None:
        model = settings.catalog.offer(by_name[target.provider], target.model)
        return model.price_at(when) if model else None

    gate = Gate(
        catalog=settings.catalog,
        providers=rows,
        primary=settings.primary,
        fallback=settings.fallback,
        order=STRATEGIES[settings.strategy],
        upstream=upstream,
        images=Images(settings.limits),
        memory=memory,
        sinks=sinks,
        largest_body=settings.limits.body,
        price=price,
        clock=clock,
        wall=wall,
    )

    def listing() -> list[Listed]:
        return settings.catalog.listing(rows, datetime.fromtimestamp(wall(), UTC).date())

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await memory.open()
        async with upstream:
            yield
        await memory.close()

    return Litestar(
        route_handlers=HANDLERS,
        exception_handlers={Exception: refuse},
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
        state=State({"gate": gate, "keyring": Keyring(settings.client_keys), "listing": listing, "draining": False}),
    )
