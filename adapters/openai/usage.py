"""OpenAI's counts in our disjoint buckets, and those of who nearly count as it does.

Read leniently: no oddity in the bill is worth the loss of an answer that is made and paid for. But what cannot be true
is not believed either: a count that is none is left to others to estimate, or somebody's tokens would be free.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from adapters.base import Usage

_MOST = 2**53  # what is more than this, or less than nothing, is no count of tokens


def number(said: Any) -> int | None:
    """A count of tokens, in whatever way it is written (12, 12.0, "12"); None if it is none."""
    if type(said) is int:
        return said if 0 <= said <= _MOST else None  # nearly always
    if isinstance(said, str):
        said = int(said) if said.isdecimal() and len(said) <= 16 else None
    return math.ceil(said) if type(said) in (int, float) and 0 <= said <= _MOST else None


Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]


class _Kinds(msgspec.Struct):
    """Tokens of a prompt, or of a completion, that have a price of their own."""

    audio_tokens: Count = 0
    image_tokens: Count = 0
    cached_tokens: Count = 0
    cache_write_tokens: Count = 0
    reasoning_tokens: Count = 0


class _Bill(msgspec.Struct):
    """OpenAI's `usage`, as far as we read it."""

    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    total_tokens: Count = 0
    prompt_tokens_details: _Kinds | None = None
    completion_tokens_details: _Kinds | None = None


_NONE = _Kinds()
_PLAIN = (_NONE, None)  # nothing in it but text


def usage_of(said: Any, *, long: bool = False) -> Usage:
    """OpenAI's `usage`, decoded: its prompt includes what was cached, its completion the reasoning.

    It does not say for how long it has cached something: `long` if 12 hours were asked for, which is dearer.
    """
    try:
        bill = msgspec.convert(said, _Bill)
    except msgspec.ValidationError:
        bill = _leniently(said)
    prompt, completion = bill.prompt_tokens, bill.completion_tokens
    went_in, came_out = bill.prompt_tokens_details, bill.completion_tokens_details
    if went_in in _PLAIN and came_out in _PLAIN:
        return Usage(in_text=prompt, out_text=completion)
    went_in, came_out = went_in or _NONE, came_out or _NONE
    written, reasoning = went_in.cache_write_tokens, came_out.reasoning_tokens
    usage = Usage(
        in_audio=went_in.audio_tokens,
        in_image=went_in.image_tokens,
        cache_read=went_in.cached_tokens,
        cache_write_30m=0 if long else written,
        cache_write_12h=written if long else 0,
        out_audio=came_out.audio_tokens,
        out_reasoning=reasoning,
    )
    if reasoning and bill.total_tokens == prompt + completion + reasoning:
        completion += reasoning  # xAI counts the reasoning beside the completion, not in it
    usage.in_text = max(0, prompt - usage.prompt)
    usage.out_text = max(0, completion - usage.completion)
    return usage


def _leniently(said: Any) -> _Bill:
    """The same of a bill in which something is written otherwise, or cannot be true: of that nothing is counted."""
    if not isinstance(said, dict):
        return _Bill()
    return _Bill(
        prompt_tokens=_count(said, "prompt_tokens"),
        completion_tokens=_count(said, "completion_tokens"),
        total_tokens=_count(said, "total_tokens"),
        prompt_tokens_details=_kinds(said.get("prompt_tokens_details")),
        completion_tokens_details=_kinds(said.get("completion_tokens_details")),
    )


def _kinds(said: Any) -> _Kinds | None:
    return _Kinds(**{name: _count(said, name) for name in _Kinds.__struct_fields__}) if isinstance(said, dict) else None


def _count(said: dict[str, Any], name: str) -> int:
    return number(said.get(name)) or 0


def believed(said: Any, *, spoken: Callable[[], bool], long: bool = False) -> Usage | None:
    """The same if it can be true: no prompt is empty, and nobody has `spoken` in no tokens. Else None."""
    usage = usage_of(said, long=long)
    # Nearly always there is text in both: the sums of all kinds need not be made.
    went_in, came_out = usage.in_text or usage.prompt, usage.out_text or usage.completion
    return usage if went_in and (came_out or not spoken()) else None
