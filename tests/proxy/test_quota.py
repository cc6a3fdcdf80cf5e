"""What a key may take of the door: to the part and to the millisecond, all of it or nothing."""

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.quota import MINUTE, MOST, PLACE_MS, Bucket, Crowded, Entered, Entering, Quota, Usage, enter, leave

NOW = 1_795_435_200_000
EXACT = 2**53  # numbers of Lua are exact below
NOTHING = Usage()


def asking(id: str = "r", *, takes: int = 0, seconds: int = 60, **limits: int) -> Entering:
    return Entering(key="k", id=id, quota=Quota(**limits), tokens=takes, seconds=seconds)


def entered(usage: Usage, asked: Entering, now: int = NOW) -> Usage:
    """What is left behind by one who came in."""
    after, answer = enter(usage, asked, now)
    assert isinstance(answer, Entered), answer
    return after


def refused(usage: Usage, asked: Entering, now: int = NOW) -> Crowded:
    """Why one did not; a refusal takes nothing."""
    after, answer = enter(usage, asked, now)
    assert isinstance(answer, Crowded), answer
    assert after == usage
    return answer


def crowd(usage: Usage, number: int, now: int = NOW, **limits: int) -> Usage:
    """So many come in at the same moment."""
    for n in range(number):
        usage = entered(usage, asking(f"{now}.{n}", **limits), now)
    return usage


