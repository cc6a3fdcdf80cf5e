"""What each attempt owes is settled once, whatever becomes of it; and a request has one last row.

The whole way of a request, with real books and stores. Its money: 11 tokens of prompt and 3 of answer, at USD 1 and 2 a
million.
"""

import asyncio
import json
import math
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

import adapters
from adapters.base import NOTHING, Kind, Stamp, Target, Usage
from adapters.envelope import seal
from proxy.bound import End
from proxy.ledger import Counter, Entry, labels
from proxy.queue import NORMAL
from proxy.telemetry import Record, Timings
from proxy.toll import Exchange, Toll
from proxy.trip import Trip
from tests.proxy.accounts import Hand, Moody, until
from tests.proxy.desk import (
    EACH,
    HEDGING,
    ONCE,
    QUICK,
    ROLE,
    Call,
    Client,
    Desk,
    Play,
    after,
    desk,
    refuses,
    well,
    words,
)

RICH = "1"  # dollars a day
NEVER = asyncio.Event  # nobody sets it


def shown(rows: list[Entry]) -> list[tuple[str, str, int, str | None, bool]]:
    """Number, provider, status, code, last; of the rows of one request."""
    assert len({row.request for row in rows}) == 1
    assert [row.last for row in rows].count(True) == 1, "a request has one last row"
    return [(row.id.rpartition("/")[2], row.provider, row.status, row.code, row.last) for row in rows]


async def counter(at: Desk) -> Counter:
    """Today's, of all traffic."""
    store = at.gate.trips.forward.tolls.till.books.store
    counters = await store.counters(labels(await store.now())[0])
    return counters.get("all", Counter())


async def opening(call: Call) -> None:
    """The words before the first that says something, and no more."""
    await call.head(content_type="text/event-stream")
    await call.say(ROLE)
    await NEVER().wait()


async def half(call: Call) -> None:
    """Half of an answer, and no more."""
    await call.head(content_type="text/event-stream")
    await call.say(ROLE, *words("one"))
    await NEVER().wait()


async def headers(call: Call) -> None:
    """Its head, and no more."""
    await call.head(content_type="application/json")
    await NEVER().wait()


async def silence(call: Call) -> None:
    """Nothing."""
    await NEVER().wait()


async def breaks_off(call: Call) -> None:
    """A stream that ends after it has said something."""
    await call.head(content_type="text/event-stream")
    await call.say(ROLE, *words("one"))


# ---- who leaves, and when -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "play", "heard"),
    [
        pytest.param(False, silence, "", id="before the vendor says anything"),
        pytest.param(False, headers, "", id="after its head"),
        pytest.param(True, opening, "", id="while opening words are kept back"),
        pytest.param(True, half, '"one"', id="in the middle of a stream"),
    ],
)
@pytest.mark.parametrize("budget", ["", RICH], ids=["no budget", "budget"])
async def test_a_client_that_leaves_pays_for_its_prompt_and_what_was_said_and_nobody_for_the_rest(
    tmp_path: Path, budget, stream, play, heard
):
    async with desk(tmp_path, QUICK, budget=budget) as at:
        at.a.plays.append(play)
        client = at.ask(stream=stream)
        await at.a.there.wait()
        if heard:
            await client.hears(heard)
        else:
            await until(lambda: at.in_flight == 1)
        client.leave()
        await client.end()
        assert (at.records[0].status, at.records[0].code) == (499, "client_left")
        assert at.outcomes() == [("a", "cancelled")]
        assert at.in_flight == 0
        await until(lambda: at.a.left == 1)
    (row,) = rows = await at.rows()
    assert shown(rows) == [("1", "a", 499, "client_left", True)]
    assert row.estimated
    assert row.cost is not None
    assert row.cost >= 1_000
    assert bool(row.unproven) is bool(budget)
    assert row.cost + row.unproven <= row.held or not budget


async def test_what_a_vendor_has_said_and_nobody_has_read_yet_is_counted(tmp_path):
    """The client reads slowly, and leaves."""
    said = asyncio.Event()

    async def talks(call: Call) -> None:
        await call.head(content_type="text/event-stream")
        await call.say(ROLE, *words("one"))
        await said.wait()
        await call.say(*words(*["river "] * 200))
        talked.set()
        await NEVER().wait()

    talked = asyncio.Event()
    async with desk(tmp_path, QUICK, budget=RICH) as at:
        at.a.plays.append(talks)
        client = at.ask("one", stream=True)
        client.stuck = "http.response.body"
        await client.hears('"one"')
        said.set()
        await talked.wait()
        for _ in range(20):  # until it has come over the wire
            await asyncio.sleep(0.002)
        client.leave()
        await client.end()
    (row,) = await at.rows()
    assert row.usage.out_text > 150


