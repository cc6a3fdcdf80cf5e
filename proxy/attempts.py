"""Whom to ask next, and what the client hears when nobody could serve.

The plan is a generator: it yields a step and is sent how that one failed. It sends nothing and waits for nothing, so
that a table of failures is its whole test. This is the only layer that asks again: pauses have full jitter (Brooker,
"Exponential Backoff And Jitter", AWS 2015), and asking the same candidate again is under a budget (Google SRE book,
"Handling Overload"), while asking another one is not: no vendor hears more for it.
"""

import math
from collections.abc import Callable, Generator, Sequence
from random import Random

import msgspec

from adapters.base import Failure, Kind
from proxy.routing import Candidate

Failed = Sequence[tuple[Candidate, Failure]]
Ended = Failed | None  # (): not asked, for there was no place for a probe; None: it has answered


class Try(msgspec.Struct, frozen=True):
    """Ask `first`; if it has not answered `after` seconds later, `second` too, and take whoever answers first."""

    first: Candidate
    second: Candidate | None = None
    after: float = 0.0


class Wait(msgspec.Struct, frozen=True):
    """Wait for so many seconds."""

    seconds: float


Plan = Generator[Try | Wait, Failed, Failure]


class Rounds(msgspec.Struct, frozen=True, kw_only=True):
    """How often all may be asked. `pause(n)`: seconds before round n + 2. `may(seconds)`: whether there is time, and
    budget, to wait for so long and ask again."""

    most: int
    longest: float
    pause: Callable[[int], float]
    may: Callable[[float], bool]


ONCE = Rounds(most=1, longest=0.0, pause=lambda _: 0.0, may=lambda _: False)


def jitter(base: float, longest: float, rng: Random) -> Callable[[int], float]:
    """Pauses with full jitter: anything from nothing to `base`, twice that, four times, at most `longest` (seconds)."""
    return lambda n: rng.uniform(0, min(longest, base * 2**n))


class RetryBudget:
    """At most `share` retries for each live request, over any time; `_RESERVE` are free, for the quiet hours."""

    _RESERVE = 3.0
    _MOST = 100.0

    def __init__(self, share: float) -> None:
        self._share = share
        self._left = self._RESERVE if share else 0.0
        self._live = 0  # requests whose share is not yet in it

    def earn(self) -> None:
        """A request has come."""
        self._live += 1

    def spend(self) -> bool:
        """Whether one more may be asked again; if so, that is counted."""
        self._left = min(self._MOST, self._left + self._live * self._share)
        self._live = 0
        if self._left < 1:
            return False
        self._left -= 1
        return True


# A pause may cure these. A timeout is none of them: the prompt was worked on, and may be again, at our cost.
_AGAIN = frozenset({Kind.TRANSIENT, Kind.OVERLOADED, Kind.UNREACHABLE})


def attempts(order: Sequence[Candidate], *, choosy: bool, rounds: Rounds = ONCE, hedge: float | None = None) -> Plan:
    """Try the candidates in order; return the failure that the client should hear.

    `choosy`: the client asked for a model by name, so what the first to offer it cannot honour is refused, not taken
    elsewhere. A candidate that cannot honour a parameter is passed over, so that no fallback ever loses one.
    `hedge`: seconds after which the second is asked as well. Who is sent no failure at all has put a candidate off (its
    circuit is half-open, and others are probing): that one comes last.
    """
    asked: list[tuple[Candidate, Failure]] = []
    now = list(order)
    named = next((candidate for candidate in order if not candidate.stand_in), None) if choosy else None
    n = 0
    while True:
        failed: list[tuple[Candidate, Failure]] = []
        final = yield from _round(now, named, asked, failed, None if n else hedge, rounds if n else None)
        if final is not None:
            return final
        now = [candidate for candidate, failure in failed if _curable(failure, rounds)]
        if n + 1 >= rounds.most or not now:
            break
        told = min(failure.retry_after or 0.0 for candidate, failure in failed if candidate in now)
        pause = max(told, rounds.pause(n))
        if not rounds.may(pause):
            break
        yield Wait(pause)
        n += 1
    return verdict(_able(asked))


