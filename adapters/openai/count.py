"""The exact size of a prompt: OpenAI tells it with the answer only, and nobody who speaks its format does better."""

from adapters import errors
from adapters.base import Call, Target


def counting(call: Call, target: Target) -> None:
    """There is no endpoint to ask."""
    return None


def counted(body: bytes) -> int:
    """Nothing was asked. Raises `Failure` always."""
    raise errors.unreadable("nothing was to be counted")
