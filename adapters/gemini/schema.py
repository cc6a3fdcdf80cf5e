"""JSON Schema as Gemini's `responseJsonSchema` and `parametersJsonSchema` take it.

Supported keywords: google-genai 3.4, docstring of `GenerateContentConfig.response_json_schema`. What is not among them
is said in the description where it restricts, and left out where it does not.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from adapters.base import invalid

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
_SILENT = frozenset({"$schema", "strict", "examples", "default", "$comment", "definitions", "const", "nullable"})
_RESTRICT_NOTHING = frozenset({"title", "description", "default", "examples"})

# Nobody means more than this; without an end a small schema could be made to grow without one.
_DEEPEST = 50
_MOST = 10_000


def clean(schema: dict[str, Any], param: str) -> dict[str, Any]:
    """The schema in the keywords that Gemini knows. Raises `Failure` (400, `param`) if it is out of all proportion."""
    return _Cleaner(schema, param).clean(schema)


class _Cleaner:
    """Walks one schema. `_open` holds the references that are laid open above: a recursive one stays a reference."""

    def __init__(self, root: dict[str, Any], param: str) -> None:
        self._root = root
        self._param = param
        self._depth = 0
        self._count = 0
        self._open: set[str] = set()

    def clean(self, schema: dict[str, Any]) -> dict[str, Any]:
        self._depth += 1
        self._count += 1
        if self._depth > _DEEPEST or self._count > _MOST:
            raise invalid(f"Invalid schema for '{self._param}': it is too deep or too large.", self._param)
        opened: set[str] = set()
        flat = self._flat(schema, opened)
        self._open |= opened
        said = self._reference(flat) if "$ref" in flat else self._spelled(flat)
        self._open -= opened
        self._depth -= 1
        return said

    def _reference(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Beside `$ref` nothing may stand but what begins with `$`."""
        said = {key: self._inner(key, value) for key, value in schema.items() if key[:1] == "$" and key in _KNOWN}
        return said | self._definitions(schema, said) | {"$ref": _moved(schema["$ref"])}

    def _spelled(self, schema: dict[str, Any]) -> dict[str, Any]:
        said = {key: self._inner(key, value) for key, value in schema.items() if key in _KNOWN}
        said |= self._definitions(schema, said)
        if "const" in schema:
            said["enum"] = [schema["const"]]
        if schema.get("nullable") is True and isinstance(said.get("type"), str):
            said["type"] = [said["type"], "null"]  # OpenAPI's way of saying it
        unknown = {key: value for key, value in schema.items() if key not in _KNOWN and key not in _SILENT}
        if unknown:
            told = [str(said["description"])] if said.get("description") else []
            said["description"] = "; ".join([*told, *(f"{key}: {_json(value)}" for key, value in unknown.items())])
        return said

    def _definitions(self, schema: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
        """The older name of `$defs`."""
        older = schema.get("definitions")
        return {"$defs": self._inner("$defs", older) | said.get("$defs", {})} if isinstance(older, dict) else {}

    def _inner(self, key: str, value: Any) -> Any:
        """The schemas inside a schema, wherever they may stand."""
        if key in _BY_NAME and isinstance(value, dict):
            return {name: self._any(inner) for name, inner in value.items()}
        if key in _LISTS and isinstance(value, list):
            return [self._any(inner) for inner in value]
        return self._any(value) if key in _ONE else value

    def _any(self, schema: Any) -> Any:
        return self.clean(schema) if isinstance(schema, dict) else schema

    def _flat(self, schema: dict[str, Any], opened: set[str]) -> dict[str, Any]:
        """`allOf` is not known: its parts are laid over each other, and references among them are laid open."""
        if not isinstance(schema.get("allOf"), list):
            return schema
        own = {key: value for key, value in schema.items() if key != "allOf"}
        parts = [part for part in schema["allOf"] if isinstance(part, dict)]
        if len(parts) == 1 and "$ref" in parts[0] and not any(_restricts(key) for key in own):
            return own | parts[0]
        return _laid_over([self._flat(self._laid_open(part, opened), opened) for part in [*parts, own]])

    def _laid_open(self, part: dict[str, Any], opened: set[str]) -> dict[str, Any]:
        ref = part.get("$ref")
        found: Any = self._root
        for step in str(ref).removeprefix("#/").split("/"):
            found = found.get(step) if isinstance(found, dict) else None
        if not isinstance(ref, str) or not isinstance(found, dict) or ref in self._open:
            return part
        if ref in opened:
            return {}  # it is among the parts already
        opened.add(ref)
        return found | {key: value for key, value in part.items() if key != "$ref"}


def _restricts(key: str) -> bool:
    return key not in _RESTRICT_NOTHING and not key.startswith("$") and key != "definitions"


def _laid_over(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Properties and required members together, of anything else the last that was said."""
    said: dict[str, Any] = {}
    for part in parts:
        together: dict[str, Any] = {}
        for key, kind in (("properties", dict), ("$defs", dict), ("required", list)):
            if isinstance(part.get(key), kind) and isinstance(said.get(key), kind):
                one, other = said[key], part[key]
                together[key] = one | other if kind is dict else [*one, *(name for name in other if name not in one)]
        said |= part | together
    return said


def _moved(ref: Any) -> Any:
    """Definitions stand in `$defs` now, wherever they stood."""
    return f"#/$defs/{ref.removeprefix('#/definitions/')}" if str(ref).startswith("#/definitions/") else ref


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
