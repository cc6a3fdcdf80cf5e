"""What requests add to the minute in which they ended. Pure, but for what a `Record` is."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter

from adapters.base import Kind
from proxy.health.cell import EFFECTS
from proxy.health.pace import sketch
from proxy.series import Minute
from proxy.telemetry import Record

_ILL = {"failed", "trip"}
_OURS = frozenset({Kind.BUDGET.value, Kind.STORE.value})  # attempts that never reached a provider
# What is counted against a provider: whatever makes it ill in the eyes of some circuit, and its refusals to be asked.
_FAILURES = frozenset(kind.value for kind, row in EFFECTS.items() if kind and _ILL & set(row.values())) | {
    Kind.RATE_LIMITED.value
}
_ERROR, _FAILED = 400, 500
_ATTEMPTS, _TRIED, _COST = attrgetter("attempts"), attrgetter("provider", "outcome"), attrgetter("cost_nano")


def of(records: Sequence[Record]) -> Minute:
    """The sums of requests that ended in one minute."""
    attempts, failures = Counter[str](), Counter[str]()
    for (provider, outcome), number in Counter(map(_TRIED, chain.from_iterable(map(_ATTEMPTS, records)))).items():
        if outcome not in _OURS:
            attempts[provider] += number
            if outcome in _FAILURES:
                failures[provider] += number
    ill = [record.status or 0 for record in records if record.code or (record.status or 0) >= _ERROR]
    retries = hedges = 0
    for record in records:
        decision = record.decision
        hedged = decision is not None and decision.hedged
        if hedged or len(record.attempts) > 1:
            retries += max(0, record.asked - 1 - hedged)  # the second leg is none
            hedges += hedged
    return Minute(
        requests=len(records),
        errors=len(ill),
        failed=sum([status >= _FAILED for status in ill]),
        cost=sum(filter(None, map(_COST, records))),
        retries=retries,
        hedges=hedges,
        attempts=attempts,
        failures=failures,
        first=sketch([record.first_part for record in records if record.first_part is not None]).counts,
    )
