"""What a request to one model goes through: the model's circuit, its provider's, and our own line to it."""

from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from proxy.fleet.sheet import Sheet
from proxy.fleet.waiting import WITNESSES, Waiting
from proxy.health import Cell, Outcome, Policy, Scope, Standing
from proxy.health import circuit as circuits
from proxy.health import standing as standings
from proxy.health.circuit import State
from proxy.health.ratelimit import Windows

_MOST_SPENT = 256  # requests that are remembered; answers are laid aside for a tenth of a second
_STALE_MS = 100  # of what changes by and by: an average fades, a share grows

Cells = tuple[Cell, Cell, Cell]


class Way:
    """One for each model that is asked about."""

    def __init__(self, sheets: Mapping[Scope, Sheet]) -> None:
        self.sheets = sheets
        self.waiting = Waiting()
        self.answers: list[Outcome] = []  # laid aside: they say nothing but that all is well
        self._model, self._provider, self._line = sheets["model"], sheets["provider"], sheets["line"]
        self._told: Windows = {}  # of the cell that `_left` began with
        self._left: Windows = {}  # the vendor's limits, less what was sent since they were told: this replica's guess
        self._spent: deque[tuple[int, Mapping[str, int]]] = deque(maxlen=_MOST_SPENT)  # lately: when, and what
        self._cells: Cells | None = None  # that `_base` was made of
        self._base, self._from, self._until = Standing(), 0, 0
        self._of: Cells = (Cell(), Cell(), Cell())  # that `_sinces` was made of
        self._sinces: Mapping[str, int] = {}
        self._calm = True
        self.closed = True  # all of its circuits; as of `sinces`
        self._quiet = True  # closed, with all of its traffic, not blocked: as `_base` says
        self.limited = False  # the vendor tells its limits: there are `windows`; as of `quiet`

    @property
    def cells(self) -> Cells:
        """As they are now."""
        return self._model.seen, self._provider.seen, self._line.seen

    def state(self, now: int) -> State:
        """Of its circuits, the worst."""
        states = {circuits.state(cell.circuit, now) for cell in self.cells if cell.circuit.opened}
        return "open" if "open" in states else "half_open" if states else "closed"

    def standing(self, policy: Policy, now: int, clock: float) -> Standing:
        """How it stands at `now` of the shared clock, `clock` of this process's own."""
        self.quiet(policy, now, clock)
        waiting = self.waiting
        return msgspec.structs.replace(
            self._base,
            windows=self.windows,
            in_flight=waiting.in_flight,
            stalled=waiting.stalled(self._model.seen, clock),
        )

    def quiet(self, policy: Policy, now: int, clock: float) -> bool:
        """Whether it is closed, with all of its traffic, not blocked, and nobody waits in vain: what `standing` says in
        full. Its `windows` are another matter."""
        known = self._cells
        model, provider, line = self._model.seen, self._provider.seen, self._line.seen
        if (
            known is None
            or known[0] is not model
            or known[1] is not provider
            or known[2] is not line
            or not self._from <= now < self._until
        ):
            self._remake((model, provider, line), policy, now)
        # Each request asks three ways or more, and behind most of them nobody waits.
        return self._quiet and (len(self.waiting.sent) < WITNESSES or not self.waiting.stalled(model, clock))

    @property
    def sinces(self) -> Mapping[str, int]:
        """Since when its circuits are as they are now."""
        # The cells change ten times a second, not with each request.
        model, provider, line = self._of
        if model is not self._model.seen or provider is not self._provider.seen or line is not self._line.seen:
            circuits = {scope: sheet.seen.circuit for scope, sheet in self.sheets.items()}
            self._sinces = {scope: circuit.since for scope, circuit in circuits.items()}
            self.closed = not any(circuit.opened for circuit in circuits.values())
            self._calm = self.closed and not any(circuit.consecutive for circuit in circuits.values())
            self._of = (self._model.seen, self._provider.seen, self._line.seen)
        return self._sinces

    def calm(self, sinces: Mapping[str, int]) -> bool:
        """Whether an answer, to what was sent when the circuits were as old as `sinces`, can change none of them."""
        if sinces is self.sinces:  # nearly always
            return self._calm
        for scope, sheet in self.sheets.items():
            circuit = sheet.seen.circuit
            if circuit.opened or circuit.consecutive or circuit.since != sinces.get(scope):
                return False
        return True

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
        base = self._base = standings.standing({"model": model, "provider": provider, "line": line}, policy, now)
        turns = (*(cell.circuit.until for cell in cells), model.blocked)
        self._until = min((turn for turn in turns if now < turn), default=now + _STALE_MS)
        self._until = min(self._until, now + _STALE_MS)
        self._quiet = base.state == "closed" and base.share >= 1 and base.blocked <= now
        self.limited = bool(model.windows)

    @property
    def windows(self) -> Windows:
        """The vendor's limits, as far as they are known, less what was sent since they were told."""
        told = self._model.seen.windows
        if told is not self._told:
            if told != self._told:
                self._left = told
                for now, needed in self._spent:  # after it was told: what is told here is told some time later
                    self._left = _less(self._left, now, needed, since=now - 1)
            self._told = told
        return self._left


def _less(windows: Windows, now: int, needed: Mapping[str, int], since: int) -> Windows:
    """What they have left when a request was sent; those told after `since` have counted it already."""
    return {
        kind: window.spent(need, now) if (need := needed.get(kind)) and window.seen <= since else window
        for kind, window in windows.items()
    }
