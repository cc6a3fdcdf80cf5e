"""The clock of the fleet: the store's, as well as a question and its answer tell it."""

import pytest

from proxy.fleet.clock import SharedClock
from tests.proxy.accounts import Hand

WALL = 1_000_000.0  # ours, in seconds since the epoch; the other clock began at 0


def shared(ahead: float) -> tuple[SharedClock, Hand]:
    """Of a process whose wall clock is so much ahead of the store's."""
    hand = Hand(0.0)
    return SharedClock(hand, lambda: WALL + ahead + hand()), hand


def test_until_the_store_tells_it_is_our_own() -> None:
    clock, hand = shared(0.0)
    assert clock.now() == 1_000_000_000
    hand.now = 1.5
    assert clock.now() == 1_000_001_500


@pytest.mark.parametrize(
    ("ahead", "answered", "left"),
    [
        pytest.param(0.0, 0.0, 0, id="right: it stays"),
        pytest.param(-0.1, 0.2, -100, id="behind by less than the answer took: it may be right, and stays"),
        pytest.param(-5.0, 0.0, 0, id="behind: it is put right"),
        pytest.param(5.0, 0.0, 1, id="ahead: it is put right, to the millisecond that the store rounds off"),
        pytest.param(-5.0, 0.2, -200, id="behind, told slowly: it goes to the nearest time that may be right"),
        pytest.param(5.0, 0.2, 1, id="ahead, told slowly: it runs back by no more than it must"),
    ],
)
def test_what_the_store_tells_moves_it_no_further_than_it_must(ahead: float, answered: float, left: int) -> None:
    clock, _ = shared(ahead)
    clock.learn(1_000_000_000, 0.0, answered)
    assert clock.now() - 1_000_000_000 == left


def test_a_slow_answer_does_not_undo_what_a_quick_one_has_told() -> None:
    clock, hand = shared(-5.0)
    clock.learn(1_000_000_000, 0.0, 0.0)
    hand.now = 10.0
    clock.learn(1_000_009_500, 9.0, 10.0)
    assert clock.now() == 1_000_010_000


def test_it_follows_a_store_whose_clock_is_set() -> None:
    clock, _ = shared(0.0)
    for at in (1_000_000_000, 1_000_007_000, 1_000_003_000):
        clock.learn(at, 0.0, 0.0)
        assert abs(clock.now() - at) <= 1
