"""The architecture, held by a test: who may import whom, how long a room may grow, and that every room has its test.

Each rule is a function from a file (or from the tree) to complaints; the tree must give none, and a bad example must
give one. A rule that is in the way is changed here, in the open, not worked around.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAX_FILE_LINES = 320
MAX_FUNCTION_LINES = 60

# A room may import rooms of its own rank or below. Rank 1 decides and never acts: the coverage gate asks 100 % of it.
RANKS = {
    1: "errors catalog cost prices tokens health habits routing attempts hedges budget ledger bound stats pricebook "
    "keys quota feedback series",
    2: "environment presets providers settings auth upstream http1 downstream images memory telemetry log minutes "
    "store tokenizer journal till books alerts tallies metrics reload pricing spending headers export aliases "
    "timeouts resilience fleet decisions queue roster turnstile traceparent configuration otel pulse prompts "
    "document footprint line front listener crowd limits outgoing",
    3: "gate forward meter toll race chooser trip",
    4: "api admin vitals dashboard",
    5: "engine reconfiguration app live",
    6: "server cli demo explain __main__ desk workers",
}
RANK = {room: rank for rank, rooms in RANKS.items() for room in rooms.split()}
DOORS = {"app", "cli", "api"}  # only the rooms that open them may import them
OPENERS = {"app", "cli", "__main__", "demo"}
SIMULATOR = "simulator"  # it plays the vendors: it knows nothing of us, and only the last rank starts it

# What adapters may not use of the standard library: clocks, dice, the machine, other tasks, and speaking on their own.
IMPURE = {
    word
    for words in (
        "time random secrets uuid os sys io pathlib shutil tempfile glob platform resource ctypes",
        "socket socketserver ssl select selectors http.client http.server urllib.request ftplib smtplib",
        "asyncio threading multiprocessing concurrent queue sched subprocess signal contextvars atexit",
        "logging warnings sqlite3 dbm shelve pickle importlib runpy pkgutil",
    )
    for word in words.split()
}

DRAWERS = re.compile(r"^(utils?|helpers?|common|misc|managers?|base_.*|.*_(utils?|helpers?|managers?))$")

# Modules without a test file of their own, each with its reason. This list may only shrink.
EXEMPT: dict[str, str] = {}


class Import(NamedTuple):
    name: str  # dotted and absolute: for `from a import b` it is a.b, where b may be a module or not
    line: int


def imports(path: str, source: str) -> Iterator[Import]:
    """All imports of a file, those inside functions and under TYPE_CHECKING too; relative ones made absolute."""
    package = path.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            yield from (Import(f"{start}.{alias.name}", node.lineno) for alias in node.names)


def within(name: str, modules: Iterable[str]) -> bool:
    """True if the dotted name is one of the modules or lies inside one."""
    return any(name == module or name.startswith(module + ".") for module in modules)


def room_of(path: str) -> str:
    """The room of proxy/ that a file belongs to: proxy/store/lua.py is in `store`; proxy/__init__.py in none."""
    parts = path.removesuffix(".py").split("/")[1:]
    return "" if parts == ["__init__"] else parts[0]


def impure_adapter(path: str, source: str) -> Iterator[str]:
    """adapters/ imports the pure part of the standard library, msgspec, and adapters."""
    if not path.startswith("adapters/"):
        return
    for name, line in imports(path, source):
        top = name.split(".")[0]
        known = top in {"adapters", "msgspec"} or (top in sys.stdlib_module_names and not within(name, IMPURE))
        if not known:
            yield f"{path}:{line}: adapters are pure and know only msgspec and each other; this imports {name}"


def upward_import(path: str, source: str) -> Iterator[str]:
    """proxy/ imports downwards only."""
    if not path.startswith("proxy/"):
        return
    room = room_of(path)
    if room not in {"", SIMULATOR, *RANK}:
        yield f"{path}: {room} is a new room: give it a rank in RANKS of tests/test_house.py"
        return
    for name, line in imports(path, source):
        if complaint := forbidden(room, name):
            yield f"{path}:{line}: {complaint}"


def forbidden(room: str, name: str) -> str | None:
    """Why a room of proxy/ may not import that name, if it may not."""
    parts = name.split(".")
    ours = parts[0] in {"proxy", "adapters", "tests"}
    if room == SIMULATOR:
        return f"the simulator knows nothing of us; this imports {name}" if ours and parts[1:2] != [room] else None
    if parts[0] == "tests":
        return f"the product does not import its tests: {name}"
    known = parts[0] == "proxy" and len(parts) > 1 and parts[1] in {SIMULATOR, *RANK}
    return wrong_direction(room, parts[1]) if known and parts[1] != room else None


def wrong_direction(room: str, other: str) -> str | None:
    rank = RANK.get(room, 0)
    if other == SIMULATOR:
        return None if rank == max(RANKS) else f"only rank {max(RANKS)} starts the simulator; this is {room}"
    if other in DOORS and room not in OPENERS:
        return f"only {', '.join(sorted(OPENERS))} open the doors; {room} imports {other}"
    if RANK[other] > rank:
        return f"arrows point down: {room} (rank {rank}) imports {other} (rank {RANK[other]})"
    return None


def giant(path: str, source: str) -> Iterator[str]:
    """No file and no function outgrows its measure."""
    if (lines := len(source.splitlines())) > MAX_FILE_LINES:
        yield f"{path}: {lines} lines, at most {MAX_FILE_LINES}: let the room give birth to another"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}"


def drawer(path: str, source: str) -> Iterator[str]:
    """Files are nouns of the domain, not drawers."""
    for part in path.removesuffix(".py").split("/"):
        if DRAWERS.match(part):
            yield f"{path}: `{part}` is a drawer, not a room; name it by what it knows"


RULES = [impure_adapter, upward_import, giant, drawer]


def product() -> Iterator[tuple[str, str]]:
    """Path and source of each Python file of adapters/ and proxy/."""
    for folder in ("adapters", "proxy"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")


def mirrors(path: str) -> list[str]:
    """Globs of the test files that count as a module's own.

    adapters/sse.py: tests/adapters/test_sse.py or tests/adapters/sse/test_*.py;
    adapters/gemini/stream.py: tests/adapters/gemini/test_stream.py or tests/adapters/test_gemini_stream.py;
    adapters/gemini/__init__.py: those of adapters/gemini.py.
    """
    folder, _, stem = path.removesuffix(".py").removesuffix("/__init__").rpartition("/")
    flat = [f"tests/{top}/test_{rest.replace('/', '_')}_{stem}.py" for top, _, rest in [folder.partition("/")] if rest]
    return [f"tests/{folder}/test_{stem}.py", f"tests/{folder}/{stem}/test_*.py", *flat]


def needs_own_test(path: str, source: str) -> bool:
    """Adapters and the rooms that decide, where there is a function or a class to test."""
    decides = path.startswith("adapters/") or RANK.get(room_of(path)) == 1
    says = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return decides and any(isinstance(node, says) for node in ast.walk(ast.parse(source)))


def untested() -> set[str]:
    return {
        path
        for path, source in product()
        if needs_own_test(path, source) and not any(any(ROOT.glob(pattern)) for pattern in mirrors(path))
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule):
    complaints = [complaint for path, source in product() for complaint in rule(path, source)]
    assert not complaints, "\n".join(["", *complaints])


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (impure_adapter, "adapters/gemini.py", "import httpx"),
        (impure_adapter, "adapters/gemini.py", "from time import monotonic"),
        (impure_adapter, "adapters/gemini.py", "from urllib import request"),
        (impure_adapter, "adapters/gemini.py", "def f():\n    import random"),
        (impure_adapter, "adapters/gemini.py", "from proxy import catalog"),
        (upward_import, "proxy/catalog.py", "from proxy.gate import Gate"),
        (upward_import, "proxy/catalog.py", "from . import gate"),
        (upward_import, "proxy/store/redis.py", "from ..api import chat"),
        (upward_import, "proxy/admin.py", "from proxy import api"),
        (upward_import, "proxy/__init__.py", "from proxy import errors"),
        (upward_import, "proxy/app.py", "import proxy.simulator.server"),
        (upward_import, "proxy/simulator/openai.py", "from adapters import wire"),
        (upward_import, "proxy/simulator/openai.py", "from proxy import errors"),
        (upward_import, "proxy/simulator/openai.py", "from .. import errors"),
        (upward_import, "proxy/forward.py", "from tests.conftest import clock"),
        (upward_import, "proxy/plugins.py", ""),
        (giant, "proxy/gate.py", "\n" * (MAX_FILE_LINES + 1)),
        (giant, "proxy/gate.py", "async def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES),
        (drawer, "proxy/utils.py", ""),
        (drawer, "adapters/base_adapter.py", ""),
        (drawer, "proxy/store/key_helpers.py", ""),
    ],
)
def test_a_broken_rule_is_seen(rule, path, source):
    assert len(list(rule(path, source))) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("adapters/gemini/stream.py", "import json, msgspec\nfrom urllib.parse import quote\nfrom ..sse import Event"),
        ("adapters/base.py", "from typing import Protocol"),
        ("proxy/gate.py", "import asyncio\nfrom adapters import ADAPTERS\nfrom . import __version__, store, errors"),
        ("proxy/demo.py", "from proxy import app\nfrom proxy.simulator import serve"),
        ("proxy/store/redis.py", "from . import sqlite\nfrom .money import Money"),
        ("proxy/simulator/openai.py", "from . import ledger\nfrom proxy.simulator import faults"),
    ],
)
def test_what_is_allowed_is_not_complained_about(path, source):
    assert [complaint for rule in RULES for complaint in rule(path, source)] == []


def test_a_new_room_is_asked_for_its_rank():
    assert "give it a rank" in next(upward_import("proxy/plugins.py", ""))


def test_each_adapter_and_each_room_that_decides_has_a_test_of_its_own():
    missing = sorted(untested() - set(EXEMPT))
    assert not missing, "\n".join(["", *(f"{path} wants {mirrors(path)[0]}" for path in missing)])


def test_the_list_of_rooms_without_a_test_only_shrinks():
    assert set(EXEMPT) <= untested(), "these have a test by now, or are gone: take them off the list"
    assert all(EXEMPT.values()), "each with its reason"


def test_a_module_is_mirrored_by_name():
    assert mirrors("adapters/sse.py") == ["tests/adapters/test_sse.py", "tests/adapters/sse/test_*.py"]
    assert mirrors("adapters/gemini/stream.py") == [
        "tests/adapters/gemini/test_stream.py",
        "tests/adapters/gemini/stream/test_*.py",
        "tests/adapters/test_gemini_stream.py",
    ]
    assert mirrors("adapters/gemini/__init__.py") == mirrors("adapters/gemini.py")


def test_the_coverage_gate_asks_100_percent_of_exactly_the_rooms_that_decide():
    pure = re.search(r"^PURE := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert pure is not None
    assert pure[1].split() == RANKS[1].split()


def pins(name: str) -> set[str]:
    """The pinned lines of a requirement file, markers included, hashes left out."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    return {line.rstrip(" \\") for line in text.splitlines() if re.match(r"[a-z0-9]", line)}


