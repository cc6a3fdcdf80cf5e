"""What a vendor's rate limits have left, and when there will be enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Headroom
from proxy.health.ratelimit import Window, Windows, needs, newer, ready, scarce, told

NOW = 1_800_000_000_000
SECOND = 1_000
MINUTE = 60 * SECOND
HALF = Window(100, 40, NOW, NOW + 30 * SECOND)  # sixty are missing for thirty seconds


@st.composite
def windows(draw: st.DrawFn) -> Window:
    limit = draw(st.integers(0, 10**7))
    seen = NOW + draw(st.integers(-MINUTE, MINUTE))
    return Window(limit, draw(st.integers(-limit, 2 * limit)), seen, seen + draw(st.integers(0, 10 * MINUTE)))


NEEDS = st.integers(0, 10**7)
TIMES = st.integers(NOW - MINUTE, NOW + 20 * MINUTE)


def test_what_a_vendor_says_is_as_of_now():
    assert told(Headroom(100, 40, 30.0), NOW) == HALF
    assert told(Headroom(100, 40, 0.12), NOW).reset == NOW + 120


@pytest.mark.parametrize(
    ("remaining", "said", "reset"),
    [
        pytest.param(9_995, 1.0, 30, id="nearly full: a second is rounding, five tokens come in 30 ms"),
        pytest.param(9_000, 7.0, 6_000, id="a tenth is gone: six seconds, and one of rounding"),
        pytest.param(9_000, 30.0, 28_000, id="it fills more slowly than by the minute"),
        pytest.param(9_000, 0.5, 500, id="it fills faster"),
        pytest.param(10_000, 0.0, 0, id="full"),
        pytest.param(10_500, 1.0, 0, id="more than full"),
    ],
)
def test_what_may_be_rounding_is_no_slowness(remaining, said, reset):
    assert told(Headroom(10_000, remaining, said), NOW) == Window(10_000, remaining, NOW, NOW + reset)


def test_a_limit_of_nothing_is_full_when_it_says():
    assert told(Headroom(0, 0, 3.0), NOW) == Window(0, 0, NOW, NOW + SECOND)


@pytest.mark.parametrize(
    ("after", "left"),
    [
        pytest.param(0, 40, id="what was told"),
        pytest.param(10 * SECOND, 60, id="a third of what was missing"),
        pytest.param(30 * SECOND, 100, id="all, at the reset"),
        pytest.param(MINUTE, 100, id="not more than all"),
        pytest.param(-SECOND, 40, id="the clock steps back"),
    ],
)
def test_a_limit_fills_bit_by_bit(after, left):
    assert HALF.left(NOW + after) == left


def test_a_limit_that_is_full_again_at_once_is_full():
    assert Window(100, 0, NOW, NOW).left(NOW) == 100


def test_more_than_the_limit_is_never_left():
    assert Window(100, 300, NOW, NOW + SECOND).left(NOW + 1) == 100


@pytest.mark.parametrize(
    ("need", "after"),
    [
        pytest.param(40, 0, id="there is as much"),
        pytest.param(41, 500, id="one more"),
        pytest.param(60, 10 * SECOND, id="half of what is missing"),
        pytest.param(100, 30 * SECOND, id="all there can be"),
        pytest.param(101, 0, id="more than there can be: it is asked all the same"),
    ],
)
def test_it_is_known_when_there_will_be_enough(need, after):
    assert HALF.ready(need, NOW) == NOW + after


@given(windows(), NEEDS, TIMES)
def test_when_it_is_ready_there_is_enough_and_it_is_ready_still(window, need, now):
    at = window.ready(need, now)
    assert at >= now
    assert window.ready(need, at) == at, "who waited is not told to wait again"
    if need <= window.limit:
        assert window.left(at) >= need - 1e-3
    if at > now + 1:
        assert window.left(at - 2) < need, "nobody waits for longer than he must"


@given(windows(), NEEDS, TIMES, st.integers(0, 30 * MINUTE))
def test_what_is_left_only_grows_and_is_never_more_than_the_limit(window, need, now, later):
    assert window.left(now) <= window.left(now + later) <= window.limit


@given(windows(), st.lists(st.tuples(NEEDS, st.integers(-5, MINUTE)), max_size=20))
def test_what_was_spent_is_gone_but_not_for_ever(window, spendings):
    now = NOW
    for need, later in spendings:
        now += later
        before = window.left(now)
        window = window.spent(need, now)
        assert window.seen == now <= window.reset
        due = before - need if need <= window.limit else min(before, 0)
        assert window.left(now) <= max(due, -window.limit) + 1e-6 or window.reset == now
        assert window.left(window.reset) == window.limit


def test_what_is_spent_comes_back_as_fast_as_the_vendor_fills():
    window = HALF.spent(10, NOW)
    assert window == Window(100, 30, NOW, NOW + 35 * SECOND)
    assert window.left(NOW + 5 * SECOND) == 40


def test_a_full_limit_fills_within_a_minute_as_most_do():
    assert Window(600, 600, NOW, NOW).spent(60, NOW) == Window(600, 540, NOW, NOW + 6 * SECOND)
    assert Window(600, 600, NOW, NOW + 9).spent(60, NOW) == Window(600, 540, NOW, NOW + 6 * SECOND)
    assert Window(600, 0, NOW, NOW).spent(60, NOW) == Window(600, 540, NOW, NOW + 6 * SECOND)


def test_parts_of_a_request_are_not_lost_when_many_are_spent():
    window = Window(100, 50, NOW, NOW + 50 * SECOND)
    for half_second in range(1, 21):
        window = window.spent(1, NOW + half_second * 500)
    assert window.left(NOW + 10 * SECOND) == pytest.approx(40, abs=0.1)


def test_one_request_that_is_larger_than_all_takes_no_more_than_there_is():
    assert HALF.spent(101, NOW) == Window(100, 0, NOW, NOW + 50 * SECOND)
    assert HALF.spent(90, NOW).spent(10**9, NOW) == HALF.spent(90, NOW), "nor makes it worse"


def test_many_that_are_sent_all_the_same_do_not_empty_it_for_ever():
    window = HALF
    for _ in range(10):
        window = window.spent(100, NOW)
    assert window == Window(100, -100, NOW, NOW + 100 * SECOND)


def test_a_limit_of_nothing_breaks_nothing():
    none = Window(0, 0, NOW, NOW + SECOND)
    assert (none.left(NOW), none.ready(1, NOW), none.spent(1, NOW).left(NOW)) == (0, NOW, 0)


def window_at(seen: int) -> Window:
    return Window(1, seen, seen, seen)


@pytest.mark.parametrize(
    ("mine", "theirs", "kept"),
    [
        pytest.param({}, {}, {}, id="nothing"),
        pytest.param({"tokens": window_at(1)}, {}, {"tokens": window_at(1)}, id="nothing new"),
        pytest.param({}, {"tokens": window_at(1)}, {"tokens": window_at(1)}, id="something new"),
        pytest.param({"tokens": window_at(1)}, {"tokens": window_at(2)}, {"tokens": window_at(2)}, id="what is newer"),
        pytest.param({"tokens": window_at(2)}, {"tokens": window_at(1)}, {"tokens": window_at(2)}, id="not the older"),
        pytest.param(
            {"tokens": Window(1, 1, 5, 5)},
            {"tokens": Window(1, 0, 5, 9)},
            {"tokens": Window(1, 0, 5, 9)},
            id="told at once: the later word",
        ),
        pytest.param(
            {"requests": window_at(3)},
            {"tokens": window_at(1)},
            {"requests": window_at(3), "tokens": window_at(1)},
            id="each kind for itself",
        ),
    ],
)
def test_of_each_kind_the_last_word_counts(mine, theirs, kept):
    before = dict(mine)
    assert newer(mine, theirs) == kept
    assert mine == before


KINDS = st.dictionaries(
    st.sampled_from(["requests", "tokens"]), st.builds(Window, *[st.integers(0, 3)] * 2, st.integers(0, 3), st.just(9))
)


@given(KINDS, KINDS, KINDS)
def test_last_words_add_up(a, b, c):
    assert newer(newer(a, b), c) == newer(a, newer(b, c))


def test_a_request_needs_of_each_kind():
    assert needs(70, 30) == {"requests": 1, "tokens": 100, "input_tokens": 70, "output_tokens": 30}


@pytest.mark.parametrize(
    ("limits", "after"),
    [
        pytest.param({}, 0, id="nothing is known"),
        pytest.param({"tokens": HALF}, 5 * SECOND, id="the tokens"),
        pytest.param({"tokens": HALF, "requests": Window(9, 0, NOW, NOW + 9 * 7 * SECOND)}, 7 * SECOND, id="the last"),
        pytest.param({"input_tokens": HALF, "output_tokens": HALF}, 0, id="each has room"),
        pytest.param({"pages": HALF}, 0, id="a kind that nobody needs"),
    ],
)
def test_a_request_waits_for_all_of_its_limits(limits: Windows, after):
    assert ready(limits, needs(30, 20), NOW) == NOW + after


@pytest.mark.parametrize(
    ("remaining", "nearly"), [((), False), ((10, 100), False), ((9.9, 100), True), ((50, 0), True)],
    ids=["nothing is known", "a tenth", "less than a tenth", "one of two"],
)  # fmt: skip
def test_a_limit_is_scarce_when_less_than_a_tenth_is_left(remaining, nearly):
    windows = {f"kind {n}": Window(100, left, NOW, NOW + 1) for n, left in enumerate(remaining)}
    assert scarce(windows) is nearly
