"""The outside of the letter is all that most of the house reads."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import envelope
from adapters.base import Failure
from adapters.marks import COMPACT, SPACED

MESSAGES = '"messages":[{"role":"user","content":"Hi"}]'


def seal(members: str) -> envelope.Envelope:
    return envelope.seal(f'{{"model":"m",{members}}}'.encode())


def test_the_bytes_stay_as_they_came():
    raw = b' {"model" : "m", "x": 1.50, "messages": []}\n'
    sealed = envelope.seal(raw)
    assert sealed.raw is raw
    assert sealed.model == "m"
    assert bytes(sealed.fields["x"]) == b"1.50"


def test_what_is_not_said_has_a_default():
    sealed = seal(MESSAGES)
    assert (sealed.stream, sealed.include_usage, sealed.choices, sealed.user) == (False, False, 1, None)
    assert sealed.metadata == {}


def test_what_is_said_is_read():
    sealed = seal('"stream":true,"stream_options":{"include_usage":true,"x":1},"n":3,"user":"u","metadata":{"a":"b"}')
    assert (sealed.stream, sealed.include_usage, sealed.choices, sealed.user) == (True, True, 3, "u")
    assert sealed.metadata == {"a": "b"}


@pytest.mark.parametrize(
    ("members", "attribute", "value"),
    [
        ('"user":"u","safety_identifier":"s"', "user", "s"),
        ('"stream":null,"stream_options":null', "stream", False),
        ('"stream":true,"stream_options":{"include_usage":null}', "include_usage", False),
        ('"n":null', "choices", 1),
        ('"n":0', "choices", 1),
        ('"n":-3', "choices", 1),
        ('"metadata":[1]', "metadata", {}),
        ('"metadata":null', "metadata", {}),
    ],
)
def test_odd_values(members, attribute, value):
    assert getattr(seal(members), attribute) == value


@pytest.mark.parametrize(
    ("members", "cap"),
    [
        ("", None),
        ('"max_tokens":5', 5),
        ('"max_completion_tokens":6', 6),
        ('"max_tokens":5,"max_completion_tokens":6', 6),
        ('"max_tokens":6,"max_completion_tokens":5', 6),
        ('"max_tokens":5,"max_completion_tokens":null', 5),
        ('"max_tokens":0', None),
        ('"max_tokens":5,"max_completion_tokens":0', None),
        ('"max_tokens":0,"max_completion_tokens":5', None),
        ('"max_tokens":-1', None),
        ('"max_tokens":5.0', None),
        ('"max_tokens":true', None),
        ('"max_tokens":"5"', None),
        ('"max_tokens":{}', None),
        ('"max_tokens":"\udcff"', None),
    ],
)
def test_the_cap_is_read_leniently(members, cap):
    raw = f'{{{members}{"," if members else ""}"model":"m"}}'.encode("utf-8", "surrogateescape")
    assert envelope.seal(raw).cap == cap


@pytest.mark.parametrize(
    ("said", "tier"),
    [('"flex"', "flex"), ('"what?"', "what?"), ("null", None), ("5", None), ("[]", None), ('"\udcff"', None)],
)
def test_the_tier_is_read_leniently(said, tier):
    raw = f'{{"model":"m","service_tier":{said}}}'.encode("utf-8", "surrogateescape")
    assert envelope.seal(raw).tier == tier


def test_no_tier_is_none():
    assert seal(MESSAGES).tier is None


@pytest.mark.parametrize(
    ("raw", "param", "code"),
    [
        pytest.param(b"", None, "invalid_json", id="nothing"),
        pytest.param(b"{", None, "invalid_json", id="half of it"),
        pytest.param(b'{"model":"\xff"}', None, "invalid_json", id="not UTF-8"),
        pytest.param(b'{"model":"m","x":' + b"[" * 100_000, None, "invalid_json", id="nested too deeply"),
        pytest.param(b"[]", None, None, id="no object"),
        pytest.param(b"{}", "model", "missing_required_parameter", id="no model"),
        pytest.param(b'{"model":1}', "model", None, id="the model is no text"),
        pytest.param(b'{"model":"m","stream":"yes"}', "stream", None, id="a wrong type"),
        pytest.param(b'{"model":"m","stream_options":{}}', "stream_options", None, id="options without a stream"),
    ],
)
def test_what_is_no_request_is_refused(raw, param, code):
    with pytest.raises(Failure) as caught:
        envelope.seal(raw)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
    assert "None" not in caught.value.message


def test_a_name_that_is_not_utf_8_is_refused():
    with pytest.raises(Failure, match="not valid JSON"):
        envelope.seal(b'{"model":"m","\xff":1}')


@pytest.mark.parametrize(
    ("body", "style"),
    [
        pytest.param(b'{"model":"m","n":1}', COMPACT, id="each once and no space"),
        pytest.param(b'{"model":"m","metadata":{"a": 1, "a": 2}}', COMPACT, id="inside a member anything goes"),
        pytest.param(b'{"model":"m","n":1,"n":2}', None, id="one is there twice"),
        pytest.param(rb'{"model":"m","n":1,"\u006e":2}', None, id="one is there twice, once in escapes"),
        pytest.param(rb'{"model":"m","\u006e":1}', None, id="a name in escapes"),
        pytest.param(b'{"model": "m", "n": 1}', SPACED, id="a space behind each name and each member"),
        pytest.param(b'{"model":"m", "n":1}', None, id="a space"),
        pytest.param(b'{"n":1, "model":"m" }', None, id="as many spaces, in other places"),
        pytest.param(b'{"n":10,"n":11,"model":"m","a":1,"b":2}', None, id="twice, and as long as with spaces"),
        pytest.param(b'{"model":"m","n":1}\n', None, id="a line end behind it"),
        pytest.param('{"model":"m","ä":1}'.encode(), None, id="a name of more bytes than letters"),
    ],
)
def test_a_letter_has_a_style_if_its_members_are_the_whole_of_it(body, style):
    assert envelope.seal(body).style is style


def test_who_says_the_same_on_the_outside_is_still_somebody_else():
    """What the outside comes to is remembered; who wrote it, and what it says inside, is not."""
    one, other, third = (
        seal(f'"messages":["{name}"],"n":2,"user":"{name}","metadata":{{"of":"{name}"}}') for name in "abc"
    )
    assert (one.user, other.user, third.user) == ("a", "b", "c")
    assert (one.metadata, other.metadata) == ({"of": "a"}, {"of": "b"})
    assert (bytes(one.fields["messages"]), bytes(other.fields["messages"])) == (b'["a"]', b'["b"]')
    assert (one.choices, other.choices, third.choices) == (2, 2, 2)
    assert seal(MESSAGES).metadata is not seal(MESSAGES).metadata


def test_the_same_members_with_other_values_are_another_outside():
    asked = [seal(f'"n":{n},"max_tokens":{n * 10},"stream":{"true" if n > 1 else "false"}') for n in (1, 2, 3, 1)]
    assert [(one.choices, one.cap, one.stream) for one in asked] == [
        (1, 10, False),
        (2, 20, True),
        (3, 30, True),
        (1, 10, False),
    ]


@pytest.mark.parametrize("size", [1, 200, 300, 5_000])
def test_an_outside_of_any_length_is_read(size):
    for tier in ("flex", "default"):
        sealed = envelope.seal(f'{{"n":2,"model":"{"m" * size}","service_tier":"{tier}"}}'.encode())
        assert (sealed.model, sealed.tier, sealed.choices) == ("m" * size, tier, 2)


def test_long_names_of_models_are_not_kept():
    def kept() -> int:
        return envelope._wished.cache_info().currsize

    before = kept()
    for number in range(5):
        envelope.seal(f'{{"model":"{number:0>300}"}}'.encode())
    assert kept() == before


def test_nothing_that_a_client_wrote_is_shown_by_chance():
    assert repr(seal('"user":"me","messages":"my words"')) == "Envelope(47 bytes)"


def test_the_letter_is_opened_once():
    sealed = seal(MESSAGES + ',"x":1')
    assert sealed.opened is sealed.opened
    assert sealed.chat is sealed.opened[0]
    assert sealed.opened[1] == ["x"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    st.binary()
    | st.fixed_dictionaries(
        {"model": st.text()},
        optional={name: JSON for name in ("stream", "stream_options", "n", "user", "metadata", "messages", "x")},
    ).map(msgspec.json.encode)
)
def test_no_bytes_are_anything_but_a_letter_or_a_failure(raw):
    with suppress(Failure):
        sealed = envelope.seal(raw)
        assert set(sealed.fields) >= {"model"}
        assert sealed.opened
