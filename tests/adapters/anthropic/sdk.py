"""Anthropic's own SDK as a second opinion: what it would send, and what it reads. Nothing leaves the process."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

import anthropic
import httpx2
import msgspec
from anthropic.types import Message
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from typing_extensions import get_type_hints, is_typeddict

# Taken by version 2023-06-01, which we send; the SDK sends 2026-10-21 and has forgotten them.
OF_OLD = {"temperature": float, "top_p": float}


def faults(body: bytes) -> list[str]:
    """What in a request the SDK's types do not know, miss, or have as another type."""
    said = msgspec.json.decode(body)
    kind = MessageCreateParamsStreaming if said.get("stream") else MessageCreateParamsNonStreaming
    plain = {key: value for key, value in said.items() if key not in OF_OLD}
    old = [fault for key in OF_OLD.keys() & said for fault in _faults(said[key], OF_OLD[key], key)]
    return [*_faults(plain, kind, ""), *old]


def _faults(value: Any, kind: Any, path: str) -> list[str]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Annotated, Required, NotRequired):
        return _faults(value, inner[0], path)
    if origin in (Union, types.UnionType):
        return min((_faults(value, one, path) for one in inner), key=len)
    if is_typeddict(kind):
        return list(_of_members(value, kind, path))
    if origin is Literal:
        return [] if value in inner else [f"{path}: {value!r} is none of {inner}"]
    return _of_others(value, kind, path)


def _of_others(value: Any, kind: Any, path: str) -> list[str]:
    if kind in (Any, object):
        return []
    if inner := get_args(kind):  # dict, Iterable, List, and the SDK's own sequence that is no text
        whole = dict if get_origin(kind) is dict else list
        return [*_is_a(value, whole, path), *_of_each(value, inner[-1], path)]
    return _is_a(value, kind, path)


def _of_members(value: Any, kind: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield from _is_a(value, dict, path)
        return
    hints = get_type_hints(kind, include_extras=True)
    required = [key for key, hint in hints.items() if str(hint).startswith("typing.Required[")]
    yield from (f"{path}.{key} is missing" for key in required if key not in value)
    for key, member in value.items():
        if key in hints:
            yield from _faults(member, hints[key], f"{path}.{key}")
        elif getattr(kind, "__pydantic_config__", {}).get("extra") != "allow":
            yield f"{path}.{key} is unknown"


def _of_each(value: Any, kind: Any, path: str) -> list[str]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [fault for key, item in items for fault in _faults(item, kind, f"{path}[{key}]")]


def _is_a(value: Any, kind: Any, path: str) -> list[str]:
    fits = type(value) in ((int, float) if kind is float else (kind,))
    return [] if fits else [f"{path}: {value!r} is no {kind}"]


def read(body: bytes) -> Message:
    """A whole answer as the SDK reads it."""
    with _client(body, "application/json") as client:
        return client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "."}])


def hear(body: bytes) -> Message:
    """A stream as the SDK accumulates it."""
    with (
        _client(body, "text/event-stream") as client,
        client.messages.stream(model="m", max_tokens=1, messages=[{"role": "user", "content": "."}]) as stream,
    ):
        return stream.get_final_message()


def _client(body: bytes, media_type: str) -> anthropic.Anthropic:
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, headers={"content-type": media_type}, content=body)
    )
    return anthropic.Anthropic(api_key="key", http_client=httpx2.Client(transport=transport), max_retries=0)
