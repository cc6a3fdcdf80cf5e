"""What Anthropic refuses in a Messages request, the conversation itself aside (`anthropic_turns`)."""

import re
from collections.abc import Callable, Iterator

from proxy.simulator import anthropic_turns
from proxy.simulator.anthropic_models import RESTLESS, Model, model
from proxy.simulator.schema_rules import anthropic_flaw
from proxy.simulator.shapes import Flaw, Path, flaws
from proxy.simulator.vocabulary import Json, Refusal

SHAPES = {
    "Request": dict(
        model="str!", messages="[Message]!", max_tokens="int!", cache_control="Cache", container="str|obj",
        diagnostics="obj", inference_geo="str", metadata="Metadata", output_config="Output", service_tier="str",
        speed="str", stop_sequences="[str]", stream="bool", system="str|[Text]", temperature="num", thinking="Thinking",
        tool_choice="Choice", tools="[Tool]", top_k="int", top_p="num", user_profile_id="str", workspace_id="str",
    ),
    "CountRequest": dict(
        model="str!", messages="[Message]!", cache_control="Cache", output_config="Output", speed="str",
        system="str|[Text]", thinking="Thinking", tool_choice="Choice", tools="[Tool]", user_profile_id="str",
        workspace_id="str",
    ),
    "Message": dict(role="str!", content="str|[Block]!"),
    "Metadata": dict(user_id="str"),
    "Cache": dict(type="str!", ttl="str"),
    "Output": dict(effort="str", format="Format"),
    "Format": dict(type="str!", schema="obj!"),
    "Thinking": {
        "@by": "type", "enabled": "Enabled", "adaptive": "Adaptive", "disabled": "Off", "between_tools": "Off",
    },
    "Enabled": dict(type="str!", budget_tokens="int!", display="str"),
    "Adaptive": dict(type="str!", display="str", block_binding="obj"),
    "Off": dict(type="str!"),
    "Choice": {"@by": "type", "auto": "Auto", "any": "Auto", "tool": "Named", "none": "Off"},
    "Auto": dict(type="str!", disable_parallel_tool_use="bool"),
    "Named": dict(type="str!", name="str!", disable_parallel_tool_use="bool"),
    "Tool": dict(
        name="str!", input_schema="obj!", type="str", description="str", strict="bool", cache_control="Cache",
        eager_input_streaming="bool", defer_loading="bool", allowed_callers="[str]", input_examples="[obj]",
    ),
    "Block": {
        "@by": "type", "text": "Text", "image": "Image", "document": "Document", "tool_use": "ToolUse",
        "tool_result": "ToolResult", "thinking": "Thought", "redacted_thinking": "Redacted",
        "search_result": "SearchResult",
    },
    "Text": dict(type="str!", text="str!", cache_control="Cache", citations="any"),
    "Image": dict(type="str!", source="Source!", cache_control="Cache", transformations="any"),
    "Source": {
        "@by": "type", "base64": "Base64", "url": "Url", "file": "FileSource", "text": "PlainText",
        "content": "ContentSource",
    },
    "Base64": dict(type="str!", media_type="str!", data="str!"),
    "Url": dict(type="str!", url="str!"),
    "FileSource": dict(type="str!", file_id="str!"),
    "PlainText": dict(type="str!", media_type="str!", data="str!"),
    "ContentSource": dict(type="str!", content="any!"),
    "Document": dict(
        type="str!", source="Source!", title="str", context="str", citations="obj", cache_control="Cache"
    ),
    "ToolUse": dict(
        type="str!", id="str!", name="str!", input="obj!", cache_control="Cache", caller="obj", toolset_name="str"
    ),
    "ToolResult": dict(
        type="str!", tool_use_id="str!", content="str|[Block]", is_error="bool", cache_control="Cache",
        toolset_name="str",
    ),
    "Thought": dict(type="str!", thinking="str!", signature="str!"),
    "Redacted": dict(type="str!", data="str!"),
    "SearchResult": dict(
        type="str!", source="str!", title="str!", content="[Text]!", citations="obj", cache_control="Cache"
    ),
}  # fmt: skip
# Server tools have a dated type instead of a schema; their own fields are not checked.
SERVER_TOOL = re.compile(r"^(web_search|web_fetch|code_execution|bash|text_editor|computer|memory|tool_search)_")
NAME = re.compile(r"^[a-zA-Z0-9_-]{1,128}$")
VERSIONS = ("2023-06-01", "2026-10-21")
WORDS = {
    "str": "Input should be a valid string", "int": "Input should be a valid integer",
    "num": "Input should be a valid number", "bool": "Input should be a valid boolean",
    "obj": "Input should be a valid dictionary",
}  # fmt: skip
BAD_JSON = "The request body is not valid JSON: unexpected character: line 1 column 1 (char 0)"


