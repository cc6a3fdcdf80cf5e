"""What vendors who only nearly write OpenAI's format leave out, or write otherwise, is put right here.

OpenAI's own answers never come here, and what does not deviate leaves to the byte as it came. The list of deviations
is docs/providers.md, "What is put right".
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from adapters import errors
from adapters.base import Stamp
from adapters.openai.usage import number

Members = dict[str, Any]  # a member is still sealed (`msgspec.Raw`) unless it was put right

WORDS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
# Together's eos, Mistral's model_length, and Anthropic's and Gemini's words, where a vendor hands them on.
FINISHES: Mapping[str, str] = {
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "model_length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "tool_use": "tool_calls",
    "tool_call": "tool_calls",
    "safety": "content_filter",
    "refusal": "content_filter",
    "content_filtered": "content_filter",
}
_BROKEN = frozenset({"error", "abort"})  # Mistral, vLLM: it did not come to its end, whatever it looks like
_BLANK = (b"null", b'""', b"[]", b"{}", b"0")
_IDENTITY = ("id", "created", "model")
_encode = msgspec.json.encode
members_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_list_of = msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None).decode


def blank(members: Mapping[str, Any], name: str) -> bool:
    """True if it is not there, or says nothing."""
    return bytes(members.get(name, b"null")) in _BLANK


def _null(members: Mapping[str, Any], name: str) -> bool:
    return bytes(members.get(name, b"null")) == b"null"


def call_id(stamp: Stamp, choice: int, position: int) -> str:
    """The id of a call to which the vendor has given none: as long as OpenAI's, the same whenever it is asked for."""
    return "call_" + hashlib.sha256(f"{stamp.id}/{choice}/{position}".encode()).hexdigest()[:24]


def finish(word: str | None, *, calls: bool) -> str | None:
    """Why an answer ended, in one of OpenAI's words. Raises `Failure` if it did not end but broke."""
    if not word or word in WORDS:
        return word or None
    lowered = word.lower()
    if lowered in _BROKEN:
        raise errors.truncated()
    return lowered if lowered in WORDS else FINISHES.get(lowered, "tool_calls" if calls else "stop")


def arguments(function: Mapping[str, Any], *, whole: bool) -> Members:
    """The members of a function with its arguments as the text that OpenAI makes of them; empty if they are."""
    written = bytes(function.get("arguments", b"null"))
    if written[:1] in (b"{", b"["):
        return {"arguments": written.decode()}
    return {"arguments": "{}"} if whole and written in _BLANK else {}


def complete(whole: bytes) -> bool:
    """True if these events, pieces of an answer in mid-flow, have all that clients require; counted, not read."""
    events = whole.count(b"\n\n")
    required = (b'"id":"', b'"object":"chat.completion.chunk"', b'"created":', b'"model":"', b'"index":0', b'"delta":{')
    unwanted = (b'"id":""', b'"model":""', b'"created":0', b'"tool_calls"', b'"content":[')
    return all(whole.count(word) == events for word in required) and not any(word in whole for word in unwanted)


