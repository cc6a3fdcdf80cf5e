"""All that the page shows, at one moment, in parts that change each at its own pace."""

import asyncio
from typing import Any

from litestar import Litestar, MediaType, Request, Response, get
from litestar.datastructures import State

from adapters.completion import encode
from proxy import __version__, decisions, vitals
from proxy.admin.asking import FRESH
from proxy.admin.guard import guard
from proxy.dashboard import figures, headline
from proxy.dashboard.page import STRICT
from proxy.fleet import Fleet
from proxy.pricebook import Pricebook
from proxy.pulse import Pulse
from proxy.stats import iso

DECISIONS = 50
LATELY = 5  # minutes
_MONEY_SECONDS = 2.0  # what is known of money is not older, while somebody looks
_SNAPSHOT_SECONDS = 0.9  # one snapshot does for all who look

Json = dict[str, Any]
Parts = dict[str, bytes]


def taken(state: State) -> Json:
    """What there is to be shown now. Reads no store: `Pulse.refresh` has done so, or could not."""
    pulse: Pulse = state.pulse
    fleet: Fleet = state.fleet
    now, shared_now = pulse.now(), fleet.now()
    health = _health(state.book, fleet, shared_now)
    lines = [headline.provider(name, one) for name, one in health.items()]
    whole = pulse.whole()
    budgets, costs = figures.money(pulse, pulse.money) if pulse.money else ([], None)
    away = iso(pulse.away_since) if pulse.away_since is not None else None
    found = state.decisions.latest(DECISIONS)
    return {
        "about": {"replica": state.replica, "version": __version__, "signed_in": not state.admin.open},
        "headline": headline.headline(lines, budgets, whole.over(LATELY, now), away, state.draining),
        "providers": [
            {"name": line.subject, "line": line, "health": one}
            for line, one in zip(lines, health.values(), strict=True)
        ],
        "turns": figures.turns(pulse.turns, now),
        "budgets": budgets,
        "costs": costs,
        "series": figures.minutes(whole, now),
        "decisions": {"kept": len(state.decisions), "latest": [decisions.to_json(one) for one in found]},
    }


def _health(book: Pricebook, fleet: Fleet, now: int) -> Json:
    """As `GET /providers/health` tells it."""
    shared, own = fleet.shared(), fleet.own()
    shown = vitals.models(book.catalog, book.rows, shared, own)
    standings = {(provider, name): fleet.standing(provider, name) for provider in shown for name in shown[provider]}
    return vitals.health(shown, shared, own, standings, fleet.policy, now)


class Audience:
    """All who look at the page of this process: they share one snapshot, and there is room for so many."""

    def __init__(self, app: Litestar) -> None:
        self._state = app.state
        self._parts: Parts = {}
        self._made = -_SNAPSHOT_SECONDS
        self._making = asyncio.Lock()
        self.listeners = 0

    async def parts(self) -> Parts:
        """The snapshot, part by part in JSON, not older than a second."""
        async with self._making:
            clock = asyncio.get_running_loop().time()
            if clock - self._made >= _SNAPSHOT_SECONDS:
                await self._state.pulse.refresh(_MONEY_SECONDS)
                self._parts = {name: encode(part) for name, part in taken(self._state).items()}
                self._made = clock
            return self._parts

    def now(self) -> bytes:
        """The time, in JSON."""
        return encode(iso(self._state.pulse.now()))


def audience(app: Litestar) -> Audience:
    """There is one."""
    found: Audience | None = app.state.get("audience")
    if found is None:
        found = app.state["audience"] = Audience(app)
    return found


def joined(parts: Parts, at: bytes) -> bytes:
    """Parts as one object; and when it was so."""
    return b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), part) for name, part in {"at": at, **parts}.items())


@get("/dashboard/snapshot", guards=[guard], media_type=MediaType.JSON, include_in_schema=False)
async def snapshot(request: Request[Any, Any, Any]) -> Response[bytes]:
    """All of it, once."""
    looking = audience(request.app)
    return Response(joined(await looking.parts(), looking.now()), headers={**FRESH, **STRICT})


HANDLERS = (snapshot,)
