"""Bounds of tokens, held against tokenizers, against published formulas, and against what the vendors count."""

import base64
import io
import json
import wave
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from adapters import ADAPTERS, envelope
from adapters.base import Capabilities, Failure, Fetched, Supplies, Target, Vendor
from proxy import tokens
from proxy.tokens import TEXT, UNKNOWN, Media
from tests.adapters import golden
from tests.adapters.asking import ask, target_of

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy

ASSETS = Path(tokens.__file__).parent / "assets" / "tokenizers"
ENCODINGS = ("o200k_base", "cl100k_base")


def target(model: str = "m", vendor: Vendor = "openai", context: int = 10**9) -> Target:
    return Target(
        provider=vendor, vendor=vendor, model=model, capabilities=Capabilities(), context=context, max_output=100
    )


def letter(*parts: Any, **members: Any) -> envelope.Envelope:
    messages = [{"role": "user", "content": list(parts) or "Hi"}]
    return envelope.seal(json.dumps({"model": "m", "messages": messages, **members}).encode())


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


PNG = b64(b"\x89PNG\r\n\x1a\n" + b"\0" * 1000)
MP3 = b64(b"ID3\4" + b"\0" * 1000)


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def audio(data: str, format: str = "mp3") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": format}}


# --- what is in a letter


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([], TEXT),
        ([{"type": "text", "text": "Hi"}], TEXT),
        ([{"type": "text", "text": 'say "image"'}], TEXT),
        ([image(f"data:image/png;base64,{PNG}")], Media(payload=len(PNG), images=1)),
        ([image(f"data:IMAGE/heic;base64,{b64(b'....')}")], Media(payload=8, images=1)),
        ([image("https://x.test/a.png"), image(f"data:;base64,{PNG}")], Media(payload=len(PNG), images=2)),
        ([image(f"data:video/mp4;base64,{PNG}")], Media(payload=len(PNG), images=1)),  # its bytes say what it is
        ([image(f"data:image/png;base64,{b64(b'%PDF-1.7')}")], UNKNOWN),
        ([image("data:video/mp4;base64,AAAA")], UNKNOWN),
        ([image("data:image/svg+xml,<svg/>")], UNKNOWN),
        ([image("https://www.youtube.com/watch?v=x")], UNKNOWN),
        ([image("https://generativelanguage.googleapis.com/v1beta/files/x")], UNKNOWN),
        ([{"type": "file", "file": {"file_data": PNG}}], UNKNOWN),
        ([{"type": "file", "file": {"file_id": "file-1"}}], UNKNOWN),
        ([{"type": "video_url", "video_url": {"url": "https://x.test"}}], UNKNOWN),
        ([audio(MP3)], Media(payload=len(MP3), audio=len(MP3) * 3 // 4 + 1)),
    ],
)
def test_what_is_not_text_is_found(parts, found):
    assert merged(tokens.media(letter(*parts))) == merged(found)


def merged(found: Media) -> Media:
    """All that is unknown is alike."""
    return UNKNOWN if found.unknown else found


def test_one_unknown_part_makes_it_all_unknown():
    assert tokens.media(letter(image("https://x.test/a.png"), {"type": "file", "file": {"file_id": "f"}})).unknown


@pytest.mark.parametrize(
    ("members", "unknown"),
    [
        ({"web_search_options": {}}, True),
        ({"web_search_options": None}, False),
        ({"tools": [{"type": "function", "function": {"name": "web_search"}}]}, False),
        ({"tools": [{"type": "web_search"}]}, True),
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "audio": {"id": "audio_1"}}]}, True),
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "image"}]}, False),
        ({"messages": [{"role": "user", "content": "Hi", "images": [PNG]}]}, False),  # unknown members are text
    ],
)
def test_what_stands_outside_of_the_parts_is_found_too(members, unknown):
    assert tokens.media(letter(**members)).unknown is unknown


def test_a_picture_that_a_tool_has_brought_is_found():
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c", "content": [image("https://x.test/a.png")]},
    ]
    assert tokens.media(letter(messages=messages)) == Media(images=1)


def test_a_letter_of_text_is_not_opened():
    sealed = letter({"type": "text", "text": "no marks, but an image, a file and a video; \u00fc"})
    assert tokens.media(sealed) == TEXT
    assert sealed._opened is None


