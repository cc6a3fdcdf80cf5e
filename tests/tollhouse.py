"""A real tollhouse for tests: a process of its own on a free loopback port, awaited by its log, ended by its own id.

Nothing here sleeps or asks again and again: threads read what the process says, and whoever waits is woken by a line.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from proxy.simulator.client import Simulator

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 30.0  # seconds a process may take to start or to stop; a healthy one needs one
T = TypeVar("T")
# What a process needs of the surroundings; nothing else of them reaches it, least of all somebody's real keys.
_INHERITED = re.compile(r"PATH|HOME|TMPDIR|LANG|LC_.*|SYSTEMROOT|COVERAGE_.*|COV_.*|PYTHONDEVMODE|PYTHONWARNINGS")


class TollhouseError(Exception):
    """The process did not do what was waited for; with everything it said on standard error."""


class Tollhouse:
    """`with Tollhouse.start(environ_of(vendors)) as house: ... house.url ...`."""

    def __init__(
        self,
        words: list[str],
        environ: Mapping[str, str],
        directory: "tempfile.TemporaryDirectory[str]",
        module: Sequence[str] = ("proxy",),
    ) -> None:
        self.url = ""
        self._directory = directory
        self._said: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._logs: list[dict[str, Any]] = []
        self._open = 2  # streams that have not come to their end
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", *module, *words],
            cwd=ROOT,
            env=surroundings(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("stdout", self.process.stdout), ("stderr", self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @classmethod
    def start(
        cls,
        environ: Mapping[str, str],
        *args: str,
        config: str | None = None,
        verb: str = "serve",
        module: Sequence[str] = ("proxy",),
    ) -> Self:
        """Start `tollhouse serve --port 0 ARGS` and return when it listens. `config` is YAML, not a path.

        `module` is what runs, and words of its own before ours: ("tests.crashing", "after-hold:2").
        """
        directory = tempfile.TemporaryDirectory(prefix="tollhouse-test-")
        words = [verb, "--port", "0", *args]
        if config is not None:
            file = Path(directory.name) / "config.yaml"
            file.write_text(config, encoding="utf-8")
            words += ["--config", str(file)]
        usual = {"TOLLHOUSE_LOG": "json", "TOLLHOUSE_DATA_DIR": directory.name}
        house = cls(words, {**usual, **environ}, directory, module)
        try:
            said = house.wait_log("listening", timeout=PATIENCE)
        except BaseException:
            house.kill()
            raise
        house.url = said["url"].removesuffix("/v1")
        return house

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def logs(self) -> list[dict[str, Any]]:
        """The lines of the log so far."""
        with self._news:
            return list(self._logs)

    @property
    def stdout(self) -> str:
        with self._news:
            return "".join(self._said["stdout"])

    @property
    def stderr(self) -> str:
        with self._news:
            return "".join(self._said["stderr"])

    def wait_log(
        self, event: str, *, timeout: float = 5, such: Callable[[dict[str, Any]], bool] = bool, **fields: Any
    ) -> dict[str, Any]:
        """The first line of the log, past or to come, with this event and these fields, that is `such`."""
        wanted = {"event": event, **fields}

        def fits() -> dict[str, Any] | None:
            return next((line for line in self._logs if wanted.items() <= line.items() and such(line)), None)

        return self._wait(fits, f"no line {wanted} in the log", timeout)

    def wait_output(self, text: str, *, timeout: float = 5) -> str:
        """Standard output, once `text` is in it."""

        def fits() -> str | None:
            return said if text in (said := "".join(self._said["stdout"])) else None

        return self._wait(fits, f"no {text!r} on standard output", timeout)

    def heal(self) -> Self:
        """In its eyes all vendors are well again: for a house that several tests share."""
        with urllib.request.urlopen(f"{self.url}/providers/health", timeout=PATIENCE) as answer:
            names = json.load(answer)["providers"]
        for name in names:
            reset = urllib.request.Request(f"{self.url}/providers/health/{name}/reset", method="POST")
            urllib.request.urlopen(reset, timeout=PATIENCE).close()
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until it has ended by itself; the exit code."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TollhouseError(f"it did not end in {timeout} s:\n{self.stderr}") from None
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        self._directory.cleanup()
        return code

    def stop(self) -> int:
        """End it politely, and by force if it does not; the exit code. Harmless once it has ended."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except TollhouseError:
            return self.kill()

    def kill(self) -> int:
        """End it as a power cut would. Harmless once it has ended."""
        self.process.kill()
        return self.wait()

    def _wait(self, fits: Callable[[], T | None], complaint: str, timeout: float) -> T:
        found: list[T] = []

        def settled() -> bool:
            if (value := fits()) is not None:
                found.append(value)
            return bool(found) or not self._open

        with self._news:
            self._news.wait_for(settled, timeout)
            if found:
                return found[0]
            ended = not self._open
        why = f"before it ended with {self.process.wait(PATIENCE)}" if ended else "in time"
        raise TollhouseError(f"{complaint} {why}:\n{self.stderr}")

    def _read(self, name: str, stream: IO[bytes]) -> None:
        for raw in stream:
            line = raw.decode(errors="replace")
            with self._news:
                self._said[name].append(line)
                if name == "stderr" and line.startswith("{"):
                    self._logs.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._open -= 1
            self._news.notify_all()


def surroundings(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process under test: what it needs of ours, and `environ`."""
    return {**{name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)}, **environ}


def run(*words: str, environ: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """`tollhouse WORDS`, to its end: for commands that end by themselves."""
    return subprocess.run(
        [sys.executable, "-m", "proxy", *words],
        cwd=ROOT,
        env=surroundings(environ or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def environ_of(vendors: Simulator, key: str | None = None) -> dict[str, str]:
    """The environment that points a tollhouse at three simulated vendors, each with a key of its own, or with `key`."""
    return {
        "OPENAI_API_KEY": key or "sk-openai-canary",
        "OPENAI_BASE_URL": vendors.openai,
        "ANTHROPIC_API_KEY": key or "sk-ant-canary",
        "ANTHROPIC_BASE_URL": vendors.anthropic,
        "GEMINI_API_KEY": key or "AIza-gemini-canary",
        "GEMINI_BASE_URL": vendors.gemini,
    }
