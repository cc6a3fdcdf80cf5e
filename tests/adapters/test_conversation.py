"""Messages become turns: calls and results fit together, nothing is empty, nothing is lost in silence."""

import string
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import conversation, wire
from adapters.base import Failure, Warnings
from adapters.conversation import Audio, Call, Conversation, File, Image, Result, Text, Thinking, Turn, fold_system

SIGNED = {"google": {"thought_signature": "sig"}}


def user(content="Hi", **more) -> dict:
    return {"role": "user", "content": content, **more}


def assistant(content=None, **more) -> dict:
    return {"role": "assistant", "content": content, **more}


def call(id: str = "c1", name: str = "f", arguments: str | None = "{}", **more) -> dict:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def result(id: str = "c1", content="ok") -> dict:
    return {"role": "tool", "tool_call_id": id, "content": content}


def read(*messages, warnings: Warnings | None = None) -> Conversation:
    raw = msgspec.json.encode({"model": "m", "messages": list(messages)})
    return conversation.read(msgspec.json.decode(raw, type=wire.Chat), Warnings() if warnings is None else warnings)


def refusal(*messages) -> Failure:
    with pytest.raises(Failure) as caught:
        read(*messages)
    assert caught.value.status == 400
    return caught.value


def shape(talk: Conversation) -> str:
    """Turns in short: u(text) a(call)."""
    return " ".join(
        f"{turn.role[0]}({' '.join(block_in_short(block) for block in turn.blocks)})" for turn in talk.turns
    )


def block_in_short(block: conversation.Block) -> str:
    match block:
        case Text(text=text):
            return text
        case Call(id=id):
            return f"!{id}"
        case Result(id=id):
            return f"?{id}"
    return type(block).__name__


# --- turns


@pytest.mark.parametrize(
    ("messages", "expected", "warned"),
    [
        pytest.param([user("a")], "u(a)", "", id="one message"),
        pytest.param([user("a"), assistant("b"), user("c")], "u(a) a(b) u(c)", "", id="to and fro"),
        pytest.param([user("a"), user("b")], "u(a b)", "", id="neighbours of one role are merged"),
        pytest.param([user("a"), assistant(), user("b")], "u(a b)", "", id="trap 9: an empty assistant is no turn"),
        pytest.param([user("a"), assistant(" \n")], "u(a)", "", id="trap 9: nor is white space"),
        pytest.param([user("")], "u(.)", "added=messages[0].content", id="trap 9: an empty user says something"),
        pytest.param([user(" ")], "u(.)", "added=messages[0].content", id="trap 9: white space is empty"),
        pytest.param([user([])], "u(.)", "added=messages[0].content", id="trap 9: no parts are empty"),
        pytest.param(
            [user([{"type": "text", "text": ""}, {"type": "text", "text": "a"}])], "u(a)", "", id="trap 9: empty parts"
        ),
        pytest.param([assistant("a"), user("b")], "a(a) u(b)", "", id="trap 34: the assistant first"),
        pytest.param([assistant("a")], "a(a) u(.)", "added=messages", id="trap 34: the assistant only"),
        pytest.param(
            [{"role": "system", "content": "s"}], "u(.)", "added=messages", id="trap 34: system instructions only"
        ),
        pytest.param(
            [user("a"), {"role": "developer", "content": "s"}, assistant("b")], "u(a) s(s) a(b)", "", id="system later"
        ),
        pytest.param(
            [user("a"), assistant("t", tool_calls=[call()]), result(), user("b")],
            "u(a) a(t !c1) u(?c1 b)",
            "",
            id="trap 10: a call and its result",
        ),
        pytest.param(
            [user("a"), assistant(tool_calls=[call("c1"), call("c2")]), result("c2"), result("c1"), assistant("b")],
            "u(a) a(!c1 !c2) u(?c2 ?c1) a(b)",
            "",
            id="trap 10: parallel results are merged",
        ),
        pytest.param(
            [user("a"), assistant(tool_calls=[call()]), result(), assistant(tool_calls=[call()]), result()],
            "u(a) a(!c1) u(?c1) a(!c1) u(?c1)",
            "",
            id="an id may come again",
        ),
        pytest.param(
            [
                user("a"),
                assistant(function_call={"name": "f", "arguments": "{}"}),
                {"role": "function", "name": "f", "content": None},
            ],
            "u(a) a(!call_legacy_1) u(?call_legacy_1)",
            "",
            id="a deprecated call",
        ),
        pytest.param(
            [user("a"), assistant([{"type": "refusal", "refusal": "no"}, {"type": "refusal", "refusal": ""}])],
            "u(a) a(no)",
            "",
            id="a refusal as a part",
        ),
        pytest.param([user("a"), assistant(refusal="no")], "u(a) a(no)", "", id="a refusal"),
        pytest.param([user("a"), assistant(refusal=" ")], "u(a)", "", id="a refusal of nothing"),
    ],
)
def test_messages_become_turns(messages, expected, warned):
    warnings = Warnings()
    assert shape(read(*messages, warnings=warnings)) == expected
    assert str(warnings) == warned


