"""In words whether all is well: each case as a person would meet it."""

from typing import Any

import pytest

from proxy.dashboard.headline import Line, headline, provider, why
from proxy.series import Minute

SINCE, UNTIL = "2026-11-23T14:02:00.000Z", "2026-11-23T14:07:00.000Z"
NOTHING = Minute()


def circuit(state: str = "closed", why: str | None = None, failures: int = 0, **more: Any) -> dict[str, Any]:
    shut = state != "closed"
    return {
        "state": state,
        "since": SINCE if shut else None,
        "next_probe": UNTIL if shut else None,
        "why": why,
        "consecutive_failures": failures,
        **more,
    }


def model(state: str = "closed", why: str | None = None, failures: int = 0, ok: int = 1, **more: Any) -> dict[str, Any]:
    totals = {"ok": ok, "failed": failures, "rate_limited": 0, "others": 0}
    return {"rate_limited_until": None, **circuit(state, why, failures), "totals": totals, **more}


def health(own: dict[str, Any] | None = None, line: dict[str, Any] | None = None, **models: Any) -> dict[str, Any]:
    return {**(own or circuit()), "own": {"line": line or circuit()}, "models": models}


FAILING = model("open", "timeout", 5)
LAST = "5 failures in a row, the last one: no answer in time"


@pytest.mark.parametrize(
    ("said", "level", "what", "why"),
    [
        (health(a=model()), "well", "is well", ""),
        (health(), "idle", "is idle", ""),
        (health(a=model(ok=0)), "idle", "is idle", ""),
        (health(a=FAILING), "bad", "is failing", LAST),
        (health(a=FAILING, b=model(ok=0)), "bad", "is failing", LAST),
        (health(a=FAILING, b=model()), "care", "is failing in part (a)", LAST),
        (health(a=FAILING, b=FAILING, c=model()), "care", "is failing in part (a and 1 more)", LAST),
        (health(a=model("half_open", "timeout", 5)), "care", "is being tried again", LAST),
        (health(circuit("open", "key", 1), a=model()), "bad", "is failing", "it does not accept our key"),
        (health(circuit("half_open", "key", 1)), "care", "is being tried again", "it does not accept our key"),
        (health(line=circuit("open", "unreachable", 5)), "bad", "cannot be reached",
         "5 failures in a row, the last one: no connection"),
        (health(line=circuit("open", "unreachable", 5), own=circuit("open", "key")), "bad", "cannot be reached",
         "5 failures in a row, the last one: no connection"),
        (health(a=model(rate_limited_until=UNTIL), b=model()), "care", "limits our rate", ""),
        (health(a=FAILING, b=model("half_open", "timeout", 5)), "care", "is failing in part (a)", LAST),
    ],
    ids=[
        "well", "no model is known", "no model is in use", "its only model fails", "an unused model is no comfort",
        "one of two fails", "two of three fail", "a model is tried again", "its key is refused",
        "its key is tried again",
        "our way there", "our way there comes first", "rate limited", "failing weighs more than trying",
    ],
)  # fmt: skip
def test_how_a_provider_is(said, level, what, why):
    line = provider("openai", said)
    assert (line.level, line.subject, line.what, line.why) == (level, "openai", what, why)
    assert line.since == (SINCE if level in ("care", "bad") and what != "limits our rate" else None)
    assert line.until == (UNTIL if level in ("care", "bad") else None)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (circuit("open", "timeout", 5), LAST),
        (circuit("open", "timeout", 2), "2 failures in a row, the last one: no answer in time"),
        (circuit("open", "timeout", 1), "no answer in time"),
        (circuit("open", "overloaded", 1), "too busy"),
        (circuit("open", "something_new", 3), "3 failures in a row, the last one: something_new"),
        (circuit("open", None, 3), ""),
        (circuit(), ""),
    ],
    ids=["several", "two", "one is enough", "too busy", "a kind that nobody knows here", "no kind", "closed"],
)
def test_why_a_circuit_is_not_closed(said, words):
    assert why(said) == words


def line(level: Any = "well", subject: str = "openai", what: str = "is failing", why: str = "") -> Line:
    return Line(level=level, subject=subject, what=what, why=why)


def budget(percent: str, name: str = "daily", scope: str = "all") -> dict[str, Any]:
    return {"name": name, "scope": scope, "used_percent": percent, "limit_usd": "25.00", "resets_at": UNTIL}


