"""The whole answer: counts, blocks and words that the golden cases do not already say."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import anthropic
from adapters.anthropic.answer import FINISH, UsageSaid, annotations, compact, finish
from adapters.base import Failure, Kind, Usage
from tests.adapters.anthropic.said import STAMP, UNHURRIED, call, message, text, tool_use

SEARCHED = {"type": "web_search_result_location", "url": "https://e.com", "title": "E", "cited_text": "x"}


def answer(said: Any, **reading: Any) -> dict[str, Any]:
    answered = anthropic.response(msgspec.json.encode(said), call(**reading), STAMP)
    return msgspec.json.decode(answered.body, type=dict[str, Any])


def told(*content: dict[str, Any], **reading: Any) -> dict[str, Any]:
    choice: dict[str, Any] = answer(message(*content), **reading)["choices"][0]["message"]
    return choice


# --- counts


@pytest.mark.parametrize(
    ("said", "buckets"),
    [
        pytest.param({}, Usage(), id="nothing is 0"),
        pytest.param(dict.fromkeys(UsageSaid.__struct_fields__), Usage(), id="null is 0"),
        pytest.param(
            {"input_tokens": -1, "output_tokens": 2**53 + 1, "cache_creation": [], "server_tool_use": "x"},
            Usage(),
            id="what is no count is 0",
        ),
        pytest.param({"input_tokens": 5.0, "output_tokens": "3"}, Usage(in_text=5, out_text=3), id="however written"),
        pytest.param({"input_tokens": 5, "output_tokens": 3}, Usage(in_text=5, out_text=3), id="in and out"),
        pytest.param(
            {"input_tokens": 10, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 100},
            Usage(in_text=10, cache_read=1000, cache_write_5m=100),
            id="trap 24: written without a split is five minutes",
        ),
        pytest.param(
            {
                "cache_creation_input_tokens": 100,
                "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 70},
            },
            Usage(cache_write_5m=30, cache_write_1h=70),
            id="trap 24: with a split",
        ),
        pytest.param(
            {"cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": None}},
            Usage(cache_write_5m=30),
            id="only the split",
        ),
        pytest.param(
            {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}},
            Usage(out_text=5, out_reasoning=4),
            id="thinking is a part of the output",
        ),
        pytest.param(
            {"output_tokens": 3, "output_tokens_details": {"thinking_tokens": 4}},
            Usage(out_reasoning=3),
            id="never more than all of it",
        ),
        pytest.param({"server_tool_use": {"web_search_requests": 2}}, Usage(web_searches=2), id="searches"),
    ],
)
def test_counts_fall_into_disjoint_buckets(said, buckets):
    assert UsageSaid.read(msgspec.Raw(msgspec.json.encode(said))).buckets() == buckets


def test_trap_24_the_total_is_what_went_in_and_each_part_of_it_once():
    usage = {"input_tokens": 10, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 100}
    found = answer(message(usage={**usage, "output_tokens": 1}))["usage"]
    assert (found["prompt_tokens"], found["completion_tokens"], found["total_tokens"]) == (1110, 1, 1111)
    assert found["prompt_tokens_details"] == {"cached_tokens": 1000, "audio_tokens": 0, "cache_write_tokens": 100}


def test_trap_25_what_is_told_later_replaces_and_what_is_not_told_stays():
    counted = UsageSaid(input_tokens=10, output_tokens=1, cache_read_input_tokens=7)
    counted.overwrite(UsageSaid(output_tokens=30, cache_read_input_tokens=0))
    assert counted == UsageSaid(input_tokens=10, output_tokens=30, cache_read_input_tokens=0)


def test_what_is_told_later_replaces_even_if_it_is_no_count():
    earlier = UsageSaid(input_tokens=10, output_tokens=1, speed="fast")
    counted = UsageSaid.read(msgspec.Raw(b'{"output_tokens":"many","service_tier":"priority"}'), earlier)
    assert counted == UsageSaid(input_tokens=10, output_tokens=0, speed="fast", service_tier="priority")


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        ({}, None),
        ({"service_tier": "standard"}, "default"),
        ({"service_tier": "priority"}, "priority"),
        ({"service_tier": "batch"}, None),
        ({"service_tier": "priority", "speed": "fast"}, "fast"),
        ({"service_tier": "standard", "speed": "standard"}, "default"),
    ],
)
def test_tiers(said, tier):
    assert answer(message(usage=said)).get("service_tier") == tier
    whole = anthropic.response(msgspec.json.encode(message(usage=said)), call(), STAMP)
    assert (whole.service_tier, whole.finish) == (tier, "stop")


# --- how it ended


@pytest.mark.parametrize(
    ("reason", "json_tool", "expected"),
    [
        ("end_turn", None, "stop"),
        ("stop_sequence", None, "stop"),
        ("max_tokens", None, "length"),
        ("model_context_window_exceeded", None, "length"),
        ("tool_use", None, "tool_calls"),
        ("tool_use", "json_tool_call", "stop"),
        ("max_tokens", "json_tool_call", "length"),
        ("refusal", None, "content_filter"),
        ("pause_turn", None, "length"),
        ("compaction", None, "length"),
        ("from_the_future", None, "stop"),
        (None, None, "stop"),
    ],
)
def test_finish_reasons(reason, json_tool, expected):
    assert finish(reason, json_tool=json_tool) == expected


def test_every_reason_is_one_of_openais():
    assert set(FINISH.values()) <= {"stop", "length", "tool_calls", "content_filter"}


@pytest.mark.parametrize(
    ("content", "details", "expected"),
    [
        ((), {"type": "refusal", "explanation": "No."}, (None, "No.")),
        ((), {"type": "refusal", "explanation": None}, (None, "Request declined")),
        ((), None, (None, "Request declined")),
        ((text("Well"),), None, ("Well", None)),
    ],
)
def test_refusals(content, details, expected):
    choice = answer(message(*content, stop="refusal", stop_details=details))["choices"][0]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == expected
    assert choice["finish_reason"] == "content_filter"


# --- blocks


@pytest.mark.parametrize(
    ("input", "expected"),
    [
        (b"{}", "{}"),
        (b"null", "{}"),
        (b'{ "b" : 1.50, "a": [1e3, "\xc3\xa4"] }', '{"b":1.50,"a":[1e3,"ä"]}'),
    ],
)
def test_arguments_keep_their_order_and_their_numbers(input, expected):
    assert compact(msgspec.Raw(input)) == expected


def test_a_call_without_input_and_one_without_a_name():
    assert told({"type": "tool_use", "id": "a"})["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "", "arguments": "{}"}}
    ]


def test_the_forced_tool_is_told_apart_from_others():
    found = told(tool_use(name="json", input={"a": 1}), tool_use(name="f"), json_tool="json")
    assert found["content"] == '{"a":1}'
    assert [tool["function"]["name"] for tool in found["tool_calls"]] == ["f"]


def test_thinking_is_told_as_text_and_kept_as_blocks():
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
    found = told(thought, hidden, text("Ho"))
    assert (found["reasoning_content"], found["thinking_blocks"], found["content"]) == ("Hm.", [thought, hidden], "Ho")


def test_blocks_may_be_bare():
    found = told({"type": "thinking"}, {"type": "redacted_thinking"}, {"type": "text"}, {"type": "tool_use"})
    assert found["thinking_blocks"] == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "redacted_thinking", "data": ""},
    ]
    assert (found["content"], found["tool_calls"][0]["id"]) == (None, "")


@pytest.mark.parametrize("kind", ["server_tool_use", "web_search_tool_result", "mcp_tool_use", "from_the_future", ""])
def test_trap_33_what_the_client_cannot_answer_is_not_told(kind):
    found = told({"type": kind, "id": "x", "name": "web_search", "input": {"a": 1}, "content": []})
    assert found == {"role": "assistant", "content": "", "refusal": None}


@pytest.mark.parametrize(
    ("citation", "url"),
    [
        (SEARCHED, "https://e.com"),
        ({"type": "search_result_location", "source": "http://e.com/a", "title": None}, "http://e.com/a"),
        ({"type": "search_result_location", "source": "shelf 3", "title": "E"}, None),
        ({"type": "char_location", "document_title": "D"}, None),
        ({"url": 5}, None),
    ],
)
def test_citations_with_an_address_become_annotations(citation, url):
    found = annotations([citation], 2, 5)
    assert [one["url_citation"]["url"] for one in found] == ([url] if url else [])
    assert all((one["url_citation"]["start_index"], one["url_citation"]["end_index"]) == (2, 5) for one in found)


def test_annotations_count_characters_of_the_joined_text():
    found = told(text("🌍ä"), text("xyz", citations=[SEARCHED]), text("", citations=None))["annotations"]
    assert [(one["url_citation"]["start_index"], one["url_citation"]["end_index"]) for one in found] == [(2, 5)]


# --- what is no answer


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", Kind.TRANSIENT),
        (b"null", Kind.TRANSIENT),
        (b"[]", Kind.TRANSIENT),
        (b"\xff", Kind.TRANSIENT),
        (b'{"type":"message"}', Kind.TRANSIENT),
        (b'{"content":[]}', Kind.TRANSIENT),
        (b'{"type":"message","content":[5]}', Kind.TRANSIENT),
        (b'{"type":"message","content":[{"type":"tool_use","input":{"a":"\xff"}}]}', Kind.TRANSIENT),
        (b"[" * 100_000, Kind.TRANSIENT),
        (b'{"error":' * 100_000, Kind.TRANSIENT),
        (b'{"type":"message","content":[],"model":"\xff"}', Kind.TRANSIENT),
        (b'{"error":{"type":"overloaded_error"}}', Kind.OVERLOADED),
        (b'{"error":{"type":"rate_limit_error"},"type":"message","content":[]}', Kind.RATE_LIMITED),
    ],
)
def test_what_is_no_answer_is_a_failure(body, kind):
    with pytest.raises(Failure) as caught:
        anthropic.response(body, call(), STAMP)
    assert caught.value.kind is kind


KEYS = ["type", "content", "text", "input", "usage", "input_tokens", "citations", "stop_reason", "error", "name", "id"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**60) | st.sampled_from(["message", "text", "tool_use", "thinking"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=10,
)
MESSAGES = st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6).map(lambda said: {**said, "type": "message"})


@given(st.binary(max_size=60) | (JSON | MESSAGES).map(msgspec.json.encode), st.booleans())
@UNHURRIED
def test_no_bytes_make_it_raise_anything_but_a_failure(body, fenced):
    with suppress(Failure):
        answered = anthropic.response(body, call(json_fence=fenced, custom=frozenset({"text"})), STAMP)
        assert msgspec.json.decode(answered.body)["choices"]


@pytest.mark.parametrize("said", [None, "x", [1], 7, {}])
def test_an_answer_is_not_lost_for_an_odd_bill(said):
    body = msgspec.json.encode({"type": "message", "content": [{"type": "text", "text": "x"}], "usage": said})
    assert anthropic.response(body, call(), STAMP).usage == Usage()
