"""One client must not be able to take a vendor, or a model, out for all others: real processes, and one that tries."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from proxy.simulator.client import Simulator
from tests.conftest import environ_of
from tests.tollhouse import Tollhouse

CLAUDE, GEMINI = "claude-sonnet-5-5", "gemini-3.8-flash"
TIMEOUTS = "timeouts: {connect: 2, first_byte: 5, first_byte_plain: 5, idle: 5, total: 30}\n"


@pytest.fixture(scope="module")
def house(_simulator: Simulator) -> Iterator[Tollhouse]:
    """With everything as it is when nobody has configured anything, but for the patience of a test."""
    with Tollhouse.start(environ_of(_simulator), config=TIMEOUTS) as house:
        yield house


@pytest.fixture
def door(house: Tollhouse, simulator: Simulator) -> Iterator[httpx.Client]:
    house.heal()
    with httpx.Client(base_url=house.url, timeout=20) as door:
        yield door


def ask(
    door: httpx.Client, model: str, text: str = "hi", headers: Mapping[str, Any] | None = None, **body: Any
) -> httpx.Response:
    said = {"model": model, "messages": [{"role": "user", "content": text}], **body}
    return door.post("/v1/chat/completions", json=said, headers=headers)


def provider(door: httpx.Client, name: str) -> dict[str, Any]:
    found: dict[str, Any] = door.get("/providers/health", params={"provider": name}).json()["providers"][name]
    return found


def test_a_huge_request_that_is_never_sent_keeps_nobody_else_from_the_model(simulator, door):
    simulator.limit("anthropic", model=CLAUDE, input_tokens=(10_000, 60_000))
    assert ask(door, CLAUDE).headers["x-tollhouse-provider"] == "anthropic"
    assert provider(door, "anthropic")["models"][CLAUDE]["limits"]["input_tokens"]["limit"] == 10_000
    simulator.clear_requests()

    refused = ask(door, f"anthropic/{CLAUDE}", "word " * 9_000, n=3)

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "n")
    assert simulator.requests("anthropic") == []
    assert ask(door, f"anthropic/{CLAUDE}").status_code == 200, "a pinned one waits for moments, not for minutes"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"fault": "redirect"}, id="an address that leads elsewhere"),
        pytest.param({"fault": "status", "error": "permission"}, id="no permission"),
        pytest.param({"fault": "status", "error": "insufficient_quota"}, id="no quota"),
        pytest.param({"fault": "status", "error": "model_not_found"}, id="no such model"),
    ],
)
def test_a_name_that_a_client_made_up_takes_no_vendor_out(simulator, door, fault):
    simulator.fault("gemini", model="gemini-nonsense", **fault)

    for name in ("gemini/gemini-nonsense", "gemini-nonsense-2026-01-01"):
        assert ask(door, name).status_code >= 400

    assert provider(door, "gemini")["state"] == "closed"
    assert ask(door, GEMINI).headers["x-tollhouse-provider"] == "gemini"


def test_names_that_nobody_knows_are_one_model_in_all_that_is_kept(simulator, door):
    for n in range(50):
        ask(door, f"openai/made-up-{n}")

    assert {name for name in provider(door, "openai")["models"] if "made-up" in name} == set()
    assert "other" in provider(door, "openai")["models"]


@pytest.mark.parametrize(
    "error", ["content_policy", "content_filter", "invalid_prompt", "context_length", "bad_request", "too_large"]
)
def test_what_a_prompt_can_bring_about_says_nothing_of_the_vendor(simulator, door, error):
    simulator.fault("openai", "status", error=error)

    for _ in range(12):
        assert 400 <= ask(door, "openai/gpt-4o").status_code < 500

    simulator.clear()
    told = provider(door, "openai")
    assert (told["state"], told["models"]["gpt-4o"]["state"]) == ("closed", "closed")
    assert ask(door, "gpt-4o").headers["x-tollhouse-provider"] == "openai"


@pytest.mark.parametrize("patience", ["0.000001", "0.001", "0.05"])
def test_impatient_clients_blame_nobody(simulator, door, patience):
    simulator.fault("openai", "slow", delay_ms=500)

    for _ in range(12):
        assert ask(door, "openai/gpt-4o", headers={"x-tollhouse-timeout": patience}).status_code == 504

    simulator.clear()
    told = provider(door, "openai")
    assert (told["state"], told["own"]["line"]["state"]) == ("closed", "closed")
    assert told["models"].get("gpt-4o", {}).get("state", "closed") == "closed"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-tollhouse-user": "u" * 10_000},
        {"x-tollhouse-user": b"\xff\xfe\x80"},
        {"x-tollhouse-task": "x" * 1_000},
        {"x-tollhouse-priority": "; DROP TABLE"},
        {"x-tollhouse-timeout": "nan"},
        {"x-tollhouse-timeout": "-1"},
        {"x-tollhouse-timeout": "1e400"},
        {"x-tollhouse-timeout": "soon"},
    ],
    ids=lambda headers: f"{next(iter(headers.items()))!r:.50}",
)
def test_whatever_the_headers_say_a_request_is_served(simulator, door, headers):
    assert ask(door, "gpt-4o", headers=headers).status_code == 200


def test_words_of_a_client_that_a_vendor_repeats_are_no_words_of_the_vendor(simulator, door):
    image = {"type": "image_url", "image_url": {"url": "data:image/api key expired;base64,AAAA"}}
    said = {"model": f"gemini/{GEMINI}", "messages": [{"role": "user", "content": [image]}]}

    refused = door.post("/v1/chat/completions", json=said)

    assert (refused.status_code, "image/api key expired" in refused.text) == (400, True)
    assert provider(door, "gemini")["state"] == "closed"
    assert ask(door, GEMINI).headers["x-tollhouse-provider"] == "gemini"


GPT = "gpt-4o"


def test_what_was_never_sent_takes_nothing_from_a_limit(simulator, door):
    simulator.limit("anthropic", model=CLAUDE, input_tokens=(10_000, 60_000))
    ask(door, CLAUDE)
    assert provider(door, "anthropic")["models"][CLAUDE]["limits"]["input_tokens"]["limit"] == 10_000
    for _ in range(3):
        ask(door, f"anthropic/{CLAUDE}", "word " * 9_000, n=3)  # refused here: it is never sent
    assert ask(door, CLAUDE).headers["x-tollhouse-provider"] == "anthropic"


def test_one_request_is_one_witness(simulator, door):
    simulator.fault("openai", "status", status=500, model=GPT)
    for _ in range(3):  # five failures in a row are needed
        ask(door, f"openai/{GPT}")
    assert provider(door, "openai")["models"][GPT]["state"] == "closed"


def test_who_does_not_read_blames_nobody_and_does_not_stay_for_ever(simulator: Simulator):
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": GPT}
    line = json.dumps({**chunk, "choices": [{"index": 0, "delta": {"content": "y" * 50_000}, "finish_reason": None}]})
    raw = {"raw": f"data: {line}\n\n" * 200, "raw_headers": {"content-type": "text/event-stream"}}
    with Tollhouse.start(environ_of(simulator), config=TIMEOUTS.replace("total: 30", "total: 2")) as slow:
        simulator.script("openai", *[raw] * 5)
        body = json.dumps({"model": f"openai/{GPT}", "stream": True, "messages": [{"role": "user", "content": "hi"}]})
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
        readers = []
        for _ in range(5):
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            reader.connect(("127.0.0.1", slow.port))
            reader.sendall(f"{head}\r\n{body}".encode())
            readers.append(reader)
        over = threading.Event()  # never set: it paces the looking
        while sum(line["event"] == "request" for line in slow.logs) < len(readers):
            assert not over.wait(0.05)
        for reader in readers:
            reader.close()
        with httpx.Client(base_url=slow.url) as client:
            told = provider(client, "openai")["models"][GPT]
        assert (told["state"], told["totals"]["failed"]) == ("closed", 0)
