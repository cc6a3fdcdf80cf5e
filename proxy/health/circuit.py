"""The circuit breaker: closed -> open -> half-open -> closed, a pure state machine.

Closed, it counts; after so many failures in a row, or at a rate of failures within the window, it opens. Open, it lets
nobody through until the cooldown is over; then it is half-open (no event is needed for that: time has passed) and lets
probes through, one at first, the others once it has passed. All of them must pass for it to close; one that fails opens
it again, for twice as long. After it has closed, traffic comes back bit by bit (slow start). All else that is heard
while it is not closed was sent before, and tells of what is known already.

It is one for all replicas: whoever changes it writes the whole of it back, if nobody else has in the meantime
(`proxy.fleet`). So an event is a `Tally` of what one replica has seen, not a single outcome. Times are in milliseconds
of the clock that the replicas share, as each knows it: it may step back a little from one event to the next. The
pattern: M. Nygard, "Release It!"; counting as Envoy's outlier detection does.
"""

from typing import Literal

import msgspec
from msgspec.structs import replace

State = Literal["closed", "open", "half_open"]

_BUCKETS = 6  # of the window: what falls out of it falls out in sixths
_MILLI = 1_000
_PROBE_MS = 120_000  # a probe of which nothing is heard any more (its replica died) keeps its place for so long
_FORGIVEN = 2  # cooldowns that it must stay closed for the next opening to count as a first one
_SHORTEST = 1.0  # seconds; who says "again in 0 seconds" is not asked without end


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a circuit opens, and for how long. Seconds."""

    consecutive: int = 5  # failures in a row that open it
    rate: float = 0.5  # of failures within the window that opens it ...
    window: float = 60.0
    least: int = 10  # ... if there were so many requests
    cooldown: float = 300.0  # doubled with each opening that follows at once
    longest: float = 3_600.0
    probes: int = 3  # that are let through when half-open, in the whole fleet
    slow_start: float = 30.0

    def __post_init__(self) -> None:
        if self.consecutive < 1 or self.least < 1 or self.probes < 1:
            raise ValueError("`consecutive`, `least` and `probes` are at least 1")
        if not 0 < self.rate <= 1:
            raise ValueError("`rate` is more than 0 and at most 1")
        if not (0 < self.window <= 86_400 and 0 < self.cooldown <= self.longest <= 86_400):
            raise ValueError("`window`, `cooldown` and `longest` are seconds, more than 0 and at most a day; "
                             "`cooldown` is at most `longest`")  # fmt: skip
        if not 0 <= self.slow_start <= 3_600:
            raise ValueError("`slow_start` is from 0 to 3600 seconds")


class Bucket(msgspec.Struct, frozen=True, array_like=True):
    """What happened from `start` on, for a sixth of the window."""

    start: int
    ok: int = 0
    failed: int = 0


class Circuit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One breaker. `opened`: open or, from `until` on, half-open."""

    opened: bool = False
    since: int = 0  # when it last opened or closed; 0: never yet
    until: int = 0  # when the cooldown is over
    cooldown: int = 0  # how long it was, the last time
    why: str = ""  # the kind of failure that opened it last
    openings: int = 0  # without having been closed for long in between
    consecutive: int = 0  # failures since the last success
    window: tuple[Bucket, ...] = ()
    probes: dict[str, int] = {}  # probes on their way, and until when they keep their places
    passed: int = 0  # probes that came back well since the cooldown was over


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica has seen since its last word: of requests that were sent while the circuit was closed, and of
    probes. `tail` are the failures after the last success, all of them if there was none; `why` and `cooldown` are
    those of the first that trips, else of the last failure.
    """

    ok: int = 0
    failed: int = 0
    tail: int = 0
    at: int = 0  # when the last of it was seen
    why: str = ""  # the kind of a failure
    trip: bool = False  # one of the failures leaves no doubt: open at once
    cooldown: float | None = None  # seconds, instead of the policy's: a vendor's retry-after, a kind's own
    passed: tuple[str, ...] = ()  # probes
    flunked: tuple[str, ...] = ()
    void: tuple[str, ...] = ()  # probes that said nothing of the vendor's health: their places are free again

    def joined(self, later: "Tally") -> "Tally":
        """This one and what was seen after it."""
        told = later if later.failed and not self.trip else self
        return Tally(
            ok=self.ok + later.ok,
            failed=self.failed + later.failed,
            tail=later.tail if later.ok else self.tail + later.tail,
            at=max(self.at, later.at),
            why=told.why,
            trip=self.trip or later.trip,
            cooldown=told.cooldown,
            passed=self.passed + later.passed,
            flunked=self.flunked + later.flunked,
            void=self.void + later.void,
        )


def state(circuit: Circuit, now: int) -> State:
    """Closed, open or half-open."""
    if not circuit.opened:
        return "closed"
    return "half_open" if now >= circuit.until else "open"


def counts(circuit: Circuit, policy: Policy, now: int) -> tuple[int, int]:
    """(well, failed) within the window."""
    kept = _within(circuit.window, policy, now)
    return sum(bucket.ok for bucket in kept), sum(bucket.failed for bucket in kept)


def share(circuit: Circuit, policy: Policy, now: int) -> float:
    """How much of its traffic it should have: 1 but for the slow start after a recovery, when it grows from a tenth."""
    if circuit.opened or not circuit.openings or policy.slow_start <= 0:
        return 1.0
    return max(0.1, min(1.0, (now - circuit.since) / (policy.slow_start * _MILLI)))


def observe(circuit: Circuit, tally: Tally, policy: Policy, now: int) -> Circuit:
    """What becomes of it when this is heard."""
    window = _counted(circuit.window, tally, policy, now) if tally.ok or tally.failed else circuit.window
    if circuit.opened:
        return _probed(circuit, window, tally, policy, now)
    consecutive = tally.tail if tally.ok else circuit.consecutive + tally.tail
    circuit = replace(circuit, window=window, consecutive=consecutive)
    if tally.trip or (tally.failed and (consecutive >= policy.consecutive or _too_many(circuit, policy, now))):
        return _open(circuit, tally, policy, now)
    return circuit


def _too_many(circuit: Circuit, policy: Policy, now: int) -> bool:
    ok, failed = counts(circuit, policy, now)
    return ok + failed >= policy.least and failed >= policy.rate * (ok + failed)


def _probed(circuit: Circuit, window: tuple[Bucket, ...], tally: Tally, policy: Policy, now: int) -> Circuit:
    """Open or half-open, only its own probes move it."""
    circuit = replace(circuit, window=window)
    if any(id in circuit.probes for id in tally.flunked):
        return _open(circuit, tally, policy, now)
    passed = [id for id in tally.passed if id in circuit.probes]
    if circuit.passed + len(passed) >= policy.probes:
        return replace(circuit, opened=False, since=now, consecutive=0, window=(), probes={}, passed=0)
    gone = {*passed, *tally.void}
    probes = {id: until for id, until in circuit.probes.items() if id not in gone}
    return replace(circuit, probes=probes, passed=circuit.passed + len(passed))


def _open(circuit: Circuit, tally: Tally, policy: Policy, now: int) -> Circuit:
    again = circuit.opened or now - circuit.since < _FORGIVEN * circuit.cooldown
    if tally.cooldown is None:
        cooldown = max(_ms(policy.cooldown), 2 * circuit.cooldown if again else 0)
    else:  # a vendor's own word is not doubled: it knows better than we do
        cooldown = max(_ms(tally.cooldown), _ms(min(_SHORTEST, policy.cooldown)))
    cooldown = min(cooldown, _ms(policy.longest))
    return replace(
        circuit,
        opened=True,
        since=now,
        until=now + cooldown,
        cooldown=cooldown,
        why=tally.why,
        openings=circuit.openings + 1 if again else 1,
        probes={},
        passed=0,
    )


def admit(circuit: Circuit, probe: str, policy: Policy, now: int) -> Circuit | None:
    """A place for a probe, whose outcome is told under this name; None if there is none (or nothing to be probed).

    One goes first, alone; when it has passed the others may go. So a vendor that hangs keeps one client waiting.
    """
    if state(circuit, now) != "half_open":
        return None
    waiting = {id: until for id, until in circuit.probes.items() if until > now}
    places = policy.probes - circuit.passed if circuit.passed else 1
    if len(waiting) >= places:
        return None
    return replace(circuit, probes={**waiting, probe: now + _PROBE_MS})


def reset(circuit: Circuit, now: int) -> Circuit:
    """Closed by hand: as if nothing had ever been wrong."""
    return Circuit(since=now)


def _counted(window: tuple[Bucket, ...], tally: Tally, policy: Policy, now: int) -> tuple[Bucket, ...]:
    start = tally.at - tally.at % _width(policy)
    kept = {bucket.start: bucket for bucket in _within(window, policy, now)}
    found = kept.get(start, Bucket(start))
    kept[start] = Bucket(start, found.ok + tally.ok, found.failed + tally.failed)
    return tuple(kept.values())


def _within(window: tuple[Bucket, ...], policy: Policy, now: int) -> list[Bucket]:
    """The buckets that end within the window; the oldest may begin before it."""
    oldest = now - _ms(policy.window) - _width(policy)
    return [bucket for bucket in window if bucket.start > oldest]


def _width(policy: Policy) -> int:
    return max(1, _ms(policy.window) // _BUCKETS)


def _ms(seconds: float) -> int:
    return int(seconds * _MILLI)
