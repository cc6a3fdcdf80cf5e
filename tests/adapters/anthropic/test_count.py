"""Anthropic counts a prompt for nothing: the request that asks it, and its answer."""

import msgspec
import pytest

from adapters import anthropic, envelope
from adapters.base import NOTHING, Failure, Kind
from tests.adapters import golden
from tests.adapters.asking import ask, post, target_of
from tests.adapters.test_golden import name_of

CASES = [case for case in golden.request_cases() if case.vendor == "anthropic"]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_whatever_prompt_the_vendor_takes_it_counts_exactly(case, simulator):
    file, to = case.file(), target_of(case)
    try:
        call = anthropic.request(envelope.seal(bytes(file.request)), to, file.supplies())
    except Failure:
        return  # nothing is sent, so nothing is counted
    usage = ask(simulator, "anthropic", call)
    answer = post(simulator, "anthropic", anthropic.counting(call, to))
    if usage is None:
        return  # what the vendor refuses has no size
    assert answer.status_code == 200, answer.text
    assert anthropic.counted(answer.content) == usage.prompt


def counting(**members):
    letter = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **members}
    call = anthropic.request(envelope.seal(msgspec.json.encode(letter)), TARGET, NOTHING)
    return call, anthropic.counting(call, TARGET)


TARGET = golden.target("anthropic", "claude-opus-4-6")
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False, "required": ["a"]}


def test_what_is_no_part_of_the_prompt_is_left_out():
    call, asked = counting(
        stream=True, max_tokens=5, temperature=0.5, stop=["x"], user="u", service_tier="auto", tools=TOOLS
    )
    assert asked.path == "/v1/messages/count_tokens"
    whole, left = (msgspec.json.decode(each.body, type=dict[str, msgspec.Raw]) for each in (call, asked))
    assert whole.keys() - left.keys() == {
        "max_tokens", "metadata", "service_tier", "stop_sequences", "stream", "temperature"
    }  # fmt: skip
    assert left == {name: value for name, value in whole.items() if name in left}


def test_what_is_part_of_the_prompt_stays():
    form = {"type": "json_schema", "json_schema": {"name": "f", "schema": SCHEMA}}
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    _, asked = counting(
        messages=messages, tools=TOOLS, tool_choice="auto", reasoning_effort="low", response_format=form
    )
    members = {"messages", "model", "output_config", "system", "thinking", "tool_choice", "tools"}
    assert msgspec.json.decode(asked.body).keys() == members


def test_the_answer_is_a_number():
    assert anthropic.counted(b'{"input_tokens":2095,"x":1}') == 2095


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"input_tokens":null}',
        b'{"input_tokens":"1"}',
        b'{"input_tokens":-1}',
        b"<html>",
        b'{"\xff":1}',
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_cannot_be_read_is_a_failure(body):
    with pytest.raises(Failure) as caught:
        anthropic.counted(body)
    assert caught.value.kind is Kind.TRANSIENT
