"""What a span and a measurement say of a request. Pure.

By the semantic conventions for generative AI, v0.1.0 (github.com/open-telemetry/semantic-conventions-genai), and for
the request as a whole by those for HTTP servers, v1.45.0. What they have no word for begins with "tollhouse.".
`ATTRIBUTES` and `INSTRUMENTS` say what there is; docs/telemetry.md is made of them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from adapters.base import Kind
from proxy.cost import dollars
from proxy.providers import Provider
from proxy.telemetry import Attempt, Record

OPERATION = "chat"
ROUTE = "/v1/chat/completions"
_UNSENT = frozenset({Kind.BUDGET.value, Kind.STORE.value, Kind.UNSUPPORTED.value})
_BLAMELESS = frozenset({"ok", "cancelled", "hedge_lost"})
_PORTS = {"http": 80, "https": 443}
# The words of the conventions, where they are not ours: of a vendor, and of a row of configuration.
_VENDORS = {"gemini": "gcp.gemini", "anthropic": "anthropic"}
_NAMES = {"mistral": "mistral_ai", "xai": "x_ai", "azure": "azure.ai.openai"}
_SERVER_FAULT = 500
_MILLI = 1_000

Value = str | bool | int | float | Sequence[str]


class Server(NamedTuple):
    """Whom an attempt went to: its name in the conventions, and where it is."""

    name: str
    address: str
    port: int


class Attribute(NamedTuple):
    """One attribute: of which spans (`server`: the request, `client`: each attempt), its type and unit, its meaning."""

    spans: str
    type: str
    meaning: str


_BOTH = "server, client"
ATTRIBUTES: dict[str, Attribute] = {
    "http.request.method": Attribute("server", "string", "`POST`"),
    "http.route": Attribute("server", "string", f"`{ROUTE}`"),
    "url.path": Attribute("server", "string", f"`{ROUTE}`"),
    "url.scheme": Attribute("server", "string", "`http`: what encrypts stands before us"),
    "http.response.status_code": Attribute("server", "int", "what the client heard; not there if it heard nothing"),
    "error.type": Attribute(
        _BOTH, "string", "server: the error's `code`, from 500 on; client: the kind of the failure"
    ),
    "gen_ai.operation.name": Attribute(_BOTH, "string", f"`{OPERATION}`"),
    "gen_ai.request.model": Attribute(_BOTH, "string", "server: what the client asked for; client: who was asked"),
    "gen_ai.request.stream": Attribute(_BOTH, "boolean", "whether the answer was to be streamed"),
    "gen_ai.provider.name": Attribute("client", "string", "who was asked: `openai`, `anthropic`, `gcp.gemini`, ..."),
    "server.address": Attribute("client", "string", "where it is, from its base URL"),
    "server.port": Attribute("client", "int", "its port"),
    "gen_ai.response.model": Attribute("client", "string", "who answered, of the attempt that did"),
    "gen_ai.response.finish_reasons": Attribute(
        "client", "string[]", "why the answer ended, of the attempt that gave it"
    ),
    "gen_ai.response.time_to_first_chunk": Attribute("client", "double, seconds", "until a stream's first part"),
    "gen_ai.usage.input_tokens": Attribute("client", "int, tokens", "all that went in, cached or not"),
    "gen_ai.usage.output_tokens": Attribute("client", "int, tokens", "all that came out, reasoning included"),
    "gen_ai.usage.cache_read.input_tokens": Attribute("client", "int, tokens", "read from the vendor's cache"),
    "gen_ai.usage.cache_creation.input_tokens": Attribute("client", "int, tokens", "written to the vendor's cache"),
    "gen_ai.usage.reasoning.output_tokens": Attribute("client", "int, tokens", "of reasoning"),
    "tollhouse.upstream_id": Attribute("client", "string", "the vendor's own id of the request"),
    "tollhouse.outcome": Attribute("client", "string", "`ok`, `cancelled`, `hedge_lost` or the kind of the failure"),
    "tollhouse.request_id": Attribute("server", "string", "ours: the client has it as `x-request-id`"),
    "tollhouse.user": Attribute("server", "string", "who spends"),
    "tollhouse.agent": Attribute("server", "string", "which agent spends"),
    "tollhouse.team": Attribute("server", "string", "whose team"),
    "tollhouse.key": Attribute("server", "string", "the name of the client's key"),
    "tollhouse.strategy": Attribute("server", "string", "the strategy that chose"),
    "tollhouse.group": Attribute("server", "string", "the alias that was asked for"),
    "tollhouse.task": Attribute("server", "string", "what the request was for"),
    "tollhouse.order": Attribute("server", "string[]", "who was to be asked, the first one first"),
    "tollhouse.hedged": Attribute("server", "boolean", "true: a second one was asked before the first had answered"),
    "tollhouse.least_bad": Attribute("server", "boolean", "true: all circuits were open"),
    "tollhouse.attempts": Attribute("server", "int", "how many tries there were"),
    "tollhouse.code": Attribute("server", "string", "why it failed: the `code` of the error object"),
    "tollhouse.cost_nano": Attribute("server", "int, nano-dollars", "what the attempt that answered cost"),
    "tollhouse.cost_usd": Attribute("server", "string, US dollars", "the same, as a decimal"),
    "tollhouse.queue": Attribute("server", "double, seconds", "of waiting for a rate limit, or until a retry"),
    "tollhouse.hold": Attribute("server", "double, seconds", "until the store had held the money"),
    "tollhouse.vendors": Attribute("server", "double, seconds", "with all vendors, until the first part of the answer"),
    "tollhouse.overhead": Attribute("server", "double, seconds", "our own, until the first part of the answer"),
}

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(float(4**power) for power in range(14))


class Instrument(NamedTuple):
    """One histogram: its unit (UCUM), its buckets, its meaning, its attributes. All have `gen_ai.operation.name`,
    `gen_ai.provider.name` and `gen_ai.request.model`: there, the entry of the price table, or `other`."""

    unit: str
    buckets: Sequence[float]
    meaning: str
    more: tuple[str, ...] = ()


_PLACE = ("server.address", "server.port")
INSTRUMENTS: dict[str, Instrument] = {
    "gen_ai.client.operation.duration": Instrument(
        "s", _SECONDS, "Of each attempt that was sent", (*_PLACE, "error.type")
    ),
    "gen_ai.client.operation.time_to_first_chunk": Instrument(
        "s", _SECONDS, "From the beginning of an attempt to the first part of its stream", _PLACE
    ),
    "gen_ai.client.token.usage": Instrument(
        "{token}", _TOKENS, "Tokens of the answer, as the vendor bills them", (*_PLACE, "gen_ai.token.type")
    ),
    "gen_ai.server.request.duration": Instrument(
        "s", _SECONDS, "Of each request that somebody answered", ("error.type",)
    ),
    "gen_ai.server.time_to_first_token": Instrument("s", _SECONDS, "Until the first part of the answer to a stream"),
}


class Measured(NamedTuple):
    """One measurement for an instrument."""

    instrument: str
    value: float
    attributes: Mapping[str, Value]


def server(provider: Provider) -> Server:
    """Who and where a provider is."""
    url = urlsplit(provider.base_url)
    name = _VENDORS.get(provider.vendor) or _NAMES.get(provider.name, provider.name)
    return Server(name, url.hostname or "", url.port or _PORTS.get(url.scheme, 0))


def sent(attempt: Attempt) -> bool:
    """Whether it got as far as the vendor, or its way there."""
    return attempt.outcome not in _UNSENT


def answering(record: Record) -> Attempt | None:
    """The attempt that the client heard."""
    named = record.provider, record.served
    return next((one for one in reversed(record.attempts) if (one.provider, one.model) == named), None)


def fault(record: Record) -> str | None:
    """What the request as a whole failed by, if it was not its client's fault."""
    return record.code or str(record.status) if (record.status or 0) >= _SERVER_FAULT else None


