"""The support matrix is complete, and what it says is what happens."""

import typing
from typing import Any

import msgspec
import pytest
from openai.types.chat import completion_create_params

from adapters import ADAPTERS, envelope, fields, wire
from adapters.base import NOTHING, Call, Failure, Warnings
from adapters.fields import FIELDS, Rule, Translated, Verdict
from tests.adapters import golden

TOP = typing.get_args(completion_create_params.CompletionCreateParams)
VENDORS: tuple[Translated, ...] = ("anthropic", "gemini")
MAPPED, DROPPED, REFUSED, SILENT = Verdict

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"q": {}}}}}
BASE: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


class Sample(msgspec.Struct, frozen=True):
    """A value that is not neutral, what else the request needs, and by what it is known in a vendor's body."""

    value: Any
    context: dict[str, Any] = {}
    traces: dict[str, tuple[str, ...]] = {}


def everywhere(*trace: str) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(VENDORS, trace)


# Models that obey as much as any of their vendor; where another one is needed it stands in OTHER_MODELS.
MODELS: dict[Translated, str] = {"anthropic": "claude-opus-4-5", "gemini": "gemini-2.5-flash"}
OTHER_MODELS: dict[tuple[str, Translated], str] = {
    ("frequency_penalty", "gemini"): "gemini-2.0-flash",
    ("presence_penalty", "gemini"): "gemini-2.0-flash",
}

SAMPLES: dict[str, Sample] = {
    "model": Sample("m"),  # seen in the path or the body: test_the_model_is_the_routes
    "messages": Sample([{"role": "user", "content": "Xylophone"}], {}, everywhere("Xylophone")),
    "audio": Sample({"format": "mp3", "voice": "alloy"}),
    "frequency_penalty": Sample(0.25, {}, {"gemini": ('"frequencyPenalty":0.25',)}),
    "function_call": Sample(
        {"name": "weather"}, {"functions": [TOOL["function"]]}, {"anthropic": ('"tool_choice"',), "gemini": ('"ANY"',)}
    ),
    "functions": Sample([TOOL["function"]], {}, everywhere('"weather"')),
    "logit_bias": Sample({"1": 5}),
    "logprobs": Sample(True, {}, {"gemini": ('"responseLogprobs":true',)}),
    "max_completion_tokens": Sample(77, {}, everywhere("77")),
    "max_tokens": Sample(77, {}, everywhere("77")),
    "metadata": Sample({"team": "Xylophone"}),
    "modalities": Sample(["text", "audio"]),
    "moderation": Sample({"model": "omni-moderation-latest"}),
    "n": Sample(2, {}, {"gemini": ('"candidateCount":2',)}),
    "parallel_tool_calls": Sample(False, {"tools": [TOOL]}, {"anthropic": ('"disable_parallel_tool_use":true',)}),
    "prediction": Sample({"type": "content", "content": "Xylophone"}),
    "presence_penalty": Sample(0.25, {}, {"gemini": ('"presencePenalty":0.25',)}),
    "prompt_cache_key": Sample("Xylophone"),
    "prompt_cache_options": Sample({"mode": "implicit"}),
    "prompt_cache_retention": Sample("24h"),
    "reasoning_effort": Sample("high", {"max_tokens": 8000}, {"anthropic": ('"thinking"',), "gemini": ("thinking",)}),
    "response_format": Sample(
        {
            "type": "json_schema",
            "json_schema": {
                "name": "x",
                "schema": {
                    "type": "object",
                    "properties": {"xylophone": {"type": "string"}},
                    "required": ["xylophone"],
                    "additionalProperties": False,
                },
            },
        },
        {},
        everywhere('"xylophone"'),
    ),
    "safety_identifier": Sample("u-17", {}, {"anthropic": ('"user_id":"u-17"',)}),
    "seed": Sample(17, {}, {"gemini": ('"seed":17',)}),
    "service_tier": Sample("default", {}, {"anthropic": ('"standard_only"',), "gemini": ('"standard"',)}),
    "stop": Sample(["Xylophone"], {}, everywhere('"Xylophone"')),
    "store": Sample(True),
    "stream": Sample(True),  # seen in the path or the body: test_a_stream_is_asked_for_as_the_vendor_wants
    "stream_options": Sample({"include_usage": True, "include_obfuscation": False}, {"stream": True}),
    "temperature": Sample(0.25, {}, everywhere('"temperature":0.25')),
    "tool_choice": Sample("required", {"tools": [TOOL]}, {"anthropic": ('"any"',), "gemini": ('"ANY"',)}),
    "tools": Sample([TOOL], {}, everywhere('"weather"')),
    "top_logprobs": Sample(3, {"logprobs": True}, {"gemini": ('"logprobs":3',)}),
    "top_p": Sample(0.25, {}, {"anthropic": ('"top_p":0.25',), "gemini": ('"topP":0.25',)}),
    "user": Sample("u-17", {}, {"anthropic": ('"user_id":"u-17"',)}),
    "verbosity": Sample("low"),
    "web_search_options": Sample({}, {}, {"anthropic": ('"web_search"',), "gemini": ('"googleSearch"',)}),
}

NEUTRAL: dict[str, list[Any]] = {
    "frequency_penalty": [0, 0.0],
    "logit_bias": [{}],
    "logprobs": [False],
    "modalities": [["text"], []],
    "n": [1],
    "parallel_tool_calls": [True],
    "presence_penalty": [0, 0.0],
    "response_format": [{"type": "text"}],
    "service_tier": ["auto"],
    "store": [False],
    "stream": [False],
    "tools": [[]],
    "top_logprobs": [0],
    "verbosity": ["medium"],
}

