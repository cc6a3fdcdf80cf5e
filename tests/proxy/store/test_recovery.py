"""A Redis that forgot is told again by all replicas that live; nothing is lost and nothing counts twice."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from proxy.ledger import Counter, Entry
from proxy.store import Lost, Recovering, Settlement, StoreError
from tests.proxy.store.replica import (
    GENEROUS,
    Replica,
    emptied,
    hears_that_it_is_lost,
    replicas,
    snapshot,
    some_business,
    totals,
    until,
)
from tests.redis_server import RedisServer, redis_server


@pytest.fixture
async def raw(server: RedisServer) -> AsyncIterator[Any]:
    async with emptied(server.url) as redis:
        yield redis


@pytest.fixture
async def pair(server: RedisServer, raw: Any) -> AsyncIterator[tuple[Replica, Replica]]:
    async with replicas(server.url) as (one, other):
        yield one, other


async def test_a_redis_that_was_never_used_is_begun_by_who_has_nothing_to_hand_over(
    server: RedisServer, raw: Any
) -> None:
    replica = Replica(server.url, "first")
    await replica.store.open()
    row = Settlement(Entry(id="a", request="a", provider="openai", model="gpt", cost=3))
    for act in (replica.store.beat(), replica.store.expired(), replica.hold("a"), replica.store.settle([row])):
        with pytest.raises(Lost):
            await act
    assert await raw.keys("*") == [], "nothing was done"
    await replica.recover()
    assert (await replica.hold("a", 7)).amount == 7
    await replica.store.close()


async def test_a_redis_that_came_back_empty_is_told_all_by_both_before_it_holds_again() -> None:
    with redis_server() as server:
        async with replicas(server.url) as (one, other), Redis.from_url(server.url) as raw:
            await some_business(one, other)
            before = await snapshot(one.store)
            server.kill()
            server.start()
            await hears_that_it_is_lost(one)
            await hears_that_it_is_lost(other)
            other.may_go_on.clear()
            recoveries = [one.begin()]
            await until(lambda: raw.sismember("{tollhouse}:done", "one"))
            with pytest.raises(Recovering):
                await one.hold("late")
            with pytest.raises(Lost):
                await other.hold("late")
            recoveries.append(other.begin())
            await other.handing.wait()
            for replica in (one, other):
                with pytest.raises(Recovering):
                    await replica.hold("late")
                with pytest.raises(Recovering):
                    await replica.store.settle([Settlement(Entry(id="z", request="z", provider="p", model="m"))])
                with pytest.raises(Recovering):
                    await replica.store.expired()
                await replica.store.beat()
            assert not any(task.done() for task in recoveries)
            other.may_go_on.set()
            await asyncio.gather(*recoveries)
            assert await snapshot(other.store) == before
            await one.hold("late")
            for replica, name in ((one, "a"), (other, "b")):
                for n in (1, 2):
                    await replica.settle(f"{name}{n}", 5)
            assert await totals(one.store) == Counter(spent=2 * (4 + 2 + 5 + 5), held=10, unproven=2)


async def test_a_redis_that_came_back_as_it_was_some_time_ago_is_told_what_came_after() -> None:
    with redis_server() as server:
        async with replicas(server.url) as (one, other), Redis.from_url(server.url) as raw:
            await other.hold("b-old")
            await one.hold("a-old")
            await raw.save()
            await one.settle("a-old", 5)
            await one.hold("a-new")
            before = await snapshot(one.store)
            server.kill()
            server.start()
            await hears_that_it_is_lost(one)
            await other.store.beat()  # all that it did is there: it misses nothing, until it hears of the new epoch
            recovery = one.begin()
            await one.handing.wait()
            await hears_that_it_is_lost(other)
            await asyncio.gather(recovery, other.recover())
            assert await snapshot(one.store) == before
            assert (await totals(one.store)) == Counter(spent=5, held=20)


async def test_a_redis_that_came_back_from_before_its_last_recovery_waits_for_all_once_more() -> None:
    with redis_server() as server:
        async with replicas(server.url) as (one, other), Redis.from_url(server.url) as raw:
            await raw.save()
            await raw.flushall()
            await asyncio.gather(one.recover(), other.recover())
            await some_business(one, other)
            before = await snapshot(one.store)
            await raw.aclose()  # or it would be told of the death by its next command
            server.kill()
            server.start()
            await hears_that_it_is_lost(one)
            recovery = one.begin()
            await one.handing.wait()
            await until(lambda: raw.sismember("{tollhouse}:done", "one"))
            with pytest.raises(Recovering):
                await one.hold("early")
            await hears_that_it_is_lost(other)
            await asyncio.gather(recovery, other.recover())
            assert await snapshot(one.store) == before


async def test_what_another_replica_did_since_hides_no_loss() -> None:
    with redis_server() as server:
        async with replicas(server.url) as (one, other), Redis.from_url(server.url) as raw:
            await raw.save()
            await one.settle("a-lost", 5)
            server.kill()
            server.start()
            with pytest.raises(StoreError):
                await other.store.beat()
            for n in range(20):
                await other.settle(f"b{n}", 1)
            await hears_that_it_is_lost(one)


@pytest.mark.parametrize("wipes", [1, 3])
async def test_wiped_under_load_nothing_is_lost_and_nothing_counts_twice(
    wipes: int, pair: tuple[Replica, Replica], raw: Any
) -> None:
    settled = asyncio.Semaphore(0)

    async def trade(replica: Replica, worker: str) -> None:
        for n in range(25):
            await replica.insist(lambda id=f"{worker}{n}": replica.hold(id, 5))
            await replica.insist(lambda id=f"{worker}{n}": replica.settle(id, 3))
            settled.release()

    async def wipe() -> None:
        for _ in range(wipes):
            for _ in range(40):
                await settled.acquire()
            await raw.flushall()

    async with asyncio.timeout(GENEROUS):
        beating = [asyncio.create_task(replica.beat()) for replica in pair]  # who has done his work still answers
        tasks = [
            trade(replica, worker) for replica, names in zip(pair, ("abc", "def"), strict=True) for worker in names
        ]
        await asyncio.gather(*tasks, wipe())
        await asyncio.gather(*(replica.insist(replica.store.beat) for replica in pair))
        for task in beating:
            task.cancel()
    counters, rows = await snapshot(pair[0].store)
    known = {id for replica in pair for id in replica.rows}
    assert len(known) == 150
    assert sorted(row.id for row in rows) == sorted(known)
    assert [found["all"] for found in counters.values()] == [Counter(spent=450)] * 2


async def test_a_second_wipe_in_the_middle_of_a_recovery_begins_another(
    pair: tuple[Replica, Replica], raw: Any
) -> None:
    one, other = pair
    await some_business(one, other)
    before = await snapshot(one.store)
    await raw.flushall()
    one.may_go_on.clear()
    first, second = one.begin(), other.begin()
    await one.handing.wait()
    await until(lambda: raw.sismember("{tollhouse}:done", "other"))
    await raw.flushall()
    one.may_go_on.set()
    for task in (first, second):
        with pytest.raises(Lost):
            await task
    again = one.begin()
    await until(lambda: raw.sismember("{tollhouse}:done", "one"))
    with pytest.raises(Recovering):
        await one.hold("late")  # it has not forgotten whom it waits for
    await asyncio.gather(again, other.recover())
    assert await snapshot(one.store) == before


async def test_a_settlement_from_before_the_wipe_gives_back_the_hold_that_was_handed_over(
    pair: tuple[Replica, Replica], raw: Any
) -> None:
    one, other = pair
    await one.hold("a", 50)
    await raw.flushall()
    with pytest.raises(Lost):
        await one.settle("a", 20)
    one.rows.pop("a")  # as if it were not in the journal yet
    await asyncio.gather(one.recover(), other.recover())
    assert await totals(one.store) == Counter(held=50)
    await one.settle("a", 20)
    assert await totals(one.store) == Counter(spent=20)


async def test_a_hold_that_is_settled_is_not_added_again_nor_is_one_that_is_there(
    pair: tuple[Replica, Replica], raw: Any
) -> None:
    one, other = pair
    for id in ("a", "b", "c"):
        await one.hold(id)
    holds = dict(one.holds)
    await one.settle("a", 3)
    await other.settle("b", 4, at=0, orphan=True)
    await one.recover()
    one.holds = dict(holds)
    for _ in range(2):
        await one.recover()
    assert await totals(one.store) == Counter(spent=7, held=10)
    await one.settle("c", 1, at=holds["c"].entry.at - 40 * 86_400_000)  # by another clock
    one.holds = dict(holds)
    await one.recover()
    assert await totals(one.store) == Counter(spent=7)


async def test_an_orphan_that_is_handed_over_gives_way_to_its_settlement_whoever_comes_first(
    pair: tuple[Replica, Replica], raw: Any
) -> None:
    one, other = pair
    at = (await one.hold("a", 50)).at
    await other.settle("a", 50, orphan=True, at=at)
    await one.settle("a", 20)
    for first, second in ((one, other), (other, one)):
        await raw.flushall()
        recovery = first.begin()
        await until(lambda name=first.store._money._me: raw.sismember("{tollhouse}:done", name))
        await asyncio.gather(recovery, second.recover())
        counters, rows = await snapshot(one.store)
        assert [found["all"] for found in counters.values()] == [Counter(spent=20)] * 2
        assert [(row.cost, row.orphan) for row in rows] == [(20, False)]


async def test_no_alert_is_told_again_for_what_is_handed_over(pair: tuple[Replica, Replica], raw: Any) -> None:
    one, other = pair
    assert await one.settle("a", 950) == [90]
    await raw.flushall()
    await asyncio.gather(one.recover(), other.recover())
    assert await other.settle("b", 10) == []
    assert await one.settle("c", 40) == [100]


async def test_holds_that_were_handed_over_become_orphans_some_day(pair: tuple[Replica, Replica], raw: Any) -> None:
    one, other = pair
    await one.hold("a", 50)
    await raw.flushall()
    await asyncio.gather(one.recover(), other.recover())
    assert await one.store.expired() == []
    await raw.zadd("{tollhouse}:holds", {"a": 1})
    assert await one.store.expired() == list(one.holds.values())
