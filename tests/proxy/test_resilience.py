"""The figures of circuit breakers, retries and hedging, as people write them down."""

from pathlib import Path

import msgspec
import pytest

from proxy.environment import Environment
from proxy.health import Policy
from proxy.resilience import Hedging, Retries, health

README = Path(__file__).resolve().parents[2] / "README.md"
VARIABLES = {
    "LLM_HEALTH_CONSECUTIVE_FAILURES": ("7", "consecutive", 7),
    "LLM_HEALTH_FAILURE_RATE": ("0.25", "rate", 0.25),
    "LLM_HEALTH_WINDOW_SECONDS": ("30", "window", 30),
    "LLM_HEALTH_MIN_REQUESTS": ("20", "least", 20),
    "LLM_HEALTH_COOLDOWN_SECONDS": ("12.5", "cooldown", 12.5),
}


def read(section: object = None, **environ: str) -> Policy:
    env = Environment(environ)
    policy = health(env, section, "config.yaml: health")
    assert env.faults == []
    return policy


def fault(section: object = None, **environ: str) -> str:
    env = Environment(environ)
    health(env, section, "config.yaml: health")
    assert len(env.faults) == 1, env.faults
    return env.faults[0]


# --- health


def test_the_defaults_are_those_of_the_contract():
    policy = read()
    assert policy == Policy() == read({})
    assert (policy.consecutive, policy.rate, policy.window, policy.least, policy.cooldown) == (5, 0.5, 60, 10, 300)


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_goes_before_its_key_and_touches_no_other(name):
    text, key, value = VARIABLES[name]
    section = {"consecutive": 3, "rate": 0.9, "window": 90, "least": 4, "cooldown": 40, "probes": 2}
    assert read(None, **{name: text}) == msgspec.structs.replace(Policy(), **{key: value})
    assert read(section, **{name: text}) == msgspec.structs.replace(msgspec.convert(section, Policy), **{key: value})


@pytest.mark.parametrize("name", VARIABLES)
def test_the_readme_names_each_variable(name):
    assert f"`{name}`" in README.read_text(encoding="utf-8")


def test_the_section_is_obeyed():
    section = {"longest": 600, "probes": 1, "slow_start": 0}
    assert read(section) == Policy(longest=600, probes=1, slow_start=0)


@pytest.mark.parametrize(
    ("section", "environ", "cooldown", "longest"),
    [
        pytest.param(None, {"LLM_HEALTH_COOLDOWN_SECONDS": "7200"}, 7200, 7200, id="by the variable"),
        pytest.param({"cooldown": 7200}, {}, 7200, 7200, id="by the file"),
        pytest.param({"cooldown": 7200}, {"LLM_HEALTH_COOLDOWN_SECONDS": "60"}, 60, 3600, id="and lowered again"),
        pytest.param({"cooldown": 7200}, {"LLM_HEALTH_FAILURE_RATE": "0.1"}, 7200, 7200, id="and something else"),
        pytest.param({"probes": 1}, {"LLM_HEALTH_COOLDOWN_SECONDS": "3600"}, 3600, 3600, id="as long as that"),
        pytest.param({"longest": 9000}, {"LLM_HEALTH_COOLDOWN_SECONDS": "7200"}, 7200, 9000, id="it is long enough"),
    ],
)
def test_a_cooldown_that_is_raised_alone_takes_the_longest_with_it(section, environ, cooldown, longest):
    policy = read(section, **environ)
    assert (policy.cooldown, policy.longest) == (cooldown, longest)


COUNT = "expected a whole number, 1 or more; got"
SECONDS = "expected a number of seconds, more than 0 and at most 86400; got"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        *(("LLM_HEALTH_CONSECUTIVE_FAILURES", value, COUNT) for value in ("0", "-1", "2.5", "five")),
        *(("LLM_HEALTH_MIN_REQUESTS", value, COUNT) for value in ("0", "1e3")),
        *(
            ("LLM_HEALTH_FAILURE_RATE", value, "expected a share, more than 0 and at most 1; got")
            for value in ("0", "1.01", "50", "50%", "nan")
        ),
        *(("LLM_HEALTH_WINDOW_SECONDS", value, SECONDS) for value in ("0", "86401", "inf", "nan")),
        *(("LLM_HEALTH_COOLDOWN_SECONDS", value, SECONDS) for value in ("-1", "86401", "5m")),
    ],
)
def test_a_bad_variable_is_one_line_that_says_what_was_expected(name, value, said):
    assert fault(None, **{name: value}) == f"{name}: {said} '{value}'"


