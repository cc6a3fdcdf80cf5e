"""One record per request, and those who listen to it. In this version that is the log: one wide line a request."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import structlog

from adapters.base import Failure, Kind, Usage
from proxy.routing import Out

_OURS = frozenset({Kind.BUDGET.value, Kind.STORE.value})
HEDGE_LOST = "hedge_lost"  # the outcome of an attempt that was cancelled because another answered first


class Attempt(msgspec.Struct, frozen=True):
    """One try at one provider: `outcome` is `ok` or the kind of the failure; milliseconds until it was known."""

    provider: str
    model: str
    outcome: str
    milliseconds: float
    message: str | None = None


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
    cost_nano: int | None = None  # nano-dollars; None: the price, or the usage, is not known
    estimated: bool | None = None  # the vendor did not say what was used; the row of the ledger has our count
    attempts: list[Attempt] = []
    decision: Decision | None = None
    warnings: str = ""
    first_part: float | None = None
    total: float = 0.0
    numbered: int = 0  # attempts for which money was held, or was to be

    def next_attempt(self) -> int:
        """The number of an attempt for which money is held, from 1 on."""
        self.numbered += 1
        return self.numbered

    @property
    def asked(self) -> int:
        """How many providers were asked; who was passed over for want of money was not."""
        return sum(attempt.outcome not in _OURS for attempt in self.attempts)

    def fail(self, failure: Failure) -> None:
        """The request, or its stream, came to this."""
        self.status, self.code = failure.status, failure.code or failure.kind.value


Sink = Callable[[Record], None]
_encode = msgspec.json.Encoder(enc_hook=str).encode


def log_request(record: Record) -> None:
    """The line: everything that is known, nothing that is not."""
    fields = {key: value for key, value in msgspec.to_builtins(record).items() if value not in (None, "", [])}
    del fields["started"], fields["numbered"]
    structlog.get_logger().info("request", **fields)


def configure(format: Literal["json", "console"], level: str) -> None:
    """Set the log up, once, to standard error: standard output belongs to commands."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    stream: Any = _Patient(sys.stderr.buffer if format == "json" else sys.stderr)
    if format == "json":
        shared += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
        factory: Any = structlog.BytesLoggerFactory(stream)
    else:
        # The plain traceback: the other one shows local variables, and keys among them.
        plain = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        shared += [_printable, plain]
        factory = structlog.PrintLoggerFactory(stream)
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Foreign()], force=True)


class _Foreign(logging.Handler):
    """What libraries log, from warnings on, in the same form as ours. Below that they name URLs, and keys in them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass it on."""
        if record.exc_info and record.exc_info[0] is asyncio.CancelledError:
            return  # a request that was cut off at the end of the grace; it has a line of its own
        log = getattr(structlog.get_logger(), "error" if record.levelno >= logging.ERROR else "warning")
        log(record.getMessage(), logger=record.name, exc_info=record.exc_info)


class _Patient:
    """A stream to log to. If whoever read it is gone, nothing is said: a request does not fail for lack of a reader."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, said: Any) -> None:
        """Write it, or not."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            self._stream.write(said)

    def flush(self) -> None:
        """Flush it, or not."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _printable(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """On a terminal, words of clients must not move the cursor. A traceback keeps its lines: nobody else writes it."""
    return {key: _tame(value) if isinstance(value, str) else value for key, value in event.items()}


def _tame(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _json(event: dict[str, Any], **_: Any) -> bytes:
    return _encode(event)