async def test_a_client_that_leaves_between_two_rounds_owes_nothing_and_has_its_last_row(tmp_path):
    async with desk(tmp_path, "retries: {base: 10, longest: 40}\n", budget=RICH) as at:
        at.a.usual = refuses(503, retry_after="30")
        client = at.ask("one")
        await until(lambda: at.a.heard and at.in_flight == 0)
        await until(lambda: _nothing_held(at))  # while it waits nothing is held for it
        client.leave()
        await client.end()
    rows = await at.rows()
    assert shown(rows) == [("1", "a", 503, "server_is_overloaded", False), ("end", "a", 499, "client_left", True)]
    assert [row.cost for row in rows] == [0, 0]
    assert rows[0].held > 0
    assert rows[0].price
    assert (rows[1].held, rows[1].price) == (0, None), "it held nothing, and was sold nothing"


async def _held(at: Desk) -> int:
    return (await counter(at)).held


async def _nothing_held(at: Desk) -> bool:
    return not await _held(at)


async def test_a_client_that_leaves_the_queue_owes_nothing_and_has_its_last_row(tmp_path):
    async with desk(tmp_path, budget=RICH) as at:
        at.a.plays.append(refuses(429, retry_after="8"))
        client = at.ask("one")
        await until(lambda: at.gate.trips.queue._waiting)
        await until(lambda: _nothing_held(at))
        client.leave()
        await client.end()
        assert at.gate.trips.queue._waiting == 0
        assert at.records[0].code == "client_left"
    rows = await at.rows()
    assert shown(rows) == [("1", "a", 429, "rate_limit_exceeded", False), ("end", "a", 499, "client_left", True)]


async def test_who_was_never_forwarded_has_no_row_even_if_the_client_leaves_the_queue(tmp_path):
    async with desk(tmp_path, budget=RICH) as at:
        at.a.plays.append(refuses(429, retry_after="9"))
        await at.asked("one", headers={"x-tollhouse-timeout": "3"})
        client = at.ask("one")
        await until(lambda: at.gate.trips.queue._waiting)
        client.leave()
        await client.end()
        assert [(record.status, record.code) for record in at.records] == [
            (429, "rate_limit_exceeded"),
            (499, "client_left"),
        ]
    assert shown(await at.rows()) == [("1", "a", 429, "rate_limit_exceeded", True)]


async def test_a_client_that_is_gone_when_its_answer_begins_is_told_from_one_that_was_served(tmp_path):
    """It leaves in the moment in which the first bytes are on their way to it."""
    async with desk(tmp_path, QUICK, budget=RICH) as at:
        client = at.ask(stream=True)
        client.stuck = "http.response.start"
        await until(lambda: client.heard)
        client.leave()
        await client.end()
        assert (at.records[0].status, at.records[0].code, at.records[0].provider) == (499, "client_left", "a")
        assert [message["type"] for message in client.heard] == ["http.response.start"]
        assert at.in_flight == 0
    assert shown(await at.rows()) == [("1", "a", 499, "client_left", True)]


async def test_a_client_that_leaves_while_money_is_held_leaves_none_behind(tmp_path):
    async with desk(tmp_path, QUICK, budget=RICH) as at:
        books = at.gate.trips.forward.tolls.till.books
        books.store = store = Moody(tmp_path / "tollhouse.db", time.time)
        await store.open()
        store.mute.add("hold")  # the store has taken it, and its answer is on its way
        client = at.ask()
        await until(lambda: _held(at))
        client.leave()
        await client.end()
        await until(lambda: _nothing_held(at))
        assert at.a.heard == []
        assert at.in_flight == 0
    (row,) = await at.rows()
    assert (row.cost, row.code) == (0, "client_left")


# ---- what was never sent --------------------------------------------------------------------------------------------


