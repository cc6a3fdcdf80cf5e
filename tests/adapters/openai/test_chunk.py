"""Chunks are changed only where they break the official clients."""

from typing import Any

import msgspec
import pytest

from adapters.base import Stamp
from adapters.openai import chunk
from adapters.openai.chunk import Tidier
from adapters.openai.mend import call_id


def tidy(*bodies: str) -> list[str]:
    tidier = Tidier()
    return [tidier.tidy(chunk.decoder.decode(body), body.encode()).decode() for body in bodies]


def delta(members: str, index: str = '"index":0,') -> str:
    return f'{{"id":"x","choices":[{{{index}"delta":{{{members}}},"finish_reason":null,"x":1.50}}]}}'


@pytest.mark.parametrize(
    ("members", "something"),
    [
        ("", False),
        ('"role":"assistant"', False),
        ('"role":"assistant","content":"","refusal":null,"tool_calls":[],"x":{}', False),
        ('"content":"a"', True),
        ('"reasoning_content":"a"', True),
        ('"tool_calls":[{"index":0}]', True),
        ('"audio":{"id":"a"}', True),
    ],
)
def test_a_role_alone_says_nothing(members, something):
    assert chunk.says_something(chunk.decoder.decode(delta(members))) is something


@pytest.mark.parametrize(
    ("body", "something"),
    [
        ('{"choices":[{"delta":null,"finish_reason":"stop"}]}', True),
        ('{"choices":[{"delta":null}]}', False),
        ('{"choices":[]}', False),
        ('{"choices":null}', False),
        ("{}", False),
    ],
)
def test_an_end_says_something(body, something):
    assert chunk.says_something(chunk.decoder.decode(body)) is something


PLAIN = """data: {"id":"x","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":null}\n\n"""


@pytest.mark.parametrize(
    ("whole", "plain"),
    [
        pytest.param("", True, id="nothing"),
        pytest.param(PLAIN.replace("],", '],"service_tier":"flex",'), True, id="the tier that is known"),
        pytest.param(PLAIN.replace("],", '],"service_tier":null,'), False, id="no tier"),
        pytest.param(PLAIN.replace("],", '],"service_tier":"default",'), False, id="another tier"),
        pytest.param(
            PLAIN.replace("data: {", 'data: {"usage":null,').replace(',"usage":null}', "}"), False, id="usage first"
        ),
        pytest.param(PLAIN, True, id="one"),
        pytest.param(PLAIN * 3, True, id="three"),
        pytest.param(PLAIN.replace('"a"', '"\\"role\\" \\"error\\" \\"usage\\":5 [DONE]"'), True, id="talk"),
        pytest.param(PLAIN.replace('"content"', '"reasoning_content"'), True, id="reasoning"),
        pytest.param(PLAIN.replace('"finish_reason":null', '"finish_reason":"stop"'), False, id="an end"),
        pytest.param(PLAIN.replace("null}]", '"stop"},{"index":1,"finish_reason":null}]'), False, id="of two choices"),
        pytest.param(PLAIN.replace('"usage":null', '"usage":{}'), False, id="usage"),
        pytest.param(PLAIN.replace('"usage":null', '"error":null'), False, id="an error"),
        pytest.param(PLAIN.replace('"content"', '"role"'), False, id="a role"),
        pytest.param(PLAIN.replace('"content"', '"tool_calls"'), False, id="calls"),
        pytest.param(PLAIN.replace('"index":0,', ""), False, id="no index"),
        pytest.param(PLAIN.replace(":", ": "), False, id="spaces"),
        pytest.param(PLAIN.replace("data: ", "data:"), False, id="no space before the data"),
        pytest.param(PLAIN + "data: [DONE]\n\n", False, id="the end"),
        pytest.param(": c\n\n" + PLAIN, False, id="a comment"),
        pytest.param("event: x\n" + PLAIN, False, id="a name"),
        pytest.param('data: {"type":"ping"}\n\n', False, id="something else"),
    ],
)
def test_pieces_in_mid_flow_are_known_without_reading_them(whole, plain):
    assert chunk.all_plain(whole.encode(), "flex") is plain


def test_where_no_tier_was_told_none_may_come():
    whole = PLAIN.replace("],", '],"service_tier":null,').encode()
    assert chunk.all_plain(whole, None)
    assert not chunk.all_plain(whole.replace(b'"service_tier":null', b'"service_tier":"null"'), None)


CONTENT, ARGUMENTS = b'"content":"', b'"arguments":"'


