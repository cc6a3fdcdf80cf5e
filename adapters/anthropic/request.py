"""The request to Anthropic, from OpenAI's.

Version 2023-06-01 is sent: the later 2026-10-21 only takes things away (sampling on every model).
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from adapters import conversation, fields, tools, wire
from adapters.anthropic import messages, schema, thinking
from adapters.base import Call, Reading, Remote, Supplies, Target, Warnings, invalid
from adapters.conversation import Conversation
from adapters.envelope import Envelope

VERSION = "2023-06-01"

_encode = msgspec.json.Encoder().encode
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}").fullmatch


def headers(key: str) -> Mapping[str, str]:
    """The headers of every request to a provider, credentials included."""
    return {"x-api-key": key, "anthropic-version": VERSION}


def remote(envelope: Envelope, target: Target) -> list[Remote]:
    """Anthropic fetches https by itself; plain http it refuses, so the proxy fetches that."""
    return messages.remote(envelope.chat, lambda url: not url.lower().startswith("http://"))


def request(envelope: Envelope, target: Target, supplies: Supplies) -> Call:
    """The request in Anthropic's words. Raises `Failure` (400) for what cannot be said in them."""
    chat, unknown = envelope.opened
    warnings = Warnings()
    fields.apply(chat, unknown, "anthropic", warnings)
    talk = conversation.read(chat, warnings)
    box = tools.read(chat)
    names = tools.Names(_TOOL_NAME, 128)
    reading = Reading(stream=envelope.stream, include_usage=envelope.include_usage, model=target.model)
    cap = _max_tokens(chat, target, len(envelope.raw), warnings)
    thought = thinking.decide(chat, box, talk, target.capabilities, cap, warnings)
    turns = messages.Speller(names, supplies, warnings, thinking=thought.on).turns(
        conversation.fold_system(talk.turns, keep=target.capabilities.mid_system)
    )
    _check_prefill(talk, turns, target, thought)
    body: dict[str, Any] = {"model": target.model, "max_tokens": cap}
    system = [messages.text(block) for block in talk.system]
    body |= _tools(chat, box, talk, target, names, thought, warnings)
    body |= _format(chat, target, body, system, reading, warnings)
    if system:
        body["system"] = system
    body["messages"] = turns
    body |= _sampling(chat, target, thought, warnings)
    if thought.thinking is not None:
        body["thinking"] = thought.thinking
    if thought.effort is not None:
        body.setdefault("output_config", {})["effort"] = thought.effort
    body |= _rest(chat, warnings)
    reading.names = names.clients
    reading.custom = frozenset(tool.name for tool in box.tools if tool.custom)
    reading.legacy_functions = box.legacy
    return Call(path="/v1/messages", body=_encode(body), reading=reading, warnings=warnings)


def _max_tokens(chat: wire.Chat, target: Target, size: int, warnings: Warnings) -> int:
    """Anthropic wants a cap in every request; without one from the client it is all that the model can give."""
    asked = chat.max_completion_tokens if chat.max_completion_tokens is not None else chat.max_tokens
    param = "max_tokens" if chat.max_completion_tokens is None else "max_completion_tokens"
    if chat.max_tokens is not None and asked != chat.max_tokens:
        raise invalid("'max_tokens' and 'max_completion_tokens' are both given, and differ.", "max_tokens")
    if asked is None:
        # Older models refuse input and cap together beyond their window. Three bytes a token is on the safe side for
        # text; the cap never falls so low that an answer is cut that would have fitted anywhere.
        room = target.context - size // 3
        return (
            max(1024, min(target.max_output, room)) if size > target.context - target.max_output else target.max_output
        )
    if asked < 1:
        raise invalid(f"Invalid '{param}': expected at least 1, got {asked}.", param)
    if asked > target.max_output:
        warnings.add("clamped", param)
        return target.max_output
    return asked


def _sampling(chat: wire.Chat, target: Target, thought: thinking.Thought, warnings: Warnings) -> dict[str, Any]:
    """Temperature goes to 1 here; Claude 4.x takes it or `top_p`, later models and thinking take neither."""
    said: dict[str, float] = {}
    for name in ("temperature", "top_p"):
        value = getattr(chat, name)
        if value is None:
            continue
        if not target.capabilities.sampling or thought.on:
            if value != 1:
                warnings.add("dropped", name)
        elif name == "top_p" and said and target.capabilities.temperature_xor_top_p:
            warnings.add("dropped", name)
        elif value < 0 or value > (2 if name == "temperature" else 1):
            raise invalid(f"Invalid '{name}': {value} is out of range.", name)
        else:
            if value > 1:
                warnings.add("clamped", name)
            said[name] = min(value, 1)
    return said


def _tools(
    chat: wire.Chat,
    box: tools.Toolbox,
    talk: Conversation,
    target: Target,
    names: tools.Names,
    thought: thinking.Thought,
    warnings: Warnings,
) -> dict[str, Any]:
    choice = thought.choice
    offered = box.tools
    if choice is not None and choice.only is not None:
        offered = tuple(tool for tool in offered if tool.name in choice.only)
    names.claim(tool.name for tool in box.tools)
    said: dict[str, Any] = {}
    specs = [_tool(tool, target, names, warnings) for tool in offered]
    used = {block.name for turn in talk.turns for block in turn.blocks if isinstance(block, conversation.Call)}
    if not specs and used:
        # A history with calls needs their tools; they were not offered, so they may not be called.
        specs = [{"name": names.wire(name), "input_schema": dict(schema.ANY_OBJECT)} for name in sorted(used)]
        choice = tools.Choice("none")
    if chat.web_search_options is not None:
        specs.append(_web_search(chat.web_search_options))
    if not specs:
        return {}
    said["tools"] = specs
    spelled: dict[str, Any] = {"type": choice.mode} if choice is not None else {"type": "auto"}
    if choice is not None and choice.mode == "tool" and choice.name is not None:
        spelled["name"] = names.wire(choice.name)
    if chat.parallel_tool_calls is False and box.tools and spelled["type"] != "none":
        spelled["disable_parallel_tool_use"] = True
    if choice is not None or len(spelled) > 1:
        said["tool_choice"] = spelled
    return said


