"""Budgets as people write them down, and what is said when they are written wrongly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import ledger
from proxy.budget import Budget, limits
from proxy.environment import Environment
from proxy.ledger import Entry
from proxy.spending import Purse, nano, read


@pytest.mark.parametrize(
    ("text", "amount"),
    [("5", 5 * 10**9), ("0.01", 10**7), ("12.50", 12_500_000_000), ("0.000000001", 1), ("9000000", 9 * 10**15)],
)
def test_dollars_are_read_exactly(text, amount):
    assert nano(text) == amount


@pytest.mark.parametrize(
    "text", ["0", "-1", "1e3", "9000000.1", "", ".5", "5.", "1.0000000001", "$5", "5 ", "\u0665", "nan"]
)
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ValueError, match="expected USD"):
        nano(text)


def faults(rows: object, **environ: str) -> list[str]:
    env = Environment(environ)
    read(env, rows, "budgets")
    return env.faults


def test_the_variables_bound_all_traffic():
    env = Environment({"LLM_DAILY_BUDGET": "5", "LLM_MONTHLY_BUDGET": "100.5"})
    assert read(env, None, "budgets") == (
        Budget(limit=5 * 10**9, window="day"),
        Budget(limit=100_500_000_000, window="month"),
    )
    assert env.faults == []


def test_a_budget_of_no_team_would_bound_nobody_and_is_refused():
    (fault,) = faults([{"team": "", "daily": "1"}])
    assert fault.startswith("budgets[0]: `team` is a name")
    assert faults([{"team": "*", "daily": "1"}, {"team": "red", "daily": "1"}, {"user": "", "daily": "1"}]) == []


def test_a_row_may_have_both_windows_and_one_dimension():
    rows = [{"user": "*", "daily": "1"}, {"provider": "openai", "daily": 3, "monthly": "50"}, {"key": "", "daily": "1"}]
    assert read(Environment({}), rows, "budgets") == (
        Budget(limit=10**9, window="day", dimension="user", value="*"),
        Budget(limit=3 * 10**9, window="day", dimension="provider", value="openai"),
        Budget(limit=50 * 10**9, window="month", dimension="provider", value="openai"),
        Budget(limit=10**9, window="day", dimension="key", value=""),
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("5", "budgets: expected a list"),
        ([{"user": "a"}], "budgets[0]: a budget has `daily` or `monthly`"),
        ([{"user": "a", "agent": "b", "daily": "1"}], "one dimension; this one has user and agent"),
        ([{"daily": "1"}, {"tribe": "a", "daily": "1"}], "budgets[1]: Object contains unknown field `tribe`"),
        ([{"daily": 0.5}], "budgets[0]: Expected `int | str | null`, got `float`"),
        ([{"daily": "0"}], "budgets[0]: expected USD"),
        ([{"user": "a", "daily": "1"}, {"user": "a", "daily": "2"}], "daily of user=a is set twice"),
    ],
)
def test_a_wrong_row_is_said_with_its_place(rows, said):
    assert len(faults(rows)) == 1
    assert said in faults(rows)[0]


def test_the_same_budget_in_a_variable_and_in_the_file_is_no_riddle():
    assert faults([{"daily": "1"}], LLM_DAILY_BUDGET="2") == ["budgets: the budget daily is set twice"]


def test_a_wrong_variable_is_said():
    assert "LLM_DAILY_BUDGET: expected USD as a decimal" in faults(None, LLM_DAILY_BUDGET="five")[0]


def test_the_budgets_of_a_key_that_is_gone_hold_and_are_not_shown():
    purse = Purse((Budget(limit=5, window="day"),))
    own = Budget(limit=3, window="day", dimension="key", value="ci")
    purse.give("ci", (own,))
    assert own in purse.all()
    purse.give("ci", (own,), gone=True)
    assert own not in purse.all()
    row = Entry(id="r/1", request="r", provider="p", model="m", key="ci")
    assert {limit.nano for limit in purse.of(row)} == {5, 3}
    purse.give("ci", (own,))
    assert own in purse.all()
    purse.give("ci", ())
    assert purse.all() == purse.configured


NAMES = st.sampled_from(["", "a", "b", "*"])
BUDGETS = st.lists(
    st.builds(
        Budget,
        limit=st.integers(1, 9),
        window=st.sampled_from(ledger.WINDOWS),
        dimension=st.sampled_from(["", *ledger.DIMENSIONS]),
        value=NAMES,
    ),
    max_size=12,
)


@given(BUDGETS, st.lists(st.tuples(*[NAMES] * len(ledger.DIMENSIONS)), max_size=6))
def test_those_that_apply_are_the_same_as_if_all_were_looked_through(budgets, callers):
    purse = Purse(budgets)
    for values in callers * 2:
        row = Entry(id="r/1", request="r", **dict(zip(ledger.DIMENSIONS, values, strict=True)))
        assert set(purse.of(row)) == set(limits(budgets, row))


def test_a_change_is_heard_by_those_who_were_looked_up_before():
    row = Entry(id="r/1", request="r", provider="p", model="m", key="ci")
    purse = Purse()
    assert purse.of(row) == ()
    purse.give("ci", (Budget(limit=3, window="day", dimension="key", value="ci"),))
    assert [limit.nano for limit in purse.of(row)] == [3]
    purse.configured = (Budget(limit=5, window="day"),)
    assert sorted(limit.nano for limit in purse.of(row)) == [3, 5]
    purse.give("ci", ())
    assert [limit.nano for limit in purse.of(row)] == [5]


def test_those_who_spend_once_are_not_remembered_for_ever():
    purse = Purse((Budget(limit=5, window="day"),))
    for number in range(10_000):
        purse.of(Entry(id="r/1", request="r", provider="p", model="m", user=str(number)))
    assert len(purse._known) <= 4_096
