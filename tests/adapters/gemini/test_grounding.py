"""Sources as annotations: bytes of a part become characters of the content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.gemini.grounding import annotations

A = {"web": {"uri": "https://a.example", "title": "A"}}
B = {"web": {"uri": "https://b.example"}}


def cited(start: int, end: int, url: str = "https://a.example", title: str = "A") -> dict:
    return {
        "type": "url_citation",
        "url_citation": {"start_index": start, "end_index": end, "url": url, "title": title},
    }


def grounding(segment, indices=(0,), chunks=(A, B)) -> dict:
    return {
        "groundingChunks": list(chunks),
        "groundingSupports": [{"segment": segment, "groundingChunkIndices": list(indices)}],
    }


@pytest.mark.parametrize(
    ("said", "parts", "expected"),
    [
        pytest.param(grounding({"endIndex": 3}), ["abcdef"], [cited(0, 3)], id="an absent start is 0"),
        pytest.param(grounding({"startIndex": 2, "endIndex": 6}), ["їжак"], [cited(1, 3)], id="bytes to characters"),
        pytest.param(grounding({"startIndex": 0, "endIndex": 4}), ["🌍!"], [cited(0, 1)], id="of four bytes"),
        pytest.param(grounding({"startIndex": 1, "endIndex": 3}), ["ї!"], [cited(0, 2)], id="inside a character"),
        pytest.param(grounding({"startIndex": 1, "endIndex": 99}), ["abc"], [cited(1, 3)], id="beyond the end"),
        pytest.param(grounding({"startIndex": -9, "endIndex": "x"}), ["abc"], [cited(0, 0)], id="no offsets"),
        pytest.param(grounding({"partIndex": 1, "endIndex": 2}), ["ab", "cd"], [cited(2, 4)], id="a later part"),
        pytest.param(grounding({"partIndex": 2, "endIndex": 2}), ["", "ab", "cd"], [cited(2, 4)], id="hidden too"),
        pytest.param(grounding({"endIndex": 2}), ["", "ab"], [cited(0, 2)], id="a part without text is not meant"),
        pytest.param(grounding({"partIndex": 0, "endIndex": 2}), ["", "ab"], [cited(0, 2)], id="though it is named"),
        pytest.param(grounding({"partIndex": 7, "endIndex": 2}), ["ab"], [cited(0, 2)], id="nor one that is not there"),
        pytest.param(grounding({"partIndex": True, "endIndex": 2}), ["ab", "cd"], [cited(0, 2)], id="no index"),
        pytest.param(grounding({"endIndex": 2}), [], [cited(0, 0)], id="no text at all"),
        pytest.param(grounding(None), ["ab"], [cited(0, 0)], id="no segment"),
        pytest.param(
            grounding({"endIndex": 2}, [1, 0, 1]),
            ["ab"],
            [cited(0, 2, "https://b.example", ""), cited(0, 2), cited(0, 2, "https://b.example", "")],
            id="one for each support and chunk",
        ),
        pytest.param(grounding({}, [0, 2, 1], [5, {"maps": {"uri": "x"}}, A]), ["a"], [cited(0, 0)], id="by position"),
        pytest.param(grounding({}, [-1, 2, 9, "0", True, None]), ["a"], [], id="chunks that are not there"),
        pytest.param(grounding({}, [0], [{"web": {"uri": 5}}]), ["a"], [], id="an address that is none"),
        pytest.param(grounding({}, [0], [{"web": {"title": "A"}}]), ["a"], [], id="no address"),
        pytest.param(grounding({}, [0], [{"web": {"uri": ""}}]), ["a"], [], id="an address of nothing"),
        pytest.param({"groundingSupports": [7, {"groundingChunkIndices": 3}]}, ["a"], [], id="wrong types"),
        pytest.param({}, ["a"], [], id="nothing"),
        pytest.param("x", ["a"], [], id="not even an object"),
    ],
)
def test_what_grounds_an_answer(said, parts, expected):
    assert annotations(said, None, parts) == expected


@pytest.mark.parametrize("name", ["citationSources", "citations"])
def test_sources_of_recitation_in_either_spelling(name):
    source = {"startIndex": 1, "endIndex": 3, "uri": "https://a.example", "title": "A", "license": "mit"}
    assert annotations(None, {name: [source, {"endIndex": 1}, 7]}, ["abcd"]) == [cited(1, 3)]


NAMES = [
    *("groundingChunks", "groundingSupports", "groundingChunkIndices", "segment", "web", "uri", "title"),
    *("startIndex", "endIndex", "partIndex", "citationSources", "citations"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(JSON, JSON, st.lists(st.text(max_size=5), max_size=3))
def test_nothing_that_is_said_of_sources_is_too_odd(said, cited, parts):
    for annotation in annotations(said, cited, parts):
        citation = annotation["url_citation"]
        assert 0 <= citation["start_index"] <= len("".join(parts))
        assert 0 <= citation["end_index"] <= len("".join(parts))
        assert citation["url"]
