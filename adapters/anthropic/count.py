"""The exact size of a prompt, from Anthropic's own free endpoint."""

from typing import Annotated

import msgspec

from adapters import errors
from adapters.base import Call, Reading, Target, Warnings

# anthropic 2.12, types/message_count_tokens_params.py: all else of a request is an extra input there, and refused.
_COUNTED = frozenset(
    {"cache_control", "messages", "model", "output_config", "system", "thinking", "tool_choice", "tools"}
)

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Count(msgspec.Struct):
    input_tokens: Annotated[int, msgspec.Meta(ge=0)]


_count = msgspec.json.Decoder(_Count)


def counting(call: Call, target: Target) -> Call:
    """The request that asks for the tokens of the same prompt."""
    body = {name: value for name, value in _members.decode(call.body).items() if name in _COUNTED}
    return Call(
        path="/v1/messages/count_tokens",
        body=msgspec.json.encode(body),
        reading=Reading(model=target.model),
        warnings=Warnings(),
        headers=call.headers,
    )


def counted(body: bytes) -> int:
    """The tokens that it told. Raises `Failure` if that cannot be read."""
    try:
        return _count.decode(body).input_tokens
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.unreadable(str(error)) from None
