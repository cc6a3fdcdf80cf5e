"""Fit, in order, and as healthy as they are: the candidates of one request become the order in which they are asked."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import Random

import msgspec

from proxy.health import Scope, ratelimit
from proxy.routing.candidate import Candidate, Choice, Need, Out
from proxy.routing.fitness import fit, tight
from proxy.routing.strategies import STRATEGIES

PATIENCE_MS = 10_000  # longer than that a request does not wait for a limit, if an open circuit can be asked instead
_LOOK_AGAIN_MS = 100  # a place at a busy model: nobody knows when there is one

_WHOSE: Mapping[Scope, str] = {
    "model": "circuit",
    "provider": "circuit of the whole provider",
    "line": "circuit of this replica's connection to it",
}
_HOPELESS = frozenset({"key", "quota"})  # time alone mends neither
_DAY_MS = 86_400_000


class _Sorted(msgspec.Struct):
    """The candidates by how they stand: those to be asked, those to be asked after them, and who is not."""

    healthy: list[Candidate]
    behind: list[Candidate]
    opened: list[Candidate]
    waits: list[int]  # when those may be asked who are limited or full
    out: list[Out]


def choose(
    candidates: Sequence[Candidate],
    need: Need,
    *,
    strategy: str,
    tasks: Mapping[str, str],
    rng: Random,
    now: int,
    choosy: bool,
) -> Choice:
    """`choosy`: the first candidate was asked for by name; what it cannot do is refused, not taken elsewhere.

    The strategy orders those who were asked for; the stand-ins follow as they come. `now` in milliseconds, of the clock
    of the standings. Half-open circuits keep their place: whoever asks them needs a place for a probe.
    """
    fitting, out = fit(candidates, need, choosy=choosy)
    found = _Sorted([], [], [], [], out)
    for candidate in _ordered(fitting, need, strategy, tasks, rng):
        _sort(candidate, need, rng, now, found)
    order = (*found.healthy, *found.behind)
    if found.healthy:
        found.out += [_behind(candidate) for candidate in found.behind]
    if order:
        return Choice(order=order, out=tuple(found.out))
    return _nobody(found, now)


def _ordered(
    candidates: Sequence[Candidate], need: Need, strategy: str, tasks: Mapping[str, str], rng: Random
) -> Sequence[Candidate]:
    """As the strategy says; who may be too small for the request goes behind those of its own kind."""
    asked = [candidate for candidate in candidates if not candidate.stand_in]
    stand_ins = [candidate for candidate in candidates if candidate.stand_in]
    if len(asked) > 1:
        asked = sorted(STRATEGIES[strategy](asked, need, rng, tasks), key=lambda one: tight(one, need))
    if len(stand_ins) > 1:
        stand_ins.sort(key=lambda one: tight(one, need))
    return asked + stand_ins


def _sort(candidate: Candidate, need: Need, rng: Random, now: int, found: _Sorted) -> None:
    standing = candidate.standing
    held_up = _held_up(candidate, need, now)
    if standing.state == "open":
        found.out.append(_open(candidate, now))
        if held_up is None:
            found.opened.append(candidate)
    elif held_up is None:
        late = standing.stalled or (standing.share < 1 and rng.random() >= standing.share)
        (found.behind if late else found.healthy).append(candidate)
    else:
        found.out.append(held_up)
    if held_up is not None:
        found.waits.append(held_up.until or now + _LOOK_AGAIN_MS)


def _held_up(candidate: Candidate, need: Need, now: int) -> Out | None:
    """Why it cannot be asked just now though it is well: a limit of the vendor's, or of ours."""
    standing = candidate.standing
    if standing.blocked > now:
        said = f"the vendor asks to wait until {_clock(standing.blocked, now)} (rate limited)"
        return Out(candidate.name, "limited", said, until=standing.blocked)
    if standing.windows:
        output = round(candidate.expected.output) * need.choices
        ready = ratelimit.ready(standing.windows, ratelimit.needs(need.prompt, output), now)
        if ready > now:
            said = f"its rate limit has no room for this request until {_clock(ready, now)}"
            return Out(candidate.name, "limited", said, until=ready)
    if candidate.most is not None and standing.in_flight >= candidate.most:
        return Out(candidate.name, "full", f"{standing.in_flight} requests in flight, at most {candidate.most} may be")
    return None


def _nobody(found: _Sorted, now: int) -> Choice:
    """All are open, limited or full: wait for a moment, or ask the least bad."""
    wait = min(found.waits, default=None)
    if found.opened and (wait is None or wait - now > PATIENCE_MS):
        best = min(found.opened, key=_badness)
        out = [one for one in found.out if one.name != best.name]
        return Choice(order=(best,), out=tuple(out), least_bad=True)
    return Choice(order=(), out=tuple(found.out), wait=wait)


def _badness(candidate: Candidate) -> tuple[bool, int]:
    standing = candidate.standing
    return standing.scope == "provider" and standing.why in _HOPELESS, standing.until


def _open(candidate: Candidate, now: int) -> Out:
    standing = candidate.standing
    since, until = _clock(standing.since, now), _clock(standing.until, now)
    said = f"{_WHOSE[standing.scope]} open since {since} ({standing.why}); next probe at {until}"
    return Out(candidate.name, "open", said, since=standing.since, until=standing.until)


def _behind(candidate: Candidate) -> Out:
    standing = candidate.standing
    if standing.stalled:
        return Out(candidate.name, "stalled", "those who were asked of it lately have no answer yet: after the others")
    said = f"back for a short while, with {standing.share:.0%} of its traffic: after the others"
    return Out(candidate.name, "slow_start", said, since=standing.since)


def _clock(at: int, now: int) -> str:
    """12:03:05Z; with the date if that is not today's."""
    said = datetime.fromtimestamp(at / 1_000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return said if at // _DAY_MS != now // _DAY_MS else said[11:]
