"""What one replica knows and decides: circuits, probes, limits, stalls, late outcomes, and what the log is told."""

from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from adapters.base import Kind
from proxy.fleet import Fleet, Ticket, Ways
from proxy.health import Outcome, Policy, Standing
from proxy.health.ratelimit import Window
from tests.proxy.accounts import Hand
from tests.proxy.plain_board import Paper, PlainBoard
from tests.proxy.replicas import ILL, LEFT, NOW, OK, OPENAI, POLICY, alone, asked, begun, ill, joined, rounds, state


@pytest.fixture
def clock() -> Hand:
    return Hand(NOW)


@pytest.fixture
def fleet(clock: Hand) -> Fleet:
    return alone(clock)


async def half_open(fleet: Fleet, clock: Hand, kind: Kind = Kind.TRANSIENT) -> None:
    """A circuit whose cooldown is just over."""
    await asked(fleet, *[ill(kind)] * (1 if kind is Kind.KEY else POLICY.consecutive))
    assert state(fleet) == "open"
    clock.now += POLICY.cooldown
    assert state(fleet) == "half_open"


# ---- circuits -------------------------------------------------------------------------------------------------------


async def test_what_nobody_has_asked_for_is_well(fleet: Fleet) -> None:
    assert fleet.standing(*OPENAI) == Standing()
    assert fleet.shared() == fleet.own() == {}
    assert fleet.now() == int(NOW * 1000)
    assert fleet.policy is POLICY


@pytest.mark.parametrize(
    ("outcomes", "scope", "others_model"),
    [
        pytest.param([ILL] * 3, "model", "closed", id="a model that fails"),
        pytest.param([ill(Kind.MODEL)], "model", "closed", id="a model that the vendor does not know"),
        pytest.param([ill(Kind.KEY)], "provider", "open", id="our key"),
        pytest.param([ill(Kind.QUOTA)], "provider", "open", id="our money there"),
        pytest.param([ill(Kind.UNREACHABLE)] * 3, "line", "open", id="our line"),
    ],
)
async def test_each_fault_opens_the_circuit_whose_it_is(
    fleet: Fleet, outcomes: list[Outcome], scope: str, others_model: str
) -> None:
    await asked(fleet, *outcomes)
    standing = fleet.standing(*OPENAI)
    assert (standing.state, standing.scope) == ("open", scope)
    assert standing.since == fleet.now()
    assert standing.until == fleet.now() + 300_000
    assert state(fleet, "openai", "gpt-4o-mini") == others_model
    assert state(fleet, "gemini", "gpt-4o") == "closed"


@pytest.mark.parametrize(
    "outcome",
    [ill(Kind.CALLER), ill(Kind.RATE_LIMITED), ill(Kind.BUDGET), LEFT, OK],
    ids=["the client's fault", "a rate limit", "our budget", "a client that left", "an answer"],
)
async def test_what_says_nothing_ill_opens_nothing(fleet: Fleet, outcome: Outcome) -> None:
    await asked(fleet, *[outcome] * 20)
    assert state(fleet) == "closed"


async def test_an_open_circuit_may_be_asked_knowingly_but_nothing_comes_of_it(fleet: Fleet, clock: Hand) -> None:
    await asked(fleet, *[ILL] * 3)
    clock.now += 1
    ticket = await begun(fleet)
    assert ticket.probes == {}
    fleet.end(ticket, OK)
    assert state(fleet) == "open"


# ---- probes ---------------------------------------------------------------------------------------------------------


async def test_one_probe_goes_first_then_the_others_then_all(fleet: Fleet, clock: Hand) -> None:
    await half_open(fleet, clock)
    first = await begun(fleet)
    assert list(first.probes) == ["model"]
    assert await fleet.begin(*OPENAI) is None
    fleet.end(first, OK)
    second, third = await begun(fleet), await begun(fleet)
    assert await fleet.begin(*OPENAI) is None
    fleet.end(second, OK)
    assert state(fleet) == "half_open"
    fleet.end(third, OK)
    assert state(fleet) == "closed"
    assert (await begun(fleet)).probes == {}


async def test_a_probe_that_fails_opens_it_again_for_longer(fleet: Fleet, clock: Hand) -> None:
    await half_open(fleet, clock)
    await asked(fleet, ILL)
    assert state(fleet) == "open"
    assert fleet.standing(*OPENAI).until == fleet.now() + 600_000