def _tool(tool: tools.Tool, target: Target, names: tools.Names, warnings: Warnings) -> dict[str, Any]:
    parameters = dict(tool.parameters or schema.ANY_OBJECT)
    if parameters.setdefault("type", "object") != "object":
        raise invalid(
            f"Invalid '{tool.param}.parameters': the schema of a tool is an object.", f"{tool.param}.parameters"
        )
    spec: dict[str, Any] = {"name": names.wire(tool.name)}
    if tool.description:
        spec["description"] = tool.description
    if tool.strict and target.capabilities.json_schema and schema.obstacle(parameters) is None:
        spec["input_schema"] = schema.clean(parameters)
        spec["strict"] = True
    else:
        if tool.strict:
            warnings.add("dropped", f"{tool.param}.strict")
        spec["input_schema"] = parameters
    return spec


_SEARCHES = {"low": 1, "medium": 5, "high": 10}


def _web_search(options: wire.WebSearchOptions) -> dict[str, Any]:
    tool: dict[str, Any] = {
        "type": "web_search_20250305",
        "name": "web_search",
        "max_uses": _SEARCHES[options.search_context_size or "medium"],
    }
    if options.user_location is not None:
        place = {k: v for k, v in msgspec.structs.asdict(options.user_location.approximate).items() if v is not None}
        tool["user_location"] = {"type": "approximate", **place}
    return tool


_JSON_ONLY = "Answer with one JSON object and nothing else: no explanation, no Markdown fence."


def _format(
    chat: wire.Chat,
    target: Target,
    body: dict[str, Any],
    system: list[dict[str, Any]],
    reading: Reading,
    warnings: Warnings,
) -> dict[str, Any]:
    """Structured output: native where it can be had, else by a forced tool, else in so many words."""
    format = chat.response_format
    if isinstance(format, wire.JsonObjectFormat):
        system.append({"type": "text", "text": _JSON_ONLY})
        reading.json_fence = True
        warnings.add("emulated", "response_format")
    if not isinstance(format, wire.JsonSchemaFormat):
        return {}
    wanted = format.json_schema.schema if format.json_schema.schema is not None else dict(schema.ANY_OBJECT)
    why = schema.obstacle(wanted) if target.capabilities.json_schema else "the model has no structured output"
    if why is None:
        return {"output_config": {"format": {"type": "json_schema", "schema": schema.clean(wanted)}}}
    if not target.capabilities.forced_tool or "tools" in body or "thinking" in body or wanted.get("type") != "object":
        raise invalid(
            f"The schema cannot be had from this model: {why}.",
            "response_format.json_schema.schema",
            "unsupported_parameter",
        )
    reading.json_tool = "json_tool_call"
    warnings.add("emulated", "response_format")
    tool = {"name": reading.json_tool, "description": "Give the answer.", "input_schema": wanted}
    return {"tools": [tool], "tool_choice": {"type": "tool", "name": reading.json_tool}}


def _check_prefill(talk: Conversation, turns: list[dict[str, Any]], target: Target, thought: thinking.Thought) -> None:
    """An assistant's message at the end asks the model to go on with it; only older models do."""
    if talk.turns[-1].role != "assistant":
        return
    if not target.capabilities.prefill or thought.on:
        raise invalid(
            f"{target.model} does not continue an assistant's message: the last message must not be the assistant's.",
            "messages",
        )
    last = turns[-1]["content"][-1]
    if last["type"] == "text":
        last["text"] = last["text"].rstrip() or conversation.PLACEHOLDER


_TIERS = {"auto": "auto", "default": "standard_only"}
_LONGEST_USER = 512
_PERSONAL = re.compile(r"@|^\+?[\d\s().-]{7,}$")


def _rest(chat: wire.Chat, warnings: Warnings) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if stop := _stop(chat.stop, warnings):
        said["stop_sequences"] = stop
    if user := chat.safety_identifier or chat.user:
        # Names, addresses and numbers of people are refused: what looks like one is sent as its digest.
        personal = _PERSONAL.search(user) or len(user) > _LONGEST_USER
        said["metadata"] = {"user_id": hashlib.sha256(user.encode()).hexdigest() if personal else user}
    if chat.service_tier in _TIERS:
        said["service_tier"] = _TIERS[chat.service_tier]
    elif chat.service_tier is not None:
        warnings.add("dropped", "service_tier")
    if chat.stream:
        said["stream"] = True
    return said


def _stop(stop: str | list[str] | None, warnings: Warnings) -> list[str]:
    sequences = [stop] if isinstance(stop, str) else stop or []
    if any(not sequence for sequence in sequences):
        raise invalid("Invalid 'stop': a stop sequence is at least one character.", "stop")
    kept = [sequence for sequence in sequences if sequence.strip()]
    if len(kept) < len(sequences):
        warnings.add("dropped", "stop")  # stop sequences of white space are refused upstream
    return kept
