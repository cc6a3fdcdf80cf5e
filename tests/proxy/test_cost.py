"""What a request cost, to the nano-dollar; genai-prices is asked for its opinion."""

from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Usage
from proxy.cost import Hints, Rate, cost, dollars, worst
from proxy.prices import Price, convert
from tests.test_pricing_table import SHIPPED

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
        (Usage(cache_write_5m=1), {}, 1_250),
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


UNITS = {"web_search": "0.01", "maps_query": "0.014", "request": "0.005", "image": "1"}


@pytest.mark.parametrize(
    ("usage", "units", "nano"),
    [
        (Usage(), UNITS, 0),
        (Usage(in_text=1), UNITS, 1_000 + 5_000_000),
        (Usage(in_text=1, web_searches=3, map_queries=2), UNITS, 1_000 + 30_000_000 + 28_000_000 + 5_000_000),
        (Usage(web_searches=3), {"grounded_prompt": "0.035"}, 35_000_000),
        (Usage(map_queries=3), {"grounded_prompt": "0.035"}, 0),
    ],
    ids=str,
)
def test_fees_are_paid_by_the_call_by_the_grounded_prompt_and_by_the_request(usage, units, nano):
    row = convert({"source": "t", "per_mtok": {"input": "1", "output": "2"}, "per_unit": units}, Price)
    assert cost(usage, row) == nano


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


# --- the worst case

DAYS = [datetime(2024, 1, 1, tzinfo=UTC), NOW, datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)]
ROWS = [row for model in SHIPPED.models for row in model.prices]
COUNT = st.one_of(st.integers(0, 3), st.integers(0, 2_000_000))
INS = [bucket for bucket in Usage.__struct_fields__ if bucket.startswith(("in_", "cache_"))]
ASKED = {  # a bucket that is filled only when the request asked for it
    "in_audio": "audio_in",
    "cache_read_audio": "audio_in",
    "in_image": "image_in",
    "cache_write_5m": "cache_5m",
    "cache_write_1h": "cache_1h",
    "cache_write_12h": "cache_12h",
    "out_audio": "audio_out",
}


def allowed(usage: Usage, hints: Hints) -> Usage:
    """Only what the hints say that there may be."""
    none = {bucket: 0 for bucket, asked in ASKED.items() if not getattr(hints, asked)}
    fees = {
        "web_searches": min(usage.web_searches, hints.searches),
        "map_queries": min(usage.map_queries, hints.maps),
    }
    return msgspec.structs.replace(usage, **none, **fees)


