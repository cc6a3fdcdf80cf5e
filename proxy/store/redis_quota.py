"""What each client key has taken of its quota, in Redis: two scripts that decide as `proxy.quota` does.

They have a connection of their own: those who come in do not wait for money that is handed over. A Redis that forgot
has forgotten this, too; then every bucket is full.
"""

import hashlib
from typing import Any

from proxy.quota import MOST, PARTS, PLACE_MS, Crowded, Entered, Entering, Limited, Quota
from proxy.store import StoreError
from proxy.store.redis_lane import Lane, Word
from proxy.store.redis_money import PREFIX, script

_LIMITS: tuple[Limited, ...] = ("requests", "tokens", "concurrency")
_MILLI = 1_000


def scripts() -> dict[str, str]:
    """Both of them, each on what they have in common."""
    return {name: f"{script('usage')}\n{script(name)}" for name in ("enter", "leave")}


class Quotas:
    """See `Store`; each may raise `StoreError`."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._digests = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in scripts().items()}

    async def enter(self, entering: Entering) -> Entered | Crowded:
        """See `Store.enter`. Whoever stops waiting may have come in all the same."""
        quota, taken = entering.quota, min(max(0, entering.tokens), MOST) * PARTS
        words = (quota.requests, quota.tokens, quota.concurrent, taken, entering.seconds * _MILLI, PLACE_MS)
        match await self._act("enter", entering.key, entering.id, *words):
            case [1, int(requests), int(tokens)]:
                return Entered(requests if quota.requests else None, tokens if quota.tokens else None)
            case [0, int(limit), int(wait)]:
                return Crowded(_LIMITS[limit - 1], wait)
            case reply:
                raise _unheard(reply)

    async def leave(self, key: str, id: str, quota: Quota, tokens: int) -> None:
        """See `Store.leave`."""
        more = max(-MOST, min(tokens, MOST)) * PARTS
        reply = await self._act("leave", key, id, quota.requests, quota.tokens, more)
        if not isinstance(reply, int):
            raise _unheard(reply)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._lane.close()

    async def _act(self, act: str, key: str, *words: Word) -> Any:
        keys = (f"{PREFIX}:quota:{key}", f"{PREFIX}:inside:{key}")
        try:
            return await self._lane.put("EVALSHA", self._digests[act], len(keys), *keys, *words)
        except UnicodeError as error:
            raise _unheard(error) from error


def _unheard(reply: Any) -> StoreError:
    """What went wrong, by its name only."""
    return StoreError(f"Redis: {type(reply).__name__}")
