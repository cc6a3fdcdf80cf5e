"""What tests of the notice board have in common: replicas on a Redis, and who puts up notices and listens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from proxy.store import Notice, Store, StoreError
from proxy.store.redis import RedisStore

GENEROUS = 30  # seconds: for a hang to be told from an answer, not for measuring
NOBODY = Notice(0, b"")


@asynccontextmanager
async def replicas(*urls: str, **waits: Any) -> AsyncIterator[list[RedisStore]]:
    """Patient with a busy machine; all closed in the end."""
    waits = {"timeout": 5, "idle": 10, **waits}
    async with AsyncExitStack() as stack:
        found = [RedisStore(url, replica=f"r{n}", **waits) for n, url in enumerate(urls)]
        for store in found:
            stack.push_async_callback(store.close)
        yield found


async def up(store: Store, key: str, text: bytes = b"", *, seen: int = 0, ring: bool = False) -> Notice:
    """Put up a text; the notice as others read it."""
    answer = await store.pin(key, seen, text, ring=ring)
    assert answer == Notice(answer.serial, text, ours=True)
    assert answer.serial > seen
    return Notice(answer.serial, text)


async def late(store: Store, key: str, *, seen: int = 0, ring: bool = False) -> Notice:
    """Try to, where another notice stands than the one that was seen; what does."""
    answer = await store.pin(key, seen, b"late", ring=ring)
    assert not answer.ours
    return answer


async def count(store: Store, key: str, times: int) -> None:
    """Add to a number, each time as often as it takes for nobody to come between."""
    stands = NOBODY
    while times:
        with suppress(StoreError):  # a file that others have for longer than a caller waits
            stands = await store.pin(key, stands.serial, b"%d" % (int(stands.text or 0) + 1), ring=False)
            times -= stands.ours


async def listening(store: RedisStore) -> None:
    """The first ring is that of the subscription itself."""
    async with asyncio.timeout(GENEROUS):
        await store.bell()


async def outcome(act: Awaitable[object]) -> str | None:
    """What a store says that it cannot do it; None if it can."""
    try:
        async with asyncio.timeout(GENEROUS):
            await act
    except StoreError as error:
        return str(error)
    return None
