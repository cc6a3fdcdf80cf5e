"""Aliases and groups as they are written down, and the tasks that name a provider: names that clients may use.

    smart: [anthropic/claude-opus-5-5, openai/gpt-6.1-sol]
    cheap: {strategy: cost, models: [gemini/gemini-3.8-flash, {model: openai/gpt-6-luna, weight: 3, max_in_flight: 20}]}
    /gpt-3\\.5-.*/: openai/gpt-6-luna

A member means the vendors' models, never another alias. A provider that is off is no fault: it may be on elsewhere.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from adapters.base import Failure
from proxy.catalog import AUTO, KEY_VARIABLES, LONGEST_NAME, Catalog, Group, Member, ProviderRow, plainly
from proxy.catalog.group import REFERENCE
from proxy.environment import Environment
from proxy.providers import Provider, Providers
from proxy.routing import DEFAULT_TASKS, STRATEGIES, TASKS

_MOST_REPEATS = 3  # in one pattern: a name of 200 characters is then matched, or not, in milliseconds
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?[^:)>=!]*[:>=!]?|\{[0-9,]*\}|.", re.DOTALL)


class _Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str
    weight: int = 1
    max_in_flight: int | None = None


class _Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    models: str | list[str | _Member]
    strategy: str | None = None


def read(
    env: Environment, section: Any, place: str, catalog: Catalog | None, providers: Providers
) -> tuple[Group, ...]:
    """All groups, in the order of the file. Faults go to `env`, one line each; `place` says where the section stands.

    `catalog` is None if it, or a provider, could not be read: then nobody knows which models there are.
    """
    if section is None:
        return ()
    if not isinstance(section, dict):
        env.faults.append(f"{place}: expected a mapping of names to models")
        return ()
    found = []
    for key, value in section.items():
        where = f"{place}.{key}" if isinstance(key, str) and key.isprintable() and len(key) <= LONGEST_NAME else place
        try:
            group = _group(key, value)
        except (msgspec.ValidationError, ValueError) as error:
            env.faults.append(f"{where}: {error}")
            continue
        faults = [*_wrong_name(group, providers), *_wrong_members(group)]
        if catalog is not None and not faults:
            faults += _unserved(group, set(section), catalog, providers)
        env.faults += [f"{where}: {fault}" for fault in faults]
        found.append(group)
    return tuple(found)


def _group(key: object, value: object) -> Group:
    """Raises `ValueError`."""
    if not isinstance(key, str) or not key.strip() or key != key.strip() or not key.isprintable():
        raise ValueError(f"expected a printable name without spaces around it; got {key!r:.80}")
    if len(key) > LONGEST_NAME:
        raise ValueError(f"a name has at most {LONGEST_NAME} characters")
    pattern = len(key) > 1 and key.startswith("/") and key.endswith("/")
    given = msgspec.convert(value, str | list[str | _Member] | _Group)
    said = given if isinstance(given, _Group) else _Group(models=given)
    rows = [said.models] if isinstance(said.models, str) else said.models
    members = [_Member(model=row) if isinstance(row, str) else row for row in rows]
    return Group(
        name=key[1:-1] if pattern else key,
        members=tuple(Member(model=row.model, weight=row.weight, most=row.max_in_flight) for row in members),
        strategy=said.strategy,
        pattern=pattern,
    )


def shown(group: Group) -> str:
    """Its name as it stands in the file."""
    return f"/{group.name}/" if group.pattern else group.name


def _wrong_name(group: Group, providers: Providers) -> Iterator[str]:
    prefix, slash, _ = group.name.partition("/")
    taken = {*KEY_VARIABLES, *(row.name for row in providers.on), *providers.off}
    if group.pattern:
        yield from _wrong_pattern(group.name)
    elif group.name == AUTO:
        yield f"the name `{AUTO}` is taken: it stands for the standard models of all providers"
    elif slash and prefix in taken:
        yield f"names that begin with `{prefix}/` are taken: they are the provider's own"
    elif group.name.startswith("/"):
        yield "a regular expression stands between two slashes"
    if group.strategy is not None and group.strategy not in STRATEGIES:
        yield f"`strategy`: expected one of {', '.join(STRATEGIES)}; got {group.strategy!r:.80}"


def _wrong_pattern(pattern: str) -> Iterator[str]:
    if not pattern:
        yield "the regular expression is empty"
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        yield f"no regular expression: {error}"
        return
    nested, repeats = repetitions(pattern)
    if nested or repeats > _MOST_REPEATS:
        yield (
            f"this regular expression may take very long: at most {_MOST_REPEATS} repetitions (`*`, `+`, `{{…}}`), "
            "and none of what can match in several ways itself"
        )


def repetitions(pattern: str) -> tuple[bool, int]:
    """Whether something is repeated that can match in several ways, and how many repetitions there are.

    Read token by token: a repetition within another is what makes Python's engine try for ever.
    """
    varies = [False]  # by open parenthesis: whether something in it varies
    closed = nested = False
    repeats = 0
    for token in _TOKEN.findall(pattern):
        repeat = token in ("*", "+") or (token[0] == "{" and len(token) > 1)
        if repeat:
            repeats += 1
            nested = nested or closed
        if token[0] == "(":
            varies.append(False)
        elif token == ")":
            closed = varies.pop() if len(varies) > 1 else True
            varies[-1] = varies[-1] or closed
            continue
        elif repeat or token in ("?", "|"):
            varies[-1] = True
        closed = False
    return nested, repeats


def _wrong_members(group: Group) -> Iterator[str]:
    if not group.members:
        yield "expected at least one model"
    parts = _parts(group)
    for member in group.members:
        name = f"`{member.model:.80}`"
        if not member.model.strip() or len(member.model) > LONGEST_NAME:
            yield f"{name}: expected the name of a model"
        if member.weight < 1:
            yield f"{name}: `weight` is at least 1"
        if member.most is not None and member.most < 1:
            yield f"{name}: `max_in_flight` is at least 1"
        references = [int(number) for number in REFERENCE.findall(member.model)]
        if "\\" in REFERENCE.sub("", member.model) or max(references, default=0) > parts:
            yield f"{name}: a backslash is followed by the number of a group of the regular expression; it has {parts}"


def _parts(group: Group) -> int:
    """How many groups its pattern has; 0 if it is none."""
    try:
        return re.compile(group.name).groups if group.pattern else 0
    except (re.error, OverflowError, RecursionError):
        return 9  # that is told already


def _unserved(group: Group, names: set[Any], catalog: Catalog, providers: Providers) -> Iterator[str]:
    """Members that are no model of anybody's."""
    rows = rows_of(providers.on)
    for model in (member.model for member in group.members):
        provider, slash, _ = model.partition("/")
        if model in names and not _known(model, catalog, rows):
            yield f"`{model}` is an alias itself; a member is a model"
        elif REFERENCE.search(provider) or (slash and provider in providers.off):
            continue  # known with the request; or when its provider has a key
        elif not _offered(model, catalog, rows) and not _off(model, catalog, providers):
            yield f"`{model}`: no provider offers such a chat model"


