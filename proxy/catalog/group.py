"""Which group a name means: one by that very name, else the first whose pattern takes all of it."""

import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from proxy.catalog.route import LONGEST_NAME, REMEMBERED, Group

REFERENCE = re.compile(r"\\([1-9])")  # in a member's name: what a group of the pattern has matched


def named(groups: Sequence[Group], name: str) -> Group | None:
    """The group of exactly this name."""
    return next((group for group in groups if group.name == name and not group.pattern), None)


def fitting(groups: Sequence[Group], name: str) -> Group | None:
    """The first group whose pattern takes the whole of `name`, with what it matched in the names of its members."""
    if len(name) > LONGEST_NAME:
        return None
    for group in groups:
        if group.pattern and (parts := _parts(group.name, name)) is not None:
            members = tuple(
                msgspec.structs.replace(member, model=filled(member.model, parts)) for member in group.members
            )
            return msgspec.structs.replace(group, members=members)
    return None


@lru_cache(maxsize=REMEMBERED)
def _parts(pattern: str, name: str) -> tuple[str, ...] | None:
    found = re.fullmatch(pattern, name)
    return found and found.groups(default="")


def filled(model: str, parts: Sequence[str]) -> str:
    """`model` with each reference replaced by its part; there are as many parts as references need."""
    return REFERENCE.sub(lambda found: parts[int(found[1]) - 1], model)
