"""A streamed answer: it adds up to the whole one, however it is cut, and nothing makes it raise."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import sse
from adapters.base import Kind
from adapters.gemini import stream
from tests.adapters.gemini import answers
from tests.adapters.gemini.answers import fragment
from tests.adapters.gemini.hearing import accumulated, chunks, deltas, heard
from tests.adapters.golden import STAMP

# --- the end


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
HELLO = fragment([{"text": "Hel"}])
DONE = fragment([{"text": "lo"}], finishReason="STOP")


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        pytest.param(b"", Kind.TRANSIENT, "empty_upstream_response", id="nothing"),
        pytest.param(b": x\n\n", Kind.TRANSIENT, "empty_upstream_response", id="a comment"),
        pytest.param(b"data: {}\n\n", Kind.TRANSIENT, "empty_upstream_response", id="a fragment of nothing"),
        pytest.param(answers.sse([HELLO]), Kind.TRANSIENT, "upstream_stream_truncated", id="cut between events"),
        pytest.param(answers.sse([HELLO]) + b'data: {"cand', Kind.TRANSIENT, "upstream_stream_truncated", id="in one"),
        pytest.param(answers.sse([HELLO]) + b"dat", Kind.TRANSIENT, "upstream_stream_truncated", id="in its name"),
        pytest.param(b"<html>no</html>\n", Kind.TRANSIENT, "upstream_malformed_output", id="a page"),
        pytest.param(b"data: no\n\ndata: {}\n\n", Kind.TRANSIENT, "upstream_malformed_output", id="no JSON"),
        pytest.param(
            b'data: {"modelVersion":"\xff"}\n\n',
            Kind.TRANSIENT,
            "upstream_malformed_output",
            id="half a character",
        ),
        pytest.param(
            b"data: " + b'{"error":' * 100_000 + b"\n\n",
            Kind.TRANSIENT,
            "upstream_malformed_output",
            id="nested without end",
        ),
        pytest.param(b'{"error":"\xff"}\n', Kind.TRANSIENT, "upstream_malformed_output", id="a bare half character"),
        pytest.param(
            b'{"error":' * 100_000 + b"\n", Kind.TRANSIENT, "upstream_malformed_output", id="bare, nested without end"
        ),
        pytest.param(b"data: 5\n\ndata: {}\n\n", Kind.TRANSIENT, "upstream_malformed_output", id="no object"),
        pytest.param(answers.sse([ERROR]), Kind.OVERLOADED, "server_is_overloaded", id="an error first"),
        pytest.param(answers.sse([HELLO, ERROR]), Kind.OVERLOADED, "server_is_overloaded", id="an error after text"),
        pytest.param(answers.sse([{"error": "x"}]), Kind.TRANSIENT, None, id="a text for an error"),
        pytest.param(msgspec.json.encode(ERROR), Kind.OVERLOADED, "server_is_overloaded", id="a bare error"),
        pytest.param(msgspec.json.encode([ERROR]), Kind.OVERLOADED, "server_is_overloaded", id="a bare list"),
        pytest.param(
            answers.sse([HELLO]) + msgspec.json.format(msgspec.json.encode(ERROR), indent=2),
            Kind.OVERLOADED,
            "server_is_overloaded",
            id="a bare error after text",
        ),
        pytest.param(
            answers.sse([fragment([], finishReason="MALFORMED_FUNCTION_CALL")]),
            Kind.REQUEST,
            "upstream_malformed_output",
            id="a garbled call and nothing else",
        ),
        pytest.param(
            answers.sse([fragment([{"text": ""}], finishReason="MALFORMED_FUNCTION_CALL")]),
            Kind.REQUEST,
            "upstream_malformed_output",
            id="and an empty text",
        ),
    ],
)
def test_a_stream_that_ends_badly_says_why_and_never_that_it_is_done(body, kind, code):
    """Traps 17, 44 and 52."""
    translation, said = heard(body)
    assert translation.failure is not None
    assert (translation.failure.kind, translation.failure.code) == (kind, code)
    assert not translation.done
    assert b"[DONE]" not in said
    assert b'"finish_reason":"' not in said
    assert (translation.feed(answers.sse([DONE])), translation.end()) == (b"", b"")


def test_what_was_said_before_an_error_in_the_same_read_is_said():
    _, said = heard(answers.sse([HELLO, ERROR, DONE]))
    assert [delta["content"] for delta in deltas(said)] == ["", "Hel"]


def test_what_waits_for_its_end_after_an_error_is_not_said():
    translation, said = heard(answers.sse([ERROR, HELLO]).rstrip())
    assert said == b""
    assert translation.failure is not None


def test_an_error_tells_how_long_to_wait():
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.2s"}]
    told = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m", "details": details}}
    translation, _ = heard(answers.sse([told]))
    assert translation.failure is not None
    assert translation.failure.retry_after == 4


def test_an_event_without_its_blank_line_is_whole():
    translation, said = heard(answers.sse([HELLO, DONE]).rstrip())
    assert translation.done
    assert accumulated(said).choices[0].message.content == "Hello"


@pytest.mark.parametrize("at_end", [False, True], ids=["in the middle", "at the end"])
def test_an_event_without_end_is_a_failure(at_end):
    translation = stream(answers.call(stream=True), STAMP)
    half = b"data: " + b"x" * (sse.LARGEST_EVENT // 2 + 1) + b"\n"
    said = translation.feed(half) + translation.feed(half.rstrip() if at_end else half) + translation.end()
    assert said == b""
    assert translation.failure is not None
    assert translation.failure.kind is Kind.TRANSIENT


def test_after_the_end_nothing_is_heard():
    translation, _ = heard(answers.sse([HELLO, DONE]))
    assert (translation.feed(answers.sse([HELLO])), translation.end()) == (b"", b"")


# --- what stands in a stream


def test_what_was_told_is_kept_when_the_stream_breaks_off():
    early = HELLO | {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 1, "serviceTier": "flex"}}
    translation, _ = heard(answers.sse([early]))
    assert translation.usage is not None
    assert (translation.usage.prompt, translation.usage.completion) == (5, 1)
    assert translation.service_tier == "flex"


def test_searches_are_counted_though_no_tokens_were():
    translation, _ = heard(answers.sse([DONE | {}, fragment([], groundingMetadata={"webSearchQueries": ["a", "b"]})]))
    assert translation.usage is not None
    assert translation.usage.web_searches == 2


def test_what_is_said_at_the_end_stays_said_though_more_fragments_follow():
    grounds = {
        "webSearchQueries": ["a"],
        "groundingChunks": [{"web": {"uri": "https://a.example"}}],
        "groundingSupports": [{"segment": {"endIndex": 2}, "groundingChunkIndices": [0]}],
    }
    sources = {"citationSources": [{"startIndex": 1, "endIndex": 2, "uri": "https://b.example"}]}
    last = fragment([{"text": "lo"}], finishReason="STOP", groundingMetadata=grounds, citationMetadata=sources)
    translation, said = heard(answers.sse([last, fragment([])]))
    assert (translation.done, translation.finish) == (True, "stop")
    assert translation.usage is not None
    assert translation.usage.web_searches == 1
    [cited] = [delta["annotations"] for delta in deltas(said) if "annotations" in delta]
    assert [one["url_citation"]["url"] for one in cited] == ["https://a.example", "https://b.example"]


CALL = {"functionCall": {"name": "f"}}
IMAGE = {"inlineData": {"mimeType": "image/png", "data": "x"}}
THOUGHT = {"text": "Hm.", "thought": True}


@pytest.mark.parametrize(
    ("between", "index"),
    [
        pytest.param([CALL], 2, id="a call"),
        pytest.param([CALL, CALL], 3, id="each call is a part"),
        pytest.param([IMAGE], 2, id="an image"),
        pytest.param([IMAGE, IMAGE], 3, id="each image is a part"),
        pytest.param([THOUGHT], 2, id="a thought"),
        pytest.param([THOUGHT, THOUGHT], 2, id="fragments of a thought are one part"),
        pytest.param([CALL, IMAGE, THOUGHT, IMAGE], 5, id="one of each"),
    ],
)
def test_sources_count_parts_and_not_fragments(between, index):
    grounds = {
        "groundingChunks": [{"web": {"uri": "https://a.example"}}],
        "groundingSupports": [{"segment": {"partIndex": index, "endIndex": 2}, "groundingChunkIndices": [0]}],
    }
    pieces = [fragment([part]) for part in ({"text": "a"}, {"text": "b"}, *between, {"text": "c"})]
    last = fragment([{"text": "d"}], finishReason="STOP", groundingMetadata=grounds)
    _, said = heard(answers.sse([*pieces, last]))
    [[cited]] = [delta["annotations"] for delta in deltas(said) if "annotations" in delta]
    assert (cited["url_citation"]["start_index"], cited["url_citation"]["end_index"]) == (2, 4)


def test_what_comes_by_the_run_is_said_piece_by_piece_and_counts_among_the_parts():
    grounds = {
        "groundingChunks": [{"web": {"uri": "https://a.example"}}],
        "groundingSupports": [{"segment": {"partIndex": 2, "endIndex": 3}, "groundingChunkIndices": [0]}],
    }
    pieces = [{"text": text} for text in "abcd"] + [{"text": text, "thought": True} for text in "wxyz"]
    pieces += [{"text": text} for text in "efgh"]
    last = fragment([{"text": "i"}], finishReason="STOP", groundingMetadata=grounds)
    _, said = heard(answers.sse([*(fragment([piece]) for piece in pieces), last]))
    told = deltas(said)
    assert [delta["content"] for delta in told if delta.get("content")] == [*"abcdefghi"]
    assert [delta["reasoning_content"] for delta in told if "reasoning_content" in delta] == [*"wxyz"]
    [[cited]] = [delta["annotations"] for delta in told if "annotations" in delta]
    assert (cited["url_citation"]["start_index"], cited["url_citation"]["end_index"]) == (4, 7)


def test_a_run_that_begins_a_part_begins_it():
    grounds = {
        "groundingChunks": [{"web": {"uri": "https://a.example"}}],
        "groundingSupports": [{"segment": {"partIndex": 2, "endIndex": 2}, "groundingChunkIndices": [0]}],
    }
    translation = stream(answers.call(stream=True), STAMP)
    last = fragment([{"text": "g"}], finishReason="STOP", groundingMetadata=grounds)
    reads = [[fragment([{"text": text}]) for text in "abc"], [fragment([THOUGHT])]]
    reads += [[*(fragment([{"text": text}]) for text in "def"), last]]
    said = b"".join([translation.feed(answers.sse(read)) for read in reads]) + translation.end()
    [[cited]] = [delta["annotations"] for delta in deltas(said) if "annotations" in delta]
    assert (cited["url_citation"]["start_index"], cited["url_citation"]["end_index"]) == (3, 5)


def test_sources_that_only_the_citations_tell_are_told():
    sources = {"citationSources": [{"startIndex": 1, "endIndex": 2, "uri": "https://b.example"}]}
    _, said = heard(answers.sse([HELLO, fragment([{"text": "lo"}], finishReason="STOP", citationMetadata=sources)]))
    [[cited]] = [delta["annotations"] for delta in deltas(said) if "annotations" in delta]
    assert cited["url_citation"]["url"] == "https://b.example"


def test_sources_without_an_address_are_not_told():
    last = fragment([], finishReason="STOP", citationMetadata={"citationSources": [{"startIndex": 1}]})
    _, said = heard(answers.sse([HELLO, last]))
    assert not [delta for delta in deltas(said) if "annotations" in delta]


def test_calls_without_ids_get_one_each_and_signatures_are_kept_by_it():
    bare = {"functionCall": {"name": "f"}}
    translation, said = heard(answers.sse([fragment([bare | {"thoughtSignature": "c2ln"}, bare, bare]), DONE]))
    ids = [call["id"] for delta in deltas(said) for call in delta.get("tool_calls", ()) if "id" in call]
    assert len(set(ids)) == 3
    assert translation.states == {ids[0]: "c2ln"}


def test_a_signature_of_text_stays_though_more_text_follows():
    _, said = heard(answers.sse([fragment([{"text": "Hel", "thoughtSignature": "c2ln"}]), DONE]))
    assert {"extra_content": {"google": {"thought_signature": "c2ln"}}} in deltas(said)


def test_a_prompt_that_is_called_blocked_though_it_is_answered_is_answered():
    translation, said = heard(answers.sse([HELLO | {"promptFeedback": {"blockReason": "SAFETY"}}, DONE]))
    assert accumulated(said).choices[0].message.content == "Hello"
    assert translation.finish == "stop"


def test_nothing_counted_is_nothing_known():
    translation, said = heard(answers.sse([HELLO, DONE]))
    assert translation.usage is None
    assert accumulated(said).usage is not None


def test_a_blocked_prompt_is_the_end():
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 5}}
    translation, said = heard(answers.sse([blocked, HELLO]))
    [choice] = accumulated(said).choices
    assert (choice.message.content, choice.message.refusal) == (None, "Prompt blocked: SAFETY")
    assert choice.finish_reason == translation.finish == "content_filter"
    assert translation.done
    assert translation.usage is not None
    assert translation.usage.prompt == 5


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"candidates": []},
        {"candidates": None},
        {"candidates": [{}]},
        {"candidates": [{"content": {}}]},
        {"candidates": [{"content": {"parts": None}}]},
        {"promptFeedback": {}},
        {"promptFeedback": {"blockReason": ""}},
        fragment([{}]),
        fragment([{"thought": True}]),
        fragment([{"text": "", "thought": True}]),
        fragment([{"inlineData": {"mimeType": "image/png", "data": "x"}, "thought": True}]),
        fragment([{"inlineData": {"mimeType": "audio/wav", "data": "x"}}]),
        fragment([{"toolCall": {"id": "1"}, "thoughtSignature": "c2ln"}]),
        fragment([{"thoughtSignature": "c2ln"}]),
        {"usageMetadata": None},
    ],
)
def test_a_fragment_of_nothing_for_the_client_says_nothing(odd):
    """Traps 33 and 53."""
    _, said = heard(answers.sse([HELLO, odd, DONE]))
    _, expected = heard(answers.sse([HELLO, DONE]))
    assert said == expected


def test_a_call_that_is_repeated_is_one_call_and_a_custom_tool_is_unwrapped():
    call = {"functionCall": {"id": "1", "name": "a_b", "args": {"input": "SELECT 1"}}}
    other = {"functionCall": {"id": "2", "name": "f"}}
    _, said = heard(
        answers.sse([fragment([call]), fragment([call, other], finishReason="STOP")]),
        names={"a_b": "a/b"},
        custom=frozenset({"a/b"}),
    )
    assert [call for delta in deltas(said) for call in delta.get("tool_calls", ())] == [
        {"index": 0, "id": "1", "type": "custom", "custom": {"name": "a/b", "input": ""}},
        {"index": 0, "custom": {"input": "SELECT 1"}},
        {"index": 1, "id": "2", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "function": {"arguments": "{}"}},
    ]


# --- oddities


@settings(deadline=None)
@given(st.lists(answers.odd(), max_size=4), st.sampled_from([0, 1, 7]))
def test_no_fragments_are_too_odd(odd, size):
    translation, said = heard(answers.sse(odd), size=size)
    assert translation.done is (translation.failure is None)
    assert said.count(b"[DONE]") == int(translation.done)
    for chunk in chunks(said):
        assert chunk["object"] == "chat.completion.chunk"


@settings(deadline=None)
@given(
    st.lists(st.binary() | st.sampled_from([b"data: ", b"\n\n", b"\r\n", b"{", b"}", b'"error"', b":"]), max_size=12)
)
def test_no_bytes_are_too_odd(pieces):
    translation = stream(answers.call(stream=True), STAMP)
    for piece in pieces:
        translation.feed(piece)
    translation.end()
    assert translation.failure is not None
    assert not translation.done
