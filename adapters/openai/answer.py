"""OpenAI's answer: relayed as it came, and read only as far as the proxy must know: the usage and the end.

What deviates from OpenAI's own stream (comments, event names, CR line ends) is put right, because clients break on it;
the JSON inside is never written anew but for the usage that the client did not ask for.
"""

import re
from typing import Any

import msgspec

from adapters import errors, sse
from adapters.base import Answer, Call, Failure, Stamp, Usage
from adapters.openai.errors import in_stream


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: dict[str, msgspec.Raw] | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    """A chunk or a whole answer, as far as we read it."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    service_tier: str | None = None


_decoder = msgspec.json.Decoder(_Chunk)


def usage_of(said: _Usage) -> Usage:
    """OpenAI's counts in disjoint buckets: its prompt includes what was cached, its completion the reasoning."""
    prompt = said.prompt_tokens_details or _PromptDetails()
    completion = said.completion_tokens_details or _CompletionDetails()
    usage = Usage(
        in_audio=prompt.audio_tokens or 0,
        in_image=prompt.image_tokens or 0,
        cache_read=prompt.cached_tokens or 0,
        cache_write_30m=prompt.cache_write_tokens or 0,
        out_audio=completion.audio_tokens or 0,
        out_reasoning=completion.reasoning_tokens or 0,
    )
    usage.in_text = max(0, (said.prompt_tokens or 0) - usage.prompt)
    usage.out_text = max(0, (said.completion_tokens or 0) - usage.completion)
    return usage


def response(body: bytes, call: Call, stamp: Stamp) -> Answer:
    """The whole answer, byte for byte. Raises `Failure` if it is none."""
    try:
        said = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.unreadable(str(error)) from None
    if said.error is not None:
        raise in_stream(said.error, body)
    if not said.choices:
        raise errors.empty()
    return Answer(
        body=body,
        usage=usage_of(said.usage) if said.usage else None,
        finish=said.choices[0].finish_reason,
        service_tier=said.service_tier,
    )


def stream(call: Call, stamp: Stamp) -> "Relay":
    """A relay for one streamed answer."""
    return Relay(include_usage=call.reading.include_usage, choices=call.reading.choices)


_USAGE_NULL = re.compile(rb'\s*,\s*"usage"\s*:\s*null')
_SPECIAL = (b'"usage"', b'"error"', b"[DONE]", b'"finish_reason":"', b'"finish_reason": "')
_EMPTY = (b"null", b'""', b"[]", b"{}")


class Relay:
    """Passes a stream on, whole events at a time.

    Until something worth hearing has come (the first chunk only says "assistant"), bytes are held back: so long nobody
    has answered, and another vendor may be asked.
    """

    def __init__(self, *, include_usage: bool, choices: int) -> None:
        self.usage: Usage | None = None
        self.failure: Failure | None = None
        self.done = False
        self.finish: str | None = None
        self.service_tier: str | None = None
        self._include_usage = include_usage
        self._choices = choices
        self._finished: set[int] = set()
        self._rest = bytearray()
        self._decoder = sse.Decoder()
        self._held = b""
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """Return the events that are complete now."""
        if self.done or self.failure:
            return b""
        self._rest += data
        end = self._rest.rfind(b"\n\n")
        if end < 0 and b"\r" not in data:
            return b"" if len(self._rest) <= sse.LARGEST_EVENT else self._fail(errors.unreadable("an endless event"))
        if b"\r" in self._rest or end < 0:
            whole, self._rest = bytes(self._rest), bytearray()
            return self._slow(whole)
        whole = bytes(self._rest[: end + 2])
        del self._rest[: end + 2]
        if not self._include_usage:
            whole = whole.replace(b',"usage":null', b"")
        return whole if self._plain(whole) else self._slow(whole)

    def _plain(self, whole: bytes) -> bool:
        """True if these are data lines and blank lines only, with nothing in them that concerns us."""
        if not self._begun or self._decoder.pending or any(mark in whole for mark in _SPECIAL):
            return False
        events = whole.count(b"\n\n")
        return whole.count(b"\n") == 2 * events and whole.count(b"\ndata: ") + whole.startswith(b"data: ") == events

    def end(self) -> bytes:
        """The body has ended; a stream that was finished but not closed is closed here."""
        said = self._slow(bytes(self._rest))
        if not (self.done or self.failure):
            said += self._events(self._decoder.end())
        if self.done or self.failure:
            return said
        if len(self._finished) >= self._choices:
            self.done = True
            return said + sse.DONE
        self.failure = self._why()
        return said

    def _why(self) -> Failure:
        """What broke: a body that was no stream at all says more than that it ended."""
        if not self._begun and self._decoder.stray:
            return errors.unreadable("not a stream of events")
        return errors.truncated() if self._begun else errors.empty()

    def _slow(self, whole: bytes) -> bytes:
        try:
            return self._events(self._decoder.feed(whole))
        except sse.TooLarge as error:
            return self._fail(errors.unreadable(str(error)))

    def _events(self, events: list[bytes]) -> bytes:
        said = []
        for data in events:
            if data == b"[DONE]":
                said.append(self._flush() + sse.DONE)
                self.done = True
                break
            said.append(self._chunk(data))
            if self.failure:
                break
        return b"".join(said)

    def _chunk(self, data: bytes) -> bytes:
        try:
            chunk = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._fail(errors.unreadable(str(error)))
        if chunk.error is not None:
            return self._fail(in_stream(chunk.error, data))
        if chunk.usage:
            self.usage = usage_of(chunk.usage)
        self.service_tier = chunk.service_tier or self.service_tier
        for choice in chunk.choices or ():
            if choice.finish_reason:
                self._finished.add(choice.index)
                self.finish = choice.finish_reason
        if not self._include_usage:
            if chunk.usage and not chunk.choices:
                return b""
            data = _without_usage(data)
        if self._begun or self._says_something(chunk):
            return self._flush() + sse.encode(data)
        self._held += sse.encode(data)
        return b""

    def _says_something(self, chunk: _Chunk) -> bool:
        return any(
            choice.finish_reason or any(bytes(v) not in _EMPTY for k, v in (choice.delta or {}).items() if k != "role")
            for choice in chunk.choices or ()
        )

    def _flush(self) -> bytes:
        self._begun = True
        held, self._held = self._held, b""
        return held

    def _fail(self, failure: Failure) -> bytes:
        self.failure = failure
        return b""


def _without_usage(data: bytes) -> bytes:
    """A chunk without the usage that its client did not ask for. Quotes inside JSON strings are escaped: no mistake."""
    data = _USAGE_NULL.sub(b"", data)
    if b'"usage"' not in data:
        return data
    members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({name: value for name, value in members.items() if name != "usage"})
