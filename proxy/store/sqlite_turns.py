"""One connection to an SQLite file, used by two: the event loop for what is short, and a thread for what may wait.

The loop never waits for the file. Where another process has its lock, or our own thread the connection, the thread does
what was asked. Nor does the loop sync the file: that happens when SQLite brings its log (WAL) into the database, which
is left to the thread.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from proxy.store import StoreError
from proxy.store.sqlite_counters import Counters

T = TypeVar("T")
_BUSY_MS = 250
_AT_ONCE = 64  # acts of one transaction on the loop, some milliseconds
_LOG = 4_000  # rows changed, until the log is brought into the database: some megabytes, a few hundred requests

Act = Callable[[sqlite3.Connection, Counters], Any]


class Turns:
    """`connection`, to the file at `path`, may be used by any thread, and waits for no lock."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self._path = path
        self._thread = ThreadPoolExecutor(1, "sqlite")
        self._using = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None  # of the first act, and of all others
        self._acts: list[Act] = []
        self._futures: list[asyncio.Future[Any]] = []  # one for each act
        self._shortened = connection.total_changes
        self._closing = False
        connection.execute("PRAGMA wal_autocheckpoint=0")

    def soon(self, act: Act) -> "asyncio.Future[Any]":
        """Do it at the end of this turn of the loop, with all others that were asked for. It is done all or not at all.

        An act that raises `StoreError` must not have written anything before. What comes is what it returned, or
        the exception that it raised.
        """
        loop = self._loop
        if loop is None:
            self._loop = loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._acts.append(act)
        self._futures.append(future)
        if len(self._acts) == 1:
            loop.call_soon(self._turn)
        return future

    async def later(self, act: Callable[[], T]) -> T:
        """Do it on the thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._waiting, act)
        finally:
            self._shorten()

    async def close(self) -> None:
        """Close the file when all that was asked for is done."""
        self._closing = True
        while self._acts:
            self._turn()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._waiting, self.connection.close)
        self._thread.shutdown(wait=False)

    def _turn(self) -> None:
        acts, self._acts = self._acts[:_AT_ONCE], self._acts[_AT_ONCE:]
        futures, self._futures = self._futures[:_AT_ONCE], self._futures[_AT_ONCE:]
        if self._acts:
            asyncio.get_running_loop().call_soon(self._turn)
        if acts and not (told := self._at_once(acts)):
            apart = asyncio.get_running_loop().run_in_executor(
                self._thread, self._waiting, lambda: _apart(self.connection, acts)
            )
            apart.add_done_callback(lambda done: _tell(futures, _outcome(done, len(acts))))
        elif acts:
            _tell(futures, told)
            self._shorten()

    def _at_once(self, acts: Sequence[Act]) -> list[Any]:
        """Nothing, if it cannot be done at once: whatever went wrong, the thread does it again, and finds the fault."""
        if not self._using.acquire(blocking=False):
            return []
        try:
            return together(self.connection, acts)
        except Exception:
            return []
        finally:
            self._using.release()

    def _waiting(self, act: Callable[[], T]) -> T:
        """On the thread: an act that may wait for other processes."""
        with self._using:
            file = self.connection
            file.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
            try:
                return act()
            finally:
                with suppress(sqlite3.ProgrammingError):  # it was closed
                    file.execute("PRAGMA busy_timeout=0")

    def _shorten(self) -> None:
        """Have the log brought into the database when enough was written to it."""
        if not self._closing and self.connection.total_changes >= self._shortened + _LOG:
            self._shortened = self.connection.total_changes
            asyncio.get_running_loop().run_in_executor(self._thread, _shorten, self._path)


def _shorten(path: Path) -> None:
    """Bring the log into the database, on a connection of its own: first what can be brought beside those who write,
    then, while nobody may, the rest.

    Whoever writes next begins the log anew, and syncs its head: so that is done here, too. If any of this fails, some
    space is lost until the next time.
    """
    with suppress(sqlite3.Error):
        file = sqlite3.connect(path, timeout=_BUSY_MS / 1_000, isolation_level=None)
        try:
            file.execute("PRAGMA synchronous=NORMAL")
            file.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            ((busy, _, _),) = file.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            if not busy:
                file.execute("PRAGMA user_version=0")  # as it was; but it is written
        finally:
            file.close()


def together(file: sqlite3.Connection, acts: Sequence[Act]) -> list[Any]:
    """All acts in one transaction: what each returned, or its `StoreError`. Raises what else goes wrong; then none is
    done."""
    file.execute("BEGIN IMMEDIATE")  # so that the lock cannot be lost half way
    try:
        counters, told = Counters(file), list[Any]()
        for act in acts:
            try:
                told.append(act(file, counters))
            except StoreError as error:
                told.append(error)
        counters.write()
        file.execute("COMMIT")
    finally:
        if file.in_transaction:  # SQLite may have rolled back by itself: a full disk
            file.execute("ROLLBACK")
    return told


def _apart(file: sqlite3.Connection, acts: Sequence[Act]) -> list[Any]:
    """Together if that can be done, else each in a transaction of its own: one bad act must not spoil the others'."""
    try:
        return together(file, acts)
    except Exception as error:
        if len(acts) == 1 or isinstance(error, sqlite3.OperationalError):  # the file's fault, and none of theirs
            return [error] * len(acts)
    return [told for act in acts for told in _apart(file, [act])]


def _outcome(done: "asyncio.Future[list[Any]]", number: int) -> list[Any]:
    error = asyncio.CancelledError() if done.cancelled() else done.exception()
    return [error] * number if error else done.result()


def _tell(futures: Sequence["asyncio.Future[Any]"], told: Sequence[Any]) -> None:
    for future, word in zip(futures, told, strict=True):
        if not future.done():
            future.set_result(word)
