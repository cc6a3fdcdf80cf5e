"""Notices that the price table has changed, and hands on the new one without a restart.

A table that cannot be used changes nothing: its faults are told once, and the one before stays in force.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from proxy.catalog import Catalog
from proxy.prices import Model, PriceTableError

_MOST_NAMED = 20  # models in one line of the log
_Seen = tuple[int, int, int, int]


class Watcher:
    """Looks at the file at `path` every few `seconds`; `async with` starts and stops it.

    `load` makes a catalog of what the file holds, or raises `PriceTableError`; it runs in a thread. `take` is given
    each catalog that is not the one before. `known` is the one that is in force; without it the first look hands on
    whatever it finds. A directory of links that are swapped (Kubernetes) is as good as a file that is replaced.
    """

    def __init__(
        self,
        path: Path,
        load: Callable[[bytes], Catalog],
        take: Callable[[Catalog], None],
        seconds: float = 2.0,
        *,
        known: Catalog | None = None,
    ) -> None:
        self._path, self._load, self._take, self._seconds = path, load, take, seconds
        self._known = known
        self._seen: tuple[_Seen | None, _Seen | None] = (None, None)  # at the last two looks
        # Of the last content that was loaded, or told to be broken. To read again what is known already would be the
        # dearest thing that a server does at its start.
        self._digest = known.digest if known is not None else b""
        self._trouble = ""  # why it could not be read, as it was told
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def start(self) -> None:
        """Begin to look."""
        self._task = self._task or asyncio.create_task(self._run(), name="prices")

    async def stop(self) -> None:
        """Look no more. A look that is under way ends, and what it finds is not taken."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:  # a fault of ours in one table must not keep the next one out
                structlog.get_logger().exception("prices not looked at", file=str(self._path))
            await asyncio.sleep(self._seconds)

    async def look(self) -> bool:
        """Look once; True if a new catalog was handed on."""
        log = structlog.get_logger().bind(file=str(self._path))
        try:
            content = await asyncio.to_thread(self._changed)
        except OSError as error:
            trouble = error.strerror or str(error)
            if trouble != self._trouble:
                log.error("prices not read, the table before stays", fault=trouble)
            self._trouble = trouble
            return False
        self._trouble = ""
        if content is None:
            return False
        try:
            catalog = await asyncio.to_thread(self._load, content)
        except PriceTableError as error:
            for fault in error.faults:
                log.error("prices broken, the table before stays", fault=fault)
            return False
        before = self._known
        if before is not None and before.models == catalog.models:
            return False
        self._take(catalog)
        self._known = catalog
        log.info("prices loaded", **(difference(before, catalog) if before else {"models": len(catalog.models)}))
        return True

    def _changed(self) -> bytes | None:
        """The content, if it is not what was there before. Raises `OSError`."""
        found = os.stat(self._path)  # of the file that a link leads to
        seen = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)
        if self._seen == (seen, seen):
            return None
        # Twice, because a file may be written again within one tick of its clock: the later look sees what came then.
        content = self._path.read_bytes()
        self._seen = (self._seen[1], seen)
        digest = hashlib.sha256(content).digest()
        if digest == self._digest:
            return None
        self._digest = digest
        return content


def difference(before: Catalog, after: Catalog) -> dict[str, int | str]:
    """What there is to say of a change: how many models there are, came, went, and cost something else, and which."""
    old = {(model.provider, model.model): model for model in before.models}
    new = {(model.provider, model.model): model for model in after.models}
    repriced = [f"{at[0]}/{at[1]}" for at, model in new.items() if at in old and _versions(old[at]) != _versions(model)]
    rest = len(repriced) - _MOST_NAMED
    named = ", ".join(repriced[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
    said: dict[str, int | str] = {
        "models": len(new),
        "added": len(new.keys() - old.keys()),
        "gone": len(old.keys() - new.keys()),
        "repriced": len(repriced),
    }
    return {**said, "prices_of": named} if named else said


def _versions(model: Model) -> list[str]:
    return [row.version for row in model.prices]
