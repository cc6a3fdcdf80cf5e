"""Whom to ask next, and what the client hears when nobody could serve.

The plan is a generator: it yields a candidate and is sent how that one failed. It sends nothing and waits for nothing,
so that a table of failures is its whole test.
"""

import math
from collections.abc import Generator, Sequence

from adapters.base import Failure, Kind, Target

Plan = Generator[Target, Failure, Failure]


def attempts(candidates: Sequence[Target], *, choosy: bool) -> Plan:
    """Try the candidates in order; return the failure that the client should hear.

    `choosy`: the client asked for the first candidate by name, so what that one cannot honour is refused, not taken
    elsewhere. A candidate that cannot honour a parameter is passed over, so that no fallback ever loses one.
    """
    asked: list[tuple[Target, Failure]] = []
    room = 0  # tokens of context that were not enough
    for i, target in enumerate(candidates):
        if room and target.context <= room:
            continue
        failure = yield target
        asked.append((target, failure))
        if failure.kind is Kind.TOO_LONG:
            room = max(room, target.context)
        elif failure.kind is Kind.UNSUPPORTED:
            if i == 0 and choosy:
                return failure
        elif failure.kind.callers_fault or failure.kind is Kind.STORE:
            return failure
    # Who failed, but has too small a window as well, could not have served: it is no reason to ask again later.
    return verdict(
        [failure for target, failure in asked if failure.kind in _UNFIT or target.context > room or not room]
    )


# These could not have served this request at any hour.
_UNFIT = frozenset({Kind.TOO_LONG, Kind.UNSUPPORTED, Kind.MODEL})
# What tells the client most comes first: who is down, what only we can mend; then why nobody was fit.
_TELLING = (
    (Kind.TRANSIENT, Kind.OVERLOADED, Kind.TIMEOUT, Kind.UNREACHABLE),
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
