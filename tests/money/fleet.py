"""Several tollhouses that share one purse: on a Redis, or on a directory; each can be killed and come back."""

import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from proxy import ledger
from proxy.cost import NANO
from proxy.ledger import ALL, Counter, Entry
from proxy.simulator import Simulator
from proxy.store import Store, open_store
from tests.tollhouse import Tollhouse, environ_of

# Short enough for holds of the dead to come to their end within a test: they outlive the longest request by a minute.
CONFIG = "timeouts: {connect: 2, first_byte: 10, first_byte_plain: 10, idle: 10, total: 12}\n"
ORPHANS = 120.0  # seconds until the last hold of the dead is charged; the longest request and a minute, and a sweep
_AGAIN, _TIMES = 0.2, 25  # seconds between two looks at the counters; how often a busy store is asked


class Fleet:
    """`count` replicas. With `redis` each has a directory of its own for its journal, else all share one.

    Not `running`: none is started before somebody asks for it.
    """

    def __init__(
        self,
        vendors: Simulator,
        count: int,
        *,
        redis: str | None = None,
        environ: Mapping[str, str] | None = None,
        config: str = "",
        running: bool = True,
    ) -> None:
        self.redis, self._config, self._running = redis, CONFIG + config, running
        self._environ = {**environ_of(vendors), **({"REDIS_URL": redis} if redis else {}), **(environ or {})}
        self._stack = ExitStack()
        directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tollhouse-fleet-"))
        self._directories = [Path(directory) / (f"replica-{n}" if redis else "shared") for n in range(count)]
        self.houses: list[Tollhouse] = []
        self.urls: list[str] = []  # changes when a replica comes back: hand it out, do not copy it

    def __enter__(self) -> Self:
        try:
            for number in range(len(self._directories)):
                self.urls.append("")
                if self._running:
                    self.houses[number:] = [self.start(number)]
                    self.urls[number] = self.houses[number].url
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all of them."""
        for house in self.houses:
            house.stop()
        self._stack.close()

    def start(self, number: int, module: Sequence[str] = ("proxy",)) -> Tollhouse:
        """A replica, on the directory of its number; whoever asks for it by hand ends it."""
        environ = {**self._environ, "TOLLHOUSE_DATA_DIR": str(self._directories[number])}
        return Tollhouse.start(environ, config=self._config, module=module)

    def kill(self, number: int) -> None:
        """As a power cut would."""
        self.houses[number].kill()

    def revive(self, number: int) -> None:
        """Politely ended, if it lives, and started again: on its own directory, at a port of its own."""
        for house in self.houses[number : number + 1]:
            house.stop()
        self.houses[number : number + 1] = [self.start(number)]
        self.urls[number] = self.houses[number].url

    def ask(self, path: str, number: int = 0) -> bytes:
        """GET one of the admin endpoints; again, if the store is too busy to answer."""
        for last in (turn == _TIMES for turn in range(1, _TIMES + 1)):
            try:
                with urllib.request.urlopen(f"{self.urls[number]}/providers/costs/{path}", timeout=30) as answer:
                    return bytes(answer.read())
            except urllib.error.HTTPError as error:
                if last or error.code != 503:
                    raise
            time.sleep(_AGAIN)
        raise AssertionError("unreachable: the last turn returns or raises")

    def summary(self, number: int = 0) -> dict[str, Any]:
        """GET /providers/costs/summary."""
        return dict(json.loads(self.ask("summary", number)))

    def settled(self, number: int = 0, *, held: int = 0, patience: float = 30.0) -> Counter:
        """Today's counter of all traffic, once no more than `held` is held."""
        deadline = time.monotonic() + patience
        while True:
            counter = figures(self.summary(number)["today"])
            if counter.held <= held or time.monotonic() > deadline:
                return counter
            time.sleep(_AGAIN)  # asked again, not waited blindly: nobody tells when a hold comes back

    def store(self, number: int = 0) -> Store:
        """The store itself, for when nobody runs who could be asked."""
        return open_store(self.redis, self._directories[number], "observer")


async def counted(store: Store) -> Counter:
    """Today's counter of all traffic, read from the store."""
    await store.open()
    try:
        day, _ = ledger.labels(await store.now())
        return (await store.counters(day)).get(ALL, Counter())
    finally:
        await store.close()


async def rows(store: Store) -> list[Entry]:
    """The whole ledger, read from the store."""
    await store.open()
    try:
        return [entry async for page in store.rows(0, 1 << 52) for entry in page]
    finally:
        await store.close()


def figures(said: Mapping[str, str]) -> Counter:
    """A counter as the admin endpoints write it."""
    return Counter(*(nano(said[f"{name}_usd"]) for name in ("spent", "held", "unproven")))


def nano(dollars: str) -> int:
    """A decimal of dollars in nano-dollars; no rounding happens on the way, or this fails."""
    exact = Decimal(dollars) * NANO
    assert exact == int(exact), dollars
    return int(exact)
