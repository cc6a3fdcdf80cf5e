"""Which fragments come by the run; and that it makes no difference to the client, nor to the bill."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.flow import LOOKS
from adapters.gemini import stream
from adapters.gemini.answer import decoder
from adapters.gemini.run import Run
from adapters.heard import Heard
from adapters.sse import Decoder
from tests.adapters.gemini import answers
from tests.adapters.gemini.answers import fragment
from tests.adapters.gemini.hearing import heard
from tests.adapters.golden import STAMP

# --- the same as by themselves


def piece(text: str, told: int = 1, **more: Any) -> dict[str, Any]:
    """A fragment as Google writes them."""
    part: dict[str, Any] = {"text": text, **more}
    counts = {"promptTokenCount": 5, "candidatesTokenCount": told, "totalTokenCount": 5 + told}
    return {
        "candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}],
        "usageMetadata": counts | {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}]},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "kLmQ",
    }


LAST = fragment([{"text": "."}], finishReason="STOP")
TEXTS = st.sampled_from(
    [
        *("a", " word", "", '"', "\\", "\n", "\x7f", "é", "日本", "😀", "\u2028", "5"),
        '"}],"role":"model"},"index":0}],"usageMetadata":{',
        'data: {"text":"',
    ]
)
ODD: list[Any] = [
    {},
    {"error": {"code": 503, "message": "no"}},
    {"promptFeedback": {"blockReason": "SAFETY"}},
    fragment([]),
    fragment([{"functionCall": {"name": "f", "args": {"text": "x", "usageMetadata": {"text": "y"}}}}]),
    piece("a") | {"usageMetadata": {"candidatesTokenCount": None, "thoughtsTokenCount": 7}},
    piece("a") | {"usageMetadata": {"candidatesTokenCount": "x"}},
    piece("a") | {"usageMetadata": None},
    piece("a") | {"error": None},
    fragment([{"text": "a"}, {"text": "b"}]),
    fragment([{"text": "a"}], groundingMetadata={"webSearchQueries": ["q"]}),
    fragment([{"text": "a"}], finishReason="MAX_TOKENS"),
    piece("a", thoughtSignature="c2ln"),
    {"candidates": [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "b"}]}}]},
]
PIECES = st.builds(piece, TEXTS, st.integers(0, 1000)) | st.builds(piece, TEXTS, thought=st.just(True))
BROKEN = st.sampled_from([b"", b"x", b'"', b"\\", b"\n", b"\r", b"\xff", b"0", b"}", b"{", b"\n\ndata: ", b"\n: x\n\n"])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Events most of which are alike; some are odd, and here and there one is broken."""
    events = [*draw(st.lists(PIECES | PIECES | PIECES | st.sampled_from(ODD), max_size=24)), LAST]
    spaced = draw(st.booleans())
    said = []
    for event in events:
        data = msgspec.json.encode(event)
        said.append(b"data: %b\r\n\r\n" % (msgspec.json.format(data, indent=0) if spaced else data))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(events) - 1))
        place = draw(st.integers(0, len(said[at])))
        said[at] = said[at][:place] + draw(BROKEN) + said[at][place + draw(st.integers(0, 1)) :]
    return b"".join(said)


def known(translation: Any) -> tuple[Any, ...]:
    return (
        *(repr(translation.failure), translation.done, translation.finish, translation.states),
        *(translation.usage, translation.service_tier),
    )


@settings(max_examples=200, deadline=None)
@given(bodies(), st.sampled_from([0, 700, 3000]), st.booleans())
def test_a_read_of_many_events_says_what_they_say_one_by_one(body, size, include_usage):
    """Fed byte by byte there is no run, for each event comes by itself."""
    translation, said = heard(body, size=size, include_usage=include_usage)
    slowly, expected = heard(body, size=1, include_usage=include_usage)
    assert said == expected
    assert known(translation) == known(slowly)


@settings(max_examples=100, deadline=None)
@given(bodies(), st.sampled_from([0, 700, 3000]))
def test_what_is_told_to_be_framing_is_no_text(body, size):
    translation = stream(answers.call(stream=True), STAMP)
    for part in [body[i : i + size] for i in range(0, len(body), size)] if size else [body]:
        said, listener = translation.feed(part), Heard()
        listener.add(said)
        assert len("".join(listener.text()).encode()) <= len(said) - translation.framing


