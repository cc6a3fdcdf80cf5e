"""The doors: addresses, methods, keys, and errors in OpenAI's shape whatever is asked."""

from collections.abc import Iterator

import httpx
import pytest

from proxy.simulator.client import Simulator
from tests.conftest import LIMITS, environ_of
from tests.tollhouse import Tollhouse

FOUR = {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/v1/nothing", 404),
        ("GET", "/", 404),
        ("GET", "/v1/models/no/such:model", 404),
        ("GET", "/v1/models/%2e%2e%2fetc", 404),
    ],
)
def test_what_is_not_there_is_said_in_openais_shape(http: httpx.Client, method: str, path: str, status: int) -> None:
    answer = http.request(method, path)
    assert answer.status_code == status
    assert answer.json().keys() == {"error"}
    assert answer.json()["error"].keys() == FOUR
    assert (status == 405) == ("allow" in answer.headers)


def test_the_doors_for_machines_are_open(http: httpx.Client) -> None:
    assert (http.get("/healthz").status_code, http.get("/healthz").text) == (200, "ok")
    assert (http.get("/readyz").status_code, http.get("/readyz").text) == (200, "ready")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"\xff\xfe", None),
        (b"{}", "model"),
        (b'{"model": 5}', "model"),
        (b'{"model": "gpt-4o", "stream": "yes"}', "stream"),
        (b'{"model": "gpt-4o", "stream_options": {"include_usage": true}}', "stream_options"),
        (b'{"model": "\\ud800"}', None),
        (b"[" * 100_000, None),
    ],
)
def test_a_bad_body_is_the_callers_400(http: httpx.Client, simulator: Simulator, body: bytes, param: str) -> None:
    answer = http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].keys() == FOUR
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["param"] == param
    assert simulator.requests() == []


def test_a_body_that_is_too_large_is_a_413(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", content=b" " * 1_048_577)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


@pytest.fixture(scope="module")
def locked(_simulator: Simulator) -> Iterator[Tollhouse]:
    keys = {"TOLLHOUSE_CLIENT_KEYS": "key-one, key-two", "TOLLHOUSE_ADMIN_KEY": "admin"}
    with Tollhouse.start({**environ_of(_simulator), **keys}, config=LIMITS) as tollhouse:
        yield tollhouse


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/v1/models/gpt-4o")],
)
@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer", 401),
        ("Basic key-one", 401),
        ("Bearer key-one,key-two", 401),
        ("Bearer key-one", 200),
        ("bearer key-two", 200),
    ],
)
def test_alocked_door_opens_for_its_keys_only(
    locked: Tollhouse, simulator: Simulator, method: str, path: str, authorization: str | None, status: int
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]} if method == "POST" else None
    answer = httpx.request(method, locked.url + path, headers=headers, json=body)
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert simulator.requests() == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="a program"),
        pytest.param({"sec-fetch-site": "same-origin"}, 200, id="a page of our own"),
        pytest.param({"sec-fetch-site": "none"}, 200, id="a person"),
        pytest.param({"sec-fetch-site": "cross-site", "origin": "https://evil.test"}, 403, id="a page of another site"),
        pytest.param({"sec-fetch-site": "same-site"}, 403, id="another port of this machine"),
        pytest.param({"origin": "https://evil.test"}, 403, id="an old browser"),
        pytest.param({"origin": "null"}, 403, id="a page that hides where it is from"),
        pytest.param(
            {"host": "rebound.test:8080", "origin": "http://rebound.test:8080"},
            403,
            id="a page whose name was made to lead to this machine",
        ),
        pytest.param({"host": "tollhouse.test"}, 200, id="a program that has another name for this machine"),
    ],
)
def test_where_no_key_is_wanted_pages_of_others_spend_nothing(
    http: httpx.Client, headers: dict[str, str], status: int
) -> None:
    body = '{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}'
    answer = http.post("/v1/chat/completions", headers={"content-type": "text/plain", **headers}, content=body)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["code"] == "cross_site_request"
