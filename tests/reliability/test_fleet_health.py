"""Three replicas, one view of the vendors: openings, probes, recovery, resets and rate limits hold over all of them.

What is asked of times is what the product promises, read from its own log or the vendors' own record, all on one clock.
"""

import asyncio
import time
import urllib.error
from typing import Any

import pytest

from tests.money.fleet import Fleet
from tests.reliability.conftest import ADMIN, HEALTH
from tests.reliability.crowd import MODEL
from tests.reliability.watch import Traffic, admin, came, moment, one, turns, until

SPREAD = 1.0  # seconds in which all replicas hear of an opening: the product's promise
PROBES = 1
STRICT = HEALTH.replace("probes: 3", f"probes: {PROBES}")
LASTING = HEALTH.replace("cooldown: 2, longest: 2", "cooldown: 300")
FIRST: dict[str, Any] = {"provider": "openai", "model": MODEL, "scope": "model"}


def state(fleet: Fleet, number: int, model: str = MODEL) -> dict[str, object]:
    """What a replica says of a model at OpenAI, as all see it."""
    said = admin(fleet.urls[number], "/providers/health?provider=openai", key=ADMIN)
    return dict(said["providers"]["openai"]["models"].get(model, {"state": "unknown"}))


def states(fleet: Fleet, model: str = MODEL) -> list[object]:
    """The state of a model at OpenAI, as each replica says it."""
    return [state(fleet, number, model)["state"] for number in range(len(fleet.urls))]


def limited(fleet: Fleet) -> list[object]:
    """Until when the model is rate limited, as each replica says it."""
    return [state(fleet, number).get("rate_limited_until") for number in range(len(fleet.urls))]


async def break_it(fleet: Fleet, vendors, number: int = 0) -> dict[str, object]:
    """OpenAI answers 500 from now on, and one replica finds out; its line of the log."""
    vendors.fault("openai", "status", status=500)
    for _ in range(3):
        assert (await one(fleet.urls[number])).answered
    return await asyncio.to_thread(fleet.houses[number].wait_log, "circuit opened", timeout=30, heard=False, **FIRST)


async def heard_everywhere(fleet: Fleet, event: str, but: int = 0) -> list[float]:
    """When the other replicas heard of it."""
    others = [house for number, house in enumerate(fleet.houses) if number != but]
    lines = [await asyncio.to_thread(house.wait_log, event, timeout=30, heard=True, **FIRST) for house in others]
    return [moment(line) for line in lines]


async def test_an_opening_reaches_all_replicas_within_a_second(vendors, replicas, store, capsys):
    fleet = await asyncio.to_thread(replicas, store, config=LASTING)
    opened = moment(await break_it(fleet, vendors))
    spread = [at - opened for at in await heard_everywhere(fleet, "circuit opened")]
    with capsys.disabled():
        print(f"\nheard of the opening after {', '.join(f'{1000 * seconds:.0f} ms' for seconds in spread)}")
    assert max(spread) <= SPREAD
    await until(lambda: states(fleet) == ["open"] * 3, "all say that it is open")
    before = len(vendors.arrivals("openai"))
    answers = [await one(fleet.urls[number % 3]) for number in range(12)]
    assert {heard.answered for heard in answers} == {True}
    assert "openai" not in {heard.provider for heard in answers}
    assert len(vendors.arrivals("openai")) == before == 3


async def test_a_vendor_that_is_still_ill_gets_no_more_probes_than_the_fleet_may_send(vendors, replicas, store, capsys):
    fleet = await asyncio.to_thread(replicas, store, config=STRICT)
    await break_it(fleet, vendors)
    known = max(await heard_everywhere(fleet, "circuit opened"))
    async with Traffic(fleet.urls) as traffic:
        await until(lambda: len(openings(fleet)) >= 4, "three times half-open")
    again = [at for at in openings(fleet) if at > known]
    arrived = [len(came(vendors, "openai", *period)) for period in zip([known, *again], again, strict=False)]
    with capsys.disabled():
        print(f"\nprobes per half-open period, under {len(traffic.heard)} requests: {arrived}")
    assert traffic.unanswered == []
    assert len(arrived) >= 3
    assert all(0 < probes <= PROBES for probes in arrived), arrived


def openings(fleet: Fleet) -> list[float]:
    """When the circuit opened, by whoever saw it."""
    return sorted(at for house in fleet.houses for at in turns(house, "circuit opened", heard=False, **FIRST))


async def test_a_vendor_that_is_well_again_gets_its_traffic_back_everywhere(vendors, replicas, store):
    fleet = await asyncio.to_thread(replicas, store)
    await break_it(fleet, vendors)
    await heard_everywhere(fleet, "circuit opened")
    vendors.clear()
    async with Traffic(fleet.urls) as traffic:
        await until(lambda: states(fleet) == ["closed"] * 3, "it is closed everywhere")
        closed = min(at for house in fleet.houses for at in turns(house, "circuit closed", **FIRST))
        await until(lambda: state(fleet, 0)["share"] == 1, "the slow start is over")
        whole = time.time()
        await until(lambda: len(traffic.since(whole)) >= 30, "traffic after it")
    assert traffic.unanswered == []
    assert {heard.provider for heard in traffic.since(whole)} == {"openai"}
    slow = [heard.provider for heard in traffic.heard if closed < heard.sent < whole]
    assert {"openai"} < set(slow), "some of it at first, not all at once"


