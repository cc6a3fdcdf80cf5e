"""Health, decisions and `explain` of a tollhouse that runs, in front of vendors that fail."""

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from proxy.simulator.client import Simulator
from tests.conftest import LIMITS, TIMEOUTS, environ_of
from tests.tollhouse import PATIENCE, Tollhouse, run

ADMIN = "admin-canary"
CONFIG = TIMEOUTS + LIMITS + "retries: {rounds: 1}\nhealth: {consecutive: 3}\n"
ASK = {"model": "gpt-4o", "user": "alice", "messages": [{"role": "user", "content": "the secret of canaries"}]}


class House(NamedTuple):
    """A tollhouse, a client of it, and how to say its configuration again."""

    tollhouse: Tollhouse
    http: httpx.Client
    environ: dict[str, str]

    def ask(self, **fields: Any) -> httpx.Response:
        return self.http.post("/v1/chat/completions", json={**ASK, **fields})

    def model(self, provider: str = "openai", model: str = "gpt-4o") -> dict[str, Any]:
        answer = self.http.get("/providers/health", params={"provider": provider})
        said: dict[str, Any] = answer.raise_for_status().json()["providers"][provider]["models"][model]
        return said

    def decision(self, answer: httpx.Response) -> dict[str, Any]:
        found = self.http.get(f"/providers/decisions/{answer.headers['x-request-id']}")
        said: dict[str, Any] = found.raise_for_status().json()
        return said

    def explain(self, *words: str) -> dict[str, Any]:
        done = run("explain", *words, "--json", environ=self.environ)
        assert (done.returncode, done.stderr) == (0, "")
        said: dict[str, Any] = json.loads(done.stdout)
        return said


@pytest.fixture
def house(simulator: Simulator, tmp_path) -> Iterator[House]:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    environ = {
        **environ_of(simulator),
        "TOLLHOUSE_ADMIN_KEY": ADMIN,
        "TOLLHOUSE_DATA_DIR": str(tmp_path / "data"),
        "TOLLHOUSE_CONFIG": str(file),
    }
    with Tollhouse.start(environ) as tollhouse:
        key = {"authorization": f"Bearer {ADMIN}"}
        with httpx.Client(base_url=tollhouse.url, headers=key, timeout=PATIENCE) as http:
            yield House(tollhouse, http, environ)


def test_a_request_that_is_served_is_counted_and_its_decision_told(house):
    answer = house.ask()
    assert answer.status_code == 200
    said = house.decision(answer)
    assert said["order"][0] == "openai/gpt-4o"
    assert (said["model"], said["user"], said["strategy"], said["status"]) == ("gpt-4o", "alice", "fallback", 200)
    assert said["served_by"] == {"provider": "openai", "model": "gpt-4o"}
    assert [(one["provider"], one["outcome"]) for one in said["attempts"]] == [("openai", "ok")]
    assert said["cost_usd"] == answer.headers["x-tollhouse-cost-usd"]
    assert abs(said["at_ms"] / 1_000 - time.time()) < 60
    assert "secret" not in json.dumps(said)
    model = house.model()
    assert (model["state"], model["totals"]["ok"], model["in_flight"]) == ("closed", 1, 0)
    assert model["own"]["totals"]["ok"] == 1
    assert model["total_ms"]["p50"] > 0
    assert list(house.http.get("/providers/decisions").json()["decisions"]) == [
        {key: value for key, value in said.items() if key != "replica"}
    ]


def test_a_streamed_answer_tells_how_fast_its_first_part_was(house):
    answer = house.ask(stream=True)
    assert answer.text.endswith("[DONE]\n\n")
    model = house.model()
    assert model["first_part_ms"]["p95"] > 0
    assert model["standing"]["expected_first_part_ms"] > 0
    assert house.decision(answer)["first_part_milliseconds"] > 0


def test_a_vendor_that_breaks_is_opened_told_of_passed_over_explained_and_reset(house, simulator):
    simulator.fault("openai", "status", status=500)
    for _ in range(3):
        answer = house.ask()
        assert answer.status_code == 200, "somebody else has served it"
    said = house.decision(answer)
    assert [one["outcome"] for one in said["attempts"]] == ["transient", "ok"]
    assert said["served_by"]["provider"] == "gemini"
    model = house.model()
    assert (model["state"], model["why"], model["consecutive_failures"]) == ("open", "transient", 3)
    assert model["next_probe"] == model["until"] > model["since"]

    said = house.decision(house.ask())
    (out,) = said["out"]
    assert (out["name"], out["why"], out["until"]) == ("openai/gpt-4o", "open", model["until"])
    assert [one["provider"] for one in said["attempts"]] == ["gemini"]

    deadline = time.monotonic() + PATIENCE
    while not (told := house.explain("gpt-4o"))["out"]:  # it is told to the others in the background
        assert time.monotonic() < deadline
    assert [out["name"] for out in told["out"]] == ["openai/gpt-4o"]
    assert told["order"][0]["name"].startswith("gemini/")

    simulator.clear()
    answer = house.http.post("/providers/health/openai/reset", params={"model": "gpt-4o"})
    assert (answer.status_code, answer.json()) == (200, {"reset": ["openai/gpt-4o"]})
    assert house.model()["state"] == "closed"
    assert house.ask().headers["x-tollhouse-provider"] == "openai"
    house.tollhouse.wait_log("health reset", provider="openai", model="gpt-4o")


def test_a_key_that_is_refused_takes_the_provider_out_and_not_the_model(house, simulator):
    simulator.fault("openai", "status", status=401)
    house.ask()
    openai = house.http.get("/providers/health").json()["providers"]["openai"]
    assert (openai["state"], openai["why"]) == ("open", "key")
    assert openai["models"]["gpt-4o"]["state"] == "closed"
    assert openai["models"]["gpt-4o"]["standing"]["scope"] == "provider"


def test_a_request_that_is_refused_before_a_choice_has_no_order(house):
    answer = house.ask(model="nonsense")
    assert answer.status_code == 404
    said = house.decision(answer)
    assert (said["order"], said["strategy"], said["code"]) == ([], None, "model_not_found")


def test_no_key_and_no_word_of_a_prompt_is_in_what_the_doors_say(house, simulator):
    simulator.fault("openai", "status", status=401)
    house.ask()
    said = house.http.get("/providers/health").text + house.http.get("/providers/decisions").text
    for secret in (ADMIN, "secret of", *(value for name, value in house.environ.items() if name.endswith("_API_KEY"))):
        assert secret not in said


def test_at_the_start_it_says_how_it_chooses(house):
    line = house.tollhouse.wait_log("listening")
    assert line["strategy"] == "fallback"
    assert "3 failures in a row" in line["health"]
    assert line["groups"] == "none"
    told = run("check", environ=house.environ).stdout
    assert "3 failures in a row" in told
