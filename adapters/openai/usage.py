"""OpenAI's counts in our disjoint buckets, and those of who nearly count as it does.

Read leniently: no oddity in the bill is worth the loss of an answer that is made and paid for. But what cannot be true
is not believed either: a count that is none is left to others to estimate, or somebody's tokens would be free.
"""

import math
from collections.abc import Callable
from typing import Any

from adapters.base import Usage

_MOST = 2**53  # what is more than this, or less than nothing, is no count of tokens


def number(said: Any) -> int | None:
    """A count of tokens, in whatever way it is written (12, 12.0, "12"); None if it is none."""
    if type(said) is int:
        return said if 0 <= said <= _MOST else None  # nearly always
    if isinstance(said, str):
        said = int(said) if said.isdecimal() and len(said) <= 16 else None
    return math.ceil(said) if type(said) in (int, float) and 0 <= said <= _MOST else None


def usage_of(said: Any, *, long: bool = False) -> Usage:
    """OpenAI's `usage`, decoded: its prompt includes what was cached, its completion the reasoning.

    It does not say for how long it has cached something: `long` if 12 hours were asked for, which is dearer.
    """
    if (plain := _plain(said)) is not None:
        return plain
    written = _of(said, "prompt_tokens_details", "cache_write_tokens")
    usage = Usage(
        in_audio=_of(said, "prompt_tokens_details", "audio_tokens"),
        in_image=_of(said, "prompt_tokens_details", "image_tokens"),
        cache_read=_of(said, "prompt_tokens_details", "cached_tokens"),
        cache_write_30m=0 if long else written,
        cache_write_12h=written if long else 0,
        out_audio=_of(said, "completion_tokens_details", "audio_tokens"),
        out_reasoning=_of(said, "completion_tokens_details", "reasoning_tokens"),
    )
    prompt, completion = _of(said, "prompt_tokens"), _of(said, "completion_tokens")
    if usage.out_reasoning and _of(said, "total_tokens") == prompt + completion + usage.out_reasoning:
        completion += usage.out_reasoning  # xAI counts the reasoning beside the completion, not in it
    usage.in_text = max(0, prompt - usage.prompt)
    usage.out_text = max(0, completion - usage.completion)
    return usage


def _plain(said: Any) -> Usage | None:
    """The bill of text for text, of which nothing was cached or thought, as OpenAI writes it: most are so."""
    if type(said) is not dict:
        return None
    prompt, completion = said.get("prompt_tokens"), said.get("completion_tokens")
    if (
        type(prompt) is not int
        or type(completion) is not int
        or not (0 <= prompt <= _MOST and 0 <= completion <= _MOST)
    ):
        return None
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        details = said.get(name)
        if details and (type(details) is not dict or any(details.values())):
            return None
    return Usage(in_text=prompt, out_text=completion)


def believed(said: Any, *, spoken: Callable[[], bool], long: bool = False) -> Usage | None:
    """The same if it can be true: no prompt is empty, and nobody has `spoken` in no tokens. Else None."""
    usage = usage_of(said, long=long)
    # Nearly always there is text in both: the sums of all kinds need not be made.
    went_in, came_out = usage.in_text or usage.prompt, usage.out_text or usage.completion
    return usage if went_in and (came_out or not spoken()) else None


def _of(said: Any, *path: str) -> int:
    for name in path:
        said = said.get(name) if isinstance(said, dict) else None
    return number(said) or 0
