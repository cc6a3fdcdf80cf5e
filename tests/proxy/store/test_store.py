"""One contract, two stores: every test here runs over SQLite and over a real Redis."""

import sqlite3
from pathlib import Path

import pytest

from proxy.store import LARGEST_STATE, Store, StoreError, open_store
from proxy.store.redis import RedisStore
from proxy.store.sqlite import SqliteStore
from tests.redis_server import RedisServer, redis_server

HOUR = 3600


async def test_what_one_replica_remembers_another_recalls(stores: tuple[Store, Store]) -> None:
    one, other = stores
    await one.remember({"a": "1", "b": "ü\u0000 🌍"}, HOUR)
    assert await other.recall(["b", "nothing", "a"]) == {"a": "1", "b": "ü\u0000 🌍"}


async def test_the_later_word_counts(stores: tuple[Store, Store]) -> None:
    one, other = stores
    await one.remember({"a": "1"}, HOUR)
    await other.remember({"a": "2"}, HOUR)
    assert await one.recall(["a"]) == {"a": "2"}


async def test_nothing_asked_is_nothing_told(stores: tuple[Store, Store]) -> None:
    await stores[0].remember({}, HOUR)
    assert await stores[0].recall([]) == {}


async def test_what_is_over_long_is_not_kept(stores: tuple[Store, Store]) -> None:
    await stores[0].remember({"long": "x" * (LARGEST_STATE + 1), "short": "x" * LARGEST_STATE}, HOUR)
    assert list(await stores[1].recall(["long", "short"])) == ["short"]


async def test_when_there_are_too_many_the_oldest_go(stores: tuple[Store, Store], most_states: int) -> None:
    for i in range(most_states + 3):
        await stores[0].remember({f"key{i}": str(i)}, HOUR + i)
    keys = [f"key{i}" for i in range(most_states + 3)]
    assert sorted(await stores[1].recall(keys)) == keys[3:]


async def test_what_has_expired_is_forgotten_and_swept(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    await store.remember({"old": "1"}, -1)
    assert await store.recall(["old"]) == {}
    await store.remember({"new": "1"}, HOUR)
    with sqlite3.connect(tmp_path / "store.db") as file:
        assert file.execute("SELECT key FROM state").fetchall() == [("new",)]
    file.close()
    await store.close()


async def test_redis_lets_states_live_as_long_as_it_was_told(server: RedisServer) -> None:
    store = RedisStore(server.url)
    await store.remember({"a": "1"}, HOUR)
    assert HOUR - 10 <= await store._redis.ttl("{tollhouse}:state:a") <= HOUR
    await store.close()


async def test_a_redis_that_is_away_is_a_store_error_and_the_next_call_finds_it_again(tmp_path: Path) -> None:
    with redis_server() as server:
        store = RedisStore(server.url)
        server.pause()
        for act in (store.open(), store.remember({"a": "1"}, HOUR), store.recall(["a"])):
            with pytest.raises(StoreError):
                await act
        server.resume()
        await store.open()
        assert await store.recall(["a"]) in ({}, {"a": "1"})
        await store.close()


async def test_a_file_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    store = SqliteStore(tmp_path / "file" / "store.db")
    with pytest.raises(StoreError):
        await store.open()
    with pytest.raises(StoreError):
        await store.recall(["a"])
    await store.close()


async def test_a_fault_in_the_middle_leaves_nothing_half_done(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    with pytest.raises(StoreError):
        await store.remember({"a": "1", "b": "\ud800"}, HOUR)
    assert await store.recall(["a"]) == {}
    await store.close()


async def test_the_settings_choose_the_store(tmp_path: Path, server: RedisServer) -> None:
    assert isinstance(open_store(server.url, tmp_path), RedisStore)
    assert isinstance(open_store(None, tmp_path), SqliteStore)
