"""The way of a request through real processes: who is asked, in which order, and what the client sees when it fails."""

import asyncio
import json
import re
import time
from decimal import Decimal
from itertools import islice
from typing import Any

import httpx
import openai
import pytest

from proxy.gate import Aftermath, _named
from proxy.simulator.client import Simulator
from proxy.telemetry import Record
from tests.tollhouse import Tollhouse

MODELS = {"openai": "gpt-6.1-sol", "anthropic": "claude-sonnet-5-5", "gemini": "gemini-3.8-flash"}
ASK: list[Any] = [{"role": "user", "content": "words 20"}]

BEFORE_THE_FIRST_PART: list[tuple[str, dict[str, Any]]] = [
    ("refuse", {}),
    ("reset", {}),
    ("hang", {}),
    ("hang_headers", {}),
    ("garbage", {}),
    ("empty", {}),
    ("html", {}),
    ("redirect", {}),
    ("error_event", {"after_events": 0}),
    ("hang_midstream", {"after_events": 0}),
    ("cut", {"after_events": 0}),
    ("cut_clean", {"after_events": 0}),
    *[("status", {"status": status}) for status in (401, 403, 429, 500, 502, 503, 504)],
]
PLAIN_TOO = [(fault, more) for fault, more in BEFORE_THE_FIRST_PART if "after_events" not in more]
AFTER_THE_FIRST_PART = ["cut", "cut_clean", "error_event", "hang_midstream"]


def ids(cases: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [" ".join([fault, *map(str, more.values())]) for fault, more in cases]


@pytest.mark.parametrize("vendor", MODELS)
@pytest.mark.parametrize(("fault", "more"), PLAIN_TOO, ids=ids(PLAIN_TOO))
def test_a_vendor_that_fails_is_replaced_by_another(
    simulator: Simulator, client: openai.OpenAI, vendor: str, fault: str, more: dict[str, Any]
) -> None:
    simulator.fault(vendor, fault, **more)
    answer = client.chat.completions.with_raw_response.create(model=MODELS[vendor], messages=ASK)
    assert answer.headers["x-tollhouse-provider"] != vendor
    assert answer.headers["x-tollhouse-attempts"] == "2"
    assert len((answer.parse().choices[0].message.content or "").split()) == 20


@pytest.mark.parametrize("vendor", MODELS)
@pytest.mark.parametrize(("fault", "more"), BEFORE_THE_FIRST_PART, ids=ids(BEFORE_THE_FIRST_PART))
def test_a_vendor_that_fails_before_the_first_part_of_a_stream_is_replaced_by_another(
    simulator: Simulator, client: openai.OpenAI, vendor: str, fault: str, more: dict[str, Any]
) -> None:
    simulator.fault(vendor, fault, **more)
    answer = client.chat.completions.with_raw_response.create(model=MODELS[vendor], messages=ASK, stream=True)
    assert answer.headers["x-tollhouse-provider"] != vendor
    text = "".join(chunk.choices[0].delta.content or "" for chunk in answer.parse())
    assert len(text.split()) == 20


@pytest.mark.parametrize("vendor", MODELS)
@pytest.mark.parametrize("fault", AFTER_THE_FIRST_PART)
def test_a_vendor_that_breaks_off_after_the_first_part_is_an_error_never_a_clean_end(
    simulator: Simulator, http: httpx.Client, client: openai.OpenAI, vendor: str, fault: str
) -> None:
    simulator.fault(vendor, fault, after_events=6)
    model = f"{vendor}/{MODELS[vendor]}"  # pinned: else, on a busy machine, another may serve
    body = {"model": model, "messages": ASK, "stream": True}
    raw = http.post("/v1/chat/completions", json=body)
    assert raw.status_code == 200
    assert raw.headers["x-tollhouse-provider"] == vendor
    events = raw.text.removesuffix("\n\n").split("\n\n")
    assert len(events) > 1
    assert set(json.loads(events[-1].removeprefix("data: "))["error"]) >= {"message", "type", "param", "code"}
    assert "[DONE]" not in raw.text
    assert '"finish_reason":"' not in raw.text
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model=model, messages=ASK, stream=True))


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("vendor", MODELS)
def test_the_callers_fault_is_taken_to_nobody_else(
    simulator: Simulator, http: httpx.Client, vendor: str, stream: bool
) -> None:
    simulator.fault(vendor, "status", status=400)
    answer = http.post("/v1/chat/completions", json={"model": MODELS[vendor], "messages": ASK, "stream": stream})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert {v: len(simulator.requests(v)) for v in MODELS} == {v: int(v == vendor) for v in MODELS}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_what_the_asked_vendor_cannot_honour_is_refused_before_anything_is_sent(
    simulator: Simulator, http: httpx.Client, stream: bool
) -> None:
    body = {"model": MODELS["anthropic"], "messages": ASK, "stream": stream, "n": 2}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_parameter"
    assert answer.json()["error"]["param"] == "n"
    assert simulator.requests() == []