def refusal(body: Json, headers: dict[str, str], counting: bool = False) -> Refusal | None:
    """The first thing that Anthropic would object to; `counting` for count_tokens, which takes fewer fields."""
    version = headers.get("anthropic-version")
    if version is None:
        return Refusal("anthropic-version: header is required")
    if version not in VERSIONS:
        return Refusal(f'anthropic-version: "{version}" is not a valid version')
    checked = {**body, "tools": [t for t in body.get("tools") or [] if not _is_server_tool(t)]}
    if not isinstance(body.get("tools") or [], list):
        checked = body
    flaw = next(flaws(checked, "CountRequest" if counting else "Request", SHAPES), None)
    if flaw is not None:
        return Refusal(_flaw_text(flaw))
    row = model(body["model"])
    if row is None:
        return Refusal(f"model: {body['model']}", status=404, kind="not_found_error")
    old = version == VERSIONS[0]
    return next((Refusal(text) for check in CHECKS for text in check(body, row, old)), None)


def _is_server_tool(tool: object) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("type"), str) and bool(SERVER_TOOL.match(tool["type"]))


def _dotted(path: Path) -> str:
    return ".".join(str(step) for step in path)


def _flaw_text(flaw: Flaw) -> str:
    if flaw.kind == "unknown":
        return f"{_dotted(flaw.path)}: Extra inputs are not permitted"
    if flaw.kind == "missing":
        return f"{_dotted(flaw.path)}: Field required"
    if flaw.kind == "choice":
        return (
            f"{_dotted(flaw.path[:-1])}: Input tag '{flaw.value}' found using '{flaw.path[-1]}' does not match any of "
            f"the expected tags: {flaw.expected}"
        )
    option = flaw.expected.split("|")[0]
    fallback = "Input should be a valid list" if option[0] == "[" else WORDS["obj"]
    return f"{_dotted(flaw.path)}: {WORDS.get(option, fallback)}"


def _limits(body: Json, row: Model, old: bool) -> Iterator[str]:
    most = body.get("max_tokens")
    if most is not None and most < 0:
        yield "max_tokens: Input should be greater than or equal to 0"
    if most is not None and most > row.output:
        yield (
            f"max_tokens: {most} > {row.output}, which is the maximum allowed number of output tokens for "
            f"{body['model']}"
        )
    for index, stop in enumerate(body.get("stop_sequences") or []):
        if not stop.strip():
            yield f"stop_sequences.{index}: each stop sequence must contain non-whitespace"
    tier = body.get("service_tier")
    if tier not in (None, "auto", "standard_only"):
        yield "service_tier: Input should be 'auto' or 'standard_only'"


def _sampling(body: Json, row: Model, old: bool) -> Iterator[str]:
    given = [n for n in ("temperature", "top_p", "top_k") if body.get(n) is not None]
    for name in given:
        if not old:
            yield f"{name}: Extra inputs are not permitted"
        elif not row.sampling and not (name == "temperature" and body[name] == 1):
            yield f"`{name}` is deprecated for this model."


def _ranges(body: Json, row: Model, old: bool) -> Iterator[str]:
    temperature, top_p = body.get("temperature"), body.get("top_p")
    if temperature is not None and not 0 <= temperature <= 1:
        yield f"temperature: range: 0..1, got {temperature}"
    if top_p is not None and not 0 <= top_p <= 1:
        yield f"top_p: range: 0..1, got {top_p}"
    if row.sampling and temperature is not None and top_p is not None:
        yield "`temperature` and `top_p` cannot both be specified for this model. Please use only one."


