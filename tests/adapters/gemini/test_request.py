"""The request in Gemini's words: what Google's own SDK would send for it, and what is refused."""

import importlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import envelope, marks, wire
from adapters.base import NOTHING, Call, Failure, Fetched, Kind, Supplies, Target
from adapters.fields import FIELDS, Verdict
from adapters.gemini import headers, needs, request
from tests.adapters import golden
from tests.adapters.gemini import conversations, sdk

HELLO = {"role": "user", "content": "Hello"}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {}}}}}


def sent(chat: dict[str, Any], model: str = "gemini-3.8-flash", supplies: Supplies = NOTHING) -> Call:
    letter = envelope.seal(msgspec.json.encode({"model": model, "messages": [HELLO], **chat}))
    return request(letter, golden.target("gemini", model), supplies)


def body(chat: dict[str, Any], model: str = "gemini-3.8-flash") -> dict[str, Any]:
    said: dict[str, Any] = msgspec.json.decode(sent(chat, model).body)
    return said


def refused(chat: dict[str, Any], model: str = "gemini-3.8-flash") -> Failure:
    with pytest.raises(Failure) as raised:
        sent(chat, model)
    assert raised.value.status == 400
    return raised.value


# --- what a request does not have is not looked at

ASSISTANT = {"role": "assistant", "content": "Ho"}
CALLED = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "a/b"}}]}
TALKS: list[list[dict[str, Any]]] = [
    [HELLO],
    [{"role": "system", "content": "s"}, HELLO, ASSISTANT, HELLO],
    [HELLO, {"role": "system", "content": "s"}, HELLO],
    [HELLO, CALLED, {"role": "tool", "tool_call_id": "c", "content": "ok"}],
]


@pytest.mark.parametrize("model", ["gemini-3.8-flash", "gemini-2.5-flash", "gemma-3-27b-it"])
@pytest.mark.parametrize("messages", TALKS, ids=["text", "system", "mid system", "called"])
def test_members_that_are_null_are_looked_at_and_say_nothing(messages, model):
    nulls = dict.fromkeys(name for name in wire.Chat.__struct_fields__ if name not in ("model", "messages"))
    bare, looked = sent({"messages": messages}, model), sent({"messages": messages, **nulls}, model)
    assert (bare.body, bare.reading, str(bare.warnings)) == (looked.body, looked.reading, str(looked.warnings))


def test_system_messages_of_mid_conversation_stay_where_they_were_said():
    said = body({"messages": TALKS[2]})
    assert [part["text"] for part in said["contents"][0]["parts"]] == ["Hello", "<system>s</system>", "Hello"]
    assert "systemInstruction" not in said


SAYING: dict[str, tuple[Any, dict[str, Any]]] = {
    "frequency_penalty": (0.5, {}),
    "function_call": ({"name": "f"}, {"functions": [{"name": "f"}]}),
    "functions": ([{"name": "f"}], {}),
    "logprobs": (True, {}),
    "max_completion_tokens": (5, {}),
    "max_tokens": (5, {}),
    "n": (2, {}),
    "presence_penalty": (0.5, {}),
    "reasoning_effort": ("low", {}),
    "response_format": ({"type": "json_object"}, {}),
    "seed": (5, {}),
    "service_tier": ("default", {}),
    "stop": ("x", {}),
    "temperature": (0.5, {}),
    "tool_choice": ("none", {"tools": [WEATHER]}),
    "tools": ([WEATHER], {}),
    "top_logprobs": (5, {"logprobs": True}),
    "top_p": (0.5, {}),
    "web_search_options": ({}, {}),
}


def test_no_member_that_is_spelled_is_overlooked():
    mapped = {name for name, rules in FIELDS.items() if rules["gemini"].verdict is Verdict.MAPPED}
    assert set(SAYING) == mapped - {"model", "messages", "stream"}
    for name, (value, others) in SAYING.items():
        said, unsaid = sent({**others, name: value}), sent(others)
        assert (said.body, str(said.warnings)) != (unsaid.body, str(unsaid.warnings)), name


def test_the_marks_of_a_request_are_those_of_what_is_sent_whatever_it_asks_for():
    for name, (value, others) in SAYING.items():
        call = sent({**others, name: value})
        assert call.marks == marks.read(call.body), name


