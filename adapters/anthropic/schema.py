"""JSON Schema as Anthropic's structured output takes it: a subset, every object closed.

What is taken away is put into the description, so that the model still reads it. Sources: the list that both
LiteLLM 1.109 and @ai-sdk/anthropic 4.0 clean by, and the API's own 400s (BerriAI/litellm#19444).
"""

from typing import Any

ANY_OBJECT: dict[str, Any] = {"type": "object", "properties": {}}

_REMOVED = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "prefixItems",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "if",
    "then",
    "else",
    "not",
]
_FORMATS = frozenset(["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"])
_LOOK_AROUND = ("(?=", "(?!", "(?<=", "(?<!")
_MOST_OPTIONAL = 24
_MOST_UNIONS = 16
_PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}


def clean(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema in the subset. The answer still fits the original, as far as the model heeds the descriptions."""
    said: dict[str, Any] = {}
    notes: list[str] = []
    for key, value in schema.items():
        if key in _REMOVED or (key == "minItems" and value not in (0, 1)) or _unspeakable(key, value):
            notes.append(f"{key}: {value}")
        elif key in ("properties", "$defs", "definitions") and isinstance(value, dict):
            said[key] = {name: _clean(inner) for name, inner in value.items()}
        elif key in ("oneOf", "anyOf", "allOf") and isinstance(value, list):
            said["anyOf" if key == "oneOf" else key] = [_clean(inner) for inner in value]
        elif key == "items":
            said[key] = _clean(value)
        elif key not in ("$schema", "additionalProperties"):
            said[key] = value
    if _is_object(said):
        said["additionalProperties"] = False
    if "enum" in said and not _fits(said["enum"], said.get("type")):
        del said["type"]
    if notes:
        said["description"] = "; ".join([*([said["description"]] if said.get("description") else []), *notes])
    return said


def _clean(schema: Any) -> Any:
    return clean(schema) if isinstance(schema, dict) else schema


def _unspeakable(key: str, value: Any) -> bool:
    if key == "pattern":
        return any(look in str(value) for look in _LOOK_AROUND)
    return key == "format" and value not in _FORMATS


def _is_object(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "object" or "properties" in schema or (isinstance(kind, list) and "object" in kind)


def _fits(enum: Any, kind: Any) -> bool:
    if not isinstance(enum, list) or kind is None:
        return True
    kinds = tuple(_PYTHON_TYPES.get(k, object) for k in (kind if isinstance(kind, list) else [kind]))
    return all(any(isinstance(value, k) for k in kinds) for value in enum)


def obstacle(schema: dict[str, Any]) -> str | None:
    """Why the subset cannot say this schema at all, or None if it can."""
    walk = _Walk(schema)
    walk.into(schema, ())
    if walk.found:
        return walk.found
    if walk.optional > _MOST_OPTIONAL:
        return f"it has {walk.optional} optional properties, {_MOST_OPTIONAL} can be had"
    if walk.unions > _MOST_UNIONS:
        return f"it has {walk.unions} properties of several types, {_MOST_UNIONS} can be had"
    return None


class _Walk:
    """Counts what is limited and finds what is impossible: recursion, and objects with members of any name."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self.found: str | None = None
        self.optional = 0
        self.unions = 0

    def into(self, schema: Any, above: tuple[str, ...]) -> None:
        if not isinstance(schema, dict) or self.found:
            return
        if isinstance(ref := schema.get("$ref"), str):
            if ref in above:
                self.found = f"'{ref}' refers to itself"
                return
            self.into(self._target(ref), (*above, ref))
        properties = schema.get("properties")
        if _is_object(schema):
            extra = schema.get("additionalProperties")
            if extra not in (None, False) or (not properties and extra is not False):
                self.found = "it has an object with members of any name"
                return
        if isinstance(properties, dict):
            required = schema.get("required")
            self.optional += len(properties.keys() - set(required if isinstance(required, list) else ()))
            for inner in properties.values():
                self.unions += isinstance(inner, dict) and ("anyOf" in inner or isinstance(inner.get("type"), list))
                self.into(inner, above)
        self.into(schema.get("items"), above)
        for key in ("anyOf", "oneOf", "allOf"):
            for inner in schema.get(key) or ():
                self.into(inner, above)

    def _target(self, ref: str) -> Any:
        here: Any = self._root
        for step in ref.removeprefix("#/").split("/"):
            here = here.get(step) if isinstance(here, dict) else None
        return here
