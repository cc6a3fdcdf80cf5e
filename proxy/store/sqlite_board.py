"""The notice board in an SQLite file. Each function is the inside of one transaction, or is one statement.

A serial number is the clock in microseconds, or one above the last where the clock is behind: so the age of a notice
needs no column.
"""

from sqlite3 import Connection

from proxy.store import KEPT, OLD_NOTICE_SECONDS, Notice, Notices

_MICRO = 1_000_000
_PIN = "INSERT OR REPLACE INTO board (key, serial, text) VALUES (?, ?, ?)"
_OLD = "SELECT key FROM board WHERE serial <= ? ORDER BY serial LIMIT 10"
# The last one is read too, changed or not: what is last and what has changed must be told by one statement.
_NOTICES = "SELECT key, serial, text FROM board WHERE serial >= min(?, (SELECT max(serial) FROM board))"


def pin(file: Connection, key: str, serial: int, text: bytes, now: float) -> Notice:
    """See `Board.pin`; `now` in seconds since the epoch. Whoever puts something up takes down a few old ones."""
    found = file.execute("SELECT serial, text FROM board WHERE key = ?", (key,)).fetchone()
    stands = Notice(*found) if found else Notice(0, b"")
    if stands.serial != serial:
        return stands
    micros = int(now * _MICRO)
    (last,) = file.execute("SELECT max(serial) FROM board").fetchone()
    done = Notice(max(micros, (last or 0) + 1), text, ours=True)
    file.execute(_PIN, (key, done.serial, text))
    _tidy(file, done.serial, micros - OLD_NOTICE_SECONDS * _MICRO)
    return done


def _tidy(file: Connection, last: int, old: int) -> None:
    """Take down a few notices up to the serial number `old`; those that are to be kept are put up anew."""
    for (key,) in file.execute(_OLD, (old,)).fetchall():
        if key.startswith(KEPT):
            last += 1
            file.execute("UPDATE board SET serial = ? WHERE key = ?", (last, key))
        else:
            file.execute("DELETE FROM board WHERE key = ?", (key,))


def notices(file: Connection, since: int, at: int) -> Notices:
    """See `Board.notices`."""
    found = {key: Notice(serial, text) for key, serial, text in file.execute(_NOTICES, (since,))}
    last = max((notice.serial for notice in found.values()), default=0)
    return Notices(last, at, {key: notice for key, notice in found.items() if notice.serial > since})