@pytest.mark.parametrize(
    ("name", "value"),
    [("LLM_HEALTH_FAILURE_RATE", "1"), ("LLM_HEALTH_WINDOW_SECONDS", "86400"), ("LLM_HEALTH_MIN_REQUESTS", "1")],
)
def test_a_variable_may_be_at_its_limit(name, value):
    assert read(None, **{name: value}) != Policy()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("fast", "Expected `object`, got `str`"),
        ([], "Expected `object`, got `array`"),
        ({"failures": 5}, "Object contains unknown field `failures`"),
        ({"cooldown": "5m"}, "Expected `float`, got `str` - at `$.cooldown`"),
        ({"rate": 50}, "`rate` is more than 0 and at most 1"),
        ({"cooldown": 90000}, "`window`, `cooldown` and `longest` are seconds, more than 0 and at most a day;"),
        ({"cooldown": 700, "longest": 600}, "`window`, `cooldown` and `longest` are seconds"),
        ({"cooldown": 700, "longest": None}, "Expected `float`, got `null` - at `$.longest`"),
        ({5: 5}, "Expected `str` - at `key` in `$`"),
    ],
)
def test_a_bad_section_is_one_line_with_its_place(section, said):
    assert fault(section).startswith(f"config.yaml: health: {said}")


def test_a_variable_that_clashes_with_the_file_is_told_with_both():
    said = fault({"longest": 600}, LLM_HEALTH_COOLDOWN_SECONDS="700", LLM_HEALTH_MIN_REQUESTS="3")
    assert said.startswith("LLM_HEALTH_COOLDOWN_SECONDS: together with config.yaml: health: ")
    assert said.endswith("`cooldown` is at most `longest`")


def test_what_is_wrong_with_the_file_is_not_told_again_for_a_variable():
    assert fault({"longest": 5}, LLM_HEALTH_COOLDOWN_SECONDS="7200").startswith("config.yaml: health: ")


# --- retries and hedging


def test_by_default_all_are_asked_twice_and_nobody_is_hedged():
    assert Retries() == Retries(rounds=2, base=0.25, longest=4, share=0.2, queue=10)
    assert Hedging() == Hedging(enabled=False, spend=0.05, least=0.5)


@pytest.mark.parametrize(
    "given",
    [
        {"rounds": 1},
        {"rounds": 10},
        {"share": 0},
        {"share": 1},
        {"queue": 0},
        {"base": 4, "longest": 4},
    ],
    ids=str,
)
def test_retries_may_be(given):
    assert msgspec.convert(given, Retries) == Retries(**given)


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (Retries, {"rounds": 0}, "`rounds` is from 1 to 10"),
        (Retries, {"rounds": 11}, "`rounds` is from 1 to 10"),
        (Retries, {"base": 0}, "`base` must be more than 0"),
        (Retries, {"longest": float("inf")}, "`longest` must be more than 0"),
        (Retries, {"base": 5}, "`base` is at most `longest`"),
        (Retries, {"share": -0.1}, "`share` is from 0 to 1"),
        (Retries, {"share": 20}, "`share` is from 0 to 1"),
        (Retries, {"queue": -1}, "`queue` must be more than 0"),
        (Retries, {"queue": float("nan")}, "`queue` must be more than 0"),
        (Retries, {"attempts": 3}, "Object contains unknown field `attempts`"),
        (Hedging, {"spend": 0}, "`spend` is more than 0 and at most 1"),
        (Hedging, {"spend": 5}, "`spend` is more than 0 and at most 1"),
        (Hedging, {"least": 0}, "`least` must be more than 0"),
        (Hedging, {"enabled": "yes"}, "Expected `bool`, got `str`"),
        (Hedging, {"on": True}, "Object contains unknown field `on`"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(kind, given, said):
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(given, kind)
    assert str(caught.value).startswith(said)