def choice(delta: str = '"content":"a"', more: str = '"index":0') -> str:
    return f'{{"choices":[{{{more},"delta":{{{delta}}}}}]}}'


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (choice(), CONTENT),
        (choice('"reasoning":"a"'), b'"reasoning":"'),
        (choice('"tool_calls":[{"index":0,"function":{"arguments":"a"}}]'), ARGUMENTS),
        (choice('"tool_calls":[{"index":0,"function":{"arguments":""}}]'), ARGUMENTS),
        (choice('"content":""'), b""),
        (choice('"content":null'), b""),
        (choice('"role":"assistant","content":"a"'), b""),
        (choice('"audio":{}'), b""),
        (choice('"tool_calls":null'), b""),
        (choice('"tool_calls":[{"index":0,"id":"a","function":{"arguments":"a"}}]'), b""),
        (choice('"tool_calls":[{"index":0,"function":{"name":"a","arguments":"a"}}]'), b""),
        (choice('"tool_calls":[{"index":0,"function":{"arguments":"a"}},{"index":1}]'), b""),
        (choice(more='"index":1'), b""),
        (choice(more='"index":0,"finish_reason":"stop"'), b""),
        ('{"choices":[{"index":0}]}', b""),
        ('{"choices":[]}', b""),
        ("{}", b""),
        (choice()[:-1] + ',"usage":{}}', b""),
    ],
)
def test_what_stands_before_the_text_of_a_piece(said, text):
    assert chunk.piece(chunk.decoder.decode(said)) == text


def test_whether_an_event_goes_on_is_seen_in_itself_alone():
    last, none = PLAIN.replace("null}]", '"stop"}]'), ": keepalive\n\n"
    whole, at = (last + PLAIN + none + PLAIN).encode(), len(last)
    assert [chunk.goes_on(whole, 0), chunk.goes_on(whole, at), chunk.goes_on(whole, at + len(PLAIN))] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    "end", [PLAIN.replace("null}]", '"stop"}]'), PLAIN.replace("null}\n", "{}}\n"), "data: [DONE]\n\n"]
)
def test_what_is_no_piece_is_seen_from_afar(end):
    assert chunk.odd((PLAIN * 2).encode()) == len(PLAIN) * 2
    assert chunk.odd((PLAIN * 2 + end + PLAIN).encode()) == len(PLAIN) * 2
    assert chunk.odd((end + PLAIN * 2 + end).encode(), len(end)) == len(end) + len(PLAIN) * 2
    assert chunk.odd((PLAIN + end).encode(), len(PLAIN)) == len(PLAIN)
    assert chunk.odd(end.encode()) == 0


def test_members_are_changed_and_the_rest_keeps_its_bytes():
    assert chunk.with_members(b'{"a": 1.50, "usage": {"x": 1e3}}', usage=None) == b'{"a":1.50,"usage":null}'
    assert chunk.without_usage(b'{"a": 1.50, "usage": {"x": 1e3}}') == b'{"a":1.50}'


@pytest.mark.parametrize(
    "bodies",
    [
        pytest.param([delta('"role":"assistant","content":""'), delta('"content":"a"')], id="text"),
        pytest.param([delta('"role":null'), delta('"role":null')], id="null roles are joined to nothing"),
        pytest.param([delta('"role":""'), delta('"role":""')], id="so are empty ones"),
        pytest.param([delta('"tool_calls":null'), delta('"tool_calls":[]')], id="no calls"),
        pytest.param(
            [
                delta('"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]'),
                delta('"tool_calls":[{"index":0,"id":null,"function":{"name":null,"arguments":"{}"}}]'),
                delta('"tool_calls":[{"index":1,"id":"d","function":{"name":"f"}}]'),
                delta('"tool_calls":[{"index":0,"function":null},{"index":1}]'),
            ],
            id="calls",
        ),
        pytest.param(
            [delta('"role":"assistant"'), delta('"role":"assistant"', '"index":1,')], id="a role for each choice"
        ),
        pytest.param(['{"choices":[]}', '{"choices":null}', '{"choices":[{"index":0,"delta":null}]}'], id="nothing"),
    ],
)
def test_what_does_not_deviate_is_identical_to_the_byte(bodies):
    bodies = [f" {body} " for body in bodies]
    assert tidy(*bodies) == bodies


def test_trap_47_a_role_comes_once():
    assert tidy(*[delta('"role":"assistant","content":"a"')] * 2) == [
        delta('"role":"assistant","content":"a"'),
        delta('"content":"a"'),
    ]


def test_trap_47_ids_and_names_come_once():
    body = delta('"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"1"}}]')
    tidied = delta('"tool_calls":[{"index":0,"type":"function","function":{"arguments":"1"}}]')
    assert tidy(body, body, body) == [body, tidied, tidied]


def test_a_name_in_pieces_is_left_alone():
    bodies = [delta(f'"tool_calls":[{{"index":0,"function":{{"name":"{name}"}}}}]') for name in ("get_", "weather")]
    assert tidy(*bodies) == bodies