@settings(max_examples=600)
@given(
    row=st.sampled_from(ROWS),
    counts=st.fixed_dictionaries({bucket: COUNT for bucket in Usage.__struct_fields__}),
    hints=st.builds(Hints),
    more=st.sampled_from([0, 0, 1, 100_000]),
    data=st.data(),
)
def test_nothing_costs_more_than_the_worst_case(row, counts, hints, more, data):
    tier = data.draw(st.sampled_from([None, "default", *row.variants]))
    hints = msgspec.structs.replace(hints, searches=data.draw(st.integers(0, 9)), maps=data.draw(st.integers(0, 9)))
    usage = allowed(Usage(**counts), hints)
    rate = worst(usage.prompt + more, row, tier, hints=hints)
    bound = -(-((usage.prompt + more) * rate.input + usage.completion * rate.output) // 1000) + rate.units
    assert cost(usage, row, tier) <= bound
    assert cost(usage, row) <= bound


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.version)
def test_the_worst_case_is_no_dearer_than_some_request_is(row):
    """Not a bound that is merely safe: a prompt of one kind of token comes to it."""
    for prompt in {1, 1_000_000, *(step.above_prompt_tokens + more for step in row.tiers for more in (0, 1))}:
        dearest = worst(prompt, row, None, hints=Hints(cache_1h=True))
        kinds = ("in_text", "cache_read", "cache_write_30m", "cache_write_1h")
        assert (
            max(cost(Usage(**{kind: prompt}), row) for kind in kinds)
            == -(-prompt * dearest.input // 1000) + dearest.units
        )


def test_money_below_zero_is_written_with_its_sign():
    assert dollars(-1_500_000_000) == "-1.5"
    assert dollars(-1) == "-0.000000001"


HAIKU = ("anthropic", "claude-haiku-5-5")  # 0.1, 0.5; written for an hour 0.2; above 100k five times as much
ASTRA = ("openai", "gpt-6-astra")  # 10, 50; written 12.5, for twelve hours 25; above 272k twice, and output 75
FLASH = ("gemini", "gemini-2.5-flash")  # 0.3, 2.5; audio 1; grounding 0.035, Maps 0.025


@pytest.mark.parametrize(
    ("name", "prompt", "tier", "hints", "rate"),
    [
        pytest.param(HAIKU, 100_000, None, Hints(), Rate(100_000, 500_000, 0), id="short"),
        pytest.param(HAIKU, 100_001, None, Hints(), Rate(500_000, 2_500_000, 0), id="long"),
        pytest.param(HAIKU, 9, None, Hints(cache_5m=True), Rate(125_000, 500_000, 0), id="marks"),
        pytest.param(HAIKU, 9, None, Hints(cache_5m=True, cache_1h=True), Rate(200_000, 500_000, 0), id="an hour"),
        pytest.param(HAIKU, 9, None, Hints(searches=3), Rate(100_000, 500_000, 30_000_000), id="searches"),
        pytest.param(ASTRA, 9, None, Hints(), Rate(12_500_000, 50_000_000, 0), id="30 minutes need no asking"),
        pytest.param(ASTRA, 9, None, Hints(cache_12h=True), Rate(25_000_000, 50_000_000, 0), id="12 hours"),
        pytest.param(ASTRA, 9, "flex", Hints(), Rate(12_500_000, 50_000_000, 0), id="flex may be served as standard"),
        pytest.param(ASTRA, 9, "priority", Hints(), Rate(25_000_000, 100_000_000, 0), id="priority"),
        pytest.param(ASTRA, 272_001, "ultrafast", Hints(), Rate(150_000_000, 450_000_000, 0), id="all at once"),
        pytest.param(ASTRA, 9, "auto", Hints(), Rate(12_500_000, 50_000_000, 0), id="a tier without a price"),
        pytest.param(FLASH, 9, None, Hints(audio_in=True), Rate(1_000_000, 2_500_000, 0), id="audio"),
        pytest.param(FLASH, 9, None, Hints(image_in=True), Rate(300_000, 2_500_000, 0), id="images cost as text"),
        pytest.param(FLASH, 9, None, Hints(searches=5, maps=2), Rate(300_000, 2_500_000, 85_000_000), id="fees"),
    ],
)  # fmt: skip
def test_the_worst_case_goes_by_what_the_request_may_use(name, prompt, tier, hints, rate):
    model = SHIPPED.find(*name)
    row = model and model.price_at(NOW)
    assert row
    assert worst(prompt, row, tier, hints=hints) == rate


def test_the_worst_case_takes_the_dearest_of_all_that_is_named():
    row = price(input_image="3", input_audio="4", cache_read_audio="5", output_image="6", output_audio="7")
    every = Hints(audio_in=True, image_in=True, audio_out=True)
    assert worst(1, row, None, hints=Hints()) == Rate(1_000_000, 6_000_000, 0)
    assert worst(1, row, None, hints=Hints(image_in=True)) == Rate(3_000_000, 6_000_000, 0)
    assert worst(1, row, None, hints=every) == Rate(5_000_000, 7_000_000, 0)
    assert worst(1, price(output_reasoning="9"), None, hints=Hints()) == Rate(1_000_000, 9_000_000, 0)


STEPPED = {
    "source": "t",
    "per_mtok": {"input": "1", "output": "2"},
    "tiers": [{"above_prompt_tokens": at, "per_mtok": {"input": str(at)}} for at in (10, 20)],
    "variants": {
        "flex": {"multiply": "0.5"},
        "fast": {"per_mtok": {"input": "3"}, "tiers": [{"above_prompt_tokens": 15, "per_mtok": {"input": "8"}}]},
    },
}


def test_what_is_kept_of_a_price_is_the_same_whoever_asked_first():
    asked = [
        (prompt, tier, hints)
        for prompt in (0, 10, 11, 15, 16, 20, 21, 99)
        for tier in (None, "default", "flex", "fast")
        for hints in (Hints(), Hints(cache_1h=True))
    ]

    def told(row: Price, prompt: int, tier: str | None, hints: Hints) -> tuple[int, Rate]:
        return cost(Usage(in_text=prompt, out_text=1), row, tier), worst(prompt, row, tier, hints=hints)

    fresh = [told(convert(STEPPED, Price), *one) for one in asked]
    for row in (convert(STEPPED, Price), convert(STEPPED, Price)):
        assert [told(row, *one) for one in asked] == fresh
        assert [told(row, *one) for one in reversed(asked)] == fresh[::-1]
    back = convert(STEPPED, Price)
    assert [told(back, *one) for one in reversed(asked)] == fresh[::-1]
    assert fresh[asked.index((16, "fast", Hints()))] == (16 * 8_000 + 2_000, Rate(10_000_000, 2_000_000, 0))
    assert fresh[asked.index((21, "flex", Hints()))][0] == 21 * 10_000 + 1_000
    flat = convert({**STEPPED, "tiers": []}, Price)
    for _ in range(2):
        assert [cost(Usage(in_text=1), flat, tier) for tier in (None, "flex", "fast")] == [1_000, 500, 3_000]
        assert [worst(1, flat, tier, hints=Hints()).input for tier in (None, "fast")] == [1_000_000, 3_000_000]


def test_a_tier_of_a_variant_is_thought_of_too():
    long = {"per_mtok": {"input": "3"}, "tiers": [{"above_prompt_tokens": 10, "per_mtok": {"input": "8"}}]}
    row = convert({"source": "t", "per_mtok": {"input": "1", "output": "2"}, "variants": {"fast": long}}, Price)
    assert worst(10, row, "fast", hints=Hints()).input == 3_000_000
    assert worst(11, row, "fast", hints=Hints()).input == 8_000_000
    assert worst(11, row, None, hints=Hints()).input == 1_000_000


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0"), (1, "0.000000001"), (12_345, "0.000012345"), (10**9, "1"), (1_500_000_000, "1.5"), (217 * 10**9, "217")],
)
def test_money_is_written_as_an_exact_decimal(nano: int, text: str) -> None:
    assert dollars(nano) == text
    assert Decimal(dollars(nano)) * 10**9 == nano
