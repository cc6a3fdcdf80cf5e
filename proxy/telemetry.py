"""One record per request, and those who listen to it. In this version that is the log: one wide line a request."""

import sys
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import structlog

from adapters.base import Failure, Usage


class Attempt(msgspec.Struct, frozen=True):
    """One try at one provider: `outcome` is `ok` or the kind of the failure; milliseconds until it was known."""

    provider: str
    model: str
    outcome: str
    milliseconds: float
    message: str | None = None


class Record(msgspec.Struct):
    """What there is to say of a request once it is over. Times in milliseconds since its start. No text of prompts."""

    request_id: str
    started: float  # seconds, of the clock that the gate was given
    model: str | None = None
    stream: bool = False
    user: str | None = None
    provider: str | None = None
    served: str | None = None
    upstream_id: str | None = None
    status: int | None = None
    code: str | None = None
    finish: str | None = None
    usage: Usage | None = None
    attempts: list[Attempt] = []
    warnings: str = ""
    first_part: float | None = None
    total: float = 0.0

    def fail(self, failure: Failure) -> None:
        """The request, or its stream, came to this."""
        self.status, self.code = failure.status, failure.code or failure.kind.value


Sink = Callable[[Record], None]
_encode = msgspec.json.Encoder(enc_hook=str).encode


def log_request(record: Record) -> None:
    """The line: everything that is known, nothing that is not."""
    fields = {key: value for key, value in msgspec.to_builtins(record).items() if value not in (None, "", [])}
    fields.pop("started")
    structlog.get_logger().info("request", **fields)


def configure(format: Literal["json", "console"], level: str) -> None:
    """Set the log up, once, to standard error: standard output belongs to commands."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if format == "json":
        shared += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
        factory: Any = structlog.BytesLoggerFactory(sys.stderr.buffer)
    else:
        shared += [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        factory = structlog.PrintLoggerFactory(sys.stderr)
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )


def _json(event: dict[str, Any], **_: Any) -> bytes:
    return _encode(event)
