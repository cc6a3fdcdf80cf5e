"""Redis forgets in the middle of the load, all of it or the last while: no budget is overspent for it, nothing is lost.

It runs without persistence here, and dies as a power cut would have it. Three replicas know together what it knew: what
they booked is in their journals, and what they hold they remember, and their journals too.
"""

import asyncio
import contextlib
import json
import random
import signal
import time
from collections import Counter as Counts
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from proxy.cost import dollars
from proxy.ledger import Counter
from proxy.simulator import Simulator
from proxy.stats import iso
from proxy.store import StoreError
from tests.money.fleet import Fleet, counted, rows
from tests.money.load import Heard, Wish, foreseen, mix, run
from tests.money.test_agreement import named
from tests.money.test_crashes import BUDGET, ask, until_it_dies
from tests.money.truth import Truth, truth
from tests.redis_server import RedisServer, redis_server
from tests.tollhouse import Tollhouse

TOLD, WHOLE = "store new or forgetful: told what we know", "the store is whole again"
QUIET = 1_500  # milliseconds for which a Redis that forgot stays closed at least
LOOK = 0.05  # seconds between two looks at a counter
GENEROUS = 60.0  # seconds until a load that does not spend fails a test


class Scene(msgspec.Struct, frozen=True):
    """Who plays in it. Each way to forget returns when Redis was gone, in milliseconds since the epoch."""

    server: RedisServer
    fleet: Fleet

    async def empty(self) -> int:
        """Killed, and started again with nothing."""
        self.server.kill()
        (self.server.directory / "dump.rdb").unlink(missing_ok=True)
        return await self._started()

    async def emptied(self) -> int:
        """It stays where it is and forgets."""
        async with Redis.from_url(self.server.url) as redis, redis.pipeline(transaction=True) as pipe:
            pipe.flushall()
            pipe.time()
            _, (seconds, micros) = await pipe.execute()
        return int(seconds) * 1_000 + int(micros) // 1_000

    async def older(self) -> int:
        """Killed, and started again as it was at its last `SAVE`."""
        self.server.kill()
        return await self._started()

    async def empty_and_a_replica_dies(self) -> int:
        """The same moment takes both; the replica comes back to its own directory."""
        self.fleet.houses[0].signal(signal.SIGKILL)
        gone = await self.empty()
        await asyncio.to_thread(self.fleet.revive, 0)
        return gone

    async def _started(self) -> int:
        gone = _now()
        await asyncio.to_thread(self.server.start)
        return gone


class Size(msgspec.Struct, frozen=True):
    """How much of it."""

    clients: int
    requests: int


SMALL, FULL = Size(clients=15, requests=300), Size(clients=60, requests=3_000)
WIPES: dict[str, Callable[[Scene], Awaitable[int]]] = {
    "empty": Scene.empty,
    "emptied": Scene.emptied,
    "older": Scene.older,
    "empty and a replica dies": Scene.empty_and_a_replica_dies,
}
CASES = [pytest.param(wipe, SMALL, id=f"{wipe}-small") for wipe in ("empty", "older")]
CASES += [pytest.param(wipe, FULL, id=f"{wipe}-full", marks=pytest.mark.long) for wipe in WIPES]


@pytest.fixture
def forgetful():
    """A Redis that keeps nothing on a disk by itself."""
    with redis_server({"appendonly": "no", "save": ""}) as server:
        yield server


