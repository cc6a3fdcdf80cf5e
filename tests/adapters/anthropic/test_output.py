"""Structured output: which of the three ways is taken, and when there is none."""

from typing import Any

import msgspec
import pytest

from adapters.base import Capabilities, Failure
from tests.adapters.anthropic.said import ADAPTIVE, ALWAYS, BUDGET, ask, body, function

CLOSED = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
OPEN = {"type": "object"}
OLD = Capabilities(json_schema=False)


def wanted(schema: dict[str, Any] | None, **members: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, **members}}


def test_natively_where_it_can_be_had():
    said = body(response_format=wanted(CLOSED))
    assert said["output_config"] == {
        "format": {"type": "json_schema", "schema": {**CLOSED, "additionalProperties": False}}
    }
    assert "tools" not in said


@pytest.mark.parametrize(
    ("able", "schema"),
    [
        pytest.param(ADAPTIVE, OPEN, id="the schema cannot be said"),
        pytest.param(OLD, CLOSED, id="the model has no structured output"),
    ],
)
def test_else_by_a_tool_that_must_be_called(able, schema):
    call = ask(able, response_format=wanted(schema, description="A thing."), reasoning_effort="high")
    said = msgspec.json.decode(call.body)
    assert said["tools"] == [{"name": "json_tool_call", "description": "A thing.", "input_schema": schema}]
    assert said["tool_choice"] == {"type": "tool", "name": "json_tool_call"}
    assert said.get("thinking", {"type": "disabled"}) == {"type": "disabled"}
    assert call.reading.json_tool == "json_tool_call"
    assert str(call.warnings) == "emulated=response_format; dropped=reasoning_effort"


def test_json_mode_in_so_many_words():
    call = ask(response_format={"type": "json_object"})
    assert msgspec.json.decode(call.body)["system"][0]["text"].startswith("Answer with one JSON object")
    assert (call.reading.json_fence, call.reading.json_tool) == (True, None)
    assert str(call.warnings) == "emulated=response_format"


@pytest.mark.parametrize(
    ("able", "schema", "members"),
    [
        pytest.param(ALWAYS, OPEN, {}, id="nothing can be forced"),
        pytest.param(BUDGET, OPEN, {"tools": [function()]}, id="beside tools"),
        pytest.param(BUDGET, OPEN, {"functions": [{"name": "f"}]}, id="beside functions"),
        pytest.param(BUDGET, OPEN, {"web_search_options": {}}, id="beside web search"),
        pytest.param(BUDGET, {"type": "array", "items": OPEN}, {}, id="no tool takes a list"),
        pytest.param(OLD, {"anyOf": [CLOSED]}, {}, id="no tool takes alternatives"),
    ],
)
def test_where_there_is_no_way_it_is_refused(able, schema, members):
    with pytest.raises(Failure) as caught:
        ask(able, response_format=wanted(schema), **members)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "response_format.json_schema.schema")


@pytest.mark.parametrize("format", [None, {"type": "text"}])
def test_plain_text_asks_for_nothing(format):
    assert body(response_format=format).keys() == {"model", "max_tokens", "messages"}


def test_an_effort_is_sent_without_a_format_too():
    assert body(ADAPTIVE, reasoning_effort="high")["output_config"] == {"effort": "high"}
