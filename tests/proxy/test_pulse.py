"""What a replica counts, what it shares, and what it knows of budgets and circuits; with stores that are away."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.base import Kind
from proxy import pulse as pulses
from proxy import series
from proxy.budget import Budget
from proxy.cost import NANO
from proxy.fleet import Fleet
from proxy.ledger import Counter, end, labels
from proxy.pulse import Pulse
from proxy.series import KEPT, MINUTE, Minute, Series
from proxy.store import Settlement
from proxy.telemetry import Attempt, Decision, Record
from tests.proxy.accounts import NOW, OUTAGE, Hand, Moody, entry, until
from tests.proxy.plain_board import Paper, PlainBoard
from tests.proxy.replicas import ILL, OK, POLICY, asked, ill

AT = int(NOW * 1_000)
DAY, MONTH = labels(AT)
BUDGETS = (Budget(limit=NANO, window="day"), Budget(limit=9 * NANO, window="month"))


class Far(Moody):
    """A store that may be `away` to whoever asks how budgets stand."""

    away = False

    async def now(self) -> int:
        if self.away:
            raise OUTAGE
        return await super().now()


class Scene:
    """Replicas on one board and one store; a clock that goes when it is told."""

    def __init__(self, directory: Path) -> None:
        self.hand = Hand()
        self.paper = Paper(self.hand)
        self.store = Far(directory / "tollhouse.db", self.hand)
        self.budgets: tuple[Budget, ...] = ()
        self.boards: dict[str, PlainBoard] = {}
        self.seen: dict[str, int] = {}

    def pulse(self, replica: str = "a", fleet: Fleet | None = None) -> Pulse:
        board = self.boards[replica] = PlainBoard(self.paper)
        return Pulse(board, lambda: self.budgets, self.store, replica, clock=self.hand, wall=self.hand, fleet=fleet)

    async def go(self, seconds: float, *replicas: Pulse) -> None:
        self.hand.now += seconds
        for one in replicas:
            await one.round()

    def look(self, one: Pulse) -> None:
        """As the exchange does: all notices, as they stand."""
        for key, notice in self.paper.standing.items():
            if key.startswith(one.prefix):
                one.hear(key, notice)

    async def spend(self, nano: int, at: int | None = None, **more: Any) -> None:
        id = f"r{len(self.seen)}/1"
        self.seen[id] = nano
        row = entry(id, **{"at": at or int(self.hand() * 1_000), "cost": nano, "status": 200, **more})
        await self.store.settle([Settlement(row)])


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(tmp_path)
    await scene.store.open()
    yield scene
    await scene.store.close()


def record(**fields: Any) -> Record:
    return Record(**{"request_id": "req_1", "started": 0.0, "status": 200, "attempts": [], **fields})


def attempt(outcome: str = "ok", provider: str = "openai") -> Attempt:
    return Attempt(provider, "m", outcome, 1.0)


def total(one: Pulse) -> Minute:
    return one.whole().over(KEPT, one.now())


# ---- what a request adds

WENT_ELSEWHERE = [attempt("timeout"), attempt(provider="gemini")]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (record(cost_nano=7), Minute(requests=1, cost=7)),
        (record(attempts=[attempt()]), Minute(requests=1, attempts={"openai": 1})),
        (record(status=429, code="budget_exceeded"), Minute(requests=1, errors=1)),
        (record(status=200, code="upstream_broke"), Minute(requests=1, errors=1)),
        (record(status=500), Minute(requests=1, errors=1, failed=1)),
        (record(status=499, code="client_left"), Minute(requests=1, errors=1)),
        (record(status=None), Minute(requests=1)),
        (
            record(attempts=WENT_ELSEWHERE),
            Minute(requests=1, retries=1, attempts={"openai": 1, "gemini": 1}, failures={"openai": 1}),
        ),
        (
            record(
                attempts=[attempt("hedge_lost"), attempt(provider="gemini")],
                decision=Decision(strategy="cost", hedged=True),
            ),
            Minute(requests=1, hedges=1, attempts={"openai": 1, "gemini": 1}),
        ),
        (
            record(attempts=[attempt()], decision=Decision(strategy="cost", hedged=True)),
            Minute(requests=1, hedges=1, attempts={"openai": 1}),
        ),
        (
            record(attempts=[attempt(), attempt(), attempt()], decision=Decision(strategy="cost", hedged=True)),
            Minute(requests=1, retries=1, hedges=1, attempts={"openai": 3}),
        ),
        (
            record(attempts=[attempt("budget"), attempt("store"), attempt()]),
            Minute(requests=1, attempts={"openai": 1}),
        ),
        (record(attempts=[attempt("caller")]), Minute(requests=1, attempts={"openai": 1})),
        (
            record(attempts=[attempt("rate_limited")]),
            Minute(requests=1, attempts={"openai": 1}, failures={"openai": 1}),
        ),
        (record(first_part=1.0), Minute(requests=1, first={0: 1})),
    ],
    ids=[
        "its cost",
        "whom it asked",
        "an error of ours or the caller's",
        "a stream that broke off",
        "an error that is nobody's but the server's",
        "a client that left",
        "nobody knows how it ended",
        "somebody failed, and another one answered",
        "a hedge is no retry, and who lost did not fail",
        "a hedge that came to nothing takes no retry away",
        "of three attempts with a hedge one was a retry",
        "nobody was asked for want of money",
        "the caller's mistake is no failure of a provider",
        "a rate limit is",
        "the time to the first part",
    ],
)
async def test_what_a_request_adds_to_its_minute(scene, said, expected):
    one = scene.pulse()
    one(said)
    assert one.whole() == Series({AT // MINUTE: expected})


async def test_requests_of_a_minute_add_up_and_old_ones_go(scene):
    one = scene.pulse()
    for _ in range(3):
        one(record(cost_nano=2))
    scene.hand.now += 60
    one(record(cost_nano=1))
    assert [minute.cost for _, minute in sorted(one.whole().minutes.items())] == [6, 1]
    scene.hand.now += (KEPT - 1) * 60
    assert [minute.cost for minute in one.whole().minutes.values()] == [1]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([0.0, 59.999], {0: 2}),
        ([59.999, 60.0, 61.0], {0: 1, 1: 2}),
        ([60.0, 59.0, 60.0], {0: 1, 1: 2}),
        ([0.0, 180.0], {0: 1, 3: 1}),
    ],
    ids=["one minute", "on the stroke", "a clock that is put back", "minutes in which nothing ends"],
)
async def test_each_request_counts_in_the_minute_in_which_it_ended(scene, ends, expected):
    one, start = scene.pulse(), AT // MINUTE * 60
    for over in ends:
        scene.hand.now += start + over - scene.hand()
        one(record())
    found = {n - start // 60: minute.requests for n, minute in one.whole().minutes.items()}
    assert found == expected


async def test_few_requests_are_laid_aside_however_long_nobody_looks(scene):
    one, records = scene.pulse(), [record(cost_nano=1) for _ in range(2_000)]
    free = sys.getrefcount(records[0])
    for said in records:
        one(said)
    assert sum(sys.getrefcount(records[n]) > free for n in range(2_000)) < 256
    assert total(one).requests == total(one).cost == 2_000


async def test_requests_that_are_over_together_count_as_those_that_are_over_one_by_one(scene):
    together, apart = scene.pulse(), scene.pulse()
    records = [record(cost_nano=n, status=500 if n % 3 == 0 else 200) for n in range(700)]
    together.over(records[:300])
    together.over(records[300:])
    for said in records:
        apart(said)
    assert together.whole() == apart.whole()
    assert total(together).requests == 700


# ---- what replicas tell each other


async def test_replicas_show_the_traffic_of_all(scene):
    one, two = scene.pulse("one"), scene.pulse("two")
    one(record(cost_nano=5))
    two(record(cost_nano=7))
    await scene.go(5, one, two)
    scene.look(one)
    scene.look(two)
    assert one.whole() == two.whole()
    assert total(one).cost == 12
    assert set(scene.paper.standing) == {"series:one", "series:two"}


async def test_it_is_told_every_five_seconds_and_only_if_something_happened(scene):
    one = scene.pulse()
    await scene.go(0, one)
    assert scene.boards["a"].pins == 0
    one(record())
    await scene.go(4.9, one)
    assert scene.boards["a"].pins == 0
    await scene.go(0.1, one)
    assert scene.boards["a"].pins == 1
    await scene.go(60, one)
    assert scene.boards["a"].pins == 1


async def test_what_was_heard_twice_counts_once(scene):
    one, two = scene.pulse("one"), scene.pulse("two")
    one(record(cost_nano=5))
    await scene.go(5, one)
    for _ in range(3):
        scene.look(two)
        scene.look(one)  # its own notice is not somebody else's
    assert total(two).cost == total(one).cost == 5


async def test_the_last_minutes_outlive_their_replica(scene):
    one = scene.pulse("one")
    await one.open()
    one(record(cost_nano=5))
    await one.close()
    new = scene.pulse("new")
    scene.look(new)
    assert total(new).cost == 5


@pytest.mark.parametrize("mood", ["away", "mute"])
async def test_what_could_not_be_told_is_told_the_next_time_and_once(scene, mood):
    one, two = scene.pulse("one"), scene.pulse("two")
    one(record(cost_nano=5))
    setattr(scene.boards["one"], mood, True)
    await scene.go(5, one)
    setattr(scene.boards["one"], mood, False)
    await scene.go(5, one)
    scene.look(two)
    assert total(two).cost == 5
    one(record(cost_nano=1))
    await scene.go(5, one)
    scene.look(two)
    assert total(two).cost == 6


async def test_a_request_that_ends_while_it_is_told_is_not_lost(scene):
    one, two = scene.pulse("one"), scene.pulse("two")
    one(record(cost_nano=5))
    answer = scene.boards["one"].stuck = asyncio.Event()
    scene.hand.now += 5
    telling = asyncio.create_task(one.round())
    await until(lambda: scene.boards["one"].pins == 1)
    one(record(cost_nano=2))
    answer.set()
    await telling
    await scene.go(5, one)
    scene.look(two)
    assert total(two).cost == 7


async def test_whoever_else_wrote_there_is_overwritten(scene):
    one = scene.pulse()
    one(record(cost_nano=5))
    scene.paper.put("series:a", series.encode(Series({AT // MINUTE: Minute(cost=9)})))
    await scene.go(5, one)
    assert series.decode(scene.paper.standing["series:a"].text).minutes[AT // MINUTE].cost == 5


async def test_it_gives_up_on_a_rival_that_is_always_quicker_until_the_next_time(scene):
    one = scene.pulse()
    scene.paper.put("series:a", b"[1,{}]")
    scene.boards["a"].rivals = 100
    one(record(cost_nano=5))
    await scene.go(5, one)
    assert scene.boards["a"].pins == 3
    scene.boards["a"].rivals = 0
    await scene.go(5, one)
    assert series.decode(scene.paper.standing["series:a"].text).over(5, one.now()).cost == 5


async def test_after_the_board_was_forgotten_all_put_up_theirs_again(scene):
    one, two = scene.pulse("one"), scene.pulse("two")
    one(record(cost_nano=5))
    two(record(cost_nano=7))
    await scene.go(5, one, two)
    scene.look(one)
    scene.paper.wipe()
    one.forget()
    two.forget()
    assert total(one).cost == 12, "what is known stays"
    await scene.go(5, one, two)
    scene.look(one)
    assert total(one).cost == 12
    assert len(scene.paper.standing) == 2


async def test_figures_that_are_too_old_are_taken_off_the_board_once(scene):
    old, one, two = scene.pulse("old"), scene.pulse("one"), scene.pulse("two")
    old(record(cost_nano=5))
    await scene.go(5, old)
    scene.look(one)
    scene.look(two)
    await scene.go(KEPT * 60, one, two)
    assert scene.paper.standing["series:old"].text == series.encode(Series())
    pins = [scene.boards[name].pins for name in ("one", "two")]
    scene.look(one)
    scene.look(two)
    await scene.go(KEPT * 60, one, two)
    assert [scene.boards[name].pins for name in ("one", "two")] == pins
    assert total(one) == Minute()


async def test_a_replica_that_comes_back_is_not_wiped_out_by_who_thought_it_gone(scene):
    old, one = scene.pulse("old"), scene.pulse("one")
    old(record(cost_nano=5))
    await scene.go(5, old)
    scene.look(one)
    scene.hand.now += KEPT * 60
    old(record(cost_nano=8))
    await old.round()
    await one.round()  # it has not heard of it yet
    scene.look(one)
    assert total(one).cost == 8


async def test_what_is_not_understood_is_said_once_and_left_alone(scene):
    one = scene.pulse()
    scene.paper.put("series:b", b"[9,{}]")
    with capture_logs() as logs:
        scene.look(one)
        scene.look(one)
    assert [(line["event"], line["key"]) for line in logs] == [("series not understood", "series:b")]
    assert one.whole() == Series()
    assert scene.paper.standing["series:b"].text == b"[9,{}]"


async def test_a_board_that_somebody_fills_does_not_fill_the_process(scene):
    one = scene.pulse()
    text = series.encode(Series({AT // MINUTE: Minute(cost=1)}))
    for n in range(pulses._MOST_HEARD + 10):
        one.hear(f"series:x{n}", scene.paper.put(f"series:x{n}", text))
    assert total(one).cost == pulses._MOST_HEARD


async def test_a_replica_whose_figures_were_taken_off_leaves_room_for_another(scene):
    one = scene.pulse()
    text = series.encode(Series({AT // MINUTE: Minute(cost=1)}))
    for n in range(pulses._MOST_HEARD):
        one.hear(f"series:x{n}", scene.paper.put(f"series:x{n}", text))
    one.hear("series:x0", scene.paper.put("series:x0", series.encode(Series())))
    one.hear("series:new", scene.paper.put("series:new", series.encode(Series({AT // MINUTE: Minute(cost=7)}))))
    assert total(one).cost == pulses._MOST_HEARD - 1 + 7


# ---- how budgets stand


async def test_a_curve_has_a_point_a_minute_as_long_as_it_rises(scene):
    scene.budgets = BUDGETS
    one = scene.pulse()
    await scene.go(0, one)
    for _ in range(8):
        await scene.spend(1_000)
        await scene.go(15, one)
    points = one.points(DAY, "all")
    assert [used for _, used in points] == sorted({used for _, used in points})
    assert points[-1] == (AT + 120_000, 8_000)
    assert 3 <= len(points) <= 4
    for _ in range(100):
        await scene.go(60, one)
    assert len(one.points(DAY, "all")) <= 6
    assert one.points(DAY, "all")[-1] == (AT + 120_000 + 6_000_000, 8_000)


async def test_the_store_is_asked_every_fifteen_seconds_or_when_somebody_looks(scene):
    one = scene.pulse()
    await scene.go(0, one)
    first = one.money
    await scene.go(14, one)
    assert one.money is first
    await one.refresh(2.0)
    assert one.money is not first
    second = one.money
    await one.refresh(2.0)
    await scene.go(14, one)
    assert one.money is second
    await scene.go(1, one)
    assert one.money is not second


async def test_a_new_day_begins_a_new_curve(scene):
    scene.budgets = BUDGETS
    one = scene.pulse()
    await scene.spend(5)
    await scene.go(0, one)
    scene.hand.now = end(DAY) / 1_000 + 1
    await one.round()
    assert one.points(DAY, "all") == ()
    (today, _) = labels(one.now())
    assert one.points(today, "all") == [(one.now(), 0)]


async def test_a_budget_for_each_has_a_curve_for_those_who_use_most(scene):
    scene.budgets = (Budget(limit=NANO, window="day", dimension="user", value="*"),)
    for n in range(pulses._MOST_OF_EACH + 5):
        await scene.spend(n + 1, user=f"u{n:02}")
    one = scene.pulse()
    await scene.go(0, one)
    known = [n for n in range(pulses._MOST_OF_EACH + 5) if one.points(DAY, f"user=u{n:02}")]
    assert known == list(range(5, pulses._MOST_OF_EACH + 5))
    assert one.points(DAY, "provider=openai") == ()


async def test_a_month_is_told_by_its_days(scene):
    scene.budgets = BUDGETS
    day = 86_400_000
    await scene.spend(3, at=AT - 2 * day)
    await scene.spend(4, at=AT - day, user="alice")
    await scene.spend(5)
    one = scene.pulse()
    await scene.go(0, one)
    points = one.points(MONTH, "all")
    assert [used for _, used in points][-2:] == [3, 7], "today is not over"
    assert points[-1][0] == end(DAY) - day
    assert len(points) == int(DAY[-2:]) - 1
    assert [used for _, used in one.points(MONTH, "user=alice")][-1] == 4
    await scene.spend(10, at=AT - day)  # it came late
    await scene.go(3_600, one)
    assert [used for _, used in one.points(MONTH, "all")][-1] == 17


async def test_no_day_is_read_if_no_month_is_bounded(scene):
    scene.budgets = BUDGETS[:1]
    one = scene.pulse()
    await scene.go(0, one)
    assert one.points(MONTH, "all") == []


async def test_a_store_that_is_away_changes_nothing_but_how_fresh_it_is(scene):
    scene.budgets = BUDGETS
    one = scene.pulse()
    await scene.spend(5)
    await scene.go(0, one)
    known, before = one.money, one.away_since
    assert before is None
    with capture_logs() as logs:
        scene.store.away = True
        await scene.go(15, one)
        await scene.go(15, one)
        assert one.away_since == AT + 15_000
        assert one.money is known
        scene.store.away = False
        await scene.go(15, one)
    assert one.away_since is None
    assert one.money is not known
    assert [line["event"] for line in logs] == ["dashboard not fresh", "dashboard fresh again"]


# ---- circuits


@asynccontextmanager
async def watching(scene: Scene) -> AsyncIterator[tuple[Pulse, Fleet]]:
    fleet = Fleet(PlainBoard(scene.paper), POLICY, replica="a", clock=scene.hand, wall=scene.hand)
    yield scene.pulse(fleet=fleet), fleet


async def test_each_turn_of_a_circuit_is_noted_once(scene):
    async with watching(scene) as (one, fleet):
        await asked(fleet, OK)
        await scene.go(1, one)
        assert not one.turns
        await asked(fleet, ILL, ILL, ILL)
        opened = fleet.now()
        await scene.go(1, one)
        await scene.go(1, one)
        await scene.go(POLICY.cooldown, one)
        await asked(fleet, OK, OK, OK)
        await scene.go(1, one)
        await scene.go(1, one)
    assert [(turn.provider, turn.model, turn.state, turn.why) for turn in one.turns] == [
        ("openai", "gpt-4o", "open", "transient"),
        ("openai", "gpt-4o", "half_open", "transient"),
        ("openai", "gpt-4o", "closed", ""),
    ]
    assert [turn.at for turn in one.turns][:2] == [opened, opened + 300_000]


async def test_our_own_way_to_a_provider_is_watched_too(scene):
    async with watching(scene) as (one, fleet):
        await asked(fleet, *[ill(Kind.UNREACHABLE)] * 3)
        await scene.go(1, one)
    assert [(turn.model, turn.state) for turn in one.turns] == [("line", "open")]


async def test_a_circuit_that_turned_before_we_came_is_told_if_it_is_not_long_ago(scene):
    async with watching(scene) as (one, fleet):
        await asked(fleet, ILL, ILL, ILL)
        scene.hand.now += 200
        await one.round()
        late = scene.pulse(fleet=fleet)
        scene.hand.now += KEPT * 60 + 200
        await late.round()
    assert [turn.state for turn in one.turns] == ["open"]
    assert [turn.state for turn in late.turns] == []


async def test_it_beats_by_itself_until_it_is_closed(scene):
    one, before = scene.pulse(), asyncio.all_tasks()
    await one.open()
    one(record(cost_nano=5))
    scene.hand.now += 5
    await until(lambda: "series:a" in scene.paper.standing)
    await one.close()
    await one.close()
    assert asyncio.all_tasks() == before


async def test_the_reset_of_a_circuit_that_was_well_is_no_turn(scene):
    async with watching(scene) as (one, fleet):
        await asked(fleet, OK)
        await scene.go(1, one)
        scene.hand.now += 5
        await fleet.reset("openai")
        await scene.go(1, one)
        assert not one.turns
        await asked(fleet, ILL, ILL, ILL)
        await scene.go(1, one)
        await fleet.reset("openai")
        await scene.go(1, one)
    assert [turn.state for turn in one.turns] == ["open", "closed"]


class Dear(Far):
    """To read its counters takes a tenth of a second."""

    async def counters(self, label: str) -> dict[str, Counter]:
        self._hand.now += 0.1
        return await super().counters(label)

    def __init__(self, path: Path, hand: Hand) -> None:
        super().__init__(path, hand)
        self._hand = hand


async def test_a_store_whose_counters_are_dear_to_read_is_left_alone_for_as_much_longer(scene, tmp_path):
    scene.store = Dear(tmp_path / "dear.db", scene.hand)
    await scene.store.open()
    one = scene.pulse()
    await one.refresh(1.0)
    first = one.money
    assert first is not None
    scene.hand.now += 9  # a hundred times as long as the read took, and it is two labels at least
    await one.refresh(1.0)
    assert one.money is first
    scene.hand.now += 200
    await one.refresh(1.0)
    assert one.money is not first
    second = one.money
    await one.refresh(0.0)
    assert one.money is not second, "who wants it now gets it now"
    await scene.store.close()