@pytest.mark.parametrize(("wipe", "size"), CASES)
async def test_a_redis_that_forgets_under_load_lets_nobody_overspend(vendors: Simulator, forgetful, wipe, size):
    wishes = [named(wish) for wish in mix(random.Random(size.requests), size.requests, leaving=0.15)]
    budget = foreseen(wishes) // 3
    with Fleet(vendors, 3, redis=forgetful.url, environ={"LLM_DAILY_BUDGET": dollars(budget)}) as fleet:
        load = asyncio.create_task(run(wishes, fleet.urls, clients=size.clients))
        await used(fleet, budget // 10)
        async with Redis.from_url(forgetful.url) as redis:
            await redis.save()
        before = await used(fleet, budget // 3)
        known = [len(recoveries(house)) for house in fleet.houses]
        gone = await WIPES[wipe](Scene(forgetful, fleet))
        answers = await load
        assert vendors.wait(in_progress=0, timeout=30)
        counter = await asyncio.to_thread(fleet.settled, 1)
        exported = json.loads(await asyncio.to_thread(fleet.ask, "export?format=json", 2))
        told = [recoveries(house) for house in fleet.houses]
        began = await born(forgetful)
    bill = truth(vendors.ledger())
    report(wipe, budget, (before, counter), bill.total, answers)
    dies = "dies" in wipe
    for number, (events, earlier) in enumerate(zip(told, known, strict=True)):
        assert events[0 if dies and number == 0 else earlier :] == [TOLD, WHOLE]
    assert bill.total <= budget * len(bill.days)  # at midnight there is a new one
    assert bill.total > before.used, "nothing was spent after it forgot"
    early = [row["id"] for row in exported if row["held_nano"] and iso(gone) < row["at"] < iso(began + QUIET)]
    assert (gone <= began, early) == (True, []), "money was held in a store that did not know what is spent"
    refused_for_their_reasons(answers, dies=dies)
    each_is_booked(answers, bill, exported, dies=dies)
    assert len({row["id"] for row in exported}) == len(exported)
    if len(bill.days) == 1:
        assert bill.total <= counter.used + counter.held <= budget
        booked = [sum(row[name] for row in exported) for name in ("cost_nano", "unproven_nano")]
        assert booked == [counter.spent, counter.unproven]


def each_is_booked(answers: Sequence[Heard], bill: Truth, exported: Sequence[Mapping[str, Any]], *, dies: bool) -> None:
    """Each request is a user of its own here: what is withheld for leavers must not hide that others were forgotten."""
    booked: Counts[str] = Counts()
    for row in exported:
        booked[row["user"]] += row["cost_nano"]
    assert {tag for tag, cost in bill.tags.items() if cost} <= set(booked), "forgotten"
    whole = [(booked[heard.wish.tag], bill.tags[heard.wish.tag]) for heard in answers if heard.whole]
    assert [pair for pair in whole if pair[0] < pair[1]] == []
    assert dies or [pair for pair in whole if pair[0] != pair[1]] == []


async def used(fleet: Fleet, least: int) -> Counter:
    """The counter of all traffic, as soon as so much is used."""
    async with asyncio.timeout(GENEROUS):
        while True:
            with contextlib.suppress(StoreError):  # it has little patience with a busy machine
                counter = await counted(fleet.store())
                if counter.used >= least:
                    return counter
            await asyncio.sleep(LOOK)  # asked again, not waited blindly: nobody tells


async def born(server: RedisServer) -> int:
    """When its epoch began, in milliseconds since the epoch of the calendar."""
    async with Redis.from_url(server.url) as redis:
        found = await redis.hget("{tollhouse}:epoch", "began")
    assert found is not None
    return int(found)


def recoveries(house: Tollhouse) -> list[str]:
    """What it said of them."""
    return [line["event"] for line in house.logs if line["event"] in (TOLD, WHOLE)]


def report(wipe: str, budget: int, counters: tuple[Counter, Counter], billed: int, answers: Sequence[Heard]) -> None:
    """`pytest -rP` shows it."""
    share = 100 / budget
    before, after = (f"used {each.used * share:.1f}, held {each.held * share:.1f}" for each in counters)
    print(f"{wipe}: of the budget {before} when Redis forgot; in the end billed {billed * share:.1f}, {after}")
    heard = Counts((heard.status, heard.code or heard.broken) for heard in answers)
    print(heard, "told to come again:", sum(heard.again for heard in answers))


def refused_for_their_reasons(answers: Sequence[Heard], *, dies: bool) -> None:
    """While Redis is told again what it forgot, clients hear 503 and one word for it; otherwise that the budget is
    used up, and nothing else."""
    assert [heard.complaint for heard in answers if heard.complaint] == []
    codes = {(heard.status, heard.code) for heard in answers}
    assert codes <= {(0, None), (200, None), (429, "budget_exceeded"), (503, "budget_store_unavailable")}
    assert (429, "budget_exceeded") in codes
    assert sum(heard.again for heard in answers), "nobody noticed"
    assert dies or not any(heard.broken for heard in answers)


def _now() -> int:
    return int(time.time() * 1000)


CAP = 1_500  # tokens; at the talkers' pace some seconds
NANO = 600  # nano-dollars a token of gpt-4o-mini's answers


@pytest.mark.parametrize("dies", [False, pytest.param(True, marks=pytest.mark.long)], ids=["lives", "dies"])
async def test_what_was_in_flight_when_redis_forgot_is_held_afterwards(talkers: Simulator, forgetful, dies):
    """The budget pays for one such request, not for two; whether its replica lives or comes back."""
    wish = Wish(tag="long", model="gpt-4o-mini", system="", text="tag=long" + CAP * " on", stream=True, cap=CAP)
    budget = 2 * CAP * NANO
    with Fleet(talkers, 2, redis=forgetful.url, environ={"LLM_DAILY_BUDGET": dollars(budget)}) as fleet:
        first = asyncio.create_task(run([wish], fleet.urls[:1], clients=1))
        assert await asyncio.to_thread(talkers.wait, in_progress=1, timeout=10)
        scene = Scene(forgetful, fleet)
        await (scene.empty_and_a_replica_dies() if dies else scene.empty())
        (second,) = await run([wish], fleet.urls[1:], clients=1)
        in_flight = not first.done()  # on a slow machine the first may be over before the second is heard
        (heard,) = await first
        assert talkers.wait(in_progress=0, timeout=30)
        counter = await asyncio.to_thread(fleet.settled, 1)
    bill = truth(talkers.ledger())
    if dies or in_flight:  # what died is held, or charged in full
        assert (second.status, second.code) == (429, "budget_exceeded")
    assert heard.whole is not dies
    assert 0 < bill.total <= counter.used <= budget


@pytest.mark.parametrize(
    "point",
    [
        "after-send:2",
        *(pytest.param(point, marks=pytest.mark.long) for point in ("after-hold:2", "after-first-part:2")),
        *(pytest.param(point, marks=pytest.mark.long) for point in ("before-settle:2", "after-settle:2")),
    ],
)
async def test_when_the_same_moment_takes_redis_and_all_who_knew_the_journal_tells(vendors, forgetful, point):
    with Fleet(vendors, 1, redis=forgetful.url, environ=BUDGET, running=False) as fleet:
        await until_it_dies(fleet, point, stream=True)
        assert vendors.wait(in_progress=0, timeout=10)
        at_death = await counted(fleet.store())
        await Scene(forgetful, fleet).empty()
        await asyncio.to_thread(fleet.revive, 0)
        (heard,) = await ask(fleet, 99, stream=True)
        assert heard.whole, heard
        assert fleet.houses[0].stop() == 0
        counter, ledger = await counted(fleet.store()), await rows(fleet.store())
    bill = truth(vendors.ledger())
    assert bill.total <= counter.used + counter.held <= bill.total + at_death.held
    assert sum(row.cost or 0 for row in ledger) == counter.spent
