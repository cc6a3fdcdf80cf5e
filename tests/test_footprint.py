"""What a server does not load. By counting modules: time and bytes are for the benchmark to measure.

The packages that are named here cost an idle server more memory than all that is left, and most of its start.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from proxy.footprint import SPARED
from proxy.simulator.client import Simulator
from tests import redis_server
from tests.tollhouse import ROOT, Tollhouse, environ_of

# Package -> when it is loaded, if it is at all.
NOT_YET = {
    "aiohttp": "never: proxy/http1 speaks to vendors",
    "anthropic": "to ask the vendor off the hot path",
    "anyio._backends": "by litestar, for the first page that is streamed",
    "google": "to ask the vendor off the hot path; by OpenTelemetry, if it is on",
    "httpx": "for a webhook, a remote image, or a live check of the configuration",
    "jinja2": "never: pages are files",
    "openai": "by the demo, for its snippet",
    "proxy.demo": "by the demo",
    "proxy.explain": "by the command",
    "proxy.live": "by the command `check --live`",
    "proxy.otel": "if OpenTelemetry is on; of it only the room's door is looked into",
    "proxy.pricing": "by the command",
    "proxy.simulator": "by the demo",
    "requests": "by tiktoken, to fetch what comes with the installation",
    "tiktoken": "to count a prompt when a budget is tight",
    "yarl": "by aiohttp",
}
DOORS = {"proxy.otel"}  # their own file may be loaded, what is behind it not


def loaded(words: Path) -> set[str]:
    return set(words.read_text(encoding="utf-8").split())


def within(package: str, modules: set[str]) -> set[str]:
    inner = {name for name in modules if name.startswith(f"{package}.")}
    return inner if package in DOORS else inner | ({package} & modules)


@contextlib.contextmanager
def served(simulator: Simulator, file: Path, **environ: str) -> Iterator[httpx.Client]:
    """A server that has just started; at the end `file` says what it had loaded."""
    module = ("tests.loaded", str(file))
    with (
        Tollhouse.start({**environ_of(simulator), "LLM_DAILY_BUDGET": "100", **environ}, module=module) as house,
        httpx.Client(base_url=f"{house.url}/v1", timeout=20) as http,
    ):
        yield http


@pytest.mark.parametrize("store", ["file", "Redis"])
def test_a_server_that_has_served_has_loaded_nothing_that_it_does_not_need(store, simulator, tmp_path):
    with contextlib.ExitStack() as stack:
        redis = {"REDIS_URL": stack.enter_context(redis_server.redis_url())} if store == "Redis" else {}
        http = stack.enter_context(served(simulator, tmp_path / "modules", **redis))
        for model in ("gpt-4o", "claude-haiku-5-5", "gemini-3.8-flash"):
            for stream in (False, True):
                asked = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hello"}]}
                answer = http.post("/chat/completions", json=asked)
                assert answer.status_code == 200, answer.text
    modules = loaded(tmp_path / "modules")
    assert {"litestar", "msgspec", "proxy.gate", "uvicorn"} <= modules, "what is looked at is a server"
    assert ("redis" in modules) == (store == "Redis")
    assert ("proxy.store.sqlite" in modules) == (store == "file")  # sqlite3 itself is there if coverage is measured
    found = {package: within(package, modules) for package in (*NOT_YET, *SPARED)}
    assert {package: names for package, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("with spared(): import rich", "ModuleNotFoundError:"),
        ("with spared(): import pydantic.main", "ModuleNotFoundError:"),
        ("with spared(): pass\nimport rich.table", "fine"),
        ("import rich\nwith spared(): import rich as again\nassert again is rich is sys.modules['rich']", "fine"),
        ("with suppress(ZeroDivisionError), spared(): 1 / 0\nimport rich", "fine"),
        ("with spared():\n  with spared(): pass\n  import rich", "ModuleNotFoundError:"),
        ("with spared():\n  with spared(): pass\nassert not SPARED.keys() & sys.modules.keys()", "fine"),
    ],
    ids=[
        "it is not there",
        "nor what is inside of it",
        "then it is there again",
        "what was loaded before stays",
        "it is there again after a fault",
        "one within another brings nothing back",
        "nothing is left behind",
    ],
)
def test_what_is_spared_is_as_if_it_were_not_installed(code, said):
    head = "import sys\nfrom contextlib import suppress\nfrom proxy.footprint import SPARED, spared\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{head}{code}\nprint('fine')"], capture_output=True, text=True, cwd=ROOT
    )
    assert said in (done.stdout + done.stderr).split(), done.stderr
