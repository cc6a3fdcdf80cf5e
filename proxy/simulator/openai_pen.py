"""OpenAI's side of a conversation: reads a checked chat request, writes the completion whole or as chunks."""

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from proxy.simulator import openai_check
from proxy.simulator.bounds import pieces
from proxy.simulator.serials import serial
from proxy.simulator.tokens import AUDIO_TOKENS, IMAGE_TOKENS, chat_framing, segment
from proxy.simulator.vocabulary import Ask, Event, Json, Plan, Segment, Usage

FINISHES = {"stop_sequence": "stop"}
DONE = b"data: [DONE]\n\n"
CONTEXT = {"gpt-4o": 128_000, "gpt-4.1": 1_047_576, "gpt-5": 400_000, "gpt-5.5": 1_050_000, "gpt-6": 1_050_000}


def context(model: str) -> int:
    """Tokens that fit the model's window; the longest prefix known decides."""
    known = [p for p in CONTEXT if model.startswith(p)]
    return CONTEXT[max(known, key=len)] if known else 200_000


def read(body: Json) -> Ask:
    """The request in neutral words."""
    tools = {t["function"]["name"]: t["function"].get("parameters") for t in body.get("tools") or [] if "function" in t}
    choice = body.get("tool_choice")
    wanted = body.get("response_format") or {}
    stop = body.get("stop") or ()
    ask = Ask(
        model=body["model"],
        stream=bool(body.get("stream")),
        tools=tools,
        must_call=_must_call(choice, tools),
        may_call=choice != "none",
        parallel=body.get("parallel_tool_calls") is not False,
        schema=(wanted.get("json_schema") or {}).get("schema"),
        json_mode=wanted.get("type") == "json_object",
        thinks=openai_check.reasons(body),
        limit=body.get("max_completion_tokens") or body.get("max_tokens"),
        stops=(stop,) if isinstance(stop, str) else tuple(stop),
        segments=[segment(msgspec.json.encode(body["tools"]).decode())] if body.get("tools") else [],
        framing=chat_framing(body["messages"]),
        extra={"n": body.get("n") or 1, "usage": bool((body.get("stream_options") or {}).get("include_usage"))},
    )
    for message in body["messages"]:
        _read_message(ask, message)
    return ask


def _must_call(choice: Any, tools: Json) -> tuple[str, ...]:
    if choice == "required":
        return tuple(tools)
    if isinstance(choice, dict):
        if choice.get("type") == "allowed_tools":
            allowed = choice["allowed_tools"]
            names = tuple(t["function"]["name"] for t in allowed["tools"])
            return names if allowed.get("mode") == "required" else ()
        return (choice["function"]["name"],) if "function" in choice else ()
    return ()


def _read_message(ask: Ask, message: Json) -> None:
    content = message.get("content")
    texts: list[str] = []
    parts: list[Json] = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    for part in parts:
        if part["type"] == "text":
            texts.append(part["text"])
            ask.segments.append(segment(part["text"]))
        elif part["type"] == "image_url":
            ask.segments.append(Segment(part["image_url"]["url"], IMAGE_TOKENS, "image"))
        elif part["type"] == "input_audio":
            ask.segments.append(Segment(part["input_audio"].get("data", ""), AUDIO_TOKENS, "audio"))
        else:
            ask.segments.append(segment(part.get("refusal") or (part.get("file") or {}).get("file_data") or ""))
    for call in message.get("tool_calls") or []:
        function = call.get("function") or {}
        ask.segments.append(segment(function.get("name", "")))
        ask.segments.append(segment(function.get("arguments", "")))
    if message["role"] == "user" and texts:
        ask.user_text, ask.results = "\n".join(texts), []
    elif message["role"] == "tool":
        ask.results = [*ask.results, "\n".join(texts)]


def usage_object(usage: Usage) -> Json:
    """OpenAI's usage: the prompt includes what was cached, the completion includes reasoning."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "audio_tokens": usage.in_audio,
            "image_tokens": usage.in_image,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.out_reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _tool_calls(plan: Plan) -> list[Json]:
    return [
        {"id": serial("call_", 24), "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
        for c in plan.tool_calls
    ]


def answer(ask: Ask, plan: Plan, usage: Usage) -> bytes:
    """A `chat.completion`."""
    calls = _tool_calls(plan)
    text = "".join(plan.text)
    message: Json = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    message["annotations"] = []
    finish = FINISHES.get(plan.finish, plan.finish)
    return msgspec.json.encode(
        {
            "id": serial("chatcmpl-", 29),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": ask.model,
            "choices": [
                {"index": i, "message": message, "logprobs": None, "finish_reason": finish}
                for i in range(ask.extra["n"])
            ],
            "usage": usage_object(usage),
            "service_tier": "default",
            "system_fingerprint": None,
        }
    )


def events(ask: Ask, plan: Plan, usage: Usage) -> Iterator[Event]:
    """The chunks of a `chat.completion.chunk` stream and `[DONE]`."""
    base: Json = {
        "id": serial("chatcmpl-", 29),
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": ask.model,
        "service_tier": "default",
        "system_fingerprint": None,
    }
    tail: Json = {"usage": None} if ask.extra["usage"] else {}

    def event(delta: Json, index: int, finish: str | None = None, text: str = "") -> Event:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return Event(b"data: " + msgspec.json.encode({**base, "choices": [choice], **tail}) + b"\n\n", text)

    calls = _tool_calls(plan)
    for index in range(ask.extra["n"]):
        empty = None if calls and not plan.text else ""
        first = event({"role": "assistant", "content": empty, "refusal": None}, index)
        yield first._replace(thinking=plan.thinking or "")  # thought before the first chunk
        for piece in pieces(plan):
            yield event({"content": piece}, index, text=piece)
        for at, call in enumerate(calls):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            opening = {**call, "function": {"name": name, "arguments": ""}}
            yield event({"tool_calls": [{"index": at, **opening}]}, index, text=name)
            for piece in split(arguments):
                yield event({"tool_calls": [{"index": at, "function": {"arguments": piece}}]}, index, text=piece)
        yield event({}, index, FINISHES.get(plan.finish, plan.finish))
    if ask.extra["usage"]:
        yield Event(b"data: " + msgspec.json.encode({**base, "choices": [], "usage": usage_object(usage)}) + b"\n\n")
    yield Event(DONE)


def split(text: str, size: int = 12) -> list[str]:
    """Arguments in the pieces in which they stream; pieces alone are not JSON."""
    return [text[i : i + size] for i in range(0, len(text), size)]


def models() -> bytes:
    """`GET /v1/models`."""
    names = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5", "gpt-5.4-mini", "gpt-5.5", "gpt-6-luna", "gpt-6.1-sol")
    data = [{"id": n, "object": "model", "created": 1_760_000_000, "owned_by": "openai"} for n in names]
    return msgspec.json.encode({"object": "list", "data": data})
