"""One row per attempt that reached a vendor: who spent, on what, how much, and how well that is known.

Pure. A row counts in the UTC day and month of its hold (`at`), by the clock of the store, and there for six scopes: all
of the traffic, and its provider, model, client key, user and agent. A scope without a value (nobody named a user)
counts too, under the empty name: whoever leaves his name out is not free. A seventh is the team, which no client can
leave out: it is its key that names it.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

import msgspec

from adapters.base import Usage

Window = Literal["day", "month"]
WINDOWS: tuple[Window, ...] = ("day", "month")
ALL = "all"
DIMENSIONS = ("provider", "model", "key", "user", "agent", "team")
OPTIONAL = frozenset({"team"})  # no counter of its own for the empty name
_LONGEST_NAME = 128  # characters of a user's or an agent's name; a longer one is told by its digest
_MILLI = 1_000


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the ledger; before the vendor has answered, what there is to be said of the hold.

    Times in milliseconds since the epoch (`at`) or of duration; money in nano-dollars.
    """

    id: str  # of the attempt: the request's id and the attempt's number, "req_0f…/1"
    request: str
    at: int = 0  # when the money was held, by the store's clock
    provider: str
    model: str  # the entry of the price table, else the name on the wire
    served: str = ""  # the name on the wire
    asked: str = ""  # the client's own word
    key: str = ""
    user: str = ""
    agent: str = ""
    team: str = ""
    stream: bool = False
    status: int = 0  # what the client heard in the end, on the last attempt; the vendor's failure on others
    code: str | None = None
    last: bool = True  # the attempt with which the request ended: a request has exactly one
    usage: Usage = msgspec.field(default_factory=Usage)
    tier: str | None = None
    cost: int | None = None  # None: the price is not known, which is not free
    held: int = 0
    unproven: int = 0  # beyond `cost`, what the vendor may have billed all the same; withheld from the budgets
    estimated: bool = False  # the vendor did not say what was used: counted on what was heard
    orphan: bool = False  # nobody settled it in time: charged in full until its settlement turns up
    owner: str = ""  # the process that held it
    price: str | None = None  # version of the price: which row of the table, and a digest of its figures
    first: float | None = None  # until the first part of the answer
    total: float = 0.0
    score: float | None = None  # what its caller said of it, from -1 to 1; never written with the row, joined to it
    comment: str = ""

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes in which it counts: six, and its team's if there is one."""
        return _scopes(self.provider, self.model, self.key, self.user, self.agent, self.team)


@lru_cache(maxsize=1_024)
def _scopes(*values: str) -> tuple[str, ...]:
    """By the values of the `DIMENSIONS`: each request is asked twice for them, and many have the same."""
    named = zip(DIMENSIONS, values, strict=True)
    return (ALL, *(f"{name}={value}" for name, value in named if value or name not in OPTIONAL))


class Counter(msgspec.Struct):
    """What one scope has used in one window; nano-dollars."""

    spent: int = 0
    held: int = 0
    unproven: int = 0

    @property
    def used(self) -> int:
        """Gone for good, as far as anybody knows."""
        return self.spent + self.unproven


def labels(at: int) -> tuple[str, str]:
    """The windows of a time: ("day:2026-11-23", "month:2026-11")."""
    day = datetime.fromtimestamp(at / _MILLI, UTC).date().isoformat()
    return f"day:{day}", f"month:{day[:7]}"


def end(label: str) -> int:
    """When a window is over; milliseconds since the epoch."""
    window, _, date = label.partition(":")
    year, month, day = (int(part) for part in (date if window == "day" else f"{date}-01").split("-"))
    if window == "day":
        return int(datetime(year, month, day, tzinfo=UTC).timestamp() + 86_400) * _MILLI
    return int(datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()) * _MILLI


def orphan(entry: Entry, amount: int | None) -> Entry:
    """The row of an attempt that nobody settled: charged in full until it turns up."""
    return msgspec.structs.replace(
        entry, held=amount or 0, cost=amount, orphan=True, estimated=True, status=500, code="orphan"
    )


def name(said: object) -> str:
    """A user's or an agent's name as it is counted: printable, and of bounded length."""
    if not isinstance(said, str):
        return ""
    return _short(said) if len(said) <= _LONGEST_NAME else _cleaned(said)


@lru_cache(maxsize=1_024)
def _short(said: str) -> str:
    """Most are said again and again."""
    return _cleaned(said)


def _cleaned(said: str) -> str:
    clean = "".join(c if c.isprintable() else "?" for c in said.strip())
    if len(clean) <= _LONGEST_NAME:
        return clean
    return f"{clean[: _LONGEST_NAME - 17]}~{hashlib.sha256(clean.encode()).hexdigest()[:16]}"


# A row as one line of JSON, and the row again, which may raise `msgspec.DecodeError`. Four times a request, and so
# without a function around them.
encode: Callable[[Entry], bytes] = msgspec.json.Encoder().encode
decode: Callable[[bytes | str], Entry] = msgspec.json.Decoder(Entry).decode


def ordered(entries: Sequence[Entry]) -> list[Entry]:
    """As the export tells them: oldest first, and always the same."""
    return sorted(entries, key=lambda entry: (entry.at, entry.id))
