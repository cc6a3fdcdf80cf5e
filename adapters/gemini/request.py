"""The request to Gemini, from OpenAI's."""

import re
from collections.abc import Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from adapters import cap as caps
from adapters import conversation, fields, marks, tools, wire
from adapters import needs as waiting
from adapters.base import NO_NEEDS, Call, Capabilities, Needs, Reading, Supplies, Target, Warnings, invalid, unsupported
from adapters.envelope import Envelope
from adapters.gemini import contents, schema
from adapters.gemini.thinking import config as thinking_config

_encode = msgspec.json.Encoder().encode
_TOOL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}").fullmatch


def headers(key: str) -> Mapping[str, str]:
    """The headers of every request to a provider, credentials included."""
    return {"x-goog-api-key": key}


def needs(envelope: Envelope, target: Target) -> Needs:
    """Gemini wants the bytes of images; only Google's own files and YouTube it finds by itself. And its signatures."""
    if not (envelope.marks.media or target.capabilities.call_ids):
        return NO_NEEDS
    states: list[str] = []
    if target.capabilities.call_ids:
        states = [id for message, ids in waiting.calls(envelope.chat) if _unsigned(message) for id in ids]
    images = waiting.images(envelope.chat, contents.googles_own) if envelope.marks.media else ()
    return Needs(images=images, states=states)


def _unsigned(message: wire.Assistant) -> bool:
    """True if the client has brought none of the signatures of this step."""
    return not any(conversation.signature(call) for call in message.tool_calls or ())


def request(envelope: Envelope, target: Target, supplies: Supplies) -> Call:
    """The request in Gemini's words. Raises `Failure` (400) for what cannot be said in them."""
    chat, unknown = envelope.opened
    able = target.capabilities
    warnings = Warnings()
    asked = envelope.fields
    fields.apply(chat, asked, unknown, "gemini", warnings)
    _check_stream(chat, envelope.stream)
    talk = conversation.read(chat, warnings)
    if talk.turns[-1].role == "assistant":
        raise invalid(
            f"{target.model} does not continue an assistant's message: the last message must not be the assistant's.",
            "messages",
        )
    calling = talk.called or not _TOOLS.isdisjoint(asked)
    box, names = (tools.EMPTY, _NO_NAMES) if not calling else _box(chat, talk)
    body: dict[str, Any] = {}
    turns = conversation.fold_system(talk.turns, keep=False) if talk.interrupted else talk.turns
    if talk.system and able.system:
        body["systemInstruction"] = {"parts": [{"text": block.text} for block in talk.system]}
    elif talk.system:
        # Gemma knows no system instruction: the first user's turn begins with it.
        turns = [conversation.Turn("user", list(talk.system)), *turns]
    body["contents"] = contents.Speller(names, able, supplies, warnings).contents(turns)
    if calling:
        body |= _tools(chat, box, able, names, warnings)
    if generation := _generation(chat, asked, box, target, warnings):
        body["generationConfig"] = generation
    if "service_tier" in asked:
        body |= _tier(chat.service_tier, warnings)
    reading = Reading(
        stream=envelope.stream,
        choices=envelope.choices,
        include_usage=envelope.include_usage,
        model=target.model,
    )
    if calling:
        reading.names = names.clients
        reading.custom = frozenset([tool.name for tool in box.tools if tool.custom])
        reading.legacy_functions = box.legacy
    said = _encode(body)
    bare = envelope.bare(len(chat.messages))
    found = marks.around(len(body["contents"]), *body) if bare else marks.of(said, body, len(turns))
    return Call(path=_path(target.model, envelope.stream), body=said, reading=reading, warnings=warnings, marks=found)


# Members that offer something to call. Without them, and without calls in the history, nothing has a name.
_TOOLS = frozenset({"tools", "functions", "tool_choice", "function_call", "web_search_options"})
_NO_NAMES = tools.Names(_TOOL_NAME, 128)


def _box(chat: wire.Chat, talk: conversation.Conversation) -> tuple[tools.Toolbox, tools.Names]:
    """The tools, and the names by which they and those of the history go."""
    box, names = tools.read(chat), tools.Names(_TOOL_NAME, 128)
    names.claim([tool.name for tool in box.tools])
    names.claim([block.name for turn in talk.turns for block in turn.blocks if isinstance(block, conversation.Call)])
    return box, names


def _path(model: str, stream: bool) -> str:
    return (_remembered if len(model) <= _LONGEST_NAME else _remembered.__wrapped__)(model, stream)


_LONGEST_NAME = 256  # characters; clients make up names, and what is longer is not remembered


@lru_cache(256)
def _remembered(model: str, stream: bool) -> str:
    """Quoting is slow, and the models are few."""
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/v1beta/models/{quote(model, safe='')}:{verb}"


def _check_stream(chat: wire.Chat, stream: bool) -> None:
    """What is had only without a stream."""
    if not stream:
        return
    if (chat.n or 1) > 1:
        raise unsupported("n", "Gemini gives several answers only without a stream")
    if chat.logprobs:
        raise unsupported("logprobs", "Gemini's log probabilities are translated only without a stream")


def _tools(
    chat: wire.Chat, box: tools.Toolbox, able: Capabilities, names: tools.Names, warnings: Warnings
) -> dict[str, Any]:
    said: dict[str, Any] = {}
    specs: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    if box.tools:
        specs.append({"functionDeclarations": [_declaration(tool, names) for tool in box.tools]})
    if box.choice is not None:
        config["functionCallingConfig"] = _choice(box.choice, names)
    if chat.web_search_options is not None:
        if box.tools and not able.call_ids:
            raise unsupported("web_search_options", "this model does not search and call functions in one request")
        specs.append({"googleSearch": {}})
        for option in ("search_context_size", "user_location"):
            if getattr(chat.web_search_options, option) is not None:
                warnings.add("dropped", f"web_search_options.{option}")
        if box.tools:
            config["includeServerSideToolInvocations"] = True
    if specs:
        said["tools"] = specs
    if config:
        said["toolConfig"] = config
    return said


