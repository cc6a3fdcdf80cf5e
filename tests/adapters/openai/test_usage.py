"""OpenAI's counts in disjoint buckets, whoever wrote them and however."""

import pytest

from adapters.base import Usage
from adapters.openai.usage import believed, number, usage_of

COUNTED = Usage(in_text=5, out_text=2)


@pytest.mark.parametrize(
    ("said", "tokens"),
    [
        (12, 12),
        (0, 0),
        (12.0, 12),
        (11.2, 12),
        ("12", 12),
        (2**53, 2**53),
        (2**53 + 1, None),
        (1e308, None),
        (-1, None),
        (True, None),
        (None, None),
        ("", None),
        ("1" * 17, None),
        ("-1", None),
        ([1], None),
    ],
)
def test_a_count_is_a_number_of_tokens_however_it_is_written(said, tokens):
    assert number(said) == tokens


@pytest.mark.parametrize(
    ("said", "spoken", "usage"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2}, True, COUNTED),
        ({"prompt_tokens": 5, "completion_tokens": 0}, True, None),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            True,
            Usage(cache_read=5, out_reasoning=2),
        ),
        ({"prompt_tokens": 5, "completion_tokens": 0}, False, Usage(in_text=5)),
        ({"prompt_tokens": 0, "completion_tokens": 2}, True, None),
        ({}, False, None),
        (None, False, None),
        ([5, 2], True, None),
    ],
)
def test_no_prompt_is_empty_and_nobody_speaks_in_no_tokens(said, spoken, usage):
    assert believed(said, spoken=lambda: spoken) == usage


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({}, Usage()),
        ({"prompt_tokens": 5, "completion_tokens": 2}, COUNTED),
        ({"prompt_tokens": 5.0, "completion_tokens": None}, Usage(in_text=5)),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {
                    "cached_tokens": 40,
                    "cache_write_tokens": 30,
                    "audio_tokens": 5,
                    "image_tokens": 15,
                },
                "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 10},
            },
            Usage(
                in_text=10,
                cache_read=40,
                cache_write_30m=30,
                in_audio=5,
                in_image=15,
                out_text=20,
                out_reasoning=20,
                out_audio=10,
            ),
        ),
        (
            {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}},
            Usage(cache_read=4),
        ),
        ({"prompt_tokens": -3, "completion_tokens": -1}, Usage()),
        ({"prompt_tokens": 2**53 + 1, "completion_tokens": 2}, Usage(out_text=2)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": "2",
                "prompt_tokens_details": {"cached_tokens": None, "image_tokens": 4.0},
                "completion_tokens_details": [1],
            },
            Usage(in_text=5, in_image=4, out_text=2),
        ),
        (
            {
                "prompt_tokens": "5",
                "completion_tokens": 100,
                "total_tokens": 405,
                "completion_tokens_details": {"reasoning_tokens": 300},
            },
            Usage(in_text=5, out_text=100, out_reasoning=300),
        ),
    ],
    ids=[
        *("nothing", "plain", "odd spellings", "all kinds", "more cached than there is", "less than nothing"),
        *("more than there can be", "odd details", "xAI, one number as a text"),
    ],
)
def test_trap_24_the_buckets_are_disjoint(said, usage):
    assert usage_of(said) == usage


def test_what_was_asked_to_be_cached_for_12_hours_is_counted_as_that():
    said = {"prompt_tokens": 10, "prompt_tokens_details": {"cache_write_tokens": 4}}
    assert usage_of(said) == Usage(in_text=6, cache_write_30m=4)
    assert usage_of(said, long=True) == Usage(in_text=6, cache_write_12h=4)


@pytest.mark.parametrize(
    ("completion", "reasoning", "total", "usage"),
    [
        (100, 300, 405, Usage(in_text=5, out_text=100, out_reasoning=300)),
        (100, 50, 155, Usage(in_text=5, out_text=100, out_reasoning=50)),
        (100, 50, 105, Usage(in_text=5, out_text=50, out_reasoning=50)),
        (100, 50, 0, Usage(in_text=5, out_text=50, out_reasoning=50)),
    ],
    ids=["xAI, much", "xAI, little", "OpenAI", "no total"],
)
def test_reasoning_that_is_counted_beside_the_completion_is_not_lost(completion, reasoning, total, usage):
    details = {"reasoning_tokens": reasoning}
    said = {"prompt_tokens": 5, "completion_tokens": completion, "completion_tokens_details": details}
    assert usage_of({**said, "total_tokens": total}) == usage
