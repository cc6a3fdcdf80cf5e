"""What serves requests by one configuration; and what outlives it.

An engine is made whole and put in its place whole: a request that is under way goes on with the one that it began with.
What replicas share, what was learnt and what is owed belongs to the estate, which every engine works on.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random

import msgspec

from proxy import __version__
from proxy.attempts import RetryBudget
from proxy.auth import Keyring
from proxy.books import Books
from proxy.catalog import Listed, ProviderRow
from proxy.chooser import Chooser
from proxy.crowd import Crowd
from proxy.fleet import Fleet
from proxy.forward import Forward
from proxy.gate import Gate
from proxy.habits import Habits
from proxy.hedges import Hedges
from proxy.images import Images
from proxy.memory import Memory
from proxy.pricebook import Pricebook
from proxy.providers import Provider
from proxy.queue import Queue
from proxy.roster import Roster
from proxy.settings import Settings
from proxy.spending import Purse
from proxy.store import Store
from proxy.telemetry import Sink
from proxy.till import Till
from proxy.tokenizer import Tokenizer
from proxy.toll import Tolls
from proxy.trip import Trips
from proxy.turnstile import Turnstile
from proxy.upstream import Upstream


class Estate(msgspec.Struct, frozen=True, kw_only=True):
    """What stays while the configuration changes. Time and dice are in it."""

    replica: str
    store: Store
    purse: Purse
    books: Books
    till: Till
    fleet: Fleet
    roster: Roster
    turnstile: Turnstile
    sinks: Sequence[Sink]
    habits: Habits
    queue: Queue
    crowd: Crowd
    tokenizer: Tokenizer
    clock: Callable[[], float]
    wall: Callable[[], float]
    rng: Random


class Engine:
    """Made of one configuration. `async with engine.upstream` before it serves."""

    def __init__(self, settings: Settings, estate: Estate) -> None:
        self.settings = settings
        self._wall = estate.wall
        self.book = Pricebook(settings.catalog, tuple(map(_row, settings.providers)))
        agent = f"tollhouse/{__version__}"
        self.upstream = Upstream(settings.providers, settings.timeouts, agent=agent, proxies=settings.proxies)
        self.keyring = Keyring(settings.client_keys, estate.roster, managed=settings.managed_keys, wall=estate.wall)
        self.admin = Keyring((settings.admin_key,) if settings.admin_key else ())
        self.gate = self._gate(settings, estate)

    def listing(self) -> list[Listed]:
        """The models on offer today."""
        today = datetime.fromtimestamp(self._wall(), UTC).date()
        return self.book.catalog.listing(self.book.rows, today, groups=self.settings.groups)

    def _gate(self, settings: Settings, estate: Estate) -> Gate:
        chooser = Chooser(
            book=self.book,
            fleet=estate.fleet,
            habits=estate.habits,
            strategy=settings.strategy,
            tasks=settings.tasks,
            groups=settings.groups,
            primary=settings.primary,
            fallback=settings.fallback,
            rng=estate.rng,
        )
        hedging = settings.hedging
        trips = Trips(
            chooser=chooser,
            forward=self._forward(settings, estate),
            fleet=estate.fleet,
            queue=estate.queue,
            retries=settings.retries,
            budget=RetryBudget(settings.retries.share),
            hedges=Hedges(enabled=hedging.enabled, spend=hedging.spend, least=hedging.least),
            clock=estate.clock,
        )
        return Gate(
            chooser=chooser,
            trips=trips,
            turnstile=estate.turnstile,
            crowd=estate.crowd,
            sinks=estate.sinks,
            largest_body=settings.limits.body,
            extent=settings.limits.extent,
            longest=settings.timeouts.longest,
            traced=settings.telemetry,
            prompts=settings.log_prompts,
            clock=estate.clock,
            wall=estate.wall,
        )

    def _forward(self, settings: Settings, estate: Estate) -> Forward:
        tolls = Tolls(
            book=self.book,
            upstream=self.upstream,
            till=estate.till,
            tokenizer=estate.tokenizer,
            clock=estate.clock,
            replica=estate.replica,
        )
        return Forward(
            upstream=self.upstream,
            timeouts=settings.timeouts,
            images=Images(settings.limits),
            memory=Memory(estate.store),
            tolls=tolls,
            fleet=estate.fleet,
            habits=estate.habits,
            clock=estate.clock,
        )


def _row(provider: Provider) -> ProviderRow:
    return ProviderRow(
        name=provider.name, vendor=provider.vendor, capabilities=provider.capabilities, models=provider.models
    )