async def test_a_request_whose_time_was_over_before_it_was_sent_costs_nothing(tmp_path):
    async with desk(tmp_path, QUICK, budget=RICH) as at:
        client = await at.asked("one", headers={"x-tollhouse-timeout": "0.000001"})
        assert (client.status, client.code) == (504, "deadline_exceeded")
        assert at.a.heard == []
    (row,) = rows = await at.rows()
    assert shown(rows) == [("1", "a", 504, "deadline_exceeded", True)]
    assert (row.cost, row.unproven, row.estimated) == (0, 0, False)


async def test_a_model_has_the_time_that_its_own_row_says_and_no_more(tmp_path):
    row = "timeouts: {first_byte: 20, first_byte_plain: 20, models: {a/am: {first_byte_plain: 0.1}}}\n"
    async with desk(tmp_path, ONCE + row) as at:
        at.a.plays.append(silence)
        client = await at.asked(headers={"x-tollhouse-timeout": "10"})
        assert (client.status, client.headers["x-tollhouse-provider"]) == (200, "b")


async def test_a_second_that_could_not_be_asked_in_time_costs_nothing(tmp_path):
    """The first takes all the time there is; it has worked, and what it did is estimated."""
    async with desk(tmp_path, QUICK, budget=RICH) as at:
        at.a.plays.append(silence)
        client = await at.asked(headers={"x-tollhouse-timeout": "0.2"})
        assert (client.status, client.code) == (504, "deadline_exceeded")
        assert at.b.heard == []
    (row,) = await at.rows()
    assert row.estimated
    assert row.cost


async def test_a_vendor_that_cannot_be_reached_is_not_paid(tmp_path):
    async with desk(tmp_path, ONCE, budget=RICH) as at:
        at.a.shut()
        assert (await at.asked()).headers["x-tollhouse-provider"] == "b"
    first, second = await at.rows()
    assert (first.code, first.cost, first.unproven, first.estimated) == ("upstream_connection_error", 0, 0, False)
    assert second.cost == EACH


# ---- what nobody said -----------------------------------------------------------------------------------------------


async def test_who_was_silent_for_long_may_have_thought_for_long(tmp_path):
    """And may bill it: 250 tokens a second, at USD 2 a million."""
    clock = Hand(100.0)
    async with desk(tmp_path, ONCE, budget=RICH, clock=clock) as at:
        for seconds in (0, 3):
            at.a.plays.append(silence)
            at.a.there.clear()
            client = at.ask("one")
            await at.a.there.wait()
            clock.now += seconds
            client.leave()
            await client.end()
    short, long = sorted(row.unproven for row in await at.rows())
    assert long - short == 3 * 250 * 2_000


async def test_who_spoke_fast_had_more_on_its_way_when_its_client_left(tmp_path):
    """A quarter of a second at its own speed, at USD 2 a million."""

    async def speaks_and_stops(call: Call) -> None:
        await call.head(content_type="text/event-stream")
        await call.say(ROLE, *words(*["one"] * 100))
        await NEVER().wait()

    async def left(at: Desk, seconds: float) -> None:
        at.a.plays.append(speaks_and_stops)
        client = at.ask("one", stream=True)
        await until(lambda: client.text.count("one") >= 100)
        clock.now += seconds
        client.leave()
        await client.end()

    clock = Hand(100.0)
    async with desk(tmp_path, ONCE, budget=RICH, clock=clock) as at:
        await left(at, 0.5)
        await left(at, 5)
    slow, fast = sorted(await at.rows(), key=lambda row: row.unproven)
    said = slow.usage.out_text
    assert said == fast.usage.out_text >= 100
    assert fast.unproven - slow.unproven == (math.ceil(said / 2) - math.ceil(said / 20)) * 2_000


