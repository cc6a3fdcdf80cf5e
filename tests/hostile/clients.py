"""About a thousand hostile requests, as the bytes that go over a socket, by kind; and what may come back of each."""

from collections.abc import Callable, Iterable, Iterator
from itertools import cycle, product
from typing import NamedTuple

import msgspec

from tests.hostile import words
from tests.hostile.words import MODELS, VENDORS, letter, written

CHAT = b"/v1/chat/completions"
REFUSED = frozenset({400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 431})
SERVED = frozenset({200})
ANY = REFUSED | SERVED


class Sent(NamedTuple):
    """One attack. `wanted`: what may come back. `whole` is false where the bytes do not say truly where they end."""

    kind: str
    name: str
    raw: bytes
    wanted: frozenset[int] = ANY
    whole: bool = True


Rows = Iterator[tuple[str, bytes, frozenset[int]]]
Kind = Callable[[], Rows]


def request(body: bytes, *lines: bytes, head: bytes = b"POST " + CHAT + b" HTTP/1.1", length: bool = True) -> bytes:
    """A whole request, after which the connection ends."""
    told = (b"content-length: %d" % len(body),) if length else ()
    fixed = (head, b"host: 127.0.0.1", b"content-type: application/json", b"connection: close")
    return b"\r\n".join((*fixed, *lines, *told)) + b"\r\n\r\n" + body


def posted(model: str, **members: object) -> bytes:
    return msgspec.json.encode(letter(model, **members))


# --- the letter -------------------------------------------------------------------------------------------------------


def duplicates() -> Rows:
    """A member twice: whichever counts, it must be the same one for all who read it."""
    twice = {"model": b'"nobody"', "messages": b"[]", "stream": b"true", "n": b"99", "user": b'"root"', "store": b"1"}
    for (name, value), vendor in product(twice.items(), VENDORS):
        yield f"{name} before, {vendor}", request(written(**{name: value})), ANY
        rest = posted(MODELS[vendor])[:-1]
        yield f"{name} behind, {vendor}", request(rest + b',"%s":%s}' % (name.encode(), value)), ANY


def texts() -> Rows:
    for (name, (text, allowed)), (place, (before, behind)) in product(words.TEXTS.items(), words.PLACES.items()):
        for vendor in VENDORS if place == "content" else VENDORS[:1]:
            model = MODELS[vendor].encode()
            body = before.replace(b"%s", model) + text + behind
            yield f"{name}, {place}, {vendor}", request(body), ANY if allowed else REFUSED


def numbers() -> Rows:
    vendors = cycle(VENDORS)
    for (name, number), member in product(words.NUMBERS.items(), words.NUMBERED):
        rest = posted(MODELS[next(vendors)]).replace(b',"max_tokens":16', b"")
        yield f"{member}: {name}", request(b'{"%s":%s,' % (member.encode(), number) + rest[1:]), ANY


def types() -> Rows:
    vendors = cycle(VENDORS)
    for member, (name, value) in product(words.MEMBERS, words.TYPES.items()):
        whole = letter(MODELS[next(vendors)])
        whole.pop(member, None)
        yield (
            f"{member}: {name}",
            request(b'{"%s":%s,' % (member.encode(), value) + msgspec.json.encode(whole)[1:]),
            ANY,
        )


DEEPEST = 200  # of what is opened; what is only passed on may be as deep as anybody here can read


def nesting() -> Rows:
    turns = cycle(VENDORS)
    for (place, (before, behind)), depth in product(words.NESTED.items(), words.DEPTHS):
        for shape, (opening, closing) in words.NESTS.items():
            vendor = next(turns)
            body = before.replace(b"%s", MODELS[vendor].encode()) + opening * depth + b"0" + closing * depth
            yield f"{depth} {shape} in {place}, {vendor}", request(body + behind), deep(depth, vendor)
    for vendor, depth in product(VENDORS, words.DEPTHS):
        before, behind = words.NESTED["a schema"]
        body = before.replace(b"%s", MODELS[vendor].encode()) + words.schema(depth) + behind
        yield f"a proper schema of {depth}, {vendor}", request(body), deep(2 * depth, vendor)
    yield "half of a tower", request(b"[" * 100_000), REFUSED


