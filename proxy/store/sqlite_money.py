"""The money in an SQLite file. Each function is a part of one transaction: it reads, lets `proxy.budget` decide, and
writes; whoever calls it writes the `Counters` in the end. `now` is the store's clock, in milliseconds since the epoch.

Counters are kept, not summed up from rows: a hold costs the same on the last day of the month as on the first.
"""

from collections.abc import Iterator, Sequence
from sqlite3 import Connection

import msgspec

from proxy.budget import (
    THRESHOLDS,
    Alert,
    Ask,
    Granted,
    Limit,
    Refused,
    alert_key,
    exhausted,
    grant,
    reached,
    settled,
)
from proxy.feedback import bare, ended, join
from proxy.ledger import Counter, Entry, decode, encode, labels
from proxy.store import PAGE, Hold, Settlement, StoreError, sqlite_feedback
from proxy.store.sqlite_counters import Counters, named, places

_MILLI = 1_000
_KNOWN = "SELECT amount, at FROM hold WHERE id = ?"
_SEEN = "SELECT 1 FROM hold WHERE id = ?1 UNION ALL SELECT 1 FROM ledger WHERE id = ?1"
_KEEP_HOLD = """
    INSERT INTO hold (id, at, amount, expires, entry) SELECT ?1, ?2, ?3, ?4, ?5
    WHERE NOT EXISTS (SELECT 1 FROM ledger WHERE id = ?1) ON CONFLICT (id) DO NOTHING
"""
_KEEP_ROW = "INSERT OR REPLACE INTO ledger (id, at, entry) VALUES (?, ?, ?)"
_ROWS = "SELECT entry FROM ledger WHERE (at, id) > (?, ?) AND at < ? ORDER BY at, id LIMIT ?"
_PRUNE_ROWS = "DELETE FROM ledger WHERE id IN (SELECT id FROM ledger WHERE at < ? ORDER BY at LIMIT ?)"
_PRUNE_COUNTERS = """
    DELETE FROM counter WHERE (label, scope) IN
        (SELECT label, scope FROM counter WHERE label >= ? AND label < ? ORDER BY label LIMIT ?)
"""
_PRUNE_ALERTS = "DELETE FROM alert WHERE label >= ? AND label < ?"


def hold(file: Connection, counters: Counters, ask: Ask, now: int) -> Granted | Refused:
    """Hold the money within all limits, or hold none. Raises `StoreError` for an id that has its row already, and
    then has written nothing."""
    labels = named(now)
    found = [counters.of(labels[limit.window], limit.scope) for limit in ask.limits]
    amount = grant(ask, found)
    # Hardly any id is asked for twice: so it is looked up only where it could not be written, or would be refused.
    if not isinstance(amount, Limit):
        if _keep(file, counters, Hold(_at(ask.entry, now), amount), now + ask.seconds * _MILLI):
            return Granted(amount, now)
    elif not file.execute(_SEEN, (ask.entry.id,)).fetchone():
        return _refuse(file, ask, amount, labels[amount.window], found[ask.limits.index(amount)])
    if known := file.execute(_KNOWN, (ask.entry.id,)).fetchone():
        return Granted(*known)
    raise StoreError(f"{ask.entry.id!r} is settled already")


def _refuse(file: Connection, ask: Ask, limit: Limit, label: str, counter: Counter) -> Refused:
    said = _tell(file, limit, label, THRESHOLDS[-1], counter) if exhausted(ask, limit, counter) else None
    return Refused(limit, label, counter, said)


def restore(file: Connection, counters: Counters, hold: Hold, expires: int) -> None:
    """Write a hold down that was handed over; not one that is there already, or that was settled."""
    _keep(file, counters, hold, expires)


def _keep(file: Connection, counters: Counters, hold: Hold, expires: int) -> bool:
    """Whether it was written: not if its id is held already, or has its row."""
    entry = hold.entry
    kept = file.execute(_KEEP_HOLD, (entry.id, entry.at, hold.amount, expires, _text(entry))).rowcount > 0
    if kept:
        counters.add(entry, Counter(held=hold.amount))
    return kept


def settle(file: Connection, counters: Counters, settlements: Sequence[Settlement], now: int) -> list[Alert]:
    """Book each row, unless it is there already; the alerts that they set off."""
    return [alert for settlement in settlements for alert in _settle(file, counters, settlement, now)]


