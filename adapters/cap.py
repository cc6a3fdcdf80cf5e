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
    asked, other, most, paid = chat.max_completion_tokens, chat.max_tokens, target.max_output, target.cap
    param = "max_completion_tokens"
    if asked is None:
        asked, param = other, "max_tokens"
    elif other is not None and asked != other:
        raise invalid("'max_tokens' and 'max_completion_tokens' are both given, and differ.", "max_tokens")
    if asked is not None and asked < 1:
        raise invalid(f"Invalid '{param}': expected at least 1, got {asked}.", param)
    tokens = unasked if asked is None else asked
    clamped = lowered = False
    if tokens > most:
        tokens, clamped = most, asked is not None
    if paid is not None and paid < tokens:
        tokens, lowered = paid, True
    if clamped or lowered:
        warnings.add("clamped", param)
    return Cap(tokens, asked is not None, lowered)