def test_trap_47_calls_get_their_indexes():
    told = tidy(
        delta('"tool_calls":[{"id":"c","function":{"arguments":""}}]'),
        delta('"tool_calls":[{"function":{"arguments":"{}"}}]'),
        delta('"tool_calls":[{"id":"d"},{"id":"e","index":null}]'),
    )
    indexes = [
        [call["index"] for call in msgspec.json.decode(body)["choices"][0]["delta"]["tool_calls"]] for body in told
    ]
    assert indexes == [[0], [0], [1, 2]]


def test_a_name_in_pieces_without_an_index_is_of_one_call():
    told = tidy(*(delta(f'"tool_calls":[{{"function":{{"name":"{name}"}}}}]') for name in ("get_", "weather")))
    assert ['"index":0' in body.partition("tool_calls")[2] for body in told] == [True, True]


def test_several_pieces_of_a_call_without_an_index_are_of_one_call():
    (told,) = called('{"function":{"name":"f"}},{"function":{"arguments":"{}"}}')
    assert [call["index"] for call in told] == [0, 0]


def test_a_call_keeps_the_type_that_it_has():
    assert called('{"index":0,"id":"c","type":"custom"}') == [[{"index": 0, "id": "c", "type": "custom"}]]


def test_trap_47_a_call_that_begins_without_an_id_is_the_first():
    assert '"index":0' in tidy(delta('"tool_calls":[{"function":{"arguments":""}}]', '"index":5,'))[0]


def test_trap_47_choices_get_their_indexes():
    assert tidy('{"choices":[{"delta":{},"x":1.50},{"delta":{}}]}') == [
        '{"choices":[{"delta":{},"x":1.50,"index":0},{"delta":{},"index":1}]}'
    ]


def test_of_two_choices_only_the_one_that_deviates_is_changed():
    both = '{"choices":[{"index":0,"delta":{"role":"a"},"x":1.50},{"index":1,"delta":{"content":"b"}}]}'
    assert tidy(both, both)[1] == '{"choices":[{"index":0,"delta":{},"x":1.50},{"index":1,"delta":{"content":"b"}}]}'


def test_trap_47_calls_that_all_have_the_same_index_get_their_own():
    told = tidy(
        delta('"tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]'),
        delta('"tool_calls":[{"index":0,"id":"b","function":{"name":"g"}}]'),
        delta('"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]'),
        delta('"tool_calls":[{"index":0,"id":"c","function":{"name":"h"}},{"index":3,"id":"d"}]'),
    )
    indexes = [
        [call["index"] for call in msgspec.json.decode(body)["choices"][0]["delta"]["tool_calls"]] for body in told
    ]
    assert indexes == [[0], [1], [1], [2, 3]]


STAMP = Stamp("ours", 1)


def called(*pieces: str, stamp: Stamp | None = STAMP) -> list[Any]:
    """The calls of these pieces as a vendor that is not OpenAI has them told."""
    tidier = Tidier(stamp)
    bodies = [delta(f'"tool_calls":[{calls}]').encode() for calls in pieces]
    told = [msgspec.json.decode(tidier.tidy(chunk.decoder.decode(body), body)) for body in bodies]
    return [body["choices"][0]["delta"]["tool_calls"] for body in told]


def test_a_call_begins_with_an_id_and_a_type():
    first, second = called('{"index":0,"function":{"name":"f"}}', '{"index":0,"function":{"arguments":"{}"}}')
    assert first == [{"index": 0, "id": call_id(STAMP, 0, 0), "type": "function", "function": {"name": "f"}}]
    assert second == [{"index": 0, "function": {"arguments": "{}"}}]


def test_a_call_with_an_id_only_lacks_its_type():
    assert called('{"index":0,"id":"c"}', '{"index":0}') == [
        [{"index": 0, "id": "c", "type": "function"}],
        [{"index": 0}],
    ]


def test_a_call_that_has_all_is_left_alone():
    piece = '{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}'
    assert called(piece) == [[msgspec.json.decode(piece)]]


def test_an_id_that_comes_too_late_is_not_joined_to_the_one_that_was_made_up():
    first, second = called('{"index":0,"function":{"name":"f"}}', '{"index":0,"id":"late"}')
    assert first[0]["id"] == call_id(STAMP, 0, 0)
    assert second == [{"index": 0}]


def test_several_calls_in_one_piece_without_index_or_id_are_several():
    (told,) = called('{"function":{"name":"f","arguments":{"x":1.50}}},{"function":{"name":"f","arguments":"{}"}}')
    assert [(call["index"], call["id"]) for call in told] == [(at, call_id(STAMP, 0, at)) for at in range(2)]
    assert [call["function"]["arguments"] for call in told] == ['{"x":1.50}', "{}"]


def test_openais_own_calls_are_given_nothing():
    assert called('{"index":0,"function":{"name":"f","arguments":{}}}', stamp=None) == [
        [{"index": 0, "function": {"name": "f", "arguments": {}}}]
    ]
