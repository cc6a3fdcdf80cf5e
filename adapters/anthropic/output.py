"""Structured output: native where it can be had, else by a tool that must be called, else in so many words."""

from typing import Any

import msgspec

from adapters import wire
from adapters.anthropic import schema
from adapters.base import Capabilities, Warnings, invalid
from adapters.tools import Choice

JSON_TOOL = "json_tool_call"
_JSON_ONLY = "Answer with one JSON object and nothing else: no explanation, no Markdown fence."


class Form(msgspec.Struct, frozen=True):
    """How the answer gets its form; at most one of the three is there."""

    native: dict[str, Any] | None = None  # `output_config.format`
    tool: dict[str, Any] | None = None  # the tool whose input is the answer
    order: str | None = None  # said to the model, as a part of `system`

    @property
    def choice(self) -> Choice | None:
        """The forced call of the tool."""
        return Choice("tool", JSON_TOOL) if self.tool is not None else None


FREE = Form()


def form(chat: wire.Chat, able: Capabilities, warnings: Warnings) -> Form:
    """The form that the client wants. Raises `Failure` (400) if this model cannot be brought to it."""
    format = chat.response_format
    if format is None:
        return FREE
    if isinstance(format, wire.JsonObjectFormat):
        warnings.add("emulated", "response_format")
        return Form(order=_JSON_ONLY)
    if not isinstance(format, wire.JsonSchemaFormat):
        return FREE
    wanted = format.json_schema.schema if format.json_schema.schema is not None else schema.ANY_OBJECT
    why = schema.obstacle(wanted) if able.json_schema else "the model has no structured output"
    if why is None:
        return Form(native={"type": "json_schema", "schema": schema.clean(wanted)})
    others = chat.tools or chat.functions or chat.web_search_options is not None
    if not able.forced_tool or others or wanted.get("type") != "object":
        raise invalid(
            f"The schema cannot be had from this model: {why}.",
            "response_format.json_schema.schema",
            "unsupported_parameter",
        )
    warnings.add("emulated", "response_format")
    description = format.json_schema.description or "Give the answer."
    return Form(tool={"name": JSON_TOOL, "description": description, "input_schema": wanted})
