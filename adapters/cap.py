"""The most tokens that an answer may have, for the vendors that are translated to: three bounds, the least counts.

The client's (`max_completion_tokens` or `max_tokens`), the model's, and the money's (`Target.cap`).
"""

import msgspec

from adapters import wire
from adapters.base import Target, Warnings, invalid


class Cap(msgspec.Struct, frozen=True):
    """`asked`: the client has given one. `lowered`: it is the money's bound, below what would be had without it."""

    tokens: int
    asked: bool
    lowered: bool


def read(chat: wire.Chat, unasked: int, target: Target, warnings: Warnings) -> Cap:
    """The cap of an answer; `unasked` is what a client gets that asks for none. Raises `Failure` (400)."""
    asked = chat.max_completion_tokens if chat.max_completion_tokens is not None else chat.max_tokens
    param = "max_tokens" if chat.max_completion_tokens is None else "max_completion_tokens"
    if chat.max_tokens is not None and asked != chat.max_tokens:
        raise invalid("'max_tokens' and 'max_completion_tokens' are both given, and differ.", "max_tokens")
    if asked is not None and asked < 1:
        raise invalid(f"Invalid '{param}': expected at least 1, got {asked}.", param)
    tokens = min(unasked if asked is None else asked, target.max_output)
    lowered = target.cap is not None and target.cap < tokens
    if lowered or (asked is not None and asked > target.max_output):
        warnings.add("clamped", param)
    return Cap(target.cap if lowered and target.cap is not None else tokens, asked is not None, lowered)
