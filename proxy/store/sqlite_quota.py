"""What each client key has taken of its quota, in an SQLite file. Each function is the inside of one transaction: it
reads, lets `proxy.quota` decide, and writes. `now` in milliseconds since the epoch.
"""

from sqlite3 import Connection

import msgspec

from proxy import quota
from proxy.quota import Crowded, Entered, Entering, Quota, Usage

_KEEP = "INSERT OR REPLACE INTO quota (key, idle, state) VALUES (?, ?, ?)"
_FORGET = "DELETE FROM quota WHERE key IN (SELECT key FROM quota WHERE idle <= ? ORDER BY idle LIMIT 10)"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Usage).decode


def enter(file: Connection, entering: Entering, now: int) -> Entered | Crowded:
    """See `Store.enter`. Whoever comes in forgets a few keys that say nothing any more."""
    usage, answer = quota.enter(_usage(file, entering.key), entering, now)
    if isinstance(answer, Entered):
        _keep(file, entering.key, usage)
        file.execute(_FORGET, (now,))
    return answer


def leave(file: Connection, key: str, id: str, limits: Quota, tokens: int, now: int) -> None:
    """See `Store.leave`."""
    before = _usage(file, key)
    after = quota.leave(before, id, limits, tokens, now)
    if after is not before:
        _keep(file, key, after)


def _usage(file: Connection, key: str) -> Usage:
    found = file.execute("SELECT state FROM quota WHERE key = ?", (key,)).fetchone()
    return _decode(found[0]) if found else Usage()


def _keep(file: Connection, key: str, usage: Usage) -> None:
    file.execute(_KEEP, (key, usage.idle, _encode(usage).decode()))
