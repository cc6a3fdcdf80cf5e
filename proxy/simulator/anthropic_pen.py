"""Anthropic's side of a conversation: reads a checked Messages request, writes the message whole or as events."""

from collections.abc import Iterator
from typing import Any

import msgspec

from proxy.simulator.anthropic_models import LISTED, LOW_TO_MAX, Model, model
from proxy.simulator.anthropic_turns import blocks
from proxy.simulator.bounds import pieces
from proxy.simulator.serials import serial, signature
from proxy.simulator.tokens import IMAGE_TOKENS, framing, segment
from proxy.simulator.vocabulary import Ask, Event, Json, Plan, Segment, Usage

FINISHES = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def _row(name: str) -> Model:
    row = model(name)
    assert row is not None  # the checks ran first
    return row


def context(name: str) -> int:
    """Tokens that fit the model's window."""
    return _row(name).context


def read(body: Json) -> Ask:
    """The request in neutral words. Segments in the order in which prompts are cached: tools, system, messages."""
    row = _row(body["model"])
    tools = {t["name"]: t.get("input_schema") for t in body.get("tools") or [] if "input_schema" in t}
    choice = body.get("tool_choice") or {}
    must = {"any": tuple(tools), "tool": (choice.get("name"),)}.get(choice.get("type", ""), ())
    output = body.get("output_config") or {}
    thinking = body.get("thinking") or {"type": row.omitted}
    ask = Ask(
        model=body["model"],
        stream=bool(body.get("stream")),
        tools=tools,
        must_call=must,
        may_call=choice.get("type") != "none",
        parallel=not choice.get("disable_parallel_tool_use"),
        schema=(output.get("format") or {}).get("schema"),
        shows_thinking=thinking.get("display", "omitted" if row.hides_thinking else "summarized") == "summarized",
        limit=body.get("max_tokens"),
        stops=tuple(body.get("stop_sequences") or ()),
        framing=framing(len(body["messages"])),
        extra={"row": row},
    )
    for tool in body.get("tools") or []:
        bare = {k: v for k, v in tool.items() if k != "cache_control"}
        ask.segments.append(segment(msgspec.json.encode(bare).decode(), _mark(tool)))
    ask.segments += [segment(b["text"], _mark(b)) for b in blocks(body.get("system"))] if body.get("system") else []
    for message in body["messages"]:
        _read_message(ask, message)
    if body.get("cache_control") and ask.segments:
        ask.segments[-1] = ask.segments[-1]._replace(mark=_mark(body))
    word = "think" in ask.user_text.lower() or output.get("effort") is not None
    ask.thinks = thinking["type"] == "enabled" or (thinking["type"] == "adaptive" and word)
    return ask


def _mark(block: Json) -> str:
    return (block.get("cache_control") or {}).get("ttl") or "5m" if block.get("cache_control") else ""


def _read_message(ask: Ask, message: Json) -> None:
    texts: list[str] = []
    for block in blocks(message["content"]):
        ask.segments += _segments(block)
        if block["type"] == "text":
            texts.append(block["text"])
        elif block["type"] == "tool_result":
            ask.results = [*ask.results, _result_text(block)]
    if message["role"] == "user" and texts:
        ask.user_text, ask.results = "\n".join(texts), []


def _result_text(block: Json) -> str:
    return "\n".join(b["text"] for b in blocks(block.get("content")) if b["type"] == "text")


def _segments(block: Json) -> list[Segment]:
    kind = block["type"]
    if kind == "text":
        return [segment(block["text"], _mark(block))]
    if kind == "image":
        data = block["source"].get("data") or block["source"].get("url") or ""
        return [Segment(data, IMAGE_TOKENS, "image", _mark(block))]
    if kind == "tool_use":
        return [segment(block["name"] + msgspec.json.encode(block["input"]).decode(), _mark(block))]
    if kind == "tool_result":
        inner = [s for b in blocks(block.get("content")) for s in _segments(b)]
        return [*inner, segment("", _mark(block))]
    if kind == "document":
        return [segment(str(block["source"].get("data") or ""), _mark(block))]
    return [segment(block.get("thinking") or block.get("data") or "")]


def reported(ask: Ask, usage: Usage) -> Usage:
    """What the wire tells apart: never pictures, and thinking only from 4.6 on."""
    out_text, reasoning = usage.out_text, usage.out_reasoning
    if ask.extra["row"].budget:
        out_text, reasoning = out_text + reasoning, 0
    fresh = usage.in_text + usage.in_image + usage.in_audio
    return Usage(
        fresh, 0, 0, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h, out_text, reasoning
    )  # fmt: skip


def _usage_object(ask: Ask, usage: Usage) -> Json:
    body: Json = {
        "input_tokens": usage.in_text,
        "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.completion,
        "service_tier": "standard",
    }
    if not ask.extra["row"].budget:
        body["output_tokens_details"] = {"thinking_tokens": usage.out_reasoning}
    return body


