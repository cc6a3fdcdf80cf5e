"""What is expected of an answer, by what callers and models produced lately."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Usage
from proxy.habits import Habits
from proxy.routing import Expected


def answer(tokens: int, prompt: int = 0, cached: int = 0) -> Usage:
    return Usage(in_text=prompt - cached, cache_read=cached, out_text=tokens)


def taught(*lessons: tuple[str, str, int, int]) -> Habits:
    """Caller, model, tokens of each answer, how many of them."""
    habits = Habits()
    for caller, model, tokens, times in lessons:
        for _ in range(times):
            habits.learn(caller, model, answer(tokens))
    return habits


def test_nothing_known_is_five_hundred_tokens():
    assert Habits().expect("ann", "m", None) == Expected(500.0, 0.0)


@pytest.mark.parametrize(
    ("lessons", "caller", "model", "expected"),
    [
        pytest.param([("ann", "m", 100, 50)], "ann", "m", 100, id="what this caller got from this model"),
        pytest.param([("ann", "m", 100, 50)], "bob", "m", 107, id="else what the model gave to others"),
        pytest.param(
            [("ann", "m", 100, 50), ("bob", "n", 900, 50)], "ann", "n", 203, id="rather what the caller got from others"
        ),
        pytest.param([("ann", "m", 100, 50)], "bob", "n", 152, id="else what anybody got from any"),
        pytest.param(
            [("ann", "m", 100, 50), ("ann", "n", 900, 20)], "ann", "n", 865, id="what the model gave goes before that"
        ),
        pytest.param(
            [("ann", "m", 100, 500), ("ann", "m", 900, 50)], "ann", "m", 880, id="what was lately counts for more"
        ),
    ],
)
def test_it_is_expected(lessons, caller, model, expected):
    assert taught(*lessons).expect(caller, model, None).output == pytest.approx(expected, rel=0.05)


def test_one_answer_says_little_and_many_say_all():
    once = taught(("ann", "m", 100, 1)).expect("ann", "m", None).output
    often = taught(("ann", "m", 100, 100)).expect("ann", "m", None).output
    assert once == pytest.approx(100 + 400 * (3 / 4) ** 4)  # each of the four averages leans on the one before it
    assert often == pytest.approx(100, abs=1)


def test_a_long_answer_of_long_ago_does_not_count_for_good():
    habits = taught(("ann", "n", 100, 20), ("ann", "m", 5_000, 5))
    before = habits.expect("ann", "m", None).output
    for _ in range(1_000):
        habits.learn("ann", "n", answer(100))
    assert before > 2_000
    assert habits.expect("ann", "m", None).output == pytest.approx(100, rel=0.2)


def test_a_model_that_was_not_asked_for_long_is_soon_judged_by_what_it_gives_now():
    habits = taught(("ann", "m", 10_000, 50), ("ann", "n", 100, 1_000), ("ann", "m", 100, 3))
    assert habits.expect("ann", "m", None).output < 200


def test_what_others_do_in_the_meantime_does_not_fade_it():
    habits = taught(*[("ann", "m", 5_000, 1), ("ann", "n", 100, 1)] * 20)
    before = habits.expect("ann", "m", None).output
    for _ in range(1_000):
        habits.learn("bob", "n", answer(100))
    assert habits.expect("ann", "m", None).output == pytest.approx(before, rel=0.02)


def test_no_more_is_expected_than_the_client_allows():
    habits = taught(("ann", "m", 300, 100))
    assert habits.expect("ann", "m", 20).output == 20
    assert habits.expect("ann", "m", 2_000).output == pytest.approx(300, abs=1)


def test_an_answer_of_several_choices_tells_of_each():
    habits = Habits()
    for _ in range(100):
        habits.learn("ann", "m", answer(300), choices=3)
    assert habits.expect("ann", "m", None).output == pytest.approx(100, abs=1)


def test_few_answers_are_laid_aside_however_long_nobody_wants_to_know():
    habits, answers = Habits(), [answer(100) for _ in range(1_000)]
    free = sys.getrefcount(answers[0])
    for usage in answers:
        habits.learn("ann", "m", usage)
    assert sum(sys.getrefcount(answers[n]) > free for n in range(1_000)) < 64
    assert habits.expect("ann", "m", None).output == pytest.approx(100, abs=1)


@pytest.mark.parametrize("every", [1, 2, 63, 64, 65])
def test_it_is_no_matter_when_somebody_wants_to_know(every):
    asked, unasked = Habits(most=5), Habits(most=5)
    for number in range(200):
        caller, model = "ab"[number % 2], "mn"[number % 3 == 0]
        for habits in (asked, unasked):
            habits.learn(caller, model, answer(number, 1_000, number), choices=1 + number % 2)
        if number % every == 0:
            asked.expect("a", "m", None)
    for caller in "abc":
        assert asked.expect(caller, "m", None) == unasked.expect(caller, "m", None)


class Plain:
    """The same averages, each of them by its definition."""

    def __init__(self) -> None:
        self.heard: dict = {}  # by who it was: (output, cached, model) of each answer, in their order

    def learn(self, caller: str, model: str, usage: Usage, choices: int) -> None:
        cached = usage.cached / usage.prompt if usage.prompt else 0.0
        for who in (None, caller):
            self.heard.setdefault(who, []).append((usage.completion / choices, cached, model))

    def average(self, who: str | None, model: str | None) -> tuple[float, float, float]:
        """Output, cached, and what they stand on by now."""
        output = cached = weight = 0.0
        for tokens, share, its in self.heard.get(who, ()):
            if model is not None:
                weight *= 0.5 ** (1 / 100)
            if model in (None, its):
                weight = min(weight + 1, 20.0)
                output += (tokens - output) / weight
                cached += (share - cached) / weight
        return output, cached, weight

    def expect(self, caller: str, model: str) -> tuple[float, float]:
        output, cached = 500.0, 0.0
        for key in ((None, None), (None, model), (caller, None), (caller, model)):
            its_output, its_cached, weight = self.average(*key)
            output = (weight * its_output + 3 * output) / (weight + 3)
            cached = (weight * its_cached + 3 * cached) / (weight + 3)
        return output, cached


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("aab"),
            st.sampled_from("mmmmmmn"),
            st.integers(0, 1_000),
            st.sampled_from([0, 0, 40]),
            st.integers(1, 3),
            st.integers(1, 40),
        ),
        max_size=20,
    )
)
def test_each_average_is_what_its_definition_says(lessons):
    habits, plain = Habits(), Plain()
    for caller, model, tokens, cached, choices, times in lessons:
        for _ in range(times):
            for one in (habits, plain):
                one.learn(caller, model, answer(tokens, 100, cached), choices)
    for caller in "abc":
        for model in "mno":
            found = habits.expect(caller, model, None)
            assert (found.output, found.cached) == pytest.approx(plain.expect(caller, model), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("others", range(12))
def test_what_was_asked_for_less_often_has_faded_by_as_much_as_its_definition_says(others):
    habits, plain = Habits(), Plain()
    for model, tokens in [("m", 100)] * 30 + [("n", 100)] * others + [("m", 900)] * 3:
        for one in (habits, plain):
            one.learn("ann", model, answer(tokens), 1)
    assert habits.expect("ann", "m", None).output == pytest.approx(plain.expect("ann", "m")[0], rel=1e-9)


def test_reasoning_is_output():
    habits = Habits()
    for _ in range(100):
        habits.learn("ann", "m", Usage(out_text=100, out_reasoning=900))
    assert habits.expect("ann", "m", None).output == pytest.approx(1_000, rel=0.01)


def test_the_cached_share_is_a_habit_too():
    habits = Habits()
    for _ in range(100):
        habits.learn("ann", "m", answer(100, prompt=1_000, cached=800))
    assert habits.expect("ann", "m", None).cached == pytest.approx(0.8, abs=0.01)
    for _ in range(100):
        habits.learn("ann", "m", answer(100, prompt=1_000))
    assert habits.expect("ann", "m", None).cached == pytest.approx(0, abs=0.01)


def test_a_vendor_that_tells_of_no_prompt_is_no_harm():
    habits = Habits()
    habits.learn("ann", "m", answer(100))
    assert habits.expect("ann", "m", None).cached == 0


def test_what_was_not_heard_of_for_longest_is_forgotten():
    habits = Habits(most=6)
    for caller in ("ann", "bob", "cid"):
        for _ in range(100):
            habits.learn(caller, "m", answer({"ann": 10}.get(caller, 1_000)))
    assert habits.expect("ann", "m", None) == habits.expect("dan", "m", None)
    assert habits.expect("bob", "m", None) != habits.expect("dan", "m", None)


def test_a_caller_who_was_half_forgotten_can_still_be_judged():
    habits = Habits(most=5)
    for _ in range(110_000):  # so many half-lives of which nobody knows any more are too much for a float
        habits.learn("ann", "m", answer(100))
    habits.learn("bob", "m", answer(100))  # puts out ann's own average, and leaves that of ann and this model
    assert habits.expect("ann", "m", None).output == pytest.approx(100, rel=0.01)
    habits.learn("ann", "m", answer(100))
    assert habits.expect("ann", "m", None).output == pytest.approx(100, rel=0.01)


def test_the_anonymous_are_a_caller_like_others():
    habits = taught(("", "m", 10, 100), ("ann", "m", 1_000, 100))
    assert habits.expect("", "m", None).output < 50
    assert habits.expect("ann", "m", None).output > 950


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("mn"), st.integers(0, 10_000), st.integers(0, 100)),
        max_size=60,
    ),
    st.integers(1, 10),
    st.none() | st.integers(1, 1_000),
)
def test_it_stays_within_what_was_heard(lessons, most, cap):
    habits = Habits(most)
    for caller, model, tokens, cached in lessons:
        habits.learn(caller, model, answer(tokens, 100, cached))
    heard = [500, *(tokens for _, _, tokens, _ in lessons)]
    for caller in "abc":
        found = habits.expect(caller, "m", cap)
        assert min(*heard, cap or 500) - 1e-6 <= found.output <= max(heard) + 1e-6
        assert cap is None or found.output <= cap
        assert -1e-9 <= found.cached <= 1 + 1e-9
