"""Tools, their names and the choice among them, before any vendor's spelling."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import msgspec

from adapters import wire
from adapters.base import invalid, unsupported

_WRAPPED_CUSTOM = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


class Tool(msgspec.Struct, frozen=True):
    """`parameters` is a JSON Schema; a custom tool of OpenAI's travels as a function with one text argument."""

    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool
    custom: bool
    param: str


class Choice(msgspec.Struct, frozen=True):
    """What the client wants called: `auto`, `none`, `any`, or `tool` (the one `name`); `only` limits the tools."""

    mode: Literal["auto", "none", "any", "tool"]
    name: str | None = None
    only: tuple[str, ...] | None = None


class Toolbox(msgspec.Struct, frozen=True):
    """The tools of a request, the choice among them, and whether the deprecated `functions` were used."""

    tools: tuple[Tool, ...]
    choice: Choice | None
    legacy: bool


EMPTY = Toolbox((), None, False)


def read(chat: wire.Chat) -> Toolbox:
    """Read the tools and the choice. Raises `Failure` (400) where they contradict each other."""
    if not (chat.tools or chat.functions or chat.tool_choice or chat.function_call):
        return EMPTY
    legacy = bool(chat.functions)
    if legacy and chat.tools:
        raise invalid("'functions' and 'tools' cannot both be given; 'functions' is deprecated.", "functions")
    if not legacy and chat.function_call not in (None, "none"):
        raise invalid("'function_call' is only allowed when 'functions' are specified.", "function_call")
    tools = tuple(_legacy_tools(chat) if legacy else _tools(chat.tools or ()))
    choice = _legacy_choice(chat.function_call) if legacy else _choice(chat.tool_choice)
    named = {tool.name for tool in tools}
    param = "function_call" if legacy else "tool_choice"
    if choice is not None and not tools and choice.mode != "none":
        raise invalid("'tool_choice' is only allowed when 'tools' are specified.", param)
    for name in (choice.only or ((choice.name,) if choice.name else ())) if choice else ():
        if name not in named:
            raise invalid(f"Invalid value for '{param}': no tool is called '{name}'.", param)
    return Toolbox(tools, choice if tools else None, legacy)


def _tools(tools: Iterable[wire.FunctionTool | wire.CustomTool]) -> Iterator[Tool]:
    for i, tool in enumerate(tools):
        if isinstance(tool, wire.FunctionTool):
            spec = tool.function
            param = f"tools[{i}].function"
            yield Tool(spec.name, spec.description, spec.parameters, bool(spec.strict), False, param)
        else:
            format = tool.custom.format or {}
            if format.get("type", "text") != "text":
                raise unsupported(f"tools[{i}].custom.format", "only OpenAI's models write by a grammar")
            yield Tool(tool.custom.name, tool.custom.description, _WRAPPED_CUSTOM, False, True, f"tools[{i}].custom")


def _legacy_tools(chat: wire.Chat) -> Iterator[Tool]:
    for i, spec in enumerate(chat.functions or ()):
        yield Tool(spec.name, spec.description, spec.parameters, False, False, f"functions[{i}]")


def _legacy_choice(choice: str | wire.Named | None) -> Choice | None:
    if choice is None:
        return None
    if isinstance(choice, wire.Named):
        return Choice("tool", choice.name)
    return Choice("none" if choice == "none" else "auto")


_MODES: dict[str, Choice] = {"auto": Choice("auto"), "none": Choice("none"), "required": Choice("any")}


def _choice(choice: str | wire.FunctionChoice | wire.CustomChoice | wire.AllowedChoice | None) -> Choice | None:
    match choice:
        case None:
            return None
        case wire.FunctionChoice(function=named) | wire.CustomChoice(custom=named):
            return Choice("tool", named.name)
        case wire.AllowedChoice(allowed_tools=allowed):
            only = tuple(_allowed(allowed.tools))
            if allowed.mode == "required" and len(only) == 1:
                return Choice("tool", only[0], only)
            return Choice("any" if allowed.mode == "required" else "auto", None, only)
        case _:
            return _MODES[choice]


def _allowed(tools: list[dict[str, Any]]) -> Iterator[str]:
    if not tools:
        raise invalid("Expected at least one tool.", "tool_choice.allowed_tools.tools")
    for i, tool in enumerate(tools):
        named = tool.get(str(tool.get("type")))
        name = named.get("name") if isinstance(named, dict) else None
        if not isinstance(name, str):
            raise invalid("Expected a tool with a name.", f"tool_choice.allowed_tools.tools[{i}]")
        yield name


class Names:
    """The names of tools on a vendor's wire, one to one with the client's own; most are the same."""

    def __init__(self, valid: Callable[[str], object], longest: int, reserved: Iterable[str] = ()) -> None:
        self._valid = valid
        self._longest = longest
        self._reserved = frozenset(reserved)  # names of the vendor's own tools, and of ours
        self._wire: dict[str, str] = {}
        self.clients: dict[str, str] = {}  # wire -> client's, where they differ

    def claim(self, names: Iterable[str]) -> None:
        """Let these be themselves where they can: a name that is valid as it is must not lose it to a renamed one."""
        for name in names:
            if self._valid(name) and name not in self._reserved:
                self._wire.setdefault(name, name)

    @property
    def known(self) -> Iterable[str]:
        """The client's own names, where they were claimed and are valid, or have been spelled."""
        return self._wire.keys()

    def wire(self, name: str) -> str:
        """The name as the vendor may see it, the same each time it is asked for."""
        if name in self._wire:
            return self._wire[name]
        renamed = re.sub(r"[^a-zA-Z0-9_-]", "_", name)[: self._longest]
        if not self._valid(renamed):
            renamed = f"_{renamed}"[: self._longest]
        taken = self._reserved.union(self._wire.values())
        candidate, k = renamed, 1
        while candidate in taken:
            k += 1
            suffix = f"_{k}"
            candidate = renamed[: self._longest - len(suffix)] + suffix
        self._wire[name] = candidate
        if candidate != name:
            self.clients[candidate] = name
        return candidate
