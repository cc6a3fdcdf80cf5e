"""What a request needs, read off its bytes."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Failure
from adapters.envelope import Envelope, seal
from proxy import tokens
from proxy.routing import Need
from proxy.routing.need import need
from proxy.tokens import TYPICAL_IMAGE

ASSETS = Path(tokens.__file__).parent / "assets" / "tokenizers"
UNHURRIED = settings(deadline=None)  # the machine may be busy

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 3_000).decode()
MP3 = base64.b64encode(b"ID3\4" + b"\0" * 3_000).decode()
PDF = base64.b64encode(b"%PDF-1.7" + b"\0" * 3_000).decode()
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
SOUND = {"type": "input_audio", "input_audio": {"data": MP3, "format": "mp3"}}
PAPER = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}


def letter(*parts: Any, text: str = "Hi", **members: Any) -> Envelope:
    content = [{"type": "text", "text": text}, *parts] if parts else text
    return seal(json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **members}).encode())


def asked(found: Need) -> set[str]:
    return {name for name in ("images", "audio", "files", "tools", "schema", "stream") if getattr(found, name)}


@pytest.mark.parametrize(
    ("envelope", "wanted"),
    [
        pytest.param(letter(), set(), id="plain text"),
        pytest.param(letter(IMAGE), {"images"}, id="a picture"),
        pytest.param(letter(SOUND), {"audio"}, id="a sound"),
        pytest.param(letter(PAPER), {"files"}, id="a paper"),
        pytest.param(letter(PAPER, IMAGE, SOUND), {"files", "images", "audio"}, id="all of them"),
        pytest.param(letter(tools=[TOOL]), {"tools"}, id="tools"),
        pytest.param(letter(functions=[{"name": "f"}]), {"tools"}, id="functions, as tools were called once"),
        pytest.param(letter(tools=[], functions=None), set(), id="an empty list of tools"),
        pytest.param(letter(response_format=SCHEMA), {"schema"}, id="a schema"),
        pytest.param(letter(response_format={"type": "json_object"}), set(), id="JSON of any kind"),
        pytest.param(letter(stream=True), {"stream"}, id="a stream"),
        pytest.param(letter(text='{"tools": [1], "type": "json_schema"}'), set(), id="text that only speaks of it"),
        pytest.param(letter(metadata={"tools": "x", "json_schema": "y"}), set(), id="metadata that only speak of it"),
        pytest.param(letter(text="image_url", stop=["image_url", "file"]), set(), id="a mark that is no part"),
        pytest.param(seal(rb'{"model": "m", "\u0074ools": [1]}'), {"tools"}, id="a name that is spelled in escapes"),
    ],
)
def test_what_is_asked_for_is_seen(envelope, wanted):
    assert asked(need(envelope)) == wanted


def test_the_outside_is_told_as_it_is():
    found = need(letter(max_tokens=7, n=3, service_tier="flex"), "speed")
    assert (found.cap, found.choices, found.tier, found.task) == (7, 3, "flex", "speed")
    found = need(letter())
    assert (found.cap, found.choices, found.tier, found.task) == (None, 1, None, None)


def test_four_bytes_of_text_are_a_token_and_eight_letters_at_least_one():
    envelope = letter(text="a" * 80_000)
    size = len(envelope.raw)
    assert need(envelope).prompt == size // 4
    assert need(envelope).least == size // 8


def test_a_picture_counts_as_a_picture_and_not_as_its_base64():
    envelope = letter(IMAGE, IMAGE)
    text = len(envelope.raw) - 2 * len(PNG)
    assert need(envelope).prompt == text // 4 + 2 * TYPICAL_IMAGE
    assert need(envelope).least == text // 8


def test_a_sound_counts_by_its_length():
    envelope = letter(SOUND)
    text = len(envelope.raw) - len(MP3)
    assert need(envelope).prompt == text // 4 + 3_005 // 40


def test_a_sound_that_cannot_be_measured_counts_as_an_hour():
    envelope = letter({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})
    assert need(envelope).prompt == (len(envelope.raw) - 4) // 4 + 90_000


def test_nobody_is_out_for_the_length_of_what_nobody_can_count():
    assert need(letter(PAPER)).least == 0
    assert need(letter(PAPER)).prompt > 0


def test_what_is_known_of_the_inside_is_not_looked_for_again():
    assert need(letter(), inside=tokens.Media(images=1)).images


@pytest.mark.parametrize(
    "envelope",
    [
        letter(),
        letter(text="häßlich"),
        letter(text='"tools" and "image_url"'),
        letter(max_tokens=7, n=3, service_tier="flex", stream=True),
        letter(text="a" * 50_000, temperature=1),
        letter(IMAGE),
        letter(tools=[TOOL], response_format=SCHEMA),
        letter(text="ж"),
    ],
    ids=["short", "not in ASCII", "speaks of it", "with wishes", "long", "a picture", "tools", "in escapes"],
)
def test_text_alone_needs_what_it_would_need_if_its_inside_were_looked_at(envelope):
    assert need(envelope, "speed") == need(envelope, "speed", tokens.media(envelope))


@pytest.mark.parametrize("repeats", [100, 10_000], ids=["a short text", "a long one, of which samples are counted"])
def test_escapes_count_like_the_letters_that_they_stand_for(repeats):
    text = "Съешь же ещё этих мягких французских булок. " * repeats
    plain = need(seal(json.dumps({"model": "m", "messages": [text]}, ensure_ascii=False).encode()))
    escaped = need(seal(json.dumps({"model": "m", "messages": [text]}).encode()))
    assert escaped.prompt == pytest.approx(plain.prompt, rel=0.15)
    assert escaped.least == pytest.approx(plain.least, rel=0.05)


def test_escapes_at_the_end_of_a_long_body_are_seen():
    raw = b'{"model": "m", "x": "%s%s"}' % (b"a" * 600_000, rb"\u0434" * 100_000)
    assert need(seal(raw)).least == pytest.approx(700_000 / 8, rel=0.2)


@cache
def encoding(name: str) -> tiktoken.Encoding:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(ASSETS))
        return tiktoken.get_encoding(name)


TEXTS = {
    "English": "The committee has decided, after due consideration of the circumstances, to postpone its meeting. ",
    "German": "Die Donaudampfschifffahrtsgesellschaft verschob nach reiflicher Überlegung ihre Jahresversammlung. ",
    "Russian": "Съешь же ещё этих мягких французских булок, да выпей чаю из самовара. ",  # Cyrillic it is
    "Hindi": "समिति ने परिस्थितियों पर विचार करने के बाद अपनी बैठक स्थगित करने का निर्णय लिया है। ",
    "Chinese": "委员会在适当考虑情况后决定推迟会议。",
    "code": "def f(self, x: int) -> int:\n        return self.total[x] if x in self.total else 0\n\n",
}


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "plain"])
def test_a_tokenizer_counts_more_than_the_least_and_about_what_was_estimated(language, escaped):
    text = TEXTS[language] * 50
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}, ensure_ascii=escaped).encode()
    counted = len(encoding("o200k_base").encode(text))
    found = need(seal(body))
    assert found.least < counted
    assert counted / 1.5 < found.prompt < counted * 3


@UNHURRIED
@given(st.text(), st.text(), st.integers(0, 3))
def test_it_never_raises_and_the_least_is_never_more_than_the_estimate(text, name, images):
    envelope = letter(*[IMAGE] * images, text=text, **{f"x{name}": text})
    found = need(envelope)
    assert 0 <= found.least <= found.prompt
    assert found.images is (images > 0)


@UNHURRIED
@given(st.binary(max_size=30))
def test_bytes_that_are_no_text_do_no_harm(noise):
    raw = b'{"model": "m", "image_url": "%s"}' % noise.replace(b'"', b"").replace(b"\\", b"")
    try:
        envelope = seal(raw)
    except Failure:
        return
    assert need(envelope).least >= 0
