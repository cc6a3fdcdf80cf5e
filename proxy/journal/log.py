"""One file of the journal: its records, its lock, and what is open in it.

A record is a line: the CRC-32 of what follows as 8 hex digits, a letter, JSON. `b`: an attempt begins for which no
store holds money. `r`: a row as it is booked. `c`: a checkpoint, which names what is still open and from where on the
file has to be read to find it.
"""

import contextlib
import fcntl
import itertools
import mmap
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from proxy import ledger
from proxy.ledger import Entry

MOST_OPEN = 1_000  # ids that a checkpoint names; with more of them open, a restart reads a longer piece of the file
ROW, BEGIN, CHECKPOINT = b"r", b"b", b"c"
_LETTERS = (ROW, BEGIN, CHECKPOINT)
_FULL = "the disk, or a limit, is full"


class JournalError(Exception):
    """Something could not be written down, or not be read; says what, and why."""


class Place(NamedTuple):
    """Where a line begins."""

    offset: int  # bytes before a line
    line: int  # lines before it

    def of(self, path: Path) -> str:
        """The line as people find it."""
        return f"{path.name}:{self.line + 1}"


START = Place(0, 0)


class Mark(msgspec.Struct, frozen=True):
    """A checkpoint: of all before `end`, only these ids are open; nothing of them is before `start`."""

    start: Place
    end: int
    begun: list[str]
    rows: list[str]


_marks = msgspec.json.Decoder(Mark)


class Record(NamedTuple):
    """One of the others."""

    letter: bytes
    entry: Entry


class Read(NamedTuple):
    """What a file says: rows not known to be delivered, attempts without an end, ids of all rows that were read."""

    rows: list[Entry]
    begun: dict[str, Entry]
    ended: set[str]
    damaged: list[str]


class Log:
    """One file, and its lock. The journal sees to it that one thread at a time is in here."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path, self._fd = path, fd
        self.size = 0  # bytes
        self._lines = 0
        self._torn = False  # the last line is not complete: the disk was full
        self.dirty = False  # written to since the last fsync
        self.stale = False  # the last checkpoint does not say what is open now
        self._marked = 0  # the size after the last checkpoint
        self.begun: dict[str, Place] = {}
        self.rows: dict[str, Place] = {}  # those not known to be delivered; of each id the first

    @property
    def done(self) -> bool:
        """Whether nothing is open."""
        return not self.begun and not self.rows

    @property
    def place(self) -> Place:
        """Where the next record will be: on a fresh line."""
        return Place(self.size + self._torn, self._lines + self._torn)

    def write(self, records: Sequence[bytes]) -> int:
        """Add records, as `sealed` makes them, all with one `write`; how many of them are there whole.

        Raises `OSError`; then none is. If it is less than all, the disk, or a limit, is full.
        """
        torn, text = self._torn, b"".join(records)
        if torn:
            text = b"\n" + text
        written = os.write(self._fd, text)
        self.dirty = True
        self.size += written
        if written == len(text):
            self._lines, self._torn = self._lines + torn + len(records), False
            return len(records)
        ended = text.count(b"\n", 0, written)
        self._lines += ended
        self._torn = text[written - 1 : written] != b"\n"
        return max(0, ended - torn)

    def sync(self) -> None:
        """Bring it to the disk. Raises `OSError`."""
        self.dirty = False  # before, for what is written meanwhile
        try:
            os.fsync(self._fd)
        except OSError:
            self.dirty = True
            raise

    def mark(self, *, thrifty: bool) -> Mark | None:
        """What a checkpoint would say; None if none is due: nothing is new, or too much is open.

        A thrifty one has to be shorter than what was written since the last: what is in flight does not fill the disk.
        """
        names = len(self.begun) + len(self.rows)
        if not self.stale or names > MOST_OPEN:
            return None
        end = self.place
        start = min([end, *itertools.islice(self.begun.values(), 1), *itertools.islice(self.rows.values(), 1)])
        mark = Mark(start, end.offset, list(self.begun), list(self.rows))
        if thrifty and names and self.size - self._marked < sum(map(len, mark.begun)) + sum(map(len, mark.rows)):
            return None
        self.stale = False
        return mark

    def checkpoint(self, mark: Mark) -> None:
        """Write it. Raises `JournalError`."""
        try:
            if not self.write(sealed(CHECKPOINT, [msgspec.json.encode(mark)])):
                raise unwritten(self.path, "a checkpoint of what is open", None)
        except OSError as error:
            raise unwritten(self.path, "a checkpoint of what is open", error) from error
        self._marked = self.size

    def recover(self) -> Read:
        """Read what is open, from the last checkpoint on. A torn last line is cut off. Raises `OSError`."""
        mark, end = self._last()
        found = Read([], {}, set(), [])
        self.size, self._lines = mark.start
        for place, line in lines(self.path, mark.start, end):
            self.size, self._lines = place.offset + len(line), place.line + 1
            record = parse(line)
            if record is None:
                found.damaged.append(place.of(self.path))
            elif isinstance(record, Record):
                self._read(found, place, record, mark)
        self.stale = not self.done
        self._marked = self.size
        return found

    def _read(self, found: Read, place: Place, record: Record, mark: Mark) -> None:
        id, later = record.entry.id, place.offset >= mark.end
        if record.letter == BEGIN and (later or id in mark.begun):
            self.begun.setdefault(id, place)
            found.begun[id] = record.entry
        elif record.letter == ROW:
            self.begun.pop(id, None)
            found.begun.pop(id, None)
            found.ended.add(id)
            if later or id in mark.rows:
                self.rows.setdefault(id, place)
                found.rows.append(record.entry)

    def _last(self) -> tuple[Mark, int]:
        """The last checkpoint, and the end of the file once what is torn is cut off."""
        mark, size, end = Mark(START, 0, [], []), os.fstat(self._fd).st_size, 0
        if size:
            with mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ) as data:
                end = data.rfind(b"\n") + 1
                last = data.rfind(b"\n", 0, max(end - 1, 0)) + 1
                end = end if _body(data[last:end]) else last
                mark = _last_mark(data, end) or mark
        if end < size:
            os.ftruncate(self._fd, end)
        return mark, end

    def close(self) -> None:
        """Let go of it; an empty file is not left behind."""
        if not os.fstat(self._fd).st_size:
            self.path.unlink(missing_ok=True)
        os.close(self._fd)


def take(path: Path, flags: int) -> Log | None:
    """Open and lock a file; None if it is somebody's, or gone, or (`O_EXCL`) there already. Raises `OSError`."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | flags, 0o600)
    except FileExistsError:
        return None
    except FileNotFoundError:
        if flags & os.O_CREAT:  # then it is the directory that is gone
            raise
        return None
    log = None
    try:
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.stat(path)):  # else it was deleted before it was ours
                log = Log(path, fd)
    finally:
        if log is None:
            os.close(fd)
    return log


