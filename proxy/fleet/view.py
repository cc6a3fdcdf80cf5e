"""All sheets of this replica: which there are, which have something to say, and what comes from the board."""

import asyncio
from collections.abc import Callable, Iterator

import msgspec
import structlog

from proxy.fleet import word
from proxy.fleet.chronicle import Opened, untold
from proxy.fleet.sheet import PREFIX, Sheet
from proxy.health import Policy, Report, Scope
from proxy.health.circuit import Tally
from proxy.store import Notice

_MOST_HEARD = 1_000  # cells; a board that somebody else fills must not fill this process


class View:
    """One per process; used on the event loop. `now` is the shared clock, in milliseconds.

    `version` is another whenever a cell or the policy may be: what was concluded from them holds as long as it is not.
    """

    def __init__(self, policy: Policy, replica: str, now: Callable[[], int], opened: Opened = untold) -> None:
        self._opened = opened
        self.policy, self.replica, self.now = policy, replica, now
        self.version = 0
        self.dirty: set[Sheet] = set()
        self.news, self.urgent = asyncio.Event(), asyncio.Event()
        self._sheets: dict[tuple[str, str, Scope], Sheet] = {}
        self._complained: set[str] = set()  # keys of notices that were not understood

    def __iter__(self) -> Iterator[Sheet]:
        """All of them, models before their providers."""
        return iter(
            sorted(self._sheets.values(), key=lambda sheet: (sheet.provider, sheet.scope != "model", sheet.name))
        )

    def sheet(self, provider: str, model: str, scope: Scope) -> Sheet:
        """There is one for everything that is asked for."""
        model = model if scope == "model" else ""
        found = self._sheets.get((provider, model, scope))
        if found is None:
            found = self._sheets[provider, model, scope] = Sheet(provider, model, scope, self._opened)
        return found

    # ---- what happens here --------------------------------------------------------------------------------------

    def obey(self, policy: Policy) -> None:
        """Another policy from now on."""
        self.policy = policy
        self.version += 1

    def learn(self, sheet: Sheet, report: Report, now: int) -> None:
        """Something was seen."""
        self._changed(sheet, urgent=sheet.learn(report, self.policy, now))

    def admit(self, sheet: Sheet, probe: str) -> bool:
        """Give a place to a probe without asking the board; False if there is none."""
        given = sheet.admit(probe, self.policy, self.now())
        if given:
            self._changed(sheet, urgent=False)
        return given

    def void(self, sheet: Sheet, probe: str) -> None:
        """A probe was not sent: its place is free again."""
        now = self.now()
        self.learn(sheet, Report(tally=Tally(at=now, void=(probe,))), now)

    def reset(self, sheet: Sheet, now: int) -> None:
        """Close it by hand."""
        self._changed(sheet, urgent=sheet.reset(now))

    def _changed(self, sheet: Sheet, *, urgent: bool) -> None:
        self.version += 1
        if sheet.dirty:
            self.dirty.add(sheet)
            self.news.set()
            if urgent:
                self.urgent.set()

    # ---- what comes from the board ------------------------------------------------------------------------------

    def read(self, sheet: Sheet, notice: Notice, *, heard: bool) -> None:
        """This stands on the board."""
        try:
            posting = word.decode(notice.text)
        except msgspec.MsgspecError as error:
            sheet.foreign = True
            if sheet.key not in self._complained:
                self._complained.add(sheet.key or "")
                structlog.get_logger().warning("health not understood", key=sheet.key, why=str(error))
            return
        sheet.read(notice.serial, posting, self.replica, self.policy, self.now(), heard=heard)
        self._changed(sheet, urgent=sheet.ring)  # if it was not ours to understand before, there may be much to say

    def hear(self, key: str, notice: Notice) -> None:
        """A notice was changed; it may be of a model that nobody here has asked for yet."""
        provider, slash, model = key.removeprefix(PREFIX).partition("/")
        if not key.startswith(PREFIX) or not provider:
            return
        scope: Scope = "model" if slash else "provider"
        if (provider, model, scope) not in self._sheets and len(self._sheets) >= _MOST_HEARD:
            return
        self.read(self.sheet(provider, model, scope), notice, heard=True)

    def forget(self) -> None:
        """The board has forgotten everything."""
        for sheet in self._sheets.values():
            sheet.forget()
            if sheet.dirty:
                self.dirty.add(sheet)
