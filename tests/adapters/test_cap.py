"""The output cap in each vendor's spelling: what the client asks for, what the model can, what the money is for."""

from typing import Any, NamedTuple

import msgspec
import pytest

from adapters import ADAPTERS, cap, envelope
from adapters.base import NOTHING, Call, Capabilities, Failure, Target, Vendor, Warnings
from tests.adapters.asking import post
from tests.adapters.golden import STAMP

MODEL_MOST = 64_000
HELD = 6_000  # what there is money for


class Model(NamedTuple):
    """How a model is told to think, and what comes of `reasoning_effort: high` with 6000 tokens to spend."""

    vendor: Vendor
    name: str
    able: Capabilities
    thinks: Any  # as it is sent with the lowered cap
    freely: Any  # without

    def target(self, held: int | None = None) -> Target:
        return Target(
            provider=self.vendor, vendor=self.vendor, model=self.name, capabilities=self.able, context=1_000_000,
            max_output=MODEL_MOST, cap=held,
        )  # fmt: skip

    def field(self, asked: dict[str, int]) -> str:
        """Where the cap stands."""
        if self.vendor != "openai":
            return {"anthropic": "max_tokens", "gemini": "maxOutputTokens"}[self.vendor]
        if self.able.max_tokens_field != "either":
            return self.able.max_tokens_field
        return next(iter(asked)) if len(asked) == 1 else "max_completion_tokens"


def budget(tokens: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": tokens}


ADAPTIVE = {"type": "adaptive", "display": "summarized"}
MODELS = {
    "claude by budget": Model("anthropic", "claude-haiku-4-5", Capabilities(thinking=("enabled",)), budget(3000),
                              budget(16384)),
    "claude by effort": Model("anthropic", "claude-opus-5-5",
                              Capabilities(thinking=("adaptive",), efforts=("low", "high"), sampling=False), ADAPTIVE,
                              ADAPTIVE),
    "claude without": Model("anthropic", "claude-3-haiku", Capabilities(), None, None),
    "gemini by budget": Model("gemini", "gemini-2.5-flash", Capabilities(thinking_budget=(0, 24576)), 3000, 24576),
    "gemini by level": Model("gemini", "gemini-3.8-flash", Capabilities(efforts=("low", "high")), "high", "high"),
    "gemini without": Model("gemini", "gemini-2.0-flash", Capabilities(), None, None),
    "openai by effort": Model("openai", "gpt-5.5",
                              Capabilities(efforts=("high",), max_tokens_field="max_completion_tokens"), "high",
                              "high"),
    "openai either": Model("openai", "gpt-4o", Capabilities(), "high", "high"),
    "openai of old": Model("openai", "gpt-4", Capabilities(max_tokens_field="max_tokens"), "high", "high"),
}  # fmt: skip
ASKED: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "max_tokens": ("max_tokens",),
    "max_completion_tokens": ("max_completion_tokens",),
    "both": ("max_completion_tokens", "max_tokens"),
}


def request(model: Model, held: int | None, asked: dict[str, int], **members: Any) -> Call:
    letter = {"model": model.name, "messages": [{"role": "user", "content": "Hi"}], **asked, **members}
    sealed = envelope.seal(msgspec.json.encode(letter))
    return ADAPTERS[model.vendor, "chat"].request(sealed, model.target(held), NOTHING)


def sent(call: Call) -> dict[str, Any]:
    """The members of a request, and Gemini's `generationConfig` among them."""
    body = msgspec.json.decode(call.body, type=dict[str, Any])
    return {**body, **body.get("generationConfig", {})}


def thinking(vendor: Vendor, said: dict[str, Any]) -> Any:
    if vendor == "gemini":
        config = said.get("thinkingConfig", {})
        return config.get("thinkingBudget", config.get("thinkingLevel"))
    return said.get("thinking" if vendor == "anthropic" else "reasoning_effort")


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("effort", [None, "high"])
@pytest.mark.parametrize("names", ASKED.values(), ids=ASKED)
def test_no_more_is_asked_for_than_there_is_money_for(model, names, effort, stream):
    asked = dict.fromkeys(names, 20_000)
    thought = {"reasoning_effort": effort} if effort else {}
    call = request(model, HELD, asked, stream=stream, **thought)
    said = sent(call)
    caps = {name: said[name] for name in ("max_tokens", "max_completion_tokens", "maxOutputTokens") if name in said}
    assert caps == {model.field(asked): HELD}
    assert f"clamped={names[0] if names else 'max_tokens'}" in str(call.warnings)
    assert thinking(model.vendor, said) == (model.thinks if effort else None)


