"""The health of all models at all providers, as this replica knows it, shared with the others in the background.

A request asks only what is known here; nothing waits for the store but a probe of a half-open circuit, whose places are
given out for the whole fleet. What this replica sees is said to the others a tenth of a second later, many outcomes at
once; an opening, a reset, a rate limit at once. Whoever writes a cell has seen its last state (`Board.pin`): who comes
second reads it again, adds what he saw, and writes then. While the store is away each goes on with what it knows.

    word      what this replica has to say of a cell, and what becomes of a cell when it is said
    sheet     one cell: what stands on the board, what is on its way there, what is not yet said
    view      all sheets of this replica
    exchange  what passes between the view and the board
    way       the three circuits that a request goes through, and what is under way there
    waiting   the requests under way at one model; whether it has stopped to answer
    clock     the clock that all replicas share
    chronicle what the log is told of a circuit
"""

import itertools
from collections.abc import Callable, Mapping

import structlog

from proxy.fleet.chronicle import Opened, untold
from proxy.fleet.clock import SharedClock
from proxy.fleet.exchange import Exchange
from proxy.fleet.sheet import Sheet
from proxy.fleet.view import View
from proxy.fleet.waiting import Sent
from proxy.fleet.way import Way, Ways
from proxy.health import Cell, Outcome, Policy, Scope, Standing, ratelimit
from proxy.health import cell as cells
from proxy.health import circuit as circuits
from proxy.store import Board, StoreError

__all__ = ["Fleet", "Ticket", "Way", "Ways"]

_MOST_ASIDE = 512  # answers; without `open` nobody gathers them by the clock
_QUIET_SECONDS = 0.1  # that nothing speaks against some is believed without another look, if nothing is learnt
_SCOPES: tuple[Scope, ...] = ("line", "provider", "model")  # the nearest first: it is asked for a place first


class Ticket(Sent):
    """One attempt at one model, from its sending to its end. Made by `Fleet`, opaque to others."""

    way: Way
    probes: dict[str, str]  # scope -> the name of its place there
    sinces: Mapping[str, int]  # scope -> since when its circuit is as it was then
    needed: tuple[int, int]
    answered: bool = False  # its first part has come
    ended: bool = False


