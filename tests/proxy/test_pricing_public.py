"""Tables that others publish, read as prices of ours; the shipped table is what they are held against."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices.data
import pytest

from proxy.prices import Model, convert
from proxy.pricing import public
from proxy.pricing.compare import changes
from proxy.pricing.public import Source, SourceError, parse
from tests.test_pricing_table import SHIPPED, THEIRS

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)


def model(provider: str = "openai", name: str = "m", **price: Any) -> Model:
    row = {"source": "s", "per_mtok": {"input": "1", "output": "2"}, **price}
    return convert(
        {"provider": provider, "model": name, "limits": {"context": 9, "max_output": 9}, "prices": [row]}, Model
    )


def genai(provider: str = "openai", **info: Any) -> Source:
    """genai-prices' JSON with one model."""
    return parse(
        "data.json", json.dumps([{"id": provider, "models": [{"id": "m", "match": {"equals": "m"}, **info}]}]).encode()
    )


def litellm(text: str, key: str = "m") -> Source:
    """LiteLLM's JSON with one model, its figures as written."""
    return parse("litellm.json", f'{{"sample_spec": {{}}, "{key}": {{"litellm_provider": "openai", {text}}}}}'.encode())


# --- genai-prices


def test_the_installed_package_agrees_with_the_shipped_table_from_today_on():
    source = public.package()
    assert source.name.startswith("genai-prices 0.")
    known = [(m, rows) for m in SHIPPED.models if (rows := source.prices(m))]
    assert len(known) > 100
    assert [str(c) for m, rows in known for c in changes(m, rows, NOW, whole=False)] == []


def as_json(value: Any) -> Any:
    """The package's objects as its data.json has them; figures are numbers there."""
    if type(value).__module__.startswith("genai_prices."):
        return {key.rstrip("_"): as_json(part) for key, part in vars(value).items() if part is not None}
    if isinstance(value, list):
        return [as_json(part) for part in value]
    return float(value) if isinstance(value, Decimal) else value


def test_the_package_and_its_json_say_the_same():
    providers = [as_json(p) for p in genai_prices.data.providers if p.id in THEIRS.values()]
    text = json.dumps(providers, default=str).encode()
    package, file = public.package(), parse(public.package().name, text)
    for ours in SHIPPED.models:
        assert file.prices(ours) == package.prices(ours), ours.model


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "genai_prices", None)
    with pytest.raises(SourceError, match="pip install genai-prices"):
        public.package()


def test_dates_tiers_variants_and_fees_of_genai_prices_become_ours():
    tiered = {"base": 1.5, "tiers": [{"start": 200, "price": 3}, {"start": 100, "price": 2.25}]}
    source = genai(
        prices=[
            {"prices": {"input_mtok": tiered, "output_mtok": 4, "cache_write_mtok": 2, "web_searches_kcount": 10}},
            {"constraint": {"start_date": "2026-12-01"}, "prices": {"input_mtok": 5, "output_mtok": 6}},
        ],
        price_variants=[
            {"when": {"service_tier": "default"}, "prices": {}},
            {"when": {"processing": "batch"}, "prices": {"input_mtok": 0.7}},
            {"when": {"processing": "batch"}, "prices": {"input_mtok": 9, "output_mtok": 3}},
        ],
    )
    first, second = source.prices(model()) or ()
    assert (first.valid_from, second.valid_from) == (None, DECEMBER)
    assert [first.rates(prompt).input for prompt in (100, 101, 201)] == [1_500_000, 2_250_000, 3_000_000]
    assert (first.rates().cache_write_30m, first.per_unit.web_search) == (2_000_000, 10_000)
    assert set(first.variants) == {"batch"}
    batch = first.rates(101, "batch")
    assert (batch.input, batch.output) == (700_000, 3_000_000), "the first that names a figure has it"
    assert (second.rates(201).input, second.per_unit.web_search) == (5_000_000, None)


def test_a_search_is_billed_by_the_prompt_where_ours_is():
    by_prompt = model("gemini", per_unit={"grounded_prompt": "0.035"})
    rows = genai("google", prices={"input_mtok": 1, "output_mtok": 2, "web_searches_kcount": 35}).prices(by_prompt)
    assert rows
    assert (rows[0].per_unit.grounded_prompt, rows[0].per_unit.web_search) == (35_000, None)


@pytest.mark.parametrize(
    ("clause", "name", "fits"),
    [
        ({"equals": "GPT-1"}, "gpt-1", True),
        ({"starts_with": "gpt"}, "GPT-1", True),
        ({"ends_with": "-1"}, "gpt-1", True),
        ({"contains": "pt"}, "gpt-1", True),
        ({"contains": "x"}, "gpt-1", False),
        ({"regex": "^gpt-[0-9]$"}, "gpt-1", True),
        ({"regex": "^GPT"}, "gpt-1", False),
        ({"or": [{"equals": "x"}, {"equals": "gpt-1"}]}, "gpt-1", True),
        ({"and": [{"starts_with": "gpt"}, {"equals": "x"}]}, "gpt-1", False),
    ],
)
def test_names_are_found_by_the_patterns_of_genai_prices(clause, name, fits):
    infos = [{"id": "other", "match": clause, "prices": {"input_mtok": 1, "output_mtok": 1}}]
    source = parse("x", json.dumps([{"id": "openai", "models": infos}]).encode())
    assert (source.prices(model(name=name)) is not None) is fits


