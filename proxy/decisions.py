"""Why the last requests went where they went, as this replica remembers it.

What is kept of a request is what `GET /providers/decisions` tells: no text of prompts or answers, and of every word
that somebody else has chosen only the beginning, so that no client can fill the memory with names.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import msgspec

from proxy.cost import dollars
from proxy.routing import Out
from proxy.stats import iso
from proxy.telemetry import Attempt, Decision, Record, Timings

LONGEST = 200  # characters of a name or a message
MANY = 50  # attempts, and candidates of each kind: more than any configuration has use for
_NO_KEY = 401
_MILLI = 1_000

Json = dict[str, Any]


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a `Record`. `at`: when it began, milliseconds since the epoch."""

    request_id: str
    at: int
    model: str
    stream: bool
    user: str
    agent: str
    team: str
    key: str
    provider: str | None
    served: str | None
    status: int | None
    code: str | None
    cost_nano: int | None
    estimated: bool
    attempts: tuple[Attempt, ...]
    decision: Decision | None
    first_part: float | None
    total: float
    timings: Timings


class Decisions:
    """Keeps the last `keep` requests. A `Sink`. `wall` in seconds since the epoch.

    Who had no key leaves nothing: whoever may not come in must not push out what others ask for.
    """

    def __init__(self, keep: int = 1_000, *, wall: Callable[[], float]) -> None:
        self.keep = keep
        self._wall = wall
        # What is asked for hardly ever is not made for each request: one whose record is small is kept as it is.
        self._kept: OrderedDict[str, Kept | tuple[Record, float]] = OrderedDict()

    def __call__(self, record: Record) -> None:
        """Keep a request that is over."""
        self.over((record,))

    def over(self, records: Sequence[Record]) -> None:
        """Keep requests that are over just now."""
        kept, over = self._kept, self._wall()
        for record in records:
            if _small(record):
                kept[record.request_id] = record, over
            elif record.status != _NO_KEY or record.attempts:
                kept[record.request_id] = _kept(record, over)
        while len(kept) > self.keep:
            kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, request_id: str) -> Kept | None:
        """The request of that id; None if it is not, or no longer, known here."""
        kept = self._kept.get(request_id)
        return _kept(*kept) if isinstance(kept, tuple) else kept

    def latest(self, n: int) -> list[Kept]:
        """The last `n` of them, the last one first."""
        latest = islice(reversed(self._kept.values()), n)
        return [_kept(*kept) if isinstance(kept, tuple) else kept for kept in latest]


def _small(record: Record) -> bool:
    """Whether it went as most do: answered at the first try, without a word in it that is longer than a name."""
    decision = record.decision
    return (
        record.code is None
        and record.prompt is None
        and record.answer is None
        and decision is not None
        and len(record.attempts) == 1
        and not decision.out
        and len(decision.order) <= MANY
        and len(record.model or "") <= LONGEST
        and len(record.served or "") <= LONGEST
    )


def _kept(record: Record, over: float) -> Kept:
    return Kept(
        request_id=record.request_id,
        at=int(over * _MILLI - record.total),
        model=_cut(record.model or ""),
        stream=record.stream,
        user=_cut(record.user or ""),
        agent=_cut(record.agent or ""),
        team=_cut(record.team or ""),
        key=_cut(record.key or ""),
        provider=record.provider,
        served=record.served and _cut(record.served),
        status=record.status,
        code=record.code and _cut(record.code),
        cost_nano=record.cost_nano,
        estimated=bool(record.estimated),
        attempts=tuple(_attempt(attempt) for attempt in record.attempts[:MANY]),
        decision=record.decision and _decision(record.decision),
        first_part=record.first_part,
        total=record.total,
        timings=record.timings,
    )


def _attempt(attempt: Attempt) -> Attempt:
    message = attempt.message and _cut(attempt.message)
    return msgspec.structs.replace(attempt, model=_cut(attempt.model), message=message)


def _decision(decision: Decision) -> Decision:
    return msgspec.structs.replace(
        decision,
        group=decision.group and _cut(decision.group),
        task=decision.task and _cut(decision.task),
        order=tuple(_cut(name) for name in decision.order[:MANY]),
        out=tuple(msgspec.structs.replace(o, name=_cut(o.name), said=_cut(o.said)) for o in decision.out[:MANY]),
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def to_json(kept: Kept) -> Json:
    """What is told of a request. Times twice: as people write them, and in milliseconds since the epoch (`…_ms`, where
    it is no duration); money as a decimal of dollars, null where nobody knows it. Null, too, for what was not decided:
    the request was refused before."""
    decision = kept.decision
    return {
        "request_id": kept.request_id,
        **_moment("at", kept.at),
        "model": kept.model or None,
        "stream": kept.stream,
        "user": kept.user or None,
        "agent": kept.agent or None,
        "team": kept.team or None,
        "key": kept.key or None,
        "strategy": decision and decision.strategy,
        "group": decision and decision.group,
        "task": decision and decision.task,
        "order": list(decision.order) if decision else [],
        "least_bad": bool(decision and decision.least_bad),
        "out": [out_json(out) for out in decision.out] if decision else [],
        "attempts": [_told(attempt) for attempt in kept.attempts],
        "hedged": bool(decision and decision.hedged),
        "waited_milliseconds": decision.waited if decision else 0.0,
        "served_by": {"provider": kept.provider, "model": kept.served} if kept.provider else None,
        "status": kept.status,
        "code": kept.code,
        "cost_usd": None if kept.cost_nano is None else dollars(kept.cost_nano),
        "estimated": kept.estimated,
        "first_part_milliseconds": kept.first_part,
        "total_milliseconds": kept.total,
        "milliseconds": msgspec.structs.asdict(kept.timings),
    }


def _told(attempt: Attempt) -> Json:
    return {name: value for name, value in msgspec.structs.asdict(attempt).items() if name != "counted"}


def out_json(out: Out) -> Json:
    """Who was out, and why."""
    return {
        "name": out.name,
        "why": out.why,
        "said": out.said,
        **_moment("since", out.since),
        **_moment("until", out.until),
    }


def _moment(name: str, at: int) -> Json:
    return {name: iso(at) if at else None, f"{name}_ms": at or None}