def test_a_fallback_never_loses_what_it_cannot_honour(simulator: Simulator, http: httpx.Client) -> None:
    simulator.fault("openai", "status", status=500)
    answer = http.post("/v1/chat/completions", json={"model": "gpt-4o", "messages": ASK, "n": 2})
    assert answer.headers["x-tollhouse-attempts"] >= "2"
    assert simulator.requests("anthropic") == []
    assert simulator.requests("gemini")[0]["body"]["generationConfig"]["candidateCount"] == 2


def test_all_down_is_one_error_that_says_not_to_ask_again(simulator: Simulator, http: httpx.Client) -> None:
    for vendor in MODELS:
        simulator.fault(vendor, "status", status=500)
    answer = http.post("/v1/chat/completions", json={"model": "gpt-6.1-sol", "messages": ASK})
    assert answer.status_code == 502
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-tollhouse-attempts"] == "3"


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"status": 401}], ids=str)
def test_a_client_that_retries_by_itself_does_not_multiply_the_load(
    simulator: Simulator, tollhouse: Tollhouse, fault: dict[str, Any]
) -> None:
    """Trap 57: every vendor is asked once, and `x-should-retry` keeps the SDK from asking again."""
    for vendor in MODELS:
        simulator.fault(vendor, "status", **fault)
    with (
        openai.OpenAI(base_url=f"{tollhouse.url}/v1", api_key="k", max_retries=2) as client,
        pytest.raises(openai.InternalServerError),
    ):
        client.chat.completions.create(model="gpt-6.1-sol", messages=ASK)
    assert {vendor: len(simulator.requests(vendor)) for vendor in MODELS} == dict.fromkeys(MODELS, 1)


def test_all_rate_limited_is_a_429_with_the_soonest_hour(simulator: Simulator, http: httpx.Client) -> None:
    for vendor, wait in (("openai", 30), ("anthropic", 7), ("gemini", 20)):
        simulator.fault(vendor, "status", status=429, retry_after=wait)
    answer = http.post("/v1/chat/completions", json={"model": "gpt-6.1-sol", "messages": ASK})
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "7"


def test_our_own_bad_key_is_never_shown_as_the_clients(simulator: Simulator, http: httpx.Client) -> None:
    for vendor in MODELS:
        simulator.fault(vendor, "status", status=401)
    answer = http.post("/v1/chat/completions", json={"model": "openai/gpt-4o", "messages": ASK})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "upstream_auth_error"


@pytest.mark.parametrize("stream", [False, True], ids=["before the first byte", "in the stream"])
@pytest.mark.parametrize("vendor", MODELS)
def test_a_client_that_leaves_closes_the_vendors_connection_within_a_second(
    simulator: Simulator, tollhouse: Tollhouse, vendor: str, stream: bool
) -> None:
    """Trap 22."""
    if stream:
        simulator.fault(vendor, "hang_midstream", after_events=6)
    else:
        simulator.fault(vendor, "hang")
    body = {"model": MODELS[vendor], "messages": ASK, "stream": stream}
    with httpx.Client(base_url=tollhouse.url, timeout=10) as leaver:
        if stream:
            with leaver.stream("POST", "/v1/chat/completions", json=body) as answer:
                assert next(answer.iter_raw())
        else:
            request = leaver.build_request("POST", "/v1/chat/completions", json=body)
            with pytest.raises(httpx.ReadTimeout):
                leaver.send(_with_timeout(request, 0.3))
    assert simulator.wait(vendor, in_progress=0, timeout=1)


def _with_timeout(request: httpx.Request, seconds: float) -> httpx.Request:
    request.extensions["timeout"] = {"connect": 5, "read": seconds, "write": 5, "pool": 5}
    return request


