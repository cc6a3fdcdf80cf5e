"""What is asked of a managed key, as people write it, and read: who spends with it, until when, for which models,
within which budgets and limits. Pure.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from proxy import ledger

MOST_PATTERNS = 100
MOST = 1_000_000_000  # of any quota
LATEST = 253_402_300_799_999  # the last millisecond whose year has four digits
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)

_OF_ENVIRONMENT = "key-"  # so are the keys named that the environment holds
_LONGEST_PATTERN = 200  # characters
_DURATION = re.compile(r"([0-9]{1,5})([smhdw])", re.ASCII)
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?", re.ASCII
)
_EXPECTED_MOMENT = 'expected a duration such as "90d" or "12h", or a moment such as "2027-01-31" or "2027-01-31T18:00Z"'


class Fault(ValueError):
    """What was asked of a key cannot be had: `param` is the member that is wrong."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


class Patch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of a key, as people write it. A member that is left out stays as it is; null takes it away.

    `expires`: a moment (ISO 8601, UTC if it names no zone), or a time from now ("90d"). `daily`, `monthly`: budgets in
    USD, decimal. `models`: patterns of the names that may be asked for.
    """

    user: str | UnsetType | None = UNSET
    agent: str | UnsetType | None = UNSET
    team: str | UnsetType | None = UNSET
    expires: str | UnsetType | None = UNSET
    models: list[str] | UnsetType | None = UNSET
    daily: str | int | UnsetType | None = UNSET
    monthly: str | int | UnsetType | None = UNSET
    requests_per_minute: int | UnsetType | None = UNSET
    tokens_per_minute: int | UnsetType | None = UNSET
    concurrent: int | UnsetType | None = UNSET


class Draft(Patch, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of a new key: the same, and its name."""

    name: str


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The same as `Patch`, read: in the words and units of `Key` and `Quota`. What is not set stays as it is."""

    user: str | UnsetType = UNSET
    agent: str | UnsetType = UNSET
    team: str | UnsetType = UNSET
    expires: int | UnsetType = UNSET
    models: tuple[str, ...] | UnsetType = UNSET
    daily: int | UnsetType = UNSET
    monthly: int | UnsetType = UNSET
    requests: int | UnsetType = UNSET
    tokens: int | UnsetType = UNSET
    concurrent: int | UnsetType = UNSET

    @property
    def said(self) -> tuple[str, ...]:
        """What is set."""
        return tuple(name for name in self.__struct_fields__ if getattr(self, name) is not UNSET)


class _Member(NamedTuple):
    """How a member of `Patch` is read: what `Terms` calls it, what null stands for, and what makes one of the other."""

    field: str
    nothing: Any
    read: Callable[[Any], Any]


def read(patch: Patch, now: int, money: Callable[[str], int]) -> Terms:
    """The terms that were asked for, at this time. `money` makes nano-dollars of a decimal. Raises `Fault`."""
    said: dict[str, Any] = {}
    for member, (field, nothing, reader) in _members(now, money).items():
        value = getattr(patch, member)
        if value is UNSET:
            continue
        try:
            said[field] = nothing if value is None else reader(value)
        except ValueError as error:
            raise Fault(member, f"{member}: {error}.") from error
    return Terms(**said)


def _members(now: int, money: Callable[[str], int]) -> Mapping[str, _Member]:
    return {
        "user": _Member("user", "", _owner),
        "agent": _Member("agent", "", _owner),
        "team": _Member("team", "", _owner),
        "expires": _Member("expires", 0, lambda text: moment(text, now)),
        "models": _Member("models", (), _patterns),
        "daily": _Member("daily", 0, lambda amount: money(str(amount))),
        "monthly": _Member("monthly", 0, lambda amount: money(str(amount))),
        "requests_per_minute": _Member("requests", 0, _count),
        "tokens_per_minute": _Member("tokens", 0, _count),
        "concurrent": _Member("concurrent", 0, _count),
    }


def named(name: str) -> str:
    """The name, if a key may have it; else raises `Fault`."""
    if not NAME.fullmatch(name):
        expected = "1 to 63 of a-z, 0-9, '.', '_' and '-', the first one a letter or a digit"
        raise Fault("name", f"name: expected {expected}.")
    if name.startswith(_OF_ENVIRONMENT):
        raise Fault("name", f"name: so ('{_OF_ENVIRONMENT}…') are the keys of TOLLHOUSE_CLIENT_KEYS named.")
    return name


def moment(text: str, now: int) -> int:
    """A duration from `now`, or a moment, in milliseconds since the epoch; later than `now`. Raises `ValueError`."""
    if duration := _DURATION.fullmatch(text):
        at = now + int(duration[1]) * _UNITS[duration[2]]
    elif _MOMENT.fullmatch(text):
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(_EXPECTED_MOMENT) from None
        at = ((found if found.tzinfo else found.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND
    else:
        raise ValueError(_EXPECTED_MOMENT)
    if not now < at <= LATEST:
        raise ValueError("expected a time to come")
    return at


def _owner(text: str) -> str:
    if not text or ledger.name(text) != text:
        raise ValueError("expected a name of 1 to 128 printable characters, without spaces around it; null for none")
    return text


def _patterns(patterns: list[str]) -> tuple[str, ...]:
    if not 1 <= len(patterns) <= MOST_PATTERNS:
        raise ValueError(f"expected 1 to {MOST_PATTERNS} patterns; null for all models")
    for pattern in patterns:
        if not 1 <= len(pattern) <= _LONGEST_PATTERN or not pattern.isprintable() or " " in pattern:
            expected = f"1 to {_LONGEST_PATTERN} printable characters without a space"
            raise ValueError(f"expected patterns of {expected}")
    return tuple(dict.fromkeys(patterns))


def _count(number: int) -> int:
    if not 1 <= number <= MOST:
        raise ValueError(f"expected a whole number from 1 to {MOST}; null for no limit")
    return number
