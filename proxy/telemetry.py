"""One record per request, and those who listen to it; and the one wide line that the log has of it.

`FIELDS` says what is in that line: docs/telemetry.md is made of it, and a test holds it to what is said.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from adapters.base import Failure, Kind, Usage
from proxy.cost import dollars
from proxy.routing import Out
from proxy.routing.candidate import OTHER

_OURS = frozenset({Kind.BUDGET.value, Kind.STORE.value})
HEDGE_LOST = "hedge_lost"  # the outcome of an attempt that was cancelled because another answered first


def milliseconds(seconds: float) -> float:
    """The same, to the microsecond. `round` takes four times as long, and each request has nine durations."""
    return (seconds * 1e6 + 0.5) // 1 / 1e3


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One try at one provider: `outcome` is `ok` or the kind of the failure; milliseconds until it was known."""

    provider: str
    model: str
    outcome: str
    milliseconds: float
    message: str | None = None
    started: float = 0.0  # milliseconds since the request's start
    counted: str = OTHER  # its entry in the price table: what a curve may be named by, as no client makes it up


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request went where it went. Names are provider/model; `waited` is in milliseconds, for a rate limit."""

    strategy: str
    group: str | None = None  # the alias that was asked for
    task: str | None = None
    order: tuple[str, ...] = ()  # who was to be asked, first one first
    out: tuple[Out, ...] = ()
    least_bad: bool = False  # all circuits were open: the first of `order` was asked all the same
    waited: float = 0.0
    hedged: bool = False  # a second one was asked before the first had answered


class Timings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the time went, until the first part of the answer; milliseconds. 0: none; None: it never came to that.

    `overhead` is our own: what is left of `Record.first_part` when all the others are taken off, and what was waited
    for until the request's body was here, for remote images and for the key's quota. After the first part a stream is
    passed on as it comes, so that our own time there cannot be told from the vendor's.
    """

    queue: float = 0.0  # for a vendor's rate limit, or until a retry
    hold: float = 0.0  # until the store had held the money, for all attempts
    connect: float | None = None  # of the connection that answered; None: it was open already
    first_byte: float | None = None  # of the vendor who answered, from the sending on
    vendors: float = 0.0  # with all vendors who were asked
    overhead: float | None = None


class Record(msgspec.Struct, omit_defaults=True):
    """What there is to say of a request once it is over. Times in milliseconds since its start. No text of prompts."""

    request_id: str
    started: float  # seconds, of the clock that the gate was given
    model: str | None = None
    stream: bool = False
    user: str | None = None
    agent: str | None = None
    team: str | None = None
    key: str | None = None  # the name of the client's key
    provider: str | None = None
    served: str | None = None
    upstream_id: str | None = None
    status: int | None = None
    code: str | None = None
    finish: str | None = None
    usage: Usage | None = None
    cost_nano: int | None = None  # nano-dollars; None: the price, or the usage, is not known
    estimated: bool | None = None  # the vendor did not say what was used; the row of the ledger has our count
    attempts: list[Attempt] = []
    decision: Decision | None = None
    warnings: str = ""
    first_part: float | None = None
    total: float = 0.0
    timings: Timings = Timings()
    trace: str | None = None  # the id of the trace it belongs to (W3C), if its client named one or we began one
    span: str | None = None  # of our own work on it
    parent: str | None = None  # the client's span
    sampled: bool = False
    prompt: str | None = None  # what was asked and answered: only if the log is to show it, shortened and redacted
    answer: str | None = None
    numbered: int = 0  # attempts for which money was held, or was to be: the number of the last one

    @property
    def asked(self) -> int:
        """How many providers were asked; who was passed over for want of money was not."""
        return sum(attempt.outcome not in _OURS for attempt in self.attempts)

    def fail(self, failure: Failure) -> None:
        """The request, or its stream, came to this."""
        self.status, self.code = failure.status, failure.code or failure.kind.value


Sink = Callable[[Record], None]


class Field(NamedTuple):
    """One field of the line of a request: its unit (empty: none), what it says, and when it is there (empty: always).

    What is not known is not said; so a field that is not there is no zero, unless its meaning says so.
    """

    unit: str
    meaning: str
    when: str = ""


