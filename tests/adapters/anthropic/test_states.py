"""Thinking that a client did not bring back: when it is wanted, what is kept, and how it returns."""

import json
from typing import Any

import msgspec
import pytest

from adapters import anthropic
from adapters.base import NOTHING, Call, Capabilities, Stamp, Supplies, Target
from adapters.envelope import Envelope, seal

BUDGET = Capabilities(thinking=("enabled", "disabled"), thinking_budget=(1024, 32000))
ADAPTIVE = Capabilities(thinking=("adaptive", "disabled"), efforts=("low", "high"))
BOTH = Capabilities(thinking=("enabled", "adaptive"), efforts=("low", "high"), thinking_budget=(1024, 32000))
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "S"}
TOOLS = [{"type": "function", "function": {"name": "f"}}]
STAMP = Stamp("chatcmpl-1", 1)


def target(able: Capabilities) -> Target:
    return Target(
        provider="anthropic",
        vendor="anthropic",
        model="claude-x",
        capabilities=able,
        context=200_000,
        max_output=64_000,
    )


def letter(effort: str | None = "low", **brought: Any) -> Envelope:
    call = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [call, {**call, "id": "toolu_2"}], **brought},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "1"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "2"},
    ]
    body = {"model": "claude-x", "messages": messages, "tools": TOOLS, "reasoning_effort": effort}
    return seal(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("envelope", "able", "wanted"),
    [
        (letter(), BUDGET, ["toolu_1"]),
        (letter(thinking_blocks=[THOUGHT]), BUDGET, []),
        (letter(None), BUDGET, []),
        (letter("none"), BUDGET, []),
        (letter(), ADAPTIVE, []),
        (letter(), BOTH, []),
        (letter(), Capabilities(), []),
    ],
    ids=[
        *("lost", "brought", "not asked to think", "asked not to think"),
        *("a model that does not insist", "a model that need not insist", "a model that does not think"),
    ],
)
def test_thinking_is_wanted_back_where_the_model_insists(
    envelope: Envelope, able: Capabilities, wanted: list[str]
) -> None:
    assert anthropic.needs(envelope, target(able)).states == wanted


def sent(states: dict[str, str]) -> tuple[Call, dict[str, Any]]:
    call = anthropic.request(letter(), target(BUDGET), Supplies(states=states))
    return call, json.loads(call.body)


def test_what_is_known_goes_back_first_in_its_turn() -> None:
    call, body = sent({"toolu_1": json.dumps([THOUGHT])})
    assert body["messages"][1]["content"][0] == THOUGHT
    assert body["thinking"]["type"] == "enabled"
    assert str(call.warnings) == ""


@pytest.mark.parametrize("states", [{}, {"toolu_1": "garbage"}, {"toolu_1": "{}"}, {"toolu_2": json.dumps([THOUGHT])}])
def test_what_is_lost_or_unreadable_is_not_thought_about(states: dict[str, str]) -> None:
    call, body = sent(states)
    assert "thinking" not in body
    assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_use", "tool_use"]
    assert str(call.warnings) == "dropped=reasoning_effort"


def test_what_the_client_brings_counts_for_more_than_what_is_known() -> None:
    own = {**THOUGHT, "signature": "own"}
    call = anthropic.request(
        letter(thinking_blocks=[own]), target(BUDGET), Supplies(states={"toolu_1": json.dumps([THOUGHT])})
    )
    assert json.loads(call.body)["messages"][1]["content"][0] == own


ANSWER: dict[str, Any] = {
    "type": "message",
    "content": [THOUGHT, *({"type": "tool_use", "id": id, "name": "f", "input": {}} for id in ("toolu_9", "toolu_8"))],
    "stop_reason": "tool_use",
    "usage": {},
}
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"type": "message"}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "S"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "toolu_9", "name": "f"}},
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "toolu_8", "name": "f"}},
    {"type": "content_block_stop", "index": 2},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {}},
    {"type": "message_stop"},
]


def asked(able: Capabilities) -> Call:
    body = {"model": "m", "messages": [{"role": "user", "content": "go"}], "tools": TOOLS, "reasoning_effort": "low"}
    return anthropic.request(seal(json.dumps(body).encode()), target(able), NOTHING)


@pytest.mark.parametrize(("able", "kept"), [(BUDGET, ["toolu_9"]), (ADAPTIVE, [])], ids=["insists", "does not"])
def test_an_answer_is_kept_by_its_first_call_where_the_model_insists(able: Capabilities, kept: list[str]) -> None:
    whole = anthropic.response(json.dumps(ANSWER).encode(), asked(able), STAMP).states
    stream = anthropic.stream(asked(able), STAMP)
    stream.feed(b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in EVENTS))
    assert stream.done
    assert list(whole) == list(stream.states) == kept
    assert [json.loads(state) for state in whole.values()] == [[THOUGHT]] * len(kept)
    assert dict(whole) == stream.states


def test_an_answer_that_was_forced_is_not_kept_because_nothing_was_thought() -> None:
    body = msgspec.json.decode(letter().raw) | {"tool_choice": "required"}
    call = anthropic.request(seal(json.dumps(body).encode()), target(BUDGET), NOTHING)
    assert not call.reading.keeps_states


def test_an_answer_without_calls_or_without_thoughts_is_not_kept() -> None:
    for content in (ANSWER["content"][:1], ANSWER["content"][1:]):
        assert not anthropic.response(json.dumps({**ANSWER, "content": content}).encode(), asked(BUDGET), STAMP).states
