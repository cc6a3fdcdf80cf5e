"""How hard Claude thinks, and what that forbids. The models' rules are rows of `pricing.yaml` (capabilities)."""

from typing import Any, NamedTuple

from adapters import wire
from adapters.base import Capabilities, Warnings
from adapters.conversation import Call, Conversation, Thinking
from adapters.tools import Choice, Toolbox

# Weakest first; `none` and `minimal` have no word of their own at Anthropic.
WORDS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32000, "max": 32000}
_LEAST_BUDGET = 1024


class Thought(NamedTuple):
    """`thinking` and `effort` as they are sent (None: not at all), and the choice of tools that goes with them."""

    thinking: dict[str, Any] | None
    effort: str | None
    choice: Choice | None

    @property
    def on(self) -> bool:
        """True if the request asks for thinking: then sampling, forced tools and prefill are refused upstream."""
        return self.thinking is not None and self.thinking["type"] != "disabled"


def decide(
    chat: wire.Chat, box: Toolbox, talk: Conversation, able: Capabilities, cap: int, warnings: Warnings
) -> Thought:
    """Work out thinking, effort and the choice of tools together: they exclude each other."""
    choice = box.choice
    forced = choice is not None and choice.mode in ("any", "tool")
    if forced and not able.forced_tool:
        choice = _downgraded(choice)
        forced = False
        warnings.add("downgraded", "tool_choice")
    word = chat.reasoning_effort
    if forced:
        # A forced call and thinking exclude each other; the call is what the client cannot do without.
        if word is not None and word != "none":
            warnings.add("dropped", "reasoning_effort")
        return Thought({"type": "disabled"} if "disabled" in able.thinking else None, None, choice)
    if word is None:
        return Thought(None, None, choice)
    if word not in WORDS:
        warnings.add("dropped", "reasoning_effort")
        return Thought(None, None, choice)
    if word == "none":
        return Thought(*_none(able, warnings), choice)
    if "adaptive" in able.thinking:
        return Thought({"type": "adaptive", "display": "summarized"}, _effort(word, able, warnings), choice)
    return Thought(_budget(word, able, talk, cap, warnings), None, choice)


def _downgraded(choice: Choice | None) -> Choice | None:
    """The nearest to a forced call that the model takes: only the tool that was named, of its own free will."""
    if choice is None:
        return None
    return Choice("auto", None, (choice.name,) if choice.name else choice.only)


def _none(able: Capabilities, warnings: Warnings) -> tuple[dict[str, Any] | None, str | None]:
    if "adaptive" not in able.thinking:
        return None, None  # models with budgets think only when told to
    if "disabled" in able.thinking:
        return {"type": "disabled"}, None
    warnings.add("rounded", "reasoning_effort")
    if "between_tools" in able.thinking:
        return {"type": "between_tools"}, None
    return None, "low"


def _effort(word: str, able: Capabilities, warnings: Warnings) -> str | None:
    """The word, or the nearest weaker one that the model knows."""
    known = [w for w in WORDS if w in able.efforts]
    weaker = [w for w in known if WORDS.index(w) <= WORDS.index(word)]
    found = weaker[-1] if weaker else known[0] if known else None
    if found != word:
        warnings.add("rounded", "reasoning_effort")
    return found


def _budget(word: str, able: Capabilities, talk: Conversation, cap: int, warnings: Warnings) -> dict[str, Any] | None:
    """A budget of at most half the cap, because OpenAI's cap includes the reasoning."""
    if "enabled" not in able.thinking or cap <= _LEAST_BUDGET or _calls_without_thinking(talk):
        warnings.add("dropped", "reasoning_effort")
        return None
    budget = max(_LEAST_BUDGET, min(_BUDGETS[word], cap // 2))
    return {"type": "enabled", "budget_tokens": budget}


def _calls_without_thinking(talk: Conversation) -> bool:
    """True if a turn with calls lost its thinking blocks: these models then refuse to think at all."""
    return any(
        turn.role == "assistant"
        and any(isinstance(block, Call) for block in turn.blocks)
        and not any(isinstance(block, Thinking) for block in turn.blocks)
        for turn in talk.turns
    )
