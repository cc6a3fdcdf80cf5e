"""Anthropic's own SDK as the judge: of what we send, of what we read, and of the two ways in which an answer comes."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from adapters import anthropic
from tests.adapters import golden
from tests.adapters.anthropic import sdk
from tests.adapters.anthropic.said import (
    ADAPTIVE,
    ALWAYS,
    BUDGET,
    STAMP,
    UNHURRIED,
    ask,
    call,
    message,
    refusals,
    stream_of,
)
from tests.adapters.golden import AnswerCase, RequestCase
from tests.adapters.test_golden import Heard, accumulated, hear, name_of, said, settled

# --- what we send

REQUESTS = [case for case in golden.request_cases() if case.vendor == "anthropic"]


@pytest.mark.parametrize("case", REQUESTS, ids=name_of)
def test_every_golden_request_is_one_that_the_sdk_would_send(case: RequestCase):
    sent = said(case)
    if "refused" not in sent:
        assert sdk.faults(bytes(sent["body"])) == []


GOOD = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"top_k_": 1}, id="a member that nobody knows"),
        pytest.param({"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]}]}, id="deeper"),
        pytest.param({"thinking": {"type": "adaptive", "budget_tokens": 1}}, id="of another kind of thinking"),
        pytest.param({"output_config": {"effort": "minimal"}}, id="a word that is none"),
        pytest.param({"max_tokens": "1"}, id="another type"),
        pytest.param({"messages": [{"role": "tool", "content": "x"}]}, id="a role of OpenAI's"),
        pytest.param({"tool_choice": {"type": "tool"}}, id="a tool without a name"),
    ],
)
def test_the_judge_can_say_no(wrong):
    assert sdk.faults(msgspec.json.encode(GOOD)) == []
    assert sdk.faults(msgspec.json.encode(GOOD | wrong)) != []


TEXT = st.text("ab \n.é🌍", max_size=6)
MARK = st.sampled_from([{}, {"prompt_cache_breakpoint": {"mode": "explicit"}}])
PART = st.builds(lambda text, mark: {"type": "text", "text": text, **mark}, TEXT, MARK)
IMAGE = st.sampled_from(["https://e.com/a.png", "data:image/jpg;base64,/9j/4AAQ"]).map(
    lambda url: {"type": "image_url", "image_url": {"url": url}}
)
FILE = st.just({"type": "file", "file": {"file_data": "JVBERi0xLjQK", "filename": "a.pdf"}})
NAME = st.sampled_from(["f", "a.b", "a_b", "1/x", "y" * 130])
ARGUMENTS = st.sampled_from(["", "{}", '{"a": [1.0, null]}', "{broken", "[1]"])
SCHEMA = st.sampled_from(
    [
        None,
        {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]},
        {"properties": {"a": {"oneOf": [{"type": "string", "pattern": "(?=a)"}, {"type": "null"}]}}},
        {"type": "object", "additionalProperties": True},
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
    ]
)
SYSTEM = st.builds(
    lambda role, content: [{"role": role, "content": content}],
    st.sampled_from(["system", "developer"]),
    TEXT | st.lists(PART, max_size=2),
)
USER = (TEXT | st.lists(PART | IMAGE | FILE, max_size=3)).map(lambda content: [{"role": "user", "content": content}])
BLOCKS = st.lists(
    st.sampled_from([{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, {"type": "thinking", "index": 0}]),
    max_size=2,
)


@st.composite
def spoken(draw: st.DrawFn) -> list[dict[str, Any]]:
    """An assistant's message, with the results of its calls behind it in any order."""
    names = draw(st.lists(NAME, max_size=3))
    calls = [
        {"id": f"call:{i}", "type": "function", "function": {"name": name, "arguments": draw(ARGUMENTS)}}
        for i, name in enumerate(names)
    ]
    spoken = {"role": "assistant", "content": draw(TEXT), "thinking_blocks": draw(BLOCKS)}
    content = TEXT | st.lists(PART | IMAGE, max_size=2)
    results = [{"role": "tool", "tool_call_id": one["id"], "content": draw(content)} for one in calls]
    return [spoken | ({"tool_calls": calls} if calls else {}), *draw(st.permutations(results))]