def _thinking_sampling(body: Json, row: Model, old: bool) -> Iterator[str]:
    temperature, top_p = body.get("temperature"), body.get("top_p")
    if (body.get("thinking") or {}).get("type") in ("enabled", "adaptive"):
        if temperature not in (None, 1):
            yield "`temperature` may only be set to 1 when thinking is enabled."
        if body.get("top_k") is not None:
            yield "`top_k` must be unset when thinking is enabled."
        if top_p is not None and top_p < 0.95:
            yield "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled."


def _thinking(body: Json, row: Model, old: bool) -> Iterator[str]:
    thinking = body.get("thinking") or {}
    kind = thinking.get("type")
    if kind is not None and kind not in row.thinking:
        if kind == "adaptive":
            yield "adaptive thinking is not supported on this model"
        elif kind == "enabled":
            yield (
                '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
                '"output_config.effort" to control thinking behavior.'
            )
        else:
            yield f'"thinking.type.{kind}" is not supported for this model.'
    if kind == "enabled":
        if thinking["budget_tokens"] < 1024:
            yield "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
        if thinking["budget_tokens"] >= body.get("max_tokens", 10**9):
            yield "`max_tokens` must be greater than `thinking.budget_tokens`."
    if thinking.get("display") not in (None, "summarized", "omitted"):
        yield f"thinking.{kind}.display: Input should be 'summarized' or 'omitted'"


def _effort(body: Json, row: Model, old: bool) -> Iterator[str]:
    kind = (body.get("thinking") or {}).get("type")
    effort = (body.get("output_config") or {}).get("effort")
    if effort is not None and not row.efforts:
        yield "This model does not support the effort parameter."
    elif effort is not None and effort not in row.efforts:
        known = ", ".join(f"'{e}'" for e in row.efforts)
        yield f"output_config.effort: Input should be {known} for this model"
    resting = kind in ("disabled", "between_tools")
    if resting and effort in ("xhigh", "max") and body["model"].startswith(RESTLESS):
        yield f"output_config.effort: '{effort}' is not supported when thinking is off"


def _tools(body: Json, row: Model, old: bool) -> Iterator[str]:
    tools = body.get("tools") or []
    names: set[str] = set()
    for index, tool in enumerate(tools):
        if _is_server_tool(tool):
            continue
        if not NAME.match(tool["name"]):
            yield f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        if tool["name"] in names:
            yield "tools: Tool names must be unique."
        names.add(tool["name"])
        if tool["input_schema"].get("type") != "object":
            yield f"tools.{index}.custom.input_schema.type: Input should be 'object'"
        if tool.get("strict") and (flaw := anthropic_flaw(tool["input_schema"])):
            yield f"tools.{index}.custom: {flaw}"


def _choice(body: Json, row: Model, old: bool) -> Iterator[str]:
    tools = body.get("tools") or []
    choice = body.get("tool_choice") or {}
    if choice and not tools:
        yield "tool_choice: tool_choice may only be specified while providing tools"
    if choice.get("type") == "tool" and choice["name"] not in [t["name"] for t in tools]:
        yield f"Tool '{choice['name']}' not found in provided tools"
    if choice.get("type") in ("any", "tool"):
        if not row.forced_tool:
            yield f"tool_choice: '{choice['type']}' is not supported for this model. Use 'auto' or 'none'."
        kind = (body.get("thinking") or {}).get("type") or row.omitted
        if kind in ("enabled", "adaptive") and (body.get("thinking") or row.thinking == ("adaptive",)):
            yield "Thinking may not be enabled when tool_choice forces tool use."


def _format(body: Json, row: Model, old: bool) -> Iterator[str]:
    wanted = (body.get("output_config") or {}).get("format")
    if wanted is None:
        return
    if wanted["type"] != "json_schema":
        yield "output_config.format.type: Input should be 'json_schema'"
    if flaw := anthropic_flaw(wanted["schema"]):
        yield f"output_config.format.schema: {flaw}"


CHECKS: tuple[Callable[[Json, Model, bool], Iterator[str]], ...] = (
    _limits, _sampling, _ranges, _thinking_sampling, _thinking, _effort, _tools, _choice, _format,
    *anthropic_turns.CHECKS,
)  # fmt: skip
