"""Whom one request may be sent to, in which order: the catalog's candidates as they stand now, put to the strategy."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from random import Random

import msgspec

from adapters import ADAPTERS
from adapters.base import NOTHING, Failure, Kind, Target
from adapters.envelope import Envelope
from proxy.catalog import REMEMBERED, Catalog, Group, Route
from proxy.fleet import Fleet, Ways
from proxy.habits import Habits
from proxy.health import Standing, ratelimit
from proxy.pricebook import Pricebook
from proxy.routing import OTHER, Candidate, Choice, Need, choose
from proxy.routing.fitness import fit
from proxy.telemetry import Decision

# Members of a request that every vendor carries: one that has no others loses nothing anywhere.
_CARRIED = {
    *("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens"),
    *("user", "safety_identifier", "metadata"),
}
_REFUSES = 1_000  # parameters that a candidate "loses" who would refuse the request
_DAY = 86_400  # seconds
_NOBODY = Ways(())
_NOTHING = (Choice(order=()), Decision(strategy=""))


class Known(msgspec.Struct):
    """A name that was asked for before: its route, and what of a choice is the same for each request.

    `found` is who is asked where all are well: the order of the route. `room`: tokens that all of them have place for;
    none, where there is something to weigh.
    """

    catalog: Catalog
    route: Route
    ways: Ways = _NOBODY
    found: tuple[Choice, Decision] = _NOTHING
    room: int = 0
    until: int = 0  # seconds since the epoch: prices change by date
    able: dict[tuple[bool, ...], bool] = {}  # whether all of them can do it

    def serves(self, need: Need) -> bool:
        """Whether each of them can do what is needed, with room to spare."""
        if need.prompt + (need.cap or 0) > self.room or need.least >= self.room:
            return False
        if not (need.images or need.audio or need.files or need.tools or need.schema):
            return True
        marks = (need.images, need.audio, need.files, need.tools, need.schema)
        able = self.able.get(marks)
        if able is None:
            able = self.able[marks] = not fit(self.found[0].order, need, choosy=True)[1]
        return able


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
    known: OrderedDict[str, Known] = msgspec.field(default_factory=OrderedDict)  # by name; a few are asked for again

    def route(self, name: str) -> Route:
        """Who may serve it; a `Failure` 404 if nobody can."""
        known, catalog = self.known.get(name), self.book.catalog
        if known is None or known.catalog is not catalog:
            route = catalog.route(
                name, self.book.rows, primary=self.primary, fallback=self.fallback, groups=self.groups
            )
            known = self.known[name] = Known(catalog, route)
            if len(self.known) > REMEMBERED:
                self.known.popitem(last=False)
        return known.route

    def quiet(self, route: Route, need: Need, *, caller: str, when: int) -> tuple[Choice, Decision] | None:
        """What `choose` would say where there is nothing to choose: one was asked for by name, it and all who stand in
        for it can do what is needed with room to spare, and all are well. None: that is not so.

        It is so nearly always, and then most of a choice is the same each time.
        """
        known = self.known.get(route.asked)
        if known is None or known.route is not route:
            return None
        if known.until <= when:
            self._learn(known, need, when)
        if need.task is not None or not known.serves(need) or not self.fleet.quiet(known.ways):
            return None
        return self._within(known, need, caller) if known.ways.limited else known.found

    def _within(self, known: Known, need: Need, caller: str) -> tuple[Choice, Decision] | None:
        """The same, where a vendor tells its limits: all of them must have room for it now."""
        choice, decision = known.found
        now = self.fleet.now()
        for at, (candidate, way) in enumerate(zip(choice.order, known.ways.each, strict=True)):
            if windows := way.windows:
                expected = self.habits.expect(caller, candidate.model, need.cap)
                needed = ratelimit.needs(need.prompt, round(expected.output) * need.choices)
                if ratelimit.ready(windows, needed, now) > now:
                    return None
                if at == 0:  # what it takes of the limits goes by it
                    first = msgspec.structs.replace(candidate, expected=expected)
                    choice = Choice(order=(first, *choice.order[1:]))
        return choice, decision

    def _learn(self, known: Known, need: Need, when: int) -> None:
        """What of a choice is the same until tomorrow."""
        route = known.route
        known.until = when - when % _DAY + _DAY
        if route.auto or route.stand_ins != 1:
            return
        order = tuple(self.candidates(route, need, caller="", when=when))
        known.ways = Ways([self.fleet.way(candidate.target.provider, candidate.model) for candidate in order])
        known.room = min(candidate.target.context for candidate in order)
        known.found = (
            Choice(order=tuple(msgspec.structs.replace(one, standing=Standing()) for one in order)),
            Decision(strategy=self.named(route), order=tuple(candidate.name for candidate in order)),
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
