"""Two replicas of one store, of each kind: what runs over them is the contract."""

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from proxy.store import MOST_STATES, Lost, Settlement, Store
from proxy.store.redis import RedisStore
from proxy.store.sqlite import SqliteStore
from tests.redis_server import RedisServer, redis_server


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def most_states() -> int:
    """So few that a test can have too many."""
    return 5


async def opened(store: Store) -> Store:
    """Connected, and told that there is nothing to be told: a Redis that is empty cannot know whether it forgot."""

    async def nothing() -> AsyncIterator[Sequence[Settlement]]:
        yield ()

    await store.open()
    try:
        await store.beat()
    except Lost:
        await store.recover(nothing(), [])
    return store


def in_redis(url: str, most_states: int = MOST_STATES) -> list[RedisStore]:
    """Two replicas that need not wait for others, and are patient with a busy machine."""
    names = ["replica0", "replica1"]
    return [RedisStore(url, replica=n, most_states=most_states, timeout=5, quiet=0, pause=0.001) for n in names]


@pytest.fixture(params=["sqlite", "redis"])
async def stores(
    request: pytest.FixtureRequest, tmp_path: Path, most_states: int
) -> AsyncIterator[tuple[Store, Store]]:
    """Two replicas of one store."""
    pair: list[Store]
    if request.param == "sqlite":
        pair = [SqliteStore(tmp_path / "deep" / "store.db", most_states=most_states) for _ in range(2)]
    else:
        url = request.getfixturevalue("server").url
        pair = [*in_redis(url, most_states=most_states)]
    for store in pair:
        await opened(store)
    yield pair[0], pair[1]
    if request.param == "redis":
        await pair[0]._redis.flushall()  # type: ignore[attr-defined]  # between tests, nothing is left
    for store in pair:
        await store.close()
