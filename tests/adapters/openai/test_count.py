"""OpenAI counts no prompt in advance."""

import pytest

from adapters import ADAPTERS, openai
from adapters.base import Call, Capabilities, Failure, Reading, Target, Warnings


def test_there_is_nobody_to_ask():
    target = Target(provider="p", vendor="openai", model="m", capabilities=Capabilities(), context=1, max_output=1)
    assert (
        ADAPTERS["openai", "chat"].counting(Call(path="", body=b"{}", reading=Reading(), warnings=Warnings()), target)
        is None
    )


def test_what_was_not_asked_has_no_answer():
    with pytest.raises(Failure, match="could not be read"):
        openai.counted(b'{"input_tokens":1}')
