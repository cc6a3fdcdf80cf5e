"""Requests as OpenAI's clients might make them, for property tests."""

from typing import Any

import msgspec
from hypothesis import strategies as st

TEXTS = st.text(max_size=8)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
REMOTE = "https://x.example/a.png"
IMAGES = st.builds(
    lambda url, detail: {"type": "image_url", "image_url": {"url": url, "detail": detail}},
    st.sampled_from([f"data:image/png;base64,{PNG}", f"data:image/jpg;base64,{PNG}", REMOTE, "https://youtu.be/1"]),
    st.sampled_from([None, "auto", "low", "high", "original"]),
)
TEXT_PARTS = st.builds(lambda text: {"type": "text", "text": text}, TEXTS)
MEDIA = st.sampled_from(
    [
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_data": "JVBERi0xLjQK", "filename": "a.pdf"}},
    ]
)
NAMES = ["weather", "mcp.server/tool", "7up", "sql"]
SIGNATURES = st.sampled_from([None, "c2ln", "AAAA"])
USERS = st.builds(
    lambda content: {"role": "user", "content": content}, TEXTS | st.lists(TEXT_PARTS | IMAGES | MEDIA, max_size=3)
)
SYSTEMS = st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(["system", "developer"]), TEXTS)
ASSISTANTS = st.builds(
    lambda text, signature: {
        "role": "assistant",
        "content": text,
        "extra_content": signature and {"google": {"thought_signature": signature}},
    },
    st.none() | TEXTS,
    SIGNATURES,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("$ref"), inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.sampled_from(["", "{}", "{broken", "[]"]) | st.dictionaries(TEXTS, JSON, max_size=3).map(
    lambda value: msgspec.json.encode(value).decode()
)
OUTPUTS = (
    TEXTS | JSON.map(lambda value: msgspec.json.encode(value).decode()) | st.lists(TEXT_PARTS | IMAGES, max_size=2)
)


@st.composite
def steps(draw: st.DrawFn) -> list[dict[str, Any]]:
    """An assistant's message with parallel calls, and their results in any order."""
    names = draw(st.lists(st.sampled_from([*NAMES, "gone.tool"]), min_size=1, max_size=3))
    calls = []
    for k, name in enumerate(names):
        call: dict[str, Any] = {"id": f"call_{k}", "type": "function", "function": {"name": name}}
        call["function"]["arguments"] = draw(ARGUMENTS)
        if signature := draw(SIGNATURES):
            call["extra_content"] = {"google": {"thought_signature": signature}}
        calls.append(call)
    results = [{"role": "tool", "tool_call_id": call["id"], "content": draw(OUTPUTS)} for call in calls]
    return [
        {"role": "assistant", "content": draw(st.none() | TEXTS), "tool_calls": calls},
        *draw(st.permutations(results)),
    ]


SCHEMAS = st.sampled_from(
    [
        {},
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"a": {"type": ["string", "null"], "minLength": 1}}, "required": ["a"]},
        {"$ref": "#/definitions/A", "definitions": {"A": {"properties": {"a": {"$ref": "#/definitions/A"}}}}},
        {"properties": {"a": {"allOf": [{"$ref": "#/$defs/A"}, {"const": 1}]}}, "$defs": {"A": {"type": "integer"}}},
    ]
)
TOOLS = st.lists(st.sampled_from(NAMES), max_size=4, unique=True).flatmap(
    lambda names: st.tuples(
        *[
            st.builds(
                lambda schema, name=name: (
                    {"type": "custom", "custom": {"name": name}}
                    if name == "sql"
                    else {"type": "function", "function": {"name": name, "parameters": schema, "strict": True}}
                ),
                SCHEMAS,
            )
            for name in names
        ]
    )
)


@st.composite
def chats(draw: st.DrawFn) -> dict[str, Any]:
    messages: list[dict[str, Any]] = draw(st.lists(SYSTEMS, max_size=2))
    for step in draw(st.lists(USERS | SYSTEMS | ASSISTANTS | steps(), min_size=1, max_size=6)):
        messages += step if isinstance(step, list) else [step]
    chat: dict[str, Any] = {"messages": [*messages, draw(USERS)]}
    tools = draw(TOOLS)
    if tools:
        chat["tools"] = tools
        named = {"type": "function", "function": {"name": tools[0][tools[0]["type"]]["name"]}}
        allowed = {"type": "allowed_tools", "allowed_tools": {"mode": draw(st.sampled_from(["auto", "required"]))}}
        allowed["allowed_tools"]["tools"] = [named]  # type: ignore[index]  # mypy sees the values as texts
        chat["tool_choice"] = draw(st.sampled_from([None, "auto", "none", "required", named, allowed]))
    return chat | draw(
        st.fixed_dictionaries(
            {},
            optional={
                "temperature": st.floats(0, 2),
                "top_p": st.floats(0, 1),
                "frequency_penalty": st.floats(-2, 2),
                "max_tokens": st.integers(1, 100_000),
                "stop": TEXTS.filter(bool) | st.lists(TEXTS.filter(bool), max_size=4),
                "seed": st.integers(-(2**63), 2**63 - 1),
                "n": st.integers(1, 4),
                "logprobs": st.booleans(),
                "stream": st.booleans(),
                "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
                "service_tier": st.sampled_from(["auto", "default", "flex", "priority", "fast", "scale"]),
                "web_search_options": st.just({}),
                "response_format": SCHEMAS.map(
                    lambda schema: {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
                ),
            },
        )
    )
