"""Vendors that speak OpenAI's format, through the whole proxy.

A second simulator plays them, with the golden files for scripts of how they deviate.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from proxy.simulator.client import Simulator
from tests.conftest import ONCE, TIMEOUTS
from tests.tollhouse import Tollhouse, run

GOLDEN = Path(__file__).parent / "adapters" / "golden" / "openai"
USER = [{"role": "user", "content": "Hi"}]
CONFIG = """
providers:
  - name: groq
    base_url: {url}
    models:
      - model: gpt-4o-groq
        class: fast
        preferred: true
        limits: {{context: 131072, max_output: 32768}}
        prices: [{{source: x, per_mtok: {{input: "0.59", output: "0.79"}}}}]
  - {{name: mistral, base_url: "{url}"}}
  - {{name: ollama, base_url: "{url}"}}
  - {{name: deepseek, base_url: "{url}"}}
  - {{name: azure-eu, preset: azure, base_url: "{url}", key: EU_KEY}}
"""
ENVIRON = {"GROQ_API_KEY": "gsk-canary", "MISTRAL_API_KEY": "mistral-canary", "EU_KEY": "azure-canary"}


@pytest.fixture(scope="module")
def _others() -> Iterator[Simulator]:
    with Simulator.start() as others:
        yield others


@pytest.fixture
def others(_others: Simulator) -> Simulator:
    _others.reset()
    return _others


@pytest.fixture(scope="module")
def _house(_simulator: Simulator, _others: Simulator) -> Iterator[Tollhouse]:
    ours = {"OPENAI_API_KEY": "sk-openai-canary", "OPENAI_BASE_URL": _simulator.openai}
    with Tollhouse.start({**ENVIRON, **ours}, config=CONFIG.format(url=_others.openai) + TIMEOUTS + ONCE) as house:
        yield house


@pytest.fixture
def house(_house: Tollhouse, simulator: Simulator, others: Simulator) -> Tollhouse:
    return _house.heal()


@pytest.fixture
def sdk(house: Tollhouse) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key="client-key", max_retries=0) as client:
        yield client


def post(house: Tollhouse, model: str, **members: Any) -> httpx.Response:
    body = {"model": model, "messages": USER, **members}
    return httpx.post(f"{house.url}/v1/chat/completions", json=body, timeout=20)


# --- who is asked, and how


def test_a_pinned_name_goes_there_with_that_key(house, simulator, others):
    answer = post(house, "groq/gpt-4o-groq", max_tokens=9, messages=[{"role": "developer", "content": "x"}, *USER])
    assert answer.status_code == 200
    assert answer.headers["x-tollhouse-provider"] == "groq"
    (heard,) = others.requests("openai")
    assert heard["headers"]["authorization"] == "Bearer gsk-canary"
    assert heard["body"]["model"] == "gpt-4o-groq"
    assert heard["body"]["max_completion_tokens"] == 9
    assert heard["body"]["messages"][0]["role"] == "system"
    assert simulator.requests() == []


@pytest.mark.parametrize("model", ["gpt-4o-groq", "groq/gpt-4.1-nobody-knows"])
def test_a_name_of_its_own_and_one_that_nobody_knows(house, others, model):
    answer = post(house, model)
    assert answer.status_code == 200
    assert answer.headers["x-tollhouse-provider"] == "groq"
    assert others.requests("openai")[0]["body"]["model"] == model.removeprefix("groq/")


def test_it_stands_in_for_a_vendor_that_is_down(house, simulator, others):
    simulator.fault("openai", "status", status=503)
    answer = post(house, "gpt-4o-mini", logprobs=False)
    assert answer.status_code == 200
    assert (answer.headers["x-tollhouse-provider"], answer.headers["x-tollhouse-attempts"]) == ("groq", "2")
    assert "logprobs" not in others.requests("openai")[0]["body"]


def test_it_does_not_stand_in_where_a_parameter_would_be_lost(house, simulator, others):
    simulator.fault("openai", "status", status=503)
    assert post(house, "gpt-4o-mini", n=2).status_code == 503
    assert others.requests() == []


def test_what_mistral_refuses_is_not_sent(house, others):
    usage = {"include_usage": True}
    answer = post(house, "mistral/gpt-4o", max_completion_tokens=9, seed=5, user="u", stream=True, stream_options=usage)
    assert answer.status_code == 200
    assert answer.headers["x-tollhouse-warnings"] == "dropped=seed"
    body = others.requests("openai")[0]["body"]
    assert body.keys() == {"model", "messages", "max_tokens", "stream"}


@pytest.mark.parametrize(
    ("model", "headers"),
    [("ollama/gpt-4o", {}), ("azure-eu/gpt-4o", {"api-key": "azure-canary"})],
    ids=["none where no key is needed", "Azure's own header"],
)
def test_the_key_has_the_place_that_the_vendor_looks_at(house, others, model, headers):
    post(house, model)  # the simulator wants a key as OpenAI does: what is sent is the matter here
    heard = others.requests("openai")[0]["headers"]
    assert {name: heard[name] for name in ("authorization", "api-key") if name in heard} == headers


def test_their_models_are_listed(house):
    listed = {model["id"]: model for model in httpx.get(f"{house.url}/v1/models").json()["data"]}
    assert listed["gpt-4o-groq"]["owned_by"] == "groq"


def test_what_is_on_and_off_is_told_at_the_start(house, others):
    line = house.wait_log("listening")
    assert f"groq ({others.openai})" in line["vendors"]
    assert f"ollama ({others.openai})" in line["vendors"]
    assert line["no key for"] == "anthropic, gemini, deepseek"
    assert "canary" not in house.stderr


def test_check_live_asks_each_of_them(others, tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG.format(url=others.openai))
    config = ("--config", str(tmp_path / "config.yaml"))
    done = run("check", "--live", *config, environ={**ENVIRON, "PRIMARY_LLM_PROVIDER": "mistral"})
    _, _, findings = done.stdout.partition("The configuration is valid.\n")
    assert dict(line.split(maxsplit=1) for line in findings.splitlines()) == {
        "groq": "ok",
        "mistral": "ok",
        "ollama": "a key is wanted (status 401)",
        "azure-eu": "key refused (status 401)",  # the simulator looks for it where OpenAI does
    }
    assert "primary    mistral" in done.stdout
    assert "canary" not in done.stdout + done.stderr


# --- how they deviate

STREAMS = {path.stem: path for path in sorted(GOLDEN.glob("compatible-*.sse")) if path.name.count(".") == 1}
WHOLE = {path.stem: path for path in sorted(GOLDEN.glob("compatible-*.json")) if path.name.count(".") == 1}
BROKEN = {name for name in (*STREAMS, *WHOLE) if (GOLDEN / f"{name}.failure.json").exists()}
CALLS = ["get_weather", "get_time"]


def events(path: Path) -> list[str]:
    return [event + "\n\n" for event in path.read_text().split("\n\n") if event]


def heard(chunks: list[ChatCompletionChunk]) -> tuple[str, list[str | None], list[str]]:
    """Text, reasons to end, names of calls."""
    choices = [choice for chunk in chunks for choice in chunk.choices]
    calls = [call for choice in choices for call in choice.delta.tool_calls or ()]
    names = [call.function.name for call in calls if call.function and call.function.name]
    finishes = [choice.finish_reason for choice in choices if choice.finish_reason]
    return "".join(choice.delta.content or "" for choice in choices), list(finishes), names


@pytest.mark.parametrize("name", sorted(STREAMS.keys() - BROKEN))
def test_a_stream_that_deviates_reaches_the_official_client_as_openais_would(sdk, others, name):
    others.script("openai", {"raw_chunks": events(STREAMS[name])})
    stream = sdk.chat.completions.create(
        model="groq/gpt-4o", messages=USER, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert all(chunk.id and chunk.created and chunk.model for chunk in chunks)
    text, finishes, names = heard(chunks)
    assert text.startswith("Hi") or names == CALLS
    assert len(finishes) == 1
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(usages) == ('"prompt_tokens"' in STREAMS[name].read_text())
    assert not usages or chunks[-1].usage
    others.script("openai", {"raw_chunks": events(STREAMS[name])})
    with sdk.chat.completions.stream(model="groq/gpt-4o", messages=USER) as again:
        assert all(event.type for event in again)
    message = again.current_completion_snapshot.choices[0].message
    assert message.role == "assistant"
    assert [call.function.name for call in message.tool_calls or ()] == names


@pytest.mark.parametrize("name", sorted(WHOLE.keys() - BROKEN))
def test_an_answer_that_deviates_reaches_the_official_client_as_openais_would(sdk, others, name):
    others.script("openai", {"raw": WHOLE[name].read_text()})
    answer = sdk.chat.completions.create(model="groq/gpt-4o", messages=USER)
    assert answer.object == "chat.completion"
    assert answer.id
    assert answer.created
    assert answer.model
    (choice,) = answer.choices
    assert choice.finish_reason in {"stop", "length", "tool_calls"}
    assert choice.message.role == "assistant"
    calls = choice.message.tool_calls or []
    assert choice.message.content or len({call.id for call in calls}) == len(CALLS)


@pytest.mark.parametrize("name", sorted(STREAMS.keys() & BROKEN))
def test_a_stream_that_breaks_is_an_error_for_the_official_client(sdk, others, name):
    others.script("openai", {"raw_chunks": events(STREAMS[name])})
    with pytest.raises(openai.APIError):
        list(sdk.chat.completions.create(model="groq/gpt-4o", messages=USER, stream=True))


@pytest.mark.parametrize("name", sorted(WHOLE.keys() & BROKEN))
def test_an_answer_that_is_none_is_an_error_for_the_official_client(sdk, others, name):
    others.script("openai", {"raw": WHOLE[name].read_text()})
    with pytest.raises(openai.APIStatusError) as caught:
        sdk.chat.completions.create(model="groq/gpt-4o", messages=USER)
    assert caught.value.status_code == msgspec.json.decode((GOLDEN / f"{name}.failure.json").read_bytes())["status"]


def test_openais_own_stream_is_not_touched(house, simulator):
    bare = 'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
    simulator.script("openai", {"raw_chunks": [bare, bare, "data: [DONE]\n\n"]})
    assert post(house, "gpt-4o", stream=True).text == bare * 2 + "data: [DONE]\n\n"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("status", "body", "out", "message", "param"),
    [
        pytest.param(400, '{"error":"Not so."}', 400, "Not so.", None, id="a text"),
        pytest.param(400, '[{"error":{"code":400,"message":"Not so."}}]', 400, "Not so.", None, id="a list"),
        pytest.param(400, '{"error":[{"message":"Not so."}]}', 400, "Not so.", None, id="a list inside"),
        pytest.param(422, '{"detail":"Not so."}', 400, "Not so.", None, id="FastAPI, a text"),
        pytest.param(422, '{"detail":[{"loc":["body","n"],"msg":"Not so."}]}', 400, "Not so.", "n", id="FastAPI"),
        pytest.param(
            422,
            '{"object":"error","message":{"detail":[{"loc":["body","n"],"msg":"Not so."}]},"type":"x","param":null}',
            400,
            "Not so.",
            "n",
            id="Mistral",
        ),
        pytest.param(400, '{"object":"error","message":"Not so.","code":400}', 400, "Not so.", None, id="vLLM"),
        pytest.param(400, "Not so.", 400, "Not so.", None, id="plain text"),
        pytest.param(200, '{"error":"Not so."}', 502, "Not so.", None, id="with status 200"),
    ],
)
def test_errors_of_all_shapes_are_openais(house, others, status, body, out, message, param, stream):
    others.script("openai", {"raw": body, "raw_status": status})
    answer = post(house, "groq/gpt-4o", stream=stream)
    assert answer.status_code == out
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["message"], error["param"]) == (message, param)
