"""What a caller says of an answer: `POST /v1/feedback`. Pure.

A score is a number from -1 (bad) to 1 (good): a thumb is one of these two, and who has five stars maps them evenly.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import msgspec

from adapters.base import Failure, invalid
from adapters.letter import UNREADABLE, unreadable, wrong
from proxy.ledger import Entry

LONGEST_COMMENT = 2_000  # characters
LONGEST_REQUEST = 200  # characters of a request's id; ours are shorter
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`$", re.DOTALL)
_SHOWN = 40  # characters of a name that nobody knows


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of one request. `key`: who said it, as the ledger names client keys; `at` in milliseconds since the
    epoch, by the clock of whoever heard it."""

    request: str
    key: str
    score: float
    comment: str = ""
    at: int = 0


class Opinion(msgspec.Struct, frozen=True, array_like=True):
    """What a store keeps of it, for `join`."""

    score: float
    comment: str = ""


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    request_id: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_REQUEST)]
    score: Annotated[float, msgspec.Meta(ge=-1, le=1)]
    comment: Annotated[str, msgspec.Meta(max_length=LONGEST_COMMENT)] = ""


_decode = msgspec.json.Decoder(_Body).decode


def parse(body: bytes, key: str, now: int) -> Feedback:
    """`{"request_id": "req_…", "score": -1..1, "comment": "…"}`, the comment if there is one, and nothing else.

    `key`: who says it; `now` in milliseconds since the epoch. Raises `Failure` (400, with `param`).
    """
    try:
        said = _decode(body)
    except msgspec.ValidationError as error:
        raise _refused(error) from None
    except UNREADABLE as error:
        raise unreadable(error) from None
    return Feedback(request=said.request_id, key=key, score=said.score, comment=said.comment, at=now)


def _refused(error: msgspec.ValidationError) -> Failure:
    if unknown := _UNKNOWN.match(str(error)):
        name = unknown[1][:_SHOWN]
        return invalid(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    return wrong(error)


def join(entries: Sequence[Entry], said: Mapping[str, Opinion]) -> list[Entry]:
    """The rows, each that ended a request with what was `said` of it; `said` by the request's id."""
    return [
        msgspec.structs.replace(entry, score=found.score, comment=found.comment)
        if entry.last and (found := said.get(entry.request))
        else entry
        for entry in entries
    ]


def bare(entry: Entry) -> Entry:
    """A row as it is written: without what was said of it, which is kept by itself and may still change."""
    if entry.score is None and not entry.comment:
        return entry
    return msgspec.structs.replace(entry, score=None, comment="")


def ended(entries: Iterable[Entry]) -> list[str]:
    """The requests that ended with one of these rows."""
    return [entry.request for entry in entries if entry.last]
