"""Changes figures of a price table in its text: comments, order and everything that was not meant stay as they are.

Only what has a place of its own is edited: a figure of a mapping `per_mtok` or `per_unit` is replaced, or put at its
end; a price that is to change on a day gets a copy of its row, dated. A factor (`multiply`) or a tier that is not there
is nobody's figure and is left to people. Whoever calls reads the outcome again and compares.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import yaml

from proxy.pricing.compare import Change, Spot, shown

Node = yaml.nodes.Node
Mapped = yaml.nodes.MappingNode


class EditError(ValueError):
    """There is no place for it that could be edited safely."""


class _Edit(NamedTuple):
    start: int  # characters of the text
    end: int
    text: str


def edited(text: str, changes: Iterable[Change]) -> str:
    """The text with these changes in it; the rows that they touch name their source.

    Changes of one kind of place only, see `next_step`: the others are to be found anew afterwards. Raises `EditError`
    with a line for each that has no place.
    """
    edits: dict[int, _Edit] = {}
    faults: list[str] = []
    entries = _entries(text)
    for change in changes:
        try:
            for edit in _edits(text, entries, change):
                known = edits.get(edit.start, edit)
                edits[edit.start] = edit if known == edit else known._replace(text=known.text + edit.text)
        except EditError as error:
            faults.append(f"{change}: {error}")
    if faults:
        raise EditError("\n".join(faults))
    for at in sorted(edits, reverse=True):
        text = text[: edits[at].start] + edits[at].text + text[edits[at].end :]
    return text


def _edits(text: str, entries: Mapping[tuple[str, str], Node], change: Change) -> Iterator[_Edit]:
    row = _row(entries, change)
    if change.since is not None and _begin(row) != change.since:
        yield _dated(text, row, change.since)  # its figures come when it is there
        return
    yield _figure(text, row, change)
    yield _instead(_member(row, "source"), change.source)


def next_step(changes: Sequence[Change]) -> list[Change]:
    """Those to make first, model by model: a row's own rates before its tiers, these before variants that build on
    them, and today's before those of later days."""
    found: list[Change] = []
    for at in dict.fromkeys((change.provider, change.model) for change in changes):
        own = [change for change in changes if (change.provider, change.model) == at]
        first = min(_order(change) for change in own)
        found += [change for change in own if _order(change) == first]
    return found


def _order(change: Change) -> tuple[datetime, bool, bool]:
    spot = change.spot or Spot("")
    return change.since or datetime.min.replace(tzinfo=UTC), bool(spot.variant), bool(spot.above)


def _entries(text: str) -> dict[tuple[str, str], Node]:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    entries = _member(root, "models") if root else None
    found: dict[tuple[str, str], Node] = {}
    for entry in entries.value if isinstance(entries, yaml.nodes.SequenceNode) else ():
        found[_member(entry, "provider").value, _member(entry, "model").value] = entry
    return found


def _mapping(node: Node) -> Mapped:
    if not isinstance(node, Mapped):
        raise EditError(f"line {node.start_mark.line + 1} is no mapping")
    return node


def _members(node: Node) -> dict[str, Node]:
    return {key.value: value for key, value in _mapping(node).value}


def _member(node: Node, name: str) -> Node:
    try:
        return _members(node)[name]
    except KeyError:
        raise EditError(f"there is no `{name}` at line {node.start_mark.line + 1}") from None


def _begin(row: Node) -> datetime | None:
    said = _members(row).get("valid_from")
    if said is None:
        return None
    return datetime.fromisoformat(said.value).astimezone(UTC)


def _row(entries: Mapping[tuple[str, str], Node], change: Change) -> Mapped:
    """The row of prices that holds on the day of a change."""
    entry = entries.get((change.provider, change.model))
    if entry is None:
        raise EditError("a whole entry is for people to write")
    rows = _member(entry, "prices")
    held = [row for row in rows.value if change.holds_from(_begin(row))]
    if not held:
        raise EditError("it has no price yet, and a first one is for people to write")
    return _mapping(held[-1])


def _figure(text: str, row: Mapped, change: Change) -> _Edit:
    """The edit of one figure, in the mapping that it belongs to."""
    if change.spot is None or change.new is None:
        raise EditError("what is gone is for people to take out")
    place, name = _place(row, change.spot)
    figure = _quoted(shown(change.new))
    if (known := _members(place).get(name)) is not None:
        return _instead(known, shown(change.new))
    if not place.value:
        raise EditError("its mapping is empty")
    last = place.value[-1][1].end_mark.index
    if place.flow_style:
        return _Edit(last, last, f", {name}: {figure}")
    indent = " " * place.value[0][0].start_mark.column
    line = text.find("\n", last)
    line = line if line >= 0 else len(text)
    return _Edit(line, line, f"\n{indent}{name}: {figure}")


def _place(row: Mapped, spot: Spot) -> tuple[Mapped, str]:
    group, _, name = spot.key.rpartition(".")
    if group:
        return _mapping(_member(row, group)), name
    level: Node = row
    if spot.variant:
        level = _member(_member(row, "variants"), spot.variant)
        if "multiply" in _members(level):
            raise EditError(f"`{spot.variant}` is a factor, and its figures are not written down")
    if spot.above:
        tiers = _members(level).get("tiers")
        steps = tiers.value if tiers else ()
        step = next((s for s in steps if int(_member(s, "above_prompt_tokens").value) == spot.above), None)
        if step is None:
            raise EditError(f"there is no tier above {spot.above}")
        level = step
    return _mapping(_member(level, "per_mtok")), name


def _dated(text: str, row: Mapped, since: datetime) -> _Edit:
    """A copy of a row behind it, from that day on."""
    start = text.rfind("\n", 0, row.start_mark.index) + 1
    before = text[start : row.start_mark.index]
    if row.flow_style or not re.fullmatch(r" *- +", before):
        raise EditError("its row is not written as lines of its own")
    end = text.find("\n", max(_ends(row)))
    end = end if end >= 0 else len(text)
    lines = text[row.start_mark.index : end].split("\n")
    indent = " " * len(before)
    said = _members(row).get("valid_from")
    if said is not None:
        at = text.count("\n", row.start_mark.index, said.start_mark.index)
        lines[at] = re.sub(r"valid_from:.*", "", lines[at]) if at == 0 else ""
        lines = [line for number, line in enumerate(lines) if number != at or line.strip()]
        lines[0] = lines[0].removeprefix(indent)
    stamp = since.isoformat().replace("+00:00", "Z")
    copy = "\n".join([f"{before}valid_from: {stamp}", f"{indent}{lines[0]}", *lines[1:]])
    return _Edit(end, end, f"\n{copy}")


def _ends(node: Node) -> Iterator[int]:
    """Where its words end: the mark of a block lies behind the comments that follow it."""
    if not isinstance(node, yaml.nodes.CollectionNode) or not node.value or node.flow_style:
        yield node.end_mark.index
        return
    for part in _members(node).values() if isinstance(node, Mapped) else node.value:
        yield from _ends(part)


def _instead(node: Node, said: str) -> _Edit:
    return _Edit(node.start_mark.index, node.end_mark.index, _quoted(said))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