def _declaration(tool: tools.Tool, names: tools.Names) -> dict[str, Any]:
    """`parametersJsonSchema` takes real JSON Schema; the older `parameters` refuses half of it."""
    said: dict[str, Any] = {"name": names.wire(tool.name), "description": tool.description or ""}
    if tool.parameters and any(tool.parameters.get(key) for key in _SAYING):
        said["parametersJsonSchema"] = schema.clean(tool.parameters, f"{tool.param}.parameters")
    return said


# A schema with none of these is one of a tool without arguments.
_SAYING = ("properties", "additionalProperties", "patternProperties", "$ref", "anyOf", "oneOf", "allOf")
_MODES = {"auto": "AUTO", "none": "NONE", "any": "ANY", "tool": "ANY"}


def _choice(choice: tools.Choice, names: tools.Names) -> dict[str, Any]:
    if choice.mode == "tool" and choice.name is not None:
        return {"mode": "ANY", "allowedFunctionNames": [names.wire(choice.name)]}
    if choice.only is not None:
        # AUTO refuses a list of names; VALIDATED is AUTO that takes one.
        mode = "VALIDATED" if choice.mode == "auto" else _MODES[choice.mode]
        return {"mode": mode, "allowedFunctionNames": [names.wire(name) for name in choice.only]}
    return {"mode": _MODES[choice.mode]}


# Members that say how the answer is to be made. Most requests have none but its length.
_TUNING = frozenset(
    {
        *("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "stop", "n"),
        *("logprobs", "top_logprobs", "response_format", "reasoning_effort"),
    }
)


def _generation(
    chat: wire.Chat, asked: Mapping[str, msgspec.Raw], box: tools.Toolbox, target: Target, warnings: Warnings
) -> dict[str, Any]:
    able = target.capabilities
    said: dict[str, Any] = {}
    cap = caps.read(chat, target.max_output, target, warnings)  # counts thoughts and answer
    if cap.asked or cap.lowered:
        said["maxOutputTokens"] = cap.tokens
    if _TUNING.isdisjoint(asked):
        return said
    said |= _controls(chat, able, warnings)
    if stop := [chat.stop] if isinstance(chat.stop, str) else chat.stop:
        if not all(stop):
            raise invalid("Invalid 'stop': a stop sequence is at least one character.", "stop")
        said["stopSequences"] = stop
    if chat.seed is not None:
        said["seed"] = chat.seed % 2**31
    if (chat.n or 1) > 1:
        said["candidateCount"] = chat.n
    said |= _logprobs(chat) | _format(chat, box, able)
    if thinking := thinking_config(chat.reasoning_effort, able, warnings, cap.tokens if cap.lowered else None):
        said["thinkingConfig"] = thinking
    return said


class _Control(NamedTuple):
    """A number that goes through as it is, if the model obeys it; losing its neutral value is losing nothing."""

    name: str
    spelled: str
    needs: str  # the capability
    neutral: float


_CONTROLS = (
    _Control("temperature", "temperature", "sampling", 1),
    _Control("top_p", "topP", "sampling", 1),
    _Control("frequency_penalty", "frequencyPenalty", "penalties", 0),
    _Control("presence_penalty", "presencePenalty", "penalties", 0),
)
_given = attrgetter(*[control.name for control in _CONTROLS])


def _controls(chat: wire.Chat, able: Capabilities, warnings: Warnings) -> dict[str, float]:
    said: dict[str, float] = {}
    given = _given(chat)
    if given.count(None) < len(given):  # most ask for none of them
        for control, value in zip(_CONTROLS, given, strict=True):
            if value is not None and getattr(able, control.needs):
                said[control.spelled] = value
            elif value is not None and value != control.neutral:
                warnings.add("dropped", control.name)
    return said


def _logprobs(chat: wire.Chat) -> dict[str, Any]:
    """Beware the names: Gemini's `logprobs` is the count."""
    if not chat.logprobs:
        if chat.top_logprobs:
            raise invalid("'top_logprobs' is only allowed when 'logprobs' is true.", "top_logprobs")
        return {}
    return {"responseLogprobs": True} | ({"logprobs": chat.top_logprobs} if chat.top_logprobs else {})


def _format(chat: wire.Chat, box: tools.Toolbox, able: Capabilities) -> dict[str, Any]:
    format = chat.response_format
    if format is None or isinstance(format, wire.TextFormat):
        return {}
    if (box.tools or chat.web_search_options is not None) and not able.json_with_tools:
        raise unsupported("response_format", "this model does not write JSON and use tools in one request")
    if isinstance(format, wire.JsonObjectFormat) or format.json_schema.schema is None:
        return {"responseMimeType": "application/json"}
    if not able.json_schema:
        raise unsupported("response_format", "this model has no structured output")
    cleaned = schema.clean(format.json_schema.schema, "response_format.json_schema.schema")
    return {"responseMimeType": "application/json", "responseJsonSchema": cleaned}


# `auto` is left out: sent as a tier it could become the dear one.
_TIERS = {"default": "standard", "flex": "flex", "priority": "priority", "fast": "priority"}


def _tier(tier: str | None, warnings: Warnings) -> dict[str, Any]:
    if tier in _TIERS:
        return {"serviceTier": _TIERS[tier]}
    if tier not in (None, "auto"):
        warnings.add("dropped", "service_tier")
    return {}
