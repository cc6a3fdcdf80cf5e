"""The request to OpenAI: the client's own bytes, with as few words changed as can be.

Fields that we do not know arrive untouched; numbers keep their spelling. Changed are the model's name, the output cap
(its name where the model knows only the other one, its number where less money is held), and `stream_options`, because
the proxy needs the usage; and, for vendors that only speak OpenAI's format, what they are known to refuse
(`Capabilities`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from adapters import marks
from adapters.base import NO_NEEDS, Call, Capabilities, Needs, Reading, Supplies, Target, Warnings, unsupported
from adapters.envelope import Envelope
from adapters.openai import cap

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
    able = target.capabilities
    changed: dict[str, Any] = {}
    if envelope.model != target.model:
        changed["model"] = target.model
    counts = envelope.include_usage and envelope.raw.count(b'"include_usage"') == 1
    if envelope.stream and not counts and able.stream_options:
        changed["stream_options"] = _with_usage(envelope.fields.get("stream_options"))
    capped, gone = cap.changes(envelope, target, warnings)
    if able.refused or not able.stream_options:
        # A cap goes out even to a vendor that is said to refuse it: its 400 costs nothing, an endless answer does.
        gone |= _refused(envelope, able, warnings) - capped.keys()
    if capped:
        changed |= capped
    if "model" in changed and envelope.model.removeprefix(f"{target.provider}/") != target.model:
        gone |= _unwanted_by_substitute(envelope, target, changed, warnings)
    if (messages := _messages(envelope, able, warnings)) is not None:
        changed["messages"] = messages
    body, found = envelope.raw, envelope.marks
    if changed or gone or found.escaped or (envelope.style is None and _twice(envelope.raw)):
        said = {**envelope.fields, **changed}
        body = msgspec.json.encode({k: v for k, v in said.items() if k not in gone} if gone else said)
        if found.escaped:
            body = _plainly(body)
            found = marks.read(body)
    reading = Reading(
        stream=envelope.stream,
        choices=envelope.choices,
        include_usage=envelope.include_usage,
        model=target.model,
        caches_long=b'12h"' in found.words,
        exact=target.provider == "openai",
    )
    return Call(path="/chat/completions", body=body, reading=reading, warnings=warnings, marks=found)


# What decides the price. Said twice, or in escaped letters, it may be read as the first by one and as the last by
# another: then each member is sent once, as we have read it.
_PRICED = (
    *(b'"model"', b'"max_tokens"', b'"max_completion_tokens"', b'"n"', b'"service_tier"', b'"messages"', b'"stream"'),
    *(b'"stream_options"', b'"prediction"'),
)


def _twice(raw: bytes) -> bool:
    """Whether it may be so. Who has a style has each member once: what is there twice is deeper down, and another."""
    return any(raw.count(name) > 1 for name in _PRICED)


def _plainly(body: bytes) -> bytes:
    """The body in plain letters, to its depth: what may be billed is read off its bytes."""
    try:
        return msgspec.json.encode(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body  # the vendor will say so


def _with_usage(options: msgspec.Raw | None) -> dict[str, Any]:
    asked = msgspec.json.decode(options) if options is not None else None
    return {**(asked or {}), "include_usage": True}


def _given(envelope: Envelope, name: str) -> bool:
    return bytes(envelope.fields.get(name, _NULL)) != _NULL


# Without these the answer would be another one, and nobody could see it: better none.
_HARD = frozenset(
    {
        *("audio", "function_call", "functions", "logit_bias", "logprobs", "modalities", "moderation", "n"),
        *("response_format", "stop", "tool_choice", "tools", "top_logprobs", "web_search_options"),
    }
)
# These mean nothing where there is no place for them, or their absence is made good by the proxy.
_SILENT = frozenset(
    {
        *("metadata", "prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *("safety_identifier", "stream_options", "user"),
    }
)
_NEUTRAL: Mapping[str, Any] = {
    **{"frequency_penalty": 0, "presence_penalty": 0, "logprobs": False, "top_logprobs": 0, "n": 1, "logit_bias": {}},
    **{"modalities": ["text"], "store": False, "verbosity": "medium", "service_tier": "auto"},
}


def _refused(envelope: Envelope, able: Capabilities, warnings: Warnings) -> set[str]:
    """What the vendor would answer with a 400, though the answer would be the same, or nearly, without it.

    Raises `Failure` (`unsupported_parameter`) if it would not be.
    """
    names = able.refused if able.stream_options else ("stream_options", *able.refused)
    gone = envelope.fields.keys() & names
    if not gone:
        return gone
    caps = {name for name in cap.NAMES if _given(envelope, name)} if gone.intersection(cap.NAMES) else set()
    if caps <= gone:
        gone -= caps  # the client's only cap: the money was held for no more than that
    for name in sorted(gone - _SILENT):
        value = msgspec.json.decode(envelope.fields[name])
        if value is None or (name in _NEUTRAL and value == _NEUTRAL[name]):
            continue
        if name in _HARD:
            raise unsupported(name, "the provider does not take it")
        warnings.add("dropped", name)
    return gone


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
_NAME = "messages[].name"


def _messages(envelope: Envelope, able: Capabilities, warnings: Warnings) -> list[dict[str, Any]] | None:
    """The messages without what the vendor does not know, or None if there is none of it (nearly always).

    That is another vendor's reasoning state, and for some the role `developer` and the names of speakers.
    """
    found = envelope.marks
    nameless = found.names > 0 and _NAME in able.refused
    renamed = not able.developer and b'developer"' in found.words
    signed = b"tool_call" in found.words and b"__thought__" in envelope.raw
    if not (nameless or renamed or signed or found.state):
        return None
    kept = {name for name in ("reasoning_content", "reasoning_details") if getattr(able, name)}
    unwanted = set(_STATE) - kept
    try:
        messages = msgspec.json.decode(envelope.fields["messages"], type=list[dict[str, msgspec.Raw]])
        stripped = [_stripped(message, unwanted) for message in messages]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return None  # not a list of messages: the vendor will say so
    for message in stripped:
        role = bytes(message.get("role", b""))
        if role == b'"developer"' and not able.developer:
            message["role"] = "system"
        if nameless and role != b'"function"' and message.pop("name", None) is not None:
            warnings.add("dropped", _NAME)
    return stripped


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
