"""The vendors' rate limits, if a test wants some: buckets that fill bit by bit, told in headers, kept to with a 429.

OpenAI tells how long until a bucket is full, Anthropic at what time, Gemini nothing but a delay with its refusal.
"""

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Annotated, Literal, NamedTuple

import msgspec

from proxy.simulator.failures import FAILURES, with_delay
from proxy.simulator.vocabulary import Refusal, VendorName

Header = tuple[str, str]
Kind = Literal["requests", "tokens", "input_tokens", "output_tokens"]
Positive = Annotated[int, msgspec.Meta(gt=0)]
_SAID = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many of a thing; an empty bucket is full again after the window."""

    limit: Positive
    window_ms: Positive


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /limits. `model` is a prefix of the model's name; all models that fit share the buckets.

    Only Anthropic knows `input_tokens` and `output_tokens`.
    """

    vendor: VendorName
    model: str = ""
    requests: Rate | None = None
    tokens: Rate | None = None
    input_tokens: Rate | None = None
    output_tokens: Rate | None = None

    def __post_init__(self) -> None:
        if self.vendor != "anthropic" and (self.input_tokens or self.output_tokens):
            raise ValueError("only Anthropic tells input tokens and output tokens apart")

    @property
    def rates(self) -> dict[Kind, Rate]:
        """Those that were given."""
        every: dict[Kind, Rate | None] = {
            "requests": self.requests, "tokens": self.tokens,
            "input_tokens": self.input_tokens, "output_tokens": self.output_tokens,
        }  # fmt: skip
        return {kind: rate for kind, rate in every.items() if rate is not None}


class Denial(NamedTuple):
    """A request beyond a limit: the vendor's words, and what its headers tell beside the limits."""

    refusal: Refusal
    headers: list[Header]


class Bucket:
    """Full at first. Its level may sink below zero: an answer is as long as it is. Times in seconds."""

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate, self.level, self.at = rate, float(rate.limit), now

    def look(self, now: float) -> float:
        """What there is by now."""
        gained = (now - self.at) * 1000 / self.rate.window_ms * self.rate.limit
        self.level, self.at = min(float(self.rate.limit), self.level + max(0.0, gained)), now
        return self.level

    def until(self, amount: float) -> float:
        """Seconds until there will be so much; 0 if there is."""
        return max(0.0, amount - self.level) / self.rate.limit * self.rate.window_ms / 1000


class Buckets:
    """The buckets of one limit, and what its vendor says of them."""

    def __init__(self, limit: Limit, clock: Callable[[], float]) -> None:
        self.limit, self.clock = limit, clock
        self.held = {kind: Bucket(rate, clock()) for kind, rate in limit.rates.items()}

    def admit(self, model: str, prompt: int) -> Denial | None:
        """Take a request and its prompt (tokens) out of the buckets; nothing is taken if one of them has too little."""
        needed: dict[Kind, int] = {"requests": 1, "tokens": prompt, "input_tokens": prompt, "output_tokens": 1}
        short = [(bucket.until(needed[kind]), kind) for kind, bucket in self._now() if bucket.level < needed[kind]]
        if short:
            wait, kind = max(short)
            bucket = self.held[kind]
            refusal = _refusal(self.limit.vendor, model, kind, bucket, needed[kind])
            possible = self.limit.vendor != "gemini" and needed[kind] <= bucket.rate.limit
            return Denial(refusal, _retry(self.limit.vendor, wait) if possible else [])
        for kind, bucket in self.held.items():
            bucket.level -= 0 if kind == "output_tokens" else needed[kind]
        return None

    def answered(self, tokens: int) -> None:
        """Take the tokens of an answer out of the buckets."""
        for kind, bucket in self._now():
            bucket.level -= tokens if kind in ("tokens", "output_tokens") else 0

    def headers(self) -> list[Header]:
        """What an answer tells."""
        now, vendor = self.clock(), self.limit.vendor
        told: list[Header] = [("date", formatdate(now, usegmt=True))] if vendor == "anthropic" else []
        for kind, bucket in self._now():
            left, full = max(0, math.floor(bucket.level)), bucket.until(bucket.rate.limit)
            told += _TOLD[vendor](kind, bucket.rate.limit, left, full, now)
        return told

    def _now(self) -> list[tuple[Kind, Bucket]]:
        now = self.clock()
        for bucket in self.held.values():
            bucket.look(now)
        return list(self.held.items())


