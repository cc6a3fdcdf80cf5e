"""What the tests of third-party clients share: one tollhouse before three simulated vendors, and nobody else in reach.

These clients are used as they are published, through their public names and with nothing set but the address.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from proxy.simulator.client import Simulator

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv/bin/python"  # tollhouse's own environment; the clients' is another

# Before a client is imported: no traces to anyone, and nothing of the surroundings that would change where it speaks.
QUIET = {
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "OTEL_SDK_DISABLED": "true",
}
_FOREIGN = ("OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_", "LANGCHAIN_", "LANGSMITH_", "LOGFIRE_")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
for _name in list(os.environ):
    if _name.upper().startswith(_FOREIGN) or _name.upper() in _PROXIES:
        del os.environ[_name]
os.environ.update(QUIET)


class Vendor(NamedTuple):
    """A vendor, and the models of it that the clients ask for."""

    name: str
    model: str
    other: str  # another one
    reasoning: str  # one that reasons when asked to


VENDORS = (
    Vendor("openai", "gpt-4o", "gpt-4o-mini", "gpt-6.1-sol"),
    # Not Sonnet 5.5 first: Anthropic lets no tool be forced on it, and most clients force one for structured output.
    Vendor("anthropic", "claude-haiku-5-5", "claude-sonnet-5-5", "claude-sonnet-5-5"),
    Vendor("gemini", "gemini-3.8-flash", "gemini-2.5-flash", "gemini-3.8-flash"),
)


class Stage(NamedTuple):
    """Where tollhouse is, and the vendors behind it."""

    base_url: str  # with /v1
    vendors: Simulator


@pytest.fixture(scope="session")
def _stage() -> Iterator[Stage]:
    words = [str(PYTHON), "-m", "tests.clients.stage"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "tollhouse did not start; what it said stands above"
        urls = json.loads(line)
        yield Stage(f"{urls['tollhouse']}/v1", Simulator(urls))
        process.stdin.close()
        process.wait(30)


@pytest.fixture
def stage(_stage: Stage) -> Stage:
    """Tollhouse, before vendors as after their start."""
    _stage.vendors.reset()
    return _stage


@pytest.fixture
def base_url(stage: Stage) -> str:
    """What a client is told, and all it is told."""
    return stage.base_url


@pytest.fixture(params=VENDORS, ids=lambda vendor: vendor.name)
def vendor(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Vendor]:
    """Each vendor in turn; only it may have been asked by the end, and it must have been."""
    wanted: Vendor = request.param
    yield wanted
    assert {entry["vendor"] for entry in stage.vendors.ledger()} == {wanted.name}
