"""Workers behind one port: real processes, which are killed, stopped and asked."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.simulator.client import Simulator
from proxy.workers.supervisor import pause_after
from tests.money.fleet import nano
from tests.money.truth import truth
from tests.redis_server import redis_server
from tests.tollhouse import PATIENCE, ROOT, Tollhouse, environ_of, run, surroundings

MODEL = "openai/gpt-4o"
ADMIN = "admin-key"
Start = Callable[..., Tollhouse]


@pytest.fixture
def start(simulator: Simulator) -> Iterator[Start]:
    """`start(workers, environ)`: a house of which all workers listen."""
    with ExitStack() as stack:

        def begin(workers: int = 2, environ: Mapping[str, str] | None = None, **more: Any) -> Tollhouse:
            house = stack.enter_context(
                Tollhouse.start({**environ_of(simulator), **(environ or {})}, "--workers", str(workers), **more)
            )
            for number in range(1, workers + 1):
                house.wait_log("listening", timeout=PATIENCE, worker=number)
            return house

        yield begin


def pids(house: Tollhouse) -> list[int]:
    """Of the workers, by their number; the last one that had it."""
    return list({line["worker"]: line["pid"] for line in house.logs if line["event"] == "listening"}.values())


def figures(house: Tollhouse, name: str, **labels: str) -> dict[int, float]:
    """A figure of each worker that has it."""
    text = heard(house, "/metrics")[1].decode()
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    fits = [one for one in samples if one.name == f"tollhouse_{name}" and labels.items() <= one.labels.items()]
    return {number: sum(one.value for one in fits if one.labels["worker"] == str(number)) for number in _numbers(fits)}


def _numbers(samples: Any) -> list[int]:
    return sorted({int(one.labels["worker"]) for one in samples})


def look(ready: Callable[[], object]) -> None:
    """Look again until it is so."""
    end = threading.Event()
    for _ in range(int(PATIENCE / 0.02)):
        if ready():
            return
        end.wait(0.02)  # looked at again, not waited blindly: nobody tells a stranger
    raise AssertionError("never")


def succeeded(house: Tollhouse, pid: int) -> None:
    """Wait until there is another first worker."""
    look(lambda: pids(house)[0] != pid)


def client(house: Tollhouse, key: str = "any") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key=key, max_retries=0, timeout=PATIENCE)


def ask(house: Tollhouse, text: str = "words 5", model: str = MODEL, key: str = "any") -> str:
    """The text, or the code of the error; over a connection of its own, to whichever worker it comes."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()
    status, said = heard(house, "/v1/chat/completions", key, body)
    answer = json.loads(said)
    return str(answer["choices"][0]["message"]["content"] if status == 200 else answer["error"]["code"])


def heard(house: Tollhouse, path: str, key: str = "any", body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body, over a connection of its own."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(house.url + path, body, headers), timeout=PATIENCE
        ) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def streamed(sdk: openai.OpenAI, text: str = "words 6") -> Any:
    messages: Any = [{"role": "user", "content": text}]
    return sdk.chat.completions.create(model=MODEL, messages=messages, stream=True)


