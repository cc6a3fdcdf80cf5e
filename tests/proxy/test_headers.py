"""What an answer and a refusal say of themselves, in a table."""

from typing import Any

import pytest

from adapters.base import Call, Capabilities, Failure, Kind, Reading, Target, Warnings
from proxy import headers
from proxy.downstream import Headers
from proxy.telemetry import Attempt, Record

WHO = {"x-request-id": "req_1", "x-tollhouse-attempts": "1"}
SERVED = {**WHO, "x-tollhouse-provider": "openai", "x-tollhouse-model": "gpt-4o"}


def record(*outcomes: str, **more: Any) -> Record:
    tried = [Attempt("openai", "gpt-4o", outcome, 1.0) for outcome in outcomes]
    return Record("req_1", 0.0, attempts=tried, **more)


def target(model: str = "gpt-4o") -> Target:
    return Target(provider="openai", vendor="openai", model=model, capabilities=Capabilities(), context=1, max_output=1)


def call(*warned: tuple[str, str]) -> Call:
    warnings = Warnings()
    for verb, what in warned:
        warnings.add(verb, what)
    return Call(path="/", body=b"", reading=Reading(), warnings=warnings)


def read(said: Headers) -> dict[str, str]:
    assert len({name for name, _ in said}) == len(said)
    return {name.decode(): value.decode() for name, value in said}


ANSWERS: list[tuple[str, Record, Call, int | None, dict[str, str]]] = [
    ("all is well", record(), call(), None, {}),
    ("the vendor's own id", record(upstream_id="up"), call(), None, {"x-upstream-request-id": "up"}),
    ("others failed", record("transient", "timeout"), call(), None, {"x-tollhouse-attempts": "3"}),
    ("others had no money", record("budget", "store", "transient"), call(), None, {"x-tollhouse-attempts": "2"}),
    ("the money's cap", record(), call(), 17, {"x-tollhouse-max-tokens": "17"}),
    (
        "something was dropped",
        record(),
        call(("dropped", "seed"), ("dropped", "top_k"), ("clamped", "max_tokens")),
        None,
        {
            "x-tollhouse-warnings": "dropped=seed,top_k; clamped=max_tokens",
            "x-tollhouse-dropped-params": "seed,top_k",
        },
    ),
    (
        "something was lowered",
        record(),
        call(("clamped", "max_tokens")),
        None,
        {"x-tollhouse-warnings": "clamped=max_tokens"},
    ),
]


@pytest.mark.parametrize(("of", "sent", "cap", "more"), [case[1:] for case in ANSWERS], ids=[c[0] for c in ANSWERS])
def test_an_answer_says_who_served_and_what_could_not_be_had(of, sent, cap, more):
    assert read(headers.answer(of, target(), sent, cap)) == {**SERVED, **more}


def test_who_is_being_asked_just_now_is_counted():
    said = headers.answer(record("transient"), target(), call(), None, under_way=2)
    assert read(said)["x-tollhouse-attempts"] == "3"


def failure(kind: Kind, status: int, **more: Any) -> Failure:
    return Failure(kind, "no", status=status, **more)


NEVER = {"x-should-retry": "false"}
IN_TWO = {"retry-after": "2", "retry-after-ms": "1250"}
REFUSALS: list[tuple[str, Failure, dict[str, str]]] = [
    ("the caller's fault", failure(Kind.CALLER, 400), {}),
    ("the caller's fault, with a wait", failure(Kind.CALLER, 400, retry_after=1.25), {}),
    ("all are down", failure(Kind.TRANSIENT, 502), NEVER),
    ("all are busy", failure(Kind.OVERLOADED, 503, retry_after=1.25), {**IN_TWO, **NEVER}),
    ("all are rate limited", failure(Kind.RATE_LIMITED, 429, retry_after=1.25), IN_TWO),
    ("no wait is named", failure(Kind.RATE_LIMITED, 429), {}),
    ("no wait is needed", failure(Kind.RATE_LIMITED, 429, retry_after=0), {"retry-after": "0", "retry-after-ms": "0"}),
    ("the money is gone", failure(Kind.BUDGET, 429, retry_after=1.25), {**IN_TWO, **NEVER}),
    ("the store is away", failure(Kind.STORE, 503, retry_after=1.25), IN_TWO),
    ("we are going", failure(Kind.TRANSIENT, 503, code=headers.SHUTTING_DOWN, retry_after=1.25), IN_TWO),
    ("we failed", failure(Kind.TRANSIENT, 500, code="internal_error"), NEVER),
]


@pytest.mark.parametrize(("of", "more"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_a_refusal_says_when_to_ask_again_and_whether_at_all(of, more):
    assert read(headers.refusal(of, record("transient"))) == {**WHO, **more}


def test_a_refusal_says_who_was_asked_last_and_counts_only_who_was_asked():
    said = read(headers.refusal(failure(Kind.BUDGET, 429), record("budget", "store", upstream_id="up")))
    assert said == {"x-request-id": "req_1", "x-tollhouse-attempts": "0", "x-upstream-request-id": "up", **NEVER}


NAMES = [
    ("a\r\nset-cookie: x", "a??set-cookie: x"),
    ("modèle", "mod?le"),
    ("\x00\x7f\u2028", "???"),
    ("m" * 2_000, "m" * 1_000),
]


@pytest.mark.parametrize(("name", "said"), NAMES, ids=["lines", "letters", "controls", "long"])
def test_whatever_a_name_holds_it_ends_no_header_and_begins_none(name, said):
    assert read(headers.answer(record(upstream_id=name), target(name), call(), None)) == {
        **SERVED,
        "x-tollhouse-model": said,
        "x-upstream-request-id": said,
    }
    assert read(headers.refusal(failure(Kind.CALLER, 400), record(upstream_id=name)))["x-upstream-request-id"] == said


SPELLINGS = [("alice", "alice"), ("J\xc3\xbcrgen", "J\xfcrgen"), ("J\xfcrgen", "J\xfcrgen"), ("", "")]


@pytest.mark.parametrize(("value", "name"), SPELLINGS, ids=["plain", "UTF-8", "Latin-1", "nothing"])
def test_a_name_in_a_header_is_one_name_however_it_was_spelled(value, name):
    assert headers.spelled(value) == name
