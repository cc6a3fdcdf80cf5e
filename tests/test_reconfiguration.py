"""A configuration that changes under a process that serves: real files, real signals, the official SDK in front."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from proxy.simulator.client import Simulator
from tests.conftest import ONCE, TIMEOUTS
from tests.tollhouse import Tollhouse, environ_of

ASK: list[Any] = [{"role": "user", "content": "Hello"}]
SMART = f"{TIMEOUTS}{ONCE}aliases: {{smart: openai/gpt-4o}}\n"
SMARTER = f"{TIMEOUTS}{ONCE}aliases: {{smart: anthropic/claude-sonnet-5-5, cheap: gemini/gemini-3.8-flash}}\n"


class House:
    """A process, its files, and a client."""

    def __init__(self, house: Tollhouse, directory: Path) -> None:
        self.house = house
        self.config, self.keys = directory / "config.yaml", directory / "keys"
        self.http = httpx.Client(base_url=house.url, timeout=20)
        self.turns = 0

    def ask(self, model: str, key: str = "first-key", **more: Any) -> httpx.Response:
        return self.http.post(
            "/v1/chat/completions",
            headers={"authorization": f"Bearer {key}"},
            json={"model": model, "messages": ASK, **more},
        )

    def served_by(self, model: str) -> str | None:
        answer = self.ask(model)
        return answer.headers.get("x-tollhouse-provider") if answer.status_code == 200 else None

    def changed(self, config: str, *, ask: bool = True) -> dict[str, Any]:
        """Once that is in force: what the log said of it. Each time has an alias of its own, to tell its line by."""
        self.turns += 1
        mark = f"turn-{self.turns}"
        self.config.write_text(config.replace("aliases: {", f"aliases: {{{mark}: openai/gpt-4o, "))
        if ask:
            self.house.signal(signal.SIGHUP)
        return self.told("configuration taken", lambda line: mark in json.dumps(line["changes"]))

    def told(self, event: str, such: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
        return self.house.wait_log(event, timeout=20, such=such)

    def anew(self) -> Callable[[dict[str, Any]], bool]:
        """Whether a line was not there before."""
        known = self.house.logs
        return lambda line: line not in known


@contextmanager
def opened(simulator: Simulator, tmp_path: Path) -> Iterator[House]:
    (tmp_path / "config.yaml").write_text(SMART)
    (tmp_path / "keys").write_text("first-key")
    environ = {**environ_of(simulator), "TOLLHOUSE_CLIENT_KEYS_FILE": str(tmp_path / "keys")}
    with Tollhouse.start(environ, "--config", str(tmp_path / "config.yaml")) as tollhouse:
        found = House(tollhouse, tmp_path)
        with found.http:
            yield found


@pytest.fixture(scope="module")
def _house(_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with opened(_simulator, tmp_path_factory.mktemp("house")) as found:
        yield found


@pytest.fixture
def house(_house: House, simulator: Simulator) -> House:
    """With the configuration it had at its start."""
    _house.keys.write_text("first-key")
    _house.changed(SMART)
    _house.house.heal()
    return _house


def test_what_is_changed_in_the_file_is_in_force_soon_and_the_log_says_what(house: House) -> None:
    assert (house.served_by("smart"), house.served_by("cheap")) == ("openai", None)
    said = house.changed(SMARTER, ask=False)["changes"]
    assert (house.served_by("smart"), house.served_by("cheap")) == ("anthropic", "gemini")
    assert {change["name"].partition("[")[0].partition(".")[0] for change in said} == {"aliases"}


def test_a_signal_reads_it_at_once_and_says_when_nothing_has_changed(house: House) -> None:
    anew = house.anew()
    house.house.signal(signal.SIGHUP)
    assert house.told("configuration unchanged", anew)["changes"] == []
    house.changed(SMARTER)
    assert house.served_by("smart") == "anthropic"


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        pytest.param("aliases: {smart: nobody/at-all}\n", "nobody", id="a provider that there is not"),
        pytest.param("aliases: [\n", "config.yaml", id="no YAML"),
        pytest.param("retries: {rounds: many}\n", "rounds", id="a wrong type"),
        pytest.param(f"{SMARTER}budgets: [{{daily: -1}}]\n", "budgets[0]", id="one good change and one bad one"),
    ],
)
def test_what_is_broken_changes_nothing(house: House, broken: str, fault: str) -> None:
    anew = house.anew()
    house.config.write_text(broken)
    house.house.signal(signal.SIGHUP)
    assert fault in house.told("configuration refused, the one before stays", anew)["fault"]
    assert house.served_by("smart") == "openai"
    house.changed(SMARTER)
    assert house.served_by("smart") == "anthropic"


def test_a_client_key_that_is_taken_off_the_file_opens_nothing_any_more(house: House) -> None:
    assert house.ask("smart").status_code == 200
    anew = house.anew()
    house.keys.write_text("second-key")
    house.told("configuration taken", anew)
    assert house.ask("smart").json()["error"]["code"] == "invalid_api_key"
    assert house.ask("smart", "second-key").status_code == 200
    assert "second-key" not in house.house.stderr


def test_a_stream_goes_on_across_a_change(tmp_path: Path) -> None:
    with Simulator.start(pace=60) as slow, opened(slow, tmp_path) as house:
        client = openai.OpenAI(base_url=f"{house.house.url}/v1", api_key="first-key", max_retries=0)
        words: list[Any] = [{"role": "user", "content": "words 50"}]
        with client, client.chat.completions.create(model="smart", stream=True, messages=words) as stream:
            parts = iter(stream)
            said = next(parts).choices[0].delta.content or ""
            house.changed(SMARTER)
            assert not [line for line in house.house.logs if line["event"] == "request"], "it is over already"
            said += "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        assert len(said.split()) == 50
        assert house.served_by("smart") == "anthropic"


def test_a_budget_that_is_set_today_knows_of_what_was_spent_before(house: House) -> None:
    assert house.ask("smart").status_code == 200
    house.changed(f'{SMART}budgets: [{{daily: "0.000001"}}]\n')
    refused = house.ask("smart")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
    house.changed(SMART)
    assert house.ask("smart").status_code == 200
