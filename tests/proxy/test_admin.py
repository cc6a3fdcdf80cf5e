"""The doors of those who pay, over real stores: who may open them, what they say, and what a fault looks like."""

import asyncio
import csv
import io
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import prometheus_client
import pytest
import uvicorn
from litestar import Litestar
from litestar.datastructures import State
from structlog.testing import capture_logs

from adapters.base import Usage
from proxy.admin import HANDLERS
from proxy.admin.asking import MOST
from proxy.admin.costs import HOURS_WITHIN
from proxy.api import refuse
from proxy.auth import Keyring
from proxy.budget import EACH, Ask, Budget, Granted
from proxy.cost import NANO
from proxy.crowd import Crowd
from proxy.environment import Secret
from proxy.export import COLUMNS, flat
from proxy.fleet import Fleet
from proxy.health import Policy
from proxy.ledger import OPTIONAL, Entry, ordered
from proxy.metrics import Metrics
from proxy.queue import Queue
from proxy.spending import Purse
from proxy.store import Settlement, Store
from proxy.store.redis import RedisStore
from proxy.store.sqlite import SqliteStore
from tests.redis_server import RedisServer, redis_server

NOON = 1_795_435_200_000  # 2026-11-23T12:00:00Z
DAY, HOUR = 86_400_000, 3_600_000
KEY = {"authorization": "Bearer admin-key"}
COSTS = [f"/providers/costs/{name}" for name in ("summary", "stats", "export")]
FOUR = {"message", "type", "param", "code"}
NOVEMBER = {"start_date": "2026-11-01", "end_date": "2026-11-30"}
BUDGETS = (
    Budget(limit=5 * NANO, window="day"),
    Budget(limit=NANO, window="month", dimension="user", value=EACH),
)


def figures() -> Metrics:
    """Metrics that have seen a request."""
    metrics = Metrics()
    metrics.observe(Entry(id="r/1", request="r", provider="openai", model="m", status=200, cost=1, price="v"))
    return metrics


class Place(NamedTuple):
    """A store, and what takes it away."""

    store: Store
    away: Callable[[], Awaitable[None]]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


async def nothing() -> AsyncIterator[list[Settlement]]:
    for page in list[list[Settlement]]():
        yield page


