"""Stop sequences and output limits, applied to a plan as a model would feel them."""

import re

from proxy.simulator.counting import shortened, tokens
from proxy.simulator.vocabulary import Call, Plan

WORDS = re.compile(r"\s*\S+\s*|\s+")


def bounded(plan: Plan, limit: int | None, stops: tuple[str, ...]) -> Plan:
    """The part of the plan that is really said. Stop sequences cut text only; the limit cuts thinking, text, calls."""
    if stops:
        plan = _stopped(plan, stops)
    return plan if limit is None else _limited(plan, limit)


def pieces(plan: Plan) -> list[str]:
    """The text as stream deltas: as scripted, or word by word."""
    return WORDS.findall("".join(plan.text)) if plan.whole else [p for p in plan.text if p]


def _stopped(plan: Plan, stops: tuple[str, ...]) -> Plan:
    text = "".join(plan.text)
    found = [(at, stop) for stop in stops if stop and (at := text.find(stop)) >= 0]
    if not found:
        return plan
    at, stop = min(found)
    return Plan(plan.thinking, _head(plan.text, at), [], "stop_sequence", stop, plan.whole)


def _limited(plan: Plan, limit: int) -> Plan:
    left = limit
    thinking = plan.thinking
    if thinking is not None:
        spent = tokens(thinking)
        if spent >= limit:
            cut = spent > limit or bool(plan.text or plan.tool_calls)
            return Plan(shortened(thinking, limit), [], [], "length" if cut else plan.finish, whole=plan.whole)
        left -= spent
    text = "".join(plan.text)
    if tokens(text) > left:
        kept = shortened(text, left)
        return Plan(thinking, _head(plan.text, len(kept)), [], "length", whole=plan.whole)
    left -= tokens(text)
    calls: list[Call] = []
    for call in plan.tool_calls:
        left -= tokens(call.name) + tokens(call.arguments)
        if left < 0:
            return Plan(thinking, plan.text, calls, "length", whole=plan.whole)
        calls.append(call)
    return plan


def _head(texts: list[str], length: int) -> list[str]:
    """The first `length` characters of the joined pieces, still in pieces."""
    kept: list[str] = []
    for text in texts:
        if length <= 0:
            break
        kept.append(text[:length])
        length -= len(text)
    return [k for k in kept if k]
