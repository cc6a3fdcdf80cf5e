"""All that is known of one model at one provider, or of a provider as a whole: what replicas share, and how it grows.

A replica says what it saw as a `Report`. Reports of one replica add up, in their order: a cell that hears their sum has
the same totals, limits and speeds as one that hears them one by one, and the same failures in a row while it stays
closed. It may differ in when it opens: of failures between two successes of one sum it does not see how many there were
in a row, and it looks at their rate once. `observed` is the whole of it: pure, so that what a replica decides on, and
what it writes for the others, come from the same function. Times in milliseconds of the shared clock.
"""

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Literal

import msgspec
from msgspec.structs import replace

from adapters.base import Failure, Kind
from proxy.health import circuit as circuits
from proxy.health import ratelimit
from proxy.health.circuit import Circuit, Policy, Tally
from proxy.health.pace import Pace, Sketch, sketch
from proxy.health.ratelimit import Windows

Scope = Literal["model", "provider", "line"]
Effect = Literal["failed", "trip", "ok", "none"]

# What an outcome says to each of the three circuits that a request goes through; where a row has no word, it says
# nothing: the caller's fault, our own want of money. "line" is our own way to the provider (DNS, TCP, TLS), of which
# other replicas know nothing: it is never shared.
EFFECTS: Mapping[Kind | None, Mapping[Scope, Effect]] = {
    None: {"model": "ok", "provider": "ok", "line": "ok"},
    Kind.TRANSIENT: {"model": "failed", "line": "ok"},
    Kind.OVERLOADED: {"model": "failed", "line": "ok"},
    Kind.TIMEOUT: {"model": "failed"},
    Kind.UNREACHABLE: {"line": "failed"},
    Kind.RATE_LIMITED: {"line": "ok"},
    Kind.QUOTA: {"provider": "trip", "line": "ok"},
    Kind.KEY: {"provider": "trip", "line": "ok"},
    Kind.MODEL: {"model": "trip", "line": "ok"},
    Kind.TOO_LONG: {"line": "ok"},
    Kind.POLICY: {"line": "ok"},
    Kind.REQUEST: {"line": "ok"},
    Kind.CALLER: {},  # may be found out before anything is sent; so may a deadline that nobody could have kept
    Kind.UNSUPPORTED: {},  # always is, as the next two are
    Kind.BUDGET: {},
    Kind.STORE: {},
}
_FAILED = frozenset(kind for kind, row in EFFECTS.items() if not {"failed", "trip"}.isdisjoint(row.values()))

_OVERLOADED_SECONDS = 15.0  # too busy is soon over: docs/translation.md, "Errors"
_LIMITED_SECONDS = 10.0  # a 429 that says nothing of when
_LONGEST_SECONDS = 86_400.0  # no vendor is believed to want to hear nothing for longer than a day
_MILLI = 1_000


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended. `failure` is None if it went well, or if `left`: the client did not wait for it.

    Milliseconds; `first` and `whole` from the sending on, None where there is nothing to be learnt from them.
    """

    failure: Failure | None = None
    left: bool = False
    known: bool = True  # the wire name of the model is the table's own: if nobody knows it, that tells of the model
    first: float | None = None  # until the first part of a stream
    whole: float | None = None
    tokens: int = 0  # of the answer
    windows: Windows = {}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica saw of a cell since its last word."""

    tally: Tally = Tally()
    ok: int = 0
    failed: int = 0  # whichever circuit was told so
    limited: int = 0
    others: int = 0  # outcomes that say nothing of health
    blocked: int = 0  # until when the vendor wants to hear nothing
    windows: Windows = {}
    first: Sketch = Sketch()
    whole: Sketch = Sketch()
    speed: Sketch = Sketch()
    pace: Pace = Pace()

    def joined(self, later: "Report") -> "Report":
        """This one and what was seen after it."""
        return Report(
            tally=self.tally.joined(later.tally),
            ok=self.ok + later.ok,
            failed=self.failed + later.failed,
            limited=self.limited + later.limited,
            others=self.others + later.others,
            blocked=max(self.blocked, later.blocked),
            windows=ratelimit.newer(self.windows, later.windows),
            first=self.first.joined(later.first),
            whole=self.whole.joined(later.whole),
            speed=self.speed.joined(later.speed),
            pace=self.pace.joined(later.pace),
        )