class Limits:
    """All limits that stand; of those that fit a model the last one that was asked for is kept to."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.all: list[Buckets] = []

    def add(self, limit: Limit) -> None:
        """From now on, with full buckets. One for the same vendor and model is replaced."""
        self.all = [b for b in self.all if (b.limit.vendor, b.limit.model) != (limit.vendor, limit.model)]
        self.all.append(Buckets(limit, self.clock))

    def of(self, vendor: VendorName, model: str) -> Buckets | None:
        """The buckets that a request to this model draws on."""
        fits = (b for b in reversed(self.all) if b.limit.vendor == vendor and model.startswith(b.limit.model))
        return next(fits, None)

    def clear(self, vendor: VendorName) -> None:
        """No more limits at this vendor."""
        self.all = [b for b in self.all if b.limit.vendor != vendor]


def duration(seconds: float) -> str:
    """As Go writes it, and OpenAI after it: 120ms, 1.5s, 6m0s, 1h0m0s. Never too short."""
    milliseconds = math.ceil(round(seconds * 1000, 6))
    if milliseconds == 0 or milliseconds >= 1000:
        minutes, rest = divmod(milliseconds, 60_000)
        hours, minutes = divmod(minutes, 60)
        return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest / 1000:g}s"
    return f"{milliseconds}ms"


def _refusal(vendor: VendorName, model: str, kind: Kind, bucket: Bucket, needed: int) -> Refusal:
    """The vendor's own words."""
    row = FAILURES[vendor]["rate_limit"]
    wait, limit = bucket.until(needed), bucket.rate.limit
    if vendor == "openai":
        place = f"{model} in organization org-simulated on {_SAID[kind]}: Limit {limit}"
        if needed > limit:
            said = f"Request too large for {place}, Requested {needed}."
        else:
            used = limit - math.floor(bucket.level)
            said = f"Rate limit reached for {place}, Used {used}, Requested {needed}. "
            said += f"Please try again in {duration(wait)}."
        return msgspec.structs.replace(row, message=said, kind=kind)
    if vendor == "gemini":
        return with_delay(vendor, row, math.ceil(wait * 1000) / 1000)
    words = kind.replace("_", " ")
    said = f"This request would exceed the rate limit for your organization of {limit:,} {words} per minute."
    return msgspec.structs.replace(row, message=said)


def _retry(vendor: VendorName, wait: float) -> list[Header]:
    exact = [("retry-after-ms", str(math.ceil(wait * 1000)))] if vendor == "openai" else []
    return [("retry-after", str(math.ceil(wait))), *exact]


def _openai(kind: Kind, limit: int, left: int, full: float, _: float) -> list[Header]:
    words = {"limit": str(limit), "remaining": str(left), "reset": duration(full)}
    return [(f"x-ratelimit-{word}-{kind}", value) for word, value in words.items()]


def _anthropic(kind: Kind, limit: int, left: int, full: float, now: float) -> list[Header]:
    reset = datetime.fromtimestamp(math.ceil(now + full), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    words = {"limit": str(limit), "remaining": str(left), "reset": reset}
    return [(f"anthropic-ratelimit-{kind.replace('_', '-')}-{word}", value) for word, value in words.items()]


_TOLD: dict[VendorName, Callable[[Kind, int, int, float, float], list[Header]]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "gemini": lambda *_: [],
}
