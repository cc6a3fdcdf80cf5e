"""What the scripts of `lua/` are told, and what they answer, word for word. Pure."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from proxy import ledger
from proxy.budget import THRESHOLDS, Alert, Ask, Granted, Limit, Refused
from proxy.feedback import Feedback, Opinion, bare
from proxy.ledger import Counter, Entry
from proxy.store import Hold, Settlement, StoreError

Word = str | bytes | int
_KINDS = {"s": "spent", "h": "held", "u": "unproven"}
_TWO = b"$%d\r\n%b\r\n$%d\r\n%b\r\n"  # words of a command; long ones cost hiredis thrice as much
_RESTORED_SECONDS = 960  # how long a hold may live that was handed over: as long as one that is new


def hold(ask: Ask) -> bytes:
    """The two arguments of hold.lua, as they go on the wire."""
    entry = ask.entry
    limits, row = _limits(ask.limits), _undated(entry)
    told = _told((entry.id, ask.least, ask.most, ask.share, ask.seconds, ask.final, limits, entry.scopes))
    return _TWO % (len(told), told, len(row), row)


def settle(settlements: Sequence[Settlement], *, handed: bool) -> bytes:
    """The two arguments of settle.lua, as they go on the wire; `handed` over in a recovery."""
    rows = b"\n".join([one.text or _row(one.entry) for one in settlements])
    pairs = [(one.entry, _limits(one.limits)) for one in settlements]
    each = [(row.id, row.at, row.orphan, row.cost or 0, row.unproven, limits, row.scopes) for row, limits in pairs]
    told = _told((handed, each))
    return _TWO % (len(told), told, len(rows), rows)


def restore(hold: Hold) -> tuple[Word, ...]:
    """The arguments of restore.lua."""
    entry = hold.entry
    return (entry.id, entry.at, hold.amount, _RESTORED_SECONDS, _undated(entry), *entry.scopes)


def judge(feedback: Feedback) -> tuple[Word, ...]:
    """The arguments of judge.lua."""
    opinion = msgspec.json.encode(Opinion(feedback.score, feedback.comment))
    return (feedback.request, feedback.key, opinion, feedback.at)


def said(requests: Sequence[str], found: Sequence[str | None]) -> dict[str, Opinion]:
    """The opinions that were found of these requests."""
    pairs = zip(requests, found, strict=True)
    return {request: _opinion(text) for request, text in pairs if text is not None}


_opinion = msgspec.json.Decoder(Opinion).decode


def held(ask: Ask, reply: Sequence[Any]) -> Granted | Refused:
    """What hold.lua answered. Raises `StoreError` if the id is settled."""
    if len(reply) == 3 and reply[0] == b"granted":  # nearly always, and a fifth of the work of matching
        return Granted(reply[1], reply[2])
    match reply:
        case [b"refused", int(number), int(at), int(spent), int(held), int(unproven), said]:
            limit, counter = ask.limits[number - 1], Counter(spent, held, unproven)
            label = _label(limit, at)
            return Refused(limit, label, counter, Alert(limit, label, THRESHOLDS[-1], counter) if said else None)
        case _:
            raise StoreError(f"{ask.entry.id!r} is settled already")


def alerts(settlement: Settlement, at: int, said: Sequence[tuple[int, int, int, int, int]]) -> list[Alert]:
    """What settle.lua answered."""
    limits = settlement.limits
    return [
        Alert(limits[number - 1], _label(limits[number - 1], at), percent, Counter(spent, held, unproven))
        for number, percent, spent, held, unproven in said
    ]


def counters(fields: dict[str, str]) -> dict[str, Counter]:
    """The hash of a window: "user=alice|s" to an amount."""
    found: dict[str, Counter] = {}
    for field, amount in fields.items():
        setattr(found.setdefault(field[:-2], Counter()), _KINDS[field[-1]], int(amount))
    return found


def _label(limit: Limit, at: int) -> str:
    return ledger.labels(at)[ledger.WINDOWS.index(limit.window)]


def _row(entry: Entry) -> bytes:
    """What has no UTF-8 raises `StoreError`; and nothing else that is told of this row has any that this has not."""
    try:
        return ledger.encode(bare(entry))
    except UnicodeError as error:
        raise StoreError(f"Redis: {type(error).__name__}") from error


def _undated(entry: Entry) -> bytes:
    """The script writes the time at its head; no key is there twice."""
    return _row(msgspec.structs.replace(entry, at=0) if entry.at else entry)


# One word of JSON is half as dear to write as thirty words of Redis, and no dearer to read in Lua.
_told = msgspec.json.Encoder().encode


@lru_cache(maxsize=1024)
def _limits(limits: tuple[Limit, ...]) -> msgspec.Raw:
    """As the scripts read them (`tell` in ground.lua): an array each."""
    return msgspec.Raw(_told([(limit.scope, limit.window, limit.nano, *_marks(limit.nano)) for limit in limits]))


def _marks(nano: int) -> list[tuple[int, int]]:
    """The least amounts that reach the thresholds: what is exact here need not be compared in doubles there."""
    return [(percent, -(-nano * percent // 100)) for percent in THRESHOLDS]