@pytest.mark.parametrize("kind", ["image_url", "\\u0069mage_url"])
def test_an_image_is_found_however_its_name_is_written(kind):
    part = '{"type":"image_url","image_url":{"url":"http://e.com/a.png"}}'.replace("image_url", kind)
    letter = f'{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}'
    for model in ("gemini-3.8-flash", "gemini-2.5-flash"):
        images = needs(envelope.seal(letter.encode()), golden.target("gemini", model)).images
        assert [remote.url for remote in images] == ["http://e.com/a.png"]


def test_the_key_goes_into_a_header():
    assert headers("secret") == {"x-goog-api-key": "secret"}


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("gemini-x", False, "/v1beta/models/gemini-x:generateContent"),
        ("gemini-x", True, "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"),
        ("../a b?c", False, "/v1beta/models/..%2Fa%20b%3Fc:generateContent"),
    ],
)
def test_the_model_and_the_stream_are_in_the_path(model, stream, path):
    known = golden.target("gemini", "gemini-3.8-flash")
    target = Target(
        provider="g", vendor="gemini", model=model, capabilities=known.capabilities, context=1, max_output=1
    )
    letter = envelope.seal(msgspec.json.encode({"model": model, "messages": [HELLO], "stream": stream}))
    call = request(letter, target, NOTHING)
    assert call.path == path
    assert msgspec.json.decode(call.body) == {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}


def test_a_name_that_a_client_makes_up_is_not_remembered_where_it_is_long():
    remembered = importlib.import_module("adapters.gemini.request")._remembered
    known = golden.target("gemini", "gemini-3.8-flash")
    letter = envelope.seal(msgspec.json.encode({"model": "m", "messages": [HELLO]}))
    before = remembered.cache_info().currsize
    for length in (257, 1_000_000):
        call = request(letter, msgspec.structs.replace(known, model="m" * length), NOTHING)
        assert call.path == f"/v1beta/models/{'m' * length}:generateContent"
    assert remembered.cache_info().currsize == before
    request(letter, msgspec.structs.replace(known, model="n" * 256), NOTHING)
    assert remembered.cache_info().currsize == before + 1, "or nothing was to be seen here"


def test_only_what_gemini_does_not_find_by_itself_is_fetched():
    urls = ["https://x.example/a.png", "https://youtu.be/1", "data:image/png;base64,AAAA", "https://["]
    content = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    letter = envelope.seal(msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": content}]}))
    wanted = needs(letter, golden.target("gemini", "gemini-3.8-flash")).images
    assert [(image.url, image.param) for image in wanted] == [
        ("https://x.example/a.png", "messages[0].content[0].image_url.url"),
        ("https://[", "messages[0].content[3].image_url.url"),
    ]


def called(id: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}, **more}


SIGNED = {"extra_content": {"google": {"thought_signature": "c2ln"}}}


@pytest.mark.parametrize(
    ("model", "calls", "wanted"),
    [
        pytest.param("gemini-3.8-flash", [called("1"), called("2")], ["1", "2"], id="lost"),
        pytest.param("gemini-3.8-flash", [called("1", **SIGNED), called("2")], [], id="one of a step is enough"),
        pytest.param("gemini-2.5-flash", [called("1"), called("2")], [], id="a model without signatures"),
    ],
)
def test_signatures_that_the_client_lost_are_wanted(model, calls, wanted):
    turns = [{"role": "assistant", "content": "Hm."}, {"role": "assistant", "tool_calls": calls}]
    letter = envelope.seal(msgspec.json.encode({"model": "m", "messages": [HELLO, *turns]}))
    assert [*needs(letter, golden.target("gemini", model)).states] == wanted


def test_several_answers_are_asked_for_and_remembered():
    call = sent({"n": 3})
    assert msgspec.json.decode(call.body)["generationConfig"] == {"candidateCount": 3}
    assert call.reading.choices == 3


MOST = golden.target("gemini", "gemini-3.8-flash").max_output


