"""What a request to one model goes through: the model's circuit, its provider's, and our own line to it."""

from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from proxy.fleet.sheet import Sheet
from proxy.fleet.waiting import Waiting
from proxy.health import Cell, Outcome, Policy, Scope, Standing
from proxy.health import circuit as circuits
from proxy.health import standing as standings
from proxy.health.circuit import State
from proxy.health.ratelimit import Windows

_MOST_SPENT = 256  # requests that are remembered; answers are laid aside for a tenth of a second
_STALE_MS = 100  # of what changes by and by: an average fades, a share grows
_NEVER = -1  # no version of a view

Cells = tuple[Cell, Cell, Cell]


class Way:
    """One for each model that is asked about. `model` is the model's own sheet."""

    def __init__(self, sheets: Mapping[Scope, Sheet]) -> None:
        self.sheets = sheets
        self.model, self._provider, self._line = sheets["model"], sheets["provider"], sheets["line"]
        self.waiting = Waiting()
        self.answers: list[Outcome] = []  # laid aside: they say nothing but that all is well
        # What `look` has seen last, for those who ask with each request.
        self.version = _NEVER  # of the view, then
        self.sinces: Mapping[str, int] = {}  # since when its circuits are as they are; the same object while they are
        self.closed = True  # all of them
        self.calm = True  # nor has one of them heard of a failure since its last success
        self._told: Windows = {}  # of the cell that `_left` began with
        self._left: Windows = {}  # the vendor's limits, less what was sent since they were told: this replica's guess
        self._spent: deque[tuple[int, Mapping[str, int]]] = deque(maxlen=_MOST_SPENT)  # lately: when, and what
        self._cells: Cells | None = None  # that `_base` was made of
        self._base, self._from, self._until = Standing(), 0, 0

    @property
    def cells(self) -> Cells:
        """As they are now."""
        return self.model.seen, self._provider.seen, self._line.seen

    def state(self, now: int) -> State:
        """Of its circuits, the worst."""
        states = {circuits.state(cell.circuit, now) for cell in self.cells if cell.circuit.opened}
        return "open" if "open" in states else "half_open" if states else "closed"

    def look(self, version: int) -> None:
        """See how its circuits are. It holds while the view has this version."""
        found = {scope: sheet.seen.circuit for scope, sheet in self.sheets.items()}
        sinces: dict[str, int] = {scope: circuit.since for scope, circuit in found.items()}
        if sinces != self.sinces:
            self.sinces = sinces
        self.closed = not any(circuit.opened for circuit in found.values())
        self.calm = self.closed and not any(circuit.consecutive for circuit in found.values())
        self.version = version

    def standing(self, policy: Policy, now: int, clock: float) -> Standing:
        """How it stands at `now` of the shared clock, `clock` of this process's own."""
        known, cells = self._cells, self.cells
        if (
            known is None
            or known[0] is not cells[0]
            or known[1] is not cells[1]
            or known[2] is not cells[2]
            or not self._from <= now < self._until
        ):
            self._remake(cells, policy, now)
        waiting = self.waiting
        return msgspec.structs.replace(
            self._base,
            windows=self.windows,
            in_flight=waiting.in_flight,
            stalled=waiting.stalled(self.model.seen, clock),
        )

    def quiet(self, policy: Policy, now: int, clock: float) -> bool:
        """Whether it is closed, with all of its traffic, not blocked, and nobody waits in vain: what `standing` says in
        full. Its `windows` are another matter."""
        for cell in self.cells:
            if cell.circuit.opened or circuits.share(cell.circuit, policy, now) < 1:
                return False
        return self.model.seen.blocked <= now and not self.waiting.stalled(self.model.seen, clock)

    def taken(self) -> Sequence[Outcome]:
        """What was laid aside; it is not there any more."""
        if not self.answers:
            return ()
        taken, self.answers = self.answers, []
        return taken

    def spend(self, needed: Mapping[str, int], now: int) -> None:
        """Take what a request needs off the vendor's limits, until they are told anew."""
        left = self.windows
        if left:
            self._spent.append((now, needed))
            self._left = _less(left, now, needed, since=now)

    def _remake(self, cells: Cells, policy: Policy, now: int) -> None:
        model, provider, line = cells
        self._cells, self._from = cells, now
        self._base = standings.standing({"model": model, "provider": provider, "line": line}, policy, now)
        turns = (*(cell.circuit.until for cell in cells), model.blocked)
        self._until = min((turn for turn in turns if now < turn), default=now + _STALE_MS)
        self._until = min(self._until, now + _STALE_MS)

    @property
    def windows(self) -> Windows:
        """The vendor's limits, as far as they are known, less what was sent since they were told."""
        told = self.model.seen.windows
        if told is not self._told:
            if told != self._told:
                self._left = told
                for now, needed in self._spent:  # after it was told: what is told here is told some time later
                    self._left = _less(self._left, now, needed, since=now - 1)
            self._told = told
        return self._left


class Ways:
    """All who may serve one name. What the fleet has seen of them last: that nothing speaks against any, until when."""

    __slots__ = ("each", "limited", "until", "version")

    def __init__(self, each: Sequence[Way]) -> None:
        self.each = each
        self.version, self.until = _NEVER, 0.0  # of the view; seconds of the process's own clock
        self.limited = False  # one of their vendors tells its limits: there are `windows`


def _less(windows: Windows, now: int, needed: Mapping[str, int], since: int) -> Windows:
    """What they have left when a request was sent; those told after `since` have counted it already."""
    return {
        kind: window.spent(need, now) if (need := needed.get(kind)) and window.seen <= since else window
        for kind, window in windows.items()
    }
