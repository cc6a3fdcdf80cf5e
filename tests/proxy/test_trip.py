"""What becomes of a request on its way through the candidates: retries, limits, hedging, and why, by real processes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.ledger import Entry
from proxy.simulator.client import Simulator
from proxy.store.sqlite import SqliteStore
from tests.conftest import LIMITS, ONCE, TIMEOUTS, environ_of
from tests.tollhouse import Tollhouse

MODELS = {"openai": "gpt-6.1-sol", "anthropic": "claude-sonnet-5-5", "gemini": "gemini-3.8-flash"}
PINNED = "openai/gpt-6.1-sol"
QUICK = "retries: {base: 0.02, longest: 2}\n"
AGAIN = "retries: {base: 0.02, longest: 2, share: 1}\n"  # as often as it comes to it, over several tests
Start = Callable[..., Tollhouse]


@pytest.fixture(scope="module")
def _houses(_simulator: Simulator) -> Iterator[Start]:
    with ExitStack() as stack:
        houses: dict[tuple[str, ...], Tollhouse] = {}

        def of(config: str, **environ: str) -> Tollhouse:
            key = (config, *map(str, sorted(environ.items())))
            if key not in houses:
                more = {"PRIMARY_LLM_PROVIDER": "openai", **environ}
                house = Tollhouse.start({**environ_of(_simulator), **more}, config=TIMEOUTS + LIMITS + config)
                houses[key] = stack.enter_context(house)
            return houses[key].heal()

        yield of


@pytest.fixture
def shared(_houses: Start, simulator: Simulator) -> Start:
    """A house that others of this configuration have used before, in whose eyes all vendors are well again."""
    return _houses


@pytest.fixture
def start(simulator: Simulator, tmp_path: Path) -> Iterator[Start]:
    houses: list[Tollhouse] = []

    def started(config: str = QUICK, **environ: str) -> Tollhouse:
        more = {"TOLLHOUSE_DATA_DIR": str(tmp_path), "PRIMARY_LLM_PROVIDER": "openai", **environ}
        houses.append(Tollhouse.start({**environ_of(simulator), **more}, config=TIMEOUTS + LIMITS + config))
        return houses[-1]

    yield started
    for house in houses:
        house.stop()


def ask(house: Tollhouse, model: str = PINNED, *, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "words 20"}], **more}
    return httpx.post(f"{house.url}/v1/chat/completions", json=body, headers=headers, timeout=30)


def why(house: Tollhouse, answer: httpx.Response) -> dict[str, Any]:
    """The line of the log, with the decision in it."""
    return house.wait_log("request", request_id=answer.headers["x-request-id"])


def ledger(directory: Path) -> list[Entry]:
    """All rows, once the process has ended, oldest first."""

    async def read() -> list[Entry]:
        store = SqliteStore(directory / "tollhouse.db")
        await store.open()
        rows = [row async for page in store.rows(0, 2**52) for row in page]
        await store.close()
        return rows

    return sorted(asyncio.run(read()), key=lambda row: (row.at, row.id))


def outcomes(house: Tollhouse, answer: httpx.Response) -> list[tuple[str, str]]:
    return [(attempt["provider"], attempt["outcome"]) for attempt in why(house, answer)["attempts"]]


# ---- again ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("fault", [{"fault": "status", "status": 500}, {"fault": "reset"}, {"fault": "garbage"}],
                         ids=["500", "reset", "garbage"])  # fmt: skip
def test_who_is_asked_alone_and_fails_is_asked_again(simulator, shared, fault, stream):
    house = shared(AGAIN)
    simulator.fault("openai", times=1, **fault)
    answer = ask(house, stream=stream)
    assert answer.status_code == 200
    assert [outcome for _, outcome in outcomes(house, answer)] == ["transient", "ok"]


def test_all_are_gone_through_before_anybody_is_asked_again(simulator, shared):
    house = shared(AGAIN)
    for vendor in MODELS:
        simulator.fault(vendor, "status", status=500, times=1)
    answer = ask(house, MODELS["openai"])
    assert answer.status_code == 200
    assert [provider for provider, _ in outcomes(house, answer)] == ["openai", "gemini", "anthropic", "openai"]


@pytest.mark.parametrize(
    ("config", "fault", "status"),
    [
        pytest.param("retries: {rounds: 1}\n", {"fault": "status", "status": 500}, 502, id="one round"),
        pytest.param("retries: {share: 0}\n", {"fault": "status", "status": 500}, 502, id="no budget for retries"),
        pytest.param(QUICK, {"fault": "hang"}, 504, id="who may have worked all the same"),
        pytest.param(QUICK, {"fault": "status", "status": 401}, 503, id="our key does not get better"),
        pytest.param(QUICK, {"fault": "status", "status": 400}, 400, id="nor does the request"),
        pytest.param(QUICK, {"fault": "status", "status": 503, "retry_after": 30}, 503, id="it says to wait for long"),
    ],
)
def test_nobody_is_asked_again(simulator, start, config, fault, status):
    house = start(config)
    simulator.fault("openai", **fault)
    answer = ask(house)
    assert answer.status_code == status
    assert answer.headers["x-tollhouse-attempts"] == "1"
    assert len(simulator.requests("openai")) == 1


def test_a_client_that_does_not_wait_is_told_so_and_the_vendor_is_not_blamed(simulator, start):
    house = start()
    simulator.fault("openai", "hang")
    answer = ask(house, headers={"x-tollhouse-timeout": "0.3"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    health = httpx.get(f"{house.url}/providers/health").json()["providers"]["openai"]["models"]["gpt-6.1-sol"]
    assert health["totals"]["failed"] == 0


# ---- opening words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["cut", "cut_clean", "error_event", "hang_midstream"])
@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_a_vendor_that_breaks_off_after_its_opening_words_is_replaced(simulator, shared, vendor, fault):
    """Gemini has none: its first event says something."""
    house = shared(ONCE)
    simulator.fault(vendor, fault, after_events=1)
    answer = ask(house, MODELS[vendor], stream=True)
    assert answer.headers["x-tollhouse-provider"] != vendor
    assert answer.text.endswith("data: [DONE]\n\n")
    assert answer.text.count('"role":"assistant"') == 1


# ---- health ---------------------------------------------------------------------------------------------------------


def test_five_failures_in_a_row_open_the_circuit_and_a_reset_closes_it(simulator, shared):
    house = shared(ONCE)
    simulator.fault("openai", "status", status=500)
    for _ in range(5):
        assert ask(house, MODELS["openai"]).headers["x-tollhouse-attempts"] == "2"
    asked = len(simulator.requests("openai"))
    answer = ask(house, MODELS["openai"])
    assert answer.headers["x-tollhouse-attempts"] == "1"
    assert len(simulator.requests("openai")) == asked == 5
    [out] = why(house, answer)["decision"]["out"]
    assert (out["name"], out["why"]) == ("openai/gpt-6.1-sol", "open")
    simulator.clear()
    assert httpx.post(f"{house.url}/providers/health/openai/reset").status_code == 200
    assert ask(house, MODELS["openai"]).headers["x-tollhouse-provider"] == "openai"


def test_the_last_candidate_is_never_taken_out(simulator, shared):
    house = shared(ONCE)
    simulator.fault("openai", "status", status=500)
    answers = [ask(house) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [502] * 7
    assert why(house, answers[-1])["decision"]["least_bad"] is True
    simulator.clear()
    assert ask(house).status_code == 200


def test_a_key_that_does_not_fit_takes_out_the_provider_at_once_and_not_the_model_alone(simulator, shared):
    house = shared(ONCE)
    simulator.fault("openai", "status", status=401, times=1)
    assert ask(house, "gpt-6.1-sol").headers["x-tollhouse-attempts"] == "2"
    answer = ask(house, "gpt-4o")
    assert answer.headers["x-tollhouse-provider"] != "openai"
    assert why(house, answer)["decision"]["out"][0]["why"] == "open"


def test_a_name_that_a_vendor_does_not_know_takes_nobody_out(simulator, shared):
    house = shared(ONCE)
    simulator.fault("openai", "status", error="model_not_found", times=1)
    ask(house, "gpt-4o-2099-01-01")
    assert ask(house, "gpt-4o").headers["x-tollhouse-provider"] == "openai"


@pytest.mark.parametrize("fault", [{"status": 400}, {"error": "context_length"}, {"error": "content_policy"}],
                         ids=["bad request", "too long", "policy"])  # fmt: skip
def test_a_fault_of_the_caller_never_counts(simulator, shared, fault):
    house = shared(ONCE)
    simulator.fault("openai", "status", **fault)
    for _ in range(12):
        assert ask(house).status_code == 400
    simulator.clear()
    answer = ask(house)
    assert answer.status_code == 200
    assert "least_bad" not in why(house, answer)["decision"]


# ---- limits ---------------------------------------------------------------------------------------------------------


def test_a_short_rate_limit_is_waited_for(simulator, start):
    house = start()
    simulator.fault("openai", "status", status=429, retry_after=0.5, times=1)
    answer = ask(house)
    assert answer.status_code == 200
    assert [outcome for _, outcome in outcomes(house, answer)] == ["rate_limited", "ok"]
    assert why(house, answer)["decision"]["waited"] >= 400


def test_a_long_one_is_told_at_once_and_until_then_nobody_is_asked(simulator, start):
    house = start()
    simulator.fault("openai", "status", status=429, retry_after=60, times=1)
    assert ask(house).headers["retry-after"] == "60"
    answer = ask(house)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 50 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["x-tollhouse-attempts"] == "0"
    assert len(simulator.requests("openai")) == 1


def test_a_rate_limit_moves_the_traffic_and_is_no_sickness(simulator, start):
    house = start()
    simulator.fault("openai", "status", status=429, retry_after=60, times=1)
    assert ask(house, MODELS["openai"]).headers["x-tollhouse-attempts"] == "2"
    answer = ask(house, MODELS["openai"])
    assert answer.headers["x-tollhouse-attempts"] == "1"
    assert why(house, answer)["decision"]["out"][0]["why"] == "limited"
    health = httpx.get(f"{house.url}/providers/health").json()["providers"]["openai"]["models"]["gpt-6.1-sol"]
    assert health["state"] == "closed"


def test_a_client_without_the_time_does_not_wait(simulator, start):
    house = start()
    simulator.fault("openai", "status", status=429, retry_after=2, times=1)
    answer = ask(house, headers={"x-tollhouse-timeout": "1"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")


# ---- whom -----------------------------------------------------------------------------------------------------------

GROUPS = f"""
aliases:
  smart: [anthropic/{MODELS["anthropic"]}, openai/{MODELS["openai"]}]
  /gpt-3\\.5.*/: gemini/{MODELS["gemini"]}
