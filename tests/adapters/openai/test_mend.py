"""What vendors who only nearly write OpenAI's format leave out, or write otherwise, is put right."""

from typing import Any

import msgspec
import pytest

from adapters.base import Failure, Kind, Stamp
from adapters.openai import mend
from adapters.openai.mend import Mender

STAMP = Stamp("ours", 7)


def whole(body: str) -> Any:
    return msgspec.json.decode(Mender(STAMP, "asked").whole(body.encode()))


def chunks(*bodies: str) -> list[Any]:
    mender = Mender(STAMP, "asked")
    return [msgspec.json.decode(piece) for body in bodies for piece in mender.chunks(body.encode())]


def answer(message: str = '"role":"assistant","content":"a"', finish: str = '"stop"', more: str = "") -> str:
    outside = '"id":"x","object":"chat.completion","created":5,"model":"m"'
    return f'{{{outside},"choices":[{{"index":0,"message":{{{message}}},"finish_reason":{finish}}}]{more}}}'


def piece(delta: str = '"role":"assistant","content":"a"', finish: str = "null", more: str = "") -> str:
    outside = '"id":"x","object":"chat.completion.chunk","created":5,"model":"m"'
    return f'{{{outside},"choices":[{{"index":0,"delta":{{{delta}}},"finish_reason":{finish}}}]{more}}}'


def call(members: str) -> str:
    return f'"role":"assistant","content":null,"tool_calls":[{{{members}}}]'


# --- what does not deviate


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(answer(), id="text"),
        pytest.param(answer('"role":"assistant","content":null,"refusal":"no"'), id="a refusal"),
        pytest.param(
            answer(call('"id":"c","type":"function","function":{"name":"f","arguments":"{}"}'), '"tool_calls"'),
            id="a call",
        ),
        pytest.param(
            answer(call('"id":"c","type":"custom","custom":{"name":"f","input":""}'), '"tool_calls"'),
            id="a custom call",
        ),
        pytest.param(answer(more=',"usage":null'), id="no usage"),
        pytest.param(
            answer(more=',"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2},"x":1.50'), id="usage"
        ),
        pytest.param(
            answer('"role":"assistant","content":"a","reasoning":"b","reasoning_content":"c"'), id="reasoning"
        ),
    ],
)
def test_a_whole_answer_that_does_not_deviate_is_identical_to_the_byte(body):
    raw = f" {body} ".encode()
    assert Mender(STAMP, "asked").whole(raw) is raw


@pytest.mark.parametrize(
    "bodies",
    [
        pytest.param([piece(), piece('"content":"b"'), piece("", '"stop"')], id="text"),
        pytest.param([piece(more=',"usage":null'), piece('"reasoning":"b","x":1.50')], id="reasoning"),
        pytest.param([piece(call('"index":0')), piece("", '"tool_calls"')], id="a call"),
    ],
)
def test_a_chunk_that_does_not_deviate_is_identical_to_the_byte(bodies):
    mender = Mender(STAMP, "asked")
    for body in bodies:
        raw = f" {body} ".encode()
        assert mender.chunks(raw)[0] is raw


# --- the answer's name


@pytest.mark.parametrize("gap", ["", '"id":null,"created":null,"model":null,', '"id":"","created":0,"model":"",'])
def test_an_answer_gets_the_name_that_it_has_not(gap):
    said = whole(f'{{{gap}"choices":[{{"index":0,"message":{{"content":"a"}},"finish_reason":"stop"}}]}}')
    assert (said["id"], said["created"], said["model"], said["object"]) == ("ours", 7, "asked", "chat.completion")


@pytest.mark.parametrize("kind", ['""', "null", '"chat.completions.chunk"', '"chat.completion"'])
def test_a_chunk_is_called_a_chunk(kind):
    body = piece().replace('"chat.completion.chunk"', kind)
    assert chunks(body)[0]["object"] == "chat.completion.chunk"


def test_all_chunks_have_the_name_of_the_first_that_has_one():
    said = chunks(piece(), '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}', '{"choices":null,"usage":{}}')
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in said} == {("x", 5, "m")}


def test_what_comes_before_the_name_waits_for_it():
    mender = Mender(STAMP, "asked")
    early = b'{"id":"","object":"","created":0,"model":"","choices":[],"prompt_filter_results":[]}'
    assert mender.chunks(early) == []
    told, first = mender.chunks(piece().encode())
    assert msgspec.json.decode(told)["id"] == "x"
    assert first == piece().encode()


