"""Starting the simulator as a process of one's own, and speaking with its control port. Standard library only."""

import http.client
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

ROOT = Path(__file__).resolve().parents[2]  # so that `-m proxy.simulator` is found from any directory
PATIENCE = 10.0  # seconds to end by itself
CALL_TIMEOUT = 65.0  # seconds; a wait may take 60


class ControlError(Exception):
    """The control port did not take an order."""


class Simulator:
    """A running simulator: `with Simulator.start() as vendors: ... vendors.openai ...`.

    `openai` ends in /v1, as the official SDKs want their base_url; the others are bare.
    """

    def __init__(self, urls: Mapping[str, str], process: "subprocess.Popen[bytes] | None" = None) -> None:
        self.openai, self.anthropic = urls["openai"], urls["anthropic"]
        self.gemini, self.control = urls["gemini"], urls["control"]
        self.process = process

    @classmethod
    def start(cls, **options: Any) -> Self:
        """Start a process and wait until it listens. `options` as on the command line: pace=5, openai_port=8001, ..."""
        words = [sys.executable, "-m", "proxy.simulator", "--die-with-parent"]
        for name, value in options.items():
            if value is not None:
                words += [f"--{name.replace('_', '-')}", str(value)]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulator did not start: exit code {process.wait()}")
        return cls(json.loads(line), process)

    def stop(self) -> None:
        """End the process that `start` began; harmless twice."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def order(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """One request to the control port; the answer as JSON."""
        given = {k: v for k, v in query.items() if v is not None}
        place = urlsplit(self.control)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=CALL_TIMEOUT)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path + (f"?{urlencode(given)}" if given else ""), content)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ControlError(f"{method} {path}: {answer}")
        return answer

    def fault(self, vendor: str, fault: str, **details: Any) -> None:
        """From now on the vendor fails in this way; `details` as in `faults.Fault`."""
        self.order("POST", "/faults", {"vendor": vendor, "fault": fault, **details})

    def faults(self) -> list[dict[str, Any]]:
        """The faults that still stand."""
        return list(self.order("GET", "/faults")["faults"])

    def clear(self, vendor: str | None = None) -> None:
        """No more faults, at one vendor or all."""
        self.order("DELETE", "/faults", vendor=vendor)

    def limit(self, vendor: str, *, model: str = "", **rates: tuple[int, int]) -> None:
        """From now on the vendor limits its rate: requests=(limit, window in milliseconds), tokens=..., and at
        Anthropic input_tokens, output_tokens. `model` is a prefix; all models that fit share the limit."""
        said = {kind: {"limit": limit, "window_ms": window} for kind, (limit, window) in rates.items()}
        self.order("POST", "/limits", {"vendor": vendor, "model": model, **said})

    def limits(self) -> list[dict[str, Any]]:
        """The rate limits that stand."""
        return list(self.order("GET", "/limits")["limits"])

    def clear_limits(self, vendor: str | None = None) -> None:
        """No more rate limits, at one vendor or all."""
        self.order("DELETE", "/limits", vendor=vendor)

    def script(self, vendor: str, *answers: Mapping[str, Any], repeat: bool = False) -> None:
        """The next answers of a vendor, in order; fields as in `vocabulary.Scripted`."""
        self.order("POST", "/script", {"vendor": vendor, "answers": list(answers), "repeat": repeat})

    def clear_script(self, vendor: str | None = None) -> None:
        """The vendor thinks for itself again."""
        self.order("DELETE", "/script", vendor=vendor)

    def ledger(self, vendor: str | None = None) -> list[dict[str, Any]]:
        """The finished entries, oldest first."""
        return list(self.order("GET", "/ledger", vendor=vendor)["entries"])

    def arrivals(self, vendor: str | None = None) -> list[dict[str, Any]]:
        """Each request that wanted an answer of a model, in the order of its arrival (`started`, in Unix seconds), be
        it refused, broken or still waiting; fields as in `ledger.Entry`."""
        return list(self.order("GET", "/arrivals", vendor=vendor)["arrivals"])

    def totals(self) -> dict[str, Any]:
        """{vendor: {model: {"requests": n, bucket: tokens}}}."""
        return dict(self.order("GET", "/ledger/totals"))

    def clear_ledger(self) -> None:
        """Forget the finished entries, and who arrived when."""
        self.order("DELETE", "/ledger")

    def requests(self, vendor: str | None = None) -> list[dict[str, Any]]:
        """What arrived, oldest first: method, path, query, headers, body."""
        return list(self.order("GET", "/requests", vendor=vendor)["requests"])

    def clear_requests(self, vendor: str | None = None) -> None:
        """Forget what arrived."""
        self.order("DELETE", "/requests", vendor=vendor)

    def open(self) -> dict[str, dict[str, int]]:
        """{vendor: {"connections": n, "in_progress": n}}."""
        return dict(self.order("GET", "/open"))

    def wait(
        self,
        vendor: str | None = None,
        *,
        in_progress: int | None = None,
        ledger: int | None = None,
        received: int | None = None,
        timeout: float = 2,
    ) -> bool:
        """Wait until that many requests are in progress, that many entries finished, that many requests received."""
        wanted = {"in_progress": in_progress, "ledger": ledger, "received": received}
        return bool(self.order("GET", "/wait", vendor=vendor, timeout=timeout, **wanted)["ready"])

    def reset(self) -> None:
        """As after the start."""
        self.order("POST", "/reset")
