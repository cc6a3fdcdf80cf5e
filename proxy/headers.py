"""What a request asks for beyond OpenAI's words, and what an answer, or a refusal, says of itself."""

import math
from functools import lru_cache

import msgspec

from adapters.base import Call, Failure, Kind, Target
from proxy import ledger
from proxy.downstream import Headers
from proxy.queue import NORMAL, URGENCIES
from proxy.routing import TASKS
from proxy.telemetry import Record

JSON: Headers = ((b"content-type", b"application/json"),)
STREAM: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
SHUTTING_DOWN = "server_shutting_down"
_LONGEST = 1_000  # characters of a value


def answer(
    record: Record,
    target: Target,
    call: Call,
    cap: int | None,
    *,
    kind: Headers = (),
    more: Headers = (),
    under_way: int = 1,
) -> list[tuple[bytes, bytes]]:
    """Of which `kind` it is, who served, and what could not be had as asked; `cap` is the output cap that the money at
    hand came to. `more` is said last.

    `under_way`: attempts that have not ended, this one among them.
    """
    asked = under_way + record.asked if record.attempts else under_way
    said = [
        *kind,
        (b"x-request-id", record.request_id.encode()),
        *_served(target.provider, target.model[:_LONGEST], asked),  # it is remembered: in bounds
    ]
    if record.upstream_id:
        said.append((b"x-upstream-request-id", _plain(record.upstream_id)))
    if call.warnings:
        said.append((b"x-tollhouse-warnings", _plain(str(call.warnings))))
        if call.warnings.dropped:
            said.append((b"x-tollhouse-dropped-params", _plain(",".join(call.warnings.dropped))))
    if cap is not None:
        said.append((b"x-tollhouse-max-tokens", str(cap).encode()))
    said += more
    return said


@lru_cache(maxsize=1_024)
def _served(provider: str, model: str, asked: int) -> Headers:
    return (
        (b"x-tollhouse-provider", _plain(provider)),
        (b"x-tollhouse-model", _plain(model)),
        (b"x-tollhouse-attempts", b"%d" % asked),
    )


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


def _plain(value: str) -> bytes:
    """A header's value: names of models and paths of parameters come from outside, and may hold anything."""
    return value[:_LONGEST].encode("ascii", "replace").translate(_PRINTABLE)


_PRINTABLE = bytes(at if b" "[0] <= at <= b"~"[0] else b"?"[0] for at in range(256))


class Wishes(msgspec.Struct, frozen=True):
    """What the headers of a request ask for. `user`, `agent`, `task`: who spends, and what for; None: they do not say,
    so that the body may. `urgency` as `proxy.queue` has it.

    `patience`: seconds for which the client will wait for an answer, by its own word or by its SDK's. `endurance`:
    those after which it has no use for the rest of a stream, by its own word only: the timeouts of the SDKs are those
    of the first byte, or of each one. Without a word as long as a request may take.
    """

    user: str | None
    agent: str | None
    task: str | None  # "": a word that nobody knows
    urgency: int
    patience: float
    endurance: float


# The headers that say it; behind those of a trace, which is another one each time.
ASKED = (
    *(b"traceparent", b"tracestate"),
    *(b"x-tollhouse-user", b"x-tollhouse-agent", b"x-tollhouse-task", b"x-tollhouse-priority", b"x-tollhouse-timeout"),
    *(b"x-stainless-read-timeout", b"x-stainless-timeout"),
)
Asked = tuple[bytes | None, ...]
_MOST_KNOWN = 1_024  # of at most `_LONGEST` characters each


class _Known(dict[tuple[Asked, float], Wishes]):
    """Most clients say the same each time: what it means is remembered."""

    def __missing__(self, key: tuple[Asked, float]) -> Wishes:
        said, longest = key
        found = _read(longest, *(None if value is None else value.decode("latin-1") for value in said))
        if sum(len(value) for value in said if value) <= _LONGEST:
            if len(self) >= _MOST_KNOWN:
                self.clear()
            self[key] = found
        return found


# By the values of `ASKED`, without those of the trace, and the seconds that a request may take at most.
WISHES = _Known()


def _read(
    longest: float, user: str | None, agent: str | None, task: str | None, priority: str | None, *waits: str | None
) -> Wishes:
    word = _name(task)
    own, *sdks = (None if value is None else _seconds(value) for value in waits)
    return Wishes(
        user=_name(user),
        agent=_name(agent),
        task=word if word is None else known_task(word),
        urgency=NORMAL if priority is None else URGENCIES.get(priority.strip().lower(), NORMAL),
        patience=min(longest, next((seconds for seconds in (own, *sdks) if seconds), longest)),
        endurance=min(longest, own or longest),
    )


def known_task(word: str) -> str:
    """The task that is meant; "" if nobody knows the word."""
    return word.lower() if word.lower() in TASKS else ""


def _name(value: str | None) -> str | None:
    """A name as it is counted; None: there is none. It was read as Latin-1, but most write UTF-8, and a name is one
    name however it came."""
    if not value:
        return None
    try:
        return ledger.name(value.encode("latin-1").decode())
    except UnicodeDecodeError:
        return ledger.name(value)


def _seconds(value: str) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if seconds > 0 else None
