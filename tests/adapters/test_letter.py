"""The whole letter is read strictly: what is wrong is named, and what is unknown is not lost in silence."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import letter
from adapters.base import Failure

USER = {"role": "user", "content": "Hi"}


def read(*messages, **members):
    return letter.read(msgspec.json.encode({"model": "m", "messages": list(messages) or [USER], **members}))


def refusal(*messages, **members) -> Failure:
    with pytest.raises(Failure) as caught:
        read(*messages, **members)
    assert caught.value.status == 400
    return caught.value


def test_a_plain_letter_holds_nothing_unknown():
    chat, unknown = read()
    assert (chat.model, len(chat.messages), unknown) == ("m", 1, [])


@pytest.mark.parametrize(
    ("members", "unknown"),
    [
        pytest.param({"x": 1}, ["x"], id="at the top"),
        pytest.param({"x": 1, "y": {"z": 1}}, ["x", "y"], id="two of them"),
        pytest.param({"messages": [{**USER, "x": 1}, {**USER, "x": 2}]}, ["messages[].x"], id="in each message"),
        pytest.param(
            {"messages": [USER, {"role": "assistant", "content": "a", "x": 1}, {**USER, "x": 1}]},
            ["messages[].x"],
            id="in messages of different roles",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]}]},
            ["messages[].content[].x"],
            id="in a part",
        ),
        pytest.param(
            {"tools": [{"type": "function", "function": {"name": "f", "x": 1}}] * 3}, ["tools[].function.x"], id="deep"
        ),
        pytest.param({"metadata": {"x": 1}, "audio": {"x": 1}}, [], id="in what is not read"),
        pytest.param({"a b": 1}, ["a?b"], id="a name with a space"),
        pytest.param({"a\r\nset-cookie: x=1": 1}, ["a?set-cookie?x?1"], id="a name that would break a header"),
        pytest.param({"schlüssel": 1}, ["schl?ssel"], id="a name that no header takes"),
        pytest.param({"x" * 500: 1}, ["x" * 100], id="a name without end"),
    ],
)
def test_what_is_unknown_is_named_by_its_path(members, unknown):
    assert read(**members)[1] == unknown


def test_what_is_unknown_takes_nothing_else_away():
    chat, _ = read({**USER, "x": 1}, {"role": "assistant", "content": "a", "y": 1}, x=1, temperature=0.5)
    assert (len(chat.messages), chat.temperature) == (2, 0.5)


def test_what_is_unknown_in_one_kind_of_part_stays_in_another():
    image = {"type": "image_url", "image_url": {"url": "u"}, "text": "x"}
    chat, unknown = read({"role": "user", "content": [image, {"type": "text", "text": "a"}]})
    assert unknown == ["messages[].content[].text"]
    assert chat.messages[0].content[1].text == "a"


def test_a_long_history_costs_one_round():
    assert read(*[{**USER, "x": i} for i in range(500)])[1] == ["messages[].x"]
    parts = [{"type": "text", "text": "a", "x": i} for i in range(500)]
    assert read({"role": "user", "content": parts})[1] == ["messages[].content[].x"]


def test_a_sibling_that_lacks_the_way_is_passed_over():
    call = {"id": "c", "type": "function", "function": {"name": "f", "x": 1}}
    messages = [
        {"role": "assistant", "content": "none"},
        {"role": "assistant", "tool_calls": None},
        {"role": "assistant", "tool_calls": [call]},
    ]
    assert read(*messages)[1] == ["messages[].tool_calls[].function.x"]


def test_too_much_that_is_unknown_is_no_chat_completion():
    failure = refusal(**{f"x{i}": i for i in range(33)})
    assert "more than 32" in failure.message
    assert failure.param == "x0"


@pytest.mark.parametrize("path", ["messages[9]", "messages[0].content.a", "temperature.b", "messages", "model"])
def test_a_name_that_imitates_the_decoders_words_is_refused(path):
    assert refusal(temperature=1, **{f"x` - at `$.{path}": 1}).param == path


@pytest.mark.parametrize(
    ("members", "param", "words"),
    [
        pytest.param({"temperature": "hot"}, "temperature", "expected `float | null`, got `str`", id="a wrong type"),
        pytest.param({"temperature": "hot", "x": 1}, "temperature", "expected `float | null`", id="and one unknown"),
        pytest.param(
            {"x": {}, "temperature": "hot"}, "temperature", "expected `float | null`", id="behind one unknown"
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}, "b"]}]},
            "messages[0].content[1]",
            "expected `object`",
            id="a text for a part, behind one unknown",
        ),
        pytest.param(
            {"tools": [{"type": "function", "function": {"name": "f", "x": 1}}, "function"]},
            "tools[1]",
            "expected `object`",
            id="a text for a tool, behind one unknown",
        ),
        pytest.param({"messages": [{"role": "user"}]}, "messages[0].content", "Missing", id="missing, deep inside"),
        pytest.param({"messages": [{"role": "king", "content": ""}]}, "messages[0].role", "'king'", id="unknown role"),
        pytest.param({"messages": [{"content": ""}]}, "messages[0].role", "Missing", id="no role"),
        pytest.param({"tools": [{"type": "function"}]}, "tools[0].function", "Missing", id="no function"),
        pytest.param({"logit_bias": {"1": "x"}}, "logit_bias[...]", "expected `float`", id="in a mapping"),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "video", "x": 1}]}]},
            "messages[0].content[0].type",
            "'video'",
            id="an unknown part",
        ),
    ],
)
def test_what_is_wrong_is_named_as_openai_names_it(members, param, words):
    failure = refusal(**members)
    assert failure.param == param
    assert words in failure.message
    assert f"'{param}'" in failure.message


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        pytest.param(b"{", "invalid_json", id="half of it"),
        pytest.param(b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', "invalid_json", id="not UTF-8"),
        pytest.param(b'{"model":"m","messages":[],"metadata":' + b"[" * 100_000, "invalid_json", id="too deep"),
        pytest.param(b'{"x":1e999,"model":"m","messages":[]}', "invalid_json", id="unknown, and out of range"),
        pytest.param(b'{"x":"\\ud800","model":"m","messages":[]}', "invalid_json", id="unknown, and half a character"),
        pytest.param(b"7", None, id="no object"),
        pytest.param(b"{}", "missing_required_parameter", id="nothing in it"),
    ],
)
def test_what_is_no_letter_is_refused(raw, code):
    with pytest.raises(Failure) as caught:
        letter.read(raw)
    assert (caught.value.status, caught.value.code) == (400, code)
    assert "None" not in caught.value.message
    assert ("nested too deeply" in caught.value.message) is (raw.count(b"[") > 1000)


WORDS = st.sampled_from(
    ["model", "messages", "role", "content", "user", "assistant", "tool", "type", "text", "tools", "function", "x"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(WORDS | st.text(), inner),
)


@given(
    st.binary()
    | JSON.map(msgspec.json.encode)
    | st.fixed_dictionaries({"model": st.text(), "messages": JSON}, optional={"x": JSON, "tools": JSON}).map(
        msgspec.json.encode
    )
)
def test_no_bytes_are_anything_but_a_letter_or_a_failure(raw):
    with suppress(Failure):
        _, unknown = letter.read(raw)
        assert all(path.isascii() and path.isprintable() for path in unknown)
