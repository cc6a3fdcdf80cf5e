"""Candidates for tests: made up from a few words."""

from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st

from adapters.base import Capabilities, Target
from proxy.health import Standing
from proxy.health.ratelimit import Window
from proxy.prices import Price, convert
from proxy.routing import Candidate, Expected

Struct = TypeVar("Struct", bound=msgspec.Struct)
NOW = 1_795_435_385_000  # 2026-11-23T12:03:05Z
SECOND = 1_000
ALL_ABLE = Capabilities(input=("text", "image", "audio", "video", "file"))


def price(input: str, output: str, **more: Any) -> Price:
    """USD per million tokens."""
    rates = {"input": input, "output": output, **more.pop("rates", {})}
    return convert({"source": "test", "per_mtok": rates, **more}, Price)


def candidate(name: str, *, able: Capabilities = ALL_ABLE, context: int = 100_000, **more: Any) -> Candidate:
    """`name`: provider/model. What `Standing` knows may be said among `more`; its weight is `seen`."""
    provider, _, model = name.partition("/")
    vendor: Any = provider if provider in ("anthropic", "gemini") else "openai"
    target = Target(
        provider=provider, vendor=vendor, model=model, capabilities=able, context=context, max_output=context
    )
    standing = {key: more.pop(key) for key in Standing.__struct_fields__ if key in more and key != "weight"}
    standing["weight"] = more.pop("seen", 0.0)
    return Candidate(target=target, model=model, standing=Standing(**standing), **more)


def changed(one: Struct, **more: Any) -> Struct:
    return msgspec.structs.replace(one, **more)


def names(order: Any) -> str:
    """Of candidates, or of those who are out: "a b c"."""
    return " ".join(one.name.partition("/")[0] for one in order)


def windows_of(left: int, reset: int) -> dict[str, Any]:
    """A limit of ten requests, of which so many are left now."""
    return {"requests": Window(10, left, NOW, reset)}


PRICES = (None, price("1", "5"), price("1", "5", tiers=[{"above_prompt_tokens": 500, "per_mtok": {"input": "2"}}]))

standings = st.builds(
    Standing,
    state=st.sampled_from(["closed", "closed", "open", "half_open"]),
    scope=st.sampled_from(["model", "provider", "line"]),
    since=st.integers(NOW - 90_000_000, NOW),
    until=st.integers(NOW - 1_000, NOW + 90_000_000),
    why=st.sampled_from(["timeout", "key", "quota"]),
    share=st.sampled_from([1.0, 1.0, 0.1, 0.5]),
    blocked=st.sampled_from([0, NOW, NOW + 1, NOW + 20_000]),
    windows=st.sampled_from([{}, windows_of(5, NOW + 1_000), windows_of(0, NOW + 5_000)]),
    first=st.none() | st.floats(0.001, 100_000),
    weight=st.sampled_from([0.0, 0.5, 1.0, 20.0]),
    in_flight=st.integers(0, 20),
    stalled=st.booleans(),
)

_targets = st.builds(
    Target,
    provider=st.sampled_from(["openai", "anthropic", "gemini", "groq"]),
    vendor=st.sampled_from(["openai", "anthropic", "gemini"]),
    model=st.sampled_from("mnop"),
    capabilities=st.builds(
        Capabilities,
        input=st.sampled_from([("text",), ("text", "image"), ("text", "image", "audio", "file")]),
        tools=st.booleans(),
        json_schema=st.booleans(),
        json_with_tools=st.booleans(),
        forced_tool=st.booleans(),
    ),
    context=st.sampled_from([100, 1_000, 10_000]),
    max_output=st.just(100),
)

everybody = st.lists(
    st.builds(
        Candidate,
        target=_targets,
        model=st.just("m"),
        price=st.sampled_from(PRICES),
        standing=standings,
        expected=st.builds(Expected, st.floats(0, 10_000), st.floats(0, 1)),
        weight=st.integers(1, 100),
        most=st.none() | st.integers(1, 10),
        stand_in=st.booleans(),
        losses=st.integers(0, 2),
    ),
    min_size=1,
    max_size=6,
)