def said(
    *lines: Line, budgets: Any = (), lately: Minute = NOTHING, away: str | None = None, draining: bool = False
) -> Any:
    found = headline(lines, budgets, lately, away, draining)
    return found["level"], found["text"], [(one.subject, one.what, one.why) for one in found["lines"]]


@pytest.mark.parametrize(
    ("found", "level", "text"),
    [
        (said(), "idle", "No provider is configured"),
        (said(line("idle")), "idle", "Ready. No request has come yet"),
        (said(line("idle"), line("well")), "well", "All is well"),
        (said(line("care")), "care", "Something to keep an eye on"),
        (said(line("care"), line("bad")), "bad", "Something needs you"),
        (said(line(), draining=True), "care", "Something to keep an eye on"),
        (said(line(), away=SINCE), "bad", "Something needs you"),
        (said(line(), budgets=[budget("89.99")]), "well", "All is well"),
        (said(line(), budgets=[budget("90.00")]), "care", "Something to keep an eye on"),
        (said(line(), budgets=[budget("100.00")]), "bad", "Something needs you"),
    ],
    ids=[
        "nobody", "first run", "well", "care", "the worst counts", "draining", "the store is away",
        "a budget not yet at 90 %",
        "a budget at 90 %", "a budget that is used up",
    ],
)  # fmt: skip
def test_the_top_line(found, level, text):
    assert found[:2] == (level, text)


def test_the_worst_comes_first_and_what_is_well_is_not_told():
    lines = said(line("care", "groq"), line("well", "gemini"), line("bad", "openai"), budgets=[budget("100.00")])[2]
    assert [subject for subject, _, _ in lines] == ["openai", "The budget “daily”", "groq"]


@pytest.mark.parametrize(("limit", "said_as"), [("25", "$25.00"), ("0.2", "$0.20"), ("0.125", "$0.125")])
def test_a_limit_is_told_as_money_is(limit, said_as):
    assert said(budgets=[{**budget("100.00"), "limit_usd": limit}])[2][0][2] == f"{said_as} in all"


@pytest.mark.parametrize(
    ("percent", "what"),
    [("95.99", "is used up to 95 %"), ("100.00", "is used up"), ("140.00", "is used up")],
)
def test_a_budget_that_runs_out(percent, what):
    assert said(budgets=[budget(percent)])[2] == [("The budget “daily”", what, "$25.00 in all")]


def test_a_budget_for_each_says_whose_it_is():
    ((subject, _, _),) = said(budgets=[budget("100.00", "daily of user=*", "user=alice")])[2]
    assert subject == "The budget “daily of user=*” (user=alice)"


ILL, WELL = line("bad", "openai", why="so it is"), line("well", "gemini")


@pytest.mark.parametrize(
    ("lines", "lately", "words"),
    [
        ([ILL, WELL], {"gemini": (9, 1)}, "so it is; traffic goes to gemini"),
        ([ILL, WELL, line("well", "groq")], {"gemini": (4, 0), "groq": (9, 8)}, "so it is; traffic goes to gemini"),
        ([ILL, WELL], {"openai": (9, 0), "gemini": (1, 0)}, "so it is; traffic goes to gemini"),
        ([ILL, WELL], {"gemini": (3, 3)}, "so it is"),
        ([ILL, WELL], {}, "so it is"),
        ([ILL], {"openai": (9, 0)}, "so it is; there is nobody else to ask"),
        ([ILL, line("bad", "gemini")], {}, "so it is; so are all others"),
        ([line("bad", "openai"), WELL], {"gemini": (1, 0)}, "traffic goes to gemini"),
    ],
    ids=[
        "the one that answers", "the one that answers most", "not to itself", "nobody answers", "no traffic",
        "it is the only one", "all are ill", "no reason is known",
    ],
)  # fmt: skip
def test_where_traffic_goes_meanwhile(lines, lately, words):
    counts = Minute(
        attempts={name: tried for name, (tried, _) in lately.items()},
        failures={name: failed for name, (_, failed) in lately.items()},
    )
    assert said(*lines, lately=counts)[2][0][2] == words


def test_traffic_is_not_said_to_go_elsewhere_from_who_is_only_tried_again():
    assert said(line("care", why="so"), WELL, lately=Minute(attempts={"gemini": 3}))[2][0][2] == "so"
