"""What is told of health. Moments are null where there is none, rates and times where nothing was counted."""

from proxy.admin.answers.said import Count, Milliseconds, Moment, Said, Share
from proxy.health.circuit import State


class Counted(Said):
    seconds: Milliseconds
    ok: Count
    failed: Count


class Probes(Said):
    in_flight: Count
    passed: Count


class Rates(Said):
    failure_rate: Share | None
    window: Counted
    consecutive_failures: Count


class Circuit(Rates):
    """A circuit breaker: closed, open until its cooldown is over, then half-open while probes go."""

    state: State
    since: Moment | None
    until: Moment | None
    next_probe: Moment | None
    why: str | None
    openings: Count
    probes: Probes
    share: Share


class Totals(Said):
    ok: Count
    failed: Count
    rate_limited: Count
    others: Count
    since: Moment | None


class Line(Said):
    line: Circuit


class Percentiles(Said):
    p50: Milliseconds | None
    p95: Milliseconds | None
    p99: Milliseconds | None


class Median(Said):
    p50: float | None


class Limit(Said):
    limit: float
    left: Count
    resets_at: Moment | None


class Standing(Said):
    """How it stands for the next choice: the worst of its circuits."""

    state: State
    scope: str | None
    since: Moment | None
    until: Moment | None
    why: str | None
    share: Share
    rate_limited_until: Moment | None
    expected_first_part_ms: Milliseconds | None


class OwnRates(Rates):
    totals: Totals


class ModelHealth(Circuit):
    totals: Totals
    first_part_ms: Percentiles
    total_ms: Percentiles
    tokens_per_second: Median
    limits: dict[str, Limit]
    rate_limited_until: Moment | None
    in_flight: Count
    stalled: bool
    standing: Standing
    own: OwnRates


class ProviderHealth(Circuit):
    totals: Totals
    own: Line
    models: dict[str, ModelHealth]


class Health(Said):
    """`shared` is false while other replicas cannot be heard."""

    at: Moment
    replica: str
    shared: bool
    providers: dict[str, ProviderHealth]


class Reset(Said):
    """The circuits that were closed."""

    reset: list[str]
