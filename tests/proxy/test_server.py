"""How it stops: what is in flight is finished while /readyz says 503, and a second signal ends it at once."""

import asyncio
import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from litestar import Litestar
from litestar.datastructures import State

from proxy import server, settings
from proxy.store import open_store
from tests.money.fleet import counted, rows
from tests.money.truth import truth
from tests.tollhouse import PATIENCE, Tollhouse, environ_of

MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-5-5"}


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def ask(house: Tollhouse, model: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "words 5"}]}
    return httpx.post(f"{house.url}/v1/chat/completions", json=body, timeout=PATIENCE)


def ready(house: Tollhouse) -> int:
    return httpx.get(f"{house.url}/readyz", timeout=PATIENCE).status_code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_with_nothing_in_flight_it_ends_by_itself(simulator, number):
    with Tollhouse.start(environ_of(simulator)) as house:
        assert ready(house) == 200
        house.signal(number)
        assert house.wait() == 0
        assert house.wait_log("draining")["requests"] == 0
        assert house.logs[-1]["event"] == "stopped"


def test_a_stream_in_flight_is_finished_while_readyz_says_503(simulator):
    simulator.fault("openai", "drip", delay_ms=1)
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "words 5"}]}
    with (
        Tollhouse.start(environ_of(simulator)) as house,
        httpx.stream("POST", f"{house.url}/v1/chat/completions", json=body, timeout=PATIENCE) as answer,
    ):
        lines = answer.iter_lines()
        heard = [next(lines)]
        house.signal(signal.SIGTERM)
        assert house.wait_log("draining")["requests"] == 1
        assert ready(house) == 503
        assert httpx.get(f"{house.url}/healthz").status_code == 200
        heard += lines
        assert [line for line in heard if line][-1] == "data: [DONE]"
        assert house.wait() == 0
        assert house.wait_log("request")["status"] == 200


def test_who_came_while_it_drained_is_served_too(simulator, threads):
    simulator.fault("openai", "slow", delay_ms=300)
    simulator.fault("anthropic", "slow", delay_ms=900)
    with Tollhouse.start(environ_of(simulator)) as house:
        early: Future[httpx.Response] = threads.submit(ask, house, MODELS["openai"])
        assert simulator.wait("openai", in_progress=1)
        house.signal(signal.SIGTERM)
        house.wait_log("draining")
        late = threads.submit(ask, house, MODELS["anthropic"])
        assert early.result(PATIENCE).status_code == 200
        assert late.result(PATIENCE).status_code == 200
        assert house.wait() == 0


@pytest.mark.parametrize("grace", ["3600", "0"], ids=["at a second signal", "when the grace is over"])
def test_what_is_still_there_is_cut_off_and_told_so_and_settled_for_what_was_heard(simulator, threads, tmp_path, grace):
    """A stream that has begun gets it as its last event, whoever has heard nothing yet as a 503."""
    simulator.fault("openai", "hang_midstream", after_events=4)
    simulator.fault("anthropic", "hang")
    own = {"TOLLHOUSE_DRAIN_SECONDS": grace, "TOLLHOUSE_DATA_DIR": str(tmp_path), "LLM_DAILY_BUDGET": "1"}
    with (
        Tollhouse.start({**environ_of(simulator), **own}) as house,
        openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0, timeout=PATIENCE) as sdk,
    ):
        plain = threads.submit(ask, house, MODELS["anthropic"])
        assert simulator.wait("anthropic", in_progress=1)
        messages: Any = [{"role": "user", "content": "words 50"}]
        stream = sdk.chat.completions.create(model=MODELS["openai"], messages=messages, stream=True)
        next(stream)
        house.signal(signal.SIGTERM)
        if grace != "0":
            house.wait_log("draining")
            house.signal(signal.SIGTERM)
        with pytest.raises(openai.APIError, match=r"^The proxy is shutting down; ask again\.$") as cut:
            list(stream)
        assert not isinstance(cut.value, openai.APIConnectionError)
        assert cut.value.code == "server_shutting_down"
        answer = plain.result(PATIENCE)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_shutting_down")
        assert answer.headers["connection"] == "close"
        assert house.wait_log("cutting off")["requests"] == 2
        assert house.wait() == 0
        assert "Traceback" not in house.stderr
    heard = [line for line in house.logs if line["event"] == "request"]
    assert [line["code"] for line in heard] == ["server_shutting_down"] * 2
    store = open_store(None, tmp_path, "observer")
    said = {row.provider: row for row in asyncio.run(rows(store))}
    assert said["openai"].usage.completion > 0
    assert said["openai"].cost == truth(simulator.ledger("openai")).total
    assert {row.last for row in said.values()} == {True}
    assert asyncio.run(counted(open_store(None, tmp_path, "observer"))).held == 0


