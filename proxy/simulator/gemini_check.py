"""What Gemini refuses in a generateContent request: its grammar as a table, its rules as one function a row."""

from collections.abc import Callable, Iterator
from typing import Any

from proxy.simulator import gemini_turns
from proxy.simulator.gemini_models import Model, model
from proxy.simulator.gemini_turns import NAME, bad_name, snake, unknown, violation
from proxy.simulator.schema_rules import gemini_flaw
from proxy.simulator.shapes import Flaw, flaws
from proxy.simulator.vocabulary import Json, Refusal

_GENERATE = dict(
    contents="[Content]", systemInstruction="Content|str", tools="[Tool]", toolConfig="ToolConfig",
    safetySettings="[SafetySetting]", generationConfig="Config", cachedContent="str", serviceTier="str", store="bool",
    continuationToken="str", model="str", labels="obj",
)  # fmt: skip
SHAPES = {
    "Request": {k: v for k, v in _GENERATE.items() if k != "model"},
    "CountRequest": dict(contents="[Content]", generateContentRequest="Inner"),
    "Inner": _GENERATE,
    "Content": dict(role="str", parts="[Part]"),
    "Part": dict(
        text="str", inlineData="Blob", fileData="FileData", functionCall="FunctionCall",
        functionResponse="FunctionResponse", executableCode="obj", codeExecutionResult="obj", toolCall="obj",
        toolResponse="obj", thought="bool", thoughtSignature="str", mediaResolution="any", videoMetadata="obj",
        partMetadata="obj",
    ),
    "Blob": dict(mimeType="str!", data="str!", displayName="str"),
    "FileData": dict(fileUri="str!", mimeType="str", displayName="str"),
    "FunctionCall": dict(id="str", name="str!", args="obj"),
    "FunctionResponse": dict(
        id="str", name="str!", response="obj", parts="[any]", willContinue="bool", scheduling="str"
    ),
    "Tool": dict(
        functionDeclarations="[Declaration]", googleSearch="obj", googleSearchRetrieval="obj", codeExecution="obj",
        urlContext="obj", googleMaps="obj", computerUse="obj", fileSearch="obj", mcpServers="[any]",
    ),
    "Declaration": dict(
        name="str!", description="str", parameters="obj", parametersJsonSchema="any", response="obj",
        responseJsonSchema="any", behavior="str",
    ),
    "ToolConfig": dict(
        functionCallingConfig="CallingConfig", retrievalConfig="obj", includeServerSideToolInvocations="bool"
    ),
    "CallingConfig": dict(mode="str", allowedFunctionNames="[str]"),
    "SafetySetting": dict(category="str!", threshold="str!"),
    "Config": dict(
        temperature="num", topP="num", topK="num", candidateCount="int", maxOutputTokens="int", stopSequences="[str]",
        responseLogprobs="bool", logprobs="int", presencePenalty="num", frequencyPenalty="num", seed="int",
        responseMimeType="str", responseSchema="obj", responseJsonSchema="any", responseModalities="[str]",
        mediaResolution="str", speechConfig="any", thinkingConfig="ThinkingConfig", imageConfig="obj",
        enableEnhancedCivicAnswers="bool", responseFormat="obj", audioTranscriptionConfig="obj",
    ),
    "ThinkingConfig": dict(includeThoughts="bool", thinkingBudget="int", thinkingLevel="str"),
}  # fmt: skip
OPAQUE = ("args", "response", "parametersJsonSchema", "responseJsonSchema", "properties", "partMetadata", "labels")
TYPES = {"str": "TYPE_STRING", "int": "TYPE_INT32", "num": "TYPE_FLOAT", "bool": "TYPE_BOOL"}
MOST_DECLARATIONS = 512
BAD_JSON = "Invalid JSON payload received. Expected an object key or }.\n\n^"