@pytest.mark.parametrize(
    ("asked", "expected", "said"),
    [
        ({"max_tokens": 1}, 1, ""),
        ({"max_completion_tokens": MOST}, MOST, ""),
        ({"max_tokens": MOST + 1}, MOST, "clamped=max_tokens"),
        ({"max_completion_tokens": MOST + 1}, MOST, "clamped=max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, 5, ""),
    ],
)
def test_the_cap(asked, expected, said):
    call = sent(asked)
    assert msgspec.json.decode(call.body)["generationConfig"] == {"maxOutputTokens": expected}
    assert str(call.warnings) == said


@pytest.mark.parametrize(
    ("paid", "asked", "expected"),
    [
        pytest.param(2_000, {}, {"maxOutputTokens": 2_000}, id="no cap of the client's"),
        pytest.param(
            2_000,
            {"reasoning_effort": "high"},
            {
                "maxOutputTokens": 2_000,
                "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1_000},
            },
            id="thoughts take half of it",
        ),
        pytest.param(
            2_000,
            {"reasoning_effort": "high", "max_tokens": 1_500},
            {
                "maxOutputTokens": 1_500,
                "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 24_576},
            },
            id="the client's own cap is his affair",
        ),
    ],
)
def test_what_the_money_at_hand_comes_to_is_the_cap(paid, asked, expected):
    target = msgspec.structs.replace(golden.target("gemini", "gemini-2.5-flash"), cap=paid)
    letter = envelope.seal(msgspec.json.encode({"model": "m", "messages": [HELLO], **asked}))
    assert msgspec.json.decode(request(letter, target, NOTHING).body)["generationConfig"] == expected


@pytest.mark.parametrize(("seed", "said"), [(5, 5), (2**31 - 1, 2**31 - 1), (2**31 + 5, 5), (-1, 2**31 - 1)])
def test_a_seed_fits_into_31_bits(seed, said):
    assert body({"seed": seed})["generationConfig"] == {"seed": said}


def test_what_the_answer_needs_is_remembered():
    call = sent(
        {
            "stream": True,
            "stream_options": {"include_usage": True},
            "tools": [
                {"type": "function", "function": {"name": "a/b"}},
                {"type": "custom", "custom": {"name": "sql"}},
            ],
        }
    )
    reading = call.reading
    assert (reading.stream, reading.include_usage, reading.choices) == (True, True, 1)
    assert reading.names == {"a_b": "a/b"}
    assert reading.custom == {"sql"}
    assert not reading.legacy_functions
    assert reading.model == "gemini-3.8-flash"


def test_deprecated_functions_are_remembered():
    assert sent({"functions": [{"name": "f"}]}).reading.legacy_functions


@pytest.mark.parametrize(
    ("chat", "model", "param"),
    [
        ({"n": 2, "stream": True}, "gemini-3.8-flash", "n"),
        ({"logprobs": True, "stream": True}, "gemini-2.5-flash", "logprobs"),
        ({"top_logprobs": 3}, "gemini-2.5-flash", "top_logprobs"),
        ({"stop": ""}, "gemini-3.8-flash", "stop"),
        ({"max_tokens": 0}, "gemini-3.8-flash", "max_tokens"),
        ({"max_completion_tokens": -1}, "gemini-3.8-flash", "max_completion_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "gemini-3.8-flash", "max_tokens"),
        ({"messages": [HELLO, {"role": "assistant", "content": "Hi"}]}, "gemini-3.8-flash", "messages"),
        ({"web_search_options": {}, "tools": [WEATHER]}, "gemini-2.5-flash", "web_search_options"),
        ({"response_format": {"type": "json_object"}, "tools": [WEATHER]}, "gemini-2.5-flash", "response_format"),
        ({"response_format": {"type": "json_object"}, "web_search_options": {}}, "gemini-2.5-flash", "response_format"),
    ],
)
def test_what_cannot_be_had_is_refused_by_its_name(chat, model, param):
    assert refused(chat, model).param == param


def test_a_model_without_structured_output_refuses_a_schema():
    able = msgspec.structs.replace(golden.target("gemini", "gemini-3.8-flash").capabilities, json_schema=False)
    target = msgspec.structs.replace(golden.target("gemini", "gemini-3.8-flash"), capabilities=able)
    format = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    letter = envelope.seal(msgspec.json.encode({"model": "m", "messages": [HELLO], "response_format": format}))
    with pytest.raises(Failure) as raised:
        request(letter, target, NOTHING)
    assert (raised.value.kind, raised.value.param) == (Kind.UNSUPPORTED, "response_format")


@pytest.mark.parametrize(
    ("parameters", "kept"),
    [
        pytest.param(None, False, id="none"),
        pytest.param({}, False, id="empty"),
        pytest.param({"type": "object", "properties": {}}, False, id="no properties"),
        pytest.param({"type": "object", "additionalProperties": False}, False, id="closed and empty"),
        pytest.param({"properties": {"a": {}}}, True, id="a property"),
        pytest.param({"type": "object", "additionalProperties": True}, True, id="open"),
        pytest.param({"$ref": "#/$defs/A", "$defs": {"A": {}}}, True, id="a reference"),
        pytest.param({"patternProperties": {"^a": {}}}, True, id="any of a pattern"),
        pytest.param({"oneOf": [{"properties": {"a": {}}}]}, True, id="exactly one of several"),
        pytest.param({"anyOf": [{"properties": {"a": {}}}]}, True, id="one of several"),
        pytest.param({"allOf": [{"properties": {"a": {}}}]}, True, id="all of several"),
    ],
)
def test_a_tool_has_a_schema_if_it_takes_anything(parameters, kept):
    spec = {"name": "f"} | ({} if parameters is None else {"parameters": parameters})
    [tool] = body({"tools": [{"type": "function", "function": spec}]})["tools"]
    assert ("parametersJsonSchema" in tool["functionDeclarations"][0]) is kept


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return {"properties": {"a": schema}}


@pytest.mark.parametrize(
    ("chat", "param"),
    [
        (
            {"tools": [WEATHER, {"type": "function", "function": {"name": "f", "parameters": deep(60)}}]},
            "tools[1].function.parameters",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "f", "schema": deep(60)}}},
            "response_format.json_schema.schema",
        ),
    ],
)
def test_a_schema_out_of_proportion_is_refused_by_its_place(chat, param):
    assert refused(chat).param == param


