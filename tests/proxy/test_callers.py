"""What a client's key says of a request: whose it is, what may be asked for, and how much of the door it may take.

And what a request says of itself: its trace, which is taken on to the vendor, and where its time went.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy import ledger
from proxy.auth import Caller
from proxy.gate import MODELS
from proxy.quota import Quota
from tests.proxy.desk import Desk, after, desk, refuses, well

ALICE = Caller(key="ci", user="alice", agent="bot", team="red", models=("pair", "a/*"))
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as found:
        yield found


async def test_whose_key_it_is_spends_whatever_the_request_says(tmp_path: Path) -> None:
    async with desk(tmp_path) as house:
        house.caller = ALICE
        answer = await house.asked(headers={"x-tollhouse-user": "bob", "x-tollhouse-agent": "x"}, user="carol")
        assert answer.status == 200
        record = house.records[0]
        assert (record.key, record.user, record.agent, record.team) == ("ci", "alice", "bot", "red")
    (row,) = await house.rows()
    assert (row.key, row.user, row.agent, row.team) == ("ci", "alice", "bot", "red")


async def test_a_key_that_names_nobody_lets_the_request_say_who_spends(house: Desk) -> None:
    house.caller = Caller(key="ci")
    await house.asked(headers={"x-tollhouse-user": "bob"})
    assert (house.records[0].user, house.records[0].team) == ("bob", None)


IN_BODY: dict[str, object] = {"user": "carol", "metadata": {"user": "dave", "agent": "crawler", "task": "speed"}}
SAID: list[tuple[str, Caller, dict[str, str], dict[str, object], tuple[str | None, str | None, str | None]]] = [
    ("nothing", Caller(), {}, {}, (None, None, None)),
    ("by the body", Caller(), {}, IN_BODY, ("carol", "crawler", "speed")),
    ("by its metadata", Caller(), {}, {"metadata": IN_BODY["metadata"]}, ("dave", "crawler", "speed")),
    ("oddly", Caller(), {}, {"metadata": {"user": 7, "agent": ["x"], "task": {}}}, (None, None, None)),
    (
        "by headers, which go before the body",
        Caller(),
        {"x-tollhouse-user": "bob", "x-tollhouse-agent": "bot", "x-tollhouse-task": "Creative"},
        IN_BODY,
        ("bob", "bot", "creative"),
    ),
    ("a task that nobody knows", Caller(), {"x-tollhouse-task": "dancing"}, IN_BODY, ("carol", "crawler", None)),
    ("a name of nothing", Caller(), {"x-tollhouse-user": "\u2028"}, IN_BODY, (None, "crawler", "speed")),
    ("by the key", ALICE, {"x-tollhouse-user": "bob"}, IN_BODY, ("alice", "bot", "speed")),
]


@pytest.mark.parametrize(("caller", "headers", "body", "told"), [one[1:] for one in SAID], ids=[one[0] for one in SAID])
async def test_who_spends_and_what_for_is_said_by_key_or_header_or_body(
    house: Desk, caller, headers, body, told
) -> None:
    house.caller = caller
    for _ in range(2):  # what was said before, and is remembered, means the same
        assert (await house.asked(headers=headers, **body)).status == 200
        record = house.records[-1]
        assert record.decision is not None
        assert (record.user, record.agent, record.decision.task) == told


@pytest.mark.parametrize("length", [3, 150, 300])
async def test_a_model_that_nobody_has_is_recorded_by_a_name_of_bounded_length(house: Desk, length: int) -> None:
    name = "m" * length
    for _ in range(2):
        assert (await house.asked(name)).status == 404
        assert house.records[-1].model == name[:200]


def test_however_many_models_are_asked_for_not_all_are_remembered() -> None:
    for at in range(3_000):
        assert MODELS[f"model-{at}"] == (f"model-{at}",) * 2
    assert len(MODELS) <= 1_024
    assert MODELS["m" * 201] == ("m" * 200, ledger.name("m" * 201))
    assert "m" * 201 not in MODELS


@pytest.mark.parametrize(("model", "status"), [("pair", 200), ("a/am", 200), ("all", 403), ("am", 403), ("b/bm", 403)])
async def test_what_a_key_may_not_ask_for_is_refused_before_anybody_is_asked(
    house: Desk, model: str, status: int
) -> None:
    house.caller = ALICE
    answer = await house.asked(model)
    assert answer.status == status
    if status == 403:
        error = json.loads(answer.text)["error"]
        assert (error["code"], error["param"], error["type"]) == ("model_not_allowed", "model", "invalid_request_error")
        assert not house.a.heard


async def test_a_key_has_so_many_requests_at_once_and_no_more(house: Desk) -> None:
    house.caller = Caller(key="ci", quota=Quota(concurrent=1))
    go = asyncio.Event()
    house.a.plays.append(after(go, well))
    first = house.ask()
    await house.a.there.wait()
    second = await house.asked()
    assert (second.status, second.code) == (429, "rate_limit_exceeded")
    assert int(second.headers["retry-after"]) >= 1
    go.set()
    assert (await first.end()).status == 200
    async with asyncio.timeout(20):
        while (await house.asked()).status != 200:  # its place is given back in the background
            pass


async def test_a_key_has_so_many_requests_a_minute_and_is_told_what_is_left(house: Desk) -> None:
    house.caller = Caller(key="ci", quota=Quota(requests=2))
    answers = [await house.asked() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers[:2]] == ["1", "0"]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "2"
    assert 0 < float(answers[2].headers["retry-after"]) <= 30
    assert len(house.a.heard) == 2
    house.caller = Caller(key="other", quota=Quota(requests=2))
    assert (await house.asked()).status == 200


async def test_tokens_are_those_that_were_used_not_those_that_were_guessed(house: Desk) -> None:
    house.caller = Caller(key="ci", quota=Quota(tokens=1_000))
    left = []
    for _ in range(3):
        left.append(int((await house.asked()).headers["x-ratelimit-remaining-tokens"]))
    # Each took 14 tokens in the end, whatever its prompt was taken for when it came; a little flows back meanwhile.
    assert 14 - 3 <= left[1] - left[2] <= 14


async def test_the_trace_of_a_request_is_passed_on_as_it_came(house: Desk) -> None:
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=b"}
    await house.asked(headers=headers)
    assert f"traceparent: 00-{TRACE}-{SPAN}-01" in house.a.heads[0]
    assert "tracestate: a=b" in house.a.heads[0]
    record = house.records[0]
    assert (record.trace, record.parent, record.span, record.sampled) == (TRACE, SPAN, None, True)


async def test_what_is_no_trace_is_not_passed_on(house: Desk) -> None:
    await house.asked(headers={"traceparent": "00-nonsense", "tracestate": "a=b"})
    assert "trace" not in house.a.heads[0]
    assert house.records[0].trace is None


async def test_the_time_until_the_first_part_is_told_apart(house: Desk) -> None:
    go = asyncio.Event()
    house.a.plays.append(refuses(503))
    house.b.plays.append(after(go, well))
    asked = house.ask(stream=True)
    await house.b.there.wait()
    go.set()
    await asked.end()
    record = house.records[0]
    timings = record.timings
    assert record.first_part is not None
    assert timings.overhead is not None
    assert timings.vendors > 0
    assert timings.queue == 0
    assert timings.connect is not None
    assert timings.first_byte is not None
    assert timings.first_byte <= timings.vendors
    whole = timings.queue + timings.hold + timings.vendors + timings.overhead
    assert whole < record.first_part + 0.01  # nothing is told twice; what is missing is what the letter took to come
    assert [attempt.started for attempt in record.attempts] == sorted(attempt.started for attempt in record.attempts)