@pytest.fixture(params=["sqlite", "redis"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "sqlite":
        file = SqliteStore(tmp_path / "store.db", wall=lambda: NOON / 1_000)
        await file.open()
        yield Place(file, file.close)
        await file.close()
        return
    server: RedisServer = request.getfixturevalue("server")
    # Kept for long: its clock is the machine's, and the rows of these tests are of 2026.
    redis = RedisStore(server.url, days=40_000, quiet=0, pause=0.005, timeout=2)
    await redis.open()
    await redis.recover(nothing(), [])  # it is new, and must be told so

    async def kill() -> None:
        server.kill()

    yield Place(redis, kill)
    if server.running:
        await redis._redis.flushall()
    else:
        server.start()  # it comes back empty
    await redis.close()


def application(store: Store, *keys: str) -> Litestar:
    state = {
        "store": store,
        "purse": Purse(BUDGETS),
        "metrics": figures(),
        "admin": Keyring(map(Secret, keys)),
        "fleet": Fleet(store, Policy(), replica="one", clock=time.monotonic, wall=time.time),
        "presence": Crowd(),
        "queue": Queue(),
    }
    return Litestar(
        HANDLERS, exception_handlers={Exception: refuse}, openapi_config=None, logging_config=None, state=State(state)
    )


def client(app: Litestar, host: str = "203.0.113.7", /, **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=(host, 40_000))  # type: ignore[arg-type]  # Litestar's scopes are typed more narrowly
    return httpx.AsyncClient(transport=transport, base_url="http://localhost:8080", headers=headers)


@pytest.fixture
async def admin(place: Place) -> AsyncIterator[httpx.AsyncClient]:
    async with client(application(place.store, "admin-key"), **KEY) as admin:
        yield admin


def entry(number: int, **fields: Any) -> Entry:
    usual: dict[str, Any] = {"at": NOON, "provider": "openai", "model": "gpt-4o", "status": 200, "cost": number}
    return Entry(id=f"req_{number:06}/1", request=f"req_{number:06}", **{**usual, **fields})


def some(count: int, since: int = NOON - 20 * DAY, until: int = NOON + 6 * DAY) -> list[Entry]:
    """Rows as they might come, in no order, each time the same."""
    dice = random.Random(7)
    return [
        entry(
            number,
            at=dice.randrange(since, until),
            provider=dice.choice(["openai", "anthropic"]),
            model=dice.choice(["gpt-4o", "claude-sonnet-5-5"]),
            user=dice.choice(["", "alice", "bob", "=cmd()"]),
            agent=dice.choice(["", "crawler"]),
            team=dice.choice(["", "search"]),
            last=dice.random() < 0.9,
            usage=Usage(in_text=dice.randrange(9_000), out_text=dice.randrange(900), cache_read=dice.randrange(90)),
            cost=dice.choice([None, dice.randrange(10**10)]),
            unproven=dice.choice([0, dice.randrange(10**6)]),
            estimated=dice.random() < 0.1,
            first=dice.random() * 1_000,
            total=dice.random() * 9_000,
        )
        for number in range(count)
    ]


async def book(store: Store, rows: list[Entry]) -> None:
    for index in range(0, len(rows), 200):
        await store.settle([Settlement(row) for row in rows[index : index + 200]])


def export_of(answer: httpx.Response, format: str) -> list[dict[str, Any]]:
    return answer.json() if format == "json" else list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_summary_stats_and_export_agree_to_the_nano_dollar(place, admin):
    at = await place.store.now()
    month = datetime.fromtimestamp(at / 1_000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    await book(place.store, some(700, since=int(month.timestamp()) * 1_000, until=at + 1))
    told = (await admin.get(COSTS[0])).json()["this_month"]
    stats = (await admin.get(COSTS[1])).json()
    assert Decimal(told["spent_usd"]) > 0
    assert (told["spent_usd"], told["unproven_usd"]) == (stats["totals"]["cost_usd"], stats["totals"]["unproven_usd"])
    for dimension, shown in told["by"].items():
        assert {cell["value"]: cell["spent_usd"] for cell in shown["top"]} == {
            cell["value"]: cell["cost_usd"]
            for cell in stats["by"][dimension]["top"]
            if cell["value"] or dimension not in OPTIONAL
        }
    for format in ("json", "csv"):
        lines = export_of(await admin.get(COSTS[2], params={"format": format}), format)
        assert len(lines) == stats["totals"]["attempts"] == 700
        assert sum(int(line["cost_nano"] or 0) for line in lines) == Decimal(told["spent_usd"]) * NANO
        assert sum(Decimal(line["cost_usd"] or 0) for line in lines) == Decimal(told["spent_usd"])
        for kind, total in stats["totals"]["usage"].items():
            assert sum(int(line[kind]) for line in lines) == total


async def test_the_summary_tells_holds_and_how_budgets_stand(place, admin):
    at = await place.store.now()
    await book(place.store, [entry(1, at=at, user="alice", cost=NANO // 2)])
    granted = await place.store.hold(Ask(entry=entry(2, user="alice"), limits=(), least=NANO, most=NANO))
    assert isinstance(granted, Granted)
    answer = await admin.get(COSTS[0])
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert told.keys() == {"as_of", "today", "this_month", "budgets", "budgets_left_out"}
    assert (told["today"]["spent_usd"], told["today"]["held_usd"]) == ("0.5", "1")
    rows = {row["scope"]: row for row in told["budgets"]}
    assert (rows["all"]["left_usd"], rows["all"]["used_percent"]) == ("3.5", "10.00")
    assert (rows["user=alice"]["left_usd"], rows["user=alice"]["used_percent"]) == ("-0.5", "50.00")


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        ("2026-11-22", "2026-11-22", [2, 3]),
        ("2026-11-22", "2026-11-23", [2, 3, 4]),
        ("2026-11-01", "2026-11-21", [1]),
        ("2026-11-24", "2026-12-31", []),
        ("0001-01-01", "9999-12-31", [1, 2, 3, 4]),
    ],
)
async def test_both_dates_are_whole_utc_days_and_within(place, admin, since, until, found):
    midnight = NOON - 12 * HOUR
    times = [midnight - DAY - 1, midnight - DAY, midnight - 1, midnight]
    await book(place.store, [entry(number, at=at) for number, at in enumerate(times, start=1)])
    params = {"start_date": since, "end_date": until}
    assert [row["cost_nano"] for row in (await admin.get(COSTS[2], params=params)).json()] == found
    stats = (await admin.get(COSTS[1], params=params)).json()
    assert (stats["start_date"], stats["end_date"]) == (since, until)
    assert stats["totals"]["attempts"] == len(found)


@pytest.mark.parametrize(("format", "media_type"), [("json", "application/json"), ("csv", "text/csv")])
async def test_the_export_has_every_row_oldest_first_in_a_file_with_a_name(place, admin, format, media_type):
    rows = some(1_200)
    await book(place.store, rows)
    answer = await admin.get(COSTS[2], params={**NOVEMBER, "format": format})
    assert answer.headers["content-type"].startswith(media_type)
    assert (
        answer.headers["content-disposition"] == f'attachment; filename="tollhouse-2026-11-01-to-2026-11-30.{format}"'
    )
    lines = export_of(answer, format)
    assert [line["id"] for line in lines] == [row.id for row in ordered(rows)]
    assert all(tuple(line) == COLUMNS for line in lines)
    if format == "json":
        assert lines == [flat(row) for row in ordered(rows)]
    assert {line["user"] for line in lines} == {"", "alice", "bob", "=cmd()" if format == "json" else "'=cmd()"}


@pytest.mark.parametrize(("format", "text"), [("json", "[]\n"), ("csv", ",".join(COLUMNS) + "\r\n")])
async def test_an_export_of_nothing_is_a_whole_file(admin, format, text):
    answer = await admin.get(COSTS[2], params={**NOVEMBER, "format": format})
    assert (answer.status_code, answer.text) == (200, text)


async def test_top_bounds_what_is_shown_and_the_rest_is_summed(place, admin):
    await book(place.store, [entry(number, user=f"user{number}") for number in range(1, 61)])
    for params, shown in (({}, 50), ({"top": "12"}, 12)):
        users = (await admin.get(COSTS[1], params={**NOVEMBER, **params})).json()["by"]["user"]
        assert [cell["value"] for cell in users["top"]] == [f"user{60 - place}" for place in range(shown)]
        assert users["others"]["values"] == 60 - shown
        assert Decimal(users["others"]["cost_usd"]) * NANO == sum(range(1, 61 - shown))


@pytest.mark.parametrize(("end", "hours"), [("2026-12-01", True), ("2026-12-02", False)])
async def test_over_long_times_there_are_no_hours(admin, end, hours):
    assert HOURS_WITHIN == 31
    told = (await admin.get(COSTS[1], params={"start_date": "2026-11-01", "end_date": end})).json()
    assert ("hour" in told["over"]) == hours


@pytest.mark.parametrize("url", COSTS[1:])
@pytest.mark.parametrize(
    ("params", "param", "words"),
    [
        ({"start_date": "2026-13-01"}, "start_date", ["2026-13-01", "YYYY-MM-DD"]),
        ({"start_date": "20261101"}, "start_date", ["YYYY-MM-DD"]),
        ({"start_date": "2026-W47-1"}, "start_date", ["YYYY-MM-DD"]),
        ({"start_date": ""}, "start_date", ["YYYY-MM-DD"]),
        ({"start_date": "2026-11-01\n"}, "start_date", ["YYYY-MM-DD"]),
        ({"end_date": "2026-02-29"}, "end_date", ["2026-02-29", "YYYY-MM-DD"]),
        ({"end_date": "\u0662\u0660\u0662\u0666-11-01"}, "end_date", ["YYYY-MM-DD"]),
        ({"end_date": "yesterday" * 99}, "end_date", ["YYYY-MM-DD"]),
        ({"start_date": "2026-11-02", "end_date": "2026-11-01"}, "start_date", ["2026-11-02", "2026-11-01", "after"]),
        ({"start_date": "9999-12-31"}, "start_date", ["9999-12-31", "after"]),
    ],
)
async def test_a_wrong_date_is_a_400_that_names_it_and_the_format(admin, url, params, param, words):
    answer = await admin.get(url, params=params)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error.keys() == FOUR
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert all(word in error["message"] for word in (param, *words))
    assert len(error["message"]) < 200


@pytest.mark.parametrize(
    ("url", "params", "param", "word"),
    [
        (COSTS[2], {"format": "xml"}, "format", "json, csv"),
        (COSTS[2], {"format": ""}, "format", "json, csv"),
        (COSTS[0], {"start_date": "2026-11-01"}, "start_date", "there is none"),
        (COSTS[1], {"start_dat": "2026-11-01"}, "start_dat", "'start_date' and 'end_date' and 'top'"),
        (COSTS[2], {"top": "3"}, "top", "'start_date' and 'end_date' and 'format'"),
        (COSTS[1], {"top": ["3", "4"]}, "top", "given 2 times"),
        (COSTS[1], {"top": "0"}, "top", str(MOST)),
        (COSTS[1], {"top": "-1"}, "top", str(MOST)),
        (COSTS[1], {"top": "1001"}, "top", str(MOST)),
        (COSTS[1], {"top": "9" * 5_000}, "top", str(MOST)),
        (COSTS[1], {"top": "many"}, "top", str(MOST)),
    ],
)
async def test_another_wrong_parameter_is_a_400_that_names_it(admin, url, params, param, word):
    answer = await admin.get(url, params=params)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert word in answer.json()["error"]["message"]


@pytest.mark.parametrize("url", [*COSTS, "/metrics"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"authorization": "Bearer wrong"}, 401), ({"authorization": "Basic admin-key"}, 401), (KEY, 200)],
)
async def test_the_doors_open_for_the_admin_key_only(place, url, headers, status):
    async with client(application(place.store, "admin-key"), **headers) as asker:
        answer = await asker.get(url)
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["error"].keys() == FOUR
        assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("url", [*COSTS, "/metrics"])
async def test_without_an_admin_key_the_doors_are_open(place, url):
    async with client(application(place.store)) as asker:
        assert (await asker.get(url)).status_code == 200


@pytest.mark.parametrize(
    ("host", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("127.8.9.1", {}, 200),
        ("::1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("::ffff:10.0.0.1", {}, 401),
        ("10.0.0.1", {}, 401),
        ("2001:db8::1", {}, 401),
        ("testclient", {}, 401),
        ("127.0.0.1", {"x-forwarded-for": "127.0.0.1"}, 401),
        ("127.0.0.1", {"forwarded": "for=127.0.0.1"}, 401),
        ("127.0.0.1", {"x-real-ip": "198.51.100.1"}, 401),
        ("127.0.0.1", {"via": "1.1 proxy"}, 401),
        ("127.0.0.1", {"host": "[::1]:8080"}, 200),
        ("127.0.0.1", {"host": "rebound.example"}, 401),
    ],
)
async def test_this_machine_reads_metrics_without_the_key_but_not_what_a_proxy_on_it_passes_on(
    tmp_path, host, headers, status
):
    app = application(SqliteStore(tmp_path / "store.db"), "admin-key")
    async with client(app, host, **headers) as asker:
        answer = await asker.get("/metrics")
        assert answer.status_code == status
        assert [(await asker.get(url)).status_code for url in COSTS] == [401] * len(COSTS)
    if status == 200:
        assert answer.headers["content-type"] == prometheus_client.CONTENT_TYPE_LATEST
        assert 'tollhouse_requests_total{model="m",provider="openai",status="200",stream="false"} 1.0' in answer.text


async def test_who_has_no_address_needs_the_key(tmp_path):
    """A Unix socket, say."""
    app = application(SqliteStore(tmp_path / "store.db"), "admin-key")
    transport = httpx.ASGITransport(app, client=None)  # type: ignore[arg-type]  # ASGI allows it, httpx does not know
    async with httpx.AsyncClient(transport=transport, base_url="http://tollhouse") as asker:
        assert (await asker.get("/metrics")).status_code == 401


@pytest.mark.parametrize("url", COSTS)
async def test_a_store_that_is_away_is_a_503_that_says_so(place, admin, url):
    await place.away()
    with capture_logs() as logs:
        answer = await admin.get(url, params={} if url == COSTS[0] else NOVEMBER)
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert error.keys() == FOUR
    assert (error["type"], error["code"]) == ("server_error", "budget_store_unavailable")
    assert "cannot be reached" in error["message"]
    assert [line["event"] for line in logs] == ["ledger not read"]


async def test_figures_say_how_the_named_budgets_stand(place, admin):
    text = (await admin.get("/metrics")).text
    for budget in BUDGETS:
        if budget.value != EACH:
            assert f'tollhouse_budget_limit_dollars{{budget="{budget.name}",window="{budget.window}"}}' in text
    assert "user=*" not in text


async def test_figures_need_no_store(place, admin):
    await place.away()
    assert (await admin.get("/metrics")).status_code == 200


class Listening(uvicorn.Server):
    """A real server in this loop, and its address once it listens."""

    def __init__(self, app: Litestar) -> None:
        super().__init__(uvicorn.Config(app, port=0, lifespan="off", ws="none", log_config=None, access_log=False))
        self.open = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.open.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}"


@pytest.fixture
async def listening(place: Place) -> AsyncIterator[Listening]:
    server = Listening(application(place.store))
    serving = asyncio.create_task(server._serve())  # `serve` would take this process's signals
    await server.open.wait()
    yield server
    server.should_exit = True
    await serving


# More than all buffers between a server and its client hold, over so long a time that no page has much of it.
LARGE = [entry(number, at=NOON - 20 * DAY + number * HOUR // 4, asked="x" * 20_000) for number in range(1_500)]


async def listen(chunks: AsyncIterator[bytes], heard: bytearray) -> None:
    async for chunk in chunks:
        heard += chunk


@pytest.mark.parametrize("format", ["json", "csv"])
async def test_an_export_that_breaks_half_way_is_broken_off_and_not_ended(place, listening, format):
    await book(place.store, LARGE)
    url = listening.url + COSTS[2]
    heard = bytearray()
    params = {**NOVEMBER, "format": format}
    with capture_logs() as logs:
        async with httpx.AsyncClient(timeout=30) as asker, asker.stream("GET", url, params=params) as answer:
            assert answer.status_code == 200
            chunks = answer.aiter_bytes()
            heard += await anext(chunks)
            await place.away()
            with pytest.raises(httpx.RemoteProtocolError):
                await listen(chunks, heard)
    assert len(heard) > 20_000
    assert not heard.rstrip().endswith(b"]")
    assert [line["event"] for line in logs] == ["export broken off"]


async def test_a_large_export_comes_whole_through_a_real_server(place, listening):
    await book(place.store, LARGE)
    async with httpx.AsyncClient(timeout=30) as asker:
        answer = await asker.get(listening.url + COSTS[2], params=NOVEMBER)
    assert [row["cost_nano"] for row in json.loads(answer.content)] == list(range(len(LARGE)))


async def test_a_client_that_leaves_an_export_leaves_the_store_at_rest(place, listening):
    await book(place.store, LARGE)
    async with httpx.AsyncClient(timeout=30) as asker:
        async with asker.stream("GET", listening.url + COSTS[2], params=NOVEMBER) as answer:
            await anext(answer.aiter_bytes())
        serving = set(listening.server_state.tasks)
        if serving:
            await asyncio.wait(serving, timeout=30)
        assert not listening.server_state.tasks
        assert (await asker.get(listening.url + COSTS[0])).status_code == 200
