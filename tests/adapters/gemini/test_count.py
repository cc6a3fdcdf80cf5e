"""Gemini counts a prompt for nothing: the request that asks it, and its answer."""

import msgspec
import pytest

from adapters import envelope, gemini
from adapters.base import NOTHING, Failure, Kind
from tests.adapters import golden
from tests.adapters.asking import ask, post, target_of
from tests.adapters.test_golden import name_of

CASES = [case for case in golden.request_cases() if case.vendor == "gemini"]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_whatever_prompt_the_vendor_takes_it_counts_exactly(case, simulator):
    file, to = case.file(), target_of(case)
    try:
        call = gemini.request(envelope.seal(bytes(file.request)), to, file.supplies())
    except Failure:
        return  # nothing is sent, so nothing is counted
    usage = ask(simulator, "gemini", call)
    answer = post(simulator, "gemini", gemini.counting(call, to))
    if usage is None:
        return  # what the vendor refuses has no size
    assert answer.status_code == 200, answer.text
    assert gemini.counted(answer.content) == usage.prompt


def counting(model="gemini-2.5-flash", **members):
    target = golden.target("gemini", model)
    letter = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **members}
    call = gemini.request(envelope.seal(msgspec.json.encode(letter)), target, NOTHING)
    return call, gemini.counting(call, target)


def test_the_whole_request_stands_inside_with_the_models_name():
    call, asked = counting(temperature=0.5, max_tokens=9, service_tier="flex", stream=True)
    assert asked.path == "/v1beta/models/gemini-2.5-flash:countTokens"
    whole = msgspec.json.decode(call.body)
    assert whole.pop("serviceTier") == "flex"  # changes the price, not the size
    inside = {"model": "models/gemini-2.5-flash", **whole}
    assert msgspec.json.decode(asked.body) == {"generateContentRequest": inside}


def test_a_name_stands_in_a_path_as_it_may():
    call, _ = counting()
    target = msgspec.structs.replace(golden.target("gemini", "gemini-2.5-flash"), model="a/b?c")
    asked = gemini.counting(call, target)
    assert asked.path == "/v1beta/models/a%2Fb%3Fc:countTokens"
    assert b'"model":"models/a/b?c"' in asked.body


def test_the_answer_is_a_number():
    assert gemini.counted(b'{"totalTokens":31,"promptTokensDetails":[]}') == 31


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"totalTokens":null}',
        b'{"totalTokens":"1"}',
        b'{"totalTokens":-1}',
        b"<html>",
        b'{"\xff":1}',
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_cannot_be_read_is_a_failure(body):
    with pytest.raises(Failure) as caught:
        gemini.counted(body)
    assert caught.value.kind is Kind.TRANSIENT
