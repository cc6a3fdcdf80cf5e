"""The shipped pricing.yaml: its figures are those of genai-prices, day by day; what it leaves out is explained."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import genai_prices.data
import genai_prices.types as oracle
import msgspec
import pytest

from proxy.catalog import load
from proxy.prices import Model, Price

SHIPPED = load((Path(__file__).resolve().parents[1] / "pricing.yaml").read_bytes())
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)

BUCKETS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "cache_audio_read_mtok": "cache_read_audio",
    "input_image_mtok": "input_image",
    "input_video_mtok": "input_video",
}
WRITES = {"anthropic": "cache_write_5m", "openai": "cache_write_30m"}  # genai-prices: cache_write_mtok
THEIRS = {"anthropic": "anthropic", "openai": "openai", "gemini": "google"}
PROVIDERS = {provider.id: provider for provider in genai_prices.data.providers}
DAYS = [datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC), NEW_YEAR]
PAST = [datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 7, 30, tzinfo=UTC), datetime(2026, 8, 21, tzinfo=UTC)]
PROMPTS = [1, 100_000, 100_001, 200_000, 200_001, 272_000, 272_001, 1_000_000]
VARIANTS = {
    None: {},
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}

# Where genai-prices does not know our name of it.
THEIR_NAMES = {
    "ft:gpt-4o": "ft:gpt-4o-2024-08-06",
    "ft:gpt-4o-mini": "ft:gpt-4o-mini-2024-07-18",
    "gemini-1.5-flash-8b": "gemini-flash-1.5-8b",  # takes ours for gemini-1.5-flash
}


def theirs(model: Model) -> oracle.ModelInfo | None:
    models = PROVIDERS[THEIRS[model.provider]].models
    name = THEIR_NAMES.get(model.model, model.model)
    return next((info for info in models if info.is_match(name)), None)


def expected(info: oracle.ModelInfo, when: datetime, variant: str | None, prompt: int) -> dict[str, Decimal]:
    prices = info.get_prices(when, VARIANTS[variant]).__dict__
    return {key: at_length(value, prompt) for key, value in prices.items() if value is not None and key[0] != "_"}


def at_length(value: Decimal | oracle.TieredPrices, prompt: int) -> Decimal:
    if isinstance(value, Decimal):
        return value
    return [value.base, *(tier.price for tier in value.tiers if prompt > tier.start)][-1]


COMPARED = [model for model in SHIPPED.models if model.prices and theirs(model)]


@pytest.mark.parametrize("model", COMPARED, ids=lambda model: f"{model.provider}/{model.model}")
def test_the_shipped_figures_are_those_of_genai_prices(model):
    info = theirs(model)
    assert info
    grid = [(day, variant, prompt) for day in DAYS for variant in VARIANTS for prompt in PROMPTS]
    grid += [(day, None, prompt) for day in PAST for prompt in PROMPTS]
    for day, variant, prompt in grid:
        row = model.price_at(day)
        assert row
        if variant and not any(other.when.items() <= VARIANTS[variant].items() for other in info.price_variants or ()):
            continue  # a variant that they do not know
        found = msgspec.structs.asdict(row.rates(prompt, variant))
        for key, figure in expected(info, day, variant, prompt).items():
            bucket = WRITES[model.provider] if key == "cache_write_mtok" else BUCKETS.get(key)
            if bucket:
                assert found[bucket] == figure * 10**6, f"{day} {variant} {prompt} {bucket}"
            elif key == "web_searches_kcount":
                assert (row.per_unit.web_search or row.per_unit.grounded_prompt) == figure * 1000, day


# What genai-prices lists and pricing.yaml leaves out. Each is a pattern of its ids, with the reason.
LEFT_OUT = {
    r"(gpt-)?(ada|babbage|curie|davinci)(-002)?|text-davinci-00[23]|gpt-3\.5-turbo-instruct": "completions, not chat",
    r".*(image|transcribe|tts|whisper|realtime|live|translate|moderation|banana).*": "no chat model",
    r"gemini-omni-.*|gemini-robotics-er-2-streaming-preview": "Interactions or Live API only",
    r"codex-mini|gpt-5\.\d-codex.*|computer-use|o\d-pro|o\d(-mini)?-deep-research|gpt-5(\.\d)?-pro": "Responses only",
    r"gpt-4o:extended|gpt-oss-.*|gemma-2-27b-it": "OpenRouter's, not sold by the vendor under this name",
    r"gemma-4-26b-a4b-it-maas|claude-.*": "Vertex AI only (the claude- ones of provider google)",
    r"gpt-4o-mini-2024-07-18\.ft-": "the name of a fine-tuned model at Azure; at OpenAI it begins with ft:",
    r"gemini-2\.5-flash-preview": "flagged as deprecated, retired 2025-07",
    r"gemini-1\.0-pro-vision-001|gemini-flash-1\.5|gemini-pro-1\.5|claude-v1": "gone, or other spellings of ours",
}


@pytest.mark.parametrize("provider", THEIRS)
def test_every_chat_model_of_genai_prices_is_in_the_table_or_left_out_for_a_reason(provider):
    ours = {info.id for model in SHIPPED.models if model.provider == provider and (info := theirs(model))}
    for info in PROVIDERS[THEIRS[provider]].models:
        if info.id not in ours:
            foreign = provider == "anthropic" and info.id.startswith("claude-") and info.id != "claude-v1"
            assert not foreign, info.id
            assert any(re.fullmatch(pattern, info.id) for pattern in LEFT_OUT), info.id


def test_figures_beyond_genai_prices_are_as_published():
    """LiteLLM 1.109.1: what is kept for twelve hours, the tiers of service, maps, data residency."""
    sol = price("openai", "gpt-6.1-sol")
    assert sol.rates(272_001).cache_write_12h == 10_000_000
    assert sol.rates(0, "ultrafast").input == 12_000_000
    assert sol.region == {"us": 1_100_000, "eu": 1_100_000}
    flash = price("gemini", "gemini-3.8-flash")
    assert flash.rates(0, "priority").output == 6_750_000
    assert flash.per_unit.maps_query == 14_000


def test_a_long_prompt_is_not_cheaper_than_a_short_one_in_any_tier_of_service():
    """A source that names a tier of service without its long prompts does not say that these cost less."""
    for model in SHIPPED.models:
        for row in model.prices:
            for name, variant in row.variants.items():
                for step in row.tiers:
                    long = row.rates(step.above_prompt_tokens + 1, name)
                    if variant.tiers or variant.multiply:
                        assert (long.input or 0) > (row.rates(0, name).input or 0), f"{model.model} {name}"
                    else:  # flat, and then dearer than the standard price of a long prompt
                        assert (long.input or 0) >= (step.per_mtok.input or 0), f"{model.model} {name}"


@pytest.mark.parametrize("name", ["gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.0-flash"])
def test_gemini_before_3_bills_a_search_by_the_prompt(name):
    unit = price("gemini", name).per_unit
    assert (unit.grounded_prompt, unit.web_search) == (35_000, None)


def price(provider: str, name: str) -> Price:
    model = SHIPPED.find(provider, name)
    found = model and model.price_at(DAYS[0])
    assert found
    return found


def test_what_is_preferred_is_current():
    """Stand-ins are not about to retire, and every class of every vendor has one."""
    chosen = {(model.provider, model.class_): model for model in SHIPPED.models if model.preferred}
    assert len(chosen) == 9
    assert not any(model.retires for model in chosen.values())


def test_every_other_name_of_genai_prices_for_a_model_of_ours_finds_it():
    """Dated names and aliases that a vendor takes; others' spellings (gpt-5-4, claude-4.5-opus) are not ours."""
    for provider, name, model in [
        ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("anthropic", "claude-opus-5-latest", "claude-opus-5"),
        ("anthropic", "claude-sonnet-4-20250514", "claude-sonnet-4-0"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("openai", "gpt-4o-2024-11-20", "gpt-4o"),
        ("openai", "gpt-6.1-sol-2026-09-29", "gpt-6.1-sol"),
        ("openai", "gpt-5.6", "gpt-5.6-sol"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:org::id", "ft:gpt-4o-mini"),
        ("gemini", "gemini-flash-latest", "gemini-3.8-flash"),
        ("gemini", "gemini-pro-latest", "gemini-3.1-pro-preview"),
        ("gemini", "gemini-2.5-flash-preview-09-2025", "gemini-2.5-flash"),
        ("gemini", "gemma-3-4b-it", "gemma-3-27b-it"),
    ]:
        found = SHIPPED.find(provider, name)
        assert found, name
        assert found.model == model, name


@pytest.mark.parametrize(
    "name", ["gpt-5-pro", "gpt-5-codex", "gemini-3.8-flash-tts", "gemini-3.8-live", "claude-opus-6"]
)
def test_patterns_do_not_reach_for_other_models(name):
    assert not any(SHIPPED.find(provider, name) for provider in THEIRS)