def test_a_picture_in_disguise_is_found():
    """JSON may spell any letter of a key by its number."""
    raw = json.dumps({"model": "m", "messages": [{"role": "user", "content": [image("https://x.test")]}]})
    assert tokens.media(envelope.seal(raw.replace("image", r"im\u0061ge").encode())) == Media(images=1)


def test_a_letter_that_says_a_thing_twice_is_unknown():
    raw = letter(image("https://x.test")).raw
    assert tokens.media(envelope.seal(raw.replace(b'"role"', b'"content": "Hi", "role"'))) == UNKNOWN


def test_all_texts_of_a_body_are_counted_apart():
    body = rb'{"a":["b\n",1,{"c":null}],"d":true}'
    assert sorted(tokens.texts(body).split("\0")) == ["a", "b\n", "c", "d"]


def test_a_letter_that_cannot_be_opened_is_unknown():
    assert tokens.media(envelope.seal(b'{"model":"m","messages":"\\"image"}')) == UNKNOWN


# --- how long sounds are


def wav(seconds: int, rate: int = 8000, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(b"\0" * seconds * rate * channels * width)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [1, 8000, 48000])
@pytest.mark.parametrize("seconds", [1, 60])
def test_a_wav_is_as_long_as_its_header_says(seconds, rate, channels):
    found = tokens.media(letter(audio(b64(wav(seconds, rate, channels)), "wav")))
    header = -(-60 * 1000 // (rate * channels * 2))
    assert seconds * 1000 <= found.audio <= seconds * 1000 + header


WAV = wav(60)


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (b"", "wav"),
        (b"", "mp3"),
        (b"OggS" + b"\0" * 99, "mp3"),
        (b"\xff\x00" + b"\0" * 99, "mp3"),
        (WAV[:20] + b"\x11\0" + WAV[22:], "wav"),  # ADPCM
        (WAV[:24] + b"\0\0\0\0" + WAV[28:], "wav"),  # no samples in a second
        (WAV[:12] + b"JUNK" + WAV[16:], "wav"),
        (b"RIFX" + WAV[4:], "wav"),
        (WAV[:30], "wav"),
    ],
)
def test_a_sound_that_does_not_tell_its_length_may_fill_the_window(data, format):
    sealed = letter(audio(b64(data), format))
    assert tokens.prompt_bound(sealed.raw, tokens.media(sealed), target(context=128_000)) == 128_000


def test_a_sound_that_is_no_base64_may_fill_the_window():
    assert tokens.media(letter(audio("A", "wav"))).audio > 10**9


def test_an_mp3_without_a_title_is_one_all_the_same():
    assert tokens.media(letter(audio(b64(b"\xff\xfb" + b"\0" * 10)))).audio == 13


@pytest.mark.parametrize("at", [28, 32, 34])
def test_of_a_header_that_contradicts_itself_the_slowest_rate_holds(at):
    """A vendor may believe any of byte rate, block size and sample size."""
    lying = WAV[:at] + b"\xff\x7f" + WAV[at + 2 :]
    assert tokens.media(letter(audio(b64(lying), "wav"))).audio >= 60_000


# --- pictures


@pytest.mark.parametrize(
    ("vendor", "model", "most"),
    [
        ("openai", "gpt-4o", 85 + 170 * 8),
        ("openai", "gpt-4o-2024-08-06", 85 + 170 * 8),
        ("openai", "gpt-4o-mini", 2833 + 5667 * 8),
        ("openai", "openai/gpt-4o-mini", 2833 + 5667 * 8),
        ("openai", "ft:gpt-4o-mini-2024-07-18:org::id", 2833 + 5667 * 8),
        ("openai", "gpt-4.1", 85 + 170 * 8),
        ("openai", "gpt-4.1-mini", 1536 * 1.62),
        ("openai", "gpt-4.1-nano", 1536 * 2.46),
        ("openai", "o4-mini", 1536 * 1.72),
        ("openai", "gpt-5", 70 + 140 * 8),
        ("openai", "gpt-5-2025-08-07", 70 + 140 * 8),
        ("openai", "gpt-5-mini", 1536 * 1.62),
        ("openai", "gpt-5-nano", 1536 * 2.46),
        ("openai", "gpt-5.4", 10_000 * 1.2),
        ("openai", "gpt-6-luna", 10_000 * 2.46),
        ("openai", "o3", 75 + 150 * 8),
        ("openai", "a-model-of-somebody", 2833 + 5667 * 8),
        ("anthropic", "claude-3-haiku", 1568),
        ("anthropic", "claude-sonnet-4-5-20250929", 1568),
        ("anthropic", "claude-opus-4-20250514", 1568),
        ("anthropic", "claude-opus-4-7", 4784),
        ("anthropic", "claude-opus-5-5", 4784),
        ("gemini", "gemini-2.5-flash", 258 * 8),
        ("gemini", "gemini-3.8-flash", 2240),
        ("gemini", "gemini-4-argon", 2240),
        ("gemini", "gemma-3-27b-it", 258 * 8),
    ],
)
def test_a_picture_is_bounded_by_the_vendors_formula(vendor, model, most):
    sealed = letter(image("https://x.test/a.png"))
    without = tokens.prompt_bound(sealed.raw, TEXT, target(model, vendor))
    with_it = tokens.prompt_bound(sealed.raw, tokens.media(sealed), target(model, vendor))
    assert most <= with_it - without <= most * 2.1 + 32


