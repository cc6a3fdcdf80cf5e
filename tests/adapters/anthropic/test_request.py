"""The request as a whole: caps, sampling, prefill and the rest; and no request that breaks us."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import anthropic, envelope, marks, wire
from adapters.base import NOTHING, Capabilities, Failure
from adapters.fields import FIELDS, Verdict
from tests.adapters.anthropic.said import (
    ADAPTIVE,
    ALWAYS,
    BUDGET,
    UNHURRIED,
    ask,
    body,
    called,
    function,
    refusals,
    result,
    target,
    user,
)

FREE = Capabilities()  # obeys temperature and top_p together


def test_the_headers_of_every_request():
    assert anthropic.headers("sk-ant-x") == {"x-api-key": "sk-ant-x", "anthropic-version": "2023-06-01"}


def test_only_plain_http_is_fetched_by_the_proxy():
    parts = [{"type": "image_url", "image_url": {"url": f"{scheme}://e.com/a.png"}} for scheme in ("http", "https")]
    letter = envelope.seal(msgspec.json.encode({"model": "m", "messages": [user(parts)]}))
    assert [remote.url for remote in anthropic.needs(letter, target()).images] == ["http://e.com/a.png"]


def test_the_reading_remembers_what_the_answer_will_need():
    tools = [function("a.b"), {"type": "custom", "custom": {"name": "sql"}}]
    call = ask(tools=tools, stream=True, stream_options={"include_usage": True})
    reading = call.reading
    assert (call.path, reading.stream, reading.include_usage, reading.model) == ("/v1/messages", True, True, "claude")
    assert (reading.names, reading.custom, reading.json_tool) == ({"a_b": "a.b"}, frozenset({"sql"}), None)
    assert not reading.legacy_functions
    assert ask(functions=[{"name": "f"}]).reading.legacy_functions


# --- what a request does not have is not looked at

TALKS = [
    [user()],
    [{"role": "system", "content": "s"}, user(), {"role": "assistant", "content": "Ho"}, user("b")],
    [user(), {"role": "system", "content": "s"}, user("b")],
    [user([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}])],
    [user(), {"role": "assistant", "tool_calls": [called(name="a.b")]}, result()],
]


@pytest.mark.parametrize("able", [ADAPTIVE, ALWAYS, BUDGET, FREE], ids=["adaptive", "always", "budget", "free"])
@pytest.mark.parametrize("messages", TALKS, ids=["text", "system", "mid system", "marked", "called"])
def test_members_that_are_null_are_looked_at_and_say_nothing(messages, able):
    nulls: dict[str, Any] = dict.fromkeys(
        name for name in wire.Chat.__struct_fields__ if name not in ("model", "messages")
    )
    bare, looked = ask(able, messages=messages), ask(able, messages=messages, **nulls)
    assert (bare.body, bare.reading, str(bare.warnings)) == (looked.body, looked.reading, str(looked.warnings))


def test_system_messages_of_mid_conversation_stay_where_they_were_said():
    said = body(FREE, messages=TALKS[2])
    assert [part["text"] for part in said["messages"][0]["content"]] == ["Hi", "<system>s</system>", "b"]
    assert "system" not in said


SAYING: dict[str, tuple[Any, dict[str, Any]]] = {
    "function_call": ({"name": "f"}, {"functions": [{"name": "f"}]}),
    "functions": ([{"name": "f"}], {}),
    "max_completion_tokens": (5, {}),
    "max_tokens": (5, {}),
    "parallel_tool_calls": (False, {"tools": [function()]}),
    "reasoning_effort": ("low", {}),
    "response_format": ({"type": "json_object"}, {}),
    "safety_identifier": ("u", {}),
    "service_tier": ("default", {}),
    "stop": ("x", {}),
    "stream": (True, {}),
    "temperature": (0.5, {}),
    "tool_choice": ("none", {"tools": [function()]}),
    "tools": ([function()], {}),
    "top_p": (0.5, {}),
    "user": ("u", {}),
    "web_search_options": ({}, {}),
}


@pytest.mark.parametrize("able", [ADAPTIVE, BUDGET, FREE], ids=["adaptive", "budget", "free"])
def test_the_marks_of_a_request_are_those_of_what_is_sent_whatever_it_asks_for(able):
    for name, (value, others) in SAYING.items():
        call = ask(able, **{**others, name: value})
        assert call.marks == marks.read(call.body), name


def test_no_member_that_is_spelled_is_overlooked():
    mapped = {name for name, rules in FIELDS.items() if rules["anthropic"].verdict is Verdict.MAPPED}
    assert set(SAYING) == mapped - {"model", "messages"}
    for name, (value, others) in SAYING.items():
        assert body(BUDGET, **others, **{name: value}) != body(BUDGET, **others), name


@pytest.mark.parametrize("member", ['"tool_choice"', '"t\\u006fol_choice"'])
def test_a_name_that_is_written_with_escapes_is_the_same_name(member):
    letter = f'{{"model":"m","messages":[{{"role":"user","content":"Hi"}}],{member}:"auto"}}'
    with pytest.raises(Failure) as raised:
        anthropic.request(envelope.seal(letter.encode()), target(), NOTHING)
    assert raised.value.param == "tool_choice"


@pytest.mark.parametrize("kind", ["image_url", "\\u0069mage_url"])
def test_an_image_is_found_however_its_name_is_written(kind):
    part = '{"type":"image_url","image_url":{"url":"http://e.com/a.png"}}'.replace("image_url", kind)
    letter = f'{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}'
    images = anthropic.needs(envelope.seal(letter.encode()), target()).images
    assert [remote.url for remote in images] == ["http://e.com/a.png"]


# --- the cap


@pytest.mark.parametrize(
    ("asked", "expected", "said"),
    [
        ({}, 64_000, ""),
        ({"max_tokens": 1}, 1, ""),
        ({"max_completion_tokens": 64_000}, 64_000, ""),
        ({"max_tokens": 64_001}, 64_000, "clamped=max_tokens"),
        ({"max_completion_tokens": 10**9}, 64_000, "clamped=max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, 5, ""),
    ],
)
def test_the_cap(asked, expected, said):
    call = ask(**asked)
    assert (msgspec.json.decode(call.body)["max_tokens"], str(call.warnings)) == (expected, said)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
    ],
)
def test_a_cap_that_is_none(asked, param):
    with pytest.raises(Failure) as caught:
        ask(**asked)
    assert (caught.value.status, caught.value.param) == (400, param)


SMALL = {"context": 200_000, "max_output": 64_000}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo" + "A" * 600_000}}
SMALL_PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo"}}
PAPER = {"type": "file", "file": {"file_data": "JVBERi0xLjQK" + "A" * 639_988, "filename": "a.pdf"}}
CALLED = [{"role": "assistant", "tool_calls": [called()]}, result(content=[PICTURE])]


@pytest.mark.parametrize(
    ("messages", "to", "expected"),
    [
        pytest.param([user("x" * 300)], SMALL, range(64_000, 64_001), id="short: the model's maximum"),
        pytest.param([user("x" * 450_000)], SMALL, range(49_000, 50_000), id="long: what the window leaves"),
        pytest.param([user("x" * 900_000)], SMALL, range(4096, 4097), id="very long: never less than this"),
        pytest.param([user("x" * 900_000)], {**SMALL, "max_output": 2000}, range(2000, 2001), id="than the maximum"),
        pytest.param([user("x" * 900_000)], {"context": 1_000_000}, range(64_000, 64_001), id="a large window"),
        pytest.param([user("x" * 900_000)], {"context": 200_001}, range(64_000, 64_001), id="one token larger"),
        pytest.param([user([PICTURE])], SMALL, range(64_000, 64_001), id="an image is few tokens and many bytes"),
        pytest.param([user(), *CALLED], SMALL, range(64_000, 64_001), id="in the result of a tool too"),
        pytest.param([user([SMALL_PICTURE] * 100)], SMALL, range(36_000, 40_001), id="but it is some"),
        pytest.param([user([PAPER] * 8)], SMALL, range(39_000, 40_001), id="pages of a document are in between"),
    ],
)
def test_without_a_cap_small_windows_are_not_overfilled(messages, to, expected):
    assert body(to=to, messages=messages, tools=[function()])["max_tokens"] in expected


# --- sampling


@pytest.mark.parametrize(
    ("able", "asked", "sent", "said"),
    [
        pytest.param(FREE, {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, "", id="both"),
        pytest.param(BUDGET, {"temperature": 0, "top_p": 0.9}, {"temperature": 0}, "dropped=top_p", id="one of both"),
        pytest.param(BUDGET, {"temperature": 1, "top_p": 0.9}, {"top_p": 0.9}, "", id="1 is no wish"),
        pytest.param(BUDGET, {"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}, "", id="nor here"),
        pytest.param(FREE, {"temperature": 1.5}, {"temperature": 1}, "clamped=temperature", id="clamped"),
        pytest.param(FREE, {"temperature": 2}, {"temperature": 1}, "clamped=temperature", id="the most, clamped"),
        pytest.param(ADAPTIVE, {"temperature": 0, "top_p": 0}, {}, "dropped=temperature,top_p", id="trap 14: neither"),
        pytest.param(ADAPTIVE, {"temperature": 1, "top_p": 1}, {}, "", id="neither was wished"),
        pytest.param(
            BUDGET, {"temperature": 0, "reasoning_effort": "low"}, {}, "dropped=temperature", id="not while thinking"
        ),
        pytest.param(
            FREE, {"temperature": 0, "reasoning_effort": "none"}, {"temperature": 0}, "", id="thinking that is off"
        ),
    ],
)
def test_sampling(able, asked, sent, said):
    call = ask(able, **asked)
    found = {key: value for key, value in msgspec.json.decode(call.body).items() if key in ("temperature", "top_p")}
    assert (found, str(call.warnings)) == (sent, said)


@pytest.mark.parametrize("able", [FREE, ADAPTIVE])
@pytest.mark.parametrize(
    ("name", "value"), [("temperature", -0.1), ("temperature", 2.1), ("top_p", -1), ("top_p", 1.1)]
)
def test_sampling_out_of_range_is_refused_by_every_model(able, name, value):
    with pytest.raises(Failure) as caught:
        ask(able, **{name: value})
    assert caught.value.param == name


# --- an assistant's message at the end


@pytest.mark.parametrize(
    ("content", "expected"), [("So", "So"), ("So \n", "So"), ([{"type": "text", "text": "A "}], "A")]
)
def test_prefill_where_it_is_taken(content, expected):
    said = body(BUDGET, messages=[user(), {"role": "assistant", "content": content}])
    assert said["messages"][-1]["content"] == [{"type": "text", "text": expected}]


def test_only_what_stands_at_the_end_of_a_prefill_is_trimmed():
    turn = {"role": "assistant", "content": [{"type": "text", "text": "A "}, {"type": "text", "text": "B "}]}
    said = body(BUDGET, messages=[user(), turn, user(), turn])
    texts = [[block["text"] for block in said["messages"][k]["content"]] for k in (1, 3)]
    assert texts == [["A ", "B "], ["A ", "B"]]


@pytest.mark.parametrize(("able", "members"), [(ADAPTIVE, {}), (ALWAYS, {}), (BUDGET, {"reasoning_effort": "low"})])
def test_prefill_where_it_is_not(able, members):
    with pytest.raises(Failure) as caught:
        ask(able, messages=[user(), {"role": "assistant", "content": "So"}], **members)
    assert (caught.value.status, caught.value.param) == (400, "messages")


# --- the rest


@pytest.mark.parametrize(
    ("members", "sent"),
    [
        ({"user": "u-1"}, "u-1"),
        ({"user": "u-1", "safety_identifier": "s-1"}, "s-1"),
        ({"user": ""}, None),
        ({"user": "x" * 512}, "x" * 512),
        ({"user": "x" * 513}, "digest"),
        ({"user": "jo@example.com"}, "digest"),
        ({"user": "+41 (44) 668-18.00"}, "digest"),
        ({"user": "123456"}, "123456"),
    ],
)
def test_who_asks(members, sent):
    found = body(**members).get("metadata", {}).get("user_id")
    assert len(found) == 64 if sent == "digest" else found == sent


@pytest.mark.parametrize(
    ("tier", "sent", "said"),
    [
        ("auto", "auto", ""),
        ("default", "standard_only", ""),
        *((tier, None, "dropped=service_tier") for tier in ("flex", "priority", "fast", "scale", "?")),
    ],
)
def test_the_tier(tier, sent, said):
    call = ask(service_tier=tier)
    assert (msgspec.json.decode(call.body).get("service_tier"), str(call.warnings)) == (sent, said)


@pytest.mark.parametrize(
    ("stop", "sent", "said"),
    [("a", ["a"], ""), (["a", "b"], ["a", "b"], ""), ([" ", "a"], ["a"], "dropped=stop"), ("\n", None, "dropped=stop")],
)
def test_stop_sequences(stop, sent, said):
    call = ask(stop=stop)
    assert (msgspec.json.decode(call.body).get("stop_sequences"), str(call.warnings)) == (sent, said)


@pytest.mark.parametrize("stop", ["", ["a", ""]])
def test_a_stop_sequence_of_nothing_is_refused(stop):
    with pytest.raises(Failure) as caught:
        ask(stop=stop)
    assert caught.value.param == "stop"


def test_trap_32_the_system_stays_as_it_is_from_turn_to_turn():
    first = [{"role": "system", "content": "S"}, user("A"), {"role": "assistant", "content": "B"}]
    later = [*first, user("C"), {"role": "system", "content": "T"}, {"role": "assistant", "content": "D"}, user("E")]
    for able in (ADAPTIVE, BUDGET):
        before = body(able, messages=[*first, user("C")])
        after = body(able, messages=later)
        assert after["system"] == before["system"]
        assert after["messages"][:2] == before["messages"][:2]


# --- no request breaks us

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", " ", "user", "auto", "text", "f", "none"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "role", "content", "text", "function", "name"]), inner, max_size=4)
    ),
    max_leaves=8,
)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        name: JSON
        for name in (
            *("max_tokens", "stop", "tools", "tool_choice", "response_format", "reasoning_effort", "temperature"),
            *("web_search_options", "user", "functions", "function_call", "service_tier", "unknown"),
        )
    },
)


@given(MEMBERS, st.lists(JSON, max_size=3), st.sampled_from([ADAPTIVE, ALWAYS, BUDGET, FREE]))
@UNHURRIED
def test_whatever_comes_is_translated_or_refused(members, messages, able):
    with refusals():
        call = ask(able, **{"messages": [user(), *messages], **members})
        assert msgspec.json.decode(call.body)["messages"]


@pytest.mark.parametrize("depth", [*range(960, 1000, 3)])
def test_no_depth_of_a_schema_breaks_us(depth):
    deep = b'{"properties":{"a":' * (depth // 2) + b'{"type":"null"}' + b"}}" * (depth // 2)
    for where in (
        b'"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"x":%s}}}]',
        b'"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object","x":%s}}}',
    ):
        letter = b'{"model":"m","messages":[{"role":"user","content":"Hi"}],' + where % deep + b"}"
        with refusals():
            assert anthropic.request(envelope.seal(letter), target(), NOTHING).body
