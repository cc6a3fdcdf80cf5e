"""A streamed answer adds up to the whole one, however it is cut, and to what Google's own SDK reads in it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from adapters.base import Answer, Failure
from adapters.gemini import response, stream
from tests.adapters import golden
from tests.adapters.gemini import answers, sdk
from tests.adapters.gemini.hearing import accumulated, deltas, heard, spoken
from tests.adapters.golden import STAMP


def tried(body: bytes) -> Answer | Failure:
    """The whole answer, or why it is none."""
    try:
        return response(body, answers.call(), STAMP)
    except Failure as failure:
        return failure


@st.composite
def twins(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    answer = draw(answers.answers())
    return answer, draw(answers.streams(answer))


@settings(max_examples=300, deadline=None)
@given(twins(), st.sampled_from([0, 1, 7, 64]))
def test_a_stream_adds_up_to_the_whole(twins, size):
    """Traps 1, 3, 7, 36, 47, 53 and 54."""
    answer, fragments = twins
    translation, said = heard(answers.sse(fragments), size=size)
    whole = tried(msgspec.json.encode(answer))
    if isinstance(whole, Failure):
        assert repr(translation.failure) == repr(whole)
        return
    told = accumulated(said)
    expected = ChatCompletion.model_validate_json(whole.body)
    assert translation.done
    assert spoken(told) == spoken(expected)
    assert told.usage == expected.usage
    assert (translation.usage, translation.finish) == (whole.usage, whole.finish)
    assert (told.id, told.created, told.model) == (expected.id, expected.created, expected.model)


@settings(max_examples=100, deadline=None)
@given(twins())
def test_a_stream_says_what_googles_own_sdk_reads_in_it(twins):
    body = answers.sse(twins[1])
    translation, said = heard(body)
    if translation.failure:
        return
    [choice] = accumulated(said).choices
    read = [part for part in parts_read(body) if part.text or part.function_call]
    assert (choice.message.content or "") == "".join(p.text for p in read if p.text and not p.thought)
    reasoning = (choice.message.model_extra or {}).get("reasoning_content", "")
    assert reasoning == "".join(p.text for p in read if p.text and p.thought)
    calls = [call.function for call in choice.message.tool_calls or () if call.type == "function"]
    told = [(function.name, msgspec.json.decode(function.arguments)) for function in calls]
    assert told == [(p.function_call.name, p.function_call.args or {}) for p in read if p.function_call]


def parts_read(body: bytes) -> list[Any]:
    found = []
    for told in sdk.read_stream(body):
        for candidate in told.candidates or ():
            found += (candidate.content.parts if candidate.content else None) or []
    return found


# For the SDK, not for us: it knows one type for each member, and no comments.
UNREADABLE = {"usage-of-wrong-types", "sources-of-wrong-types", "comments-and-event-names"}
STREAMS = [
    case for case in golden.answer_cases("sse") if case.vendor == "gemini" and not case.path("failure.json").exists()
]


@pytest.mark.parametrize("case", [case for case in STREAMS if case.name not in UNREADABLE], ids=lambda case: case.name)
def test_of_golden_streams_we_read_what_the_sdk_reads(case):
    translation = stream(case.call, STAMP)
    said = translation.feed(case.body) + translation.end()
    content = "".join(delta.get("content") or "" for delta in deltas(said))
    if translation.finish != "content_filter":  # after a block nothing more is said, whatever the vendor sends
        assert content == "".join(p.text for p in parts_read(case.body) if p.text and not p.thought)


@settings(deadline=None)
@given(twins(), st.data())
def test_a_stream_that_is_cut_is_done_only_if_the_vendor_was(twins, data):
    """Traps 17 and 52."""
    body = answers.sse(twins[1])
    end = data.draw(st.integers(0, len(body)))
    translation, said = heard(body[:end])
    assert translation.done is (translation.failure is None)
    assert said.count(b"[DONE]") == int(translation.done)
    assert not translation.done or b'"finishReason"' in body[:end]
