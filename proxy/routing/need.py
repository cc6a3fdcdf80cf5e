"""What a request needs of whoever serves it, read off its outside and its bytes; opened only if it has more than text.

An estimate, not a bound: who is asked first hangs on it, never what is held or billed (that is `proxy.tokens`). Pure.
"""

import msgspec

from adapters.envelope import Envelope
from proxy.routing.candidate import Need
from proxy.tokens import TYPICAL_IMAGE, Media, media

_BYTES = 4  # of text, to a token
_MOST_LETTERS = 8  # to a token, over a whole prompt: no tokenizer does better on text that says something
_ESCAPED = 4  # bytes by which \u0434 is longer than the letter itself, which has two, mostly
_LETTER = 5  # bytes by which it is longer than one letter
_SOUND = 40  # bytes at 8 kbit/s to a token: some 25 a second, 32 at Gemini and 10 at OpenAI
_LONGEST_SOUND = 3_600_000  # in such bytes, an hour: for what nobody can measure, too
_SAMPLES = 16  # of a long body, to count its escapes
_SAMPLE = 4_096  # bytes

_EMPTY = (b"null", b"[]")


def need(envelope: Envelope, task: str | None = None, inside: Media | None = None) -> Need:
    """What `envelope` asks for; `task` as the client calls it, if it does. Never raises.

    `inside` is `tokens.media(envelope)`, if somebody has it already.
    """
    raw = envelope.raw
    size = len(raw)
    found = Need(
        prompt=size // _BYTES,
        least=(size if raw.isascii() else _letters(raw)) // _MOST_LETTERS,
        cap=envelope.cap,
        choices=envelope.choices,
        task=task,
        stream=envelope.stream,
        tier=envelope.tier,
    )
    if envelope.marks.plain and inside is None:
        return found
    return _opened(found, envelope, media(envelope) if inside is None else inside)


def _opened(found: Need, envelope: Envelope, inside: Media) -> Need:
    """The same of a letter that may have more than text in it, or be written in odd ways."""
    raw, fields = envelope.raw, envelope.fields
    escapes = _escapes(raw) if envelope.marks.unicode else 0
    text = max(0, len(raw) - inside.payload - _ESCAPED * escapes)
    sounds = min(inside.audio, _LONGEST_SOUND) // _SOUND if inside.audio else 0
    return msgspec.structs.replace(
        found,
        prompt=text // _BYTES + inside.images * TYPICAL_IMAGE + sounds,
        least=_least(raw, inside, escapes),
        images=inside.images > 0 or (inside.unknown and b'"image_url"' in raw),
        audio=inside.audio > 0 or (inside.unknown and b'"input_audio"' in raw),
        files=inside.unknown and b'"file"' in raw,
        tools=("tools" in fields and _given(fields["tools"]))
        or ("functions" in fields and _given(fields["functions"])),
        schema="response_format" in fields and b'"json_schema"' in bytes(fields["response_format"]),
    )


def _given(said: msgspec.Raw) -> bool:
    return bytes(said) not in _EMPTY


def _least(raw: bytes, inside: Media, escapes: int) -> int:
    if inside.unknown:
        return 0  # a paper in base64 may be of few words, and a film may be short
    return max(0, _letters(raw) - inside.payload - _LETTER * escapes) // _MOST_LETTERS


def _letters(raw: bytes) -> int:
    return len(raw.decode(errors="replace"))


def _escapes(raw: bytes) -> int:
    r"""How many \uXXXX are in it, as far as samples tell: many clients write all but ASCII so."""
    size = len(raw)
    if size <= _SAMPLES * _SAMPLE:
        return raw.count(b"\\u")
    starts = range(0, size - _SAMPLE + 1, (size - _SAMPLE) // (_SAMPLES - 1))
    found = sum(raw.count(b"\\u", start, start + _SAMPLE) for start in starts)
    return found * size // (len(starts) * _SAMPLE)
