"""The official SDKs on both sides: what openai's reads through tollhouse is what the vendor's own reads directly."""

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import anthropic
import openai
import pytest
from google import genai
from google.genai import types as gemini
from pydantic import BaseModel

from proxy.simulator.client import Simulator
from tests.tollhouse import Tollhouse

MODELS = {"openai": "gpt-4o", "anthropic": "claude-haiku-5-5", "gemini": "gemini-3.8-flash"}
WEATHER: Any = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}


class Heard(NamedTuple):
    """What a client has of an answer, whichever SDK read it."""

    text: str
    calls: list[tuple[str, Any]]
    finish: str
    prompt: int
    completion: int
    cached: int
    reasoning: int


SCRIPTS: dict[str, dict[str, Any]] = {
    "a text": {"text": ["Grüße, ", "welt 🌍", "!"]},
    "no text at all": {"text": []},
    "one call": {"tool_calls": [{"name": "weather", "arguments": '{"city":"Köln","days":2}'}]},
    "parallel calls": {
        "text": ["let me see"],
        "tool_calls": [
            {"name": "weather", "arguments": '{"city":"Köln"}'},
            {"name": "clock", "arguments": "{}"},
            {"name": "weather", "arguments": '{"city":"Bonn"}'},
        ],
    },
    "an answer that was cut": {"text": ["only the begin"], "finish": "length"},
    "an answer that was filtered": {"text": ["well, "], "finish": "content_filter"},
    "thinking first": {"thinking": "hm, hm", "text": ["42"]},
    "thinking, then a call": {"thinking": "hm", "tool_calls": [{"name": "clock", "arguments": "{}"}]},
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("vendor", MODELS)
def test_openais_sdk_hears_what_the_vendors_own_hears(
    simulator: Simulator, client: openai.OpenAI, vendor: str, script: str, stream: bool
) -> None:
    simulator.script(vendor, SCRIPTS[script], SCRIPTS[script])
    ours = _openai(client, MODELS[vendor], stream)
    theirs = _DIRECT[vendor](simulator, stream)
    assert ours == theirs


TOOLS: Any = [
    {"type": "function", "function": {"name": "weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}},
]


def _openai(client: openai.OpenAI, model: str, stream: bool) -> Heard:
    asked: Any = {"model": model, "messages": [{"role": "user", "content": "go"}], "tools": TOOLS}
    if stream:
        with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
            for _ in events:
                pass
            answer = events.current_completion_snapshot
    else:
        answer = client.chat.completions.create(**asked)
    message, usage = answer.choices[0].message, answer.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
    assert len({call.id for call in message.tool_calls or []}) == len(calls)
    return Heard(
        message.content or "",
        calls,
        str(answer.choices[0].finish_reason),
        usage.prompt_tokens,
        usage.completion_tokens,
        (usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens) or 0,
        (usage.completion_tokens_details and usage.completion_tokens_details.reasoning_tokens) or 0,
    )


def _openai_direct(simulator: Simulator, stream: bool) -> Heard:
    with openai.OpenAI(base_url=simulator.openai, api_key="k", max_retries=0) as client:
        return _openai(client, MODELS["openai"], stream)


_ANTHROPIC_FINISH = {
    "end_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "refusal": "content_filter",
}


def _anthropic_direct(simulator: Simulator, stream: bool) -> Heard:
    asked: Any = {
        "model": MODELS["anthropic"],
        "max_tokens": 128000,
        "messages": [{"role": "user", "content": "go"}],
        "tools": [
            {"name": "weather", "input_schema": WEATHER},
            {"name": "clock", "input_schema": {"type": "object", "properties": {}}},
        ],
    }
    with anthropic.Anthropic(base_url=simulator.anthropic, api_key="k", max_retries=0) as client:
        if stream:
            with client.messages.stream(**asked) as events:
                message = events.get_final_message()
        else:
            # The SDK wants a long answer streamed; a timeout of one's own says that waiting is meant.
            message = client.messages.create(**asked, timeout=30)
    usage = message.usage
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    details = usage.output_tokens_details
    return Heard(
        "".join(block.text for block in message.content if block.type == "text"),
        [(block.name, block.input) for block in message.content if block.type == "tool_use"],
        _ANTHROPIC_FINISH[str(message.stop_reason)],
        usage.input_tokens + read + written,
        usage.output_tokens,
        read,
        (details and details.thinking_tokens) or 0,
    )


_GEMINI_FINISH = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter"}


def _gemini_direct(simulator: Simulator, stream: bool) -> Heard:
    client = genai.Client(api_key="k", http_options=gemini.HttpOptions(base_url=simulator.gemini))
    asked: Any = {
        "model": MODELS["gemini"],
        "contents": "go",
        "config": gemini.GenerateContentConfig(
            tools=[
                gemini.Tool(
                    function_declarations=[
                        gemini.FunctionDeclaration(name="weather", description="", parameters_json_schema=WEATHER),
                        gemini.FunctionDeclaration(name="clock", description=""),
                    ]
                )
            ],
        ),
    }
    try:
        answers = (
            list(client.models.generate_content_stream(**asked))
            if stream
            else [client.models.generate_content(**asked)]
        )
    finally:
        client.close()
    parts = [part for answer in answers for part in _parts(answer)]
    calls = [(part.function_call.name, part.function_call.args or {}) for part in parts if part.function_call]
    reasons = [a.candidates[0].finish_reason for a in answers if a.candidates and a.candidates[0].finish_reason]
    finish = _GEMINI_FINISH[reasons[-1].name]
    usage = answers[-1].usage_metadata
    assert usage is not None
    thoughts = usage.thoughts_token_count or 0
    return Heard(
        "".join(part.text for part in parts if part.text and not part.thought),
        [(str(name), args) for name, args in calls],
        "tool_calls" if calls and finish == "stop" else finish,
        usage.prompt_token_count or 0,
        (usage.candidates_token_count or 0) + thoughts,
        usage.cached_content_token_count or 0,
        thoughts,
    )


def _parts(answer: gemini.GenerateContentResponse) -> list[gemini.Part]:
    content = answer.candidates[0].content if answer.candidates else None
    return (content.parts or []) if content else []


_DIRECT = {"openai": _openai_direct, "anthropic": _anthropic_direct, "gemini": _gemini_direct}


class Capital(BaseModel):
    city: str
    country: str


@pytest.mark.parametrize("model", MODELS.values())
def test_a_pydantic_model_is_parsed_from_every_vendor(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.parse(
        model=model, messages=[{"role": "user", "content": "city=Paris"}], response_format=Capital
    )
    assert answer.choices[0].message.parsed == Capital(
        city="Paris", country=answer.choices[0].message.parsed.country if answer.choices[0].message.parsed else ""
    )


@pytest.mark.parametrize("model", MODELS.values())
def test_a_stream_is_parsed_into_a_pydantic_model_from_every_vendor(client: openai.OpenAI, model: str) -> None:
    asked: Any = {"model": model, "messages": [{"role": "user", "content": "city=Rome"}], "response_format": Capital}
    with client.chat.completions.stream(**asked) as events:
        parsed = events.get_final_completion().choices[0].message.parsed
    assert isinstance(parsed, Capital)
    assert parsed.city == "Rome"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("effort", [None, "low"], ids=["as the model likes", "thinking"])
@pytest.mark.parametrize("model", [*MODELS.values(), "claude-sonnet-4-5", "gemini-2.5-flash", "claude-opus-5-5"])
def test_a_plain_client_completes_a_five_step_tool_loop(
    client: openai.OpenAI, model: str, effort: str | None, stream: bool
) -> None:
    messages: list[Any] = [{"role": "user", "content": "loop 5"}]
    extra: Any = {"reasoning_effort": effort} if effort and model != "gpt-4o" else {}
    for step in range(6):
        message = _turn(client, model, messages, stream, extra)
        if not message.tool_calls:
            assert step == 5
            return
        messages.append(
            {
                "role": "assistant",
                "content": message.content,
                "tool_calls": [
                    {"id": c.id, "type": "function", "function": c.function.model_dump(include={"name", "arguments"})}
                    for c in message.tool_calls
                ],
            }
        )
        messages += [{"role": "tool", "tool_call_id": c.id, "content": f"step {step}"} for c in message.tool_calls]
    pytest.fail("the loop did not end")


def _turn(client: openai.OpenAI, model: str, messages: list[Any], stream: bool, extra: Any) -> Any:
    asked: Any = {"model": model, "messages": messages, "tools": TOOLS, **extra}
    if not stream:
        return client.chat.completions.create(**asked).choices[0].message
    with client.chat.completions.stream(**asked) as events:
        return events.get_final_completion().choices[0].message


@pytest.fixture
async def aclient(tollhouse: Tollhouse) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{tollhouse.url}/v1", api_key="x", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", MODELS.values())
async def test_the_asynchronous_client_streams_too(aclient: openai.AsyncOpenAI, model: str) -> None:
    stream = await aclient.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "unicode words 30"}], stream=True
    )
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert len(text.split()) >= 30


