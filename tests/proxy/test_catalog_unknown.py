"""What is assumed of models that no table knows."""

import pytest

from adapters.base import Capabilities
from proxy.catalog import ProviderRow, guess, plainly
from proxy.prices import Limits

OPENAI = ProviderRow(name="openai", vendor="openai")
ANTHROPIC = ProviderRow(name="anthropic", vendor="anthropic")
GEMINI = ProviderRow(name="gemini", vendor="gemini")
GROQ = ProviderRow(name="groq", vendor="openai", capabilities=Capabilities(input=("text",)))


@pytest.mark.parametrize(
    ("name", "vendor"),
    [
        ("gpt-9", "openai"),
        ("o9", "openai"),
        ("o9-mini", "openai"),
        ("ft:x", "openai"),
        ("claude-9", "anthropic"),
        ("gemini-9", "gemini"),
        ("gemma-9", "gemini"),
        ("ollama", None),
        ("o", None),
        ("my-gpt-9", None),
        ("", None),
    ],
)
def test_some_names_are_plainly_a_vendors(name, vendor):
    assert plainly(name) == vendor


@pytest.mark.parametrize(
    ("row", "name", "expected"),
    [
        (ANTHROPIC, "claude-9", {"sampling": False, "forced_tool": False, "thinking": ("adaptive",), "prefill": False}),
        (OPENAI, "gpt-9", {"sampling": True, "efforts": (), "max_tokens_field": "max_completion_tokens"}),
        (GROQ, "whatever", {"input": ("text",)}),
        (ProviderRow(name="x", vendor="openai"), "gpt-9", {"max_tokens_field": "either"}),
        (GEMINI, "gemini-9-pro", {"efforts": ("low", "high"), "call_ids": True, "thinking_budget": None}),
        (GEMINI, "gemini-3.9", {"efforts": ("low", "high"), "sampling": False}),
        (GEMINI, f"gemini-{'9' * 5000}-pro", {"efforts": ("low", "high"), "thinking_budget": None}),
        (GEMINI, f"gemini-2.{'5' * 5000}", {"efforts": ("low", "high"), "thinking_budget": None}),
        (GEMINI, "gemini-latest", {"efforts": ("low", "high"), "call_ids": True}),
        (GEMINI, "gemini-2.5-x", {"efforts": (), "thinking_budget": (512, 24_576), "thinking_off": False}),
        (GEMINI, "gemini-2.5-y", {"json_with_tools": False, "call_ids": False}),
        (GEMINI, "gemini-2-x", {"thinking_budget": None, "thinking_off": True, "json_with_tools": False}),
        (GEMINI, "gemini-1.9", {"thinking_budget": None, "thinking_off": True, "call_ids": False}),
        (GEMINI, "gemma-9", {"system": False, "efforts": (), "sampling": True}),
        (GEMINI, "gemma-9-x", {"input": ("text", "image"), "json_with_tools": False, "call_ids": False}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unknown_model_is_assumed_to_do_the_least_of_its_generation(row, name, expected):
    model = guess(row, name)
    assert {key: getattr(model.capabilities, key) for key in expected} == expected
    assert (model.prices, model.class_, model.price_at(0)) == ((), None, None)


@pytest.mark.parametrize(
    ("row", "context", "most", "expected"),
    [
        pytest.param(
            OPENAI,
            1_050_000,
            128_000,
            Capabilities(mid_system=True, max_tokens_field="max_completion_tokens"),
            id="openai",
        ),
        pytest.param(
            ANTHROPIC,
            1_000_000,
            128_000,
            Capabilities(
                input=("text", "image", "file"),
                sampling=False,
                penalties=False,
                efforts=("low", "medium", "high"),
                thinking=("adaptive",),
                thinking_off=False,
                forced_tool=False,
                mid_system=True,
            ),
            id="anthropic",
        ),
        pytest.param(
            GEMINI,
            1_048_576,
            65_536,
            Capabilities(
                input=("text", "image", "audio", "video", "file"),
                sampling=False,
                penalties=False,
                efforts=("low", "high"),
                thinking_off=False,
                call_ids=True,
            ),
            id="gemini",
        ),
    ],
)
def test_what_is_assumed_of_a_vendors_newest(row, context, most, expected):
    model = guess(row, "from-the-future")
    assert model.limits == Limits(context=context, max_output=most)
    assert model.capabilities == expected
