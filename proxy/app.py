"""The wiring: settings in, a Litestar application out. The only place where rooms are put together."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Self

from litestar import Litestar
from litestar.datastructures import State
from litestar.events import BaseEventEmitterBackend

from proxy import admin, api, dashboard
from proxy.admin.session import Sessions
from proxy.admin.throttle import Throttle
from proxy.alerts import Alerts
from proxy.books import Books
from proxy.catalog import Catalog, load
from proxy.crowd import Crowd
from proxy.decisions import Decisions
from proxy.engine import Engine, Estate
from proxy.fleet import Fleet
from proxy.footprint import spared
from proxy.gate import Aftermath
from proxy.habits import Habits
from proxy.journal import Journal
from proxy.keys import Key, budgets
from proxy.log import log_request
from proxy.metrics import Metrics
from proxy.pulse import Pulse
from proxy.queue import Queue
from proxy.reconfiguration import Reconfiguration
from proxy.reload import Watcher
from proxy.roster import Roster
from proxy.settings import Settings
from proxy.spending import Purse
from proxy.store import open_store
from proxy.telemetry import Sink
from proxy.till import Till
from proxy.tokenizer import Tokenizer
from proxy.turnstile import Turnstile

if TYPE_CHECKING:
    from proxy.otel.exporter import Otel

Again = Callable[[], Settings]


class Clocks:
    """Time and dice, as they come in: here and nowhere else."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float], rng: Random | None) -> None:
        self.clock, self.wall, self.rng = clock, wall, rng or Random()


