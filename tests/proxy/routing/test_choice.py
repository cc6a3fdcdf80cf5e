"""All of it together: who is asked, in which order, and why the others are not."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Capabilities
from proxy.health import ratelimit
from proxy.routing import DEFAULT_TASKS, STRATEGIES, Candidate, Choice, Expected, Need, choose
from proxy.routing.choice import PATIENCE_MS
from tests.proxy.routing.candidates import NOW, SECOND, candidate, changed, everybody, names, price, windows_of

TEXT_ONLY = Capabilities(input=("text",))
OPEN: dict[str, Any] = {"state": "open", "since": NOW - 60 * SECOND, "until": NOW + 240 * SECOND, "why": "timeout"}
LIMITED: dict[str, Any] = {"blocked": NOW + 20 * SECOND}
A, B, C = (candidate(f"{name}/m") for name in "abc")


def chosen(
    *everyone: Candidate, need: Need | None = None, strategy: str = "fallback", choosy: bool = False, seed: int = 1
) -> Choice:
    return choose(
        everyone,
        need or Need(prompt=10),
        strategy=strategy,
        tasks=DEFAULT_TASKS,
        rng=Random(seed),
        now=NOW,
        choosy=choosy,
    )


def stand_in(name: str, **more: Any) -> Candidate:
    return candidate(name, stand_in=True, **more)


# --- in which order


def test_the_healthy_are_asked_in_the_order_of_the_strategy():
    assert chosen(A, B, C) == Choice(order=(A, B, C))
    dear, cheap = candidate("a/m", price=price("2", "10")), candidate("b/m", price=price("1", "5"))
    assert names(chosen(dear, cheap, strategy="cost").order) == "b a"


def test_who_only_stands_in_comes_after_all_who_were_asked_for():
    dear = candidate("a/m", price=price("9", "10"))
    everyone = [
        dear,
        candidate("b/m", price=price("8", "10")),
        stand_in("c/m", price=price("2", "3")),
        stand_in("d/m", price=price("1", "2")),
    ]
    assert names(chosen(*everyone, strategy="cost", choosy=True).order) == "b a c d"


def test_who_cannot_do_it_is_out():
    found = chosen(candidate("a/m", able=TEXT_ONLY), B, need=Need(images=True))
    assert names(found.order) == "b"
    assert [(one.name, one.why, one.said) for one in found.out] == [("a/m", "unfit", "it takes no images")]


def test_who_was_asked_for_by_name_is_asked_whatever_it_can_do():
    found = chosen(candidate("a/m", able=TEXT_ONLY), B, need=Need(images=True), choosy=True)
    assert found == Choice(order=found.order)
    assert names(found.order) == "a b"


@pytest.mark.parametrize(
    ("everyone", "expected"),
    [
        pytest.param([candidate("a/m", context=100), B], "b a", id="among equals"),
        pytest.param(
            [candidate("a/m", context=100), stand_in("b/m", context=100), stand_in("c/m")],
            "a c b",
            id="among those who stand in, but behind whom they stand in for",
        ),
    ],
)
def test_who_may_be_too_small_is_asked_after_the_others(everyone, expected):
    assert names(chosen(*everyone, need=Need(prompt=60, cap=50)).order) == expected


# --- as healthy as they are


@pytest.mark.parametrize(
    ("ill", "why", "said"),
    [
        pytest.param(
            OPEN, "open", "circuit open since 12:02:05Z (timeout); next probe at 12:07:05Z", id="an open circuit"
        ),
        pytest.param(
            OPEN | {"scope": "provider", "why": "key"},
            "open",
            "circuit of the whole provider open since 12:02:05Z (key); next probe at 12:07:05Z",
            id="an open circuit of the provider",
        ),
        pytest.param(
            OPEN | {"scope": "line", "why": "unreachable", "since": NOW - 86_400_000},
            "open",
            "circuit of this replica's connection to it open since 2026-11-22T12:03:05Z (unreachable); "
            "next probe at 12:07:05Z",
            id="an open circuit of our own way there, since yesterday",
        ),
        pytest.param(
            LIMITED, "limited", "the vendor asks to wait until 12:03:25Z (rate limited)", id="a vendor that said wait"
        ),
        pytest.param(
            {"windows": windows_of(0, NOW + 50 * SECOND)},
            "limited",
            "its rate limit has no room for this request until 12:03:10Z",
            id="a limit that has nothing left",
        ),
        pytest.param(
            {"most": 3, "in_flight": 3}, "full", "3 requests in flight, at most 3 may be", id="as many as may be"
        ),
        pytest.param(
            OPEN | LIMITED,
            "open",
            "circuit open since 12:02:05Z (timeout); next probe at 12:07:05Z",
            id="open, and limited as well",
        ),
    ],
)
def test_who_is_not_well_is_out_and_it_is_said_why(ill, why, said):
    found = chosen(candidate("a/m", **ill), B, choosy=True)
    assert names(found.order) == "b"
    assert [(one.name, one.why, one.said) for one in found.out] == [("a/m", why, said)]
    assert not found.least_bad
    assert found.wait is None


def test_it_is_told_since_and_until_when():
    found = chosen(candidate("a/m", **OPEN), candidate("b/m", **LIMITED), C)
    assert [(one.since, one.until) for one in found.out] == [
        (OPEN["since"], OPEN["until"]),
        (0, LIMITED["blocked"]),
    ]


@pytest.mark.parametrize(
    "well",
    [
        pytest.param({"state": "half_open", "since": NOW - 1, "until": NOW}, id="half-open"),
        pytest.param({"blocked": NOW}, id="no longer limited"),
        pytest.param({"windows": windows_of(1, NOW + SECOND)}, id="one request is left"),
        pytest.param({"most": 3, "in_flight": 2}, id="one may still be in flight"),
        pytest.param({"first": 90_000.0, "in_flight": 900}, id="slow and busy"),
    ],
)
def test_who_is_well_enough_keeps_its_place(well):
    ours = candidate("a/m", **well)
    assert chosen(ours, B) == Choice(order=(ours, B))


def test_a_limit_of_tokens_is_held_against_what_this_request_may_take():
    told = {kind: ratelimit.Window(1_000, 100, NOW, NOW + 60 * SECOND) for kind in ("input_tokens", "output_tokens")}
    one = candidate("a/m", windows=told, expected=Expected(30.4))
    assert names(chosen(one, need=Need(prompt=100, choices=3)).order) == "a"
    assert chosen(one, need=Need(prompt=101, choices=3)).wait is not None
    assert chosen(one, need=Need(prompt=100, choices=4)).wait is not None


def test_the_stalled_are_asked_after_the_others():
    found = chosen(candidate("a/m", stalled=True), B, stand_in("c/m"))
    assert names(found.order) == "b c a"
    assert [(one.name, one.why) for one in found.out] == [("a/m", "stalled")]


def test_after_a_recovery_traffic_comes_back_bit_by_bit():
    back = candidate("a/m", share=0.3, since=NOW - 9 * SECOND)
    found = [chosen(back, B, seed=seed) for seed in range(1_000)]
    first = [one for one in found if names(one.order) == "a b"]
    assert len(first) / 1_000 == pytest.approx(0.3, abs=0.05)
    assert {one.out for one in first} == {()}
    late = next(one for one in found if names(one.order) == "b a")
    assert [(one.name, one.why, one.since) for one in late.out] == [("a/m", "slow_start", NOW - 9 * SECOND)]
    assert "30%" in late.out[0].said


def test_nobody_is_behind_where_nobody_is_better():
    found = chosen(candidate("a/m", stalled=True), candidate("b/m", stalled=True), candidate("c/m", **OPEN))
    assert names(found.order) == "a b"
    assert [one.why for one in found.out] == ["open"]


# --- nobody is well


def opened(name: str, seconds: int, **more: Any) -> Candidate:
    return candidate(name, **{**OPEN, "until": NOW + seconds * SECOND, **more})


KEYLESS: dict[str, Any] = {"scope": "provider", "why": "key"}


@pytest.mark.parametrize(
    ("everyone", "best"),
    [
        pytest.param([opened("a/m", 60)], "a", id="one alone"),
        pytest.param([opened("a/m", 60), opened("b/m", 50), opened("c/m", 70)], "b", id="who is probed soonest"),
        pytest.param([opened("a/m", 60), opened("b/m", 60)], "a", id="the catalog's first, of equals"),
        pytest.param([opened("a/m", 50, **KEYLESS), opened("b/m", 60)], "b", id="the sick rather than the keyless"),
        pytest.param(
            [opened("a/m", 50, scope="provider", why="quota"), opened("b/m", 60)],
            "b",
            id="the sick rather than who wants money",
        ),
        pytest.param(
            [opened("a/m", 50, scope="model", why="quota"), opened("b/m", 60)], "a", id="a quota of one model only"
        ),
        pytest.param([opened("a/m", 50, **KEYLESS), opened("b/m", 40, **KEYLESS)], "b", id="the keyless, if all are"),
        pytest.param(
            [opened("a/m", 50, **LIMITED), opened("b/m", 60)], "b", id="not who wants to hear nothing, sick or not"
        ),
        pytest.param(
            [opened("a/m", 60), candidate("b/m", blocked=NOW + PATIENCE_MS + 1)],
            "a",
            id="rather than to wait for a limit for long",
        ),
    ],
)
def test_if_all_are_open_the_least_bad_is_asked(everyone, best):
    found = chosen(*everyone)
    assert names(found.order) == best
    assert found.least_bad
    assert found.wait is None
    assert {one.name for one in found.order} | {one.name for one in found.out} == {one.name for one in everyone}


@pytest.mark.parametrize(
    ("everyone", "wait"),
    [
        pytest.param([candidate("a/m", **LIMITED)], 20_000, id="one alone, and limited for long"),
        pytest.param([candidate("a/m", **LIMITED), candidate("b/m", blocked=NOW + 5)], 5, id="the first of several"),
        pytest.param(
            [candidate("a/m", windows=windows_of(0, NOW + 50 * SECOND))], 5_000, id="a limit that fills up slowly"
        ),
        pytest.param([candidate("a/m", most=1, in_flight=1)], 100, id="a place at a busy one"),
        pytest.param(
            [opened("a/m", 60), candidate("b/m", blocked=NOW + PATIENCE_MS)],
            PATIENCE_MS,
            id="rather than to ask the sick, if it is not for long",
        ),
        pytest.param([opened("a/m", 60, **LIMITED)], 20_000, id="one that is sick as well"),
    ],
)
def test_if_all_are_limited_or_busy_somebody_is_worth_waiting_for(everyone, wait):
    found = chosen(*everyone)
    assert found.order == ()
    assert found.wait == NOW + wait
    assert not found.least_bad
    assert len(found.out) == len(everyone)


@settings(deadline=None)
@given(
    everybody,
    st.sampled_from(sorted(STRATEGIES)),
    st.builds(Need, prompt=st.integers(0, 2_000), least=st.integers(0, 2_000), images=st.booleans()),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_everyone_is_asked_or_out_and_nobody_is_forgotten(everyone, strategy, need, choosy, rng):
    everyone = [
        changed(one, target=changed(one.target, model=f"m{i}"))  # each by a name of its own
        for i, one in enumerate(everyone)
    ]
    found = choose(everyone, need, strategy=strategy, tasks=DEFAULT_TASKS, rng=rng, now=NOW, choosy=choosy)
    asked, out = [one.name for one in found.order], [one.name for one in found.out]
    assert sorted({*asked, *out}) == sorted(one.name for one in everyone)
    assert len(set(asked)) == len(asked)
    late = {one.name for one in found.out if one.why in ("stalled", "slow_start")}
    assert set(asked) & set(out) == late
    assert (found.wait is None) == bool(asked)
    assert found.wait is None or found.wait > NOW
    assert all(one.standing.blocked <= NOW for one in found.order)
    states = {one.standing.state for one in found.order}
    assert ("open" in states) == found.least_bad
    assert len(asked) == 1 or not found.least_bad
    asked_for = [one.stand_in for one in found.order if one.name not in late]
    assert asked_for == sorted(asked_for)


def test_chance_is_asked_only_where_it_decides():
    rng = Random(1)
    before = rng.getstate()
    choose([A, B], Need(), strategy="fallback", tasks={}, rng=rng, now=NOW, choosy=True)
    assert rng.getstate() == before