@pytest.mark.parametrize("rate", [1, 7, 59, 60, 61, 1_000])
def test_a_minutes_requests_come_in_at_once_and_then_one_in_each_part_of_a_minute(rate: int) -> None:
    usage = crowd(NOTHING, rate, requests=rate)
    for nth in range(1, 2 * rate + 1):
        back = -(-MINUTE * nth // rate)  # the millisecond from which on the nth is back, all of it
        assert refused(usage, asking("x", requests=rate), NOW + back - 1) == Crowded("requests", 1)
        usage = entered(usage, asking(f"x{nth}", requests=rate), NOW + back)


def test_a_bucket_is_full_again_after_a_minute_and_never_fuller() -> None:
    empty = crowd(NOTHING, 7, requests=7)
    nearly = crowd(empty, 6, NOW + MINUTE - 1, requests=7)
    assert refused(nearly, asking("x", requests=7), NOW + MINUTE - 1) == Crowded("requests", 1)
    for later in (MINUTE, 10**10):
        again = crowd(empty, 7, NOW + later, requests=7)
        assert refused(again, asking("x", requests=7), NOW + later).limit == "requests"


def test_a_refusal_by_tokens_takes_no_request_and_one_by_requests_no_tokens() -> None:
    usage = entered(NOTHING, asking("a", takes=90, requests=2, tokens=100))
    for n in range(5):
        assert refused(usage, asking(f"b{n}", takes=11, requests=2, tokens=100)) == Crowded("tokens", 600)
    usage, answer = enter(usage, asking("c", takes=9, requests=2, tokens=100), NOW)
    assert answer == Entered(0, 1)
    assert refused(usage, asking("d", takes=1, requests=2, tokens=100)) == Crowded("requests", 30_000)


LEFT: list[tuple[str, Quota, int, Entered]] = [
    ("no limit at all", Quota(), 50, Entered()),
    ("places alone", Quota(concurrent=3), 50, Entered()),
    ("requests", Quota(requests=3), 50, Entered(2, None)),
    ("tokens", Quota(tokens=80), 50, Entered(None, 30)),
    ("both", Quota(requests=1, tokens=50), 50, Entered(0, 0)),
    ("more than there is is owed", Quota(tokens=20), 50, Entered(None, 0)),
    ("less than nothing is nothing", Quota(tokens=20), -50, Entered(None, 20)),
    ("as much as there may be", Quota(requests=MOST, tokens=MOST), 1, Entered(MOST - 1, MOST - 1)),
]


@pytest.mark.parametrize(("quota", "takes", "left"), [case[1:] for case in LEFT], ids=[case[0] for case in LEFT])
def test_what_is_left_is_told_and_nothing_of_what_has_no_limit(quota: Quota, takes: int, left: Entered) -> None:
    assert enter(NOTHING, msgspec.structs.replace(asking(takes=takes), quota=quota), NOW)[1] == left


def test_what_is_left_is_cut_and_not_rounded() -> None:
    usage = entered(crowd(NOTHING, 1, requests=2), asking("a", requests=2, seconds=99))
    for later, left in ((29_999, 0), (30_000, 1), (59_999, 1), (60_000, 2)):
        assert enter(usage, asking("a", requests=2), NOW + later)[1] == Entered(left, None)


def test_a_request_of_more_tokens_than_a_minutes_comes_in_where_the_bucket_is_full_and_owes() -> None:
    usage = entered(NOTHING, asking("a", takes=1, tokens=100))
    assert refused(usage, asking("b", takes=250, tokens=100)) == Crowded("tokens", 600)
    usage = entered(usage, asking("b", takes=250, tokens=100), NOW + 600)
    for takes, wait in ((0, 90_000), (1, 90_600), (100, 150_000), (101, 150_000)):
        assert refused(usage, asking("c", takes=takes, tokens=100), NOW + 600) == Crowded("tokens", wait)


def test_who_is_inside_takes_nothing_again_whatever_is_left() -> None:
    usage = entered(NOTHING, asking("a", takes=50, requests=1, tokens=50, concurrent=1))
    again, answer = enter(usage, asking("a", takes=50, requests=1, tokens=50, concurrent=1, seconds=99), NOW)
    assert (again, answer) == (usage, Entered(0, 0))


def test_of_several_limits_that_refuse_the_longest_wait_is_told() -> None:
    usage = entered(NOTHING, asking("a", takes=100, requests=1, tokens=100, concurrent=1))
    limits = {"requests": 1, "tokens": 100, "concurrent": 1}
    assert refused(usage, asking("b", takes=1, **limits)) == Crowded("requests", 60_000)
    assert refused(usage, asking("b", takes=100, **limits)) == Crowded("requests", 60_000), "the first of two alike"
    assert refused(usage, asking("b", takes=100, **limits), NOW + 59_500) == Crowded("concurrency", PLACE_MS)
    owing = entered(NOTHING, asking("a", takes=101, requests=1, tokens=100))
    assert refused(owing, asking("b", takes=100, requests=1, tokens=100)) == Crowded("tokens", 60_600)


def test_a_place_is_free_when_somebody_leaves_or_when_its_time_is_over() -> None:
    usage = entered(NOTHING, asking("a", seconds=60, concurrent=2))
    usage = entered(usage, asking("b", seconds=61, concurrent=2), NOW + 1)
    assert refused(usage, asking("c", concurrent=2), NOW + 59_999) == Crowded("concurrency", PLACE_MS)
    assert entered(usage, asking("c", concurrent=2), NOW + 60_000).running.keys() == {"b", "c"}
    left = leave(usage, "b", Quota(concurrent=2), 0, NOW + 2)
    assert entered(left, asking("c", concurrent=2), NOW + 2).running.keys() == {"a", "c"}


def test_who_has_left_may_come_again_and_takes_again() -> None:
    usage = leave(entered(NOTHING, asking("a", requests=2)), "a", Quota(requests=2), 0, NOW)
    assert enter(usage, asking("a", requests=2), NOW)[1] == Entered(0, None)


LEAVES: list[tuple[str, int, int]] = [
    ("as was said", 0, 50),
    ("more", 20, 30),
    ("more than there is", 90, 0),
    ("fewer", -20, 70),
    ("none", -50, 100),
    ("fewer than none: a bucket is not more than full", -99, 100),
]


@pytest.mark.parametrize(("tokens", "left"), [case[1:] for case in LEAVES], ids=[case[0] for case in LEAVES])
def test_what_was_taken_in_truth_counts_from_the_end_on(tokens: int, left: int) -> None:
    usage = entered(NOTHING, asking("a", takes=50, tokens=100))
    usage = entered(usage, asking("b", tokens=100))
    after = leave(usage, "a", Quota(tokens=100), tokens, NOW)
    assert enter(after, asking("b", tokens=100), NOW)[1] == Entered(None, left)
    assert after.running.keys() == {"b"}


def test_a_single_part_that_is_missing_is_not_forgotten() -> None:
    """It is the least that there is: a 60,000th of a token."""
    rate = 59_999
    usage = entered(NOTHING, asking("a", takes=1, tokens=rate))
    assert leave(usage, "a", Quota(tokens=rate), 0, NOW + 1).tokens == Bucket(NOW + 1, 1)


def test_what_was_owed_in_the_end_is_waited_for() -> None:
    usage = leave(entered(NOTHING, asking("a", takes=50, tokens=100)), "a", Quota(tokens=100), 200, NOW)
    assert refused(usage, asking("b", takes=0, tokens=100)) == Crowded("tokens", 90_000)


@pytest.mark.parametrize(("id", "now"), [("b", NOW), ("a", NOW + 60_000)], ids=["who never came", "whose time is over"])
def test_who_is_not_inside_changes_nothing_by_leaving(id: str, now: int) -> None:
    usage = entered(NOTHING, asking("a", takes=50, tokens=100))
    assert leave(usage, id, Quota(tokens=100), 1_000, now) is usage


def test_a_quota_without_tokens_leaves_the_requests_as_they_are() -> None:
    usage = entered(NOTHING, asking("a", takes=50, requests=7))
    assert leave(usage, "a", Quota(requests=7), 1_000, NOW) == Usage(requests=usage.requests)


def test_more_tokens_than_any_request_has_are_as_many_as_there_may_be() -> None:
    assert enter(NOTHING, asking("a", takes=9 * MOST, tokens=7), NOW) == enter(
        NOTHING, asking("a", takes=MOST, tokens=7), NOW
    )
    usage = entered(NOTHING, asking("a", tokens=7))
    for sign in (1, -1):
        after = leave(usage, "a", Quota(tokens=7), sign * 9 * MOST, NOW)
        assert after == leave(usage, "a", Quota(tokens=7), sign * MOST, NOW)


@pytest.mark.parametrize("rate", [1, 7, MOST])
def test_what_is_owed_has_a_bound_that_lua_can_tell_from_its_neighbours(rate: int) -> None:
    usage = Usage(tokens=Bucket(EXACT - 1, 6), running={"a": NOW + 1})
    after = leave(usage, "a", Quota(tokens=rate), MOST, NOW)
    assert after.tokens.full < EXACT
    assert after.tokens.missing(rate, NOW) <= 9_000_000_000_000_000
    assert refused(after, asking("b", tokens=rate)).wait < EXACT


def test_under_another_quota_it_is_full_again_at_the_same_time() -> None:
    usage = crowd(NOTHING, 1_000, requests=1_000)
    assert refused(usage, asking("x", requests=1), NOW) == Crowded("requests", 60_000)
    assert refused(usage, asking("x", requests=1), NOW + 59_999) == Crowded("requests", 1)
    entered(usage, asking("x", requests=1), NOW + 60_000)
    odd = Usage(requests=Bucket(NOW, 999))
    assert odd.requests.missing(10, NOW) == 9, "less than comes back in a millisecond"


def test_a_key_is_idle_when_its_buckets_are_full_and_nobody_can_be_inside() -> None:
    assert NOTHING.idle <= 1
    usage = crowd(NOTHING, 1, requests=7)
    assert usage.requests == Bucket(NOW + 8_571, 3)
    assert usage.idle == NOW + 60_000
    assert leave(usage, f"{NOW}.0", Quota(requests=7), 0, NOW).idle == NOW + 8_572
    assert entered(NOTHING, asking("a", takes=200, seconds=1, tokens=100)).idle == NOW + 120_001


@pytest.mark.parametrize("name", ["requests", "tokens", "concurrent"])
@pytest.mark.parametrize("amount", [-1, MOST + 1, 1.5, "1"])
def test_a_quota_that_nobody_could_reckon_with_is_not_read(name: str, amount: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode({name: amount}), type=Quota)


def test_a_quota_that_says_nothing_is_none() -> None:
    assert not Quota()
    assert all([Quota(requests=1), Quota(tokens=1), Quota(concurrent=1)])
    assert msgspec.json.encode(Quota()) == b"{}"


limits = st.sampled_from([0, 1, 2, 3, 7, 60, 61, 1_000, MOST])
quotas = st.builds(Quota, requests=limits, tokens=limits, concurrent=st.integers(0, 4))
takings = st.integers(-5, 80) | st.sampled_from([2 * MOST, MOST, -MOST, -2 * MOST])
ticks = st.sampled_from([0, 0, 0, 1, 2, 17, 999, 8_571, 8_572, 29_999, 60_000, 10**9])
ids = st.sampled_from("abcdef")
comes = st.tuples(ids, takings, st.integers(-1, 90))
acts = st.lists(st.tuples(ticks, comes | st.tuples(ids, takings)), max_size=30)


Played = list[tuple[int, tuple[str, int] | tuple[str, int, int]]]


def play(quota: Quota, played: Played) -> tuple[Usage, int]:
    usage, now = NOTHING, NOW
    for tick, act in played:
        now += tick
        match act:
            case (id, takes, seconds):
                asked = Entering(key="k", id=id, quota=quota, tokens=takes, seconds=seconds)
                usage, _ = enter(usage, asked, now)
            case (id, takes):
                usage = leave(usage, id, quota, takes, now)
    return usage, now


@settings(deadline=None)
@given(quotas, acts, comes)
def test_a_wait_is_true_to_the_millisecond_if_nobody_else_comes(
    quota: Quota, played: Played, last: tuple[str, int, int]
) -> None:
    usage, now = play(quota, played)
    id, takes, seconds = last
    asked = Entering(key="k", id=id, quota=quota, tokens=takes, seconds=seconds)
    _, answer = enter(usage, asked, now)
    if isinstance(answer, Crowded) and answer.limit != "concurrency":
        early, late = (enter(usage, asked, now + answer.wait - less)[1] for less in (1, 0))
        assert early == Crowded(answer.limit, 1) or getattr(early, "limit", None) == "concurrency"
        assert isinstance(late, Entered) or late.limit == "concurrency"
        alone = msgspec.structs.replace(asked, quota=msgspec.structs.replace(quota, concurrent=0))
        assert isinstance(enter(usage, alone, now + answer.wait)[1], Entered)


@settings(deadline=None)
@given(quotas, acts)
def test_no_number_is_beyond_what_lua_can_tell_apart(quota: Quota, played: Played) -> None:
    usage, _ = play(quota, played)
    for bucket, rate in ((usage.requests, quota.requests), (usage.tokens, quota.tokens)):
        assert 0 <= bucket.full < EXACT
        assert 0 <= bucket.rest < max(1, rate)
    assert msgspec.json.decode(msgspec.json.encode(usage), type=Usage) == usage


@settings(deadline=None)
@given(quotas, acts, quotas, comes)
def test_who_is_idle_is_as_good_as_new_under_any_quota(
    quota: Quota, played: Played, other: Quota, last: tuple[str, int, int]
) -> None:
    usage, now = play(quota, played)
    then = max(now, usage.idle)
    id, takes, seconds = last
    asked = Entering(key="k", id=id, quota=other, tokens=takes, seconds=seconds)
    assert enter(usage, asked, then) == enter(NOTHING, asked, then)


@settings(deadline=None)
@given(st.integers(1, 200), acts)
def test_a_bucket_is_what_fractions_say_it_is(rate: int, played: Played) -> None:
    """The same rule without a bound, a rest or a millisecond: what is missing comes back evenly."""
    usage, now, missing = NOTHING, NOW, Fraction()
    quota = Quota(tokens=rate)
    for n, (tick, act) in enumerate(played):
        now, takes = now + tick, min(max(0, act[1]), 500)
        missing = max(Fraction(), missing - Fraction(tick * rate, MINUTE))
        asked = Entering(key="k", id=str(n), quota=quota, tokens=takes, seconds=60)
        usage, answer = enter(usage, asked, now)
        if missing + min(takes, rate) > rate:
            assert answer == Crowded("tokens", -((rate - missing - min(takes, rate)) * MINUTE // rate))
        else:
            missing += takes
            assert answer == Entered(None, max(0, int(rate - missing // 1 - (missing % 1 > 0))))
