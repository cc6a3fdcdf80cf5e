"""Which JSON schemas the vendors' constrained decoders refuse."""

import re
from collections.abc import Iterator
from typing import Any

from proxy.simulator.vocabulary import Json

# Anthropic, structured outputs and strict tools.
ANTHROPIC_REFUSED = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "maxItems",
    "uniqueItems", "contains", "minContains", "maxContains", "prefixItems", "minProperties", "maxProperties",
    "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas", "unevaluatedProperties", "if",
    "then", "else", "not", "oneOf",
)  # fmt: skip
ANTHROPIC_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
LOOK_AROUND = re.compile(r"\(\?<?[=!]")
MOST_OPTIONAL = 24
MOST_UNIONS = 16

# Gemini, the older `parameters` and `responseSchema` (a subset of OpenAPI): what is not named here is refused.
GEMINI_SCHEMA = frozenset((
    "anyOf", "default", "description", "enum", "example", "format", "items", "maxItems", "maxLength", "maxProperties",
    "maximum", "minItems", "minLength", "minProperties", "minimum", "nullable", "pattern", "properties",
    "propertyOrdering", "required", "title", "type",
))  # fmt: skip


def anthropic_flaw(schema: Any) -> str | None:
    """Anthropic's objection to a schema, or None."""
    found = next(_anthropic_flaws(schema), None)
    if found:
        return found
    nodes = list(_nodes(schema))
    optional = sum(len(set(n.get("properties") or {}) - set(n.get("required") or [])) for n in nodes)
    if optional > MOST_OPTIONAL:
        return f"Schemas contains too many optional parameters ({optional}), which would make grammar compilation inefficient."  # noqa: E501 - the vendor's own sentence, in one piece
    unions = sum("anyOf" in n or isinstance(n.get("type"), list) for n in nodes)
    if unions > MOST_UNIONS:
        return f"Schemas contains too many parameters with union types ({unions} parameters with type arrays or anyOf)."
    return None


def _anthropic_flaws(schema: Any) -> Iterator[str]:
    for node in _nodes(schema):
        kind = node.get("type")
        shown = kind if isinstance(kind, str) else "schema"
        if (kind == "object" or "properties" in node) and node.get("additionalProperties") is not False:
            yield "For 'object' type, 'additionalProperties' must be explicitly set to false"
        bad = [w for w in ANTHROPIC_REFUSED if w in node]
        if bad:
            yield f"For '{shown}' type, property '{bad[0]}' is not supported"
        if node.get("minItems", 0) > 1:
            yield f"For '{shown}' type, 'minItems' values other than 0 or 1 are not supported"
        if "pattern" in node and LOOK_AROUND.search(node["pattern"]):
            yield "Invalid regex in pattern field: lookaround is not supported"
        if "format" in node and kind == "string" and node["format"] not in ANTHROPIC_FORMATS:
            yield f"For 'string' type, format '{node['format']}' is not supported"
    if any(_recursive(name, body, schema) for name, body in (schema.get("$defs") or {}).items()):
        yield "Circular reference detected in schema definitions"


def _nodes(schema: Any) -> Iterator[Json]:
    """Every subschema, the schema itself first."""
    if not isinstance(schema, dict):
        return
    yield schema
    for word in ("properties", "$defs", "definitions"):
        for inner in (schema.get(word) or {}).values():
            yield from _nodes(inner)
    for word in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for inner in schema.get(word) or []:
            yield from _nodes(inner)
    for word in ("items", "additionalProperties"):
        yield from _nodes(schema.get(word))


def _recursive(name: str, body: Any, root: Json) -> bool:
    """Whether a definition leads back to itself."""
    todo, seen = [body], set[str]()
    while todo:
        for node in _nodes(todo.pop()):
            ref = str(node.get("$ref", "")).rpartition("/")[2]
            if ref == name:
                return True
            if ref and ref not in seen:
                seen.add(ref)
                todo.append((root.get("$defs") or {}).get(ref))
    return False


def gemini_flaw(schema: Any, path: str) -> tuple[str, str] | None:
    """(unknown name, where) in a schema of Gemini's older dialect, or None. A list of types reads as an unknown too."""
    if not isinstance(schema, dict):
        return None
    for key in schema:
        if key not in GEMINI_SCHEMA:
            return key, path
    if isinstance(schema.get("type"), list):
        return "type", path
    inner = [(f"{path}.properties[{i}].value", v) for i, v in enumerate((schema.get("properties") or {}).values())]
    inner += [(f"{path}.any_of[{i}]", v) for i, v in enumerate(schema.get("anyOf") or [])]
    inner += [(f"{path}.items", schema["items"])] if "items" in schema else []
    return next((f for at, item in inner if (f := gemini_flaw(item, at))), None)
