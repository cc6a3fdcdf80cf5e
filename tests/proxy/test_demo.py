"""The demo: what it prints can be pasted, and works."""

import re
import shutil
import subprocess
import sys
import urllib.request

import pytest

from tests.tollhouse import PATIENCE, Tollhouse, surroundings


@pytest.fixture(scope="module")
def demo():
    with Tollhouse.start({}, verb="demo") as house:
        house.wait_output("Stop with Ctrl-C.")
        yield house


def test_it_starts_without_a_key_and_is_ready(demo):
    with urllib.request.urlopen(f"{demo.url}/readyz", timeout=PATIENCE) as answer:
        assert answer.status == 200
    assert demo.wait_log("listening")["no key for"] == "none"


def test_its_python_prints_an_echo_of_each_vendor(demo):
    code = re.search(r"<<'PY'.*?\n(.*?)^PY$", demo.stdout, re.DOTALL | re.MULTILINE)
    assert code is not None
    done = subprocess.run(
        [sys.executable, "-c", code[1]], env=surroundings({}), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(" -> ")[0] for line in lines] == ["gpt-4o", "claude-sonnet-5-5", "gemini-3.8-flash"]
    assert all("Hello" in line.partition(" -> ")[2] for line in lines)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on PATH")
def test_its_curl_runs_in_sh(demo):
    line = re.search(r"^curl .*?[^\\]$", demo.stdout, re.DOTALL | re.MULTILINE)
    assert line is not None
    done = subprocess.run(["sh", "-c", line[0]], env=surroundings({}), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "Hello" in done.stdout
    assert '"claude-sonnet-5-5' in done.stdout


def test_it_needs_no_key_even_where_real_ones_are_set_and_uses_none_of_them():
    with Tollhouse.start(
        {"OPENAI_API_KEY": "sk-real-canary", "GOOGLE_GEMINI_BASE_URL": "http://real.test"}, verb="demo"
    ) as house:
        vendors = house.wait_log("listening")["vendors"]
    assert vendors.count("http://127.0.0.1:") == 3
    assert house.stop() == 0