def camel(value: Any) -> Any:
    """Field names as Google writes them; snake_case is taken too. What a caller may name freely stays as it is."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    result: Json = {}
    for key, item in value.items():
        if "_" in key:
            first, *rest = key.strip("_").split("_")
            key = first + "".join(word.title() for word in rest)
        result[key] = item if key in OPAQUE else camel(item)
    return result


def refusal(body: Json, name: str, counting: bool = False) -> Refusal | None:
    """The first thing that Gemini would object to. `body` has camelCase names."""
    flaw = next(flaws(body, "CountRequest" if counting else "Request", SHAPES), None)
    if flaw is not None:
        return _flaw_refusal(flaw)
    row = model(name)
    if row is None:
        text = f"models/{name} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods."  # noqa: E501 - the vendor's own sentence, in one piece
        return Refusal(text, status=404, kind="NOT_FOUND")
    if counting:
        return None
    return next((r for check in CHECKS for r in check(body, row)), None)


def _flaw_refusal(flaw: Flaw) -> Refusal:
    if flaw.kind == "unknown":
        return unknown(str(flaw.path[-1]), snake(flaw.path[:-1]))
    where = snake(flaw.path)
    if flaw.kind == "missing":
        return Refusal(f"* GenerateContentRequest.{where}: required field is missing.\n", where)
    kind = TYPES.get(flaw.expected, "type.googleapis.com/google.ai.generativelanguage")
    shown = f'"{flaw.value}"' if isinstance(flaw.value, str) else flaw.value
    return violation(f"Invalid value at '{where}' ({kind}), {shown}", where)


def _thinking(body: Json, row: Model) -> Iterator[Refusal]:
    config = (body.get("generationConfig") or {}).get("thinkingConfig") or {}
    budget, level = config.get("thinkingBudget"), config.get("thinkingLevel")
    if budget is not None and level is not None:
        yield Refusal("You can only set only one of thinking budget and thinking level.")
    if config and not row.thinks:
        yield Refusal("Thinking is not supported by this model.")
    if budget is not None:
        if row.budgets is None:
            yield Refusal("Thinking budget is not supported for this model.")
        elif budget == 0 and not row.can_rest:
            yield Refusal("Budget 0 is invalid. This model only works in thinking mode.")
        elif budget not in (0, -1) and not row.budgets[0] <= budget <= row.budgets[1]:
            low, high = row.budgets
            yield Refusal(f"The thinking budget {budget} is invalid. Please choose a value between {low} and {high}.")
    if level is not None and level.lower() not in row.levels:
        text = (
            f"Thinking level {level.upper()} is not supported for this model. Please retry with other thinking level."
        )
        yield Refusal(text if row.levels else "Thinking level is not supported for this model.")


def _config(body: Json, row: Model) -> Iterator[Refusal]:
    config = body.get("generationConfig") or {}
    most = config.get("maxOutputTokens")
    if most is not None and not 1 <= most <= row.output:
        yield Refusal(
            f"Unable to submit request because it has a maxOutputTokens value of {most} but the supported range is "
            f"from 1 (inclusive) to {row.output + 1} (exclusive). Update the value and try again."
        )
    for name, low, high in (("temperature", 0, 2), ("topP", 0, 1)):
        if config.get(name) is not None and not low <= config[name] <= high:
            where = f"generation_config.{snake((name,))}"
            yield Refusal(f"* GenerateContentRequest.{where}: {name} must be in the range [{low}, {high}].\n", where)
    if (config.get("candidateCount") or 1) > 1:
        yield Refusal("Multiple candidates is not enabled for this model")
    if len(config.get("stopSequences") or []) > 5:
        yield Refusal("The number of stop sequences must be at most 5.")
    if row.signs and any(config.get(n) for n in ("presencePenalty", "frequencyPenalty")):
        yield Refusal("Penalty is not enabled for this model")


def _schemas(body: Json, row: Model) -> Iterator[Refusal]:
    config = body.get("generationConfig") or {}
    schemas = [n for n in ("responseSchema", "responseJsonSchema") if config.get(n) is not None]
    if len(schemas) == 2:
        yield Refusal("Only one of response_schema and response_json_schema can be set.")
    if schemas and config.get("responseMimeType") not in ("application/json", "text/x.enum"):
        yield Refusal("response_schema is only supported with response_mime_type application/json.")
    if flaw := gemini_flaw(config.get("responseSchema"), "generation_config.response_schema"):
        yield unknown(*flaw)
    names = [d for t in body.get("tools") or [] for d in t.get("functionDeclarations") or []]
    if names and config.get("responseMimeType") == "application/json" and not row.signs:
        yield Refusal("Function calling with a response mime type: 'application/json' is unsupported")


def _tools(body: Json, row: Model) -> Iterator[Refusal]:
    names: list[str] = []
    for index, tool in enumerate(body.get("tools") or []):
        for at, declaration in enumerate(tool.get("functionDeclarations") or []):
            where = f"tools[{index}].function_declarations[{at}]"
            names.append(declaration["name"])
            if not NAME.match(declaration["name"]):
                yield bad_name(f"{where}.name")
            if declaration.get("parameters") is not None and declaration.get("parametersJsonSchema") is not None:
                yield Refusal(
                    f"* GenerateContentRequest.{where}: only one of parameters and parameters_json_schema can be set.\n"
                )
            if flaw := gemini_flaw(declaration.get("parameters"), f"{where}.parameters"):
                yield unknown(*flaw)
    if len(names) > MOST_DECLARATIONS:
        yield Refusal(f"At most {MOST_DECLARATIONS} function declarations are allowed.")
    doubled = next((n for n in names if names.count(n) > 1), None)
    if doubled is not None:
        yield Refusal(f"Duplicate function declaration found: {doubled}")
    if not row.signs and names and any(t.get("googleSearch") is not None for t in body["tools"]):
        yield Refusal("Tool use with function calling is unsupported")


def _calling(body: Json, row: Model) -> Iterator[Refusal]:
    names = [d["name"] for t in body.get("tools") or [] for d in t.get("functionDeclarations") or []]
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    if calling.get("mode") not in (None, "AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED"):
        yield violation(f"Invalid value at 'tool_config.function_calling_config.mode', \"{calling['mode']}\"",
                         "tool_config.function_calling_config.mode")  # fmt: skip
    if calling and not names:
        yield Refusal("Function calling config is set without function_declarations.")
    allowed = calling.get("allowedFunctionNames") or []
    if allowed and calling.get("mode") not in ("ANY", "VALIDATED"):
        yield Refusal("allowed_function_names is only supported when the function calling mode is ANY or VALIDATED.")
    if any(a not in names for a in allowed):
        yield Refusal("The allowed function names must be a subset of the function declarations' names.")


def _cached(body: Json, row: Model) -> Iterator[Refusal]:
    if body.get("cachedContent") and any(body.get(k) for k in ("systemInstruction", "tools", "toolConfig")):
        yield Refusal(
            "CachedContent can not be used with GenerateContent request setting system_instruction, tools or "
            "tool_config."
        )


CHECKS: tuple[Callable[[Json, Model], Iterator[Refusal]], ...] = (
    *gemini_turns.CHECKS, _thinking, _config, _schemas, _tools, _calling, _cached,
)  # fmt: skip
