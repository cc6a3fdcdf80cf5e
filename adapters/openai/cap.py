"""The output cap in OpenAI's two spellings: renamed where the model obeys only the other, lowered to the money held."""

from collections.abc import Sequence
from typing import Any

import msgspec

from adapters.base import Target, Warnings
from adapters.envelope import Envelope

NAMES = ("max_completion_tokens", "max_tokens")
_NULL = msgspec.Raw(b"null")


def changes(envelope: Envelope, target: Target, warnings: Warnings) -> tuple[dict[str, Any], set[str]]:
    """The members of the request to set, and those to leave out; both empty where the client's bytes may stay."""
    wanted = target.capabilities.max_tokens_field
    if target.cap is None and wanted == "either":
        return {}, set()  # nearly always: there is money enough, and each name is obeyed
    fields = envelope.fields
    given = [name for name in NAMES if name in fields and fields[name] != _NULL]
    if target.cap is not None and (excess := _excess(envelope, given, target.cap, target)) is not None:
        warnings.add("clamped", excess)
        field = _obeyed(given, target)
        kept = field in given and _number(_said(envelope, field), target.cap + 1) <= target.cap
        return {field: _said(envelope, field) if kept else target.cap}, set(NAMES) - {field}
    if wanted != "either" and given and wanted not in given:
        return {wanted: _said(envelope, given[0])}, set(given)
    return {}, set()


def _excess(envelope: Envelope, given: Sequence[str], cap: int, target: Target) -> str | None:
    """The client's own word for what is too much (`max_tokens` if it has none), or None if the money will do.

    What is no number, some vendors take for no bound at all: then the model's own holds.
    """
    if len(given) == 1 and envelope.cap is not None:
        return given[0] if envelope.cap > cap else None  # nearly always; it was read already
    found = {name: _number(_said(envelope, name), target.max_output) for name in given}
    return next((name for name, tokens in (found or {"max_tokens": target.max_output}).items() if tokens > cap), None)


def _obeyed(given: Sequence[str], target: Target) -> str:
    """The name that this model obeys."""
    able = target.capabilities
    if able.max_tokens_field != "either":
        return able.max_tokens_field
    usual = NAMES if target.provider == "openai" else NAMES[::-1]
    names = [*given, *usual] if len(given) == 1 else usual
    return next((name for name in names if name not in able.refused), usual[0])


def _said(envelope: Envelope, name: str) -> msgspec.Raw:
    return envelope.fields.get(name, _NULL)


def _number(said: msgspec.Raw, otherwise: int) -> float:
    """A number of tokens, or `otherwise` if it is none."""
    try:
        value = msgspec.json.decode(said)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return otherwise
    return value if type(value) in (int, float) and value >= 1 else otherwise