async def test_a_reset_at_another_replica_closes_it_everywhere(vendors, replicas, store):
    fleet = await asyncio.to_thread(replicas, store, config=LASTING)
    await break_it(fleet, vendors)
    await heard_everywhere(fleet, "circuit opened")
    vendors.clear()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        admin(fleet.urls[2], "/providers/health/openai/reset", post=True)
    assert states(fleet) == ["open"] * 3
    told = admin(fleet.urls[2], "/providers/health/openai/reset", post=True, key=ADMIN)
    assert f"openai/{MODEL}" in told["reset"]
    asked = time.time()
    closed = await heard_everywhere(fleet, "circuit closed", but=2)
    assert max(closed) - asked <= SPREAD
    assert states(fleet) == ["closed"] * 3
    assert [(await one(url)).provider for url in fleet.urls] == ["openai"] * 3


async def test_a_silent_redis_stops_nobody_and_what_was_seen_meanwhile_is_told_afterwards(vendors, replicas, redis):
    """One replica meets a model that is ill while the store says nothing; the others are told when it speaks again."""
    other = "gpt-4.1-mini"
    ill = {**FIRST, "model": other}
    fleet = await asyncio.to_thread(replicas, redis.url, config=LASTING)
    async with Traffic(fleet.urls) as traffic:
        await until(lambda: len(traffic.heard) >= 60, "some traffic before")
        usual = max(heard.total for heard in traffic.heard)
        redis.pause()
        try:
            paused = time.time()
            vendors.fault("openai", "status", status=500, model=other)
            for _ in range(3):
                assert (await one(fleet.urls[0], model=other)).answered
            await asyncio.to_thread(fleet.houses[0].wait_log, "circuit opened", timeout=30, heard=False, **ill)
            for house in fleet.houses:
                await asyncio.to_thread(house.wait_log, "health not shared", timeout=30)
            assert not any(turns(house, "circuit opened") for house in fleet.houses[1:])
            await until(lambda: len(traffic.since(paused)) >= 60, "traffic goes on")
        finally:
            redis.resume()
        for house in fleet.houses[1:]:
            await asyncio.to_thread(house.wait_log, "circuit opened", timeout=30, heard=True, **ill)
    assert traffic.unanswered == []
    assert max(heard.total for heard in traffic.heard) <= usual + 1000
    assert states(fleet, other) == ["open"] * 3
    assert states(fleet) == ["closed"] * 3


async def test_all_replicas_obey_the_retry_after_that_one_of_them_was_told(vendors, replicas, store):
    fleet = await asyncio.to_thread(replicas, store)
    vendors.fault("openai", "status", error="rate_limit", retry_after=4)
    assert (await one(fleet.urls[0])).answered
    (first,) = came(vendors, "openai", 0)
    await until(lambda: all(limited(fleet)), "all know of it")
    vendors.clear()  # whoever asks too early would be served: it must show in the arrivals
    async with Traffic(fleet.urls, rate=60) as traffic:
        await until(lambda: came(vendors, "openai", first), "traffic returns")
        back = time.time()
        await until(lambda: {one.provider for one in traffic.since(back)} == {"openai"}, "all of it")
    assert traffic.unanswered == []
    assert came(vendors, "openai", first, first + 4) == []
    early = [heard for heard in traffic.heard if heard.sent < first + 3.9]
    assert len(early) > 20
    assert "openai" not in {heard.provider for heard in early}
    assert states(fleet) == ["closed"] * 3, "a rate limit is no sickness"


ALONE = {"ANTHROPIC_API_KEY": "", "GEMINI_API_KEY": ""}


async def test_who_has_nobody_else_to_ask_hears_when_to_come_again(vendors, replicas, redis):
    fleet = await asyncio.to_thread(replicas, redis.url, config=HEALTH + "retries: {queue: 0}\n", environ=ALONE)
    vendors.fault("openai", "status", error="rate_limit", retry_after=4)
    first = await one(fleet.urls[0])
    (told,) = came(vendors, "openai", 0)
    await until(lambda: all(limited(fleet)), "all know of it")
    vendors.clear()
    for heard in [first, *[await one(url) for url in fleet.urls]]:
        assert (heard.status, heard.code) == (429, "rate_limit_exceeded")
        assert heard.retry_after is not None
        assert told + 3.5 < heard.sent + heard.total / 1000 + heard.retry_after
        assert heard.sent + heard.retry_after < told + 4.6
    assert came(vendors, "openai", told) == []
    await until(lambda: not any(limited(fleet)), "the time is over")
    assert (await one(fleet.urls[1])).answered


async def test_who_has_nobody_else_to_ask_waits_if_it_is_short(vendors, replicas, redis):
    fleet = await asyncio.to_thread(replicas, redis.url, environ=ALONE)
    vendors.fault("openai", "status", error="rate_limit", retry_after=2, times=1)
    assert (await one(fleet.urls[0])).answered
    first, second = came(vendors, "openai", 0)
    assert second >= first + 2


async def test_a_limit_that_the_headers_tell_is_kept_to_before_anybody_is_refused(vendors, replicas, redis):
    """Requests one after the other, so that each knows what the one before it was told."""
    fleet = await asyncio.to_thread(replicas, redis.url, 1)
    vendors.limit("openai", requests=(5, 3_600_000))
    answers = [await one(fleet.urls[0]) for _ in range(12)]
    assert {heard.answered for heard in answers} == {True}
    assert [heard.provider for heard in answers].count("openai") == 5
    assert {entry["outcome"] for entry in vendors.ledger("openai")} == {"complete"}