async def test_a_probe_that_says_nothing_gives_its_place_back(fleet: Fleet, clock: Hand) -> None:
    await half_open(fleet, clock)
    await asked(fleet, LEFT, LEFT, OK)
    assert state(fleet) == "half_open"


async def test_who_must_ask_does_so_without_a_place(fleet: Fleet, clock: Hand) -> None:
    await half_open(fleet, clock)
    probe = await fleet.begin(*OPENAI, force=True)
    assert probe is not None
    assert list(probe.probes) == ["model"]
    forced = await fleet.begin(*OPENAI, force=True)
    assert forced is not None
    assert forced.probes == {}
    fleet.end(forced, ILL)
    assert state(fleet) == "half_open"


async def test_a_probe_takes_a_place_in_each_circuit_that_is_half_open(fleet: Fleet, clock: Hand) -> None:
    await asked(fleet, *[ILL] * 2)
    tickets = [await begun(fleet) for _ in range(5)]
    for ticket, kind in zip(tickets, [Kind.TRANSIENT, Kind.KEY, *[Kind.UNREACHABLE] * 3], strict=True):
        fleet.end(ticket, ill(kind))
    clock.now += POLICY.cooldown
    for left in (3, 2, 1):
        assert state(fleet) == "half_open", left
        ticket = await begun(fleet)
        assert set(ticket.probes) == {"model", "provider", "line"}
        fleet.end(ticket, OK)
    assert state(fleet) == "closed"


async def test_who_finds_one_place_of_two_takes_none(fleet: Fleet, clock: Hand) -> None:
    tickets = [await begun(fleet) for _ in range(4)]
    for ticket, kind in zip(tickets, [*[Kind.TRANSIENT] * 3, Kind.KEY], strict=True):
        fleet.end(ticket, ill(kind))
    clock.now += POLICY.cooldown
    elsewhere = await begun(fleet, "openai", "gpt-4o-mini")  # takes the provider's
    assert set(elsewhere.probes) == {"provider"}
    assert await fleet.begin(*OPENAI) is None
    fleet.end(elsewhere, LEFT)
    assert set((await begun(fleet)).probes) == {"provider", "model"}


async def test_where_one_circuit_is_open_no_place_is_taken_in_another(fleet: Fleet, clock: Hand) -> None:
    await half_open(fleet, clock)
    await asked(fleet, ill(Kind.KEY), model="gpt-4o-mini")
    assert fleet.standing(*OPENAI).scope == "provider"
    assert (await begun(fleet)).probes == {}


async def test_the_place_of_a_probe_that_was_never_heard_of_again_is_given_out_anew(fleet: Fleet, clock: Hand) -> None:
    await half_open(fleet, clock)
    await begun(fleet)
    clock.now += 119
    assert await fleet.begin(*OPENAI) is None
    clock.now += 2
    assert await fleet.begin(*OPENAI) is not None


# ---- late outcomes --------------------------------------------------------------------------------------------------


async def recovered(fleet: Fleet, clock: Hand) -> None:
    clock.now += POLICY.cooldown
    await asked(fleet, OK, OK, OK)
    assert state(fleet) == "closed"
    clock.now += 1


async def closed_by_hand(fleet: Fleet, clock: Hand) -> None:
    clock.now += 1
    assert "openai/gpt-4o" in await fleet.reset("openai")
    clock.now += 1


@pytest.mark.parametrize("closed", [recovered, closed_by_hand])
@pytest.mark.parametrize("kind", [Kind.TRANSIENT, Kind.KEY, Kind.UNREACHABLE, Kind.MODEL], ids=lambda kind: kind.value)
async def test_failures_of_requests_sent_before_it_closed_do_not_open_it_again(
    fleet: Fleet, clock: Hand, closed: Any, kind: Kind
) -> None:
    late = [await begun(fleet) for _ in range(10)]
    for ticket in [await begun(fleet) for _ in range(3)]:
        fleet.end(ticket, ill(kind))
    assert state(fleet) == "open"
    await closed(fleet, clock)
    for ticket in late:
        fleet.end(ticket, ill(kind))
    assert state(fleet) == "closed"
    assert fleet.shared()[OPENAI].failed == 13
    await asked(fleet, *[ill(kind)] * 3)
    assert state(fleet) == "open"