class Cell(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known. Counts are totals since `born`, as in a `Report`."""

    circuit: Circuit = Circuit()
    ok: int = 0
    failed: int = 0
    limited: int = 0
    others: int = 0
    born: int = 0
    blocked: int = 0  # rate limited until then
    windows: Windows = {}
    first: Sketch = Sketch()  # milliseconds until the first part of a stream
    whole: Sketch = Sketch()  # milliseconds until an answer was complete
    speed: Sketch = Sketch()  # tokens per second, from the first part on
    pace: Pace = Pace()  # of `first`; of `whole` where answers do not stream


def report(
    outcome: Outcome, scope: Scope, policy: Policy, now: int, probe: str | None = None, *, late: bool = False
) -> Report:
    """What an outcome says to the cell of a scope; `probe` is the name of its place in the circuit, if it had one.

    `late`: the circuit has opened or closed since the request was sent; it is counted, and says nothing to the circuit.
    """
    failure = outcome.failure
    kind = failure.kind if failure else None
    if kind is Kind.MODEL and not outcome.known:
        kind = Kind.REQUEST  # it is called so by the client: that says nothing of the entry that the name matched
    effect = "none" if outcome.left else EFFECTS[kind].get(scope, "none")
    if effect == "trip" and not outcome.known:
        effect = "failed"  # who knows what a vendor says of a name that was made up: alone it proves nothing
    tally = _tally(failure, effect, policy, now, probe, late)
    if failure is None and not outcome.left:
        return Report(tally=tally, ok=1) if scope != "model" else _answered((outcome,), tally, now)
    limited = kind is Kind.RATE_LIMITED and not outcome.left
    failed = kind in _FAILED and not outcome.left
    return Report(
        tally=tally,
        failed=int(failed),
        limited=int(limited),
        others=int(not failed and not limited),
        blocked=_blocked(failure, now) if failure and limited and scope == "model" else 0,
        windows=outcome.windows if scope == "model" else {},
    )


def well(outcomes: Sequence[Outcome], scope: Scope, now: int) -> Report:
    """What answers in a row say to the cell of a scope, all at once: none of them failed, nor was a probe."""
    tally = Tally(ok=len(outcomes), at=now)
    return Report(tally=tally, ok=len(outcomes)) if scope != "model" else _answered(outcomes, tally, now)


def _answered(outcomes: Sequence[Outcome], tally: Tally, now: int) -> Report:
    firsts = [outcome.first for outcome in outcomes if outcome.first is not None]
    wholes = [outcome.whole for outcome in outcomes if outcome.whole is not None]
    speeds = [
        outcome.tokens * _MILLI / writing  # per second, from the first part on
        for outcome in outcomes
        if outcome.tokens and (writing := (outcome.whole or 0.0) - (outcome.first or 0.0)) > 0
    ]
    untils = wholes  # but for streams
    if firsts:
        either = [outcome.whole if outcome.first is None else outcome.first for outcome in outcomes]
        untils = [until for until in either if until is not None]
    return Report(
        tally=tally,
        ok=len(outcomes),
        windows=reduce(ratelimit.newer, [outcome.windows for outcome in outcomes if outcome.windows], {}),
        first=sketch(firsts),
        whole=sketch(wholes),
        speed=sketch(speeds),
        pace=Pace(sum(untils), len(untils), now) if untils else Pace(),
    )


def _blocked(failure: Failure, now: int) -> int:
    seconds = _LIMITED_SECONDS if failure.retry_after is None else failure.retry_after
    return now + math.ceil(min(seconds, _LONGEST_SECONDS) * _MILLI)


def _tally(failure: Failure | None, effect: Effect, policy: Policy, now: int, probe: str | None, late: bool) -> Tally:
    mine = (probe,) if probe else ()
    if effect == "none" or (late and not probe):
        return Tally(at=now, void=mine)
    if failure is None or effect == "ok":
        return Tally(ok=1, at=now, passed=mine)
    return Tally(
        failed=1,
        tail=1,
        at=now,
        why=failure.kind.value,
        trip=effect == "trip",
        cooldown=_cooldown(failure, effect, policy),
        flunked=mine,
    )


def _cooldown(failure: Failure, effect: Effect, policy: Policy) -> float | None:
    """Seconds, instead of the policy's. Our key, our money, a model that is not there: these are not well so soon,
    whatever the vendor's infrastructure adds to its refusal; it can only make them longer."""
    said = failure.retry_after
    if effect == "trip":
        return said if said is not None and said > policy.cooldown else None
    if failure.kind is Kind.OVERLOADED:
        return max(said or 0.0, min(_OVERLOADED_SECONDS, policy.cooldown))
    return said


def observed(cell: Cell, heard: Report, policy: Policy, now: int) -> Cell:
    """What is known after a report."""
    return Cell(
        circuit=circuits.observe(cell.circuit, heard.tally, policy, now),
        ok=cell.ok + heard.ok,
        failed=cell.failed + heard.failed,
        limited=cell.limited + heard.limited,
        others=cell.others + heard.others,
        born=cell.born or now,
        blocked=max(cell.blocked, heard.blocked),
        windows=ratelimit.newer(cell.windows, heard.windows),
        first=cell.first.joined(heard.first),
        whole=cell.whole.joined(heard.whole),
        speed=cell.speed.joined(heard.speed),
        pace=cell.pace.joined(heard.pace),
    )


def reset(cell: Cell, now: int) -> Cell:
    """Closed by hand, and free of limits; what was counted stays."""
    return replace(cell, circuit=circuits.reset(cell.circuit, now), blocked=0, windows={})


def urgent(before: Cell, after: Cell) -> bool:
    """Whether the others must hear of this change at once, not by and by."""
    a, b = before.circuit, after.circuit
    return (a.opened, a.since, a.until) != (b.opened, b.since, b.until) or before.blocked != after.blocked


_decode = msgspec.json.Decoder(Cell).decode
encode = msgspec.json.Encoder().encode


def decode(data: bytes) -> Cell:
    """What another version of us has written is read as far as it is known here. Raises `msgspec.MsgspecError`."""
    try:
        return _decode(data)
    except RecursionError as error:
        raise msgspec.DecodeError(str(error)) from None
