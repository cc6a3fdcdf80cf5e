"""The order of the candidates, by strategy."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import providers
from proxy.catalog import ProviderRow, load
from proxy.routing import DEFAULT_TASKS, STRATEGIES, Candidate, Expected, Need
from proxy.routing.strategies import EXPLORE
from tests.proxy.routing.candidates import candidate, everybody, names, price

CATALOG = load((Path(__file__).resolve().parents[3] / "pricing.yaml").read_bytes())
ROWS = [ProviderRow(name=vendor, vendor=vendor) for vendor in providers.VENDORS]
SHORT = Need(prompt=100)
MANY = 2_000


def order(strategy: str, *everyone: Candidate, need: Need = SHORT, seed: int = 1) -> str:
    return names(STRATEGIES[strategy](everyone, need, Random(seed), DEFAULT_TASKS))


def firsts(strategy: str, *everyone: Candidate, need: Need = SHORT) -> Counter[str]:
    """How often each is first, of `MANY` requests."""
    rng = Random(1)
    return Counter(names(STRATEGIES[strategy](everyone, need, rng, {})[:1]) for _ in range(MANY))


@settings(deadline=None)
@given(
    everybody | st.just([]),
    st.sampled_from(sorted(STRATEGIES)),
    st.builds(
        Need, prompt=st.integers(0, 10**6), choices=st.integers(1, 4), task=st.sampled_from([None, "speed", "none"])
    ),
    st.randoms(use_true_random=False),
)
def test_a_strategy_returns_all_that_it_was_given(everyone, strategy, need, rng):
    ordered = STRATEGIES[strategy](everyone, need, rng, DEFAULT_TASKS)
    assert sorted(map(id, ordered)) == sorted(map(id, everyone))


def test_fallback_keeps_the_order_of_the_catalog():
    route = CATALOG.route("gpt-4o", ROWS, primary="anthropic", fallback=True)
    everyone = [Candidate(target=target, model=target.model) for target in route.candidates]
    assert order("fallback", *everyone) == "openai anthropic gemini"


# --- cost

CHEAP_TO_ASK = price("1", "10")
CHEAP_TO_HEAR = price("3", "5")
HALF_OFF_CACHED = price("4", "5", rates={"cache_read": "0.4"})
LEAPING = price("1", "5", tiers=[{"above_prompt_tokens": 1_000, "per_mtok": {"input": "10"}}])
FLEXIBLE = price("4", "20", variants={"flex": {"multiply": "0.1"}})


@pytest.mark.parametrize(
    ("a", "b", "need", "expected"),
    [
        pytest.param(
            candidate("a/m", price=CHEAP_TO_HEAR, expected=Expected(10)),
            candidate("b/m", price=CHEAP_TO_ASK, expected=Expected(10)),
            Need(prompt=1_000),
            "b a",
            id="a long question and a short answer",
        ),
        pytest.param(
            candidate("a/m", price=CHEAP_TO_ASK, expected=Expected(1_000)),
            candidate("b/m", price=CHEAP_TO_HEAR, expected=Expected(1_000)),
            Need(prompt=1_000),
            "b a",
            id="a short question and a long answer",
        ),
        pytest.param(
            candidate("a/m", price=CHEAP_TO_ASK, expected=Expected(100)),
            candidate("b/m", price=CHEAP_TO_HEAR, expected=Expected(100)),
            Need(prompt=1_000, choices=50),
            "b a",
            id="several answers to one question",
        ),
        pytest.param(
            candidate("a/m", price=CHEAP_TO_ASK, expected=Expected(1_000)),
            candidate("b/m", price=CHEAP_TO_ASK, expected=Expected(900)),
            Need(prompt=1_000),
            "b a",
            id="a model of fewer words at the same price",
        ),
        pytest.param(
            candidate("a/m", price=CHEAP_TO_HEAR, expected=Expected(1)),
            candidate("b/m", price=HALF_OFF_CACHED, expected=Expected(1, 0.9)),
            Need(prompt=1_000),
            "b a",
            id="a prompt that is likely to be cached",
        ),
        pytest.param(
            candidate("a/m", price=CHEAP_TO_HEAR, expected=Expected(1)),
            candidate("b/m", price=HALF_OFF_CACHED, expected=Expected(1, 0.1)),
            Need(prompt=1_000),
            "a b",
            id="a prompt that is not likely to be cached",
        ),
        pytest.param(
            candidate("a/m", price=LEAPING),
            candidate("b/m", price=CHEAP_TO_HEAR),
            Need(prompt=1_000),
            "a b",
            id="a prompt as long as the price allows",
        ),
        pytest.param(
            candidate("a/m", price=LEAPING),
            candidate("b/m", price=CHEAP_TO_HEAR),
            Need(prompt=1_001),
            "b a",
            id="a prompt that is longer, cached or not",
        ),
        pytest.param(
            candidate("a/m", price=CHEAP_TO_ASK),
            candidate("b/m", price=FLEXIBLE),
            Need(prompt=1_000, tier="flex"),
            "b a",
            id="a service tier that is cheaper",
        ),
        pytest.param(
            candidate("a/m"),
            candidate("b/m", price=price("100", "500")),
            Need(prompt=1_000),
            "b a",
            id="an unknown price, which is not free",
        ),
        pytest.param(
            candidate("a/m", price=CHEAP_TO_ASK, losses=1),
            candidate("b/m", price=price("100", "500")),
            Need(prompt=1_000),
            "b a",
            id="a cheap one that would lose something of it",
        ),
        pytest.param(
            candidate("a/m", price=CHEAP_TO_ASK, losses=1),
            candidate("b/m"),
            Need(prompt=1_000),
            "b a",
            id="an unknown price, which loses nothing",
        ),
        pytest.param(
            candidate("a/m", price=CHEAP_TO_ASK),
            candidate("b/m", price=CHEAP_TO_ASK),
            Need(prompt=1_000),
            "a b",
            id="equal prices, in the order of the catalog",
        ),
    ],
)
def test_cost_asks_the_cheapest_for_this_request(a, b, need, expected):
    assert order("cost", a, b, need=need) == expected


# --- capability

THREE = [candidate("gemini/m"), candidate("openai/m"), candidate("anthropic/m")]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("analytical", "openai gemini anthropic"),
        ("creative", "anthropic gemini openai"),
        ("synthesis", "anthropic gemini openai"),
        ("speed", "gemini openai anthropic"),
        ("cost", "gemini openai anthropic"),
        ("cooking", "gemini openai anthropic"),
        (None, "gemini openai anthropic"),
    ],
)
def test_capability_asks_who_is_good_at_the_task(task, expected):
    assert order("capability", *THREE, need=Need(task=task)) == expected


# --- load balance


def test_load_is_balanced_by_weight_where_nothing_else_differs():
    found = firsts("load_balance", candidate("a/m", weight=3), candidate("b/m"))
    assert found["a"] / MANY == pytest.approx(3 / 4, abs=0.03)


def test_load_goes_to_the_less_busy_of_two():
    found = firsts("load_balance", candidate("a/m", in_flight=1), candidate("b/m"))
    assert found["b"] / MANY == pytest.approx(3 / 4, abs=0.03)  # but for those where chance drew the busy one twice


def test_load_goes_to_the_faster_of_two():
    found = firsts("load_balance", candidate("a/m", first=900.0, seen=5.0), candidate("b/m", first=300.0, seen=5.0))
    assert found["b"] / MANY == pytest.approx(3 / 4, abs=0.03)


def test_a_heavier_one_may_have_more_requests_in_flight():
    found = firsts("load_balance", candidate("a/m", in_flight=5), candidate("b/m", in_flight=9, weight=10))
    assert found["b"] / MANY == pytest.approx(1 - (1 / 11) ** 2, abs=0.03)


@pytest.mark.parametrize(
    ("known", "unknown"),
    [
        pytest.param({"first": 300.0, "seen": 5.0}, {}, id="nothing is known of one"),
        pytest.param({"first": 300.0, "seen": 5.0}, {"first": 9_000.0, "seen": 0.9}, id="little is known of one"),
        pytest.param({}, {}, id="nothing is known of both"),
    ],
)
def test_who_is_not_known_is_taken_to_be_as_fast_as_the_others(known, unknown):
    found = firsts("load_balance", candidate("a/m", **known), candidate("b/m", **unknown))
    assert found["b"] / MANY == pytest.approx(1 / 2, abs=0.04)


def test_after_the_first_come_the_others_as_they_are_loaded():
    everyone = [candidate(f"{name}/m", in_flight=load) for name, load in zip("abcd", (30, 10, 20, 0), strict=True)]
    assert {order("load_balance", *everyone, seed=seed) for seed in range(200)} == {
        "a d b c",  # chance has drawn it twice
        "b d c a",
        "c d b a",
        "d b c a",
    }


def test_one_alone_is_not_drawn_for():
    rng = Random(1)
    before = rng.getstate()
    STRATEGIES["load_balance"]([candidate("a/m")], SHORT, rng, {})
    assert rng.getstate() == before


# --- latency


def paced(name: str, first: float | None, seen: float = 20.0) -> Candidate:
    return candidate(name, first=first, seen=seen)


def test_latency_asks_the_fastest_and_now_and_then_another():
    everyone = [paced("a/m", 900.0), paced("b/m", 300.0), paced("c/m", 600.0)]
    found = firsts("latency", *everyone)
    assert found["b"] / MANY == pytest.approx(1 - EXPLORE, abs=0.02)
    assert found["a"] > 0 < found["c"]
    assert {order("latency", *everyone, seed=seed) for seed in range(200)} == {"b c a", "c b a", "a b c"}


@pytest.mark.parametrize("little", [paced("c/m", None, 0.0), paced("c/m", 500.0, 0.9)], ids=["unknown", "long ago"])
def test_who_is_hardly_known_is_explored_before_others(little):
    found = firsts("latency", paced("a/m", 900.0), paced("b/m", 300.0), little)
    assert found["b"] / MANY == pytest.approx(1 - EXPLORE, abs=0.02)
    assert found["a"] == 0 < found["c"]


def test_who_is_not_known_comes_last_but_for_that():
    orders = Counter(
        order("latency", paced("a/m", None, 0.0), paced("b/m", 300.0), paced("c/m", 900.0), seed=seed)
        for seed in range(200)
    )
    assert orders.most_common(1)[0][0] == "b c a"


def test_what_was_seen_long_ago_is_better_than_nothing():
    assert firsts("latency", paced("a/m", 900.0, 0.1), paced("b/m", 300.0, 0.1))["b"] > MANY * 0.9


def test_with_nothing_known_the_catalog_has_the_word():
    assert set(firsts("latency", paced("a/m", None, 0.0), paced("b/m", None, 0.0))) == {"a"}


def test_latency_of_one_alone():
    assert order("latency", paced("a/m", 300.0)) == "a"
