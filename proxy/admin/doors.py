"""Each door as it is described: who may open it, what may be asked, what is answered. One table; `proxy.admin.schema`
makes OpenAPI of it."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from proxy.admin.answers import costs, health, others
from proxy.admin.answers.keys import KeyAnswer, KeysAnswer, NewKeyAnswer
from proxy.admin.asking import MOST
from proxy.admin.keys import Rotation
from proxy.admin.signin import SignIn
from proxy.admin.why import LATEST
from proxy.catalog import Listed
from proxy.export import FORMATS
from proxy.feedback import LONGEST_COMMENT
from proxy.keys.terms import Draft, Patch
from proxy.stats import TOP

JSON = "application/json"
TEXT = "text/plain"
Who = Literal["admin", "scraper", "client", "anybody"]
Schema = Mapping[str, Any]


class Query(msgspec.Struct, frozen=True):
    """A parameter: its name, what it means, its JSON Schema, and an example."""

    name: str
    meaning: str
    schema: Schema
    example: Any


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. `answers`: media type -> type, None for plain text. `refuses`: statuses of its own, beyond those
    that `who` implies, with an error object; `texts`: statuses that are answered with a word. `any`: there are more
    refusals, those of vendors among them."""

    id: str
    tag: str
    summary: str
    who: Who
    answers: Mapping[str, Any]
    status: int = 200
    query: tuple[Query, ...] = ()
    body: Any = None
    body_example: Any = None
    refuses: tuple[int, ...] = ()
    texts: Mapping[int, str] = {}
    any: bool = False


_DAY: Schema = {"type": "string", "format": "date", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
_DAYS = (
    Query("start_date", "The first day, in UTC; the first of this month, if it is left out.", _DAY, "2026-11-01"),
    Query("end_date", "The last day, which is within; today, if it is left out.", _DAY, "2026-11-30"),
)


def _number(default: int) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": MOST, "default": default}


_TEXT: Schema = {"type": "string"}
_FEEDBACK: Schema = {
    "type": "object",
    "required": ["request_id", "score"],
    "additionalProperties": False,
    "properties": {
        "request_id": {"type": "string", "minLength": 1, "description": "of the header `x-request-id` of an answer"},
        "score": {"type": "number", "minimum": -1, "maximum": 1, "description": "from bad to good"},
        "comment": {"type": "string", "maxLength": LONGEST_COMMENT},
    },
}
_CHAT: Schema = {
    "type": "object",
    "description": "OpenAI's request, and all of its members: what a vendor cannot honour is refused or reported.",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string", "description": "a model, `provider/model`, `auto`, or an alias"},
        "messages": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "stream": {"type": ["boolean", "null"]},
    },
}
_HELLO = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}

