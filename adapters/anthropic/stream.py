"""Anthropic's events, to OpenAI's chunks (platform.claude.com/docs/en/build-with-claude/streaming)."""

from typing import Any

import msgspec

from adapters import errors, sse
from adapters.anthropic.answer import (
    UNTOLD,
    Block,
    UsageSaid,
    annotations,
    compact,
    finish,
    redacted,
    refusal,
    states,
    thinking,
)
from adapters.anthropic.errors import in_stream
from adapters.anthropic.events import Delta, Event, learn, read
from adapters.base import Call, Failure, Stamp, Usage
from adapters.completion import Chunks, custom_input, encode, without_fence
from adapters.flow import Flow, decoded

_FENCE = "```"
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def stream(call: Call, stamp: Stamp) -> "Translation":
    """A translation of one streamed answer."""
    return Translation(call, stamp)


class Translation:
    """One arm per event of the vendor's grammar; exactly one content block is open at a time."""

    def __init__(self, call: Call, stamp: Stamp) -> None:
        self.failure: Failure | None = None
        self.done = False
        self.finish: str | None = None
        self.service_tier: str | None = None
        self.states: dict[str, str] = {}
        self.framing = 0
        self._call = call
        self._reading = call.reading
        self._chunks = Chunks(stamp, call.reading)
        self._decoder = sse.Decoder()
        self._flow = Flow()  # of the deltas of the open block
        self._kind = ""  # what they bring
        self._heard = False
        self._counted: UsageSaid | None = None
        self._usage: Usage | None = None
        self._stop: Delta | None = None
        self._block = Block()
        self._pieces: list[str] = []  # of the open block: thinking, or the input of a custom tool
        self._index: int | None = None  # of the open call
        self._saw_arguments = False
        self._thoughts: list[dict[str, Any]] = []
        self._first_call: str | None = None
        self._length = 0  # of the content so far, in characters
        self._block_start = 0
        self._fenced: list[str] | None = [] if call.reading.json_fence else None
        self._is_fence = False
        self._annotations: list[dict[str, Any]] = []

    @property
    def usage(self) -> Usage | None:
        """What the vendor has counted so far; added up when somebody asks, not at each event that tells of it."""
        if self._usage is None and self._counted is not None:
            self._usage = self._counted.buckets()
        return self._usage

    def feed(self, data: bytes) -> bytes:
        """Take bytes off the vendor's wire; return the chunks that follow from them."""
        self.framing = 0
        if self.done or self.failure:
            return b""
        said: list[bytes] = []
        try:
            for event, pieces in self._flow.walk(self._cut(data)):
                if pieces:
                    said.append(run := self._run(pieces))
                    self.framing += max(0, len(run) - sum(map(len, pieces)))
                elif told := self._decoder.data(event):
                    said.append(self._take(told, event))
                if self.failure or self.done:
                    break
        except sse.TooLarge as error:
            self.failure = errors.unreadable(str(error))
        return b"".join(said)

    def _cut(self, data: bytes) -> bytes:
        whole, known = self._decoder.cut(data), self._flow.before
        return whole if known and whole.startswith(known) else sse.thinned(whole)

    def end(self) -> bytes:
        """The body has ended. A stop reason without the closing event is an end; anything else is a break."""
        self.framing = 0
        said = b""
        for data in self._decoder.end():
            if not (self.done or self.failure):
                said += self._take(data)
        if not (self.done or self.failure):
            if self._stop is not None:
                return said + self._finish()
            self.failure = self._why()
        return said

    def _why(self) -> Failure:
        if self._decoder.stray:
            return errors.unreadable("not a stream of events")
        return errors.truncated() if self._heard else errors.empty()

    def _take(self, data: bytes, event: bytes = b"") -> bytes:
        """Translate one event. What it has around its text is learnt from how it came."""
        self._heard = True
        try:
            told = read(data)
            said = self._event(told)
        except _UNREADABLE as error:
            self.failure = errors.unreadable(str(error))
            return b""
        if said and event and told.type == "content_block_delta" and told.delta is not None:
            self._learn(event, told.delta)
        return said

    def _learn(self, event: bytes, delta: Delta) -> None:
        """What comes next, mostly, is more of the same block: deltas that differ in nothing but their text."""
        if self._fenced is not None or (delta.type == "input_json_delta" and self._is_custom()):
            return
        brought = learn(self._flow, event, delta)
        self._kind = "text" if brought == "partial_json" and self._is_json() else brought

    def _run(self, pieces: list[bytes]) -> bytes:
        """The same as of each delta by itself: they are of the open block."""
        if b"" in pieces:
            pieces = [piece for piece in pieces if piece]
            if not pieces:
                return b""
        whole = b"".join(pieces)
        if b"\\" in whole:
            texts = decoded(pieces)
            pieces, text = [encode(text)[1:-1] for text in texts], "".join(texts)  # escapes as we write them
        else:
            text = whole.decode()
        if self._kind == "text":
            self._length += len(text)
            return self._chunks.texts(pieces)
        if self._kind == "thinking":
            self._pieces.append(text)
            return self._chunks.thoughts(pieces)
        return self._chunks.all_arguments(self._index or 0, pieces)

    def _event(self, event: Event) -> bytes:
        match event.type:
            case "content_block_delta" if event.delta is not None:
                return self._delta(event.delta)
            case "content_block_start" if event.content_block is not None:
                return self._start(event.content_block)
            case "content_block_stop":
                return self._close()
            case "message_start" if event.message is not None:
                self._chunks.model = event.message.model or self._chunks.model
                self._count(event.message.usage)
            case "message_delta":
                self._count(event.usage)
                stopped = event.delta is not None and event.delta.stop_reason
                self._stop = event.delta if stopped else self._stop
            case "message_stop":
                return self._finish()
            case "error":
                self.failure = in_stream(event.error)
        return b""

    def _count(self, said: msgspec.Raw) -> None:
        if said == UNTOLD:
            return
        told = UsageSaid.read(said)
        if self._counted is None:
            self._counted = told
        else:
            self._counted.overwrite(told)
        self._usage = None
        self.service_tier = self._counted.tier()

    def _start(self, block: Block) -> bytes:
        self._flow.forget()
        self._block = block
        self._pieces = []
        self._block_start = self._length
        self._index = None
        self._saw_arguments = False
        match block.type:
            case "text":
                return self._text(block.text or "")
            case "thinking":
                return self._think(block.thinking or "")
            case "tool_use" if not self._is_json():
                # `input` is always {} here and says nothing: the arguments come in pieces.
                self._first_call = self._first_call or block.id
                self._index, said = self._chunks.call(block.id or "", block.name or "")
                return said
        return b""

    def _delta(self, delta: Delta) -> bytes:
        match delta.type:
            case "text_delta":
                return self._text(delta.text or "")
            case "input_json_delta":
                return self._arguments(delta.partial_json or "")
            case "thinking_delta":
                return self._think(delta.thinking or "")
            case "signature_delta":
                self._block.signature = delta.signature
            case "citations_delta" if delta.citation is not None:
                self._block.citations = [*(self._block.citations or ()), delta.citation]
        return b""

    def _text(self, text: str) -> bytes:
        if not text:
            return b""
        self._length += len(text)
        if self._fenced is not None:
            return self._maybe_fenced(self._fenced, text)
        return self._chunks.text(text)

    def _think(self, text: str) -> bytes:
        self._pieces.append(text)
        return self._chunks.reasoning(text) if text else b""

    def _maybe_fenced(self, held: list[str], text: str) -> bytes:
        """Emulated JSON mode: a fence around the whole answer is known only at its end."""
        held.append(text)
        if self._is_fence:
            return b""
        whole = "".join(held)
        head = whole.lstrip()[:3]
        self._is_fence = head == _FENCE
        if _FENCE.startswith(head):  # it is one, or may yet become one
            return b""
        self._fenced = None
        return self._chunks.text(whole)

    def _arguments(self, piece: str) -> bytes:
        if not piece or self._block.type != "tool_use":
            return b""  # the input of a tool that the vendor runs by itself is nobody's business
        self._saw_arguments = True
        if self._is_json():
            return self._text(piece)
        if self._index is None or self._is_custom():
            self._pieces.append(piece)
            return b""
        return self._chunks.arguments(self._index, piece)

    def _is_json(self) -> bool:
        return self._reading.json_tool is not None and self._block.name == self._reading.json_tool

    def _is_custom(self) -> bool:
        return self._reading.names.get(self._block.name or "", self._block.name) in self._reading.custom

    def _close(self) -> bytes:
        self._flow.forget()
        said = self._closed(self._block)
        self._block = Block()
        return said

    def _closed(self, block: Block) -> bytes:
        match block.type:
            case "tool_use" if not self._saw_arguments:
                return self._arguments(compact(block.input)) + self._custom()
            case "tool_use":
                return self._custom()
            case "thinking":
                return self._thought(thinking("".join(self._pieces), block.signature or ""))
            case "redacted_thinking":
                return self._thought(redacted(block.data or ""))
            case "text":
                self._annotations += annotations(block.citations or (), self._block_start, self._length)
        return b""

    def _custom(self) -> bytes:
        """The input of a custom tool, which travelled as the argument of a function."""
        if self._index is None or not self._is_custom():
            return b""
        return self._chunks.custom_input(self._index, custom_input("".join(self._pieces)))

    def _thought(self, block: dict[str, Any]) -> bytes:
        """Each block whole and with an index of its own: the SDKs' accumulators merge lists by it."""
        said = self._chunks.extra("thinking_blocks", [{"index": len(self._thoughts), **block}])
        self._thoughts.append(block)
        return said

    def _finish(self) -> bytes:
        """The end of the message; without a stop reason it is the end of nothing."""
        if self._stop is None:
            self.failure = errors.truncated()
            return b""
        said = self._close() if self._block.type else b""
        if self._fenced:
            said += self._chunks.text(without_fence("".join(self._fenced)))
        self.finish = finish(self._stop.stop_reason, json_tool=self._reading.json_tool)
        refused = self._stop.stop_reason == "refusal" and not self._length
        if refused:
            said += self._chunks.refusal(refusal(self._stop.stop_details))
        if self._annotations:
            said += self._chunks.extra("annotations", self._annotations)
        self.states = states(self._call, self._first_call, self._thoughts)
        self.done = True
        self._usage = self.usage or Usage()
        return said + self._chunks.finish(self.finish, self._usage, self.service_tier, refused=refused)
