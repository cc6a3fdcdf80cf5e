"""How hard Gemini thinks: a level from Gemini 3 on, a budget of tokens before. Never both."""

from typing import Any

from adapters.base import Capabilities, Warnings

# Weakest first; levels are rounded down to one that the model knows, or up to its weakest.
_WORDS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# Google's own table for its OpenAI-compatible endpoint.
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 32768}


def config(word: str | None, able: Capabilities, warnings: Warnings, cap: int | None = None) -> dict[str, Any]:
    """`thinkingConfig` for a `reasoning_effort`; empty if nothing is to be sent.

    Where the money has lowered the `cap` of the answer, a budget takes at most half of it, so that something is said.
    """
    if word is None:
        return {}
    if word not in _WORDS or not (able.thinking_budget or able.efforts):
        if word != "none":
            warnings.add("dropped", "reasoning_effort")
        return {}
    said: dict[str, Any] = {} if word == "none" else {"includeThoughts": True}
    if able.thinking_budget is not None:
        budget = _budget(word, able, able.thinking_budget, warnings)
        if cap is not None and budget > cap // 2:
            budget = min(budget, max(able.thinking_budget[0], cap // 2))
        return said | {"thinkingBudget": budget}
    return said | {"thinkingLevel": _level(word, able, warnings)}


def _budget(word: str, able: Capabilities, limits: tuple[int, int], warnings: Warnings) -> int:
    if word == "none":
        if able.thinking_off:
            return 0
        warnings.add("rounded", "reasoning_effort")
        return limits[0]
    found = max(limits[0], min(limits[1], _BUDGETS[word]))
    if found != _BUDGETS[word]:
        warnings.add("rounded", "reasoning_effort")
    return found


def _level(word: str, able: Capabilities, warnings: Warnings) -> str:
    known = [w for w in _WORDS if w in able.efforts]
    weaker = [w for w in known if _WORDS.index(w) <= _WORDS.index(word)]
    found = weaker[-1] if weaker else known[0]
    if found != word:
        warnings.add("rounded", "reasoning_effort")
    return found