def test_of_a_run_all_but_the_text_is_framing():
    translation = stream(answers.call(stream=True), STAMP)
    first = translation.feed(answers.sse([piece("a"), piece("b")]))
    assert translation.framing == 0, "the second one of two is read: nothing of it is known"
    said = translation.feed(answers.sse([piece("c")] * 4))
    assert translation.framing == 3 * (len(said) // 4 - len("c"))
    translation.end()
    assert (translation.framing, first[:6]) == (0, b"data: ")


def test_of_a_run_the_last_count_is_the_count():
    body = answers.sse([piece("a", 3), piece("b", 9), piece("c", 9), piece("d", 12), piece("e", 11)])
    translation, _ = heard(body)
    assert translation.usage is not None
    assert (translation.usage.prompt, translation.usage.completion) == (5, 11)


# --- what comes by the run


def walked(*bodies: bytes) -> list[int | str]:
    """What was read by itself (its text, if it has one) and how many came by the run, read for read."""
    run = Run()
    found: list[int | str] = []
    for body in bodies:
        for event, said, texts in run.walk(body.replace(b"\r\n", b"\n")):
            assert len(said) == len(texts)
            if said:
                found.append(len(said))
            elif event:
                found.append(event.partition(b'"text":"')[2].partition(b'"')[0].decode(errors="replace"))
                run.learn(event, event if is_readable(event) else b"")
    return found


def is_readable(event: bytes) -> bool:
    try:
        decoder.decode(Decoder().data(event))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def sse(*texts: str, **more: Any) -> bytes:
    return answers.sse([piece(text, 10**k, **more) for k, text in enumerate(texts)])


def test_what_lies_between_the_first_and_the_last_comes_by_the_run():
    assert walked(sse("a", "b", "c", "d", "e")) == ["a", 3, "e"]


def test_what_was_learnt_of_one_read_is_known_in_the_next():
    assert walked(sse("a", "b", "c"), sse("d", "e", "f")) == ["a", 1, "c", 2, "f"]


def test_what_comes_alone_is_read_and_teaches_nothing():
    assert walked(sse("a"), sse("b"), sse("c", "d")) == ["a", "b", "c", "d"]


def odd(text: str = "x", **more: Any) -> bytes:
    return answers.sse([piece(text, 1, **more)])


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(odd(finish=1), id="another member"),
        pytest.param(odd(thought=True), id="a thought"),
        pytest.param(answers.sse([piece("x") | {"usageMetadata": {"promptTokenCount": 5}}]), id="other counts"),
        pytest.param(answers.sse([piece("x") | {"responseId": "kLmq"}]), id="another answer"),
        pytest.param(odd().replace(b'"role":', b'"role" :'), id="written otherwise"),
    ],
)
def test_whatever_looks_otherwise_is_read(other):
    assert walked(sse("a", "b", "c", "d") + other + sse("e", "f", "g"))[:4] == ["a", 2, "d", "x"]


def test_what_stands_before_one_of_another_kind_is_read_too():
    """Where it ends is seen by what follows."""
    assert walked(sse("a", "b", "c", "d") + b"event: x\n" + odd() + sse("e"))[:5] == ["a", 1, "c", "d", "x"]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(odd().replace(b'"x"', b'"x" "y"'), id="two texts"),
        pytest.param(odd().replace(b'"x"', b'"x\\"'), id="half an escape"),
        pytest.param(odd().replace(b'"x"', b'"\\x"'), id="an unknown escape"),
        pytest.param(odd().replace(b'"x"', b'"\xff"'), id="half a character"),
        pytest.param(odd().replace(b'"x"', b'"x\x01"'), id="a control character"),
        pytest.param(odd().replace(b'"usageMetadata"', b'"usageMetadata"0'), id="a digit too many"),
        pytest.param(odd().replace(b":5", b":05"), id="no number"),
        pytest.param(odd().replace(b":5", b":"), id="a digit too few"),
    ],
)
def test_among_broken_fragments_each_is_read(broken):
    found = walked(sse("a", "b", "c") + broken + sse("d", "e", "f"))
    assert found[:3] == ["a", "b", "c"]
    assert found[3] != "d"


