"""Deltas that come by the run are not read one by one; whether that is so nobody can tell by what is said."""

from itertools import chain, pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.anthropic.events import Delta
from adapters.anthropic.stream import Translation
from adapters.base import Call, Reading, Stamp, Warnings
from adapters.flow import LOOKS
from adapters.heard import Heard

STAMP = Stamp("ours", 1)


class Reader(Translation):
    """One that reads each event."""

    def _learn(self, event: bytes, delta: Delta) -> None:
        pass


class Attentive(Translation):
    """One that says how many events it has read."""

    read = 0

    def _take(self, data: bytes, event: bytes = b"") -> bytes:
        self.read += 1
        return super()._take(data, event)


def call(**reading: Any) -> Call:
    return Call(path="", body=b"", reading=Reading(model="m", **reading), warnings=Warnings())


def event(type: str, named: bool = True, spaced: bool = False, **members: Any) -> bytes:
    said = msgspec.json.encode({"type": type, **members})
    said = msgspec.json.format(said, indent=0) if spaced else said
    return (b"event: %b\n" % type.encode() if named else b"") + b"data: %b\n\n" % said


def told(stream: Translation, parts: list[bytes]) -> tuple[Any, ...]:
    """All that can be known of a stream, after each part and at its end."""
    said = [(stream.feed(part), stream.done, stream.usage) for part in parts]
    last = stream.end()
    failure = stream.failure and (stream.failure.kind, stream.failure.code, stream.failure.message)
    return said, last, stream.done, stream.usage, stream.finish, stream.service_tier, stream.states, failure


TEXTS = st.sampled_from(["a", "", " word", '"', "\\", "\n", '"}}', "é😀", "```", '{"a":', "\x01", "/", "data: "])
DELTAS = st.sampled_from(
    [
        *[lambda text: {"type": "text_delta", "text": text}] * 3,
        *[lambda text: {"type": "thinking_delta", "thinking": text}] * 2,
        *[lambda text: {"type": "input_json_delta", "partial_json": text}] * 2,
        lambda text: {"type": "signature_delta", "signature": text},
        lambda text: {"type": "text_delta", "text": text, "more": {"text": "x"}},
        lambda text: {"type": "text_delta", "text": text, "thinking": "x"},
        lambda text: {"type": "text_delta", "more": {"text": text}},
        lambda text: {"type": "other_delta", "text": text},
        lambda text: {
            "type": "citations_delta",
            "citation": {"url": "https://x", "title": "x", "text": text},
        },
    ]
)
BLOCKS = st.sampled_from(
    [
        {"type": "text", "text": ""},
        {"type": "text", "text": "x", "citations": [{"url": "https://x"}]},
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
        {"type": "tool_use", "id": "t2", "name": "json", "input": {}},
        {"type": "tool_use", "id": "t3", "name": "custom", "input": {}},
        {"type": "server_tool_use", "id": "t4", "name": "web_search", "input": {}},
    ]
)
SAID = {"usage": {"input_tokens": 5, "output_tokens": 1}, "model": "claude"}
START = event("message_start", message={"type": "message", **SAID})
ODD = st.sampled_from(
    [
        event("ping"),
        b": keepalive\n\n",
        b"\n",
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9}),
        event("message_stop"),
        event("content_block_stop", index=0),
        event("error", error={"type": "overloaded_error", "message": "x"}),
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"\\ud83d"}}\n\n',
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"\\/\\u0061"}}\n\n',
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"\xff"}}\n\n',
    ]
)


@st.composite
def runs(draw: st.DrawFn) -> list[bytes]:
    """Deltas written by one hand, that differ in their text alone; mostly in a block of their own."""
    delta, named, spaced = draw(DELTAS), draw(st.booleans()), draw(st.booleans())
    found = [
        event("content_block_delta", named, spaced, index=0, delta=delta(text))
        for text in draw(st.lists(TEXTS, min_size=1, max_size=6))
    ]
    if draw(st.booleans()):
        opening = event("content_block_start", index=0, content_block=draw(BLOCKS))
        return [opening, *found, event("content_block_stop", index=0)][: None if draw(st.booleans()) else -1]
    return found


STREAMS = st.lists(runs() | ODD.map(lambda one: [one]), max_size=6).map(
    lambda found: START + b"".join(chain.from_iterable(found))
)
READINGS = st.fixed_dictionaries(
    {
        "include_usage": st.booleans(),
        "json_fence": st.booleans(),
        "json_tool": st.sampled_from([None, "json"]),
        "keeps_states": st.booleans(),
    },
    optional={"names": st.just({"f": "mine"})},
) | st.sampled_from([{"legacy_functions": True}, {"custom": frozenset({"custom"})}])


def cut(whole: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(whole), *(at % (len(whole) + 1) for at in cuts)})
    return [whole[start:stop] for start, stop in pairwise(places)]


