"""Turns in Anthropic's words: what the golden cases do not already say."""

import base64
from typing import Any

import pytest

from adapters import envelope, needs
from adapters.anthropic import messages
from adapters.base import Failure, Fetched, Remote, Supplies
from tests.adapters.anthropic.said import ADAPTIVE, BUDGET, ask, body, called, function, result, user

PNG = b"\x89PNG\r\n\x1a\n0000"
URL = "http://example.com/a.png"


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def marked(text: str, ttl: str | None = None) -> dict[str, Any]:
    return {"type": "text", "text": text, "prompt_cache_breakpoint": {"mode": "explicit", "ttl": ttl}}


def marks(said: dict[str, Any]) -> list[Any]:
    """The cache marks of a request in the order of its blocks; 0 where there is none."""
    turns = [said.get("system", []), *(turn["content"] for turn in said["messages"])]
    blocks = [block for turn in turns for outer in turn for block in [*outer.get("content", []), outer]]
    return [block.get("cache_control", {"ttl": 0}).get("ttl", "5m") for block in blocks]


# --- images by URL


def test_which_images_the_proxy_fetches():
    chat = envelope.seal(
        b'{"model":"m","messages":[{"role":"system","content":"S"},{"role":"user","content":"text"},'
        b'{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"http://a"}},'
        b'{"type":"image_url","image_url":{"url":"https://b"}},{"type":"image_url","image_url":{"url":"DATA:x"}}]},'
        b'{"role":"tool","tool_call_id":"c","content":[{"type":"image_url","image_url":{"url":"HTTP://d"}}]}]}'
    ).chat
    found = needs.images(chat, lambda url: url.startswith("https"))
    assert found == [
        Remote("http://a", "messages[2].content[1].image_url.url"),
        Remote("HTTP://d", "messages[3].content[0].image_url.url"),
    ]


def test_a_fetched_image_is_sent_inline_under_its_true_type():
    supplies = Supplies(images={URL: Fetched("application/octet-stream", PNG)})
    source = body(supplies=supplies, messages=[user([image(URL)])])["messages"][0]["content"][0]["source"]
    assert source == {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}


def test_an_image_in_the_result_of_a_tool():
    supplies = Supplies(images={URL: Fetched("image/png", PNG)})
    history = [user(), {"role": "assistant", "tool_calls": [called()]}, result(content=[image(URL)])]
    said = body(supplies=supplies, messages=history, tools=[function()])
    assert said["messages"][2]["content"][0]["content"][0]["source"]["media_type"] == "image/png"


def test_https_is_fetched_by_the_vendor():
    source = body(messages=[user([image("https://e.com/a.png")])])["messages"][0]["content"][0]["source"]
    assert source == {"type": "url", "url": "https://e.com/a.png"}


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF0000WEBPVP8 ", "image/webp"),
    ],
)
def test_an_image_of_a_kind_that_claude_sees(head, kind):
    url = f"data:;base64,{base64.b64encode(head).decode()}"
    assert body(messages=[user([image(url)])])["messages"][0]["content"][0]["source"]["media_type"] == kind


def test_an_image_of_a_kind_that_claude_does_not_see():
    with pytest.raises(Failure) as caught:
        ask(messages=[user([image("data:image/svg+xml;base64,PHN2Zz4=")])])
    assert caught.value.code == "unsupported_image_media_type"


@pytest.mark.parametrize("url", [URL, "ftp://example.com/a", "a.png", "", "data:image/png,raw"])
def test_what_nobody_fetches_is_refused(url):
    with pytest.raises(Failure) as caught:
        ask(messages=[user([image(url)])])
    assert (caught.value.code, caught.value.param) == ("invalid_image_url", "messages[0].content[0].image_url.url")


# --- cache marks


@pytest.mark.parametrize(
    ("ttls", "expected", "said"),
    [
        ([None], ["5m"], ""),
        (["30m", "12h", None], ["1h", "1h", "5m"], "clamped=prompt_cache_breakpoint.ttl"),
        ([None, "30m", "30m"], ["5m", "5m", "5m"], "rounded=prompt_cache_breakpoint"),
        ([None] * 6, [0, 0, "5m", "5m", "5m", "5m"], ""),
        ([None, "30m", "30m", "30m", "30m"], [0, "1h", "1h", "1h", "1h"], ""),
    ],
)
def test_four_marks_survive_and_the_longer_ones_stand_first(ttls, expected, said):
    call = ask(messages=[user([marked(f"t{i}", ttl) for i, ttl in enumerate(ttls)])])
    assert str(call.warnings) == said
    assert marks(body(messages=[user([marked(f"t{i}", ttl) for i, ttl in enumerate(ttls)])])) == expected


def test_marks_count_from_the_system_to_the_last_turn():
    said = body(
        messages=[
            {"role": "system", "content": [marked("S")]},
            user([marked("A")]),
            {"role": "assistant", "tool_calls": [called()]},
            result(content=[marked("R")]),
            user([{**image("https://e.com/a.png"), "prompt_cache_breakpoint": {}}, marked("B")]),
        ],
        tools=[function()],
    )
    assert marks(said) == [0, "5m", 0, "5m", 0, "5m", "5m"]


# --- texts, turns and ids