def _known(model: str, catalog: Catalog, rows: Sequence[ProviderRow]) -> bool:
    offered = any(catalog.offer(row, model) for row in rows)
    return offered or any(catalog.find(vendor, model) for vendor in KEY_VARIABLES)


def _offered(model: str, catalog: Catalog, rows: Sequence[ProviderRow]) -> bool:
    try:
        return bool(catalog.members(model, rows))
    except Failure:
        return False


def _off(model: str, catalog: Catalog, providers: Providers) -> bool:
    known = (catalog.find(name, model) for name in providers.off)
    return plainly(model) in providers.off or any(found.kind == "chat" for found in known if found)


def rows_of(providers: Sequence[Provider]) -> list[ProviderRow]:
    """Those that can be asked, as the catalog knows them."""
    return [
        ProviderRow(name=row.name, vendor=row.vendor, capabilities=row.capabilities, models=row.models)
        for row in providers
    ]


def tasks(env: Environment, section: Any, place: str, providers: Providers) -> Mapping[str, str]:
    """Which provider a task goes to first; the seed's table where the section says nothing."""
    if section is not None and not isinstance(section, dict):
        env.faults.append(f"{place}: expected a mapping of tasks to providers")
        section = None
    known = {*(row.name for row in providers.on), *providers.off}
    for task, provider in (section or {}).items():
        if task not in TASKS:
            env.faults.append(f"{place}: expected one of {', '.join(TASKS)}; got {task!r:.80}")
        elif not isinstance(provider, str) or provider not in known:
            said = f"expected one of {', '.join(sorted(known))}; got {provider!r:.80}"
            env.faults.append(f"{place}.{task}: {said}")
    return {**DEFAULT_TASKS, **(section or {})}
