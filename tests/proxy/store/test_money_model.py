"""Whatever is done in whatever order, both stores answer as the plain one does, and count what it counts."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.budget import MOST, PART, Alert, Ask, Granted, Limit, Refused
from proxy.ledger import Counter, Entry, labels, ordered
from proxy.store import Hold, Settlement, Store, StoreError
from proxy.store.sqlite import SqliteStore
from tests.proxy.plain_store import PlainStore, nonzero
from tests.proxy.store.conftest import in_redis, opened
from tests.redis_server import RedisServer

NOON = 1_795_348_800_000  # 2026-11-22, 12:00
DAY = 86_400_000
LARGE = MOST // 256 + 1  # such that no sum of an example is beyond what a double can tell apart

counts = st.integers(0, 12)
sizes = st.tuples(counts, st.integers(0, 3))
limits = st.lists(
    st.tuples(
        st.sampled_from(["all", "user=u0", "user=u1", "team=red"]),
        st.sampled_from(["day", "month"]),
        st.integers(0, 30),
    ),
    max_size=3,
)
holds = st.fixed_dictionaries(
    {
        "limits": limits,
        "least": sizes,
        "most": sizes,
        "share": st.sampled_from([PART, 500_000, 333_333, 1]),
        "seconds": st.sampled_from([-1, 960]),
        "final": st.booleans(),
    }
)
settlements = st.fixed_dictionaries(
    {
        "limits": limits,
        "cost": sizes | st.none(),
        "unproven": sizes,
        "orphan": st.booleans(),
        "at": st.sampled_from([0, 0, DAY, 40 * DAY]),  # how long before its hold it counts; 0: it says nothing
    }
)
ids = st.sampled_from(["a", "b", "c", "d", "e"])
ticks = st.sampled_from([-DAY, -1, 1, 43_200_000, 9 * DAY])  # of the clock of SQLite; that of Redis is its own
examples = st.lists(st.tuples(ids, st.integers(0, 1), holds | settlements, st.none() | ticks), max_size=25)
units = st.sampled_from([1, LARGE])


class Drive:
    """One example: each act is done to a replica of the store and to the plain one."""

    def __init__(self, replicas: Sequence[Store], unit: int) -> None:
        self._replicas, self._unit = replicas, unit
        self._plain = PlainStore()

    async def do(self, id: str, replica: int, act: dict[str, Any]) -> None:
        store = self._replicas[replica]
        team = "red" if id in "ace" else ""
        entry = Entry(id=id, request=id, provider="openai", model="m", user=f"u{ord(id) % 2}", team=team)
        told = tuple(Limit("budget", scope, window, self._nano((n, 0))) for scope, window, n in act["limits"])
        await (self._hold if "least" in act else self._settle)(store, entry, told, act)
        await self.compare(self._replicas[1 - replica])

    async def _hold(self, store: Store, entry: Entry, told: tuple[Limit, ...], act: dict[str, Any]) -> None:
        least, most = sorted((self._nano(act["least"]), self._nano(act["most"])))
        said = {name: act[name] for name in ("share", "seconds", "final")}
        ask = Ask(entry=entry, limits=told, least=least, most=most, **said)
        try:
            answer = await store.hold(ask)
        except StoreError:
            with pytest.raises(StoreError):
                self._plain.hold(ask, 0)
            return
        now = answer.at if isinstance(answer, Granted) else await store.now()
        if isinstance(answer, Refused) and answer.label not in labels(now):
            now -= 60_000  # it was refused before midnight
        assert answer == self._plain.hold(ask, now)

    async def _settle(self, store: Store, entry: Entry, told: tuple[Limit, ...], act: dict[str, Any]) -> None:
        known = self._plain.holds.get(entry.id)
        row = known.entry if known else self._plain.rows.get(entry.id)
        at = (row.at if row else await store.now()) - act["at"]
        entry = msgspec.structs.replace(
            entry,
            at=0 if row and not act["at"] else at,
            cost=None if act["cost"] is None else self._nano(act["cost"]),
            unproven=self._nano(act["unproven"]),
            orphan=act["orphan"],
        )
        alerts = await store.settle([Settlement(entry, told)])
        assert _sorted(alerts) == _sorted(self._plain.settle(Settlement(entry, told), at))

    def _nano(self, size: tuple[int, int]) -> int:
        return size[0] * self._unit + size[1]

    async def compare(self, store: Store) -> None:
        plain = self._plain
        assert nonzero(plain.counters) == plain.summed()
        found: dict[tuple[str, str], Counter] = {}
        for label in {*labels(await store.now()), *(label for label, _ in plain.counters)}:
            found.update({(label, scope): counter for scope, counter in (await store.counters(label)).items()})
        assert nonzero(found) == plain.summed()
        now = await store.now()
        assert by_id(await store.expired()) == by_id(plain.expired(now))
        rows = [row async for page in store.rows(0, MOST) for row in page]
        assert rows == ordered(list(plain.rows.values()))


def by_id(holds: list[Hold]) -> list[Hold]:
    return sorted(holds, key=lambda hold: hold.entry.id)


def _sorted(alerts: list[Alert]) -> list[Alert]:
    return sorted(alerts, key=lambda alert: alert.key)


async def act_upon(replicas: Sequence[Store], unit: int, acts: list[Any], clock: list[int]) -> None:
    try:
        for store in replicas:
            await opened(store)
        drive = Drive(replicas, unit)
        for *act, tick in acts:
            await drive.do(*act)
            clock[0] += tick or 0
    finally:
        for store in replicas:
            await store.close()


@settings(max_examples=100, deadline=None)
@given(units, examples)
def test_a_file_answers_and_counts_as_the_plain_store_does(unit: int, acts: list[Any]) -> None:
    clock = [NOON]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        replicas = [SqliteStore(path, wall=lambda: clock[0] / 1000) for _ in range(2)]
        asyncio.run(act_upon(replicas, unit, acts, clock))


@settings(max_examples=60, deadline=None)
@given(units, examples)
def test_redis_answers_and_counts_as_the_plain_store_does(server: RedisServer, unit: int, acts: list[Any]) -> None:
    async def run() -> None:
        replicas = in_redis(server.url)
        await replicas[0]._redis.flushall()  # an example begins with nothing
        await act_upon(replicas, unit, acts, [0])

    asyncio.run(run())
