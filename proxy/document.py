"""The file of configuration, as YAML: read strictly, and without ever showing a line of it.

PyYAML's own errors quote what they do not understand, which may be a key; and of two members with the same name it
keeps the last one, without a word.
"""

from collections.abc import Hashable
from typing import Any

import yaml


class DocumentError(ValueError):
    """It is no YAML that can be used. The message says where, never what."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # which of them, only the machine knows
    """Dates stay text, and a name stands once."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML wants a class attribute
        first: [(tag, found) for tag, found in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """As PyYAML does it, after a look at the names."""
        seen: set[Hashable] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            name = key.value if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge" else None
            if name is not None and name in seen:
                raise DocumentError(f"`{name[:40]}` stands twice, again in line {key.start_mark.line + 1}")
            seen.add(name)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found


def read(content: bytes) -> Any:
    """What stands in it. Raises `DocumentError`."""
    try:
        return yaml.load(content, Loader=_Loader)
    except DocumentError:
        raise
    except Exception as error:  # PyYAML lets through whatever its constructors raise
        raise DocumentError(_said(error)) from None


def _said(error: Exception) -> str:
    """Where it is, and what the grammar wants; other errors quote what they found."""
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    grammar = isinstance(error, yaml.scanner.ScannerError | yaml.parser.ParserError)
    problem = getattr(error, "problem", None) if grammar else getattr(error, "reason", None)
    return f"no valid YAML{where}" + (f": {problem}" if problem else "")