class Wiring:
    """All rooms of one process, put together."""

    def __init__(self, settings: Settings, sinks: Sequence[Sink], clocks: Clocks, again: Again | None) -> None:
        self.settings, self.clocks = settings, clocks
        self.replica = os.urandom(6).hex()
        redis_url = settings.redis_url.reveal() if settings.redis_url else None
        self.store = open_store(redis_url, settings.data_dir, self.replica)
        self.metrics = Metrics()
        self.purse = Purse(settings.budgets, settings.spending)
        self.alerts = Alerts(settings.alerts.webhook, settings.alert_secret, metrics=self.metrics, wall=clocks.wall)
        self.pulse = Pulse(self.store, self.purse.all, self.store, self.replica, clock=clocks.clock, wall=clocks.wall)
        self.otel = self._otel()
        self.decisions = Decisions(wall=clocks.wall)
        aftermath = Aftermath(self.metrics.over, self.pulse.over, self.decisions.over)
        told = (*sinks, aftermath, *([self.otel] if self.otel else ()))
        self.estate = self._estate(told)
        self.pulse.fleet = self.estate.fleet
        self.estate.fleet.exchange.readers += [self.estate.roster, self.pulse]
        self.throttle = Throttle()
        self.engine = Engine(settings, self.estate)
        self.state = self._state()
        self.state["serve"] = partial(api.serve, self.state)
        self.door = api.Door(anonymous=settings.anonymous)
        self.state["answer"] = self.door.answer
        self.take(self.engine)
        self.reconfiguration = Reconfiguration(
            self.engine,
            self.estate,
            read=again or (lambda: settings),
            take=self.take,
            turn=self._turn,
            files=settings.files if again else (),
        )
        self.state["reconfigure"] = self.reconfiguration.ask

    def take(self, engine: Engine) -> None:
        """Put an engine in its place. Between two requests: nothing here waits."""
        limits = engine.settings.limits
        self.estate.crowd.limit(limits.concurrent, limits.concurrent_per_key)
        self.state["gate"] = self.door.gate = engine.gate
        self.state["keyring"] = self.door.keyring = engine.keyring
        self.state["admin"] = engine.admin
        self.state["listing"] = engine.listing
        self.state["book"] = engine.book
        self.state["settings"] = engine.settings
        self.state["sessions"] = Sessions(engine.settings.admin_key, wall=self.clocks.wall, throttle=self.throttle)

    async def _turn(self, changed: Settings) -> None:
        await self.alerts.turn_to(changed.alerts.webhook, changed.alert_secret)

    @asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        """Open all rooms, and close them in the other order."""
        estate = self.estate
        watcher = Watcher(self.settings.pricing, load, self._priced, known=self.settings.catalog)
        async with AsyncExitStack() as stack:
            if self.otel is not None:
                self.otel.start()
                stack.push_async_callback(asyncio.to_thread, self.otel.close)
            for room in (estate.till, estate.fleet, estate.roster, estate.turnstile, self.pulse):
                stack.push_async_callback(room.close)
                await room.open()
            await self.engine.upstream.__aenter__()
            stack.push_async_callback(self.reconfiguration.close)
            self.reconfiguration.start()
            await stack.enter_async_context(watcher)
            yield

    def _priced(self, catalog: Catalog) -> None:
        self.state.book.take(catalog)

    def _state(self) -> State:
        """What the doors know."""
        estate = self.estate
        return State(
            {
                "draining": False,
                "replica": self.replica,
                "anonymous": self.settings.anonymous,
                "store": self.store,
                "purse": self.purse,
                "metrics": self.metrics,
                "pulse": self.pulse,
                "decisions": self.decisions,
                "fleet": estate.fleet,
                "roster": estate.roster,
                "books": estate.books,
                "queue": estate.queue,
                "presence": estate.crowd,
            }
        )

    def _otel(self) -> "Otel | None":
        if not self.settings.telemetry:
            return None
        from proxy.otel.exporter import Otel  # only here: it is an extra, and slow to import

        return Otel(self.settings.providers, replica=self.replica, wall=self.clocks.wall, lost=self.metrics.lost)

    def _estate(self, sinks: Sequence[Sink]) -> Estate:
        settings, store, clock, wall = self.settings, self.store, self.clocks.clock, self.clocks.wall
        journal = Journal(settings.data_dir / "journal", self.replica, wall=wall, keep=settings.redis_url is not None)
        books = Books(store, journal, self.alerts, self.metrics, self.purse, clock=clock, wall=wall)
        fleet = Fleet(store, settings.health, replica=self.replica, clock=clock, wall=wall, opened=self.metrics.opened)
        return Estate(
            replica=self.replica,
            store=store,
            purse=self.purse,
            books=books,
            till=Till(books, self.purse, longest=settings.timeouts.longest, wall=wall),
            fleet=fleet,
            roster=self._roster(),
            turnstile=Turnstile(store, wall=wall, clock=clock),
            sinks=sinks,
            habits=Habits(),
            queue=Queue(),
            crowd=Crowd(),
            tokenizer=Tokenizer(),
            clock=clock,
            wall=wall,
            rng=self.clocks.rng,
        )

    def _roster(self) -> Roster:
        """It is remembered on the disk that there were keys: a store that is away at the start opens no door."""
        roster = Roster(self.store, self.settings.key_secret, wall=self.clocks.wall, changed=self._key_changed)
        roster.sealed = self._seal.exists()
        return roster

    @property
    def _seal(self) -> Path:
        return self.settings.data_dir / "keys-were-made"

    def _key_changed(self, key: Key) -> None:
        self.purse.give(key.name, budgets(key), gone=bool(key.revoked))
        with contextlib.suppress(OSError):  # without a disk to write to, there is TOLLHOUSE_MANAGED_KEYS
            self._seal.touch()


class _Silent(BaseEventEmitterBackend):
    """Litestar's own waits in a task for events that nobody here emits, and loads a second event loop's words for it
    (anyio): a megabyte."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is under way."""

    def emit(self, event_id: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""


def build(
    settings: Settings,
    *,
    sinks: Sequence[Sink] = (log_request,),
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    rng: Random | None = None,
    again: Again | None = None,
) -> Litestar:
    """The application. `again` reads the configuration anew; without it, it stays as it is."""
    wiring = Wiring(settings, sinks, Clocks(clock, wall, rng), again)
    with spared():  # it looks for packages when it is made, too
        return Litestar(
            route_handlers=(*api.HANDLERS, *admin.HANDLERS, *dashboard.HANDLERS),
            exception_handlers={Exception: api.refuse},
            lifespan=[wiring.lifespan],
            openapi_config=admin.OPENAPI,
            logging_config=None,
            event_emitter_backend=_Silent,
            state=wiring.state,
        )
