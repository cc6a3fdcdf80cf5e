"""The plan: who is asked after whom, and what the client hears when nobody could serve."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Capabilities, Failure, Kind, Target
from proxy.attempts import ONCE, RetryBudget, Rounds, Try, Wait, attempts, jitter, limited, nobody, verdict
from proxy.routing import Candidate

STOPS = {Kind.CALLER, Kind.POLICY, Kind.STORE}


def target(name: str, context: int = 1000, **more: Any) -> Candidate:
    vendors_own = Target(
        provider=name, vendor="openai", model="m", capabilities=Capabilities(), context=context, max_output=100
    )
    return Candidate(target=vendors_own, model="m", **more)


A, B, C = target("a"), target("b"), target("c")
SMALL, LARGE, UNKNOWN = target("small", 100), target("large", 10_000), target("unknown", 0)


def play(
    candidates: list[Candidate], kinds: list[Kind | Failure | None], choosy: bool = True, rounds: Rounds = ONCE
) -> tuple[list[str], Failure]:
    """Who was asked, and how it ended, if they fail in this way one after the other; None: put off, no failure."""
    plan = attempts(candidates, choosy=choosy, rounds=rounds)
    asked: list[str] = []
    left = iter(kinds)
    try:
        step = next(plan)
        while True:
            if isinstance(step, Wait):
                asked.append(f"{step.seconds:g} s")
                step = plan.send(())
                continue
            name = step.first.target.provider
            asked.append(name)
            kind = next(left)
            failure = Failure(kind, f"{name} failed") if isinstance(kind, Kind) else kind
            step = plan.send([(step.first, failure)] if failure else ())
    except StopIteration as stop:
        return asked, stop.value


PLAYBOOK = [
    pytest.param([A], [Kind.TRANSIENT], "a", "a", id="one who breaks is not asked again"),
    pytest.param([A, B, C], [Kind.TRANSIENT] * 3, "abc", "a", id="all break: the first failure is told"),
    *(
        pytest.param([A, B], [kind, Kind.TRANSIENT], "ab", None, id=f"{kind.value}: the next is asked")
        for kind in Kind
        if kind not in STOPS | {Kind.UNSUPPORTED, Kind.TOO_LONG}
    ),
    pytest.param([A, B], [Kind.CALLER], "a", "a", id="a bad request is nobody else's business"),
    pytest.param([A, B], [Kind.POLICY], "a", "a", id="a refusal of the content is not shopped around"),
    pytest.param([A, B, C], [Kind.TRANSIENT, Kind.CALLER], "ab", "b", id="a bad request ends it at the second, too"),
    pytest.param([A, B], [Kind.UNSUPPORTED], "a", "a", id="what the named one cannot honour is refused"),
    pytest.param([A, B], [Kind.TRANSIENT, Kind.UNSUPPORTED], "ab", "a", id="no fallback loses a parameter"),
    pytest.param([A, B, C], [Kind.TRANSIENT, Kind.UNSUPPORTED, Kind.KEY], "abc", "a",
                 id="one that cannot honour it is passed over"),
    pytest.param([SMALL, A, LARGE], [Kind.TOO_LONG] * 3, ["small", "a", "large"], "small", id="ever larger windows"),
    pytest.param([A, SMALL, B, LARGE], [Kind.TOO_LONG, Kind.TOO_LONG], ["a", "large"], "a",
                 id="too long: no window of that size or less is asked"),
    pytest.param([A, LARGE], [Kind.TOO_LONG, Kind.TRANSIENT], ["a", "large"], "large",
                 id="who could have taken it is only down"),
    pytest.param([A, B], [Kind.TRANSIENT, Kind.TOO_LONG], "ab", "b", id="who broke would have found it too long"),
    pytest.param([LARGE, A], [Kind.RATE_LIMITED, Kind.TOO_LONG], ["large", "a"], "large",
                 id="too long for the small one, limited at the large one: ask again later"),
    pytest.param([A, UNKNOWN], [Kind.TRANSIENT, Kind.TRANSIENT], ["a", "unknown"], "a",
                 id="a window that nobody knows is no small one"),
    pytest.param([UNKNOWN], [Kind.TRANSIENT], ["unknown"], "unknown", id="not even as the only candidate"),
    pytest.param([], [], "", None, id="nobody to ask"),
    pytest.param([A, B], [Kind.BUDGET, Kind.BUDGET], "ab", "a", id="no money for the first: perhaps for the second"),
    pytest.param([A, B], [Kind.STORE], "a", "a", id="who counts the money is away: nobody is asked"),
]  # fmt: skip


@pytest.mark.parametrize(("candidates", "kinds", "asked", "told"), PLAYBOOK)
def test_the_playbook(candidates, kinds, asked, told):
    order, failure = play(candidates, kinds)
    assert order == list(asked)
    if told:
        assert failure.message == f"{told} failed"


def test_nobody_to_ask_is_said_so():
    assert (nobody().status, nobody().code) == (503, "no_provider_available")
    assert play([], [])[1].code == "no_provider_available"


def test_where_nobody_was_named_a_parameter_may_be_honoured_by_the_next():
    assert play([A, B], [Kind.UNSUPPORTED, Kind.TRANSIENT], choosy=False)[0] == ["a", "b"]


def failures(*kinds: Kind) -> list[Failure]:
    return [Failure(kind, f"{i} {kind.value}") for i, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        pytest.param([Kind.KEY, Kind.TRANSIENT], 1, id="who is down, before what only we can mend"),
        pytest.param([Kind.BUDGET, Kind.TRANSIENT], 1, id="who is down may serve within the budget later"),
        pytest.param([Kind.KEY, Kind.BUDGET], 1, id="no money is said before a key that does not fit"),
        pytest.param([Kind.BUDGET, Kind.RATE_LIMITED], 1, id="whoever the money would do for is limited"),
        pytest.param([Kind.RATE_LIMITED, Kind.OVERLOADED], 1, id="limited, but not everybody"),
        pytest.param([Kind.RATE_LIMITED, Kind.QUOTA], 1, id="no money is worse than a limit"),
        pytest.param([Kind.TIMEOUT, Kind.UNREACHABLE], 0, id="equals: the oldest"),
        pytest.param([Kind.UNSUPPORTED, Kind.TRANSIENT], 1, id="who could have served, before who could not"),
        pytest.param([Kind.MODEL, Kind.KEY], 1, id="an unknown model there, a wrong key here"),
        pytest.param([Kind.UNSUPPORTED, Kind.RATE_LIMITED], 1, id="all who could have served are limited"),
        pytest.param([Kind.MODEL, Kind.RATE_LIMITED], 1, id="the fallback's model is unknown, the other is limited"),
        pytest.param([Kind.MODEL, Kind.TOO_LONG], 1, id="nobody was fit: too long first"),
        pytest.param([Kind.MODEL, Kind.UNSUPPORTED], 0, id="nobody was fit: the named one's reason"),
        pytest.param([Kind.UNSUPPORTED, Kind.MODEL], 0, id="nobody was fit: what the client can mend"),
    ],
)
def test_the_most_telling_failure_is_told(kinds, told):
    said = failures(*kinds)
    assert verdict(said) is said[told]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in STOPS])
def test_a_single_failure_is_told_as_it_is(kind):
    said = failures(kind)
    assert verdict(said) is said[0]


@pytest.mark.parametrize(
    ("waits", "told"),
    [([30.0, 5.0, 9.0], 1), ([None, 5.0], 1), ([None, None], 0), ([0.0, None], 0)],
    ids=["the shortest wait", "a wait that is known", "none is known", "no wait at all"],
)
def test_if_all_are_limited_the_client_is_told_the_shortest_wait(waits, told):
    said = [Failure(Kind.RATE_LIMITED, "slow down", status=429, retry_after=wait) for wait in waits]
    assert verdict(said) is said[told]


candidate = st.builds(target, st.uuids().map(str), st.integers(0, 5).map(lambda n: n * 100))


@given(
    candidates=st.lists(candidate, max_size=6),
    kinds=st.lists(st.sampled_from(Kind), min_size=6, max_size=6),
    choosy=st.booleans(),
)
def test_the_plan_ends_asks_nobody_twice_and_stops_at_a_fault_of_the_caller(candidates, kinds, choosy):
    asked, failure = play(candidates, kinds, choosy)
    met = kinds[: len(asked)]
    assert asked == [c.target.provider for c in candidates if c.target.provider in asked], "in order, nobody twice"
    assert not STOPS & set(met[:-1]), "nobody is asked after a fault of the caller"
    if asked:
        assert failure.kind in met
        assert asked[0] == candidates[0].target.provider, "the first is always asked"
    if met and met[-1] in STOPS:
        assert failure.kind is met[-1]
    if failure.kind is Kind.RATE_LIMITED:
        unfit = {Kind.MODEL, Kind.UNSUPPORTED, Kind.TOO_LONG, Kind.BUDGET, *_outgrown(asked, candidates, met)}
        assert set(met) <= unfit | {Kind.RATE_LIMITED}, "limited is said only if all who were fit, and paid for, are"


def _outgrown(asked: list[str], candidates: list[Candidate], met: list[Kind]) -> list[Kind]:
    """How those failed whose window had turned out too small anyway."""
    context = {c.target.provider: c.target.context for c in candidates}
    room = max([context[name] for name, kind in zip(asked, met, strict=True) if kind is Kind.TOO_LONG], default=-1)
    return [kind for name, kind in zip(asked, met, strict=True) if context[name] <= room]


def test_a_parameter_that_a_stand_in_cannot_honour_is_no_refusal_if_the_named_one_is_out():
    stand_in = target("b", stand_in=True)
    assert play([stand_in, C], [Kind.UNSUPPORTED, Kind.TRANSIENT])[0] == ["b", "c"]


# ---- more than once -------------------------------------------------------------------------------------------------

TWICE = Rounds(most=2, longest=4.0, pause=lambda n: 0.5 + n, may=lambda _: True)
THRICE = Rounds(most=3, longest=4.0, pause=lambda n: 0.5 + n, may=lambda _: True)
NEVER = Rounds(most=2, longest=4.0, pause=lambda _: 0.5, may=lambda _: False)


def told_to_wait(seconds: float, kind: Kind = Kind.OVERLOADED) -> Failure:
    return Failure(kind, "a failed", retry_after=seconds)


@pytest.mark.parametrize(
    ("candidates", "kinds", "rounds", "asked"),
    [
        pytest.param([A, B], [Kind.TRANSIENT] * 4, TWICE, ["a", "b", "0.5 s", "a", "b"], id="all again after a pause"),
        pytest.param([A], [Kind.TRANSIENT] * 3, THRICE, ["a", "0.5 s", "a", "1.5 s", "a"], id="the second is longer"),
        pytest.param([A, B], [Kind.KEY, Kind.UNREACHABLE, Kind.TRANSIENT], TWICE, ["a", "b", "0.5 s", "b"],
                     id="who has no use for a pause is not asked again"),
        pytest.param([A], [Kind.TIMEOUT], TWICE, ["a"], id="who worked for nothing is not asked again"),
        pytest.param([A], [Kind.RATE_LIMITED], TWICE, ["a"], id="who is limited waits elsewhere"),
        pytest.param([A], [Kind.REQUEST], TWICE, ["a"], id="what is wrong with the request stays wrong"),
        pytest.param([A], [Kind.TRANSIENT], NEVER, ["a"], id="no time, or no budget"),
        pytest.param([A], [told_to_wait(2.0), Kind.TRANSIENT], TWICE, ["a", "2 s", "a"], id="retry-after is obeyed"),
        pytest.param([A], [told_to_wait(5.0)], TWICE, ["a"], id="retry-after is too long"),
        pytest.param([A, B], [told_to_wait(5.0), Kind.TRANSIENT, Kind.TRANSIENT], TWICE, ["a", "b", "0.5 s", "b"],
                     id="too long for one of them"),
        pytest.param([A, B], [told_to_wait(3.0), told_to_wait(2.0), Kind.TRANSIENT, Kind.TRANSIENT], TWICE,
                     ["a", "b", "2 s", "a", "b"], id="the shorter of two"),
        pytest.param([A, B], [None, Kind.TRANSIENT, Kind.TRANSIENT], ONCE, ["a", "b", "a"],
                     id="who was put off is asked last"),
        pytest.param([A], [None, Kind.TRANSIENT], ONCE, ["a", "a"], id="and at once if there is nobody else"),
        pytest.param([A, B], [Kind.TRANSIENT, Kind.UNSUPPORTED, Kind.CALLER], TWICE, ["a", "b", "0.5 s", "a"],
                     id="a fault of the caller ends the second round, too"),
    ],
)  # fmt: skip
def test_the_playbook_of_rounds(candidates, kinds, rounds, asked):
    assert play(candidates, kinds, rounds=rounds)[0] == asked


@pytest.mark.parametrize(("budget", "asked"), [(0, 0), (1, 1), (2, 2), (3, 3), (9, 3)])
def test_each_that_is_asked_again_needs_a_budget_of_its_own(budget, asked):
    left = iter([True] * budget)
    rounds = Rounds(most=2, longest=4.0, pause=lambda _: 0.5, may=lambda _: next(left, False))
    order, _ = play([A, B, C], [Kind.TRANSIENT] * 6, rounds=rounds)
    assert order == ["a", "b", "c", *(["0.5 s"] if asked else []), *"abc"[:asked]]


def hedged(*answers: list[Kind]) -> list[Try]:
    """The steps of a hedged plan over three; each answer is how those failed who were asked in it."""
    plan = attempts([A, B, C], choosy=True, hedge=0.7)
    steps: list[Try] = []
    try:
        step = next(plan)
        for kinds in answers:
            assert isinstance(step, Try)
            steps.append(step)
            who = (step.first, step.second)
            step = plan.send([(c, Failure(kind, "failed")) for c, kind in zip(who, kinds, strict=False) if c])
    except StopIteration:
        return steps
    return [*steps, step]  # type: ignore[list-item]  # no rounds, no waits


def test_the_first_step_of_a_hedged_plan_names_both_and_the_others_none():
    assert hedged([Kind.TRANSIENT]) == [Try(A, B, 0.7), Try(B, None, 0.7)]


def test_who_failed_in_a_race_is_not_asked_again():
    assert hedged([Kind.TRANSIENT, Kind.KEY]) == [Try(A, B, 0.7), Try(C, None, 0.7)]


def test_who_was_put_off_does_not_race():
    plan = attempts([A, B], choosy=True, hedge=0.7)
    assert next(plan) == Try(A, B, 0.7)
    assert plan.send(()) == Try(B, None, 0.7)


@given(st.floats(0.01, 10), st.floats(0.01, 60), st.integers(0, 40), st.integers())
def test_a_pause_is_anything_up_to_a_bound_that_doubles(base, longest, n, seed):
    pause = jitter(base, longest, Random(seed))(n)
    assert 0 <= pause <= min(longest, base * 2**n)


@given(st.lists(st.booleans(), max_size=400), st.floats(0, 1))
def test_retries_are_never_more_than_their_share_of_the_requests_and_the_reserve(requests, share):
    budget, earned, spent = RetryBudget(share), 0, 0
    for is_request in requests:
        if is_request:
            budget.earn()
            earned += 1
        else:
            spent += budget.spend()
    assert spent <= share * earned + 3 + 1e-6


def test_a_retry_budget_gives_what_it_has_earned():
    budget = RetryBudget(0.2)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
    for _ in range(6):
        budget.earn()
    assert [budget.spend() for _ in range(2)] == [True, False]


def test_what_was_saved_up_has_an_end():
    budget = RetryBudget(1.0)
    for _ in range(1_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(1_000)) == 100


def test_no_share_is_no_retry():
    assert not RetryBudget(0.0).spend()


def test_limited_says_when_to_ask_again():
    failure = limited(2.5)
    assert (failure.status, failure.type, failure.code) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert failure.retry_after == 2.5
    assert "2.5 seconds" in failure.message
