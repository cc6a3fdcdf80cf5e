"""One request on its way through the candidates: choose, wait for a rate limit if need be, ask one after the other."""

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from adapters.base import Failure, Kind
from proxy.attempts import Failed, Plan, RetryBudget, Rounds, Try, Wait, attempts, jitter, limited, nobody, opening
from proxy.catalog import Route
from proxy.chooser import Chooser
from proxy.fleet import Fleet
from proxy.forward import Errand, Forward
from proxy.health import ratelimit
from proxy.hedges import Hedges
from proxy.queue import Queue
from proxy.race import Race
from proxy.resilience import Retries
from proxy.routing import Candidate, Choice, Need
from proxy.routing.need import need as needed
from proxy.telemetry import Decision
from proxy.toll import Exchange

_CROWDED_SECONDS = 1.0  # to come again, where too many wait already
_MOST_DOUBLED = 30

# These were no reasons of the request: it may go there later, or, where nobody else can serve it, even now.
_BUSY = frozenset({"limited", "full"})
_SICK = frozenset({"open"})
# Who failed so could not serve it, now or ever; or only we can mend that.
_UNFIT = frozenset({Kind.UNSUPPORTED, Kind.TOO_LONG, Kind.MODEL})
_POOR = frozenset({Kind.BUDGET, Kind.QUOTA, Kind.KEY})


def _others(route: Route, choice: Choice, failure: Failure) -> frozenset[str]:
    """Who was not asked, and might serve what those could not who were: their reasons are not to be told as his."""
    named = not route.auto and any(not candidate.stand_in for candidate in choice.order)
    if failure.kind not in _UNFIT | _POOR or (failure.kind is Kind.UNSUPPORTED and named):
        return frozenset()
    small = max(one.target.context for one in choice.order) if failure.kind is Kind.TOO_LONG else -1
    large = {f"{target.provider}/{target.model}" for target in route.candidates if target.context > small}
    whys = _BUSY | _SICK if failure.kind in _UNFIT else _BUSY
    return frozenset(out.name for out in choice.out if out.why in whys and out.name in large)


class Trip(msgspec.Struct, kw_only=True):
    """One request: where it may go, and what has been decided so far."""

    route: Route
    exchange: Exchange
    task: str | None
    urgency: int
    need: Need = Need()
    waited: float = 0.0  # seconds, for a rate limit
    limited: int = 0  # how often all who could serve have said so
    left: frozenset[str] = frozenset()  # names of those to whom it may go still; none: to all