def test_a_broken_fragment_and_one_of_other_looks_are_not_taken_for_one_that_is_known():
    other = odd("y").replace(b"candidates", b"Candidates", 1)
    assert walked(sse("a", "b") + odd().replace(b'"role"', b'"role"x') + other)[:3] == ["a", "b", "x"]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(answers.sse([{"usageMetadata": {"promptTokenCount": 5}}]), id="nothing said"),
        pytest.param(answers.sse([{"candidates": [], "text": "a"}]), id="no candidate"),
        pytest.param(answers.sse([fragment([{"text": "a"}, {"text": "b"}])]), id="two parts"),
        pytest.param(answers.sse([fragment([{"text": "a"}], finishReason="STOP")]), id="the end"),
        pytest.param(answers.sse([fragment([{"text": "a"}], groundingMetadata={"a": "b"})]), id="sources"),
        pytest.param(answers.sse([fragment([{"text": "a", "thoughtSignature": "c2ln"}])]), id="a signature"),
        pytest.param(answers.sse([fragment([{"text": "a", "functionCall": {"name": "f"}}])]), id="a call"),
        pytest.param(answers.sse([fragment([{"x": {"text": "a"}, "text": "b"}])]), id="another text first"),
        pytest.param(b"event: x\n" + odd("a"), id="named"),
        pytest.param(odd("a").replace(b"data: ", b"data:"), id="without the space"),
        pytest.param(b"data: {\ndata: " + odd("a")[7:], id="two lines"),
        pytest.param(odd("a").replace(b"\r\n\r\n", b"\r\nid: 1\r\n\r\n"), id="with an id"),
    ],
)
def test_of_what_is_more_than_a_text_nothing_is_learnt(first):
    assert len(walked(first * 4)) == 4
    assert 2 not in walked(first * 4)


def test_what_has_said_nothing_teaches_nothing():
    run = Run()
    for event, _, texts in run.walk(sse("a", "b", "c").replace(b"\r\n", b"\n")):
        assert event
        assert not texts
        run.learn(event, b"")


@pytest.mark.parametrize("thought", [True, False])
def test_a_run_knows_whether_it_thinks(thought):
    run = Run()
    for event, _, _ in run.walk(sse("a", "b", "c", thought=thought).replace(b"\r\n", b"\n")):
        if event:
            run.learn(event, event)
    assert run.thought is thought


def test_fragments_that_count_nothing_come_by_the_run_too():
    bare = [{name: value for name, value in piece(text).items() if name != "usageMetadata"} for text in "abcd"]
    assert walked(answers.sse(bare)) == ["a", 2, "d"]


@pytest.mark.parametrize("empty", [[""], []], ids=["with empty ones", "without"])
def test_texts_are_as_we_write_them_and_empty_ones_are_left_out(empty):
    body = sse("a", *empty, "/", "\x7f\n", *empty, "b").replace(b'"/"', b'"\\/\\u00e9"')
    run = Run()
    found = []
    for event, said, texts in run.walk(body.replace(b"\r\n", b"\n")):
        found.append((said, texts))
        if event:
            run.learn(event, event)
    assert found == [([], []), (["/é".encode(), b"\x7f\\n"], ["/é", "\x7f\n"]), ([], [])]


def test_half_a_blank_line_too_many_is_no_event():
    assert [event for event, _, _ in Run().walk(b"data: 1\n\n\n")] == [b"data: 1", b"\n"]


def test_who_looks_otherwise_time_and_again_is_read():
    """What is looked for costs a walk through all that came: a read of many kinds would take long."""
    turns = [sse("a", "b", "c"), sse("d", "e", "f", thought=True)] * LOOKS
    found = walked(b"".join(turns))
    assert 0 < sum(1 for one in found if isinstance(one, int)) < LOOKS
    assert found[-12:] == [*"abcdef", *"abcdef"]
