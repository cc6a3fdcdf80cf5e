"""What replicas share, in verbs of the domain: atomicity lives in the store, so the store's verbs are whole acts.

One contract, two stores: SQLite in a file for the workers of one machine, Redis for replicas anywhere. One test suite
runs over both.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

LARGEST_STATE = 256 * 1024  # characters; no vendor's reasoning state of one step is larger
MOST_STATES = 100_000  # the oldest go first: state that was never asked for must not fill a disk


class StoreError(Exception):
    """The store is out of reach, or too slow to be of use. Nothing was done, or nobody knows."""


class Store(Protocol):
    """What is kept for a request until another one needs it, on whichever replica that arrives."""

    async def open(self) -> None:
        """Connect. Raises `StoreError` if the store cannot be used at all."""
        ...

    async def remember(self, states: Mapping[str, str], seconds: int) -> None:
        """Keep each state for at least `seconds`; a key that is there already is kept anew. One act."""
        ...

    async def recall(self, keys: Sequence[str]) -> dict[str, str]:
        """The states of those `keys` that are still known."""
        ...

    async def close(self) -> None:
        """Let go of the store."""
        ...


def open_store(redis_url: str | None, data_dir: Path) -> Store:
    """The store that the settings ask for; it is connected by its `open`."""
    if redis_url is not None:
        from proxy.store.redis import RedisStore  # only here: redis-py is slow to import, and most do without

        return RedisStore(redis_url)
    from proxy.store.sqlite import SqliteStore

    return SqliteStore(data_dir / "tollhouse.db")
