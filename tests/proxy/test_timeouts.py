"""How long is waited, and for which model."""

import msgspec
import pytest

from adapters.base import Capabilities, Target
from proxy.catalog import LONGEST_NAME, REMEMBERED
from proxy.timeouts import Timeouts, check_seconds, thinks

PLAIN = Capabilities()
THINKING = Capabilities(efforts=("low", "high"))


def read(text: str) -> Timeouts:
    return msgspec.yaml.decode(text, type=Timeouts)


def model(name: str, capabilities: Capabilities = PLAIN) -> Target:
    provider, _, rest = name.partition("/")
    return Target(provider=provider, vendor="openai", model=rest, capabilities=capabilities, context=9, max_output=9)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        (Capabilities(), False),
        (Capabilities(efforts=("low",)), True),
        (Capabilities(thinking=("adaptive",)), True),
        (Capabilities(thinking_budget=(0, 9)), True),
    ],
    ids=["nothing", "efforts", "thinking", "a budget"],
)
def test_who_thinks(capabilities, expected):
    assert thinks(capabilities) is expected


@pytest.mark.parametrize(
    ("text", "plain", "thinking"),
    [
        pytest.param("{}", 60, 180, id="thinking models are given longer"),
        pytest.param("first_byte: 2", 2, 2, id="who says first_byte means both"),
        pytest.param("first_byte: 400", 400, 400, id="longer ones too"),
        pytest.param("first_byte: 60", 60, 60, id="even if it is the default"),
        pytest.param("first_byte_thinking: 20", 60, 20, id="thinking models alone"),
        pytest.param("{first_byte: 5, first_byte_thinking: 50}", 5, 50, id="each its own"),
        pytest.param("models: {p/x: {first_byte: 7}}", 60, 180, id="a row for another model"),
        pytest.param("models: {p/m: {first_byte: 7}}", 7, 7, id="a row rules whether it thinks or not"),
        pytest.param("{first_byte_thinking: 9, models: {p/m: {idle: 7}}}", 60, 9, id="a row that does not say it"),
    ],
)
def test_the_first_byte_of_a_stream(text, plain, thinking):
    timeouts = read(text)
    assert timeouts.of(model("p/m")).first_byte == plain
    assert timeouts.of(model("p/m", THINKING)).first_byte == thinking


def test_the_general_ones_are_those_of_a_model_that_does_not_think():
    times = read("{connect: 1, first_byte_plain: 3, idle: 4, total: 5}").general
    assert (times.connect, times.first_byte, times.first_byte_plain, times.idle, times.total) == (1, 60, 3, 4, 5)
    assert read("first_byte: 2").general.first_byte == 2


ROWS = """
idle: 10
models:
  "openai/*": {idle: 20, total: 1000}
  "openai/o*": {first_byte: 300, connect: 1}
  "openai/o3": {first_byte_plain: 600}
  "*/big*": {total: 3000}
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gemini/o1", {"connect": 5, "first_byte": 60, "first_byte_plain": 300, "idle": 10, "total": 900}),
        ("openai/gpt-4o", {"idle": 20, "total": 1000, "first_byte": 60}),
        ("openai/o1", {"first_byte": 300, "connect": 1, "idle": 10, "total": 900}),
        ("openai/o3", {"first_byte_plain": 600, "first_byte": 60, "idle": 10}),
        ("groq/bigger", {"total": 3000, "idle": 10}),
        ("groq/meta/bigger", {"total": 900}),
        ("OPENAI/o1", {"first_byte": 60}),
        (f"openai/o{'1' * LONGEST_NAME}", {"first_byte": 300, "idle": 10}),
    ],
    ids=["none fits", "one fits", "the longest of two", "the exact name, though no longer", "any provider",
         "a slash is a character", "case counts", "a name beyond measure"],
)  # fmt: skip
def test_of_the_rows_that_fit_the_longest_pattern_wins_key_by_key_over_the_general_ones(name, expected):
    timeouts = read(ROWS.replace('"*/big*"', '"????/big*"'))
    found = msgspec.structs.asdict(timeouts.of(model(name)))
    assert {key: found[key] for key in expected} == expected


def test_they_are_remembered_by_model_and_by_whether_it_thinks():
    timeouts = read("{}")
    assert timeouts.of(model("p/m")) is timeouts.of(model("p/m"))
    assert timeouts.of(model("p/m", THINKING)) is not timeouts.of(model("p/m"))
    long = "p/" + "m" * (LONGEST_NAME + 1)
    assert timeouts.of(model(long)) is not timeouts.of(model(long))
    assert timeouts.of(model(long)) == timeouts.of(model("p/m"))


def test_what_is_remembered_is_bounded_for_clients_make_up_names():
    timeouts = read("{}")
    first = timeouts.of(model("p/m"))
    for n in range(REMEMBERED):
        timeouts.of(model(f"p/{n}"))
    assert timeouts.of(model("p/m")) is not first


def test_a_model_that_learns_to_think_is_given_longer_from_then_on():
    timeouts = read("{}")
    assert [timeouts.of(model("p/m", can)).first_byte for can in (PLAIN, THINKING, PLAIN)] == [60, 180, 60]


def test_the_longest_of_all_is_known():
    assert read("{}").longest == 900
    assert read(ROWS).longest == 3000
    assert read("{total: 5000, models: {'*': {total: 1, idle: 9999}}}").longest == 5000


@pytest.mark.parametrize("value", ["0", "-1", ".inf", ".nan", "1.0e+300"])
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("idle: {}", "idle"),
        ("first_byte: {}", "first_byte"),
        ("first_byte_thinking: {}", "first_byte_thinking"),
        ("models: {{'openai/o*': {{total: {}}}}}", "models.openai/o*.total"),
    ],
)
def test_what_no_timer_can_wait_for_is_refused(text, place, value):
    with pytest.raises(msgspec.ValidationError) as caught:
        read(text.format(value))
    assert str(caught.value) == f"`{place}` must be more than 0 and at most 1000000 seconds"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: {gpt-4o: {idle: 1}}", "`models`: `gpt-4o` fits nothing: expected a pattern of provider/model"),
        ("models: {p/m: {first_byte_thinking: 1}}", "Object contains unknown field `first_byte_thinking`"),
        ("models: {p/m: 5}", "Expected `object`, got `int`"),
        ("models: [p/m]", "Expected `object`, got `array` - at `$.models`"),
    ],
)
def test_a_row_that_cannot_be_meant_is_refused(text, said):
    with pytest.raises(msgspec.ValidationError) as caught:
        read(text)
    assert str(caught.value).startswith(said)


def test_a_pattern_without_a_slash_may_mean_all():
    assert read("models: {'*mini': {idle: 1}}").of(model("p/mini")).idle == 1


def test_seconds_are_checked_to_their_limit():
    check_seconds("x", 1e6)
    with pytest.raises(ValueError, match="`x` must be"):
        check_seconds("x", 1e6 + 1)
