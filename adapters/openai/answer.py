"""OpenAI's answer: relayed as it came, and read only as far as the proxy must know: the usage and the end.

What deviates from OpenAI's own stream (comments, event names, CR line ends, the usage in odd places) is put right,
because clients break on it; a chunk that does not deviate leaves to the byte as it came. Answers of those who only
speak OpenAI's format (`Reading.exact` is false) pass through `adapters.openai.mend` as well.
"""

from typing import Any

import msgspec

from adapters import errors, flow, sse
from adapters.base import Answer, Call, Failure, Stamp, Usage
from adapters.flow import Flow
from adapters.openai.chunk import (
    Chunk,
    Tidier,
    all_plain,
    decoder,
    goes_on,
    odd,
    piece,
    says_something,
    speaks,
    with_members,
    without_usage,
)
from adapters.openai.errors import in_stream, told_in
from adapters.openai.mend import Mender, complete
from adapters.openai.usage import believed

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def response(body: bytes, call: Call, stamp: Stamp) -> Answer:
    """The whole answer, byte for byte if it is OpenAI's own. Raises `Failure` if it is none."""
    try:
        said = decoder.decode(body)
        if (error := told_in(said)) is not None:
            raise in_stream(error, body)
        if not said.choices:
            raise errors.empty()
        if not call.reading.exact:
            body = Mender(stamp, call.reading.model).whole(body)
            said = decoder.decode(body)
    except _UNREADABLE as unreadable:
        raise errors.unreadable(str(unreadable)) from None
    assert said.choices
    return Answer(
        body=body if body.isascii() else _readable(body),
        usage=believed(said.usage, spoken=lambda: speaks(said), long=call.reading.caches_long),
        finish=said.choices[0].finish_reason,
        service_tier=said.service_tier,
    )


def stream(call: Call, stamp: Stamp) -> "Relay":
    """A relay for one streamed answer."""
    reading = call.reading
    mender = None if reading.exact else Mender(stamp, reading.model)
    tidier = Tidier(None if reading.exact else stamp)
    return Relay(reading.include_usage, reading.choices, tidier, mender, long=reading.caches_long)


_DONE = b"[DONE]"
_NULL_USAGE = b',"usage":null'