@pytest.mark.parametrize("effort", [None, "high"])
@pytest.mark.parametrize("names", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("more", [0, 1, 10**9])
def test_money_enough_changes_nothing(model, names, effort, more):
    asked = dict.fromkeys(names, 20_000)
    thought = {"reasoning_effort": effort} if effort else {}
    free = request(model, None, asked, **thought)
    call = request(model, (20_000 if names else MODEL_MOST) + more, asked, **thought)
    assert call.body == free.body
    assert str(call.warnings) == str(free.warnings)


@pytest.mark.parametrize("effort", ["high"])
def test_without_a_bound_of_money_thinking_is_as_ever(model, effort):
    said = sent(request(model, None, {"max_tokens": 40_000}, reasoning_effort=effort))
    assert thinking(model.vendor, said) == model.freely


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.vendor != "anthropic"])
def test_the_cap_is_of_each_choice(name):
    call = request(MODELS[name], HELD, {}, n=3)
    said = sent(call)
    assert said.get("n", said.get("candidateCount")) == 3
    assert said[MODELS[name].field({})] == HELD


@pytest.mark.parametrize(
    ("name", "held", "thought"),
    [
        ("claude by budget", 4_000, budget(2000)),
        ("claude by budget", 1_500, budget(1024)),
        ("claude by budget", 1_025, budget(1024)),
        ("claude by budget", 1_024, None),
        ("claude by budget", 1, None),
        ("gemini by budget", 49_152, 24_576),
        ("gemini by budget", 49_151, 24_575),
        ("gemini by budget", 100, 50),
        ("gemini by budget", 1, 0),
    ],
)
def test_a_budget_of_thinking_fits_inside(name, held, thought):
    call = request(MODELS[name], held, {}, reasoning_effort="high")
    assert thinking(MODELS[name].vendor, sent(call)) == thought
    assert ("dropped=reasoning_effort" in str(call.warnings)) is (thought is None)


@pytest.mark.parametrize(("held", "budget"), [(60_000, 24_576), (2_000, 1_000), (1_000, 512), (300, 512)])
def test_a_budget_of_thinking_is_never_below_the_models_least(held, budget):
    lite = MODELS["gemini by budget"]._replace(able=Capabilities(thinking_budget=(512, 24_576)))
    assert thinking("gemini", sent(request(lite, held, {}, reasoning_effort="high"))) == budget


@pytest.mark.parametrize("held", [1, 400, HELD])
def test_no_thinking_stays_no_thinking(held):
    lite = MODELS["gemini by budget"]._replace(able=Capabilities(thinking_budget=(512, 24_576)))
    assert thinking("gemini", sent(request(lite, held, {}, reasoning_effort="none"))) == 0


REAL = {name: MODELS[name] for name in ("claude by budget", "claude by effort", "gemini by level", "openai by effort")}


@pytest.mark.parametrize("held", [1, 1_025, HELD])
@pytest.mark.parametrize("real", REAL.values(), ids=REAL)
def test_the_vendors_take_it_and_keep_to_it(real, held, simulator):
    simulator.script(real.vendor, {"text": "word " * 20_000})
    call = request(real, held, {}, reasoning_effort="high")
    answer = post(simulator, real.vendor, call)
    assert answer.status_code == 200, answer.text
    usage = ADAPTERS[real.vendor, "chat"].response(answer.content, call, STAMP).usage
    assert usage is not None
    assert usage.completion <= held


# --- what the translating adapters share


def chat(**members: Any) -> Any:
    letter = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **members}
    return envelope.seal(msgspec.json.encode(letter)).chat


@pytest.mark.parametrize(
    ("asked", "unasked", "held", "found", "warned"),
    [
        ({}, 100, None, (100, False, False), ""),
        ({}, 50, None, (50, False, False), ""),
        ({}, 500, None, (100, False, False), ""),
        ({}, 100, 100, (100, False, False), ""),
        ({}, 100, 99, (99, False, True), "clamped=max_tokens"),
        ({}, 50, 60, (50, False, False), ""),
        ({"max_tokens": 70}, 50, None, (70, True, False), ""),
        ({"max_tokens": 70}, 50, 70, (70, True, False), ""),
        ({"max_tokens": 70}, 50, 1, (1, True, True), "clamped=max_tokens"),
        ({"max_completion_tokens": 70}, 50, 60, (60, True, True), "clamped=max_completion_tokens"),
        ({"max_tokens": 101}, 100, None, (100, True, False), "clamped=max_tokens"),
        ({"max_tokens": 101}, 100, 500, (100, True, False), "clamped=max_tokens"),
        ({"max_tokens": 101}, 100, 7, (7, True, True), "clamped=max_tokens"),
        ({"max_tokens": 70, "max_completion_tokens": 70}, 50, None, (70, True, False), ""),
        ({"max_tokens": 1}, 50, None, (1, True, False), ""),
    ],
)
def test_the_least_of_three_bounds_counts(asked, unasked, held, found, warned):
    warnings = Warnings()
    target = msgspec.structs.replace(MODELS["gemini without"].target(held), max_output=100)
    assert cap.read(chat(**asked), unasked, target, warnings) == cap.Cap(*found)
    assert str(warnings) == warned


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"max_tokens": 0, "max_completion_tokens": 0}, "max_completion_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
    ],
)
def test_a_cap_that_is_none_is_refused(asked, param):
    with pytest.raises(Failure) as caught:
        cap.read(chat(**asked), 100, MODELS["gemini without"].target(50), Warnings())
    assert (caught.value.status, caught.value.param) == (400, param)
