"""Which group a name means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.catalog import LONGEST_NAME, Group, Member
from proxy.catalog.group import filled, fitting, named


def group(name: str, *models: str, pattern: bool = False) -> Group:
    return Group(name=name, members=tuple(Member(model=model, weight=2) for model in models), pattern=pattern)


GROUPS = [
    group("a.c", "one"),
    group("a.c", "two", pattern=True),
    group("(x)?(.*)-z", r"\2/\1", "three", pattern=True),
]


def test_a_name_is_itself_and_a_pattern_is_none():
    assert named(GROUPS, "a.c") is GROUPS[0]
    assert named(GROUPS[1:], "a.c") is None
    assert named(GROUPS, "abc") is None


@pytest.mark.parametrize(
    ("name", "members"),
    [
        pytest.param("abc", ["two"], id="a pattern"),
        pytest.param("abcd", None, id="not the whole of it"),
        pytest.param("zabc", None, id="not from its beginning"),
        pytest.param("x1-z", ["1/x", "three"], id="what was matched"),
        pytest.param("1-z", ["1/", "three"], id="a part that matched nothing is empty"),
        pytest.param("-z", ["/", "three"], id="a part that is empty"),
        pytest.param("abc\n", None, id="a line's end is a character"),
        pytest.param(
            "x" * (LONGEST_NAME - 2) + "-z", ["x" * (LONGEST_NAME - 3) + "/x", "three"], id="as long as may be"
        ),
        pytest.param("x" * (LONGEST_NAME - 1) + "-z", None, id="too long"),
    ],
)
def test_a_pattern_takes_the_whole_name(name, members):
    found = fitting(GROUPS, name)
    if members is None:
        assert found is None
        return
    assert found
    assert found.pattern
    assert [member.model for member in found.members] == members
    assert {member.weight for member in found.members} == {2}


def test_who_is_no_pattern_fits_nothing():
    assert fitting(GROUPS[:1], "a.c") is None
    assert fitting([], "abc") is None


@given(st.lists(st.text(max_size=5), min_size=9, max_size=9))
def test_references_are_replaced_by_what_was_matched_once(parts):
    assert filled(r"\1-\9", parts) == f"{parts[0]}-{parts[8]}"
    assert filled("plain", parts) == "plain"
