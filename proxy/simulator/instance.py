"""A small valid instance of a JSON schema: what a model that does its duty would write."""

import re
from typing import Any

from proxy.simulator.vocabulary import Json

DEEPEST = 6  # below this only required properties are filled, so that recursive schemas end
FORMATS = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "duration": "P1D",
    "email": "x@example.com",
    "hostname": "example.com",
    "uri": "https://example.com/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_PAIRS = re.compile(r"([A-Za-z_][\w.-]*)=([^\s,;]+)")


def instance(schema: Any, user_text: str = "") -> Any:
    """An instance of `schema`. A property whose name stands in the text as `name=value` takes that value."""
    said = dict(_PAIRS.findall(user_text))
    return _value(schema, schema, said, "", 0)


def _value(schema: Any, root: Any, said: dict[str, str], name: str, depth: int) -> Any:
    if not isinstance(schema, dict) or not schema:
        return said.get(name, "x")
    schema = _resolved(schema, root, depth)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return next((v for v in schema["enum"] if str(v) == said.get(name)), schema["enum"][0])
    kind = _kind(schema)
    if kind == "object":
        return _object(schema, root, said, depth)
    if kind == "array":
        return _array(schema, root, said, name, depth)
    return _scalar(kind, schema, said.get(name))


def _resolved(schema: Json, root: Any, depth: int) -> Json:
    """`$ref`, `allOf` and the first useful branch of `anyOf`/`oneOf`, folded into one schema."""
    for _ in range(16):
        if "$ref" in schema:
            rest = {k: v for k, v in schema.items() if k != "$ref"}
            schema = {**_pointed(root, schema["$ref"]), **rest}
        elif "allOf" in schema:
            schema = _merged([{k: v for k, v in schema.items() if k != "allOf"}, *schema["allOf"]])
        elif "anyOf" in schema or "oneOf" in schema:
            word = "anyOf" if "anyOf" in schema else "oneOf"
            branch = _branch(schema[word], depth)
            schema = _merged([{k: v for k, v in schema.items() if k != word}, branch])
        else:
            break
    return schema


def _pointed(root: Any, ref: str) -> Json:
    here = root
    for step in ref.lstrip("#").strip("/").split("/"):
        if step and isinstance(here, dict):
            here = here.get(step.replace("~1", "/").replace("~0", "~"), {})
    return here if isinstance(here, dict) else {}


def _branch(branches: list[Any], depth: int) -> Any:
    """The first branch; deep down rather `null`, so that recursive schemas end."""
    nulls = [b for b in branches if isinstance(b, dict) and b.get("type") == "null"]
    others = [b for b in branches if b not in nulls]
    chosen = nulls if (depth > DEEPEST and nulls) or not others else others
    return chosen[0]


def _merged(parts: list[Any]) -> Json:
    merged: Json = {}
    for part in parts:
        for key, value in part.items() if isinstance(part, dict) else ():
            old = merged.get(key)
            if isinstance(old, dict) and isinstance(value, dict):
                value = {**old, **value}
            elif isinstance(old, list) and isinstance(value, list) and key == "required":
                value = [*old, *value]
            merged[key] = value
    return merged


def _kind(schema: Json) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()  # Gemini's older schemas shout
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def _object(schema: Json, root: Any, said: dict[str, str], depth: int) -> Json:
    properties = schema.get("properties") or {}
    required = schema.get("required") or []
    names = [n for n in properties if depth < DEEPEST or n in required]
    if depth > 4 * DEEPEST:
        names = []
    return {n: _value(properties[n], root, said, n, depth + 1) for n in names}


def _array(schema: Json, root: Any, said: dict[str, str], name: str, depth: int) -> list[Any]:
    fixed = [_value(s, root, said, name, depth + 1) for s in schema.get("prefixItems") or []]
    if schema.get("maxItems") == 0 or (depth > DEEPEST and not schema.get("minItems")):
        return []
    wanted = max(int(schema.get("minItems") or 1), 1) - len(fixed)
    return fixed + [_value(schema.get("items"), root, said, name, depth + 1) for _ in range(wanted)]


def _scalar(kind: str, schema: Json, said: str | None) -> Any:
    if kind in ("integer", "number"):
        return _number(kind, schema, said)
    if kind == "boolean":
        return said != "false"
    if kind == "null":
        return None
    text = said or FORMATS.get(schema.get("format", ""), "x")
    text = text.ljust(int(schema.get("minLength") or 0), "x")
    return text[: schema["maxLength"]] if schema.get("maxLength") is not None else text


def _number(kind: str, schema: Json, said: str | None) -> float:
    if said is not None and re.fullmatch(r"-?\d+(\.\d+)?", said):
        return int(said) if kind == "integer" or "." not in said else float(said)
    low = schema.get("minimum")
    if low is None and schema.get("exclusiveMinimum") is not None:
        low = schema["exclusiveMinimum"] + 1
    high: Any = schema.get("maximum", schema.get("exclusiveMaximum", 1))
    number = low if low is not None else min(1, high - ("exclusiveMaximum" in schema))
    step = schema.get("multipleOf")
    if step:
        number = -(-number // step) * step
    return int(number) if kind == "integer" or number == int(number) else float(number)