async def test_a_probe_of_a_circuit_that_was_closed_by_hand_is_late_too(fleet: Fleet, clock: Hand) -> None:
    await half_open(fleet, clock, Kind.KEY)
    probe = await begun(fleet)
    clock.now += 1
    await fleet.reset("openai")
    fleet.end(probe, ill(Kind.KEY))
    assert state(fleet) == "closed"


async def test_a_rate_limit_is_one_however_late(fleet: Fleet, clock: Hand) -> None:
    late = await begun(fleet)
    await asked(fleet, *[ILL] * 3)
    await closed_by_hand(fleet, clock)
    fleet.end(late, ill(Kind.RATE_LIMITED, 30))
    assert fleet.standing(*OPENAI).blocked == fleet.now() + 30_000


async def test_a_ticket_counts_once(fleet: Fleet) -> None:
    ticket = await begun(fleet)
    for _ in range(5):
        fleet.end(ticket, ILL)
    assert state(fleet) == "closed"
    assert fleet.shared()[OPENAI].failed == 1
    assert fleet.standing(*OPENAI).in_flight == 0


async def test_the_end_of_a_ticket_never_raises(fleet: Fleet) -> None:
    ticket = await begun(fleet)
    nonsense: Any = None
    with capture_logs() as logs:
        fleet.end(ticket, nonsense)
    assert [line["event"] for line in logs] == ["health not counted"]
    assert fleet.standing(*OPENAI).in_flight == 0


# ---- what is under way ----------------------------------------------------------------------------------------------


async def test_what_is_in_flight_is_counted_by_model(fleet: Fleet) -> None:
    tickets = [await begun(fleet) for _ in range(3)]
    fleet.answered(tickets[0])
    assert fleet.standing(*OPENAI).in_flight == 3
    assert fleet.standing("openai", "gpt-4o-mini").in_flight == 0
    for ticket in tickets:
        fleet.end(ticket, OK)
    assert fleet.standing(*OPENAI).in_flight == 0


async def in_vain(fleet: Fleet, tickets: list[Ticket]) -> None:
    pass


async def one_answered(fleet: Fleet, tickets: list[Ticket]) -> None:
    fleet.answered(tickets[-1])


async def one_well(fleet: Fleet, tickets: list[Ticket]) -> None:
    fleet.end(tickets[-1], OK)


async def one_failed(fleet: Fleet, tickets: list[Ticket]) -> None:
    fleet.end(tickets[-1], ILL)


async def one_left(fleet: Fleet, tickets: list[Ticket]) -> None:
    fleet.end(tickets[-1], LEFT)


@pytest.mark.parametrize(
    ("happens", "expected"),
    [(in_vain, True), (one_answered, False), (one_well, False), (one_failed, True), (one_left, True)],
)
async def test_a_model_that_answers_nobody_is_stalled(clock: Hand, happens: Any, expected: bool) -> None:
    fleet = alone(clock)
    tickets = [await begun(fleet, first_byte=20.0) for _ in range(4)]
    clock.now += 1
    await happens(fleet, tickets)
    clock.now += 10
    assert fleet.standing(*OPENAI).stalled is expected
    assert not fleet.standing("openai", "gpt-4o-mini").stalled
    other, way = fleet.way("openai", "gpt-4o-mini"), fleet.way(*OPENAI)
    assert fleet.quiet(Ways((other, way))) is not expected
    assert fleet.quiet(Ways((other,)))


# ---- what nothing speaks against ------------------------------------------------------------------------------------


async def by_a_failure(fleet: Fleet) -> None:
    fleet.end(await begun(fleet), ill(Kind.KEY))


async def by_a_rate_limit(fleet: Fleet) -> None:
    fleet.end(await begun(fleet), ill(Kind.RATE_LIMITED, 30.0))


async def by_failures_of_another_model(fleet: Fleet) -> None:
    for _ in range(POLICY.consecutive):
        fleet.end(await begun(fleet, "openai", "gpt-4o-mini"), ill(Kind.UNREACHABLE))


