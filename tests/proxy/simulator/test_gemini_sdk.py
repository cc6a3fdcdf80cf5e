"""The official Google SDK against the simulator."""

import http.client
import json
from urllib.parse import urlsplit

import pytest
from google.genai import types

TOOL = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="look", parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}}
        ),
        types.FunctionDeclaration(name="now"),
    ]
)
OLD, NEW, NEWEST = "gemini-2.5-flash", "gemini-3-flash-preview", "gemini-4-argon"


def config(**extra):
    quiet = types.AutomaticFunctionCallingConfig(disable=True)
    return types.GenerateContentConfig(automatic_function_calling=quiet, **extra)


def streamed(client, **request):
    """(visible text, names of calls, last finish reason, last usage) of a stream."""
    text, calls, finish, usage = "", [], None, None
    for chunk in client.models.generate_content_stream(**request):
        candidate = chunk.candidates[0]
        for part in (candidate.content.parts if candidate.content else None) or []:
            text += part.text if part.text and not part.thought else ""
            calls += [part.function_call.name] if part.function_call else []
        finish, usage = candidate.finish_reason or finish, chunk.usage_metadata or usage
    return text, calls, finish, usage


@pytest.mark.parametrize("model", [OLD, NEW, NEWEST])
@pytest.mark.parametrize("thoughts", [True, False])
@pytest.mark.parametrize("text", ["hello", "call both", "call now", "unicode words 30"])
def test_a_stream_adds_up_to_the_whole_answer(ge, model, text, thoughts):
    thinking = types.ThinkingConfig(include_thoughts=thoughts)
    request = {"model": model, "contents": text, "config": config(tools=[TOOL], thinking_config=thinking)}
    whole = ge.models.generate_content(**request)
    parts = whole.candidates[0].content.parts
    visible = "".join(p.text for p in parts if p.text and not p.thought)
    calls = [p.function_call.name for p in parts if p.function_call]
    finish = whole.candidates[0].finish_reason
    assert streamed(ge, **request) == (visible, calls, finish, whole.usage_metadata)
    assert any(p.thought for p in parts) == thoughts


def test_from_3_5_on_the_finish_comes_after_the_call_in_a_chunk_of_its_own(ge):
    chunks = list(ge.models.generate_content_stream(model=NEWEST, contents="call now", config=config(tools=[TOOL])))
    assert [c.candidates[0].finish_reason for c in chunks] == [None, types.FinishReason.STOP]
    assert chunks[1].candidates[0].content.parts[0].text == ""


def test_the_first_call_of_a_step_is_signed_and_taken_back(ge):
    chat = ge.chats.create(model=NEWEST, config=config(tools=[TOOL]))
    answer = chat.send_message("loop 2")
    for number in range(2):
        assert answer.candidates[0].content.parts[0].thought_signature
        call = answer.function_calls[0]
        response = {"output": f"result {number}"}
        part = types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response=response))
        answer = chat.send_message(part)
    assert answer.text == "The tools said: result 0 | result 1"


def test_a_schema_is_answered_by_an_instance(ge):
    schema = {"type": "object", "properties": {"size": {"type": "integer"}}}
    wanted = config(response_mime_type="application/json", response_json_schema=schema)
    assert json.loads(ge.models.generate_content(model=NEW, contents="size=7", config=wanted).text) == {"size": 7}


def test_a_limit_inside_the_thoughts_leaves_a_content_without_parts(ge):
    answer = ge.models.generate_content(model=NEW, contents="hello", config=config(max_output_tokens=2))
    assert answer.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert answer.candidates[0].content.parts is None
    assert answer.usage_metadata.candidates_token_count is None
    assert answer.usage_metadata.thoughts_token_count == 2


def test_usage_adds_up_to_the_total(ge):
    usage = ge.models.generate_content(model=NEW, contents="hello").usage_metadata
    parts = usage.prompt_token_count + usage.candidates_token_count + usage.thoughts_token_count
    assert usage.total_token_count == parts


def test_a_budget_of_zero_means_no_thoughts(ge):
    still = config(thinking_config=types.ThinkingConfig(thinking_budget=0))
    usage = ge.models.generate_content(model=OLD, contents="hello", config=still).usage_metadata
    assert usage.thoughts_token_count is None


def test_without_alt_sse_a_stream_is_a_json_array(vendors):
    place = urlsplit(vendors.gemini)
    connection = http.client.HTTPConnection(place.hostname, place.port)
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "words 3"}]}]})
    connection.request("POST", f"/v1beta/models/{OLD}:streamGenerateContent", body, {"x-goog-api-key": "key"})
    response = connection.getresponse()
    pieces = json.loads(response.read())
    connection.close()
    assert response.headers["content-type"] == "application/json; charset=UTF-8"
    assert pieces[-1]["candidates"][0]["finishReason"] == "STOP"


def test_tokens_are_counted_as_they_are_billed(ge):
    counted = ge.models.count_tokens(model=NEW, contents="hello there").total_tokens
    usage = ge.models.generate_content(model=NEW, contents="hello there").usage_metadata
    assert counted == usage.prompt_token_count


def test_models_are_listed(ge):
    assert f"models/{OLD}" in [m.name for m in ge.models.list()]
