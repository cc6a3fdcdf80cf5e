"""Gemini's side of a conversation: reads a checked generateContent request, writes the response whole or in pieces."""

from collections.abc import Iterator
from typing import Any

import msgspec

from proxy.simulator.bounds import pieces
from proxy.simulator.gemini_models import LISTED, Model, model
from proxy.simulator.serials import serial, signature
from proxy.simulator.tokens import AUDIO_TOKENS, IMAGE_TOKENS, framing, segment
from proxy.simulator.vocabulary import Ask, Event, Json, Plan, Segment, Usage

FINISHES = {
    "stop": "STOP", "stop_sequence": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY",
}  # fmt: skip
ROUNDS = 3.5  # from this version a call is followed by an empty text part that carries the finish


def _row(name: str) -> Model:
    row = model(name)
    assert row is not None  # the checks ran first
    return row


def context(name: str) -> int:
    """Tokens that fit the model's window."""
    return _row(name).context


def read(body: Json, name: str, stream: bool) -> Ask:
    """The request in neutral words; `body` has camelCase names."""
    row = _row(name)
    config = body.get("generationConfig") or {}
    thinking = config.get("thinkingConfig") or {}
    declared = [d for t in body.get("tools") or [] for d in t.get("functionDeclarations") or []]
    tools = {d["name"]: d.get("parametersJsonSchema") or d.get("parameters") for d in declared}
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    allowed = tuple(calling.get("allowedFunctionNames") or tools)
    is_json = config.get("responseMimeType") == "application/json"
    ask = Ask(
        model=name,
        stream=stream,
        tools={n: tools[n] for n in allowed} if calling.get("allowedFunctionNames") else tools,
        must_call=allowed if calling.get("mode") == "ANY" else (),
        may_call=calling.get("mode") != "NONE",
        schema=config.get("responseJsonSchema") or config.get("responseSchema"),
        json_mode=is_json,
        thinks=row.thinks and thinking.get("thinkingBudget") != 0,
        shows_thinking=bool(thinking.get("includeThoughts")),
        limit=config.get("maxOutputTokens"),
        stops=tuple(config.get("stopSequences") or ()),
        framing=framing(len(body["contents"])),
        extra={"row": row},
    )
    if body.get("tools"):
        ask.segments.append(segment(msgspec.json.encode(body["tools"]).decode()))
    system = body.get("systemInstruction")
    for part in [{"text": system}] if isinstance(system, str) else (system or {}).get("parts") or []:
        ask.segments.append(_segment(part))
    for content in body["contents"]:
        _read_content(ask, content)
    return ask


def counted(body: Json, name: str) -> Ask:
    """The request of countTokens, where contents stand bare or in a whole generateContent request."""
    inner = body.get("generateContentRequest") or {"contents": body.get("contents") or []}
    return read(inner, name, False)


def _read_content(ask: Ask, content: Json) -> None:
    texts: list[str] = []
    for part in content.get("parts") or []:
        ask.segments.append(_segment(part))
        if part.get("text") is not None:
            texts.append(part["text"])
        if part.get("functionResponse") is not None:
            ask.results = [*ask.results, _result_text(part["functionResponse"].get("response") or {})]
    if content.get("role") != "model" and texts:
        ask.user_text, ask.results = "\n".join(texts), []


def _result_text(response: Json) -> str:
    value: Any = response.get("output", response)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _segment(part: Json) -> Segment:
    if blob := part.get("inlineData"):
        if blob["mimeType"].startswith("audio/"):
            return Segment(blob["data"], AUDIO_TOKENS, "audio")
        return Segment(blob["data"], IMAGE_TOKENS, "image")
    if file := part.get("fileData"):
        return Segment(file["fileUri"], IMAGE_TOKENS, "image")
    if call := part.get("functionCall"):
        return segment(call["name"] + msgspec.json.encode(call.get("args") or {}).decode())
    if response := part.get("functionResponse"):
        return segment(response["name"] + msgspec.json.encode(response.get("response") or {}).decode())
    return segment(part.get("text") or "")


def usage_object(usage: Usage, out_text: int, thinking: int) -> Json:
    """usageMetadata after `out_text` and `thinking` tokens. The prompt includes what was cached; zeros are left out."""
    modalities = {
        "TEXT": usage.prompt - usage.in_image - usage.in_audio,
        "IMAGE": usage.in_image,
        "AUDIO": usage.in_audio,
    }
    body: Json = {"promptTokenCount": usage.prompt}
    if out_text:
        body["candidatesTokenCount"] = out_text
    body["totalTokenCount"] = usage.prompt + out_text + thinking
    if usage.cache_read:
        body["cachedContentTokenCount"] = usage.cache_read
        body["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": usage.cache_read}]
    body["promptTokensDetails"] = [{"modality": m, "tokenCount": n} for m, n in modalities.items() if n]
    if thinking:
        body["thoughtsTokenCount"] = thinking
    return body