@pytest.mark.parametrize("ill", [by_a_failure, by_a_rate_limit, by_failures_of_another_model])
async def test_what_speaks_against_one_is_seen_at_once(fleet: Fleet, ill: Any) -> None:
    """Though it was looked at in the same moment: the clock stands still."""
    ways, others = Ways([fleet.way("gemini", "g"), fleet.way(*OPENAI)]), Ways([fleet.way("gemini", "g")])
    assert fleet.quiet(ways)
    await ill(fleet)
    assert not fleet.quiet(ways)
    assert not fleet.quiet(ways), "asked again"
    assert fleet.quiet(others)
    await fleet.reset("openai")
    assert fleet.quiet(ways)


async def test_what_another_replica_has_seen_speaks_against_it_as_soon_as_it_is_read(clock: Hand) -> None:
    paper = Paper(clock)
    fleet, other = await joined([PlainBoard(paper), PlainBoard(paper)], clock)
    ways = Ways([fleet.way(*OPENAI)])
    assert fleet.quiet(ways)
    await asked(other, ill(Kind.KEY))
    await rounds(other, fleet)
    assert not fleet.quiet(ways)
    await other.reset("openai")
    await rounds(other, fleet)
    assert fleet.quiet(ways)


class Meddling(PlainBoard):
    """Something happens here while it is asked."""

    meddle: Any = None

    async def pin(self, *given: Any, **more: Any) -> Any:
        pinned = await super().pin(*given, **more)
        if self.meddle:
            self.meddle()
        return pinned


async def test_what_turns_while_a_place_is_waited_for_was_so_when_the_request_was_sent(clock: Hand) -> None:
    board = Meddling(Paper(clock))
    (fleet,) = await joined([board], clock)
    other = await begun(fleet)
    await half_open(fleet, clock)
    await rounds(fleet)
    board.meddle = lambda: fleet.end(other, ill(Kind.KEY))
    probe = await begun(fleet)
    assert probe.sinces["provider"] == fleet.shared()["openai", ""].circuit.since == fleet.now()


async def test_a_recovery_is_not_believed_to_be_over_before_it_is(clock: Hand) -> None:
    policy = msgspec.structs.replace(POLICY, slow_start=30.0, probes=1)
    fleet = alone(clock, policy)
    ways = Ways([fleet.way(*OPENAI)])
    await half_open(fleet, clock)
    fleet.end(await begun(fleet), OK)
    assert fleet.standing(*OPENAI).state == "closed"
    for seconds, quiet in ((0, False), (29.9, False), (30, True)):
        fresh = clock.now
        clock.now += seconds
        assert fleet.quiet(ways) is quiet
        clock.now = fresh
    clock.now += 30
    assert fleet.quiet(ways)
    fleet.policy = msgspec.structs.replace(policy, slow_start=60.0)
    assert not fleet.quiet(ways), "another policy, in the same moment"


async def test_a_stall_is_seen_a_tenth_of_a_second_late_at_most(clock: Hand) -> None:
    fleet = alone(clock)
    ways = Ways([fleet.way(*OPENAI)])
    for _ in range(3):
        await begun(fleet, first_byte=20.0)
    clock.now += 9.99
    assert fleet.quiet(ways)
    clock.now += 0.11
    assert not fleet.quiet(ways)


async def test_limits_are_looked_at_as_soon_as_they_are_told(fleet: Fleet) -> None:
    ways = Ways([fleet.way("gemini", "g"), fleet.way(*OPENAI)])
    assert fleet.quiet(ways)
    assert not ways.limited
    await asked(fleet, told(fleet, 60))
    assert fleet.quiet(ways)
    assert ways.limited


async def test_since_when_a_way_is_as_it_is_stays_the_same_while_it_is(fleet: Fleet) -> None:
    """So whoever comes back sees by one look that nothing has turned, whatever was counted meanwhile."""
    before = await begun(fleet)
    await asked(fleet, OK, ILL, OK)
    after = await begun(fleet)
    assert before.sinces is after.sinces
    await asked(fleet, ill(Kind.KEY))
    assert before.sinces is not (await begun(fleet)).sinces


async def test_an_answer_to_what_was_sent_before_a_turn_is_only_counted(fleet: Fleet, clock: Hand) -> None:
    """All is well again: and yet it tells nothing of the circuit as it is now."""
    late = await begun(fleet)
    await asked(fleet, ill(Kind.KEY))
    clock.now += 1
    await fleet.reset("openai")
    fleet.end(late, OK)
    assert fleet.way(*OPENAI).answers == []
    assert fleet.shared()["openai", ""].circuit.window == ()
    assert fleet.shared()["openai", ""].ok == 1


