"""The shared store: Redis. Each act that must be one act is one script; all its keys lie in one hash slot.

A slow Redis is worse than a dead one: every call is bounded, nothing is tried twice, and whoever calls hears of it.
Here is what need not be one act: states, and what is only read. The money has a connection of its own, and so have the
quotas and the bell.
"""

from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from proxy import ledger
from proxy.budget import Alert, Ask, Granted, Refused
from proxy.feedback import Feedback, ended, join
from proxy.ledger import Counter, Entry
from proxy.quota import Crowded, Entered, Entering, Quota
from proxy.store import (
    LARGEST_STATE,
    MOST_STATES,
    PAGE,
    Hold,
    Notice,
    Notices,
    Settlement,
    StoreError,
    redis_board,
    redis_quota,
    redis_words,
)
from proxy.store.redis_board import Bell, RedisBoard, channel
from proxy.store.redis_lane import Lane
from proxy.store.redis_money import PREFIX, Money, acts, script
from proxy.store.redis_pool import pool_of
from proxy.store.redis_quota import Quotas

_STATE = f"{PREFIX}:state:"
_STATES = f"{PREFIX}:states"
_INDEX = f"{PREFIX}:index"
_FEEDBACK = f"{PREFIX}:feedback"
_JUDGED = f"{PREFIX}:judged"
_TIMEOUT_SECONDS = 0.2  # a Redis whose share of a processor is used up waits for the next tenth of a second, and longer
_CONNECTIONS = 16  # for all but the money; whoever finds none waits for one
_KEEPS = "noeviction"
_HOUR = 3_600_000
_DAY = 24 * _HOUR
_PRUNED = 50  # windows and hours at once


