"""One contract, two stores: a key takes no more than its quota, however many replicas let its requests in."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy import quota
from proxy.quota import MOST, PLACE_MS, Bucket, Crowded, Entered, Entering, Quota, Usage
from proxy.store import Store, StoreError
from proxy.store.redis import RedisStore
from proxy.store.sqlite import SqliteStore
from tests.proxy.store.conftest import in_redis
from tests.proxy.store.replica import emptied
from tests.redis_server import RedisServer

Stores = tuple[Store, Store]


def asking(
    id: str = "r", key: str = "k", *, takes: int = 0, seconds: int = 60, of: Quota | None = None, **limits: int
) -> Entering:
    return Entering(key=key, id=id, quota=of or Quota(**limits), tokens=takes, seconds=seconds)


async def crowd(stores: Stores, asked: list[Entering]) -> list[Entered | Crowded]:
    """All of them at once, by turns at either replica."""
    return await asyncio.gather(*(stores[n % 2].enter(entering) for n, entering in enumerate(asked)))


def let_in(answers: list[Entered | Crowded]) -> int:
    return sum(isinstance(answer, Entered) for answer in answers)


async def test_what_one_replica_lets_in_the_other_counts(stores: Stores) -> None:
    one, other = stores
    quota = Quota(requests=2, tokens=10, concurrent=2)
    assert await one.enter(asking("a", takes=3, of=quota)) == Entered(1, 7)
    assert await other.enter(asking("b", takes=3, of=quota)) == Entered(0, 4)
    answer = await one.enter(asking("c", takes=3, of=quota))
    assert isinstance(answer, Crowded)
    assert answer.limit == "requests"
    assert 0 < answer.wait <= 30_000


LIMITS: list[tuple[str, Quota, int]] = [
    ("requests", Quota(requests=7), 0),
    ("tokens", Quota(tokens=7), 1),
    ("concurrency", Quota(concurrent=7), 0),
]


@pytest.mark.parametrize(("limit", "quota", "takes"), LIMITS, ids=[case[0] for case in LIMITS])
async def test_fifty_at_once_are_never_more_than_the_quota(
    limit: str, quota: Quota, takes: int, stores: Stores
) -> None:
    asked = [Entering(key="k", id=f"r{n}", quota=quota, tokens=takes, seconds=60) for n in range(50)]
    answers = await crowd(stores, asked)
    assert let_in(answers) == 7
    assert {answer.limit for answer in answers if isinstance(answer, Crowded)} == {limit}


async def test_a_refusal_takes_nothing(stores: Stores) -> None:
    quota = Quota(requests=2, tokens=10, concurrent=9)
    await stores[0].enter(asking("a", takes=6, of=quota))
    refused = await crowd(stores, [asking(f"b{n}", takes=6, of=quota) for n in range(6)])
    assert {answer.limit for answer in refused if isinstance(answer, Crowded)} == {"tokens"}
    assert await stores[1].enter(asking("c", takes=3, requests=2, tokens=10, concurrent=2)) == Entered(0, 1)


async def test_who_comes_twice_at_once_takes_once(stores: Stores) -> None:
    quota = Quota(requests=5, tokens=10, concurrent=1)
    answers = await crowd(stores, [asking("a", takes=6, of=quota)] * 10)
    assert answers == [Entered(4, 4)] * 10


async def test_a_place_is_given_back_once_and_at_either_replica(stores: Stores) -> None:
    one, other = stores
    quota = Quota(concurrent=2)
    for id in "ab":
        await one.enter(asking(id, concurrent=2))
    assert await other.enter(asking("c", concurrent=2)) == Crowded("concurrency", PLACE_MS)
    for _ in range(3):
        await other.leave("k", "a", quota, 0)
    assert await one.enter(asking("c", concurrent=2)) == Entered()
    assert await one.enter(asking("d", concurrent=2)) == Crowded("concurrency", PLACE_MS)


async def test_a_place_whose_time_is_over_is_free_and_nobody_leaves_it(stores: Stores) -> None:
    quota = Quota(tokens=10, concurrent=2)
    await stores[0].enter(asking("somebody else", of=quota))
    assert await stores[0].enter(asking("a", takes=9, seconds=0, of=quota)) == Entered(None, 1)
    await stores[1].leave("k", "a", quota, -9)
    answer = await stores[1].enter(asking("b", takes=4, of=quota))
    assert isinstance(answer, Crowded)
    assert answer.limit == "tokens"
    assert await stores[1].enter(asking("b", takes=1, of=quota)) == Entered(None, 0)


@pytest.mark.parametrize(("more", "left"), [(-4, 8), (0, 4), (3, 1), (4, 0), (-9, 10)])
async def test_the_tokens_that_it_took_in_truth_count_in_the_end(more: int, left: int, stores: Stores) -> None:
    one, other = stores
    await one.enter(asking("a", takes=6, tokens=10))
    for id in ("a", "a", "never came"):
        await other.leave("k", id, Quota(tokens=10), more)
    assert await one.enter(asking("b", tokens=10)) == Entered(None, left)


async def test_more_tokens_than_a_minutes_are_owed(stores: Stores) -> None:
    assert await stores[0].enter(asking("a", takes=1_000, tokens=100)) == Entered(None, 0)
    answer = await stores[1].enter(asking("b", tokens=100))
    assert isinstance(answer, Crowded)
    assert 530_000 < answer.wait <= 540_000


async def test_of_two_limits_that_refuse_for_as_long_the_first_is_told(stores: Stores) -> None:
    await stores[0].enter(asking("a", takes=10, requests=1, tokens=10))
    answer = await stores[1].enter(asking("b", takes=10, requests=1, tokens=10))
    assert isinstance(answer, Crowded)
    assert answer.limit == "requests"


async def test_each_key_has_a_quota_of_its_own(stores: Stores) -> None:
    for key in ("k", "k2", "", "k:inside", "{x}"):
        assert await stores[0].enter(asking("a", key, requests=1, concurrent=1)) == Entered(0, None)
    assert isinstance(await stores[1].enter(asking("b", "k", requests=1)), Crowded)


async def test_nothing_is_kept_of_who_has_no_quota(stores: Stores) -> None:
    assert await stores[0].enter(asking("a", takes=50)) == Entered()
    assert await stores[1].enter(asking("b", requests=3)) == Entered(2, None)


async def test_the_largest_amounts_stay_exact(stores: Stores) -> None:
    one, other = stores
    quota = Quota(requests=MOST, tokens=MOST)
    assert await one.enter(asking("a", takes=2 * MOST, of=quota)) == Entered(MOST - 1, 0)
    await other.leave("k", "a", quota, -2 * MOST)
    assert (await other.enter(asking("b", takes=MOST, requests=1, tokens=MOST))) == Entered(0, 0)
    await other.leave("k", "b", Quota(tokens=MOST), 5 * MOST)
    answer = await one.enter(asking("c", takes=MOST, tokens=MOST))
    assert isinstance(answer, Crowded)
    assert 110_000 < answer.wait <= 120_000


NAMES = ["o'hara \"; DROP TABLE quota;--", "a\0b", "ü 🌍 \u2028", "x" * 10_000, "%s {0} * | = :", "\\u0000", "", "1e3"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_any_name_is_only_a_name(name: str, stores: Stores) -> None:
    one, other = stores
    quota = Quota(requests=9, tokens=9, concurrent=1)
    assert await one.enter(asking(name, name, takes=3, of=quota)) == Entered(8, 6)
    assert await other.enter(asking("x", name, takes=3, of=quota)) == Crowded("concurrency", PLACE_MS)
    await other.leave(name, name, Quota(tokens=9), -3)
    assert (await one.enter(asking("x", name, takes=3, of=quota))) == Entered(7, 6)


async def test_a_name_that_is_no_text_is_a_store_error(stores: Stores) -> None:
    for act in (stores[0].enter(asking("\ud800", requests=1)), stores[0].leave("\ud800", "a", Quota(requests=1), 0)):
        with pytest.raises(StoreError):
            await act
    assert await stores[1].enter(asking("a", requests=1)) == Entered(0, None)


# The file --------------------------------------------------------------------------------------------------------


async def test_a_file_forgets_who_is_idle(tmp_path: Path) -> None:
    clock = [1_795_000_000.0]
    store = SqliteStore(tmp_path / "store.db", wall=lambda: clock[0])
    await store.open()
    for n in range(15):
        await store.enter(asking("a", f"k{n}", requests=1, seconds=n))
    clock[0] += 60
    await store.enter(asking("b", "new", requests=1))
    assert keys(tmp_path) == {"new", *(f"k{n}" for n in range(15))}, "the last millisecond is not over"
    clock[0] += 0.001
    await store.leave("new", "b", Quota(requests=1), 0)
    await store.enter(asking("c", "other", requests=1))
    assert len(keys(tmp_path)) == 7, "ten at a time"
    await store.enter(asking("c", "third", requests=1))
    assert keys(tmp_path) == {"new", "other", "third"}
    await store.close()


def keys(directory: Path) -> set[str]:
    with sqlite3.connect(directory / "store.db") as file:
        found = {key for (key,) in file.execute("SELECT key FROM quota")}
    file.close()
    return found


async def test_a_refusal_writes_nothing_to_a_file(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    await store.enter(asking("a", requests=1))
    changes = await store._run(lambda: store._file().total_changes)
    assert isinstance(await store.enter(asking("b", requests=1)), Crowded)
    await store.leave("k", "b", Quota(requests=1), 5)
    assert await store._run(lambda: store._file().total_changes) == changes
    await store.close()


# Redis -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def raw(server: RedisServer) -> AsyncIterator[Any]:
    """Redis itself, empty."""
    async with emptied(server.url) as redis:
        yield redis


@pytest.fixture
async def store(server: RedisServer, raw: Any) -> AsyncIterator[RedisStore]:
    """A replica that has handed nothing over: quotas do not wait for money."""
    one, other = in_redis(server.url)
    yield one
    await one.close()
    await other.close()


async def test_what_redis_keeps_of_a_key_goes_when_it_is_idle(store: RedisStore, raw: Any) -> None:
    await store.enter(asking("a", takes=200, requests=7, tokens=100, seconds=30))
    expiries = {key: await raw.pexpiretime(key) for key in await raw.keys("*")}
    tokens_full = int(await raw.hget("{tollhouse}:quota:k", "tokens_full"))
    until = await raw.zscore("{tollhouse}:inside:k", "a")
    assert expiries == {"{tollhouse}:quota:k": tokens_full + 1, "{tollhouse}:inside:k": until}
    await store.leave("k", "a", Quota(requests=7, tokens=100), -200)
    requests_full = int(await raw.hget("{tollhouse}:quota:k", "requests_full"))
    assert {key: await raw.pexpiretime(key) for key in await raw.keys("*")} == {
        "{tollhouse}:quota:k": requests_full + 1
    }


async def test_redis_keeps_nothing_where_nothing_is_missing(store: RedisStore, raw: Any) -> None:
    await store.enter(asking("a", concurrent=3))
    assert await raw.keys("*") == ["{tollhouse}:inside:k"]
    await store.leave("k", "a", Quota(concurrent=3), 0)
    assert await raw.keys("*") == []


async def test_redis_writes_down_what_the_pure_one_does(store: RedisStore, raw: Any) -> None:
    await store.enter(asking("a", takes=5, requests=7, tokens=11))
    now = int(await raw.zscore("{tollhouse}:inside:k", "a")) - 60_000
    found = await raw.hgetall("{tollhouse}:quota:k")
    usage = Usage(Bucket(now + 8_571, 3), Bucket(now + 27_272, 8))
    assert found == {
        "requests_full": str(usage.requests.full),
        "requests_rest": str(usage.requests.rest),
        "tokens_full": str(usage.tokens.full),
        "tokens_rest": str(usage.tokens.rest),
    }


async def test_what_is_owed_in_redis_has_the_same_bound(store: RedisStore, raw: Any) -> None:
    for rate in (7, MOST):
        await raw.hset("{tollhouse}:quota:k", mapping={"tokens_full": 2**53 - 1, "tokens_rest": 3})
        asked = asking("a", takes=5, tokens=rate)
        usage = Usage(tokens=Bucket(2**53 - 1, 3))
        assert await store.enter(asked) == quota.enter(usage, asked, await store.now())[1]


async def test_a_redis_that_dropped_its_scripts_is_told_them_again(store: RedisStore, raw: Any) -> None:
    await store.enter(asking("a", requests=9))
    await raw.script_flush()
    with pytest.raises(StoreError, match="NoScriptError"):
        await store.enter(asking("b", requests=9))
    assert await store.enter(asking("b", requests=9)) == Entered(7, None)
    await raw.script_flush()
    with pytest.raises(StoreError, match="NoScriptError"):
        await store.leave("k", "b", Quota(requests=9), 0)
    await store.leave("k", "b", Quota(requests=9), 0)


async def test_what_is_no_quota_in_redis_is_a_store_error_that_tells_no_more_than_its_name(
    store: RedisStore, raw: Any
) -> None:
    await raw.set("{tollhouse}:quota:k", "hunter2")
    with pytest.raises(StoreError, match=r"^Redis: ResponseError$"):
        await store.enter(asking("a", requests=9))
    await raw.delete("{tollhouse}:quota:k")
    await raw.set("{tollhouse}:inside:k", "hunter2")
    with pytest.raises(StoreError, match=r"^Redis: ResponseError$"):
        await store.leave("k", "a", Quota(requests=9), 0)


async def test_hundreds_at_once_take_one_connection(store: RedisStore, raw: Any) -> None:
    before = (await raw.info("clients"))["connected_clients"]
    answers = await asyncio.gather(*(store.enter(asking(f"r{n}", requests=100)) for n in range(500)))
    assert let_in(list(answers)) in range(100, 120), "one more for each 600 ms"
    assert (await raw.info("clients"))["connected_clients"] == before + 1
