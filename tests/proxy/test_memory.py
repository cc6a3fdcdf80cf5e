"""Reasoning state between requests: by vendor and id, and a store that is away stops nobody."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.memory import Memory
from proxy.store.sqlite import SqliteStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    yield store
    await store.close()


async def test_a_state_is_its_vendors_own(store: SqliteStore) -> None:
    memory = Memory(store)
    await memory.remember("gemini", {"call:1": "S"})
    assert await memory.recall("gemini", ["call:1", "call:2"]) == {"call:1": "S"}
    assert await memory.recall("anthropic", ["call:1"]) == {}


async def test_of_very_many_the_latest_are_asked_for(store: SqliteStore) -> None:
    memory = Memory(store)
    await memory.remember("gemini", {"first": "1", "last": "2"})
    ids = ["first", *(f"id{i}" for i in range(300)), "last"]
    assert await memory.recall("gemini", ids) == {"last": "2"}


async def test_a_store_that_is_away_is_said_once_and_once_when_it_is_back(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    memory = Memory(store)
    with capture_logs() as logs:
        await memory.remember("gemini", {"a": "1"})
        assert await memory.recall("gemini", ["a"]) == {}
        await store.open()
        await memory.remember("gemini", {"a": "2"})
        assert await memory.recall("gemini", ["a"]) == {"a": "2"}
    assert [line["event"] for line in logs] == ["reasoning state away", "reasoning state back"]
    await store.close()