# --- the second opinion


GOLDEN = [case for case in golden.request_cases() if case.vendor == "gemini"]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.name)
def test_what_is_sent_is_what_googles_own_sdk_would_send(case):
    file = case.file()
    model = file.models["gemini"]
    try:
        call = request(envelope.seal(bytes(file.request)), golden.target("gemini", model), file.supplies())
    except Failure:
        return  # the golden file says that it must be
    check_with_the_sdk(model, call.path, call.body)


def check_with_the_sdk(model: str, path: str, body: bytes) -> None:
    their_path, theirs = sdk.would_send(model, body)
    assert path.replace(":streamGenerateContent?alt=sse", ":generateContent") == their_path
    assert sdk.settled(theirs) == sdk.settled(msgspec.json.decode(body))


# --- any conversation


MODELS = [
    "gemini-3.8-flash",
    "gemini-4-hydrogen",
    "gemini-2.5-flash",
    "gemini-2.5-pro",
    "gemini-2.0-flash",
    "gemma-3-27b-it",
]
SUPPLIES = Supplies(
    images={conversations.REMOTE: Fetched("image/png", b"\x89PNG\r\n\x1a\n")}, states={"call_1": "c2Vjb25k"}
)


def tried(chat: dict[str, Any], model: str) -> Call | Failure:
    """The request, or why there is none."""
    try:
        return sent(chat, model, SUPPLIES)
    except Failure as failure:
        return failure


@settings(max_examples=150, deadline=None)
@given(conversations.chats(), st.sampled_from(MODELS))
def test_whatever_is_asked_is_said_as_the_sdk_would_say_it_or_refused_with_a_reason(chat, model):
    call = tried(chat, model)
    if isinstance(call, Failure):
        assert (call.status, bool(call.param)) == (400, True)
        return
    check_with_the_sdk(model, call.path, call.body)
    check_turns(msgspec.json.decode(call.body)["contents"])


def check_turns(contents: list[dict[str, Any]]) -> None:
    """Turns alternate from the user's on, are never empty, and each call has its result in the turn behind it."""
    assert [content["role"] for content in contents] == ["user", "model"] * (len(contents) // 2) + ["user"]
    assert all(content["parts"] for content in contents)
    for model, user in zip(contents[1::2], contents[2::2], strict=True):
        called = [part["functionCall"] for part in model["parts"] if "functionCall" in part]
        answered = [part["functionResponse"] for part in user["parts"] if "functionResponse" in part]
        assert [(call["name"], call.get("id")) for call in called] == [(a["name"], a.get("id")) for a in answered]
    for content in contents[::2]:
        assert not any("functionCall" in part for part in content["parts"])
