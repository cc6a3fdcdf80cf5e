"""One simulator for all tests of it, as good as new for each; and the official SDKs pointed at it."""

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from proxy.simulator import Simulator


@pytest.fixture(scope="session")
def running():
    with Simulator.start() as simulator:
        yield simulator


@pytest.fixture
def vendors(running):
    running.reset()
    yield running
    running.clear()


@pytest.fixture
def oa(vendors):
    with openai.OpenAI(base_url=vendors.openai, api_key="key", max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture
def an(vendors):
    with anthropic.Anthropic(base_url=vendors.anthropic, api_key="key", max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture
def ge(vendors):
    with genai.Client(api_key="key", http_options=types.HttpOptions(base_url=vendors.gemini, timeout=10_000)) as client:
        yield client
