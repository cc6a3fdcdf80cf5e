"""Asking the simulated vendors what an adapter would ask the real ones."""

import httpx

from adapters import ADAPTERS
from adapters.base import Call, Target, Usage, Vendor
from proxy.simulator.client import Simulator
from tests.adapters import golden
from tests.adapters.golden import STAMP, RequestCase


def target_of(case: RequestCase) -> Target:
    return golden.target(case.vendor, case.file().models[case.vendor])


def post(simulator: Simulator, vendor: Vendor, call: Call) -> httpx.Response:
    """The call with the headers of its vendor."""
    base = {"openai": simulator.openai, "anthropic": simulator.anthropic, "gemini": simulator.gemini}[vendor]
    headers = {"content-type": "application/json", **ADAPTERS[vendor, "chat"].headers("sk-key"), **call.headers}
    return httpx.post(base + call.path, content=call.body, headers=headers, timeout=20)


def ask(simulator: Simulator, vendor: Vendor, call: Call) -> Usage | None:
    """What the vendor counts for the call; None if it refuses it."""
    answer = post(simulator, vendor, call)
    if answer.status_code != 200:
        return None
    adapter = ADAPTERS[vendor, "chat"]
    if not call.reading.stream:
        return adapter.response(answer.content, call, STAMP).usage
    stream = adapter.stream(call, STAMP)
    stream.feed(answer.content)
    stream.end()
    return stream.usage
