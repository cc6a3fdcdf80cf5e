"""OpenAI's answer is relayed as it came, and read only as far as the proxy must know."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters import openai, sse
from adapters.base import NOTHING, Call, Capabilities, Failure, Kind, Reading, Stamp, Target, Usage, Warnings
from adapters.envelope import seal
from adapters.openai.answer import Relay

STAMP = Stamp("ours", 1)
TARGET = Target(
    provider="openai", vendor="openai", model="m", capabilities=Capabilities(), context=1_000, max_output=100
)
DONE = b"data: [DONE]\n\n"


def call(**reading: Any) -> Call:
    return Call(path="", body=b"", reading=Reading(**reading), warnings=Warnings())


def relay(*bodies: str | bytes, **reading: Any) -> tuple[bytes, Relay]:
    """What is said when these bytes come, and the relay at its end."""
    stream = openai.stream(call(**reading), STAMP)
    said = b"".join(stream.feed(body.encode() if isinstance(body, str) else body) for body in bodies)
    return said + stream.end(), stream


def event(members: str = "", delta: str = "", finish: str = "null") -> str:
    return f'data: {{"id":"x","choices":[{{"index":0,"delta":{{{delta}}},"finish_reason":{finish}}}]{members}}}\n\n'


ROLE = event(delta='"role":"assistant","content":""')
TEXT = event(delta='"content":"a"')
STOP = event(finish='"stop"')
USAGE = 'data: {"id":"x","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n'
ERROR = 'data: {"error":{"message":"boom","type":"server_error","param":null,"code":null}}\n\n'
COUNTED = Usage(in_text=5, out_text=2)


# --- whole answers


def test_a_whole_answer_is_identical_to_the_byte():
    body = b' {"choices": [{"finish_reason": "length", "x": 1.50}], "service_tier": "flex", "usage": {}} '
    answer = openai.response(body, call(), STAMP)
    assert answer.body is body
    assert (answer.finish, answer.service_tier, answer.usage) == ("length", "flex", None)


def test_an_answer_may_keep_its_usage_to_itself():
    assert openai.response(b'{"choices":[{}]}', call(), STAMP).usage is None


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b'{"error":{"code":"insufficient_quota"}}', Kind.QUOTA, "upstream_quota_exhausted"),
        (b'{"choices":[]}', Kind.TRANSIENT, "empty_upstream_response"),
        (b"{}", Kind.TRANSIENT, "empty_upstream_response"),
        (b"<html>", Kind.TRANSIENT, "upstream_malformed_output"),
        (b"[" * 100_000, Kind.TRANSIENT, "upstream_malformed_output"),
        (b'{"error":' * 100_000, Kind.TRANSIENT, "upstream_malformed_output"),
        (b'{"choices":[{"finish_reason":"\xff"}]}', Kind.TRANSIENT, "upstream_malformed_output"),
    ],
)
def test_what_is_no_answer_is_a_failure(body, kind, code):
    with pytest.raises(Failure) as caught:
        openai.response(body, call(), STAMP)
    assert (caught.value.kind, caught.value.code) == (kind, code)


# --- usage


@pytest.mark.parametrize(("options", "bucket"), [("", "cache_write_30m"), (',"ttl":"12h"', "cache_write_12h")])
@pytest.mark.parametrize("stream", [False, True])
def test_the_request_says_for_how_long_it_is_cached(options, bucket, stream):
    members = f'"prompt_cache_options":{{"mode":"implicit"{options}}},"messages":[]'
    raw = f'{{"model":"gpt-5.6-sol","stream":{str(stream).lower()},{members}}}'.encode()
    asked = openai.request(seal(raw), TARGET, NOTHING)
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cache_write_tokens": 4}}
    message = {"index": 0, "finish_reason": "stop", "delta" if stream else "message": {"content": "Hi"}}
    body = msgspec.json.encode({"id": "x", "choices": [message], "usage": usage})
    if stream:
        stream_of = openai.stream(asked, STAMP)
        stream_of.feed(b"data: " + body + b"\n\ndata: [DONE]\n\n")
        counted = stream_of.usage
    else:
        counted = openai.response(body, asked, STAMP).usage
    assert counted is not None
    assert getattr(counted, bucket) == 4


# --- streams


def test_a_proper_stream_is_identical_to_the_byte():
    body = ROLE + TEXT + STOP + USAGE + DONE.decode()
    said, stream = relay(body, include_usage=True)
    assert said == body.encode()
    assert (stream.done, stream.failure, stream.finish, stream.usage) == (True, None, "stop", COUNTED)


def test_the_role_alone_is_held_back():
    stream = openai.stream(call(), STAMP)
    assert stream.feed(ROLE.encode()) == b""
    assert stream.feed(TEXT.encode()) == (ROLE + TEXT).encode()
    assert stream.feed(TEXT.encode()) == TEXT.encode()


def test_each_event_leaves_as_soon_as_it_is_complete():
    stream = openai.stream(call(), STAMP)
    assert stream.feed(TEXT.encode()[:-1]) == b""
    assert stream.feed(TEXT.encode()[-1:]) == TEXT.encode()


def test_the_service_tier_is_the_last_that_was_told():
    _, stream = relay(event(',"service_tier":"auto"'), event(',"service_tier":"flex"'), TEXT, DONE)
    assert stream.service_tier == "flex"


@pytest.mark.parametrize(
    "bodies",
    [
        pytest.param([ROLE, TEXT, STOP, USAGE, DONE], id="as OpenAI does"),
        pytest.param([event(',"usage":null', '"content":"a"'), event(',"usage":null', "", '"stop"'), DONE], id="nulls"),
        pytest.param([event(',"usage": null', '"content":"a"'), STOP, DONE], id="a null with a space"),
        pytest.param([TEXT, event(',"usage":{"prompt_tokens":5}', "", '"stop"'), DONE], id="on the finish chunk"),
        pytest.param([TEXT, STOP, USAGE.replace("[]", "null"), DONE], id="with choices null"),
        pytest.param([TEXT, STOP, USAGE.replace('"choices":[],', ""), DONE], id="without choices"),
        pytest.param(['data: {"usage":null,"choices":[{"delta":{"content":"a"}}]}\n\n', STOP, DONE], id="null first"),
        pytest.param([TEXT, STOP, USAGE], id="without [DONE]"),
    ],
)
def test_trap_26_who_has_not_asked_hears_no_usage(bodies):
    said, stream = relay(*bodies)
    assert b'"usage"' not in said
    assert said.endswith(STOP.encode() + DONE)
    assert stream.done


@pytest.mark.parametrize(
    "bodies",
    [
        pytest.param([ROLE, TEXT, STOP, USAGE, DONE], id="as OpenAI does"),
        pytest.param(
            [TEXT, event(',"usage":{"prompt_tokens":5,"completion_tokens":2}', "", '"stop"'), DONE], id="on the finish"
        ),
        pytest.param([TEXT, STOP, USAGE.replace("[]", "null"), DONE], id="with choices null"),
        pytest.param([TEXT, STOP, USAGE, USAGE, DONE], id="twice"),
        pytest.param([USAGE, TEXT, STOP, DONE], id="first"),
        pytest.param([TEXT, STOP, USAGE], id="without [DONE]"),
    ],
)
def test_traps_26_and_28_who_has_asked_hears_it_once_and_last(bodies):
    said, stream = relay(*bodies, include_usage=True)
    assert said.count(b'"prompt_tokens"') == 1
    assert said.endswith(USAGE.encode() + DONE)
    assert stream.usage == (None if bodies[0] == USAGE else COUNTED)


BARE_PROMPT = '"usage":{"prompt_tokens":5,"completion_tokens":0}'
NOTHING_COUNTED = '"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}'


@pytest.mark.parametrize(
    ("bodies", "usage"),
    [
        pytest.param([event("," + BARE_PROMPT, '"content":"a"'), TEXT, STOP, DONE], None, id="the prompt alone, first"),
        pytest.param([TEXT, USAGE, TEXT, STOP, DONE], None, id="in the middle"),
        pytest.param([TEXT, STOP, "data: {" + BARE_PROMPT + ',"choices":[]}\n\n', DONE], None, id="no word counted"),
        pytest.param([TEXT, USAGE, event("," + NOTHING_COUNTED, "", '"stop"'), DONE], COUNTED, id="zeros at the end"),
        pytest.param([TEXT, event("," + NOTHING_COUNTED, "", '"stop"'), DONE], None, id="only zeros"),
        pytest.param([TEXT, USAGE, event(delta='"content":""'), STOP, DONE], COUNTED, id="nothing said after it"),
        pytest.param([event(',"usage":[1]', '"content":"a"'), STOP, DONE], None, id="a list"),
    ],
)
def test_a_count_that_cannot_be_true_is_not_believed(bodies, usage):
    _, stream = relay(*bodies, exact=False)
    assert (stream.usage, stream.failure, stream.done) == (usage, None, True)


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 0}, None),
        ({"prompt_tokens": 0, "completion_tokens": 2}, None),
        ({"prompt_tokens": 10**18, "completion_tokens": 2}, None),
        ({"prompt_tokens": 5, "completion_tokens": 1e308}, None),
        ({"prompt_tokens": "5", "completion_tokens": "2"}, COUNTED),
        ({"prompt_tokens": "5", "completion_tokens": "2 or 3"}, None),
        ({"prompt_tokens": 4.2, "completion_tokens": 1.5}, COUNTED),
        ({"prompt_tokens": True, "completion_tokens": True}, None),
        ([5, 2], None),
        ("5", None),
        ({"prompt_tokens": 5, "completion_tokens": 2, "completion_tokens_details": []}, COUNTED),
        ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": "x"}}, COUNTED),
    ],
)
@pytest.mark.parametrize("exact", [False, True])
def test_an_odd_count_is_no_loss_of_the_answer(said, usage, exact):
    body = msgspec.json.encode({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": said})
    assert openai.response(body, call(exact=exact), STAMP).usage == usage


def test_the_word_usage_may_be_talked_about():
    text = event(delta='"content":",\\"usage\\":null"')
    assert relay(text, STOP, DONE)[0] == (text + STOP).encode() + DONE


@given(
    st.lists(st.sampled_from([TEXT, event(',"usage":null', '"content":"b"'), STOP, USAGE, ROLE, ERROR])), st.booleans()
)
def test_what_is_relayed_unread_is_what_would_be_said_if_it_were_read(events, asked):
    unread = [TEXT, *events, DONE.decode()]
    read = [text.replace('"finish_reason":', '"finish_reason": ') for text in unread]  # a spelling that must be read
    said, stream = relay(*unread, include_usage=asked)
    again, other = relay(*read, include_usage=asked)
    assert again.replace(b'"finish_reason": ', b'"finish_reason":') == said
    assert (other.done, other.finish, other.usage) == (stream.done, stream.finish, stream.usage)


def test_trap_47_what_the_accumulator_would_join_is_said_once():
    said, _ = relay(*[event(delta='"role":"assistant","content":"a"')] * 2, STOP, DONE)
    assert said.count(b'"role"') == 1


def test_what_is_no_chunk_is_not_passed_on():
    said, stream = relay(TEXT, 'data: {"type":"ping"}\n\n: hi\n\nevent: x\ndata:\n\n', STOP, DONE)
    assert said == (TEXT + STOP).encode() + DONE
    assert stream.done


def test_a_chunk_without_choices_waits_for_one_with():
    first = 'data: {"choices":[],"prompt_filter_results":[]}\n\n'
    assert relay(first, TEXT, STOP, DONE)[0] == (first + TEXT + STOP).encode() + DONE


@pytest.mark.parametrize(
    "end",
    [
        *([], [DONE], [DONE, DONE], [DONE, TEXT], ["data: [DONE]"], ["data: [DONE] \n\n"]),
        *([DONE + TEXT.encode()], [DONE + TEXT.rstrip().encode()]),
    ],
)
def test_the_end_is_said_once(end):
    said, stream = relay(TEXT, STOP, *end)
    assert said == (TEXT + STOP).encode() + DONE
    assert stream.done
    assert stream.feed(TEXT.encode()) + stream.end() == b""


def test_the_end_of_nothing_is_a_failure_at_once():
    stream = openai.stream(call(), STAMP)
    assert stream.feed(DONE) == b""
    assert stream.failure is not None
    assert stream.failure.code == "empty_upstream_response"


def test_an_event_without_measure_is_a_failure():
    stream = openai.stream(call(), STAMP)
    assert stream.feed(b"data: " + b"x" * (sse.LARGEST_EVENT + 1)) == b""
    assert stream.failure is not None
    assert stream.failure.code == "upstream_malformed_output"


def test_done_alone_is_an_end_where_something_was_said():
    assert relay(TEXT, DONE)[0] == TEXT.encode() + DONE


def test_the_last_event_counts_without_its_blank_line_if_it_is_whole():
    said, stream = relay(TEXT, STOP.rstrip())
    assert said == (TEXT + STOP).encode() + DONE
    assert stream.done


def test_half_of_the_last_event_does_not_spoil_a_finished_stream():
    for cut in (USAGE[:-20], "data: [DO", 'data: {"x"'):
        said, stream = relay(TEXT, STOP, cut, include_usage=True)
        assert said == (TEXT + STOP).encode() + DONE
        assert stream.done


@pytest.mark.parametrize(
    ("bodies", "choices", "code"),
    [
        pytest.param([], 1, "empty_upstream_response", id="nothing"),
        pytest.param([ROLE], 1, "empty_upstream_response", id="a role"),
        pytest.param([DONE], 1, "empty_upstream_response", id="the end of nothing"),
        pytest.param([ROLE, DONE], 1, "empty_upstream_response", id="the end of a role"),
        pytest.param([USAGE, DONE], 1, "empty_upstream_response", id="usage of nothing"),
        pytest.param([TEXT], 1, "upstream_stream_truncated", id="trap 52: no end"),
        pytest.param([TEXT, STOP[:-10]], 1, "upstream_stream_truncated", id="trap 52: half an end"),
        pytest.param([TEXT, STOP], 2, "upstream_stream_truncated", id="trap 52: one of two choices"),
        pytest.param([TEXT, STOP, STOP], 2, "upstream_stream_truncated", id="trap 52: one of two, twice"),
        pytest.param(["<html>\n"], 1, "upstream_malformed_output", id="a page"),
        pytest.param(['{"choices":[]}'], 1, "upstream_malformed_output", id="JSON, but no stream"),
        pytest.param(["[" * 100_000], 1, "upstream_malformed_output", id="brackets"),
        pytest.param(["data: oops\n\n", TEXT], 1, "upstream_malformed_output", id="data that is no JSON"),
        pytest.param(["data: [1]\n\n"], 1, "upstream_malformed_output", id="data that is no object"),
        pytest.param([b'data: {"service_tier":"\xff"}\n\n'], 1, "upstream_malformed_output", id="no UTF-8"),
        pytest.param([event(delta='"tool_calls":5')], 1, "upstream_malformed_output", id="calls that are none"),
        pytest.param([b"data: " + b"x" * sse.LARGEST_EVENT], 1, "upstream_malformed_output", id="an endless event"),
    ],
)
def test_a_stream_without_its_end_is_a_failure(bodies, choices, code):
    said, stream = relay(*bodies, choices=choices)
    assert stream.failure is not None
    assert stream.failure.code == code
    assert not stream.done
    assert DONE not in said
    assert stream.feed(TEXT.encode()) + stream.end() == b""


def test_trap_52_two_choices_end_when_both_have():
    other = STOP.replace('"index":0', '"index":1')
    said, stream = relay(TEXT, STOP, other, choices=2)
    assert said.endswith(DONE)
    assert stream.done


@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(ERROR, "boom", id="an object"),
        pytest.param('data: {"error":"boom"}\n\n', "boom", id="a text"),
        pytest.param('data: {"error":[{"message":"boom"}]}\n\n', "boom", id="a list"),
        pytest.param("event: error\n" + ERROR, "boom", id="with a name"),
        pytest.param(ERROR[6:], "boom", id="bare JSON"),
        pytest.param('{\n"error": {\n"message": "boom"\n}\n}', "boom", id="bare JSON on many lines"),
    ],
)
def test_trap_17_an_error_in_the_stream_is_a_failure_first_or_later(error, message):
    for before, heard in (("", b""), (ROLE, b""), (ROLE + TEXT, (ROLE + TEXT).encode())):
        said, stream = relay(before, error, DONE if error.endswith("\n\n") and "data:" in error else "")
        assert stream.failure is not None
        assert stream.failure.message == message
        assert said == heard


def test_an_error_that_clients_can_read_is_kept_as_it_came():
    _, stream = relay(TEXT, ERROR)
    assert stream.failure is not None
    assert stream.failure.body == ERROR[6:].strip().encode()


# --- those who only speak OpenAI's format


def test_openais_own_words_are_never_put_right():
    body = b'{"choices":[{"finish_reason":"eos"}]}'
    assert openai.response(body, call(), STAMP).body is body
    bare = 'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    assert relay(bare, STOP, DONE)[0] == (bare + STOP).encode() + DONE


def test_another_vendors_are():
    body = b'{"choices":[{"message":{"content":"a"},"finish_reason":"eos"}],"usage":{}}'
    answer = openai.response(body, call(exact=False, model="m"), STAMP)
    assert msgspec.json.decode(answer.body) == {
        **{"id": "ours", "object": "chat.completion", "created": 1, "model": "m", "usage": None},
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}],
    }
    assert (answer.finish, answer.usage) == ("stop", None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"choices":[{"message":"a"}]}', Kind.TRANSIENT),
        (b'{"choices":null}', Kind.TRANSIENT),
        (b'{"choices":[{"message":{"content":"a"},"finish_reason":"error"}]}', Kind.TRANSIENT),
        (b'{"choices":[{"error":{"code":429,"message":"x"}}]}', Kind.RATE_LIMITED),
        (b'{"object":"error","message":"x","code":404}', Kind.MODEL),
        (b'{"detail":"x"}', Kind.TRANSIENT),
        (b'{"error":"x"}', Kind.TRANSIENT),
        (b'{"error":["x"]}', Kind.TRANSIENT),
    ],
)
def test_what_is_no_answer_of_theirs_is_a_failure(body, kind):
    with pytest.raises(Failure) as caught:
        openai.response(body, call(exact=False), STAMP)
    assert caught.value.kind is kind


FULL = 'data: {"id":"x","object":"chat.completion.chunk","created":5,"model":"m","choices":[%s]}\n\n'
PIECE = FULL % '{"index":0,"delta":{%s},"finish_reason":%s}'


def test_their_proper_stream_is_identical_to_the_byte():
    body = PIECE % ('"role":"assistant","content":"a"', "null") + PIECE % ('"content":"b"', "null") * 2
    body += PIECE % ("", '"stop"')
    for cut in (len(body), 150):
        said, stream = relay(body[:cut], body[cut:], DONE, exact=False)
        assert said == body.encode() + DONE
        assert stream.finish == "stop"


def test_their_pieces_in_mid_flow_are_put_right_too():
    said, _ = relay(PIECE % ('"content":"a"', "null"), TEXT, PIECE % ("", '"stop"'), DONE, exact=False)
    assert said.count(b'"object":"chat.completion.chunk"') == 3
    assert said.count(b'"created":5') == 3


def test_a_choice_that_they_leave_open_is_ended():
    for before, why in (('"content":"a"', "stop"), ('"tool_calls":[{"index":0}]', "tool_calls")):
        said, stream = relay(PIECE % (before, "null"), DONE, exact=False)
        assert said.endswith(f'"choices":[{{"index":0,"delta":{{}},"finish_reason":"{why}"}}]}}\n\n'.encode() + DONE)
        assert stream.finish == why


def test_each_choice_that_they_leave_open_is_ended():
    other = PIECE.replace('"index":0', '"index":1', 1)
    said, _ = relay(PIECE % ('"content":"a"', "null"), other % ('"content":"b"', "null"), DONE, exact=False, choices=2)
    ends = [event for event in said.split(b"\n\n") if b'"finish_reason":"stop"' in event]
    assert [msgspec.json.decode(event[6:])["choices"][0]["index"] for event in ends] == [0, 1]


def test_the_usage_without_choices_and_without_a_name_gets_both():
    usage = 'data: {"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n'
    said, stream = relay(PIECE % ('"content":"a"', '"stop"'), usage, DONE, exact=False, include_usage=True)
    chunk = msgspec.json.decode(said.split(b"\n\n")[-3].removeprefix(b"data: "))
    assert (chunk["id"], chunk["choices"], chunk["usage"]["total_tokens"]) == ("x", [], 7)
    assert stream.usage == COUNTED


def test_what_is_no_chunk_of_theirs_is_not_passed_on():
    said, stream = relay(PIECE % ('"content":"a"', '"stop"'), 'data: {"type":"ping","id":"p"}\n\n', DONE, exact=False)
    assert b"ping" not in said
    assert stream.done


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(PIECE % ("", '"error"'), id="the reason is an error"),
        pytest.param(FULL % '{"index":0,"delta":{},"error":{"message":"boom"}}', id="the error is in the choice"),
        pytest.param('data: {"object":"error","message":"boom"}\n\n', id="the error is the object"),
        pytest.param('data: {"detail":[{"msg":"boom"}]}\n\n', id="the error is a detail"),
        pytest.param('{"detail":"boom"}', id="the error is a detail, and no event"),
        pytest.param('data: {"error":"boom"}\n\n', id="the error is a text"),
        pytest.param('data: {"choices":[{"delta":{"content":"a","tool_calls":5}}]}\n\n', id="calls that are none"),
    ],
)
def test_half_an_answer_of_theirs_never_looks_like_a_whole_one(event):
    said, stream = relay(PIECE % ('"content":"a"', "null"), event, "" if event.startswith("{") else DONE, exact=False)
    assert stream.failure is not None
    assert DONE not in said


PIECES = st.lists(
    st.sampled_from([ROLE, TEXT, STOP, USAGE, ERROR, "data: [DONE]\n\n", ": c\n\n", "data:", "\r", "\n", '{"error":1}'])
)
JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("choices", "delta", "message", "index", "role", "content", "tool_calls", "id", "function"),
                    *("arguments", "usage", "finish_reason", "error", "thinking"),
                ]
            ),
            inner,
        )
    ),
)


@given(
    PIECES.map(lambda pieces: "".join(pieces).encode())
    | st.binary()
    | st.lists(JSON).map(lambda values: b"".join(sse.encode(msgspec.json.encode(value)) for value in values)),
    st.lists(st.integers(0, 400)),
    st.booleans(),
    st.integers(1, 2),
    st.booleans(),
)
@example(b"data: " + b"[" * 5000 + b"\n\n", [], False, 1, True)
def test_no_bytes_make_a_stream_raise_or_end_twice(body, cuts, asked, choices, exact):
    whole, stream = relay(body, include_usage=asked, choices=choices, exact=exact)
    assert stream.done is (stream.failure is None)
    assert whole.count(DONE) == int(stream.done)
    ends = sorted({min(cut, len(body)) for cut in cuts})
    pieces = [body[a:b] for a, b in zip([0, *ends], [*ends, len(body)], strict=True)]
    again, other = relay(*pieces, include_usage=asked, choices=choices, exact=exact)
    assert (again, other.done, other.usage) == (whole, stream.done, stream.usage)


@given(st.binary() | JSON.map(msgspec.json.encode))
def test_no_bytes_are_anything_but_an_answer_or_a_failure(body):
    with suppress(Failure):
        assert openai.response(body, call(), STAMP).body is body
    with suppress(Failure):
        assert msgspec.json.decode(openai.response(body, call(exact=False), STAMP).body)["choices"]
