"""The description of the doors against a real server: what it answers is what is described, whatever is asked of it.

Schemathesis makes requests of the description, right ones and wrong ones; the same ones in each run.
"""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import openai
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from proxy.admin.doors import DOORS, JSON
from proxy.simulator.client import Simulator
from tests.tollhouse import Tollhouse, environ_of

BOUNDED = settings(  # requests of each kind at each door
    max_examples=20, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
ADMIN, CLIENT = "admin-key-of-a-test", "client-key-of-a-test"
BEARER = {"admin": ADMIN, "scraper": ADMIN, "client": CLIENT, "anybody": ADMIN}
CONFIG = "retries: {rounds: 1, queue: 0}\nlimits: {body: 65536}\nbudgets: [{daily: 5, user: '*'}, {monthly: 90}]\n"
CHECKED = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
GUESSED = "POST /dashboard/session"
# Doors at which a wrong request cannot be told from a right one: the description has nothing that it could break.
ANYTHING_GOES = {
    *("GET /openapi.json", "GET /healthz", "GET /readyz", "GET /metrics", "GET /v1/models", "GET /dashboard/session"),
    *("DELETE /dashboard/session", "GET /v1/models/{model_id}", "GET /providers/decisions/{request_id}"),
}


@pytest.fixture(scope="module")
def house() -> Iterator[Tollhouse]:
    """A server that has seen traffic, a failure and what was said of an answer."""
    with Simulator.start() as vendors:
        keys = {"TOLLHOUSE_ADMIN_KEY": ADMIN, "TOLLHOUSE_CLIENT_KEYS": CLIENT}
        with Tollhouse.start({**environ_of(vendors), **keys}, config=CONFIG) as house:
            with openai.OpenAI(base_url=f"{house.url}/v1", api_key=CLIENT, max_retries=0) as client:
                _visit(vendors, client)
            yield house


def _visit(vendors: Simulator, client: openai.OpenAI) -> None:
    ask: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}
    for model in ("gpt-4o-mini", "claude-sonnet-5-5", "auto"):
        answer = client.chat.completions.with_raw_response.create(model=model, user="alice", **ask)
    judged = {"request_id": answer.headers["x-request-id"], "score": 0.5, "comment": "Fair."}
    assert client.post("/feedback", body=judged, cast_to=httpx.Response).status_code == 200
    for part in client.chat.completions.create(model="gpt-4o-mini", stream=True, **ask):
        assert part.id
    vendors.fault("openai", "status", status=500, times=6)
    for _ in range(6):
        client.chat.completions.create(model="gpt-4o-mini", **ask)
    vendors.fault("anthropic", "status", status=429, retry_after=30, times=1)
    with pytest.raises(openai.APIStatusError):
        client.chat.completions.create(model="anthropic/claude-sonnet-5-5", **ask)


@pytest.fixture(scope="module")
def porch() -> Iterator[Tollhouse]:
    """Another one, for whoever guesses keys: after ten wrong ones no key is looked at."""
    with Tollhouse.start({"OPENAI_API_KEY": "sk-none", "TOLLHOUSE_ADMIN_KEY": ADMIN}) as porch:
        yield porch


@pytest.fixture(scope="module")
def described(house: Tollhouse, porch: Tollhouse) -> Callable[[str], schemathesis.APIOperation]:
    at_house, at_porch = (schemathesis.openapi.from_url(f"{one.url}/openapi.json") for one in (house, porch))

    def described(name: str) -> schemathesis.APIOperation:
        method, _, path = name.partition(" ")
        return (at_porch if name == GUESSED else at_house)[path][method]

    return described


def headers(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {BEARER[DOORS[name].who]}"}


def checks(*names: str) -> list[Any]:
    return CHECKS.get_by_names(names)


@pytest.mark.parametrize("name", DOORS)
def test_a_right_request_is_answered_as_described(described, name):
    @BOUNDED
    @given(described(name).as_strategy())
    def answered(case: schemathesis.Case) -> None:
        answer = case.call_and_validate(headers=headers(name), checks=checks(*CHECKED))
        assert answer.status_code not in (401, 403) or name == GUESSED

    answered()


@pytest.mark.parametrize("name", sorted(DOORS.keys() - ANYTHING_GOES))
def test_a_wrong_request_is_refused_as_described(described, name):
    @BOUNDED
    @given(described(name).as_strategy(GenerationMode.NEGATIVE))
    def refused(case: schemathesis.Case) -> None:
        answer = case.call_and_validate(headers=headers(name), checks=checks(*CHECKED, "negative_data_rejection"))
        assert answer.status_code not in (401, 403, 429) or name == GUESSED

    refused()


@pytest.mark.parametrize("name", [name for name, door in DOORS.items() if door.who != "anybody"])
def test_no_door_opens_without_its_key(house, name):
    if name == "GET /metrics":
        return  # on this machine it is open
    method, _, path = name.partition(" ")
    url = house.url + path.format(provider="openai", request_id="req_1", name="ci", model_id="gpt-4o-mini")
    for wrong in ({}, {"cookie": "tollhouse_session=9999999999.9.9"}):
        answer = httpx.request(method, url, headers=wrong)
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.status_code == 401


@pytest.mark.parametrize("name", [name for name in DOORS if name.startswith("GET") and JSON in DOORS[name].answers])
def test_an_answer_has_what_is_described_and_nothing_more(house, name):
    """Read strictly, by the types that the description is made of."""
    path = name.partition(" ")[2]
    with httpx.Client(base_url=house.url, headers=headers(name)) as http:
        latest = http.get("/providers/decisions", headers=headers("GET /keys")).json()["decisions"][0]["request_id"]
        if name == "GET /keys/{name}":
            http.post("/keys", json={"name": "strict", "expires": "9d", "daily": "2", "models": ["gpt-*"]})
        answer = http.get(path.format(request_id=latest, name="strict", model_id="gpt-4o-mini"))
    assert answer.status_code == 200, answer.text
    said = msgspec.json.decode(answer.content, type=DOORS[name].answers[JSON])
    assert said


def test_the_export_as_a_table_is_described_too(house):
    """Its columns are those of a row."""
    table = httpx.get(f"{house.url}/providers/costs/export?format=csv", headers=headers("GET /keys"))
    assert table.headers["content-type"].startswith("text/csv")
    (row,) = DOORS["GET /providers/costs/export"].answers[JSON].__args__
    assert table.text.splitlines()[0].split(",") == list(row.__struct_fields__)
