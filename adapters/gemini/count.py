"""The exact size of a prompt, from Gemini's own free endpoint."""

from typing import Annotated
from urllib.parse import quote

import msgspec

from adapters import errors
from adapters.base import Call, Reading, Target, Warnings

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Count(msgspec.Struct, rename="camel"):
    total_tokens: Annotated[int, msgspec.Meta(ge=0)]


_count = msgspec.json.Decoder(_Count)


def counting(call: Call, target: Target) -> Call:
    """The request that asks for the tokens of the same prompt: it wants the model's name a second time, inside."""
    inside = {name: value for name, value in _members.decode(call.body).items() if name != "serviceTier"}
    return Call(
        path=f"/v1beta/models/{quote(target.model, safe='')}:countTokens",
        body=msgspec.json.encode({"generateContentRequest": {"model": f"models/{target.model}", **inside}}),
        reading=Reading(model=target.model),
        warnings=Warnings(),
        headers=call.headers,
    )


def counted(body: bytes) -> int:
    """The tokens that it told. Raises `Failure` if that cannot be read."""
    try:
        return _count.decode(body).total_tokens
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.unreadable(str(error)) from None