def block(block: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    opening = event("content_block_start", index=0, content_block=block)
    return opening + b"".join(event("content_block_delta", index=0, delta=delta) for delta in deltas)


CLOSING = event("content_block_stop", index=0)
PIECE = {"type": "input_json_delta", "partial_json": "1"}
CALL = block({"type": "tool_use", "id": "t", "name": "f", "input": {}}, *[PIECE] * 3)
SEARCH = block({"type": "server_tool_use", "id": "t", "name": "s", "input": {}}, *[PIECE] * 3)
THOUGHT = block({"type": "thinking", "thinking": ""}, *[{"type": "thinking_delta", "thinking": "a"}] * 3)
FIRST = START + block({"type": "text", "text": ""}, {"type": "text_delta", "text": "a"})
EMPTY = event("content_block_delta", index=0, delta={"type": "text_delta", "text": ""}) * 3
END = event("message_delta", delta={"stop_reason": "end_turn"}) + event("message_stop")


@settings(max_examples=300, deadline=None)
@example(START + CALL + SEARCH + CLOSING + END, [], b"\n", {})
@example(START + CALL + CLOSING + SEARCH[SEARCH.index(b"\n\n") + 2 :] + END, [], b"\n", {})
@example(START + CALL + CLOSING + CALL + CLOSING + END, [], b"\n", {})
@example(FIRST + EMPTY + CLOSING + END, [len(FIRST), len(FIRST + EMPTY)], b"\n", {})
@example(START + THOUGHT + CLOSING + END, [], b"\n", {})
@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=6), st.sampled_from([b"\n", b"\r\n"]), READINGS)
def test_it_says_the_same_as_who_reads_everything(whole, cuts, end, reading):
    parts = cut(whole.replace(b"\n", end), cuts)
    assert told(Translation(call(**reading), STAMP), parts) == told(Reader(call(**reading), STAMP), parts)


@pytest.mark.parametrize(
    ("block", "delta"),
    [
        ({"type": "text", "text": ""}, lambda i: {"type": "text_delta", "text": f'word {i}"\n'}),
        ({"type": "thinking", "thinking": ""}, lambda i: {"type": "thinking_delta", "thinking": f"word {i}"}),
        (
            {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            lambda i: {"type": "input_json_delta", "partial_json": f"{i},"},
        ),
        (
            {"type": "tool_use", "id": "t", "name": "json", "input": {}},
            lambda i: {"type": "input_json_delta", "partial_json": f"{i},"},
        ),
    ],
    ids=["text", "thoughts", "arguments", "JSON by a tool"],
)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_of_a_run_the_first_is_read(block, delta, at_once):
    stream = Attentive(call(json_tool="json"), STAMP)
    events = [START, event("content_block_start", index=0, content_block=block)]
    events += [event("content_block_delta", index=0, delta=delta(i)) for i in range(60)]
    said = b"".join(stream.feed(part) for part in ([b"".join(events)] if at_once else events))
    assert said == Reader(call(json_tool="json"), STAMP).feed(b"".join(events))
    assert stream.read == 3


def test_behind_an_odd_one_a_run_begins_anew():
    stream = Attentive(call(), STAMP)
    word = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "word"})
    odd = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "odd"}, more=1)
    stream.feed(FIRST + word)
    read = stream.read
    said = stream.feed(word * 3 + odd + word * 30)
    assert (said.count(b'"word"'), said.count(b'"odd"')) == (33, 1)
    assert stream.read - read == 3 + 1 + 1, "those before the odd one, that one, and the first behind it"


def test_who_looks_otherwise_each_time_is_read():
    stream = Attentive(call(), STAMP)
    word = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "word"})
    odd = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "odd"}, more=1)
    stream.feed(FIRST + word)
    read = stream.read
    said = stream.feed((word + odd) * LOOKS + word * 30)
    assert (said.count(b'"word"'), said.count(b'"odd"')) == (LOOKS + 30, LOOKS)
    assert stream.read - read == 2 * LOOKS + 30


@settings(max_examples=200, deadline=None)
@example(START + CALL + CLOSING + END, [], {})
@example(START + THOUGHT + CLOSING + END, [], {})
@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=6), READINGS)
def test_what_is_told_to_be_framing_is_no_text(whole, cuts, reading):
    stream = Translation(call(**reading), STAMP)
    for part in cut(whole, cuts):
        said, heard = stream.feed(part), Heard()
        heard.add(said)
        assert len("".join(heard.text()).encode()) <= len(said) - stream.framing


def test_of_a_run_all_but_the_text_is_framing():
    stream = Translation(call(), STAMP)
    stream.feed(FIRST)
    assert stream.framing == 0
    said = stream.feed(event("content_block_delta", index=0, delta={"type": "text_delta", "text": "word"}) * 3)
    assert stream.framing == len(said) - 3 * len("word")
    stream.end()
    assert stream.framing == 0