class Trips(msgspec.Struct, frozen=True, kw_only=True):
    """What all of them share."""

    chooser: Chooser
    forward: Forward
    fleet: Fleet
    queue: Queue
    retries: Retries
    budget: RetryBudget
    hedges: Hedges
    clock: Callable[[], float]

    async def go(self, trip: Trip) -> None:
        """Have the request answered. Raises the `Failure` that the client should hear."""
        self.budget.earn()
        trip.need = needed(trip.exchange.envelope, trip.task)
        while True:
            choice = self._quiet(trip) or await self._chosen(trip)
            try:
                return await self._follow(trip, choice)
            except Failure as failure:
                pause = None if trip.exchange.down.started else self._hopes(trip, choice, failure)
                if pause is None:
                    raise
                await self._give_back(trip.exchange, [(candidate, failure) for candidate in choice.order])
                await self._pause(trip.exchange, pause)
                trip.waited += pause

    def _hopes(self, trip: Trip, choice: Choice, failure: Failure) -> float | None:
        """Seconds after which it may go well all the same: with who was out, or with who is only rate limited (that
        nobody is asked before his time, the queue sees to). None: there is no hope."""
        if failure.kind is not Kind.RATE_LIMITED:
            trip.left = _others(trip.route, choice, failure)
            return 0.0 if trip.left else None
        # A vendor that says "again in 0 seconds" is not asked without end.
        least = min(self.retries.longest, self.retries.base * 2.0 ** min(trip.limited, _MOST_DOUBLED))
        if failure.retry_after is None or not self._has_time(trip, max(least, failure.retry_after)):
            return None
        trip.limited += 1
        return max(0.0, least - failure.retry_after)

    def close(self, exchange: Exchange) -> None:
        """The request is over: settle what is under way. Never waits, never raises."""
        self.forward.tolls.close(exchange)
        self.hedges.spent(exchange.record.cost_nano)

    def _quiet(self, trip: Trip) -> Choice | None:
        """Whom to ask, where there is nothing to choose: nearly always."""
        if trip.left or trip.waited or self.hedges.enabled:
            return None
        exchange = trip.exchange
        caller, when = exchange.entry.user or exchange.entry.key, exchange.stamp.created
        found = self.chooser.quiet(trip.route, trip.need, caller=caller, when=when)
        if found is None:
            return None
        choice, exchange.record.decision = found
        return choice

    async def _chosen(self, trip: Trip) -> Choice:
        """Whom to ask. If all are only rate limited, wait for the first of them, as long as the client has time."""
        exchange, chooser = trip.exchange, self.chooser
        while True:
            candidates = chooser.candidates(
                trip.route,
                trip.need,
                caller=exchange.entry.user or exchange.entry.key,
                when=exchange.stamp.created,
                envelope=exchange.envelope,
            )
            candidates = [candidate for candidate in candidates if not trip.left or candidate.name in trip.left]
            choice = chooser.choose(trip.route, trip.need, candidates)
            exchange.record.decision = self._decision(trip, choice)
            if choice.order:
                return choice
            if choice.wait is None:
                raise nobody()
            seconds = max(0.0, (choice.wait - self.fleet.now()) / 1000)
            if not self._has_time(trip, seconds):
                raise limited(seconds)
            if not await self._wait(trip, seconds):
                raise limited(max(_CROWDED_SECONDS, (choice.wait - self.fleet.now()) / 1000))

    async def _wait(self, trip: Trip, seconds: float) -> bool:
        """In the queue; False if too many wait there, or if its time is over before its turn has come."""
        began, deadline = self.clock(), trip.exchange.deadline
        try:
            async with asyncio.timeout(min(self.retries.queue - trip.waited, deadline - began)):
                return await self.queue.wait(seconds, urgency=trip.urgency, deadline=deadline)
        except TimeoutError:
            return False
        finally:
            waited = self.clock() - began
            trip.waited += waited
            trip.exchange.paused(waited)

    async def _pause(self, exchange: Exchange, seconds: float) -> None:
        began = self.clock()
        await asyncio.sleep(seconds)
        exchange.paused(self.clock() - began)

    def _has_time(self, trip: Trip, seconds: float) -> bool:
        return trip.waited + seconds <= self.retries.queue and self.clock() + seconds < trip.exchange.deadline

    def _decision(self, trip: Trip, choice: Choice) -> Decision:
        group, before = trip.route.group, trip.exchange.record.decision
        order = [*(before.order if before and trip.left else ()), *(candidate.name for candidate in choice.order)]
        return Decision(
            strategy=self.chooser.named(trip.route),
            group=group.name if group else None,
            task=trip.task,
            order=tuple(dict.fromkeys(order)),
            out=choice.out,
            least_bad=choice.least_bad,
            waited=round(trip.waited * 1000, 3),
            hedged=bool(before and before.hedged),
        )

    async def _follow(self, trip: Trip, choice: Choice) -> None:
        """Ask one candidate after the other, as the plan says."""
        hedge = self.hedges.after(choice.order, trip.need) if self.hedges.enabled else None
        step: Try | Wait = opening(choice.order, hedge)
        put_off: set[int] = set()
        plan: Plan | None = None  # made when it is wanted: most requests end with the first step
        while True:
            failed: Failed | None = ()
            if isinstance(step, Wait):
                await self._pause(trip.exchange, step.seconds)
            else:
                failed = await self._try(trip, step, put_off)
            if failed is None:
                return
            if plan is None:
                plan = self._plan(trip, choice, hedge)
                next(plan)
            try:
                step = plan.send(failed)
            except StopIteration as stop:
                raise stop.value from None
            await self._give_back(trip.exchange, failed)

    def _plan(self, trip: Trip, choice: Choice, hedge: float | None) -> Plan:
        exchange, retries = trip.exchange, self.retries
        rounds = Rounds(
            most=retries.rounds,
            longest=retries.longest,
            pause=jitter(retries.base, retries.longest, self.chooser.rng),
            may=lambda seconds: self.clock() + seconds < exchange.deadline and self.budget.spend(),
        )
        return attempts(choice.order, choosy=not trip.route.auto, rounds=rounds, hedge=hedge)

    async def _try(self, trip: Trip, step: Try, put_off: set[int]) -> Failed | None:
        """How those failed who were asked; none of them was, if there is no place for a probe; None: one has answered.

        Raises the `Failure` of who failed while the client was hearing it.
        """
        exchange, first, second = trip.exchange, step.first, step.second
        errand = await self._begin(trip, first, force=id(first) in put_off)
        if errand is None:
            put_off.add(id(first))
            return ()
        if second is None:
            try:  # `Race` for one, without a task of its own
                await self.forward.attempt(errand)
            except Failure as alone:
                failures: list[Failure | None] = [alone]
            else:
                return None
        else:
            exchange.race = Race()
            failures = await exchange.race.run(
                partial(self.forward.attempt, errand), partial(self._hedge, trip, second), step.after
            )
        failed = [(who, failure) for who, failure in zip((first, second), failures, strict=False) if who and failure]
        if exchange.spoken is None:
            return failed
        for candidate, failure in failed:
            if exchange.spoken.target is candidate.target:
                raise failure  # of two at once the other may have failed: that is no matter of the client
        return None

    async def _begin(self, trip: Trip, candidate: Candidate, *, force: bool) -> Errand | None:
        target, stream = candidate.target, trip.need.stream
        timings = self.forward.timeouts.of(target)
        ticket = await self.fleet.begin(
            target.provider,
            candidate.model,
            ratelimit.needs(trip.need.prompt, int(candidate.expected.output)),
            first_byte=timings.first_byte if stream else timings.first_byte_plain,
            stream=stream,
            force=force,
        )
        return None if ticket is None else Errand(candidate, trip.exchange, ticket, timings)

    async def _hedge(self, trip: Trip, candidate: Candidate) -> None:
        """The second one of two at once."""
        record = trip.exchange.record
        if not self.hedges.begin(candidate, trip.need):
            return
        record.decision = record.decision and msgspec.structs.replace(record.decision, hedged=True)
        errand = await self._begin(trip, candidate, force=True)
        assert errand is not None
        await self.forward.attempt(errand)

    async def _give_back(self, exchange: Exchange, failed: Failed) -> None:
        """Others follow: the money of those who failed may be needed for them."""
        began = self.clock()
        for candidate, failure in failed:
            for toll in exchange.tolls:
                if toll.target is candidate.target and not toll.settled:
                    await self.forward.tolls.give_back(toll, exchange, toll.failure or failure)
        exchange.held(self.clock() - began)
