"""Pieces of an answer pass without being read; whether that is so nobody can tell by what is said."""

from itertools import chain, pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters import openai, sse
from adapters.base import Call, Reading, Stamp, Warnings
from adapters.heard import Heard
from adapters.openai.answer import Relay
from adapters.openai.chunk import Tidier
from adapters.openai.mend import Mender

STAMP = Stamp("ours", 1)
DONE = b"data: [DONE]\n\n"


class Reader(Relay):
    """One that reads each event."""

    def _pieces(self, whole: bytes, at: int) -> tuple[int, int, bytes]:
        return at, len(whole), b""

    def _learn(self, data: bytes, text: bytes) -> None:
        pass


def reader(reading: Reading) -> Reader:
    mender = None if reading.exact else Mender(STAMP, reading.model)
    tidier = Tidier(None if reading.exact else STAMP)
    return Reader(reading.include_usage, reading.choices, tidier, mender, long=reading.caches_long)


def relay(reading: Reading) -> Relay:
    stream = openai.stream(Call(path="", body=b"", reading=reading, warnings=Warnings()), STAMP)
    assert isinstance(stream, Relay)
    return stream


def told(stream: Relay, parts: list[bytes]) -> tuple[Any, ...]:
    """All that can be known of a stream, after each part and at its end."""
    said = [(stream.feed(part), stream.done, stream.usage) for part in parts]
    last = stream.end()
    failure = stream.failure and (stream.failure.kind, stream.failure.code, stream.failure.message)
    return said, last, stream.done, stream.usage, stream.finish, stream.service_tier, failure


def encode(value: Any, spaced: bool) -> bytes:
    said = msgspec.json.encode(value)
    return msgspec.json.format(said, indent=0) if spaced else said


TEXTS = st.sampled_from(
    ["a", "", " word", '"', "\\", "\n", 'x"},"usage":null', "data: ", "é😀", '"usage"', "[DONE]", "null"]
)
ARGUMENTS = TEXTS.map(lambda text: '{"a":' + text)
MORE: list[dict[str, Any]] = [
    {},
    {"usage": None},
    {"service_tier": "default", "system_fingerprint": "fp", "usage": None},
    {"service_tier": "flex"},
    {"obfuscation": "abcd"},
    {"usage": None, "obfuscation": "ab"},
    {"obfuscation": 'a"b\\'},
    {"usage": {"prompt_tokens": 5, "completion_tokens": 0}},
    {"usage": {"prompt_tokens": 5, "completion_tokens": 2}},
    {"content": "not ours"},
    {"text": {"content": "not ours"}},
    {"error": None},
    {"error": {"message": "boom"}},
    {"detail": "x"},
    {"object": "chat.completion.chunk"},
    {"created": 1, "id": "x", "model": "m", "object": "chat.completion.chunk"},
]
CHOICE: list[dict[str, Any]] = [
    {"finish_reason": None},
    {"logprobs": None, "finish_reason": None},
    {},
    {"logprobs": {"content": [{"token": "a", "logprob": -0.5, "bytes": [97]}], "refusal": None}, "finish_reason": None},
    {"finish_reason": "stop"},
    {"finish_reason": "eos"},
    {"content_filter_results": {"content": "x"}, "finish_reason": None},
]


def call(text: str, **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, **more, "function": {"arguments": text}}]}


