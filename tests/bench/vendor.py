"""The bytes that each vendor answers with, built once; only the name and the counts are put in for each request."""

import json
import re
from collections.abc import Sequence
from functools import cache

from tests.bench.cases import BLANK, MODELS, Case, Json, text, words
from tests.bench.wire import CHUNKED, chunk

PROMPT, ANSWER, TOTAL = 11, 222, 333  # stand for counts; written as wide as the real ones
WRITES = 4  # in which a burst comes; a vendor's network hardly sends each event by itself
_HOLES = {b"prompt": PROMPT, b"answer": ANSWER, b"total": TOTAL}


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _data(value: object) -> bytes:
    return b"data: %b\n\n" % _encode(value)


def _named(value: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (value["type"].encode(), _encode(value))


def _openai_usage() -> Json:
    details = {"reasoning_tokens": 0, "audio_tokens": 0}
    counts = {"prompt_tokens": PROMPT, "completion_tokens": ANSWER, "total_tokens": TOTAL}
    return {**counts, "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": details}


def _openai_plain(case: Case) -> bytes:
    message = {"role": "assistant", "content": text(case), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    base = {"id": "chatcmpl-BQxKfP", "object": "chat.completion", "created": 1790000000, "model": case.model}
    return _encode({**base, "choices": [choice], "usage": _openai_usage()})


def _openai_events(case: Case) -> list[bytes]:
    base: Json = {"id": "chatcmpl-BQxKfP", "object": "chat.completion.chunk", "created": 1790000000}
    base |= {"model": case.model, "service_tier": "default", "system_fingerprint": None}

    def event(delta: Json, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data({**base, "choices": [choice], "usage": None})

    first = event({"role": "assistant", "content": "", "refusal": None})
    said = [event({"content": word}) for word in words(case)]
    usage = _data({**base, "choices": [], "usage": _openai_usage()})
    return [first, *said, event({}, "stop"), usage, b"data: [DONE]\n\n"]


def _anthropic_usage(answer: int) -> Json:
    cache_tokens = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {"input_tokens": PROMPT, **cache_tokens, "output_tokens": answer, "service_tier": "standard"}


def _anthropic_plain(case: Case) -> bytes:
    base = {"id": "msg_01Qx", "type": "message", "role": "assistant", "model": MODELS["anthropic"]}
    content = [{"type": "text", "text": text(case)}]
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    return _encode({**base, "content": content, **end, "usage": _anthropic_usage(ANSWER)})


def _anthropic_events(case: Case) -> list[bytes]:
    message: Json = {"id": "msg_01Qx", "type": "message", "role": "assistant", "model": MODELS["anthropic"]}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": _anthropic_usage(1)}
    return [
        _named({"type": "message_start", "message": message}),
        _named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        _named({"type": "ping"}),
        *(
            _named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
            for word in words(case)
        ),
        _named({"type": "content_block_stop", "index": 0}),
        _named(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": ANSWER},
            }
        ),
        _named({"type": "message_stop"}),
    ]


def _gemini_answer(piece: str, finish: str | None = "STOP") -> Json:
    candidate: Json = {"content": {"parts": [{"text": piece}], "role": "model"}}
    if finish:
        candidate["finishReason"] = finish
    counts = {"promptTokenCount": PROMPT, "candidatesTokenCount": ANSWER, "totalTokenCount": TOTAL}
    told = {"modelVersion": MODELS["gemini"], "responseId": "kLmQ"}
    return {"candidates": [{**candidate, "index": 0}], "usageMetadata": counts, **told}


def _gemini_plain(case: Case) -> bytes:
    return _encode(_gemini_answer(text(case)))


def _gemini_events(case: Case) -> list[bytes]:
    said = words(case)
    parts = [_gemini_answer(word, "STOP" if word is said[-1] else None) for word in said]
    return [b"data: %b\r\n\r\n" % _encode(part) for part in parts]


PLAIN = {"openai": _openai_plain, "anthropic": _anthropic_plain, "gemini": _gemini_plain}
STREAM = {"openai": _openai_events, "anthropic": _anthropic_events, "gemini": _gemini_events}


def _template(data: bytes) -> bytes:
    """With holes for `%`, which nothing else in an answer needs."""
    for hole, count in _HOLES.items():
        data = re.sub(rb'(?<=":)%d(?=[,}])' % count, b"%%(%b)d" % hole, data)
    return data.replace(BLANK, b"%(name)b")


@cache
def answer(case: Case) -> Sequence[bytes]:
    """The writes of an answer, each with holes: name, prompt, answer, total. A plain answer is one write."""
    kind, length = "text/event-stream; charset=utf-8", CHUNKED
    if not case.stream:
        content = PLAIN[case.vendor](case)
        kind, length = "application/json", len(content)
    rest = "transfer-encoding: chunked" if length == CHUNKED else f"content-length: {length}"
    # A date and a name of the request, as real ones send them: a proxy has to pass headers on or to leave them out.
    head = (
        f"HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 09:00:00 GMT\r\ncontent-type: {kind}\r\n"
        f"x-request-id: req_7c9e6679\r\n{rest}\r\n\r\n"
    ).encode()
    if not case.stream:
        return [head + _template(content)]
    events = [chunk(event) for event in STREAM[case.vendor](case)]
    events[0] = head + events[0]
    events[-1] += b"0\r\n\r\n"
    if not case.gap:
        size = -(-len(events) // WRITES)
        events = [b"".join(events[at : at + size]) for at in range(0, len(events), size)]
    return [events[0][: len(head)] + _template(events[0][len(head) :]), *map(_template, events[1:])]
