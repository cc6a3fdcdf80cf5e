"""The model that all three vendors share: a pure function from what is asked to what will be said."""

import re

import msgspec

from proxy.simulator.instance import instance
from proxy.simulator.vocabulary import Ask, Call, Json, Plan

_CALL = re.compile(r"\bcall\b", re.IGNORECASE)
_CALL_NAME = re.compile(r"\bcall\s+([\w.:-]+)", re.IGNORECASE)
_CALL_ALL = re.compile(r"\bcall\s+(both|all)\b|\bparallel\b", re.IGNORECASE)
_LOOP = re.compile(r"\bloop\s+(\d+)\b", re.IGNORECASE)
_WORDS = re.compile(r"\bwords\s+(\d+)\b", re.IGNORECASE)
FILLER = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
UNICODE_FILLER = ("naïve", "漢字", "🙂", "Ελλάς", "e\u0301", "👩‍👩‍👧", "здравствуй", "ﷺ")
UNICODE_TAIL = " — naïve 漢字 🙂 👩‍👩‍👧"


def plan(ask: Ask) -> Plan:
    """What the model says to `ask`, before limits and stop sequences."""
    thinking = f"Thinking about: {' '.join(ask.user_text.split())[:120] or 'nothing'}" if ask.thinks else None
    calls = [Call(name, _arguments(ask, name)) for name in _called(ask)]
    if calls:
        return Plan(thinking, [], calls, "tool_calls", whole=True)
    text = _text(ask)
    return Plan(thinking, [text] if text else [], [], "stop", whole=True)


def _called(ask: Ask) -> list[str]:
    """The names of the tools to call now, in the order in which they were offered."""
    offered = list(ask.tools)
    if not offered or not ask.may_call:
        return []
    if loop := _LOOP.search(ask.user_text):
        return offered[:1] if len(ask.results) < int(loop[1]) else []
    if ask.results:
        return []
    if not ask.must_call and not _CALL.search(ask.user_text):
        return []
    candidates = [name for name in offered if name in ask.must_call] or offered
    if _CALL_ALL.search(ask.user_text):
        chosen = candidates
    else:
        named = [n.rstrip(".") for n in _CALL_NAME.findall(ask.user_text)]
        chosen = [name for name in candidates if name in named] or candidates[:1]
    return chosen if ask.parallel else chosen[:1]


def _arguments(ask: Ask, name: str) -> str:
    schema = ask.tools[name]
    value = instance(schema, ask.user_text + _written(ask, name, schema)) if schema else {}
    return msgspec.json.encode(value if isinstance(value, dict) else {}).decode()


def _written(ask: Ask, name: str, schema: Json) -> str:
    """The arguments of a call that the text writes out, `name(1, 2)`, as the `property=value` that `instance` reads."""
    found = re.search(rf"(?<![\w.:-]){re.escape(name)}\(([^()]+)\)", ask.user_text)
    if found is None:
        return ""
    pairs = zip(schema.get("properties") or {}, found[1].split(","), strict=False)
    return "".join(f" {prop}={value.strip()}" for prop, value in pairs)


def _text(ask: Ask) -> str:
    if ask.schema is not None:
        return msgspec.json.encode(instance(ask.schema, ask.user_text)).decode()
    if ask.json_mode:
        return msgspec.json.encode({"answer": f"Echo: {ask.user_text}"}).decode()
    if ask.results:
        return "The tools said: " + " | ".join(ask.results)
    lower = ask.user_text.lower()
    many = "unicode" in lower
    if "words" in lower and (words := _WORDS.search(lower)):
        filler = UNICODE_FILLER if many else FILLER
        return " ".join(filler[i % len(filler)] for i in range(int(words[1])))
    return f"Echo: {ask.user_text}" + (UNICODE_TAIL if many else "")
