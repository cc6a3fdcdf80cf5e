"""Whom to ask next, and what the client hears when nobody could serve.

The plan is a generator: it yields a candidate and is sent how that one failed. It sends nothing and waits for nothing,
so that a table of failures is its whole test.
"""

from collections.abc import Generator, Sequence

from adapters.base import Failure, Kind, Target

Plan = Generator[Target, Failure, Failure]


def attempts(candidates: Sequence[Target], *, choosy: bool) -> Plan:
    """Try the candidates in order; return the failure that the client should hear.

    `choosy`: the client asked for the first candidate by name, so what that one cannot honour is refused, not taken
    elsewhere. A candidate that cannot honour a parameter is passed over, so that no fallback ever loses one.
    """
    failures: list[Failure] = []
    room = 0  # tokens of context that were not enough
    for i, target in enumerate(candidates):
        if target.context <= room:
            continue
        failure = yield target
        failures.append(failure)
        if failure.kind is Kind.TOO_LONG:
            room = max(room, target.context)
        elif failure.kind is Kind.UNSUPPORTED:
            if i == 0 and choosy:
                return failure
        elif failure.kind.callers_fault:
            return failure
    return verdict(failures)


# What tells the client most comes first: its own fault, then who is down, then what only we can mend.
_TELLING = (
    (Kind.TOO_LONG,),
    (Kind.TRANSIENT, Kind.OVERLOADED, Kind.TIMEOUT, Kind.UNREACHABLE),
    (Kind.QUOTA, Kind.KEY),
    (Kind.MODEL,),
    (Kind.UNSUPPORTED,),
)


def verdict(failures: Sequence[Failure]) -> Failure:
    """The most informative of the failures of all who were asked, oldest first."""
    limited = [failure for failure in failures if failure.kind is Kind.RATE_LIMITED]
    if limited and len(limited) == len(failures):
        return min(limited, key=lambda failure: failure.retry_after if failure.retry_after is not None else 1e9)
    for kinds in _TELLING:
        for failure in failures:
            if failure.kind in kinds:
                return failure
    return limited[0] if limited else nobody()


def nobody() -> Failure:
    """There is nobody to ask."""
    return Failure(
        Kind.KEY, "No provider is available that could serve this request.", status=503, code="no_provider_available"
    )