async def test_the_patience_ends_before_the_timeout(clock: Hand) -> None:
    fleet = alone(clock)
    for _ in range(3):
        await begun(fleet, first_byte=2.0)
    clock.now += 1.1
    assert fleet.standing(*OPENAI).stalled


# ---- limits and speeds ----------------------------------------------------------------------------------------------


def told(fleet: Fleet, remaining: int) -> Outcome:
    now = fleet.now()
    return Outcome(whole=100.0, windows={"requests": Window(100, remaining, now, now + 60_000)})


async def test_what_is_sent_is_taken_off_the_limits_until_they_are_told_anew(fleet: Fleet, clock: Hand) -> None:
    takes = 1_000, 500
    ticket = await fleet.begin(*OPENAI, takes)
    assert ticket is not None
    assert fleet.standing(*OPENAI).windows == {}
    fleet.end(ticket, told(fleet, 10))
    fleet.gather()
    tickets = [await fleet.begin(*OPENAI, takes) for _ in range(4)]
    assert fleet.standing(*OPENAI).windows["requests"].remaining == 10, "what is not sent takes nothing"
    for sent in tickets[:3]:
        assert sent is not None
        fleet.sent(sent)
    assert fleet.standing(*OPENAI).windows["requests"].remaining == 7
    assert fleet.shared()[OPENAI].windows["requests"].remaining == 10
    fleet.end(await begun(fleet), LEFT)
    assert fleet.standing(*OPENAI).windows["requests"].remaining == 7
    clock.now += 1
    assert tickets[0] is not None
    fleet.end(tickets[0], told(fleet, 9))
    assert fleet.standing(*OPENAI).windows["requests"].remaining == 9, "what is scarce is known at once"


async def test_what_was_sent_after_the_limits_were_told_is_taken_off_when_that_is_heard(
    fleet: Fleet, clock: Hand
) -> None:
    """What goes well is laid aside for a moment, and others are sent meanwhile."""
    await asked(fleet, told(fleet, 60))
    clock.now += 1
    tickets = [await fleet.begin(*OPENAI, (10, 10)) for _ in range(3)]
    assert all(tickets)
    before, *after = [ticket for ticket in tickets if ticket]
    fleet.sent(before)
    clock.now += 1
    fleet.end(before, told(fleet, 50))
    clock.now += 1
    for ticket in after:
        fleet.sent(ticket)
    fleet.gather()
    grown = 100 / 60  # in a second
    assert fleet.standing(*OPENAI).windows["requests"].remaining == pytest.approx(50 + grown - 2, abs=0.2)


async def test_answers_are_laid_aside_and_taken_down_all_at_once(fleet: Fleet) -> None:
    tickets = [await begun(fleet) for _ in range(520)]
    seen = []
    for ticket in tickets:
        fleet.end(ticket, OK)
        seen.append(fleet._view.sheet(*OPENAI, "model").seen.ok)
    assert seen == [0] * 511 + [512] * 9
    cell = fleet.shared()[OPENAI]
    assert (cell.ok, cell.first.total, cell.whole.total, cell.speed.total) == (520, 520, 520, 520)
    assert (fleet.shared()["openai", ""].ok, fleet.own()["openai", "line"].ok) == (520, 520)


async def test_the_first_answer_that_is_laid_aside_wakes_who_tells_of_it(fleet: Fleet) -> None:
    news = fleet._view.news
    assert not news.is_set()
    for _ in range(2):
        fleet.end(await begun(fleet), OK)
        assert news.is_set()
        fleet.gather()
        news.clear()


async def test_a_failure_comes_after_the_answers_that_were_laid_aside(fleet: Fleet) -> None:
    """Else they would end its row of failures when they are taken down."""
    tickets = [await begun(fleet) for _ in range(6)]
    for ticket in tickets[:3]:
        fleet.end(ticket, OK)
    for ticket in tickets[3:]:
        fleet.end(ticket, ILL)
    assert state(fleet) == "open"
    assert (fleet.shared()[OPENAI].ok, fleet.shared()[OPENAI].failed) == (3, 3)


