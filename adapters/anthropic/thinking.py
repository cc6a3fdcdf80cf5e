"""How hard Claude thinks, and what that forbids. The models' rules are rows of `pricing.yaml` (capabilities)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.base import Capabilities, Warnings
from adapters.conversation import Call, Conversation, Thinking, Turn
from adapters.tools import Choice

# Weakest first; `none` and `minimal` have no word of their own at Anthropic.
WORDS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32000, "max": 32000}
_LEAST_BUDGET = 1024


class Thought(msgspec.Struct, frozen=True):
    """`thinking` and `effort` as they are sent (None: not at all), and the choice of tools that goes with them."""

    thinking: dict[str, Any] | None
    effort: str | None
    choice: Choice | None

    @property
    def on(self) -> bool:
        """True if the request asks for thinking: then sampling, forced tools and prefill are refused upstream."""
        return self.thinking is not None and self.thinking["type"] != "disabled"

    @property
    def replays(self) -> bool:
        """True if blocks of earlier thinking go back: where they are bound to the tools, only with all the tools."""
        if self.thinking is None or not self.on:
            return False
        return self.thinking["type"] == "enabled" or self.choice is None or self.choice.only is None


UNASKED = Thought(None, None, None)


def decide(
    word: str | None, choice: Choice | None, talk: Conversation, able: Capabilities, cap: int, warnings: Warnings
) -> Thought:
    """Work out thinking, effort and the choice of tools together: they exclude each other."""
    if choice is not None and choice.mode in ("any", "tool"):
        if able.forced_tool:
            return _forced(word, choice, able, warnings)
        # The nearest to a forced call that the model takes: only the tool that was named, of its own free will.
        choice = Choice("auto", None, (choice.name,) if choice.name else choice.only)
        warnings.add("downgraded", "tool_choice")
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


def _forced(word: str | None, choice: Choice, able: Capabilities, warnings: Warnings) -> Thought:
    """A forced call and thinking exclude each other; the call is what the client cannot do without."""
    if word not in (None, "none"):
        warnings.add("dropped", "reasoning_effort")
    return Thought({"type": "disabled"} if "disabled" in able.thinking else None, None, choice)


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
    if "enabled" not in able.thinking or cap <= _LEAST_BUDGET or any(map(_lost_its_thinking, talk.turns)):
        warnings.add("dropped", "reasoning_effort")
        return None
    budget = max(_LEAST_BUDGET, min(_BUDGETS[word], cap // 2))
    return {"type": "enabled", "budget_tokens": budget}


def _lost_its_thinking(turn: Turn) -> bool:
    """True of a turn with calls and without the thinking behind them: these models then refuse to think at all."""
    called = any(isinstance(block, Call) for block in turn.blocks)
    return called and not any(isinstance(block, Thinking) and replayed(block.block) for block in turn.blocks)


def replayed(block: dict[str, Any]) -> dict[str, Any] | None:
    """An earlier block of thinking as it may go back, or None if Anthropic did not sign it."""
    match block:
        case {"type": "thinking", "thinking": str(thinking), "signature": str(signature)} if signature:
            return {"type": "thinking", "thinking": thinking, "signature": signature}
        case {"type": "redacted_thinking", "data": str(data)} if data:
            return {"type": "redacted_thinking", "data": data}
    return None


def wants_it_back(word: str | None, able: Capabilities) -> bool:
    """True where a turn with calls must begin with the thinking that led to them: on models with a budget."""
    return word in _BUDGETS and "enabled" in able.thinking and "adaptive" not in able.thinking


_blocks = msgspec.json.Decoder(list[dict[str, Any]])


def state(blocks: list[dict[str, Any]]) -> str:
    """The thinking of a turn, to be kept by the id of its first call."""
    return msgspec.json.encode(blocks).decode()


def restore(talk: Conversation, states: Mapping[str, str]) -> None:
    """Give turns with calls their thinking back, if it is still known and the client has not brought it."""
    if not states:
        return
    for turn in talk.turns:
        first = next((block for block in turn.blocks if isinstance(block, Call)), None)
        if first is None or first.id not in states or any(isinstance(block, Thinking) for block in turn.blocks):
            continue
        try:
            turn.blocks[:0] = [Thinking(block) for block in _blocks.decode(states[first.id])]
        except msgspec.DecodeError:
            continue  # not ours: as good as lost