def test_what_is_tested_is_what_is_served():
    assert pins("serve.txt") <= pins("dev.txt")
    assert pins("build.txt") <= pins("dev.txt")


def test_the_build_backend_is_pinned_once():
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    assert set(backend) <= pins("build.txt")
    assert set(backend) <= pins("build.in")


def test_requirement_files_name_no_host():
    """Nor any option but hashes: where packages come from is the machine's affair."""
    for file in (ROOT / "requirements").iterdir():
        assert not re.search(r"://|--(?!hash=)", file.read_text(encoding="utf-8")), file.name


def run_python(code: str, **environ: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_starting_the_server_loads_no_sdk_and_no_tokenizer():
    """Their import alone takes longer than all the rest of the start."""
    heavy = "{'anthropic', 'google.genai', 'tiktoken', 'openai'}"
    assert run_python(f"import sys, proxy.app; print(*sorted({heavy} & set(sys.modules)))") == ""


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
def test_tokenizers_come_with_the_installation(encoding):
    """tiktoken checks their SHA-256 itself; with no way out it can only have read ours."""
    out = run_python(
        f"import tiktoken; t = tiktoken.get_encoding('{encoding}'); print(t.decode(t.encode('zwölf Tölpel')))",
        TIKTOKEN_CACHE_DIR=str(ROOT / "proxy/assets/tokenizers"),
        HTTPS_PROXY="http://127.0.0.1:9",
        PYTHONUTF8="1",
    )
    assert out == "zwölf Tölpel"
