"""The subset of JSON Schema: what is kept, what becomes a note, what cannot be said; and the SDK's own transform."""

from typing import Any

import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.anthropic import schema
from tests.adapters.anthropic.said import UNHURRIED

NUMBER: dict[str, Any] = {"type": "number"}


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("minimum", 1),
        ("maximum", 9),
        ("exclusiveMinimum", 1),
        ("exclusiveMaximum", 9),
        ("multipleOf", 2),
        ("minLength", 1),
        ("maxLength", 9),
        ("maxItems", 9),
        ("uniqueItems", True),
        ("contains", NUMBER),
        ("minContains", 1),
        ("maxContains", 2),
        ("prefixItems", [NUMBER]),
        ("minProperties", 1),
        ("maxProperties", 9),
        ("patternProperties", {"x": NUMBER}),
        ("propertyNames", {"type": "string"}),
        ("dependentRequired", {"a": ["b"]}),
        ("dependentSchemas", {"a": NUMBER}),
        ("unevaluatedProperties", False),
        ("if", NUMBER),
        ("then", NUMBER),
        ("else", NUMBER),
        ("not", NUMBER),
        ("default", None),
        ("examples", ["a"]),
        ("x-unknown", {"a": 1}),
        ("minItems", 2),
        ("pattern", "(?=a)b"),
        ("pattern", "(?<!a)b"),
        ("pattern", r"(a)\1"),
        ("pattern", r"\bword\b"),
        ("pattern", 5),
        ("format", "color"),
        ("format", ["email"]),
        ("enum", []),
        ("enum", [{"a": 1}]),
        ("enum", "a"),
        ("const", {"a": 1}),
        ("items", [NUMBER]),
        ("items", True),
        ("anyOf", 5),
        ("properties", 5),
    ],
)
def test_what_the_subset_does_not_have_is_noted_in_the_description(key, value):
    found = schema.clean({"type": "string", "description": "It.", key: value})
    assert key not in found
    assert found["description"].startswith(f"It.; {key}: ")


def test_a_note_needs_no_description():
    assert schema.clean({"type": "integer", "minimum": 1, "maximum": 2}) == {
        "type": "integer",
        "description": "minimum: 1; maximum: 2",
    }


@pytest.mark.parametrize(
    "kept",
    [
        {"type": "string", "format": "date-time"},
        {"type": "string", "pattern": r"^(?:a|b)+\d{2}$"},
        {"type": "array", "items": {"type": "string"}, "minItems": 0},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        {"type": ["string", "null"], "title": "T", "description": "D"},
        {"type": "integer", "enum": [1, 2]},
        {"type": ["integer", "null"], "enum": [1, None]},
        {"type": "number", "enum": [1, 1.5]},
        {"type": "boolean", "enum": [True]},
        {"enum": ["a", 1, None]},
        {"const": "a"},
        {"const": None},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"allOf": [{"type": "string"}]},
        {"$ref": "#/$defs/a"},
        closed(a={"type": "string"}),
        {"type": "object", "additionalProperties": False},
    ],
)
def test_what_the_subset_has_is_kept(kept):
    assert schema.clean(kept) == kept


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"$schema": "x", "$id": "y", "$comment": "z", **NUMBER}, NUMBER, id="no model heeds these"),
        pytest.param({"oneOf": [NUMBER]}, {"anyOf": [NUMBER]}, id="oneOf is anyOf"),
        pytest.param(
            {"oneOf": [NUMBER], "anyOf": [NUMBER]},
            {"anyOf": [NUMBER], "description": 'oneOf: [{"type":"number"}]'},
            id="beside anyOf it is a note",
        ),
        pytest.param(
            {"$ref": "#/definitions/a", "definitions": {"a": {"type": "integer", "minimum": 1}}},
            {"$ref": "#/definitions/a", "definitions": {"a": {"type": "integer", "description": "minimum: 1"}}},
            id="in the older spelling too",
        ),
        pytest.param(
            {"type": ["object", "null"]},
            {"type": ["object", "null"], "additionalProperties": False},
            id="though nothing is said of its properties",
        ),
        pytest.param({"type": [[]], "enum": ["a"]}, {"enum": ["a"]}, id="a type of none"),
        pytest.param(
            {"type": "object", "enum": ["a"]}, {"enum": ["a"], "additionalProperties": False}, id="a text is no object"
        ),
        pytest.param({"$ref": "#/a", "description": "unheard"}, {"$ref": "#/a"}, id="a reference stands alone"),
        pytest.param(
            {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer", "minimum": 1}}},
            {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer", "description": "minimum: 1"}}},
            id="a reference at the root keeps what it refers to",
        ),
        pytest.param(
            {"properties": {"a": {"additionalProperties": True, "properties": {}}}, "additionalProperties": True},
            {
                "type": "object",
                "properties": {"a": {"type": "object", "properties": {}, "additionalProperties": False}},
                "additionalProperties": False,
            },
            id="objects are objects, and closed",
        ),
        pytest.param(
            {"type": ["object", "null"], "properties": {}},
            {"type": ["object", "null"], "properties": {}, "additionalProperties": False},
            id="one kind among others as well",
        ),
        pytest.param(
            {"definitions": {"a": closed(minimum={"type": "integer", "minimum": 0})}, **closed()},
            {
                "definitions": {"a": closed(minimum={"type": "integer", "description": "minimum: 0"})},
                **closed(),
            },
            id="definitions; and a property that is called like a bound stays",
        ),
        pytest.param({"type": "string", "enum": ["a", 1]}, {"enum": ["a", 1]}, id="an enum beats a type"),
        pytest.param({"type": "integer", "enum": [True]}, {"enum": [True]}, id="true is no integer"),
        pytest.param({"type": ["string"], "enum": [None]}, {"enum": [None]}, id="null is no string"),
        pytest.param({"anyOf": [True]}, {"anyOf": [True]}, id="what is no schema is left to the vendor"),
    ],
)
def test_cleaning(given, expected):
    assert schema.clean(given) == expected


