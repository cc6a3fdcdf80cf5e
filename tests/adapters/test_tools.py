"""Tools, the choice among them, and their names on other wires."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import tools, wire
from adapters.base import Failure, Kind
from adapters.tools import Choice, Names, Tool


def function(name: str = "f", **more) -> dict:
    return {"type": "function", "function": {"name": name, **more}}


def custom(name: str = "c", **more) -> dict:
    return {"type": "custom", "custom": {"name": name, **more}}


def read(**members) -> tools.Toolbox:
    raw = msgspec.json.encode({"model": "m", "messages": [], **members})
    return tools.read(msgspec.json.decode(raw, type=wire.Chat))


def refusal(**members) -> Failure:
    with pytest.raises(Failure) as caught:
        read(**members)
    assert caught.value.status == 400
    return caught.value


def test_no_tools_are_no_tools():
    assert read() == tools.Toolbox((), None, False)
    assert read(tools=[], tool_choice=None, functions=[]) == tools.Toolbox((), None, False)


def test_a_function_is_read_as_it_is():
    schema = {"type": "object", "properties": {"x": {"const": 1}}}
    box = read(tools=[function("f", description="d", parameters=schema, strict=True)])
    assert box.tools == (Tool("f", "d", schema, True, False, "tools[0].function"),)


def test_a_custom_tool_travels_as_a_function_with_one_text():
    for format in (None, {}, {"type": "text"}):
        (tool,) = read(tools=[custom(format=format)]).tools
        assert tool.custom
        assert tool.parameters == {
            "type": "object",
            "properties": {"input": {"type": "string"}},
            "required": ["input"],
        }


def test_nobody_else_writes_by_a_grammar():
    failure = refusal(tools=[function(), custom(format={"type": "grammar", "grammar": {}})])
    assert (failure.kind, failure.param) == (Kind.UNSUPPORTED, "tools[1].custom.format")


def test_deprecated_functions_are_tools():
    box = read(functions=[{"name": "f", "description": "d", "parameters": {"type": "object"}}])
    assert box == tools.Toolbox((Tool("f", "d", {"type": "object"}, False, False, "functions[0]"),), None, True)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        pytest.param(None, None, id="nothing said"),
        pytest.param("auto", Choice("auto"), id="auto"),
        pytest.param("none", Choice("none"), id="none"),
        pytest.param("required", Choice("any"), id="any"),
        pytest.param(function("a"), Choice("tool", "a"), id="this function"),
        pytest.param(custom("c"), Choice("tool", "c"), id="this custom tool"),
        pytest.param(
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function("a"), custom("c")]}},
            Choice("auto", None, ("a", "c")),
            id="these, or none",
        ),
        pytest.param(
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [function("a"), function("b")]}},
            Choice("any", None, ("a", "b")),
            id="one of these",
        ),
        pytest.param(
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [function("a")]}},
            Choice("tool", "a", ("a",)),
            id="one of one",
        ),
    ],
)
def test_the_choice(choice, expected):
    assert read(tools=[function("a"), function("b"), custom("c")], tool_choice=choice).choice == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("auto", Choice("auto")), ("none", Choice("none")), ({"name": "f"}, Choice("tool", "f")), (None, None)],
)
def test_the_deprecated_choice(choice, expected):
    box = read(functions=[{"name": "f"}], function_call=choice)
    assert (box.choice, box.legacy) == (expected, True)


def test_no_tools_and_none_wanted_is_no_contradiction():
    assert read(tool_choice="none").choice is None
    assert read(function_call="none") == tools.Toolbox((), None, False)
    assert read(tools=[function()], function_call="none").tools


@pytest.mark.parametrize(
    ("members", "param"),
    [
        pytest.param({"tool_choice": "auto"}, "tool_choice", id="a choice of nothing"),
        pytest.param({"tool_choice": function("f")}, "tool_choice", id="a name among nothing"),
        pytest.param({"function_call": "auto"}, "function_call", id="a deprecated choice of nothing"),
        pytest.param({"tools": [function()], "function_call": "auto"}, "function_call", id="of the other kind"),
        pytest.param({"functions": [{"name": "f"}], "tools": [function()]}, "functions", id="both kinds"),
        pytest.param({"tools": [function()], "tool_choice": function("g")}, "tool_choice", id="an unknown name"),
        pytest.param(
            {"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call", id="unknown, deprecated"
        ),
        pytest.param(
            {
                "tools": [function()],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function("g")]}},
            },
            "tool_choice",
            id="an unknown name among the allowed",
        ),
        pytest.param(
            {
                "tools": [function()],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            },
            "tool_choice.allowed_tools.tools",
            id="nothing allowed",
        ),
        pytest.param(
            {
                "tools": [function()],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "x"}]}},
            },
            "tool_choice.allowed_tools.tools[0]",
            id="allowed without a name",
        ),
    ],
)
def test_contradictions_are_refused(members, param):
    assert refusal(**members).param == param


# --- names

PLAIN = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,15}").fullmatch


def test_a_valid_name_is_itself():
    names = Names(PLAIN, 16)
    assert names.wire("weather") == "weather"
    assert names.clients == {}


def test_known_are_the_names_that_were_claimed_and_valid_and_those_that_were_spelled():
    names = Names(PLAIN, 16)
    names.claim(["weather", "a.b"])
    names.wire("c.d")
    assert list(names.known) == ["weather", "c.d"]


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        pytest.param("mcp.server/tool", "mcp_server_tool", id="with other characters"),
        pytest.param("x" * 30, "x" * 16, id="too long"),
        pytest.param("wetter für", "wetter_f_r", id="not ASCII"),
    ],
)
def test_trap_49_an_invalid_name_is_renamed_and_comes_back(name, renamed):
    names = Names(PLAIN, 16)
    assert names.wire(name) == renamed
    assert names.wire(name) == renamed
    assert names.clients == {renamed: name}


def test_trap_49_a_name_that_begins_wrongly_gets_a_new_beginning():
    names = Names(re.compile(r"[a-z_][a-z0-9_]{0,7}").fullmatch, 8)
    assert names.wire("1st") == "_1st"
    assert names.wire("1" * 20) == "_1111111"


def test_trap_49_a_valid_name_does_not_lose_itself_to_a_renamed_one():
    names = Names(PLAIN, 16)
    names.claim(["a.b", "a_b"])
    assert names.wire("a.b") == "a_b_2"
    assert names.wire("a_b") == "a_b"
    assert names.wire("a/b") == "a_b_3"
    assert names.clients == {"a_b_2": "a.b", "a_b_3": "a/b"}


@given(st.lists(st.text(st.sampled_from("a1._-ä/"), max_size=24), unique=True), st.lists(st.text(max_size=24)))
def test_trap_49_names_are_one_to_one(claimed, others):
    valid = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,15}").fullmatch
    names = Names(valid, 16)
    names.claim(claimed)
    wires = {name: names.wire(name) for name in [*claimed, *others]}
    assert len(set(wires.values())) == len(wires)
    assert all(valid(wire) for wire in wires.values())
    assert all(names.clients.get(wire, wire) == name for name, wire in wires.items())
    assert all(wires[name] == name for name in claimed if valid(name))
