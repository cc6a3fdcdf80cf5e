"""One request on its way through the candidates: choose, wait for a rate limit if need be, ask one after the other."""

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from adapters.base import Failure, Kind
from proxy.attempts import Failed, Plan, RetryBudget, Rounds, Try, Wait, attempts, jitter, limited, nobody
from proxy.catalog import Route
from proxy.chooser import Chooser
from proxy.fleet import Fleet
from proxy.forward import Forward
from proxy.hedges import Hedges
from proxy.queue import Queue
from proxy.race import Race
from proxy.resilience import Retries
from proxy.routing import Candidate, Choice, Need
from proxy.routing.need import need as needed
from proxy.telemetry import Decision, milliseconds
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
        exchange, hedge = trip.exchange, None
        need = trip.need = needed(exchange.envelope, trip.task)
        choice: Choice | None = None
        if not self.hedges.enabled:
            entry = exchange.entry
            found = self.chooser.quiet(trip.route, need, caller=entry.user or entry.key, when=exchange.stamp.created)
            if found is not None:  # nearly always: there is nothing to choose
                choice, exchange.record.decision = found
        while True:
            if choice is None:
                choice = await self._chosen(trip)
                hedge = self.hedges.after(choice.order, need)
            try:
                if hedge is None:
                    failed = await self.forward.attempt(choice.order[0], exchange, need)
                else:
                    failed = await self._pair(trip, choice.order[0], choice.order[1], hedge)
                if failed is not None:  # most requests end with the first step, and never have a plan
                    await self._follow(trip, choice, hedge, failed)
                return
            except Failure as failure:
                pause = None if exchange.down.started else self._hopes(trip, choice, failure)
                if pause is None:
                    raise
                await self._give_back(exchange, [(candidate, failure) for candidate in choice.order])
                await self._pause(exchange, pause)
                trip.waited += pause
                choice = None

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
        if self.hedges.enabled:
            self.hedges.spent(exchange.record.cost_nano)

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
            waited=milliseconds(trip.waited),
            hedged=bool(before and before.hedged),
        )

    async def _follow(self, trip: Trip, choice: Choice, hedge: float | None, failed: Failed | None) -> None:
        """Ask one candidate after the other, as the plan says; those of its first step have `failed` already."""
        plan = self._plan(trip, choice, hedge)
        step = next(plan)
        put_off: set[int] = set()
        while failed is not None:
            if isinstance(step, Try) and not failed:
                put_off.add(id(step.first))
            try:
                step = plan.send(failed)
            except StopIteration as stop:
                raise stop.value from None
            await self._give_back(trip.exchange, failed)
            if isinstance(step, Wait):
                await self._pause(trip.exchange, step.seconds)
                failed = ()
            else:  # none of them has a `second`: that is for the first step alone
                forced = id(step.first) in put_off
                failed = await self.forward.attempt(step.first, trip.exchange, trip.need, force=forced)

    def _plan(self, trip: Trip, choice: Choice, hedge: float | None) -> Plan:
        exchange, retries = trip.exchange, self.retries
        rounds = Rounds(
            most=retries.rounds,
            longest=retries.longest,
            pause=jitter(retries.base, retries.longest, self.chooser.rng),
            may=lambda seconds: self.clock() + seconds < exchange.deadline and self.budget.spend(),
        )
        return attempts(choice.order, choosy=not trip.route.auto, rounds=rounds, hedge=hedge)

    async def _pair(self, trip: Trip, first: Candidate, second: Candidate, after: float) -> Failed | None:
        """As `Forward.attempt`, of two: the second is asked `after` seconds later."""
        exchange = trip.exchange
        exchange.race = Race()
        failures = await exchange.race.run(partial(self._run, trip, first), partial(self._hedge, trip, second), after)
        failed = [(who, failure) for who, failure in zip((first, second), failures, strict=False) if failure]
        if exchange.spoken is None:
            return failed
        for candidate, failure in failed:
            if exchange.spoken.target is candidate.target:
                raise failure  # of two at once the other may have failed: that is no matter of the client
        return None

    async def _run(self, trip: Trip, candidate: Candidate, *, force: bool = False) -> None:
        """One of two. Raises its `Failure`, as a `Race` wants it."""
        if failed := await self.forward.attempt(candidate, trip.exchange, trip.need, force=force):
            raise failed[0][1]

    async def _hedge(self, trip: Trip, candidate: Candidate) -> None:
        """The second one of two at once."""
        record = trip.exchange.record
        if not self.hedges.begin(candidate, trip.need):
            return
        record.decision = record.decision and msgspec.structs.replace(record.decision, hedged=True)
        await self._run(trip, candidate, force=True)

    async def _give_back(self, exchange: Exchange, failed: Failed) -> None:
        """Others follow: the money of those who failed may be needed for them."""
        began = self.clock()
        for candidate, failure in failed:
            for toll in exchange.tolls:
                if toll.target is candidate.target and not toll.settled:
                    await self.forward.tolls.give_back(toll, exchange, toll.failure or failure)
        exchange.held(self.clock() - began)
