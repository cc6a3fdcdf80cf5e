"""Server-sent events arrive whole, however they were cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import sse

PIECES = st.lists(
    st.sampled_from([b"data: a", b"data:", b":c", b"event: x", b"\r", b"\n", b"\r\n", b"\n\n", b"{", "ä".encode()])
)


def heard(body: bytes, cuts: list[int]) -> tuple[list[bytes], bytes]:
    decoder = sse.Decoder()
    events = []
    ends = sorted(min(cut, len(body)) for cut in cuts)
    for start, end in zip([0, *ends], [*ends, len(body)], strict=True):
        events += decoder.feed(body[start:end])
    return events + decoder.end(), bytes(decoder.stray)


@given(PIECES.map(b"".join) | st.binary(), st.lists(st.integers(0, 60)))
def test_cuts_of_the_network_change_nothing(body, cuts):
    assert heard(body, cuts) == heard(body, [])


@given(st.text(), st.lists(st.integers(0, 60)), st.sampled_from(["\n", "\r\n", "\r"]))
def test_trap_54_characters_survive_any_cut_and_any_line_end(text, cuts, end):
    said = "".join(text.splitlines())
    body = f"data: {said}x{end}{end}".encode()
    assert heard(body, cuts)[0] == [f"{said}x".encode()]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        pytest.param(b"data: a\n\ndata: b\n\n", [b"a", b"b"], id="two events"),
        pytest.param(b"data:a\n\n", [b"a"], id="no space"),
        pytest.param(b"data:  a\n\n", [b" a"], id="of two spaces one is text"),
        pytest.param(b"data: a\ndata: b\n\n", [b"a\nb"], id="data on several lines"),
        pytest.param(b"data: a\r\ndata: b\r\n\r\n", [b"a\nb"], id="lines that end in CRLF"),
        pytest.param(sse.KEEPALIVE + b"data: a\n\n", [b"a"], id="a sign of life"),
        pytest.param(b"event: x\nid: 1\nretry: 5\ndata: a\n\n", [b"a"], id="other lines are passed over"),
        pytest.param(b": hi\n\n:\n\ndata: a\n\n", [b"a"], id="comments"),
        pytest.param(b"event: ping\ndata:\n\ndata: a\n\n", [b"a"], id="empty data is no event"),
        pytest.param(b"event: ping\n\n", [], id="no data is no event"),
        pytest.param(b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [b"a", b"b"], id="many blank lines"),
        pytest.param(b"data: a", [b"a"], id="the closing blank line is missing"),
        pytest.param(b"data: a\n", [b"a"], id="half of the closing blank line is missing"),
        pytest.param(b"data: a\r\n\r", [b"a"], id="the last LF is missing"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_what_is_an_event(body, events):
    assert heard(body, []) == (events, b"")
    assert heard(body, list(range(len(body)))) == (events, b"")


def test_events_come_as_soon_as_they_are_complete():
    decoder = sse.Decoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\ndata: b") == [b"a"]
    assert decoder.feed(b"\r\n") == []
    assert decoder.feed(b"\r\n") == [b"b"]


def test_whole_events_can_be_had_as_they_stand():
    decoder = sse.Decoder()
    assert decoder.cut(b": c\n\ndata: a\n\ndata") == b": c\n\ndata: a\n\n"
    assert decoder.cut(b": b\n\n") == b"data: b\n\n"
    assert decoder.cut(b"\n\n") == b"\n\n"


def test_what_waited_for_its_end_is_said_once():
    decoder = sse.Decoder()
    assert decoder.feed(b"data: a") == []
    assert (decoder.end(), decoder.end()) == ([b"a"], [])


def test_what_is_no_event_is_kept_for_the_post_mortem():
    assert heard(b'{\n "error": 1\n}\n', []) == ([], b'{\n "error": 1\n}\n')


def test_of_an_endless_page_only_the_beginning_is_kept():
    _, stray = heard(b"<p>\n" * 40_000, [])
    assert len(stray) == 64 * 1024


def test_an_event_without_an_end_is_too_large_one_day():
    decoder = sse.Decoder()
    assert decoder.feed(b"data: " + b"x" * (sse.LARGEST_EVENT - 6)) == []
    with pytest.raises(sse.TooLarge, match="67108864 bytes"):
        decoder.feed(b"x")


@given(st.binary(min_size=1).filter(lambda data: b"\n" not in data and b"\r" not in data))
def test_what_is_encoded_is_decoded(data):
    assert heard(sse.encode(data), []) == ([data], b"")


@pytest.mark.parametrize(
    ("whole", "left"),
    [
        (b"\n" * 1_000, b""),
        (b": x\n\n" * 1_000, b""),
        (b"\n\n: x\n\n" * 500 + b"data: 1\n\n" + b":\n\n" * 500, b"data: 1\n\n"),
        (b":\n\n" * 9 + b": x\ndata: 1\n\n" + b"\n" * 9, b"data: 1\n\n"),
        (b"data: a\n\n" * 9, b"data: a\n\n" * 9),
        (b"data: " + b"a" * 99 + b"\n\n: x\n\n", b"data: " + b"a" * 99 + b"\n\n: x\n\n"),
    ],
)
def test_a_flood_of_nothing_is_taken_out_at_once(whole, left):
    assert sse.thinned(whole) == left
    assert sse.Decoder().take(whole) == sse.Decoder().take(left)


def test_what_was_too_large_is_not_kept():
    decoder = sse.Decoder()
    decoder.feed(b"a" * sse.LARGEST_EVENT)
    with pytest.raises(sse.TooLarge):
        decoder.feed(b"a")
    assert decoder.end() == []
