"""How many tokens a request may come to, before anybody has counted them: bounds, never guesses. Pure.

Tokenizers of bytes make at most one token of each byte, and JSON only lengthens what it wraps. So the bytes of the
request are the bound, without a look inside; but pictures and sounds are counted by other rules, and what they take
up in base64 comes off.
"""

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from adapters import marks, wire
from adapters import media as kinds
from adapters.base import Failure, Target, Vendor
from adapters.envelope import Envelope
from adapters.gemini.contents import googles_own
from adapters.marks import Marks
from adapters.media import data_url

TYPICAL_IMAGE = 765  # of 1024 x 1024 at OpenAI's usual detail: 85 + 4 * 170; for estimates


class Media(msgspec.Struct, frozen=True):
    """What is in a letter besides text.

    `payload` is the base64 of pictures and sounds, in bytes. `audio` is the length of all sounds, in the bytes that
    they would have at 8 kbit/s, which is 1000 a second. `unknown`: nobody can say what it will come to.
    """

    payload: int = 0
    images: int = 0
    audio: int = 0
    unknown: bool = False


TEXT = Media()
UNKNOWN = Media(unknown=True)


def media(envelope: Envelope) -> Media:
    """What a letter has in it; one of text only is told by its bytes, and not opened."""
    if not envelope.marks.media:  # a word that is not there, in plain letters: it is text
        return TEXT
    try:
        chat = envelope.chat
    except Failure:
        return UNKNOWN
    if chat.web_search_options is not None or _said_twice(envelope.raw):
        return UNKNOWN
    found = [_of(part) for part in _parts(chat)]
    return Media(
        payload=sum(one.payload for one in found),
        images=sum(one.images for one in found),
        audio=sum(one.audio for one in found),
        unknown=any(one.unknown for one in found),
    )


