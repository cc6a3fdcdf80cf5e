"""What the tests of this folder share: models of all sorts, requests to them, and Anthropic's own wire format."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings

from adapters import anthropic, envelope
from adapters.base import NOTHING, Call, Capabilities, Failure, Reading, Stamp, Supplies, Target, Warnings

# A busy machine is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
STAMP = Stamp("chatcmpl-test", 1_700_000_000)

ADAPTIVE = Capabilities(
    sampling=False,
    efforts=("low", "medium", "high"),
    thinking=("adaptive", "disabled"),
    mid_system=True,
)
ALWAYS = msgspec.structs.replace(ADAPTIVE, thinking=("adaptive",), thinking_off=False, forced_tool=False)
BUDGET = Capabilities(
    temperature_xor_top_p=True, thinking=("enabled", "disabled"), thinking_budget=(1024, 63999), prefill=True
)


def target(able: Capabilities = ADAPTIVE, **fields: Any) -> Target:
    plain = {"provider": "anthropic", "vendor": "anthropic", "model": "claude", "context": 1_000_000}
    return Target(**{**plain, "max_output": 64_000, **fields}, capabilities=able)


def user(content: Any = "Hi") -> dict[str, Any]:
    return {"role": "user", "content": content}


def ask(
    able: Capabilities = ADAPTIVE, *, supplies: Supplies = NOTHING, to: dict[str, Any] | None = None, **members: Any
) -> Call:
    """The call that a request with these members becomes."""
    body = {"model": "m", "messages": [user()], **members}
    return anthropic.request(envelope.seal(msgspec.json.encode(body)), target(able, **(to or {})), supplies)


def body(*args: Any, **members: Any) -> dict[str, Any]:
    return msgspec.json.decode(ask(*args, **members).body, type=dict[str, Any])


@contextmanager
def refusals() -> Iterator[None]:
    """Whatever is said in here may be refused, as the caller's fault; nothing else may come of it."""
    try:
        yield
    except Failure as failure:
        if failure.status != 400:
            raise


def function(name: str = "f", **spec: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **spec}}


def called(id: str = "call_1", name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(id: str = "call_1", content: Any = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def call(**reading: Any) -> Call:
    """A call whose answer is to be read so."""
    return Call(path="", body=b"", reading=Reading(**{"model": "asked", **reading}), warnings=Warnings())


def message(*content: dict[str, Any], stop: str | None = "end_turn", **members: Any) -> dict[str, Any]:
    usage = {"input_tokens": 5, "output_tokens": 3}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
        **members,
    }


def text(said: str, **members: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **members}


def tool_use(id: str = "toolu_1", name: str = "f", input: Any = None) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": input or {}}


def event(data: dict[str, Any]) -> bytes:
    return b"event: " + str(data["type"]).encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


def stream_of(message: dict[str, Any], size: int = 3) -> list[bytes]:
    """The events that the vendor would send for this message, its texts in pieces of `size` characters."""
    usage = message["usage"]
    beginning = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": beginning}, {"type": "ping"}]
    for index, block in enumerate(message["content"]):
        bare, deltas = _cut(block, size)
        events.append({"type": "content_block_start", "index": index, "content_block": bare})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ending = {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details") if key in message}
    events.append({"type": "message_delta", "delta": ending, "usage": usage})
    events.append({"type": "message_stop"})
    return [event(data) for data in events]


def _cut(block: dict[str, Any], size: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    def pieces(text: str) -> list[str]:
        return [text[i : i + size] for i in range(0, len(text), size)]

    match block["type"]:
        case "text":
            bare = {key: value for key, value in block.items() if key != "citations"}
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
            cited = [{"type": "citations_delta", "citation": one} for one in block.get("citations") or ()]
            return {**bare, "text": ""}, deltas + cited
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
            signed = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [*deltas, signed]
        case "tool_use" | "server_tool_use":
            written = msgspec.json.encode(block["input"]).decode() if block["input"] else ""
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *pieces(written)]]
            return {**block, "input": {}}, deltas
    return block, []
