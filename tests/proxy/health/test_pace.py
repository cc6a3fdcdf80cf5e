"""Percentiles and averages that add up, whoever counted."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.health.pace import Pace, Sketch, sketch

VALUES = st.floats(0.001, 1e7)
MINUTE = 60_000


def sketched(values: list[float]) -> Sketch:
    whole = Sketch()
    for value in values:
        whole = whole.joined(sketch([value]))
    return whole


@given(st.lists(VALUES, min_size=1, max_size=200), st.floats(0, 1))
def test_a_percentile_is_off_by_five_in_a_hundred_at_most(values, q):
    exact = sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
    found = sketched(values).quantile(q)
    assert found is not None
    assert exact / 1.05 <= found <= exact * 1.05


@pytest.mark.parametrize(("q", "value"), [(0.0, 1), (0.5, 1), (0.51, 100), (1.0, 100)])
def test_a_percentile_is_the_least_value_that_is_not_exceeded_by_so_many(q, value):
    assert sketched([100.0, 1.0]).quantile(q) == pytest.approx(value, rel=0.05)


def test_nothing_has_no_percentile():
    assert Sketch().quantile(0.5) is None
    assert Sketch().total == 0


@pytest.mark.parametrize("value", [0.0, -3.0, 0.0001])
def test_what_is_not_positive_counts_as_the_least(value):
    assert sketch([value]) == sketch([0.001])


@given(st.lists(VALUES, max_size=60), st.lists(VALUES, max_size=60), st.lists(VALUES, max_size=60))
def test_sketches_add_up_exactly_in_any_order(a, b, c):
    x, y, z = sketched(a), sketched(b), sketched(c)
    assert x.joined(y).joined(z) == x.joined(y.joined(z)) == z.joined(x).joined(y) == sketched(a + b + c)
    assert x.joined(y).total == len(a) + len(b)


def test_what_was_long_ago_fades():
    old = Sketch({10: 998, 90: 1}).joined(Sketch({10: 1}))
    assert old.total == 1_000, "a thousand are kept as they are"
    assert old.joined(Sketch({10: 1})) == Sketch({10: 500})
    assert old.joined(Sketch({90: 3})) == Sketch({10: 499, 90: 2})


def test_joining_changes_neither_of_them():
    mine, other = Sketch({1: 1}), Sketch({1: 1, 2: 1})
    assert mine.joined(other) == Sketch({1: 2, 2: 1})
    assert (mine, other) == (Sketch({1: 1}), Sketch({1: 1, 2: 1}))


def test_an_average_halves_its_weight_in_a_minute():
    faded = Pace(600.0, 2.0, MINUTE).faded(2 * MINUTE)
    assert faded == Pace(300.0, 1.0, 2 * MINUTE)
    assert faded.mean == 300.0


def test_what_is_newer_weighs_more():
    assert Pace(100.0, 1.0, 0).joined(Pace(400.0, 1.0, MINUTE)).mean == 300.0


@pytest.mark.parametrize("idle", [31, 1_000, 10**9], ids=lambda minutes: f"{minutes} minutes")
def test_an_average_of_long_ago_is_none(idle):
    faded = Pace(100.0, 1.0, 0).faded(idle * MINUTE)
    assert faded == Pace(at=idle * MINUTE)
    assert faded.mean is None


def test_an_average_of_half_an_hour_ago_is_still_one():
    assert Pace(100.0, 1.0, 0).faded(29 * MINUTE).mean == pytest.approx(100.0)


def test_a_clock_that_steps_back_fades_nothing():
    assert Pace(100.0, 1.0, MINUTE).faded(0) == Pace(100.0, 1.0, MINUTE)


PACES = st.builds(
    lambda value, weight, at: Pace(value * weight, weight, at),
    st.floats(1, 1e6),
    st.floats(0.5, 100),
    st.integers(0, 5 * MINUTE),
)


@given(PACES, PACES, PACES)
def test_averages_add_up_in_any_order(a, b, c):
    sums = [a.joined(b).joined(c), a.joined(b.joined(c)), c.joined(a).joined(b), c.joined(b.joined(a))]
    for one, other in pairwise(sums):
        assert one.at == other.at
        assert one.weight == pytest.approx(other.weight)
        assert one.mean == pytest.approx(other.mean)


@given(PACES)
def test_nothing_adds_nothing(pace):
    assert pace.joined(Pace()) == pace
    assert Pace().joined(pace) == pace