class Mender:
    """Puts one answer right, whole or chunk by chunk."""

    def __init__(self, stamp: Stamp, model: str) -> None:
        self.choices: set[int] = set()  # who has begun to speak
        self.calling: set[int] = set()  # who has called a tool
        self._stamp = stamp
        self._own: Members = {"id": stamp.id, "created": stamp.created, "model": model}
        self._told: Members = {}
        self._preface: list[bytes] = []  # chunks that came before anybody had a name (Azure's filter results)

    def whole(self, body: bytes) -> bytes:
        """A whole answer."""
        answer = members_of(body)
        changes = self._outside(answer, "chat.completion")
        choices = _list_of(answer["choices"]) or []
        mended = [{**choice, **self._whole_choice(i, choice)} for i, choice in enumerate(choices)]
        if mended != choices:
            changes["choices"] = mended
        return _encode({**answer, **changes}) if changes else body

    def chunks(self, data: bytes) -> list[bytes]:
        """A chunk, and those that were kept back until the answer had a name."""
        chunk = members_of(data)
        if (
            not self._told
            and blank(chunk, "id")
            and bytes(chunk.get("choices", b"")) == b"[]"
            and blank(chunk, "usage")
        ):
            self._preface.append(data)
            return []
        last = self._chunk(chunk, data)
        preface, self._preface = self._preface, []
        return [*(self._chunk(members_of(early), early) for early in preface), last]

    def ending(self, choice: int) -> tuple[str, bytes]:
        """The end of a choice that the vendor has left open: why, and the chunk that says so."""
        why = "tool_calls" if choice in self.calling else "stop"
        choices = [{"index": choice, "delta": {}, "finish_reason": why}]
        return why, _encode({**self._told, "object": "chat.completion.chunk", "choices": choices})

    def _chunk(self, chunk: Members, data: bytes) -> bytes:
        changes = self._outside(chunk, "chat.completion.chunk")
        choices = (_list_of(chunk["choices"]) if "choices" in chunk else None) or []
        mended = [{**choice, **self._piece(i, choice)} for i, choice in enumerate(choices)]
        if mended != choices:
            changes["choices"] = mended
        return _encode({**chunk, **changes}) if changes else data

    def _outside(self, answer: Members, kind: str) -> Members:
        """What is wrong outside the choices: the answer's name, what it is, and its usage."""
        changes: Members = {}
        for name in _IDENTITY:
            if blank(answer, name):
                changes[name] = self._told.setdefault(name, self._own[name])
            else:
                self._told.setdefault(name, answer[name])
        if bytes(answer.get("object", b"")) != _encode(kind):
            changes["object"] = kind
        if bytes(answer.get("usage", b""))[:1] == b"{" and not blank(answer, "usage"):
            usage = members_of(answer["usage"])
            if lacking := _uncounted(usage):
                changes["usage"] = {**usage, **lacking}
        elif not _null(answer, "usage"):
            changes["usage"] = None
        return changes

    def _whole_choice(self, i: int, choice: Members) -> Members:
        message = members_of(choice["message"]) if not blank(choice, "message") else {}
        written = _written(message)
        if blank(written, "role"):
            written["role"] = "assistant"
        written.setdefault("content", None)
        calls = _list_of(written["tool_calls"]) if "tool_calls" in written else None
        if calls:
            mended = [{**call, **_whole_call(self._stamp, i, at, call)} for at, call in enumerate(calls)]
            written["tool_calls"] = written["tool_calls"] if mended == calls else mended
        changes: Members = {} if written == message else {"message": written}
        if _null(choice, "index"):
            changes["index"] = i
        word = _word(choice)
        why = finish(word, calls=bool(calls)) or ("tool_calls" if calls else "stop")
        return changes if why == word else {**changes, "finish_reason": why}

    def _piece(self, i: int, choice: Members) -> Members:
        index = i if _null(choice, "index") else msgspec.json.decode(choice["index"], type=int)
        delta = members_of(choice["delta"]) if not blank(choice, "delta") else {}
        written = _written(delta)
        if index not in self.choices and blank(written, "role"):
            written = {"role": "assistant", **{name: value for name, value in written.items() if name != "role"}}
        self.choices.add(index)
        if "tool_calls" in written:
            self.calling.add(index)
        changes: Members = {} if written == delta and not _null(choice, "delta") else {"delta": written}
        word = _word(choice)
        why = finish(word, calls=index in self.calling)
        return changes if why == word and "finish_reason" in choice else {**changes, "finish_reason": why}


def _word(choice: Members) -> str | None:
    return msgspec.json.decode(choice.get("finish_reason", b"null"), type=str | None)


def _written(message: Members) -> Members:
    """A message, or a piece of one, with its content as text and without calls that are none."""
    written = {name: value for name, value in message.items() if name != "tool_calls" or not blank(message, name)}
    if bytes(written.get("content", b""))[:1] == b"[":
        text, thoughts = _texts(msgspec.json.decode(written["content"]))
        written["content"] = text or None
        if thoughts and blank(written, "reasoning_content"):
            written["reasoning_content"] = thoughts
    return written


def _texts(parts: list[Any]) -> tuple[str, str]:
    """What parts of a content say, and what was thought (Mistral)."""
    text, thoughts = "", ""
    for part in parts:
        if isinstance(part, str):
            text += part
        elif isinstance(part, dict) and part.get("type") == "thinking":
            thought = part.get("thinking")
            thoughts += thought if isinstance(thought, str) else _texts(thought if isinstance(thought, list) else [])[0]
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            text += part["text"]
    return text, thoughts


def _whole_call(stamp: Stamp, choice: int, position: int, call: Members) -> Members:
    changes: Members = {}
    if blank(call, "id"):
        changes["id"] = call_id(stamp, choice, position)
    if blank(call, "type"):
        changes["type"] = "function"
    if not blank(call, "function"):
        function = members_of(call["function"])
        if written := arguments(function, whole=True):
            changes["function"] = {**function, **written}
    return changes


def _uncounted(usage: Members) -> Members:
    """The three counts that clients require, where they are not there or no numbers."""
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    said = {name: msgspec.json.decode(usage[name]) if name in usage else None for name in names}
    odd = [name for name, value in said.items() if type(value) not in (int, float)]
    changes: Members = {name: number(said[name]) or 0 for name in odd}
    if "total_tokens" in odd and not changes["total_tokens"]:
        changes["total_tokens"] = sum(changes.get(name, said[name]) for name in names[:2])
    return changes
