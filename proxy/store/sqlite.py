"""The embedded store: one SQLite file, shared by the workers of one machine.

One connection on one thread of its own, so that every verb is a transaction and no lock exists here; between processes
SQLite's own lock decides, and whoever waits for it waits at most `_BUSY_SECONDS`.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from proxy.store import LARGEST_STATE, MOST_STATES, StoreError

T = TypeVar("T")
_BUSY_SECONDS = 1.0


class SqliteStore:
    """A store in a file."""

    def __init__(self, path: Path, *, most_states: int = MOST_STATES) -> None:
        self._path = path
        self._most_states = most_states
        self._thread = ThreadPoolExecutor(1, "sqlite")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file, and make it if it is not there."""
        await self._run(self._open)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(files("proxy.store").joinpath("schema.sql").read_text())
        self._connection = connection

    async def remember(self, states: Mapping[str, str], seconds: int) -> None:
        """Keep each state; what is over-long is not kept, what is over-many goes oldest first."""
        rows = [(key, value, seconds) for key, value in states.items() if len(value) <= LARGEST_STATE]
        if rows:
            await self._run(lambda: self._remember(rows))

    def _remember(self, rows: Sequence[tuple[str, str, int]]) -> None:
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?, unixepoch() + ?)", rows)
            connection.execute("DELETE FROM state WHERE expires <= unixepoch()")
            connection.execute(
                "DELETE FROM state WHERE key IN (SELECT key FROM state ORDER BY expires DESC LIMIT -1 OFFSET ?)",
                (self._most_states,),
            )

    async def recall(self, keys: Sequence[str]) -> dict[str, str]:
        """The states of those `keys` that are still known."""
        return await self._run(lambda: self._recall(keys)) if keys else {}

    def _recall(self, keys: Sequence[str]) -> dict[str, str]:
        marks = ",".join("?" * len(keys))
        query = f"SELECT key, value FROM state WHERE expires > unixepoch() AND key IN ({marks})"
        return dict(self._open_connection().execute(query, list(keys)).fetchall())

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._open_connection())

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError("the store is not open")
        return self._connection

    async def _run(self, act: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, act)
        except (sqlite3.Error, OSError, ValueError) as error:
            raise StoreError(f"{self._path}: {error}") from error

    async def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            await self._run(self._connection.close)
            self._connection = None
        self._thread.shutdown(wait=False)


class _Transaction:
    """All of it or nothing; the lock is taken at the beginning, so that it cannot be lost half way."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, kind: object, *_: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")
