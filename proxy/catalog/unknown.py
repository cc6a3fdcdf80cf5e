"""Models that no table knows: whose they plainly are, and what is assumed of them."""

import re
from collections.abc import Mapping
from functools import partial

import msgspec

from adapters.base import Capabilities, Vendor
from proxy.catalog.route import ProviderRow
from proxy.prices import Limits, Model

_PLAINLY: Mapping[str, re.Pattern[str]] = {
    "openai": re.compile(r"(?:gpt-|chatgpt-|o[0-9]+(?:-|$)|ft:)"),
    "anthropic": re.compile(r"claude-"),
    "gemini": re.compile(r"(?:gemini-|gemma-)"),
}
_GEMINI_VERSION = re.compile(r"gemini-([0-9]{1,4})(?:\.([0-9]{1,4}))?(?:-|$)")

# What to assume of a model that the table does not know: the least that its generation is known to take.
_UNKNOWN: Mapping[Vendor, tuple[Limits, Capabilities]] = {
    "openai": (
        Limits(context=1_050_000, max_output=128_000),
        Capabilities(mid_system=True, max_tokens_field="max_completion_tokens"),
    ),
    "anthropic": (
        Limits(context=1_000_000, max_output=128_000),
        Capabilities(
            input=("text", "image", "file"),
            sampling=False,
            penalties=False,
            efforts=("low", "medium", "high"),
            thinking=("adaptive",),
            thinking_off=False,
            forced_tool=False,
            mid_system=True,
        ),
    ),
    "gemini": (
        Limits(context=1_048_576, max_output=65_536),
        Capabilities(
            input=("text", "image", "audio", "video", "file"),
            sampling=False,
            penalties=False,
            efforts=("low", "high"),
            thinking_off=False,
            call_ids=True,
        ),
    ),
}


def plainly(name: str) -> str | None:
    """The vendor whose model this must be, by its name."""
    return next((vendor for vendor, form in _PLAINLY.items() if form.match(name)), None)


def guess(row: ProviderRow, name: str) -> Model:
    """A model that no entry knows: price unknown, equivalent to nothing, abilities those of its generation."""
    limits, newest = _UNKNOWN[row.vendor]
    if row.vendor == "gemini":
        newest = _gemini(name, newest)
    elif row.vendor == "openai" and row.name != "openai":
        newest = Capabilities()  # it speaks OpenAI's format, but its models are not OpenAI's
    return Model(provider=row.name, model=name, limits=limits, capabilities=row.capabilities or newest)


def _gemini(name: str, newest: Capabilities) -> Capabilities:
    """Gemini changed its spelling of thinking with 2.5 and with 3; Gemma has no instructions of its own."""
    change = partial(msgspec.structs.replace, newest, sampling=True)
    if name.startswith("gemma-"):
        return change(input=("text", "image"), efforts=(), json_with_tools=False, call_ids=False, system=False)
    version = _GEMINI_VERSION.match(name)
    if version is None or int(version[1]) >= 3:
        return newest
    old = change(efforts=(), json_with_tools=False, call_ids=False)
    if (int(version[1]), int(version[2] or 0)) < (2, 5):
        return msgspec.structs.replace(old, thinking_off=True)
    # The narrowest range of the three: 512 is flash-lite's least, 24576 flash's most; pro cannot do without thinking.
    return msgspec.structs.replace(old, thinking_budget=(512, 24_576))
