"""Turns in Gemini's words, where the golden files do not reach."""

from typing import Any

import msgspec
import pytest

from adapters.base import NOTHING, Capabilities, Failure, Fetched, Supplies, Warnings
from adapters.conversation import Audio, Call, File, Image, Result, Text, Thinking, Turn, arguments
from adapters.gemini.contents import LOST_SIGNATURE, Speller, googles_own
from adapters.tools import Names

GEMINI_3 = Capabilities(input=("text", "image", "audio", "video", "file"), call_ids=True)
GEMINI_2 = Capabilities(input=("text", "image", "audio", "video", "file"))
GEMMA = Capabilities()
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"


def spelled(*turns: Turn, able: Capabilities = GEMINI_3, supplies: Supplies = NOTHING) -> list[dict[str, Any]]:
    """The contents, as the vendor reads them."""
    speller = Speller(Names(lambda name: True, 128), able, supplies, Warnings())
    said: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(speller.contents(list(turns))))
    return said


def parts_of(*blocks: Any, **options: Any) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = spelled(Turn("user", list(blocks)), **options)[0]["parts"]
    return parts


def call(id: str, name: str = "f", signature: str | None = None) -> Call:
    return Call(id, name, arguments("{}"), signature)


def result(id: str, text: str = "r") -> Result:
    return Result(id, "f", (Text(text),))


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://generativelanguage.googleapis.com/v1beta/files/abc", True),
        ("https://www.youtube.com/watch?v=1", True),
        ("https://youtube.com/watch?v=1", True),
        ("https://youtu.be/1", True),
        ("http://www.youtube.com/watch?v=1", False),
        ("https://youtube.com.evil.example/1", False),
        ("https://evil.example/https://youtube.com", False),
        ("https://youtube.com@evil.example/", False),
        ("https://[::1", False),
        ("data:image/png;base64,AAAA", False),
        ("", False),
    ],
)
def test_only_googles_own_addresses_are_left_to_gemini(url, own):
    assert googles_own(url) is own


@pytest.mark.parametrize("url", ["ftp://example.com/a.png", "https://[::1", "data:image/png,x", "a.png"])
def test_an_image_that_nobody_can_fetch_is_refused_by_its_place(url):
    with pytest.raises(Failure) as raised:
        parts_of(Image(url, "messages[0].content[0].image_url.url"))
    assert (raised.value.code, raised.value.param) == ("invalid_image_url", "messages[0].content[0].image_url.url")


def test_an_image_whose_bytes_say_nothing_is_what_it_is_declared_to_be():
    assert parts_of(Image("data:image/heic;base64,AAAA", "p")) == [
        {"inlineData": {"mimeType": "image/heic", "data": "AAAA"}}
    ]


def test_an_image_that_was_fetched_is_what_its_bytes_say():
    supplies = Supplies(images={"https://x.example/a": Fetched("text/plain", b"\x89PNG\r\n\x1a\n")})
    assert parts_of(Image("https://x.example/a", "p"), supplies=supplies) == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    ]


@pytest.mark.parametrize(
    ("detail", "able", "level"),
    [
        ("low", GEMINI_3, "MEDIA_RESOLUTION_LOW"),
        ("high", GEMINI_3, "MEDIA_RESOLUTION_HIGH"),
        ("original", GEMINI_3, "MEDIA_RESOLUTION_ULTRA_HIGH"),
        ("auto", GEMINI_3, None),
        (None, GEMINI_3, None),
        ("low", GEMINI_2, None),
    ],
)
def test_detail_is_resolution_from_gemini_3_on(detail, able, level):
    [part] = parts_of(Image(f"data:image/png;base64,{PNG}", "p", detail), able=able)
    assert part.get("mediaResolution") == (level and {"level": level})


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        (Audio("UklGRg==", "wav", "p"), "audio/wav"),
        (Audio("SUQz", "mp3", "p"), "audio/mp3"),
        (File("JVBERi0xLjQK", None, "p"), "application/pdf"),
        (File("data:text/plain;base64,aGk=", None, "p"), "text/plain"),
        (File("aGk=", "notes.md", "p"), "text/markdown"),
        (File(PNG, None, "p"), "image/png"),
    ],
)
def test_other_media_go_inline(block, kind):
    [part] = parts_of(block)
    assert part["inlineData"]["mimeType"] == kind


@pytest.mark.parametrize(
    ("block", "param"),
    [
        (Audio("UklGRg==", "wav", "messages[0].content[0]"), "messages[0].content[0]"),
        (File("JVBERi0xLjQK", None, "messages[0].content[0]"), "messages[0].content[0].file"),
    ],
)
def test_what_a_model_cannot_take_in_is_refused_before_it_is_sent(block, param):
    with pytest.raises(Failure) as raised:
        parts_of(block, able=GEMMA)
    assert (raised.value.code, raised.value.param) == ("unsupported_parameter", param)


def test_a_file_that_is_an_image_is_an_image():
    assert parts_of(File(PNG, None, "p"), able=GEMMA) == [{"inlineData": {"mimeType": "image/png", "data": PNG}}]


