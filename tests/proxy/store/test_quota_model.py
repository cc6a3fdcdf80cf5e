"""Whoever comes and goes in whatever order, both stores answer as `proxy.quota` does.

The clock of Redis is its own. So what is known of a key is the set of all states that it may be in: those that explain
the answer at some millisecond while the store was asked. Time goes by when all times that are kept are set back.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import quota
from proxy.quota import MOST, Bucket, Entering, Quota, Usage
from proxy.store import Store
from proxy.store.sqlite import SqliteStore
from tests.proxy.store.conftest import in_redis
from tests.redis_server import RedisServer

NOON = 1_795_348_800_000  # 2026-11-22, 12:00
Age = Callable[[int], Awaitable[None]]

rates = st.sampled_from([0, 0, 1, 2, 7, 61, 60_000, MOST])
quotas = st.builds(Quota, requests=rates, tokens=rates, concurrent=st.integers(0, 3))
takings = st.integers(-9, 99) | st.sampled_from([-2 * MOST, -MOST, MOST, 2 * MOST])
comes = st.tuples(quotas, takings, st.sampled_from([-1, 0, 20, 60]))
leaves = st.tuples(quotas, takings)
ticks = st.sampled_from([0, 0, 0, 0, 1, 7, 8_571, 19_000, 60_000, 10**8])
keys, ids = st.sampled_from(["k", "other"]), st.sampled_from("abcde")
examples = st.lists(st.tuples(keys, ids, st.integers(0, 1), comes | leaves, ticks), max_size=25)


class Drive:
    """One example: each act is done to a replica of the store, and to all that the pure one may be."""

    def __init__(self, replicas: Sequence[Store], age: Age) -> None:
        self._replicas, self._age = replicas, age
        self._may_be: dict[str, list[Usage]] = {}

    async def do(self, key: str, id: str, replica: int, act: Any, tick: int) -> None:
        store, known = self._replicas[replica], self._may_be.get(key, [Usage()])
        before = await store.now()
        if len(act) == 3:
            limits, takes, seconds = act
            asked = Entering(key=key, id=id, quota=limits, tokens=takes, seconds=seconds)
            answer = await store.enter(asked)
            pairs = [quota.enter(usage, asked, now) for usage in known for now in await self._since(before, store)]
            left = [usage for usage, said in pairs if said == answer]
            assert left, (answer, pairs)
        else:
            limits, more = act
            await store.leave(key, id, limits, more)
            left = [
                quota.leave(usage, id, limits, more, n) for usage in known for n in await self._since(before, store)
            ]
        self._may_be[key] = [*{msgspec.json.encode(usage): usage for usage in left}.values()]
        if tick:
            await self._age(tick)

    async def _since(self, before: int, store: Store) -> range:
        return range(before, await store.now() + 1)

    def set_back(self, milliseconds: int) -> None:
        """As Redis does: see `ageing`."""
        for key, found in self._may_be.items():
            self._may_be[key] = [_set_back(usage, milliseconds) for usage in found]


def _set_back(usage: Usage, milliseconds: int) -> Usage:
    def earlier(bucket: Bucket) -> Bucket:
        return Bucket(bucket.full - milliseconds, bucket.rest) if bucket.full else bucket

    running = {id: until - milliseconds for id, until in usage.running.items()}
    return Usage(earlier(usage.requests), earlier(usage.tokens), running)


async def ageing(redis: Any, milliseconds: int) -> None:
    """All times in Redis are that much earlier: as good as if its clock were that much later."""
    for key in await redis.keys("{tollhouse}:quota:*"):
        for field in ("requests_full", "tokens_full"):
            if int(await redis.hget(key, field) or 0):  # it may have expired since
                await redis.hincrby(key, field, -milliseconds)
    for key in await redis.keys("{tollhouse}:inside:*"):
        for id in await redis.zrange(key, 0, -1):
            await redis.zincrby(key, -milliseconds, id)


@settings(max_examples=150, deadline=None)
@given(examples)
def test_a_file_answers_as_the_pure_one_does(acts: list[Any]) -> None:
    clock = [NOON]

    async def age(milliseconds: int) -> None:
        clock[0] += milliseconds

    async def run(path: Path) -> None:
        replicas = [SqliteStore(path, wall=lambda: clock[0] / 1000) for _ in range(2)]
        try:
            for store in replicas:
                await store.open()
            drive = Drive(replicas, age)
            for act in acts:
                await drive.do(*act)
        finally:
            for store in replicas:
                await store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder) / "store.db"))


@settings(max_examples=100, deadline=None)
@given(examples)
def test_redis_answers_as_the_pure_one_does(server: RedisServer, acts: list[Any]) -> None:
    async def run() -> None:
        replicas = in_redis(server.url)
        redis = replicas[0]._redis

        async def age(milliseconds: int) -> None:
            await ageing(redis, milliseconds)
            drive.set_back(milliseconds)

        drive = Drive(replicas, age)
        try:
            await redis.flushall()  # an example begins with nothing
            for act in acts:
                await drive.do(*act)
        finally:
            for store in replicas:
                await store.close()

    asyncio.run(run())
