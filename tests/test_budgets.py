"""Budgets as a client, an operator and whoever pays meet them: real processes, the official SDK, simulated vendors."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest

from proxy.settings import shipped_prices
from proxy.simulator.client import Simulator
from tests.conftest import LIMITS, TIMEOUTS, environ_of
from tests.redis_server import RedisServer, redis_server
from tests.tollhouse import Tollhouse

ASK: list[Any] = [{"role": "user", "content": "words 100"}]
MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-5-5", "gemini": "gemini-3.8-flash"}
CAPS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "openai": lambda body: body.get("max_completion_tokens"),
    "anthropic": lambda body: body.get("max_tokens"),
    "gemini": lambda body: body["generationConfig"].get("maxOutputTokens"),
}
Start = Callable[..., Tollhouse]


@pytest.fixture
def start(simulator: Simulator, tmp_path: Path) -> Iterator[Start]:
    """Start a tollhouse with budgets; all of a test share one directory."""
    houses: list[Tollhouse] = []

    def started(config: str = "", **environ: str) -> Tollhouse:
        more = {"TOLLHOUSE_DATA_DIR": str(tmp_path / "data"), "ENABLE_LLM_FALLBACK": "false", **environ}
        houses.append(Tollhouse.start({**environ_of(simulator), **more}, config=TIMEOUTS + LIMITS + config))
        return houses[-1]

    yield started
    for house in houses:
        house.stop()


def sdk(house: Tollhouse) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key="client", max_retries=2)


def ask(house: Tollhouse, model: str = "gpt-4o", headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    return httpx.post(
        f"{house.url}/v1/chat/completions",
        json={"model": model, "messages": ASK, **body},
        headers=headers,
        timeout=20,
    )


def cost(answer: httpx.Response) -> Decimal:
    return Decimal(answer.headers["x-tollhouse-cost-usd"])


def summary(house: Tollhouse) -> dict[str, Any]:
    return dict(httpx.get(f"{house.url}/providers/costs/summary", timeout=20).json())


def spent(house: Tollhouse) -> Decimal:
    return Decimal(summary(house)["today"]["spent_usd"])


def rows(house: Tollhouse) -> list[dict[str, Any]]:
    return list(httpx.get(f"{house.url}/providers/costs/export", params={"format": "json"}, timeout=20).json())


def drained(house: Tollhouse) -> None:
    """End a process politely: all that it knows is booked then."""
    assert house.stop() == 0


def test_what_does_not_fit_is_refused_before_anybody_is_asked_and_the_sdk_does_not_ask_again(simulator, start):
    house = start(LLM_DAILY_BUDGET="0.001")
    with sdk(house) as client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=ASK)
    error = caught.value
    assert (error.status_code, error.type, error.code) == (429, "insufficient_quota", "budget_exceeded")
    assert "The budget `daily` (all) does not allow this request: of USD 0.001, 0 are spent" in error.message
    assert 1 <= int(error.response.headers["retry-after"]) <= 86_400
    assert error.response.headers["x-should-retry"] == "false"
    assert error.response.headers["x-tollhouse-attempts"] == "0"
    assert simulator.requests("openai") == []


@pytest.mark.parametrize("vendor", MODELS)
def test_where_the_whole_answer_does_not_fit_its_cap_is_lowered_and_the_vendor_obeys_it(simulator, start, vendor):
    house = start("spending: {least_output: 8, unbounded_share: 1}\n", LLM_DAILY_BUDGET="0.0006")
    answer = ask(house, MODELS[vendor], max_completion_tokens=4000)
    assert answer.status_code == 200
    cap = int(answer.headers["x-tollhouse-max-tokens"])
    (sent,) = [request for request in simulator.requests(vendor) if "ount" not in request["path"]]
    assert CAPS[vendor](sent["body"]) == cap
    assert 8 <= cap < 4000
    assert answer.headers["x-tollhouse-warnings"] == "clamped=max_completion_tokens"
    assert answer.json()["usage"]["completion_tokens"] <= cap
    assert cost(answer) <= Decimal("0.0006")


def test_an_answer_that_fits_is_left_alone_to_the_byte(simulator, start):
    house = start(LLM_DAILY_BUDGET="5")
    answer = ask(house, max_tokens=50)
    assert "x-tollhouse-max-tokens" not in answer.headers
    assert "x-tollhouse-warnings" not in answer.headers
    (sent,) = simulator.requests("openai")
    assert sent["body"]["max_tokens"] == 50


def test_a_request_without_a_cap_takes_only_its_share_of_what_is_left(simulator, start):
    house = start("spending: {unbounded_share: 0.05}\n", LLM_DAILY_BUDGET="1")
    simulator.fault("openai", "hang_midstream", after_events=3)
    with sdk(house) as client:
        streams = [client.chat.completions.create(model="gpt-4o", messages=ASK, stream=True) for _ in range(10)]
        held = Decimal(summary(house)["today"]["held_usd"])
        assert Decimal("0.3") < held < Decimal("0.5")  # 1 - 0.95 ** 10, were nothing rounded
        for stream in streams:
            stream.close()


def test_a_prompt_of_many_bytes_is_counted_exactly_before_it_is_refused(simulator, start):
    house = start(LLM_DAILY_BUDGET="0.02")
    many = [{"role": "user", "content": "word " * 4000}]  # 20 kB are bounded by 0.05, 4000 tokens cost 0.01
    assert ask(house, messages=many, max_tokens=20).status_code == 200
    assert ask(house, "claude-sonnet-5-5", messages=many, max_tokens=20).status_code == 429


def test_a_vendor_that_goes_on_beyond_its_cap_is_cut_off(simulator, start):
    house = start(LLM_DAILY_BUDGET="1")
    simulator.script("openai", {"text": ["alpha "] * 20_000, "unbounded": True})
    heard: list[Any] = []
    with sdk(house) as client:
        stream = client.chat.completions.create(model="gpt-4o", messages=ASK, stream=True, max_tokens=100)
        with pytest.raises(openai.APIError, match="beyond the output cap"):
            heard.extend(stream)
    assert 100 < len(heard) < 10_000  # what had come in one read is passed on
    drained(house)
    (row,) = rows(start())
    assert (row["estimated"], row["code"]) == (True, "budget_exceeded")
    assert row["output_tokens"] > 100


def test_a_model_without_a_price_is_refused_while_a_budget_applies(simulator, start):
    house = start("budgets: [{user: alice, daily: '1'}]\n")
    refused = ask(house, "gpt-99-unheard-of", {"x-tollhouse-user": "alice"})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "model_not_priced"
    assert refused.json()["error"]["param"] == "model"
    assert simulator.requests("openai") == []
    ask(house, "gpt-99-unheard-of", {"x-tollhouse-user": "bob"})
    assert len(simulator.requests("openai")) == 1
    assert house.wait_log("cost unknown")["model"] == "gpt-99-unheard-of"


def test_a_named_budget_goes_before_the_one_for_each_and_whoever_hides_shares_one(start):
    house = start(
        "budgets: [{user: '*', daily: '0.001'}, {user: alice, daily: '1'}, {agent: crawler, daily: '0.001'}]\n"
    )
    assert ask(house, headers={"x-tollhouse-user": "alice"}).status_code == 200
    assert ask(house, user="alice").status_code == 200
    assert ask(house, metadata={"user": "alice"}, store=True).status_code == 200
    for refused in (
        ask(house, headers={"x-tollhouse-user": "bob"}),
        ask(house),
        ask(house, user="alice", headers={"x-tollhouse-agent": "crawler"}),
        ask(house, user="alice", headers={"x-tollhouse-user": "bob"}),
    ):
        assert refused.json()["error"]["code"] == "budget_exceeded"


def test_a_client_key_has_a_budget_by_its_name(start):
    keys = {"TOLLHOUSE_CLIENT_KEYS": "first-key,second-key", "TOLLHOUSE_ADMIN_KEY": "admin"}
    house = start(f"budgets: [{{key: {_name('first-key')}, daily: '0.001'}}]\n", **keys)
    assert ask(house, headers={"authorization": "Bearer first-key"}).status_code == 429
    assert ask(house, headers={"authorization": "Bearer second-key"}).status_code == 200
    assert httpx.get(f"{house.url}/providers/costs/summary").status_code == 401


def _name(key: str) -> str:
    return f"key-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def test_where_one_providers_budget_is_used_up_another_provider_serves(simulator, start):
    house = start("budgets: [{provider: openai, daily: '0.001'}]\n", ENABLE_LLM_FALLBACK="true")
    answer = ask(house)
    assert answer.status_code == 200
    assert answer.headers["x-tollhouse-provider"] != "openai"
    assert simulator.requests("openai") == []


def test_a_failed_attempt_gives_its_money_back_before_the_next_is_held(simulator, start):
    house = start(ENABLE_LLM_FALLBACK="true", LLM_DAILY_BUDGET="0.05")
    simulator.fault("openai", "status", status=500)
    answer = ask(house, max_tokens=4000)  # 0.04 at OpenAI
    assert answer.status_code == 200
    assert answer.headers["x-tollhouse-attempts"] == "2"
    assert "x-tollhouse-max-tokens" not in answer.headers
    drained(house)
    house = start()
    failed, served = rows(house)
    assert (failed["status"], failed["last"], failed["cost_nano"]) == (502, False, 0)
    assert (served["status"], served["last"]) == (200, True)
    assert Decimal(served["cost_usd"]) == cost(answer) == spent(house)


def test_who_leaves_pays_for_what_was_said_never_nothing_and_never_the_cap(simulator, start):
    house = start(LLM_DAILY_BUDGET="1")
    simulator.fault("openai", "hang_midstream", after_events=21)
    with sdk(house) as client:
        stream = client.chat.completions.create(model="gpt-4o", messages=ASK, stream=True, max_tokens=4000)
        for _ in range(20):
            next(stream)
        stream.close()
    house.wait_log("request")
    drained(house)
    (row,) = rows(start())
    assert row["estimated"]
    assert row["code"] == "client_left"
    assert Decimal(0) < Decimal(row["cost_usd"]) < Decimal("0.001")
    assert 15 <= row["output_tokens"] <= 40
    # The simulator writes as fast as it can: a burst of 1,024 tokens may have been on its way.
    assert 0 < row["unproven_nano"] < 12_000_000


def test_spending_is_still_known_after_a_kill(start):
    house = start(LLM_DAILY_BUDGET="1")
    answers = [ask(house) for _ in range(5)]
    paid = sum(map(cost, answers))
    for answer in answers:  # before it is logged, an answer may be charged as its hold: nobody knew that it came
        house.wait_log("request", request_id=answer.headers["x-request-id"])
    house.kill()
    again = start(LLM_DAILY_BUDGET="1")
    assert spent(again) == paid
    assert {row["cost_usd"] for row in rows(again)} == {str(paid / 5)}


def test_a_budget_that_is_set_today_knows_of_this_mornings_spending(start):
    house = start()
    paid = cost(ask(house))
    drained(house)
    later = start(LLM_MONTHLY_BUDGET="1")
    (budget,) = summary(later)["budgets"]
    assert (budget["name"], Decimal(budget["spent_usd"])) == ("monthly", paid)


class Hook(BaseHTTPRequestHandler):
    said: list[dict[str, Any]]
    news: threading.Condition

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(204)
        self.end_headers()
        with self.news:
            self.said.append(body)
            self.news.notify_all()

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


def test_alerts_are_told_once_each_by_log_metric_and_webhook(start):
    Hook.said, Hook.news = [], threading.Condition()
    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hook = f"http://127.0.0.1:{server.server_port}/hook"
    try:
        house = start(f"alerts: {{webhook: '{hook}'}}\n", LLM_DAILY_BUDGET="0.02")
        while ask(house, max_tokens=50).status_code == 200:
            pass
        for _ in range(3):
            assert ask(house, max_tokens=50).status_code == 429
        with Hook.news:
            assert Hook.news.wait_for(lambda: len(Hook.said) >= 2, 10)
        metrics = httpx.get(f"{house.url}/metrics").text
        drained(house)
    finally:
        server.shutdown()
        server.server_close()
    assert sorted(one["percent"] for one in Hook.said) == [90, 100]
    assert 'tollhouse_budget_alerts_total{budget="daily",percent="90",window="day"} 1.0' in metrics
    assert sorted(line["percent"] for line in house.logs if line["event"] == "budget alert") == [90, 100]


def test_a_changed_price_table_is_taken_up_and_a_broken_one_is_not(tmp_path, start):
    table = msgspec.yaml.decode(shipped_prices().read_bytes())
    table["models"] = [model for model in table["models"] if model["model"] == "gpt-4o"]
    table["models"][0] |= {"class": None, "preferred": False}
    prices = tmp_path / "prices.yaml"
    prices.write_bytes(msgspec.yaml.encode(table))
    house = start(TOLLHOUSE_PRICING=str(prices))
    before = cost(ask(house, max_tokens=1))
    prices.write_text("models: [{provider: openai}]")
    assert "missing" in house.wait_log("prices broken, the table before stays")["fault"]
    assert cost(ask(house, max_tokens=1)) == before
    table["models"][0]["prices"] = [{"source": "test", "per_mtok": {"input": "250", "output": "999"}}]
    prices.write_bytes(msgspec.yaml.encode(table))
    house.wait_log("prices loaded")
    assert cost(ask(house, max_tokens=1)) > 50 * before


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server({"appendonly": "yes"}) as server:
        yield server


def test_a_silent_store_refuses_while_a_budget_applies_and_stops_nobody_without(redis, start):
    bounded, free = start(LLM_DAILY_BUDGET="5", REDIS_URL=redis.url), start(REDIS_URL=redis.url)
    assert ask(bounded).status_code == ask(free).status_code == 200
    redis.pause()
    try:
        refused = ask(bounded)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "budget_store_unavailable"
        assert refused.headers["retry-after"] == "1"
        answered = ask(free)
        assert answered.status_code == 200
        free.wait_log("store away")
        bounded.wait_log("store away")
    finally:
        redis.resume()
    free.wait_log("store back")
    bounded.wait_log("store back")
    drained(free)
    assert answered.headers["x-request-id"] in {row["request"] for row in rows(bounded)}


def test_with_allow_an_outage_is_served_and_booked_when_the_store_is_back(redis, start):
    house = start("spending: {on_store_outage: allow}\n", LLM_DAILY_BUDGET="5", REDIS_URL=redis.url)
    before = spent(house)
    redis.kill()
    answers = [ask(house) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    redis.start()
    house.wait_log("store back")
    drained(house)
    assert spent(start(REDIS_URL=redis.url)) == before + sum(map(cost, answers))


def test_what_the_store_never_heard_of_is_delivered_after_a_kill(redis, start):
    house = start("spending: {on_store_outage: allow}\n", LLM_DAILY_BUDGET="5", REDIS_URL=redis.url)
    before = spent(house)
    redis.kill()
    answers = [ask(house) for _ in range(3)]
    for answer in answers:
        house.wait_log("request", request_id=answer.headers["x-request-id"])
    house.kill()
    redis.start()
    again = start(REDIS_URL=redis.url)
    assert again.wait_log("journal taken over")["rows"] >= 3
    drained(again)
    assert spent(start(REDIS_URL=redis.url)) == before + sum(map(cost, answers))