def unwritten(path: Path, what: str, error: OSError | None) -> JournalError:
    """What is to be said when `what` could not be written, or not whole."""
    return JournalError(f"{what} could not be written to {path.name}: {error.strerror if error else _FULL}")


# The checksum of what stands before the JSON: so nothing is put together only to be counted.
_BEFORE = {letter: zlib.crc32(b"%b " % letter) for letter in _LETTERS}


def sealed(letter: bytes, bodies: Iterable[bytes]) -> list[bytes]:
    """Records, ready to be written; a body is the JSON of one."""
    crc, before = zlib.crc32, _BEFORE[letter]
    return [b"%08x %b %b\n" % (crc(body, before), letter, body) for body in bodies]


def _body(line: bytes) -> bytes | None:
    """Letter and JSON; None if the line is not what was written."""
    text = line[9:-1]
    return text if text and line[:9] == b"%08x " % zlib.crc32(text) and line.endswith(b"\n") else None


def parse(line: bytes) -> Record | Mark | None:
    """What a line says; None if it is damaged."""
    body = _body(line)
    try:
        if body is None:
            return None
        if body[:1] == CHECKPOINT:
            return _marks.decode(body[2:])
        return Record(body[:1], ledger.decode(body[2:])) if body[:1] in (ROW, BEGIN) else None
    except msgspec.DecodeError:
        return None


def lines(path: Path, start: Place, end: int) -> Iterator[tuple[Place, bytes]]:
    """The lines of a file, each with its place. Raises `OSError`."""
    with path.open("rb") as file:
        file.seek(start.offset)
        while start.offset < end and (line := file.readline()):
            yield start, line
            start = Place(start.offset + len(line), start.line + 1)


def _last_mark(data: mmap.mmap, end: int) -> Mark | None:
    """The last checkpoint before `end`: searched from there, since a day's file may be large."""
    at = end
    while (at := data.rfind(b" c {", 0, at)) != -1:
        start, stop = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at) + 1
        if isinstance(mark := parse(data[start:stop]), Mark):
            return mark
    return None
