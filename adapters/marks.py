"""What stands in a body of JSON, as far as a word tells it: found in one look at its bytes, without opening it.

Inside a text of JSON quotes are escaped, so that a quote before a word of ours begins a name or a value; whoever wrote
the letters of a name as escapes is told by `Marks.escaped`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

# Where one begins as another does, the longer one stands first. That all begin with the same byte makes looking for
# them twenty times faster; to look for each by itself took a large prompt longer than all the rest of its way. Three
# letters tell of most quotes that no word of ours follows.
_WORDS = re.compile(
    rb'"(?=[12acdefgimnoprtvw][24aehimnorux]["abcdehilmnopstv])'
    rb'(role"|name"|tools"|functions"|output_config"|response_format"|generationConfig"|cache_control"|1h"|24h"|12h"'
    rb'|prediction"|audio"|web_search|google_search"|googleSearch"|image|input_|audio|video|file|media|document|inline'
    rb'|tool_call|developer"|thinking_blocks"|extra_content"|reasoning_content"|reasoning_details"|thought_signature"'
    rb'|provider_specific_fields")'
)
# A number is looked for at once; bytes, only after an error that says they are no number.
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_UNICODE = re.compile(rb"\\u")  # `in` takes three times as long to look for two bytes
_ESCAPED = re.compile(rb"\\u00(?:3[0-9]|[4-7])")  # a letter or a digit that could have been written plainly
_MEDIA = frozenset({b"image", b"input_", b"audio", b'audio"', b"video", b"file", b"media", b"document", b"inline"})
_SEARCHES = frozenset({b"web_search", b'google_search"', b'googleSearch"'})
_STATE = frozenset(
    {
        *(b'thinking_blocks"', b'extra_content"', b'reasoning_content"', b'reasoning_details"'),
        *(b'provider_specific_fields"', b'thought_signature"'),
    }
)
_LONGEST_NAMES = 256  # characters; what is longer is not remembered
_ROLE = frozenset({b'role"'})
_TOOLS = frozenset({b'tools"', b'functions"', b'output_config"', b'response_format"', b'generationConfig"'})


class Marks(msgspec.Struct, frozen=True):
    """`words`: those that are there, without their opening quote. `roles`, `names`: how often these are.

    `media`: there may be more than text in it, or findings that are billed as prompt; `searches`: it may ask for some.
    `state`: a message may bring along how some vendor came to it. `tools`: it may be told to the model in more words
    than it has. `plain`: nothing but text, no tools, no character written as an escape of its number.
    """

    words: frozenset[bytes]
    roles: int
    names: int
    escaped: bool  # it may have been written so that no word tells it
    unicode: bool  # there are escapes of characters in it
    media: bool
    searches: bool
    state: bool
    tools: bool
    plain: bool
    bare: bool  # no word but `role`, and no such escape either


def _tell(found: tuple[bytes, ...], unicode: bool, escaped: bool) -> Marks:
    """What these words tell, in the order in which they stand."""
    words = frozenset(found)
    media = escaped or b"web_search" in words or not _MEDIA.isdisjoint(words)
    tools = not _TOOLS.isdisjoint(words)
    return Marks(
        words=words,
        roles=found.count(b'role"'),
        names=found.count(b'name"'),
        escaped=escaped,
        unicode=unicode,
        media=media,
        searches=not _SEARCHES.isdisjoint(words),
        state=not _STATE.isdisjoint(words),
        tools=tools,
        plain=not (media or tools or unicode),
        bare=not unicode and words <= _ROLE,
    )


_told = lru_cache(maxsize=1_024)(_tell)  # most requests are short, and have the same few words
_SHORT = 32  # words
_JUMPS = 16  # quotes: beyond those around a long text or two, to look at one by one takes longer


def read(body: bytes, outline: bytes | None = None) -> Marks:
    """Its marks. `outline`: the same with its texts cut short, if somebody has that."""
    seen = body if outline is None else outline
    found = _jumped(seen) if len(seen) >= LONG else _WORDS.findall(seen)
    unicode = _BACKSLASH in body and _UNICODE.search(body) is not None
    escaped = unicode and _ESCAPED.search(body) is not None
    return (_told if len(found) <= _SHORT else _tell)(tuple(found), unicode, escaped)


def _jumped(body: bytes) -> list[bytes]:
    """As `findall`, which looks at each byte; what lies between the first quotes is jumped over, at ten times the
    speed: nearly all of a body that is one long text."""
    found: list[bytes] = []
    at = 0
    for _ in range(_JUMPS):
        at = body.find(_QUOTE, at)
        if at < 0:
            return found
        word = _WORDS.match(body, at)
        if word is None:
            at += 1
        else:
            found.append(word[1])
            at = word.end()
    return found + _WORDS.findall(body, at)


LONG = 16_384  # bytes; to look through less is as quick as to make an outline
_SAMPLE = 2_048  # bytes, to see whether it is full of quotes
_BEGINNING = 64  # of a text; no word is as long
_MESSAGE = 1_024  # bytes, on average: shorter ones are not worth it
_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])

Style = tuple[bytes, bytes]  # what stands behind a name, and between members or items
COMPACT: Style = (b'":', b",")  # as JavaScript's JSON.stringify writes
SPACED: Style = (b'": ', b", ")  # as Python's json.dumps


def written(fields: Mapping[str, msgspec.Raw], style: Style) -> bytes:
    """An object of these members, in plain letters."""
    colon, comma = style
    parts: list[bytes | msgspec.Raw] = []
    before, next_one = b'{"', comma + b'"'
    for name, said in fields.items():
        parts += (before, name.encode(), colon, said)  # joined once: each `%` would take as long as all of them
        before = next_one
    return b"%b}" % b"".join(parts) if parts else b"{}"


def outline(raw: bytes, fields: Mapping[str, msgspec.Raw], style: Style | None) -> bytes:
    """A request whose words are those of `raw`; that is written from `fields`, in this style, or in none.

    Looking for words is slow where texts are full of quotes, as code and JSON are: so the texts of long messages are
    cut to their beginnings. Not where messages have members twice, or are written in odd ways.
    """
    said, half = fields.get("messages"), len(raw) // 2
    if (
        said is None
        or style is None
        or len(raw) < LONG
        or raw.find(_QUOTE, half, half + _SAMPLE) < 0  # a tenth of the time of counting
        or raw.count(b'\\"', half, half + _SAMPLE) < 8
    ):
        return raw
    try:
        messages = _messages.decode(said)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return raw
    if len(messages) * _MESSAGE > len(raw):
        return raw
    if b"[%b]" % style[1].join([written(message, style) for message in messages]) != bytes(said):
        return raw
    short = [{name: _short(value) for name, value in message.items()} for message in messages]
    listed = b"[%b]" % style[1].join([written(message, style) for message in short])
    return written({**fields, "messages": msgspec.Raw(listed)}, style)


def of(body: bytes, spelled: Any, turns: int) -> Marks:
    """The marks of a body that is JSON of what is `spelled`, in so many turns."""
    return read(body if len(body) < LONG or turns * _MESSAGE > len(body) else msgspec.json.encode(_cut(spelled)))


def around(turns: int, *names: str) -> Marks:
    """The marks of a body of so many turns whose texts have no word in them: those of a letter that is `bare`, and has
    no more roles than messages. `names`: what else in it may be a word.

    Not looked for, for to look took as long as to write the body.
    """
    tell = _around if sum(map(len, names)) <= _LONGEST_NAMES else _around.__wrapped__  # clients make up names
    return tell(turns, *names)


@lru_cache(maxsize=1_024)
def _around(turns: int, *names: str) -> Marks:
    return read(b'"role"' * turns + b"".join(map(msgspec.json.encode, names)))


def _cut(spelled: Any) -> Any:
    if isinstance(spelled, str):
        return spelled[:_BEGINNING]
    if isinstance(spelled, dict):
        return {name: _cut(value) for name, value in spelled.items()}
    return [_cut(item) for item in spelled] if isinstance(spelled, list) else spelled


def _short(said: msgspec.Raw) -> msgspec.Raw:
    """A text without what follows its beginning; all else as it is."""
    text = bytes(said)
    return msgspec.Raw(text[:_BEGINNING]) if len(text) > _BEGINNING and text.startswith(b'"') else said
