"""What an answer, or a refusal, says of itself beyond OpenAI's words."""

import math
from collections.abc import Sequence

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


def answer(record: Record, target: Target, call: Call, cap: int | None, *, under_way: int = 1) -> Headers:
    """Who served, and what could not be had as asked; `cap` is the output cap that the money at hand came to.

    `under_way`: attempts that have not ended, this one among them.
    """
    said = {
        "x-request-id": record.request_id,
        "x-tollhouse-provider": target.provider,
        "x-tollhouse-model": target.model,
        "x-tollhouse-attempts": str(record.asked + under_way),
        "x-upstream-request-id": record.upstream_id or "",
    }
    if call.warnings:
        said["x-tollhouse-warnings"] = str(call.warnings)
        said["x-tollhouse-dropped-params"] = ",".join(call.warnings.dropped)
    if cap is not None:
        said["x-tollhouse-max-tokens"] = str(cap)
    return [(name.encode(), _plain(value)) for name, value in said.items() if value]


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


_OWN = (b"x-tollhouse-timeout",)
_SDKS = (b"x-stainless-read-timeout", b"x-stainless-timeout")


def patience(down: Downstream) -> float:
    """Seconds for which the client will wait for an answer, by its own word or by its SDK's; without one, for ever."""
    return _seconds(down, (*_OWN, *_SDKS))


def endurance(down: Downstream) -> float:
    """Seconds after which the client has no use for the rest of a stream: by its own word only. The timeouts of the
    SDKs are those of the first byte, or of each one."""
    return _seconds(down, _OWN)


def _seconds(down: Downstream, names: Sequence[bytes]) -> float:
    for name in names:
        value = down.header(name)
        try:
            seconds = float(value) if value else math.nan
        except ValueError:
            continue
        if seconds > 0:
            return seconds
    return math.inf


def spelled(value: str) -> str:
    """What a client's header says, read as Latin-1: most write UTF-8, and a name is one name however it came."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value


def _plain(value: str) -> bytes:
    """A header's value: names of models and paths of parameters come from outside, and may hold anything."""
    shown = value[:1000]
    if not (shown.isascii() and shown.isprintable()):
        shown = "".join(c if " " <= c <= "~" else "?" for c in shown)
    return shown.encode()