"""


def test_an_alias_goes_to_its_members_in_their_order(simulator, start):
    house = start(ONCE + GROUPS)
    answer = ask(house, "smart")
    assert answer.headers["x-tollhouse-provider"] == "anthropic"
    assert why(house, answer)["decision"]["group"] == "smart"
    simulator.fault("anthropic", "status", status=500)
    assert ask(house, "smart").headers["x-tollhouse-provider"] == "openai"


def test_a_pattern_takes_names_that_nobody_offers_any_more(start):
    assert ask(start(GROUPS), "gpt-3.5-turbo-0301").headers["x-tollhouse-provider"] == "gemini"


@pytest.mark.parametrize(
    ("task", "provider"),
    [("analytical", "openai"), ("creative", "anthropic"), ("synthesis", "anthropic"), ("speed", "gemini"),
     ("Cost", "gemini"), ("dreaming", "openai")],
)  # fmt: skip
def test_the_task_chooses_the_provider(shared, task, provider):
    house = shared(ONCE, LLM_ROUTING_STRATEGY="capability")
    assert ask(house, "auto", headers={"x-tollhouse-task": task}).headers["x-tollhouse-provider"] == provider
    assert ask(house, "auto", metadata={"task": task}).headers["x-tollhouse-provider"] == provider


def test_the_cheapest_that_loses_nothing_is_asked_first(start):
    house = start(ONCE, LLM_ROUTING_STRATEGY="cost")
    free = ask(house, "auto")
    cheapest = free.headers["x-tollhouse-provider"]
    assert cheapest == "gemini"
    bound = ask(house, "auto", verbosity="low")
    assert bound.headers["x-tollhouse-provider"] == "openai"
    assert "x-tollhouse-dropped-params" not in bound.headers


# ---- hedging --------------------------------------------------------------------------------------------------------

HEDGING = ONCE + "hedging: {enabled: true, spend: 1.0, least: 0.05}\n"


def hedging(simulator: Simulator, start: Start) -> Tollhouse:
    """One that knows how fast its first candidate is as a rule."""
    house = start(HEDGING)
    for _ in range(25):
        assert ask(house, MODELS["openai"], stream=True).status_code == 200
    return house


def test_a_second_is_asked_when_the_first_is_late_and_the_loser_is_cancelled_and_booked(simulator, start, tmp_path):
    house = hedging(simulator, start)
    simulator.fault("openai", "slow", delay_ms=20_000)
    answer = ask(house, MODELS["openai"], stream=True)
    assert answer.headers["x-tollhouse-provider"] == "gemini"
    assert answer.text.endswith("data: [DONE]\n\n")
    line = why(house, answer)
    assert line["decision"]["hedged"] is True
    assert sorted(outcomes(house, answer)) == [("gemini", "ok"), ("openai", "hedge_lost")]
    assert simulator.wait("openai", in_progress=0)
    house.stop()  # what the loser has cost is counted until then
    rows = ledger(tmp_path)[-2:]
    assert [(row.provider, row.last, row.code) for row in rows] == [
        ("openai", False, "hedge_lost"),
        ("gemini", True, None),
    ]
    assert all(row.cost for row in rows)


def test_who_is_in_time_is_not_hedged(simulator, start):
    house = hedging(simulator, start)
    answer = ask(house, MODELS["openai"], stream=True)
    assert answer.headers["x-tollhouse-provider"] == "openai"
    assert "hedged" not in why(house, answer)["decision"]


def test_a_client_that_leaves_a_race_leaves_nobody_running(simulator, start):
    house = hedging(simulator, start)
    for vendor in MODELS:
        simulator.fault(vendor, "slow", delay_ms=20_000)
    with httpx.Client(timeout=httpx.Timeout(20, read=1.0)) as client, pytest.raises(httpx.ReadTimeout):
        client.post(
            f"{house.url}/v1/chat/completions",
            json={"model": MODELS["openai"], "messages": [{"role": "user", "content": "words 5"}], "stream": True},
        )
    assert simulator.wait(in_progress=0)
    line = house.wait_log("request", code="client_left")
    assert {attempt["outcome"] for attempt in line["attempts"]} == {"cancelled"}
    assert len(line["attempts"]) == 2
