"""How long a request waits and how often it asks again: the client's deadline, limits, the queue, retries, hedges."""

import asyncio

import pytest

from adapters.base import Kind
from tests.proxy.accounts import until
from tests.proxy.desk import (
    COUNT,
    DONE,
    EACH,
    HEDGING,
    ONCE,
    QUICK,
    ROLE,
    STOP,
    Call,
    after,
    desk,
    refuses,
    well,
    words,
)

# ---- the client's deadline ------------------------------------------------------------------------------------------


NONE = ("nan", "inf", "-inf", "-1", "0", "1e308", "1e999", "5s", "", " ", "1,5", "0x10", "9" * 400, "-0.0", "none")


@pytest.mark.parametrize("name", ["x-tollhouse-timeout", "x-stainless-read-timeout", "x-stainless-timeout"])
async def test_a_deadline_that_is_none_is_no_deadline(tmp_path, name):
    async with desk(tmp_path, QUICK) as at:
        heard = {
            said: (await at.asked(headers={name: said, "x-tollhouse-priority": said}, stream=True)).whole
            for said in NONE
        }
        assert heard == dict.fromkeys(NONE, True)
        assert {record.status for record in at.records} == {200}


@pytest.mark.parametrize("said", ["1e-300", "0.000001", "1e-7"])
async def test_a_deadline_that_is_over_before_it_begins_asks_nobody(tmp_path, said):
    async with desk(tmp_path, QUICK) as at:
        client = await at.asked(headers={"x-tollhouse-timeout": said})
        assert (client.status, client.code) == (504, "deadline_exceeded")
        assert at.a.heard == at.b.heard == []


async def slowly(call: Call) -> None:
    """A stream whose end comes later than the client's patience of a second and a half."""
    await call.head(content_type="text/event-stream")
    await call.say(ROLE, *words("one"))
    await asyncio.sleep(1.7)
    await call.say(*words("two"), STOP, COUNT, DONE)


@pytest.mark.parametrize("name", ["x-stainless-read-timeout", "x-stainless-timeout"])
async def test_the_timeout_of_an_sdk_is_that_of_the_first_byte_and_cuts_no_stream_that_has_begun(tmp_path, name):
    """In Python it is httpx's time between two reads, in Node that until the headers: both hear long streams out."""
    async with desk(tmp_path, QUICK) as at:
        at.a.plays.append(slowly)
        client = await at.asked(stream=True, headers={name: "1.5"})
        assert client.text.endswith(DONE)
        assert at.records[-1].status == 200


async def test_but_a_stream_that_does_not_begin_in_that_time_is_given_up(tmp_path):
    never = asyncio.Event()
    async with desk(tmp_path, QUICK) as at:
        at.a.plays.append(after(never, well))
        client = await at.asked(stream=True, headers={"x-stainless-read-timeout": "0.3"})
        assert (client.status, client.code) == (504, "deadline_exceeded")
        assert at.b.heard == []


async def test_what_a_client_says_to_us_of_its_patience_is_for_the_whole_stream(tmp_path):
    async with desk(tmp_path, QUICK) as at:
        at.a.plays.append(slowly)
        client = await at.asked(stream=True, headers={"x-tollhouse-timeout": "1.5", "x-stainless-read-timeout": "600"})
        assert '"deadline_exceeded"' in client.text
        assert "[DONE]" not in client.text
        assert at.records[-1].code == "deadline_exceeded"


# ---- rate limits ----------------------------------------------------------------------------------------------------


async def test_a_vendor_that_says_again_in_no_time_is_not_asked_without_end(tmp_path):
    """Twice as long each time, and not beyond what is waited for limits: 0.05 + 0.1 + 0.2 + 0.4 s."""
    async with desk(tmp_path, "retries: {base: 0.05, longest: 1, queue: 0.8}\n") as at:
        at.a.usual = refuses(429, retry_after="0")
        client = await at.asked("one")
        assert client.status == 429
        assert len(at.a.heard) == 5
        assert at.records[-1].decision is not None
        assert at.records[-1].decision.waited <= 800


async def test_where_nobody_waits_in_a_queue_a_limit_is_told_at_once(tmp_path):
    async with desk(tmp_path, "retries: {queue: 0}\n") as at:
        at.a.usual = refuses(429, retry_after="0")
        assert (await at.asked("one")).status == 429
        assert len(at.a.heard) == 1


async def test_who_is_limited_twice_waits_twice(tmp_path):
    async with desk(tmp_path, "retries: {base: 0.001, longest: 2}\n") as at:
        at.a.plays.extend([refuses(429, retry_after="0.1"), refuses(429, retry_after="0.1")])
        client = await at.asked("one")
        assert (client.status, client.headers["x-tollhouse-attempts"]) == (200, "3")
        decision = at.records[-1].decision
        assert decision is not None
        assert decision.waited > 100


@pytest.mark.parametrize(
    ("config", "headers"),
    [("", {"x-tollhouse-timeout": "1"}), ("retries: {queue: 0.6}\n", {})],
    ids=["the client's", "ours"],
)
async def test_who_waits_in_the_queue_waits_no_longer_than_its_time(tmp_path, config, headers):
    """Many are before it when the limit ends: it is told so in time, not when its turn has come."""
    async with desk(tmp_path, config) as at:
        await at.hear("a", Kind.RATE_LIMITED, 0.2)
        queue = at.gate.trips.queue
        waits = [queue.wait(0, urgency=0, deadline=0.0) for _ in range(400)]  # four seconds of them
        others = [asyncio.create_task(wait) for wait in waits]
        client = await at.asked("one", headers=headers)
        assert (client.status, client.code) == (429, "rate_limit_exceeded")
        assert client.headers["retry-after"] == "1"
        assert not all(other.done() for other in others)
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        assert queue._waiting == 0


