"""Who cannot do what a request needs, and why: one row per reason. Pure."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from adapters.base import Target
from proxy.routing.candidate import Candidate, Need, Out


class Reason(NamedTuple):
    """`asked`: whether the request needs it at all; `able`: whether that model at that provider has it."""

    name: str
    asked: Callable[[Need], bool]
    able: Callable[[Need, Target], bool]
    said: str  # {need} and {target} are filled in


def _has_schema(need: Need, target: Target) -> bool:
    able = target.capabilities
    # What Anthropic's older models lack is emulated by a forced tool, if that is the only one.
    return able.json_schema or (target.vendor == "anthropic" and able.forced_tool and not need.tools)


REASONS = (
    Reason(
        "images",
        lambda need: need.images,
        lambda need, target: "image" in target.capabilities.input,
        "it takes no images",
    ),
    Reason(
        "audio",
        lambda need: need.audio,
        lambda need, target: "audio" in target.capabilities.input,
        "it takes no audio",
    ),
    Reason(
        "files",
        lambda need: need.files,
        lambda need, target: "file" in target.capabilities.input,
        "it takes no files",
    ),
    Reason(
        "tools",
        lambda need: need.tools,
        lambda need, target: target.capabilities.tools,
        "it calls no tools",
    ),
    Reason(
        "schema",
        lambda need: need.schema,
        _has_schema,
        "it does not keep to a JSON schema",
    ),
    Reason(
        "json_with_tools",
        lambda need: need.schema and need.tools,
        lambda need, target: target.capabilities.json_with_tools,
        "it does not write JSON and use tools in one request",
    ),
    Reason(
        "context",
        lambda need: True,
        lambda need, target: need.least < target.context,
        "its context of {target.context} tokens is too small for a prompt of at least {need.least}",
    ),
)


def fit(candidates: Sequence[Candidate], need: Need, *, choosy: bool) -> tuple[Sequence[Candidate], list[Out]]:
    """Those who can do it, in the same order, and the others with their reasons.

    Who was asked for by name (`choosy`: the first) stays: what it refuses is what the client hears. If nobody can, all
    stay: the vendor's own word is truer than our estimate.
    """
    asked = [reason for reason in REASONS if reason.asked(need)]
    out: dict[int, Reason] = {}
    for i, candidate in enumerate(candidates):
        for reason in asked:
            if not reason.able(need, candidate.target):
                out[i] = reason
                break
    if choosy:
        out.pop(0, None)
    if not out or len(out) == len(candidates):
        return candidates, []
    fit = [candidate for i, candidate in enumerate(candidates) if i not in out]
    return fit, [_out(candidates[i], need, reason) for i, reason in out.items()]


def _out(candidate: Candidate, need: Need, reason: Reason) -> Out:
    return Out(candidate.name, "unfit", reason.said.format(need=need, target=candidate.target))


def tight(candidate: Candidate, need: Need) -> bool:
    """Whether its context may be too small for prompt and answer: as an estimate, no reason to leave it out."""
    return need.prompt + (need.cap or 0) > candidate.target.context
