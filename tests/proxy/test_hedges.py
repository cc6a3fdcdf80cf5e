"""When a second candidate is asked, and that what it costs stays within its share."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Capabilities, Target
from proxy.catalog import load
from proxy.health import Standing
from proxy.hedges import Hedges
from proxy.prices import Price
from proxy.routing import Candidate, Expected, Need
from proxy.settings import shipped_prices

CATALOG = load(shipped_prices().read_bytes())
NOW = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp())
NEED = Need(prompt=1_000, stream=True)


def price(name: str) -> Price | None:
    model = CATALOG.find("openai", name)
    assert model is not None
    return model.price_at(NOW)


def candidate(name: str, *, priced: bool = True, **standing: Any) -> Candidate:
    target = Target(
        provider=name, vendor="openai", model="m", capabilities=Capabilities(), context=10**6, max_output=10**5
    )
    known = price("gpt-4o") if priced else None
    return Candidate(
        target=target,
        model="m",
        price=known,
        expected=Expected(500.0),
        standing=Standing(**{"hedge": 900.0, "hedge_whole": 9_000.0, **standing}),
    )


def rich(**more: Any) -> Hedges:
    """As one that has spent enough to afford any second leg."""
    hedges = Hedges(**{"enabled": True, "spend": 0.05, "least": 0.5, **more})
    hedges.spent(10**12)
    return hedges


def test_after_the_95th_percentile_of_the_first():
    assert rich().after([candidate("a", hedge=900.0), candidate("b", hedge=10.0)], NEED) == 0.9


def test_or_of_whole_answers_where_nothing_is_streamed():
    assert rich().after([candidate("a"), candidate("b")], Need(prompt=1_000)) == 9.0


def test_but_never_sooner_than_the_least():
    assert rich().after([candidate("a", hedge=90.0), candidate("b")], NEED) == 0.5


@pytest.mark.parametrize(
    ("hedges", "order"),
    [
        pytest.param(rich(enabled=False), [candidate("a"), candidate("b")], id="switched off"),
        pytest.param(rich(), [candidate("a")], id="there is no second"),
        pytest.param(rich(), [], id="there is nobody"),
        pytest.param(rich(), [candidate("a", hedge=None), candidate("b")], id="too little is known of the first"),
        pytest.param(rich(), [candidate("a", state="half_open"), candidate("b")], id="the first is probed"),
        pytest.param(rich(), [candidate("a"), candidate("b", state="open")], id="the second is sick"),
        pytest.param(rich(), [candidate("a"), candidate("b", priced=False)], id="nobody knows what it would cost"),
        pytest.param(Hedges(enabled=True, spend=0.05, least=0.5), [candidate("a"), candidate("b")],
                     id="nothing was spent yet"),
    ],
)  # fmt: skip
def test_nobody_is_hedged(hedges, order):
    assert hedges.after(order, NEED) is None


@given(st.lists(st.one_of(st.none(), st.integers(0, 10**8)), max_size=60), st.floats(0.001, 0.5))
def test_second_legs_cost_no_more_than_their_share(costs, share):
    """Of what is expected of them: what they came to in the end is in the ledger, as a row of its own."""
    hedges = Hedges(enabled=True, spend=share, least=0.5)
    order = [candidate("a"), candidate("b")]
    usage = price("gpt-4o")
    assert usage is not None
    each = 1_000 * 2_500 + 500 * 10_000  # nano-dollars: USD 2.50 and 10 a million
    spent = legs = 0
    for cost in costs:
        if hedges.after(order, NEED) is not None:
            legs += hedges.begin(order[1], NEED)
        hedges.spent(cost)
        spent += cost or 0
        assert legs * each <= share * spent + each * 0.01


def test_a_leg_without_a_price_is_not_begun():
    assert not rich().begin(candidate("b", priced=False), NEED)


def test_many_that_were_planned_at_once_are_not_all_begun():
    """When a vendor stalls, all who wait for it have planned a second leg by then."""
    hedges, order = Hedges(enabled=True, spend=0.05, least=0.5), [candidate("a"), candidate("b")]
    each = 1_000 * 2_500 + 500 * 10_000
    hedges.spent(20 * each * 3)
    assert all(hedges.after(order, NEED) for _ in range(100))
    assert sum(hedges.begin(order[1], NEED) for _ in range(100)) == 3
    assert hedges.after(order, NEED) is None
