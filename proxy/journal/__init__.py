"""The spend journal: what this process books is on its own disk first, and in the store second.

One file per process and UTC day (`log.py` has the format). Whoever holds the lock of a file (flock) owns it. A file
whose lock is free belongs to a process that is dead; the next one that starts adopts it.

A record is one `write`, so a process that is killed loses nothing; `sync` is for the machine that loses its power.
"""

import itertools
import os
import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from proxy import ledger
from proxy.journal.log import (
    BEGIN,
    ROW,
    START,
    JournalError,
    Log,
    Place,
    Read,
    Record,
    lines,
    parse,
    sealed,
    take,
    unwritten,
)
from proxy.ledger import Entry

__all__ = ["LARGEST", "PAGE", "Found", "Journal", "JournalError"]

LARGEST = 64 * 1024 * 1024  # bytes of a file, where files are not kept: what is delivered can go before the day is over
PAGE = 500  # rows that are handed over at once
_DAY = 86_400  # seconds
_RETRY = 60  # seconds until the next try, when no new file could be made
_NAME = re.compile(r"\d{4}-\d\d-\d\d\..+\.log")


class Found(msgspec.Struct, frozen=True):
    """What earlier processes left behind, and this one if it was here before.

    `undelivered` are rows of which nobody knows whether the store has them, one per id: the row that the store would
    keep. `begun` are attempts that never ended. Both are open until told otherwise: the first by `delivered`, the
    second by the row that ends them. `damaged` are lines that say nothing any more, "2026-11-23.one.log:17".
    """

    undelivered: list[Entry]
    begun: list[Entry]
    damaged: list[str]