def test_a_client_that_leaves_is_logged_as_such_and_no_other_vendor_is_asked(
    simulator: Simulator, tollhouse: Tollhouse
) -> None:
    simulator.fault("gemini", "hang_midstream", after_events=3)
    body = {"model": MODELS["gemini"], "messages": ASK, "stream": True, "user": "a-leaver"}
    with (
        httpx.Client(base_url=tollhouse.url) as leaver,
        leaver.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        assert next(answer.iter_raw())
    line = tollhouse.wait_log("request", user="a-leaver")
    assert (line["status"], line["code"]) == (499, "client_left")
    assert line["provider"] == "gemini"
    assert simulator.requests("openai") == simulator.requests("anthropic") == []


def test_vendor_connections_are_used_again(simulator: Simulator, client: openai.OpenAI) -> None:
    for stream in (False, True, False, True):
        for model in MODELS.values():
            answer = client.chat.completions.create(model=model, messages=ASK, stream=stream)
            if stream:
                list(answer)
    assert {vendor: open["connections"] for vendor, open in simulator.open().items()} == dict.fromkeys(MODELS, 1)


def test_the_clients_key_stays_here_and_the_vendors_key_stays_there(simulator: Simulator, http: httpx.Client) -> None:
    for model in MODELS.values():
        answer = http.post(
            "/v1/chat/completions",
            json={"model": model, "messages": ASK},
            headers={"authorization": "Bearer client-canary", "x-api-key": "client-canary"},
        )
        assert "canary" not in answer.text + str(answer.headers)
    assert "client-canary" not in json.dumps(simulator.requests())


def test_the_answer_names_who_served_and_what_was_dropped(http: httpx.Client) -> None:
    body = {"model": "claude-sonnet-5-5", "messages": ASK, "seed": 5, "temperature": 0.3}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.headers["x-tollhouse-provider"] == "anthropic"
    assert answer.headers["x-tollhouse-model"] == "claude-sonnet-5-5"
    assert answer.headers["x-tollhouse-warnings"] == "dropped=seed,temperature"
    assert answer.headers["x-tollhouse-dropped-params"] == "seed,temperature"
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-upstream-request-id"]


def test_openai_to_openai_arrives_and_returns_byte_for_byte(simulator: Simulator, http: httpx.Client) -> None:
    choice = b'{"index":0,"message":{"role":"assistant","content":"\\u00e4"},"finish_reason":"stop"}'
    answer = b'{"id":"x", "choices":[' + choice + b'],"usage":null,"new":1.50}'
    simulator.script("openai", {"raw": answer.decode(), "raw_headers": {"content-type": "application/json"}})
    body = '{ "model" : "gpt-4o","temperature":1.50,  "messages":[{"role":"user","content":"h\\u00e9"}]}'
    got = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert got.content == answer
    assert simulator.requests("openai")[0]["raw"] == body


@pytest.mark.parametrize("vendor", ["anthropic", "gemini"])
def test_images_by_https_url_reach_each_vendor_in_the_form_it_takes(
    simulator: Simulator, client: openai.OpenAI, vendor: str
) -> None:
    parts: Any = [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,iVBORw0KGgo="}},
    ]
    client.chat.completions.create(model=MODELS[vendor], messages=[{"role": "user", "content": parts}])
    assert "image/png" in json.dumps(simulator.requests(vendor)[0]["body"])


@pytest.mark.parametrize(
    ("model", "per_token"),
    [
        ("gpt-6.1-sol", (2_000, 10_000)),
        ("claude-sonnet-5-5", (2_000, 10_000)),
        ("gemini-3.5-flash-lite", (300, 2_500)),
    ],
)
def test_the_cost_is_told_exactly(
    simulator: Simulator, tollhouse: Tollhouse, client: openai.OpenAI, model: str, per_token: tuple[int, int]
) -> None:
    said = client.chat.completions.with_raw_response.create(model=model, messages=ASK, user=f"payer of {model}")
    usage = said.parse().usage
    assert usage is not None
    nano = usage.prompt_tokens * per_token[0] + usage.completion_tokens * per_token[1]
    assert Decimal(said.headers["x-tollhouse-cost-usd"]) * 10**9 == nano
    assert tollhouse.wait_log("request", user=f"payer of {model}")["cost_nano"] == nano


def test_a_price_that_nobody_knows_is_not_told_as_free(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", json={"model": "gpt-9-unheard-of", "messages": ASK})
    assert answer.status_code == 200
    assert "x-tollhouse-cost-usd" not in answer.headers


# ---- what requests are called ---------------------------------------------------------------------------------------


def test_names_are_each_other_than_all_others_and_begin_with_their_time() -> None:
    began = time.time_ns() // 1_000_000
    names = list(islice(_named(), 200))
    over = time.time_ns() // 1_000_000
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)
    assert len({name[12:] for name in names}) == 200, "by chance alone"
    times = [int(name[:12], 16) for name in names]
    assert times == sorted(times)
    assert began <= times[0]
    assert times[-1] <= over


# ---- those who hear of requests that are over -----------------------------------------------------------------------


async def test_of_requests_that_end_in_one_turn_all_hear_together_when_it_is_over() -> None:
    heard: list[tuple[str, list[str]]] = []
    over = Aftermath(
        lambda records: heard.append(("one", [record.request_id for record in records])),
        lambda records: heard.append(("other", [record.request_id for record in records])),
    )
    over(Record("a", 0.0))
    over(Record("b", 0.0))
    assert heard == []
    await asyncio.sleep(0)
    assert heard == [("one", ["a", "b"]), ("other", ["a", "b"])]
    over(Record("c", 0.0))
    await asyncio.sleep(0)
    assert heard[2:] == [("one", ["c"]), ("other", ["c"])]
    await asyncio.sleep(0)
    assert len(heard) == 4


def test_where_there_is_no_loop_they_hear_at_once() -> None:
    heard: list[str] = []
    over = Aftermath(lambda records: heard.extend(record.request_id for record in records))
    over(Record("a", 0.0))
    over(Record("b", 0.0))
    assert heard == ["a", "b"]
