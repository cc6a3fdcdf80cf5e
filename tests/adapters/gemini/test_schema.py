"""Schemas in the keywords that Gemini knows (trap 15)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Failure
from adapters.gemini.schema import clean

KNOWN = {
    *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems"),
    *("minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties"),
    *("required", "propertyOrdering"),
}
UNIT = {"type": "string", "enum": ["c", "f"]}
TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        pytest.param({}, {}, id="nothing stays nothing"),
        pytest.param({"$schema": "x", "$comment": "x", "strict": True, "default": 1, "examples": [1]}, {}, id="silent"),
        pytest.param({"const": 1}, {"enum": [1]}, id="const is an enum of one"),
        pytest.param({"const": None, "enum": [1, 2]}, {"enum": [None]}, id="a const is narrower than an enum"),
        pytest.param({"type": ["string", "null"]}, {"type": ["string", "null"]}, id="a list of types stays"),
        pytest.param({**TEXT, "nullable": True}, {"type": ["string", "null"]}, id="nullable is a list of types"),
        pytest.param({**TEXT, "nullable": False}, TEXT, id="not nullable is nothing"),
        pytest.param({"anyOf": [TEXT], "nullable": True}, {"anyOf": [TEXT]}, id="nullable without a type is lost"),
        pytest.param({**TEXT, "minLength": 2}, {**TEXT, "description": "minLength: 2"}, id="what restricts is told"),
        pytest.param(
            {**TEXT, "description": "D", "pattern": '^"', "uniqueItems": True, "not": {"type": "null"}},
            {**TEXT, "description": 'D; pattern: "^\\""; uniqueItems: true; not: {"type":"null"}'},
            id="in JSON, behind the description",
        ),
        pytest.param({"$ref": "#/$defs/U", "description": "x"}, {"$ref": "#/$defs/U"}, id="a reference stands alone"),
        pytest.param(
            {"$ref": "#/$defs/U", "$defs": {"U": {"const": 1}}},
            {"$ref": "#/$defs/U", "$defs": {"U": {"enum": [1]}}},
            id="but for its definitions, which are cleaned",
        ),
        pytest.param(
            {"$ref": "#/definitions/U", "definitions": {"U": UNIT}},
            {"$ref": "#/$defs/U", "$defs": {"U": UNIT}},
            id="definitions move, and references to them",
        ),
        pytest.param(
            {"definitions": {"A": UNIT, "B": TEXT}, "$defs": {"A": {"const": 1}}},
            {"$defs": {"A": {"enum": [1]}, "B": TEXT}},
            id="definitions beside newer ones",
        ),
        pytest.param({"definitions": 3}, {}, id="definitions that are none"),
        pytest.param({"$ref": 3}, {"$ref": 3}, id="a reference that is none is for Gemini to refuse"),
        pytest.param({"properties": {"$ref": TEXT}}, {"properties": {"$ref": TEXT}}, id="a property may have any name"),
        pytest.param({"properties": {"const": {"const": 1}}}, {"properties": {"const": {"enum": [1]}}}, id="even that"),
        pytest.param({"properties": 3, "anyOf": 4}, {"properties": 3, "anyOf": 4}, id="wrong types stay wrong"),
        pytest.param({"items": {"const": 1}}, {"items": {"enum": [1]}}, id="items"),
        pytest.param({"items": False}, {"items": False}, id="items of nothing"),
        pytest.param({"prefixItems": [{"const": 1}, True]}, {"prefixItems": [{"enum": [1]}, True]}, id="a tuple"),
        pytest.param({"oneOf": [{"const": 1}]}, {"oneOf": [{"enum": [1]}]}, id="oneOf"),
        pytest.param(
            {"additionalProperties": {"const": 1}}, {"additionalProperties": {"enum": [1]}}, id="additionalProperties"
        ),
        pytest.param(
            {"additionalProperties": False}, {"additionalProperties": False}, id="a closed object stays closed"
        ),
        pytest.param({"enum": [{"const": 1}]}, {"enum": [{"const": 1}]}, id="values are no schemas"),
    ],
)
def test_a_schema_in_geminis_keywords(schema, expected):
    assert clean(schema, "p") == expected


@pytest.mark.parametrize("keyword", sorted(KNOWN))
def test_what_gemini_knows_stays(keyword):
    assert clean({keyword: 1}, "p") == {keyword: 1}


AB = {"properties": {"a": TEXT}, "required": ["a"]}
CD = {"properties": {"b": UNIT}, "required": ["b", "a"]}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        pytest.param({"allOf": 3}, {"description": "allOf: 3"}, id="an allOf that is none"),
        pytest.param({"allOf": []}, {}, id="of nothing"),
        pytest.param({"allOf": [True, TEXT]}, TEXT, id="of what is no schema"),
        pytest.param({"allOf": [{"$ref": "#/x"}], "description": "d"}, {"$ref": "#/x"}, id="one reference stays one"),
        *(
            pytest.param(
                {"allOf": [{"$ref": "#/$defs/A"}], key: "x", "$defs": {"A": AB}},
                {"$ref": "#/$defs/A", "$defs": {"A": AB}},
                id=f"beside a {key}",
            )
            for key in ("title", "description", "default", "examples")
        ),
        pytest.param(
            {"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": AB}},
            {"$ref": "#/$defs/A", "$defs": {"A": AB}},
            id="beside its definitions too",
        ),
        pytest.param(
            {"allOf": [{"$ref": "#/definitions/A"}], "definitions": {"A": AB}},
            {"$ref": "#/$defs/A", "$defs": {"A": AB}},
            id="in their older spelling as well",
        ),
        pytest.param(
            {"allOf": [{"$ref": "#/$defs/A"}], "required": ["b"], "$defs": {"A": AB}},
            {**AB, "required": ["a", "b"], "$defs": {"A": AB}},
            id="but not beside what restricts",
        ),
        pytest.param(
            {"allOf": [{**TEXT, "description": "inside"}], "description": "outside"},
            {**TEXT, "description": "outside"},
            id="its own words count for more",
        ),
        pytest.param(
            {"allOf": [{"$defs": {"A": TEXT}}, {"$defs": {"B": UNIT}}]},
            {"$defs": {"A": TEXT, "B": UNIT}},
            id="definitions together",
        ),
        pytest.param(
            {"allOf": [{"$ref": "#/$defs/A", "title": "T"}, {"minItems": 1}], "$defs": {"A": TEXT}},
            {**TEXT, "title": "T", "minItems": 1, "$defs": {"A": TEXT}},
            id="what stands beside a reference stays",
        ),
        pytest.param(
            {"allOf": [AB, CD], "type": "object"},
            {"type": "object", "properties": {"a": TEXT, "b": UNIT}, "required": ["a", "b"]},
            id="properties and required members together",
        ),
        pytest.param(
            {**AB, "allOf": [CD]}, {"properties": {"b": UNIT, "a": TEXT}, "required": ["b", "a"]}, id="with its own"
        ),
        pytest.param({"allOf": [{"allOf": [TEXT]}, {"const": 1}]}, {**TEXT, "enum": [1]}, id="an allOf of an allOf"),
        pytest.param({"allOf": [{"pattern": "a"}, TEXT]}, {**TEXT, "description": 'pattern: "a"'}, id="told inside"),
        pytest.param({"allOf": [{"required": 3}, AB]}, AB, id="wrong types are laid over"),
        pytest.param({"allOf": [{"$ref": "#/no/where"}, TEXT]}, {"$ref": "#/no/where"}, id="a reference to nothing"),
        pytest.param({"allOf": [{"$ref": 3}, TEXT]}, {"$ref": 3}, id="a reference that is none"),
        pytest.param(
            {"allOf": [{"$ref": "#/$defs/A"}, CD], "$defs": {"A": {**AB, "minProperties": 1}}},
            {
                "properties": {"a": TEXT, "b": UNIT},
                "required": ["a", "b"],
                "$defs": {"A": {**AB, "description": "minProperties: 1"}},
                "description": "minProperties: 1",
            },
            id="references are laid open",
        ),
        pytest.param(
            {"allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}], "$defs": {"A": TEXT}},
            {**TEXT, "$defs": {"A": TEXT}},
            id="each once",
        ),
    ],
)
def test_the_parts_of_allof_are_laid_over_each_other(schema, expected):
    assert clean(schema, "p") == expected


def test_a_recursive_reference_stays_a_reference():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    schema = {"$ref": "#/$defs/Node", "$defs": {"Node": node}}
    assert clean(schema, "p") == schema


def test_a_recursive_reference_in_allof_is_laid_open_once():
    node = {"properties": {"next": {"allOf": [{"$ref": "#/$defs/Node"}, {"title": "t", "minItems": 1}]}}}
    cleaned = clean({"$defs": {"Node": node}}, "p")
    inner = cleaned["$defs"]["Node"]["properties"]["next"]
    assert inner == {"properties": {"next": {"$ref": "#/$defs/Node"}}, "title": "t", "minItems": 1}


def test_references_in_each_others_allof_are_laid_open_once():
    defs = {
        "A": {"properties": {"b": {"allOf": [{"$ref": "#/$defs/B"}, {"minItems": 1}]}}},
        "B": {"properties": {"a": {"allOf": [{"$ref": "#/$defs/A"}, {"minItems": 2}]}}},
    }
    again = {"properties": {"b": {"$ref": "#/$defs/B"}}, "minItems": 2}
    inner = clean({"$defs": defs}, "p")["$defs"]["A"]["properties"]["b"]
    assert inner == {"properties": {"a": again}, "minItems": 1}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = TEXT
    for _ in range(depth):
        schema = {"items": schema}
    return schema


def doubling(steps: int) -> dict[str, Any]:
    """A small schema that would be a large one with its references laid open."""
    defs: dict[str, Any] = {"A0": TEXT}
    for k in range(1, steps):
        part = {"allOf": [{"$ref": f"#/$defs/A{k - 1}"}, {"title": "t", "minItems": 1}]}
        defs[f"A{k}"] = {"properties": {"a": part, "b": part}}
    return {"$defs": defs}


@pytest.mark.parametrize("schema", [nested(50), nested(5000), doubling(24)], ids=["deep", "very deep", "doubling"])
def test_a_schema_out_of_all_proportion_is_refused(schema):
    with pytest.raises(Failure, match="too deep or too large") as raised:
        clean(schema, "tools[0].function.parameters")
    assert (raised.value.status, raised.value.param) == (400, "tools[0].function.parameters")


def test_a_schema_may_be_deep():
    assert clean(nested(49), "p") == nested(49)


def test_a_schema_may_be_wide_but_not_without_end():
    wide = {"anyOf": [TEXT] * 9_999}
    assert clean(wide, "p") == wide
    with pytest.raises(Failure, match="too deep or too large"):
        clean({"anyOf": [TEXT] * 10_000}, "p")


def test_the_clients_schema_is_not_changed():
    schema = {"allOf": [AB, CD], "definitions": {"A": {"const": 1}}}
    before = repr(schema)
    clean(schema, "p")
    assert repr(schema) == before


NAMES = st.sampled_from(["a", "b", "$ref", "const"])


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    leaves = st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "object", ["string", "null"]]),
            "const": st.sampled_from([1, "x", None, True]),
            "enum": st.just(["a", 1]),
            "description": st.text(max_size=3),
            "default": st.none(),
            "nullable": st.booleans(),
            "exclusiveMinimum": st.integers(),
            "pattern": st.text(max_size=3),
            "$schema": st.just("x"),
            "$ref": st.sampled_from(["#/$defs/a", "#/definitions/b", "#", "#/properties/a"]),
            "additionalProperties": st.booleans(),
        },
    )
    return st.recursive(
        leaves,
        lambda inner: st.builds(
            lambda leaf, more: leaf | more,
            leaves,
            st.fixed_dictionaries(
                {},
                optional={
                    "properties": st.dictionaries(NAMES, inner, max_size=3),
                    "$defs": st.dictionaries(NAMES, inner, max_size=2),
                    "definitions": st.dictionaries(NAMES, inner, max_size=2),
                    "patternProperties": st.dictionaries(NAMES, inner, max_size=2),
                    "items": inner,
                    "not": inner,
                    "additionalProperties": inner,
                    **{key: st.lists(inner, max_size=3) for key in ("anyOf", "oneOf", "allOf", "prefixItems")},
                },
            ),
        ),
        max_leaves=12,
    )


def check_known(schema: Any) -> None:
    """Only what Gemini knows stands in a schema, and beside a reference only what begins with `$`."""
    if not isinstance(schema, dict):
        return
    assert set(schema) <= KNOWN
    assert "$ref" not in schema or all(key.startswith("$") for key in schema)
    for key in ("properties", "$defs"):
        for inner in schema.get(key, {}).values():
            check_known(inner)
    for key in ("anyOf", "oneOf", "prefixItems"):
        for inner in schema.get(key, []):
            check_known(inner)
    for key in ("items", "additionalProperties"):
        check_known(schema.get(key))


@given(schemas())
def test_whatever_comes_only_known_keywords_leave(schema):
    cleaned = clean(schema, "p")
    check_known(cleaned)
    assert clean(cleaned, "p") == cleaned