class Fleet:
    """One per process. `clock` in seconds, monotonic; `wall` in seconds since the epoch, until the store tells better.

    `replica` names this process, and no other: it goes into the names of its probes, and marks what it has said.
    Without `open` nothing is shared.
    """

    def __init__(
        self,
        board: Board,
        policy: Policy,
        *,
        replica: str,
        clock: Callable[[], float],
        wall: Callable[[], float],
        opened: Opened = untold,
    ) -> None:
        self._replica, self._clock = replica, clock
        self._time = SharedClock(clock, wall)
        self.now = self._time.now  # the shared clock: the store's, as well as it is known; milliseconds since the epoch
        self._view = View(policy, replica, self.now, opened)
        self.exchange = Exchange(board, self._view, self._time, clock, self.gather)
        self._ways: dict[tuple[str, str], Way] = {}
        self._numbers = itertools.count(1)

    @property
    def policy(self) -> Policy:
        """When circuits open, and for how long. If it is changed, circuits stay as they are until something happens."""
        return self._view.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._view.obey(policy)

    async def open(self) -> None:
        """Read the board once, if it can be had, and begin to listen and to tell. Never raises."""
        await self.exchange.open()

    async def close(self) -> None:
        """Say what is unsaid, if that is quickly done, and stop."""
        self.gather()
        await self.exchange.close()

    def standing(self, provider: str, model: str) -> Standing:
        """How it stands, as far as is known here. Never waits."""
        return self.way(provider, model).standing(self.policy, self.now(), self._clock())

    def quiet(self, ways: Ways) -> bool:
        """Whether nothing speaks against asking at any of them: no circuit, no wait that a vendor has asked for, no
        stall. Each request asks this: what was seen holds until anything is learnt; a stall, which nobody tells, is
        seen a tenth of a second late at most."""
        clock = self._clock()
        return (ways.version == self._view.version and clock < ways.until) or self._look(ways, clock)

    def _look(self, ways: Ways, clock: float) -> bool:
        view, now = self._view, self.now()
        if not all(way.quiet(view.policy, now, clock) for way in ways.each):
            return False
        ways.version, ways.until = view.version, clock + _QUIET_SECONDS
        ways.limited = any(way.windows for way in ways.each)
        return True

    async def begin(
        self,
        provider: str,
        model: str,
        needed: tuple[int, int] = (0, 0),
        *,
        first_byte: float = 60.0,
        stream: bool = False,
        force: bool = False,
    ) -> Ticket | None:
        """An attempt is about to be made; None if its circuit is half-open and all places for probes are taken.

        With `force` it is made even so. Waits only for a place (and for no longer than the store may take). `needed`:
        tokens of its prompt and of its answer, estimated, which are taken off the vendor's limits when it is `sent`.
        `first_byte`: after how many seconds it is given up, if nobody answers.
        """
        way, view = self._ways.get((provider, model)) or self.way(provider, model), self._view
        probes: dict[str, str] = {}
        if way.version != view.version:
            way.look(view.version)
        if not way.closed:
            if way.state(self.now()) == "half_open":
                probe = f"{self._replica}/{next(self._numbers)}"
                if not await self._admitted(way, probe, probes) and not force:
                    return None
            way.look(view.version)
        ticket = Ticket(self._clock(), first_byte, stream, way, probes, way.sinces, needed)
        way.waiting.begin(ticket)
        return ticket

    async def _admitted(self, way: Way, probe: str, probes: dict[str, str]) -> bool:
        """A place in each circuit that is half-open, or none at all."""
        admitted = False
        try:
            for scope in _SCOPES:
                sheet = way.sheets[scope]
                if self._half_open(sheet):
                    if await self.exchange.place(sheet, probe):
                        probes[scope] = probe
                    elif sheet.seen.circuit.opened:  # half-open still, or open again: somebody else's probe failed
                        return False
            admitted = True
        finally:
            for scope in () if admitted else _SCOPES:
                if probes.pop(scope, None):
                    self._view.void(way.sheets[scope], probe)
        return True

    def _half_open(self, sheet: Sheet) -> bool:
        return circuits.state(sheet.seen.circuit, self.now()) == "half_open"

    def sent(self, ticket: Ticket) -> None:
        """It goes out: what it needs is taken off what the vendor's limits have left, until they are told anew: here,
        not for the others."""
        if ticket.way.model.seen.windows:  # else there is nothing to take it off
            ticket.way.spend(ratelimit.needs(*ticket.needed), self.now())

    def answered(self, ticket: Ticket) -> None:
        """Its first part has come."""
        ticket.answered = True
        ticket.way.waiting.answered(ticket, self._clock())

    def end(self, ticket: Ticket, outcome: Outcome) -> None:
        """How it ended. Never waits, never raises; each ticket once."""
        if ticket.ended:
            return
        ticket.ended = True
        way = ticket.way
        try:
            if outcome.failure is None and not outcome.left:
                if not ticket.answered:
                    self.answered(ticket)
                if self._lay_aside(ticket, way, outcome):
                    return
            self.gather()
            for scope, sheet in way.sheets.items():
                self._hear(ticket, scope, sheet, outcome)
        except Exception:  # whoever calls this has better to do
            asked = way.model
            structlog.get_logger().exception("health not counted", provider=asked.provider, model=asked.model)
        finally:
            way.waiting.end(ticket)

    def _lay_aside(self, ticket: Ticket, way: Way, outcome: Outcome) -> bool:
        """An answer where all is well, now as when it was asked for, says nothing that could not be said a little
        later, with all others."""
        view, answers = self._view, way.answers
        if way.version != view.version:
            way.look(view.version)
        if not way.calm or ticket.sinces is not way.sinces or (outcome.windows and ratelimit.scarce(outcome.windows)):
            return False
        if not answers:
            view.news.set()
        answers.append(outcome)
        if len(answers) >= _MOST_ASIDE:
            self.gather()
        return True

    def gather(self) -> None:
        """Take down what was laid aside."""
        now = self.now()
        for way in self._ways.values():
            answers = way.taken()
            for scope, sheet in way.sheets.items() if answers else ():
                self._view.learn(sheet, cells.well(answers, scope, now), now)

    def _hear(self, ticket: Ticket, scope: Scope, sheet: Sheet, outcome: Outcome) -> None:
        """What an outcome says to one circuit: nothing, if that has turned since the request was sent."""
        now = self.now()
        late = ticket.sinces.get(scope) != sheet.seen.circuit.since
        probe = None if late else ticket.probes.get(scope)
        report = cells.report(outcome, scope, self.policy, now, probe, late=late)
        self._view.learn(sheet, report, now)

    async def reset(self, provider: str, model: str | None = None) -> list[str]:
        """Close circuits by hand, of a provider with all its models, or of one model; for all replicas. Returns their
        names. Raises `StoreError` if the others cannot be told; here it is done all the same, and they are told when
        the store is back."""
        self.gather()
        now = self.now()
        chosen = [
            sheet
            for sheet in self._view
            if sheet.known
            and sheet.provider == provider
            and (model is None or (sheet.scope == "model" and sheet.model == model))
        ]
        for sheet in chosen:
            self._view.reset(sheet, now)
        if self.exchange.opened:
            await self.exchange.say(chosen)
            if any(sheet.reset_unsaid for sheet in chosen):
                raise StoreError("the other replicas are not told yet: the store is away")
        return [sheet.name for sheet in chosen]

    def shared(self) -> Mapping[tuple[str, str], Cell]:
        """All cells, as all replicas see them: (provider, model), and (provider, "") for a provider's own."""
        self.gather()
        return {(sheet.provider, sheet.model): sheet.seen for sheet in self._view if sheet.key and sheet.known}

    def own(self) -> Mapping[tuple[str, str], Cell]:
        """What this replica alone has seen, its ways to the providers included: (provider, "line").

        Circuits are everybody's: but for the ways they have only the counts here, and never open.
        """
        self.gather()
        found = {}
        for sheet in self._view:
            cell = sheet.own(self.policy)
            if cell.born:
                found[sheet.provider, "line" if sheet.scope == "line" else sheet.model] = cell
        return found

    def way(self, provider: str, model: str) -> Way:
        """What a request goes through there: there is one for everything that is asked for, and it stays."""
        way = self._ways.get((provider, model))
        if way is None:
            sheets: dict[Scope, Sheet] = {scope: self._view.sheet(provider, model, scope) for scope in _SCOPES}
            way = self._ways[provider, model] = Way(sheets)
        return way
