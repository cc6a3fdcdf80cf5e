"""What Anthropic refuses in a conversation: roles, empty text, tool turns, thinking blocks, pictures, cache marks."""

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Any

from proxy.simulator.anthropic_models import Model
from proxy.simulator.serials import is_signature
from proxy.simulator.vocabulary import Json

MAGIC = {
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}
MOST_MARKS = 4


def blocks(content: Any) -> list[Json]:
    """The content of a message or a system prompt as blocks."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content or []


def _roles(body: Json, row: Model, old: bool) -> Iterator[str]:
    messages = body["messages"]
    if not messages:
        yield "messages: at least one message is required"
    for index, message in enumerate(messages):
        role = message["role"]
        if role == "system" and row.mid_system:
            following = messages[index + 1]["role"] if index + 1 < len(messages) else "assistant"
            if index == 0 or messages[index - 1]["role"] not in ("user", "system") or following == "user":
                yield f"messages.{index}: system messages must follow a user turn and precede an assistant turn"
        elif role == "system":
            yield 'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not "system" as an input message role.'  # noqa: E501 - the vendor's own sentence, in one piece
        elif role not in ("user", "assistant"):
            yield f'messages: Unexpected role "{role}". Allowed roles are "user" or "assistant"'
    if messages and messages[-1]["role"] == "assistant":
        if not row.prefill:
            yield "This model does not support assistant message prefill. The conversation must end with a user message."  # noqa: E501 - the vendor's own sentence, in one piece
        last = blocks(messages[-1]["content"])
        if last and last[-1].get("type") == "text" and last[-1]["text"] != last[-1]["text"].rstrip():
            yield "messages: final assistant content cannot end with trailing whitespace"


def _texts(body: Json, row: Model, old: bool) -> Iterator[str]:
    for index, message in enumerate(body["messages"]):
        content = blocks(message["content"])
        final = index == len(body["messages"]) - 1 and message["role"] == "assistant"
        if not final and (not content or message["content"] == ""):
            yield f"messages.{index}: all messages must have non-empty content except for the optional final assistant message"  # noqa: E501 - the vendor's own sentence, in one piece
        yield from _text_flaws("messages", content)
    if isinstance(body.get("system"), list):
        yield from _text_flaws("system", body["system"])


def _text_flaws(where: str, content: list[Json]) -> Iterator[str]:
    for block in content:
        if block["type"] == "text":
            if not block["text"]:
                yield f"{where}: text content blocks must be non-empty"
            if not block["text"].strip():
                yield f"{where}: text content blocks must contain non-whitespace text"
        elif block["type"] == "tool_result" and isinstance(block.get("content"), list):
            yield from _text_flaws(where, block["content"])


def turns(messages: list[Json]) -> list[tuple[int, str, list[Json]]]:
    """(index of the first message, role, blocks) with neighbours of one role merged, as the API does."""
    merged: list[tuple[int, str, list[Json]]] = []
    for index, message in enumerate(messages):
        content = blocks(message["content"])
        if merged and merged[-1][1] == message["role"]:
            merged[-1] = (merged[-1][0], message["role"], merged[-1][2] + content)
        else:
            merged.append((index, message["role"], list(content)))
    return merged


def _tool_turns(body: Json, row: Model, old: bool) -> Iterator[str]:
    owed: list[str] = []
    used_tools = False
    for index, _, content in turns(body["messages"]):
        results = [b["tool_use_id"] for b in content if b["type"] == "tool_result"]
        uses = [b["id"] for b in content if b["type"] == "tool_use"]
        used_tools = used_tools or bool(results or uses)
        missing = [i for i in owed if i not in results]
        if missing:
            yield _unanswered(index - 1, missing)
        orphans = [i for i in results if i not in owed]
        if orphans:
            yield (
                f"messages.{index}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {orphans[0]}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        owed = uses
    if owed:
        yield _unanswered(len(body["messages"]) - 1, owed)
    if used_tools and not body.get("tools"):
        yield "Requests which include `tool_use` or `tool_result` blocks must define tools"


def _unanswered(index: int, ids: list[str]) -> str:
    return (
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(ids)}."
        " Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def _tool_order(body: Json, row: Model, old: bool) -> Iterator[str]:
    for index, role, content in turns(body["messages"]):
        kinds = [b["type"] for b in content]
        results = [b["tool_use_id"] for b in content if b["type"] == "tool_result"]
        uses = [b["id"] for b in content if b["type"] == "tool_use"]
        if role == "assistant" and results:
            yield f"messages.{index}: `tool_result` blocks can only be in `user` messages"
        if role != "assistant" and uses:
            yield f"messages.{index}: `tool_use` blocks can only be in `assistant` messages"
        if len(results) != len(set(results)):
            yield f"messages.{index}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: {results[0]}"  # noqa: E501 - the vendor's own sentence, in one piece
        if set(kinds[: len(results)]) - {"tool_result"}:
            yield f"messages.{index}: `tool_result` blocks must come first in the content of a user message"
        if len(uses) != len(set(uses)):
            yield "messages: `tool_use` ids must be unique"


def _identifiers(body: Json, row: Model, old: bool) -> Iterator[str]:
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    for index, message in enumerate(body["messages"]):
        for at, block in enumerate(blocks(message["content"])):
            if block["type"] == "tool_use" and not (block["id"] and set(block["id"]) <= allowed):
                yield f"messages.{index}.content.{at}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
            if block["type"] == "tool_use" and not (0 < len(block["name"]) <= 200 and set(block["name"]) <= allowed):
                yield f"messages.{index}.content.{at}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,200}}$'"  # noqa: E501 - the vendor's own sentence, in one piece


def _thoughts(body: Json, row: Model, old: bool) -> Iterator[str]:
    for index, message in enumerate(body["messages"]):
        for at, block in enumerate(blocks(message["content"])):
            if block["type"] == "thinking" and not is_signature(block["signature"], block["thinking"]):
                yield f"messages.{index}.content.{at}: Invalid `signature` in `thinking` block"
    if not row.budget:
        return
    kind = (body.get("thinking") or {}).get("type")
    for index, role, content in _current_loop(body["messages"]):
        kinds = [b["type"] for b in content]
        if role != "assistant" or "tool_use" not in kinds:
            continue
        thought = kinds[0] in ("thinking", "redacted_thinking")
        if kind == "enabled" and not thought:
            yield (
                f"messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
                f"`{kinds[0]}`. When `thinking` is enabled, a final `assistant` message must start with a thinking "
                "block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). To avoid this "
                "requirement, disable `thinking`."
            )
        if kind != "enabled" and thought:
            yield (
                f"messages.{index}.content.0.type: Expected `text` or `tool_use`, but found `{kinds[0]}`. When "
                "`thinking` is disabled, an `assistant` message in the final position cannot contain `thinking`."
            )


def _current_loop(messages: list[Json]) -> list[tuple[int, str, list[Json]]]:
    """The turns since the last one in which the user said something."""
    merged = turns(messages)
    spoken = [i for i, (_, role, content) in enumerate(merged)
              if role == "user" and any(b["type"] != "tool_result" for b in content)]  # fmt: skip
    return merged[spoken[-1] + 1 :] if spoken else merged


def _pictures(body: Json, row: Model, old: bool) -> Iterator[str]:
    for index, message in enumerate(body["messages"]):
        for at, block in enumerate(blocks(message["content"])):
            here = f"messages.{index}.content.{at}"
            inner = block.get("content") if block["type"] == "tool_result" else None
            for part in [block, *(inner if isinstance(inner, list) else [])]:
                if part["type"] == "image" and part["source"]["type"] == "base64":
                    yield from _picture_flaws(here, part["source"])
                if part["type"] == "image" and message["role"] == "assistant":
                    yield f"{here}: `image` blocks are not permitted within assistant turns"


def _picture_flaws(here: str, source: Json) -> Iterator[str]:
    kind = source["media_type"]
    if kind not in MAGIC:
        yield f"{here}.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"  # noqa: E501 - the vendor's own sentence, in one piece
        return
    try:
        start = base64.b64decode(source["data"], validate=True)[:12]
    except (binascii.Error, ValueError):
        yield f"{here}.image.source.base64: invalid base64 data"
        return
    actual = next((m for m, magics in MAGIC.items() if start.startswith(magics)), None)
    if actual is None:
        yield f"{here}.image.source.base64.data: Could not process image"
    elif actual != kind:
        yield (
            f"{here}.image.source.base64.data: Image does not match the provided media type {kind}. The image appears "
            f"to be a {actual} image"
        )


def marks(body: Json) -> list[str]:
    """The lifetimes of all cache marks in the order tools, system, messages."""
    marked: list[Json] = [*(body.get("tools") or [])]
    marked += [b for b in blocks(body.get("system")) if isinstance(b, dict)]
    for message in body["messages"]:
        for block in blocks(message["content"]):
            marked.append(block)
            if isinstance(block.get("content"), list):
                marked += block["content"]
    return [b["cache_control"].get("ttl") or "5m" for b in marked if b.get("cache_control")]


def _cache_marks(body: Json, row: Model, old: bool) -> Iterator[str]:
    found = marks(body)
    total = len(found) + bool(body.get("cache_control"))
    if total > MOST_MARKS:
        yield f"A maximum of {MOST_MARKS} blocks with cache_control may be provided. Found {total}."
    if any(ttl not in ("5m", "1h") for ttl in found):
        yield "cache_control.ephemeral.ttl: Input should be '5m' or '1h'"
    if "5m" in found and "1h" in found[found.index("5m") :]:
        yield "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are processed in the following order: `tools`, `system`, `messages`."  # noqa: E501 - the vendor's own sentence, in one piece


CHECKS: tuple[Callable[[Json, Model, bool], Iterator[str]], ...] = (
    _roles, _texts, _tool_order, _tool_turns, _identifiers, _thoughts, _pictures, _cache_marks,
)  # fmt: skip