_CHOSEN, _ANSWERED, _TRACED = "somebody was to be asked", "a vendor has answered", "it is traced"
_ASKED, _GOOD, _PRICED = "an attempt was made", "the usage is known", "the price is known, too"
_SHOWN = "`TOLLHOUSE_LOG_PROMPTS` is set"
FIELDS: dict[str, Field] = {
    "event": Field("", "`request`"),
    "level": Field("", "`info`: how a request ended is no fault of the log's"),
    "timestamp": Field("ISO 8601, UTC", "when it was over"),
    "request_id": Field("", "ours; the client has it as `x-request-id`"),
    "model": Field("", "what the client asked for", "the body could be read"),
    "stream": Field("", "whether the answer was to be streamed"),
    "user": Field("", "who spends", "somebody was named"),
    "agent": Field("", "which agent spends", "one was named"),
    "team": Field("", "whose team", "its key says so"),
    "key": Field("", "the name of the client's key, never the key", "it came with one"),
    "provider": Field("", "who answered", _ANSWERED),
    "served": Field("", "the model that answered, by its name on the wire", _ANSWERED),
    "upstream_id": Field("", "the vendor's own id of the request", "the vendor told one"),
    "status": Field("HTTP status", "what the client heard; 499: it had left", "it came to that"),
    "code": Field("", "why it failed: the `code` of the error object, or the kind of the failure", "it failed"),
    "finish": Field("", "why the answer ended: `finish_reason`", _ANSWERED),
    "usage": Field("tokens, calls", "what was used, in disjoint kinds; one that is not there is 0", _GOOD),
    "input_tokens": Field("tokens", "all that went in, cached or not", _GOOD),
    "output_tokens": Field("tokens", "all that came out, reasoning included", _GOOD),
    "cost_nano": Field(
        "nano-dollars", "what the attempt that answered cost, as an integer", "price and usage are known"
    ),
    "cost_usd": Field("US dollars", "the same, as a decimal in a string", "price and usage are known"),
    "estimated": Field("", "the vendor did not say what was used: the row of the ledger has our count", "it is so"),
    "attempts": Field(
        "milliseconds",
        "each try, in the order in which they ended: `provider`, `model`, `outcome` (`ok`, `cancelled`, `hedge_lost`, "
        "or the kind of the failure), `started` (since the request came; not there: 0), `milliseconds` until the "
        "outcome was known, and the `message` of a failure",
        _ASKED,
    ),
    "decision": Field(
        "milliseconds",
        "why it went where it went: `strategy`, `group`, `task`, `order`, `out` (who was out, and why), `least_bad`, "
        "`waited` for a rate limit, `hedged`",
        _CHOSEN,
    ),
    "warnings": Field("", "what the vendor could not be asked for as the client asked: `x-tollhouse-warnings`", "any"),
    "first_part_ms": Field("milliseconds", "until the first part of the answer was passed on", _ANSWERED),
    "total_ms": Field("milliseconds", "until it was over"),
    "queue_ms": Field("milliseconds", "of waiting for a rate limit, or until a retry", _ASKED),
    "hold_ms": Field("milliseconds", "until the store had held the money, for all attempts", _ASKED),
    "vendors_ms": Field("milliseconds", "with all vendors who were asked, until the first part of the answer", _ASKED),
    "connect_ms": Field("milliseconds", "until the connection that answered was made", "it was not open already"),
    "first_byte_ms": Field("milliseconds", "from the sending until the vendor's answer began", _ANSWERED),
    "overhead_ms": Field(
        "milliseconds",
        "our own: `first_part_ms` without queue, hold and vendors, nor what the request's body, remote images and the "
        "key's quota were waited for",
        _ANSWERED,
    ),
    "trace_id": Field("", "W3C trace id, 32 hexadecimal digits", _TRACED),
    "span_id": Field("", "our own span in it, 16 hexadecimal digits", "OpenTelemetry is on"),
    "parent_span_id": Field("", "the client's span", "the client sent `traceparent`"),
    "sampled": Field("", "whether the trace is recorded", _TRACED),
    "prompt": Field("", "the last messages, redacted, then shortened", _SHOWN),
    "answer": Field("", "what was answered, redacted, then shortened", _SHOWN),
}


class _Tried(msgspec.Struct, omit_defaults=True):
    """An `Attempt` without the name for curves: the line has the one on the wire."""

    provider: str
    model: str
    outcome: str
    milliseconds: float
    message: str | None = None
    started: float = 0.0


class Line(msgspec.Struct, omit_defaults=True):
    """What the log says of a request, but for what all lines have: the fields of `FIELDS`. None: not known, not said.

    A struct, for it is written as it stands: to fill a dict and to write that takes twice as long.
    """

    request_id: str
    stream: bool
    total_ms: float
    model: str | None = None
    user: str | None = None
    agent: str | None = None
    team: str | None = None
    key: str | None = None
    provider: str | None = None
    served: str | None = None
    upstream_id: str | None = None
    status: int | None = None
    code: str | None = None
    finish: str | None = None
    usage: Usage | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_nano: int | None = None
    cost_usd: str | None = None
    estimated: bool | None = None
    attempts: list[_Tried] | None = None
    decision: Decision | None = None
    warnings: str = ""
    first_part_ms: float | None = None
    queue_ms: float | None = None
    hold_ms: float | None = None
    vendors_ms: float | None = None
    connect_ms: float | None = None
    first_byte_ms: float | None = None
    overhead_ms: float | None = None
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    sampled: bool | None = None
    prompt: str | None = None
    answer: str | None = None


def line(record: Record) -> dict[str, Any]:
    """What the log says of a request: the fields of `FIELDS`, of which everything that is known."""
    said: dict[str, Any] = msgspec.to_builtins(told(record))
    return said


def told(record: Record) -> Line:
    """The same, to be written at once."""
    usage, cost, tried, timings = record.usage, record.cost_nano, record.attempts, record.timings
    said = Line(  # by place: by name it takes twice as long
        record.request_id,
        record.stream,
        record.total,
        record.model,
        record.user,
        record.agent,
        record.team,
        record.key,
        record.provider,
        record.served,
        record.upstream_id,
        record.status,
        record.code,
        record.finish,
        usage,
        None if usage is None else usage.prompt,
        None if usage is None else usage.completion,
        cost,
        None if cost is None else dollars(cost),
        record.estimated,
        [_Tried(one.provider, one.model, one.outcome, one.milliseconds, one.message, one.started) for one in tried]
        or None,
        record.decision,
        record.warnings,
        record.first_part,
        timings.queue if tried else None,
        timings.hold if tried else None,
        timings.vendors if tried else None,
        timings.connect,
        timings.first_byte,
        timings.overhead,
    )
    if record.trace is not None:
        said.trace_id, said.span_id = record.trace, record.span
        said.parent_span_id, said.sampled = record.parent, record.sampled
    if record.prompt is not None or record.answer is not None:
        said.prompt, said.answer = record.prompt, record.answer
    return said
