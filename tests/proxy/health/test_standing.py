"""How a candidate stands: the worst of its circuits, and what else a strategy goes by."""

import pytest

from proxy.health.cell import Cell, Scope
from proxy.health.circuit import Circuit, Policy
from proxy.health.pace import Pace, Sketch, sketch
from proxy.health.ratelimit import Window
from proxy.health.standing import Standing, standing

NOW = 1_800_000_000_000
SCOPES: tuple[Scope, ...] = ("model", "provider", "line")
SECOND = 1_000
POLICY = Policy()
CLOSED = Circuit()
OPEN = Circuit(opened=True, since=NOW - 5, until=NOW + 100, why="timeout", openings=1)
LONGER = Circuit(opened=True, since=NOW - 6, until=NOW + 200, why="key", openings=1)
HALF_OPEN = Circuit(opened=True, since=NOW - 7, until=NOW, why="model", openings=1)
RECOVERED = Circuit(since=NOW - 15 * SECOND, until=NOW - 16 * SECOND, why="timeout", openings=1)


def stands(policy: Policy = POLICY, **circuits: Circuit) -> Standing:
    cells: dict[Scope, Cell] = {scope: Cell(circuit=circuits[scope]) for scope in SCOPES if scope in circuits}
    return standing(cells, policy, NOW)


def test_of_whom_nothing_is_known_all_is_well():
    assert standing({}, POLICY, NOW) == Standing()
    assert stands(model=CLOSED, provider=CLOSED, line=CLOSED) == Standing()


@pytest.mark.parametrize(
    ("circuits", "scope", "worst"),
    [
        pytest.param({"model": OPEN, "provider": CLOSED}, "model", OPEN, id="the model is out"),
        pytest.param({"model": CLOSED, "provider": OPEN}, "provider", OPEN, id="the provider is out"),
        pytest.param({"model": CLOSED, "line": OPEN}, "line", OPEN, id="our own way is out"),
        pytest.param({"line": OPEN}, "line", OPEN, id="our own way, and nothing is known of the model"),
        pytest.param({"model": OPEN, "provider": LONGER}, "provider", LONGER, id="both: who is out for longer"),
        pytest.param({"model": LONGER, "provider": OPEN}, "model", LONGER, id="both: longer, the other way round"),
        pytest.param({"model": HALF_OPEN, "line": OPEN}, "line", OPEN, id="open is worse than half-open"),
        pytest.param({"model": HALF_OPEN, "line": RECOVERED}, "model", HALF_OPEN, id="half-open is worse than closed"),
    ],
)
def test_it_stands_as_the_worst_of_its_circuits(circuits, scope, worst):
    found = stands(**circuits)
    state = "half_open" if worst is HALF_OPEN else "open"
    assert (found.state, found.scope, found.since, found.until, found.why) == (
        state,
        scope,
        worst.since,
        worst.until,
        worst.why,
    )


def test_a_circuit_that_is_closed_again_says_since_when_and_nothing_of_before():
    found = stands(model=RECOVERED, provider=Circuit(until=NOW - 1, since=NOW - 1))
    assert (found.state, found.scope, found.since, found.until, found.why) == (
        "closed",
        "model",
        RECOVERED.since,
        0,
        "",
    )


def test_the_slowest_start_counts():
    assert stands(model=CLOSED, provider=RECOVERED).share == 0.5
    assert stands(Policy(slow_start=60), model=RECOVERED, provider=CLOSED).share == 0.25


@pytest.mark.parametrize(("blocked", "told"), [(NOW + 1, NOW + 1), (NOW, 0), (0, 0)], ids=["still", "over", "never"])
def test_a_rate_limit_counts_until_it_is_over(blocked, told):
    windows = {"tokens": Window(9, 8, NOW, NOW + 5)}
    found = standing({"model": Cell(blocked=blocked, windows=windows), "provider": Cell(blocked=NOW + 9)}, POLICY, NOW)
    assert (found.blocked, found.windows) == (told, windows)


def test_what_was_learnt_long_ago_weighs_less():
    found = standing({"model": Cell(pace=Pace(600.0, 2.0, NOW - 60 * SECOND))}, POLICY, NOW)
    assert (found.first, found.weight) == (300.0, 1.0)


def times(value: float, count: int) -> Sketch:
    return Sketch({bucket: count for bucket in sketch([value]).counts})


@pytest.mark.parametrize(
    ("first", "whole", "hedge", "hedge_whole"),
    [
        pytest.param(times(200, 20), times(5_000, 20), 200, 5_000, id="each has its own"),
        pytest.param(times(200, 20), times(5_000, 19), 200, None, id="answers as a whole are too few"),
        pytest.param(times(200, 19), times(5_000, 20), 5_000, 5_000, id="first parts are too few"),
        pytest.param(times(200, 19), times(5_000, 19), None, None, id="both are too few"),
    ],
)
def test_a_late_answer_is_known_when_enough_were_seen(first, whole, hedge, hedge_whole):
    found = standing({"model": Cell(first=first, whole=whole)}, POLICY, NOW)
    assert found.hedge == (None if hedge is None else pytest.approx(hedge, rel=0.05))
    assert found.hedge_whole == (None if hedge_whole is None else pytest.approx(hedge_whole, rel=0.05))


def test_late_is_later_than_nineteen_of_twenty():
    most = times(200, 19).joined(times(900, 1))
    assert standing({"model": Cell(first=most)}, POLICY, NOW).hedge == pytest.approx(200, rel=0.05)
    assert standing({"model": Cell(first=most.joined(times(900, 1)))}, POLICY, NOW).hedge == pytest.approx(
        900, rel=0.05
    )


def test_what_this_replica_has_there_is_told():
    found = standing({}, POLICY, NOW, in_flight=3, stalled=True)
    assert (found.in_flight, found.stalled) == (3, True)
