"""The client's letter: the few members that we act on, and the sealed rest.

The letter is read shallowly once. Only an adapter that must translate it opens it wholly, and then once for all
candidates: `Envelope.chat` remembers.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import msgspec

from adapters import extent, letter, marks, wire
from adapters.base import invalid
from adapters.marks import COMPACT, SPACED, Marks, Style


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_NOTHING = msgspec.Raw(b"null")


class _Outside(msgspec.Struct):
    """What is written on the outside of the letter; everything else is skipped, not read.

    What is still sealed here is read leniently: no request is refused because of it.
    """

    model: str
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    max_completion_tokens: msgspec.Raw = _NOTHING
    max_tokens: msgspec.Raw = _NOTHING
    service_tier: msgspec.Raw = _NOTHING


class _Sender(msgspec.Struct):
    """Who wrote it, and what of it is for our records."""

    user: str | None = None
    safety_identifier: str | None = None
    metadata: Any = None


class _Wish(msgspec.Struct, frozen=True):
    """What the outside says, as we act on it."""

    model: str
    stream: bool
    optioned: bool  # there are options of a stream
    include_usage: bool
    choices: int
    tier: str | None
    cap: int | None


_decoder = msgspec.json.Decoder(_Outside)
_senders = msgspec.json.Decoder(_Sender)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Envelope(msgspec.Struct, eq=False, kw_only=True):
    """One request, as it came. `raw` is the body of the request, never changed.

    `fields` are the members of the body, each still sealed: for those who only pass on. `tier` is the service tier that
    the client asks for; `cap` the most output tokens, if that is a number that anybody could obey. `marks` are what its
    words tell of it. Plain attributes: each request asks for them several times.
    """

    raw: bytes
    fields: dict[str, msgspec.Raw]
    model: str
    stream: bool
    include_usage: bool
    choices: int
    tier: str | None
    cap: int | None
    marks: Marks
    user: str | None
    metadata: dict[str, Any]
    _depth: int
    _outline: bytes
    _opened: tuple[wire.Chat, list[str]] | None = None
    _style: Style | Literal[False] | None = False  # nobody has asked

    def __repr__(self) -> str:
        """Its size alone: what a client writes is shown to nobody by chance."""
        return f"Envelope({len(self.raw)} bytes)"

    @property
    def opened(self) -> tuple[wire.Chat, list[str]]:
        """The whole request, opened once, and the paths of the members that nobody knows."""
        if self._opened is None:
            extent.check_depth(self._outline, self._depth)  # whoever opens it walks it, and walks by recursion
            self._opened = letter.read(self.raw)
        return self._opened

    @property
    def chat(self) -> wire.Chat:
        """The whole request, opened. Raises `Failure` (400) if it is not one."""
        return self.opened[0]

    def bare(self, messages: int) -> bool:
        """Whether no text in it has a word that `marks` knows, if it is of so many messages. Then that holds for
        whatever its texts are put into."""
        found = self.marks
        return found.bare and found.roles == messages and self._outline is self.raw

    @property
    def style(self) -> Style | None:
        """How its members are written, each once and in plain letters; None if one is there twice, or anything odd."""
        if self._style is False:
            self._style = _style(self.raw, self.fields)
        return self._style


def _style(raw: bytes, fields: dict[str, msgspec.Raw]) -> Style | None:
    size, lean = len(raw), 1 + 4 * len(fields)
    for name, said in fields.items():
        lean += len(name) + len(said)
    if size == lean:
        return COMPACT  # with less nobody can write it
    spaced = size == lean + 2 * len(fields) - 1 and raw == marks.written(fields, SPACED)
    return SPACED if spaced else None


def _cap(one: Any, other: Any) -> int | None:
    """The larger of two numbers that the client may have said; None if nothing was said, or what is no such number."""
    if one is None or other is None:
        said = other if one is None else one
        return said if type(said) is int and said > 0 else None
    first, second = _cap(one, None), _cap(other, None)
    return None if first is None or second is None else max(first, second)


def _plain(said: msgspec.Raw) -> Any:
    """A member's value; None too for what cannot be read."""
    try:
        return msgspec.json.decode(said)
    except letter.UNREADABLE:
        return None


def _wish(said: bytes) -> _Wish:
    """What these members of the outside say, each with a comma before it. Raises as msgspec does."""
    outside = _decoder.decode(b"{%b}" % said[1:])
    tier, number = _plain(outside.service_tier), outside.n or 1
    return _Wish(
        model=outside.model,
        stream=outside.stream is True,
        optioned=outside.stream_options is not None,
        include_usage=bool(outside.stream_options and outside.stream_options.include_usage),
        choices=number if number > 0 else 1,
        tier=tier if isinstance(tier, str) else None,
        cap=_cap(_plain(outside.max_completion_tokens), _plain(outside.max_tokens)),
    )


def _sender(said: bytes) -> tuple[str | None, dict[str, Any]]:
    """The user, and the metadata, from the members that tell of them; as for `_wish`."""
    sender = _senders.decode(b"{%b}" % said[1:])
    return sender.safety_identifier or sender.user, sender.metadata if isinstance(sender.metadata, dict) else {}


def _written(kind: type[msgspec.Struct]) -> Mapping[str, bytes]:
    return {name: b',"%b":' % name.encode() for name in kind.__struct_fields__}


# A client says the same on the outside of each letter, but for who wrote it: so what that comes to is remembered.
_wished = lru_cache(maxsize=1_024)(_wish)
_MOST_WISHED = 256  # bytes; what is longer is not worth remembering
_OUTSIDE = _written(_Outside)
_SENDER = _written(_Sender)


def seal(raw: bytes, bounds: extent.Extent = extent.USUAL) -> Envelope:
    """Read the outside of a request. Raises `Failure` (400) when the body is not JSON, names no model, or is beyond
    `bounds`."""
    try:
        fields = _members.decode(raw)
        # These members become letters of their own: so the whole of a letter is walked through once.
        outside: list[bytes | msgspec.Raw] = []
        senders: list[bytes | msgspec.Raw] = []
        for name, said in fields.items():
            if name in _OUTSIDE:
                outside += (_OUTSIDE[name], said)
            elif name in _SENDER:
                senders += (_SENDER[name], said)
        asked = b"".join(outside)
        wish = _wished(asked) if len(asked) <= _MOST_WISHED else _wish(asked)
        user, metadata = _sender(b"".join(senders)) if senders else (None, {})
    except msgspec.ValidationError as error:
        raise letter.wrong(error) from None
    except letter.UNREADABLE as error:
        raise letter.unreadable(error) from None
    if wish.optioned and not wish.stream:
        raise invalid("'stream_options' is only allowed when 'stream' is true.", "stream_options")
    extent.check_length(raw, bounds)
    outline = raw if len(raw) < marks.LONG else marks.outline(raw, fields, _style(raw, fields))
    return Envelope(
        raw=raw,
        fields=fields,
        model=wish.model,
        stream=wish.stream,
        include_usage=wish.include_usage,
        choices=wish.choices,
        tier=wish.tier,
        cap=wish.cap,
        marks=marks.read(raw, outline),
        user=user,
        metadata=metadata,
        _depth=bounds.depth,
        _outline=outline,
    )