NAMELESS = '"id":"","object":"","created":0,"model":""'


@pytest.mark.parametrize(
    "bodies",
    [
        pytest.param([piece(), f'{{{NAMELESS},"choices":[]}}'], id="behind the name"),
        pytest.param(['{"id":"x","choices":[]}'], id="with a name of its own"),
        pytest.param([f'{{{NAMELESS},"choices":[],"usage":{{"prompt_tokens":5}}}}'], id="with the usage"),
    ],
)
def test_nothing_else_waits(bodies):
    mender = Mender(STAMP, "asked")
    assert [len(mender.chunks(body.encode())) for body in bodies] == [1] * len(bodies)


FLOWING = (
    b'data: {"id":"x","object":"chat.completion.chunk","created":5,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
)


def test_pieces_that_have_all_are_known_without_reading_them():
    assert mend.complete(FLOWING * 2)


@pytest.mark.parametrize(
    ("word", "instead"),
    [
        *((word, b'"x":') for word in (b'"id":', b'"created":', b'"model":', b'"index":', b'"delta":')),
        (b"chat.completion.chunk", b"chat.completion"),
        (b'"id":"x"', b'"id":""'),
        (b'"created":5', b'"created":0'),
        (b'"model":"m"', b'"model":""'),
        (b'"content":"a"', b'"content":["a"]'),
        (b'"content":"a"', b'"tool_calls":[]'),
    ],
)
def test_pieces_that_lack_something_are_read(word, instead):
    assert not mend.complete(FLOWING + FLOWING.replace(word, instead))


@pytest.mark.parametrize(
    ("written", "told"), [('{"a":1.50}', '{"a":1.50}'), ("[1.50]", "[1.50]"), ('"{}"', None), ("null", None)]
)
def test_arguments_are_a_text(written, told):
    found = mend.arguments({"arguments": msgspec.Raw(written.encode())}, whole=False)
    assert found == ({} if told is None else {"arguments": told})


@pytest.mark.parametrize(("delta", "why"), [('"content":"a"', "stop"), (call('"index":0'), "tool_calls")])
def test_a_word_of_nobodys_at_the_end_is_the_likelier_of_two(delta, why):
    assert chunks(piece(delta), piece("", '"finished"'))[-1]["choices"][0]["finish_reason"] == why


def test_parts_of_a_content_are_joined():
    thoughts = '{"type":"thinking","thinking":"t"},{"type":"thinking","thinking":[{"type":"text","text":"u"}]}'
    texts = '{"type":"text","text":"a"},"b",{"type":"text","text":"c"}'
    said = whole(answer(f'"role":"assistant","content":[{thoughts},{texts}]'))["choices"][0]["message"]
    assert (said["content"], said["reasoning_content"]) == ("abc", "tu")


# --- messages and their pieces


@pytest.mark.parametrize(
    ("message", "mended"),
    [
        pytest.param('"content":"a"', {"role": "assistant", "content": "a"}, id="no role"),
        pytest.param('"role":"","content":"a"', {"role": "assistant", "content": "a"}, id="an empty role"),
        pytest.param('"role":"assistant"', {"role": "assistant", "content": None}, id="no content"),
        pytest.param(
            '"role":"assistant","content":"a","tool_calls":null', {"role": "assistant", "content": "a"}, id="null calls"
        ),
        pytest.param(
            '"role":"assistant","content":"a","tool_calls":[]', {"role": "assistant", "content": "a"}, id="no calls"
        ),
        pytest.param(
            '"role":"assistant","content":[{"type":"text","text":"a"},"b",{"type":"image_url"},5]',
            {"role": "assistant", "content": "ab"},
            id="content in parts",
        ),
        pytest.param(
            '"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"t"}]}]',
            {"role": "assistant", "content": None, "reasoning_content": "t"},
            id="thoughts in parts (Mistral)",
        ),
        pytest.param(
            '"role":"assistant","reasoning_content":"r","content":[{"type":"thinking","thinking":"t"}]',
            {"role": "assistant", "content": None, "reasoning_content": "r"},
            id="thoughts in two places",
        ),
        pytest.param(
            '"role":"assistant","content":[{"type":"thinking","thinking":null}]',
            {"role": "assistant", "content": None},
            id="thoughts that are none",
        ),
    ],
)
def test_a_message_is_one_that_clients_can_read(message, mended):
    assert whole(answer(message))["choices"][0]["message"] == mended


