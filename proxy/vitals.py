"""What `GET /providers/health` says of each provider and model, and whom a reset may name. Pure.

The circuit, the counts and the percentiles of an entry are those that all replicas share; `own` is what this replica
alone has seen, and `standing` what it goes by when it chooses: the worst of the circuits of the model, of its provider
and of our own way there.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from proxy.catalog import Catalog, ProviderRow
from proxy.health import Cell, Policy, Standing, circuit
from proxy.health.circuit import Circuit
from proxy.health.pace import Sketch
from proxy.health.ratelimit import Windows
from proxy.prices import Class
from proxy.stats import iso

PROVIDER = ""  # the cell of a provider itself, in place of a model's name
LINE = "line"  # the cell of our own way to a provider
_PERCENTILES = (50, 95, 99)
_NOTHING = Cell()

Key = tuple[str, str]  # provider, model
Cells = Mapping[Key, Cell]
Json = dict[str, Any]


def models(catalog: Catalog, rows: Sequence[ProviderRow], *known: Iterable[Key]) -> dict[str, list[str]]:
    """Who is shown: of each provider those that it stands in with, and all of which something is known."""
    seen = {key for keys in known for key in keys if key[1] not in (PROVIDER, LINE)}
    shown: dict[str, list[str]] = {}
    for row in rows:
        first = (model.model for class_ in get_args(Class) if (model := catalog.preferred(row, class_)))
        rest = sorted(model for provider, model in seen if provider == row.name)
        shown[row.name] = list(dict.fromkeys((*first, *rest)))
    return shown


def counted(catalog: Catalog, row: ProviderRow, name: str, *known: Iterable[Key]) -> str | None:
    """The name under which a model is counted at a provider, for a name that people use; None if it is not known.

    `provider/model` is such a name, too: so the log and all answers call it.
    """
    for said in (name, name.removeprefix(f"{row.name}/")):
        if any((row.name, said) in keys for keys in known) and said not in (PROVIDER, LINE):
            return said
        model = catalog.offer(row, said)
        if model and model.kind == "chat":
            return model.model
    return None


def health(
    shown: Mapping[str, Sequence[str]],
    shared: Cells,
    own: Cells,
    standings: Mapping[Key, Standing],
    policy: Policy,
    now: int,
) -> Json:
    """`{provider: {CIRCUIT, "totals", "own": {"line": CIRCUIT}, "models": {model: {CIRCUIT, ...}}}}`.

    A moment is in ISO 8601, UTC, and null if there is none; a rate is from 0 to 1, null if nothing was counted.
    """
    return {
        provider: {
            **circuit_json(shared.get((provider, PROVIDER), _NOTHING).circuit, policy, now),
            "totals": _totals(shared.get((provider, PROVIDER), _NOTHING)),
            "own": {"line": circuit_json(own.get((provider, LINE), _NOTHING).circuit, policy, now)},
            "models": {
                model: _model(
                    shared.get((provider, model), _NOTHING),
                    own.get((provider, model), _NOTHING),
                    standings[provider, model],
                    policy,
                    now,
                )
                for model in names
            },
        }
        for provider, names in shown.items()
    }


def _model(cell: Cell, own: Cell, standing: Standing, policy: Policy, now: int) -> Json:
    return {
        **circuit_json(cell.circuit, policy, now),
        "totals": _totals(cell),
        "first_part_ms": _percentiles(cell.first),
        "total_ms": _percentiles(cell.whole),
        "tokens_per_second": {"p50": _rounded(cell.speed.quantile(0.5))},
        "limits": _limits(cell.windows, now),
        "rate_limited_until": _moment(cell.blocked if cell.blocked > now else 0),
        "in_flight": standing.in_flight,
        "stalled": standing.stalled,
        "standing": standing_json(standing),
        "own": {**_rates(own.circuit, policy, now), "totals": _totals(own)},
    }


def circuit_json(breaker: Circuit, policy: Policy, now: int) -> Json:
    """A circuit: `until` is the end of its cooldown, `next_probe` when a probe may go: null if none may, or none must.

    `openings` counts those that followed each other without a long rest in between.
    """
    state = circuit.state(breaker, now)
    free = circuit.admit(breaker, "", policy, now) is not None
    return {
        "state": state,
        "since": _moment(breaker.since),
        "until": _moment(breaker.until if breaker.opened else 0),
        "next_probe": _moment(breaker.until if state == "open" else now if free else 0),
        "why": breaker.why or None if breaker.opened else None,
        **_rates(breaker, policy, now),
        "openings": breaker.openings,
        "probes": {"in_flight": sum(until > now for until in breaker.probes.values()), "passed": breaker.passed},
        "share": round(circuit.share(breaker, policy, now), 3),
    }


def standing_json(standing: Standing) -> Json:
    """How a candidate stands, as a choice sees it; `scope` says whose circuit it is that is not closed."""
    shut = standing.state != "closed"
    return {
        "state": standing.state,
        "scope": standing.scope if shut else None,
        "since": _moment(standing.since),
        "until": _moment(standing.until),
        "why": standing.why or None,
        "share": round(standing.share, 3),
        "rate_limited_until": _moment(standing.blocked),
        "expected_first_part_ms": _rounded(standing.first),
    }


def _rates(breaker: Circuit, policy: Policy, now: int) -> Json:
    ok, failed = circuit.counts(breaker, policy, now)
    return {
        "failure_rate": round(failed / (ok + failed), 4) if ok + failed else None,
        "window": {"seconds": policy.window, "ok": ok, "failed": failed},
        "consecutive_failures": breaker.consecutive,
    }


def _totals(cell: Cell) -> Json:
    return {
        "ok": cell.ok,
        "failed": cell.failed,
        "rate_limited": cell.limited,
        "others": cell.others,
        "since": _moment(cell.born),
    }


def _percentiles(sketch: Sketch) -> Json:
    return {f"p{percent}": _rounded(sketch.quantile(percent / 100)) for percent in _PERCENTILES}


def _limits(windows: Windows, now: int) -> Json:
    """What is left by now, as far as the vendor has told; `resets_at`: when all of it is there again, null if it is."""
    return {
        kind: {
            "limit": window.limit,
            "left": max(0, int(window.left(now))),
            "resets_at": _moment(window.reset if window.reset > now else 0),
        }
        for kind, window in sorted(windows.items())
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _moment(at: int) -> str | None:
    return iso(at) if at else None
