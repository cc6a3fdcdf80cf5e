"""The shared store: Redis. Each act that must be one act is one script; all its keys lie in one hash slot.

A slow Redis is worse than a dead one: every call is bounded, nothing is tried twice, and whoever calls hears of it.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from proxy.store import LARGEST_STATE, MOST_STATES, StoreError

_PREFIX = "{tollhouse}:state:"  # the braces keep all keys in one slot of a cluster
_INDEX = "{tollhouse}:states"
_TIMEOUT_SECONDS = 0.25


class RedisStore:
    """A store that any number of replicas share."""

    def __init__(self, url: str, *, most_states: int = MOST_STATES) -> None:
        self._most_states = most_states
        self._redis: Redis = Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._remember = self._redis.register_script(_script("remember"))

    async def open(self) -> None:
        """See whether it is there."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise StoreError(f"Redis: {type(error).__name__}") from error

    async def remember(self, states: Mapping[str, str], seconds: int) -> None:
        """Keep each state; what is over-long is not kept, what is over-many goes oldest first."""
        kept = {key: value for key, value in states.items() if len(value) <= LARGEST_STATE}
        if not kept:
            return
        keys = [_INDEX, *(_PREFIX + key for key in kept)]
        try:
            await self._remember(keys, [seconds, self._most_states, *kept.values()])
        except (RedisError, OSError) as error:
            raise StoreError(f"Redis: {type(error).__name__}") from error

    async def recall(self, keys: Sequence[str]) -> dict[str, str]:
        """The states of those `keys` that are still known."""
        if not keys:
            return {}
        try:
            values = await self._redis.mget([_PREFIX + key for key in keys])
        except (RedisError, OSError) as error:
            raise StoreError(f"Redis: {type(error).__name__}") from error
        return {key: str(value) for key, value in zip(keys, values, strict=True) if value is not None}

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()


def _script(name: str) -> str:
    return files("proxy.store").joinpath("lua", f"{name}.lua").read_text()