def _content(ask: Ask, plan: Plan) -> Iterator[tuple[Json, str]]:
    """(block, raw arguments of a tool call or "") in the order thinking, text, tools."""
    if plan.thinking is not None:
        shown = plan.thinking if ask.shows_thinking else ""
        yield {"type": "thinking", "thinking": shown, "signature": signature(shown)}, ""
    if text := "".join(plan.text):
        yield {"type": "text", "text": text}, ""
    for call in plan.tool_calls:
        yield {"type": "tool_use", "id": serial("toolu_01", 22), "name": call.name}, call.arguments


def _parsed(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        return {}


def _message(ask: Ask, content: list[Json], finish: str | None, stop: str | None, usage: Json) -> Json:
    return {
        "model": ask.model,
        "id": serial("msg_01", 22),
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": finish,
        "stop_sequence": stop,
        "stop_details": None,
        "usage": usage,
    }


def answer(ask: Ask, plan: Plan, usage: Usage) -> bytes:
    """A `message`."""
    content = [{**b, "input": _parsed(a)} if b["type"] == "tool_use" else b for b, a in _content(ask, plan)]
    finish = FINISHES.get(plan.finish, plan.finish)
    return msgspec.json.encode(_message(ask, content, finish, plan.stop_sequence, _usage_object(ask, usage)))


def _event(body: Json, text: str = "", thinking: str = "") -> Event:
    data = b"event: %b\ndata: %b\n\n" % (body["type"].encode(), msgspec.json.encode(body))
    return Event(data, text, thinking)


def events(ask: Ask, plan: Plan, usage: Usage) -> Iterator[Event]:
    """The events of a streamed message."""
    opening = {**_usage_object(ask, usage), "output_tokens": 1}
    opening.pop("output_tokens_details", None)
    yield _event({"type": "message_start", "message": _message(ask, [], None, None, opening)})
    yield _event({"type": "ping"})
    for index, (block, arguments) in enumerate(_content(ask, plan)):
        yield from _block_events(index, block, arguments, plan)
    closing = _usage_object(ask, usage)
    for word in ("cache_creation", "service_tier"):
        closing.pop(word)
    finish = FINISHES.get(plan.finish, plan.finish)
    delta = {"stop_reason": finish, "stop_sequence": plan.stop_sequence, "stop_details": None}
    yield _event({"type": "message_delta", "delta": delta, "usage": closing})
    yield _event({"type": "message_stop"})


def _block_events(index: int, block: Json, arguments: str, plan: Plan) -> Iterator[Event]:
    def delta(kind: str, field: str, value: str, text: str = "", thinking: str = "") -> Event:
        inner = {"type": kind, field: value}
        return _event({"type": "content_block_delta", "index": index, "delta": inner}, text, thinking)

    start = {**block}
    match block["type"]:
        case "text":
            start["text"] = ""
        case "thinking":
            start.update(thinking="", signature="")
        case _:
            start["input"] = {}
    name = block.get("name", "")
    yield _event({"type": "content_block_start", "index": index, "content_block": start}, text=name)
    match block["type"]:
        case "text":
            for piece in pieces(plan):
                yield delta("text_delta", "text", piece, text=piece)
        case "thinking":
            for piece in _thirds(block["thinking"]):
                yield delta("thinking_delta", "thinking", piece, thinking=piece)
            hidden = "" if block["thinking"] else plan.thinking or ""
            yield delta("signature_delta", "signature", block["signature"], thinking=hidden)
        case _:
            yield delta("input_json_delta", "partial_json", "")
            # A tool without arguments streams none: the client must come to {} by itself.
            for piece in _thirds(arguments) if arguments != "{}" else []:
                yield delta("input_json_delta", "partial_json", piece, text=piece)
    yield _event({"type": "content_block_stop", "index": index})


def _thirds(text: str) -> list[str]:
    size = max(1, -(-len(text) // 3))
    return [text[i : i + size] for i in range(0, len(text), size)]


def model_object(name: str) -> Json:
    """One entry of `GET /v1/models`."""
    row = _row(name)

    def support(value: bool) -> Json:
        return {"supported": value}

    thinking = {t: support(t in row.thinking) for t in ("adaptive", "between_tools", "disabled", "enabled")}
    efforts = {e: support(e in row.efforts) for e in LOW_TO_MAX}
    features = ("batch", "citations", "code_execution", "image_input", "pdf_input", "structured_outputs")
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
        "line": name.split("-")[1],
        "max_input_tokens": row.context,
        "max_tokens": row.output,
        "capabilities": {
            **{f: support(True) for f in features},
            "context_management": support(True),
            "server_tools": support(True),
            "effort": {**support(bool(row.efforts)), **efforts},
            "thinking": {**support(True), "types": thinking},
        },
    }


def models() -> bytes:
    """`GET /v1/models`."""
    data = [model_object(name) for name in LISTED]
    page = {"data": data, "has_more": False, "first_id": LISTED[0], "last_id": LISTED[-1]}
    return msgspec.json.encode(page)
