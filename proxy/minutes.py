"""What requests add to the minute in which they ended. Pure, but for what a `Record` is."""

from collections import Counter
from collections.abc import Sequence

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


def of(records: Sequence[Record]) -> Minute:
    """The sums of requests that ended in one minute."""
    attempts, failures = Counter[str](), Counter[str]()
    errors = failed = cost = retries = hedges = 0
    for record in records:
        status, decision = record.status or 0, record.decision
        if record.code or status >= 400:
            errors += 1
            failed += status >= 500
        cost += record.cost_nano or 0
        reached = 0
        for attempt in record.attempts:
            if attempt.outcome not in _OURS:
                reached += 1
                attempts[attempt.provider] += 1
                if attempt.outcome in _FAILURES:
                    failures[attempt.provider] += 1
        if reached > 1:
            retries += reached - 1
        if decision is not None and decision.hedged:
            hedges += 1
            retries -= reached > 1  # the second leg is none
    return Minute(
        requests=len(records),
        errors=errors,
        failed=failed,
        cost=cost,
        retries=retries,
        hedges=hedges,
        attempts=attempts,
        failures=failures,
        first=sketch([record.first_part for record in records if record.first_part is not None]).counts,
    )