async def test_an_answer_after_a_failure_ends_its_row_at_once(fleet: Fleet) -> None:
    await asked(fleet, ILL, ILL)
    fleet.end(await begun(fleet), OK)
    assert fleet._view.sheet(*OPENAI, "model").seen.circuit.consecutive == 0


async def test_a_limit_that_a_request_does_not_touch_stays(fleet: Fleet) -> None:
    now = fleet.now()
    each = {kind: Window(100, 10, now, now + 60_000) for kind in ("requests", "input_tokens", "output_tokens")}
    await asked(fleet, Outcome(whole=100.0, windows=each))
    ticket = await fleet.begin(*OPENAI, (7, 0))
    assert ticket is not None
    fleet.sent(ticket)
    left = {kind: window.remaining for kind, window in fleet.standing(*OPENAI).windows.items()}
    assert left == {"requests": 9, "input_tokens": 3, "output_tokens": 10}


async def test_a_rate_limit_lasts_until_its_time(fleet: Fleet, clock: Hand) -> None:
    await asked(fleet, ill(Kind.RATE_LIMITED, 20))
    assert fleet.standing(*OPENAI).blocked == fleet.now() + 20_000
    clock.now += 19.99
    assert fleet.standing(*OPENAI).blocked
    clock.now += 0.01
    assert fleet.standing(*OPENAI).blocked == 0


async def test_the_cooldown_is_over_to_the_millisecond(fleet: Fleet, clock: Hand) -> None:
    await asked(fleet, *[ILL] * 3)
    clock.now += 299.99
    assert state(fleet) == "open"
    clock.now += 0.01
    assert state(fleet) == "half_open"


async def test_what_fades_and_grows_by_and_by_does_so(clock: Hand) -> None:
    fleet = alone(clock, Policy(consecutive=3, least=1_000, probes=1, slow_start=10.0))
    await asked(fleet, OK, *[ILL] * 3)
    clock.now += 300
    await asked(fleet, OK)
    weights, shares = [], []
    for _ in range(4):
        standing = fleet.standing(*OPENAI)
        weights.append(standing.weight)
        shares.append(standing.share)
        clock.now += 2.5
    assert shares == pytest.approx([0.1, 0.25, 0.5, 0.75])
    assert weights == sorted(weights, reverse=True)
    assert len(set(weights)) == 4
    assert fleet.standing(*OPENAI).first == pytest.approx(100.0)


async def test_a_clock_that_steps_back_is_believed(fleet: Fleet, clock: Hand) -> None:
    await asked(fleet, *[ILL] * 3)
    clock.now += 300
    assert state(fleet) == "half_open"
    clock.now -= 0.05
    assert state(fleet) == "open"


# ---- what is shown --------------------------------------------------------------------------------------------------


async def test_a_replicas_own_view_counts_all_it_saw_and_knows_its_lines(fleet: Fleet, clock: Hand) -> None:
    await asked(fleet, OK, OK, LEFT, ILL, ill(Kind.RATE_LIMITED), *[ill(Kind.UNREACHABLE)] * 3)
    own = fleet.own()
    assert set(own) == {OPENAI, ("openai", ""), ("openai", "line")}
    model = own[OPENAI]
    assert (model.ok, model.failed, model.limited, model.others) == (2, 4, 1, 1)
    assert model.first.total == 2
    assert own["openai", "line"].circuit.opened
    assert set(fleet.shared()) == {OPENAI, ("openai", "")}


async def test_a_replicas_own_view_never_shows_a_circuit_open_that_is_everybodys(fleet: Fleet, clock: Hand) -> None:
    await asked(fleet, *[ILL] * 3)
    assert not fleet.own()[OPENAI].circuit.opened
    assert fleet.own()[OPENAI].circuit.consecutive == 3
    assert fleet.shared()[OPENAI].circuit.opened


# ---- by hand --------------------------------------------------------------------------------------------------------


async def ill_everywhere(fleet: Fleet) -> None:
    for model in ("gpt-4o", "gpt-4o-mini"):
        await asked(fleet, *[ILL] * 3, model=model)
    tickets = [await begun(fleet, "openai", "o3") for _ in range(4)]
    for ticket, kind in zip(tickets, [Kind.KEY, *[Kind.UNREACHABLE] * 3], strict=True):
        fleet.end(ticket, ill(kind))
    await asked(fleet, *[ILL] * 3, provider="gemini", model="flash")


