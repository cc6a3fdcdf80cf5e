"""What Gemini counted, in disjoint buckets."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Usage
from adapters.gemini.usage import Told, searches


def buckets(usage: Usage) -> dict[str, int]:
    return {name: count for name, count in msgspec.structs.asdict(usage).items() if count}


def of(**by_modality: int) -> list[dict]:
    return [{"modality": modality, "tokenCount": count} for modality, count in by_modality.items()]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({"promptTokenCount": 5, "candidatesTokenCount": 2}, {"in_text": 5, "out_text": 2}, id="plain"),
        pytest.param(
            {"promptTokenCount": 5, "candidatesTokenCount": 10, "thoughtsTokenCount": 90, "totalTokenCount": 105},
            {"in_text": 5, "out_text": 10, "out_reasoning": 90},
            id="trap 36: thoughts beside the candidates",
        ),
        pytest.param(
            {"promptTokenCount": 5, "candidatesTokenCount": 100, "thoughtsTokenCount": 90, "totalTokenCount": 105},
            {"in_text": 5, "out_text": 10, "out_reasoning": 90},
            id="trap 36: thoughts among the candidates",
        ),
        pytest.param(
            {"promptTokenCount": 5, "candidatesTokenCount": 10, "thoughtsTokenCount": 90, "totalTokenCount": 15},
            {"in_text": 5, "out_text": 10, "out_reasoning": 90},
            id="more thoughts than candidates cannot be among them, whatever the total",
        ),
        pytest.param(
            {"promptTokenCount": 5, "candidatesTokenCount": 90, "thoughtsTokenCount": 90, "totalTokenCount": 95},
            {"in_text": 5, "out_reasoning": 90},
            id="trap 36: nothing but thoughts among the candidates",
        ),
        pytest.param(
            {"promptTokenCount": 5, "toolUsePromptTokenCount": 7, "candidatesTokenCount": 2},
            {"in_text": 12, "out_text": 2},
            id="what tools put into the prompt is prompt",
        ),
        pytest.param(
            {
                "promptTokenCount": 5,
                "toolUsePromptTokenCount": 5,
                "candidatesTokenCount": 9,
                "thoughtsTokenCount": 4,
                "totalTokenCount": 19,
            },
            {"in_text": 10, "out_text": 5, "out_reasoning": 4},
            id="trap 36 with tool use",
        ),
        pytest.param(
            {"promptTokenCount": 100, "cachedContentTokenCount": 60},
            {"in_text": 40, "cache_read": 60},
            id="the prompt includes what was cached",
        ),
        pytest.param(
            {
                "promptTokenCount": 100,
                "cachedContentTokenCount": 60,
                "promptTokensDetails": of(TEXT=30, AUDIO=40, IMAGE=20, VIDEO=10),
                "cacheTokensDetails": of(AUDIO=15, IMAGE=5, TEXT=40),
            },
            {"in_audio": 25, "in_image": 15, "cache_read": 45, "cache_read_audio": 15},
            id="each modality without what of it was cached",
        ),
        pytest.param(
            {
                "promptTokenCount": 100,
                "cachedContentTokenCount": 60,
                "promptTokensDetails": of(IMAGE=20),
                "cacheTokensDetails": of(IMAGE=5),
            },
            {"in_text": 25, "in_image": 15, "cache_read": 60},
            id="images without those that were cached",
        ),
        pytest.param(
            {"promptTokenCount": 10, "promptTokensDetails": of(AUDIO=8, IMAGE=8)},
            {"in_audio": 8, "in_image": 2},
            id="more details than tokens",
        ),
        pytest.param(
            {"candidatesTokenCount": 10, "candidatesTokensDetails": of(AUDIO=8, IMAGE=8)},
            {"out_audio": 8, "out_image": 2},
            id="more details than tokens came out",
        ),
        pytest.param(
            {"candidatesTokenCount": 50, "candidatesTokensDetails": of(TEXT=10, AUDIO=15, IMAGE=25)},
            {"out_text": 10, "out_audio": 15, "out_image": 25},
            id="what came out",
        ),
        pytest.param(
            {"promptTokenCount": 5, "cachedContentTokenCount": 9, "promptTokensDetails": of(AUDIO=9)},
            {"cache_read": 5},
            id="parts are never more than the whole",
        ),
        pytest.param({"promptTokenCount": None}, {}, id="null"),
        pytest.param({"promptTokenCount": "5", "candidatesTokenCount": 1.5}, {}, id="not a number"),
        pytest.param({"promptTokenCount": -5, "candidatesTokenCount": 2**60}, {}, id="no count of tokens"),
        pytest.param({"promptTokenCount": 2**53, "candidatesTokenCount": 2**53 + 1}, {"in_text": 2**53}, id="the most"),
        pytest.param({"promptTokenCount": True}, {}, id="a truth is no number"),
        pytest.param({"promptTokenCount": 3, "promptTokensDetails": [None, 3, {}]}, {"in_text": 3}, id="no details"),
        pytest.param([], {}, id="not even an object"),
        pytest.param(None, {}, id="nothing"),
    ],
)
def test_counts_in_disjoint_buckets(said, expected):
    assert buckets(Told(said).buckets()) == {name: count for name, count in expected.items() if count}


def test_what_was_worked_out_holds_until_more_is_told():
    told = Told({"promptTokenCount": 5, "candidatesTokenCount": 2})
    first = told.buckets()
    assert told.buckets() is first
    assert buckets(told.buckets(3)) == {"in_text": 5, "out_text": 2, "web_searches": 3}
    assert buckets(told.buckets()) == {"in_text": 5, "out_text": 2}
    told.overwrite({"candidatesTokenCount": 9})
    assert buckets(told.buckets()) == {"in_text": 5, "out_text": 9}
    assert buckets(first) == {"in_text": 5, "out_text": 2}


def test_details_of_the_same_modality_add_up_and_odd_ones_say_nothing():
    details = [*of(AUDIO=2), *of(AUDIO=1), {"modality": ["AUDIO"], "tokenCount": 9}, {"tokenCount": 9}, 9]
    told = Told({"promptTokenCount": 5, "promptTokensDetails": details})
    assert buckets(told.buckets()) == {"in_text": 2, "in_audio": 3}


def test_later_counts_replace_and_never_add():
    told = Told({"promptTokenCount": 5, "candidatesTokenCount": 1})
    told.overwrite({"candidatesTokenCount": 4, "promptTokenCount": None})
    told.overwrite(None)
    told.overwrite({"trafficType": "ON_DEMAND"})
    assert buckets(told.buckets()) == {"in_text": 5, "out_text": 4}


@pytest.mark.parametrize(
    ("said", "searched", "expected"),
    [
        pytest.param(None, 0, None, id="nothing was counted"),
        pytest.param({"promptTokenCount": "5"}, 0, None, id="nothing that can be read"),
        pytest.param({"promptTokenCount": 5}, 0, Usage(in_text=5), id="a prompt"),
        pytest.param({"candidatesTokenCount": 5}, 0, Usage(out_text=5), id="an answer"),
        pytest.param(None, 2, Usage(web_searches=2), id="searches"),
    ],
)
def test_what_was_not_counted_is_for_others_to_estimate(said, searched, expected):
    assert Told(said).usage(searched) == expected


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        ({"serviceTier": "standard"}, "default"),
        ({"serviceTier": "FLEX"}, "flex"),
        ({"serviceTier": "priority"}, "priority"),
        ({"serviceTier": "new"}, None),
        ({"serviceTier": ["x"]}, None),
        ({}, None),
    ],
)
def test_the_tier_in_openais_word(said, tier):
    assert Told(said).tier() == tier


@pytest.mark.parametrize(
    ("grounding", "count"),
    [({"webSearchQueries": ["a", "b"]}, 2), ({"webSearchQueries": "a"}, 0), ({}, 0), (None, 0), ([], 0)],
)
def test_searches_are_counted_by_query(grounding, count):
    assert searches(grounding) == count


COUNT = st.none() | st.integers(-5, 10_000) | st.text(max_size=2)
DETAILS = st.none() | st.lists(
    st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "AUDIO", "IMAGE", "X"]), "tokenCount": COUNT})
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(
                [
                    "promptTokenCount",
                    "candidatesTokenCount",
                    "thoughtsTokenCount",
                    "toolUsePromptTokenCount",
                    "cachedContentTokenCount",
                    "totalTokenCount",
                ],
                COUNT,
            ),
            **dict.fromkeys(["promptTokensDetails", "cacheTokensDetails", "candidatesTokensDetails"], DETAILS),
        },
    )
)
def test_buckets_are_disjoint_and_add_up(said):
    usage = Told(said).buckets()

    def count(name: str) -> int:
        value = said.get(name)
        return value if isinstance(value, int) and value > 0 else 0

    assert all(value >= 0 for value in msgspec.structs.asdict(usage).values())
    assert usage.prompt == count("promptTokenCount") + count("toolUsePromptTokenCount")
    apart = count("candidatesTokenCount") + count("thoughtsTokenCount")
    assert usage.completion in (apart, count("candidatesTokenCount"))
