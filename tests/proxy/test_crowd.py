"""Who comes on top of a crowd is told so; who has left makes room."""

import pytest

from adapters.base import Failure, Kind
from proxy.crowd import Crowd


def turned_away(crowd: Crowd, key: str = "") -> Failure | None:
    """One more comes in; and leaves at once if it is told to."""
    joined = ""
    try:
        crowd.enter()
        joined = key
        crowd.join(key)
    except Failure as failure:
        crowd.leave(joined)
        return failure
    return None


def test_so_many_may_be_served_at_once_and_no_more():
    crowd = Crowd(2)
    assert [turned_away(crowd) for _ in range(2)] == [None, None]
    failure = turned_away(crowd)
    assert failure is not None
    assert (failure.status, failure.code, failure.retry_after) == (503, "overloaded", 1)
    assert failure.kind is Kind.OVERLOADED
    assert crowd.serving == 2
    crowd.leave("")
    assert turned_away(crowd) is None


def test_one_key_does_not_take_the_places_of_another():
    crowd = Crowd(100, 2)
    assert [turned_away(crowd, "a") for _ in range(2)] == [None, None]
    failure = turned_away(crowd, "a")
    assert failure is not None
    assert (failure.status, failure.code, failure.retry_after) == (429, "rate_limit_exceeded", 1)
    assert "`a`" in failure.message
    assert turned_away(crowd, "b") is None
    assert crowd.serving == 3
    crowd.leave("a")
    assert turned_away(crowd, "a") is None


def test_without_a_key_only_the_crowd_as_a_whole_counts():
    crowd = Crowd(3, 1)
    assert [turned_away(crowd) for _ in range(3)] == [None] * 3


@pytest.mark.parametrize("rounds", [1, 3])
def test_when_all_have_left_nothing_is_remembered(rounds):
    crowd = Crowd(None, 1)
    for _ in range(rounds):
        assert turned_away(crowd, "a") is None
        assert turned_away(crowd, "a") is not None
        crowd.leave("a")
    assert (crowd.serving, vars(crowd)["_of_key"]) == (0, {})


def test_limits_may_change_while_there_are_people_inside():
    crowd = Crowd()
    assert [turned_away(crowd, "a") for _ in range(3)] == [None] * 3
    crowd.limit(10, 2)
    assert turned_away(crowd, "a") is not None
    crowd.limit(2, None)
    assert turned_away(crowd, "b") is not None
    crowd.limit(None, None)
    assert turned_away(crowd, "a") is None