DOORS: Mapping[str, Door] = {
    "GET /providers/health": Door(
        id="health",
        tag="health",
        summary="How each provider and model is",
        who="admin",
        answers={JSON: health.Health},
        query=(Query("provider", "Of this provider alone.", _TEXT, "openai"),),
        refuses=(400, 404),
    ),
    "POST /providers/health/{provider}/reset": Door(
        id="health_reset",
        tag="health",
        summary="Close circuits by hand",
        who="admin",
        answers={JSON: health.Reset},
        query=(Query("model", "The circuit of this model alone.", _TEXT, "gpt-4o-mini"),),
        refuses=(400, 404, 503),
    ),
    "GET /providers/costs/summary": Door(
        id="costs_summary",
        tag="costs",
        summary="Today, this month, and the budgets",
        who="admin",
        answers={JSON: costs.CostsSummary},
        refuses=(400, 503),
    ),
    "GET /providers/costs/stats": Door(
        id="costs_stats",
        tag="costs",
        summary="The ledger, added up",
        who="admin",
        answers={JSON: costs.CostsStats},
        query=(*_DAYS, Query("top", "So many values of each dimension, the dearest.", _number(TOP), 10)),
        refuses=(400, 503),
    ),
    "GET /providers/costs/export": Door(
        id="costs_export",
        tag="costs",
        summary="The ledger, row by row",
        who="admin",
        answers={JSON: list[costs.LedgerRow], "text/csv": None},  # type: ignore[valid-type]  # made of the columns
        query=(*_DAYS, Query("format", "Of the file.", {"enum": list(FORMATS), "default": "json"}, "csv")),
        refuses=(400, 503),
    ),
    "GET /providers/decisions": Door(
        id="decisions",
        tag="decisions",
        summary="Why the latest requests went where they went",
        who="admin",
        answers={JSON: others.Decisions},
        query=(Query("limit", "So many of them.", _number(LATEST), 5),),
        refuses=(400,),
    ),
    "GET /providers/decisions/{request_id}": Door(
        id="decision",
        tag="decisions",
        summary="Why one request went where it went",
        who="admin",
        answers={JSON: others.Decision},
        refuses=(404,),
    ),
    "GET /providers/configuration": Door(
        id="configuration",
        tag="configuration",
        summary="Each value in force, and where it comes from",
        who="admin",
        answers={JSON: others.Configuration},
        refuses=(400,),
    ),
    "GET /keys": Door(
        id="key_list",
        tag="keys",
        summary="All client keys",
        who="admin",
        answers={JSON: KeysAnswer},
        refuses=(400, 503),
    ),
    "POST /keys": Door(
        id="key_create",
        tag="keys",
        summary="A new client key",
        who="admin",
        answers={JSON: NewKeyAnswer},
        status=201,
        body=Draft,
        body_example={"name": "ci", "team": "platform", "expires": "90d", "models": ["gpt-4o*"], "daily": "2.50"},
        refuses=(400, 409, 413, 503),
    ),
    "GET /keys/{name}": Door(
        id="key_one",
        tag="keys",
        summary="One client key",
        who="admin",
        answers={JSON: KeyAnswer},
        refuses=(400, 404, 503),
    ),
    "PATCH /keys/{name}": Door(
        id="key_change",
        tag="keys",
        summary="Other terms for a client key",
        who="admin",
        answers={JSON: KeyAnswer},
        body=Patch,
        body_example={"daily": None, "concurrent": 4},
        refuses=(400, 404, 409, 413, 503),
    ),
    "POST /keys/{name}/rotate": Door(
        id="key_rotate",
        tag="keys",
        summary="Another text for a client key",
        who="admin",
        answers={JSON: NewKeyAnswer},
        body=Rotation,
        body_example={"grace_seconds": 3_600},
        refuses=(400, 404, 409, 413, 503),
    ),
    "DELETE /keys/{name}": Door(
        id="key_revoke",
        tag="keys",
        summary="Revoke a client key",
        who="admin",
        answers={JSON: KeyAnswer},
        refuses=(400, 404, 503),
    ),
    "GET /dashboard/session": Door(
        id="session",
        tag="dashboard",
        summary="Whether one is signed in",
        who="anybody",
        answers={JSON: others.Session},
    ),
    "POST /dashboard/session": Door(
        id="session_begin",
        tag="dashboard",
        summary="Sign in",
        who="anybody",
        answers={},
        status=204,
        body=SignIn,
        body_example={"key": "the admin key"},
        refuses=(400, 401, 403, 413, 429),
    ),
    "DELETE /dashboard/session": Door(
        id="session_end",
        tag="dashboard",
        summary="Sign out",
        who="anybody",
        answers={},
        status=204,
        refuses=(403,),
    ),
    "GET /metrics": Door(
        id="metrics", tag="telemetry", summary="Figures for Prometheus", who="scraper", answers={TEXT: None}
    ),
    "GET /openapi.json": Door(
        id="openapi", tag="telemetry", summary="This description", who="anybody", answers={JSON: dict[str, Any]}
    ),
    "GET /healthz": Door(id="healthz", tag="telemetry", summary="Alive", who="anybody", answers={TEXT: None}),
    "GET /readyz": Door(
        id="readyz",
        tag="telemetry",
        summary="Ready for traffic",
        who="anybody",
        answers={TEXT: None},
        texts={503: "Draining: what is under way is finished, and nothing new should come."},
    ),
    "POST /v1/chat/completions": Door(
        id="chat",
        tag="OpenAI",
        summary="A chat completion",
        who="client",
        answers={JSON: others.Completion, "text/event-stream": None},
        body=_CHAT,
        body_example=_HELLO,
        any=True,
    ),
    "GET /v1/models": Door(
        id="models", tag="OpenAI", summary="The models on offer", who="client", answers={JSON: others.Models}
    ),
    "GET /v1/models/{model_id}": Door(
        id="model",
        tag="OpenAI",
        summary="One model",
        who="client",
        answers={JSON: Listed},
        refuses=(404,),
    ),
    "POST /v1/feedback": Door(
        id="feedback",
        tag="OpenAI",
        summary="What the caller says of an answer",
        who="client",
        answers={JSON: others.Judged},
        body=_FEEDBACK,
        body_example={"request_id": "req_0f6c1f0a7d3e4b5c", "score": 1, "comment": "Just right."},
        refuses=(400, 404, 413),
    ),
}
