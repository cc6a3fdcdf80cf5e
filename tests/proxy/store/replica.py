"""A replica of the Redis store together with what its till knows, for tests of a Redis that forgot."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from proxy.budget import Ask, Granted, Limit
from proxy.ledger import Counter, Entry, labels
from proxy.store import Hold, Lost, Settlement, StoreError
from proxy.store.redis import RedisStore

GENEROUS = 20  # seconds: for a recovery that never ends to be told from one that does
DAILY = Limit("daily", "all", "day", 1_000)
EPOCH = "{tollhouse}:epoch"
Snapshot = tuple[dict[str, dict[str, Counter]], list[Entry]]


class Replica:
    """A store, and what its till knows: the rows it wrote to its journal, and the holds that are open."""

    def __init__(self, url: str, name: str, **waits: float) -> None:
        waits = {"quiet": 0, "patience": 60, "longest": 600, "pause": 0.005, "timeout": 5, **waits}
        self.store = RedisStore(url, replica=name, **waits)  # type: ignore[arg-type]  # `days` is not among them
        self.rows: dict[str, Settlement] = {}
        self.holds: dict[str, Hold] = {}
        self.handing = asyncio.Event()  # it has begun to hand over
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self._recovers = asyncio.Lock()

    async def hold(self, id: str, amount: int = 10) -> Granted:
        entry = Entry(id=id, request=id, provider="openai", model="gpt", user=id[0])
        answer = await self.store.hold(Ask(entry=entry, limits=(DAILY,), least=amount, most=amount))
        assert isinstance(answer, Granted), answer
        self.holds[id] = Hold(msgspec.structs.replace(entry, at=answer.at), answer.amount)
        return answer

    async def settle(self, id: str, cost: int = 3, **more: Any) -> list[int]:
        """The percents of the alerts. The row is in the journal whatever happens to it."""
        held = self.holds.get(id) or Hold(Entry(id=id, request=id, provider="openai", model="gpt", user=id[0]), 0)
        self.rows[id] = Settlement(msgspec.structs.replace(held.entry, cost=cost, **more), (DAILY,))
        alerts = await self.store.settle([self.rows[id]])
        self.holds.pop(id, None)
        return [alert.percent for alert in alerts]

    def begin(self) -> asyncio.Task[None]:
        """A recovery that is under way; `handing` tells when it has joined."""
        self.handing.clear()
        return asyncio.create_task(self.recover())

    async def recover(self) -> None:
        async with asyncio.timeout(GENEROUS):
            await self.store.recover(self._pages(), list(self.holds.values()))

    async def _pages(self) -> AsyncIterator[Sequence[Settlement]]:
        self.handing.set()
        await self.may_go_on.wait()
        yield list(self.rows.values())

    async def beat(self) -> None:
        """As tills do each second; here as often as the others let it."""
        while True:
            await self.insist(self.store.beat)
            await asyncio.sleep(0.005)

    async def insist(self, act: Any) -> Any:
        """Do it, as a till does: after `Lost` everything is handed over, and then it is done."""
        while True:
            try:
                return await act()
            except Lost:
                async with self._recovers:
                    try:
                        await self.recover()
                    except StoreError:
                        continue  # begun anew
            except StoreError:
                await asyncio.sleep(0.001)  # as tills do: asked again in a moment


async def snapshot(store: RedisStore) -> Snapshot:
    """All counters that are not zero, and all rows."""
    found = {}
    for label in labels(await store.now()):
        counters = await store.counters(label)
        found[label] = {scope: counter for scope, counter in counters.items() if counter != Counter()}
    return found, [row async for page in store.rows(0, 2**52) for row in page]


async def totals(store: RedisStore) -> Counter:
    return (await store.counters(labels(await store.now())[0])).get("all", Counter())


@asynccontextmanager
async def emptied(url: str) -> AsyncIterator[Any]:
    """Redis itself, empty."""
    async with Redis.from_url(url, decode_responses=True) as redis:
        await redis.flushall()
        yield redis


@asynccontextmanager
async def replicas(url: str, *names: str, **waits: float) -> AsyncIterator[list[Replica]]:
    """Replicas that know of each other."""
    async with AsyncExitStack() as stack:
        found = [Replica(url, name, **waits) for name in names or ("one", "other")]
        for replica in found:
            stack.push_async_callback(replica.store.close)
            await replica.recover()
        for replica in [*found, *found]:
            await replica.store.beat()
        yield found


async def some_business(one: Replica, other: Replica) -> None:
    for replica, name in ((one, "a"), (other, "b")):
        for n in range(3):
            await replica.hold(f"{name}{n}", 10 + n)
        await replica.settle(f"{name}0", 4, unproven=1)
        await replica.settle(f"{name}unheld", 2, at=replica.holds[f"{name}1"].entry.at)


async def hears_that_it_is_lost(replica: Replica) -> None:
    """The first word may only find out that the connection is gone."""
    for _ in range(2):
        try:
            await replica.store.beat()
        except Lost:
            return
        except StoreError:
            continue
    pytest.fail("it hears of nothing")


async def until(condition: Any) -> None:
    async with asyncio.timeout(GENEROUS):
        while not await condition():  # noqa: ASYNC110  # Redis rings no bell for it
            await asyncio.sleep(0.005)
