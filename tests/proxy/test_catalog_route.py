"""The words of the catalog: what a target carries, and what is said when there is none."""

import pytest

from adapters.base import Capabilities, Failure, Kind
from proxy.catalog import LONGEST_NAME, ProviderRow
from proxy.catalog.route import no_key, no_such, nobody, target
from proxy.prices import Limits, Model

GROQ = ProviderRow(name="groq", vendor="openai")
MODEL = Model(
    provider="groq",
    model="llama",
    limits=Limits(context=8000, max_output=800),
    capabilities=Capabilities(input=("text",)),
)


def test_a_target_is_a_model_at_a_provider_under_the_name_that_was_asked_for():
    found = target(GROQ, MODEL, "llama-dated")
    assert (found.provider, found.vendor, found.model) == ("groq", "openai", "llama-dated")
    assert (found.context, found.max_output, found.capabilities) == (8000, 800, MODEL.capabilities)


def test_who_cannot_chat_is_no_target():
    embedding = Model(provider="groq", model="e", limits=MODEL.limits, kind="embedding")
    with pytest.raises(Failure, match="The model `e` is no chat model but of kind embedding"):
        target(GROQ, embedding, "e")


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (no_such("x"), "The model `x` does not exist here."),
        (no_such("x" * 9999), f"`{'x' * LONGEST_NAME}…`"),
        (no_key("x", "gemini"), "is offered by gemini, which has no key here: set GEMINI_API_KEY, or choose one"),
        (no_key("x", "groq"), "is offered by groq, which has no key here: configure it, or choose one"),
    ],
    ids=["nobody's", "too long to repeat", "a vendor's", "another provider's"],
)
def test_what_cannot_be_found_is_a_404_that_says_what_to_do(failure, says):
    assert says in failure.message
    assert (failure.status, failure.code, failure.param) == (404, "model_not_found", "model")
    assert (failure.kind, failure.type) == (Kind.CALLER, "invalid_request_error")


def test_nobody_to_be_asked_is_a_503():
    failure = nobody("smart")
    assert (failure.status, failure.code, failure.kind) == (503, "no_provider_available", Kind.KEY)
    assert failure.message == "No provider is configured that could serve `smart`."
