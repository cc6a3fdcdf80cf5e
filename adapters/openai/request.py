"""The request to OpenAI: the client's own bytes, with as few words changed as can be.

Fields that we do not know arrive untouched; numbers keep their spelling. Changed are the model's name, the name of the
output cap where the model knows only the other one, and `stream_options`, because the proxy needs the usage.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.base import Call, Reading, Remote, Supplies, Target, Warnings
from adapters.envelope import Envelope

_NULL = b"null"
_REASONING_NULL = (b"1", b"1.0", b"null")


def headers(key: str) -> Mapping[str, str]:
    """The headers of every request to a provider, credentials included."""
    return {"authorization": f"Bearer {key}"}


def remote(envelope: Envelope, target: Target) -> list[Remote]:
    """The vendor fetches images by itself."""
    return []


def request(envelope: Envelope, target: Target, supplies: Supplies) -> Call:
    """The client's letter, readdressed. Nothing is validated: the vendor's own 400 is the better one."""
    warnings = Warnings()
    changed: dict[str, Any] = {}
    if envelope.model != target.model:
        changed["model"] = target.model
    if envelope.stream and not envelope.include_usage and target.capabilities.stream_options:
        changed["stream_options"] = _with_usage(envelope.fields.get("stream_options"))
    gone = _rename_cap(envelope, target, changed)
    if envelope.model.removeprefix(f"{target.provider}/") != target.model:
        gone |= _unwanted_by_substitute(envelope, target, warnings)
    if (messages := _without_foreign_state(envelope, target)) is not None:
        changed["messages"] = messages
    body = envelope.raw
    if changed or gone:
        body = msgspec.json.encode({k: v for k, v in {**envelope.fields, **changed}.items() if k not in gone})
    reading = Reading(
        stream=envelope.stream,
        choices=envelope.choices,
        include_usage=envelope.include_usage,
        model=target.model,
    )
    return Call(path="/chat/completions", body=body, reading=reading, warnings=warnings)


def _with_usage(options: msgspec.Raw | None) -> dict[str, Any]:
    asked = msgspec.json.decode(options) if options is not None else None
    return {**(asked or {}), "include_usage": True}


def _rename_cap(envelope: Envelope, target: Target, changed: dict[str, Any]) -> set[str]:
    """`max_tokens` and `max_completion_tokens` mean the same; many models obey only one of the two."""
    wanted = target.capabilities.max_tokens_field
    if wanted == "either":
        return set()
    other = "max_tokens" if wanted == "max_completion_tokens" else "max_completion_tokens"
    found = envelope.raw.find(b'"' + other.encode() + b'"') >= 0 and envelope.fields.get(other)
    if not found or bytes(found) == _NULL or wanted in envelope.fields:
        return set()
    changed[wanted] = found
    return {other}


def _unwanted_by_substitute(envelope: Envelope, target: Target, warnings: Warnings) -> set[str]:
    """Another model answers than the one that was asked for: what it would refuse is left out, and said."""
    gone: set[str] = set()
    if not target.capabilities.sampling:
        for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty"):
            value = envelope.fields.get(name)
            if value is not None and bytes(value) not in (*_REASONING_NULL, b"0"):
                warnings.add("dropped", name)
                gone.add(name)
    if not target.capabilities.efforts and bytes(envelope.fields.get("reasoning_effort", _NULL)) != _NULL:
        warnings.add("dropped", "reasoning_effort")
        gone.add("reasoning_effort")
    return gone


# What other vendors' answers carry beyond OpenAI's format, and clients send back.
_STATE = ("thinking_blocks", "extra_content", "reasoning_content", "provider_specific_fields", "reasoning_details")
_STATE_MARKS = (*(f'"{name}"'.encode() for name in _STATE), b"__thought__")


def _without_foreign_state(envelope: Envelope, target: Target) -> list[dict[str, Any]] | None:
    """The messages without another vendor's reasoning state, or None if there is none (nearly always)."""
    if not any(mark in envelope.raw for mark in _STATE_MARKS):
        return None
    kept = {"reasoning_content"} if target.capabilities.reasoning_content else set()
    unwanted = set(_STATE) - kept
    try:
        messages = msgspec.json.decode(envelope.fields["messages"], type=list[dict[str, msgspec.Raw]])
        return [_stripped(message, unwanted) for message in messages]
    except (msgspec.DecodeError, KeyError):
        return None  # not a list of messages: the vendor will say so


def _stripped(message: dict[str, msgspec.Raw], unwanted: set[str]) -> dict[str, Any]:
    clean: dict[str, Any] = {name: value for name, value in message.items() if name not in unwanted}
    if "tool_calls" in message:
        calls = msgspec.json.decode(message["tool_calls"], type=list[dict[str, msgspec.Raw]] | None)
        clean["tool_calls"] = calls and [
            {name: _plain(name, value) for name, value in call.items() if name not in unwanted} for call in calls
        ]
    if "tool_call_id" in message:
        clean["tool_call_id"] = _plain("id", message["tool_call_id"])
    return clean


def _plain(name: str, value: msgspec.Raw) -> Any:
    """A call's id without the signature that some clients append to it."""
    if name == "id" and b"__thought__" in bytes(value):
        return str(msgspec.json.decode(value)).partition("__thought__")[0]
    return value
