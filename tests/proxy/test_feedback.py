"""What callers say of answers: read strictly, and joined to the row that ended the request."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Failure, Kind
from proxy.feedback import LONGEST_COMMENT, LONGEST_REQUEST, Feedback, Opinion, bare, ended, join, parse
from proxy.ledger import Entry, decode, encode

NOW = 1_795_435_200_000
SAID = {"request_id": "req_1", "score": 0.5}


def body(**more: Any) -> bytes:
    return json.dumps({**SAID, **more}).encode()


def refusal(raw: bytes) -> Failure:
    with pytest.raises(Failure) as caught:
        parse(raw, "key-1", NOW)
    failure = caught.value
    assert (failure.kind, failure.status, failure.type) == (Kind.CALLER, 400, "invalid_request_error")
    return failure


def test_what_is_said_is_heard_with_who_says_it_and_when() -> None:
    said = parse(body(comment="too long\n… 🌍"), "key-1", NOW)
    assert said == Feedback(request="req_1", key="key-1", score=0.5, comment="too long\n… 🌍", at=NOW)
    assert parse(body(), "", 0) == Feedback(request="req_1", key="", score=0.5)


@pytest.mark.parametrize("score", [-1, -1.0, -0.25, 0, 1e-9, 0.1, 1.0, 1])
def test_a_score_is_any_number_from_minus_one_to_one(score: float) -> None:
    heard = parse(body(score=score), "k", NOW).score
    assert isinstance(heard, float)
    assert heard == score


def test_what_is_as_long_as_it_may_be_is_heard_whatever_its_bytes() -> None:
    request, comment = "🌍" * LONGEST_REQUEST, "🌍" * LONGEST_COMMENT
    said = parse(body(request_id=request, comment=comment), "k", NOW)
    assert (said.request, said.comment) == (request, comment)


REFUSALS: list[tuple[str, bytes, str | None, str]] = [
    ("no request", b'{"score": 1}', "request_id", "Missing required parameter: 'request_id'."),
    ("no score", b'{"request_id": "r"}', "score", "Missing required parameter: 'score'."),
    ("an empty request", body(request_id=""), "request_id", "length >= 1"),
    ("a request that is over-long", body(request_id="r" * (LONGEST_REQUEST + 1)), "request_id", "length <= 200"),
    ("a request that is a number", body(request_id=7), "request_id", "expected `str`, got `int`"),
    ("a score too high", body(score=1.000001), "score", "<= 1"),
    ("a score too low", body(score=-2), "score", ">= -1"),
    ("a score in words", body(score="1"), "score", "expected `float`, got `str`"),
    ("a score that is a truth", body(score=True), "score", "expected `float`, got `bool`"),
    ("a score that is nothing", body(score=None), "score", "expected `float`, got `null`"),
    ("a score beyond all numbers", b'{"request_id": "r", "score": 1e999}', "score", "out of range"),
    ("a score below all numbers", b'{"request_id": "r", "score": -1e999}', "score", "out of range"),
    ("an endless score", body(score=float("inf")), None, "not valid JSON"),
    ("a score that is no number", body(score=float("nan")), None, "not valid JSON"),
    ("a comment too long", body(comment="x" * (LONGEST_COMMENT + 1)), "comment", "length <= 2000"),
    ("a comment that is nothing", body(comment=None), "comment", "expected `str`, got `null`"),
    ("a comment that no UTF-8 can say", body(comment="\ud800"), None, "not valid JSON"),
    ("a comment that is no UTF-8", b'{"request_id": "r", "score": 1, "comment": "\xff"}', None, "not valid JSON"),
    ("a member that nobody knows", body(stars=5), "stars", "Unknown parameter: 'stars'."),
    ("a member with a long name", body(**{"x" * 99: 5}), "x" * 40, f"Unknown parameter: '{'x' * 40}'."),
    ("a member of two lines", body(**{"a\nb`": 5}), "a\nb`", "Unknown parameter: 'a\nb`'."),
    ("a member that goes deep", b'{"request_id": "r", "score": 1, "x":' + b"[" * 10_000, "x", "Unknown parameter"),
    ("a list", b"[]", None, "expected `object`, got `array`"),
    ("nothing", b"", None, "not valid JSON"),
    ("no end", b'{"request_id": "r", "score": 1', None, "not valid JSON"),
    ("more than one", body() + b"{}", None, "not valid JSON"),
]


@pytest.mark.parametrize(("raw", "param", "said"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_what_is_not_said_so_is_refused_and_its_place_is_named(raw: bytes, param: str | None, said: str) -> None:
    failure = refusal(raw)
    assert failure.param == param
    assert said in failure.message


def test_a_client_can_tell_a_member_that_nobody_knows_by_its_code() -> None:
    assert (refusal(body(stars=5)).code, refusal(body(score=2)).code) == ("unknown_parameter", None)


@settings(deadline=None)
@given(
    st.binary(max_size=60) | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(json.dumps).map(str.encode)
)
def test_whatever_is_sent_is_heard_or_refused_as_the_callers_fault(raw: bytes) -> None:
    try:
        parse(raw, "k", NOW)
    except Failure:
        refusal(raw)


def row(number: int, *, last: bool = True, request: str = "req_1", **more: Any) -> Entry:
    return Entry(id=f"{request}/{number}", request=request, provider="openai", model="gpt", last=last, **more)


def test_what_was_said_stands_on_the_row_that_ended_the_request_alone() -> None:
    rows = [row(1, last=False), row(2), row(1, request="req_2"), row(1, request="req_3")]
    said = {"req_1": Opinion(-1.0, "no"), "req_3": Opinion(0.0), "req_9": Opinion(1.0)}
    joined = join(rows, said)
    assert [(entry.score, entry.comment) for entry in joined] == [(None, ""), (-1.0, "no"), (None, ""), (0.0, "")]
    assert [bare(entry) for entry in joined] == rows
    assert ended(rows) == ["req_1", "req_2", "req_3"]


@pytest.mark.parametrize("more", [{"score": 0.0}, {"comment": "x"}, {"score": 1.0, "comment": "x"}], ids=str)
def test_a_row_is_written_without_what_was_said_of_it(more: dict[str, Any]) -> None:
    written = bare(row(1, cost=5, **more))
    assert written == row(1, cost=5)
    assert b"score" not in encode(written)
    assert b"comment" not in encode(written)


def test_a_row_of_which_nothing_was_said_is_written_as_it_is() -> None:
    entry = row(1)
    assert bare(entry) is entry
    assert decode(encode(entry)) == entry


def test_what_a_store_keeps_is_short() -> None:
    assert msgspec.json.encode(Opinion(0.5, "ü")).decode() == '[0.5,"ü"]'
