"""An example of each answer, for the description of the doors: written by the rooms that write the answers."""

from collections.abc import Callable, Mapping
from typing import Any

from adapters.base import Usage
from proxy import decisions, vitals
from proxy.budget import Budget
from proxy.catalog import Listed
from proxy.configuration import Row
from proxy.cost import NANO
from proxy.decisions import Decisions
from proxy.export import flat
from proxy.health import Cell, Policy, Standing
from proxy.health.circuit import Circuit
from proxy.ledger import Counter, Entry
from proxy.stats import Stats, iso, summary
from proxy.telemetry import Attempt, Decision, Record

_AT = 1_795_435_200_000  # 2026-11-23T12:00:00Z
_REPLICA = "4f1d2c9ab0e3"
_REQUEST = "req_0f6c1f0a7d3e4b5c"
_ROW = Entry(
    id=f"{_REQUEST}/1",
    request=_REQUEST,
    at=_AT,
    provider="openai",
    model="gpt-4o-mini",
    served="gpt-4o-mini",
    asked="gpt-4o-mini",
    key="key-1f2e3d4c",
    user="alice",
    status=200,
    usage=Usage(in_text=1_200, out_text=310),
    cost=366_000,
    held=1_500_000,
    price="2026-11-01/9c1e",
    first=412.5,
    total=1_730.2,
)


def _summary() -> Any:
    spent = {"all": Counter(3 * NANO, NANO // 4), "provider=openai": Counter(3 * NANO, NANO // 4)}
    return summary([Budget(limit=20 * NANO, window="day")], _AT, spent, spent)


def _stats() -> Any:
    stats = Stats(hours=False)
    stats.add(_ROW)
    return {"start_date": "2026-11-01", "end_date": "2026-12-31", **stats.to_json()}


def _health() -> Any:
    opened = Circuit(opened=True, since=_AT - 60_000, until=_AT + 240_000, why="transient", openings=1, consecutive=5)
    cells = {("openai", "gpt-4o-mini"): Cell(circuit=opened, ok=210, failed=5, born=_AT - 7_200_000)}
    standing = Standing(state="open", since=_AT - 60_000, until=_AT + 240_000, why="transient")
    shown = {"openai": ["gpt-4o-mini"]}
    providers = vitals.health(shown, cells, cells, {("openai", "gpt-4o-mini"): standing}, Policy(), _AT)
    return {"at": iso(_AT), "replica": _REPLICA, "shared": True, "providers": providers}


def _decision() -> Any:
    tried = (
        Attempt("openai", "gpt-4o-mini", "transient", 118.4, "The server had an error."),
        Attempt("gemini", "gemini-3.8-flash", "ok", 630.9),
    )
    record = Record(
        _REQUEST,
        0.0,
        model="auto",
        user="alice",
        provider="gemini",
        served="gemini-3.8-flash",
        status=200,
        cost_nano=366_000,
        attempts=list(tried),
        decision=Decision(strategy="cost", order=("openai/gpt-4o-mini", "gemini/gemini-3.8-flash")),
        first_part=749.3,
        total=749.9,
    )
    remembered = Decisions(1, wall=lambda: _AT / 1_000)
    remembered(record)
    return decisions.to_json(remembered.latest(1)[0])


def _configuration() -> Any:
    rows = [
        Row("retries.rounds", 3, "file", "/etc/tollhouse/config.yaml"),
        Row("strategy", "cost", "environment", "LLM_ROUTING_STRATEGY"),
        Row("health.cooldown", 300.0, "default"),
        Row("admin_key", {"set": True, "fingerprint": "1f2e3d4c"}, "environment", "TOLLHOUSE_ADMIN_KEY_FILE"),
    ]
    return {"replica": _REPLICA, "values": rows}


def _model() -> Listed:
    return Listed(id="gpt-4o-mini", created=1_721_260_800, owned_by="openai")


def _completion() -> Any:
    message = {"role": "assistant", "content": "Hello!", "refusal": None}
    return {
        "id": "chatcmpl-7d3e4b5c",
        "object": "chat.completion",
        "created": _AT // 1_000,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }


# Operation -> its answer.
EXAMPLES: Mapping[str, Callable[[], Any]] = {
    "costs_summary": _summary,
    "costs_stats": _stats,
    "costs_export": lambda: [flat(_ROW)],
    "health": _health,
    "health_reset": lambda: {"reset": ["openai/gpt-4o-mini"]},
    "decisions": lambda: {"replica": _REPLICA, "kept": 1, "decisions": [_decision()]},
    "decision": lambda: {"replica": _REPLICA, **_decision()},
    "configuration": _configuration,
    "session": lambda: {"needed": True, "signed_in": True, "expires_at": iso(_AT)},
    "models": lambda: {"object": "list", "data": [_model()]},
    "model": _model,
    "feedback": lambda: {"object": "feedback", "request_id": _REQUEST, "score": 1.0, "comment": "Just right."},
    "chat": _completion,
}
