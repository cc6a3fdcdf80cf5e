"""A store that fails is left alone for a moment, and one asks for all whether it is back."""

import pytest

from proxy.store import StoreError
from proxy.store.breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def lets(breaker: Breaker) -> bool:
    try:
        breaker.pass_by()
    except StoreError:
        return False
    return True


def after(failures: int) -> tuple[Clock, Breaker]:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.opened = True
    breaker.worked()
    for _ in range(failures):
        breaker.failed()
    assert (breaker.failures, breaker.well) == (failures, not failures)
    return clock, breaker


@pytest.mark.parametrize(("failures", "asked"), [(0, True), (2, True), (3, False), (9, False)])
def test_the_third_failure_in_a_row_is_the_last_for_a_moment(failures: int, asked: bool) -> None:
    _, breaker = after(failures)
    assert breaker.open is not asked
    assert [lets(breaker), lets(breaker)] == [asked, asked]


def test_when_the_moment_is_over_one_asks_for_all() -> None:
    clock, breaker = after(3)
    clock.now += 0.99
    assert not lets(breaker)
    clock.now += 0.01
    assert [lets(breaker), lets(breaker)] == [True, False]
    clock.now += 0.5
    breaker.failed()  # so the moment begins anew
    clock.now += 0.99
    assert not lets(breaker)
    clock.now += 0.01
    assert lets(breaker)


def test_one_that_worked_may_be_asked_by_all_at_once() -> None:
    _, breaker = after(3)
    breaker.worked()
    assert (breaker.failures, breaker.well) == (0, True)
    assert [lets(breaker), lets(breaker)] == [True, True]
    breaker.failed()
    assert lets(breaker), "they are counted anew"


def test_one_that_was_never_connected_is_away() -> None:
    breaker = Breaker(Clock())
    assert not breaker.well
    with pytest.raises(StoreError, match="the store is away"):
        breaker.pass_by()
    breaker.opened = True
    breaker.pass_by()
