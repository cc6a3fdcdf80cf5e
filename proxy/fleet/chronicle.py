"""What the log is told of a circuit: each of its turns once, whether it was seen here or heard from another replica."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import structlog

from proxy.health import Cell, Scope

_MILLI = 1_000


Opened = Callable[[str, str, str], None]  # provider; model, or one of these for a circuit that is no model's; why
_ALL: Mapping[Scope, str] = {"provider": "all", "line": "line"}


def untold(_: str, __: str, ___: str) -> None:
    """Nobody else wants to know."""


class Chronicle:
    """One per circuit. `model` is None where it is not a model's. `opened` hears of openings that were seen here."""

    def __init__(self, provider: str, model: str | None, scope: Scope, opened: Opened = untold) -> None:
        self._opening, self._label = opened, model or _ALL.get(scope, "")
        self._provider = provider
        self._names = {"provider": provider, "model": model, "scope": scope}
        self._opened, self._openings, self._probed = False, 0, False
        self._blocked = 0

    def tell(self, cell: Cell, now: int, *, heard: bool) -> None:
        """It is like this now. `now` in milliseconds of the shared clock."""
        circuit = cell.circuit
        if circuit.opened or self._opened:
            self._tell_turns(cell, heard)
        if cell.blocked != self._blocked:
            if cell.blocked > now >= self._blocked:  # else it is the same episode, which only lasts longer
                structlog.get_logger().info("rate limited", **self._names, until=_iso(cell.blocked), heard=heard)
            self._blocked = cell.blocked

    def _tell_turns(self, cell: Cell, heard: bool) -> None:
        circuit, log = cell.circuit, structlog.get_logger()
        # Not by its time: when two replicas see the same, the time is that of whoever said it first.
        if circuit.opened and (not self._opened or circuit.openings != self._openings):
            self._probed = False
            if not heard:
                self._opening(self._provider, self._label, circuit.why)
            log.warning(
                "circuit opened",
                **self._names,
                why=circuit.why,
                until=_iso(circuit.until),
                openings=circuit.openings,
                heard=heard,
            )
        if circuit.opened and not self._probed and (circuit.probes or circuit.passed):
            self._probed = True
            log.info("circuit half-open", **self._names, heard=heard)
        if not circuit.opened:
            log.info("circuit closed", **self._names, heard=heard)
        self._opened, self._openings = circuit.opened, circuit.openings


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // _MILLI, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
