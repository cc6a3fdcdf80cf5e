"""What a client says of an answer: through the door, into the ledger, and out again in statistics and export."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from proxy.simulator.client import Simulator
from tests.conftest import ONCE, TIMEOUTS
from tests.tollhouse import Tollhouse, environ_of

ADMIN = {"authorization": "Bearer admin-key"}
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def house() -> Iterator[httpx.Client]:
    keys = {"TOLLHOUSE_CLIENT_KEYS": "first-key,second-key", "TOLLHOUSE_ADMIN_KEY": "admin-key"}
    with (
        Simulator.start() as simulator,
        Tollhouse.start({**environ_of(simulator), **keys}, config=TIMEOUTS + ONCE) as tollhouse,
        httpx.Client(base_url=tollhouse.url, timeout=20) as http,
    ):
        yield http


def asked(house: httpx.Client, key: str = "first-key", **more: Any) -> str:
    """The id of a request that is over."""
    headers = {"authorization": f"Bearer {key}"}
    answer = house.post("/v1/chat/completions", headers=headers, json={"model": "gpt-4o", "messages": HELLO, **more})
    assert answer.status_code == 200
    return answer.headers["x-request-id"]


def said(house: httpx.Client, key: str = "first-key", **body: Any) -> httpx.Response:
    return house.post("/v1/feedback", headers={"authorization": f"Bearer {key}"}, json=body)


def row(house: httpx.Client, request: str) -> dict[str, Any]:
    export = house.get("/providers/costs/export", headers=ADMIN).json()
    (found,) = [one for one in export if one["request"] == request]
    return dict(found)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_is_said_of_an_answer_stands_beside_its_row(house: httpx.Client, stream: bool) -> None:
    request = asked(house, stream=stream)
    answer = said(house, request_id=request, score=0.5, comment="nearly")
    assert answer.status_code == 200
    assert answer.json() == {"object": "feedback", "request_id": request, "score": 0.5, "comment": "nearly"}
    assert (row(house, request)["score"], row(house, request)["comment"]) == (0.5, "nearly")
    assert said(house, request_id=request, score=-1).status_code == 200
    assert (row(house, request)["score"], row(house, request)["comment"]) == (-1, "")


def test_it_is_counted_in_the_statistics(house: httpx.Client) -> None:
    before = house.get("/providers/costs/stats", headers=ADMIN).json()["totals"]["feedback"]["count"]
    said(house, request_id=asked(house), score=1)
    assert house.get("/providers/costs/stats", headers=ADMIN).json()["totals"]["feedback"]["count"] == before + 1


def test_nobody_judges_the_requests_of_another_key(house: httpx.Client) -> None:
    request = asked(house)
    answer = said(house, "second-key", request_id=request, score=-1)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "request_not_found")
    assert row(house, request)["score"] is None


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        pytest.param({"request_id": "req_nobody", "score": 1}, 404, "request_id", id="a request that there is not"),
        pytest.param({"score": 1}, 400, "request_id", id="no request"),
        pytest.param({"request_id": "req_x"}, 400, "score", id="no score"),
        pytest.param({"request_id": "req_x", "score": 2}, 400, "score", id="too good"),
        pytest.param({"request_id": "req_x", "score": "good"}, 400, "score", id="a word"),
        pytest.param({"request_id": "req_x", "score": 1, "stars": 5}, 400, "stars", id="more than was asked"),
        pytest.param({"request_id": "req_x", "score": 1, "comment": "a" * 40_000}, 413, None, id="a novel"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_words(
    house: httpx.Client, body: dict[str, Any], status: int, param: str | None
) -> None:
    answer = said(house, **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert set(error) == {"message", "type", "param", "code"}


def test_who_has_no_key_says_nothing(house: httpx.Client) -> None:
    assert said(house, "no-key", request_id="req_x", score=1).status_code == 401
