"""What OpenAI refuses, one row each: a change to a good request, and a word of the refusal."""

import pytest

from proxy.simulator.openai_check import refusal

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
ANSWER = {"role": "tool", "tool_call_id": "c1", "content": ""}
USER = {"role": "user", "content": "hi"}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CLOSED = {**OPEN, "additionalProperties": False}


def schema_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}


def image(url):
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


REFUSED = [
    ({"foo": 1}, "Unknown parameter: 'foo'.", "unknown_parameter"),
    ({"messages": [{**USER, "reasoning_content": "x"}]}, "'messages[0].reasoning_content'", "unknown_parameter"),
    ({"messages": []}, "empty array", "empty_array"),
    ({"messages": None}, "Missing required parameter: 'messages'.", "missing_required_parameter"),
    ({"model": None}, "you must provide a model parameter", None),
    ({"model": "claude-haiku-4-5"}, "does not exist", "model_not_found"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "Supported values are: 'system'", "invalid_value"),
    ({"temperature": "hot"}, "expected a decimal, but got a string", "invalid_type"),
    ({"temperature": 3}, "maximum value violated", "integer_above_max_value"),
    ({"max_tokens": 0}, "minimum value violated", "integer_below_min_value"),
    ({"model": "gpt-5.5", "max_tokens": 5}, "Use 'max_completion_tokens' instead.", "unsupported_parameter"),
    ({"model": "o3", "max_tokens": 5}, "Use 'max_completion_tokens' instead.", "unsupported_parameter"),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "at the same time", "invalid_parameter_combination"),
    ({"model": "gpt-5.5", "temperature": 0.5}, "Only the default (1) value", "unsupported_value"),
    ({"model": "gpt-6-luna", "top_p": 0.5}, "Only the default (1) value", "unsupported_value"),
    ({"model": "gpt-5.5", "stop": ["x"]}, "'stop' is not supported", "unsupported_parameter"),
    ({"model": "gpt-5.5", "presence_penalty": 1}, "'presence_penalty' is not supported", "unsupported_parameter"),
    ({"model": "gpt-6-astra", "reasoning_effort": "none"}, "does not support 'none'", "unsupported_value"),
    ({"reasoning_effort": "low"}, "'reasoning_effort' is not supported", "unsupported_parameter"),
    ({"stream_options": {"include_usage": True}}, "only allowed when 'stream' is enabled", None),
    ({"stop": list("abcde")}, "maximum length 4", "array_above_max_length"),
    ({"tools": []}, "empty array", "empty_array"),
    ({"tool_choice": "auto"}, "only allowed when 'tools' are specified", None),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "not found in 'tools'", None),
    ({"tools": [{"type": "function", "function": {"name": "a.b"}}]}, "does not match pattern", "invalid_value"),
    ({"messages": [USER, {"role": "tool", "tool_call_id": "c1", "content": "x"}]}, "must be a response to", None),
    ({"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}, USER]}, "c1", None),
    ({"messages": [USER, {"role": "assistant", "content": None}]}, "expected a string, got null", None),
    ({"messages": image("http://x/y.png")}, "https URL", "invalid_value"),
    ({"messages": image("data:text/plain;base64,eA==")}, "https URL", "invalid_value"),
    ({"response_format": {"type": "json_object"}}, "must contain the word 'json'", None),
    ({"response_format": schema_format(OPEN)}, "'additionalProperties' is required", None),
    ({"response_format": schema_format({**CLOSED, "required": []})}, "Missing 'a'", None),
]
ACCEPTED = [
    {"temperature": 0.5, "top_p": 0.5, "max_tokens": 9, "stop": "x", "presence_penalty": 1},
    {"model": "gpt-5.4-mini", "temperature": 0.5},
    {"model": "gpt-5.5", "temperature": 1, "max_completion_tokens": 9, "reasoning_effort": "high"},
    {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}, ANSWER]},
    {"messages": image("data:image/png;base64,eA==")},
    {"messages": image("https://x/y.png")},
    {"response_format": schema_format(CLOSED)},
    {"stream": True, "stream_options": {"include_usage": True}},
]  # fmt: skip


def changed(change):
    merged = {"model": "gpt-4o", "messages": [USER], **change}
    return {k: v for k, v in merged.items() if v is not None}


@pytest.mark.parametrize(("change", "words", "code"), REFUSED)
def test_openai_refuses(change, words, code):
    refused = refusal(changed(change))
    assert refused is not None
    assert words in refused.message
    assert refused.code == code


@pytest.mark.parametrize("change", ACCEPTED)
def test_openai_accepts(change):
    assert refusal(changed(change)) is None
