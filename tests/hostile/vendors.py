"""Hostile answers of vendors, by kind: the bytes that come over the wire, and how they end."""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import product, repeat
from typing import Any, NamedTuple

from tests.hostile.words import VENDORS

MEGABYTE = 1 << 20
ENDLESS = 400 * MEGABYTE  # nobody may listen for that long
SAID = "Hello there"
NESTED = 100_000


class Played(NamedTuple):
    """One answer. `parts` go out one after the other; then the connection is closed, unless it `hangs`."""

    kind: str
    name: str
    vendor: str
    stream: bool
    parts: Callable[[], Iterable[bytes]]
    well: bool | None = None  # the client must be answered well; False: it must be refused; None: either
    hangs: bool = False


Rows = Iterator[tuple[str, Callable[[], Iterable[bytes]], bool | None, bool]]


def head(status: int = 200, kind: str = "application/json", *lines: str) -> bytes:
    """The beginning of an answer whose body ends with the connection, unless `lines` say otherwise."""
    told = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n{told}\r\n".encode()


STREAM = head(200, "text/event-stream")

# ---- what each vendor says when it is well --------------------------------------------------------------------------

USAGES: dict[str, dict[str, Any]] = {
    "openai": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    "anthropic": {"input_tokens": 5, "output_tokens": 3},
    "gemini": {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8},
}


def answer(vendor: str, usage: Any = None, **members: Any) -> dict[str, Any]:
    """A whole answer; `members` take the place of its own."""
    usage = USAGES[vendor] if usage is None else usage
    message = {"role": "assistant", "content": SAID, "refusal": None}
    whole: dict[str, dict[str, Any]] = {
        "openai": {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": usage,
        },
        "anthropic": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-haiku-4-5",
            "content": [{"type": "text", "text": SAID}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": usage,
        },
        "gemini": {
            "candidates": [
                {"content": {"parts": [{"text": SAID}], "role": "model"}, "finishReason": "STOP", "index": 0}
            ],
            "usageMetadata": usage,
            "modelVersion": "gemini-3.5-flash-lite",
            "responseId": "r",
        },
    }
    return whole[vendor] | members


def events(vendor: str, usage: Any = None) -> list[dict[str, Any]]:
    """The same as a stream, event by event."""
    usage = USAGES[vendor] if usage is None else usage
    if vendor == "openai":
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
        deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
        deltas += [({"content": word}, None) for word in ("Hello", " there")] + [({}, "stop")]
        said = [chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in deltas]
        return [*said, chunk | {"choices": [], "usage": usage}]
    if vendor == "anthropic":
        begun = answer(vendor, usage, content=[], stop_reason=None)
        words = [{"type": "text_delta", "text": word} for word in ("Hello", " there")]
        return [
            {"type": "message_start", "message": begun},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in words),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
            {"type": "message_stop"},
        ]
    parts = [answer(vendor, usage) for _ in range(2)]
    for part, word in zip(parts, ("Hello", " there"), strict=True):
        part["candidates"] = [{"content": {"parts": [{"text": word}], "role": "model"}, "index": 0}]
    parts[1]["candidates"][0]["finishReason"] = "STOP"
    return parts


def event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def said(vendor: str, stream: bool, usage: Any = None) -> bytes:
    """The body of a good answer."""
    if not stream:
        return json.dumps(answer(vendor, usage)).encode()
    whole = b"".join(event(json.dumps(one).encode()) for one in events(vendor, usage))
    return whole + (b"data: [DONE]\n\n" if vendor == "openai" else b"")


