"""What a client has heard of a stream: the same text that the official client's accumulator holds."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from adapters import sse
from adapters.heard import Heard
from tests.adapters.test_golden import ACCUMULATED, STREAMS, accumulated, events_of, hear, name_of

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy

MANY = 100_000


def chunk(index: int = 0, **delta: Any) -> bytes:
    return sse.encode(msgspec.json.encode({"id": "c", "choices": [{"index": index, "delta": delta}]}))


def heard(*parts: bytes) -> Heard:
    found = Heard()
    for part in parts:
        found.add(part)
    return found


def told(completion: ChatCompletion) -> tuple[str, str]:
    """The texts of a message, choice by choice, in the order in which it is read."""
    said, thought = "", ""
    for choice in completion.choices:
        message = choice.message
        said += (message.content or "") + (message.refusal or "")
        if message.function_call:
            said += message.function_call.name + message.function_call.arguments
        for call in message.tool_calls or ():
            assert call.type == "function"
            said += call.function.name + call.function.arguments
        extra = message.model_extra or {}
        thought += extra.get("reasoning_content") or extra.get("reasoning") or ""
    return said, thought


@pytest.mark.parametrize("case", ACCUMULATED, ids=name_of)
def test_it_holds_what_the_official_client_holds(case):
    whole = hear(case, [case.body])
    completion = accumulated(whole)
    found = heard(*events_of(whole.said))
    sealed = found.size
    said, thought = found.text()
    assert completion is None or (said, thought) == told(completion)
    assert len((said + thought).encode()) <= found.size <= sealed <= len(whole.said), "never fewer than there are"


@pytest.mark.parametrize("case", STREAMS, ids=name_of)
def test_parts_may_hold_several_events(case):
    whole = hear(case, [case.body]).said
    assert heard(whole).text() == heard(*events_of(whole)).text()


@pytest.mark.parametrize(
    ("parts", "texts"),
    [
        ([], ("", "")),
        ([chunk(content="a"), chunk(content=None), chunk(content="b")], ("ab", "")),
        ([chunk(1, content="b"), chunk(0, content="a"), chunk(1, content="c")], ("abc", "")),
        ([chunk(refusal="no"), chunk(content="a")], ("ano", "")),
        ([chunk(reasoning_content="x"), chunk(content="a"), chunk(reasoning_content="y")], ("a", "xy")),
        ([chunk(1, reasoning_content="y"), chunk(reasoning_content="x", content="a")], ("a", "xy")),
        ([chunk(reasoning="x")], ("", "x")),
        ([chunk(reasoning="x", reasoning_content="x")], ("", "x")),
        ([chunk(function_call={"name": "f", "arguments": ""}), chunk(function_call={"arguments": "{}"})], ("f{}", "")),
        ([chunk(tool_calls=[{"index": 1, "function": {"name": "g"}}, {"index": 0, "function": {"name": "f"}}]),
          chunk(tool_calls=[{"index": 1, "function": {"arguments": "{}"}}])], ("fg{}", "")),
        ([chunk(tool_calls=[{"index": 0, "custom": {"name": "f", "input": "in"}}])], ("fin", "")),
        ([chunk(tool_calls=[{"function": {"name": "f", "arguments": None}}])], ("f", "")),
        ([chunk(content=["parts"]), chunk(content="a")], ("a", "")),
        ([chunk(content="a"), sse.DONE, sse.KEEPALIVE], ("a", "")),
        ([chunk(content="a"), b"data: {nonsense\n\n", b'data: {"choices":5}\n\n', chunk(content="b")], ("ab", "")),
        ([b'data: {"choices":[]}\n\n', b'data: {"choices":null}\n\n', b'data: {"usage":{}}\n\n'], ("", "")),
        ([b'data: {"choices":[{"index":0,"delta":null}]}\n\n', b'data: "\xff"\n\n'], ("", "")),
    ],
)  # fmt: skip
def test_all_that_was_said_and_thought(parts, texts):
    assert heard(*parts).text() == texts


def test_its_size_does_not_grow_with_the_framing():
    found = heard(*[chunk(content="é")] * MANY)
    framing = len(chunk(content="é")) * MANY
    assert found.size < framing // 10
    assert found.text() == ("é" * MANY, "")
    assert found.size == 2 * MANY


@pytest.mark.parametrize("name", ["audio", "images"])
def test_pictures_and_sounds_are_no_text_but_have_their_size(name):
    found = heard(chunk(0, **{name: [{"data": "A" * 1000}]}))
    assert found.text() == ("", "")
    assert found.size > 1000


def test_what_cannot_be_read_has_its_size():
    found = heard(b"data: {" + b"x" * 1000 + b"\n\n")
    assert found.text() == ("", "")
    assert found.size > 1000


def test_it_may_be_asked_in_between():
    found = heard(chunk(content="a"))
    assert found.text() == ("a", "")
    found.add(chunk(content="b"))
    assert found.text() == found.text() == ("ab", "")


PIECES = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["content", "refusal", "reasoning_content"]), st.text(max_size=400))
)


@UNHURRIED
@given(PIECES, st.integers(1, 300))
def test_its_size_is_never_below_its_text(pieces, times):
    found = heard(*[chunk(index, **{name: text}) for index, name, text in pieces] * times)
    size = found.size
    said, thought = found.text()
    assert len((said + thought).encode()) == found.size <= size


def said(text: str, **more: Any) -> bytes:
    return sse.encode(msgspec.json.encode({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}], **more}))


@pytest.mark.parametrize("more", [{}, {"obfuscation": "abc"}], ids=["plain", "padded"])
def test_what_texts_are_wrapped_in_is_seen_without_opening_it(more):
    found = heard(*[said("é", **more)] * 100)
    assert 200 <= found.size <= 200 + 3 * 100


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": "a thought of many words", "content": "x"},
        {"tool_calls": [{"function": {"arguments": "words"}}], "content": "x"},
        {"x": 1, "content": ["a text that is no text"]},
    ],
)
def test_what_else_is_told_is_none_of_the_wrapping(delta):
    found = heard(*[chunk(**delta)] * 10)
    size = found.size
    assert sum(map(len, found.text())) <= found.size <= size


def test_what_texts_are_wrapped_in_may_change():
    parts = [said("a"), said("b", x=1), said("c", y=[2]), chunk(refusal="d"), said("e")]
    found = heard(*parts)
    assert 5 <= found.size < sum(map(len, parts)) / 3
    assert found.text() == ("abced", "")


def test_its_size_is_right_however_often_it_was_asked_for():
    found = heard(said("a"))
    for text in "bcd":
        assert found.size == len(found.text()[0])
        found.add(said(text))
    assert found.size == 4
    assert found.text() == ("abcd", "")


@pytest.mark.parametrize("most", [0, 1, 4, 5, 6, 99, 100, 10_000])
def test_whether_it_exceeds_something_is_as_its_size_says(most):
    found = heard(*[said("a")] * 5)
    assert found.exceeds(most) == (heard(*[said("a")] * 5).size > most)
    found.add(said("b"))
    assert found.exceeds(most) == (found.size > most)


def test_what_it_is_told_to_be_no_text_need_not_be_seen():
    found, part = Heard(), chunk(refusal="no")
    found.add(part, len(part) - 2)
    assert (found.size, found.exceeds(1), found.exceeds(2)) == (2, True, False)
    found.add(chunk(refusal="x"))
    assert 3 < found.size == 2 + len(chunk(refusal="x"))
    assert found.text() == ("nox", "")
    assert found.size == 3
    found.add(said("abc"), 1)
    assert found.size == 6, "what is seen counts where it is more"


def test_nothing_has_no_framing_whatever_is_told():
    found = heard(said("a"))
    found.add(b"", 1_000)
    assert found.size == 1


@pytest.mark.parametrize(
    ("parts", "spoken"),
    [
        ([], False),
        ([chunk(role="assistant", content="")], False),
        ([chunk(role="assistant", content=""), chunk(content="a")], True),
        ([chunk(content='"')], True),
        ([chunk(reasoning="a")], True),
        ([chunk(tool_calls=[{"function": {"name": "f"}}])], True),
        ([chunk(audio={"data": "x"})], False),
    ],
)
def test_whether_anything_was_said(parts, spoken):
    assert heard(*parts).spoken is spoken
    assert any(heard(*parts).text()) is spoken