def deep(depth: int, vendor: str) -> frozenset[int]:
    return REFUSED if depth >= 1_000 or (depth > DEEPEST and vendor != "openai") else ANY


def crowds() -> Rows:
    for vendor in VENDORS:
        for name, members in words.many(20_000):
            yield f"20,000 {name}, {vendor}", request(msgspec.json.encode(letter(MODELS[vendor]) | members)), ANY


def giants() -> Rows:
    big = "x" * 900_000
    for vendor in VENDORS:
        model = MODELS[vendor]
        yield f"user, {vendor}", request(posted(model, user=big)), ANY
        yield f"agent, {vendor}", request(posted(model, metadata={"agent": big})), ANY
        yield f"stop, {vendor}", request(posted(model, stop=big)), ANY
        yield f"tier, {vendor}", request(posted(model, service_tier=big)), ANY
        yield f"effort, {vendor}", request(posted(model, reasoning_effort=big)), ANY
        named = {"type": "function", "function": {"name": big}}
        yield f"tool, {vendor}", request(posted(model, tools=[named])), ANY
        yield f"a member's name, {vendor}", request(posted(model, **{big: 1})), ANY
    yield "model", request(posted(big)), REFUSED
    yield "body", request(b" " * 2_000_000), frozenset({413})
    yield "half a body", request(b"{" * 5, b"content-length: 99999999", length=False), frozenset({413})


def bodies() -> Rows:
    odd = {
        "nothing": b"",
        "a space": b" ",
        "null": b"null",
        "a list": b"[]",
        "a text": b'"x"',
        "half": b'{"model":',
        "two": posted(MODELS["openai"]) * 2,
        "a mark of order": b"\xef\xbb\xbf" + posted(MODELS["openai"]),
        "UTF-16": posted(MODELS["openai"]).decode().encode("utf-16"),
        "UTF-32": posted(MODELS["openai"]).decode().encode("utf-32"),
        "a form": b"model=gpt-4o-mini&messages=1",
        "a comment": b"// x\n" + posted(MODELS["openai"]),
        "a comma too many": posted(MODELS["openai"])[:-1] + b",}",
        "single quotes": posted(MODELS["openai"]).replace(b'"', b"'"),
        "gzip": bytes.fromhex("1f8b08000000000002ff") + b"\x00" * 20,
        "an archive": b"PK\x03\x04" + b"\x00" * 60,
        "a pickle": b"\x80\x04\x95" + b"c__builtin__\neval\n" * 5,
        "XML": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        "a prototype": posted(MODELS["openai"], __proto__={"admin": True}, constructor={"x": 1}),
    }
    for name, body in odd.items():
        yield name, request(body), ANY if name in ("a prototype", "a mark of order") else REFUSED
    for coding in (b"gzip", b"deflate", b"br", b"identity, gzip", b"x" * 500):
        yield f"said to be {coding[:20]!r}", request(odd["gzip"], b"content-encoding: " + coding), REFUSED


# --- names that go into a path or a header ----------------------------------------------------------------------------


def models() -> Rows:
    for name, vendor in product(words.NAMES, VENDORS):
        for stream in (False, True) if vendor == "gemini" else (False,):
            yield f"{vendor}/{name[:40]!r}, {stream=}", request(posted(f"{vendor}/{name}", stream=stream)), ANY
        yield f"{vendor}-{name[:40]!r}", request(posted(f"{MODELS[vendor]}{name}")), ANY
    for name in words.NAMES:
        yield f"{name[:40]!r} alone", request(posted(name)), ANY