def refused(house: Tollhouse) -> bool:
    try:
        socket.create_connection(("127.0.0.1", house.port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


# ---- life and death --------------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_is_replaced_and_its_journal_taken_over(start: Start) -> None:
    house = start()
    look(lambda: ask(house) and set(figures(house, "requests_total")) == {1, 2})
    first, second = pids(house)
    os.kill(first, signal.SIGKILL)
    died = house.wait_log("worker died", timeout=PATIENCE)
    assert (died["level"], died["worker"], died["why"]) == ("error", 1, "killed by SIGKILL")
    assert died["replaced_in_seconds"] == 0
    # What comes while there is nobody at its door waits there, and is not refused.
    assert [ask(house) != "" for _ in range(8)] == [True] * 8
    look(lambda: len(figures(house, "store_up")) == 2)
    assert pids(house)[1] == second
    assert pids(house)[0] != first
    taken = [line for line in house.logs if line["event"] == "journal taken over"]
    assert taken
    assert {line["worker"] for line in taken} == {1}
    house.signal(signal.SIGTERM)
    assert house.wait() == 0
    assert sorted(line["worker"] for line in house.logs if line["event"] == "stopped") == [1, 2]


def test_no_worker_outlives_a_supervisor_that_is_killed(start: Start) -> None:
    house = start()
    house.process.kill()
    for number in (1, 2):
        house.wait_log("stopped", timeout=PATIENCE, worker=number)
    look(lambda: refused(house))
    assert house.wait() == -signal.SIGKILL


def test_what_is_told_the_supervisor_is_told_all_workers(start: Start) -> None:
    house = start()
    house.signal(signal.SIGHUP)
    for number in (1, 2):
        house.wait_log("configuration unchanged", timeout=PATIENCE, worker=number)


@pytest.mark.parametrize(
    ("deaths", "seconds"), [(0, 0), (1, 0), (2, 0.5), (3, 1), (4, 2), (8, 30), (9, 30), (10_000, 30)]
)
def test_who_dies_again_and_again_is_replaced_later_each_time(deaths, seconds):
    assert pause_after(deaths) == seconds


def test_the_others_serve_while_one_cannot_stay_alive(start: Start) -> None:
    house = start()
    for died in (1, 2):
        pid = pids(house)[0]
        os.kill(pid, signal.SIGKILL)
        assert house.wait_log("worker died", timeout=PATIENCE, deaths=died)["worker"] == 1
        if died == 1:
            succeeded(house, pid)
    assert [ask(house) != "" for _ in range(8)] == [True] * 8
    succeeded(house, pids(house)[0])
    look(lambda: len(figures(house, "store_up")) == 2)


# ---- the start -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environ", [{}, {"OPENAI_API_KEY": "sk-one", "LLM_DAILY_BUDGET": "x", "TOLLHOUSE_LOG_LEVEL": "loud"}], ids=len
)
def test_a_bad_configuration_is_told_as_without_workers_before_a_port_is_opened(environ):
    with socket.create_server(("127.0.0.1", 0)) as taken:  # who tried to open this one would say that it is taken
        words = ("serve", "--port", str(taken.getsockname()[1]))
        alone = run(*words, environ=environ)
        several = run(*words, "--workers", "3", environ=environ)
    assert alone.returncode == 2
    assert (several.returncode, several.stdout, several.stderr) == (alone.returncode, alone.stdout, alone.stderr)


def test_a_port_that_is_in_use_is_told_as_without_workers(tmp_path):
    environ = {"OPENAI_API_KEY": "sk-one", "TOLLHOUSE_DATA_DIR": str(tmp_path)}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port), "--workers", "2", environ=environ)
    said = f"tollhouse: cannot listen on 127.0.0.1 port {port}: Address already in use"
    assert (done.returncode, done.stderr.splitlines()) == (1, [said])