DELTAS = st.sampled_from(
    [
        *[lambda text, name=name: {name: text} for name in ("content", "refusal", "reasoning_content", "reasoning")],
        *[lambda text: {"content": text}] * 4,
        lambda text: {"role": "assistant", "content": text},
        lambda text: {"content": text, "tool_calls": None},
        lambda text: {"reasoning": text, "content": text},
        lambda text: {"content": [{"type": "text", "text": text}]},
        lambda text: {"x": {"content": text}},
        lambda text: {"function_call": {"arguments": text}},
        *[lambda text: call(text)] * 2,
        lambda text: call(text, id="call_1", type="function"),
        lambda text: {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": text}}]},
        lambda text: {"tool_calls": [{"index": 1, "function": {"arguments": text}}]},
        lambda text: {"tool_calls": [{"function": {"arguments": text}}]},
        lambda text: {"tool_calls": [*call(text)["tool_calls"], *call(text)["tool_calls"]]},
        lambda text: {},
    ]
)


@st.composite
def runs(draw: st.DrawFn) -> list[bytes]:
    """Events written by one hand, that differ in their text alone; mostly."""
    delta, choice, more = draw(DELTAS), draw(st.sampled_from(CHOICE)), draw(st.sampled_from(MORE))
    index, spaced, last = draw(st.sampled_from([0, 0, 0, 1, None])), draw(st.booleans()), draw(st.booleans())
    head = {} if index is None else {"index": index}
    found = []
    for text in draw(st.lists(TEXTS, min_size=1, max_size=5)):
        members = {"id": "chatcmpl-1", "choices": [{**head, "delta": delta(text), **choice}], **more}
        if "obfuscation" in more and '"' not in more["obfuscation"]:
            members["obfuscation"] = more["obfuscation"] + "p" * len(text)
        if not last:
            members = {**more, **members}
        found.append(b"data: " + encode(members, spaced) + b"\n\n")
    return found


ODD = st.sampled_from(
    [
        b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"\xff"},"finish_reason":null}]}\n\n',
        b": keepalive\n\n",
        b"event: x\ndata: {}\n\n",
        b"\n",
        DONE,
        b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":0}}\n\n',
        b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{}}]}\n\n',
        b'data:{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n',
        b'data: {"id":"chatcmpl-1","choices":[{"index":0,\ndata: "delta":{"content":"a"},"finish_reason":null}]}\n\n',
        b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
        b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    ]
)
STREAMS = st.lists(runs() | ODD.map(lambda one: [one]), max_size=8).map(
    lambda found: b"".join(chain.from_iterable(found))
)
READINGS = st.builds(
    Reading, include_usage=st.booleans(), exact=st.booleans(), choices=st.integers(1, 2), model=st.just("m")
)


def cut(whole: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(whole), *(at % (len(whole) + 1) for at in cuts)})
    return [whole[start:stop] for start, stop in pairwise(places)]


def piece(text: str = "a") -> bytes:
    return sse.encode(
        b'{"id":"x","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}' % text.encode()
    )


NULL_FIRST = piece().replace(b'"id"', b'"usage":null,"id"')
TWO_LINES = piece().replace(b',"finish', b'\ndata: ,"finish')
LINE_BEFORE = piece().replace(b'"choices"', b'\ndata: "choices"')
ARGUMENT = sse.encode(msgspec.json.encode({"choices": [{"index": 0, "delta": call("a"), "finish_reason": None}]}))
SECOND_CALL = b"".join(ARGUMENT.replace(b'"index":0,"func', b'"index":0,"id":"%d","func' % i) for i in range(2))
ODD_OPENING = piece().replace(b'"content":"a"', b'"x":1')
WHOLE_MESSAGE = piece().replace(b'"delta"', b'"message"')  # somebody speaks, and nothing is to be said of it yet
NOTHING_COUNTED = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":0}}\n\n'
COUNTED = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n'


@settings(max_examples=300, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=6), st.sampled_from([b"\n", b"\r\n"]), READINGS)
@example(piece() * 3 + piece().replace(b'"id"', b'"service_tier":"flex","id"') * 2 + DONE, [], b"\n", Reading())
@example(piece("") * 3 + DONE, [], b"\n", Reading())
@example(NULL_FIRST * 4 + DONE, [], b"\n", Reading())
@example(TWO_LINES * 4 + DONE, [], b"\n", Reading())
@example(LINE_BEFORE + LINE_BEFORE.replace(b"\ndata: ", b"\n") * 3 + DONE, [], b"\n", Reading())
@example(SECOND_CALL + ARGUMENT * 3 + DONE, [], b"\n", Reading())
@example(ODD_OPENING + piece() * 3 + NOTHING_COUNTED + DONE, [], b"\n", Reading())
@example(ODD_OPENING + piece("") * 3 + NOTHING_COUNTED + DONE, [], b"\n", Reading())
@example(WHOLE_MESSAGE + piece() * 3 + DONE, [len(WHOLE_MESSAGE)], b"\n", Reading())
def test_it_says_the_same_as_who_reads_everything(whole, cuts, end, reading):
    parts = cut(whole.replace(b"\n", end), cuts)
    assert told(relay(reading), parts) == told(reader(reading), parts)


TOLD_OUTSIDE = piece("more than b").replace(b"]}\n", b'],"content":"b"}\n')
ESCAPED = TOLD_OUTSIDE.replace(b'{"content"', b'{"c\\u006fntent"')
SPACED = piece().replace(b'"content":', b'"content": ')


