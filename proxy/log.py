"""The log: one wide line a request (`proxy.telemetry`), and few others, through structlog."""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO, Literal

import msgspec
import structlog

from proxy.telemetry import Record, line, told

_GONE = (OSError, ValueError)  # what is raised where nobody reads any more; ValueError: it is closed
_log = structlog.get_logger()  # made once: for each line anew it costs as much as the line


class Lines:
    """The lines of requests in JSON, past structlog: its way to the same line costs as much as the whole of a hold.

    Those that end in the same turn of the event loop are written together, and are one write. Any other line takes them
    along before it. `stream` is where they go; None: they are not for this class. `clock` in nanoseconds since the
    epoch.
    """

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self.stream: BinaryIO | None = None
        self._always: dict[str, Any] = {"event": "request", "level": "info"}
        self._kept: list[tuple[int, Record]] = []
        self._line = bytearray()  # the one that is being written: to make each anew takes a quarter longer
        self._second, self._head = -1, b""  # the last second in which there was a line, and how its lines begin

    def bind(self, **always: Any) -> None:
        """Say this in every line; none of it is a field of a request."""
        self._always |= always
        self._second = -1

    def add(self, record: Record) -> None:
        """The request is over: its line is written at the end of this turn, or at once where there is no loop."""
        first = not self._kept
        self._kept.append((self._clock(), record))
        if first:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:  # no loop, nobody to wait for
                self.flush()

    def flush(self) -> None:
        """Write what is kept, if anybody still reads it."""
        kept, self._kept = self._kept, []
        if kept and self.stream is not None:
            lines, line = [], self._line
            for at, record in kept:
                second, micro = divmod(at // 1_000, 1_000_000)
                if second != self._second:
                    self._second, self._head = second, self._begin(second)
                _encode_into(told(record), line)
                line[0] = _COMMA  # where its brace was
                lines.append(b'%b%06dZ"%b\n' % (self._head, micro, line))  # type: ignore[str-format]  # any buffer will do
            try:  # a context manager costs three calls more
                self.stream.write(b"".join(lines))
                self.stream.flush()
            except _GONE:
                pass

    def _begin(self, second: int) -> bytes:
        """All that the lines of a second have in common, up to the fraction of the second."""
        date = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return _encode({**self._always, "timestamp": date})[: -len('"}')]


def log_request(record: Record) -> None:
    """The line of a request: a `Sink`."""
    if _lines.stream is not None:
        _lines.add(record)
    else:
        _log.info("request", **line(record))


_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_encoder = msgspec.json.Encoder(enc_hook=str)
_encode, _encode_into, _COMMA = _encoder.encode, _encoder.encode_into, ord(",")


def bind(**always: Any) -> None:
    """Say this in every line of this process."""
    structlog.contextvars.bind_contextvars(**always)
    _lines.bind(**always)


def configure(format: Literal["json", "console"], level: str) -> None:
    """Set the log up, once, to standard error: standard output belongs to commands."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    stream: Any = _Patient(sys.stderr.buffer if format == "json" else sys.stderr)
    _lines.stream = sys.stderr.buffer if format == "json" and _LEVELS[level] <= logging.INFO else None
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
        _lines.flush()
        with contextlib.suppress(*_GONE):
            self._stream.write(said)

    def flush(self) -> None:
        """Flush it, or not."""
        with contextlib.suppress(*_GONE):
            self._stream.flush()


def _printable(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """On a terminal, words of clients must not move the cursor. A traceback keeps its lines: nobody else writes it."""
    return {key: _tame(value) if isinstance(value, str) else value for key, value in event.items()}


def _tame(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _json(event: dict[str, Any], **_: Any) -> bytes:
    return _encode(event)


_lines = Lines()
