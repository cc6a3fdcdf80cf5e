"""How it stops: what is in flight is finished while /readyz says 503, and a second signal ends it at once."""

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest
import uvicorn
from litestar import Litestar
from litestar.datastructures import State

from proxy import server, settings
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


def test_a_second_signal_cuts_off_what_is_still_there(simulator, threads):
    simulator.fault("openai", "hang")
    with Tollhouse.start({**environ_of(simulator), "TOLLHOUSE_DRAIN_SECONDS": "3600"}) as house:
        cut = threads.submit(ask, house, MODELS["openai"])
        assert simulator.wait("openai", in_progress=1)
        house.signal(signal.SIGTERM)
        house.wait_log("draining")
        house.signal(signal.SIGTERM)
        assert house.wait_log("cutting off")["requests"] == 1
        assert house.wait() == 0
        assert failed(cut)
        assert house.wait_log("request")["code"] == "server_shutting_down"


def test_when_the_grace_is_over_what_is_left_is_cut_off(simulator, threads):
    simulator.fault("openai", "hang")
    with Tollhouse.start({**environ_of(simulator), "TOLLHOUSE_DRAIN_SECONDS": "0"}) as house:
        cut = threads.submit(ask, house, MODELS["openai"])
        assert simulator.wait("openai", in_progress=1)
        house.signal(signal.SIGTERM)
        assert house.wait() == 0
        assert failed(cut)
        assert house.wait_log("request")["code"] == "server_shutting_down"
        assert "Traceback" not in house.stderr


def failed(cut: "Future[httpx.Response]") -> bool:
    """The client heard of it: a status that says so, or a connection that broke."""
    try:
        return cut.result(PATIENCE).status_code >= 500
    except httpx.TransportError:
        return True


def test_a_signal_before_it_listens_ends_it():
    app = Litestar(state=State({"draining": False}))
    one = server.Server(uvicorn.Config(app), app, 30, lambda port: None)
    one.handle_exit(signal.SIGTERM, None)
    assert one.should_exit


def test_an_application_that_does_not_start_is_told():
    async def broken(_: Litestar) -> None:
        raise RuntimeError("no")

    told: list[int] = []
    options = settings.load({"TOLLHOUSE_LOG": "json"}, port=0)
    assert server.run(Litestar(on_startup=[broken]), options, told.append) == "the log says why"
    assert told == []
