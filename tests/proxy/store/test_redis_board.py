"""The notice board in Redis, where Redis itself is the trouble: it forgets, its clock is set, it drops its scripts."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.store import KEPT, OLD_NOTICE_SECONDS
from proxy.store.redis import RedisStore
from tests.proxy.store.pinning import GENEROUS, NOBODY, late, replicas, up
from tests.proxy.store.replica import emptied
from tests.redis_server import RedisServer


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


async def test_who_has_seen_a_board_that_was_forgotten_hears_so_whatever_has_been_pinned_since(
    pair: tuple[RedisStore, RedisStore], raw: Any
) -> None:
    one, other = pair
    old = {key: await up(one, key, b"old") for key in "abc"}
    since = (await other.notices(0)).serial
    await raw.flushall()
    told = await other.notices(since)
    assert (told.serial, told.changed) == (0, {})
    new = {key: await up(one, key, b"new") for key in "dcb"}
    told = await other.notices(since)
    assert (told.serial, told.changed) == (0, {}), "not as if there were no more than what is told"
    assert await late(other, "a", seen=old["a"].serial) == NOBODY
    assert await late(other, "b", seen=old["b"].serial) == new["b"]
    told = await other.notices(told.serial)
    assert (told.serial, told.changed) == (new["b"].serial, new)
    assert (await other.notices(new["d"].serial)).changed == {"c": new["c"], "b": new["b"]}, (
        "the first of the new board"
    )


async def test_no_number_of_a_board_that_was_forgotten_comes_again(
    pair: tuple[RedisStore, RedisStore], raw: Any
) -> None:
    one, other = pair
    seen: set[int] = set()
    for _ in range(20):
        pinned = [await up(store, key) for store, key in ((one, "a"), (other, "b"))]
        assert seen.isdisjoint(notice.serial for notice in pinned)
        seen |= {notice.serial for notice in pinned}
        await raw.flushall()
    assert sorted(seen) == [*dict.fromkeys(sorted(seen))]


async def test_numbers_are_the_clock_of_redis_in_microseconds_and_grow_though_it_is_behind(
    pair: tuple[RedisStore, RedisStore], raw: Any
) -> None:
    seconds, micros = await raw.time()
    first = await up(pair[0], "a")
    assert 0 <= first.serial - (seconds * 10**6 + micros) < GENEROUS * 10**6
    ahead = first.serial + 3600 * 10**6
    await raw.zadd("{tollhouse}:board:serials", {"a": ahead})
    assert (await up(pair[0], "b")).serial == ahead + 1
    assert (await up(pair[1], "a", seen=ahead)).serial == ahead + 2
    assert (await pair[1].notices(0)).serial == ahead + 2


async def test_a_notice_in_redis_that_nobody_changed_for_a_month_is_taken_down(
    pair: tuple[RedisStore, RedisStore], raw: Any
) -> None:
    one, _ = pair
    first = {key: await up(one, key) for key in "abcdefghijklm"}
    month = OLD_NOTICE_SECONDS * 10**6
    days = {key: notice.serial - month - 10**6 for key, notice in first.items()}
    days["m"] += 10**6 * (GENEROUS + 1)
    await raw.zadd("{tollhouse}:board:serials", days)
    assert (await up(one, "a", seen=days["a"])).text == b""
    assert [*(await one.notices(0)).changed] == ["l", "m", "a"], "ten at a time, the oldest first; not what was changed"
    assert sorted(await raw.hkeys("{tollhouse}:board")) == ["a", "l", "m"]
    assert await late(one, "b", seen=days["b"]) == NOBODY
    await up(one, "n")
    assert [*(await one.notices(0)).changed] == ["m", "a", "n"]


async def test_a_notice_in_redis_that_is_to_be_kept_is_put_up_anew_when_it_is_old(
    pair: tuple[RedisStore, RedisStore], raw: Any
) -> None:
    one, other = pair
    keys = [*(f"{KEPT}{n}" for n in range(12)), "a", KEPT[:-1]]
    pinned = {key: await up(one, key, key.encode()) for key in keys}
    month = OLD_NOTICE_SECONDS * 10**6
    await raw.zadd("{tollhouse}:board:serials", {k: notice.serial - month - 10**6 for k, notice in pinned.items()})
    first = await up(one, "b")
    told = await other.notices(first.serial)
    assert told.serial == first.serial + 10
    assert {key: (notice.serial, notice.text) for key, notice in told.changed.items()} == {
        key: (first.serial + 1 + n, key.encode()) for n, key in enumerate(keys[:10])
    }
    last = await up(other, "c")
    assert last.serial > told.serial
    told = await one.notices(0)
    assert told.changed.keys() == {*keys[:12], "b", "c"}, "the others are taken down"
    assert {key: told.changed[key].text for key in keys[:12]} == {key: key.encode() for key in keys[:12]}
    assert sorted(await raw.hkeys("{tollhouse}:board")) == sorted(told.changed)
    assert await late(one, keys[0], seen=pinned[keys[0]].serial) == told.changed[keys[0]]
    await up(one, keys[0], b"new", seen=told.changed[keys[0]].serial)


async def test_the_scripts_are_told_again_to_a_redis_that_has_dropped_them(
    pair: tuple[RedisStore, RedisStore], raw: Any
) -> None:
    for number in range(2):
        await raw.script_flush()
        pinned = await up(pair[0], f"{number}")
        await raw.script_flush()
        assert (await pair[1].notices(0)).changed[f"{number}"] == pinned


async def test_all_that_the_board_keeps_lies_in_one_slot(pair: tuple[RedisStore, RedisStore], raw: Any) -> None:
    await up(pair[0], "{other}", ring=True)
    assert {key.partition("}")[0] for key in await raw.keys("*")} == {"{tollhouse"}