def test_a_model_without_a_price_is_not_known():
    assert genai(prices={}).prices(model()) is None
    assert genai(prices={"input_mtok": 1}).prices(model("mistral")) is None


# --- LiteLLM


def test_figures_of_litellm_are_exact_though_they_are_written_as_floats():
    """2.8e-07 times a million is 0.27999999999999997 for a float."""
    (row,) = litellm('"input_cost_per_token": 2.8e-07, "output_cost_per_token": 0.0000011').prices(model()) or ()
    assert (row.per_mtok.input, row.per_mtok.output) == (280_000, 1_100_000)


def test_the_names_of_litellm_say_rate_length_and_variant():
    text = (
        '"input_cost_per_token": 1e-06, "input_cost_per_token_above_272k_tokens": 2e-06,'
        '"output_cost_per_token": 3e-06,'
        '"input_cost_per_token_batches": 5e-07, "input_cost_per_token_above_272k_tokens_batches": 7e-07,'
        '"cache_creation_input_token_cost": 4e-06, "cache_creation_input_token_cost_above_12hr_flex": 5e-06,'
        '"output_cost_per_image": 0.04, "mode": "chat",'
        '"search_context_cost_per_query": {"search_context_size_medium": 0.01},'
        '"google_maps_grounding_cost_per_query": 0.014, "regional_processing_uplift_multiplier_eu": 1.1,'
        '"provider_specific_entry": {"us": 1.2, "fast": 2.0}, "cache_read_input_token_cost": null'
    )
    (row,) = litellm(text).prices(model()) or ()
    assert (row.rates().input, row.rates(272_001).input, row.rates().cache_read) == (1_000_000, 2_000_000, None)
    assert (row.rates(0, "batch").input, row.rates(272_001, "batch").input) == (500_000, 700_000)
    assert (row.rates().cache_write_30m, row.rates(0, "flex").cache_write_12h) == (4_000_000, 5_000_000)
    assert row.rates(0, "fast").output == 6_000_000
    assert (row.per_unit.web_search, row.per_unit.maps_query) == (10_000, 14_000)
    assert row.region == {"us": 1_200_000, "eu": 1_100_000}
    assert row.per_unit.image is None


def test_litellm_names_a_model_with_or_without_its_provider():
    figures = '"input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06'
    assert litellm(figures, "openai/m").prices(model())
    assert litellm(figures).prices(model("gemini")) is None
    assert litellm(figures).prices(model(name="n")) is None


def test_a_price_of_five_minutes_is_anthropics_one_of_thirty_openais():
    text = '{"m": {"litellm_provider": "anthropic", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06, '
    text += '"cache_creation_input_token_cost": 2e-06}}'
    (row,) = parse("x", text.encode()).prices(model("anthropic")) or ()
    assert (row.per_mtok.cache_write_5m, row.per_mtok.cache_write_30m) == (2_000_000, None)


# --- what is refused


@pytest.mark.parametrize(
    ("figure", "why"),
    [
        ("-1e-06", "zero or more"),
        ("0.0010001", "more than 1000"),
        ("1e-13", "six places"),
        ("true", "not a figure"),
        ("[]", "not a figure"),
        ('"x"', "not a figure"),
        ("NaN", "not a figure"),
        ("1e-999999", "not a figure"),
        ("1e999999", "not a figure"),
        ("1e99999999999999999999", "not a figure"),
    ],
)
def test_a_model_with_a_figure_that_is_none_is_refused_whole(figure, why):
    source = litellm(f'"input_cost_per_token": 1e-06, "output_cost_per_token": {figure}')
    with pytest.raises(ValueError, match=why):
        source.prices(model())


@pytest.mark.parametrize(
    ("info", "why"),
    [
        ({"prices": {"input_mtok": -1, "output_mtok": 1}}, "zero or more"),
        ({"prices": {"input_mtok": 1001, "output_mtok": 1}}, "more than 1000"),
        ({"prices": {"output_mtok": 1}}, "no `input`"),
        (
            {"prices": [{"constraint": {"start_time": "1", "end_time": "2"}, "prices": {"input_mtok": 1}}]},
            "goes by the time of day",
        ),
        (
            {"prices": {"input_mtok": 1}, "price_variants": [{"when": {"a": "1", "b": "2"}, "prices": {}}]},
            "goes by a and b together",
        ),
    ],
)
def test_what_our_table_cannot_hold_of_genai_prices_is_told(info, why):
    with pytest.raises(ValueError, match=why):
        genai(**info).prices(model())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "the table is a mapping"),
        (b"[1]", "the table is a mapping"),
        (b'{"models": 1}', "the table is a mapping"),
        (b"{", "not YAML"),
        (b"\xff\xfe\xff", "not YAML"),
        (b"models: [1]", "Expected `object`"),
    ],
)
def test_a_file_that_is_no_price_table_is_refused(text, why):
    with pytest.raises(SourceError, match=f"t: .*{why}"):
        parse("t", text)


def test_a_table_of_our_own_is_read_as_it_is():
    price = '{source: s, per_mtok: {input: "1", output: "2"}}'
    entry = f"{{provider: p, model: m, limits: {{context: 9, max_output: 9}}, prices: [{price}]}}"
    source = parse("t", f"{{models: [{entry}]}}".encode())
    assert (source.whole, source.prices(source.models[0])) == (True, source.models[0].prices)
    assert source.prices(model()) is None
