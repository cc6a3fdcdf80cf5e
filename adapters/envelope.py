"""The client's letter: the few members that we act on, and the sealed rest.

The letter is read shallowly once. Only an adapter that must translate it opens it wholly, and then once for all
candidates: `Envelope.chat` remembers.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import msgspec

from adapters import extent, letter, marks, wire
from adapters.base import invalid
from adapters.marks import COMPACT, SPACED, Marks, Style


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_NOTHING = msgspec.Raw(b"null")


class _Outside(msgspec.Struct):
    """What is written on the outside of the letter; everything else is skipped, not read.

    What is still sealed here is read leniently, when it is asked for: no request is refused because of it.
    """

    model: str
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: Any = None
    max_completion_tokens: msgspec.Raw = _NOTHING
    max_tokens: msgspec.Raw = _NOTHING
    service_tier: msgspec.Raw = _NOTHING


_decoder = msgspec.json.Decoder(_Outside)


class Envelope:
    """One request, as it came. `raw` is the body of the request, never changed."""

    def __init__(
        self, raw: bytes, fields: dict[str, msgspec.Raw], outside: _Outside, depth: int = extent.USUAL.depth
    ) -> None:
        self.raw = raw
        self.fields = fields  # the members of the body, each still sealed: for those who only pass on
        self.model = outside.model
        self.stream = bool(outside.stream)
        self.include_usage = bool(outside.stream_options and outside.stream_options.include_usage)
        self.choices = max(1, outside.n or 1)
        self.user = outside.safety_identifier or outside.user
        self.metadata = outside.metadata if isinstance(outside.metadata, dict) else {}
        self._outside = outside
        self._depth = depth

    @cached_property
    def tier(self) -> str | None:
        """The service tier that the client asks for."""
        tier = _plain(self._outside.service_tier)
        return tier if isinstance(tier, str) else None

    @cached_property
    def opened(self) -> tuple[wire.Chat, list[str]]:
        """The whole request, opened, and the paths of the members that nobody knows."""
        extent.check_depth(self._outline, self._depth)  # whoever opens it walks it, and walks by recursion
        return letter.read(self.raw)

    @property
    def chat(self) -> wire.Chat:
        """The whole request, opened. Raises `Failure` (400) if it is not one."""
        return self.opened[0]

    @cached_property
    def marks(self) -> Marks:
        """What its words tell of it."""
        return marks.read(self.raw, self._outline)

    @cached_property
    def _outline(self) -> bytes:
        long = len(self.raw) >= marks.LONG
        return marks.outline(self.raw, self.fields, self.style) if long else self.raw

    @cached_property
    def style(self) -> Style | None:
        """How its members are written, each once and in plain letters; None if one is there twice, or anything odd."""
        fields, size = self.fields, len(self.raw)
        lean = 1 + sum(map(len, fields.values())) + sum(map(len, fields)) + 4 * len(fields)
        if size == lean:
            return COMPACT  # with less nobody can write it
        spaced = size == lean + 2 * len(fields) - 1 and self.raw == marks.written(fields, SPACED)
        return SPACED if spaced else None

    @cached_property
    def cap(self) -> int | None:
        """The most output tokens that the client asks for, in a number that anybody could obey; of two the larger."""
        said = (_plain(self._outside.max_completion_tokens), _plain(self._outside.max_tokens))
        caps = [tokens for tokens in said if tokens is not None]
        return max(caps) if caps and all(type(tokens) is int and tokens > 0 for tokens in caps) else None


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _plain(said: msgspec.Raw) -> Any:
    """A member's value; None too for what cannot be read."""
    if said is _NOTHING:
        return None
    try:
        return msgspec.json.decode(said)
    except letter.UNREADABLE:
        return None


def seal(raw: bytes, bounds: extent.Extent = extent.USUAL) -> Envelope:
    """Read the outside of a request. Raises `Failure` (400) when the body is not JSON, names no model, or is beyond
    `bounds`."""
    try:
        fields = _members.decode(raw)
        outside = _decoder.decode(b"{%b}" % b",".join(_said(fields)))
    except msgspec.ValidationError as error:
        raise letter.wrong(error) from None
    except letter.UNREADABLE as error:
        raise letter.unreadable(error) from None
    if outside.stream_options is not None and not outside.stream:
        raise invalid("'stream_options' is only allowed when 'stream' is true.", "stream_options")
    extent.check_length(raw, bounds)
    return Envelope(raw, fields, outside, bounds.depth)


def _said(fields: dict[str, msgspec.Raw]) -> Iterator[bytes]:
    """What is written on the outside, as a letter of its own: so the whole of a letter is walked through once."""
    for name, member in _ON_THE_OUTSIDE:
        if (said := fields.get(name)) is not None:
            yield member + bytes(said)


_ON_THE_OUTSIDE = tuple((name, b'"%b":' % name.encode()) for name in _Outside.__struct_fields__)
