"""The request to OpenAI: the client's own bytes, with as few words changed as can be.

Fields that we do not know arrive untouched; numbers keep their spelling. Changed are the model's name, the name of the
output cap where the model knows only the other one, and `stream_options`, because the proxy needs the usage.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from adapters.base import NO_NEEDS, Call, Needs, Reading, Supplies, Target, Warnings
from adapters.envelope import Envelope

_NULL = b"null"
# What a model that does not sample at will refuses, unless it says what happens anyway.
_SAMPLING: Mapping[str, float] = {"temperature": 1, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0}
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def headers(key: str) -> Mapping[str, str]:
    """The headers of every request to a provider, credentials included."""
    return {"authorization": f"Bearer {key}"}


def needs(envelope: Envelope, target: Target) -> Needs:
    """Nothing: the vendor fetches images by itself, and its clients bring all that it wants."""
    return NO_NEEDS


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
        gone |= _unwanted_by_substitute(envelope, target, changed, warnings)
    if (messages := _without_foreign_state(envelope, target)) is not None:
        changed["messages"] = messages
    body = envelope.raw
    # Said twice, a member may be read as the first by one and as the last by another: the model decides the price.
    if changed or gone or envelope.raw.count(b'"model"') > 1:
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
    if other.encode() not in envelope.raw or not _given(envelope, other) or _given(envelope, wanted):
        return set()
    changed[wanted] = envelope.fields[other]
    return {other}


def _given(envelope: Envelope, name: str) -> bool:
    return bytes(envelope.fields.get(name, _NULL)) != _NULL


def _unwanted_by_substitute(
    envelope: Envelope, target: Target, changed: dict[str, Any], warnings: Warnings
) -> set[str]:
    """Another model answers than the one that was asked for: what it would refuse is left out, and said."""
    gone: set[str] = set()
    if not target.capabilities.sampling:
        for name, neutral in _SAMPLING.items():
            if _given(envelope, name) and msgspec.json.decode(envelope.fields[name]) != neutral:
                gone.add(name)
    effort = msgspec.json.decode(envelope.fields.get("reasoning_effort", _NULL))
    able = target.capabilities.efforts
    if effort is not None and not able:
        gone.add("reasoning_effort")
    elif effort in _EFFORTS and effort not in able:
        changed["reasoning_effort"] = _nearest(effort, able)
        warnings.add("rounded", "reasoning_effort")
    for name in sorted(gone):
        warnings.add("dropped", name)
    return gone


def _nearest(effort: str, able: Sequence[str]) -> str:
    """The next weaker word that the model takes, else the weakest it has."""
    weaker = _EFFORTS[: _EFFORTS.index(effort)]
    return next((word for word in reversed(able) if word in weaker), able[0])


# What other vendors' answers carry beyond OpenAI's format, and clients send back.
_STATE = ("thinking_blocks", "extra_content", "reasoning_content", "provider_specific_fields", "reasoning_details")
_STATE_MARKS = (*(f'"{name}"'.encode() for name in _STATE), b"__thought__", b'"thought_signature"')


def _without_foreign_state(envelope: Envelope, target: Target) -> list[dict[str, Any]] | None:
    """The messages without another vendor's reasoning state, or None if there is none (nearly always)."""
    if not any(mark in envelope.raw for mark in _STATE_MARKS):
        return None
    kept = {"reasoning_content"} if target.capabilities.reasoning_content else set()
    unwanted = set(_STATE) - kept
    try:
        messages = msgspec.json.decode(envelope.fields["messages"], type=list[dict[str, msgspec.Raw]])
        return [_stripped(message, unwanted) for message in messages]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
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
    """A member of a call without the signature that some clients append to its id or put beside its arguments."""
    if name == "id" and b"__thought__" in bytes(value):
        return str(msgspec.json.decode(value)).partition("__thought__")[0]
    if name == "function" and b'"thought_signature"' in bytes(value):
        function = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
        return {key: kept for key, kept in function.items() if key != "thought_signature"}
    return value