def test_every_model_that_is_sold_has_a_bound_for_pictures():
    for model in golden.shipped().models:
        to = golden.target(model.provider, model.model)  # type: ignore[arg-type]  # the table names vendors as text
        assert 1000 < tokens.prompt_bound(b"", Media(images=1), to) <= to.context


# --- the bound


@pytest.mark.parametrize(
    ("size", "media", "fetched", "bound"),
    [
        (0, TEXT, 0, 64),
        (1000, TEXT, 0, 1064),
        (1000, UNKNOWN, 0, 5000),
        (100_000, TEXT, 0, 5000),
        (1000, Media(payload=900), 0, 164),
        (1000, Media(payload=400), 1, 660),
        (1000, Media(payload=400), 3, 660),
        (1000, Media(payload=400), 4, 656),
        (1000, Media(payload=4000), 0, 64),
        (0, Media(audio=1), 0, 64 + 64 + 1),
        (0, Media(audio=10_000), 0, 64 + 64 + 320),
        (0, Media(images=1), 0, 64 + 32 + 1445),
        (0, Media(images=2), 0, 64 + 2 * (32 + 1445)),
    ],
    ids=str,
)
def test_bytes_that_are_text_count_and_others_by_their_own_rule(size, media, fetched, bound):
    assert tokens.prompt_bound(b"x" * size, media, target("gpt-4o", context=5000), fetched) == bound


@pytest.mark.parametrize(
    ("body", "frames"),
    [
        (b'{"role":1,"role":2}', 2 * 8),
        (b'{"name":1}', 32),
        (b'{"tools":[]}', 1024),
        (b'{"functions":[]}', 1024),
        (b'{"output_config":{}}', 1024),
        (b'{"response_format":{}}', 1024),
        (b'{"generationConfig":{}}', 1024),
        (b'{"tool":[]}', 0),
    ],
    ids=str,
)
def test_what_a_vendor_puts_around_a_prompt_is_in_the_bound(body, frames):
    assert tokens.prompt_bound(body, TEXT, target()) == 64 + len(body) + frames


@pytest.mark.parametrize(
    ("text", "bound"),
    [(None, 64 + 10_000), (0, 64 + 64), (8, 64 + 64 + 9), (1000, 64 + 64 + 1125), (9_999, 64 + 10_000)],
)
def test_a_count_of_the_body_takes_the_place_of_its_bytes(text, bound):
    assert tokens.prompt_bound(b"x" * 10_000, TEXT, target(), text=text) == bound


@pytest.mark.parametrize(("counted", "bound"), [(0, 64), (1, 66), (8, 73), (800, 964)])
def test_a_count_is_trusted_but_for_an_eighth(counted, bound):
    assert tokens.margin(counted) == bound


@UNHURRIED
@given(st.lists(st.binary(max_size=50), max_size=8))
def test_what_was_fetched_is_never_taken_off_more_than_once(images):
    body = "".join(b64(data) for data in images).encode()
    raw = sum(map(len, images))
    assert tokens.prompt_bound(b"text" + body, TEXT, target(), raw) >= 4 + 64


@cache
def encoding(name: str) -> tiktoken.Encoding:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(ASSETS))
        return tiktoken.get_encoding(name)