_CARRIERS = (
    *(b"x-tollhouse-user", b"x-tollhouse-agent", b"x-tollhouse-task", b"x-tollhouse-priority", b"x-tollhouse-timeout"),
    *(b"traceparent", b"tracestate", b"x-request-id", b"x-forwarded-for", b"authorization", b"user-agent"),
)
_ODD_VALUES = {
    "a line feed": (b"a\nx-evil: 1", REFUSED),
    "a carriage return": (b"a\rx-evil: 1", REFUSED),
    "nothing": (b"a\x00b", REFUSED),
    "folded": (b"a\r\n x-evil: 1", REFUSED),
    "escaped": (b"a%0d%0ax-evil:%201", ANY),
    "Latin": (b"\xe9\xff\x80", ANY),
    "UTF-8": ("\U0001f600\u202e".encode(), ANY),
    "long": (b"a" * 30_000, ANY),
    "a number": (b"1e999", ANY),
    "no number": (b"nan", ANY),
    "a tab": (b"a\tb", ANY),
    "empty": (b"", ANY),
    "a trace": (b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", ANY),
    "a list": (b"a=1,b=2," * 50, ANY),
}


def injections() -> Rows:
    body = posted(MODELS["openai"])
    trace = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for carrier, (name, (value, wanted)) in product(_CARRIERS, _ODD_VALUES.items()):
        more = (trace,) if carrier == b"tracestate" else ()
        yield f"{carrier.decode()}: {name}", request(body, *more, carrier + b": " + value), wanted
    for member in ("user", "safety_identifier"):
        yield f"{member} in the body", request(posted(MODELS["openai"], **{member: "a\r\nx-evil: 1"})), ANY
    for member in ("user", "agent", "task"):
        yield f"{member} in metadata", request(posted(MODELS["openai"], metadata={member: "a\r\nx-evil: 1"})), ANY


def headers() -> Rows:
    body = posted(MODELS["openai"])
    yield "one of a megabyte", request(body, b"x-big: " + b"a" * 1_000_000), frozenset({400, 431})
    yield "a name of a megabyte", request(body, b"x" * 1_000_000 + b": a"), frozenset({400, 431})
    yield "ten thousand", request(body, *(b"x-%d: a" % at for at in range(10_000))), frozenset({400, 431})
    yield "the same a thousand times", request(body, *([b"x-same: a"] * 1_000)), ANY
    yield "cookies", request(body, b"cookie: " + b"a=b; " * 4_000), ANY
    yield "a URL of a megabyte", request(body, head=b"POST /" + b"a" * 1_000_000 + b" HTTP/1.1"), REFUSED | {414}
    yield "a query of a megabyte", request(body, head=b"POST " + CHAT + b"?" + b"a" * 1_000_000 + b" HTTP/1.1"), ANY
    for name in (b"", b" x", b"x y", b"x\x00", b"\xff", b"(", b"x\t", b"host", b"content-type"):
        yield f"named {name!r}", request(body, name + b": a"), ANY
    for host in (b"", b"evil.example", b"127.0.0.1:99999", b"[::1", b"a b", b"127.0.0.1, evil.example", b"x" * 9_000):
        yield f"host {host[:30]!r}", request(body, b"x: y").replace(b"host: 127.0.0.1", b"host: " + host), ANY
    for kind in (b"text/plain", b"application/json; charset=utf-7", b"multipart/form-data; boundary=x", b"\xff", b""):
        raw = request(body).replace(b"application/json", kind)
        yield f"content type {kind!r}", raw, ANY
    for expect in (b"100-continue", b"200-ok", b"100-continue, 100-continue"):
        yield f"expect {expect!r}", request(body, b"expect: " + expect), ANY | {417}


# --- HTTP itself ------------------------------------------------------------------------------------------------------


def targets() -> Rows:
    body = posted(MODELS["openai"])
    odd = (
        *(b"*", b"//v1/chat/completions", b"/v1/../v1/chat/completions", b"/v1/chat/completions/", b"/v1//chat"),
        *(
            b"/v1/chat/completions/..;/",
            b"/%2e%2e/%2e%2e/etc/passwd",
            b"/v1/chat%2fcompletions",
            b"/V1/CHAT/COMPLETIONS",
        ),
        *(b"http://evil.example/", b"http://evil.example" + CHAT, b"https://127.0.0.1" + CHAT, b"ftp://x/", b"http://"),
        *(
            b"http://user:secret@evil.example/",
            b"evil.example:443",
            b"/v1/chat/completions#x",
            b"/v1/chat/completions;x",
        ),
        *(b"/\xff", b"/\x00", b"/a b", b"/%", b"/%zz", b"/%00", b"/%ff%fe", b"?", b"#", b"", b"v1/chat/completions"),
        *(b"/dashboard/../providers/costs/summary", b"/static/..%2f..%2fpyproject.toml", b"/v1/models/..%2f..%2fx"),
        *(b"/v1/models/%2e%2e/%2e%2e", b"/v1/models/" + b"a" * 60_000, b"/v1/models/%0d%0ax-evil:1", b"/.git/config"),
    )
    for target, method in product(odd, (b"GET", b"POST")):
        raw = request(body if method == b"POST" else b"", head=method + b" " + target + b" HTTP/1.1")
        yield f"{method.decode()} {target[:40]!r}", raw, ANY


def methods() -> Rows:
    odd = (
        *(b"GET", b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"post", b"POST\x00"),
        *(b"", b"PROPFIND", b"PURGE", b"M-SEARCH", b"X" * 10_000, b"\xff", b"POST POST", b"SOURCE", b"SUBSCRIBE"),
    )
    for method in odd:
        yield repr(method[:20]), request(b"", head=method + b" " + CHAT + b" HTTP/1.1"), REFUSED
    for version in (
        b"HTTP/0.9",
        b"HTTP/1.0",
        b"HTTP/1.2",
        b"HTTP/2.0",
        b"HTTP/9.9",
        b"HTTP/11",
        b"http/1.1",
        b"",
        b"X",
    ):
        raw = request(posted(MODELS["openai"]), head=b"POST " + CHAT + b" " + version)
        yield f"version {version!r}", raw, ANY


def upgrades() -> Rows:
    body = posted(MODELS["openai"])
    for name in (b"h2c", b"websocket", b"TLS/1.0", b"foo, bar", b""):
        both = (b"connection: upgrade, http2-settings", b"upgrade: " + name, b"http2-settings: AAMAAABkAAQAAP__")
        yield f"to {name!r}", request(body, *both).replace(b"connection: close\r\n", b""), ANY
        yield f"to {name!r}, nothing sent", request(b"", *both).replace(b"connection: close\r\n", b""), REFUSED
    yield "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 60, REFUSED
    yield "TLS", bytes.fromhex("1603010200010001fc0303") + b"\x00" * 200, REFUSED
    yield "SSH", b"SSH-2.0-OpenSSH_9.0\r\n", REFUSED
    yield "noise", bytes(range(256)) * 8, REFUSED


SMUGGLED = "smuggled"


def smuggling() -> Rows:
    """Requests whose end is told in two ways. Another one may be hidden behind it: it must never be served."""
    inner = posted(MODELS["openai"], user=SMUGGLED)
    hidden = request(inner)
    short = b"%d" % 5
    chunked = b"0\r\n\r\n" + hidden
    both = (b"content-length: " + b"%d" % len(chunked), b"transfer-encoding: chunked")
    lines: dict[str, tuple[Iterable[bytes], bytes]] = {
        "both": (both, chunked),
        "both, the other way": (both[::-1], chunked),
        "two lengths": ((b"content-length: 5", b"content-length: 6"), hidden),
        "two lengths in one": ((b"content-length: 5, 6",), hidden),
        "the same length twice": ((b"content-length: 5", b"content-length: 5"), b"hello" + hidden),
        "below zero": ((b"content-length: -1",), hidden),
        "signed": ((b"content-length: +5",), b"hello" + hidden),
        "hexadecimal": ((b"content-length: 0x5",), b"hello" + hidden),
        "a fraction": ((b"content-length: 5.0",), b"hello" + hidden),
        "beyond 64 bits": ((b"content-length: 18446744073709551621",), b"hello" + hidden),
        "beyond all bits": ((b"content-length: " + b"9" * 400,), b"hello" + hidden),
        "empty": ((b"content-length: ",), hidden),
        "with a space": ((b"content-length : " + short,), b"hello" + hidden),
        "with a tab": ((b"content-length\t: " + short,), b"hello" + hidden),
        "folded": ((b"content-length:\r\n 5",), b"hello" + hidden),
        "underscored": ((b"content_length: 5",), b"hello" + hidden),
    }
    codings = (
        *(b"xchunked", b"chunked, identity", b"identity", b"chunked, chunked", b"x", b"\x0bchunked", b"chunked\x00"),
        *(b'"chunked"', b"chunked;q=1", b"gzip", b"Chunked", b",chunked", b"chunked,", b"cow, chunked"),
    )
    for coding in codings:
        both = (b"content-length: %d" % len(chunked), b"transfer-encoding: " + coding)
        lines[f"coded {coding!r}"] = (both, chunked)
    lines["coded twice"] = ((b"transfer-encoding: chunked", b"transfer-encoding: identity"), chunked)
    lines["coded behind a space"] = ((b"transfer-encoding : chunked", b"content-length: %d" % len(chunked)), chunked)
    lines["coded and folded"] = ((b"transfer-encoding:\r\n chunked", b"content-length: %d" % len(chunked)), chunked)
    for name, (said, body) in lines.items():
        yield name, request(body, *said, length=False), ANY
    yield "bare line feeds", request(inner).replace(b"\r\n", b"\n"), ANY
    yield "bare carriage returns", request(inner).replace(b"\r\n", b"\r"), REFUSED
    yield "a second request behind the first", request(b"{}") + hidden, REFUSED
    yield "a body with a GET", request(hidden, head=b"GET /healthz HTTP/1.1"), ANY
    old = request(b"", b"transfer-encoding: chunked", head=b"POST " + CHAT + b" HTTP/1.0", length=False)
    yield "chunks in HTTP/1.0", old + chunked, ANY


def chunks() -> Rows:
    """Bodies in chunks that are odd."""
    good = posted(MODELS["openai"])
    size = b"%x" % len(good)
    odd = {
        "an extension": size + b";a=b\r\n" + good + b"\r\n0\r\n\r\n",
        "a long extension": size + b";" + b"a" * 60_000 + b"\r\n" + good + b"\r\n0\r\n\r\n",
        "an extension with a line feed": size + b";a\nb\r\n" + good + b"\r\n0\r\n\r\n",
        "a trailer": size + b"\r\n" + good + b"\r\n0\r\nx-tollhouse-user: root\r\ncontent-length: 9\r\n\r\n",
        "many trailers": size + b"\r\n" + good + b"\r\n0\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
        "zeros before": b"0" * 200 + size + b"\r\n" + good + b"\r\n0\r\n\r\n",
        "a size beyond 64 bits": b"1" + b"0" * 16 + size + b"\r\n" + good + b"\r\n0\r\n\r\n",
        "a size below zero": b"-5\r\n" + good + b"\r\n0\r\n\r\n",
        "a size that is none": b"xyz\r\n" + good + b"\r\n0\r\n\r\n",
        "a size in hexadecimal": b"0x" + size + b"\r\n" + good + b"\r\n0\r\n\r\n",
        "no size": b"\r\n" + good + b"\r\n0\r\n\r\n",
        "too short a size": b"1\r\n" + good + b"\r\n0\r\n\r\n",
        "bare line feeds": size + b"\n" + good + b"\n0\n\n",
        "nothing behind": size + b"\r\n" + good + b"0\r\n\r\n",
        "two behind": size + b"\r\n" + good + b"\r\n\r\n0\r\n\r\n",
        "byte by byte": b"".join(b"1\r\n%c\r\n" % byte for byte in good) + b"0\r\n\r\n",
        "no end": size + b"\r\n" + good + b"\r\n",
        "half of one": size + b"\r\n" + good[:20],
        "beyond the limit": b"200000\r\n" + b" " * 0x200000 + b"\r\n0\r\n\r\n",
    }
    for name, body in odd.items():
        wanted = REFUSED | {0} if name in ("no end", "half of one") else ANY
        yield name, request(body, b"transfer-encoding: chunked", length=False), wanted


KINDS: dict[str, Kind] = {
    "duplicates": duplicates,
    "texts": texts,
    "numbers": numbers,
    "types": types,
    "nesting": nesting,
    "crowds": crowds,
    "giants": giants,
    "bodies": bodies,
    "models": models,
    "injections": injections,
    "headers": headers,
    "targets": targets,
    "methods": methods,
    "upgrades": upgrades,
    "smuggling": smuggling,
    "chunks": chunks,
}
# Those that leave open whether anything follows: by kind, the beginnings of their names.
OPEN = {"chunks": ("no end", "half of one"), "upgrades": ("to ",), "headers": ("a name",)}


def table() -> list[Sent]:
    """All of them."""
    return [
        Sent(kind, name, raw, wanted, whole=not name.startswith(OPEN.get(kind, ("\0",))))
        for kind, rows in KINDS.items()
        for name, raw, wanted in rows()
    ]
