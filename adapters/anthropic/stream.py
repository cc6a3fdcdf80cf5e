"""Anthropic's events, to OpenAI's chunks (platform.claude.com/docs/en/build-with-claude/streaming)."""

from collections.abc import Callable
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
from adapters.anthropic.events import Delta, Event, learn, read, texts, written
from adapters.anthropic.fence import Fence
from adapters.base import Call, Failure, Stamp, Usage
from adapters.completion import Chunks, custom_input
from adapters.flow import LOOKS, Flow

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def stream(call: Call, stamp: Stamp) -> "Translation":
    """A translation of one streamed answer."""
    return Translation(call, stamp)


class Translation:
    """One arm per event of the vendor's grammar; exactly one content block is open at a time."""

    # How each stream begins; most streams leave many of these as they are.
    failure: Failure | None = None
    done = False
    finish: str | None = None
    service_tier: str | None = None
    framing = 0
    _kind = ""  # what the deltas of the open block bring
    _heard = False
    _counted: UsageSaid | None = None
    _usage: Usage | None = None
    _stop: Delta | None = None
    _index: int | None = None  # of the open call
    _saw_arguments = False
    _first_call: str | None = None
    _length = _block_start = 0  # characters: of the content so far, and of what stands before the open block

    def __init__(self, call: Call, stamp: Stamp) -> None:
        self.states: dict[str, str] = {}
        self._reading = call.reading
        self._chunks = Chunks(stamp, call.reading)
        self._decoder = sse.Decoder()
        self._flow = Flow()  # of the deltas of the open block
        self._block = Block()
        self._pieces: list[str] = []  # of the open block: thinking, or the input of a custom tool
        self._thoughts: list[dict[str, Any]] = []
        self._fence = Fence() if call.reading.json_fence else None
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
        try:
            whole = self._decoder.cut(data)
        except sse.TooLarge as error:
            self.failure = errors.unreadable(str(error))
            return b""
        known = self._flow.before
        return self._walk(whole if known and whole.startswith(known) else sse.thinned(whole))

    def _walk(self, whole: bytes) -> bytes:
        """Translate whole events: those that are known a run at a time, each other by itself. It may be learnt from."""
        said: list[bytes] = []
        flow = self._flow
        at = read = looks = 0  # up to `read` each is read
        size = len(whole)
        while at < size:
            known = flow.before
            if known and at >= read and looks < LOOKS and whole.startswith(known, at):
                read, pieces = flow.run(whole, at)
                if pieces:
                    said.append(run := self._run(pieces))
                    self.framing += max(0, len(run) - sum(map(len, pieces)))
                    at = read
                    continue
                looks += 1
            if (found := written(whole, at)) is not None:
                event, told = found.groups()
                at = found.end()
            else:
                stop = whole.find(b"\n\n", at)
                event = whole[at:stop] if stop >= 0 else whole[at:]  # half a blank line too many
                told = self._decoder.data(event)
                at += len(event) + 2
            if told:
                said.append(self._take(told, event))
                if self.failure or self.done:
                    break
            if flow.before is not known:
                read = at
        return b"".join(said)

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
            arm = _ARMS.get(told.type)
            said = b"" if arm is None else arm(self, told)
        except _UNREADABLE as error:
            self.failure = errors.unreadable(str(error))
            return b""
        if said and event and told.type == "content_block_delta" and told.delta is not None:
            self._learn(event, told.delta)
        return said

    def _learn(self, event: bytes, delta: Delta) -> None:
        """What comes next, mostly, is more of the same block: deltas that differ in nothing but their text."""
        if self._fence is not None or (delta.type == "input_json_delta" and self._is_custom()):
            return
        brought = learn(self._flow, event, delta)
        self._kind = "text" if brought == "partial_json" and self._is_json() else brought

    def _run(self, pieces: list[bytes]) -> bytes:
        """The same as of each delta by itself: they are of the open block."""
        pieces, text = texts(pieces)
        if not pieces:
            return b""
        if self._kind == "text":
            self._length += len(text)
            return self._chunks.texts(pieces)
        if self._kind == "thinking":
            self._pieces.append(text)
            return self._chunks.thoughts(pieces)
        return self._chunks.all_arguments(self._index or 0, pieces)

    def _begin(self, event: Event) -> bytes:
        if event.message is not None:
            self._chunks.model = event.message.model or self._chunks.model
            self._count(event.message.usage)
        return b""

    def _near_end(self, event: Event) -> bytes:
        self._count(event.usage)
        if event.delta is not None and event.delta.stop_reason:
            self._stop = event.delta
        return b""

    def _fail(self, event: Event) -> bytes:
        self.failure = in_stream(event.error)
        return b""

    def _count(self, said: msgspec.Raw) -> None:
        if said != UNTOLD:
            self._counted = UsageSaid.read(said, self._counted)
            self._usage = None
            self.service_tier = self._counted.tier()

    def _start(self, event: Event) -> bytes:
        if (block := event.content_block) is None:
            return b""
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

    def _delta(self, event: Event) -> bytes:
        if (delta := event.delta) is None:
            return b""
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
        if self._fence is not None:
            text = self._fence.passed(text)
            if not text:
                return b""
            self._fence = None
        return self._chunks.text(text)

    def _think(self, text: str) -> bytes:
        self._pieces.append(text)
        return self._chunks.reasoning(text) if text else b""

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

    def _close(self, _: Event | None = None) -> bytes:
        self._flow.forget()
        said, self._block = self._closed(self._block), Block()
        return said

    def _closed(self, block: Block) -> bytes:
        match block.type:
            case "text":
                if block.citations:
                    self._annotations += annotations(block.citations, self._block_start, self._length)
            case "tool_use":
                return (b"" if self._saw_arguments else self._arguments(compact(block.input))) + self._custom()
            case "thinking":
                return self._thought(thinking("".join(self._pieces), block.signature or ""))
            case "redacted_thinking":
                return self._thought(redacted(block.data or ""))
        return b""

    def _custom(self) -> bytes:
        """The input of a custom tool, which travelled as the argument of a function."""
        if self._index is None or not self._is_custom():
            return b""
        return self._chunks.custom_input(self._index, custom_input("".join(self._pieces)))

    def _thought(self, block: dict[str, Any]) -> bytes:
        """Each block whole and with an index of its own: the SDKs' accumulators merge lists by it."""
        self._thoughts.append(block)
        return self._chunks.extra("thinking_blocks", [{"index": len(self._thoughts) - 1, **block}])

    def _finish(self, _: Event | None = None) -> bytes:
        """The end of the message; without a stop reason it is the end of nothing."""
        if self._stop is None:
            self.failure = errors.truncated()
            return b""
        said = self._close() if self._block.type else b""
        if self._fence is not None and self._fence.held:
            said += self._chunks.text(self._fence.rest())
        self.finish = finish(self._stop.stop_reason, json_tool=self._reading.json_tool)
        refused = self._stop.stop_reason == "refusal" and not self._length
        if refused:
            said += self._chunks.refusal(refusal(self._stop.stop_details))
        if self._annotations:
            said += self._chunks.extra("annotations", self._annotations)
        if self._thoughts:
            self.states = states(self._reading, self._first_call, self._thoughts)
        self.done = True
        self._usage = self.usage or Usage()
        return said + self._chunks.finish(self.finish, self._usage, self.service_tier, refused=refused)


_ARMS: dict[str, Callable[[Translation, Event], bytes]] = {
    "message_start": Translation._begin,
    "content_block_start": Translation._start,
    "content_block_delta": Translation._delta,
    "content_block_stop": Translation._close,
    "message_delta": Translation._near_end,
    "message_stop": Translation._finish,
    "error": Translation._fail,
}
