"""What callers said of their requests, in an SQLite file. Each function is the inside of one transaction, or is one
statement.

It is kept beside the ledger, by the id of the request: which row is its last may turn out later.
"""

from collections.abc import Sequence
from sqlite3 import Connection

from proxy.feedback import Feedback, Opinion
from proxy.ledger import Entry, decode

_ROWS = "SELECT entry FROM ledger WHERE id > ? AND id < ?"
_KEEP = "INSERT OR REPLACE INTO feedback (request, at, score, comment) VALUES (?, ?, ?, ?)"
_PRUNE = "DELETE FROM feedback WHERE request IN (SELECT request FROM feedback WHERE at < ? ORDER BY at LIMIT ?)"


def judge(file: Connection, feedback: Feedback) -> bool:
    """See `Store.judge`."""
    row = _row(file, feedback.request)
    if row is None or row.key != feedback.key:
        return False
    # It is to live as long as its row, whatever the clock says of whoever heard it.
    at = max(feedback.at, row.at)
    file.execute(_KEEP, (feedback.request, at, feedback.score, feedback.comment))
    return True


def _row(file: Connection, request: str) -> Entry | None:
    # The ids of its rows are its own, a slash, and some more; what comes after the slash is the nought.
    for (text,) in file.execute(_ROWS, (f"{request}/", f"{request}0")):
        if (entry := decode(text)).request == request:
            return entry
    return None


def said(file: Connection, requests: Sequence[str]) -> dict[str, Opinion]:
    """What was said of these requests, by their ids."""
    marks = ",".join("?" * len(requests))
    found = file.execute(f"SELECT request, score, comment FROM feedback WHERE request IN ({marks})", requests)
    return {request: Opinion(score, comment) for request, score, comment in found}


def prune(file: Connection, before: int, most: int) -> int:
    """Forget up to `most` that are older; how many there were."""
    return file.execute(_PRUNE, (before, most)).rowcount