@pytest.mark.parametrize(
    "format",
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"],
)
def test_the_formats_that_the_subset_has(format):
    assert schema.clean({"type": "string", "format": format}) == {"type": "string", "format": format}


@pytest.mark.parametrize(
    ("kind", "misfit"),
    [("string", 1), *((kind, "a") for kind in ("number", "integer", "boolean", "null", "array"))],
)
def test_a_type_that_its_enum_contradicts_is_left_out(kind, misfit):
    assert schema.clean({"type": kind, "enum": [misfit]}) == {"enum": [misfit]}
    assert schema.clean({"type": [kind, "from the future"], "enum": [misfit]})["type"] == [kind, "from the future"]


def test_cleaning_leaves_the_clients_own_schema_alone():
    given = {"type": "object", "properties": {"a": {"oneOf": [{"minimum": 1, "type": "integer"}]}}}
    before = repr(given)
    schema.clean(given)
    assert repr(given) == before


def nested(depth: int) -> dict[str, Any]:
    found = dict(NUMBER)
    for _ in range(depth):
        found = closed(a=found)
    return found


def lists(depth: int) -> dict[str, Any]:
    found = dict(NUMBER)
    for _ in range(depth):
        found = {"type": "array", "items": found}
    return found


def chain(length: int) -> dict[str, Any]:
    """Each definition refers to the next one twice: 2 ** length ways to the end."""
    definitions = {f"d{i}": closed(**{key: {"$ref": f"#/$defs/d{i + 1}"} for key in "ab"}) for i in range(length)}
    return closed(a={"$ref": "#/$defs/d0"}) | {"$defs": {**definitions, f"d{length}": NUMBER}}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        pytest.param(closed(a=NUMBER), None, id="none"),
        pytest.param({"type": "array", "items": NUMBER}, None, id="a list"),
        pytest.param({"type": "array"}, None, id="a list of who knows"),
        pytest.param({"anyOf": [closed(), {"type": "null"}]}, None, id="alternatives"),
        pytest.param({"type": "object"}, "any name", id="any object"),
        pytest.param({"properties": {}}, "any name", id="any object, not said so"),
        pytest.param({**closed(a=NUMBER), "additionalProperties": True}, "any name", id="open"),
        pytest.param({**closed(a=NUMBER), "additionalProperties": NUMBER}, "any name", id="a map"),
        pytest.param({"anyOf": [NUMBER, {"type": "object"}]}, "any name", id="an open alternative"),
        pytest.param({"oneOf": [NUMBER, {"type": "object"}]}, "any name", id="an open alternative of one"),
        pytest.param({"allOf": [{"type": "object"}]}, "any name", id="an open one that all of are"),
        pytest.param({**closed(a=NUMBER), "required": ["a", []]}, None, id="what is no name is not required"),
        pytest.param({"type": "array", "items": {"type": "object"}}, "any name", id="open items"),
        pytest.param({}, "any type", id="anything"),
        pytest.param(closed(a=True), "any type", id="a property of anything"),
        pytest.param(closed(a={"description": "?"}), "any type", id="a property of no type"),
        pytest.param({"properties": {"a": {"$ref": "#"}}}, "'#' refers to itself", id="the root in itself"),
        pytest.param(
            {
                "$ref": "#/$defs/a",
                "$defs": {"a": closed(b={"$ref": "#/$defs/b"}), "b": closed(a={"$ref": "#/$defs/a"})},
            },
            "'#/$defs/a' refers to itself",
            id="two in each other",
        ),
        pytest.param(closed(a={"$ref": "#/nowhere"}), "refers to nothing", id="nowhere"),
        pytest.param(closed(a={"$ref": "https://example.com/s"}), "refers to nothing", id="elsewhere"),
        pytest.param(closed(a={"$ref": "#anchor"}), "refers to nothing", id="an anchor"),
        pytest.param(closed(a={"$ref": 5}), "refers to nothing", id="no reference at all"),
        pytest.param({"allOf": [NUMBER]}, None, id="one that all of are"),
        pytest.param({"allOf": [NUMBER, NUMBER]}, "allOf", id="several that all are"),
        pytest.param({"allOf": [closed()], **closed(a=NUMBER)}, "allOf", id="one beside properties of its own"),
        pytest.param(
            closed(a={"$ref": "#/$defs/x~1y~0"}) | {"$defs": {"x/y~": NUMBER}}, None, id="a reference with escapes"
        ),
        pytest.param(closed(a={"$ref": "#/anyOf/0"}) | {"anyOf": [NUMBER]}, None, id="a reference into a list"),
        pytest.param(nested(60), None, id="deep"),
        pytest.param(nested(70), "nested too deeply", id="too deep"),
        pytest.param(lists(126), None, id="deep lists"),
        pytest.param(lists(127), "nested too deeply", id="too deep lists"),
        pytest.param(chain(60), None, id="many ways, walked once"),
        pytest.param({"properties": {f"p{i}": NUMBER for i in range(24)}}, None, id="24 optional"),
        pytest.param({"properties": {f"p{i}": NUMBER for i in range(25)}}, "25 optional", id="25 optional"),
        pytest.param(closed(**{f"p{i}": {"type": ["string", "null"]} for i in range(16)}), None, id="16 unions"),
        pytest.param(closed(**{f"p{i}": {"anyOf": [NUMBER]} for i in range(17)}), "17 properties", id="17 unions"),
        pytest.param(
            closed(**{f"p{i}": {"oneOf": [NUMBER]} for i in range(17)}), "17 properties", id="in another word"
        ),
    ],
)
def test_obstacles(given, why):
    found = schema.obstacle(given)
    assert found is None if why is None else found is not None and why in found