def _said_twice(raw: bytes) -> bool:
    """True if a member is there twice, somewhere: then a vendor may read what we have not."""

    def once(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            raise KeyError

    try:
        json.loads(raw, object_pairs_hook=once)
    except (KeyError, ValueError, RecursionError):
        return True
    return False


def _parts(chat: wire.Chat) -> Iterator[wire.Part | wire.AudioRef]:
    for message in chat.messages:
        if isinstance(message, wire.Assistant) and message.audio is not None:
            yield message.audio
        if isinstance(message, wire.User | wire.Tool) and not isinstance(message.content, str):
            yield from message.content


def _of(part: wire.Part | wire.AudioRef) -> Media:
    match part:
        case wire.TextPart() | wire.RefusalPart():
            return TEXT
        case wire.ImagePart(image_url=image):
            return _image(image.url)
        case wire.AudioPart(input_audio=audio):
            return Media(payload=len(audio.data), audio=_LENGTHS[audio.format](audio.data))
        case _:
            return UNKNOWN  # a file, whose pages nobody has counted, or a sound that lies at OpenAI


def _image(url: str) -> Media:
    inline = data_url(url)
    if inline is not None:
        picture = kinds.kind(*inline).startswith("image/")  # else a film or a paper, which some vendors take here
        return Media(payload=len(inline[1]), images=1) if picture else UNKNOWN
    if url[:5].lower() == "data:" or googles_own(url):
        return UNKNOWN
    return Media(images=1)


_SLOWEST = 1000  # bytes a second: MP3 has no rate below 8 kbit/s
_RIFF = 48  # characters of base64: the 36 bytes of a WAV's usual header that tell its rate
_PCM = (b"\x01\x00", b"\x03\x00")  # numbers and floats; all else is compressed, and at any rate
_LONGEST = 2**40  # stands for a sound without an end


def _mp3(data: str) -> int:
    """By its bytes, at the slowest rate that there is; what is no MP3 may be slower."""
    head = _decoded(data[:8])
    known = head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")
    return _size(data) if known else _LONGEST


def _wav(data: str) -> int:
    """By its header, as the vendor tells how long it is; by the slowest of three rates, if it contradicts itself."""
    head = _decoded(data[:_RIFF])
    usual = head[:4] == b"RIFF" and head[8:16] == b"WAVEfmt " and head[20:22] in _PCM
    if len(head) < 36 or not usual:
        return _LONGEST
    channels, rate, told, step, bits = struct.unpack_from("<HIIHH", head, 22)
    slowest = min(told, rate * step, rate * channels * bits // 8)
    return -(-_size(data) * _SLOWEST // slowest) if slowest else _LONGEST


_LENGTHS = {"mp3": _mp3, "wav": _wav}


def _size(data: str) -> int:
    return len(data) * 3 // 4 + 1


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data)
    except (binascii.Error, ValueError):
        return b""


# Most tokens of one picture, by vendor and model; the first glob that fits the name without its maker decides. A model
# that is not in here is taken for the dearest of its vendor's format.
_IMAGE: dict[Vendor, tuple[tuple[str, int], ...]] = {
    # developers.openai.com/api/docs/guides/images-vision: tiles of 512 x 512 after shrinking to 2048 x 768, at most 8
    # (base + 8 tiles); or patches of 32 x 32, at most 1536 (2500 or 10,000 from GPT-5.4 on), times a factor.
    "openai": (
        ("*gpt-4o-mini*", 2833 + 8 * 5667),
        ("*gpt-4.1-mini*", 1536 * 162 // 100 + 1),
        ("*gpt-4.1-nano*", 1536 * 246 // 100 + 1),
        ("*gpt-4*", 85 + 8 * 170),
        ("*o4-mini*", 1536 * 172 // 100 + 1),
        ("*gpt-5-mini*", 1536 * 162 // 100 + 1),
        ("*gpt-5-nano*", 1536 * 246 // 100 + 1),
        ("gpt-5", 70 + 8 * 140),
        ("gpt-5-20*", 70 + 8 * 140),
        ("gpt-5-chat*", 70 + 8 * 140),
        ("gpt-5.1", 70 + 8 * 140),
        ("gpt-5.1-20*", 70 + 8 * 140),
        ("gpt-[56]*", 10_000 * 246 // 100),
        ("o[13]*", 75 + 8 * 150),
        ("*", 2833 + 8 * 5667),
    ),
    # platform.claude.com/docs/en/build-with-claude/vision: width * height / 750 after shrinking to 1568 pixels, and
    # some 1600 tokens; from Opus 4.7 on to 2576 pixels, and 4784 tokens.
    "anthropic": (
        ("claude-3*", 1600),
        ("claude-*-4-[0156]*", 1600),
        ("claude-*-4-20??????", 1600),
        ("*", 4784),
    ),
    # ai.google.dev/gemini-api/docs/media-resolution: 2240 at most from Gemini 3 on; before, tiles of 258, of which the
    # guide on image understanding has no most: 16 are twice what "pan and scan" is said to come to.
    "gemini": (
        ("gemini-[1-2]*", 16 * 258),
        ("gemma*", 16 * 258),
        ("*", 2240),
    ),
}
_IMAGE_FRAME = 32  # markers around a picture, which OpenAI bills without a word of it
_AUDIO = 32  # tokens a second at Gemini (ai.google.dev/gemini-api/docs/audio); OpenAI: 10
_AUDIO_FRAME = 64  # the same for sounds, and what is begun is counted as whole

_MESSAGE = 8  # markers of role and end: 3 or 4 at OpenAI (its cookbook), "\n\nHuman:" or turns at the others
_NAME = 32  # of a tool, a call, a speaker: JSON Schema is told to the model in other words, hardly ever in more
_FIXED = 64  # priming of the answer, date and order of instructions
# A prompt of the vendor's own for tools and structured output: Anthropic's is 313 to 675 tokens
# (platform.claude.com/docs/en/agents-and-tools/tool-use/overview).
_TOOLS = 1024


def prompt_bound(
    body: bytes, media: Media, target: Target, fetched: int = 0, text: int | None = None, found: Marks | None = None
) -> int:
    """Tokens that the vendor can count at most for the prompt in `body`, its own JSON.

    `media` is of the client's letter; `fetched` are the raw bytes of remote images that were put into the body since.
    `text`: the tokens of the whole body, if somebody has counted them with the vendor's own tokenizer. What is longer
    than the context the vendor refuses; what is unknown may fill it. `found`: the marks of `body`, if they are known.
    """
    size, shown = len(body), 0
    if media is not TEXT or fetched:
        if media.unknown:
            return target.context
        size = max(0, size - media.payload - 4 * -(-fetched // 3))
        shown = _shown(media, target)
    if text is not None:
        size = min(size, margin(text))
    found = found or marks.read(body)
    size += shown + _FIXED + _MESSAGE * found.roles + _NAME * found.names
    if found.tools:
        size += _TOOLS
    return size if size < target.context else target.context


def _shown(media: Media, target: Target) -> int:
    """Tokens of pictures and sounds."""
    images = media.images * (_image_bound(target) + _IMAGE_FRAME) if media.images else 0
    return images + (-(-media.audio * _AUDIO // _SLOWEST) + _AUDIO_FRAME if media.audio else 0)


def texts(body: bytes) -> str:
    """All texts of a body in JSON, as they are said, with a character between that joins with none.

    JSON mostly lengthens what it wraps, in tokens too; but an escape may join with a letter behind it to one token
    where the vendor sees two (a line end before a word), and an attacker writes nothing else.
    """
    found: list[str] = []
    open_ones: list[Any] = [msgspec.json.decode(body)]
    while open_ones:
        one = open_ones.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, dict):
            open_ones += [*one, *one.values()]
        elif isinstance(one, list):
            open_ones += one
    return "\0".join(found)


def _image_bound(target: Target) -> int:
    name = target.model.rpartition("/")[2]
    return next(tokens for glob, tokens in _IMAGE[target.vendor] if fnmatchcase(name, glob))


def margin(counted: int) -> int:
    """A bound from a count: Anthropic calls its own an estimate, and a tokenizer sees JSON where the vendor sees text.

    An eighth is far more than any such difference that was reported.
    """
    return counted + -(-counted // 8) + _FIXED


def allowance(heard: int) -> int:
    """Tokens beyond those `heard` that may be billed for a stream that was broken off.

    Some were on their way or made while nobody listened; and they were counted with another tokenizer than ours.
    """
    return 64 + -(-heard // 2)
