"""Opens the client's letter: strict reading of a whole chat completion request.

What we must carry is read strictly: a wrong type is a 400 that names the place, and a member that OpenAI's types do
not have is reported by its path, so that whoever translates can say that it was lost.
"""

import re
from typing import Any

import msgspec

from adapters import wire
from adapters.base import Failure, invalid

_opener = msgspec.json.Decoder(wire.Chat)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*?)`(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_UNSAYABLE = re.compile(r"[^A-Za-z0-9_.\[\]-]+")  # what could not stand in a header, or would end an entry of ours
_LONGEST_PATH = 100
_MOST_UNKNOWN = 32  # distinct places; a request with more is not a chat completion with extras

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def unreadable(error: Exception) -> Failure:
    """What is no JSON, or nested deeper than any request."""
    why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return invalid(f"The body of the request is not valid JSON: {why}.", None, "invalid_json")


def read(raw: bytes) -> tuple[wire.Chat, list[str]]:
    """Read a request; also return the paths of members that OpenAI's types do not have (`messages[].foo`).

    Raises `Failure` (400, with `param`) when a member that we know is not what OpenAI says it must be.
    """
    try:
        return _opener.decode(raw), []
    except msgspec.ValidationError as error:
        if not _UNKNOWN.match(str(error)):
            raise wrong(error) from None
    except UNREADABLE as error:
        raise unreadable(error) from None
    try:
        plain = msgspec.json.decode(raw)
    except UNREADABLE as error:
        raise unreadable(error) from None
    return _read_with_unknown(plain)


def _read_with_unknown(plain: Any) -> tuple[wire.Chat, list[str]]:
    unknown: list[str] = []
    for _ in range(_MOST_UNKNOWN):
        try:
            return msgspec.convert(plain, wire.Chat), unknown
        except msgspec.ValidationError as error:
            found = _UNKNOWN.match(str(error))
            if found is None:
                raise wrong(error) from None
            path = found["path"] or ""
            try:
                _strip(plain, path, found["name"])
            except (LookupError, TypeError, AttributeError):  # a name that imitates msgspec's own words
                raise wrong(error) from None
            where = re.sub(r"\[\d+\]", "[]", f"{path}.{found['name']}").removeprefix(".")
            where = _UNSAYABLE.sub("?", where)[:_LONGEST_PATH]
            if where not in unknown:
                unknown.append(where)
    raise invalid(f"more than {_MOST_UNKNOWN} unknown members, among them {unknown[0]}", unknown[0])


def _strip(plain: Any, path: str, name: str) -> None:
    """Remove `name` at `path`, and from all siblings of the same kind, so that a long history costs one round."""
    steps: list[str | int] = [int(i) if i else key for key, i in re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path)]
    here = plain
    for step in steps:
        here = here[step]
    here.pop(name, None)
    kind = (here.get("role"), here.get("type"))
    for other in _siblings([plain], steps):
        if isinstance(other, dict) and (other.get("role"), other.get("type")) == kind:
            other.pop(name, None)


def _siblings(nodes: list[Any], steps: list[str | int]) -> list[Any]:
    for step in steps:
        if isinstance(step, int):
            nodes = [item for node in nodes if isinstance(node, list) for item in node]
        else:
            nodes = [node[step] for node in nodes if isinstance(node, dict) and step in node]
    return nodes


def wrong(error: msgspec.ValidationError) -> Failure:
    """msgspec's finding in the words of OpenAI's error object: `param` is the path, as OpenAI spells it."""
    what, _, where = str(error).partition(" - at `$")
    param = where.rstrip("`").removeprefix(".") or None
    if param is None and not what.startswith("Object missing"):
        return invalid(f"Invalid request: {what[0].lower()}{what[1:]}.", None)
    if missing := re.search(r"missing required field `(.+)`", what):
        param = f"{param}.{missing[1]}" if param else missing[1]
        return invalid(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")
    return invalid(f"Invalid value for '{param}': {what[0].lower()}{what[1:]}.", param)