TOOLS = st.lists(st.tuples(NAME, SCHEMA, st.booleans()), unique_by=lambda tool: tool[0], max_size=3).map(
    lambda tools: [
        {"type": "function", "function": {"name": name, "parameters": schema, "strict": strict}}
        for name, schema, strict in tools
    ]
)
FORMAT = st.sampled_from([None, {"type": "json_object"}]) | SCHEMA.map(
    lambda schema: {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "tools": TOOLS,
        "tool_choice": st.sampled_from(["auto", "none", "required"]),
        "parallel_tool_calls": st.booleans(),
        "response_format": FORMAT,
        "reasoning_effort": st.sampled_from(["none", "minimal", "medium", "max"]),
        "temperature": st.sampled_from([0, 0.5, 2]),
        "top_p": st.sampled_from([0.1, 1]),
        "max_tokens": st.sampled_from([1, 5000]),
        "stop": st.sampled_from(["a", [" ", "b"]]),
        "web_search_options": st.sampled_from([{}, {"user_location": {"approximate": {"city": "Rome"}}}]),
        "user": st.sampled_from(["u", "u@example.com"]),
        "stream": st.booleans(),
    },
)
CONVERSATION = st.lists(SYSTEM | USER | spoken(), min_size=1, max_size=5).map(
    lambda turns: [message for turn in turns for message in turn]
)


@given(CONVERSATION, OPTIONS, st.sampled_from([ADAPTIVE, ALWAYS, BUDGET]))
@settings(UNHURRIED, max_examples=300)
def test_any_conversation_becomes_one_that_the_sdk_would_send(messages, options, able):
    with refusals():
        body = ask(able, messages=messages, **options).body
        assert sdk.faults(body) == []
        check_rules(msgspec.json.decode(body))


def check_rules(body: dict[str, Any]) -> None:
    """What the API asks for and no type can say."""
    turns = body["messages"]
    assert turns[0]["role"] == "user"
    assert all(turn["content"] for turn in turns)
    assert all(turn["role"] != after["role"] for turn, after in pairwise(turns))
    open_calls: set[str] = set()
    seen: set[str] = set()
    for turn in turns:
        results = [block["tool_use_id"] for block in turn["content"] if block["type"] == "tool_result"]
        assert {block["type"] for block in turn["content"][: len(results)]} <= {"tool_result"}
        assert set(results) == open_calls
        open_calls = {block["id"] for block in turn["content"] if block["type"] == "tool_use"}
        assert not open_calls & seen
        seen |= open_calls
        texts = [block["text"] for block in turn["content"] if block["type"] == "text"]
        assert all(text.strip() for text in texts)
    assert not open_calls
    names = [tool["name"] for tool in body.get("tools", ())]
    assert len(set(names)) == len(names)
    assert not seen or names
    thinking = body.get("thinking", {"type": "disabled"})["type"]
    assert thinking == "disabled" or body.get("tool_choice", {"type": "auto"})["type"] in ("auto", "none")
    assert msgspec.json.encode(body).count(b'"cache_control"') <= 4


# --- what we read

ANSWERS = [
    AnswerCase("anthropic", case.name, form)
    for form in ("json", "sse")
    for case in golden.answer_cases(form)
    if case.vendor == "anthropic" and not case.path("failure.json").exists()
]
# Over these the SDK stumbles: no real answer lacks counts, has blocks of no type, or goes on behind its end.
STUMBLES = {"nulls", "trap-33-other-blocks", "unknown-events", "events-after-end"}


@pytest.mark.parametrize("case", [case for case in ANSWERS if case.name not in STUMBLES], ids=str)
def test_we_read_of_every_golden_answer_what_the_sdk_reads(case: AnswerCase):
    theirs = sdk.read(case.body) if case.form == "json" else sdk.hear(case.body)
    if case.form == "json":
        ours = ChatCompletion.model_validate_json(anthropic.response(case.body, case.call, STAMP).body)
    else:
        heard = accumulated(hear(case, [case.body]))
        assert heard is not None
        ours = heard
    if not (case.call.reading.custom or case.call.reading.legacy_functions):
        compare(ours, theirs, case.call.reading.json_tool, dict(case.call.reading.names))


FINISH = {
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "from_the_future": "stop",
}