# Where a verdict of the table has an exception that the row tells of in its `why`.
REFUSED_IN_A_STREAM = {("n", "gemini"), ("logprobs", "gemini"), ("top_logprobs", "gemini")}


def ask(vendor: Translated, name: str, members: dict[str, Any]) -> Call:
    target = golden.target(vendor, OTHER_MODELS.get((name, vendor), MODELS[vendor]))
    return ADAPTERS[vendor, "chat"].request(envelope.seal(msgspec.json.encode({**BASE, **members})), target, NOTHING)


def matrix() -> list[Any]:
    return [
        pytest.param(name, vendor, stream, id=f"{name}-{vendor}-{'stream' if stream else 'plain'}")
        for name in FIELDS
        for vendor in VENDORS
        for stream in (False, True)
        if not (name in {"stream", "stream_options"} and not stream)
    ]


def test_the_table_covers_exactly_what_the_sdk_can_send():
    sdk = {name for typed in TOP for name in typing.get_type_hints(typed)}
    assert set(FIELDS) == sdk
    assert set(FIELDS) == set(wire.Chat.__struct_fields__)
    assert set(SAMPLES) == sdk


def test_each_row_speaks_of_each_vendor_and_gives_its_reason():
    for rules in FIELDS.values():
        assert set(rules) == set(VENDORS)
        assert all(rule.why or rule.verdict is MAPPED for rule in rules.values())


@pytest.mark.parametrize(("name", "vendor", "stream"), matrix())
def test_what_the_matrix_says_is_what_happens(name: str, vendor: Translated, stream: bool):
    sample = SAMPLES[name]
    members = {**sample.context, **({"stream": True} if stream else {}), name: sample.value}
    verdict = FIELDS[name][vendor].verdict
    if verdict is REFUSED or (stream and (name, vendor) in REFUSED_IN_A_STREAM):
        check_refused(name, vendor, members)
        return
    call = ask(vendor, name, members)
    without = ask(vendor, name, {key: value for key, value in members.items() if key != name})
    warned = set(str(call.warnings).split("; ")) - set(str(without.warnings).split("; "))
    if verdict is DROPPED:
        assert name in call.warnings.dropped
        assert call.body == without.body
    elif verdict is SILENT:
        assert not warned
        assert (call.body, call.path) == (without.body, without.path)
    else:
        assert all(trace in call.body.decode() for trace in sample.traces.get(vendor, ())), call.body
        assert not warned


def check_refused(name: str, vendor: Translated, members: dict[str, Any]) -> None:
    with pytest.raises(Failure) as caught:
        ask(vendor, name, members)
    failure = caught.value
    assert (failure.status, failure.type, failure.code) == (400, "invalid_request_error", "unsupported_parameter")
    # Of two that belong together either may be named.
    assert failure.param in {name, *(key for key in SAMPLES[name].context if key in FIELDS)}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("name", "value"), [pytest.param(name, value, id=f"{name}={value}") for name in NEUTRAL for value in NEUTRAL[name]]
)
def test_what_would_happen_anyway_is_not_worth_a_word(name: str, value: Any, vendor: Translated):
    call = ask(vendor, name, {name: value})
    assert str(call.warnings) == ""


@pytest.mark.parametrize("vendor", VENDORS)
def test_null_is_absent(vendor: Translated):
    nulls = {name: None for name in FIELDS if name not in {"model", "messages"}}
    call, plain = ask(vendor, "", nulls), ask(vendor, "", {})
    assert (call.body, call.path, str(call.warnings)) == (plain.body, plain.path, "")


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_nobody_knows_is_dropped_and_named(vendor: Translated):
    call = ask(vendor, "", {"invented": 1, "messages": [{"role": "user", "content": "Hi", "mood": "good"}]})
    assert set(call.warnings.dropped) == {"invented", "messages[].mood"}


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_model_is_the_routes(vendor: Translated):
    call = ask(vendor, "", {"model": "asked-for"})
    assert MODELS[vendor] in call.path + call.body.decode()
    assert "asked-for" not in call.path + call.body.decode()


def test_a_stream_is_asked_for_as_the_vendor_wants():
    assert '"stream":true' in ask("anthropic", "", {"stream": True}).body.decode()
    assert ask("gemini", "", {"stream": True}).path.endswith(":streamGenerateContent?alt=sse")
    assert ask("gemini", "", {}).path.endswith(":generateContent")


def read(**members: Any) -> wire.Chat:
    return msgspec.json.decode(msgspec.json.encode({**BASE, **members}), type=wire.Chat)


def test_the_table_is_applied_row_by_row():
    warnings = Warnings()
    asked = {"seed": 1, "verbosity": "low", "store": False}
    fields.apply(read(**asked), asked, ["x"], "anthropic", warnings)
    assert list(warnings.dropped) == ["seed", "verbosity", "x"]


def test_a_refusal_names_the_vendor_and_the_reason():
    with pytest.raises(Failure, match=r"logit_bias: the vendor has other tokens \(gemini\)") as caught:
        fields.apply(read(logit_bias={"1": 1}), ["logit_bias"], [], "gemini", Warnings())
    assert caught.value.param == "logit_bias"


def test_without_a_neutral_value_every_value_counts():
    assert not Rule(DROPPED).neutral(0)
