"""What an answer, or a refusal, says of itself beyond OpenAI's words."""

import math
from functools import lru_cache

from adapters.base import Call, Failure, Kind, Target
from proxy.downstream import Downstream, Headers
from proxy.telemetry import Record

JSON: Headers = ((b"content-type", b"application/json"),)
STREAM: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
SHUTTING_DOWN = "server_shutting_down"
_LONGEST = 1_000  # characters of a value


def answer(record: Record, target: Target, call: Call, cap: int | None, *, under_way: int = 1) -> Headers:
    """Who served, and what could not be had as asked; `cap` is the output cap that the money at hand came to.

    `under_way`: attempts that have not ended, this one among them.
    """
    asked = under_way + (record.asked if record.attempts else 0)
    said = [
        (b"x-request-id", record.request_id.encode()),
        *_served(target.provider, target.model[:_LONGEST]),
        (b"x-tollhouse-attempts", b"1" if asked == 1 else b"%d" % asked),
    ]
    if record.upstream_id:
        said.append((b"x-upstream-request-id", _plain(record.upstream_id)))
    if call.warnings:
        said.append((b"x-tollhouse-warnings", _plain(str(call.warnings))))
        if call.warnings.dropped:
            said.append((b"x-tollhouse-dropped-params", _plain(",".join(call.warnings.dropped))))
    if cap is not None:
        said.append((b"x-tollhouse-max-tokens", str(cap).encode()))
    return said


@lru_cache(maxsize=1_024)
def _served(provider: str, model: str) -> Headers:
    return (b"x-tollhouse-provider", _plain(provider)), (b"x-tollhouse-model", _plain(model))


def refusal(failure: Failure, record: Record) -> Headers:
    """When to ask again, and whether at all."""
    said = {"x-request-id": record.request_id, "x-tollhouse-attempts": str(record.asked)}
    if record.upstream_id:
        said["x-upstream-request-id"] = record.upstream_id
    if failure.retry_after is not None and failure.status in (429, 503):
        said["retry-after"] = str(math.ceil(failure.retry_after))
        said["retry-after-ms"] = str(math.ceil(failure.retry_after * 1000))
    exhausted = failure.status >= 500 and failure.code != SHUTTING_DOWN and failure.kind is not Kind.STORE
    if exhausted or failure.kind in (Kind.BUDGET, Kind.REQUEST):
        # Everybody has been asked already, or the money is gone: that the client asks again by itself would not help.
        said["x-should-retry"] = "false"
    return [(name.encode(), _plain(value)) for name, value in said.items()]


_OWN = b"x-tollhouse-timeout"
_SDKS = (b"x-stainless-read-timeout", b"x-stainless-timeout")


def patience(down: Downstream) -> tuple[float, float]:
    """Seconds for which the client will wait for an answer, by its own word or by its SDK's; and those after which it
    has no use for the rest of a stream, by its own word only: the timeouts of the SDKs are those of the first byte, or
    of each one. Without a word for ever."""
    if (value := down.header(_OWN)) and (own := _seconds(value)) is not None:
        return own, own
    for name in _SDKS:
        if (value := down.header(name)) and (said := _seconds(value)) is not None:
            return said, math.inf
    return math.inf, math.inf


def _seconds(value: str) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if seconds > 0 else None


def spelled(value: str) -> str:
    """What a client's header says, read as Latin-1: most write UTF-8, and a name is one name however it came."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value


def _plain(value: str) -> bytes:
    """A header's value: names of models and paths of parameters come from outside, and may hold anything."""
    if value.isascii() and value.isprintable() and len(value) <= _LONGEST:
        return value.encode()
    shown = value[:_LONGEST]
    if not (shown.isascii() and shown.isprintable()):
        shown = "".join(c if " " <= c <= "~" else "?" for c in shown)
    return shown.encode()