def test_the_leading_system_messages_stay_blocks_of_their_own():
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    talk = read(
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "b", **mark}, {"type": "text", "text": ""}]},
        user(),
        {"role": "system", "content": "c"},
    )
    assert talk.system == [Text("a"), Text("b", "5m")]
    assert [turn.role for turn in talk.turns] == ["user", "system"]


@pytest.mark.parametrize(
    ("messages", "param", "words"),
    [
        pytest.param([], "messages", "at least one", id="nothing"),
        pytest.param([user(), result()], "messages[1].tool_call_id", "'c1'", id="trap 45: a result of no call"),
        pytest.param(
            [user(), assistant(tool_calls=[call()]), result(), result()],
            "messages[3].tool_call_id",
            "'c1'",
            id="trap 45: a result twice",
        ),
        pytest.param(
            [user(), assistant(tool_calls=[call("c1"), call("c2")]), result("c1"), user()],
            "messages[3]",
            "c2",
            id="trap 45: a call without a result",
        ),
        pytest.param([user(), assistant(tool_calls=[call()])], "messages", "c1", id="trap 45: at the end"),
        pytest.param(
            [user(), user(), assistant(tool_calls=[call(), call()])],
            "messages[2].tool_calls[1].id",
            "duplicate",
            id="one id",
        ),
        pytest.param(
            [user(), {"role": "function", "name": "g", "content": "x"}], "messages[1].name", "'g'", id="never called"
        ),
        pytest.param(
            [
                user(),
                assistant(function_call={"name": "f", "arguments": "{}"}),
                {"role": "function", "name": "g", "content": ""},
            ],
            "messages[2].name",
            "'g'",
            id="another was called",
        ),
        pytest.param(
            [user(), assistant(audio={"id": "a"})], "messages[1].audio", "only OpenAI", id="the audio of an answer"
        ),
        pytest.param(
            [user([{"type": "file", "file": {"file_id": "f"}}])],
            "messages[0].content[0].file.file_id",
            "stored at OpenAI",
            id="a file at OpenAI",
        ),
        pytest.param(
            [user([{"type": "file", "file": {}}])], "messages[0].content[0].file.file_data", "Missing", id="no file"
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(messages, param, words):
    failure = refusal(*messages)
    assert failure.param == param
    assert words in failure.message


# --- blocks


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://x/y", "detail": "low"}},
            Image("https://x/y", "messages[0].content[0].image_url.url", "low"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "u"}, "prompt_cache_breakpoint": {"ttl": "12h"}},
            Image("u", "messages[0].content[0].image_url.url", None, "12h"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            Audio("AA==", "wav", "messages[0].content[0]"),
        ),
        (
            {"type": "file", "file": {"file_data": "AA==", "filename": "a.pdf"}},
            File("AA==", "a.pdf", "messages[0].content[0]"),
        ),
        ({"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}, Text("a", "5m")),
        ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}, Text("a", "1h")),
        ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, Text("a", "5m")),
    ],
    ids=["image", "marked image", "audio", "file", "marked text", "an hour in Anthropic's word", "Anthropic's word"],
)
def test_parts_become_blocks(part, block):
    assert read(user([part])).turns[0].blocks == [block]


def test_results_carry_text_and_images():
    image = {"type": "image_url", "image_url": {"url": "u"}}
    talk = read(user(), assistant(tool_calls=[call()]), result(content=[{"type": "text", "text": "a"}, image]))
    (found,) = talk.turns[-1].blocks
    assert found == Result("c1", "f", (Text("a"), Image("u", "messages[2].content[1].image_url.url")))


def test_a_deprecated_result_of_nothing_says_nothing():
    talk = read(user(), assistant(function_call={"name": "f"}), {"role": "function", "name": "f", "content": None})
    assert talk.turns[-1].blocks == [Result("call_legacy_1", "f", ())]


def test_a_custom_tools_call_is_an_object_with_one_text():
    custom = {"id": "c1", "type": "custom", "custom": {"name": "sql", "input": 'SELECT "x"'}}
    talk = read(user(), assistant(tool_calls=[custom]), result())
    (found,) = talk.turns[1].blocks
    assert isinstance(found, Call)
    assert bytes(found.arguments) == b'{"input":"SELECT \\"x\\""}'


