"""What each Gemini model accepts, read off its name."""

import re
from typing import NamedTuple

_VERSION = re.compile(r"^gemini-(\d+(?:\.\d+)?)-")
_LOW_HIGH = ("low", "high")
_TO_HIGH = ("low", "medium", "high")
_FROM_MINIMAL = ("minimal", *_TO_HIGH)
# Thinking levels by model; the first row whose pattern fits decides.
_LEVELS = (
    (re.compile(r"^gemini-4-hydrogen"), (*_TO_HIGH, "xhigh")),
    (re.compile(r"^gemini-4|^gemini-3\.[78]-flash|^gemini-flash-latest"), _TO_HIGH),
    (re.compile(r"^gemini-3(\.5)?-flash-lite|^gemini-3(\.[1-6])?-flash"), _FROM_MINIMAL),
    (re.compile(r"^gemini-3\.1-pro"), _TO_HIGH),
    (re.compile(r"^gemini-3-pro"), _LOW_HIGH),
    (re.compile(r"^gemini-3"), _TO_HIGH),
)
LISTED = (
    "gemini-4-argon", "gemini-4-hydrogen", "gemini-3.8-flash", "gemini-3.5-flash", "gemini-3.5-flash-lite",
    "gemini-3.1-pro-preview", "gemini-3-flash-preview", "gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite",
)  # fmt: skip


class Model(NamedTuple):
    """`budgets`: (smallest, largest) thinking budget in tokens, None where the model refuses budgets."""

    version: float
    levels: tuple[str, ...]
    budgets: tuple[int, int] | None
    can_rest: bool  # takes budget 0
    context: int = 1_048_576
    output: int = 65_536

    @property
    def thinks(self) -> bool:
        """Thinks unless told not to."""
        return self.version >= 2.5

    @property
    def signs(self) -> bool:
        """Wants its thought signatures back, and takes ids of calls."""
        return self.version >= 3


def model(name: str) -> Model | None:
    """The row of a model; None if Google does not know it."""
    if "missing" in name or not name.startswith(("gemini-", "gemma-")):
        return None
    found = _VERSION.match(name)
    version = float(found[1]) if found else 3.7 if name.endswith("-latest") else 2.0
    levels = next((row for pattern, row in _LEVELS if pattern.match(name)), ()) if version >= 3 else ()
    pro = "pro" in name
    budgets = None if version >= 4 or version < 2.5 else (128 if pro else 0, 32768 if pro else 24576)
    return Model(version, levels, budgets, can_rest=version < 3 and not pro)
