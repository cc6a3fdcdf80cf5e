"""What Anthropic refuses, one row each: a change to a good request, and a word of the refusal."""

import base64

import pytest

from proxy.simulator.anthropic_check import refusal
from proxy.simulator.serials import signature

OLD, NEW = {"anthropic-version": "2023-06-01"}, {"anthropic-version": "2026-10-21"}
USER = {"role": "user", "content": "hi"}
EMPTY = {"type": "object", "properties": {}}
TOOL = {"name": "f", "input_schema": EMPTY}
USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "x"}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": signature("hm")}
BUDGET = {"type": "enabled", "budget_tokens": 1024}
MARK = {"type": "ephemeral"}
CLOSED = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 16


def says(*blocks, role="user"):
    return {"role": role, "content": list(blocks)}


def text(words):
    return {"type": "text", "text": words}


def picture(kind, data=PNG):
    source = {"type": "base64", "media_type": kind, "data": base64.b64encode(data).decode()}
    return [says({"type": "image", "source": source})]


def form(schema):
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def loop(*assistant, result=RESULT, then=()):
    return {"messages": [USER, says(*assistant, role="assistant"), says(result, *then)], "tools": [TOOL]}


REFUSED = [
    ({"foo": 1}, "foo: Extra inputs are not permitted"),
    ({"messages": [{**USER, "name": "x"}]}, "messages.0.name: Extra inputs are not permitted"),
    ({"messages": [says({"type": "text", "text": "x", "foo": 1})]}, "messages.0.content.0.foo: Extra inputs"),
    ({"max_tokens": None}, "max_tokens: Field required"),
    ({"max_tokens": 64001}, "64001 > 64000, which is the maximum allowed"),
    ({"metadata": {"user": "x"}}, "metadata.user: Extra inputs are not permitted"),
    ({"messages": [USER, says(text(""), role="assistant"), USER]}, "text content blocks must be non-empty"),
    ({"messages": [says(text(" \n"))]}, "must contain non-whitespace text"),
    ({"messages": [{"role": "user", "content": ""}]}, "must have non-empty content"),
    ({"system": [text("")]}, "system: text content blocks must be non-empty"),
    ({"messages": [{"role": "tool", "content": "x"}]}, 'Unexpected role "tool"'),
    ({"messages": [{"role": "system", "content": "x"}, USER]}, 'Unexpected role "system"'),
    ({"model": "claude-opus-4-8", "messages": [{"role": "system", "content": "x"}, USER]}, "must follow a user turn"),
    ({"temperature": 1.5}, "temperature: range: 0..1"),
    ({"temperature": 0.5, "top_p": 0.5}, "cannot both be specified"),
    ({"temperature": 0.5, "thinking": BUDGET}, "may only be set to 1 when thinking is enabled"),
    ({"model": "claude-opus-4-7", "temperature": 0.5}, "`temperature` is deprecated for this model."),
    ({"model": "claude-haiku-5-5", "top_p": 0.9}, "`top_p` is deprecated for this model."),
    ({"thinking": {"type": "adaptive"}}, "adaptive thinking is not supported"),
    ({"model": "claude-opus-4-7", "thinking": BUDGET}, '"thinking.type.enabled" is not supported'),
    ({"model": "claude-opus-5-5", "thinking": {"type": "disabled"}}, '"thinking.type.disabled" is not supported'),
    ({"thinking": {"type": "enabled", "budget_tokens": 1000}}, "greater than or equal to 1024"),
    ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "`max_tokens` must be greater than"),
    ({"output_config": {"effort": "low"}}, "does not support the effort parameter"),
    ({"model": "claude-opus-4-5", "output_config": {"effort": "max"}}, "output_config.effort"),
    (
        {"model": "claude-sonnet-5-5", "thinking": {"type": "between_tools"}, "output_config": {"effort": "max"}},
        "not supported when thinking is off",
    ),
    ({"tools": [TOOL], "tool_choice": {"type": "any"}, "thinking": BUDGET}, "Thinking may not be enabled when"),
    ({"model": "claude-sonnet-5-5", "tools": [TOOL], "tool_choice": {"type": "any"}}, "not supported for this model"),
    ({"model": "claude-fable-5-2", "tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}}, "not supported"),
    ({"model": "claude-sonnet-4-6", "messages": [USER, says(text("a"), role="assistant")]}, "prefill"),
    ({"messages": [USER, says(text("a "), role="assistant")]}, "trailing whitespace"),
    ({"messages": [USER, says(USE, role="assistant"), USER], "tools": [TOOL]}, "without `tool_result` blocks"),
    ({"messages": [says(RESULT)], "tools": [TOOL]}, "unexpected `tool_use_id`"),
    (
        {"messages": [USER, says(USE, role="assistant"), says(text("x"), RESULT)], "tools": [TOOL]},
        "`tool_result` blocks must come first",
    ),
    ({**loop(USE), "tools": None}, "must define tools"),
    ({**loop(USE), "thinking": BUDGET}, "Expected `thinking` or `redacted_thinking`, but found `tool_use`"),
    (loop(THOUGHT, USE), "but found `thinking`"),
    ({**loop({**THOUGHT, "thinking": "else"}, USE), "thinking": BUDGET}, "Invalid `signature`"),
    (loop({**USE, "id": "a.b"}, result={**RESULT, "tool_use_id": "a.b"}), "String should match pattern"),
    ({"tools": [{"name": "a.b", "input_schema": EMPTY}]}, "String should match pattern"),
    ({"tools": [TOOL, TOOL]}, "must be unique"),
    ({"tools": [{"name": "f", "input_schema": {}}]}, "input_schema.type"),
    ({"tools": [{"name": "f", "input_schema": EMPTY, "strict": True}]}, "'additionalProperties' must be"),
    ({"tool_choice": {"type": "auto"}}, "only be specified while providing tools"),
    (form(EMPTY), "'additionalProperties' must be explicitly set to false"),
    (form({**CLOSED, "properties": {"a": {"type": "integer", "minimum": 1}}}), "property 'minimum' is not supported"),
    (form({**CLOSED, "properties": {"a": {"type": "string", "format": "regex"}}}), "format 'regex'"),
    (form({**CLOSED, "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"anyOf": [{"$ref": "#/$defs/n"}]}}}),
     "Circular reference"),
    ({"messages": picture("image/jpg")}, "Input should be 'image/jpeg'"),
    ({"messages": picture("image/jpeg")}, "appears to be a image/png image"),
    ({"messages": picture("image/png", b"junk")}, "Could not process image"),
    ({"system": [{**text("x"), "cache_control": MARK}] * 5}, "A maximum of 4 blocks"),
    (
        {"system": [{**text("x"), "cache_control": MARK}, {**text("y"), "cache_control": {**MARK, "ttl": "1h"}}]},
        "must not come after",
    ),
    ({"stop_sequences": [" "]}, "non-whitespace"),
]  # fmt: skip
ACCEPTED = [
    {"temperature": 0.5},
    {"model": "claude-opus-5-5", "temperature": 1},
    {"messages": [USER, says(text("a"), role="assistant")]},
    {"model": "claude-opus-4-8", "messages": [USER, {"role": "system", "content": "x"}]},
    {**loop(THOUGHT, USE), "thinking": BUDGET},
    loop(text("so"), USE, then=[text("go on")]),
    {"messages": picture("image/png")},
    form(CLOSED),
    {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}]},
    {"model": "claude-haiku-5-5", "tools": [TOOL], "tool_choice": {"type": "any"}},
]


def changed(change):
    merged = {"model": "claude-haiku-4-5", "max_tokens": 4096, "messages": [USER], **change}
    return {k: v for k, v in merged.items() if v is not None}


@pytest.mark.parametrize(("change", "words"), REFUSED)
def test_anthropic_refuses(change, words):
    refused = refusal(changed(change), OLD)
    assert refused is not None
    assert words in refused.message
    assert refused.status == 400


@pytest.mark.parametrize("change", ACCEPTED)
def test_anthropic_accepts(change):
    assert refusal(changed(change), OLD) is None


@pytest.mark.parametrize(("headers", "change", "words"), [
    ({}, {}, "anthropic-version: header is required"),
    ({"anthropic-version": "2020-01-01"}, {}, "is not a valid version"),
    (NEW, {"temperature": 1}, "temperature: Extra inputs"),
])  # fmt: skip
def test_the_version_header_decides(headers, change, words):
    refused = refusal(changed(change), headers)
    assert refused is not None
    assert words in refused.message


def test_an_unknown_model_is_not_found():
    refused = refusal(changed({"model": "gpt-4o"}), OLD)
    assert refused is not None
    assert (refused.status, refused.kind) == (404, "not_found_error")
