"""What a vendor's rate limits have left, as far as it has told us. Pure.

OpenAI and Anthropic fill their buckets bit by bit (platform.claude.com/docs/en/api/rate-limits: "continuously
replenished"; OpenAI's `reset` is the time until the bucket is full): so what is left grows linearly from what was told
up to the limit at the time of the reset. Gemini tells nothing but a time to wait, with its 429.
"""

import math

import msgspec

from adapters.base import Headroom

_USUAL_MS = 60_000  # vendors count by the minute, where nothing tells otherwise
_ROUNDED_MS = 2_000  # by which a reset may be told too late: Anthropic tells it, and the time of telling, in seconds


class Window(msgspec.Struct, frozen=True, array_like=True):
    """One limit, as the vendor told it at `seen`; full again at `reset`. Milliseconds of the shared clock."""

    limit: int
    remaining: float  # less than nothing, if more was sent than there was
    seen: int
    reset: int

    def left(self, now: int) -> float:
        """What there is by now."""
        if now >= self.reset:
            return float(self.limit)
        return min(float(self.limit), self.remaining + max(0, now - self.seen) / self._pause)

    def ready(self, need: int, now: int) -> int:
        """When there will be `need`; `now` if there is. What is more than the limit is never there: it is asked all
        the same, for the vendor knows better what it counts."""
        if need > self.limit or self.left(now) >= need:
            return now
        return max(now, min(self.reset, self.seen + math.ceil((need - self.remaining) * self._pause)))

    def spent(self, need: int, now: int) -> "Window":
        """After a request that needs so much has gone out, and nothing has been told since.

        One that needs more than the limit is refused, or was estimated wrongly: it takes what there is, at most.
        """
        left = self.left(now)
        left = max(left - need, -float(self.limit)) if need <= self.limit else min(left, 0.0)
        return Window(self.limit, left, now, now + round((self.limit - left) * self._pause))

    @property
    def _pause(self) -> float:
        """Milliseconds until there is one more."""
        if self.limit > self.remaining and self.reset > self.seen:
            return (self.reset - self.seen) / (self.limit - self.remaining)
        return _USUAL_MS / max(1, self.limit)


_NEARLY = 10  # a tenth is left

Windows = dict[str, Window]  # by kind: requests, tokens, input_tokens, output_tokens


def told(headroom: Headroom, now: int) -> Window:
    """What the vendor says now.

    Of a limit that is nearly full, a reset in whole seconds would say that it fills a hundred times more slowly than it
    does: as much of the reset as may be rounding is believed only where a limit by the minute would take as long.
    """
    reset = headroom.reset * 1_000
    usual = max(0, headroom.limit - headroom.remaining) * _USUAL_MS / max(1, headroom.limit)
    return Window(headroom.limit, headroom.remaining, now, now + int(min(reset, max(usual, reset - _ROUNDED_MS))))


def newer(mine: Windows, theirs: Windows) -> Windows:
    """Of each kind what was told last; `theirs`, if both were told at once."""
    if not theirs:
        return mine
    kept = dict(mine)
    for kind, window in theirs.items():
        if kind not in mine or window.seen >= mine[kind].seen:
            kept[kind] = window
    return kept


def needs(prompt: int, output: int) -> dict[str, int]:
    """What a request takes of each kind. Tokens, estimated."""
    return {"requests": 1, "tokens": prompt + output, "input_tokens": prompt, "output_tokens": output}


def ready(windows: Windows, needed: dict[str, int], now: int) -> int:
    """When all of them have room; `now` if they have."""
    return max((window.ready(needed.get(kind, 0), now) for kind, window in windows.items()), default=now)


def scarce(windows: Windows) -> bool:
    """Whether one of them is nearly used up: then every word of the vendor counts."""
    return any(window.remaining * _NEARLY < window.limit for window in windows.values())
