"""A plain client brings back id, name and arguments of a call only; the vendors hear what they want all the same."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from adapters.gemini.contents import LOST_SIGNATURE
from proxy.simulator.client import Simulator
from tests.conftest import environ_of
from tests.redis_server import redis_server
from tests.tollhouse import Tollhouse

STEPS = 5
TOOLS: Any = [
    {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}},
]


@pytest.fixture(scope="module", params=["one file", "one Redis"])
def replicas(request: Any, _simulator: Simulator, tmp_path_factory: Any) -> Iterator[list[Tollhouse]]:
    """Two replicas that share a store."""
    environ = environ_of(_simulator) | {"TOLLHOUSE_DATA_DIR": str(tmp_path_factory.mktemp("data"))}
    if request.param == "one file":
        with Tollhouse.start(environ) as one, Tollhouse.start(environ) as other:
            yield [one, other]
    else:
        with redis_server() as redis:
            environ["REDIS_URL"] = redis.url
            with Tollhouse.start(environ) as one, Tollhouse.start(environ) as other:
                yield [one, other]


def loop(replicas: list[Tollhouse], asked: dict[str, Any], stream: bool) -> Iterator[str]:
    """A tool loop, each step at another replica; yields the warnings of each answer."""
    messages: list[Any] = [{"role": "user", "content": f"loop {STEPS}"}]
    for step in range(STEPS + 1):
        with openai.OpenAI(base_url=f"{replicas[step % 2].url}/v1", api_key="k", max_retries=0) as client:
            said = client.chat.completions.with_raw_response.create(
                messages=messages, tools=TOOLS, stream=stream, **asked
            )
            yield said.headers.get("x-tollhouse-warnings", "")
            answer: Any = said.parse()
            message = _accumulated(answer) if stream else answer.choices[0].message
        if not message.tool_calls:
            assert step == STEPS
            return
        calls = [
            {"id": call.id, "type": "function", "function": {"name": "look", "arguments": call.function.arguments}}
            for call in message.tool_calls
        ]
        messages.append({"role": "assistant", "content": message.content, "tool_calls": calls})
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": "seen"} for call in calls]
    pytest.fail("the loop did not end")


def _accumulated(chunks: Any) -> Any:
    state = openai.lib.streaming.chat.ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(chunk)
    return state.get_final_completion().choices[0].message


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_gemini_gets_its_own_signatures_back_from_any_replica(
    replicas: list[Tollhouse], simulator: Simulator, stream: bool
) -> None:
    warnings = list(loop(replicas, {"model": "gemini/gemini-3.8-flash"}, stream))
    assert warnings == [""] * (STEPS + 1)
    last = simulator.requests("gemini")[-1]["body"]
    signatures = [
        part["thoughtSignature"] for turn in last["contents"] for part in turn["parts"] if "functionCall" in part
    ]
    assert len(set(signatures)) >= 1
    assert len(signatures) == STEPS
    assert LOST_SIGNATURE not in signatures


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_claude_gets_its_own_thinking_back_from_any_replica(
    replicas: list[Tollhouse], simulator: Simulator, stream: bool
) -> None:
    asked = {"model": "anthropic/claude-sonnet-4-5", "reasoning_effort": "low"}
    warnings = list(loop(replicas, asked, stream))
    assert warnings == [""] * (STEPS + 1)
    last = simulator.requests("anthropic")[-1]["body"]
    assert last["thinking"]["type"] == "enabled"
    thoughts = [turn["content"][0] for turn in last["messages"] if turn["role"] == "assistant"]
    assert [block["type"] for block in thoughts] == ["thinking"] * STEPS
    assert all(block["signature"] for block in thoughts)


def test_without_the_store_the_loop_goes_on_and_says_what_it_did(simulator: Simulator, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory can be made here")
    environ = environ_of(simulator) | {"TOLLHOUSE_DATA_DIR": str(tmp_path / "file")}
    with Tollhouse.start(environ) as tollhouse:
        warnings = list(loop([tollhouse, tollhouse], {"model": "gemini/gemini-3.8-flash"}, stream=False))
        assert warnings == ["", *["added=thought_signature"] * STEPS]
        assert json.dumps(tollhouse.logs).count('"reasoning state away"') == 1