@pytest.mark.parametrize(
    ("more", "signature"),
    [
        pytest.param({}, None, id="nowhere"),
        pytest.param({"extra_content": SIGNED}, "sig", id="where Google keeps it"),
        pytest.param({"provider_specific_fields": {"thought_signature": "sig"}}, "sig", id="where LiteLLM keeps it"),
        pytest.param({"provider_specific_fields": {"thought_signature": 5}}, None, id="a number is none"),
        pytest.param({"provider_specific_fields": {}}, None, id="fields without it"),
        pytest.param(
            {"function": {"name": "f", "arguments": "{}", "thought_signature": "sig"}}, "sig", id="where Portkey has it"
        ),
        pytest.param({"id": "c1__thought__sig"}, "sig", id="in the id"),
        pytest.param({"id": "c1__thought__old", "extra_content": SIGNED}, "sig", id="two: its own place goes first"),
        pytest.param({"extra_content": {"google": None}}, None, id="an empty place"),
        pytest.param({"extra_content": {"google": {"thought_signature": 5}}}, None, id="something else there"),
    ],
)
def test_trap_5_a_thought_signature_is_found_wherever_a_client_keeps_it(more, signature):
    made = {**call(), **more}
    talk = read(user(), assistant(tool_calls=[made]), result(made["id"]))
    (found,) = talk.turns[1].blocks
    assert isinstance(found, Call)
    assert (found.id, found.signature) == ("c1", signature)
    assert talk.turns[2].blocks == [Result("c1", "f", (Text("ok"),))]


def test_a_custom_tools_call_may_be_signed_too():
    custom = {"id": "c1", "type": "custom", "custom": {"name": "sql"}, "extra_content": SIGNED}
    (found,) = read(user(), assistant(tool_calls=[custom]), result()).turns[1].blocks
    assert isinstance(found, Call)
    assert found.signature == "sig"


def test_a_signature_of_text_goes_to_the_last_text():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read(user(), assistant(parts, extra_content=SIGNED)).turns[1].blocks == [Text("a"), Text("b", None, "sig")]
    assert read(user(), assistant(extra_content=SIGNED), user("b")).turns == [Turn("user", [Text("Hi"), Text("b")])]


def test_trap_11_thinking_blocks_come_first_and_unchanged_but_for_our_index():
    block = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    talk = read(user(), assistant("a", thinking_blocks=[{"index": 0, **block}], tool_calls=[call()]), result())
    assert talk.turns[1].blocks[:2] == [Thinking(block), Text("a")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(None, "{}", id="trap 7: nothing"),
        pytest.param("", "{}", id="trap 7: empty"),
        pytest.param(" \n", "{}", id="trap 7: white space"),
        pytest.param('{"b": 1.50, "a": "ä"}', '{"b": 1.50, "a": "ä"}', id="an object stays to the letter"),
        pytest.param("[1]", '{"_raw":"[1]"}', id="trap 45: no object"),
        pytest.param('{"a":', '{"_raw":"{\\"a\\":"}', id="trap 45: half of one"),
        pytest.param("[" * 100_000, '{"_raw":"' + "[" * 100_000 + '"}', id="trap 45: nested without end"),
        pytest.param('{"a":' + "[" * 100_000, None, id="trap 45: an object nested without end"),
    ],
)
def test_arguments_are_an_object(text, expected):
    found = bytes(conversation.arguments(text))
    if expected is not None:
        assert found.decode() == expected
    else:
        assert msgspec.json.decode(found)["_raw"] == text


@given(st.text() | st.dictionaries(st.text(), st.integers()).map(lambda value: msgspec.json.encode(value).decode()))
def test_no_arguments_are_dropped(text):
    found = msgspec.json.decode(conversation.arguments(text))
    assert isinstance(found, dict)
    assert found in ({}, {"_raw": text}) or found == msgspec.json.decode(text)


# --- system messages in mid-conversation


def turns(text: str) -> list[Turn]:
    roles = {"u": "user", "a": "assistant", "s": "system"}
    return [Turn(roles[word[0]], [Text(word)]) for word in text.split()]  # type: ignore[arg-type]  # the table holds no other role


