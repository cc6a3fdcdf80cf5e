"""What is odd in JSON and in headers, by the name of its oddity: the vocabulary of the hostile."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

# The cheapest model of each vendor's format.
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "gemini": "gemini-3.5-flash-lite"}
VENDORS = tuple(MODELS)


def letter(model: str = MODELS["openai"], /, **members: Any) -> dict[str, Any]:
    """A chat completion that any vendor would answer, with these members; small, so that its answer is, too."""
    return {"model": model, "messages": [{"role": "user", "content": "words 3"}], "max_tokens": 16, **members}


def written(**members: bytes) -> bytes:
    """The same, with members whose values are already written, in whatever way."""
    rest = msgspec.json.encode(letter())[1:]
    return b"{" + b"".join(b'"%s":%s,' % (name.encode(), value) for name, value in members.items()) + rest


# Numbers as they may be written: what JSON allows, what it does not, and what no machine counts to.
NUMBERS = {
    "infinite": b"1e999",
    "less than infinite": b"-1e999",
    "four hundred digits": b"1" * 400,
    "ten thousand digits": b"9" * 10_000,
    "as many behind the point": b"0." + b"3" * 10_000,
    "tiny": b"1e-999",
    "below zero": b"-1",
    "no zero": b"-0",
    "a half": b"0.5",
    "more than 64 bits": b"18446744073709551616",
    "64 bits": b"9223372036854775807",
    "no number": b"NaN",
    "infinity": b"Infinity",
    "hexadecimal": b"0x10",
    "begun with a zero": b"01",
    "without its end": b"1.",
    "signed": b"+1",
}
NUMBERED = (
    *("temperature", "top_p", "n", "seed", "max_tokens", "max_completion_tokens", "top_logprobs"),
    *("presence_penalty", "frequency_penalty"),
)

# Text as it may be written inside of a JSON string; True where JSON allows it.
TEXTS: Mapping[str, tuple[bytes, bool]] = {
    "a lone high surrogate": (rb"\ud800", True),
    "a lone low surrogate": (rb"\udfff", True),
    "surrogates in the wrong order": (rb"\udc00\ud800", True),
    "a surrogate, raw": (b"\xed\xa0\x80", False),
    "nothing, escaped": (rb"\u0000", True),
    "nothing, raw": (b"\x00", False),
    "no UTF-8": (b"\xff\xfe", False),
    "too long a way to write a slash": (b"\xc0\xaf", False),
    "half a character": (b"\xe2\x82", False),
    "beyond Unicode": (b"\xf4\x90\x80\x80", False),
    "a line break, raw": (b"a\r\nx-evil: 1", False),
    "a line break, escaped": (rb"a\r\nx-evil: 1", True),
    "an escape that is none": (rb"\x41", False),
    "half an escape": (rb"\u12", False),
    "from right to left": ("\u202e\u2066".encode(), True),
    "no character": ("\uffff\ufffe".encode(), True),
    "a separator of lines": ("\u2028\u2029\x85".encode(), True),
}
# Where a text may stand: a body with a hole for it.
PLACES: Mapping[str, tuple[bytes, bytes]] = {
    "model": (b'{"messages":[{"role":"user","content":"x"}],"model":"', b'"}'),
    "content": (b'{"model":"%s","max_tokens":9,"messages":[{"role":"user","content":"words 3 ', b'"}]}'),
    "user": (b'{"model":"%s","max_tokens":9,"messages":[{"role":"user","content":"words 3"}],"user":"', b'"}'),
    "metadata": (
        b'{"model":"%s","max_tokens":9,"messages":[{"role":"user","content":"words 3"}],"metadata":{"agent":"',
        b'"}}',
    ),
    "name": (b'{"model":"%s","max_tokens":9,"messages":[{"role":"user","content":"words 3"}],"', b'":1}'),
    "tool": (
        b'{"model":"%s","max_tokens":9,"messages":[{"role":"user","content":"words 3"}],"tools":[{"type":"function",'
        b'"function":{"name":"f","description":"',
        b'"}}]}',
    ),
}

# JSON of every type, where a member wants another one.
TYPES: Mapping[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "a number": b"7",
    "a fraction": b"0.25",
    "a text": b'"x"',
    "an empty text": b'""',
    "an empty list": b"[]",
    "an empty object": b"{}",
    "a list of nulls": b"[null,null]",
    "a list of lists": b"[[[]]]",
    "an object of objects": b'{"a":{"b":{}},"type":"function","role":"user"}',
    "a list of objects": b'[{"type":"text"},{"role":7}]',
}
MEMBERS = (
    *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens"),
    *("max_tokens", "messages", "metadata", "modalities", "model", "n", "parallel_tool_calls", "prediction"),
    *("presence_penalty", "prompt_cache_key", "reasoning_effort", "response_format", "safety_identifier", "seed"),
    *("service_tier", "stop", "store", "stream", "stream_options", "temperature", "tool_choice", "tools"),
    *("top_logprobs", "top_p", "user", "verbosity", "web_search_options"),
)

# Names of models that would lead elsewhere in a URL, a header or a file, each after "gemini/" and the like.
NAMES = (
    *("..", "../..", "../../v1beta/files", "x/../../y", "%2e%2e", "%2e%2e%2fadmin", "..%2f", "/", "//", "/etc/passwd"),
    *("//evil.example/x", "http://evil.example/", "x?alt=json", "x#y", "x?key=1#", "x:generateContent", ":", "::", ";"),
    *("x\r\nx-evil: 1", "x\r\n\r\nGET / HTTP/1.1", "x\x00y", "x y", "\t", "\u202e", "модель", "\U0001f600", "%", "%zz"),
    *("\\..\\..", "x@evil.example", "a" * 5_000, "%0d%0ax-evil:1", "models/gemini-3.8-flash", "*", "x&y=z", "'", '"'),
)

Nest = tuple[bytes, bytes]
NESTS: Mapping[str, Nest] = {"lists": (b"[", b"]"), "objects": (b'{"a":', b"}")}
DEPTHS = (10, 60, 150, 400, 900, 967, 5_000, 100_000)
# Where something nested may stand: what comes before it, what behind it, and what it is made of there.
NESTED: Mapping[str, tuple[bytes, bytes]] = {
    "the body": (b"", b""),
    "a member that nobody knows": (b'{"model":"%s","messages":[{"role":"user","content":"words 3"}],"x":', b"}"),
    "metadata": (b'{"model":"%s","messages":[{"role":"user","content":"words 3"}],"metadata":{"x":', b"}}"),
    "a content": (b'{"model":"%s","messages":[{"role":"user","content":', b"}]}"),
    "a schema": (
        b'{"model":"%s","messages":[{"role":"user","content":"words 3"}],"tools":[{"type":"function","function":'
        b'{"name":"f","parameters":{"type":"object","properties":{"p":',
        b"}}}}]}",
    ),
    "a format": (
        b'{"model":"%s","messages":[{"role":"user","content":"words 3"}],"response_format":{"type":"json_schema",'
        b'"json_schema":{"name":"f","schema":{"type":"object","properties":{"p":',
        b"}}}}}",
    ),
    "arguments": (
        b'{"model":"%s","messages":[{"role":"user","content":"x"},{"role":"assistant","tool_calls":[{"type":"function",'
        b'"id":"c","function":{"name":"f","arguments":"{}"},"extra_content":{"x":',
        b'}}]},{"role":"tool","tool_call_id":"c","content":"y"}]}',
    ),
}


def schema(depth: int) -> bytes:
    """A schema of objects in objects, each of them proper."""
    return b'{"type":"object","properties":{"p":' * depth + b'{"type":"string"}' + b"}}" * depth


def many(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of each list of a letter, a long one."""
    say = {"role": "user", "content": "x"}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    call = {"type": "function", "id": "c", "function": {"name": "f", "arguments": "{}"}}
    yield "messages", {"messages": [say] * count}
    yield "messages of two sides", {"messages": [say, {"role": "assistant", "content": "y"}] * (count // 2) + [say]}
    yield "parts", {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * count}]}
    yield "tools", {"tools": [tool] * count}
    yield "stop words", {"stop": ["x"] * count}
    yield "biases", {"logit_bias": {str(token): 1 for token in range(count)}}
    yield "calls", {"messages": [say, {"role": "assistant", "tool_calls": [call] * count}, say]}
    yield "members", {f"x{at}": 1 for at in range(count)}
    yield "metadata", {"metadata": {f"k{at}": "v" for at in range(count)}}
    yield (
        "options of a schema",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "f", "schema": {"anyOf": [{"type": "string"}] * count}},
            }
        },
    )
