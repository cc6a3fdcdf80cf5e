"""The client's letter: the few members that we act on, and the sealed rest.

The letter is read shallowly once. Only an adapter that must translate it opens it wholly, and then once for all
candidates: `Envelope.chat` remembers.
"""

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
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Envelope:
    """One request, as it came. `raw` is the body of the request, never changed.

    `tier` is the service tier that the client asks for; `cap` the most output tokens, if that is a number that anybody
    could obey. `marks` are what its words tell of it. Plain attributes: each request asks for them several times.
    """

    __slots__ = (
        "_depth", "_opened", "_outline", "_style", "cap", "choices", "fields", "include_usage", "marks", "metadata",
        "model", "raw", "stream", "tier", "user",
    )  # fmt: skip

    def __init__(
        self, raw: bytes, fields: dict[str, msgspec.Raw], outside: _Outside, depth: int = extent.USUAL.depth
    ) -> None:
        self.raw = raw
        self.fields = fields  # the members of the body, each still sealed: for those who only pass on
        self.model = outside.model
        self.stream = outside.stream is True
        self.include_usage = bool(outside.stream_options and outside.stream_options.include_usage)
        self.choices = number if (number := outside.n or 1) > 0 else 1
        self.user = outside.safety_identifier or outside.user
        self.metadata = outside.metadata if isinstance(outside.metadata, dict) else {}
        tier = None if outside.service_tier is _NOTHING else _plain(outside.service_tier)
        self.tier = tier if isinstance(tier, str) else None
        self.cap = _cap(_plain(outside.max_completion_tokens), _plain(outside.max_tokens))
        self._depth = depth
        self._opened: tuple[wire.Chat, list[str]] | None = None
        self._style: Style | Literal[False] | None = False  # nobody has asked
        self._outline = raw if len(raw) < marks.LONG else marks.outline(raw, fields, self.style)
        self.marks: Marks = marks.read(raw, self._outline)

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
        # What is written on the outside is a letter of its own: so the whole of a letter is walked through once.
        said = [name + fields[at] for at, name in _ON_THE_OUTSIDE if at in fields]
        outside = _decoder.decode(b"{%b}" % b",".join(said))
    except msgspec.ValidationError as error:
        raise letter.wrong(error) from None
    except letter.UNREADABLE as error:
        raise letter.unreadable(error) from None
    if outside.stream_options is not None and not outside.stream:
        raise invalid("'stream_options' is only allowed when 'stream' is true.", "stream_options")
    extent.check_length(raw, bounds)
    return Envelope(raw, fields, outside, bounds.depth)


_ON_THE_OUTSIDE = tuple((name, b'"%b":' % name.encode()) for name in _Outside.__struct_fields__)
