"""OpenAI's own client for Node, pointed at tollhouse. What it does stands in node/tasks.mjs."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.clients.conftest import VENDORS, Vendor

NODE = Path(__file__).parent / "node"
PATIENCE = 60  # seconds for a task that takes half of one


def _did(task: str, base_url: str, vendor: Vendor) -> Any:
    words = ["node", "tasks.mjs", task, base_url, vendor.model]
    done = subprocess.run(words, cwd=NODE, env=os.environ, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_text_comes_with_its_usage(base_url: str, vendor: Vendor) -> None:
    did = _did("text", base_url, vendor)
    assert did["text"] == "Echo: Hello"
    assert did["usage"]["total_tokens"] == did["usage"]["prompt_tokens"] + did["usage"]["completion_tokens"]


def test_a_stream_comes_with_its_usage(base_url: str, vendor: Vendor) -> None:
    did = _did("stream", base_url, vendor)
    assert len(did["text"].split()) == 30
    assert did["usage"]["completion_tokens"] > 0


def test_a_loop_of_tool_calls_comes_to_its_end(base_url: str, vendor: Vendor) -> None:
    did = _did("loop", base_url, vendor)
    assert did["called"] == ["Paris"] * 3
    assert did["text"].count("sunny in Paris") == 3


def test_a_loop_of_streamed_tool_calls_comes_to_its_end(base_url: str, vendor: Vendor) -> None:
    did = _did("streamedLoop", base_url, vendor)
    assert did["called"] == ["Paris"] * 3
    assert did["text"].count("sunny in Paris") == 3


def test_an_answer_is_parsed_by_a_schema(base_url: str, vendor: Vendor) -> None:
    assert _did("structured", base_url, vendor) == {"city": "Lima", "people": 10000000}


def test_a_stream_is_parsed_by_a_schema(base_url: str, vendor: Vendor) -> None:
    assert _did("streamedStructured", base_url, vendor) == {"city": "Lima", "people": 10000000}


def test_a_stream_can_be_left(base_url: str, vendor: Vendor) -> None:
    assert _did("abort", base_url, vendor) == {"aborted": True}


def test_an_error_is_the_clients_own(base_url: str) -> None:
    did = _did("error", base_url, VENDORS[0])
    assert did.pop("requestID")
    assert did == {"name": "NotFoundError", "status": 404, "code": "model_not_found"}
