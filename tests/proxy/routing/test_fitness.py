"""Who cannot do what a request needs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Capabilities
from proxy.routing import Need
from proxy.routing.fitness import REASONS, fit, tight
from tests.proxy.routing.candidates import candidate, everybody, names

ABLE = candidate("a/m")
NO_SCHEMA = Capabilities(json_schema=False)
RIGID = Capabilities(json_schema=False, forced_tool=False)
EITHER = Capabilities(json_with_tools=False)


@pytest.mark.parametrize(
    ("need", "other", "said"),
    [
        pytest.param(Need(images=True), candidate("b/m", able=Capabilities(input=("text",))), "images", id="images"),
        pytest.param(Need(audio=True), candidate("b/m", able=Capabilities()), "audio", id="sounds"),
        pytest.param(Need(files=True), candidate("b/m", able=Capabilities()), "files", id="files"),
        pytest.param(Need(tools=True), candidate("b/m", able=Capabilities(tools=False)), "tools", id="tools"),
        pytest.param(Need(schema=True), candidate("openai/m", able=NO_SCHEMA), "JSON schema", id="a schema"),
        pytest.param(
            Need(schema=True, tools=True),
            candidate("anthropic/m", able=NO_SCHEMA),
            "JSON schema",
            id="a schema that would be emulated by a tool, beside tools",
        ),
        pytest.param(
            Need(schema=True),
            candidate("anthropic/m", able=RIGID),
            "JSON schema",
            id="a schema where no tool can be forced either",
        ),
        pytest.param(
            Need(schema=True, tools=True), candidate("gemini/m", able=EITHER), "in one request", id="a schema and tools"
        ),
        pytest.param(
            Need(least=100),
            candidate("b/m", context=100),
            "its context of 100 tokens is too small for a prompt of at least 100",
            id="a context without room for one word of answer",
        ),
    ],
)
def test_who_cannot_do_it_is_out_with_the_reason(need, other, said):
    fitting, out = fit([ABLE, other, ABLE], need, choosy=False)
    assert fitting == [ABLE, ABLE]
    assert [(one.name, one.why) for one in out] == [(other.name, "unfit")]
    assert said in out[0].said


@pytest.mark.parametrize(
    ("need", "other"),
    [
        pytest.param(Need(), candidate("b/m", able=Capabilities(input=("text",), tools=False)), id="text"),
        pytest.param(Need(schema=True), candidate("anthropic/m", able=NO_SCHEMA), id="a schema that is emulated"),
        pytest.param(Need(schema=True), candidate("gemini/m", able=EITHER), id="a schema without tools"),
        pytest.param(Need(tools=True), candidate("gemini/m", able=EITHER), id="tools without a schema"),
        pytest.param(Need(least=99), candidate("b/m", context=100), id="a context with room for one word"),
        pytest.param(Need(prompt=500, cap=50), candidate("b/m", context=100), id="a prompt that may be too long"),
    ],
)
def test_who_can_do_it_stays(need, other):
    everyone = [ABLE, other]
    assert fit(everyone, need, choosy=False) == (everyone, [])


BLIND = candidate("b/m", able=Capabilities(input=("text",)))


def test_who_was_asked_for_by_name_refuses_for_itself():
    fitting, out = fit([BLIND, ABLE, BLIND], Need(images=True), choosy=True)
    assert names(fitting) == "b a"
    assert names(out) == "b"


def test_all_stay_if_nobody_can():
    assert fit([BLIND, BLIND], Need(images=True), choosy=False) == ([BLIND, BLIND], [])


def test_nobody_but_who_was_asked_for_stays_if_the_others_cannot_either():
    fitting, out = fit([BLIND, candidate("c/m", able=Capabilities(input=("text",)))], Need(images=True), choosy=True)
    assert (names(fitting), names(out)) == ("b", "c")


@pytest.mark.parametrize(
    ("need", "expected"),
    [
        pytest.param(Need(prompt=60, cap=40), False, id="prompt and answer fit"),
        pytest.param(Need(prompt=60, cap=41), True, id="prompt and answer do not"),
        pytest.param(Need(prompt=100), False, id="a prompt that fits, and an answer of any length"),
        pytest.param(Need(prompt=101), True, id="a prompt that does not"),
    ],
)
def test_a_context_is_tight_if_prompt_and_answer_may_not_fit(need, expected):
    assert tight(candidate("a/m", context=100), need) is expected


needs = st.builds(
    Need,
    least=st.integers(0, 2_000),
    images=st.booleans(),
    audio=st.booleans(),
    files=st.booleans(),
    tools=st.booleans(),
    schema=st.booleans(),
)


@settings(deadline=None)
@given(everybody, needs, st.booleans())
def test_everyone_either_fits_or_is_out_and_somebody_always_stays(everyone, need, choosy):
    fitting, out = fit(everyone, need, choosy=choosy)
    assert fitting
    assert len(fitting) + len(out) == len(everyone)
    assert sorted([*(one.name for one in fitting), *(one.name for one in out)]) == sorted(c.name for c in everyone)
    if choosy:
        assert fitting[0] is everyone[0]


def test_each_reason_has_a_name_of_its_own():
    assert len({reason.name for reason in REASONS}) == len(REASONS)
