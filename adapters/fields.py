"""The support matrix: what becomes of every member of a request at every vendor that is translated to.

One table, read by the adapters (what to drop, what to refuse), by the documentation and by the tests, so that none of
the three can say something else. What a row calls `MAPPED` is spelled by the adapter of that vendor; rows that depend
on the model say so in `why`.
"""

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Literal, NamedTuple

from adapters import wire
from adapters.base import Warnings, unsupported

Translated = Literal["anthropic", "gemini"]


class Verdict(Enum):
    MAPPED = "mapped"  # sent in the vendor's spelling
    DROPPED = "dropped"  # best effort or advice: left out, and named in the answer's headers
    REFUSED = "refused"  # leaving it out would change the answer unseen: 400 unsupported_parameter
    SILENT = "silent"  # means nothing to the vendor, or is done by the proxy itself


def _never(_: Any) -> bool:
    return False


class Rule(NamedTuple):
    verdict: Verdict
    why: str = ""
    neutral: Callable[[Any], bool] = _never  # values that ask for what happens anyway


def _is(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value in values


_MAPPED = Rule(Verdict.MAPPED)
_NO_AUDIO = Rule(Verdict.REFUSED, "the model does not speak")
_OURS = Rule(Verdict.SILENT, "kept for the proxy's own records; the vendor has no place for it")
_HINT = Rule(Verdict.SILENT, "a hint about OpenAI's own serving; it does not change the answer")
_TEXT_ONLY = Rule(Verdict.REFUSED, "only text can be had", _is(["text"], []))
_WITHOUT_STREAM = Rule(Verdict.MAPPED, "without a stream; refused with one")
_LOG_PROBS = Rule(Verdict.REFUSED, "the vendor does not tell log probabilities", _is(False))

FIELDS: dict[str, dict[Translated, Rule]] = {
    "model": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "messages": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "audio": {"anthropic": _NO_AUDIO, "gemini": _NO_AUDIO},
    "frequency_penalty": {
        "anthropic": Rule(Verdict.DROPPED, "no such control", _is(0)),
        "gemini": Rule(Verdict.MAPPED, "models before Gemini 3; later ones refuse it: dropped", _is(0)),
    },
    "function_call": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "functions": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "logit_bias": {
        "anthropic": Rule(Verdict.REFUSED, "the vendor has other tokens", _is({})),
        "gemini": Rule(Verdict.REFUSED, "the vendor has other tokens", _is({})),
    },
    "logprobs": {"anthropic": _LOG_PROBS, "gemini": _WITHOUT_STREAM},
    "max_completion_tokens": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "max_tokens": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "metadata": {"anthropic": _OURS, "gemini": _OURS},
    "modalities": {"anthropic": _TEXT_ONLY, "gemini": _TEXT_ONLY},
    "moderation": {
        "anthropic": Rule(Verdict.REFUSED, "only OpenAI moderates on request"),
        "gemini": Rule(Verdict.REFUSED, "only OpenAI moderates on request"),
    },
    "n": {
        "anthropic": Rule(Verdict.REFUSED, "the vendor gives one answer", _is(1)),
        "gemini": Rule(Verdict.MAPPED, "without a stream; refused with one", _is(1)),
    },
    "parallel_tool_calls": {
        "anthropic": _MAPPED,
        "gemini": Rule(Verdict.DROPPED, "no such control", _is(True)),
    },
    "prediction": {"anthropic": _HINT, "gemini": _HINT},
    "presence_penalty": {
        "anthropic": Rule(Verdict.DROPPED, "no such control", _is(0)),
        "gemini": Rule(Verdict.MAPPED, "models before Gemini 3; later ones refuse it: dropped", _is(0)),
    },
    "prompt_cache_key": {"anthropic": _HINT, "gemini": _HINT},
    "prompt_cache_options": {"anthropic": _HINT, "gemini": _HINT},
    "prompt_cache_retention": {"anthropic": _HINT, "gemini": _HINT},
    "reasoning_effort": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "response_format": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "safety_identifier": {"anthropic": _MAPPED, "gemini": _OURS},
    "seed": {"anthropic": Rule(Verdict.DROPPED, "no such control"), "gemini": _MAPPED},
    "service_tier": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "stop": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "store": {
        "anthropic": Rule(Verdict.DROPPED, "the vendor stores nothing for OpenAI's dashboard", _is(False)),
        "gemini": Rule(Verdict.DROPPED, "the vendor stores nothing for OpenAI's dashboard", _is(False)),
    },
    "stream": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "stream_options": {
        "anthropic": Rule(Verdict.SILENT, "the proxy writes the usage chunk itself"),
        "gemini": Rule(Verdict.SILENT, "the proxy writes the usage chunk itself"),
    },
    "temperature": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "tool_choice": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "tools": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "top_logprobs": {
        "anthropic": Rule(Verdict.REFUSED, "the vendor does not tell log probabilities", _is(0)),
        "gemini": _WITHOUT_STREAM,
    },
    "top_p": {"anthropic": _MAPPED, "gemini": _MAPPED},
    "user": {"anthropic": _MAPPED, "gemini": _OURS},
    "verbosity": {
        "anthropic": Rule(Verdict.DROPPED, "no such control", _is("medium")),
        "gemini": Rule(Verdict.DROPPED, "no such control", _is("medium")),
    },
    "web_search_options": {"anthropic": _MAPPED, "gemini": _MAPPED},
}

_ACTED_ON: dict[Translated, tuple[tuple[str, Rule], ...]] = {
    vendor: tuple(
        (name, rules[vendor])
        for name, rules in FIELDS.items()
        if rules[vendor].verdict in (Verdict.DROPPED, Verdict.REFUSED)
    )
    for vendor in ("anthropic", "gemini")
}
_NAMES = {vendor: frozenset([name for name, _ in rules]) for vendor, rules in _ACTED_ON.items()}


def apply(
    chat: wire.Chat, asked: Iterable[str], unknown: Iterable[str], vendor: Translated, warnings: Warnings
) -> None:
    """Refuse or note down what this vendor has no place for. Raises `Failure` (400 `unsupported_parameter`).

    `asked` are the members that `chat` was read from.
    """
    if not _NAMES[vendor].isdisjoint(asked):  # nearly always there is nothing of all this
        for name, rule in _ACTED_ON[vendor]:
            value = getattr(chat, name)
            if value is None or rule.neutral(value):
                continue
            if rule.verdict is Verdict.REFUSED:
                raise unsupported(name, f"{rule.why} ({vendor})")
            warnings.add("dropped", name)
    for path in unknown:
        warnings.add("dropped", path)