@pytest.mark.parametrize(
    ("said", "kept", "folded"),
    [
        ("u1 a1", "u(u1) a(a1)", "u(u1) a(a1)"),
        ("u1 s1 a1", "u(u1) s(s1) a(a1)", "u(u1 <s1>) a(a1)"),
        ("u1 s1", "u(u1) s(s1)", "u(u1 <s1>)"),
        ("u1 s1 u2", "u(u1 <s1> u2)", "u(u1 <s1> u2)"),
        ("s1 u1", "u(<s1> u1)", "u(<s1> u1)"),
        ("u1 s1 u2 a1 u3", "u(u1 <s1> u2) a(a1) u(u3)", "u(u1 <s1> u2) a(a1) u(u3)"),
        ("u1 s1 u2 s2 u3", "u(u1 <s1> u2 <s2> u3)", "u(u1 <s1> u2 <s2> u3)"),
        ("u1 a1 s1 u2", "u(u1) a(a1) u(<s1> u2)", "u(u1) a(a1) u(<s1> u2)"),
        ("u1 a1 s1", "u(u1) a(a1) u(<s1>)", "u(u1) a(a1) u(<s1>)"),
        ("a1 s1 a2 u1", "a(a1) u(<s1>) a(a2) u(u1)", "a(a1) u(<s1>) a(a2) u(u1)"),
    ],
)
def test_trap_32_system_messages_stay_where_they_are(said, kept, folded):
    for keep, expected in ((True, kept), (False, folded)):
        found = shape(Conversation([], fold_system(turns(said), keep=keep)))
        assert found.replace("<system>", "<").replace("</system>", ">") == expected


def test_trap_10_results_stay_in_front_of_a_system_message():
    said = [
        Turn("user", [Text("u1")]),
        Turn("assistant", [Call("c1", "f", msgspec.Raw(b"{}"))]),
        Turn("user", [Result("c1", "f", ())]),
        Turn("system", [Text("s1")]),
        Turn("user", [Text("u2")]),
    ]
    assert shape(Conversation([], fold_system(said, keep=False))).endswith("u(?c1 <system>s1</system> u2)")


def test_trap_10_results_come_first_though_a_system_message_stands_before_them():
    said = [
        Turn("user", [Text("u1")]),
        Turn("assistant", [Call("c1", "f", msgspec.Raw(b"{}"))]),
        Turn("system", [Text("s1")]),
        Turn("user", [Result("c1", "f", ())]),
    ]
    assert shape(Conversation([], fold_system(said, keep=False))).endswith("u(?c1 <system>s1</system>)")


def test_folding_changes_nothing_that_is_folded_again_for_another_vendor():
    said = turns("u1 s1 u2")
    before = msgspec.json.encode([turn.role for turn in said]), [len(turn.blocks) for turn in said]
    fold_system(said, keep=False)
    assert (msgspec.json.encode([turn.role for turn in said]), [len(turn.blocks) for turn in said]) == before


CONTENT = st.sampled_from(["", " ", "a", "b"])


@st.composite
def histories(draw) -> list[dict]:
    messages: list[dict] = []
    for i in range(draw(st.integers(1, 8))):
        role = draw(st.sampled_from(["system", "user", "assistant", "calls"]))
        if role == "calls":
            ids = [f"{letter}{i}" for letter in draw(st.text(string.ascii_lowercase, min_size=1, max_size=3))]
            ids = list(dict.fromkeys(ids))
            messages.append(assistant(draw(CONTENT), tool_calls=[call(id) for id in ids]))
            messages += [result(id, draw(CONTENT)) for id in draw(st.permutations(ids))]
        else:
            messages.append({"role": role, "content": draw(CONTENT)})
    return messages


@given(histories(), st.booleans())
def test_any_history_that_fits_together_becomes_turns_that_alternate(messages, keep):
    talk = read(*messages)
    folded = fold_system(talk.turns, keep=keep)
    roles = [turn.role for turn in folded if turn.role != "system"]
    assert all(a != b for a, b in pairwise(roles)) or keep
    assert "user" in roles
    for before, turn in zip([None, *folded], folded, strict=False):
        assert turn.blocks
        results = [block.id for block in turn.blocks if isinstance(block, Result)]
        if results:
            assert before is not None
            assert sorted(results) == sorted(block.id for block in before.blocks if isinstance(block, Call))
            assert all(isinstance(block, Result) for block in turn.blocks[: len(results)])


@given(histories())
def test_a_conversation_tells_whether_tools_were_called_in_it_and_the_system_spoke_later(messages):
    talk = read(*messages)
    assert talk.called is any(isinstance(block, Call) for turn in talk.turns for block in turn.blocks)
    if "system" in [turn.role for turn in talk.turns]:
        assert talk.interrupted
    if not talk.interrupted:
        assert fold_system(talk.turns, keep=False) == fold_system(talk.turns, keep=True) == talk.turns


def test_a_call_of_a_deprecated_function_is_a_call_too():
    assert read(
        user("a"), assistant(function_call={"name": "f"}), {"role": "function", "name": "f", "content": "x"}
    ).called
