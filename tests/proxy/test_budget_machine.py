"""Replicas that hold, forward, die and settle in any order: no budget is overspent, and no spending is lost.

The kernel decides, the plain store acts, and a vendor bills; what he billed is the truth, and nobody asks him.
"""

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, combinations_with_replacement
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from proxy.budget import EACH, PART, Alert, Ask, Budget, Granted, Limit, Refused, limits
from proxy.ledger import Counter, Entry
from proxy.store import Hold, Settlement, StoreError
from tests.proxy.plain_store import Place, PlainStore, label_of, nonzero, places

REPLICAS = range(3)
NEARLY_MIDNIGHT = 1_795_996_799_000  # 2026-11-29T23:59:59
HOUR = 3_600_000
BUDGETS = (
    Budget(limit=1_000, window="day"),
    Budget(limit=1_700, window="month"),
    Budget(limit=400, window="day", dimension="user", value=EACH),
    Budget(limit=700, window="day", dimension="user", value="ann"),
    Budget(limit=600, window="day", dimension="provider", value="openai"),
)


@dataclass
class Attempt:
    """One attempt, as its replica, its vendor and the truth know it."""

    entry: Entry  # with the time of its hold
    limits: tuple[Limit, ...]
    ceiling: int  # what the vendor can bill at most
    replica: int = 0
    billed: int = 0
    row: Entry | None = None  # settled, and in the journal: it outlives its replica

    def bill(self, part: int) -> None:
        """The vendor bills that part (millionths) of what he still can."""
        self.billed += (self.ceiling - self.billed) * part // PART

    def finish(self) -> None:
        """The whole answer was heard, with what it cost."""
        self.ceiling = self.billed
        self.row = msgspec.structs.replace(self.entry, cost=self.billed)

    def leave(self, heard: int) -> None:
        """The client left, or the stream broke: the vendor's bill is not known, and may still grow."""
        cost = self.billed * heard // PART
        self.row = msgspec.structs.replace(self.entry, cost=cost, unproven=self.ceiling - cost, estimated=True)


@dataclass
class World:
    """One store, its replicas, and the vendor's own books."""

    store: PlainStore = field(default_factory=PlainStore)
    attempts: list[Attempt] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    bounds: set[tuple[str, Limit]] = field(default_factory=set)

    def hold(self, ask: Ask, now: int, replica: int = 0) -> Attempt | None:
        answer = self.store.hold(ask, now)
        if isinstance(answer, Refused):
            self.alerts += [answer.alert] if answer.alert else []
            return None
        assert ask.least <= answer.amount <= ask.most
        entry = msgspec.structs.replace(ask.entry, at=answer.at, held=answer.amount)
        attempt = Attempt(entry, ask.limits, ceiling=answer.amount, replica=replica)
        self.attempts.append(attempt)
        self.bounds |= {(label_of(limit, answer.at), limit) for limit in ask.limits}
        return attempt

    def deliver(self, attempt: Attempt, now: int) -> None:
        assert attempt.row is not None
        self.alerts += self.store.settle(Settlement(attempt.row, attempt.limits), now)

    def charge(self, hold: Hold, now: int) -> None:
        entry = msgspec.structs.replace(hold.entry, cost=hold.amount, orphan=True)
        self.alerts += self.store.settle(Settlement(entry, limits(BUDGETS, entry)), now)

    def check(self) -> None:
        truth: defaultdict[Place, int] = defaultdict(int)
        for attempt in self.attempts:
            for place in places(attempt.entry):
                truth[place] += attempt.billed
        for label, limit in self.bounds:
            assert truth[label, limit.scope] <= limit.nano, (label, limit)
        for place, counter in self.store.counters.items():
            assert counter.spent + counter.unproven + counter.held >= truth[place], place
            assert min(counter.spent, counter.unproven, counter.held) >= 0, place
        assert nonzero(self.store.counters) == self.store.summed()
        assert max(Tally(alert.key for alert in self.alerts).values(), default=1) == 1

    def end(self, now: int) -> None:
        """All is delivered, and what nobody will settle is charged."""
        for attempt in self.attempts:
            if attempt.row is not None:
                self.deliver(attempt, now)
        for hold in self.store.expired(now):
            self.charge(hold, now)
        self.check()
        assert all(counter.held == 0 for counter in self.store.counters.values())
        for attempt in self.attempts:
            row = self.store.rows[attempt.entry.id]
            assert row == (attempt.row or row)
            assert row.orphan is (attempt.row is None)
            assert (row.cost or 0) + row.unproven >= attempt.billed
            assert row.estimated or row.orphan or row.cost == attempt.billed