def test_a_data_url_that_is_not_base64_is_not_taken_for_base64():
    with pytest.raises(Failure) as raised:
        parts_of(File("DATA:text/plain,hello", None, "messages[0].content[0]"))
    assert raised.value.param == "messages[0].content[0].file.file_data"


def test_another_vendors_thoughts_are_not_sent_and_leave_no_empty_turn():
    said = spelled(
        Turn("user", [Text("a")]), Turn("assistant", [Thinking({"type": "thinking"})]), Turn("user", [Text("b")])
    )
    assert said == [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]


def test_a_history_that_the_assistant_begins_gets_a_turn_before_it():
    said = spelled(Turn("assistant", [Text("a")]), Turn("user", [Text("b")]))
    assert [content["role"] for content in said] == ["user", "model", "user"]


def signatures(content: dict[str, Any]) -> list[str | None]:
    return [part.get("thoughtSignature") for part in content["parts"]]


def test_a_signature_goes_back_on_exactly_its_call():
    """Traps 5 and 6."""
    said = spelled(
        Turn("user", [Text("a")]),
        Turn("assistant", [Text("b", signature="T"), call("1"), call("2", signature="S2"), call("3")]),
        Turn("user", [result("1"), result("2"), result("3")]),
        Turn("assistant", [call("4")]),
        Turn("user", [result("4")]),
        supplies=Supplies(states={"4": "S4", "2": "other"}),
    )
    assert signatures(said[1]) == ["T", LOST_SIGNATURE, "S2", None]
    assert signatures(said[3]) == ["S4"]


def test_before_gemini_3_there_are_neither_ids_nor_signatures():
    said = spelled(
        Turn("user", [Text("a")]),
        Turn("assistant", [Text("b", signature="T"), call("1", signature="S")]),
        Turn("user", [result("1")]),
        able=GEMINI_2,
    )
    assert said[1]["parts"] == [{"text": "b"}, {"functionCall": {"name": "f", "args": {}}}]
    assert said[2]["parts"] == [{"functionResponse": {"name": "f", "response": {"output": "r"}}}]


@pytest.mark.parametrize("able", [GEMINI_2, GEMINI_3], ids=["by order", "by id"])
def test_results_come_first_and_in_the_order_of_their_calls(able):
    """Trap 10; an id may come again in a later step."""
    said = spelled(
        Turn("user", [Text("a")]),
        Turn("assistant", [call("1"), call("2")]),
        Turn("user", [result("2", "B"), result("1", "A")]),
        Turn("assistant", [call("2"), call("1")]),
        Turn("user", [result("1", "D"), Text("and?"), result("2", "C")]),
        able=able,
    )
    told = [[part.get("functionResponse", {}).get("response", {}).get("output") for part in c["parts"]] for c in said]
    assert told[2] == ["A", "B"]
    assert told[4] == ["C", "D", None]


@pytest.mark.parametrize(
    ("text", "output"),
    [
        pytest.param('{"a": 1}', {"a": 1}, id="an object"),
        pytest.param(" [1, 2]", [1, 2], id="a list"),
        pytest.param('"a"', '"a"', id="a JSON text is text"),
        pytest.param("12", "12", id="a number is text"),
        pytest.param("", "", id="nothing"),
        pytest.param("{broken", "{broken", id="broken JSON"),
        pytest.param("[" * 100_000, "[" * 100_000, id="nested without end"),
        pytest.param('{"a": [{"$ref": "x"}]}', '{"a": [{"$ref": "x"}]}', id="trap 35: a pointer"),
        pytest.param('[[{"\\u0024ref": "x"}]]', '[[{"\\u0024ref": "x"}]]', id="trap 35: a pointer in disguise"),
        pytest.param('["$ref"]', ["$ref"], id="trap 35: its name in a list is none"),
        pytest.param('{"$ref": ""}', {"$ref": ""}, id="trap 35: an empty pointer is none"),
        pytest.param('{"$ref": 1, "a": "$ref"}', {"$ref": 1, "a": "$ref"}, id="trap 35: nor is a number, nor a value"),
    ],
)
def test_a_result_is_json_where_it_can_be(text, output):
    said = spelled(Turn("user", [Text("a")]), Turn("assistant", [call("1")]), Turn("user", [result("1", text)]))
    assert said[2]["parts"][0]["functionResponse"]["response"] == {"output": output}


@pytest.mark.parametrize(("able", "inside"), [(GEMINI_3, True), (GEMINI_2, False)])
def test_an_image_among_the_results_goes_inside_from_gemini_3_on_and_behind_before(able, inside):
    image = Image(f"data:image/png;base64,{PNG}", "p")
    turns = [
        Turn("user", [Text("a")]),
        Turn("assistant", [call("1")]),
        Turn("user", [Result("1", "f", (Text("x"), image, Text("y")))]),
    ]
    parts = spelled(*turns, able=able)[2]["parts"]
    inline = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    assert parts[0]["functionResponse"]["response"] == {"output": "xy"}
    assert parts[0]["functionResponse"].get("parts") == ([inline] if inside else None)
    assert parts[1:] == ([] if inside else [inline])
