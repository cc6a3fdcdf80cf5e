"""Each request that reached a vendor has rows for all its attempts, and exactly one is the last, however it ends."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from proxy.ledger import Entry
from proxy.simulator.client import Simulator
from proxy.store.sqlite import SqliteStore
from tests.conftest import LIMITS, ONCE, TIMEOUTS, environ_of
from tests.tollhouse import Tollhouse

MODEL = "gpt-4o"
ORDER = ("openai", "gemini", "anthropic")
POOR = "budgets: [{provider: gemini, daily: '0.000001'}, {provider: anthropic, daily: '0.000001'}]\n"
DOWN: Mapping[str, Any] = {"fault": "status", "status": 500}
Start = Callable[..., Tollhouse]


@pytest.fixture
def start(simulator: Simulator, tmp_path: Path) -> Iterator[Start]:
    """Start a tollhouse; the ledger is in the directory of the test."""
    houses: list[Tollhouse] = []

    def started(config: str = "", **environ: str) -> Tollhouse:
        more = {"TOLLHOUSE_DATA_DIR": str(tmp_path), "ENABLE_LLM_FALLBACK": "true", **environ}
        houses.append(Tollhouse.start({**environ_of(simulator), **more}, config=TIMEOUTS + LIMITS + ONCE + config))
        return houses[-1]

    yield started
    for house in houses:
        house.stop()


def body(*, stream: bool = False, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "words 20"}], "stream": stream, **more}


def ask(house: Tollhouse, **more: Any) -> httpx.Response:
    return httpx.post(f"{house.url}/v1/chat/completions", json=body(**more), timeout=20)


def leave(house: Tollhouse, there: Callable[[], object], *, stream: bool = False) -> None:
    """Ask, and hang up once it is `there`: at the vendor, or on its way back."""
    with httpx.Client(base_url=house.url, timeout=20) as client:
        if stream:
            with client.stream("POST", "/v1/chat/completions", json=body(stream=True)) as answer:
                assert next(answer.iter_raw())
                there()
            return

        async def gone() -> None:
            async with httpx.AsyncClient(base_url=house.url, timeout=20) as leaver:
                asking = asyncio.create_task(leaver.post("/v1/chat/completions", json=body()))
                await asyncio.to_thread(there)
                asking.cancel()
                await asyncio.wait([asking])

        asyncio.run(gone())


def ledger(directory: Path) -> list[Entry]:
    """All rows, once the process has ended; in the order of their attempts."""

    async def read() -> list[Entry]:
        store = SqliteStore(directory / "tollhouse.db")
        await store.open()
        rows = [row async for page in store.rows(0, 2**52) for row in page]
        await store.close()
        return rows

    return sorted(asyncio.run(read()), key=lambda row: row.id)


def told(rows: list[Entry]) -> list[tuple[str, str, bool, int, str | None]]:
    """What the rows say of their attempts, without the name of the request, which they share."""
    assert len({row.request for row in rows}) == 1
    assert all(row.id.startswith(f"{row.request}/") and row.total > 0 and row.asked == MODEL for row in rows)
    assert [row.last for row in rows].count(True) == 1
    return [(row.id.removeprefix(f"{row.request}/"), row.provider, row.last, row.status, row.code) for row in rows]


class Ending(NamedTuple):
    """Which vendors fail, and how; what the client hears, and what the ledger says."""

    name: str
    faults: Mapping[str, Mapping[str, Any]]
    status: int
    rows: list[tuple[str, str, bool, int, str | None]]
    config: str = ""


FAILED = ("1", "openai", False, 502, "transient")
ENDINGS = [
    Ending("served", {}, 200, [("1", "openai", True, 200, None)]),
    Ending("failed, then served", {"openai": DOWN}, 200, [FAILED, ("2", "gemini", True, 200, None)]),
    Ending(
        "all failed",
        {"openai": DOWN, "gemini": DOWN, "anthropic": DOWN},
        502,
        [FAILED, ("2", "gemini", False, 502, "transient"), ("3", "anthropic", True, 502, "transient")],
    ),
    Ending(
        "failed, then refused by budgets",
        {"openai": DOWN},
        502,
        [FAILED, ("end", "openai", True, 502, "transient")],
        POOR,
    ),
]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
def test_a_request_has_one_last_row_which_says_what_the_client_heard(simulator, start, tmp_path, ending, stream):
    house = start(ending.config)
    for vendor, fault in ending.faults.items():
        simulator.fault(vendor, **fault)
    answer = ask(house, stream=stream)
    assert answer.status_code == ending.status
    assert house.stop() == 0
    rows = ledger(tmp_path)
    assert told(rows) == ending.rows
    assert {row.request for row in rows} == {answer.headers["x-request-id"]}
    assert [row.first is not None for row in rows] == [row.status == 200 for row in rows]
    assert [bool(row.cost) for row in rows] == [row.status == 200 for row in rows]
    assert [row.stream for row in rows] == [stream] * len(rows)


def test_what_is_refused_before_anybody_was_asked_has_no_row(simulator, start, tmp_path):
    house = start(LLM_DAILY_BUDGET="0.000001")
    assert ask(house).status_code == 429
    assert ask(house, model="nobody/knows").status_code in (400, 404)
    assert house.stop() == 0
    assert ledger(tmp_path) == []


@pytest.mark.parametrize("budget", ["", "1"], ids=["no budget", "budget"])
def test_a_client_that_leaves_while_the_second_is_asked_pays_for_what_it_may_have_cost(
    simulator, start, tmp_path, budget
):
    house = start(**({"LLM_DAILY_BUDGET": budget} if budget else {}))
    simulator.fault("openai", **DOWN)
    simulator.fault("gemini", "hang")
    leave(house, lambda: simulator.wait("gemini", in_progress=1, timeout=10))
    house.wait_log("request", code="client_left")
    assert house.stop() == 0
    rows = ledger(tmp_path)
    assert told(rows) == [FAILED, ("2", "gemini", True, 499, "client_left")]
    assert rows[1].estimated
    assert (rows[1].unproven > 0) is bool(budget), "what a vendor may have billed, no budget gives out again"


def test_a_client_that_leaves_in_the_middle_of_a_stream_has_heard_a_part(simulator, start, tmp_path):
    house = start()
    simulator.fault("openai", "hang_midstream", after_events=6)
    leave(house, lambda: None, stream=True)
    house.wait_log("request", code="client_left")
    assert house.stop() == 0
    (row,) = rows = ledger(tmp_path)
    assert told(rows) == [("1", "openai", True, 499, "client_left")]
    assert row.estimated
    assert row.first is not None
    assert row.usage.out_text > 0


def test_a_stream_that_breaks_off_ends_with_what_broke_it(simulator, start, tmp_path):
    house = start()
    simulator.fault("openai", "cut", after_events=6)
    answer = ask(house, stream=True)
    assert answer.status_code == 200
    assert house.stop() == 0
    (row,) = rows = ledger(tmp_path)
    assert told(rows) == [("1", "openai", True, 502, "upstream_stream_truncated")]
    assert (row.estimated, row.request) == (True, answer.headers["x-request-id"])


def test_a_request_that_the_shut_down_cuts_off_is_settled_before_the_process_ends(simulator, start, tmp_path):
    house = start(LLM_DAILY_BUDGET="1")
    simulator.fault("openai", "hang_midstream", after_events=6)
    with (
        httpx.Client(base_url=house.url, timeout=20) as client,
        client.stream("POST", "/v1/chat/completions", json=body(stream=True)) as answer,
    ):
        parts = answer.iter_raw()  # kept: who lets go of it hangs up
        assert next(parts)
        house.signal(signal.SIGTERM)
        house.wait_log("draining")
        house.signal(signal.SIGTERM)  # nobody waits any longer
        assert house.wait() == 0
        request = answer.headers["x-request-id"]
    (row,) = rows = ledger(tmp_path)
    assert told(rows) == [("1", "openai", True, 503, "server_shutting_down")]
    assert (row.request, row.estimated) == (request, True)
    assert row.cost
    assert row.held >= row.cost + row.unproven


def test_a_vendor_that_cannot_be_reached_is_not_paid(simulator, start, tmp_path):
    house = start(LLM_DAILY_BUDGET="1", ENABLE_LLM_FALLBACK="false", OPENAI_BASE_URL="http://127.0.0.1:1/v1")
    assert ask(house).status_code == 502
    assert house.stop() == 0
    (row,) = rows = ledger(tmp_path)
    assert told(rows) == [("1", "openai", True, 502, "upstream_connection_error")]
    assert (row.cost, row.unproven, row.estimated) == (0, 0, False)
