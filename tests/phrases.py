"""What three vendors say, in their formats: answers and streams that a name can be put into, prepared once."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

HERE = "\0name\0"  # where a name goes in what was prepared
PROMPT = 11  # tokens, as these vendors count them


# What nobody would write who read it and wrote it anew; each answer of OpenAI's format holds it.
ODD = '"created" : 1, "odd":1.50,"\\u00f6" : "\\u00f6","odd":2e0'


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")).replace('"created":1', ODD)


def _openai(said: str, number: int) -> dict[str, Any]:
    usage = {"prompt_tokens": PROMPT, "completion_tokens": number, "total_tokens": PROMPT + number}
    choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini"}
    return {**head, "choices": [choice], "usage": usage}


def _openai_stream(said: Sequence[str], number: int) -> Iterator[str]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": word}, None) for word in said]
    for delta, finish in [*deltas, ({}, "stop")]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        yield f"data: {_dumps({**head, 'choices': [choice], 'usage': None})}\n\n"
    usage = {"prompt_tokens": PROMPT, "completion_tokens": number, "total_tokens": PROMPT + number}
    yield f"data: {_dumps({**head, 'choices': [], 'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"


def _anthropic(said: str, number: int) -> dict[str, Any]:
    usage = {"input_tokens": PROMPT, "output_tokens": number}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5"}
    said_so = [{"type": "text", "text": said}]
    return {**head, "content": said_so, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}


def _anthropic_stream(said: Sequence[str], number: int) -> Iterator[str]:
    start = {**_anthropic("", 1), "content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": w}} for w in said),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": number},
        },
        {"type": "message_stop"},
    ]
    for event in events:
        yield f"event: {event['type']}\ndata: {_dumps(event)}\n\n"


def _gemini(said: str, number: int, finish: str | None = "STOP") -> dict[str, Any]:
    usage = {"promptTokenCount": PROMPT, "candidatesTokenCount": number, "totalTokenCount": PROMPT + number}
    candidate: dict[str, Any] = {"content": {"parts": [{"text": said}], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-x", "responseId": "r1"}


def _gemini_stream(said: Sequence[str], number: int) -> Iterator[str]:
    for at, word in enumerate(said, 1):
        yield f"data: {_dumps(_gemini(word, at, 'STOP' if at == len(said) else None))}\r\n\r\n"


class Format(NamedTuple):
    """How one vendor answers, told what is said and how many tokens that is; and how many events of a stream stand
    before the first that says something, and after the last."""

    whole: Callable[[str, int], dict[str, Any]]
    stream: Callable[[Sequence[str], int], Iterator[str]]
    opening: int
    closing: int


FORMATS: Mapping[bytes, Format] = {
    b"/chat/completions": Format(_openai, _openai_stream, 1, 3),
    b"/messages": Format(_anthropic, _anthropic_stream, 2, 3),
    b"enerateContent": Format(_gemini, _gemini_stream, 0, 0),
}


@cache
def whole(path: bytes, number: int) -> bytes:
    """A whole answer of so many words, each of them `PLACE`."""
    return _dumps(FORMATS[path].whole(f"{HERE} " * number, number)).encode()


@cache
def parts(path: bytes, number: int, each: int) -> tuple[bytes, ...]:
    """A stream of so many words, so many in `each` event: its events."""
    sizes = [min(each, number - begun) for begun in range(0, number, each)]
    return tuple(part.encode() for part in FORMATS[path].stream([f"{HERE} " * size for size in sizes], number))


@cache
def breaths(path: bytes, number: int, each: int) -> tuple[bytes, ...]:
    """The same stream as a vendor at work sends it: opening words with the first that say something, the end with the
    last."""
    events, form = parts(path, number, each), FORMATS[path]
    first, last = form.opening + 1, len(events) - form.closing - 1
    if last < first:
        return (b"".join(events),)
    return (b"".join(events[:first]), *events[first:last], b"".join(events[last:]))


PLACE = json.dumps(HERE)[1:-1].encode()  # as it stands in JSON
