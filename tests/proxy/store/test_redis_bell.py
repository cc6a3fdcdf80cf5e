"""The bell of the notice board in Redis: who hears it, and what is heard when it is out of order."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.store.redis import RedisStore
from tests.proxy.accounts import until
from tests.proxy.store.pinning import GENEROUS, late, listening, outcome, replicas, up
from tests.proxy.store.replica import emptied
from tests.redis_server import RedisServer, redis_server

BELL = "{tollhouse}:bell:0"


@pytest.fixture
async def raw(server: RedisServer) -> AsyncIterator[Any]:
    """Redis itself, empty."""
    async with emptied(server.url) as redis:
        yield redis


@pytest.fixture
async def pair(server: RedisServer, raw: Any) -> AsyncIterator[tuple[RedisStore, RedisStore]]:
    """Two replicas on one Redis."""
    async with replicas(server.url, server.url) as (one, other):
        yield one, other


async def test_a_ring_is_heard_by_others_and_by_oneself(pair: tuple[RedisStore, RedisStore]) -> None:
    for store in pair:
        await listening(store)
    for ringer in pair:
        pinned = await up(ringer, f"{id(ringer)}", ring=True)
        async with asyncio.timeout(GENEROUS):
            await asyncio.gather(*(store.bell() for store in pair))
        for store in pair:
            assert (await store.notices(0)).changed[f"{id(ringer)}"] == pinned


async def test_who_is_told_not_to_ring_or_pins_nothing_does_not_ring(
    pair: tuple[RedisStore, RedisStore], raw: Any
) -> None:
    one, _ = pair
    async with raw.pubsub() as heard:
        await heard.psubscribe("*")
        await heard.subscribe("")  # which is not of them
        first = await up(one, "a", b"1")
        await late(one, "a", ring=True)
        await raw.publish("end", "")
        messages = [await heard.get_message(timeout=GENEROUS) for _ in range(3)]
        assert [message["channel"] for message in messages] == ["*", "", "end"]
        await up(one, "a", b"2", seen=first.serial, ring=True)
        assert (await heard.get_message(timeout=GENEROUS))["channel"] == BELL


async def test_many_rings_between_two_calls_are_one(pair: tuple[RedisStore, RedisStore], raw: Any) -> None:
    one, other = pair
    await listening(one)
    async with raw.pipeline(transaction=True) as together:
        for _ in range(10):
            together.publish(BELL, "")
        await together.execute()
    await one.bell()
    waits = asyncio.create_task(one.bell())
    await one.notices(0)
    assert not waits.done()
    await up(other, "last", ring=True)
    async with asyncio.timeout(GENEROUS):
        await waits


async def test_all_who_wait_hear_the_ring_and_a_waiter_who_leaves_takes_nothing_with_him(
    pair: tuple[RedisStore, RedisStore],
) -> None:
    one, other = pair
    await listening(one)
    waits = [asyncio.create_task(one.bell()) for _ in range(3)]
    await one.notices(0)
    waits.pop().cancel()
    await up(other, "a", ring=True)
    async with asyncio.timeout(GENEROUS):
        await asyncio.gather(*waits)


async def test_databases_of_one_server_neither_see_nor_hear_each_other(server: RedisServer, raw: Any) -> None:
    async with replicas(server.url, server.url.removesuffix("0") + "1") as (one, other), raw.pubsub() as heard:
        await listening(other)
        waits = asyncio.create_task(other.bell())
        await heard.psubscribe("*")
        await up(one, "a", b"1", ring=True)
        await other.notices(0)
        assert not waits.done()
        assert (await other.notices(0)).changed == {}
        await up(other, "a", b"2", ring=True)
        async with asyncio.timeout(GENEROUS):
            await waits
        messages = [await heard.get_message(timeout=GENEROUS) for _ in range(3)]
        assert [message["channel"] for message in messages] == ["*", BELL, "{tollhouse}:bell:1"]


async def test_a_bell_that_is_cut_off_says_so_once_and_rings_when_it_is_back(
    pair: tuple[RedisStore, RedisStore], raw: Any
) -> None:
    one, other = pair
    await listening(one)
    waits = asyncio.create_task(outcome(one.bell()))
    assert await raw.client_kill_filter(_type="pubsub") == 1
    assert await waits == "Redis: ConnectionError"
    await listening(one)
    await up(other, "a", ring=True)
    assert await outcome(one.bell()) is None


async def test_all_who_wait_for_a_bell_hear_that_it_is_cut_off_and_subscribe_as_one(
    pair: tuple[RedisStore, RedisStore], raw: Any
) -> None:
    async def call_twice() -> list[str | None]:
        return [await outcome(one.bell()), await outcome(one.bell())]

    one, other = pair
    await listening(one)
    waits = [asyncio.create_task(call_twice()) for _ in range(3)]
    await one.notices(0)
    await raw.client_kill_filter(_type="pubsub")
    assert await asyncio.gather(*waits) == [["Redis: ConnectionError", None]] * 3
    assert len(await raw.client_list(_type="pubsub")) == 1
    await up(other, "a", ring=True)
    assert await outcome(one.bell()) is None


async def test_a_bell_that_was_cut_off_before_anybody_asked_says_so_too(
    pair: tuple[RedisStore, RedisStore], raw: Any
) -> None:
    one, other = pair
    await listening(one)
    await up(other, "a", ring=True)
    await raw.client_kill_filter(_type="pubsub")
    async with asyncio.timeout(GENEROUS):
        while (said := await outcome(one.bell())) is None:  # the ring may be heard before the end
            pass
    assert said == "Redis: ConnectionError"


async def test_a_redis_that_ends_and_is_started_again_is_a_bell_out_of_order_for_so_long() -> None:
    with redis_server() as server:
        async with replicas(server.url, server.url) as (one, other):
            await listening(one)
            before = await up(other, "a", b"1")
            server.stop()
            assert await outcome(one.bell()) == "Redis: ConnectionError"
            assert await outcome(one.bell()) == "Redis: ConnectionError", "there is none to be had"
            server.start()
            await listening(one)
            assert (await one.notices(before.serial)).serial < before.serial
            await up(other, "a", b"2", ring=True)
            assert await outcome(one.bell()) is None


async def test_a_redis_that_falls_silent_fails_whoever_asks_and_is_found_again() -> None:
    with redis_server() as server:
        async with replicas(server.url) as (patient,), replicas(server.url, timeout=0.1, idle=0.1) as (store,):
            pinned = await up(patient, "a", b"1")
            await until(lambda: works(store))
            server.pause()
            for act in (up(store, "b", b"2", ring=True), store.notices(0), store.bell(), store.bell()):
                assert str(await outcome(act)).startswith("Redis: TimeoutError")
            server.resume()
            await until(lambda: works(store))
            assert (await store.notices(0)).changed["a"] == pinned


async def works(store: RedisStore) -> bool:
    return await outcome(store.notices(0)) is None and await outcome(store.bell()) is None


async def test_silence_alone_does_not_end_a_subscription(server: RedisServer, raw: Any) -> None:
    async with replicas(server.url, idle=0.5) as (store,):
        await listening(store)
        ((subscriber,), waits) = await raw.client_list(_type="pubsub"), asyncio.create_task(outcome(store.bell()))
        await raw.config_resetstat()
        await until(lambda: pinged(raw, 3))
        assert [client["id"] for client in await raw.client_list(_type="pubsub")] == [subscriber["id"]]
        assert not waits.done()
        await up(store, "a", b"1", ring=True)
        assert await waits is None


async def pinged(raw: Any, times: int) -> bool:
    stats = await raw.info("commandstats")
    return bool(stats.get("cmdstat_ping", {"calls": 0})["calls"] >= times)


async def test_a_subscription_that_is_refused_is_a_store_error_and_who_may_not_ring_may_pin(
    server: RedisServer, raw: Any
) -> None:
    await raw.execute_command("ACL", "SETUSER", "mute", "on", ">pw", "~*", "resetchannels", "+@all")
    async with replicas(server.url.replace("//", "//mute:pw@")) as (store,):
        assert await outcome(store.bell()) == "Redis: NoPermissionError"
        pinned = await up(store, "a", b"1", ring=True)
        assert (await store.notices(0)).changed == {"a": pinned}
    await raw.execute_command("ACL", "DELUSER", "mute")


async def test_a_bell_that_begins_where_nobody_listens_is_a_store_error_without_the_password() -> None:
    async with replicas("redis://user:secret@127.0.0.1:1/0") as (store,):
        for act in (store.bell(), up(store, "a"), store.notices(0)):
            assert await outcome(act) == "Redis: ConnectionError"


async def test_a_store_that_is_closed_lets_go_of_its_subscription(server: RedisServer, raw: Any) -> None:
    async with replicas(server.url) as (store,):
        await listening(store)
        assert len(await raw.client_list(_type="pubsub")) == 1
    await until(lambda: nobody_subscribes(raw))


async def test_a_store_that_is_closed_while_it_subscribes_ends(server: RedisServer, raw: Any) -> None:
    async with replicas(server.url) as (store,):
        waits = asyncio.create_task(outcome(store.bell()))
        await asyncio.sleep(0)  # it has begun, no more
    assert await waits == "the store is closed"
    await until(lambda: nobody_subscribes(raw))


async def nobody_subscribes(raw: Any) -> bool:
    return not await raw.client_list(_type="pubsub")
