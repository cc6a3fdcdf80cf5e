"""One cell as this replica knows it: what stands on the board, what is on its way there, and what is not yet said."""

import asyncio

import msgspec

from proxy.fleet import word
from proxy.fleet.chronicle import Chronicle, Opened, untold
from proxy.fleet.word import Posting, Word
from proxy.health import Cell, Policy, Report, Scope
from proxy.health import cell as cells
from proxy.health import circuit as circuits
from proxy.health.circuit import Circuit

PREFIX = "health:"
_REMEMBERED_MS = 3_600_000  # the mark of a replica of which nothing was heard for so long is forgotten
_MOST_REMEMBERED = 64
_NEVER = 1_000_000_000


class Sheet:
    """`seen` is what this replica decides on. A way to a provider ("line") has no `key`: nobody else is told of it."""

    def __init__(self, provider: str, model: str, scope: Scope, opened: Opened = untold) -> None:
        self.provider, self.model, self.scope = provider, model, scope
        self.key = None if scope == "line" else PREFIX + self.path
        self.seen = Cell()
        self.turn = asyncio.Lock()  # of whoever pins it
        self.ring = False  # the others must hear at once of what is unsaid
        self.bare = False  # nothing stands on the board, though something is known
        self.foreign = False  # what stands there is not ours to understand, nor to overwrite
        self.serial = 0  # of what stands there
        self._told, self._said = Cell(), dict[str, int]()
        self._saying: tuple[Word, ...] = ()  # on its way; it may have arrived, as long as nothing else is known
        self._mark = 0  # of `_saying`: the time, roughly
        self._loud = False  # what is on its way rings
        self._unsaid: tuple[Word, ...] = ()
        self._own = Cell()  # what this replica alone has seen, but for `_unsaid`
        self._chronicle = Chronicle(provider, model if scope == "model" else None, scope, opened)

    @property
    def path(self) -> str:
        """Without the prefix: provider/model, or the provider alone."""
        return f"{self.provider}/{self.model}" if self.scope == "model" else self.provider

    @property
    def name(self) -> str:
        """As people are told of it."""
        return f"{self.path} (line)" if self.scope == "line" else self.path

    @property
    def dirty(self) -> bool:
        """Whether there is anything to be pinned."""
        return self.key is not None and not self.foreign and bool(self._saying or self._unsaid or self.bare)

    @property
    def saying(self) -> bool:
        """Whether something is on its way to the board, and not known to have arrived."""
        return bool(self._saying)

    @property
    def known(self) -> bool:
        """Whether anything was ever seen of it."""
        return bool(self.seen.born or self.seen.circuit.since)

    @property
    def reset_unsaid(self) -> bool:
        """Whether it was closed by hand, and the others do not know it yet."""
        return any(said.reset for said in (*self._saying, *self._unsaid))

    def own(self, policy: Policy) -> Cell:
        """What this replica alone has seen. Circuits are everybody's: only their counts, but for a line."""
        return self.seen if self.key is None else self._with_own(policy)

    # ---- what happens here --------------------------------------------------------------------------------------

    def learn(self, report: Report, policy: Policy, now: int) -> bool:
        """Something was seen. True if the others must hear of it at once."""
        after = cells.observed(self.seen, report, policy, now)
        self._unsaid = word.with_report(self._unsaid, report) if self.key else ()
        return self._become(after, now)

    def room(self, probe: str, policy: Policy, now: int) -> bool:
        """Whether there is a place for a probe, as far as is known here."""
        return circuits.admit(self.seen.circuit, probe, policy, now) is not None

    def admit(self, probe: str, policy: Policy, now: int) -> bool:
        """Give a place to a probe without asking the board; False if there is none."""
        circuit = circuits.admit(self.seen.circuit, probe, policy, now)
        if circuit is None:
            return False
        if self.key:
            self._unsaid = word.with_place(self._unsaid, probe, circuit.probes[probe], circuit)
        self._become(_with_circuit(self.seen, circuit), now)
        return True

    def reset(self, now: int) -> bool:
        """Close it by hand. True if the others must hear of it at once."""
        self._unsaid = word.with_reset(self._unsaid, now) if self.key else ()
        return self._become(cells.reset(self.seen, now), now)

    def _become(self, after: Cell, now: int) -> bool:
        urgent = self.key is not None and cells.urgent(self.seen, after)
        self.ring |= urgent
        self._see(after, now, heard=False)
        return urgent

    def _see(self, after: Cell, now: int, *, heard: bool) -> None:
        before, self.seen = self.seen.circuit, after
        if self._unsaid and (before.opened, before.since) != (after.circuit.opened, after.circuit.since):
            self._unsaid = word.ended(self._unsaid)
        self._chronicle.tell(after, now, heard=heard)

    # ---- what passes between here and the board -----------------------------------------------------------------

    def draft(self, replica: str, policy: Policy, now: int, probe: str | None = None) -> tuple[bytes, bool] | None:
        """What should stand on the board, and whether to ring; None if there is no place for the `probe`.

        What was on its way before, and may have arrived, goes again by itself: it must be recognized.
        """
        if not self._saying and self._unsaid:
            self._own = self._with_own(policy)
            self._saying, self._unsaid = self._unsaid, ()
            self._mark = max(now, self._mark + 1, self._said.get(replica, 0) + 1)
            self._loud, self.ring = self.ring, False
        cell = self._with(self._told, self._saying, policy)
        if probe is not None:
            circuit = circuits.admit(cell.circuit, probe, policy, now)
            if circuit is None:
                return None
            cell = _with_circuit(cell, circuit)
        said = self._said | {replica: self._mark} if self._saying else self._said
        latest = sorted(said.items(), key=lambda pair: pair[1])[-_MOST_REMEMBERED:]
        said = {name: mark for name, mark in latest if mark > now - _REMEMBERED_MS}
        return word.encode(Posting(cell, said)), self._loud

    def read(
        self, serial: int, posting: Posting, replica: str, policy: Policy, now: int, *, heard: bool = True
    ) -> None:
        """This stands on the board; `heard`: somebody else wrote it. What is older than what is known says nothing."""
        if serial <= self.serial:
            return
        self.serial, self.bare, self.foreign = serial, False, False
        self._told, self._said = posting.cell, posting.said
        if self._saying and posting.said.get(replica, 0) >= self._mark:
            self._saying, self._loud = (), False
        seen = self._with(self._told, (*self._saying, *self._unsaid), policy)
        # What neither they nor we have seen enough of alone, may be enough together.
        urgent = cells.urgent(self._told, seen)
        self._loud |= urgent and bool(self._saying)
        self.ring |= urgent and bool(self._unsaid)
        self._see(seen, now, heard=heard and not urgent)

    def forget(self) -> None:
        """The board has forgotten it: what stood there has to be put up again, unless somebody else has done it."""
        self.serial, self.bare = 0, self.known

    def _with(self, cell: Cell, words: tuple[Word, ...], policy: Policy) -> Cell:
        for said in words:
            cell = word.applied(cell, said, policy)
        return cell

    def _with_own(self, policy: Policy) -> Cell:
        never = Policy(consecutive=_NEVER, least=_NEVER, window=policy.window)
        cell = self._own
        for said in self._unsaid:
            if said.report is not None:
                cell = cells.observed(cell, word.alone(said.report), never, said.report.tally.at)
        return cell


def _with_circuit(cell: Cell, circuit: Circuit) -> Cell:
    return msgspec.structs.replace(cell, circuit=circuit)
