"""The members `tools` and `tool_choice`: what the tables of golden cases do not already say."""

import pytest

from adapters.base import Capabilities, Failure
from tests.adapters.anthropic.said import ADAPTIVE, BUDGET, ask, body, called, function, result, user

CLOSED = {"type": "object", "properties": {}, "additionalProperties": False}
HISTORY = [user(), {"role": "assistant", "tool_calls": [called(name="g")]}, result()]


def test_trap_49_a_valid_name_keeps_itself_though_the_history_speaks_of_a_renamed_one_first():
    messages = [user(), {"role": "assistant", "tool_calls": [called(name="a.b")]}, result()]
    call = ask(messages=messages, tools=[function("a.b"), function("a_b")])
    assert b'"name":"a_b_2","input":{}' in call.body
    assert call.reading.names == {"a_b_2": "a.b"}


def test_a_description_that_is_empty_is_left_out():
    assert body(tools=[function(description="")])["tools"] == [
        {"name": "f", "input_schema": {"type": "object", "properties": {}}}
    ]


@pytest.mark.parametrize(
    ("able", "parameters", "strict"),
    [
        pytest.param(ADAPTIVE, CLOSED, True, id="can be had"),
        pytest.param(Capabilities(json_schema=False), CLOSED, False, id="not from this model"),
        pytest.param(ADAPTIVE, {"type": "object"}, False, id="not for an open object"),
        pytest.param(
            ADAPTIVE, {"$ref": "#/$defs/a", "$defs": {"a": CLOSED}}, False, id="not for a schema that is a reference"
        ),
        pytest.param(ADAPTIVE, None, False, id="not without parameters"),
    ],
)
def test_strict(able, parameters, strict):
    call = ask(able, tools=[function(strict=True, parameters=parameters)])
    assert (b'"strict":true' in call.body) is strict
    assert str(call.warnings) == ("" if strict else "dropped=tools[0].function.strict")


@pytest.mark.parametrize("kind", ["array", ["object", "null"], None, 5])
def test_the_parameters_of_a_tool_are_an_object(kind):
    with pytest.raises(Failure) as caught:
        ask(tools=[function(parameters={"type": kind})])
    assert (caught.value.status, caught.value.param) == (400, "tools[0].function.parameters")


def test_a_history_without_tools_gets_its_definitions_back_and_may_not_use_them():
    said = body(messages=HISTORY)
    assert said["tools"] == [{"name": "g", "input_schema": {"type": "object", "properties": {}}}]
    assert said["tool_choice"] == {"type": "none"}


def test_they_come_back_in_the_order_of_their_names():
    messages = [user(), {"role": "assistant", "tool_calls": [called("c1", "g"), called("c2", "a.b")]}]
    said = body(messages=[*messages, result("c1"), result("c2")])
    assert [tool["name"] for tool in said["tools"]] == ["a_b", "g"]


def test_a_tool_called_as_the_vendors_own_search_is_renamed_only_beside_it():
    alone, beside = ask(tools=[function("web_search")]), ask(tools=[function("web_search")], web_search_options={})
    assert (alone.reading.names, beside.reading.names) == ({}, {"web_search_2": "web_search"})


def test_a_named_tool_is_named_as_the_vendor_knows_it():
    choice = {"type": "function", "function": {"name": "a.b"}}
    said = body(tools=[function("a.b", description="It.")], tool_choice=choice)
    assert said["tool_choice"] == {"type": "tool", "name": "a_b"}
    assert said["tools"][0]["description"] == "It."


def test_where_to_search():
    place = {"type": "approximate", "approximate": {"city": "Rome", "region": None}}
    assert body(web_search_options={"user_location": place})["tools"][0]["user_location"] == {
        "type": "approximate",
        "city": "Rome",
    }


def test_a_choice_that_nobody_needs_is_not_sent():
    assert "tool_choice" not in body(tools=[function()], parallel_tool_calls=True)
    assert "tool_choice" not in body(web_search_options={}, parallel_tool_calls=False)


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_a_search_is_offered_beside_tools(choice):
    call = ask(tools=[function()], tool_choice=choice, web_search_options={})
    assert b'"name":"web_search"' in call.body
    assert str(call.warnings) == ""


def test_a_renamed_tool_of_the_history_is_not_taken_for_our_own():
    history = [user(), {"role": "assistant", "tool_calls": [called(name="json_tool_call")]}, result()]
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    said = body(messages=history, response_format=schema)
    assert [tool["name"] for tool in said["tools"]] == ["json_tool_call_2", "json_tool_call"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}),
        ("auto", {"type": "auto", "disable_parallel_tool_use": True}),
        ("none", {"type": "none"}),
        ("required", {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_one_call_at_a_time(choice, expected):
    said = body(BUDGET, tools=[function()], tool_choice=choice, parallel_tool_calls=False)
    assert said["tool_choice"] == expected


@pytest.mark.parametrize(("size", "uses"), [(None, 5), ("low", 1), ("medium", 5), ("high", 10)])
def test_how_much_a_web_search_may_search(size, uses):
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": uses}
    assert body(web_search_options={"search_context_size": size})["tools"] == [search]


def test_a_history_without_tools_may_not_even_search():
    call = ask(messages=HISTORY, web_search_options={})
    assert str(call.warnings) == "dropped=web_search_options"
    assert b"web_search" not in call.body
