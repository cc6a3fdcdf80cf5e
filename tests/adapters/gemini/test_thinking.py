"""Effort in Gemini's words, model by model (trap 46)."""

import pytest

from adapters.base import Capabilities, Warnings
from adapters.gemini.thinking import config

FLASH_25 = Capabilities(thinking_budget=(0, 24576))
LITE_25 = Capabilities(thinking_budget=(512, 24576))
PRO_25 = Capabilities(thinking_budget=(128, 32768), thinking_off=False)
FLASH_36 = Capabilities(efforts=("minimal", "low", "medium", "high"), thinking_off=False)
FLASH_38 = Capabilities(efforts=("low", "medium", "high"), thinking_off=False)
PRO_3 = Capabilities(efforts=("low", "high"), thinking_off=False)
HYDROGEN = Capabilities(efforts=("low", "medium", "high", "xhigh"), thinking_off=False)
THOUGHTLESS = Capabilities()

ROUNDED = "rounded=reasoning_effort"


@pytest.mark.parametrize(
    ("able", "word", "budget", "warned"),
    [
        (FLASH_25, "none", 0, ""),
        (LITE_25, "none", 0, ""),
        (PRO_25, "none", 128, ROUNDED),
        (FLASH_25, "minimal", 1024, ""),
        (LITE_25, "minimal", 1024, ""),
        (FLASH_25, "low", 1024, ""),
        (FLASH_25, "medium", 8192, ""),
        (FLASH_25, "high", 24576, ""),
        (FLASH_25, "xhigh", 24576, ROUNDED),
        (FLASH_25, "max", 24576, ROUNDED),
        (PRO_25, "xhigh", 32768, ""),
        (PRO_25, "max", 32768, ""),
    ],
)
def test_before_gemini_3_effort_is_a_budget(able, word, budget, warned):
    warnings = Warnings()
    said = config(word, able, warnings)
    assert said == {"thinkingBudget": budget} | ({} if word == "none" else {"includeThoughts": True})
    assert str(warnings) == warned


@pytest.mark.parametrize(
    ("able", "word", "level"),
    [
        (FLASH_36, "none", "minimal"),
        (FLASH_36, "minimal", "minimal"),
        (FLASH_36, "max", "high"),
        (FLASH_38, "none", "low"),
        (FLASH_38, "minimal", "low"),
        (FLASH_38, "low", "low"),
        (FLASH_38, "medium", "medium"),
        (FLASH_38, "high", "high"),
        (FLASH_38, "xhigh", "high"),
        (PRO_3, "medium", "low"),
        (PRO_3, "max", "high"),
        (HYDROGEN, "xhigh", "xhigh"),
        (HYDROGEN, "max", "xhigh"),
    ],
)
def test_from_gemini_3_on_it_is_a_level_rounded_down_to_one_that_the_model_knows(able, word, level):
    warnings = Warnings()
    said = config(word, able, warnings)
    assert said == {"thinkingLevel": level} | ({} if word == "none" else {"includeThoughts": True})
    assert str(warnings) == ("" if level == word else ROUNDED)


@pytest.mark.parametrize(
    ("able", "word", "warned"),
    [
        pytest.param(FLASH_38, None, "", id="nothing asked, nothing sent"),
        pytest.param(FLASH_25, None, "", id="nothing asked of an older one"),
        pytest.param(THOUGHTLESS, "none", "", id="none of a model that never thinks is what happens anyway"),
        pytest.param(THOUGHTLESS, "high", "dropped=reasoning_effort", id="it cannot think"),
        pytest.param(FLASH_38, "banana", "dropped=reasoning_effort", id="a word that nobody knows"),
    ],
)
def test_nothing_is_sent_where_nothing_can_be_said(able, word, warned):
    warnings = Warnings()
    assert config(word, able, warnings) == {}
    assert str(warnings) == warned