def _curable(failure: Failure, rounds: Rounds) -> bool:
    return failure.kind in _AGAIN and (failure.retry_after or 0.0) <= rounds.longest


def _round(
    order: Sequence[Candidate],
    named: Candidate | None,
    asked: list[tuple[Candidate, Failure]],
    failed: list[tuple[Candidate, Failure]],
    hedge: float | None,
    again: Rounds | None,
) -> Generator[Try | Wait, Failed, Failure | None]:
    """Everybody once, or `again`, as long as there is budget for each. `asked` and `failed` take what became of it;
    returns what ends it for good."""
    todo, put_off = list(order), set[int]()
    while todo:
        first = todo.pop(0)
        if _too_small(first, asked):
            continue
        if again is not None and failed and not again.may(0.0):
            break
        second = todo[0] if hedge is not None and todo and not asked and not put_off else None
        answer = yield Try(first, second, hedge or 0.0)
        if not answer and id(first) not in put_off:
            put_off.add(id(first))
            todo.append(first)
        for candidate, failure in answer:
            if candidate is not first:
                todo.remove(candidate)
            asked.append((candidate, failure))
            failed.append((candidate, failure))
            if _terminal(failure, candidate is named):
                return failure
    return None


def _terminal(failure: Failure, named: bool) -> bool:
    """Whether it would be the same everywhere."""
    if failure.kind is Kind.UNSUPPORTED:
        return named
    return failure.kind is not Kind.TOO_LONG and (failure.kind.callers_fault or failure.kind is Kind.STORE)


def _room(asked: Failed) -> int:
    """Tokens of context that were not enough."""
    return max((c.target.context for c, failure in asked if failure.kind is Kind.TOO_LONG), default=0)


def _too_small(candidate: Candidate, asked: Failed) -> bool:
    room = _room(asked)
    return bool(room) and candidate.target.context <= room


def _able(asked: Failed) -> list[Failure]:
    """Who failed, but has too small a window as well, could not have served: it is no reason to ask again later."""
    room = _room(asked)
    return [f for candidate, f in asked if f.kind in _UNFIT or candidate.target.context > room or not room]


# These could not have served this request at any hour.
_UNFIT = frozenset({Kind.TOO_LONG, Kind.UNSUPPORTED, Kind.MODEL})
# What tells the client most comes first: who is down, what only we can mend; then why nobody was fit.
_TELLING = (
    (Kind.TRANSIENT, Kind.OVERLOADED, Kind.TIMEOUT, Kind.UNREACHABLE, Kind.REQUEST),
    (Kind.BUDGET,),
    (Kind.QUOTA, Kind.KEY),
    (Kind.TOO_LONG,),
    (Kind.MODEL, Kind.UNSUPPORTED),
)


def verdict(failures: Sequence[Failure]) -> Failure:
    """The most informative of the failures of all who were asked, oldest first.

    "Rate limited" is said only if all who could have served were, and with the shortest wait; "too long" and the like
    only if nobody could have served: who is merely down now, may serve later.
    """
    fit = [failure for failure in failures if failure.kind not in _UNFIT]
    paid = [failure for failure in fit if failure.kind is not Kind.BUDGET]
    if paid and all(failure.kind is Kind.RATE_LIMITED for failure in paid):
        return min(paid, key=lambda failure: failure.retry_after if failure.retry_after is not None else math.inf)
    told = (failure for kinds in _TELLING for failure in fit or failures if failure.kind in kinds)
    return next(told, None) or nobody()


def nobody() -> Failure:
    """There is nobody to ask."""
    return Failure(
        Kind.KEY, "No provider is available that could serve this request.", status=503, code="no_provider_available"
    )


def limited(seconds: float) -> Failure:
    """All who could serve have told us to wait: nobody was asked. `seconds` until the first of them listens again."""
    return Failure(
        Kind.RATE_LIMITED,
        f"All providers that could serve this request are rate limited; the first is free in {seconds:.1f} seconds.",
        status=429,
        type="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after=seconds,
    )