# --- anything that a client may send for a schema

WORDS = [
    *["type", "properties", "required", "items", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "$defs"],
    *["additionalProperties", "minItems", "pattern", "format", "description", "title", "minimum", "definitions"],
]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 3)
    | st.sampled_from(["string", "object", "array", "#", "#/$defs/a", "#/properties/a", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*WORDS, "a"]), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(WORDS), ANYTHING, max_size=5))
@UNHURRIED
def test_no_schema_makes_it_raise(given):
    schema.obstacle(given)
    schema.clean(given)


# --- the SDK's own transform

LEAF = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "format": "email"},
        {"type": "string", "format": "color"},
        {"type": "string", "maxLength": 5},
        {"type": "integer", "minimum": 0, "maximum": 9},
        {"type": "boolean", "default": True},
        {"type": "null"},
        {"enum": ["a", "b"]},
        {"const": 5},
    ]
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3).map(
        lambda properties: closed(**properties) | {"title": "T"}
    )


SAYABLE = objects(
    st.recursive(
        LEAF,
        lambda inner: (
            objects(inner)
            | inner.map(lambda items: {"type": "array", "items": items, "minItems": 1})
            | st.lists(inner, min_size=1, max_size=2).map(lambda some: {"anyOf": some})
            | st.lists(inner, min_size=1, max_size=2).map(lambda some: {"oneOf": some})
        ),
        max_leaves=8,
    )
)


def without_descriptions(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_descriptions(inner) for key, inner in value.items() if key != "description"}
    return [without_descriptions(inner) for inner in value] if isinstance(value, list) else value


@given(SAYABLE)
@UNHURRIED
def test_the_sdks_own_transform_comes_to_the_same(given):
    """But for the wording of notes. What it does otherwise is in the test below."""
    assert schema.obstacle(given) is None or "properties of several types" in str(schema.obstacle(given))
    assert without_descriptions(schema.clean(given)) == without_descriptions(anthropic.transform_schema(given))


@pytest.mark.parametrize(
    ("given", "ours", "theirs"),
    [
        pytest.param(
            {"type": "string", "enum": ["a"]},
            {"type": "string", "enum": ["a"]},
            {"enum": ["a"]},
            id="a type that agrees with its enum stays",
        ),
        pytest.param(
            {"type": "string", "pattern": "^a$"},
            {"type": "string", "pattern": "^a$"},
            {"type": "string", "description": "{pattern: ^a$}"},
            id="a plain pattern stays",
        ),
        pytest.param(
            {"anyOf": [NUMBER], "allOf": [NUMBER]},
            {"anyOf": [NUMBER], "allOf": [NUMBER]},
            {"anyOf": [NUMBER]},
            id="nothing beside anyOf is lost",
        ),
    ],
)
def test_where_we_keep_more_than_the_sdk(given, ours, theirs):
    assert schema.clean(given) == ours
    assert anthropic.transform_schema(given) == theirs


def test_the_first_obstacle_is_the_one_that_is_told():
    said = {"type": "object", "properties": {"a": {}, "b": {"$ref": "#/nowhere"}}, "required": ["a", "b"]}
    alone = {**said, "properties": {"a": {}}}
    assert schema.obstacle(said) == schema.obstacle(alone) == "it has a value of any type"
