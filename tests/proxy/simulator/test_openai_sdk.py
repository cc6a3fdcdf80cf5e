"""The official OpenAI SDK against the simulator."""

import json

import openai
import pydantic
import pytest

LOOK = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}}}
TOOLS = [
    {"type": "function", "function": {"name": "look", "parameters": LOOK}},
    {"type": "function", "function": {"name": "now"}},
]


def user(text):
    return [{"role": "user", "content": text}]


def streamed(client, **request):
    """The accumulated completion of the SDK's own stream helper."""
    with client.chat.completions.stream(**request, stream_options={"include_usage": True}) as stream:
        stream.until_done()
        return stream.get_final_completion()


def shape(completion):
    """What a stream and a whole answer must have in common."""
    choice = completion.choices[0]
    calls = [(c.function.name, c.function.arguments) for c in choice.message.tool_calls or []]
    return choice.message.content, calls, choice.finish_reason, completion.usage


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5.5", "gpt-6-luna"])
@pytest.mark.parametrize(
    "text", ["hello", "call both", "call now", "words 40", "unicode words 30", "call look city=Rome"]
)
def test_a_stream_adds_up_to_the_whole_answer(oa, model, text):
    request = {"model": model, "messages": user(text), "tools": TOOLS}
    assert shape(streamed(oa, **request)) == shape(oa.chat.completions.create(**request))


def test_text_is_echoed_with_usage_that_adds_up(oa):
    answer = oa.chat.completions.create(model="gpt-4o", messages=user("hello"))
    assert answer.choices[0].message.content == "Echo: hello"
    assert answer.usage.prompt_tokens == 4 + 2
    assert answer.usage.completion_tokens == 3
    assert answer.usage.total_tokens == 9
    assert answer.id.startswith("chatcmpl-")


def test_arguments_follow_the_schema_and_what_the_text_says(oa):
    answer = oa.chat.completions.create(model="gpt-4o", messages=user("call look city=Rome"), tools=TOOLS)
    assert json.loads(answer.choices[0].message.tool_calls[0].function.arguments) == {"city": "Rome", "days": 2}
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None


@pytest.mark.parametrize(
    ("extra", "called"),
    [
        ({"tool_choice": "required"}, ["look"]),
        ({"tool_choice": "none"}, []),
        ({"tool_choice": {"type": "function", "function": {"name": "now"}}}, ["now"]),
        ({"parallel_tool_calls": False}, ["look"]),
        ({}, ["look", "now"]),
    ],
)
def test_the_tool_choice_is_obeyed(oa, extra, called):
    text = (
        "please call all" if not extra or "parallel_tool_calls" in extra or extra.get("tool_choice") == "none" else "x"
    )
    answer = oa.chat.completions.create(model="gpt-4o", messages=user(text), tools=TOOLS, **extra)
    assert [c.function.name for c in answer.choices[0].message.tool_calls or []] == called


def test_a_loop_of_tools_ends_after_the_wanted_rounds(oa):
    messages, rounds = user("loop 3"), 0
    while True:
        message = oa.chat.completions.create(model="gpt-5.5", messages=messages, tools=TOOLS).choices[0].message
        if not message.tool_calls:
            break
        rounds += 1
        messages.append(message)
        messages.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": f"result {rounds}"})
    assert rounds == 3
    assert message.content == "The tools said: result 1 | result 2 | result 3"


def test_a_schema_is_answered_by_an_instance(oa):
    class Place(pydantic.BaseModel):
        name: str
        size: int
        kind: str | None

    answer = oa.chat.completions.parse(model="gpt-5.5", messages=user("name=Rome"), response_format=Place)
    assert answer.choices[0].message.parsed.name == "Rome"


def test_json_mode_is_answered_by_an_object(oa):
    answer = oa.chat.completions.create(
        model="gpt-4o", messages=user("as json"), response_format={"type": "json_object"}
    )
    assert set(json.loads(answer.choices[0].message.content)) == {"answer"}


@pytest.mark.parametrize("limit", [1, 5, 8, 9, 20, 39])
def test_the_limit_holds_to_the_token_and_counts_reasoning(oa, limit):
    answer = oa.chat.completions.create(model="gpt-5.5", messages=user("unicode words 90"), max_completion_tokens=limit)
    assert answer.usage.completion_tokens == limit
    assert answer.choices[0].finish_reason == "length"


def test_a_limit_below_the_reasoning_leaves_an_empty_text(oa):
    answer = oa.chat.completions.create(model="gpt-5.5", messages=user("words 90"), max_completion_tokens=2)
    assert answer.choices[0].message.content == ""
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2


def test_stop_sequences_end_the_text_before_them(oa):
    answer = oa.chat.completions.create(model="gpt-4o", messages=user("words 9"), stop=["gamma", "zeta"])
    assert answer.choices[0].message.content == "alpha beta "
    assert answer.choices[0].finish_reason == "stop"


def test_the_chunks_follow_the_grammar(oa):
    chunks = list(
        oa.chat.completions.create(
            model="gpt-4o", messages=user("hi you"), stream=True, stream_options={"include_usage": True}
        )
    )
    first, *middle, finish, usage = chunks
    assert first.choices[0].delta.model_dump(exclude_unset=True) == {
        "role": "assistant",
        "content": "",
        "refusal": None,
    }
    assert "".join(c.choices[0].delta.content for c in middle) == "Echo: hi you"
    assert finish.choices[0].delta.model_dump(exclude_unset=True) == {}
    assert finish.choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage.total_tokens > 0
    assert all(c.model_extra == {} and c.usage is None and "usage" in c.model_fields_set for c in chunks[:-1])


def test_without_include_usage_no_chunk_has_the_key(oa):
    chunks = oa.chat.completions.create(model="gpt-4o", messages=user("hi"), stream=True)
    assert all("usage" not in c.model_fields_set for c in chunks)


def test_a_long_prompt_is_cached_from_the_second_time_on(oa):
    text = "x" * 8000
    first, second = (oa.chat.completions.create(model="gpt-4o", messages=user(text)).usage for _ in range(2))
    assert first.prompt_tokens_details.cached_tokens == 0
    assert second.prompt_tokens_details.cached_tokens == 2000 // 128 * 128
    assert second.prompt_tokens == first.prompt_tokens


def test_models_are_listed_and_unknown_paths_are_not_found(oa):
    assert "gpt-4o" in [m.id for m in oa.models.list()]
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        oa.embeddings.create(model="text-embedding-3-small", input="x")
