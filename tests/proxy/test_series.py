"""Minutes that add up, whoever counted, and where spending leads."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.series import (
    KEPT,
    MINUTE,
    Minute,
    Projection,
    Series,
    decode,
    encode,
    merged,
    projected,
    rise,
    thinned,
)

NOW = 30_000_000 * MINUTE + 12_345
THIS = NOW // MINUTE
COUNTS = st.integers(0, 1_000)
NAMES = st.dictionaries(st.sampled_from(["openai", "gemini", "groq"]), COUNTS, max_size=3)
MINUTES = st.builds(
    Minute,
    requests=COUNTS,
    errors=COUNTS,
    failed=COUNTS,
    cost=st.integers(0, 9_000_000_000_000_000),
    retries=COUNTS,
    hedges=COUNTS,
    attempts=NAMES,
    failures=NAMES,
    first=st.dictionaries(st.integers(-73, 170), COUNTS, max_size=4),
)
SERIES = st.builds(Series, st.dictionaries(st.integers(THIS - 5, THIS + 1), MINUTES, max_size=4))


@given(SERIES, SERIES, SERIES)
def test_series_add_up_in_any_order(a, b, c):
    whole = merged([a, b, c])
    assert merged([merged([a, b]), c]) == merged([a, merged([c, b])]) == merged([c, b, a]) == whole
    for name in ("requests", "errors", "failed", "cost", "retries", "hedges"):
        parts = [getattr(minute, name) for one in (a, b, c) for minute in one.minutes.values()]
        assert sum(getattr(minute, name) for minute in whole.minutes.values()) == sum(parts)
    for name in ("attempts", "failures", "first"):
        parts = [n for one in (a, b, c) for minute in one.minutes.values() for n in getattr(minute, name).values()]
        assert sum(n for minute in whole.minutes.values() for n in getattr(minute, name).values()) == sum(parts)


def test_nothing_adds_nothing():
    one = Series({THIS: Minute(requests=1, attempts={"openai": 1})})
    assert merged([]) == Series()
    assert merged([Series(), one, Series()]) == one


@given(SERIES, st.integers(THIS - 5, THIS), MINUTES, MINUTES)
def test_what_is_added_to_a_minute_is_as_another_series_of_it(series, n, one, two):
    assert series.add(n, one).add(n, two) == merged([series, Series({n: one}), Series({n: two})])


@given(SERIES, MINUTES)
def test_adding_changes_no_series_that_somebody_holds(series, one):
    before = encode(series)
    series.add(THIS, one)
    merged([series, series])
    assert encode(series) == before


@given(SERIES)
def test_it_comes_back_from_the_board_as_it_was(series):
    assert decode(encode(series)) == series


def test_what_stands_on_the_board():
    one = Series({7: Minute(requests=2, errors=1, cost=5, attempts={"openai": 3}, first={40: 2})})
    assert encode(one) == b'[1,{"7":[2,1,0,5,0,0,{"openai":3},{},{"40":2}]}]'
    assert encode(Series()) == b"[1,{}]"


@pytest.mark.parametrize(
    "text",
    [b"", b"[", b"[2,{}]", b"[1]", b'[1,{"x":[]}]', b'[1,{"7":{}}]', b'{"version":1}', b'[1,{"7":["2"]}]', b"\xff"],
)
def test_what_another_version_wrote_is_not_understood(text):
    with pytest.raises(ValueError):  # noqa: PT011  # msgspec words it; that it is one is what is promised
        decode(text)


def test_another_version_is_named():
    with pytest.raises(ValueError, match="version 2 of a series; this is 1"):
        decode(b"[2,{}]")


@pytest.mark.parametrize(
    ("minute", "kept"),
    [(THIS - KEPT, False), (THIS - KEPT + 1, True), (THIS, True), (THIS + 1, True), (THIS + 2, False)],
    ids=["too old", "the oldest", "under way", "of a clock that is ahead", "of no clock"],
)
def test_three_hours_are_kept(minute, kept):
    series = Series({minute: Minute(requests=1)})
    assert series.trimmed(NOW) == (series if kept else Series())


def test_the_last_minutes_as_one():
    series = Series({THIS - n: Minute(requests=10**n) for n in range(7)})
    assert series.over(5, NOW).requests == 11_111
    assert series.over(1, NOW).requests == 1
    assert Series().over(5, NOW) == Minute()


def test_percentiles_of_the_first_part():
    assert Minute().first_part(0.5) is None
    minute = Minute(first={0: 95, 100: 5})
    assert minute.first_part(0.5) == 1.0
    assert minute.first_part(0.96) == pytest.approx(math.exp(100 * math.log(1.1)))


# ---- where spending leads

START, END, LIMIT = 0, 24 * 60 * MINUTE, 1_000
NOON = END // 2


@pytest.mark.parametrize(
    ("points", "now", "expected"),
    [
        ([], NOON, Projection("within", 0)),
        ([(START, 0), (NOON, 0)], NOON, Projection("within", 0)),
        ([(NOON, 300)], NOON, Projection("within", 600)),
        ([(NOON, 500)], NOON, Projection("within", 1_000)),
        ([(NOON, 501)], NOON, Projection("over", 1_002, -(-LIMIT * NOON // 501))),
        ([(NOON, 800)], NOON, Projection("over", 1_600, END * 5 // 8)),
        ([(NOON, 999)], END - 1, Projection("within", 999)),
        ([(7, 100), (9, 1_000), (11, 1_200)], NOON, Projection("reached", 1_200, 9)),
        ([(7, 100), (9, 1_000)], 9, Projection("reached", 1_000, 9)),
        ([(1, 900)], END // 96 - 1, Projection("early")),
        ([(1, 10)], END // 96, Projection("within", 960)),
    ],
    ids=[
        "nothing was seen",
        "nothing was spent",
        "well within",
        "just within",
        "just over",
        "far over",
        "at the very end",
        "reached between two looks",
        "reached just now",
        "too early to say, however much it is",
        "a quarter of an hour is enough",
    ],
)
def test_where_spending_leads(points, now, expected):
    assert projected(points, LIMIT, START, END, now) == expected


def test_a_limit_of_nothing_is_reached_at_once():
    assert projected([], 0, START, END, NOON) == Projection("reached", 0, NOON)


@given(st.integers(0, 10**16), st.integers(1, 9 * 10**15), st.integers(1, 31 * 86_400_000), st.data())
def test_it_never_leads_back(used, limit, whole, data):
    now = data.draw(st.integers(0, whole - 1))
    leads = projected([(now, used)], limit, 0, whole, now)
    if leads.state == "reached":
        assert used >= limit
        assert leads.reached == now
    elif leads.state == "over":
        assert leads.reached is not None
        assert leads.used_at_end is not None
        assert now < leads.reached <= whole
        assert leads.used_at_end > limit
    elif leads.state == "within":
        assert leads.used_at_end is not None
        assert used <= leads.used_at_end <= limit
        assert leads.reached is None
    else:
        assert now * 96 < whole


@given(st.lists(st.integers(), max_size=300, unique=True), st.integers(2, 50))
def test_a_thinned_curve_keeps_its_ends_and_its_order(points, most):
    thin = thinned(points, most)
    assert len(thin) == min(len(points), most)
    assert [one for one in points if one in set(thin)] == thin
    if points:
        assert (thin[0], thin[-1]) == (points[0], points[-1])


def test_a_curve_has_a_point_a_minute_and_only_its_ends_where_it_is_level():
    curve: list[tuple[int, int]] = []
    for at, used in [(0, 0), (10, 0), (60_000, 5), (61_000, 6), (120_000, 6), (180_000, 6), (240_000, 9)]:
        rise(curve, at, used)
    assert curve == [(0, 0), (10, 0), (61_000, 6), (180_000, 6), (240_000, 9)]
