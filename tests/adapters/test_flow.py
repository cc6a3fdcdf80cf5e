"""Events that differ in nothing but their text are known without being read; nothing else is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import flow
from adapters.flow import Flow, decoded

BEFORE, END = b'data: {"id":"chatcmpl-1","d":{"content":"', b'"},"end":null}\n\n'
PADDED = b'"},"obfuscation":"'
ODD = b'data: {"id":"chatcmpl-1","d":{}}\n\n'
TEXT = b'"content":"'


def taken(flow: Flow, whole: bytes, at: int = 0) -> tuple[int, list[bytes], list[str]]:
    """The end of a run, and its texts as they stand and decoded."""
    end, said = flow.run(whole, at)
    return end, said, decoded(said) if said else []


def event(text: bytes = b"x") -> bytes:
    return BEFORE + text + END


def padded(text: bytes = b"x", padding: bytes = b"pad") -> bytes:
    return BEFORE + text + PADDED + padding + b'"}\n\n'


def known(one: bytes) -> Flow:
    found = Flow()
    found.learn(one[:-2], TEXT)
    return found


PLAIN = known(event())


def test_before_anything_is_learnt_nothing_is_known():
    assert taken(Flow(), event()) == (0, [], [])


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(b'data: {"id":"chatcmpl-1","d":{}}', id="no text"),
        pytest.param(b'data: {"id":"chatcmpl-1","d":{"content":"x', id="a text without an end"),
        pytest.param(b'{"content":"x"}', id="hardly anything before it"),
        pytest.param(b'data: {"id":"chatcmpl-1","d":{"content":"x"}\n}', id="more than a line"),
    ],
)
def test_of_odd_events_nothing_is_learnt(odd):
    found = Flow()
    found.learn(odd, TEXT)
    assert found.before == b""


def test_of_an_event_without_the_text_nothing_is_learnt_however_long_the_text():
    found = Flow()
    found.learn(event()[:-2], b'"reasoning_content":"')
    assert found.before == b""


def test_it_is_the_last_text_that_differs():
    found = known(b'data: {"id":"chatcmpl-1","content":"a","d":{"content":"b"}}\n\n')
    assert found.before == b'data: {"id":"chatcmpl-1","content":"a","d":{"content":"'


@pytest.mark.parametrize("text", [b"", b"x", rb"a\"b", rb"a\\", rb"\\\"\u00e9\"", rb"\n \" \\\\"])
def test_whatever_the_text_is_that_it_is_learnt_with(text):
    assert known(event(text)).wrapping == (BEFORE, END)
    assert known(padded(text, text)).wrapping == (BEFORE, PADDED, b'"}\n\n')


def test_a_padding_without_an_end_is_none():
    cut = BEFORE + b"x" + PADDED + b"pad\n\n"
    assert known(cut).wrapping == (BEFORE, PADDED + b"pad\n\n")


def test_what_was_learnt_can_be_forgotten():
    found = known(event())
    found.forget()
    assert taken(found, event()) == (0, [], [])


def test_what_is_around_texts_can_be_had():
    assert PLAIN.wrapping == (BEFORE, END)
    assert known(padded()).wrapping == (BEFORE, PADDED, b'"}\n\n')
    assert (PLAIN.padded, known(padded()).padded) == (False, True)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        pytest.param([b"a"], ["a"], id="one"),
        pytest.param([b"a", b"", b"c"], ["a", "", "c"], id="several"),
        pytest.param([rb"\"a\\", rb"\n", b"\\\\"], ['"a\\', "\n", "\\"], id="escapes, at the end of a text too"),
        pytest.param(["é".encode(), rb"\u00e9\ud83d\ude00"], ["é", "é😀"], id="all letters"),
    ],
)
def test_a_run_is_taken_at_once(texts, said):
    whole = b"".join(map(event, texts))
    assert taken(PLAIN, whole) == (len(whole), texts, said)
    assert taken(PLAIN, ODD + whole, len(ODD)) == (len(ODD) + len(whole), texts, said)
    assert taken(PLAIN, whole + ODD) == (len(whole), texts, said)
    assert PLAIN.run(whole + ODD) == (len(whole), texts)
    behind = b"".join(map(padded, texts))
    assert taken(known(padded()), behind + ODD) == (len(behind), texts, said)


@pytest.mark.parametrize("end", [b"", ODD], ids=["at the end", "before another"])
@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(event() + ODD + event(), id="another one between"),
        pytest.param(event(b'a"b') + event(), id="a quote"),
        pytest.param(event(b'a","b'), id="a quote, and one more"),
        pytest.param(event(b"a\\") + event(b',"b'), id="half an escape that the next one completes"),
        pytest.param(event(b"a\\"), id="half an escape"),
        pytest.param(event(b"\\x"), id="no escape at all"),
        pytest.param(event(rb"\ud83d") + event(rb"\ude00"), id="halves of a letter"),
        pytest.param(event(b"\xff"), id="no letter"),
        pytest.param(event(b"a\nb"), id="a line end"),
    ],
)
def test_if_one_of_a_run_is_another_all_are_to_be_read(whole, end):
    assert taken(PLAIN, whole + end) == (len(whole), [], [])


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(padded() + event() + padded(), id="one without padding"),
        pytest.param(padded(b"a", rb"\n"), id="escapes"),
        pytest.param(padded(b"a", b"\t"), id="what is no letter"),
        pytest.param(padded() + BEFORE + b'a"}\n\n' + padded(), id="one that ends like the others"),
    ],
)
def test_if_one_is_padded_otherwise_all_are_to_be_read(whole):
    assert taken(known(padded()), whole) == (len(whole), [], [])


def test_a_run_that_does_not_end_as_it_should_is_to_be_read():
    for whole in (event() + BEFORE + b'x"}\n\n', BEFORE + b'x"}\n\n' + ODD):
        assert taken(PLAIN, whole) == (len(whole), [], [])


@given(st.lists(st.text(), min_size=1))
def test_whatever_is_said_is_heard(texts):
    said = [msgspec.json.encode(text)[1:-1] for text in texts]
    whole = b"".join(map(event, said))
    assert taken(PLAIN, whole) == (len(whole), said, texts)
    assert flow.wrapped(said, BEFORE, END) == whole


def test_a_walk_passes_by_each_event_once_and_by_a_run_at_once():
    assert [*PLAIN.walk(ODD + event(b"a") + event(b"b") + ODD)] == [
        (ODD[:-2], []),
        (b"", [b"a", b"b"]),
        (ODD[:-2], []),
    ]


def test_a_walk_takes_known_events_one_by_one_if_another_is_among_them():
    whole = event(b"a") + ODD + event(b"b")
    assert [*PLAIN.walk(whole)] == [(one, []) for one in whole.split(b"\n\n")[:-1]]


def test_what_is_learnt_on_a_walk_is_known_at_once():
    found, walked = Flow(), []
    for one, said in found.walk(ODD + event(b"a") + event(b"b") + event(b"c") + b"\n"):
        walked.append(said or one)
        if TEXT in one:
            found.learn(one, TEXT)
    assert walked == [ODD[:-2], event(b"a")[:-2], [b"b", b"c"], b"\n"]


def test_what_is_learnt_behind_known_ones_is_known_at_once_too():
    found, walked = known(event()), []
    other = event().replace(b"chatcmpl-1", b"chatcmpl-2")
    for one, said in found.walk(event() + other * 3 + event()):
        walked.append(said or one)
        if one.startswith(other[:40]):
            found.learn(one, TEXT)
    assert walked == [event()[:-2], other[:-2], [b"x", b"x"], event()[:-2]]


class Counting(Flow):
    """One that says how often it has looked at more than the beginning of an event."""

    looks = 0

    def run(self, whole: bytes, at: int = 0) -> tuple[int, list[bytes]]:
        found = super().run(whole, at)
        self.looks += found[0] > at
        return found


def test_who_changes_what_events_look_like_all_the_time_is_read():
    found, events = Counting(), 0
    other = event().replace(b"chatcmpl-1", b"chatcmpl-2")
    for one, _ in found.walk((event(b"a") * 2 + ODD + other * 2) * 20):
        events += 1
        found.learn(one, TEXT)
    assert events == 100
    assert found.looks == flow.LOOKS
