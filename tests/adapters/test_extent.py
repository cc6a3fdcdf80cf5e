"""How long and how deep a letter may be."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import extent
from adapters.base import Failure
from adapters.envelope import seal
from adapters.extent import Extent

SAY = {"role": "user", "content": "x"}
encode = msgspec.json.encode


def code(check: Any, *given: Any) -> str | None:
    try:
        check(*given)
    except Failure as failure:
        return failure.code if failure.status == 400 else f"status {failure.status}"
    return None


def tower(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + "0" + closing * depth).encode()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":[', "]}]"), ("[0,", ",0]")])
def test_what_is_as_deep_as_allowed_passes_and_what_is_deeper_does_not(opening, closing):
    each = opening.count("[") + opening.count("{") - opening.count("]")
    assert code(extent.check_depth, tower(12 // each, opening, closing), 12) is None
    assert code(extent.check_depth, tower(12 // each + 1, opening, closing), 12) == "nested_too_deeply"


@pytest.mark.parametrize("text", ["[" * 50, "]" * 50, '"[' * 50, '\\"[' * 50, "\\", '\\\\"{', 'a"]}', "\\u005b["])
def test_what_stands_in_a_text_is_no_depth(text):
    """And takes none away: a bracket in a text closes nothing."""
    flat = [SAY, {"content": text}, *([SAY] * 20), text]
    assert code(extent.check_depth, encode(flat), 12) is None
    deep: Any = text
    for _ in range(13):
        deep = {text: [text, deep][1], "x": text}
    assert code(extent.check_depth, encode(deep), 12) == "nested_too_deeply"


documents = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(alphabet='[]{}"\\,:a', max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(alphabet='[]{}"\\,', max_size=3), inner, max_size=3)
    ),
    max_leaves=40,
)


def depth_of(value: Any) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth_of, below), default=0) if isinstance(value, (dict, list)) else 0


def values_of(value: Any) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(values_of, below))


@given(documents, st.integers(1, 6))
def test_depth_is_that_of_the_document(document, most):
    refused = code(extent.check_depth, encode(document), most) is not None
    assert refused == (depth_of(document) > most)


@given(documents, st.integers(1, 30))
def test_no_document_within_bounds_is_refused_for_its_values(document, most):
    if code(extent.check_length, encode(document), Extent(values=most)) is not None:
        assert values_of(document) > most


def test_too_many_values_are_refused_whatever_they_are():
    few = Extent(values=100)
    several: list[Any] = [0, "x", "", {"a": 1}, [], "a,b", '","']
    for value in several:
        assert code(extent.check_length, encode([value] * 102), few) == "too_many_values"
    assert code(extent.check_length, encode(["," * 500]), few) is None
    assert code(extent.check_length, encode(['",' * 500]), few) is None
    assert code(extent.check_length, encode([1] * 100), few) is None


def test_too_many_messages_are_refused():
    few = Extent(messages=10)
    assert code(extent.check_length, encode({"messages": [SAY] * 10}), few) is None
    assert code(extent.check_length, encode({"messages": [SAY] * 11}), few) == "too_many_messages"
    assert code(extent.check_length, encode({"messages": [SAY], "tools": [SAY] * 50}), few) is None


@pytest.mark.parametrize(
    "raw", [b'{"messages":' + b'{"a":"%s"}' % (b"x" * 99) + b"}", b"[" + b"{" * 400, b"\xff" * 400]
)
def test_what_is_no_list_of_messages_is_not_counted(raw):
    assert code(extent.check_length, raw + b"{" * 12, Extent(messages=10)) is None


def test_an_envelope_is_held_to_its_bounds():
    """Its length at once; its depth when somebody opens it: whoever only passes it on does not walk it."""
    members = {"model": "m", "messages": [SAY] * 11}
    assert code(seal, encode(members), Extent(messages=10)) == "too_many_messages"
    deep = seal(b'{"model":"m","messages":[],"metadata":' + tower(9) + b"}", Extent(depth=9))
    assert code(lambda: deep.opened) == "nested_too_deeply"
    assert seal(b'{"model":"m","messages":[],"metadata":' + tower(8) + b"}", Extent(depth=9)).chat.model == "m"
