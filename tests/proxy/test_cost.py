"""What a request cost, to the nano-dollar; genai-prices is asked for its opinion."""

from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from itertools import product
from typing import Any

import genai_prices
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Usage
from proxy.cost import cost, dollars
from proxy.prices import Price, convert
from tests.test_pricing_table import SHIPPED, THEIRS

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def price(**rates: str) -> Price:
    return convert({"source": "test", "per_mtok": {"input": "1", "output": "2", **rates}}, Price)


@pytest.mark.parametrize(
    ("usage", "rates", "nano"),
    [
        (Usage(), {}, 0),
        (Usage(in_text=1), {}, 1_000),
        (Usage(in_text=1), {"input": "0.0375"}, 38),
        (Usage(in_text=2), {"input": "0.0375"}, 75),
        (Usage(in_text=1, out_text=1), {"input": "0.0001", "output": "0.0001"}, 1),
        (Usage(in_text=10, cache_read=999, cache_write_5m=8), {"cache_read": "0.1", "cache_write_5m": "1.25"}, 119_900),
        (Usage(cache_read=1), {}, 1_000),
        (Usage(cache_read_audio=1), {}, 1_000),
        (Usage(cache_read_audio=1), {"input_audio": "3"}, 3_000),
        (Usage(cache_read_audio=1), {"input_audio": "3", "cache_read": "0.5"}, 500),
        (Usage(cache_write_5m=1), {}, 1_000),
        (Usage(cache_write_1h=1), {}, 2_000),
        (Usage(cache_write_30m=1), {}, 1_000),
        (Usage(cache_write_12h=1), {}, 2_500),
        (Usage(cache_write_12h=1), {"cache_write_12h": "9"}, 9_000),
        (Usage(in_audio=1, in_image=1), {"input_audio": "5"}, 6_000),
        (Usage(out_text=1, out_reasoning=1, out_audio=1, out_image=1), {"output_audio": "7"}, 13_000),
        (Usage(out_reasoning=1), {"output_reasoning": "0"}, 0),
        (Usage(web_searches=5), {}, 0),
    ],
    ids=str,
)  # fmt: skip
def test_every_bucket_is_paid_at_its_own_rate(usage: Usage, rates: dict[str, str], nano: int) -> None:
    assert cost(usage, price(**rates)) == nano


def test_calls_of_tools_are_paid_by_the_call() -> None:
    row: Any = {
        "source": "t",
        "per_mtok": {"input": "1", "output": "2"},
        "per_unit": {"web_search": "0.01", "maps_query": "0.014"},
    }
    assert cost(Usage(in_text=1, web_searches=3, map_queries=2), convert(row, Price)) == 1_000 + 30_000_000 + 28_000_000


def test_a_long_prompt_is_dearer_from_its_first_token_on() -> None:
    model = SHIPPED.find("anthropic", "claude-haiku-5-5")
    row = model and model.price_at(NOW)
    assert row
    assert cost(Usage(in_text=99_999, cache_read=1), row) == 9_999_900 + 10
    assert cost(Usage(in_text=100_000, cache_read=1), row) == 50_000_000 + 50


def test_the_tier_that_was_served_is_paid() -> None:
    model = SHIPPED.find("anthropic", "claude-opus-5-5")
    row = model and model.price_at(NOW)
    assert row
    assert cost(Usage(out_text=1), row, "fast") == 40_000
    assert cost(Usage(out_text=1), row, "default") == cost(Usage(out_text=1), row) == 20_000


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_rounding_is_up_and_once(tokens: int, output: int) -> None:
    exact = (Decimal(tokens) * Decimal("0.0375") + Decimal(output) * Decimal("0.0125")) * 1000
    assert cost(Usage(in_text=tokens, out_text=output), price(input="0.0375", output="0.0125")) == int(
        exact.to_integral_value(ROUND_CEILING)
    )


GRID = list(product([0, 1, 999, 250_001], [0, 100_000], [0, 7, 5_000]))
PRICED = [m for m in SHIPPED.models if m.kind == "chat" and m.preferred]


@pytest.mark.parametrize("model", PRICED, ids=lambda model: model.model)
@pytest.mark.parametrize("when", [NOW, datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)], ids=str)
def test_genai_prices_agrees_on_the_whole(model: Any, when: datetime) -> None:
    row = model.price_at(when)
    for plain, cached, output in GRID:
        usage = Usage(in_text=plain, cache_read=cached, out_text=output)
        said = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=plain + cached, cache_read_tokens=cached, output_tokens=output),
            model.model,
            provider_id=THEIRS[model.provider],
            genai_request_timestamp=when,
        )
        exact = Decimal(said.total_price) * 10**9
        assert cost(usage, row) == int(exact.to_integral_value(ROUND_CEILING)), (plain, cached, output)


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0"), (1, "0.000000001"), (12_345, "0.000012345"), (10**9, "1"), (1_500_000_000, "1.5"), (217 * 10**9, "217")],
)
def test_money_is_written_as_an_exact_decimal(nano: int, text: str) -> None:
    assert dollars(nano) == text
    assert Decimal(dollars(nano)) * 10**9 == nano