def once(*parts: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: parts


def begun(stream: bool) -> bytes:
    return STREAM if stream else head()


# ---- the kinds -------------------------------------------------------------------------------------------------------


def wells(vendor: str, stream: bool) -> Rows:
    """What is odd, and right all the same."""
    good = said(vendor, stream)
    chunked = head(200, "text/event-stream" if stream else "application/json", "transfer-encoding: chunked")
    size = b"%x" % len(good)
    yield "as it should be", once(begun(stream) + good), True, False
    yield "byte by byte", lambda: [begun(stream), *(good[at : at + 1] for at in range(len(good)))], True, False
    yield "chunks with extensions", once(chunked + size + b";a=b\r\n" + good + b"\r\n0\r\n\r\n"), True, False
    yield "trailers", once(chunked + size + b"\r\n" + good + b"\r\n0\r\nx-evil: 1\r\n\r\n"), True, False
    yield "another content type", once(head(200, "text/html; charset=utf-7") + good), True, False
    yield "no content type", once(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + good), True, False
    yield "hints before", once(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + begun(stream) + good), True, False
    if stream:
        yield "CR LF", once(STREAM + good.replace(b"\n", b"\r\n")), True, False
        yield "CR", once(STREAM + good.replace(b"\n", b"\r")), True, False
        yield "comments between", once(STREAM + good.replace(b"\n\n", b"\n\n: x\n\nevent: x\nid: 1\n\n")), True, False
        yield "no blank line at the end", once(STREAM + good.rstrip(b"\n")), True, False
        # Gemini has no end but that of the body: what comes behind is a part of it.
        yield "events after the end", once(STREAM + good + good), None if vendor == "gemini" else True, False


def wholes(vendor: str, stream: bool) -> Rows:
    """Of the HTTP around the answer."""
    good = said(vendor, stream)
    name = "text/event-stream" if stream else "application/json"
    yield "no HTTP", once(b"hello\r\n\r\n"), False, False
    yield "nothing", once(b""), False, False
    yield "half a head", once(b"HTTP/1.1 200 OK\r\ncontent-ty"), False, False
    yield "an odd status", once(b"HTTP/1.1 abc OK\r\n\r\n" + good), False, False
    yield "a long status", once(b"HTTP/1.1 20000 OK\r\n\r\n" + good), False, False
    yield "another version", once(b"HTTP/3.0 200 OK\r\n\r\n" + good), None, False
    yield "too long a length", once(head(200, name, "content-length: 999999") + good), None, False
    yield "too short a length", once(head(200, name, "content-length: 9") + good), False, False
    yield "two lengths", once(head(200, name, "content-length: 9", "content-length: 10") + good), False, False
    yield "a length below zero", once(head(200, name, "content-length: -1") + good), False, False
    yield "a length beyond all bits", once(head(200, name, "content-length: " + "9" * 40) + good), None, False
    both = head(200, name, "content-length: 5", "transfer-encoding: chunked")
    yield "a length and chunks", once(both + b"%x\r\n" % len(good) + good + b"\r\n0\r\n\r\n"), None, False
    chunked = head(200, name, "transfer-encoding: chunked")
    yield "half a chunk", once(chunked + b"fffff\r\n" + good), None, False
    yield "no last chunk", once(chunked + b"%x\r\n" % len(good) + good + b"\r\n"), None, False
    yield "a chunk without a size", once(chunked + b"zz\r\n" + good), False, False
    yield "a chunk beyond 64 bits", once(chunked + b"1" + b"0" * 16 + b"\r\n" + good), None, False
    yield (
        "a header of 10 MB",
        lambda: [b"HTTP/1.1 200 OK\r\nx: ", *repeat(b"a" * MEGABYTE, 10), b"\r\n\r\n"],
        False,
        False,
    )
    yield (
        "a hundred thousand headers",
        once(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000 + b"\r\n" + good),
        None,
        False,
    )
    yield "headers without end", lambda: [b"HTTP/1.1 200 OK\r\n", *repeat(b"x: y\r\n" * 10_000, 200)], False, False
    yield "hints without end", lambda: repeat(b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n" * 100, 1_000), False, False
    yield "gzip", once(head(200, name, "content-encoding: gzip") + gzip.compress(good)), None, False
    bomb = gzip.compress(b"0" * (64 * MEGABYTE), 9)
    yield "a gzip bomb", once(head(200, name, "content-encoding: gzip") + bomb), False, False
    yield "said to be gzip", once(head(200, name, "content-encoding: gzip") + good), None, False
    yield "said to be br", once(head(200, name, "content-encoding: br, gzip") + b"\x1b\x00" * 90), False, False
    yield (
        "another protocol",
        once(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nxx"),
        False,
        False,
    )
    yield "silence", once(b""), False, True
    yield "a head, then silence", once(begun(stream)), False, True


def bodies(vendor: str, stream: bool) -> Rows:
    """Bodies that are no answer."""
    odd = {
        "nothing": b"",
        "a page": b"<!DOCTYPE html><html><body>nginx</body></html>",
        "NULs": b"\x00" * 5_000,
        "all bytes": bytes(range(256)) * 20,
        "null": b"null",
        "a list": b"[]",
        "a number": b"7",
        "an empty object": b"{}",
        "half an object": b'{"id":"x","choices":[{"index":0,"mess',
        "a tower": b"[" * NESTED,
        "a proper tower": b'{"choices":' * NESTED + b"1" + b"}" * NESTED,
        "an error in a good answer": b'{"error":{"message":"x\\r\\ny: z","type":7,"code":[],"param":{}}}',
        "an error that is none": b'{"error":"' + b"e" * 100_000 + b'"}',
        "lone surrogates": b'{"id":"\\ud800","choices":[{"index":0,"message":{"content":"\\udfff"}}]}',
        "numbers without end": b'{"created":' + b"9" * 5_000 + b',"choices":[1e999]}',
    }
    for name, body in odd.items():
        whole = STREAM + event(body) if stream else head() + body
        yield name, once(whole), False, False
    good = said(vendor, stream)
    broken = good.replace(b"Hello", b"Hel\xff\xfelo")
    yield "no UTF-8 in a text", once(begun(stream) + broken), None, False
    yield "NUL in a text", once(begun(stream) + good.replace(b"Hello", b"Hel\x00lo")), None, False
    yield "a body without end", lambda: [head(), *repeat(b" " * MEGABYTE, ENDLESS // MEGABYTE)], False, False


def streams(vendor: str, stream: bool) -> Rows:
    """Streams that are none, or not one."""
    if not stream:
        return
    good = said(vendor, stream)
    some = good[: len(good) * 2 // 3].rpartition(b"\n\n")[0] + b"\n\n"
    yield "a line without end", lambda: [STREAM + b"data: ", *repeat(b"a" * MEGABYTE, 100)], False, False
    yield "a line without end, later", lambda: [STREAM + some + b"data: ", *repeat(b"a" * MEGABYTE, 100)], False, False
    yield "comments without end", lambda: [STREAM, *repeat(b": x\n\n" * 2_000, 2_000)], None, False
    yield "empty lines without end", lambda: [STREAM, *repeat(b"\n" * 10_000, 2_000)], None, False
    yield "broken off", once(STREAM + some), False, False
    yield "broken off in an event", once(STREAM + some + b'data: {"choi'), False, False
    yield "silent in between", once(STREAM + some), False, True
    yield "garbage in between", once(STREAM + some + b"data: {]\n\n" + good), False, False
    yield "NULs in between", once(STREAM + some + b"\x00" * 999 + b"\n\n" + good), None, False
    yield "a page in between", once(STREAM + some + b"<html>oops</html>\n\n"), False, False
    yield "a tower in between", once(STREAM + some + event(b"[" * NESTED)), False, False
    yield "no events at all", once(STREAM + b"hello world"), False, False
    yield "only the end", once(STREAM + b"data: [DONE]\n\n"), False, False
    yield "a whole answer instead", once(head() + said(vendor, False)), None, False
    yield (
        "all events twice",
        once(STREAM + b"".join(one + b"\n\n" for one in good.split(b"\n\n") for _ in "ab")),
        None,
        False,
    )
    yield "all events backwards", once(STREAM + b"\n\n".join(good.split(b"\n\n")[::-1]) + b"\n\n"), None, False


_ODD: dict[str, Any] = {
    "null": None,
    "true": True,
    "a number": 7,
    "below zero": -1,
    "a fraction": 0.5,
    "more than all": 1e300,
    "a text": "x",
    "a list": [],
    "lists": [[[]]],
    "nulls": [None, None],
    "an object": {"a": {"b": []}},
}


def types(vendor: str, stream: bool) -> Rows:
    """Each member of an answer of every wrong type."""
    for path, (name, value) in product(_paths(answer(vendor)), _ODD.items()):
        if not stream:
            body = json.dumps(_changed(answer(vendor), path, value)).encode()
            yield f"{'.'.join(map(str, path))}: {name}", once(head() + body), None, False
    for at, one in enumerate(events(vendor)) if stream else ():
        for path, (name, value) in product(_paths(one), list(_ODD.items())[at % 3 :: 3]):
            each = events(vendor)
            each[at] = _changed(one, path, value)
            body = b"".join(event(json.dumps(other).encode()) for other in each)
            yield f"{at}.{'.'.join(map(str, path))}: {name}", once(STREAM + body + b"data: [DONE]\n\n"), None, False


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in below:
        yield (*path, key)
        yield from _paths(inner, (*path, key))


def _changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    whole = json.loads(json.dumps(value))
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return whole


COUNTS: dict[str, Any] = {
    "below zero": -1_000_000,
    "huge": 2**53,
    "beyond 64 bits": 2**70,
    "a million times too many": 5_000_000_000,
    "infinite": 1e300,
    "a fraction": 3.7,
    "a text": "12",
    "no number": "many",
    "true": True,
    "a list": [1, 2],
    "null": None,
    "nothing": 0,
}


def usages(vendor: str, stream: bool) -> Rows:
    """A good answer with a bill that cannot be true. It is worth more than its bill: nobody may lose it for that."""
    for which, (name, count) in product(("in", "out", "all"), COUNTS.items()):
        names = list(USAGES[vendor])
        changed = {"in": names[:1], "out": names[1:2], "all": names}[which]
        usage = USAGES[vendor] | dict.fromkeys(changed, count)
        yield f"{which}: {name}", once(begun(stream) + said(vendor, stream, usage)), True, False
    for name, none in (("a text", "x"), ("a list", [1]), ("a number", 7), ("an empty object", {})):
        yield f"it is {name}", once(begun(stream) + said(vendor, stream, none)), True, False


def statuses(vendor: str, stream: bool) -> Rows:
    """Every hundred and the odd ones, with bodies that do not fit."""
    page = b"<html><h1>x</h1></html>"
    good = said(vendor, stream)
    for status in (201, 202, 204, 206, 226, 299, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 413, 414, 415):
        yield f"{status}", once(head(status) + (b"" if status == 204 else good)), False, False
    for status in (417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 511):
        yield f"{status}", once(head(status, "text/html") + page), False, False
    for status in (520, 522, 524, 529, 530, 598, 599, 600, 700, 999):
        yield f"{status}", once(head(status) + b'{"error":{"message":"x","type":"y"}}'), False, False
    for wait in ("-1", "1e400", "nan", "x", "Thu, 01 Jan 1970 00:00:00 GMT", "9" * 400, "99999999"):
        lines = f"retry-after: {wait}", f"retry-after-ms: {wait}"
        yield f"429, again after {wait[:20]}", once(head(429, "application/json", *lines) + b"{}"), False, False


ELSEWHERE = "/elsewhere"


def redirects(vendor: str, stream: bool) -> Rows:
    for status in (300, 301, 302, 303, 304, 305, 307, 308, 399):
        for place in (ELSEWHERE, f"//127.0.0.1{ELSEWHERE}", "http://evil.example/", "file:///etc/passwd", ""):
            if status in (301, 307) or place == ELSEWHERE:
                yield f"{status} to {place}", once(head(status, "text/html", f"location: {place}")), False, False


KINDS = {
    "wells": wells,
    "wholes": wholes,
    "bodies": bodies,
    "streams": streams,
    "types": types,
    "usages": usages,
    "statuses": statuses,
    "redirects": redirects,
}


def table() -> list[Played]:
    """All of them."""
    return [
        Played(kind, name, vendor, stream, parts, well, hangs)
        for kind, rows in KINDS.items()
        for vendor in VENDORS
        for stream in (False, True)
        for name, parts, well, hangs in rows(vendor, stream)
    ]
