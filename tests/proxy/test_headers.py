"""What an answer and a refusal say of themselves, in a table."""

from typing import Any

import msgspec
import pytest

from adapters.base import Call, Capabilities, Failure, Kind, Reading, Target, Warnings
from proxy import headers, ledger
from proxy.downstream import Headers
from proxy.headers import ASKED, WISHES, Wishes
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


def test_of_a_long_name_no_more_is_remembered_than_is_said() -> None:
    known = headers._served.cache_info().currsize
    for more in (1, 2):
        said = read(headers.answer(record(), target("m" * 1_000 + "n" * more), call(), None))
        assert said["x-tollhouse-model"] == "m" * 1_000
    assert headers._served.cache_info().currsize <= known + 1


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


# ---- what a request asks for ----------------------------------------------------------------------------------------

LONGEST = 600.0
NOTHING = Wishes(user=None, agent=None, task=None, urgency=1, patience=LONGEST, endurance=LONGEST)


def wished(of: dict[str, str], longest: float = LONGEST) -> Wishes:
    said = tuple(of[name].encode("latin-1") if (name := asked.decode()) in of else None for asked in ASKED[2:])
    found = WISHES[said, longest]
    assert WISHES[said, longest] == found, "what is remembered is what was said"
    return found


ASKING: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("nothing", {}, {}),
    ("who spends", {"x-tollhouse-user": "alice", "x-tollhouse-agent": "bot"}, {"user": "alice", "agent": "bot"}),
    ("nobody by name", {"x-tollhouse-user": "", "x-tollhouse-agent": "", "x-tollhouse-task": ""}, {}),
    ("a name of nothing", {"x-tollhouse-user": "\xa0"}, {"user": ""}),
    ("what for", {"x-tollhouse-task": "Creative"}, {"task": "creative"}),
    ("what nobody knows", {"x-tollhouse-task": "dancing"}, {"task": ""}),
    ("haste", {"x-tollhouse-priority": " High "}, {"urgency": 0}),
    ("leisure", {"x-tollhouse-priority": "low"}, {"urgency": 2}),
    ("a haste that nobody knows", {"x-tollhouse-priority": "urgent"}, {}),
    ("no haste", {"x-tollhouse-priority": ""}, {}),
    ("a wait of its own", {"x-tollhouse-timeout": "7.5"}, {"patience": 7.5, "endurance": 7.5}),
    ("that of its SDK", {"x-stainless-read-timeout": "8"}, {"patience": 8.0}),
    ("that of an older SDK", {"x-stainless-timeout": "9"}, {"patience": 9.0}),
    (
        "its own before that of its SDK",
        {"x-stainless-read-timeout": "8", "x-tollhouse-timeout": "20", "x-stainless-timeout": "9"},
        {"patience": 20.0, "endurance": 20.0},
    ),
    (
        "the newer SDK's before the older's",
        {"x-stainless-read-timeout": "8", "x-stainless-timeout": "9"},
        {"patience": 8.0},
    ),
    ("its SDK's, as its own is none", {"x-tollhouse-timeout": "soon", "x-stainless-timeout": "9"}, {"patience": 9.0}),
    ("more than there is", {"x-tollhouse-timeout": "601", "x-stainless-timeout": "9"}, {}),
    ("for ever", {"x-tollhouse-timeout": "inf"}, {}),
    *((f"a wait of {wait!r}", {"x-tollhouse-timeout": wait}, {}) for wait in ("", "0", "-1", "nan", "1,5", "a minute")),
]


@pytest.mark.parametrize(("said", "more"), [case[1:] for case in ASKING], ids=[case[0] for case in ASKING])
def test_the_headers_of_a_request_say_who_spends_what_for_and_how_long_it_waits(said, more):
    assert wished(said) == msgspec.structs.replace(NOTHING, **more)


SPELLINGS = [("alice", "alice"), ("J\xc3\xbcrgen", "J\xfcrgen"), ("J\xfcrgen", "J\xfcrgen"), ("", None)]


@pytest.mark.parametrize(("value", "name"), SPELLINGS, ids=["plain", "UTF-8", "Latin-1", "nothing"])
def test_a_name_in_a_header_is_one_name_however_it_was_spelled(value, name):
    assert wished({"x-tollhouse-user": value}).user == name


def test_no_wish_is_longer_than_a_request_may_take_whatever_was_so_before():
    for longest in (600.0, 5.0, 600.0):
        found = wished({"x-tollhouse-timeout": "50"}, longest)
        assert (found.patience, found.endurance) == (min(50.0, longest),) * 2


def test_whoever_comes_and_whatever_they_say_is_not_remembered_for_ever():
    many = [wished({"x-tollhouse-user": f"{at}"}) for at in range(3_000)]
    assert [one.user for one in many] == [str(at) for at in range(3_000)]
    before = len(WISHES)
    assert before <= 1_024
    assert wished({"x-tollhouse-user": "x" * 2_000}).user == ledger.name("x" * 2_000)
    assert len(WISHES) == before
