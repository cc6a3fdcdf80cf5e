"""The official Anthropic SDK against the simulator."""

import json

import anthropic
import pytest

LOOK = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = [{"name": "look", "input_schema": LOOK}, {"name": "now", "input_schema": {"type": "object", "properties": {}}}]
BUDGET = {"type": "enabled", "budget_tokens": 1024}


def request(text="hello", model="claude-sonnet-4-6", **extra):
    return {"model": model, "max_tokens": 4096, "messages": [{"role": "user", "content": text}], **extra}


def streamed(client, **wanted):
    with client.messages.stream(**wanted) as stream:
        return stream.get_final_message()


def shape(message):
    """What a stream and a whole answer must have in common; signatures and ids differ each time."""
    blocks = [b.model_dump(include={"type", "text", "thinking", "name", "input"}) for b in message.content]
    usage = message.usage.model_dump(exclude={"cache_creation"})
    return blocks, message.stop_reason, message.stop_sequence, usage


@pytest.mark.parametrize(
    "extra",
    [
        {"model": "claude-haiku-4-5"},
        {"model": "claude-haiku-4-5", "thinking": BUDGET},
        {"model": "claude-sonnet-4-6", "thinking": {"type": "adaptive"}},
        {"model": "claude-opus-5-5", "output_config": {"effort": "low"}},
        {"model": "claude-opus-5-5", "thinking": {"type": "adaptive", "display": "summarized"}},
    ],
)
@pytest.mark.parametrize("text", ["hello", "think and call both", "call now", "unicode words 30"])
def test_a_stream_adds_up_to_the_whole_answer(an, text, extra):
    wanted = request(text, tools=TOOLS, **extra)
    assert shape(streamed(an, **wanted)) == shape(an.messages.create(**wanted))


def test_both_tools_are_called_after_the_thinking(an):
    message = an.messages.create(**request("call both", "claude-haiku-4-5", thinking=BUDGET, tools=TOOLS))
    assert [b.type for b in message.content] == ["thinking", "tool_use", "tool_use"]
    assert [b.input for b in message.content[1:]] == [{"city": "x", "days": 1}, {}]
    assert message.stop_reason == "tool_use"


def test_a_tool_without_arguments_streams_no_arguments(an):
    stream = an.messages.create(**request("call now", tools=TOOLS, stream=True))
    deltas = [e.delta.partial_json for e in stream if e.type == "content_block_delta"]
    assert deltas == [""]


def test_thinking_comes_hidden_but_signed_from_opus_4_7_on(an):
    block = an.messages.create(**request("think", "claude-opus-4-7", thinking={"type": "adaptive"})).content[0]
    assert (block.type, block.thinking) == ("thinking", "")
    assert block.signature


def test_a_tool_loop_with_signed_thinking_goes_through(an):
    wanted = request("loop 2", "claude-haiku-4-5", thinking=BUDGET, tools=TOOLS)
    for number in range(2):
        message = streamed(an, **wanted)
        call = next(b for b in message.content if b.type == "tool_use")
        wanted["messages"].append({"role": "assistant", "content": message.content})
        result = {"type": "tool_result", "tool_use_id": call.id, "content": f"result {number}"}
        wanted["messages"].append({"role": "user", "content": [result]})
    message = an.messages.create(**wanted)
    assert message.content[-1].text == "The tools said: result 0 | result 1"


def test_a_schema_is_answered_by_an_instance(an):
    schema = {"type": "object", "properties": {"size": {"type": "integer"}}, "additionalProperties": False}
    form = {"format": {"type": "json_schema", "schema": schema}}
    message = an.messages.create(**request("size=7", output_config=form))
    assert json.loads(message.content[0].text) == {"size": 7}


def test_limits_and_stop_sequences_are_obeyed(an):
    message = an.messages.create(**{**request("words 90"), "max_tokens": 11})
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 11)
    message = an.messages.create(**request("words 90", stop_sequences=["delta"]))
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "delta")
    assert message.content[0].text == "alpha beta gamma "


def test_the_events_follow_the_grammar(an):
    response = an.messages.with_raw_response.create(**request("hi", stream=True))
    names = [line.removeprefix("event: ") for line in response.http_response.iter_lines() if line.startswith("event: ")]
    block = ["content_block_start", *["content_block_delta"] * 2, "content_block_stop"]
    assert names == ["message_start", "ping", *block, "message_delta", "message_stop"]


def test_cache_marks_are_written_once_and_read_after(an):
    def ask(text, ttl):
        mark = {"type": "ephemeral", "ttl": ttl}
        system = [{"type": "text", "text": "s" * 4000, "cache_control": mark}]
        return an.messages.create(**request(text, system=system)).usage

    first, second = ask("one", "1h"), ask("two", "1h")
    assert first.cache_creation.ephemeral_1h_input_tokens == first.cache_creation_input_tokens == 1000
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 1000)
    assert second.input_tokens == first.input_tokens == 5


def test_tokens_are_counted_as_they_are_billed(an):
    wanted = request("hello there", tools=TOOLS, system="be kind")
    counted = an.messages.count_tokens(**{k: v for k, v in wanted.items() if k != "max_tokens"})
    assert counted.input_tokens == an.messages.create(**wanted).usage.input_tokens


def test_models_are_listed_and_shown(an):
    names = [m.id for m in an.models.list()]
    assert an.models.retrieve(names[0]).max_tokens == 128_000
    with pytest.raises(anthropic.NotFoundError):
        an.models.retrieve("claude-missing")
