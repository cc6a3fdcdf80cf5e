"""The guide: every command of it is run, in one shell, as somebody would who pastes one block after the other."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.redis_server import free_port
from tests.tollhouse import ROOT, surroundings

GUIDE = ROOT / "docs" / "guide.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# file: (\S+)\n")
LINK = re.compile(r"\]\(([^)#]*)(#[^)]*)?\)")
PATIENCE = 180  # seconds for all of it; it takes a tenth


def blocks() -> list[tuple[str, str]]:
    """(language, content), in their order."""
    return BLOCK.findall(GUIDE.read_text(encoding="utf-8"))


def script(directory: Path, port: int) -> str:
    """All blocks as one script; a block of YAML that names a file is that file, from where it stands on."""
    parts = ["set -eu"]
    for number, (language, content) in enumerate(blocks(), 1):
        content = content.replace("8080", str(port))
        if language == "yaml" and (named := FILE.match(content)):
            (directory / f"block-{number}").write_text(content)
            parts.append(f"cp block-{number} {named[1]}")
        elif language == "sh":
            parts.append(f"echo '=== block {number}'\n{content}")
        elif language == "python":
            (directory / f"block-{number}.py").write_text(content)
            parts.append(f"echo '=== block {number}'\nOPENAI_API_KEY=x python block-{number}.py")
    return "\n".join(parts)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on PATH, which the guide's readers have")
def test_every_command_of_the_guide_does_what_it_says(tmp_path: Path) -> None:
    environ = surroundings({"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"})
    port = free_port()
    words = ["bash", "-c", script(tmp_path, port)]
    with subprocess.Popen(
        words,
        cwd=tmp_path,
        env={**environ, "TOLLHOUSE_LOG": "json", "TOLLHOUSE_URL": f"http://127.0.0.1:{port}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            said, _ = shell.communicate(timeout=PATIENCE)
        finally:
            _end(shell.pid)
    assert shell.returncode == 0, said
    for wanted in WANTED:
        assert re.search(wanted, said), f"{wanted} is not in:\n{said}"


WANTED = [
    r"gpt-4o -> openai 0\.0",
    r"smart -> anthropic",
    r"200 200 200 200 200 200",
    r"exit code 1: a circuit is open",
    r'"origin"',
    r"exit code 2",
    r"configuration taken",
    r"revoked",
    r"auto: strategy capability, task creative",
    r'"object":"feedback"',
    r"^True$|\nTrue\n",
    r"Echo: Hello",
]


def _end(group: int) -> None:
    """What the script has left behind, if it broke off."""
    subprocess.run(["pkill", "-g", str(group)], check=False)


def test_every_block_is_of_a_kind_that_is_known():
    assert {language for language, _ in blocks()} == {"sh", "python", "yaml", "text"}


def test_every_page_that_it_names_is_there():
    for path, _ in LINK.findall(GUIDE.read_text(encoding="utf-8")):
        assert not path or path.startswith("http") or (GUIDE.parent / path).exists(), path