def test_texts_of_white_space_vanish_wherever_they_stand():
    said = body(
        messages=[
            {"role": "system", "content": " "},
            user([{"type": "text", "text": "\n"}, {"type": "text", "text": "Hi"}]),
            {"role": "assistant", "content": "\t", "tool_calls": [called()]},
            result(content=" "),
        ],
        tools=[function()],
    )
    assert "system" not in said
    assert [len(turn["content"]) for turn in said["messages"]] == [1, 1, 1]
    assert said["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "call_1"}]


def test_turns_that_come_together_because_one_vanished_become_one():
    said = body(messages=[user("A"), {"role": "assistant", "content": " "}, user("B"), user("C")])
    assert [block["text"] for block in said["messages"][0]["content"]] == ["A", "B", "C"]
    assert len(said["messages"]) == 1


def test_thinking_alone_is_no_turn_when_thinking_is_off():
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    said = body(messages=[user("A"), {"role": "assistant", "thinking_blocks": [thought]}, user("B")])
    assert [turn["role"] for turn in said["messages"]] == ["user"]
    assert [block["text"] for block in said["messages"][0]["content"]] == ["A", "B"]


def test_trap_34_a_conversation_that_the_assistant_begins():
    call = ask(messages=[{"role": "assistant", "content": "Ho"}, user()])
    assert b'[{"role":"user","content":[{"type":"text","text":"."}]},' in call.body
    assert str(call.warnings) == "added=messages"


@pytest.mark.parametrize(
    ("block", "kept", "said"),
    [
        ({"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, True, ""),
        ({"type": "thinking", "thinking": "Hm."}, False, "dropped=messages[].thinking_blocks"),
    ],
)
def test_trap_11_thinking_goes_back_first_or_not_at_all(block, kept, said):
    turn = {"role": "assistant", "content": "Ho", "thinking_blocks": [block]}
    call = ask(messages=[user(), turn, user()], reasoning_effort="low")
    assert (b'[{"type":"thinking","thinking":"Hm.","signature":"c2ln"},' in call.body) is kept
    assert str(call.warnings) == said


def test_a_later_system_message_of_white_space_is_no_turn():
    said = body(ADAPTIVE, messages=[user("A"), {"role": "system", "content": " "}])
    assert [turn["role"] for turn in said["messages"]] == ["user"]


@pytest.mark.parametrize("id", ["call_1", "toolu_01AbC", "a-b_c"])
def test_an_id_that_fits_stays(id):
    assert messages.wire_id(id) == id


@pytest.mark.parametrize("id", ["", "call 1", "call.1", "ä", "x/y", "a\n"])
def test_an_id_that_does_not_fit_is_made_to(id):
    found = messages.wire_id(id)
    assert found.startswith("call_")
    assert found == messages.wire_id(found)
    assert found == messages.wire_id(id)


def test_ids_are_unique_in_the_whole_conversation():
    once = [{"role": "assistant", "tool_calls": [called("c"), called("c_2")]}, result("c"), result("c_2")]
    said = body(messages=[user(), *once, *once, *once], tools=[function()])
    uses = [block["id"] for turn in said["messages"] for block in turn["content"] if block["type"] == "tool_use"]
    results = [
        block["tool_use_id"] for turn in said["messages"] for block in turn["content"] if block["type"] == "tool_result"
    ]
    assert uses == results
    assert uses == ["c", "c_2", "c_3", "c_2_2", "c_4", "c_2_3"]


# --- files and sounds


def file(data: str, filename: str | None = None) -> list[dict[str, Any]]:
    return [user([{"type": "file", "file": {"file_data": data, "filename": filename}}])]


@pytest.mark.parametrize(
    ("data", "filename", "source"),
    [
        ("JVBERi0xLjQK", "a.pdf", {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"}),
        ("e30=", "a.json", {"type": "text", "media_type": "text/plain", "data": "{}"}),
        ("data:text/markdown;base64,IyBI", None, {"type": "text", "media_type": "text/plain", "data": "# H"}),
    ],
)
def test_a_file_that_claude_reads(data, filename, source):
    block = body(messages=file(data, filename))["messages"][0]["content"][0]
    title = {"title": filename} if filename else {}
    assert block == {"type": "document", "source": source, **title}


@pytest.mark.parametrize(
    "data",
    ["data:text/plain,hi", "data:text/plain;base64,/w==", "data:text/plain;base64,a!Gk=", "data:text/plain;base64,a"],
)
def test_a_file_that_cannot_be_decoded(data):
    with pytest.raises(Failure) as caught:
        ask(messages=file(data, "a.txt"))
    assert caught.value.param == "messages[0].content[0].file.file_data"


def test_a_file_may_be_marked():
    part = {"type": "file", "file": {"file_data": "JVBERi0xLjQK"}, "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert body(messages=[user([part])])["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}


def test_an_image_that_comes_as_a_file():
    block = body(messages=file(base64.b64encode(PNG).decode(), "a"))["messages"][0]["content"][0]
    assert (block["type"], block["source"]["media_type"]) == ("image", "image/png")


def test_a_file_that_claude_does_not_read():
    with pytest.raises(Failure) as caught:
        ask(messages=file("UEsDBAoAAAA=", "a.zip"))
    assert caught.value.code == "unsupported_parameter"


@pytest.mark.parametrize("able", [ADAPTIVE, BUDGET])
def test_claude_does_not_hear(able):
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    with pytest.raises(Failure) as caught:
        ask(able, messages=[user([sound])])
    assert caught.value.code == "unsupported_parameter"
