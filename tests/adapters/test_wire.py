"""Everything that the official SDK lets a client say has its place in our types: a new SDK shows here what is new."""

import types
import typing
from collections.abc import Iterator
from typing import Any, Union

import msgspec
import pytest
from openai.types.chat import completion_create_params
from typing_extensions import is_typeddict

from adapters import wire

TOP = typing.get_args(completion_create_params.CompletionCreateParams)


def hints(typed: Any) -> dict[str, Any]:
    return typing.get_type_hints(typed, include_extras=False)


def typed_dicts(hint: Any) -> Iterator[Any]:
    """The TypedDicts within an annotation: inside unions, lists, Required[...]."""
    if is_typeddict(hint):
        yield hint
        return
    for inner in typing.get_args(hint):
        yield from typed_dicts(inner)


def structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
        return
    for inner in typing.get_args(kind):
        yield from structs(inner)


def is_open(kind: Any) -> bool:
    """True if whatever may be in it is taken: Any, or an object of anything."""
    if kind is Any:
        return True
    if typing.get_origin(kind) is dict:
        return typing.get_args(kind)[1] is Any
    if typing.get_origin(kind) in (Union, types.UnionType, list):
        return any(is_open(inner) for inner in typing.get_args(kind))
    return False


def fields_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    fields = hints(struct)
    config = struct.__struct_config__
    if config.tag_field:
        fields[config.tag_field] = typing.Literal[config.tag]
    return fields


def tag_of(typed: Any) -> Any:
    """The value of a TypedDict's `role` or `type`, if it has one."""
    for name in ("role", "type"):
        hint = hints(typed).get(name)
        literals = [arg for arg in leaves(hint) if isinstance(arg, str)]
        if literals:
            return literals[0]
    return None


def leaves(hint: Any) -> Iterator[Any]:
    args = typing.get_args(hint)
    if not args:
        yield hint
    for arg in args:
        yield from leaves(arg)


def counterpart(typed: Any, candidates: list[type[msgspec.Struct]]) -> type[msgspec.Struct] | None:
    """Our struct for a TypedDict of the SDK: of several the one with its tag."""
    if len(candidates) == 1:
        return candidates[0]
    tagged = [struct for struct in candidates if struct.__struct_config__.tag == tag_of(typed)]
    return tagged[0] if tagged else None


def missing(typed: Any, struct: type[msgspec.Struct], where: str, seen: set[Any]) -> Iterator[str]:
    """The paths of all that the SDK's type has and ours has not."""
    if (typed, struct) in seen:
        return
    seen.add((typed, struct))
    ours = fields_of(struct)
    for name, hint in hints(typed).items():
        path = f"{where}.{name}".removeprefix(".")
        if name not in ours:
            yield path
        elif not is_open(ours[name]):
            yield from missing_within(hint, ours[name], path, seen)


def missing_within(hint: Any, kind: Any, path: str, seen: set[Any]) -> Iterator[str]:
    candidates = list(structs(kind))
    for typed in typed_dicts(hint):
        struct = counterpart(typed, candidates)
        if struct is None:
            yield f"{path} ({typed.__name__})"
        else:
            yield from missing(typed, struct, path, seen)


@pytest.mark.parametrize("typed", TOP, ids=lambda typed: typed.__name__)
def test_whatever_the_sdk_lets_a_client_say_has_a_place(typed):
    assert list(missing(typed, wire.Chat, "", set())) == []


def test_what_is_missing_is_seen():
    class Part(typing.TypedDict):
        type: typing.Literal["hologram"]

    class Message(typing.TypedDict):
        role: typing.Literal["user"]
        content: list[Part]
        mood: str

    class Body(typing.TypedDict):
        messages: list[Message]
        smell: str

    Body.__annotations__["messages"] = list[Message]
    Message.__annotations__["content"] = list[Part]
    assert list(missing(Body, wire.Chat, "", set())) == ["messages.content (Part)", "messages.mood", "smell"]


def literals(hint: Any) -> set[str]:
    return {leaf for leaf in leaves(hint) if isinstance(leaf, str)}


@pytest.mark.parametrize(
    ("field", "struct"),
    [("detail", wire.ImageUrl), ("format", wire.InputAudio), ("search_context_size", wire.WebSearchOptions)],
)
def test_closed_lists_of_words_are_the_sdks(field, struct):
    found: set[str] = set()

    def search(typed: Any, seen: set[Any]) -> None:
        if typed in seen:
            return
        seen.add(typed)
        if set(fields_of(struct)) <= set(hints(typed)) and field in hints(typed):
            found.update(literals(hints(typed)[field]))
        for hint in hints(typed).values():
            for inner in typed_dicts(hint):
                search(inner, seen)

    for typed in TOP:
        search(typed, set())
    assert found
    assert literals(fields_of(struct)[field]) == found


def test_null_is_absent_in_every_field_but_two():
    fields = hints(wire.Chat)
    assert {name for name in fields if name in wire.Chat.__struct_fields__[:2]} == {"model", "messages"}
    nulls = {name: None for name in fields if name not in {"model", "messages"}}
    chat = msgspec.json.decode(msgspec.json.encode({"model": "m", "messages": [], **nulls}), type=wire.Chat)
    assert chat == wire.Chat(model="m", messages=[])
