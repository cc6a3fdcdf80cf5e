"""The words that pass between the two halves of the house."""

import msgspec
import pytest

from adapters.base import NOTHING, Capabilities, Failure, Kind, Reading, Usage, Warnings, invalid, unsupported


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_only_callers_faults_stay_with_the_caller(kind):
    assert kind.callers_fault is (kind in {Kind.CALLER, Kind.TOO_LONG, Kind.UNSUPPORTED, Kind.POLICY})


def test_a_failure_says_what_the_client_deserves_to_hear():
    failure = Failure(Kind.QUOTA, "No money.", status=503, type="t", code="c", param="p", retry_after=1.5, body=b"{}")
    assert (failure.status, failure.type, failure.code, failure.param) == (503, "t", "c", "p")
    assert (failure.retry_after, failure.body, str(failure)) == (1.5, b"{}", "No money.")
    assert repr(failure) == "<Failure quota 503 c: No money.>"


def test_a_malformed_request_is_the_callers():
    failure = invalid("Wrong.", "messages", "odd")
    assert (failure.kind, failure.status, failure.type, failure.code, failure.param, failure.message) == (
        Kind.CALLER,
        400,
        "invalid_request_error",
        "odd",
        "messages",
        "Wrong.",
    )


def test_what_cannot_be_honoured_is_named():
    failure = unsupported("seed", "no such control")
    assert (failure.kind, failure.status, failure.code, failure.param, failure.message) == (
        Kind.UNSUPPORTED,
        400,
        "unsupported_parameter",
        "seed",
        "seed: no such control",
    )


def test_warnings_are_said_once_and_in_order():
    warnings = Warnings()
    assert not warnings
    assert str(warnings) == ""
    assert list(warnings.dropped) == []
    for verb, what in [("dropped", "seed"), ("clamped", "temperature"), ("dropped", "store"), ("dropped", "seed")]:
        warnings.add(verb, what)
    assert warnings
    assert str(warnings) == "dropped=seed,store; clamped=temperature"
    assert list(warnings.dropped) == ["seed", "store"]


def test_the_buckets_are_disjoint_and_add_up():
    usage = Usage(
        in_text=1,
        in_audio=2,
        in_image=4,
        cache_read=8,
        cache_read_audio=16,
        cache_write_5m=32,
        cache_write_1h=64,
        cache_write_30m=128,
        cache_write_12h=256,
        out_text=1,
        out_reasoning=2,
        out_audio=4,
        out_image=8,
        web_searches=1000,
        map_queries=1000,
    )
    assert (usage.prompt, usage.cached, usage.cache_written, usage.completion) == (511, 24, 480, 15)


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_is_called_by_its_name(kind):
    assert kind.value == kind.name.lower()


def test_nothing_is_counted_unless_it_is():
    assert not any(msgspec.structs.astuple(Usage()))


def test_a_model_is_supposed_to_be_a_current_one():
    able = msgspec.structs.asdict(Capabilities())
    usual = {"tools", "parallel_tools", "json_schema", "json_with_tools", "sampling", "penalties", "thinking_off"}
    usual |= {"forced_tool", "system", "stream_options", "developer"}
    assert {name for name, value in able.items() if value is True} == usual
    assert (able["input"], able["max_tokens_field"]) == (("text", "image"), "either")
    assert (able["efforts"], able["thinking"], able["thinking_budget"]) == ((), (), None)


def test_an_answer_is_read_plainly_unless_the_request_asked_for_more():
    reading = msgspec.structs.asdict(Reading())
    assert {name for name, value in reading.items() if value} == {"choices", "exact"}
    assert (reading["choices"], reading["model"]) == (1, "")


def test_nothing_is_supplied_unless_it_is():
    assert (dict(NOTHING.images), dict(NOTHING.states)) == ({}, {})
