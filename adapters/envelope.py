"""The client's letter: the few members that we act on, and the sealed rest.

The letter is read shallowly once. Only an adapter that must translate it opens it wholly, and then once for all
candidates: `Envelope.chat` remembers.
"""

from functools import cached_property
from typing import Any

import msgspec

from adapters import letter, wire
from adapters.base import invalid


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

    def __init__(self, raw: bytes, outside: _Outside) -> None:
        self.raw = raw
        self.model = outside.model
        self.stream = bool(outside.stream)
        self.include_usage = bool(outside.stream_options and outside.stream_options.include_usage)
        self.choices = max(1, outside.n or 1)
        self.user = outside.safety_identifier or outside.user
        self.metadata = outside.metadata if isinstance(outside.metadata, dict) else {}
        self._outside = outside

    @property
    def cap(self) -> int | None:
        """The most output tokens that the client asks for, in a number that anybody could obey; of two the larger."""
        said = (_plain(self._outside.max_completion_tokens), _plain(self._outside.max_tokens))
        caps = [tokens for tokens in said if tokens is not None]
        return max(caps) if caps and all(type(tokens) is int and tokens > 0 for tokens in caps) else None

    @property
    def tier(self) -> str | None:
        """The service tier that the client asks for."""
        tier = _plain(self._outside.service_tier)
        return tier if isinstance(tier, str) else None

    @cached_property
    def opened(self) -> tuple[wire.Chat, list[str]]:
        """The whole request, opened, and the paths of the members that nobody knows."""
        return letter.read(self.raw)

    @property
    def chat(self) -> wire.Chat:
        """The whole request, opened. Raises `Failure` (400) if it is not one."""
        return self.opened[0]

    @cached_property
    def fields(self) -> dict[str, msgspec.Raw]:
        """The members of the body, each still sealed: for those who only pass on."""
        try:
            return _members.decode(self.raw)
        except letter.UNREADABLE as error:  # what was skipped until now: a name that is not UTF-8
            raise letter.unreadable(error) from None


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _plain(said: msgspec.Raw) -> Any:
    """A member's value; None too for what cannot be read."""
    try:
        return msgspec.json.decode(said)
    except letter.UNREADABLE:
        return None


def seal(raw: bytes) -> Envelope:
    """Read the outside of a request. Raises `Failure` (400) when the body is not JSON or names no model."""
    try:
        outside = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise letter.wrong(error) from None
    except letter.UNREADABLE as error:
        raise letter.unreadable(error) from None
    if outside.stream_options is not None and not outside.stream:
        raise invalid("'stream_options' is only allowed when 'stream' is true.", "stream_options")
    return Envelope(raw, outside)