class Relay:
    """Passes a stream on, whole events at a time.

    Until something worth hearing has come (the first chunk only says "assistant"), bytes are held back: so long nobody
    has answered, and another vendor may be asked. The usage is held back to the end, wherever the vendor says it.
    """

    def __init__(
        self, include_usage: bool, choices: int, tidier: Tidier, mender: Mender | None, *, long: bool = False
    ) -> None:
        self.usage: Usage | None = None
        self.failure: Failure | None = None
        self.done = False
        self.finish: str | None = None
        self.service_tier: str | None = None
        self.states: dict[str, str] = {}
        self.framing = 0  # bytes of what `feed` has returned last, that are known to be no text
        self._include_usage = include_usage
        self._choices = choices
        self._long = long
        self._finished: set[int] = set()
        self._decoder = sse.Decoder()
        self._tidier = tidier
        self._flow = Flow()
        self._bare: tuple[bytes, bytes] | None = None  # what then goes before a text, and behind it
        self._frame = 0  # bytes in which a text is then wrapped, if there is no other text among them
        self._mender = mender
        self._begun = False
        self._held = b""
        self._counted = b""  # the usage chunk
        self._spoken = False  # anything at all
        self._uncounted = False  # something after the last usage

    def feed(self, data: bytes) -> bytes:
        """Return the events that are complete now."""
        self.framing = 0
        if self.done or self.failure:
            return b""
        try:
            whole = self._decoder.cut(data)
        except sse.TooLarge as error:
            self.failure = errors.unreadable(str(error))
            return b""
        if not whole:
            return b""
        end, texts = self._flow.run(whole)
        if not texts:
            return self._read(whole if self._begun else sse.thinned(whole))
        said = self._passed(whole, 0, end, texts)
        return said if end == len(whole) else said + self._read(whole, end)

    def _read(self, whole: bytes, at: int = 0) -> bytes:
        """Pieces of the answer go on together, as they came: to read each is as dear as to translate it. What begins
        the answer, and what ends it, is read."""
        said: list[bytes] = []
        read = looks = 0  # up to `read` they are read, because something among them is no piece
        size, known = len(whole), self._flow.before
        while at < size:
            if at >= read and looks < flow.LOOKS and self._begun:
                end, read, part = self._pieces(whole, at)
                if part:
                    said.append(part)
                    at = end
                    continue
                looks += read > at
            stop = whole.find(b"\n\n", at)
            if stop < 0:
                stop = size  # half a blank line too many
            if data := self._decoder.data(whole[at:stop]):
                said.append(self._event(data))
                if self.done or self.failure:
                    break
            at = stop + 2
            if known is not self._flow.before:
                known, read = self._flow.before, at
        return b"".join(said)

    def _pieces(self, whole: bytes, at: int) -> tuple[int, int, bytes]:
        """Up to where they are pieces of an answer in mid-flow, one choice each, and nothing that concerns us; up to
        where somebody must look; and what there is to say of the pieces."""
        end, texts = self._flow.run(whole, at)
        if texts:
            return end, end, self._passed(whole, at, end, texts)
        if self.usage is not None or not goes_on(whole, at) or (end := odd(whole, at)) == at:
            return at, len(whole), b""  # what is at the end of an answer is at its end
        plain = whole[at:end]
        if self._spoken and all_plain(plain, self.service_tier) and (self._mender is None or complete(plain)):
            return end, end, self._trimmed(_readable(plain))
        return at, end, b""

    def _passed(self, whole: bytes, at: int, end: int, texts: list[bytes]) -> bytes:
        """What there is to say of known events, which stand there, and of whom these are the texts."""
        self.framing += len(texts) * self._frame
        if self._include_usage:
            return whole[at:end]
        return self._trimmed(whole[at:end]) if self._bare is None else flow.wrapped(texts, *self._bare)

    def _trimmed(self, part: bytes) -> bytes:
        """Without the usage that nobody has asked for: nearly always all of it. In a text its quotes are escaped."""
        return part if self._include_usage else part.replace(_NULL_USAGE, b"")

    def end(self) -> bytes:
        """The body has ended; a stream that was finished but not closed is closed here."""
        self.framing = 0
        if self.done or self.failure:
            return b""
        # An event without its blank line counts if it is whole; half of one says only that the vendor broke off.
        said = b""
        for data in self._decoder.end():  # one at most
            if data.startswith(_DONE) or _is_json(data):
                said += self._event(data)
        if self.done or self.failure:
            return said
        if len(self._finished) >= self._choices:
            return said + self._close()
        self.failure = self._why()
        return said

    def _why(self) -> Failure:
        """What broke: a body that was no stream at all says more than that it ended."""
        if not self._decoder.stray:
            return errors.truncated() if self._begun else errors.empty()
        try:
            told = decoder.decode(bytes(self._decoder.stray))
        except _UNREADABLE:
            told = Chunk()
        if (error := told_in(told)) is None:
            return errors.unreadable("not a stream of events")
        return in_stream(error, bytes(self._decoder.stray).strip())

    def _event(self, data: bytes) -> bytes:
        """What there is to say of one event."""
        if data.startswith(_DONE):
            return self._close()
        try:
            chunk = decoder.decode(data)
            if not data.isascii():
                data = _readable(data)
            if (error := told_in(chunk)) is not None:
                raise in_stream(error, data)
            return self._chunk(chunk, data) if self._mender is None else self._mended(self._mender, chunk, data)
        except _UNREADABLE as unreadable:
            self.failure = errors.unreadable(str(unreadable))
        except Failure as failure:
            self.failure = failure
        return b""

    def _mended(self, mender: Mender, chunk: Chunk, data: bytes) -> bytes:
        """What there is to say of a chunk of who nearly writes OpenAI's format."""
        if chunk.choices is None and chunk.usage is None:
            return self._chunk(chunk, data)
        pieces = mender.chunks(data)
        if len(pieces) == 1 and pieces[0] is data:
            return self._chunk(chunk, data)
        return b"".join([self._chunk(decoder.decode(piece), piece, learn=False) for piece in pieces])

    def _chunk(self, chunk: Chunk, data: bytes, *, learn: bool = True) -> bytes:
        choices, usage = chunk.choices, chunk.usage
        if chunk.service_tier:
            self.service_tier = chunk.service_tier
        for choice in choices or ():
            if choice.finish_reason:
                self._finished.add(choice.index or 0)
                self.finish = choice.finish_reason
        text = piece(chunk)
        if not (self._spoken and self._uncounted) and (text or speaks(chunk)):
            self._spoken = True
            self._uncounted = self._uncounted or usage is None
        if usage is not None:
            self._count(usage)
            self._counted = data if choices == [] else with_members(data, choices=[])
        if not choices and (choices is None or usage is not None):
            return b""  # the usage, or something that is no chunk
        tidied = self._tidier.tidy(chunk, self._without_usage(data, usage))
        if text and learn and tidied == self._trimmed(data):
            self._learn(data, text)
        said = sse.encode(tidied)
        if self._begun:
            return said
        if not text and not says_something(chunk):
            self._held += said
            return b""
        self._begun = True
        said, self._held = self._held + said, b""
        return said

    def _count(self, said: Any) -> None:
        """Each count is of all so far: the last one that can be true is the one."""
        if (usage := believed(said, spoken=lambda: self._spoken, long=self._long)) is not None:
            self.usage, self._uncounted = usage, False
            self._flow.forget()  # what comes now must be read: has more been said than was counted?

    def _without_usage(self, data: bytes, usage: Any) -> bytes:
        """The usage comes last; before it there is a null for those who have asked for it, else nothing."""
        if self._include_usage:
            return data if usage is None else with_members(data, usage=None)
        data = self._trimmed(data)
        return without_usage(data) if b'"usage"' in data else data

    def _learn(self, data: bytes, text: bytes) -> None:
        """The next events may be like this one, to which nothing was done, but that it may have lost its usage."""
        if sse.LF in data:
            return
        learnt = self._flow
        learnt.learn(b"data: " + data, text)
        if not learnt.before:
            return
        as_it_came = self._include_usage or learnt.padded
        self._bare = None if as_it_came else (self._trimmed(learnt.before), self._trimmed(learnt.end))
        frame = self._trimmed(b"".join(learnt.wrapping))
        self._frame = 0 if speaks(decoder.decode(frame[len(b"data: ") : -2])) else len(frame)

    def _close(self) -> bytes:
        """The usage if it was asked for, and the end. Without anything said before it is the end of nothing."""
        if not self._begun:
            self.failure = errors.empty()
            return b""
        if self._uncounted:
            self.usage = None  # told too early: most of the answer came after it
        self.done = True
        counted = sse.encode(self._counted) if self._include_usage and self._counted else b""
        return self._ended() + counted + sse.DONE

    def _ended(self) -> bytes:
        """The end of those choices that the vendor has left without a reason: clients ask for one."""
        if self._mender is None:
            return b""
        said = []
        for choice in sorted(self._mender.choices - self._finished):
            self.finish, chunk = self._mender.ending(choice)
            said.append(sse.encode(chunk))
        return b"".join(said)


def _readable(data: bytes) -> bytes:
    """The same, in UTF-8: what is only passed on is not read by anybody here, and a client would stumble over it.
    ASCII, as most is, need not come here."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="replace").encode()
    return data


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except _UNREADABLE:
        return False
    return True
