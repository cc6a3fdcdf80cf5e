"""The traps that peers fell into, by their number in the reference of wire formats: each is a test that names it."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# They concern /v1/responses, /v1/messages and count_tokens, which are not served yet.
NOT_CHAT = {2, 38, 39, 40, 41, 42, 56}
CHAT = sorted(set(range(1, 58)) - NOT_CHAT)
_NAMED = re.compile(r"\btraps?[ _-]((?:\d+(?:, | and )?)+)", re.IGNORECASE)


def named() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for path in [*TESTS.rglob("*.py"), *TESTS.rglob("golden/**/*.json")]:
        texts = [path.name, path.read_text()] if path.name != "test_traps.py" else []
        for match in (match for text in texts for match in _NAMED.finditer(text)):
            for number in re.findall(r"\d+", match[1]):
                found.setdefault(int(number), []).append(path.name)
    return found


NAMED = named()


@pytest.mark.parametrize("trap", CHAT)
def test_each_trap_of_chat_completions_is_a_test(trap: int) -> None:
    assert trap in NAMED, "name the trap in the test, its docstring, its id or its golden case"
