"""OpenAI's answer is written as OpenAI writes it, streamed or not."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from adapters import completion
from adapters.base import Failure, Kind, Reading, Stamp, Usage
from adapters.completion import Chunks, Message

STAMP = Stamp("chatcmpl-x", 1_700_000_000)
USAGE = Usage(in_text=5, out_text=2)


def chunks(said: bytes) -> list[dict[str, Any]]:
    """The chunks; anything that is not one line of data is refused."""
    assert said.endswith(b"\n\n")
    events = said.removesuffix(b"\n\n").split(b"\n\n")
    assert all(event.startswith(b"data: ") and b"\n" not in event for event in events)
    return [msgspec.json.decode(event[6:]) for event in events if event != b"data: [DONE]"]


def deltas(said: bytes) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks(said) if chunk["choices"]]


def accumulated(said: bytes) -> dict[str, Any]:
    state = ChatCompletionStreamState()
    for chunk in chunks(said):
        list(state.handle_chunk(ChatCompletionChunk.model_validate(chunk)))
    message = state.current_completion_snapshot.choices[0].message.model_dump(exclude_none=True)
    for call in message.get("tool_calls", ()):
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    return message


def whole(message: Message) -> dict[str, Any]:
    body = completion.completion(STAMP, "m", [message], USAGE, None)
    return ChatCompletion.model_validate_json(body).choices[0].message.model_dump(exclude_none=True)


# --- the error object and the usage


def test_the_error_object_has_four_members_always():
    body = completion.error_object(Failure(Kind.TRANSIENT, "Bröken."))
    assert msgspec.json.decode(body) == {
        "error": {"message": "Bröken.", "type": "server_error", "param": None, "code": None}
    }


def test_usage_says_only_what_is_counted():
    assert msgspec.json.decode(completion.usage_object(USAGE)) == {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def test_trap_24_each_token_is_counted_once():
    usage = Usage(in_text=10, cache_read=1000, cache_write_5m=60, cache_write_1h=40, in_audio=3, cache_read_audio=4)
    more = msgspec.structs.replace(usage, in_image=7, out_reasoning=9, out_audio=1, out_text=2)
    said = msgspec.json.decode(completion.usage_object(more))
    assert (said["prompt_tokens"], said["total_tokens"]) == (1124, 1136)
    assert said["prompt_tokens_details"] == {
        "cached_tokens": 1004,
        "audio_tokens": 7,
        "cache_write_tokens": 100,
        "image_tokens": 7,
    }
    assert said["completion_tokens"] == 12
    assert said["completion_tokens_details"] == {
        "reasoning_tokens": 9,
        "audio_tokens": 1,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }


# --- a whole answer


@given(st.text(), st.text(), st.text(), st.sampled_from([None, "flex", 'a"b']), st.integers(0, 2**53))
def test_a_whole_answer_has_its_members_in_openais_order(id, model, text, tier, count):
    first, second, usage = Message(Reading(), 0), Message(Reading(), 1), Usage(in_text=count, in_image=3)
    first.text.append(text)
    body = completion.completion(Stamp(id, 17), model, [first, second], usage, tier)
    expected = {
        "id": id,
        "object": "chat.completion",
        "created": 17,
        "model": model,
        "choices": [first.choice(), second.choice()],
        "usage": msgspec.json.decode(completion.usage_object(usage)),
        "system_fingerprint": None,
    }
    assert body == completion.encode(expected | ({"service_tier": tier} if tier else {}))


@pytest.mark.parametrize(
    ("fill", "content"),
    [
        pytest.param({"text": ["a", "b"]}, "ab", id="text"),
        pytest.param({}, "", id="nothing at all"),
        pytest.param({"calls": [{"id": "c"}]}, None, id="calls and no text"),
        pytest.param({"calls": [{"id": "c"}], "text": ["a"]}, "a", id="calls and text"),
        pytest.param({"refusal": "No."}, None, id="a refusal"),
    ],
)
def test_content_is_null_only_where_something_else_speaks(fill, content):
    message = Message(Reading())
    for name, value in fill.items():
        setattr(message, name, value)
    said = message.choice()["message"]
    assert said["content"] == content
    assert "refusal" in said
    assert ("tool_calls" in said) is ("calls" in fill)


def test_what_is_there_is_said_and_nothing_else():
    message = Message(Reading(), 3)
    message.text, message.reasoning, message.thinking = ["a"], ["r1", "r2"], [{"type": "thinking"}]
    message.annotations, message.images, message.signature = [{"type": "url_citation"}], [{"type": "image_url"}], "sig"
    message.logprobs, message.finish = {"content": []}, "length"
    assert message.choice() == {
        "index": 3,
        "message": {
            "role": "assistant",
            "content": "a",
            "refusal": None,
            "annotations": [{"type": "url_citation"}],
            "reasoning_content": "r1r2",
            "thinking_blocks": [{"type": "thinking"}],
            "images": [{"type": "image_url"}],
            "extra_content": {"google": {"thought_signature": "sig"}},
        },
        "logprobs": {"content": []},
        "finish_reason": "length",
    }
    assert set(Message(Reading()).choice()["message"]) == {"role", "content", "refusal"}


def test_trap_49_calls_come_back_under_the_clients_names():
    message = Message(Reading(names={"a_b": "a.b"}))
    message.call("c1", "a_b", "{}", "sig")
    assert message.calls == [
        {
            "id": "c1",
            "type": "function",
            "function": {"name": "a.b", "arguments": "{}"},
            "extra_content": {"google": {"thought_signature": "sig"}},
        }
    ]


def test_a_custom_tools_call_comes_back_as_one():
    message = Message(Reading(names={"a_b": "a.b"}, custom=frozenset({"a.b"})))
    message.call("c1", "a_b", '{"input":"SELECT 1"}')
    assert message.calls == [{"id": "c1", "type": "custom", "custom": {"name": "a.b", "input": "SELECT 1"}}]


def test_who_asked_by_functions_is_answered_by_function_call():
    message = Message(Reading(legacy_functions=True))
    message.call("c1", "f", '{"a":1}')
    message.finish = "tool_calls"
    choice = message.choice()
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "function_call"


def test_a_function_call_that_was_cut_off_is_cut_off():
    message = Message(Reading(legacy_functions=True))
    message.call("c1", "f", '{"a"')
    message.finish = "length"
    assert message.choice()["finish_reason"] == "length"


def test_who_asked_by_functions_may_be_answered_in_words():
    message = Message(Reading(legacy_functions=True))
    message.text = ["a"]
    assert message.choice()["finish_reason"] == "stop"
    assert "function_call" not in message.choice()["message"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input":"a"}', "a"),
        ('{"input":5}', '{"input":5}'),
        ('{"input":{"a":1}}', '{"input":{"a":1}}'),
        ('{"other":"a"}', '{"other":"a"}'),
        ('{"input":', '{"input":'),
        ("[1]", "[1]"),
        ("[" * 100_000, "[" * 100_000),
        ('{"input":' + "[" * 100_000, '{"input":' + "[" * 100_000),
    ],
    ids=["text", "number", "object", "another name", "half", "list", "deep", "deep inside"],
)
def test_a_custom_tools_input_is_unwrapped_or_passed_whole(arguments, text):
    assert completion.custom_input(arguments) == text


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ('```json\n{"a":1}\n```', '{"a":1}'),
        ('\n```\n{"a":1}\n```\n', '{"a":1}'),
        ("```JSON\n1```", "1"),
        ("```python\n1\n```", "```python\n1\n```"),
        ("```json 1```", "```json 1```"),
        ("```\n1\n```\n```\n2\n```", "```\n1\n```\n```\n2\n```"),
        ("```", "```"),
        ("``````", "``````"),
        ("```\n```", ""),
        ("```json```", "```json```"),
        ("```\n{}abc", "```\n{}abc"),
        ("abc\n{}\n```", "abc\n{}\n```"),
        ("abc\n{}abc", "abc\n{}abc"),
        ('{"a":1}', '{"a":1}'),
        ("Here: ```\n1\n```", "Here: ```\n1\n```"),
    ],
)
def test_a_fence_is_taken_off_only_where_it_is_all_there_is(text, inside):
    assert completion.without_fence(text) == inside
    message = Message(Reading(json_fence=True))
    message.text = [text]
    assert message.choice()["message"]["content"] == inside


def test_the_service_tier_is_said_where_one_is_known():
    said = msgspec.json.decode(completion.completion(STAMP, "m", [Message(Reading())], USAGE, "flex"))
    assert (said["service_tier"], said["id"], said["created"]) == ("flex", "chatcmpl-x", 1_700_000_000)
    assert (said["object"], said["model"], said["system_fingerprint"]) == ("chat.completion", "m", None)
    assert "service_tier" not in msgspec.json.decode(completion.completion(STAMP, "m", [], USAGE, None))


# --- a stream


def test_nothing_is_said_before_there_is_something_to_say():
    said = Chunks(STAMP, Reading(model="m"))
    assert not said.begun()
    assert deltas(said.text("a")) == [{"role": "assistant", "content": "", "refusal": None}, {"content": "a"}]
    assert said.begun()
    assert deltas(said.text("ä\n\n\x00")) == [{"content": "ä\n\n\x00"}]


def test_trap_27_every_chunk_has_a_finish_reason_and_the_same_head():
    said = Chunks(STAMP, Reading(model="m"))
    told = chunks(said.text("a") + said.finish("stop", USAGE, "flex"))
    assert [chunk["choices"][0]["finish_reason"] for chunk in told] == [None, None, "stop"]
    assert {(c["id"], c["object"], c["created"], c["model"]) for c in told} == {
        ("chatcmpl-x", "chat.completion.chunk", 1_700_000_000, "m")
    }
    assert all(chunk["system_fingerprint"] is None and chunk["choices"][0]["logprobs"] is None for chunk in told)
    assert [chunk.get("service_tier") for chunk in told] == [None, None, "flex"]


@pytest.mark.parametrize("tier", [None, "priority"])
def test_traps_26_and_28_usage_comes_iff_asked_alone_and_last(tier):
    said = Chunks(STAMP, Reading(model='m",\n"choices":"', include_usage=True))
    told = chunks(said.text("a") + said.finish("length", USAGE, tier))
    assert [chunk["usage"] for chunk in told[:-1]] == [None] * 3
    assert told[-1]["choices"] == []
    assert told[-1]["usage"] == msgspec.json.decode(completion.usage_object(USAGE))
    assert told[-1]["model"] == told[0]["model"]
    said = Chunks(STAMP, Reading(model="m"))
    assert not any("usage" in chunk for chunk in chunks(said.text("a") + said.finish("stop", USAGE, tier)))


def test_the_end_is_said_once_and_last():
    said = Chunks(STAMP, Reading(model="m"))
    told = said.text("[DONE]") + said.finish("stop", USAGE, None)
    assert told.count(b"data: [DONE]\n\n") == 1
    assert told.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    "what",
    [
        pytest.param([], id="nothing"),
        pytest.param(["text"], id="text"),
        pytest.param(["reasoning"], id="reasoning only"),
        pytest.param(["reasoning", "text"], id="reasoning, then text"),
        pytest.param(["call"], id="a call"),
        pytest.param(["text", "call", "call"], id="text, then two calls"),
        pytest.param(["refusal"], id="a refusal"),
        pytest.param(["reasoning", "thinking", "call"], id="thinking, then a call"),
    ],
)
def test_trap_47_a_stream_adds_up_to_the_whole_answer(what):
    reading = Reading(model="m")
    stream, message = Chunks(STAMP, reading), Message(reading)
    said = b""
    for k, kind in enumerate(what):
        if kind == "text":
            said += stream.text("a")
            message.text.append("a")
        elif kind == "reasoning":
            said += stream.reasoning("r")
            message.reasoning.append("r")
        elif kind == "refusal":
            said += stream.refusal("No.")
            message.refusal = "No."
        elif kind == "thinking":
            said += stream.extra("thinking_blocks", [{"type": "thinking", "thinking": "r"}])
            message.thinking.append({"type": "thinking", "thinking": "r"})
        else:
            index, opened = stream.call(f"c{k}", "f", "sig")
            said += opened + stream.arguments(index, '{"a":') + stream.arguments(index, "1}")
            message.call(f"c{k}", "f", '{"a":1}', "sig")
    said += stream.finish("stop", USAGE, None, refused="refusal" in what)
    assert accumulated(said) == whole(message)


def test_a_call_may_come_with_its_arguments():
    stream = Chunks(STAMP, Reading(model="m", custom=frozenset({"sql"})))
    first, opened = stream.call("c1", "f", arguments="{}")
    second, custom = stream.call("c2", "sql", arguments='{"input":"SELECT 1"}')
    third, later = stream.call("c3", "sql")
    assert (first, second, third) == (0, 1, 2)
    assert deltas(opened)[-1]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert deltas(custom) == [
        {"tool_calls": [{"index": 1, "id": "c2", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}]}
    ]
    assert deltas(later)[0]["tool_calls"][0]["custom"]["input"] == ""
    assert deltas(stream.custom_input(third, "x")) == [{"tool_calls": [{"index": 2, "custom": {"input": "x"}}]}]


def test_a_call_begins_with_a_null_content():
    stream = Chunks(STAMP, Reading(model="m"))
    assert deltas(stream.call("c1", "f")[1])[0] == {"role": "assistant", "content": None, "refusal": None}


def test_who_asked_by_functions_hears_one_function_call_streamed():
    stream = Chunks(STAMP, Reading(model="m", legacy_functions=True))
    index, said = stream.call("c1", "f")
    said += stream.arguments(index, "{}")
    other, more = stream.call("c2", "g")
    said += more + stream.arguments(other, "{}") + stream.finish("tool_calls", USAGE, None)
    assert deltas(said)[1:] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
        {},
    ]
    assert chunks(said)[-1]["choices"][0]["finish_reason"] == "function_call"


def test_who_asked_by_functions_may_hear_words():
    stream = Chunks(STAMP, Reading(model="m", legacy_functions=True))
    assert chunks(stream.text("a") + stream.finish("stop", USAGE, None))[-1]["choices"][0]["finish_reason"] == "stop"


@given(st.lists(st.tuples(st.sampled_from(["text", "reasoning"]), st.text(min_size=1))), st.text(), st.booleans())
def test_no_text_breaks_a_stream(pieces, model, asked):
    stream = Chunks(STAMP, Reading(model=model, include_usage=asked))
    said = b"".join(getattr(stream, kind)(text) for kind, text in pieces) + stream.finish("stop", USAGE, None)
    message = accumulated(said)
    assert message["content"] == "".join(text for kind, text in pieces if kind == "text")
    assert message.get("reasoning_content", "") == "".join(text for kind, text in pieces if kind == "reasoning")
