"""Counts text as OpenAI's tokenizers do, where nobody else counts: answers that were broken off, prompts before a hold.

Acts: tiktoken is slow to import and to load, so that happens on first use, and all counting off the event loop.
"""

import asyncio
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from adapters import wire
from adapters.base import Failure
from adapters.envelope import Envelope
from proxy.tokens import TYPICAL_IMAGE

if TYPE_CHECKING:
    import tiktoken

_RANKS = Path(__file__).parent / "assets" / "tokenizers"
_WHERE = "TIKTOKEN_CACHE_DIR"
# Characters that are counted at a time: the interpreter is free in between, and no text makes the tokenizer's regular
# expressions run out of stack. Each cut may cost a token.
_PIECE = 16384
_OLD = ("gpt-4-", "gpt-3.5", "gpt-35", "text-embedding-")
# OpenAI's cookbook, "How to count tokens with tiktoken": 3 for each message and 1 for its role, 1 for a name, 3 for the
# beginning of the answer.
_MESSAGE, _NAME, _ANSWER = 4, 1, 3
_AROUND = ("tools", "functions", "response_format")  # told to the model as text, in other words than these


def encoding_of(model: str) -> str:
    """The encoding of a model of OpenAI's; newer ones, and everybody else's, are counted with the newest."""
    name = model.rpartition("/")[2].removeprefix("ft:")
    return "cl100k_base" if name == "gpt-4" or name.startswith(_OLD) else "o200k_base"


class Tokenizer:
    """Loads what it needs when it is first asked."""

    def __init__(self) -> None:
        self._encodings: dict[str, tiktoken.Encoding] = {}
        self._loading = threading.Lock()

    async def count(self, text: str, model: str) -> int:
        """Tokens of a text."""
        return await asyncio.to_thread(self._count, [text], model)

    async def messages(self, envelope: Envelope, model: str) -> int:
        """About how many tokens a request's prompt has; of a request that cannot be opened, its body's."""
        return await asyncio.to_thread(self._messages, envelope, model)

    def _messages(self, envelope: Envelope, model: str) -> int:
        try:
            chat = envelope.chat
        except Failure:
            return self._count([envelope.raw.decode("utf-8", "replace")], model)
        around = (envelope.fields.get(name, msgspec.Raw(b"null")) for name in _AROUND)
        texts = [bytes(raw).decode("utf-8", "replace") for raw in around if bytes(raw) != b"null"]
        pictures = 0
        for message in chat.messages:
            texts += _texts(message)
            pictures += _pictures(message)
        named = sum(message.name is not None for message in chat.messages)
        frames = _ANSWER + _MESSAGE * len(chat.messages) + _NAME * named
        return self._count(texts, model) + frames + TYPICAL_IMAGE * pictures

    def _count(self, texts: Iterable[str], model: str) -> int:
        encode = self._encoding(encoding_of(model)).encode_ordinary
        return sum(len(encode(text[start : start + _PIECE])) for text in texts for start in range(0, len(text), _PIECE))

    def _encoding(self, name: str) -> "tiktoken.Encoding":
        with self._loading:
            if name not in self._encodings:
                self._encodings[name] = _load(name)
            return self._encodings[name]


def _load(name: str) -> "tiktoken.Encoding":
    """From the files that came with us, whatever the environment says: elsewhere tiktoken would fetch them."""
    import tiktoken

    before = os.environ.get(_WHERE)
    os.environ[_WHERE] = str(_RANKS)
    try:
        return tiktoken.get_encoding(name)
    finally:
        if before is None:
            del os.environ[_WHERE]
        else:
            os.environ[_WHERE] = before


def _texts(message: wire.Message) -> Iterator[str]:
    """All that a message says in words: its name, its content, its calls."""
    yield message.name or ""
    content = message.content
    if isinstance(content, str):
        yield content
    elif content is not None:
        for part in content:
            if isinstance(part, wire.TextPart):
                yield part.text
            elif isinstance(part, wire.RefusalPart):
                yield part.refusal
    if isinstance(message, wire.Assistant):
        yield message.refusal or ""
        yield from _calls(message)


def _calls(message: wire.Assistant) -> Iterator[str]:
    for call in message.tool_calls or ():
        if isinstance(call, wire.CustomToolCall):
            yield from (call.custom.name, call.custom.input)
        else:
            yield from (call.function.name, call.function.arguments or "")
    if message.function_call is not None:
        yield from (message.function_call.name, message.function_call.arguments or "")


def _pictures(message: wire.Message) -> int:
    """What is not text, each for a picture."""
    if message.content is None or isinstance(message.content, str):
        return 0
    return sum(not isinstance(part, wire.TextPart | wire.RefusalPart) for part in message.content)
