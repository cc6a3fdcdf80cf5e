"""What Claude may call, and what it must: the client's tools, the vendor's web search, and the choice among them."""

import re
from typing import Any

import msgspec

from adapters import wire
from adapters.anthropic import schema
from adapters.base import Capabilities, Warnings, invalid
from adapters.tools import Choice, Names, Tool, Toolbox

_VALID_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}").fullmatch
WEB_SEARCH = "web_search"
_SEARCHES = {"low": 1, "medium": 5, "high": 10}


def names(box: Toolbox, *, json_tool: str | None, search: bool) -> Names:
    """The names on the wire. The client's tools claim theirs before the history is spelled with them."""
    reserved = () if json_tool is None else (json_tool,)
    said = Names(_VALID_NAME, 128, (*reserved, WEB_SEARCH) if search else reserved)
    if box.tools:
        said.claim([tool.name for tool in box.tools])
    return said


class Offer:
    """Spells the members `tools` and `tool_choice`."""

    def __init__(self, names: Names, able: Capabilities, warnings: Warnings) -> None:
        self._names = names
        self._able = able
        self._warnings = warnings

    def said(
        self, chat: wire.Chat, box: Toolbox, choice: Choice | None, json_tool: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Both members, or neither if there is nothing to call. To be asked for when the history has been spelled."""
        specs = [self._tool(tool) for tool in box.tools if _is_offered(tool, choice)]
        if not specs and (called := sorted(self._names.known)):
            # A history with calls needs their tools; they were not offered, so they may not be called.
            specs = [{"name": self._names.wire(name), "input_schema": schema.ANY_OBJECT} for name in called]
            choice = Choice("none") if json_tool is None else choice
        if json_tool is not None:
            specs.append(json_tool)
        if chat.web_search_options is not None:
            if choice is not None and choice.mode == "none":
                self._warnings.add("dropped", "web_search_options")  # nothing may be called, not even the search
            else:
                specs.append(_web_search(chat.web_search_options))
        if not specs:
            return {}
        # `functions` know one call at a time: a second one would be lost.
        single = bool(box.tools) and (chat.parallel_tool_calls is False or box.legacy)
        return {"tools": specs} | self._choice(choice, single=single, ours=json_tool is not None)

    def _choice(self, choice: Choice | None, *, single: bool, ours: bool) -> dict[str, Any]:
        if choice is None and not single:
            return {}
        said: dict[str, Any] = {"type": "auto" if choice is None else choice.mode}
        if choice is not None and choice.mode == "tool" and choice.name is not None:
            said["name"] = choice.name if ours else self._names.wire(choice.name)
        if single and said["type"] != "none":
            said["disable_parallel_tool_use"] = True
        return {"tool_choice": said}

    def _tool(self, tool: Tool) -> dict[str, Any]:
        parameters = {"type": "object", **(tool.parameters or schema.ANY_OBJECT)}
        if parameters["type"] != "object":
            param = f"{tool.param}.parameters"
            raise invalid(f"Invalid '{param}': the schema of a tool is an object.", param)
        spec: dict[str, Any] = {"name": self._names.wire(tool.name)}
        if tool.description:
            spec["description"] = tool.description
        if tool.strict and self._able.json_schema and "$ref" not in parameters and schema.obstacle(parameters) is None:
            return spec | {"input_schema": schema.clean(parameters), "strict": True}
        if tool.strict:
            self._warnings.add("dropped", f"{tool.param}.strict")
        return spec | {"input_schema": parameters}


def _is_offered(tool: Tool, choice: Choice | None) -> bool:
    return choice is None or choice.only is None or tool.name in choice.only


def _web_search(options: wire.WebSearchOptions) -> dict[str, Any]:
    tool: dict[str, Any] = {
        "type": "web_search_20250305",
        "name": WEB_SEARCH,
        "max_uses": _SEARCHES[options.search_context_size or "medium"],
    }
    if options.user_location is not None:
        place = {k: v for k, v in msgspec.structs.asdict(options.user_location.approximate).items() if v is not None}
        tool["user_location"] = {"type": "approximate", **place}
    return tool
