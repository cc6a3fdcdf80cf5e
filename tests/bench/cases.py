"""What is measured: the cases, what a client asks in each, and what the vendor answers, to the byte.

Every request carries a name of its own, `bench-` and eight hexadecimal digits, at the end of its last user message, and
every answer says the name first and last. The tokens that an answer counts follow from the name. So an answer that
reached the wrong client, came twice, or lost a piece is seen, and so is usage that was miscounted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAME = b"bench-%08x"
BLANK = b"bench-00000000"  # stands for a name until one is known; as long as one
CHUNKS = 64  # pieces of text in a streamed answer
CAP = 1000  # tokens: what each request allows its answer
MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash"}
# Old enough for every peer to know them.

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request. `prompt` is bytes of text; `gap` seconds between two events, 0: all at once."""

    title: str
    vendor: str = "openai"
    prompt: int = 200
    stream: bool = False
    gap: float = 0.0

    @property
    def model(self) -> str:
        return MODELS[self.vendor]


CASES: Mapping[str, Case] = {
    "plain": Case("200 B prompt"),
    "long": Case("50 KB prompt", prompt=50_000),
    "stream": Case("stream of 64 chunks", stream=True),
    "paced": Case("the same, an event every 2 ms", stream=True, gap=0.002),
    "anthropic": Case("Anthropic", vendor="anthropic"),
    "anthropic-stream": Case("Anthropic, streamed", vendor="anthropic", stream=True),
    "gemini": Case("Gemini", vendor="gemini"),
    "gemini-stream": Case("Gemini, streamed", vendor="gemini", stream=True),
}
PROMISED = tuple(name for name, case in CASES.items() if not case.gap)  # the paced stream is shown, not judged


def usage_of(number: int) -> tuple[int, int]:
    """Tokens of the prompt and of the answer to the request of this number; always two digits and three."""
    return 10 + number % 90, 100 + number % 800


def number_of(name: bytes) -> int:
    return int(name[6:], 16)


def words(case: Case) -> list[str]:
    """The answer's text in the pieces in which it streams."""
    blank = BLANK.decode()
    return [f"{blank} ", *(f"word{at:02d} " for at in range(2, CHUNKS)), blank]


def text(case: Case) -> str:
    """The answer's whole text. A plain answer is short: some 300 bytes with what is around it."""
    return "".join(words(case)) if case.stream else f"{BLANK.decode()} is what you asked for, {BLANK.decode()}"


def prompt(case: Case) -> str:
    """So many bytes of text, the name last."""
    line = "The quick brown fox jumps over the lazy dog, and says 'well' to each of them. "
    asked = f" Say {'paced ' if case.gap else ''}{BLANK.decode()}"
    size = case.prompt - len(asked)
    return (line * (size // len(line) + 1))[:size] + asked


def _openai(case: Case, model: str) -> tuple[str, Json]:
    body: Json = {"model": model, "messages": [{"role": "user", "content": prompt(case)}], "max_tokens": CAP}
    if case.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return "/v1/chat/completions", body


def _anthropic(case: Case, model: str) -> tuple[str, Json]:
    body: Json = {"model": model, "max_tokens": CAP, "messages": [{"role": "user", "content": prompt(case)}]}
    return "/v1/messages", {**body, "stream": True} if case.stream else body


def _gemini(case: Case, model: str) -> tuple[str, Json]:
    verb = "streamGenerateContent?alt=sse" if case.stream else "generateContent"
    contents = [{"role": "user", "parts": [{"text": prompt(case)}]}]
    return f"/v1beta/models/{model}:{verb}", {"contents": contents, "generationConfig": {"maxOutputTokens": CAP}}


ASKING = {"openai": _openai, "anthropic": _anthropic, "gemini": _gemini}


def asked(case: Case, language: str, model: str, headers: Sequence[tuple[str, str]]) -> tuple[bytes, bytes]:
    """A request on the wire, in two halves: the name goes between."""
    path, body = ASKING[language](case, model)
    content = json.dumps(body, separators=(",", ":")).encode()
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    lines += [f"content-length: {len(content)}", *(f"{name}: {value}" for name, value in headers)]
    before, _, after = ("\r\n".join(lines).encode() + b"\r\n\r\n" + content).partition(BLANK)
    return before, after
