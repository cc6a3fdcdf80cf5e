"""Whom one request may be sent to, in which order: the catalog's candidates as they stand now, put to the strategy."""

from collections.abc import Mapping, Sequence
from random import Random

import msgspec

from adapters import ADAPTERS
from adapters.base import NOTHING, Failure, Kind, Target
from adapters.envelope import Envelope
from proxy.catalog import Group, Route
from proxy.fleet import Fleet
from proxy.habits import Habits
from proxy.pricebook import Pricebook
from proxy.routing import OTHER, Candidate, Choice, Need, choose

# Members of a request that every vendor carries: one that has no others loses nothing anywhere.
_CARRIED = {
    *("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens"),
    *("user", "safety_identifier", "metadata"),
}
_REFUSES = 1_000  # parameters that a candidate "loses" who would refuse the request


class Chooser(msgspec.Struct, frozen=True, kw_only=True):
    """What all choices share."""

    book: Pricebook
    fleet: Fleet
    habits: Habits
    strategy: str
    tasks: Mapping[str, str]
    groups: Sequence[Group]
    primary: str | None
    fallback: bool
    rng: Random

    def route(self, name: str) -> Route:
        """Who may serve it; a `Failure` 404 if nobody can."""
        return self.book.catalog.route(
            name, self.book.rows, primary=self.primary, fallback=self.fallback, groups=self.groups
        )

    def named(self, route: Route) -> str:
        """The strategy of a route."""
        return (route.group and route.group.strategy) or self.strategy

    def choose(self, route: Route, need: Need, candidates: Sequence[Candidate]) -> Choice:
        """In which order they are asked, as they stand now."""
        return choose(
            candidates,
            need,
            strategy=self.named(route),
            tasks=self.tasks,
            rng=self.rng,
            now=self.fleet.now(),
            choosy=not route.auto,
        )

    def candidates(
        self, route: Route, need: Need, *, caller: str, when: int, envelope: Envelope | None = None
    ) -> list[Candidate]:
        """All of a route, as they stand now. `when` is in seconds since the epoch: prices change by date."""
        weigh = envelope is not None and route.auto and len(route.candidates) > 1 and self.named(route) == "cost"
        candid = not weigh or envelope is None or envelope.fields.keys() <= _CARRIED
        return [
            self._candidate(route, at, target, need, caller, when, 0 if candid else losses(envelope, target))
            for at, target in enumerate(route.candidates)
        ]

    def _candidate(
        self, route: Route, at: int, target: Target, need: Need, caller: str, when: int, losses: int
    ) -> Candidate:
        entry = self.book.entry(target)
        model = entry.model if entry else OTHER
        return Candidate(
            target=target,
            model=model,
            price=entry.price_at(when) if entry else None,
            standing=self.fleet.standing(target.provider, model),
            expected=self.habits.expect(caller, model, need.cap),
            weight=route.weights[at] if route.weights else 1,
            most=route.most[at] if route.most else None,
            stand_in=at >= route.stand_ins,
            losses=losses,
            known=entry is not None and target.model == entry.model,
        )


def losses(envelope: Envelope | None, target: Target) -> int:
    """How many parameters a candidate would drop: tried by translating, which is dear, and true."""
    if envelope is None:
        return 0
    try:
        call = ADAPTERS[target.vendor, "chat"].request(envelope, target, NOTHING)
    except Failure as failure:
        return _REFUSES if failure.kind is Kind.UNSUPPORTED else 0
    return len(call.warnings.dropped)