@pytest.mark.parametrize("model", MODELS.values())
def test_usage_comes_exactly_when_it_was_asked_for(client: openai.OpenAI, model: str) -> None:
    ask: Any = {"model": model, "messages": [{"role": "user", "content": "words 5"}], "stream": True}
    silent = list(client.chat.completions.create(**ask))
    assert all("usage" not in chunk.model_fields_set and chunk.choices for chunk in silent)
    asked = list(client.chat.completions.create(**ask, stream_options={"include_usage": True}))
    assert [bool(chunk.usage) for chunk in asked] == [False] * (len(asked) - 1) + [True]
    assert asked[-1].choices == []


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert {*MODELS.values()} <= listed.keys()
    assert listed["claude-haiku-5-5"].owned_by == "anthropic"
    assert client.models.retrieve("anthropic/claude-haiku-5-5").id == "claude-haiku-5-5"
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("no-such-model")
    assert error.value.code == "model_not_found"


ERRORS: list[tuple[str, dict[str, Any], type[openai.APIStatusError], str | None]] = [
    ("an unknown model", {"model": "no-such"}, openai.NotFoundError, "model_not_found"),
    ("no messages", {"messages": []}, openai.BadRequestError, None),
    ("a wrong type", {"temperature": "hot"}, openai.BadRequestError, None),
    ("a tool result without its call", {"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]},
     openai.BadRequestError, None),
    ("what the vendor has not", {"logprobs": True}, openai.BadRequestError, "unsupported_parameter"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "error", "code"), [case[1:] for case in ERRORS], ids=[c[0] for c in ERRORS])
def test_errors_raise_the_sdks_own_exceptions(
    client: openai.OpenAI, changed: dict[str, Any], error: type[openai.APIStatusError], code: str | None
) -> None:
    asked: Any = {"model": MODELS["anthropic"], "messages": [{"role": "user", "content": "hi"}], **changed}
    with pytest.raises(error) as raised:
        client.chat.completions.create(**asked)
    assert raised.value.code == code
    assert isinstance(raised.value.body, dict)
    assert raised.value.body.keys() == {"message", "type", "param", "code"}