def test_the_supervisor_loads_nothing_that_serves():
    """It is there for months beside workers that need the memory."""
    heavy = {"aiohttp", "asyncio", "httpx", "litestar", "redis", "structlog", "tiktoken", "uvicorn", "yaml", "adapters"}
    code = f"""
import sys
import proxy.cli.supervising
print("loaded:", *sorted({heavy | {"proxy.settings", "proxy.server"}!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=surroundings({}), capture_output=True, text=True)
    assert done.stdout.splitlines() == ["loaded:"], done.stderr


def test_the_demo_says_once_how_to_reach_it():
    with Tollhouse.start({}, "--workers", "2", verb="demo") as house:
        assert f"{house.url}/v1" in house.wait_output("Stop with Ctrl-C", timeout=PATIENCE)
        assert ask(house, model="gpt-4o")
        house.signal(signal.SIGINT)
        assert house.wait() == 0
        assert house.stdout.count("Stop with Ctrl-C") == 1


# ---- draining --------------------------------------------------------------------------------------------------------


def test_streams_are_finished_though_the_whole_group_of_processes_is_signalled(start: Start, simulator) -> None:
    """As systemd does it: each worker hears of it twice, and nobody has asked twice."""
    simulator.fault("openai", "drip", delay_ms=1)
    house = start()
    with client(house) as sdk:
        stream = streamed(sdk)
        text = [next(stream).choices[0].delta.content or ""]
        for pid in (*pids(house), house.process.pid):
            os.kill(pid, signal.SIGTERM)
        for number in (1, 2):
            house.wait_log("draining", timeout=PATIENCE, worker=number)
        text += [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert len("".join(text).split()) == 6
    assert house.wait() == 0
    assert house.wait_log("request")["status"] == 200


def test_a_second_signal_reaches_all_workers_and_cuts_off(start: Start, simulator) -> None:
    simulator.fault("openai", "hang_midstream", after_events=4)
    house = start(environ={"TOLLHOUSE_DRAIN_SECONDS": "3600"})
    with ExitStack() as stack:
        streams = [streamed(stack.enter_context(client(house)), "words 9") for _ in range(6)]
        for stream in streams:
            next(stream)
        house.signal(signal.SIGTERM)
        for number in (1, 2):
            house.wait_log("draining", timeout=PATIENCE, worker=number)
        house.signal(signal.SIGTERM)
        for stream in streams:
            with pytest.raises(openai.APIError, match=r"^The proxy is shutting down; ask again\.$") as cut:
                list(stream)
            assert cut.value.code == "server_shutting_down"
    assert house.wait() == 0
    assert sum(line["requests"] for line in house.logs if line["event"] == "cutting off") == 6


# ---- what workers agree on -------------------------------------------------------------------------------------------


@pytest.fixture(params=["file", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[str | None]:
    if request.param == "file":
        yield None
        return
    with redis_server({"appendonly": "yes"}) as server:
        yield server.url


def test_money_keys_and_circuits_are_those_of_all_workers(start: Start, simulator, store, tmp_path) -> None:
    shared = {"REDIS_URL": store} if store else {}
    config = "health: {consecutive: 3, least: 1000, cooldown: 600}\nretries: {rounds: 1, queue: 0}\n"
    house = start(
        3,
        {**shared, "TOLLHOUSE_ADMIN_KEY": ADMIN, "TOLLHOUSE_DATA_DIR": str(tmp_path), "LLM_DAILY_BUDGET": "0.01"},
        config=config,
    )
    admin = httpx.Client(base_url=house.url, headers={"authorization": f"Bearer {ADMIN}"}, timeout=PATIENCE)
    with admin:
        # A key that was made at one is known to all; revoked at one it is refused by all.
        key = made(admin, "alice")
        look(lambda: all_answer(house, key, lambda status: status == 200))
        assert admin.delete("/keys/alice").status_code == 200
        key2 = made(admin, "bob")
        look(lambda: all_answer(house, key, lambda status: status == 401))
        look(lambda: all_answer(house, key2, lambda status: status == 200))
        # Whoever opens a circuit, opens it for all.
        simulator.fault("anthropic", "status", status=500)
        pinned = "anthropic/claude-sonnet-5-5"
        for _ in range(3):
            ask(house, model=pinned, key=key2)
        opened = {"provider": "anthropic", "state": "open"}
        look(lambda: len(open_at := figures(house, "circuit_state", **opened)) == 3 and all(open_at.values()))
        simulator.clear_requests("anthropic")
        assert all(ask(house, model="claude-sonnet-5-5", key=key2) for _ in range(9))
        assert simulator.requests("anthropic") == []
    # Together they do not spend more than there is.
    codes = crowd(house, key2)
    assert codes["budget_exceeded"] > 0
    assert codes["ok"] > 0
    # All of them had a part in it; of the few that had their money, one of three may have got none.
    assert len(figures(house, "requests_refused_total", code="budget_exceeded")) == 3
    house.signal(signal.SIGTERM)
    assert house.wait() == 0
    assert 0 < truth(simulator.ledger()).total <= nano("0.01")


def made(admin: httpx.Client, name: str) -> str:
    """A new key."""
    answer = admin.post("/keys", json={"name": name})
    assert answer.status_code < 300, answer.text
    return str(answer.json()["key"])


def all_answer(house: Tollhouse, key: str, fits: Callable[[int], bool], times: int = 24) -> bool:
    """So often, each time on a connection of its own: that one of three is never asked is a matter of one to 17,000."""
    return all(fits(heard(house, "/v1/models", key)[0]) for _ in range(times))


def crowd(house: Tollhouse, key: str) -> dict[str, int]:
    """What sixty heard who came at once."""
    answers: list[str] = []

    def one() -> None:
        said = ask(house, "words 60", key=key)
        answers.append(said if re.fullmatch("[a-z_]+", said) else "ok")

    people = [threading.Thread(target=one) for _ in range(60)]
    for person in people:
        person.start()
    for person in people:
        person.join(PATIENCE)
    return {code: answers.count(code) for code in ("ok", "budget_exceeded")}