def test_while_it_drains_each_answer_says_that_its_connection_will_be_closed(simulator, threads):
    """Also one whose request was there before; and whoever had heard the beginning of his can ask once more on the
    connection that was to be kept."""
    simulator.fault("anthropic", "slow", delay_ms=2000)
    simulator.fault("openai", "drip", delay_ms=1)
    with (
        Tollhouse.start({**environ_of(simulator), "TOLLHOUSE_DRAIN_NOTICE_SECONDS": "3"}) as house,
        httpx.Client(base_url=house.url, timeout=PATIENCE) as http,
    ):
        assert http.get("/healthz").headers.get("connection") is None
        waiting = threads.submit(ask, house, MODELS["anthropic"])
        assert simulator.wait("anthropic", in_progress=1)
        body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "words 3"}]}
        with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.headers.get("connection") is None
            house.signal(signal.SIGTERM)
            house.wait_log("draining")
            local = answer.extensions["network_stream"].get_extra_info("client_addr")
            assert answer.read().rstrip().endswith(b"data: [DONE]")
        with http.stream("GET", "/readyz") as last:
            assert (last.status_code, last.headers["connection"]) == (503, "close")
            assert last.extensions["network_stream"].get_extra_info("client_addr") == local
        assert waiting.result(PATIENCE).headers["connection"] == "close"
        assert house.wait() == 0


def test_the_door_stays_open_for_as_long_as_a_balancer_needs_to_notice(simulator):
    """With nobody to wait for: what still comes is served, and told to go elsewhere the next time."""
    with Tollhouse.start({**environ_of(simulator), "TOLLHOUSE_DRAIN_NOTICE_SECONDS": "1"}) as house:
        began = time.monotonic()
        house.signal(signal.SIGTERM)
        house.wait_log("draining")
        answer = ask(house, MODELS["openai"])
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert house.wait() == 0
        assert time.monotonic() - began >= 1


def test_who_does_not_read_does_not_hold_it_up(simulator, tmp_path):
    """Nor keeps his request from being settled."""
    own = {"TOLLHOUSE_DRAIN_SECONDS": "0", "TOLLHOUSE_DATA_DIR": str(tmp_path), "LLM_DAILY_BUDGET": "100"}
    with Tollhouse.start({**environ_of(simulator), **own}) as house:
        body = json.dumps(
            {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "words 60000"}]}
        ).encode()
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", house.port))
            deaf.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
                + body
            )
            assert deaf.recv(100).startswith(b"HTTP/1.1 200")
            house.signal(signal.SIGTERM)
            assert house.wait() == 0
    assert house.wait_log("request")["code"] == "server_shutting_down"
    assert house.logs[-1]["event"] == "stopped"
    counter = asyncio.run(counted(open_store(None, tmp_path, "observer")))
    assert counter.held == 0
    assert counter.spent > 0


async def test_the_rooms_are_closed_when_all_have_settled_in_them():
    """Also who could not be told that he was cut off, and who was still waiting for that to be read."""
    app, did = Litestar(state=State({"draining": True})), list[str]()
    one = server.Server(uvicorn.Config(app), app, lambda port: None, grace=0)

    class Rooms:
        async def shutdown(self) -> None:
            did.append("closed")

    async def request() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            did.append("telling")
            await asyncio.Event().wait()
        finally:
            did.append("settled")

    one.servers, one.lifespan = [], Rooms()
    task = asyncio.create_task(request())
    task.add_done_callback(one.server_state.tasks.discard)
    one.server_state.tasks.add(task)
    await asyncio.sleep(0)  # for the request to begin
    await one.shutdown()
    assert did == ["telling", "settled", "closed"]


def test_a_signal_before_it_listens_ends_it():
    app = Litestar(state=State({"draining": False}))
    one = server.Server(uvicorn.Config(app), app, lambda port: None, grace=30)
    one.handle_exit(signal.SIGTERM, None)
    assert one.should_exit


def test_an_application_that_does_not_start_is_told():
    async def broken(_: Litestar) -> None:
        raise RuntimeError("no")

    told: list[int] = []
    options = settings.load({"TOLLHOUSE_LOG": "json"}, port=0)
    assert server.run(Litestar(on_startup=[broken]), options, told.append) == "the log says why"
    assert told == []