@pytest.mark.parametrize("word", ["high", "HIGH", " High "])
async def test_the_urgent_go_first(tmp_path, word):
    async with desk(tmp_path) as at:
        await at.hear("a", Kind.RATE_LIMITED, 1.0)
        ordinary = [at.ask("one", user=f"{n}") for n in range(6)]
        await until(lambda: at.gate.trips.queue._waiting == 6)
        urgent = at.ask("one", user="urgent", headers={"x-tollhouse-priority": word})
        for client in (*ordinary, urgent):
            await client.end()
        went = [body["user"] for body in at.a.heard]
        assert went.index("urgent") <= 1, "one may have woken a millisecond before it"


# ---- again ----------------------------------------------------------------------------------------------------------


async def test_each_that_is_asked_again_is_paid_from_the_budget_of_retries(tmp_path):
    """Three down: a second round of all three is three more requests, not one."""
    async with desk(tmp_path, QUICK + "health: {consecutive: 100, least: 1000}\n") as at:
        for vendor in at.vendors.values():
            vendor.usual = refuses(500)
        asked = []
        for _ in range(5):
            await at.asked("all")
            asked.append(sum(len(vendor.heard) for vendor in at.vendors.values()))
        assert asked == [6, 9, 12, 15, 19], "three were in reserve, and each request earns a fifth of one"


async def test_who_has_no_time_for_a_pause_is_told_at_once(tmp_path):
    async with desk(tmp_path, "retries: {base: 0.01, longest: 9}\n") as at:
        at.a.usual = refuses(503, retry_after="8")
        client = await at.asked("one", headers={"x-tollhouse-timeout": "6"})
        assert (client.status, len(at.a.heard)) == (503, 1)


@pytest.mark.parametrize(("model", "second"), [("one", "a"), ("pair", "b")])
async def test_where_all_places_for_probes_are_taken_another_is_asked_or_the_same_if_it_is_the_only_one(
    tmp_path, model, second
):
    go = asyncio.Event()
    async with desk(tmp_path, ONCE + "health: {cooldown: 0.05, longest: 0.05}\n") as at:
        await at.hear("a", Kind.KEY)
        await until(lambda: at.gate.trips.fleet.standing("a", "am").state == "half_open")
        at.a.plays.append(after(go, well))
        probe = at.ask(model)
        await at.a.there.wait()
        client = await at.asked(model)
        assert (client.status, client.headers["x-tollhouse-provider"]) == (200, second)
        go.set()
        assert (await probe.end()).headers["x-tollhouse-provider"] == "a"


# ---- two at once ----------------------------------------------------------------------------------------------------


async def test_a_vendor_that_stalls_does_not_have_all_who_wait_for_it_hedged(tmp_path):
    """All were planned when there was money for one."""
    never = asyncio.Event()
    async with desk(tmp_path, ONCE + "hedging: {enabled: true, spend: 0.05, least: 0.01}\n") as at:
        await at.know("a")
        hedges = at.gate.trips.hedges
        hedges._spent = 25_000_000  # nano-dollars; a second leg is thought to cost a million
        at.a.usual = after(never, well)
        clients = [at.ask() for _ in range(30)]
        await until(lambda: len(at.a.heard) == 30 and at.b.heard)
        await asyncio.sleep(0.05)
        assert len(at.b.heard) == 1
        assert hedges._extra <= hedges._spent * 0.05
        for client in clients:
            client.leave()
        await asyncio.gather(*(client.end() for client in clients))
        assert sum(bool(record.decision and record.decision.hedged) for record in at.records) == 1


async def test_second_legs_may_cost_a_share_of_what_was_spent(tmp_path):
    async with desk(tmp_path, ONCE + HEDGING) as at:
        await at.asked()
        assert at.gate.trips.hedges._spent == EACH


async def test_that_a_second_was_asked_is_told_though_both_were_limited_and_asked_again(tmp_path):
    async with desk(tmp_path, "retries: {base: 0.001}\n" + HEDGING) as at:
        await at.know("a")
        go = asyncio.Event()
        at.a.plays.append(after(go, refuses(429, retry_after="0.1")))
        at.b.plays.append(after(go, refuses(429, retry_after="0.1")))
        client = at.ask()
        await at.b.there.wait()
        go.set()
        await client.end()
        decision = at.records[-1].decision
        assert client.status == 200
        assert decision is not None
        assert decision.hedged


async def test_a_first_that_fails_after_a_second_could_not_be_afforded_is_followed_by_the_second(tmp_path):
    go = asyncio.Event()
    async with desk(tmp_path, ONCE + HEDGING) as at:
        await at.know("a", 600.0)
        at.a.plays.append(after(go, refuses(500)))
        client = at.ask()
        await at.a.there.wait()
        at.gate.trips.hedges._spent = 0  # others were quicker
        await asyncio.sleep(0.9)
        assert at.b.heard == []
        go.set()
        await client.end()
        assert client.headers["x-tollhouse-provider"] == "b"