async def test_a_provider_is_closed_with_all_that_is_its(fleet: Fleet, clock: Hand) -> None:
    await ill_everywhere(fleet)
    assert fleet.standing("openai", "only looked at").state == "open"
    clock.now += 1
    names = ["openai/gpt-4o", "openai/gpt-4o-mini", "openai/o3", "openai", "openai (line)"]
    assert await fleet.reset("openai") == names
    assert {state(fleet, "openai", model) for model in ("gpt-4o", "gpt-4o-mini", "o3")} == {"closed"}
    assert state(fleet, "gemini", "flash") == "open"


async def test_a_model_is_closed_alone(fleet: Fleet, clock: Hand) -> None:
    await ill_everywhere(fleet)
    clock.now += 1
    assert await fleet.reset("openai", "gpt-4o") == ["openai/gpt-4o"]
    standing = fleet.standing(*OPENAI)
    assert (standing.state, standing.scope) == ("open", "provider")
    assert not fleet.shared()[OPENAI].circuit.opened
    assert await fleet.reset("openai", "never-asked") == []
    assert await fleet.reset("nobody") == []


async def test_what_is_closed_by_hand_is_free_of_limits_and_keeps_its_counts(fleet: Fleet, clock: Hand) -> None:
    await asked(fleet, told(fleet, 5), ill(Kind.RATE_LIMITED, 600))
    await fleet.reset("openai")
    standing = fleet.standing(*OPENAI)
    assert (standing.blocked, standing.windows) == (0, {})
    assert fleet.shared()[OPENAI].limited == 1
    await asked(fleet, *[ILL] * 2)
    assert state(fleet) == "closed"


# ---- the log --------------------------------------------------------------------------------------------------------


def lines(logs: list[Any], *names: str) -> list[tuple[Any, ...]]:
    return [(line["event"], *(line.get(name) for name in names)) for line in logs]


async def test_the_log_tells_each_turn_once(fleet: Fleet, clock: Hand) -> None:
    with capture_logs() as logs:
        await asked(fleet, *[ILL] * 5)
        clock.now += 300
        await asked(fleet, LEFT, LEFT, ILL)
        clock.now += 600
        await asked(fleet, OK, OK, OK, OK)
    assert lines(logs, "openings") == [
        ("circuit opened", 1),
        ("circuit half-open", None),
        ("circuit opened", 2),
        ("circuit half-open", None),
        ("circuit closed", None),
    ]
    assert logs[0] == {
        "event": "circuit opened",
        "log_level": "warning",
        "provider": "openai",
        "model": "gpt-4o",
        "scope": "model",
        "why": "transient",
        "until": "2026-11-18T11:11:40Z",
        "openings": 1,
        "heard": False,
    }


async def test_the_log_tells_whose_circuit_it_is(fleet: Fleet) -> None:
    tickets = [await begun(fleet) for _ in range(4)]
    with capture_logs() as logs:
        for ticket, kind in zip(tickets, [Kind.KEY, *[Kind.UNREACHABLE] * 3], strict=True):
            fleet.end(ticket, ill(kind))
    assert lines(logs, "provider", "model", "scope", "why") == [
        ("circuit opened", "openai", None, "provider", "key"),
        ("circuit opened", "openai", None, "line", "unreachable"),
    ]


async def test_the_log_tells_an_episode_of_rate_limits_once(fleet: Fleet, clock: Hand) -> None:
    with capture_logs() as logs:
        for _ in range(3):
            await asked(fleet, ill(Kind.RATE_LIMITED, 20), ill(Kind.RATE_LIMITED, 15))
            clock.now += 10
        clock.now += 10
        await asked(fleet, OK, ill(Kind.RATE_LIMITED, 20))
        await fleet.reset("openai")
        await asked(fleet, ill(Kind.RATE_LIMITED, 20))
    assert lines(logs, "provider", "model", "until", "heard") == [
        ("rate limited", "openai", "gpt-4o", "2026-11-18T11:07:00Z", False),
        ("rate limited", "openai", "gpt-4o", "2026-11-18T11:07:40Z", False),
        ("rate limited", "openai", "gpt-4o", "2026-11-18T11:07:40Z", False),
    ]
