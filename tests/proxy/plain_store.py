"""The contract of the stores in dicts, by what `proxy.budget` decides: they are held to it, and it to its rows."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from typing import TypeVar

import msgspec

from proxy import budget
from proxy.budget import Alert, Ask, Granted, Limit, Refused
from proxy.ledger import WINDOWS, Counter, Entry, labels
from proxy.store import Hold, Settlement, StoreError

K = TypeVar("K", bound=Hashable)
Place = tuple[str, str]  # label of a window, scope


def places(entry: Entry) -> list[Place]:
    """The counters in which a row counts: twelve, and two of its team if it has one."""
    return [(label, scope) for label in labels(entry.at) for scope in entry.scopes]


def label_of(limit: Limit, at: int) -> str:
    return labels(at)[WINDOWS.index(limit.window)]


class PlainStore:
    """One store, however many replicas; `now` is its clock."""

    def __init__(self) -> None:
        self.counters: defaultdict[Place, Counter] = defaultdict(Counter)
        self.holds: dict[str, Hold] = {}
        self.expires: dict[str, int] = {}
        self.rows: dict[str, Entry] = {}
        self.told: set[str] = set()

    def hold(self, ask: Ask, now: int) -> Granted | Refused:
        id = ask.entry.id
        if known := self.holds.get(id):
            return Granted(known.amount, known.entry.at)
        if id in self.rows:
            raise StoreError("settled already")
        counters = [self.counters[label_of(limit, now), limit.scope] for limit in ask.limits]
        answer = budget.grant(ask, counters)
        if isinstance(answer, Limit):
            label = label_of(answer, now)
            counter = self.counters[label, answer.scope]
            done = budget.exhausted(ask, answer, counter)
            return Refused(answer, label, _copy(counter), self._tell(answer, label, 100, counter) if done else None)
        entry = msgspec.structs.replace(ask.entry, at=now)
        self.holds[id], self.expires[id] = Hold(entry, answer), now + ask.seconds * 1000
        self._add(entry, Counter(held=answer))
        return Granted(answer, now)

    def settle(self, settlement: Settlement, now: int) -> list[Alert]:
        entry = settlement.entry
        before = self.rows.get(entry.id)
        if before is not None and (entry.orphan or not before.orphan):
            return []
        hold = self.holds.pop(entry.id, None)
        known = hold.entry if hold else before
        entry = msgspec.structs.replace(entry, at=entry.at or (known.at if known else now))
        self.rows[entry.id] = entry
        held = hold.amount if hold else 0
        if known is None or places(known) == places(entry):
            self._add(entry, budget.settled(entry, held, before))
        else:
            gone = Counter(held=held) if hold else budget.settled(known, 0)
            self._add(known, Counter(-gone.spent, -gone.held, -gone.unproven))
            self._add(entry, budget.settled(entry, 0))
        return list(self._alerts(settlement, entry.at))

    def expired(self, now: int) -> list[Hold]:
        return [hold for id, hold in self.holds.items() if self.expires[id] <= now]

    def summed(self) -> dict[Place, Counter]:
        """What the counters must be: the sum of all rows and holds."""
        found: defaultdict[Place, Counter] = defaultdict(Counter)
        for row in self.rows.values():
            for place in places(row):
                found[place].spent += row.cost or 0
                found[place].unproven += row.unproven
        for hold in self.holds.values():
            for place in places(hold.entry):
                found[place].held += hold.amount
        return nonzero(found)

    def _add(self, entry: Entry, change: Counter) -> None:
        for place in places(entry):
            counter = self.counters[place]
            counter.spent += change.spent
            counter.held += change.held
            counter.unproven += change.unproven

    def _alerts(self, settlement: Settlement, at: int) -> Iterator[Alert]:
        for limit in settlement.limits:
            label = label_of(limit, at)
            counter = self.counters[label, limit.scope]
            for percent in budget.reached(limit, counter):
                if alert := self._tell(limit, label, percent, counter):
                    yield alert

    def _tell(self, limit: Limit, label: str, percent: int, counter: Counter) -> Alert | None:
        alert = Alert(limit, label, percent, _copy(counter))
        if alert.key in self.told:
            return None
        self.told.add(alert.key)
        return alert


def nonzero(counters: Mapping[K, Counter]) -> dict[K, Counter]:
    return {place: _copy(counter) for place, counter in counters.items() if counter != Counter()}


def _copy(counter: Counter) -> Counter:
    return msgspec.structs.replace(counter)