async def test_an_answer_without_usage_is_counted_by_what_is_in_it_even_if_that_is_no_text(tmp_path):
    async def sounds(call: Call) -> None:
        message = {"role": "assistant", "content": None, "audio": {"id": "x", "data": "abcdefgh" * 100}}
        await call.head(content_type="application/json")
        await call.say(json.dumps({"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}))

    async with desk(tmp_path, ONCE, budget=RICH) as at:
        at.a.plays.append(sounds)
        client = await at.asked("one")
        assert client.status == 200
        assert "x-tollhouse-cost-usd" not in client.headers
        assert at.records[-1].estimated
    (row,) = await at.rows()
    assert (row.estimated, row.status) == (True, 200)
    assert row.usage.out_text > 100


# ---- one after the other --------------------------------------------------------------------------------------------


async def test_what_the_first_held_is_there_for_the_second(tmp_path):
    """A budget that pays for one hold at a time, each of USD 0.000264 or so: 256 tokens of answer at least."""
    config = "spending: {unbounded_share: 1}\n" + QUICK
    async with desk(tmp_path, config, budget="0.0011") as at:
        at.a.plays.append(refuses(500))
        client = await at.asked("all", max_tokens=400)
        assert (client.status, client.headers["x-tollhouse-provider"]) == (200, "b")
    rows = await at.rows()
    assert shown(rows) == [("1", "a", 502, "transient", False), ("2", "b", 200, None, True)]
    assert [row.cost for row in rows] == [0, EACH]
    assert all(row.held > 550_000 for row in rows), "both would not have fit at once"


async def test_the_second_waits_until_what_the_first_held_has_come_back(tmp_path):
    async with desk(tmp_path, "spending: {unbounded_share: 1}\n" + ONCE, budget="0.0011") as at:
        books = at.gate.trips.forward.tolls.till.books
        books.store = store = Moody(tmp_path / "tollhouse.db", time.time)
        await store.open()
        door = store.shut["settle"] = asyncio.Event()
        at.a.plays.append(refuses(500))
        client = at.ask("all", max_tokens=400)
        await until(lambda: books._watched or client.heard)
        door.set()
        await client.end()
        assert (client.status, client.headers["x-tollhouse-provider"]) == (200, "b")


@pytest.mark.parametrize("rounds", [1, 2, 3])
async def test_each_attempt_has_a_row_of_its_own_over_all_rounds(tmp_path, rounds):
    async with desk(tmp_path, f"retries: {{rounds: {rounds}, base: 0.001, longest: 1, share: 1}}\n", budget=RICH) as at:
        for vendor in (at.a, at.b):
            vendor.usual = refuses(500)
        for _ in range(4):  # what three rounds of two spend is earned first
            at.gate.trips.budget.earn()
        client = await at.asked()
        assert (client.status, client.headers["x-tollhouse-attempts"]) == (502, str(2 * rounds))
        assert len(at.outcomes()) == 2 * rounds
    rows = await at.rows()
    said = [(str(n + 1), "ab"[n % 2], 502, "transient", n + 1 == 2 * rounds) for n in range(2 * rounds)]
    assert shown(rows) == said
    assert {row.cost for row in rows} == {0}
    assert all(row.price for row in rows)  # by which they would have been billed


@pytest.mark.parametrize("play", [breaks_off, half], ids=["breaks off", "falls silent"])
async def test_a_stream_that_fails_after_it_has_begun_is_asked_of_nobody_else(tmp_path, play):
    async with desk(tmp_path, QUICK + "timeouts: {idle: 0.3, total: 60}\n", budget=RICH) as at:
        at.a.plays.append(play)
        client = await at.asked(stream=True)
        assert (client.status, client.whole) == (200, True)
        assert "[DONE]" not in client.text
        assert at.b.heard == []
    (row,) = rows = await at.rows()
    assert row.last
    assert row.status in (502, 504)
    assert row.estimated
    assert shown(rows)


async def test_a_limit_that_is_told_in_the_middle_of_a_stream_is_not_waited_for(tmp_path):
    """Its words begin as those of a refusal that could be waited for; but the client has heard half an answer."""

    async def limited(call: Call) -> None:
        await call.head(content_type="text/event-stream")
        error = {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded", "param": None}
        await call.say(ROLE, *words("one"), {"error": error})

    async with desk(tmp_path, budget=RICH) as at:
        at.a.plays.append(limited)
        client = await at.asked("one", stream=True)
        assert (client.status, client.whole, len(at.a.heard)) == (200, True, 1)
        assert "[DONE]" not in client.text
        assert at.outcomes() == [("a", "rate_limited")]
    assert shown(await at.rows()) == [("1", "a", 429, "rate_limit_exceeded", True)]


async def test_answers_of_two_hundred_that_are_none_are_estimated(tmp_path):
    async def garbage(call: Call) -> None:
        await call.head(content_type="application/json")
        await call.say("{]")

    async with desk(tmp_path, ONCE, budget=RICH) as at:
        at.a.plays.append(garbage)
        assert (await at.asked()).headers["x-tollhouse-provider"] == "b"
    first, second = await at.rows()
    assert (first.estimated, first.last, second.cost) == (True, False, EACH)
    assert first.cost
    assert first.unproven


# ---- two at once ----------------------------------------------------------------------------------------------------


class Raced:
    """A race under way: `a` and `b` were asked, and each plays on when it is told to."""

    def __init__(self, at: Desk, client: Client, first: asyncio.Event, second: asyncio.Event) -> None:
        self.at, self.client, self.first, self.second = at, client, first, second


async def race(at: Desk, first: Play, second: Play, model: str = "pair", **more: Any) -> Raced:
    """`a` and `b` have been asked when this returns."""
    await at.know("a")
    raced = Raced(at, at.ask(model, **more), asyncio.Event(), asyncio.Event())
    at.a.plays.append(after(raced.first, first))
    at.b.plays.append(after(raced.second, second))
    await at.b.there.wait()
    return raced


HEDGED = ONCE + HEDGING
WINS: Any = [
    pytest.param(well, refuses(500), ("b", 502, "transient"), id="the second fails"),
    pytest.param(well, refuses(429, retry_after="9"), ("b", 429, "rate_limit_exceeded"), id="the second is limited"),
    pytest.param(well, refuses(400), ("b", 400, None), id="the second finds fault with it"),
    pytest.param(refuses(500), well, ("a", 502, "transient"), id="the first fails"),
    pytest.param(refuses(401), well, ("a", 503, "upstream_auth_error"), id="the first has a key that does not fit"),
]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(("first", "second", "lost"), WINS)
async def test_who_fails_in_a_race_is_no_matter_of_the_client_that_another_serves(
    tmp_path, first, second, lost, stream
):
    async with desk(tmp_path, HEDGED, budget=RICH) as at:
        raced = await race(at, first, second, stream=stream)
        loser, winner = (raced.first, raced.second) if lost[0] == "a" else (raced.second, raced.first)
        loser.set()
        await until(lambda: at.in_flight == 1)
        winner.set()
        client = await raced.client.end()
        assert (client.status, client.whole) == (200, True)
        record = at.records[-1]
        assert (record.status, record.code, record.cost_nano) == (200, None, EACH)
        assert client.headers["x-tollhouse-attempts"] == "2"
        assert record.decision is not None
        assert record.decision.hedged
    rows = await at.rows()
    assert {(row.provider, row.status, row.last, row.cost) for row in rows} == {
        (lost[0], lost[1], False, 0),
        ("b" if lost[0] == "a" else "a", 200, True, EACH),
    }
    assert next(row.code for row in rows if not row.last) == (lost[2] or "caller")


async def test_a_second_for_which_there_is_no_money_is_no_matter_of_the_client_either(tmp_path):
    async with desk(tmp_path, HEDGED + "budgets: [{provider: b, daily: '0.0000001'}]\n") as at:
        await at.know("a")
        go = asyncio.Event()
        at.a.plays.append(after(go, well))
        client = at.ask()
        await until(lambda: at.records or at.gate.trips.hedges._extra)
        await until(lambda: at.in_flight == 1)
        go.set()
        await client.end()
        assert (client.status, at.records[-1].status, at.records[-1].code) == (200, 200, None)
        assert sorted(at.outcomes()) == [("a", "ok"), ("b", "budget")]
        assert at.b.heard == []
    assert shown(await at.rows()) == [("1", "a", 200, None, True)]


async def test_if_both_fail_each_row_says_how(tmp_path):
    async with desk(tmp_path, HEDGED, budget=RICH) as at:
        raced = await race(at, refuses(503), refuses(500))
        raced.first.set()
        await until(lambda: at.in_flight == 1)
        raced.second.set()
        client = await raced.client.end()
        assert client.headers["x-tollhouse-attempts"] == "2"
    assert shown(await at.rows()) == [
        ("1", "a", 503, "server_is_overloaded", False),
        ("2", "b", client.status, at.records[-1].code, True),
    ]


async def test_who_failed_in_a_race_gives_back_before_the_third_is_asked(tmp_path):
    config = HEDGED + "spending: {unbounded_share: 1}\n"
    async with desk(tmp_path, config, budget="0.002") as at:
        raced = await race(at, refuses(500), refuses(500), "all", max_tokens=400)
        raced.first.set()
        raced.second.set()
        client = await raced.client.end()
        assert (client.status, client.headers["x-tollhouse-attempts"]) == (200, "3")
    rows = await at.rows()
    assert [(row.provider, row.last, row.cost) for row in rows] == [("a", False, 0), ("b", False, 0), ("c", True, EACH)]
    assert sum(row.held for row in rows) > 2_000_000


LOSERS: Any = [
    pytest.param(silence, id="before its head"),
    pytest.param(headers, id="after its head"),
    pytest.param(opening, id="while its opening words are kept back"),
]


@pytest.mark.parametrize("loser", LOSERS)
@pytest.mark.parametrize("winner", ["a", "b"])
async def test_who_loses_a_race_is_cancelled_and_paid_for_and_heard_by_nobody(tmp_path, loser, winner):
    async with desk(tmp_path, HEDGED, budget=RICH) as at:
        raced = await race(at, *((well, loser) if winner == "a" else (loser, well)), stream=True)
        mine, other = (raced.first, raced.second) if winner == "a" else (raced.second, raced.first)
        other.set()
        vendor = at.vendors["b" if winner == "a" else "a"]
        mine.set()
        client = await raced.client.end()
        await until(lambda: vendor.left == 1)
        assert client.text.count('"role"') == 1
        assert client.headers["x-tollhouse-provider"] == winner
        assert client.headers["x-tollhouse-attempts"] == "2"
        assert sorted(at.outcomes()) == sorted([(winner, "ok"), (vendor.name, "hedge_lost")])
        record = at.records[-1]
        assert (record.provider, record.served, record.cost_nano) == (winner, f"{winner}m", EACH)
        assert not record.estimated
        assert at.in_flight == 0
        await until(lambda: _nothing_held(at))
    rows = {row.provider: row for row in await at.rows()}
    lost = rows[vendor.name]
    assert (lost.status, lost.code, lost.last, lost.estimated) == (499, "hedge_lost", False, True)
    assert lost.cost
    assert lost.unproven
    assert (rows[winner].cost, rows[winner].last) == (EACH, True)
    assert (lost.first, rows[winner].first) == (None, record.first_part)


async def test_what_the_loser_held_comes_back_before_the_winner_has_ended(tmp_path):
    async with desk(tmp_path, HEDGED, budget=RICH) as at:
        raced = await race(at, silence, half, stream=True, max_tokens=300)
        before = await _held(at)
        raced.second.set()
        await raced.client.hears('"one"')
        await until(lambda: _less(at, before))
        assert not raced.client.whole
        raced.client.leave()
        await raced.client.end()


async def _less(at: Desk, before: int) -> bool:
    return 0 < await _held(at) < before


async def test_a_client_that_leaves_a_race_leaves_both_and_no_money(tmp_path):
    async with desk(tmp_path, HEDGED, budget=RICH) as at:
        raced = await race(at, silence, silence)
        await until(lambda: at.in_flight == 2)
        raced.client.leave()
        await raced.client.end()
        await until(lambda: (at.a.left, at.b.left) == (1, 1))
        assert at.in_flight == 0
        await until(lambda: _nothing_held(at))
    assert shown(await at.rows()) == [("1", "a", 499, "client_left", False), ("2", "b", 499, "client_left", True)]


async def test_a_client_that_leaves_its_winner_pays_for_both(tmp_path):
    async with desk(tmp_path, HEDGED, budget=RICH) as at:
        raced = await race(at, silence, half, stream=True)
        raced.second.set()
        await raced.client.hears('"one"')
        raced.client.leave()
        await raced.client.end()
        assert at.records[-1].code == "client_left"
    rows = await at.rows()
    assert shown(rows) == [("1", "a", 499, "hedge_lost", False), ("2", "b", 499, "client_left", True)]
    assert all(row.cost and row.estimated for row in rows)


async def test_a_client_that_does_not_read_what_its_winner_says_is_taken_to_have_left(tmp_path):
    async with desk(tmp_path, HEDGED, budget=RICH) as at:
        raced = await race(at, silence, well, stream=True, headers={"x-tollhouse-timeout": "0.5"})
        raced.client.stuck = "http.response.body"
        raced.second.set()
        await raced.client.end()
        assert (at.records[-1].status, at.records[-1].code) == (499, "client_left")
    assert shown(await at.rows())[1][1:] == ("b", 499, "client_left", True)


async def test_a_winner_that_breaks_off_is_an_error_and_nobody_else_is_asked(tmp_path):
    async with desk(tmp_path, QUICK + HEDGING, budget=RICH) as at:
        raced = await race(at, silence, breaks_off, "all", stream=True)
        raced.second.set()
        client = await raced.client.end()
        assert "[DONE]" not in client.text
        assert at.c.heard == []
        assert sorted(at.outcomes()) == [("a", "hedge_lost"), ("b", "transient")]
        assert at.records[-1].status == 502
    rows = await at.rows()
    assert shown(rows)[1][1:] == ("b", 502, "upstream_stream_truncated", True)


async def endless(call: Call) -> None:
    """A vendor that does not keep to its cap."""
    await call.head(content_type="text/event-stream")
    await call.say(ROLE)
    while True:
        await call.say(*words("river stone lamp window " * 20))


async def test_an_answer_that_was_cut_for_want_of_money_is_not_begun_anew_elsewhere(tmp_path):
    """Where nobody has heard anything yet, who is limited would be waited for."""
    async with desk(tmp_path, QUICK, budget=RICH) as at:
        await at.hear("b", Kind.RATE_LIMITED, 0.2)
        at.a.plays.append(endless)
        client = await at.asked(stream=True, max_tokens=300)
        assert (client.status, client.whole, at.b.heard) == (200, True, [])
        assert '"budget_exceeded"' in client.text
        assert at.records[-1].code == "budget_exceeded"
    (row,) = await at.rows()
    assert (row.last, row.code) == (True, "budget_exceeded")


async def test_a_vendor_that_does_not_stop_is_cut_in_a_race_too(tmp_path):
    async with desk(tmp_path, HEDGED, budget=RICH) as at:
        raced = await race(at, silence, endless, stream=True, max_tokens=300)
        raced.second.set()
        client = await raced.client.end()
        assert '"budget_exceeded"' in client.text
        assert (at.records[-1].status, at.records[-1].code) == (429, "budget_exceeded")
        await until(lambda: (at.a.left, at.b.left) == (1, 1))
    rows = await at.rows()
    assert shown(rows)[1][1:] == ("b", 429, "budget_exceeded", True)
    assert (rows[1].cost or 0) > 300 * 2_000


def exchange(at: Desk, content: Any = "Hi") -> Exchange:
    """One that no request has begun."""
    client = Client({}, {})
    record = Record("req_1", 0.0, attempts=[])
    entry = Entry(id="", request="req_1", provider="", model="")
    raw = json.dumps({"model": "one", "messages": [{"role": "user", "content": content}]}).encode()
    return Exchange(seal(raw), Stamp("c", 1), client.down, record, entry, 1e9, 1e9)


async def test_two_who_speak_are_one_too_many(tmp_path):
    """Somebody on the way may swallow a cancellation: asyncio.wait_for of Python 3.11 does, now and then."""
    async with desk(tmp_path) as at:
        both = exchange(at)
        tolls = at.gate.trips.forward.tolls
        target = at.gate.chooser.route("pair").candidates[0]
        call = adapters.ADAPTERS["openai", "chat"].request(both.envelope, target, NOTHING)
        first, second = [both.take(await tolls.hold(call, target, both), target) for _ in range(2)]
        both.speak(first, 0.0)
        both.speak(first, 0.0)
        first.end = End(sent=True, whole=True, usage=Usage(in_text=10, out_text=1))
        second.end = End(sent=True, whole=True, usage=Usage(in_text=900, out_text=9))
        with pytest.raises(asyncio.CancelledError):
            both.speak(second, 0.0)
        assert both.spoken is first
        tolls.close(both)
        assert both.record.cost_nano == 12_000, "that of the one that was heard"
    assert [(row.id, row.last, row.code) for row in await at.rows()] == [
        ("req_1/1", True, None),
        ("req_1/2", False, "hedge_lost"),
    ]


async def taken(at: Desk, one: Exchange, times: int) -> list[Toll]:
    """So many attempts at it for which money is held."""
    tolls = at.gate.trips.forward.tolls
    target = at.gate.chooser.route("pair").candidates[0]
    call = adapters.ADAPTERS["openai", "chat"].request(one.envelope, target, NOTHING)
    return [one.take(await tolls.hold(call, target, one), target) for _ in range(times)]


async def test_of_those_who_are_asked_one_after_the_other_each_is_waited_for(tmp_path):
    async with desk(tmp_path) as at:
        one = exchange(at)
        first, second = await taken(at, one, 2)
        one.ask(first, 1.0, 0.25)
        one.answered(first, 2.0)
        one.answered(first, 2.5)  # it has answered already
        one.held(0.125)  # the first one's money is given back
        one.ask(second, 3.0, 0.5)
        one.answered(second, 5.0)
        one.speak(second, 6.0)
        assert (one.timings().hold, one.timings().vendors) == (875.0, 3_000.0)
        at.gate.trips.forward.tolls.close(one)


async def test_of_two_at_once_the_time_counts_once_and_only_until_one_of_them_speaks(tmp_path):
    async with desk(tmp_path) as at:
        both = exchange(at)
        first, second, late = await taken(at, both, 3)
        both.ask(first, 1.0, 0.25)
        both.ask(second, 2.0, 0.5)  # nobody waits for its money: the first is asked in the meantime
        both.answered(second, 3.0)
        assert both.timings().vendors == 0.0, "the first is waited for still"
        both.speak(second, 4.0)
        both.answered(first, 9.0)
        both.held(0.5)
        both.ask(late, 10.0, 0.5)
        both.answered(late, 11.0)
        assert (both.timings().hold, both.timings().vendors) == (250.0, 3_000.0)
        at.gate.trips.forward.tolls.close(both)


async def test_times_are_told_to_the_microsecond(tmp_path):
    async with desk(tmp_path) as at:
        one = exchange(at)
        (only,) = await taken(at, one, 1)
        one.ask(only, 1.0, 0.000_123_456_7)
        one.answered(only, 1.000_987_654_3)
        assert (one.timings().hold, one.timings().vendors) == (0.123, 0.988)
        at.gate.trips.forward.tolls.close(one)


async def test_what_is_ours_of_the_time_is_what_nobody_else_took(tmp_path):
    async with desk(tmp_path) as at:
        one = exchange(at)
        one.record.started = at.gate.trips.clock() - 60
        one.queue, one.hold, one.vendors, one.aside = 5.0, 3.0, 2.0, 7.0  # seconds, before it came to its vendor
        await at.gate.trips.go(Trip(route=at.gate.chooser.route("one"), exchange=one, task=None, urgency=NORMAL))
        record, timings = one.record, one.record.timings
        at.gate.trips.close(one)
    assert record.first_part is not None
    whole = timings.queue + timings.hold + timings.vendors + 7_000
    assert timings.overhead == pytest.approx(record.first_part - whole, abs=0.01)  # each is rounded to the microsecond


async def test_of_a_request_that_nobody_answered_it_is_told_where_the_time_went(tmp_path):
    async with desk(tmp_path) as at:
        one = exchange(at)
        (only,) = await taken(at, one, 1)
        one.paused(0.5)
        one.ask(only, 1.0, 0.25)
        one.answered(only, 2.0)
        at.gate.trips.forward.tolls.close(one)
        assert one.record.timings == Timings(queue=500.0, hold=250.0, vendors=1_000.0)


async def test_images_are_fetched_once_for_two_at_once(tmp_path):
    hits = []
    both_wait = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hits.append(await reader.readuntil(b"\r\n\r\n"))
        await both_wait.wait()
        png = b"\x89PNG\r\n\x1a\n"
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 8\r\n\r\n" + png)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x.png"
    async with desk(tmp_path, "limits: {images_from_private_networks: true}\n") as at:
        one = exchange(at, [{"type": "image_url", "image_url": {"url": url}}])
        forward = at.gate.trips.forward
        plain = at.gate.chooser.route("pair").candidates[0]
        asking = []
        for vendor in ("anthropic", "gemini"):
            target = _of(plain, vendor)
            needs = adapters.ADAPTERS[vendor, "chat"].needs(one.envelope, target)
            asking.append(asyncio.create_task(forward._supplies(needs, target, one)))
        await until(lambda: hits)
        await asyncio.sleep(0)
        both_wait.set()
        supplies = await asyncio.gather(*asking)
        assert [[*supply.images] for supply in supplies] == [[url], [url]]
        assert len(hits) == 1
    server.close()


def _of(target: Target, vendor: Any) -> Target:
    return msgspec.structs.replace(target, provider=vendor, vendor=vendor)
