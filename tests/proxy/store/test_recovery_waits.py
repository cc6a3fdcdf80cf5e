"""Who is waited for when a Redis forgot, until money is held again; and who is not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import structlog

from proxy.ledger import Counter
from proxy.store import Lost, Recovering, Settlement
from tests.proxy.store.replica import (
    EPOCH,
    Replica,
    emptied,
    hears_that_it_is_lost,
    replicas,
    snapshot,
    some_business,
    totals,
    until,
)
from tests.redis_server import RedisServer


@pytest.fixture
async def raw(server: RedisServer) -> AsyncIterator[Any]:
    async with emptied(server.url) as redis:
        yield redis


@pytest.fixture
async def pair(server: RedisServer, raw: Any) -> AsyncIterator[tuple[Replica, Replica]]:
    async with replicas(server.url) as (one, other):
        yield one, other


async def silent_for_long(raw: Any, name: str) -> None:
    await raw.zadd("{tollhouse}:awaited", {name: 1}, xx=True)


async def all_for_too_long(raw: Any, name: str) -> None:
    await raw.hset(EPOCH, "latest", 0)


@pytest.mark.parametrize("dies", [False, True], ids=["dead", "dies while it hands over"])
@pytest.mark.parametrize("passes", [silent_for_long, all_for_too_long])
async def test_a_replica_that_does_not_hand_over_is_given_up_and_named(
    dies: bool, passes: Any, pair: tuple[Replica, Replica], raw: Any
) -> None:
    one, other = pair
    await raw.flushall()
    if dies:
        other.may_go_on.clear()
        dying = other.begin()
        await other.handing.wait()
        dying.cancel()
    recovery = one.begin()
    await until(lambda: raw.sismember("{tollhouse}:done", "one"))
    with pytest.raises(Recovering):
        await one.hold("early")
    with structlog.testing.capture_logs() as logs:
        await passes(raw, "other")
        await recovery
    assert logs == [{"event": "replicas are missing", "replicas": ["other"], "log_level": "warning"}]
    await one.hold("goes on")


async def test_who_begins_to_hand_over_anew_is_waited_for_anew(pair: tuple[Replica, Replica], raw: Any) -> None:
    one, other = pair
    await raw.flushall()
    other.may_go_on.clear()
    first, second = one.begin(), other.begin()
    await until(lambda: raw.sismember("{tollhouse}:done", "one"))
    first.cancel()
    one.may_go_on.clear()
    again = one.begin()
    await one.handing.wait()
    other.may_go_on.set()
    await until(lambda: raw.sismember("{tollhouse}:done", "other"))
    with pytest.raises(Recovering):
        await other.hold("early")
    one.may_go_on.set()
    await asyncio.gather(again, second)


async def test_who_is_alone_for_a_moment_does_not_forget_whom_it_waits_for(
    pair: tuple[Replica, Replica], raw: Any
) -> None:
    one, other = pair
    for _ in range(2):
        await raw.flushall()
        recovery = one.begin()
        await until(lambda: raw.sismember("{tollhouse}:done", "one"))
        await one.store.beat()
        with pytest.raises(Recovering):
            await one.hold("early")
        recovery.cancel()
    await asyncio.gather(one.recover(), other.recover())


async def test_who_was_silent_for_half_a_minute_is_not_waited_for(pair: tuple[Replica, Replica], raw: Any) -> None:
    one, _ = pair
    await raw.zadd("{tollhouse}:replicas", {"other": await one.store.now() - 31_000})
    await one.store.beat()
    await raw.flushall()
    await one.recover()
    await one.hold("a")


async def test_who_comes_after_it_was_given_up_closes_the_epoch_until_it_has_handed_over(
    pair: tuple[Replica, Replica], raw: Any
) -> None:
    one, other = pair
    await some_business(one, other)
    before = await snapshot(one.store)
    await raw.flushall()
    recovery = one.begin()
    await until(lambda: raw.sismember("{tollhouse}:done", "one"))
    await silent_for_long(raw, "other")
    await recovery
    await hears_that_it_is_lost(other)
    other.may_go_on.clear()
    late = other.begin()
    await other.handing.wait()
    with pytest.raises(Recovering):
        await one.hold("early")
    other.may_go_on.set()
    await late
    assert await snapshot(one.store) == before
    await one.hold("goes on")


async def test_who_hands_over_is_not_taken_for_silent(pair: tuple[Replica, Replica], raw: Any) -> None:
    one, other = pair
    await one.settle("a")
    await raw.flushall()
    gone = other.begin()
    await until(lambda: raw.sismember("{tollhouse}:done", "other"))
    gone.cancel()  # nobody looks but the one

    async def pages() -> AsyncIterator[Sequence[Settlement]]:
        yield []
        await silent_for_long(raw, "one")
        yield list(one.rows.values())
        assert await raw.hget(EPOCH, "state") == "recovering"
        assert await raw.zscore("{tollhouse}:awaited", "one") > 1

    await one.store.recover(pages(), [])
    assert await totals(other.store) == Counter(spent=3)


async def test_who_closed_its_store_is_not_waited_for(pair: tuple[Replica, Replica], raw: Any) -> None:
    one, other = pair
    await other.store.close()
    await one.store.beat()
    await raw.flushall()
    await one.recover()
    await one.hold("a")


async def test_a_new_epoch_stays_closed_until_all_who_live_have_had_time_to_come(server: RedisServer, raw: Any) -> None:
    stranger, later = Replica(server.url, "stranger", quiet=600), Replica(server.url, "later")
    begun = stranger.begin()
    await until(lambda: raw.sismember("{tollhouse}:done", "stranger"))
    with pytest.raises(Recovering):
        await stranger.hold("a")
    with pytest.raises(Lost):
        await later.hold("a")  # what its journal knows is asked for too
    joined = later.begin()
    await until(lambda: raw.sismember("{tollhouse}:done", "later"))
    assert not begun.done()
    await raw.hset(EPOCH, "until", 0)  # the time is over
    await asyncio.gather(begun, joined)
    for replica in (stranger, later):
        await replica.hold(replica.store._money._me)
        await replica.store.close()


@pytest.mark.parametrize(("age_ms", "taken"), [(60_000, False), (25 * 3_600_000, True)])
async def test_a_new_replica_takes_an_old_epoch_as_it_is_but_hands_over_to_a_young_one(
    age_ms: int, taken: bool, pair: tuple[Replica, Replica], server: RedisServer, raw: Any
) -> None:
    await raw.hset(EPOCH, "began", await pair[0].store.now() - age_ms)
    fresh = Replica(server.url, "fresh")
    if not taken:
        with pytest.raises(Lost):
            await fresh.store.beat()
        fresh.may_go_on.clear()
        handing = fresh.begin()
        await fresh.handing.wait()
        await pair[0].hold("goes on meanwhile")
        fresh.may_go_on.set()
        await handing
    await fresh.hold("a")
    await fresh.store.close()


async def test_who_was_silent_for_a_day_is_forgotten(pair: tuple[Replica, Replica], raw: Any) -> None:
    one, other = pair
    await raw.zadd("{tollhouse}:replicas", {"other": 1})
    await one.store.beat()
    assert await raw.zrange("{tollhouse}:replicas", 0, -1) == ["one"]
    assert await raw.hget(EPOCH, "n:other") is None
    with pytest.raises(Lost):
        await other.store.beat()  # nobody can tell whether anything it did is gone
    await asyncio.gather(other.recover(), one.insist(lambda: one.store.beat()))
    await other.hold("b")