@settings(max_examples=200, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=6), READINGS)
@example(TOLD_OUTSIDE * 4, [len(TOLD_OUTSIDE)], Reading())
@example(ESCAPED * 4, [len(ESCAPED)], Reading())
@example(ARGUMENT * 4, [len(ARGUMENT)], Reading())
def test_what_is_told_to_be_framing_is_no_text(whole, cuts, reading):
    stream = relay(reading)
    for part in cut(whole, cuts):
        said, heard = stream.feed(part), Heard()
        heard.add(said)
        assert len("".join(heard.text()).encode()) <= len(said) - stream.framing


@pytest.mark.parametrize("more", [{}, {"usage": None}, {"obfuscation": "abc"}, {"usage": None, "obfuscation": "abc"}])
@pytest.mark.parametrize("include_usage", [False, True])
def test_of_known_pieces_all_but_text_and_padding_is_framing(more, include_usage):
    stream, one = relay(Reading(include_usage=include_usage)), chunk({"content": "word"}, **more)
    first = stream.feed(one)
    assert stream.framing == 0
    assert stream.feed(one * 3) == first * 3
    assert stream.framing == 3 * (len(first) - len("word") - len(more.get("obfuscation", "")))
    assert (stream.feed(one[:9]), stream.framing) == (b"", 0)


@pytest.mark.parametrize("again", [b"", COUNTED], ids=["once", "and once more"])
@pytest.mark.parametrize("one", [piece(), SPACED, ODD_OPENING], ids=["known", "not known", "not even text"])
def test_what_comes_behind_the_usage_is_not_in_it(one, again):
    stream, whole = relay(Reading(include_usage=True)), piece() * 3
    for part in (whole, COUNTED, one * 3, one * 3, again, DONE):
        stream.feed(part)
    assert (stream.done, stream.usage is None) == (True, one != ODD_OPENING and not again)


def test_the_last_words_are_no_framing():
    stream = relay(Reading())
    assert stream.feed(piece() * 2) == piece() * 2
    assert stream.framing > 0
    stream.end()
    assert stream.framing == 0


def test_of_pieces_written_otherwise_nothing_is_learnt():
    stream = relay(Reading())
    assert (stream.feed(SPACED * 3), stream.framing, stream.failure) == (SPACED * 3, 0, None)


def chunk(delta: dict[str, Any], **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return sse.encode(msgspec.json.encode({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
                                           "choices": [choice], **more}))  # fmt: skip


OPENING = chunk({"role": "assistant", "content": ""})
FIRST_CALL = chunk(
    {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]}
)


class Attentive(Relay):
    """One that says how many events it has read."""

    read = 0

    def _event(self, data: bytes) -> bytes:
        self.read += 1
        return super()._event(data)


@pytest.mark.parametrize("exact", [True, False], ids=["OpenAI", "another"])
@pytest.mark.parametrize(
    ("opening", "deltas", "more", "read"),
    [
        pytest.param(OPENING, [{"content": f"word {i}"} for i in range(60)], {}, 2, id="text"),
        pytest.param(OPENING, [{"content": f'"{i}\n\\'} for i in range(60)], {}, 2, id="text full of escapes"),
        pytest.param(OPENING, [{"content": f"{i}"} for i in range(60)], {"usage": None}, 2, id="a usage that is null"),
        pytest.param(OPENING, [{"content": f"{i}"} for i in range(60)], {"obfuscation": "abc"}, 2, id="padding"),
        pytest.param(OPENING, [{"reasoning_content": f"{i}"} for i in range(60)], {}, 2, id="thoughts"),
        pytest.param(FIRST_CALL, [call(f'{{"a":{i}') for i in range(60)], {}, 2, id="arguments"),
        pytest.param(
            OPENING, [{"reasoning": "a"}] * 30 + [{"content": "b"}] * 30, {}, 3, id="thoughts, then text"
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_of_a_run_the_first_is_read(opening, deltas, more, read, exact, at_once):
    reading = Reading(exact=exact, model="m")
    mender = None if exact else Mender(STAMP, "m")
    stream = Attentive(False, 1, Tidier(None if exact else STAMP), mender)
    events = [opening, *(chunk(delta, **more) for delta in deltas)]
    said = b"".join(stream.feed(part) for part in ([b"".join(events)] if at_once else events))
    assert said == reader(reading).feed(b"".join(events))
    assert stream.read <= read
