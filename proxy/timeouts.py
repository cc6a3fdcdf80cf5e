"""How long a vendor may take, and for which model: the section `timeouts` of the file of configuration.

The general figures hold for all; models that think are given longer for their first byte; and a row of `models` says it
for the models that its pattern takes, key by key.
"""

from fnmatch import fnmatchcase
from functools import cached_property

import msgspec

from adapters.base import Capabilities, Target
from proxy.catalog import LONGEST_NAME, REMEMBERED

LONGEST = 1e6  # seconds; clocks and timers overflow somewhere above it
_FIRST_BYTE = 60.0
_FIRST_BYTE_THINKING = 180.0  # some vendors say nothing of it while a model thinks


def check_seconds(name: str, seconds: float) -> None:
    """Raises `ValueError` for what no timer can wait for."""
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"`{name}` must be more than 0 and at most {LONGEST:.0f} seconds")


def thinks(capabilities: Capabilities) -> bool:
    """Whether a model may be silent for long before it says anything: all that can think, asked to or not."""
    return bool(capabilities.efforts or capabilities.thinking or capabilities.thinking_budget)


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, for one model."""

    connect: float
    first_byte: float  # of a streamed answer
    first_byte_plain: float  # of an answer that comes whole
    idle: float
    total: float


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of `models`. None: as for all others."""

    connect: float | None = None
    first_byte: float | None = None  # whether they think or not: the row knows whom it speaks of
    first_byte_plain: float | None = None
    idle: float | None = None
    total: float | None = None


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Seconds. A whole answer is written before its first byte comes, so that one is waited for longer.

    `first_byte` is that of a streamed answer: 60, and 180 from a model that thinks (`first_byte_thinking`). If
    `first_byte` alone is set, it rules both. The keys of `models` are globs over provider/model.
    """

    connect: float = 5.0
    first_byte: float | None = None
    first_byte_thinking: float | None = None
    first_byte_plain: float = 300.0
    idle: float = 120.0  # between two reads
    total: float = 900.0
    models: dict[str, Row] = {}

    def __post_init__(self) -> None:
        _check(self)
        for glob, row in self.models.items():
            if "/" not in glob and "*" not in glob:
                raise ValueError(f"`models`: `{glob}` fits nothing: expected a pattern of provider/model")
            _check(row, f"models.{glob}.")

    @cached_property
    def general(self) -> Timings:
        """Those of a model of which nothing is said and that does not think."""
        return self._resolved("", False)

    @property
    def longest(self) -> float:
        """Seconds after which no attempt is under way any more, whoever was asked."""
        return max([self.total, *(row.total for row in self.models.values() if row.total is not None)])

    def of(self, target: Target) -> Timings:
        """Those of a model."""
        named = target.provider, target.model
        known = self._known.get(named)
        # Whether it thinks can change with the price table: then its capabilities are another object.
        if known is not None and known[0] is target.capabilities:
            return known[1]
        timings = self._resolved(f"{target.provider}/{target.model}", thinks(target.capabilities))
        if len(target.model) <= LONGEST_NAME:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[named] = target.capabilities, timings
        return timings

    @cached_property
    def _known(self) -> dict[tuple[str, str], tuple[Capabilities, Timings]]:
        return {}  # clients make up names: in bounds

    def _resolved(self, name: str, thinking: bool) -> Timings:
        own = self.first_byte_thinking if thinking else None
        default = _FIRST_BYTE_THINKING if thinking else _FIRST_BYTE
        said = (own, self.first_byte, default)
        timings = Timings(
            connect=self.connect,
            first_byte=next(seconds for seconds in said if seconds is not None),
            first_byte_plain=self.first_byte_plain,
            idle=self.idle,
            total=self.total,
        )
        fitting = [glob for glob in self.models if fnmatchcase(name, glob)]
        if not fitting:
            return timings
        best = max(fitting, key=lambda glob: (glob == name, len(glob)))  # the longest says most
        row = msgspec.structs.asdict(self.models[best])
        return msgspec.structs.replace(timings, **{key: value for key, value in row.items() if value is not None})


def _check(figures: Timeouts | Row, place: str = "") -> None:
    for name, seconds in msgspec.structs.asdict(figures).items():
        if isinstance(seconds, float | int):
            check_seconds(place + name, seconds)