class Journal:
    """All files that this process owns. Each method may be called on any thread.

    `begin`, `append` and `delivered` are quick; the others go to the disk. A name of `replica` that is the same after
    a restart means fewer files. Without `keep`, a file goes as soon as all its rows are delivered: for a store that
    lies beside it on the same disk, and needs no mirror.
    """

    def __init__(self, directory: Path, replica: str, *, wall: Callable[[], float], keep: bool = True) -> None:
        self._directory = directory
        self._replica = re.sub(r"[^A-Za-z0-9._-]", "_", replica)[:100]
        self._wall, self._keep = wall, keep
        self._logs: list[Log] = []  # the last one is written to
        self._next_day = 0.0
        self._full = float("inf") if keep else LARGEST
        self._created = False  # a file whose name may not be on the disk yet
        self._lock = threading.Lock()  # held for microseconds, never during an fsync: the event loop waits for it
        self._slow = threading.RLock()  # held by what goes to the disk, so that no file is closed under an fsync

    @property
    def undelivered(self) -> int:
        """How many ids have rows that are not known to be delivered."""
        return sum(len(log.rows) for log in self._logs)

    def open(self) -> Found:
        """Open a file of our own, adopt those of the dead, and read what they left. Raises `JournalError`. Once."""
        with self._slow, self._lock:
            try:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._directory.chmod(0o700)
                self._turn(self._wall(), 0)
                own = self._logs[-1].path
                for path in sorted(self._directory.iterdir()):
                    if _NAME.fullmatch(path.name) and path != own and (log := take(path, 0)):
                        self._logs.insert(-1, log)
                found = _found([(log, log.recover()) for log in self._logs])
                for log in [log for log in self._logs[:-1] if not log.size]:
                    self._logs.remove(log)
                    log.close()
            except OSError as error:
                self._unlock()
                raise JournalError(f"the journal cannot be opened: {error}") from error
        return found

    def begin(self, *entries: Entry, ended: Sequence[Entry] = (), texts: Sequence[bytes] = ()) -> None:
        """Attempts are about to be forwarded; `cost` is the most that one may cost. Raises `JournalError`.

        `ended` are rows that wait to be written, as by `append`, with their `texts`: they go with them.
        """
        self._write(entries, ended, texts)

    def append(self, *entries: Entry, texts: Sequence[bytes] = ()) -> None:
        """Write rows, as they will be booked; each ends a `begin` of the same id. Raises `JournalError`: it names the
        first that was not written, and those behind it were not written either.

        `texts` are the rows as `ledger.encode` writes them, if that is done.
        """
        self._write((), entries, texts)

    def _write(self, begun: Sequence[Entry], ended: Sequence[Entry], texts: Sequence[bytes]) -> None:
        """All with one `write`: that is half of what a record costs."""
        records = sealed(BEGIN, map(ledger.encode, begun)) + sealed(ROW, texts or map(ledger.encode, ended))
        with self._lock:
            log, failed = self._current(), None
            place = log.place
            try:
                whole = log.write(records)
            except OSError as error:
                whole, failed = 0, error
            log.stale = True
            places, rows = log.begun, log.rows
            for entry in begun[:whole]:
                places.setdefault(entry.id, place)  # of several the place of the first: none is before it
            written = [entry.id for entry in ended[: max(0, whole - len(begun))]]
            for id in written:
                rows.setdefault(id, place)
            for one in self._logs:
                if _gone(one.begun, written):
                    one.stale = True
        if whole < len(records):
            letter, first = "begin" if whole < len(begun) else "row", [*begun, *ended][whole]
            more = f", and {rest} behind it," if (rest := len(records) - whole - 1) else ""
            raise unwritten(log.path, f"the {letter} of {first.id}{more}", failed) from failed

    def delivered(self, ids: Collection[str]) -> None:
        """The store has all rows of these ids. Not to be said of an id while a later row of it still waits."""
        with self._lock:
            for log in self._logs:
                if _gone(log.rows, ids):
                    log.stale = True

    def sync(self) -> None:
        """Bring what was written to the disk. Raises `JournalError`; then it is tried again the next time."""
        with self._slow:
            with self._lock:
                logs = [log for log in self._logs if log.dirty]
                created, self._created = self._created, False
            try:
                if created:
                    _sync_directory(self._directory)
                    _sync_directory(self._directory.parent)
                created = False
                for log in logs:
                    log.sync()
            except OSError as error:
                self._created = self._created or created
                raise JournalError(f"the journal may not be on the disk: {error}") from error

    def checkpoint(self, *, last: bool = False) -> None:
        """Write down what is open, so that a restart reads little. Raises `JournalError`.

        None is written when nothing is new, or when it would be longer than what it saves; the `last` always.
        """
        with self._slow:
            with self._lock:
                growing = () if last else self._logs[-1:]
                found = [(log, log.mark(thrifty=log in growing)) for log in self._logs]
                marks = [(log, mark) for log, mark in found if mark is not None]
            try:
                # What a mark calls ended may have been ended by a row in another file: that is on the disk first.
                self.sync()
                with self._lock:
                    for log, mark in marks:
                        log.checkpoint(mark)
            except JournalError:
                for log, _ in marks:
                    log.stale = True
                raise

    def rows(self, since: int) -> Iterator[list[Entry]]:
        """All rows of all our files with `at` >= `since` (milliseconds), at most `PAGE` at once; some may come twice.

        What is written after the first page was asked for is not among them. Raises `JournalError`.
        """
        with self._lock:
            files = [(log.path, log.size) for log in self._logs]
        day = datetime.fromtimestamp(since / 1000, UTC).date().isoformat()
        files = [(path, size) for path, size in files if path.name[:10] >= day]  # nothing is written before its time
        page: list[Entry] = []
        for path, size in files:
            try:
                for place, line in lines(path, START, size):
                    record = parse(line)
                    if record is None:
                        structlog.get_logger().warning("journal damaged", lines=[place.of(path)])
                    elif isinstance(record, Record) and record.letter == ROW and record.entry.at >= since:
                        page.append(record.entry)
                        if len(page) == PAGE:
                            yield page
                            page = []
            except FileNotFoundError:
                continue  # pruned in the meantime: nobody needs it any more
            except OSError as error:
                raise JournalError(f"{path.name} cannot be read: {error}") from error
        if page:
            yield page

    def prune(self, days: int) -> None:
        """Delete files of which all is delivered and that are older; without `keep`, whatever their age.

        Raises `JournalError`.
        """
        oldest = _date(self._wall() - days * _DAY)
        with self._slow:
            with self._lock:
                gone = [log for log in self._logs[:-1] if log.done and (not self._keep or log.path.name[:10] < oldest)]
                self._logs = [log for log in self._logs if log not in gone]
            try:
                for log in gone:
                    log.path.unlink(missing_ok=True)
            except OSError as error:
                raise JournalError(f"{error.filename} cannot be deleted: {error}") from error
            finally:
                for log in gone:
                    log.close()

    def close(self) -> None:
        """Write a last checkpoint and let go of all files. Raises `JournalError`, when they are free all the same."""
        with self._slow:
            try:
                self.checkpoint(last=True)
                self.sync()
            finally:
                with self._lock:
                    self._unlock()

    def _unlock(self) -> None:
        for log in self._logs:
            log.close()
        self._logs = []

    def _current(self) -> Log:
        """The file to write to; a new one when the day is over."""
        if not self._logs:
            raise JournalError("the journal is not open")
        log, now = self._logs[-1], self._wall()
        if now >= self._next_day or log.size >= self._full:
            try:
                self._turn(now, os.O_EXCL)
            except OSError as error:  # the old one will do for a while
                self._next_day, self._full = now + _RETRY, self._full + LARGEST
                structlog.get_logger().warning("journal goes on in an old file", why=str(error))
            return self._logs[-1]
        return log

    def _turn(self, now: float, flags: int) -> None:
        """Open the file of today. Raises `OSError`."""
        name = f"{_date(now)}.{self._replica}"
        names = itertools.chain([f"{name}.log"], (f"{name}.{number}.log" for number in itertools.count(2)))
        taken = (take(self._directory / name, os.O_CREAT | flags) for name in names)
        self._logs.append(next(log for log in taken if log is not None))
        self._created = True
        self._next_day = (now // _DAY + 1) * _DAY
        self._full = float("inf") if self._keep else LARGEST


def _gone(open_ones: dict[str, Place], ids: Collection[str]) -> bool:
    """Take these out of what is open; whether any was in there."""
    before = len(open_ones)
    if before:
        for id in ids:
            open_ones.pop(id, None)
    return len(open_ones) < before


def _found(reads: Sequence[tuple[Log, Read]]) -> Found:
    ended = {id for _, read in reads for id in read.ended}
    rows: dict[str, Entry] = {}
    begun: dict[str, Entry] = {}
    for log, read in reads:
        for id in read.begun.keys() & ended:  # its row is in another file: it ended on another day
            del log.begun[id], read.begun[id]
        begun.update(read.begun)
        for entry in read.rows:
            known = rows.setdefault(entry.id, entry)
            if known.orphan and not entry.orphan:
                rows[entry.id] = entry
    return Found(list(rows.values()), list(begun.values()), [line for _, read in reads for line in read.damaged])


def _date(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def _sync_directory(path: Path) -> None:
    """A new file is safe once its name is on the disk, too."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
