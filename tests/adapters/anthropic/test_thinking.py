"""How reasoning_effort, forced calls and earlier thinking come to terms."""

from typing import Any

import msgspec
import pytest

from adapters.anthropic.thinking import WORDS, Thought, decide, replayed
from adapters.base import Capabilities, Warnings
from adapters.conversation import Block, Call, Conversation, Text, Thinking, Turn
from adapters.tools import Choice
from tests.adapters.anthropic.said import ADAPTIVE, ALWAYS, BUDGET

BETWEEN = msgspec.structs.replace(ALWAYS, thinking=("adaptive", "between_tools"))
NONE_KNOWN = Capabilities(thinking=("adaptive",), efforts=())
STRONG_ONLY = Capabilities(thinking=("adaptive",), efforts=("high",))
SHOWN = {"type": "adaptive", "display": "summarized"}
SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}


def talk(*blocks: Block) -> Conversation:
    return Conversation([], [Turn("user", [Text("Hi")]), Turn("assistant", [Text("Ho"), *blocks])])


CALL = Call("call_1", "f", msgspec.Raw(b"{}"))


def thought(
    able: Capabilities, word: str | None = None, choice: Choice | None = None, cap: int = 50_000, *blocks: Block
) -> tuple[Thought, str]:
    warnings = Warnings()
    return decide(word, choice, talk(*blocks), able, cap, warnings), str(warnings)


def adaptive(effort: str | None) -> Thought:
    return Thought(dict(SHOWN), effort, None)


def budget(tokens: int) -> Thought:
    return Thought({"type": "enabled", "budget_tokens": tokens}, None, None)


ROUNDED, DROPPED = "rounded=reasoning_effort", "dropped=reasoning_effort"
NOTHING = Thought(None, None, None)
OFF = Thought({"type": "disabled"}, None, None)


@pytest.mark.parametrize(
    ("able", "word", "expected", "said"),
    [
        pytest.param(ADAPTIVE, None, NOTHING, "", id="absent: nothing is sent"),
        pytest.param(BUDGET, None, NOTHING, "", id="absent: not even a budget"),
        pytest.param(ADAPTIVE, "none", OFF, "", id="none: off where it can be"),
        pytest.param(BUDGET, "none", NOTHING, "", id="none: off is what budgets are without a word"),
        pytest.param(BETWEEN, "none", Thought({"type": "between_tools"}, None, None), ROUNDED, id="none: the least"),
        pytest.param(ALWAYS, "none", Thought(None, "low", None), ROUNDED, id="none: the weakest effort"),
        pytest.param(ADAPTIVE, "minimal", adaptive("low"), ROUNDED, id="minimal is low"),
        pytest.param(ADAPTIVE, "low", adaptive("low"), "", id="low"),
        pytest.param(ADAPTIVE, "medium", adaptive("medium"), "", id="medium"),
        pytest.param(ADAPTIVE, "high", adaptive("high"), "", id="high"),
        pytest.param(ADAPTIVE, "xhigh", adaptive("high"), ROUNDED, id="xhigh is rounded down"),
        pytest.param(ADAPTIVE, "max", adaptive("high"), ROUNDED, id="max is rounded down"),
        pytest.param(STRONG_ONLY, "low", adaptive("high"), ROUNDED, id="nothing weaker is known"),
        pytest.param(NONE_KNOWN, "low", adaptive(None), ROUNDED, id="no word is known"),
        pytest.param(BUDGET, "minimal", budget(1024), "", id="minimal: the least budget"),
        pytest.param(BUDGET, "low", budget(2048), "", id="a low budget"),
        pytest.param(BUDGET, "medium", budget(8192), "", id="a medium budget"),
        pytest.param(BUDGET, "high", budget(16384), "", id="a high budget"),
        pytest.param(BUDGET, "xhigh", budget(25000), "", id="xhigh: half of the cap"),
        pytest.param(BUDGET, "max", budget(25000), "", id="max: half of the cap"),
        pytest.param(ADAPTIVE, "loud", NOTHING, DROPPED, id="a word of nobody's"),
        pytest.param(Capabilities(), "high", NOTHING, DROPPED, id="a model that cannot think"),
    ],
)
def test_reasoning_effort(able, word, expected, said):
    assert thought(able, word) == (expected, said)


@pytest.mark.parametrize(
    ("word", "tokens"),
    [("minimal", 1024), ("low", 2048), ("medium", 8192), ("high", 16384), ("xhigh", 32000), ("max", 32000)],
)
def test_a_budget_where_the_cap_leaves_room(word, tokens):
    assert thought(BUDGET, word, None, 100_000) == (budget(tokens), "")


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("able", [ADAPTIVE, ALWAYS, BETWEEN, BUDGET, Capabilities()])
def test_trap_46_every_word_is_understood_by_every_model(able, word):
    found, _ = thought(able, word)
    assert found.effort is None or found.effort in able.efforts
    assert found.thinking is None or found.thinking["type"] in able.thinking