class RedisStore:
    """A store that any number of replicas share; `replica` must be the name of no other.

    An empty Redis knows no epoch: the first acts on money raise `Lost`, as in one that forgot, and `recover` begins it.
    Of the waits see `Money`, and of `idle` see `Bell`. Every call ends in three times `timeout` seconds, those of many
    parts and the bell aside.
    """

    look_seconds = 1.0  # the bell rings before

    def __init__(
        self,
        url: str,
        *,
        replica: str = "replica",
        most_states: int = MOST_STATES,
        days: int = 400,
        timeout: float = _TIMEOUT_SECONDS,
        quiet: float = 1.5,
        patience: float = 10.0,
        longest: float = 60.0,
        pause: float = 0.05,
        idle: float = 1.0,
    ) -> None:
        self._most_states = most_states
        self._pool = pool = pool_of(  # kept: its connections, made of its words below, know it but do not hold it
            url,
            most=_CONNECTIONS,
            wait=timeout,
            decode_responses=True,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        self._redis: Any = Redis.from_pool(pool)  # its types cannot tell that replies are text
        self._remember = self._redis.register_script(script("remember"))
        own = {**pool.connection_kwargs, "decode_responses": False, "socket_timeout": None}  # they bound their waits
        lane = Lane(pool.connection_class(**own), acts().values(), timeout)
        self._money = Money(lane, replica, keep=days, quiet=quiet, patience=patience, longest=longest, pause=pause)
        told = [*redis_quota.scripts().values(), *redis_board.scripts().values()]
        other = Lane(pool.connection_class(**own), told, timeout)
        self._quotas = Quotas(other)
        listening = pool.connection_class(**own)
        bell = channel(int(listening.db))
        self._board = RedisBoard(other, bell)
        self._bell = Bell(listening, bell, seconds=timeout, idle=idle)

    async def open(self) -> None:
        """See whether it is there, and whether it would throw money away when its memory is full."""
        with _foreign():
            memory = await self._redis.info("memory")
        policy = memory.get("maxmemory_policy", _KEEPS)
        if policy != _KEEPS:
            cure = "set maxmemory-policy noeviction: counters that are evicted are budgets that are forgotten"
            structlog.get_logger().warning("Redis may evict", policy=policy, cure=cure)

    async def remember(self, states: Mapping[str, str], seconds: int) -> None:
        """Keep each state; what is over-long is not kept, what is over-many goes oldest first."""
        kept = {key: value for key, value in states.items() if len(value) <= LARGEST_STATE}
        if not kept:
            return
        keys = [_STATES, *(_STATE + key for key in kept)]
        with _foreign():
            await self._remember(keys, [seconds, self._most_states, *kept.values()])

    async def recall(self, keys: Sequence[str]) -> dict[str, str]:
        """The states of those `keys` that are still known."""
        if not keys:
            return {}
        with _foreign():
            values = await self._redis.mget([_STATE + key for key in keys])
        return {key: str(value) for key, value in zip(keys, values, strict=True) if value is not None}

    # What each request calls hands on a coroutine, rather than wrap it in another.

    def hold(self, ask: Ask) -> Coroutine[Any, Any, Granted | Refused]:
        """Take money from all budgets at once, or from none. Whoever stops waiting may have been granted it."""
        return self._money.hold(ask)

    def settle(self, settlements: Sequence[Settlement]) -> Coroutine[Any, Any, list[Alert]]:
        """Book each row, one act each: if this raises, some may be booked, and are not booked again."""
        return self._money.settle(settlements)

    async def expired(self) -> list[Hold]:
        """Holds past their time; they stand until somebody settles them."""
        return await self._money.expired()

    async def beat(self) -> None:
        """Say that this replica lives. Raises `Lost`."""
        await self._money.beat()

    async def recover(self, rows: AsyncIterator[Sequence[Settlement]], holds: Sequence[Hold]) -> None:
        """Hand over what this replica knows, and wait for those it knew. What is handed over sets off no alert."""
        await self._money.recover(rows, holds)

    async def counters(self, label: str) -> dict[str, Counter]:
        """All counters of a window, by scope."""
        with _foreign():
            return redis_words.counters(await self._redis.hgetall(f"{PREFIX}:spend:{label}"))

    async def now(self) -> int:
        """The server's clock; milliseconds since the epoch."""
        with _foreign():
            seconds, micros = await self._redis.time()
        return int(seconds) * 1_000 + int(micros) // 1_000

    async def rows(self, start: int, end: int) -> AsyncIterator[list[Entry]]:
        """The ledger of that time, oldest first. It is read by the hour: that much is in memory at a time."""
        with _foreign():
            listed = await self._redis.zrangebyscore(_INDEX, start - _HOUR, end)
        for hour in (name for name in listed if name.startswith("ledger:")):
            found = [entry for entry in await self._hour(hour) if start <= entry.at < end]
            found = ledger.ordered(found)
            for first in range(0, len(found), PAGE):
                yield await self._joined(found[first : first + PAGE])

    async def _joined(self, page: list[Entry]) -> list[Entry]:
        """With what was said of them."""
        if not (requests := ended(page)):
            return page
        with _foreign():
            found = await self._redis.hmget(_FEEDBACK, requests)
        return join(page, redis_words.said(requests, found))

    async def _hour(self, name: str) -> list[Entry]:
        cursor, rows = 0, dict[str, str]()  # a scan may tell a row twice
        while True:
            with _foreign():
                cursor, page = await self._redis.hscan(f"{PREFIX}:{name}", cursor, count=PAGE)
            rows.update(page)
            if cursor == 0:
                return [ledger.decode(row) for row in rows.values()]

    def enter(self, entering: Entering) -> Coroutine[Any, Any, Entered | Crowded]:
        """Take a place, a request and its tokens, all of them or none. Whoever stops waiting may have taken them."""
        return self._quotas.enter(entering)

    def leave(self, key: str, id: str, quota: Quota, tokens: int) -> Coroutine[Any, Any, None]:
        """Give the place back."""
        return self._quotas.leave(key, id, quota, tokens)

    async def judge(self, feedback: Feedback) -> bool:
        """Keep what somebody said of a request; False if it has no row, or if it was another key's. Who says it later
        than three days after the request may not be heard: its rows are not looked for by their ids any more."""
        with _foreign():
            return await self._money.judge(feedback)

    async def prune(self, days: int) -> None:
        """Forget hours of the ledger and windows that are over for so long. The rest is forgotten after `days` of our
        own, whether anybody asks for it or not."""
        before = await self.now() - days * _DAY
        with _foreign():
            listed = await self._redis.zrangebyscore(_INDEX, "-inf", before, withscores=True)
        gone = [name for name, began in listed if _end(name, int(began)) <= before]
        for start in range(0, len(gone), _PRUNED):
            names = gone[start : start + _PRUNED]
            with _foreign():
                async with self._redis.pipeline(transaction=True) as pipe:
                    await pipe.unlink(*(f"{PREFIX}:{name}" for name in names)).zrem(_INDEX, *names).execute()
        await self._forget_feedback(before - _HOUR)

    async def _forget_feedback(self, before: int) -> None:
        """What was said before: the hours of its rows are gone by then."""
        while True:
            with _foreign():
                old = await self._redis.zrange(_JUDGED, "-inf", before, byscore=True, offset=0, num=PAGE)
                if not old:
                    return
                async with self._redis.pipeline(transaction=True) as pipe:
                    await pipe.hdel(_FEEDBACK, *old).zrem(_JUDGED, *old).execute()

    async def pin(self, key: str, serial: int, text: bytes, *, ring: bool) -> Notice:
        """Put up a text where that notice still stands. If this raises, it may stand there all the same."""
        with _foreign():
            return await self._board.pin(key, serial, text, ring=ring)

    async def notices(self, since: int) -> Notices:
        """All notices that were changed after that serial number."""
        with _foreign():
            return await self._board.notices(since)

    async def bell(self) -> None:
        """Returns when somebody rang in this database, and when a subscription begins."""
        await self._bell.heard()

    async def close(self) -> None:
        """Let go of the connections. Nobody need wait for this replica in a recovery."""
        await self._bell.close()
        await self._quotas.close()
        await self._money.leave()
        await self._redis.aclose()


def _end(name: str, began: int) -> int:
    """When an hour of the ledger or a window of counters is over."""
    kind, _, label = name.partition(":")
    return began + _HOUR if kind == "ledger" else ledger.end(label)


@contextmanager
def _foreign() -> Iterator[None]:
    """What goes wrong, by its name only: what it says may hold the password of the URL."""
    try:
        yield
    except (RedisError, OSError, UnicodeError) as error:
        raise StoreError(f"Redis: {type(error).__name__}") from error