PARTS = st.sampled_from([PART, PART // 3, 0])
REQUESTS = st.fixed_dictionaries(
    {
        "replica": st.sampled_from(REPLICAS),
        "user": st.sampled_from(["bob", "ann", ""]),
        "provider": st.sampled_from(["openai", "anthropic"]),
        "sizes": st.tuples(st.integers(0, 300), st.integers(0, 900)).map(sorted),
        "share": st.sampled_from([PART, PART // 2, PART // 10]),
        "billed": PARTS | st.none(),
    }
)


class Replicas(RuleBasedStateMachine):
    """Any order of any steps."""

    attempts = Bundle("attempts")
    seen = Bundle("seen")

    def __init__(self) -> None:
        super().__init__()
        self.world, self.now, self.count = World(), NEARLY_MIDNIGHT, 0

    @rule(target=attempts, requests=st.lists(REQUESTS, min_size=1, max_size=4))
    def hold(self, requests: list[Any]) -> Any:
        return multiple(*(attempt for request in requests if (attempt := self._hold(**request))))

    def _hold(
        self, replica: int, user: str, provider: str, sizes: Sequence[int], share: int, billed: int | None
    ) -> Attempt | None:
        self.count += 1
        entry = Entry(id=f"r{self.count}/1", request=f"r{self.count}", provider=provider, model="m", user=user)
        told = limits(BUDGETS, entry)
        ask = Ask(entry=entry, limits=told, least=sizes[0], most=sizes[1], share=share, seconds=600)
        attempt = self.world.hold(ask, self.now, replica)
        if attempt and billed is not None:
            attempt.bill(billed)
        elif attempt:  # the money is held, and the replica does not know: its own clock says when
            attempt.ceiling = 0
            attempt.row = msgspec.structs.replace(entry, at=self.now + HOUR, cost=0)
        return attempt

    @rule(attempt=attempts, part=PARTS)
    def bill(self, attempt: Attempt, part: int) -> None:
        attempt.bill(part)

    @rule(attempt=attempts, heard=PARTS | st.none(), journal_only=st.booleans())
    def settle(self, attempt: Attempt, heard: int | None, journal_only: bool) -> None:
        if attempt.row is None and attempt.replica in REPLICAS:
            attempt.finish() if heard is None else attempt.leave(heard)
        if attempt.row is not None and not journal_only:
            self.world.deliver(attempt, self.now)

    @rule(replica=st.sampled_from(REPLICAS))
    def crash(self, replica: int) -> None:
        """What it had not settled it never will; the journal delivers the rest."""
        for attempt in self.world.attempts:
            if attempt.replica == replica and attempt.row is None:
                attempt.replica = -1

    @precondition(lambda self: self.world.store.expired(self.now))
    @rule(target=seen)
    def look(self) -> list[Hold]:
        return self.world.store.expired(self.now)

    @rule(holds=consumes(seen))
    def charge(self, holds: list[Hold]) -> None:
        """Whoever looked may be late: their settlements may have turned up."""
        for hold in holds:
            self.world.charge(hold, self.now)

    @rule(attempt=attempts)
    def hold_again(self, attempt: Attempt) -> None:
        ask = Ask(entry=attempt.entry, limits=attempt.limits, least=1, most=999)
        try:
            assert self.world.store.hold(ask, self.now) == Granted(attempt.entry.held, attempt.entry.at)
        except StoreError:
            assert attempt.entry.id in self.world.store.rows

    @rule(step=st.sampled_from([1_000, 599_000, HOUR, 24 * HOUR, -1_000, -HOUR, -24 * HOUR]))
    def tick(self, step: int) -> None:
        self.now += step

    @invariant()
    def holds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.end(self.now + 1_000 * HOUR)


Replicas.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestReplicas = Replicas.TestCase

# h holds, b bills, s settles with the cost, l settles as one whose client left, o is charged as an orphan; what is
# settled twice is delivered twice. A vendor may bill after o and after l, never after s.
LIVES = ("hbs", "hbss", "hl", "hbl", "hlb", "ho", "hbo", "hob", "hbos", "hbso", "hobs", "hoobs", "hlbo", "hobl", "holb")
SHORT = ("hbs", "hlb", "hob")
TIGHT = Limit("daily", "all", "day", 10)


def interleavings(lengths: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All orders in which that many steps of each can be taken: tuples of whose turn it is."""
    *others, last = lengths
    if not others:
        yield (0,) * last
        return
    for order in interleavings(others):
        for turns in combinations(range(len(order) + last), last):
            rest = iter(order)
            yield tuple(len(others) if at in turns else next(rest) for at in range(len(order) + last))


def live(lives: Sequence[str], order: Sequence[int], known: int = 0) -> World:
    """Take the steps, and look at the books after each; not after the first `known`, which were looked at before."""
    world, begun, steps = World(), dict[int, Attempt](), [iter(life) for life in lives]
    for at, who in enumerate(order):
        step = next(steps[who])
        if step == "h":
            entry = Entry(id=f"r{who}", request="r", provider="openai", model="m")
            if attempt := world.hold(Ask(entry=entry, limits=(TIGHT,), least=4, most=6, seconds=0), 0):
                begun[who] = attempt
        elif who in begun:
            take(world, begun[who], step)
        if at >= known:
            world.check()
    return world


def take(world: World, attempt: Attempt, step: str) -> None:
    if step == "b":
        attempt.bill(PART if attempt.entry.id == "r0" else PART // 2)
    elif step == "o":
        world.charge(Hold(attempt.entry, attempt.entry.held), 0)
    else:
        if attempt.row is None:
            attempt.finish() if step == "s" else attempt.leave(PART // 2)
        world.deliver(attempt, 0)


@pytest.mark.parametrize(
    "together",
    [*combinations_with_replacement(LIVES, 2), *combinations_with_replacement(SHORT, 3)],
    ids="-".join,
)
def test_in_no_order_of_their_steps_do_requests_overspend(together: tuple[str, ...]) -> None:
    granted: set[int] = set()
    last: tuple[int, ...] = ()
    for order in sorted(interleavings([len(life) for life in together])):
        same = next((at for at, (one, other) in enumerate(zip(order, last, strict=False)) if one != other), 0)
        world, last = live(together, order, same), order
        world.end(1)
        granted.add(len(world.attempts))
    assert max(granted) >= 2, "some orders let more than one through"


def test_all_orders_are_tried() -> None:
    assert sorted(interleavings([1, 2])) == [(0, 1, 1), (1, 0, 1), (1, 1, 0)]
    assert len(set(interleavings([3, 3, 3]))) == 1_680
    assert len(list(interleavings([4, 5]))) == 126


def test_the_check_sees_what_it_is_there_for() -> None:
    """Each of these breaks the books in one place."""
    for spoil in (
        lambda world: setattr(world.attempts[0], "billed", 7),
        lambda world: setattr(world.store.counters["day:1970-01-01", "all"], "held", 1),
        lambda world: setattr(world.store.counters["day:1970-01-01", "all"], "spent", -1),
        lambda world: world.store.holds.clear(),
        lambda world: world.alerts.extend([Alert(TIGHT, "day:1970-01-01", 90, Counter())] * 2),
    ):
        world = live(["hb"], [0, 0])
        spoil(world)
        with pytest.raises(AssertionError):
            world.check()
