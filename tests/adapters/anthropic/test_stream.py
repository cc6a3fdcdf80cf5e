"""The stream: what the golden cases do not already say, and that nothing makes it raise."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import anthropic, sse
from adapters.base import Kind, Usage
from tests.adapters.anthropic.said import STAMP, UNHURRIED, call, event, message, stream_of, text, tool_use


def hear(*pieces: bytes, **reading: Any) -> tuple[Any, list[dict[str, Any]]]:
    """The translation after these pieces and the end, and the deltas that it said."""
    stream = anthropic.stream(call(stream=True, **reading), STAMP)
    said = b"".join([stream.feed(piece) for piece in pieces]) + stream.end()
    chunks = [msgspec.json.decode(one[6:]) for one in said.split(b"\n\n") if one and one != b"data: [DONE]"]
    return stream, [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]


def start(block: dict[str, Any]) -> bytes:
    return event({"type": "content_block_start", "index": 0, "content_block": block})


def delta(**members: Any) -> bytes:
    return event({"type": "content_block_delta", "index": 0, "delta": members})


STOP = event({"type": "content_block_stop", "index": 0})
END = event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}) + event({"type": "message_stop"})


def test_the_record_of_a_stream_that_ended_well():
    usage = {"input_tokens": 5, "output_tokens": 3, "service_tier": "priority"}
    stream, _ = hear(*stream_of(message(text("Hi"), usage=usage)))
    assert (stream.done, stream.failure, stream.finish, stream.service_tier) == (True, None, "stop", "priority")
    assert (stream.usage.in_text, stream.usage.out_text) == (5, 3)


def test_what_is_known_of_the_usage_is_known_at_once():
    """Trap 23: a client that leaves in the middle is billed for what went in."""
    stream = anthropic.stream(call(stream=True), STAMP)
    stream.feed(stream_of(message())[0])
    assert stream.usage is not None
    assert stream.usage.in_text == 5


def test_a_last_event_without_its_blank_line_counts():
    stream, said = hear(*stream_of(message(text("Hi")))[:-1], event({"type": "message_stop"})[:-2])
    assert stream.done
    assert said[-1] == {}


def test_after_the_end_nothing_is_said():
    stream, _ = hear(END)
    assert stream.done
    assert (stream.feed(delta(type="text_delta", text="late")), stream.end()) == (b"", b"")


@pytest.mark.parametrize("cut", [0, 2], ids=["in later events", "in one that waits for its end"])
def test_after_a_failure_nothing_is_said(cut):
    late = delta(type="text_delta", text="late")
    stream, said = hear(b"data: {oops\n\n" + late[: len(late) - cut], late, END)
    assert (said, stream.done, stream.failure.kind) == ([], False, Kind.TRANSIENT)
    assert (stream.feed(END), stream.end()) == (b"", b"")


def test_the_end_of_nothing_is_a_failure_at_once():
    stream = anthropic.stream(call(stream=True), STAMP)
    assert stream.feed(event({"type": "message_stop"})) == b""
    assert stream.failure is not None
    assert stream.failure.code == "upstream_stream_truncated"


def test_where_nothing_was_counted_the_counts_are_nothing():
    stream, _ = hear(END)
    assert stream.usage == Usage()


def test_the_counts_are_the_last_that_were_told_whenever_somebody_asks():
    stream = anthropic.stream(call(stream=True), STAMP)
    stream.feed(event({"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}}))
    assert stream.usage == Usage(in_text=5, out_text=1)
    for said, output in (({"output_tokens": 9}, 9), (None, 9), ("?", 9), ([], 9), ({"output_tokens": 12}, 12)):
        stream.feed(event({"type": "message_delta", "delta": {}, "usage": said}))
        assert stream.usage == Usage(in_text=5, out_text=output)


@pytest.mark.parametrize("message", [{}, {"usage": None}])
def test_while_nothing_is_counted_nobody_is_told_that_it_was_nothing(message):
    stream = anthropic.stream(call(stream=True), STAMP)
    stream.feed(event({"type": "message_start", "message": message}))
    stream.feed(event({"type": "message_delta", "delta": {}, **message}))
    assert (stream.usage, stream.service_tier) == (None, None)


def test_a_message_without_a_model_is_from_the_one_that_was_asked():
    stream = anthropic.stream(call(stream=True), STAMP)
    said = stream.feed(event({"type": "message_start", "message": {}}) + delta(type="text_delta", text="Hi"))
    assert b'"model":"asked"' in said


def test_a_text_that_waits_for_its_end_is_said_before_the_end():
    reason = event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
    stream, said = hear(reason, delta(type="text_delta", text="Hi")[:-2])
    assert (stream.done, said[1:]) == (True, [{"content": "Hi"}, {}])


@pytest.mark.parametrize(
    "ignored",
    [
        b'{"type":"ping"}',
        b'{"type":"from_the_future","message":[],"delta":"x","error":1,"usage":"?"}',
        b'{"type":"content_block_delta"}',
        b'{"type":"content_block_start"}',
        b'{"type":"message_start"}',
        b'{"type":"message_delta"}',
        b'{"delta":{"type":"text_delta","text":"of no type"}}',
        b'{"type":"content_block_delta","delta":{"type":"from_the_future"}}',
        b'{"type":"content_block_delta","delta":{"type":"citations_delta"}}',
    ],
)
def test_what_nobody_knows_says_nothing(ignored):
    stream, said = hear(b"data: " + ignored + b"\n\n", delta(type="text_delta", text="Hi"), END)
    assert stream.done
    assert said[1:] == [{"content": "Hi"}, {}]


HALF = b'{"type":"error","error":"\xff"}'
DEEP = b'{"error":' * 100_000
GRAMMAR = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"]
ODD = [msgspec.json.encode({"type": type, "delta": 5}) for type in [*GRAMMAR, "message_stop", "error"]]


@pytest.mark.parametrize(
    "broken",
    [
        b"{",
        b"[]",
        b"5",
        b'"x"',
        b"\xff",
        b"[" * 100_000,
        b'{"type":5}',
        b'{"type":"error","message":5}',
        HALF,
        DEEP,
        *ODD,
    ],
)
def test_what_cannot_be_read_is_a_failure(broken):
    stream, said = hear(delta(type="text_delta", text="Hi") + b"data: " + broken + b"\n\n")
    assert stream.failure.code == "upstream_malformed_output"
    assert said[1:] == [{"content": "Hi"}]


def test_an_event_without_measure_is_a_failure():
    stream = anthropic.stream(call(stream=True), STAMP)
    assert stream.feed(b"data: " + b"x" * (sse.LARGEST_EVENT + 1) + b"\n") == b""
    assert stream.failure is not None


def test_an_event_without_measure_is_a_failure_at_the_end_as_well():
    stream = anthropic.stream(call(stream=True), STAMP)
    half = b"data: " + b"x" * (sse.LARGEST_EVENT // 2 + 1)
    assert stream.feed(half + b"\n" + half) + stream.end() == b""
    assert stream.failure is not None


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([], "empty_upstream_response"),
        ([b": keepalive\n\n"], "empty_upstream_response"),
        ([b"<html>\n"], "upstream_malformed_output"),
        ([event({"type": "ping"})], "upstream_stream_truncated"),
        ([event({"type": "message_stop"})], "upstream_stream_truncated"),
        ([event({"type": "message_delta", "delta": {"stop_reason": None}})], "upstream_stream_truncated"),
    ],
)
def test_why_it_ended_too_early(pieces, code):
    stream, said = hear(*pieces)
    assert (stream.failure.code, said) == (code, [])


# --- calls


def test_a_call_that_stands_in_its_start_and_one_in_pieces():
    _, said = hear(start(tool_use(input={"a": 1})), STOP, start(tool_use("toolu_2", input={"a": 1})), END)
    assert [one["tool_calls"][0]["function"]["arguments"] for one in said if "tool_calls" in one] == [
        *("", '{"a":1}'),
        *("", '{"a":1}'),
    ]


def test_blocks_may_be_bare():
    bare = [{"type": kind} for kind in ("text", "thinking", "redacted_thinking", "tool_use")]
    _, said = hear(*(piece for block in bare for piece in (start(block), STOP)), END)
    call = {"index": 0, "id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    assert said[1:-1] == [
        {"thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "", "signature": ""}]},
        {"thinking_blocks": [{"index": 1, "type": "redacted_thinking", "data": ""}]},
        {"tool_calls": [call]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
    ]


def test_deltas_may_be_bare():
    _, said = hear(start({"type": "thinking"}), delta(type="thinking_delta"), delta(type="text_delta"), STOP, END)
    assert said[1:-1] == [
        {"thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "", "signature": ""}]},
        {"content": ""},  # an answer of no text
    ]


def test_each_block_begins_anew():
    thoughts = [{"type": "thinking", "thinking": word, "signature": "c2ln"} for word in ("Hm.", "Ah.")]
    _, said = hear(*stream_of(message(*thoughts)))
    assert [one["thinking_blocks"] for one in said if "thinking_blocks" in one] == [
        [{"index": k, **thought}] for k, thought in enumerate(thoughts)
    ]


def test_beside_the_forced_tool_others_are_called():
    _, said = hear(*stream_of(message(tool_use(input={"a": 1}))), json_tool="json")
    assert [one["tool_calls"][0]["function"]["arguments"] for one in said if "tool_calls" in one][:1] == [""]


def test_trap_33_input_of_the_vendors_own_tools_is_not_heard():
    own = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    _, said = hear(start(own), delta(type="input_json_delta", partial_json='{"q":1}'), STOP, END)
    assert said[1:] == [{}]


def test_a_custom_tool_says_its_text_whole():
    pieces = [delta(type="input_json_delta", partial_json=piece) for piece in ("", '{"input"', ':"SELECT 1"}')]
    _, said = hear(start(tool_use(name="sql")), *pieces, STOP, END, custom=frozenset({"sql"}))
    assert [one["tool_calls"][0]["custom"]["input"] for one in said if "tool_calls" in one] == ["", "SELECT 1"]


def test_a_custom_tool_without_input():
    _, said = hear(start(tool_use(name="sql")), STOP, END, custom=frozenset({"sql"}))
    assert [one["tool_calls"][0]["custom"]["input"] for one in said if "tool_calls" in one] == ["", "{}"]


def test_a_whole_message_comes_piece_by_piece():
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
    cited = {"type": "web_search_result_location", "url": "https://e.com", "title": "E"}
    stream, said = hear(
        *stream_of(message(thought, hidden, text("Hello", citations=[cited]), tool_use(), stop="tool_use"))
    )
    assert stream.finish == "tool_calls"
    assert said == [
        {"role": "assistant", "content": None, "refusal": None},
        {"reasoning_content": "Hm."},
        {"thinking_blocks": [{"index": 0, **thought}]},
        {"thinking_blocks": [{"index": 1, **hidden}]},
        {"content": "Hel"},
        {"content": "lo"},
        {"tool_calls": [{"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {
            "annotations": [
                {
                    "type": "url_citation",
                    "url_citation": {"start_index": 0, "end_index": 5, "url": "https://e.com", "title": "E"},
                }
            ]
        },
        {},
    ]


def test_the_forced_tools_input_is_the_text():
    stream, said = hear(*stream_of(message(tool_use(name="json", input={"a": 1}), stop="tool_use")), json_tool="json")
    assert "".join(one.get("content") or "" for one in said) == '{"a":1}'
    assert stream.finish == "stop"


def test_arguments_in_pieces():
    _, said = hear(*stream_of(message(tool_use(input={"a": 1}))))
    pieces = [one["tool_calls"][0]["function"]["arguments"] for one in said if "tool_calls" in one]
    assert pieces == ["", '{"a', '":1', "}"]


def test_a_refusal_is_told_and_the_missing_last_event_is_not_missed():
    refused = message(stop="refusal", stop_details={"type": "refusal", "explanation": "No."})
    stream, said = hear(*stream_of(refused)[:-1])
    assert (stream.done, stream.finish) == (True, "content_filter")
    assert said == [{"role": "assistant", "content": None, "refusal": None}, {"refusal": "No."}, {}]


def test_what_is_open_is_closed_before_a_refusal_is_told():
    reason = event({"type": "message_delta", "delta": {"stop_reason": "refusal"}})
    _, said = hear(start({"type": "thinking", "thinking": "Hm."}), reason, event({"type": "message_stop"}))
    assert [list(one) for one in said[1:]] == [["reasoning_content"], ["thinking_blocks"], ["refusal"], []]


def test_after_an_error_in_the_same_read_nothing_is_said():
    told = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    stream, said = hear(event(told) + delta(type="text_delta", text="late") + END)
    assert (stream.done, said) == (False, [])


def test_trap_17_an_error_midway_is_never_a_clean_stop():
    told = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    stream, said = hear(delta(type="text_delta", text="Hi"), event(told), END)
    assert (stream.done, stream.failure.kind) == (False, Kind.OVERLOADED)
    assert said[1:] == [{"content": "Hi"}]


# --- emulated JSON mode


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param(["{", '"a":1', "}"], ["{", '"a":1', "}"], id="no fence: as it comes"),
        pytest.param([" ", "\n", "{}"], [" \n{}"], id="white space waits"),
        pytest.param(["`", "`{"], ["``{"], id="almost a fence"),
        pytest.param(["`", "`{", "}"], ["``{", "}"], id="almost a fence, and more"),
        pytest.param(["``", "`json\n", "{}", "\n", "```"], ["{}"], id="a fence around the whole"),
        pytest.param(["```\n{}\n```", " there"], ["```\n{}\n``` there"], id="a fence around a part"),
        pytest.param([" "], [" "], id="nothing but white space"),
        pytest.param([], [""], id="nothing"),
    ],
)
def test_one_fence_around_the_whole_is_taken_off(pieces, expected):
    texts = [delta(type="text_delta", text=piece) for piece in pieces]
    _, said = hear(start(text("")), *texts, STOP, END, json_fence=True)
    assert [one["content"] for one in said[(1 if pieces else 0) : -1]] == expected


def test_sources_follow_what_was_in_the_fence():
    cited = {"type": "web_search_result_location", "url": "https://e.com", "title": "E"}
    _, said = hear(*stream_of(message(text("```\n{}\n```", citations=[cited]))), json_fence=True)
    assert [list(one) for one in said[1:]] == [["content"], ["annotations"], []]
    assert said[1] == {"content": "{}"}


def test_a_fence_that_is_cut_off_said_nothing_and_another_vendor_may_be_asked():
    stream, said = hear(start(text("")), delta(type="text_delta", text='```json\n{"a"'), json_fence=True)
    assert (said, stream.failure.code) == ([], "upstream_stream_truncated")


# --- nothing makes it raise

KINDS = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"]
WORDS = [*KINDS, "message_stop", "error", "text", "tool_use", "thinking", "text_delta", "input_json_delta", "end_turn"]
NAMES = ["type", "message", "content_block", "delta", "usage", "error", "text", "partial_json", "stop_reason", "name"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**60) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=6,
)
EVENTS = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4).map(
    lambda said: b"data: " + msgspec.json.encode(said) + b"\n\n"
)
HONEST = st.sampled_from(stream_of(message(text("Hi"), tool_use(name="f", input={"a": 1}), tool_use(name="json"))))
READINGS = st.sampled_from(
    [{}, {"json_tool": "json"}, {"json_fence": True}, {"custom": frozenset("f")}, {"legacy_functions": True}]
)


@given(st.lists(st.binary(max_size=20) | EVENTS | HONEST, max_size=8), READINGS)
@UNHURRIED
def test_nothing_makes_it_raise_and_it_ends_once(pieces, reading):
    stream = anthropic.stream(call(stream=True, **reading), STAMP)
    said = b"".join([stream.feed(piece) for piece in pieces]) + stream.end()
    assert stream.done is (stream.failure is None)
    assert said.count(sse.DONE) == int(stream.done)


@pytest.mark.parametrize(
    "news",
    [
        event({"type": "message_delta", "usage": {"output_tokens": 7}}),
        event({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 7}}),
    ],
    ids=["no delta", "a delta without a reason"],
)
def test_news_of_the_usage_alone_is_no_reason_to_stop(news: bytes):
    stream, _ = hear(start({"type": "text", "text": "a"}), news)
    assert stream.usage.completion == 7
    assert stream.failure
    assert not stream.done
