"""What each Claude model accepts. One row per family; the first row whose prefix fits decides."""

from typing import NamedTuple

LOW_TO_MAX = ("low", "medium", "high", "xhigh", "max")


class Model(NamedTuple):
    """`thinking` lists the accepted `thinking.type`s; `omitted` is what no `thinking` field means.

    `rest_efforts`: the efforts allowed with thinking off, where that is limited. Sizes in tokens.
    """

    prefix: str
    sampling: bool
    thinking: tuple[str, ...]
    efforts: tuple[str, ...]
    forced_tool: bool
    prefill: bool
    mid_system: bool
    omitted: str = "disabled"
    context: int = 1_000_000
    output: int = 128_000

    @property
    def budget(self) -> bool:
        """Thinks only when given a budget; an unsigned tool loop is then refused."""
        return "enabled" in self.thinking and "adaptive" not in self.thinking

    @property
    def hides_thinking(self) -> bool:
        """Thinking is delivered empty unless `display: summarized` asks for it."""
        return "enabled" not in self.thinking


_ADAPTIVE = ("adaptive",)
_OFF = ("adaptive", "disabled")
_ALWAYS = "adaptive"
MODELS = (
    Model("claude-fable-5-", False, _ADAPTIVE, LOW_TO_MAX, False, False, True, _ALWAYS),
    Model("claude-mythos-5-", False, _ADAPTIVE, LOW_TO_MAX, False, False, True, _ALWAYS),
    Model("claude-opus-5-5", False, _ADAPTIVE, LOW_TO_MAX, False, False, True, _ALWAYS),
    Model("claude-sonnet-5-5", False, ("adaptive", "between_tools"), LOW_TO_MAX, False, False, True, _ALWAYS),
    Model("claude-haiku-5-5", False, _OFF, LOW_TO_MAX, True, False, True),
    Model("claude-fable-5", False, _ADAPTIVE, LOW_TO_MAX, True, False, True, _ALWAYS),
    Model("claude-mythos-5", False, _ADAPTIVE, LOW_TO_MAX, True, False, True, _ALWAYS),
    Model("claude-opus-5", False, _OFF, LOW_TO_MAX, True, False, True),
    Model("claude-sonnet-5", False, _OFF, LOW_TO_MAX, True, False, True, _ALWAYS),
    Model("claude-opus-4-8", False, _OFF, LOW_TO_MAX, True, False, True),
    Model("claude-opus-4-7", False, _OFF, LOW_TO_MAX, True, False, False),
    Model("claude-opus-4-6", True, (*_OFF, "enabled"), ("low", "medium", "high", "max"), True, False, False),
    Model("claude-sonnet-4-6", True, (*_OFF, "enabled"), ("low", "medium", "high", "max"), True, False, False),
    Model("claude-opus-4-5", True, ("enabled", "disabled"), ("low", "medium", "high"), True, True, False,
          context=200_000, output=64_000),
    Model("claude-sonnet-4-5", True, ("enabled", "disabled"), (), True, True, False, context=200_000, output=64_000),
    Model("claude-haiku-4-5", True, ("enabled", "disabled"), (), True, True, False, context=200_000, output=64_000),
    Model("claude-", False, _OFF, ("low", "medium", "high"), False, False, True),
)  # fmt: skip
RESTLESS = ("claude-opus-5", "claude-haiku-5-5", "claude-sonnet-5-5")  # thinking off only up to effort high
LISTED = (
    "claude-fable-5-2", "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-4-8",
    "claude-sonnet-4-6", "claude-opus-4-5", "claude-haiku-4-5",
)  # fmt: skip


def model(name: str) -> Model | None:
    """The row of a model; None if Anthropic does not know it."""
    if "missing" in name:
        return None
    return next((m for m in MODELS if name.startswith(m.prefix)), None)
