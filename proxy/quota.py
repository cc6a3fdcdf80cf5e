"""How much of the door one client key may take: requests and tokens a minute, and how many at once. Pure.

Requests and tokens are token buckets, kept as the time at which the bucket is full again (GCRA, the generic cell rate
algorithm of ITU-T I.371): exact, and whatever is left over from a burst comes back evenly. What is running is a set of
leases, so that a replica that dies gives its places back.

Nothing is rounded: of a limit of R a minute, R parts come back each millisecond, if a request or a token is `PARTS`
parts. All is reckoned in parts, and all are integers below 2^53, so that the numbers of Lua hold them as well.

`proxy.turnstile` acts on it; both stores keep it, and the Redis store decides in Lua: one test suite holds them to the
same answers.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

MINUTE = 60_000  # milliseconds
PARTS = MINUTE  # of one request, or of one token
MOST = 1_000_000_000  # of requests or tokens a minute, and of tokens of one request
PLACE_MS = 1_000  # until somebody may have left; nobody knows
_MOST_PARTS = 9_000_000_000_000_000
_MILLI = 1_000

Limited = Literal["requests", "tokens", "concurrency"]
Amount = Annotated[int, msgspec.Meta(ge=0, le=MOST)]


class Quota(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key may take; 0: as much as it likes."""

    requests: Amount = 0  # a minute
    tokens: Amount = 0  # a minute, prompt and answer together
    concurrent: Amount = 0

    def __bool__(self) -> bool:
        return bool(self.requests or self.tokens or self.concurrent)


class Entering(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody at the door: `key` is whose quota it is, `id` the request's, `tokens` what it will take as far as is
    known. `seconds` is how long it may take at most: then its place is free again, whether it has left or not."""

    key: str
    id: str
    quota: Quota
    tokens: int
    seconds: int


class Entered(msgspec.Struct, frozen=True):
    """Come in. What is left of requests and of tokens just now (None: no limit)."""

    requests: int | None = None
    tokens: int | None = None


class Crowded(msgspec.Struct, frozen=True):
    """Not now: which limit it is, and in how many milliseconds there will be room; for places, a guess."""

    limit: Limited
    wait: int


class Bucket(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of requests, or of tokens. `full`: when it is full again, in milliseconds since the epoch, but for `rest`
    parts, less than what comes back in the next millisecond."""

    full: int = 0
    rest: int = 0

    def missing(self, rate: int, now: int) -> int:
        """How many parts are missing, where `rate` come back each millisecond; 0: there is no limit."""
        if not rate:
            return 0
        # The rate may have been another one when the rest was left.
        return min(max(0, (self.full - now) * rate + min(self.rest, rate - 1)), _MOST_PARTS)


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a key has taken. `running`: the requests that are inside, and until when their places are kept
    (milliseconds since the epoch)."""

    requests: Bucket = Bucket()
    tokens: Bucket = Bucket()
    running: Mapping[str, int] = {}

    @property
    def idle(self) -> int:
        """From when on this says no more than `Usage()` does, if nobody comes; milliseconds since the epoch."""
        return max(self.requests.full + 1, self.tokens.full + 1, *self.running.values())


def enter(usage: Usage, entering: Entering, now: int) -> tuple[Usage, Entered | Crowded]:
    """Take a place, a request and its tokens, all of them or none; `now` in milliseconds since the epoch.

    More tokens than come back in a minute are taken from a bucket that is full, and owed: else such a request could
    never come in. An id that is inside takes nothing again. Where several limits refuse, the longest wait is told.
    """
    quota, inside = entering.quota, _inside(usage, now)
    requests = usage.requests.missing(quota.requests, now)
    tokens = usage.tokens.missing(quota.tokens, now)
    if entering.id not in inside:
        taken = max(0, _parts(entering.tokens))
        waits: dict[Limited, int] = {
            "requests": _wait(quota.requests, requests, PARTS),
            "tokens": _wait(quota.tokens, tokens, taken),
            "concurrency": PLACE_MS if 0 < quota.concurrent <= len(inside) else 0,
        }
        limit = max(waits, key=waits.__getitem__)
        if waits[limit]:
            return usage, Crowded(limit, waits[limit])
        requests, tokens = requests + PARTS, tokens + taken
        inside[entering.id] = now + entering.seconds * _MILLI
    after = Usage(_lacking(quota.requests, requests, now), _lacking(quota.tokens, tokens, now), inside)
    return after, Entered(_left(quota.requests, requests), _left(quota.tokens, tokens))


def leave(usage: Usage, id: str, quota: Quota, tokens: int, now: int) -> Usage:
    """Give a place back. `tokens`: how many more were taken than was said (below zero: how many fewer). An id that is
    not inside changes nothing."""
    inside = _inside(usage, now)
    if id not in inside:
        return usage
    del inside[id]
    missing = usage.tokens.missing(quota.tokens, now) + _parts(tokens)
    return Usage(usage.requests, _lacking(quota.tokens, missing, now), inside)


def _inside(usage: Usage, now: int) -> dict[str, int]:
    return {id: until for id, until in usage.running.items() if until > now}


def _parts(tokens: int) -> int:
    return max(-MOST, min(tokens, MOST)) * PARTS


def _wait(rate: int, missing: int, taken: int) -> int:
    """Milliseconds until so many parts are there, or until the bucket is full if it does not hold as many."""
    whole = rate * PARTS
    return -(-max(0, missing + min(taken, whole) - whole) // rate) if rate else 0


def _lacking(rate: int, missing: int, now: int) -> Bucket:
    if not rate or missing <= 0:
        return Bucket()
    milliseconds, rest = divmod(min(missing, _MOST_PARTS), rate)
    return Bucket(now + milliseconds, rest)


def _left(rate: int, missing: int) -> int | None:
    return max(0, rate * PARTS - missing) // PARTS if rate else None
