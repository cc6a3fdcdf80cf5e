"""What OpenAI refuses in a chat request: its grammar as a table, its rules as one function a row."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from proxy.simulator.shapes import Flaw, Path, flaws
from proxy.simulator.vocabulary import Json, Refusal

SHAPES = {
    "Request": dict(
        messages="[Message]!", model="str!", audio="obj", frequency_penalty="num", function_call="str|obj",
        functions="[obj]", logit_bias="obj", logprobs="bool", max_completion_tokens="int", max_tokens="int",
        metadata="obj", modalities="[str]", moderation="obj", n="int", parallel_tool_calls="bool", prediction="obj",
        presence_penalty="num", prompt_cache_key="str", prompt_cache_options="obj", prompt_cache_retention="str",
        reasoning_effort="str", response_format="Format", safety_identifier="str", seed="int", service_tier="str",
        stop="str|[str]", store="bool", stream="bool", stream_options="StreamOptions", temperature="num",
        tool_choice="str|obj", tools="[Tool]", top_logprobs="int", top_p="num", user="str", verbosity="str",
        web_search_options="obj",
    ),
    "StreamOptions": dict(include_usage="bool", include_obfuscation="bool"),
    "Message": {
        "@by": "role", "system": "Said", "developer": "Said", "user": "Said", "assistant": "Assistant",
        "function": "FunctionMessage", "tool": "ToolMessage",
    },
    "Said": dict(role="str!", content="str|[Part]!", name="str"),
    "Assistant": dict(
        role="str!", content="str|[Part]", name="str", refusal="str", tool_calls="[ToolCall]", function_call="obj",
        audio="obj", annotations="[any]",
    ),
    "ToolMessage": dict(role="str!", content="str|[Part]!", tool_call_id="str!", name="str"),
    "FunctionMessage": dict(role="str!", content="str", name="str!"),
    "Part": {
        "@by": "type", "text": "Text", "image_url": "Image", "input_audio": "Audio", "file": "File",
        "refusal": "RefusalPart",
    },
    "Text": dict(type="str!", text="str!", prompt_cache_breakpoint="obj", cache_control="obj"),
    "Image": dict(type="str!", image_url="ImageUrl!", prompt_cache_breakpoint="obj"),
    "ImageUrl": dict(url="str!", detail="str"),
    "Audio": dict(type="str!", input_audio="obj!", prompt_cache_breakpoint="obj"),
    "File": dict(type="str!", file="obj!", prompt_cache_breakpoint="obj"),
    "RefusalPart": dict(type="str!", refusal="str!"),
    "ToolCall": {"@by": "type", "function": "FunctionCall", "custom": "CustomCall"},
    "FunctionCall": dict(id="str!", type="str!", function="CalledFunction!"),
    "CalledFunction": dict(name="str!", arguments="str!"),
    "CustomCall": dict(id="str!", type="str!", custom="obj!"),
    "Tool": {"@by": "type", "function": "FunctionTool", "custom": "CustomTool"},
    "FunctionTool": dict(type="str!", function="Function!"),
    "Function": dict(name="str!", description="str", parameters="obj", strict="bool"),
    "CustomTool": dict(type="str!", custom="obj!"),
    "Format": {"@by": "type", "text": "PlainFormat", "json_object": "PlainFormat", "json_schema": "SchemaFormat"},
    "PlainFormat": dict(type="str!"),
    "SchemaFormat": dict(type="str!", json_schema="NamedSchema!"),
    "NamedSchema": dict(name="str!", description="str", schema="obj", strict="bool"),
}  # fmt: skip
ARTICLES = {
    "str": "a string", "num": "a decimal", "int": "an integer", "bool": "a boolean", "obj": "an object",
}  # fmt: skip
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
NAME = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")
REASONS = re.compile(r"^(gpt-[56](?!.*chat)|o\d)")
NO_IDLE_EFFORT = re.compile(r"^(gpt-6\.2-|gpt-6-astra|gpt-6\.1-sol)")
KNOWN = re.compile(r"^(gpt-|o\d|chatgpt-|ft:)")
BAD_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
)


def refusal(body: Json) -> Refusal | None:
    """The first thing that OpenAI would object to."""
    flaw = next(flaws(body, "Request", SHAPES), None)
    if flaw is not None:
        return _flaw_refusal(flaw)
    return next((r for check in CHECKS for r in check(body)), None)


def reasons(body: Json) -> bool:
    """Whether the model reasons on this request."""
    return bool(REASONS.match(body["model"])) and _effort(body) != "none"


def _effort(body: Json) -> str:
    default = "none" if body["model"].startswith("gpt-5.4") else "medium"
    return str(body.get("reasoning_effort") or default)


def _dotted(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _flaw_refusal(flaw: Flaw) -> Refusal:
    param = _dotted(flaw.path)
    if flaw.kind == "unknown":
        return Refusal(f"Unknown parameter: '{param}'.", param, "unknown_parameter")
    if flaw.kind == "missing":
        if flaw.path == ("model",):
            return Refusal("you must provide a model parameter")
        return Refusal(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")
    if flaw.kind == "choice":
        said = f"Invalid value: '{flaw.value}'. Supported values are: {flaw.expected}."
        return Refusal(said, param, "invalid_value")
    wanted = " or ".join(ARTICLES.get(o, "an array" if o[0] == "[" else "an object") for o in flaw.expected.split("|"))
    got = {str: "a string", int: "an integer", float: "a decimal", bool: "a boolean", list: "an array"}
    message = f"Invalid type for '{param}': expected {wanted}, but got {got.get(type(flaw.value), 'an object')}"
    return Refusal(f"{message} instead.", param, "invalid_type")


def _model(body: Json) -> Iterator[Refusal]:
    model = body["model"]
    if not KNOWN.match(model) or "missing" in model:
        message = f"The model `{model}` does not exist or you do not have access to it."
        yield Refusal(message, None, "model_not_found", 404)


def _lengths(body: Json) -> Iterator[Refusal]:
    if not body["messages"]:
        message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array."
        yield Refusal(message, "messages", "empty_array")
    if len(body.get("stop") or ()) > 4 and isinstance(body["stop"], list):
        yield Refusal("Invalid 'stop': array too long. Expected an array with maximum length 4.", "stop",
                      "array_above_max_length")  # fmt: skip
    if body.get("tools") == []:
        yield Refusal("Invalid 'tools': empty array. Expected an array with minimum length 1.", "tools", "empty_array")


def _limits(body: Json) -> Iterator[Refusal]:
    if body.get("max_tokens") is not None:
        if REASONS.match(body["model"]):
            message = (
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead."
            )
            yield Refusal(message, "max_tokens", "unsupported_parameter")
        if body.get("max_completion_tokens") is not None:
            message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
            yield Refusal(message, "max_tokens", "invalid_parameter_combination")
    for name, low, high in (
        ("max_tokens", 1, 10**9), ("max_completion_tokens", 1, 10**9), ("temperature", 0, 2), ("top_p", 0, 1),
        ("n", 1, 128), ("presence_penalty", -2, 2), ("frequency_penalty", -2, 2), ("top_logprobs", 0, 20),
    ):  # fmt: skip
        value = body.get(name)
        if value is not None and not low <= value <= high:
            word, code = ("minimum", "below_min") if value < low else ("maximum", "above_max")
            bound = low if value < low else high
            kind = "integer" if isinstance(value, int) else "decimal"
            message = f"Invalid '{name}': {kind} {word} value violated. Expected a value {'>' if value < low else '<'}= {bound}, but got {value} instead."  # noqa: E501 - the vendor's own sentence, in one piece
            yield Refusal(message, name, f"{kind}_{code}_value")


def _efforts(body: Json) -> Iterator[Refusal]:
    model = body["model"]
    effort = body.get("reasoning_effort")
    if not REASONS.match(model):
        if effort is not None:
            message = "Unsupported parameter: 'reasoning_effort' is not supported with this model."
            yield Refusal(message, "reasoning_effort", "unsupported_parameter")
        return
    idle = ("none", "minimal")
    if effort is not None and (effort not in EFFORTS or (effort in idle and NO_IDLE_EFFORT.match(model))):
        known = [e for e in EFFORTS if not (e in idle and NO_IDLE_EFFORT.match(model))]
        message = (
            f"Unsupported value: 'reasoning_effort' does not support '{effort}' with this model. "
            f"Supported values are: {', '.join(repr(e) for e in known)}."
        )
        yield Refusal(message, "reasoning_effort", "unsupported_value")


def _reasoning_fields(body: Json) -> Iterator[Refusal]:
    """What models that can reason refuse, and what they refuse while they do."""
    model = body["model"]
    if not REASONS.match(model):
        return
    for name in ("stop", "logit_bias", "prediction", "audio", "modalities"):
        if model.startswith(("gpt-5", "gpt-6")) and body.get(name):
            yield _unsupported(name)
    for name in ("presence_penalty", "frequency_penalty"):
        if body.get(name):
            yield _unsupported(name)
    if reasons(body):
        yield from _sampling(body)


def _sampling(body: Json) -> Iterator[Refusal]:
    for name in ("temperature", "top_p"):
        value = body.get(name)
        if value is not None and value != 1:
            message = (
                f"Unsupported value: '{name}' does not support {value} with this model. "
                "Only the default (1) value is supported."
            )
            yield Refusal(message, name, "unsupported_value")
    for name in ("logprobs", "top_logprobs"):
        if body.get(name):
            yield _unsupported(name)


def _unsupported(name: str) -> Refusal:
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    return Refusal(message, name, "unsupported_parameter")


def _stream(body: Json) -> Iterator[Refusal]:
    if body.get("stream_options") is not None and not body.get("stream"):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        yield Refusal(message, "stream_options")


def _tools(body: Json) -> Iterator[Refusal]:
    names = [t.get("function", t.get("custom"))["name"] for t in body.get("tools") or []]
    for index, name in enumerate(names):
        if not NAME.match(name):
            message = f"Invalid 'tools[{index}].function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."  # noqa: E501 - the vendor's own sentence, in one piece
            yield Refusal(message, f"tools[{index}].function.name", "invalid_value")
    for name in ("tool_choice", "parallel_tool_calls"):
        if body.get(name) is not None and not body.get("tools"):
            yield Refusal(f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.", name)
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        message = f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'."
        yield Refusal(message, "tool_choice", "invalid_value")
    named = (choice.get("function") or {}).get("name") if isinstance(choice, dict) else None
    if named is not None and named not in names:
        yield Refusal(f"Invalid value for 'tool_choice': Tool choice '{named}' not found in 'tools' parameter.",
                      "tool_choice")  # fmt: skip


def _turns(body: Json) -> Iterator[Refusal]:
    open_ids: list[str] = []
    for index, message in enumerate(body["messages"]):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_ids:
                text = (
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                    "'tool_calls'."
                )
                yield Refusal(text, f"messages.[{index}].role")
            else:
                open_ids.remove(message["tool_call_id"])
            continue
        if open_ids:
            break
        if message["role"] == "assistant":
            open_ids = [c["id"] for c in message.get("tool_calls") or []]
            if message.get("content") is None and not any(
                message.get(k) for k in ("tool_calls", "function_call", "refusal", "audio")
            ):
                text = f"Invalid value for 'content': expected a string, got null. (messages[{index}])"
                yield Refusal(text, f"messages.[{index}].content")
    if open_ids:
        text = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(open_ids)}"
        )
        yield Refusal(text, "messages")


def _images(body: Json) -> Iterator[Refusal]:
    for index, message in enumerate(body["messages"]):
        content = message.get("content")
        for at, part in enumerate(content if isinstance(content, list) else ()):
            if part["type"] == "image_url" and not part["image_url"]["url"].startswith(("data:image/", "https://")):
                text = f"Invalid 'messages[{index}].content[{at}].image_url.url'. Expected a base64-encoded data URL with an image MIME type, or a https URL."  # noqa: E501 - the vendor's own sentence, in one piece
                yield Refusal(text, f"messages[{index}].content[{at}].image_url.url", "invalid_value")


def _format(body: Json) -> Iterator[Refusal]:
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_object" and "json" not in str(body["messages"]).lower():
        text = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        yield Refusal(text, "messages")
    named = wanted.get("json_schema") or {}
    if named.get("strict") and (loose := _loose(named.get("schema") or {})):
        text = f"Invalid schema for response_format '{named['name']}': {loose}"
        yield Refusal(text, "response_format")
    for index, tool in enumerate(body.get("tools") or []):
        function = tool.get("function") or {}
        if function.get("strict") and (loose := _loose(function.get("parameters") or {})):
            text = f"Invalid schema for function '{function['name']}': {loose}"
            yield Refusal(text, f"tools[{index}].function.parameters", "invalid_function_parameters")


def _loose(schema: Any, context: tuple[str, ...] = ()) -> str | None:
    """What strict mode misses in a schema: closed objects, all properties required."""
    if isinstance(schema, list):
        return next((f for item in schema if (f := _loose(item, context))), None)
    if not isinstance(schema, dict):
        return None
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, dict):
        if schema.get("additionalProperties") is not False:
            return f"In context={context}, 'additionalProperties' is required to be supplied and to be false."
        missing = [p for p in properties or {} if p not in (schema.get("required") or [])]
        if missing:
            return (
                f"In context={context}, 'required' is required to be supplied and to be an array including every key "
                f"in properties. Missing '{missing[0]}'."
            )
    inner: list[tuple[tuple[str, ...], Any]] = [(("properties", k), v) for k, v in (properties or {}).items()]
    inner += [((w,), schema[w]) for w in ("items", "anyOf") if w in schema]
    inner += [(("$defs", k), v) for k, v in (schema.get("$defs") or {}).items()]
    return next((f for step, item in inner if (f := _loose(item, (*context, *step)))), None)


CHECKS: tuple[Callable[[Json], Iterator[Refusal]], ...] = (
    _model, _lengths, _limits, _efforts, _reasoning_fields, _stream, _tools, _turns, _images, _format,
)  # fmt: skip
