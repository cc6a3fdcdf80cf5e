"""What a vendor's headers tell of its rate limits. Read leniently: what cannot be read is left out, never raised.

Kinds: "requests", "tokens", "input_tokens", "output_tokens". Most answers of many vendors tell nothing: then it costs
one look for each kind.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from adapters.base import Headroom

Told = Mapping[str, tuple[str, str, str]]  # the header of a limit -> its kind, what remains of it, when it is full

_OPENAI: Told = {
    f"x-ratelimit-limit-{kind}": (kind, f"x-ratelimit-remaining-{kind}", f"x-ratelimit-reset-{kind}")
    for kind in ("requests", "tokens")
}
_ANTHROPIC: Told = {
    f"anthropic-ratelimit-{kind}-limit": (
        kind.replace("-", "_"),
        f"anthropic-ratelimit-{kind}-remaining",
        f"anthropic-ratelimit-{kind}-reset",
    )
    for kind in ("requests", "tokens", "input-tokens", "output-tokens")
}

_NUMBER = re.compile(r"[0-9]{1,15}")
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|s|m|h|d))+")
_PART = re.compile(r"([0-9.]+)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_UNTOLD: Mapping[str, Headroom] = {}
_LONGEST = 1e7  # seconds; as for `retry-after`: more is no time to wait, but a mistake


def in_durations(headers: Mapping[str, str]) -> Mapping[str, Headroom]:
    """OpenAI's format: `x-ratelimit-reset-requests: 6m0s` (developers.openai.com/api/docs/guides/rate-limits)."""
    return _read(headers, _OPENAI, _duration)


def in_times(headers: Mapping[str, str]) -> Mapping[str, Headroom]:
    """Anthropic: `anthropic-ratelimit-requests-reset: 2026-11-29T12:00:00Z`, relative to the answer's `date`.

    Without a `date` nothing can be said. Source: platform.claude.com/docs/en/api/rate-limits.
    """
    return _read(headers, _ANTHROPIC, lambda reset: _until(reset, headers.get("date", "")))


def untold(headers: Mapping[str, str]) -> Mapping[str, Headroom]:
    """Gemini has no such headers; it tells how long to wait, in the body of its 429."""
    return _UNTOLD


def _read(headers: Mapping[str, str], told: Told, seconds: Callable[[str], float | None]) -> Mapping[str, Headroom]:
    limits = [*map(headers.get, told)]
    if not any(limits):
        return _UNTOLD
    found = {}
    for most, (kind, remaining, reset) in zip(limits, told.values(), strict=True):
        left, until = headers.get(remaining, ""), seconds(headers.get(reset, ""))
        if most and _NUMBER.fullmatch(most) and _NUMBER.fullmatch(left) and until is not None and until < _LONGEST:
            found[kind] = Headroom(int(most), int(left), until)
    return found


def _duration(text: str) -> float | None:
    """Go's notation: `1s`, `6m0s`, `120ms`."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def _until(reset: str, date: str) -> float | None:
    """From a `date` (RFC 9110) to a time (RFC 3339); nothing, if that is over."""
    try:
        return max(0.0, (datetime.fromisoformat(reset) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