def failed(attempt: Attempt) -> str | None:
    """What an attempt failed by."""
    return None if attempt.outcome in _BLAMELESS else attempt.outcome


def _known(said: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in said.items() if value is not None and value != "" and value != ()}


def of_request(record: Record) -> dict[str, Value]:
    """The attributes of the span of the request as a whole."""
    decision, timings = record.decision, record.timings
    said: dict[str, Value | None] = {
        "http.request.method": "POST",
        "http.route": ROUTE,
        "url.path": ROUTE,
        "url.scheme": "http",
        "http.response.status_code": record.status if record.code != "client_left" else None,
        "error.type": fault(record),
        "gen_ai.operation.name": OPERATION,
        "gen_ai.request.model": record.model,
        "gen_ai.request.stream": record.stream,
        "tollhouse.attempts": len(record.attempts),
        "tollhouse.cost_nano": record.cost_nano,
        "tollhouse.cost_usd": None if record.cost_nano is None else dollars(record.cost_nano),
    }
    for name in ("request_id", "user", "agent", "team", "key", "code"):
        said[f"tollhouse.{name}"] = getattr(record, name)
    if decision is not None:
        for name in ("strategy", "group", "task", "order"):
            said[f"tollhouse.{name}"] = getattr(decision, name)
        for name in ("hedged", "least_bad"):
            said[f"tollhouse.{name}"] = getattr(decision, name) or None
    for name in ("queue", "hold", "vendors", "overhead") if record.attempts else ():
        milliseconds = getattr(timings, name)
        said[f"tollhouse.{name}"] = None if milliseconds is None else milliseconds / _MILLI
    return _known(said)


