"""Writes to the journal for the books, and never raises: what cannot be written down is said, and business goes on.

What comes in one turn of the event loop is written together, since a write costs as much as all the rest of booking:
rows when the turn is over at the latest, attempts when the first of them goes on, which is before it is forwarded. What
kills us in that turn finds each attempt that was forwarded begun on the disk: it is an orphan in full, as if we had
been killed just before it was booked.
"""

from collections.abc import Callable, Generator
from types import coroutine
from typing import Any

import structlog

from proxy import ledger
from proxy.journal import Journal, JournalError
from proxy.ledger import Entry


@coroutine
def turn() -> Generator[None, None, None]:
    """Let the others have theirs; as `asyncio.sleep(0)`, which is two coroutines."""
    yield


class Scribe:
    """One per process. `open`: the journal is; until then nothing is written.

    `soon` is told what is to be called when this turn of the event loop is over.
    """

    def __init__(self, journal: Journal, soon: Callable[[Callable[[], None]], object]) -> None:
        self.journal = journal
        self.open = False
        self._soon = soon
        self.begun: list[Entry] = []  # not written down yet
        self._ended: list[Entry] = []  # booked in this turn of the event loop, and
        self._texts: list[bytes] = []  # as they will be written

    def begin(self, entry: Entry) -> None:
        """An attempt that is about to be forwarded: not before `flush` was called."""
        self.begun.append(entry)

    def book(self, entry: Entry) -> bytes:
        """A row, which is written before this turn of the event loop is over. Returns its text, which the store needs,
        too; none, if it has none."""
        try:
            text = ledger.encode(entry)
        except UnicodeError as error:
            self._failed(error)
            return b""
        if not self._ended:
            self._soon(self.flush)
        self._ended.append(entry)
        self._texts.append(text)
        return text

    def flush(self) -> None:
        """Write down what waits: whoever forwards an attempt, or brings a row to the store, does so afterwards."""
        begun, ended, texts = self.begun, self._ended, self._texts
        if begun:
            self.begun, self._ended, self._texts = [], [], []
            self.do(self.journal.begin, *begun, ended=ended, texts=texts)
        elif ended:
            self._ended, self._texts = [], []
            self.do(self.journal.append, *ended, texts=texts)

    def do(self, act: Callable[..., None], *what: Any, **more: Any) -> None:
        """An act of the journal; on any thread."""
        if not self.open:
            return
        try:
            act(*what, **more)
        except JournalError as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        structlog.get_logger().error("journal not written", why=str(error), risk="spend is lost if we crash now")
