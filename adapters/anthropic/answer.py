"""Anthropic's answer, to OpenAI's. What a stream says piece by piece, the whole answer says by the same words."""

from typing import Any

import msgspec

from adapters import completion, errors
from adapters.anthropic.errors import in_stream
from adapters.anthropic.thinking import state
from adapters.base import Answer, Call, Reading, Stamp, Usage
from adapters.completion import Message
from adapters.openai.usage import Count, number

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "length",
    "compaction": "length",
}
UNTOLD = msgspec.Raw(b"null")
_TIERS = {"standard": "default", "priority": "priority"}


class UsageSaid(msgspec.Struct, omit_defaults=True):
    """Cumulative counts; what is missing or null says nothing.

    Read leniently: no oddity in the bill is worth the loss of an answer that is made and paid for.
    """

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_creation: Any = None
    output_tokens_details: Any = None
    server_tool_use: Any = None
    service_tier: Any = None
    speed: Any = None

    @classmethod
    def read(cls, said: msgspec.Raw, earlier: "UsageSaid | None" = None) -> "UsageSaid":
        """What a message tells; nothing, if it is no object. Behind what was told `earlier`."""
        try:
            told = _usage.decode(said) or cls()
        except msgspec.ValidationError:
            told = _leniently(msgspec.json.decode(said))
        if earlier is None:
            return told
        earlier.overwrite(told)
        return earlier

    def overwrite(self, later: "UsageSaid") -> None:
        """Take over what a later event says: counts replace, they never add."""
        for name, value in msgspec.to_builtins(later).items():
            setattr(self, name, value)

    def buckets(self) -> Usage:
        """The counts in disjoint buckets. `input_tokens` is only what came behind the last cache mark."""
        output, written, split = self.output_tokens or 0, self.cache_creation_input_tokens or 0, self.cache_creation
        thoughts = hour = 0
        if self.output_tokens_details:
            thoughts = min(output, _of(self.output_tokens_details, "thinking_tokens"))
        if written or split:
            hour = _of(split, "ephemeral_1h_input_tokens")
            written = max(written - hour, _of(split, "ephemeral_5m_input_tokens"))
        return Usage(
            in_text=self.input_tokens or 0,
            cache_read=self.cache_read_input_tokens or 0,
            cache_write_5m=written,
            cache_write_1h=hour,
            out_text=output - thoughts,
            out_reasoning=thoughts,
            web_searches=_of(self.server_tool_use, "web_search_requests") if self.server_tool_use else 0,
        )

    def tier(self) -> str | None:
        """The service tier in OpenAI's words, if the vendor told one."""
        return "fast" if self.speed == "fast" else _TIERS.get(str(self.service_tier))


_usage = msgspec.json.Decoder(UsageSaid | None)
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def _leniently(said: Any) -> UsageSaid:
    """The same of one in which a count is written otherwise, or cannot be true."""
    if not isinstance(said, dict):
        return UsageSaid()
    counts = {name: number(said[name]) or 0 for name in _COUNTS if said.get(name) is not None}
    return UsageSaid(**{name: said.get(name) for name in UsageSaid.__struct_fields__} | counts)


def _of(said: Any, name: str) -> int:
    value = said.get(name) if isinstance(said, dict) else None
    return number(value) or 0 if value else 0


class Block(msgspec.Struct):
    """A content block of any type, as far as we read it."""

    type: str = ""
    text: str | None = None
    citations: list[dict[str, Any]] | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


class StopDetails(msgspec.Struct):
    explanation: str | None = None


class MessageSaid(msgspec.Struct):
    """The whole message, or the beginning of one in `message_start`."""

    type: str = ""
    model: str | None = None
    content: list[Block] | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: msgspec.Raw = UNTOLD  # `UsageSaid.read` reads it
    error: Any = None


_decoder = msgspec.json.Decoder(MessageSaid)


def response(body: bytes, call: Call, stamp: Stamp) -> Answer:
    """The whole answer. Raises `Failure` if it is none."""
    try:
        said = _decoder.decode(body)
        if said.error is not None:
            raise in_stream(said.error)
        if said.type != "message" or said.content is None:
            raise errors.unreadable("not a message")
        return _answer(said, call, stamp)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.unreadable(str(error)) from None


def _answer(said: MessageSaid, call: Call, stamp: Stamp) -> Answer:
    reading = call.reading
    message = Message(reading)
    for block in said.content or ():
        _take(block, message, reading)
    message.finish = finish(said.stop_reason, json_tool=reading.json_tool)
    if said.stop_reason == "refusal" and not any(message.text):
        message.refusal = refusal(said.stop_details)
    counted = UsageSaid.read(said.usage)
    usage, tier = counted.buckets(), counted.tier()
    return Answer(
        body=completion.completion(stamp, said.model or reading.model, [message], usage, tier),
        usage=usage,
        finish=message.finish,
        service_tier=tier,
        states=states(reading, message.calls[0]["id"], message.thinking) if message.calls else {},
    )


def states(reading: Reading, first: str | None, blocks: list[dict[str, Any]]) -> dict[str, str]:
    """What must come back with the first of the calls, where the vendor insists on it."""
    return {first: state(blocks)} if reading.keeps_states and first and blocks else {}


def _take(block: Block, message: Message, reading: Reading) -> None:
    match block.type:
        case "text":
            text = block.text or ""
            if block.citations:
                start = sum(map(len, message.text))
                message.annotations += annotations(block.citations, start, start + len(text))
            message.text.append(text)
        case "thinking":
            message.reasoning.append(block.thinking or "")
            message.thinking.append(thinking(block.thinking or "", block.signature or ""))
        case "redacted_thinking":
            message.thinking.append(redacted(block.data or ""))
        case "tool_use" if reading.json_tool is not None and block.name == reading.json_tool:
            message.text.append(compact(block.input))
        case "tool_use":
            message.call(block.id or "", block.name or "", compact(block.input))
        case _:
            pass  # the vendor's own tools at work: nothing that the client could answer


def thinking(text: str, signature: str) -> dict[str, Any]:
    """A thinking block as it must come back."""
    return {"type": "thinking", "thinking": text, "signature": signature}


def redacted(data: str) -> dict[str, Any]:
    """A thinking block that nobody may read, as it must come back."""
    return {"type": "redacted_thinking", "data": data}


def compact(input: msgspec.Raw) -> str:
    """The arguments of a call as OpenAI has them: JSON in a string; numbers and order as the model wrote them."""
    said = msgspec.json.format(bytes(input), indent=-1).decode()
    return "{}" if said == "null" else said


def finish(stop_reason: str | None, *, json_tool: str | None) -> str:
    """OpenAI's finish reason."""
    reason = FINISH.get(stop_reason or "", "stop")
    return "stop" if json_tool and reason == "tool_calls" else reason


def refusal(details: StopDetails | None) -> str:
    """What to tell the client of a refusal."""
    return (details and details.explanation) or "Request declined"


def annotations(citations: Any, start: int, end: int) -> list[dict[str, Any]]:
    """Citations with an address, as OpenAI's; `start` and `end` are characters of the whole content."""
    found = []
    for citation in citations:
        url = citation.get("url") or citation.get("source")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            continue
        cited = {"start_index": start, "end_index": end, "url": url, "title": str(citation.get("title") or "")}
        found.append({"type": "url_citation", "url_citation": cited})
    return found
