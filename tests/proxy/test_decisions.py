"""What is remembered of the last requests, and how it is told: how many, which ones, and what is cut."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Failure, Kind
from adapters.completion import encode
from proxy.cost import NANO
from proxy.decisions import LONGEST, MANY, Decisions, Kept, to_json
from proxy.routing import Out
from proxy.telemetry import Attempt, Decision, Record, Timings

NOON = 1_795_435_200_000  # 2026-11-23T12:00:00Z


def record(number: int = 1, **fields: Any) -> Record:
    return Record(**{"request_id": f"req_{number}", "started": 5.0, "status": 200, "attempts": [], **fields})


def remembering(*records: Record, keep: int = 1_000) -> Decisions:
    decisions = Decisions(keep, wall=lambda: NOON / 1_000)
    for one in records:
        decisions(one)
    return decisions


def kept(**fields: Any) -> Kept:
    found = remembering(record(**fields)).find("req_1")
    assert found is not None
    return found


def told(**fields: Any) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(encode(to_json(kept(**fields))))
    return said


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 12), st.integers(1, 20))
def test_the_last_ones_are_kept_and_no_more(numbers, keep, n):
    decisions = remembering(*(record(number, total=float(at)) for at, number in enumerate(numbers)), keep=keep)
    model: dict[str, int] = {}
    for at, number in enumerate(numbers):
        model[f"req_{number}"] = at  # a dict keeps the place of a key that is there already, and so do we
        if len(model) > keep:
            del model[next(iter(model))]
    assert len(decisions) == len(model) <= keep
    assert [(one.request_id, one.total) for one in decisions.latest(n)] == list(model.items())[::-1][:n]
    for number in range(31):
        found = decisions.find(f"req_{number}")
        assert (found and found.total) == model.get(f"req_{number}")


def test_what_it_tells_of_a_request_that_went_elsewhere():
    out = (
        Out(name="openai/gpt-4o", why="open", said="open after 5 failures", since=NOON - 1_000, until=NOON + 299_001),
        Out(name="groq/x", why="unfit", said="it takes no images"),
    )
    decision = Decision(
        strategy="cost",
        group="smart",
        task="creative",
        order=("anthropic/c", "gemini/g"),
        out=out,
        least_bad=True,
        waited=12.5,
        hedged=True,
    )
    assert told(
        model="smart",
        stream=True,
        user="alice",
        team="red",
        key="ci",
        provider="gemini",
        served="g",
        cost_nano=NANO // 8,
        estimated=True,
        attempts=[
            Attempt("anthropic", "c", "transient", 31.25, "broke", 0.5),
            Attempt("gemini", "g", "ok", 900.0, started=32.0),
        ],
        timings=Timings(queue=12.5, vendors=600.0, overhead=0.25),
        decision=decision,
        first_part=700.0,
        total=1_500.0,
    ) == {
        "request_id": "req_1",
        "at": "2026-11-23T11:59:58.500Z",
        "at_ms": NOON - 1_500,
        "model": "smart",
        "stream": True,
        "user": "alice",
        "agent": None,
        "team": "red",
        "key": "ci",
        "strategy": "cost",
        "group": "smart",
        "task": "creative",
        "order": ["anthropic/c", "gemini/g"],
        "least_bad": True,
        "out": [
            {
                "name": "openai/gpt-4o",
                "why": "open",
                "said": "open after 5 failures",
                "since": "2026-11-23T11:59:59.000Z",
                "since_ms": NOON - 1_000,
                "until": "2026-11-23T12:04:59.001Z",
                "until_ms": NOON + 299_001,
            },
            {
                "name": "groq/x",
                "why": "unfit",
                "said": "it takes no images",
                "since": None,
                "since_ms": None,
                "until": None,
                "until_ms": None,
            },
        ],
        "attempts": [
            {
                "provider": "anthropic",
                "model": "c",
                "outcome": "transient",
                "milliseconds": 31.25,
                "message": "broke",
                "started": 0.5,
            },
            {
                "provider": "gemini",
                "model": "g",
                "outcome": "ok",
                "milliseconds": 900.0,
                "message": None,
                "started": 32.0,
            },
        ],
        "hedged": True,
        "waited_milliseconds": 12.5,
        "served_by": {"provider": "gemini", "model": "g"},
        "status": 200,
        "code": None,
        "cost_usd": "0.125",
        "estimated": True,
        "first_part_milliseconds": 700.0,
        "total_milliseconds": 1_500.0,
        "milliseconds": {
            "queue": 12.5,
            "hold": 0.0,
            "connect": None,
            "first_byte": None,
            "vendors": 600.0,
            "overhead": 0.25,
        },
    }


def test_of_a_request_that_was_refused_before_a_choice_there_is_no_decision():
    said = told(model=None, status=400, code="invalid_json")
    assert (said["model"], said["user"], said["strategy"], said["group"], said["task"]) == (None,) * 5
    assert (said["order"], said["out"], said["attempts"]) == ([], [], [])
    assert (said["hedged"], said["least_bad"], said["estimated"]) == (False, False, False)
    assert (said["waited_milliseconds"], said["served_by"], said["cost_usd"]) == (0.0, None, None)
    assert (said["status"], said["code"]) == (400, "invalid_json")


def test_nothing_is_free_because_its_price_is_not_known():
    assert (told(cost_nano=0)["cost_usd"], told(cost_nano=None)["cost_usd"]) == ("0", None)


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        pytest.param({"status": 401}, False, id="who has no key leaves nothing"),
        pytest.param(
            {"status": 401, "attempts": [Attempt("openai", "m", "key", 1.0)]}, True, id="a key of ours that is refused"
        ),
        pytest.param({"status": 400}, True, id="a bad body is told of"),
        pytest.param({"status": 499}, True, id="a client that left is told of"),
        pytest.param({"status": None}, True, id="a request that came to no status"),
    ],
)
def test_which_requests_are_remembered(fields, kept):
    assert len(remembering(record(**fields))) == int(kept)


def test_of_those_that_are_over_together_each_is_kept_and_the_last_ones_stay():
    decisions = Decisions(3, wall=lambda: NOON / 1_000)
    decisions.over([record(1), record(2, status=401), record(3, total=250.0)])
    decisions.over([])
    assert [(one.request_id, one.at) for one in decisions.latest(9)] == [("req_3", NOON - 250), ("req_1", NOON)]
    decisions.over([record(number) for number in range(4, 9)])
    assert [one.request_id for one in decisions.latest(9)] == ["req_8", "req_7", "req_6"]


def test_what_a_failure_made_of_a_record_is_told():
    broken = record(attempts=[Attempt("openai", "m", "timeout", 2_000.0, "said nothing")])
    broken.fail(Failure(Kind.TIMEOUT, "said nothing", status=504))
    decisions = remembering(broken)
    broken.attempts.append(Attempt("gemini", "g", "ok", 1.0))  # a late word: what is kept does not change
    found = decisions.find("req_1")
    assert found is not None
    assert (found.status, found.code, len(found.attempts)) == (504, "timeout", 1)


LONG = "é" * 100_000


def test_words_of_others_are_cut():
    decision = Decision(
        strategy="fallback",
        group=LONG,
        task=LONG,
        order=(LONG,) * 2,
        out=(Out(name=LONG, why="unfit", said=LONG, since=7, until=8),),
    )
    attempts = [Attempt("openai", LONG, "transient", 1.0, LONG), Attempt("openai", "m", "ok", 1.0)]
    found = kept(model=LONG, user=LONG, provider="openai", served=LONG, code=LONG, attempts=attempts, decision=decision)
    cut = "é" * (LONGEST - 1) + "…"
    assert (found.model, found.user, found.served, found.code) == (cut,) * 4
    assert found.attempts == (Attempt("openai", cut, "transient", 1.0, cut), attempts[1])
    assert found.decision == Decision(
        strategy="fallback",
        group=cut,
        task=cut,
        order=(cut, cut),
        out=(Out(name=cut, why="unfit", said=cut, since=7, until=8),),
    )


def test_what_is_just_short_enough_is_not_cut():
    assert kept(model="x" * LONGEST).model == "x" * LONGEST


def test_a_request_takes_a_bounded_place_whatever_it_came_with():
    many = range(10 * MANY)
    decision = Decision(
        strategy="cost",
        group=LONG,
        order=tuple(LONG for _ in many),
        out=tuple(Out(name=LONG, why="unfit", said=LONG) for _ in many),
    )
    attempts = [Attempt("openai", LONG, "transient", 1.0, LONG) for _ in many]
    found = kept(model=LONG, user=LONG, served=LONG, code=LONG, attempts=attempts, decision=decision)
    assert found.decision is not None
    assert (len(found.attempts), len(found.decision.order), len(found.decision.out)) == (MANY,) * 3
    assert len(msgspec.json.encode(found)) < 6 * MANY * LONGEST * len(
        "é".encode()
    )  # five words for each of them, at most


def test_no_field_of_a_record_reaches_what_is_kept_by_accident():
    """Whoever adds a field to a record says here whether it is told."""
    traced = {"trace", "span", "parent", "sampled"}
    left_out = {"started", "upstream_id", "finish", "usage", "warnings", "numbered", "prompt", "answer", *traced}
    assert set(Record.__struct_fields__) - set(Kept.__struct_fields__) == left_out
