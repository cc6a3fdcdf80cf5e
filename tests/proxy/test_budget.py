"""What is granted, what is refused, who is told: on paper, without a store."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.budget import (
    EACH,
    MOST,
    PART,
    Alert,
    Ask,
    Budget,
    Limit,
    alert_key,
    exhausted,
    grant,
    left,
    limits,
    reached,
    settled,
)
from proxy.ledger import Counter, Entry

ROW = Entry(id="a/1", request="a", provider="openai", model="gpt", user="ann")
DAILY = Limit("daily", "all", "day", 100)
amounts = st.integers(0, MOST)
counters = st.builds(Counter, amounts, amounts, amounts)


def ask(*limits: Limit, least: int = 10, most: int = 50, share: int = PART) -> Ask:
    return Ask(entry=ROW, limits=limits, least=least, most=most, share=share)


@pytest.mark.parametrize(
    ("counter", "least", "most", "share", "amount"),
    [
        (Counter(), 10, 50, PART, 50),
        (Counter(), 10, 500, PART, 100),
        (Counter(spent=20, held=30, unproven=15), 10, 50, PART, 35),
        (Counter(spent=90), 10, 50, PART, 10),
        (Counter(spent=91), 10, 50, PART, None),
        (Counter(held=91), 10, 50, PART, None),
        (Counter(unproven=91), 10, 50, PART, None),
        (Counter(spent=101), 0, 0, PART, None),
        (Counter(spent=100), 0, 50, PART, 0),
        (Counter(), 10, 500, PART // 4, 25),
        (Counter(spent=1), 10, 500, PART // 4, 24),
        (Counter(), 60, 500, PART // 4, 60),
        (Counter(), 10, 20, PART // 4, 20),
        (Counter(), 0, 500, 1, 0),
    ],
)
def test_what_is_left_is_granted_from_least_to_most(
    counter: Counter, least: int, most: int, share: int, amount: int | None
) -> None:
    expected = DAILY if amount is None else amount
    assert grant(ask(DAILY, least=least, most=most, share=share), [counter]) == expected


def test_the_tightest_of_all_limits_decides_and_is_named() -> None:
    other = Limit("daily of user=ann", "user=ann", "day", 90)
    assert grant(ask(DAILY, other, most=500), [Counter(), Counter()]) == 90
    assert grant(ask(DAILY, other, most=500), [Counter(held=20), Counter()]) == 80
    assert grant(ask(DAILY, other, least=85), [Counter(held=20), Counter()]) == DAILY
    assert grant(ask(DAILY, other, least=95), [Counter(), Counter()]) == other


def test_where_no_limit_applies_all_is_granted() -> None:
    assert grant(ask(most=MOST), []) == MOST


def test_each_limit_has_its_counter() -> None:
    with pytest.raises(ValueError, match="shorter"):
        grant(ask(DAILY, DAILY), [Counter()])


@given(st.lists(st.tuples(amounts, counters), min_size=1, max_size=4), amounts, amounts, st.integers(1, PART))
def test_what_is_granted_fits_into_every_limit(
    found: list[tuple[int, Counter]], one: int, other: int, share: int
) -> None:
    bounds = [Limit("b", f"user={n}", "day", nano) for n, (nano, _) in enumerate(found)]
    asked = ask(*bounds, least=min(one, other), most=max(one, other), share=share)
    answer = grant(asked, [counter for _, counter in found])
    room = [left(limit, counter) for limit, (_, counter) in zip(bounds, found, strict=True)]
    if isinstance(answer, Limit):
        assert left(answer, found[bounds.index(answer)][1]) == min(room) < asked.least
    else:
        assert asked.least <= answer <= min(asked.most, *room)


@pytest.mark.parametrize(
    ("counter", "least", "used_up"),
    [
        (Counter(spent=90), 11, True),
        (Counter(spent=90), 10, False),
        (Counter(unproven=90), 11, True),
        (Counter(spent=89), 99, False),  # one dear request is no alert
        (Counter(spent=80, held=20), 10, False),  # what is held comes back
        (Counter(spent=95, held=5), 1, False),
        (Counter(spent=100), 1, True),
        (Counter(spent=120), 1, True),
    ],
)
def test_a_budget_is_used_up_when_no_hold_that_comes_back_would_help(
    counter: Counter, least: int, used_up: bool
) -> None:
    asked = ask(DAILY, least=least)
    assert exhausted(asked, DAILY, counter) is used_up
    assert not exhausted(msgspec.structs.replace(asked, final=False), DAILY, counter), "another word will follow"


@pytest.mark.parametrize(
    ("counter", "percents"),
    [
        (Counter(spent=89, held=50), ()),
        (Counter(spent=90), (90,)),
        (Counter(spent=60, unproven=39), (90,)),
        (Counter(spent=99, unproven=1), (90, 100)),
        (Counter(spent=250), (90, 100)),
    ],
)
def test_a_threshold_is_reached_by_what_is_used(counter: Counter, percents: tuple[int, ...]) -> None:
    assert reached(DAILY, counter) == percents


def test_an_alert_is_known_by_its_budget_its_window_and_its_threshold() -> None:
    alert = Alert(DAILY, "day:2026-11-23", 90, Counter(spent=90))
    same = Alert(msgspec.structs.replace(DAILY, budget="renamed"), "day:2026-11-23", 90, Counter(spent=95))
    assert alert.key == same.key == alert_key(DAILY, "day:2026-11-23", 90)
    others = [
        Alert(DAILY, "day:2026-11-24", 90, Counter()),
        Alert(DAILY, "day:2026-11-23", 100, Counter()),
        Alert(msgspec.structs.replace(DAILY, scope="user=ann"), "day:2026-11-23", 90, Counter()),
        Alert(msgspec.structs.replace(DAILY, nano=101), "day:2026-11-23", 90, Counter()),
    ]
    assert len({alert.key, *(other.key for other in others)}) == 5


def row(cost: int | None, unproven: int = 0) -> Entry:
    return msgspec.structs.replace(ROW, cost=cost, unproven=unproven)


@pytest.mark.parametrize(
    ("entry", "held", "before", "change"),
    [
        (row(30), 50, None, Counter(spent=30, held=-50)),
        (row(70), 50, None, Counter(spent=70, held=-50)),
        (row(None, 5), 50, None, Counter(held=-50, unproven=5)),
        (row(30), 0, row(50), Counter(spent=-20)),
        (row(30, 9), 0, row(50, 2), Counter(spent=-20, unproven=7)),
        (row(30), 0, row(None, 50), Counter(spent=30, unproven=-50)),
    ],
)
def test_a_settlement_gives_the_hold_back_and_books_what_it_cost(
    entry: Entry, held: int, before: Entry | None, change: Counter
) -> None:
    assert settled(entry, held, before) == change


def budget(limit: int, dimension: str = "", value: str = "", window: str = "day") -> Budget:
    return msgspec.convert({"limit": limit, "window": window, "dimension": dimension, "value": value}, Budget)


APPLY = [  # budgets; scope and amount of those that apply to ann's row, which names no agent
    ([], {}),
    ([budget(9)], {("all", "day"): 9}),
    ([budget(9), budget(5, window="month")], {("all", "day"): 9, ("all", "month"): 5}),
    ([budget(9), budget(5), budget(7)], {("all", "day"): 5}),
    ([budget(9, "user", "ann"), budget(9, "user", "bob"), budget(9, "user", "")], {("user=ann", "day"): 9}),
    ([budget(9, "user", EACH)], {("user=ann", "day"): 9}),
    ([budget(9, "user", "ann"), budget(5, "user", EACH)], {("user=ann", "day"): 9}),
    ([budget(5, "user", EACH), budget(9, "user", "ann")], {("user=ann", "day"): 9}),
    ([budget(9, "user", EACH), budget(5, "user", EACH)], {("user=ann", "day"): 5}),
    ([budget(5, "user", EACH), budget(9, "user", EACH)], {("user=ann", "day"): 5}),
    ([budget(9, "user", "ann"), budget(5, "user", EACH, "month")], {("user=ann", "day"): 9, ("user=ann", "month"): 5}),
    ([budget(9, "agent", EACH)], {("agent=", "day"): 9}),
    ([budget(9, "agent", "")], {("agent=", "day"): 9}),
    ([budget(9, "agent", ""), budget(5, "agent", EACH)], {("agent=", "day"): 9}),
    ([budget(9, "agent", "bot")], {}),
    ([budget(9), budget(5, "provider", "openai"), budget(7, "model", "gpt")],
     {("all", "day"): 9, ("provider=openai", "day"): 5, ("model=gpt", "day"): 7}),
]  # fmt: skip


@pytest.mark.parametrize(("budgets", "expected"), APPLY)
def test_who_is_named_goes_before_each_and_the_lower_before_the_higher(
    budgets: list[Budget], expected: dict[tuple[str, str], int]
) -> None:
    found = limits(budgets, ROW)
    assert {(limit.scope, limit.window): limit.nano for limit in found} == expected
    assert len(found) == len(expected)
    assert {limit.scope for limit in found} <= set(ROW.scopes)


def test_a_budget_has_the_name_that_people_give_it() -> None:
    named = [budget(1), budget(1, window="month"), budget(1, "user", "ann"), budget(1, "agent", EACH, "month")]
    assert [b.name for b in named] == ["daily", "monthly", "daily of user=ann", "monthly of agent=*"]
    assert {limit.budget for limit in limits(named, ROW)} == {b.name for b in named}