@pytest.mark.parametrize("message", ["null", "{}"])
def test_a_choice_without_a_message_has_an_empty_one(message):
    said = whole(f'{{"choices":[{{"message":{message}}},{{}}]}}')
    assert said["choices"] == [
        {"message": {"role": "assistant", "content": None}, "index": index, "finish_reason": "stop"}
        for index in range(2)
    ]


@pytest.mark.parametrize(
    ("delta", "mended"),
    [
        pytest.param('"content":"a"', {"role": "assistant", "content": "a"}, id="no role"),
        pytest.param('"content":"a","role":null', {"role": "assistant", "content": "a"}, id="a null role"),
        pytest.param('"role":"assistant","tool_calls":null', {"role": "assistant"}, id="null calls"),
        pytest.param('"role":"assistant","tool_calls":[]', {"role": "assistant"}, id="no calls"),
        pytest.param(
            '"role":"assistant","content":[{"type":"text","text":"a"}]',
            {"role": "assistant", "content": "a"},
            id="content in parts",
        ),
    ],
)
def test_a_first_piece_is_one_that_clients_can_read(delta, mended):
    assert chunks(piece(delta))[0]["choices"][0]["delta"] == mended


def test_the_role_is_said_to_each_choice_once():
    bare = '{"choices":[{"index":%d,"delta":{"content":"a"}}]}'
    said = [chunk["choices"][0]["delta"] for chunk in chunks(bare % 0, bare % 1, bare % 0)]
    assert said == [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "a"}, {"content": "a"}]


@pytest.mark.parametrize("choice", ['{"index":0}', '{"index":0,"delta":null}', '{"delta":{}}'])
def test_a_choice_without_a_piece_has_an_empty_one(choice):
    assert chunks(piece(), f'{{"choices":[{choice}]}}')[1]["choices"][0]["delta"] == {}


# --- calls


@pytest.mark.parametrize(
    ("members", "mended"),
    [
        pytest.param('"id":"c","function":{"name":"f","arguments":"{}"}', {"id": "c"}, id="no type"),
        pytest.param('"type":"function","function":{"name":"f","arguments":"{}"}', {}, id="no id"),
        pytest.param('"id":"","type":"","function":{"name":"f","arguments":"{}"}', {}, id="both empty"),
        pytest.param('"function":{"name":"f"}', {}, id="no arguments"),
        pytest.param('"function":{"name":"f","arguments":null}', {}, id="null arguments"),
        pytest.param('"function":{"name":"f","arguments":""}', {}, id="empty arguments"),
        pytest.param('"function":{"name":"f","arguments":{}}', {}, id="arguments that are an object"),
    ],
)
def test_a_call_has_an_id_a_type_and_arguments_as_text(members, mended):
    (said,) = whole(answer(call(members), '"tool_calls"'))["choices"][0]["message"]["tool_calls"]
    assert said == {
        "id": mend.call_id(STAMP, 0, 0),
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        **mended,
    }


def test_arguments_keep_their_spelling():
    said = mend.arguments({"arguments": msgspec.Raw(b'{"x": 1.50}')}, whole=False)
    assert said == {"arguments": '{"x": 1.50}'}


def test_a_piece_of_arguments_may_say_nothing():
    assert mend.arguments({"arguments": msgspec.Raw(b'""')}, whole=False) == {}


def test_ids_that_are_made_up_differ_and_are_no_longer_than_openais():
    ids = {mend.call_id(Stamp(f"s{n}", 0), choice, at) for n in range(3) for choice in range(3) for at in range(3)}
    assert len(ids) == 27
    assert all(id.startswith("call_") and len(id) <= 40 for id in ids)


# --- why it ended


@pytest.mark.parametrize(
    ("word", "calls", "why"),
    [
        (None, True, None),
        ("", False, None),
        ("STOP", False, "stop"),
        ("MAX_TOKENS", False, "length"),
        ("whatever", False, "stop"),
        ("whatever", True, "tool_calls"),
    ],
)
def test_the_reason_is_one_of_openais_words(word, calls, why):
    assert mend.finish(word, calls=calls) == why


