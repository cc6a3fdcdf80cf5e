"""A small grammar of JSON bodies, and the walk that finds where a body breaks it.

A table maps a shape's name to its fields. A field's spec is one of: `str int num bool obj any`, a shape's name,
`[spec]` for a list, `a|b` for either, with `!` behind it when the field must be there. A shape with the key `@by` is a
choice: the value names the field that decides, and the other keys map that field's values to shapes.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

Table = Mapping[str, Mapping[str, str]]
Path = tuple[str | int, ...]


class Flaw(NamedTuple):
    """Where a body breaks its grammar. `expected` is a spec, or the known values of a choice joined by commas."""

    kind: Literal["unknown", "missing", "type", "choice"]
    path: Path
    expected: str
    value: Any


def flaws(value: Any, spec: str, table: Table, path: Path = ()) -> Iterator[Flaw]:
    """Every place where `value` is not a `spec`, outermost first."""
    options = _options(spec)
    if len(options) == 1 and options[0] in table:
        yield from _shape_flaws(value, options[0], table, path)
        return
    for option in options:
        if _fits(value, option, table):
            if option in table:
                yield from _shape_flaws(value, option, table, path)
            elif option[0] == "[":
                inner = option[1:-1]
                for index, item in enumerate(value):
                    yield from flaws(item, inner, table, (*path, index))
            return
    yield Flaw("type", path, spec.rstrip("!"), value)


def _shape_flaws(value: Any, name: str, table: Table, path: Path) -> Iterator[Flaw]:
    if not isinstance(value, dict):
        yield Flaw("type", path, "obj", value)
        return
    shape = table[name]
    if "@by" in shape:
        key = shape["@by"]
        said = value.get(key)
        chosen = shape.get(said) if isinstance(said, str) else None
        if chosen is None:
            known = ", ".join(f"'{k}'" for k in shape if k != "@by")
            yield Flaw("missing" if said is None else "choice", (*path, key), known, said)
            return
        yield from _shape_flaws(value, chosen, table, path)
        return
    for key, item in value.items():
        spec = shape.get(key)
        if spec is None:
            yield Flaw("unknown", (*path, key), "", item)
        elif item is not None:
            yield from flaws(item, spec, table, (*path, key))
    for key, spec in shape.items():
        if spec[-1] == "!" and value.get(key) is None:
            yield Flaw("missing", (*path, key), spec.rstrip("!"), None)


@lru_cache(maxsize=1024)
def _options(spec: str) -> tuple[str, ...]:
    """The alternatives of a spec. Brackets never hold a bar, so a plain split is enough."""
    return tuple(spec.rstrip("!").split("|"))


def _fits(value: Any, option: str, table: Table) -> bool:
    if option in table:
        return isinstance(value, dict)
    if option[0] == "[":
        return isinstance(value, list)
    return _BASIC[option](value)


_BASIC: dict[str, Callable[[Any], bool]] = {
    "any": lambda v: True,
    "str": lambda v: isinstance(v, str),
    "bool": lambda v: isinstance(v, bool),
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "num": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "obj": lambda v: isinstance(v, dict),
}