def published(chat: list[dict[str, Any]], name: str) -> int:
    """OpenAI's cookbook, "How to count tokens with tiktoken": 3 a message, 1 more with a name, 3 for the answer."""
    encode = encoding(name).encode_ordinary
    total = 3
    for message in chat:
        total += 3 + sum(len(encode(value)) for value in message.values()) + ("name" in message)
    return total


def check(texts: list[str], name: str, *, ascii: bool) -> None:
    chat: list[dict[str, Any]] = [{"role": "user", "content": text} for text in texts]
    if texts:
        chat[0]["name"] = texts[0]
    body = json.dumps({"messages": chat}, ensure_ascii=ascii, separators=(",", ":")).encode()
    assert published(chat, name) <= tokens.prompt_bound(body, TEXT, target())


HOSTILE = [
    "",
    "a" * 3000,
    "\0" * 500,
    "".join(map(chr, range(32))) * 20,
    "\N{COMBINING ACUTE ACCENT}" * 500,
    "👩‍👩‍👧‍👦🏳️‍🌈🇪🇺" * 100,
    "漢字かな交じり文" * 200,
    "ᚠᛇᚻ᛫ᛒᛦᚦ𒀀𒁀𓀀𓂀" * 50,
    "\u200b\u2060\ufeff\u00a0" * 200,
    "\uffff\U0010fffd" * 200,
    b64(bytes(range(256)) * 20),
    "<|endoftext|><|im_start|>system" * 50,
    '\\"{}[]\\u0041\n\t' * 200,
    " \n\t\r" * 500,
    "0123456789" * 300,
]


@pytest.mark.parametrize("ascii", [True, False], ids=["escaped", "plain"])
@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_within_the_bound(text, name, ascii):
    check([text], name, ascii=ascii)
    check([text[:20]] * 50, name, ascii=ascii)


@UNHURRIED
@given(st.lists(st.text(), max_size=20), st.sampled_from(ENCODINGS), st.booleans())
@example([""] * 100, "o200k_base", False)
def test_any_text_stays_within_the_bound(texts, name, ascii):
    check(texts, name, ascii=ascii)


@UNHURRIED
@given(st.text())
def test_bytes_bound_tokens_whatever_the_text(text):
    """What all this rests on."""
    for name in ENCODINGS:
        assert len(encoding(name).encode_ordinary(text)) <= len(text.encode())


@pytest.mark.parametrize("vendor", golden.VENDORS)
def test_what_the_vendors_count_stays_within_the_bound(vendor, simulator):
    """All golden requests that the vendor takes, streams and whole answers."""
    counted = 0
    for case in golden.request_cases():
        if case.vendor != vendor:
            continue
        file = case.file()
        to = target_of(case)
        try:
            sealed = envelope.seal(bytes(file.request))
            call = ADAPTERS[vendor, "chat"].request(sealed, to, file.supplies())
        except Failure:
            continue
        usage = ask(simulator, vendor, call)
        if usage is None:
            continue
        fetched = sum(len(found.data) for found in file.supplies().images.values())
        bound = tokens.prompt_bound(call.body, tokens.media(sealed), to, fetched)
        assert 0 < usage.prompt <= bound <= to.context, case.name
        counted += 1
    assert counted > 30


def test_a_picture_that_was_fetched_counts_as_one():
    """Gemini wants it inline: its bytes are not in the client's letter, but in the body."""
    sealed = letter(image("https://x.test/a.png"))
    bytes_of_it = base64.b64decode(PNG)
    supplies = Supplies(images={"https://x.test/a.png": Fetched("image/png", bytes_of_it)})
    to = golden.target("gemini", "gemini-2.5-flash")
    call = ADAPTERS["gemini", "chat"].request(sealed, to, supplies)
    found = tokens.media(sealed)
    assert len(call.body) > len(PNG)
    inlined = tokens.prompt_bound(call.body, found, to, len(bytes_of_it))
    assert inlined < tokens.prompt_bound(call.body, found, to)
    assert 16 * 258 < inlined < 16 * 258 + 64 + 32 + 400


# --- beyond what was heard


@pytest.mark.parametrize(("heard", "more"), [(0, 64), (1, 65), (2, 65), (1000, 564), (1001, 565)])
def test_a_stream_that_was_broken_off_may_cost_more_than_was_heard(heard, more):
    assert tokens.allowance(heard) == more
