"""What happened in each minute of the last hours, in figures that add up, whoever counted; and where spending leads.

Pure. A `Series` of one replica and one of another make the series of both, in any order: all of it is sums, the times
until the first part too (counts in the buckets of `proxy.health.pace`, never halved here). Names of providers are the
configuration's: no client can make a series grow.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from proxy.health.pace import Sketch

MINUTE = 60_000  # milliseconds
KEPT = 180  # minutes
_VERSION = 1
_NOT_YET = 96  # of a window must one part be over: what a few minutes say of a whole day is chance

K = TypeVar("K", str, int)
T = TypeVar("T")


class Minute(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Sums of one minute. A request counts in the minute in which it ended; `cost` is in nano-dollars.

    `errors` has all that ended with an error, `failed` those of them that were not the caller's fault (status 500 or
    above). `attempts` and `failures` are by provider. `first`: milliseconds until the first part, by bucket of a
    `Sketch`.
    """

    requests: int = 0
    errors: int = 0
    failed: int = 0
    cost: int = 0
    retries: int = 0
    hedges: int = 0
    attempts: Mapping[str, int] = {}
    failures: Mapping[str, int] = {}
    first: Mapping[int, int] = {}

    def joined(self, other: "Minute") -> "Minute":
        """Both."""
        return Minute(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            failed=self.failed + other.failed,
            cost=self.cost + other.cost,
            retries=self.retries + other.retries,
            hedges=self.hedges + other.hedges,
            attempts=_sum(self.attempts, other.attempts),
            failures=_sum(self.failures, other.failures),
            first=_sum(self.first, other.first),
        )

    def first_part(self, q: float) -> float | None:
        """Within how many milliseconds a part `q` of them had a first part, to within 5 %; None if none had."""
        return Sketch(dict(self.first)).quantile(q)


def _sum(one: Mapping[K, int], other: Mapping[K, int]) -> Mapping[K, int]:
    if not (one and other):
        return one or other
    whole = dict(one)
    for name, count in other.items():
        whole[name] = whole.get(name, 0) + count
    return whole


class Series(msgspec.Struct, frozen=True):
    """Minutes by their number since the epoch; one in which nothing happened is not there."""

    minutes: Mapping[int, Minute] = {}

    def add(self, minute: int, what: Minute) -> "Series":
        """And this, in that minute."""
        there = self.minutes.get(minute)
        return Series({**self.minutes, minute: there.joined(what) if there else what})

    def trimmed(self, now: int) -> "Series":
        """The last `KEPT` minutes up to `now` (milliseconds); and nothing of a time that is yet to come, but for the
        next minute: clocks differ."""
        last = now // MINUTE
        return Series({n: minute for n, minute in self.minutes.items() if last - KEPT < n <= last + 1})

    def over(self, minutes: int, now: int) -> Minute:
        """The last `minutes` up to `now` (milliseconds), the one under way among them, as one."""
        last = now // MINUTE
        whole = Minute()
        for n, minute in self.minutes.items():
            if last - minutes < n:
                whole = whole.joined(minute)
        return whole


def merged(several: Iterable[Series]) -> Series:
    """All of them as one."""
    whole: dict[int, Minute] = {}
    for series in several:
        for n, minute in series.minutes.items():
            whole[n] = whole[n].joined(minute) if n in whole else minute
    return Series(whole)


class _Text(msgspec.Struct, frozen=True, array_like=True):
    version: int
    minutes: Mapping[int, Minute]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Text)


def encode(series: Series) -> bytes:
    """As it stands on the board."""
    return _encoder.encode(_Text(_VERSION, series.minutes))


def decode(text: bytes) -> Series:
    """The series again. Raises `ValueError` for what another version has written."""
    said = _decoder.decode(text)  # its errors are `ValueError`s
    if said.version != _VERSION:
        raise ValueError(f"version {said.version} of a series; this is {_VERSION}")
    return Series(said.minutes)


# ---- where spending leads ---------------------------------------------------------------------------------------


class Projection(msgspec.Struct, frozen=True):
    """If it goes on so: what will be used at the window's end (nano-dollars), and when the limit will be reached
    (milliseconds since the epoch; None: not in this window). `state`: `early` if it is too soon to tell."""

    state: Literal["early", "within", "over", "reached"]
    used_at_end: int | None = None
    reached: int | None = None


Point = tuple[int, int]  # milliseconds since the epoch; nano-dollars used by then


def projected(points: Sequence[Point], limit: int, start: int, end: int, now: int) -> Projection:
    """Linear, by all that was used since the window's start. `points` in their order, the last one as it is now."""
    used = points[-1][1] if points else 0
    if used >= limit:
        reached = next((at for at, nano in points if nano >= limit), now)
        return Projection("reached", used, reached)
    gone, whole = now - start, end - start
    if gone * _NOT_YET < whole:
        return Projection("early")
    at_end = max(used, used * whole // gone)
    if at_end <= limit:
        return Projection("within", at_end)
    return Projection("over", at_end, start - (-limit * gone // used))


def thinned(points: Sequence[T], most: int) -> list[T]:
    """At most `most` of them, evenly, the first and the last among them; `most` is 2 or more."""
    if len(points) <= most:
        return list(points)
    return [points[n * (len(points) - 1) // (most - 1)] for n in range(most)]


def rise(curve: list[Point], at: int, used: int) -> None:
    """Go on with a curve: one point a minute; where it is level, its two ends are enough."""
    if len(curve) > 1 and (curve[-1][0] // MINUTE == at // MINUTE or curve[-2][1] == curve[-1][1] == used):
        curve[-1] = at, used
    else:
        curve.append((at, used))