def _settle(file: Connection, counters: Counters, settlement: Settlement, now: int) -> Iterator[Alert]:
    entry = settlement.entry
    hold = _given_back(file, entry.id)
    before = None if hold else _row(file, entry.id)  # who is held has no row: neither is written beside the other
    if before is not None and (entry.orphan or not before.orphan):
        return
    known = hold.entry if hold else before
    entry = _at(entry, entry.at or (known.at if known else now))
    text = settlement.text if entry is settlement.entry else b""
    file.execute(_KEEP_ROW, (entry.id, entry.at, text.decode() if text else _text(entry)))
    _book(counters, entry, hold, before)
    labels = named(entry.at)
    for limit in settlement.limits:
        counter = counters.of(labels[limit.window], limit.scope)
        for percent in reached(limit, counter):
            if alert := _tell(file, limit, labels[limit.window], percent, counter):
                yield alert


def _book(counters: Counters, entry: Entry, hold: Hold | None, before: Entry | None) -> None:
    """What was held or booked goes back where it was counted: another clock may have put the new row elsewhere."""
    here = hold.amount if hold and places(hold.entry) == places(entry) else 0  # nearly always all of it
    if hold and not here:
        counters.add(hold.entry, Counter(held=-hold.amount))
    if before:
        gone = settled(before, 0)
        counters.add(before, Counter(spent=-gone.spent, unproven=-gone.unproven))
    counters.add(entry, settled(entry, here))


def _at(entry: Entry, at: int) -> Entry:
    return entry if entry.at == at else msgspec.structs.replace(entry, at=at)


def expired(file: Connection, now: int) -> list[Hold]:
    """Holds past their time, the oldest first."""
    found = file.execute("SELECT entry, amount FROM hold WHERE expires <= ? ORDER BY expires LIMIT ?", (now, PAGE))
    return [Hold(decode(entry), amount) for entry, amount in found.fetchall()]


def counters(file: Connection, label: str) -> dict[str, Counter]:
    """All counters of a window, by scope."""
    found = file.execute("SELECT scope, spent, held, unproven FROM counter WHERE label = ?", (label,))
    return {scope: Counter(*amounts) for scope, *amounts in found.fetchall()}


def rows(file: Connection, start: int, end: int, after: Entry | None) -> list[Entry]:
    """The next page of the ledger after that row, from `start` up to, not including, `end`; oldest first."""
    at, id = (after.at, after.id) if after else (start, "")  # no row is without an id
    found = [decode(entry) for (entry,) in file.execute(_ROWS, (at, id, end, PAGE)).fetchall()]
    return join(found, sqlite_feedback.said(file, ended(found)))


def prune(file: Connection, before: int, most: int) -> bool:
    """Forget up to `most` rows, as many words that were said of them, and as many counters of windows that were over
    then; whether there may be more."""
    gone = [file.execute(_PRUNE_ROWS, (before, most)).rowcount, sqlite_feedback.prune(file, before, most)]
    for label in labels(before):
        window = f"{label.partition(':')[0]}:"  # labels of one window sort by their dates
        gone.append(file.execute(_PRUNE_COUNTERS, (window, label, most)).rowcount)
        file.execute(_PRUNE_ALERTS, (window, label))
    return max(gone) >= most


def _given_back(file: Connection, id: str) -> Hold | None:
    found = file.execute("DELETE FROM hold WHERE id = ? RETURNING entry, amount", (id,)).fetchone()
    return Hold(decode(found[0]), found[1]) if found else None


def _row(file: Connection, id: str) -> Entry | None:
    found = file.execute("SELECT entry FROM ledger WHERE id = ?", (id,)).fetchone()
    return decode(found[0]) if found else None


def _tell(file: Connection, limit: Limit, label: str, percent: int, counter: Counter) -> Alert | None:
    """The alert, if nobody has said it yet."""
    said = file.execute("INSERT OR IGNORE INTO alert VALUES (?, ?)", (label, alert_key(limit, label, percent)))
    return Alert(limit, label, percent, counter) if said.rowcount else None


def _text(entry: Entry) -> str:
    return encode(bare(entry)).decode()
