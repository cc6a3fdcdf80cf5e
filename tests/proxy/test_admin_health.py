"""The doors to health and to decisions, over real stores and two replicas that share one."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from litestar import Litestar
from litestar.datastructures import State
from structlog.testing import capture_logs

from adapters.base import Failure, Kind
from proxy.admin import HANDLERS
from proxy.admin.why import LATEST
from proxy.api import refuse
from proxy.auth import Keyring
from proxy.catalog import Catalog, ProviderRow
from proxy.decisions import Decisions
from proxy.environment import Secret
from proxy.fleet import Fleet
from proxy.health import Outcome, Policy
from proxy.pricebook import Pricebook
from proxy.prices import Limits, Model
from proxy.store import Store
from proxy.store.redis import RedisStore
from proxy.store.sqlite import SqliteStore
from proxy.telemetry import Decision, Record
from tests.redis_server import RedisServer, redis_server

PATIENCE = 10.0  # seconds; what is waited for takes less than one
FOUR = {"message", "type", "param", "code"}
KEY = {"authorization": "Bearer admin-key"}
HEALTH, DECISIONS = "/providers/health", "/providers/decisions"
DOORS = [("GET", HEALTH), ("POST", f"{HEALTH}/openai/reset"), ("GET", DECISIONS), ("GET", f"{DECISIONS}/req_1")]
LIMITS = Limits(context=1_000, max_output=100)
CATALOG = Catalog([Model(provider="openai", model="big", match=("big-*",), limits=LIMITS)])
ROWS = (ProviderRow(name="openai", vendor="openai"), ProviderRow(name="groq", vendor="openai"))
POLICY = Policy(consecutive=3)
BROKEN = Failure(Kind.TRANSIENT, "broke")


class Replica(NamedTuple):
    """A client of its doors, and what is behind them."""

    http: httpx.AsyncClient
    fleet: Fleet
    decisions: Decisions

    async def health(self, **params: str) -> dict[str, Any]:
        answer = await self.http.get(HEALTH, params=params)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        said: dict[str, Any] = answer.json()
        return said

    async def model(self, provider: str = "openai", model: str = "big") -> dict[str, Any]:
        said: dict[str, Any] = (await self.health())["providers"][provider]["models"][model]
        return said

    async def hear(self, times: int, failure: Failure | None = BROKEN, model: str = "big") -> None:
        """So many requests come to this end."""
        for _ in range(times):
            ticket = await self.fleet.begin("openai", model)
            assert ticket is not None
            self.fleet.end(ticket, Outcome(failure=failure, whole=None if failure else 20.0))


class Place(NamedTuple):
    """Two replicas of one store, and what takes it away from both."""

    one: Replica
    two: Replica
    away: Callable[[], Awaitable[None]]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@asynccontextmanager
async def replica(store: Store, name: str, *keys: str) -> AsyncIterator[Replica]:
    await store.open()
    fleet = Fleet(store, POLICY, replica=name, clock=time.monotonic, wall=time.time)
    await fleet.open()
    decisions = Decisions(3, wall=time.time)
    state = {
        "store": store,
        "fleet": fleet,
        "decisions": decisions,
        "book": Pricebook(CATALOG, ROWS),
        "replica": name,
        "admin": Keyring(map(Secret, keys)),
    }
    app = Litestar(
        HANDLERS, exception_handlers={Exception: refuse}, openapi_config=None, logging_config=None, state=State(state)
    )
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # Litestar's scopes are typed more narrowly
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080", headers=KEY) as http:
        try:
            yield Replica(http, fleet, decisions)
        finally:
            await fleet.close()
            await store.close()


@pytest.fixture(params=["sqlite", "redis"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    stores: list[Store] = []
    if request.param == "sqlite":
        stores = [SqliteStore(tmp_path / "store.db") for _ in range(2)]
    else:
        server: RedisServer = request.getfixturevalue("server")
        stores = [RedisStore(server.url, replica=name, timeout=2) for name in ("one", "two")]

    async def away() -> None:
        if request.param == "redis":
            server.kill()
            return
        for store in stores:
            await store.close()

    async with replica(stores[0], "one", "admin-key") as one, replica(stores[1], "two", "admin-key") as two:
        yield Place(one, two, away)
    if request.param == "redis":
        server.restart()  # it comes back empty


async def until(so: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again, until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not await so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def error(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status
    said: dict[str, Any] = answer.json()["error"]
    assert said.keys() == FOUR
    return said


# --- who may come in, and how


@pytest.mark.parametrize(("method", "url"), DOORS)
async def test_every_door_asks_for_the_admin_key(place, method, url):
    for wrong in ("", "Bearer other"):
        answer = await place.one.http.request(method, url, headers={"authorization": wrong})
        assert error(answer, 401)["code"] == "invalid_api_key"
    assert (await place.one.http.request(method, url)).status_code in (200, 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_nothing_is_reset_by_following_a_link(place, method):
    await place.one.hear(3)
    answer = await place.one.http.request(method, f"{HEALTH}/openai/reset")
    assert error(answer, 405)["type"] == "invalid_request_error"
    assert "POST" in answer.headers["allow"]
    assert (await place.one.model())["state"] == "open"


# --- health


async def test_an_opening_is_told_by_the_replica_that_saw_it_and_then_by_the_other(place):
    assert (await place.one.health())["providers"]["groq"]["models"] == {}
    await place.one.hear(2, None)
    await place.one.hear(3)
    said = await place.one.model()
    assert (said["state"], said["why"], said["consecutive_failures"]) == ("open", "transient", 3)
    assert said["totals"].items() >= {"ok": 2, "failed": 3, "rate_limited": 0, "others": 0}.items()
    assert said["own"]["totals"].items() >= {"ok": 2, "failed": 3}.items()
    assert (said["standing"]["state"], said["standing"]["scope"]) == ("open", "model")
    assert said["since"] < said["next_probe"] == said["until"]

    async def heard() -> bool:
        models = (await place.two.health())["providers"]["openai"]["models"]
        return bool(models.get("big", {}).get("state") == "open")  # the answers may be told before the failures

    await until(heard)
    other = await place.two.model()
    for name in ("state", "why", "since", "until", "failure_rate", "window", "openings", "total_ms"):
        assert other[name] == said[name], name
    # `since` is told in the clock that replicas share, which each of them knows to a few milliseconds.
    assert {**other["totals"], "since": None} == {**said["totals"], "since": None}
    assert other["own"]["totals"].items() >= {"ok": 0, "failed": 0, "since": None}.items()


async def test_a_replica_says_who_it_is_and_when_that_was(place):
    one, two = await place.one.health(), await place.two.health()
    assert (one["replica"], two["replica"]) == ("one", "two")
    assert one["shared"] is two["shared"] is True
    assert one.keys() == two.keys() == {"at", "replica", "shared", "providers"}
    assert one["at"] <= two["at"]
    assert list(one["providers"]) == ["openai", "groq"]


async def test_our_own_way_to_a_provider_is_told_as_this_replicas_own(place):
    await place.one.hear(3, Failure(Kind.UNREACHABLE, "no way"))
    openai = (await place.one.health())["providers"]["openai"]
    assert (openai["own"]["line"]["state"], openai["own"]["line"]["why"]) == ("open", "unreachable")
    assert (openai["state"], openai["models"]["big"]["state"]) == ("closed", "closed")
    assert openai["models"]["big"]["standing"]["scope"] == "line"
    assert (await place.two.health())["providers"]["openai"]["own"]["line"]["state"] == "closed"


async def test_requests_in_flight_are_this_replicas_own(place):
    ticket = await place.one.fleet.begin("openai", "big")
    assert ticket is not None
    place.one.fleet.end(ticket, Outcome())
    assert await place.one.fleet.begin("openai", "big") is not None
    assert (await place.one.model())["in_flight"] == 1


async def test_one_provider_alone(place):
    said = await place.one.health(provider="groq")
    assert said["providers"].keys() == {"groq"}


async def test_a_store_that_is_away_is_said_and_what_is_known_is_told_all_the_same(place):
    await place.one.hear(3)
    await place.away()
    said = await place.one.health()
    assert said["shared"] is False
    assert said["providers"]["openai"]["models"]["big"]["state"] == "open"


# --- reset


async def test_a_reset_through_one_replica_closes_it_on_all(place):
    await place.one.hear(3)
    await place.one.hear(3, model="other")

    async def opened() -> bool:
        models = (await place.two.health())["providers"]["openai"]["models"]
        return len(models) == 2 and all(model["state"] == "open" for model in models.values())

    await until(opened)
    with capture_logs() as logs:
        answer = await place.two.http.post(f"{HEALTH}/openai/reset")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json().keys() == {"reset"}
    assert {"openai/big", "openai/other"} <= set(answer.json()["reset"])
    (line,) = [line for line in logs if line["event"] == "health reset"]
    assert (line["provider"], line["model"], line["reset"]) == ("openai", None, answer.json()["reset"])

    async def closed() -> bool:
        models = (await place.one.health())["providers"]["openai"]["models"]
        return all(model["state"] == "closed" for model in models.values())

    await until(closed)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("big", id="by its name"),
        pytest.param("big-2026-11-01", id="by a dated name of it"),
        pytest.param("openai/big", id="as all answers name it"),
    ],
)
async def test_one_model_alone_is_reset(place, name):
    await place.one.hear(3)
    await place.one.hear(3, model="other")
    answer = await place.one.http.post(f"{HEALTH}/openai/reset", params={"model": name})
    assert answer.json() == {"reset": ["openai/big"]}
    assert (await place.one.model())["state"] == "closed"
    assert (await place.one.model(model="other"))["state"] == "open"


async def test_what_all_unknown_names_are_counted_under_can_be_reset_too(place):
    await place.one.hear(3, model="other")
    answer = await place.one.http.post(f"{HEALTH}/openai/reset", params={"model": "other"})
    assert answer.json() == {"reset": ["openai/other"]}


@pytest.mark.parametrize(
    ("method", "url", "param", "said"),
    [
        pytest.param("GET", f"{HEALTH}?provider=none", "provider", "There are: openai, groq", id="health of nobody"),
        pytest.param("POST", f"{HEALTH}/none/reset", "provider", "There are: openai, groq", id="a reset of nobody"),
        pytest.param("POST", f"{HEALTH}/openai/reset?model=x", "model", "'x' at openai", id="of a model nobody knows"),
        pytest.param("POST", f"{HEALTH}/groq/reset?model=big", "model", "'big' at groq", id="of a model of others"),
        pytest.param("POST", f"{HEALTH}/openai/reset?model=", "model", "'' at openai", id="of a model without a name"),
        pytest.param(
            "GET",
            f"{DECISIONS}/req_9",
            "request_id",
            "'req_9': it is not among the last 3 of this replica (one)",
            id="the decision of a request that is not known here",
        ),
    ],
)
async def test_what_is_not_here_is_a_404_that_says_what_was_looked_for(place, method, url, param, said):
    found = error(await place.one.http.request(method, url), 404)
    assert (found["type"], found["code"], found["param"]) == ("invalid_request_error", f"{param}_not_found", param)
    assert said in found["message"]


async def test_a_reset_that_the_others_cannot_be_told_of_says_so_and_is_done_here(place):
    await place.one.hear(3)
    await place.away()
    with capture_logs() as logs:
        answer = await place.one.http.post(f"{HEALTH}/openai/reset")
    found = error(answer, 503)
    assert (found["type"], found["code"]) == ("server_error", "health_store_unavailable")
    assert "on this replica only (one)" in found["message"]
    assert (await place.one.model())["state"] == "closed"
    assert "health reset here only" in [line["event"] for line in logs]


@pytest.mark.parametrize(
    ("method", "url", "param", "known"),
    [
        pytest.param("POST", f"{HEALTH}/openai/reset?modle=big", "modle", "model", id="a reset of one model, misspelt"),
        pytest.param("POST", f"{HEALTH}/openai/reset?model=big&all=1", "all", "model", id="a reset, and more"),
        pytest.param("GET", f"{HEALTH}?providers=openai", "providers", "provider", id="health"),
        pytest.param("GET", f"{DECISIONS}?n=5", "n", "limit", id="decisions"),
    ],
)
async def test_a_parameter_that_nobody_knows_is_a_400_and_nothing_is_done(place, method, url, param, known):
    await place.one.hear(3)
    found = error(await place.one.http.request(method, url), 400)
    assert (found["type"], found["param"]) == ("invalid_request_error", param)
    assert known in found["message"]
    assert (await place.one.model())["state"] == "open"


# --- decisions


def decided(number: int, **fields: Any) -> Record:
    decision = Decision(strategy="cost", order=("openai/big",))
    return Record(f"req_{number}", 0.0, model="big", status=200, attempts=[], decision=decision, **fields)


async def test_a_decision_is_found_on_the_replica_that_made_it(place):
    place.one.decisions(decided(1, cost_nano=5))
    answer = await place.one.http.get(f"{DECISIONS}/req_1")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    said = answer.json()
    assert (said["replica"], said["request_id"], said["strategy"]) == ("one", "req_1", "cost")
    assert said["cost_usd"] == "0.000000005"
    assert (await place.two.http.get(f"{DECISIONS}/req_1")).status_code == 404


async def test_the_latest_decisions_come_last_one_first(place):
    for number in range(5):
        place.one.decisions(decided(number))
    said = (await place.one.http.get(DECISIONS)).json()
    assert (said["replica"], said["kept"]) == ("one", 3)
    assert [one["request_id"] for one in said["decisions"]] == ["req_4", "req_3", "req_2"]
    said = (await place.one.http.get(DECISIONS, params={"limit": "1"})).json()
    assert [one["request_id"] for one in said["decisions"]] == ["req_4"]


async def test_without_a_word_twenty_are_listed(tmp_path):
    async with replica(SqliteStore(tmp_path / "store.db"), "one") as one:
        many = Decisions(100, wall=time.time)
        one.http._transport.app.state.decisions = many  # type: ignore[attr-defined]  # httpx names no such thing
        for number in range(40):
            many(decided(number))
        assert len((await one.http.get(DECISIONS)).json()["decisions"]) == LATEST == 20


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1001", ""])
async def test_a_limit_that_is_none_is_a_400(place, limit):
    assert error(await place.one.http.get(DECISIONS, params={"limit": limit}), 400)["param"] == "limit"