def _call_parts(ask: Ask, plan: Plan) -> list[Json]:
    """The calls, the first one signed where the model signs."""
    parts: list[Json] = []
    for call in plan.tool_calls:
        inner: Json = {"name": call.name, "args": msgspec.json.decode(call.arguments or "{}")}
        if ask.extra["row"].signs:
            inner["id"] = serial("", 8)
        part: Json = {"functionCall": inner}
        if ask.extra["row"].signs and not parts:
            part["thoughtSignature"] = signature(call.name)
        parts.append(part)
    return parts


def _signs_text(ask: Ask, plan: Plan) -> bool:
    return bool(ask.extra["row"].signs and plan.thinking and plan.text and not plan.tool_calls)


def answer(ask: Ask, plan: Plan, usage: Usage) -> bytes:
    """A whole `GenerateContentResponse`."""
    parts: list[Json] = []
    if plan.thinking and ask.shows_thinking:
        parts.append({"text": plan.thinking, "thought": True})
    if plan.text:
        parts.append({"text": "".join(plan.text)})
        if _signs_text(ask, plan):
            parts[-1]["thoughtSignature"] = signature("")
    parts += _call_parts(ask, plan)
    final = usage_object(usage, usage.out_text, usage.out_reasoning)
    return msgspec.json.encode(_response(ask, serial("sim", 16), parts, final, FINISHES.get(plan.finish, plan.finish)))


def _response(ask: Ask, ident: str, parts: list[Json], usage: Json, finish: str | None) -> Json:
    content: Json = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    candidate: Json = {"content": content}
    if finish is not None:
        candidate["finishReason"] = finish
    candidate["index"] = 0
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": ask.model, "responseId": ident}


def events(ask: Ask, plan: Plan, usage: Usage) -> Iterator[Event]:
    """Response fragments as SSE. The last one has the finish; every one has the counters so far."""
    ident = serial("sim", 16)
    row: Model = ask.extra["row"]
    thought = usage.out_reasoning
    finish = FINISHES.get(plan.finish, plan.finish)

    def event(parts: list[Json], end: str | None, said: str = "", thinking: str = "") -> Event:
        counters = usage_object(usage, usage.out_text if end else 0, thought)
        data = msgspec.json.encode(_response(ask, ident, parts, counters, end))
        return Event(b"data: " + data + b"\r\n\r\n", said, thinking)

    hidden = plan.thinking or ""
    if plan.thinking and ask.shows_thinking:
        yield event([{"text": plan.thinking, "thought": True}], None, thinking=plan.thinking)
        hidden = ""
    said = pieces(plan)
    calls = _call_parts(ask, plan)
    words = [c.name + c.arguments for c in plan.tool_calls]
    signed = _signs_text(ask, plan)
    for at, piece in enumerate(said):
        end = finish if at == len(said) - 1 and not calls and not signed else None
        yield event([{"text": piece}], end, piece, hidden)
        hidden = ""
    if signed:
        yield event([{"text": "", "thoughtSignature": signature("")}], finish)
    elif calls and not row.signs:
        yield event(calls, finish, "".join(words), hidden)
    elif calls:
        trails = row.version >= ROUNDS
        for at, part in enumerate(calls):
            end = finish if at == len(calls) - 1 and not trails else None
            yield event([part], end, words[at], hidden)
            hidden = ""
        if trails:
            yield event([{"text": ""}], finish)
    elif not said:
        yield event([], finish, thinking=hidden)


def array(events: list[Event]) -> list[Event]:
    """The same fragments as one JSON array, which is what a stream without `alt=sse` is."""
    bodies = [e.data.removeprefix(b"data: ").rstrip() for e in events]
    last = len(bodies) - 1
    return [
        e._replace(data=(b"[" if i == 0 else b",\r\n") + body + (b"]" if i == last else b""))
        for i, (e, body) in enumerate(zip(events, bodies, strict=True))
    ]


def models() -> bytes:
    """`GET /v1beta/models`."""
    methods = ["generateContent", "countTokens", "createCachedContent", "batchGenerateContent"]
    data = [
        {
            "name": f"models/{name}",
            "version": "001",
            "displayName": name.replace("-", " ").title(),
            "inputTokenLimit": _row(name).context,
            "outputTokenLimit": _row(name).output,
            "supportedGenerationMethods": methods,
            "temperature": 1,
            "maxTemperature": 2,
            "topP": 0.95,
            "topK": 64,
            "thinking": True,
        }
        for name in LISTED
    ]
    return msgspec.json.encode({"models": data})
