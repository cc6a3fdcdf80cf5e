"""JSON Schema as Gemini's `responseJsonSchema` and `parametersJsonSchema` take it.

Supported keywords: google-genai 3.4, docstring of `GenerateContentConfig.response_json_schema`.
"""

from typing import Any

_KNOWN = frozenset(
    [
        "$id",
        "$defs",
        "$ref",
        "$anchor",
        "type",
        "format",
        "title",
        "description",
        "enum",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "anyOf",
        "oneOf",
        "properties",
        "additionalProperties",
        "required",
        "propertyOrdering",
    ]
)
_BY_NAME = frozenset({"properties", "$defs"})
_LISTS = frozenset({"anyOf", "oneOf", "prefixItems"})
_ONE = frozenset({"items", "additionalProperties"})
_SILENT = frozenset({"$schema", "strict", "examples", "default", "$comment", "definitions", "const"})


def clean(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema in the keywords that Gemini knows; the others are put into the description."""
    if "$ref" in schema:
        return {key: value for key, value in schema.items() if key.startswith("$") and key in _KNOWN}
    said: dict[str, Any] = {}
    notes: list[str] = []
    for key, value in schema.items():
        if key in _KNOWN:
            said[key] = _inner(key, value)
        elif key == "allOf" and isinstance(value, list):
            said |= _merged(value)
        elif key not in _SILENT:
            notes.append(f"{key}: {value}")
    if "const" in schema:
        said["enum"] = [schema["const"]]
    if isinstance(schema.get("definitions"), dict):
        said["$defs"] = _inner("$defs", schema["definitions"]) | said.get("$defs", {})
    if notes:
        said["description"] = "; ".join([*([said["description"]] if said.get("description") else []), *notes])
    return said


def _inner(key: str, value: Any) -> Any:
    """The schemas inside a schema, wherever they may stand."""
    if key in _BY_NAME and isinstance(value, dict):
        return {name: _clean(inner) for name, inner in value.items()}
    if key in _LISTS and isinstance(value, list):
        return [_clean(inner) for inner in value]
    return _clean(value) if key in _ONE else value


def _clean(schema: Any) -> Any:
    return clean(schema) if isinstance(schema, dict) else schema


def _merged(parts: list[Any]) -> dict[str, Any]:
    """`allOf` is not known: its parts are laid over each other, properties and required members together."""
    said: dict[str, Any] = {}
    for part in parts:
        if not isinstance(part, dict):
            continue
        cleaned = clean(part)
        cleaned["properties"] = {**said.get("properties", {}), **cleaned.get("properties", {})}
        cleaned["required"] = [*said.get("required", []), *cleaned.get("required", [])]
        said |= {key: value for key, value in cleaned.items() if value not in ({}, [])}
    return said