@pytest.mark.parametrize("calls", [False, True], ids=["without calls", "with calls"])
@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("stop", {"stop", "eos", "end_turn", "stop_sequence"}),
        ("length", {"length", "model_length", "max_tokens", "max_output_tokens"}),
        ("tool_calls", {"tool_calls", "tool_use", "tool_call"}),
        ("content_filter", {"content_filter", "safety", "refusal", "content_filtered"}),
        ("function_call", {"function_call"}),
    ],
)
def test_a_known_word_means_the_same_with_calls_and_without(why, words, calls):
    assert {word for word in mend.WORDS | mend.FINISHES.keys() if mend.finish(word, calls=calls) == why} == words


@pytest.mark.parametrize("word", ["error", "abort", "ERROR"])
def test_an_answer_that_broke_is_none(word):
    with pytest.raises(Failure) as caught:
        whole(answer(finish=f'"{word}"'))
    assert caught.value.kind is Kind.TRANSIENT


@pytest.mark.parametrize("finish", ["null", '""'])
def test_a_whole_answer_ends_for_a_reason(finish):
    assert whole(answer(finish=finish))["choices"][0]["finish_reason"] == "stop"
    calls = call('"id":"c","type":"function","function":{"name":"f","arguments":"{}"}')
    assert whole(answer(calls, finish))["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("finish", ['"finish_reason":""', '"finish_reason":null', '"x":1'])
def test_a_piece_that_is_not_the_last_has_no_reason(finish):
    said = chunks(f'{{"choices":[{{"index":0,"delta":{{"content":"a"}},{finish}}}]}}')[0]["choices"][0]
    assert said["finish_reason"] is None


def test_a_choice_that_was_left_open_ends_in_the_stream_too():
    mender = Mender(STAMP, "asked")
    mender.chunks(piece().encode())
    mender.chunks(piece(call('"index":0')).replace('"index":0,"delta"', '"index":1,"delta"').encode())
    assert mender.choices == {0, 1}
    assert [mender.ending(choice)[0] for choice in (0, 1)] == ["stop", "tool_calls"]
    assert msgspec.json.decode(mender.ending(1)[1]) == {
        **{"id": "x", "created": 5, "model": "m", "object": "chat.completion.chunk"},
        "choices": [{"index": 1, "delta": {}, "finish_reason": "tool_calls"}],
    }


# --- usage


@pytest.mark.parametrize(
    ("usage", "mended"),
    [
        ('{"prompt_tokens":3,"completion_tokens":2}', {"total_tokens": 5}),
        (
            '{"prompt_tokens":3,"completion_tokens":null,"total_tokens":null}',
            {"completion_tokens": 0, "total_tokens": 3},
        ),
        ('{"total_tokens":4}', {"prompt_tokens": 0, "completion_tokens": 0}),
        ('{"x":1}', {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
    ],
)
def test_the_counts_that_clients_require_are_there(usage, mended):
    assert whole(answer(more=f',"usage":{usage}'))["usage"] == {**msgspec.json.decode(usage), **mended}


def test_a_usage_that_says_nothing_is_none():
    assert chunks(piece(more=',"usage":{}'))[0]["usage"] is None


# --- pieces in mid-flow

PLAIN = "data: " + piece('"content":"a"') + "\n\n"


@pytest.mark.parametrize(
    ("events", "complete"),
    [
        pytest.param(PLAIN, True, id="one"),
        pytest.param(PLAIN * 3, True, id="three"),
        pytest.param(PLAIN.replace('"id":"x",', ""), False, id="no id"),
        pytest.param(PLAIN.replace('"id":"x"', '"id":""'), False, id="an empty id"),
        pytest.param(PLAIN.replace('"model":"m"', '"model":""'), False, id="an empty model"),
        pytest.param(PLAIN.replace('"created":5', '"created":0'), False, id="no time"),
        pytest.param(PLAIN.replace(".chunk", ""), False, id="another object"),
        pytest.param(PLAIN.replace('"index":0', '"index":1'), False, id="another choice"),
        pytest.param(PLAIN.replace('"delta":{', '"x":{'), False, id="no delta"),
        pytest.param(PLAIN.replace('"content":"a"', '"content":["a"]'), False, id="content in parts"),
        pytest.param(PLAIN.replace('"content"', '"tool_calls"'), False, id="calls"),
    ],
)
def test_pieces_with_all_that_clients_require_are_known_without_reading_them(events, complete):
    assert mend.complete(events.encode()) is complete