def of_attempt(attempt: Attempt, record: Record, where: Server | None) -> dict[str, Value]:
    """The attributes of the span of one attempt; that of the answer has the most to say."""
    said: dict[str, Value | None] = {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.provider.name": where.name if where else attempt.provider,
        "gen_ai.request.model": attempt.model,
        "gen_ai.request.stream": record.stream,
        "server.address": where.address if where else None,
        "server.port": where.port if where and where.port else None,
        "error.type": failed(attempt),
        "tollhouse.outcome": attempt.outcome,
    }
    if attempt is answering(record):
        said["gen_ai.response.model"] = record.served
        said["gen_ai.response.finish_reasons"] = (record.finish,) if record.finish else None
        said["gen_ai.response.time_to_first_chunk"] = _first_chunk(attempt, record)
        said["tollhouse.upstream_id"] = record.upstream_id
        if (usage := record.usage) is not None:
            said["gen_ai.usage.input_tokens"] = usage.prompt
            said["gen_ai.usage.output_tokens"] = usage.completion
            said["gen_ai.usage.cache_read.input_tokens"] = usage.cached or None
            said["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_written or None
            said["gen_ai.usage.reasoning.output_tokens"] = usage.out_reasoning or None
    return _known(said)


def _first_chunk(attempt: Attempt, record: Record) -> float | None:
    if not record.stream or record.first_part is None:
        return None
    return max(0.0, record.first_part - attempt.started) / _MILLI


def measured(record: Record, servers: Mapping[str, Server]) -> list[Measured]:
    """What there is to measure of a request; nothing of one that nobody was asked for."""
    found: list[Measured] = []
    heard = answering(record)
    for attempt in record.attempts:
        if not sent(attempt):
            continue
        where = servers.get(attempt.provider)
        named: dict[str, Value] = {
            "gen_ai.operation.name": OPERATION,
            "gen_ai.provider.name": where.name if where else attempt.provider,
            "gen_ai.request.model": attempt.counted,
        }
        at = {**named, "server.address": where.address, "server.port": where.port} if where else named
        why = failed(attempt)
        ended = {**at, "error.type": why} if why else at
        found.append(Measured("gen_ai.client.operation.duration", attempt.milliseconds / _MILLI, ended))
        if attempt is heard:
            found += _of_answer(record, attempt, named, at)
    return found


def _of_answer(record: Record, attempt: Attempt, named: Mapping[str, Value], at: Mapping[str, Value]) -> list[Measured]:
    why = fault(record)
    ended = {**named, "error.type": why} if why else named
    found = [Measured("gen_ai.server.request.duration", record.total / _MILLI, ended)]
    if (first := _first_chunk(attempt, record)) is not None and record.first_part is not None:
        found.append(Measured("gen_ai.client.operation.time_to_first_chunk", first, at))
        found.append(Measured("gen_ai.server.time_to_first_token", record.first_part / _MILLI, named))
    if record.usage is not None:
        for kind, tokens in (("input", record.usage.prompt), ("output", record.usage.completion)):
            found.append(Measured("gen_ai.client.token.usage", tokens, {**at, "gen_ai.token.type": kind}))
    return found
