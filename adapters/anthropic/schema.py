"""JSON Schema as Anthropic's structured output takes it: a subset, every object closed.

What the subset does not have is put into the description, so that the model still reads it. Sources: the list that
LiteLLM 1.109 and @ai-sdk/anthropic 4.0 clean by, `anthropic.transform_schema` (anthropic-python 2.12), and the API's
own 400s (BerriAI/litellm#19444).
"""

import re
from typing import Any

import msgspec

ANY_OBJECT: dict[str, Any] = {"type": "object", "properties": {}}

_AS_THEY_ARE = frozenset({"type", "required", "$ref"})
_UNSAID = frozenset({"$schema", "$id", "$comment", "additionalProperties"})  # nothing that a model could heed
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_HARD_PATTERN = re.compile(r"\(\?(?!:)|\\[1-9bBk]")  # groups that look around, are named or referred to; word borders
_MOST_OPTIONAL = 24
_MOST_UNIONS = 16
_DEEPEST = 128  # containers in containers, two to a property
_LOST = object()
_PRIMITIVE = (str, int, float, bool, type(None))
_PYTHON_TYPES: dict[Any, type | tuple[type, ...]] = {
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
    if "$ref" in schema:  # its neighbours are not heard
        return {key: _member(key, schema[key]) for key in ("$ref", "$defs", "definitions") if key in schema}
    said: dict[str, Any] = {}
    notes: list[str] = []
    for key, value in schema.items():
        word = "anyOf" if key == "oneOf" and "anyOf" not in schema else key
        member = _member(word, value)
        if member is not _LOST:
            said[word] = member
        elif key not in _UNSAID:
            notes.append(f"{key}: {msgspec.json.encode(value).decode()}")
    if _is_object(said):
        said = {"type": "object", **said, "additionalProperties": False}
    if "enum" in said and not _fits(said["enum"], said.get("type")):
        del said["type"]
    if notes:
        said["description"] = "; ".join([*([said["description"]] if said.get("description") else []), *notes])
    return said


def _member(key: str, value: Any) -> Any:
    """The value as the subset has it, or `_LOST`."""
    match key, value:
        case (("properties" | "$defs" | "definitions"), dict()):
            return {name: _clean(inner) for name, inner in value.items()}
        case (("anyOf" | "allOf"), list()):
            return [_clean(inner) for inner in value]
        case "items", dict():
            return clean(value)
    return value if key in _AS_THEY_ARE or _can_be_said(key, value) else _LOST


def _can_be_said(key: str, value: Any) -> bool:
    match key, value:
        case ("title" | "description", str()):
            return True
        case ("format", str()):
            return value in _FORMATS
        case ("pattern", str()):
            return not _HARD_PATTERN.search(value)
        case ("enum", [*values]):
            return bool(values) and all(isinstance(one, _PRIMITIVE) for one in values)
    return (key == "const" and isinstance(value, _PRIMITIVE)) or (key == "minItems" and value in (0, 1))


def _clean(schema: Any) -> Any:
    return clean(schema) if isinstance(schema, dict) else schema


def _is_object(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "object" or "properties" in schema or (isinstance(kind, list) and "object" in kind)


def _fits(enum: list[Any], kind: Any) -> bool:
    if kind is None:
        return True
    kinds = kind if isinstance(kind, list) else [kind]
    types = [_PYTHON_TYPES.get(one, object) for one in kinds if isinstance(one, str)]
    return all(
        "boolean" in kinds if isinstance(value, bool) else any(isinstance(value, type) for type in types)
        for value in enum
    )


def obstacle(schema: dict[str, Any]) -> str | None:
    """Why the subset cannot say this schema at all, or None if it can."""
    if _too_deep(schema):
        return "it is nested too deeply"
    walk = _Walk(schema)
    walk.into(schema, ())
    if walk.found:
        return walk.found
    if walk.optional > _MOST_OPTIONAL:
        return f"it has {walk.optional} optional properties, {_MOST_OPTIONAL} can be had"
    if walk.unions > _MOST_UNIONS:
        return f"it has {walk.unions} properties of several types, {_MOST_UNIONS} can be had"
    return None


def _too_deep(schema: Any) -> bool:
    level = [schema]
    for _ in range(_DEEPEST):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
        ]
        if not level:
            return False
    return True


_SPEAKING = frozenset({"type", "enum", "const", "properties", "$ref", "anyOf", "oneOf", "allOf"})


class _Walk:
    """Counts what is limited and finds what is impossible: recursion, and what may be anything.

    What is referred to several times is walked, and counted, once: else a small schema could cost a long walk.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._walked: set[str] = set()
        self.found: str | None = None
        self.optional = 0
        self.unions = 0

    def into(self, schema: Any, above: tuple[str, ...]) -> None:
        if self.found:
            return
        if not isinstance(schema, dict) or _SPEAKING.isdisjoint(schema):
            self.found = "it has a value of any type"
        elif "$ref" in schema:
            self._follow(schema["$ref"], above)
        elif _is_object(schema) and _is_open(schema):
            self.found = "it has an object with members of any name"
        elif _combines(schema):
            self.found = "it combines schemas (allOf)"  # closed, each of them would forbid what the others ask for
        else:
            self._parts(schema, above)

    def _follow(self, ref: Any, above: tuple[str, ...]) -> None:
        target = self._target(ref) if isinstance(ref, str) else None
        if target is None:
            self.found = f"'{ref}' refers to nothing"
        elif ref in above:
            self.found = f"'{ref}' refers to itself"
        elif ref not in self._walked:
            self._walked.add(ref)
            self.into(target, (*above, ref))

    def _parts(self, schema: dict[str, Any], above: tuple[str, ...]) -> None:
        properties = _dict(schema.get("properties"))
        required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
        self.optional += len(properties.keys() - set(required))
        self.unions += sum(_is_union(inner) for inner in properties.values())
        items = schema.get("items")
        alternatives = [inner for key in ("anyOf", "oneOf", "allOf") for inner in _list(schema.get(key))]
        for inner in [*properties.values(), *([items] if isinstance(items, dict) else []), *alternatives]:
            self.into(inner, above)

    def _target(self, ref: str) -> Any:
        """What a JSON pointer (RFC 6901) points to in this schema, or None."""
        if not ref.startswith("#"):
            return None
        here: Any = self._root
        for step in ref[1:].split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            inside = {str(i): item for i, item in enumerate(here)} if isinstance(here, list) else _dict(here)
            here = inside.get(name)
        return here if ref[1:2] in ("", "/") else None


def _is_open(schema: dict[str, Any]) -> bool:
    extra = schema.get("additionalProperties")
    return extra not in (None, False) or (not schema.get("properties") and extra is not False)


def _combines(schema: dict[str, Any]) -> bool:
    parts = _list(schema.get("allOf"))
    return len(parts) > 1 or bool(parts and schema.get("properties"))


def _is_union(schema: Any) -> bool:
    return isinstance(schema, dict) and ("anyOf" in schema or "oneOf" in schema or isinstance(schema.get("type"), list))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