def compare(ours: ChatCompletion, theirs: Message, json_tool: str | None, names: dict[str, str]) -> None:
    """The same text, calls, thinking, reason and sums, by the SDK's reading and by ours."""
    told = ours.choices[0].message
    texts = "".join(block.text for block in theirs.content if block.type == "text")
    uses = [block for block in theirs.content if block.type == "tool_use"]
    if json_tool is None:
        assert (told.content or "") in (texts, _unfenced(texts))
    calls = [
        (one.id, one.function.name, one.function.arguments) for one in told.tool_calls or () if one.type == "function"
    ]
    assert [(id, name) for id, name, _ in calls] == [
        (use.id, names.get(use.name, use.name)) for use in uses if use.name != json_tool
    ]
    if theirs.stop_reason != "max_tokens":
        assert [msgspec.json.decode(arguments) for *_, arguments in calls] == [
            use.input for use in uses if use.name != json_tool
        ]
    extra = told.model_extra or {}
    blocks = [block.model_dump() for block in theirs.content if block.type in ("thinking", "redacted_thinking")]
    assert [{k: v for k, v in block.items() if k != "index"} for block in extra.get("thinking_blocks", ())] == blocks
    reason = FINISH.get(str(theirs.stop_reason), "length")
    assert ours.choices[0].finish_reason == ("stop" if json_tool and reason == "tool_calls" else reason)
    if ours.usage is not None:
        counted = theirs.usage
        cached = (counted.cache_creation_input_tokens or 0) + (counted.cache_read_input_tokens or 0)
        assert ours.usage.prompt_tokens == counted.input_tokens + cached
        assert ours.usage.completion_tokens == counted.output_tokens


def _unfenced(text: str) -> str:
    return text.strip().removeprefix("```json").removesuffix("```").strip()


# --- two ways, one answer

WIRE = st.text('ab"\\\n é🌍\u2028', max_size=8)
INPUT = st.dictionaries(WIRE, st.none() | st.integers(-5, 5) | WIRE | st.lists(st.booleans(), max_size=2), max_size=3)
CITED = st.sampled_from(
    [
        {
            "type": "web_search_result_location",
            "url": "https://e.com",
            "title": "E",
            "cited_text": "",
            "encrypted_index": "",
        }
    ]
)
BLOCK = st.one_of(
    st.builds(
        lambda text, cited: {"type": "text", "text": text, "citations": cited}, WIRE, st.lists(CITED, max_size=1)
    ),
    WIRE.map(lambda thinking: {"type": "thinking", "thinking": thinking, "signature": "c2ln"}),
    st.just({"type": "redacted_thinking", "data": "ZGF0YQ=="}),
    st.builds(
        lambda name, input: {"type": "tool_use", "name": name, "input": input}, st.sampled_from(["f", "a_b"]), INPUT
    ),
    st.just({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}),
    st.just({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}),
)
COUNT = st.none() | st.integers(0, 1000)
USAGE = st.fixed_dictionaries(
    {"input_tokens": st.integers(0, 1000), "output_tokens": st.integers(0, 1000)},
    optional={"cache_read_input_tokens": COUNT, "cache_creation_input_tokens": COUNT},
)
STOPS = st.sampled_from(["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "pause_turn"])
MESSAGE = st.builds(
    lambda blocks, stop, usage: message(
        *({**block, "id": f"toolu_{i}"} if block["type"] == "tool_use" else block for i, block in enumerate(blocks)),
        stop=stop,
        usage=usage,
    ),
    st.lists(BLOCK, max_size=5),
    STOPS,
    USAGE,
)


@given(MESSAGE, st.integers(1, 4), st.lists(st.integers(1, 40), max_size=30), st.booleans())
@settings(UNHURRIED, max_examples=200)
def test_an_answer_is_the_same_plain_and_as_a_stream_however_it_is_cut(said, size, cuts, fenced):
    body = msgspec.json.encode(said)
    whole = b"".join(stream_of(said, size))
    reading = {"names": {"a_b": "a.b"}, "include_usage": True, "json_fence": fenced}
    plain = anthropic.response(body, call(**reading), STAMP)
    stream = anthropic.stream(call(stream=True, **reading), STAMP)
    words = b"".join([stream.feed(piece) for piece in _pieces(whole, cuts)]) + stream.end()
    streamed = accumulated(Heard(words, stream.done, None, stream.finish, stream.service_tier, {}))
    expected = ChatCompletion.model_validate_json(plain.body)
    assert streamed is not None
    assert settled(streamed) == settled(expected)
    assert streamed.usage == expected.usage
    assert (stream.usage, stream.finish, stream.service_tier) == (plain.usage, plain.finish, plain.service_tier)
    if not fenced:
        compare(expected, sdk.read(body), None, {"a_b": "a.b"})
        compare(streamed, sdk.hear(whole), None, {"a_b": "a.b"})


def _pieces(body: bytes, cuts: list[int]) -> list[bytes]:
    pieces = []
    for cut in cuts:
        pieces.append(body[:cut])
        body = body[cut:]
    return [*pieces, body]
