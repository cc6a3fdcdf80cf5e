"""Gemini's fragments, to OpenAI's chunks. There is no closing event: the end is the end of the body."""

from typing import Any

import msgspec

from adapters import errors, sse
from adapters.base import Call, Failure, Stamp, Usage
from adapters.completion import Chunks, custom_input
from adapters.gemini.answer import (
    Candidate,
    FunctionCall,
    Part,
    arguments,
    call_id,
    decoder,
    finish,
    images,
    parts,
)
from adapters.gemini.errors import in_stream, unwrap
from adapters.gemini.grounding import annotations
from adapters.gemini.run import Run
from adapters.gemini.usage import Told, searches

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def stream(call: Call, stamp: Stamp) -> "Translation":
    """A translation of one streamed answer."""
    return Translation(call, stamp)


class Translation:
    """Calls of functions come whole, in one fragment or in many; their index counts through the whole stream."""

    # How each stream begins; most streams leave many of these as they are.
    failure: Failure | None = None
    done = False
    finish: str | None = None
    framing = 0
    _reason: str | None = None
    _calls = 0
    _kind = ""  # of the last part
    _signature: str | None = None
    _grounding: Any = None
    _citations: Any = None
    _searches = 0

    def __init__(self, call: Call, stamp: Stamp) -> None:
        self.states: dict[str, str] = {}
        self._reading = call.reading
        self._stamp = stamp
        self._chunks = Chunks(stamp, call.reading)
        self._decoder = sse.Decoder()
        self._run = Run()
        self._counted = Told()
        self._seen: set[str] = set()  # ids of calls
        self._texts: list[list[str]] = []  # the fragments of each part; none for what the client does not see
        self._images: list[dict[str, Any]] = []

    @property
    def usage(self) -> Usage | None:
        """What was counted so far. It comes with each fragment, and only the last is asked for: so it is read then."""
        return self._counted.usage(self._searches)

    @property
    def service_tier(self) -> str | None:
        """The service tier in OpenAI's words, if the vendor told one."""
        return self._counted.tier()

    def feed(self, data: bytes) -> bytes:
        """Take bytes off the vendor's wire; return the chunks that follow from them."""
        self.framing = 0
        if self.done or self.failure:
            return b""
        said: list[bytes] = []
        try:
            for event, pieces, texts in self._run.walk(sse.thinned(self._decoder.cut(data))):
                if pieces:
                    said.append(run := self._more(pieces, texts))
                    self.framing += max(0, len(run) - sum(map(len, pieces)))
                elif told := self._decoder.data(event):
                    said.append(self._event(told))
                    self._run.learn(event, said[-1])
                if self.failure or self.done:
                    break
        except (*_UNREADABLE, sse.TooLarge) as error:
            self.failure = errors.unreadable(str(error))
        return b"".join(said)

    def end(self) -> bytes:
        """The body has ended: after a finish reason that is the end, before it the vendor broke off."""
        self.framing = 0
        if self.done or self.failure:
            return b""
        # What waits for its end now may be whole but for the closing blank line; else it is what was cut off.
        said = b""
        try:
            for data in self._decoder.end():  # one at most
                said = self._event(data)
        except _UNREADABLE:
            self.failure = errors.truncated()
        if self.done or self.failure:
            return said
        if self._reason is None:
            self.failure = self._why()
            return said
        return said + self._finish()

    def _why(self) -> Failure:
        """A bare JSON error may stand where a stream should be, or break into one."""
        if self._decoder.stray:
            try:
                return in_stream(unwrap(msgspec.json.decode(bytes(self._decoder.stray))))
            except _UNREADABLE:
                if not self._chunks.begun():
                    return errors.unreadable("not a stream of events")
        return errors.truncated() if self._chunks.begun() else errors.empty()

    def _more(self, pieces: list[bytes], texts: list[str]) -> bytes:
        """The same as of each text of a run by itself; its last one, which is read, enters the part of thoughts."""
        if self._run.thought:
            return self._chunks.thoughts(pieces)
        self._enter("text")
        self._texts[-1] += texts
        return self._chunks.texts(pieces)

    def _event(self, data: bytes) -> bytes:
        """What there is to say of one event. Raises what msgspec raises if it is none."""
        fragment = decoder.decode(data)
        if fragment.error is not None:
            self.failure = in_stream(unwrap(msgspec.json.decode(data)))
            return b""
        if fragment.model_version and not self._chunks.begun():
            self._chunks.model = fragment.model_version.removeprefix("models/")
        self._counted.overwrite(fragment.usage_metadata)
        if fragment.candidates:
            candidate = fragment.candidates[0]
            self._note(candidate)
            said = parts(candidate)
            return self._part(said[0]) if len(said) == 1 else b"".join([self._part(part) for part in said])
        feedback = fragment.prompt_feedback
        return self._blocked(feedback.block_reason) if feedback is not None and feedback.block_reason else b""

    def _blocked(self, reason: str) -> bytes:
        """The prompt was blocked: that is the end."""
        self.finish, self.done = "content_filter", True
        said = self._chunks.refusal(f"Prompt blocked: {reason}")
        return said + self._chunks.finish(self.finish, self._counted.buckets(), self.service_tier, refused=True)

    def _note(self, candidate: Candidate) -> None:
        """What is said at the end only; of each the last that was told counts."""
        if candidate.finish_reason:
            self._reason = candidate.finish_reason
        if candidate.citation_metadata:
            self._citations = candidate.citation_metadata
        if candidate.grounding_metadata:
            self._grounding = candidate.grounding_metadata
            self._searches = searches(candidate.grounding_metadata) or self._searches

    def _part(self, part: Part) -> bytes:
        if part.function_call is not None:
            self._enter("call")
            return self._call(part.function_call, part.thought_signature)
        if part.thought:
            self._enter("thought")
            return self._chunks.reasoning(part.text) if part.text else b""
        if part.text is not None:
            self._enter("text", part.text)
            self._signature = part.thought_signature or self._signature
            return self._chunks.text(part.text) if part.text else b""
        self._enter("other")
        if part.inline_data is not None:
            self._images += images(part.inline_data)
        return b""

    def _enter(self, kind: str, text: str = "") -> None:
        """Keep the texts by part: of text and of thoughts, what follows its like is a fragment of the same part."""
        if kind != self._kind or kind in ("call", "other"):
            self._texts.append([])
        self._kind = kind
        if text:
            self._texts[-1].append(text)

    def _call(self, call: FunctionCall, signature: str | None) -> bytes:
        if call.id and call.id in self._seen:
            return b""
        id = call_id(call, self._stamp, self._calls)
        self._seen.add(id)
        self._calls += 1
        if signature:
            self.states[id] = signature
        index, said = self._chunks.call(id, call.name, signature)
        if self._reading.names.get(call.name, call.name) in self._reading.custom:
            return said + self._chunks.custom_input(index, custom_input(arguments(call)))
        return said + self._chunks.arguments(index, arguments(call))

    def _finish(self) -> bytes:
        try:
            self.finish = finish(self._reason, called=bool(self._calls), said=any(self._texts))
        except Failure as failure:
            self.failure = failure
            return b""
        said = b""
        if self._images:
            indexed = [{"index": i, **image} for i, image in enumerate(self._images)]
            said += self._chunks.extra("images", indexed)
        if self._signature:
            said += self._chunks.extra("extra_content", {"google": {"thought_signature": self._signature}})
        if self._grounding or self._citations:
            found = annotations(self._grounding, self._citations, ["".join(text) for text in self._texts])
            said += self._chunks.extra("annotations", found) if found else b""
        self.done = True
        return said + self._chunks.finish(self.finish, self._counted.buckets(self._searches), self.service_tier)
