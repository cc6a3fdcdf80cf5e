"""From when, until when: what people write after `--since` and `--until`. Pure: the time of now is an argument.

Everything is UTC and in milliseconds since the epoch, as in the ledger.
"""

import re
from datetime import UTC, date, datetime

import msgspec

SECOND = 1_000
DAY = 86_400 * SECOND
_UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3_600 * SECOND, "d": DAY, "w": 7 * DAY}
_DURATION = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{3})?)?(Z|[+-][0-9]{2}:[0-9]{2})?", re.ASCII
)
_EPOCH = date(1970, 1, 1).toordinal()
_A_MOMENT = "a day (2026-11-23) or a moment (2026-11-23T14:30Z), in UTC, not before 1970"


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a window: `at` a moment, or `back` from now, or the beginning of the last `days` by the calendar, of
    which today is one."""

    at: int = 0
    back: int = 0
    days: int = 0

    @property
    def relative(self) -> bool:
        """Whether it cannot be known without a clock."""
        return bool(self.back or self.days)

    def resolve(self, now: int) -> int:
        """When that is."""
        if self.days:
            return max(now - now % DAY - (self.days - 1) * DAY, 0)
        return max(now - self.back, 0) if self.back else self.at


class Window(msgspec.Struct, frozen=True):
    """From `start` up to, not including, `end`; None: as it is usual there."""

    start: int | None = None
    end: int | None = None

    @property
    def whole(self) -> bool:
        """Whether it is made of whole days."""
        return not any(edge is not None and edge % DAY for edge in (self.start, self.end))

    @property
    def days(self) -> dict[str, str]:
        """The days that hold it, as the API asks for them: `start_date` and `end_date`, the last day included."""
        first = {} if self.start is None else {"start_date": _day(self.start)}
        return first if self.end is None else {**first, "end_date": _day(max(self.end - 1, 0))}

    def holds(self, at: int) -> bool:
        """Whether a moment lies within."""
        return (self.start is None or at >= self.start) and (self.end is None or at < self.end)


def duration(text: str) -> int:
    """`90s`, `15m`, `24h`, `7d`, `2w` in milliseconds. Raises `ValueError`."""
    found = _DURATION.fullmatch(text)
    if not found or not int(found[1]):
        raise ValueError(f"expected a time such as 90s, 15m, 24h, 7d or 2w; got {text[:40]!r}")
    return int(found[1]) * _UNITS[found[2]]


def since(text: str) -> Edge:
    """What stands after `--since`: `24h` is exactly so long ago, `7d` the last seven days by the calendar, today among
    them, `2026-11-23` the beginning of that day. Raises `ValueError`."""
    if not _DURATION.fullmatch(text):
        return Edge(at=_moment(text, 0, f"a time such as 24h or 7d, {_A_MOMENT}"))
    length = duration(text)
    return Edge(days=length // DAY) if text[-1] in "dw" else Edge(back=length)


def until(text: str) -> Edge:
    """What stands after `--until`: `2026-11-23` is the end of that day, `2h` so long ago. Raises `ValueError`."""
    if not _DURATION.fullmatch(text) or text[-1] in "dw":
        return Edge(at=_moment(text, DAY, f"a time such as 90m or 2h, {_A_MOMENT}"))
    return Edge(back=duration(text))


def window(first: Edge | None, last: Edge | None, now: int) -> Window:
    """Both ends of it; `now` counts only for an edge that is `relative`. Raises `ValueError` if it is empty."""
    start, end = (None if edge is None else edge.resolve(now) for edge in (first, last))
    if start is not None and end is not None and start >= end:
        raise ValueError("--since: it is not before --until")
    return Window(start, end)


def at(iso: str) -> int:
    """A moment as the API writes it. Raises `ValueError`."""
    return _milliseconds(datetime.fromisoformat(iso))


def span(length: int) -> str:
    """How long that is, for people: `45s`, `12m`, `3h 5m`, `2d 4h`."""
    seconds = max(length, 0) // SECOND
    for unit, below, size in (("d", "h", 86_400), ("h", "m", 3_600)):
        if seconds >= size:
            rest = seconds % size * SECOND // _UNITS[below]
            return f"{seconds // size}{unit} {rest}{below}" if rest else f"{seconds // size}{unit}"
    return f"{seconds // 60}m" if seconds >= 60 else f"{seconds}s"


def _moment(text: str, whole_day: int, expected: str) -> int:
    """`whole_day` is added to a day that is named alone."""
    try:
        if _DAY.fullmatch(text):
            found, length = (date.fromisoformat(text).toordinal() - _EPOCH) * DAY, whole_day
        else:
            found, length = (at(text) if _MOMENT.fullmatch(text) else -1), 0
    except (ValueError, OverflowError):
        found, length = -1, 0
    if found < 0:
        raise ValueError(f"expected {expected}; got {text[:40]!r}")
    return found + length


def _milliseconds(moment: datetime) -> int:
    """Whole, and exact: a float of seconds is neither."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    past = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return past.days * DAY + past.seconds * SECOND + past.microseconds // 1_000


def _day(at: int) -> str:
    return date.fromordinal(_EPOCH + at // DAY).isoformat()