@pytest.mark.parametrize(
    ("cap", "expected"), [(1024, None), (1025, 1024), (2000, 1024), (4000, 2000), (100_000, 16384)]
)
def test_a_budget_leaves_half_of_the_cap_to_the_answer(cap, expected):
    found, said = thought(BUDGET, "high", None, cap)
    assert found == (NOTHING if expected is None else budget(expected))
    assert said == (DROPPED if expected is None else "")


@pytest.mark.parametrize(
    ("blocks", "thinks"),
    [
        pytest.param((CALL, Thinking(SIGNED)), True, id="calls with the thinking behind them"),
        pytest.param((Thinking(SIGNED),), True, id="no calls"),
        pytest.param((), True, id="neither"),
        pytest.param((CALL,), False, id="calls whose thinking was lost"),
        pytest.param((CALL, Thinking({"type": "thinking", "thinking": "Hm."})), False, id="thinking nobody signed"),
    ],
)
def test_trap_11_budget_models_do_not_think_when_earlier_thinking_was_lost(blocks, thinks):
    found, said = thought(BUDGET, "high", None, 50_000, *blocks)
    assert (found.thinking is not None, said) == (thinks, "" if thinks else DROPPED)


@pytest.mark.parametrize("choice", [Choice("any"), Choice("tool", "f")])
@pytest.mark.parametrize(
    ("able", "word", "thinking", "said"),
    [
        (ADAPTIVE, None, {"type": "disabled"}, ""),
        (ADAPTIVE, "none", {"type": "disabled"}, ""),
        (ADAPTIVE, "high", {"type": "disabled"}, DROPPED),
        (BUDGET, "high", {"type": "disabled"}, DROPPED),
        (Capabilities(), "high", None, DROPPED),
    ],
)
def test_trap_13_a_forced_call_wins_over_thinking(able, word, thinking, said, choice):
    assert thought(able, word, choice) == (Thought(thinking, None, choice), said)


@pytest.mark.parametrize(
    ("choice", "instead"),
    [
        (Choice("any"), Choice("auto")),
        (Choice("any", None, ("f", "g")), Choice("auto", None, ("f", "g"))),
        (Choice("tool", "f"), Choice("auto", None, ("f",))),
    ],
)
def test_trap_13_where_nothing_can_be_forced_the_tool_is_offered(choice, instead):
    assert thought(ALWAYS, None, choice) == (Thought(None, None, instead), "downgraded=tool_choice")
    assert thought(ALWAYS, "high", choice)[0] == Thought(SHOWN, "high", instead)


@pytest.mark.parametrize("choice", [Choice("auto"), Choice("none")])
def test_a_free_choice_forbids_nothing(choice):
    assert thought(ALWAYS, "low", choice) == (Thought(SHOWN, "low", choice), "")


@pytest.mark.parametrize(
    ("thinking", "choice", "on", "replays"),
    [
        (None, None, False, False),
        ({"type": "disabled"}, None, False, False),
        ({"type": "adaptive"}, None, True, True),
        ({"type": "adaptive"}, Choice("auto"), True, True),
        ({"type": "adaptive"}, Choice("auto", None, ("f",)), True, False),
        ({"type": "between_tools"}, Choice("auto", None, ("f",)), True, False),
        ({"type": "enabled"}, Choice("auto", None, ("f",)), True, True),
    ],
)
def test_earlier_thinking_goes_back_where_it_is_not_bound_to_other_tools(thinking, choice, on, replays):
    found = Thought(thinking, None, choice)
    assert (found.on, found.replays) == (on, replays)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (SIGNED, SIGNED),
        ({**SIGNED, "index": 3, "more": 1}, SIGNED),
        ({**SIGNED, "thinking": ""}, {**SIGNED, "thinking": ""}),
        ({**SIGNED, "signature": ""}, None),
        ({**SIGNED, "signature": None}, None),
        ({**SIGNED, "thinking": None}, None),
        ({"type": "redacted_thinking", "data": "eA==", "x": 1}, {"type": "redacted_thinking", "data": "eA=="}),
        ({"type": "redacted_thinking", "data": ""}, None),
        ({"type": "text", "text": "Hm."}, None),
        ({**SIGNED, "type": "text"}, None),
        ({"type": "text", "data": "eA=="}, None),
        ({}, None),
    ],
)
def test_only_what_anthropic_signed_goes_back(block: dict[str, Any], expected):
    assert replayed(block) == expected
