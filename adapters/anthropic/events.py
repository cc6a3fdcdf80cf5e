"""Anthropic's events, as far as we read them; and the run of deltas that differ in nothing but their text."""

import re
from functools import lru_cache
from typing import Any

import msgspec

from adapters import sse
from adapters.anthropic.answer import UNTOLD, Block, MessageSaid, StopDetails
from adapters.completion import encode
from adapters.flow import Flow, decoded


class Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    citation: dict[str, Any] | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class Event(msgspec.Struct):
    """An event of any type, as far as we read it."""

    type: str = ""
    message: MessageSaid | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: msgspec.Raw = UNTOLD
    error: Any = None


class _Kind(msgspec.Struct):
    type: str = ""


_decoder = msgspec.json.Decoder(Event)
_kinds = msgspec.json.Decoder(_Kind)
_KNOWN = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    }
)


def read(data: bytes) -> Event:
    """One event. One of a type that we do not know may look like anything, and says nothing."""
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError:
        if _kinds.decode(data).type in _KNOWN:
            raise
        return Event()


# What deltas bring that may come by the run; and what such a one looks like to us, but for its text.
_RUNS = {
    "text_delta": ("text", b'"text":"', Delta("text_delta", text="")),
    "thinking_delta": ("thinking", b'"thinking":"', Delta("thinking_delta", thinking="")),
    "input_json_delta": ("partial_json", b'"partial_json":"', Delta("input_json_delta", partial_json="")),
}


def learn(flow: Flow, event: bytes, delta: Delta) -> str:
    """Let `flow` know the like of this delta, as it came in `event`. Returns what they bring, the name of a member; ""
    if nothing was learnt."""
    flow.forget()
    if (found := _RUNS.get(delta.type)) is None:
        return ""
    name, text, _ = found
    flow.learn(event, text)
    if flow.before:
        wrapping = flow.before + flow.end
        if len(wrapping) <= _LONGEST and _is_bare(wrapping, delta.type):
            return name
        flow.forget()
    return ""


def texts(pieces: list[bytes]) -> tuple[list[bytes], str]:
    """The texts of a run as we write them, and all they say. An empty one says nothing."""
    if b"" in pieces:
        pieces = [piece for piece in pieces if piece]
    whole = b"".join(pieces)
    if b"\\" not in whole:
        return pieces, whole.decode()
    said = decoded(pieces)
    return [encode(text)[1:-1] for text in said], "".join(said)  # escapes as we write them


# An event as most are written, the blank line behind it included: the event, and its data. Others `sse` must tell.
written = re.compile(rb"((?:event: [^\n]*\n)?data: ([^\n]+))\n\n").match
_LONGEST = 1024  # bytes around a text; three times what there is


@lru_cache(maxsize=64)  # a vendor wraps its texts in the same in each of its answers
def _is_bare(wrapping: bytes, kind: str) -> bool:
    """Whether such an event is a delta of this kind without its text, and nothing else that concerns us."""
    bare = sse.Decoder().data(wrapping.rstrip(b"\n"))
    return bool(bare) and read(bare) == Event("content_block_delta", delta=_RUNS[kind][2])
