"""A new configuration while requests are under way: checked first, applied whole or not at all, and said in the log.

It is read again when its files change, and on SIGHUP. The environment of a process does not change, but the files that
it names do: the configuration itself, and the files of keys.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from operator import attrgetter
from pathlib import Path

import structlog

from proxy import configuration
from proxy.aliases import shown as alias
from proxy.catalog import Catalog
from proxy.engine import Engine, Estate
from proxy.settings import Settings, SettingsError
from proxy.upstream import Upstream

_LOOK_SECONDS = 2.0
# What is bound when the process starts. Another value needs another process, and nothing else of that change is taken.
# A part of a field is named with a dot.
FIXED = (
    *("host", "port", "redis_url", "data_dir", "pricing", "key_secret", "telemetry"),
    *("log_format", "log_level", "drain_seconds", "drain_notice_seconds"),
    *("limits.head", "limits.head_seconds", "limits.body_seconds", "limits.bodies", "limits.unread_seconds"),
    "limits.connections",
)


class Refused(Exception):
    """The new configuration cannot be used; what is in force stays. One line per fault."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class Reconfiguration:
    """One per process. `read` makes settings of what there is now, or raises `SettingsError`; `take` puts an engine in
    its place; `files` are looked at every few seconds."""

    def __init__(
        self,
        engine: Engine,
        estate: Estate,
        *,
        read: Callable[[], Settings],
        take: Callable[[Engine], None],
        turn: Callable[[Settings], Awaitable[None]],
        files: Sequence[Path] = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._engine, self._estate = engine, estate
        self._read, self._take, self._turn = read, take, turn
        self._sleep = sleep
        self._files = tuple(files)
        self._asked = False  # and not begun
        self._seen = _digest(self._files)
        self._turns = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._former: set[Upstream] = set()

    def start(self) -> None:
        """Begin to look at the files."""
        if self._files:
            self._run(self._watch())

    def ask(self) -> None:
        """Read it again, soon. Safe to call from a signal's handler on the event loop; a hundred calls are one."""
        if not self._asked:
            self._asked = True
            self._run(self._reload())

    async def close(self) -> None:
        """Look no more, and let go of all connections of engines before this one."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for upstream in (*self._former, self._engine.upstream):
            await upstream.__aexit__()
        self._former.clear()

    def _run(self, act: Awaitable[None]) -> None:
        task = asyncio.ensure_future(act)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self) -> None:
        while True:
            await self._sleep(_LOOK_SECONDS)
            seen = await asyncio.to_thread(_digest, self._files)
            while seen != self._seen:
                # Twice the same, so that a file is not read while it is being written: half of it may be good YAML.
                await self._sleep(_LOOK_SECONDS / 4)
                before, seen = seen, await asyncio.to_thread(_digest, self._files)
                if seen == before:
                    self._seen = seen
                    await self._reload()

    async def _reload(self) -> None:
        log = structlog.get_logger()
        try:
            changes = await self.reload()
        except Refused as refused:
            for fault in refused.faults:
                log.error("configuration refused, the one before stays", fault=fault)
        except Exception:  # a fault of ours must not keep the next one out
            log.exception("configuration not taken, the one before stays")
        else:
            log.info("configuration taken" if changes else "configuration unchanged", changes=changes)

    async def reload(self) -> list[configuration.Change]:
        """Read it, check it, apply it. What has changed; raises `Refused`."""
        async with self._turns:
            self._asked = False
            before, table = self._engine.settings, self._engine.book.catalog
            try:
                settings = await asyncio.to_thread(self._read)
            except SettingsError as error:
                raise Refused(error.faults) from error
            changes = configuration.difference(configuration.rows(before), configuration.rows(settings))
            changes += _moved(before, settings)
            if not changes:
                return []
            _check(settings, before)
            await self._apply(settings, table)
            return changes

    async def _apply(self, settings: Settings, table: Catalog) -> None:
        engine = Engine(settings, self._estate)
        await engine.upstream.__aenter__()
        try:
            await self._turn(settings)
        except BaseException:
            await engine.upstream.__aexit__()
            raise
        # From here on nothing waits. The price table has a watcher of its own: what that found meanwhile is the newest.
        former, self._engine = self._engine, engine
        if former.book.catalog is not table:
            engine.book.take(former.book.catalog)
        self._estate.purse.configured, self._estate.purse.rules = settings.budgets, settings.spending
        self._estate.fleet.policy = settings.health
        self._estate.till.longest = max(self._estate.till.longest, settings.timeouts.longest)
        self._take(engine)
        self._former.add(former.upstream)
        self._run(self._let_go(former.upstream, former.settings.timeouts.longest))

    async def _let_go(self, upstream: Upstream, longest: float) -> None:
        """Of the connections of an engine, when the last request that began with it must be over. What else it had (a
        price table, above all) is not kept for so long."""
        await self._sleep(longest + 1)
        self._former.discard(upstream)
        await upstream.__aexit__()


def _moved(before: Settings, after: Settings) -> list[configuration.Change]:
    """Patterns go first one first, so that their order is a value, too."""
    old, new = ([alias(group) for group in settings.groups] for settings in (before, after))
    return [configuration.Change("aliases", old, new)] if old != new and sorted(old) == sorted(new) else []


def _check(settings: Settings, before: Settings) -> None:
    faults = [
        f"`{name}` has changed, which needs a restart; nothing of this change was applied"
        for name in FIXED
        if _shown(attrgetter(name)(settings)) != _shown(attrgetter(name)(before))
    ]
    if not settings.providers:
        faults.append("no vendor is configured any more")
    if faults:
        raise Refused(faults)


def _shown(value: object) -> object:
    reveal = getattr(value, "reveal", None)
    return reveal() if reveal else value


def _digest(files: Iterable[Path]) -> bytes:
    """Of what all of them hold; a file that cannot be read is another content."""
    whole = hashlib.sha256()
    for path in files:
        with contextlib.suppress(OSError):
            whole.update(hashlib.sha256(path.read_bytes()).digest())
            continue
        whole.update(b"-")
    return whole.digest()
