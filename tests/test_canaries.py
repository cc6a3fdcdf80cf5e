"""Nothing secret leaves the process: each secret that it is given is a canary, and all that it emits is searched.

A real process in front of the simulated vendors, and in front of one that answers with whatever it was sent: all doors,
good and bad requests, failures of vendors, a crash, the end. What is searched: each answer with its headers, standard
output, standard error, the directory of data, Redis, and what vendors and the webhook were sent.
"""

import base64
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import redis

from proxy.simulator.client import Simulator
from tests.redis_server import RedisServer, redis_server
from tests.tollhouse import PATIENCE, Tollhouse, environ_of

OPENAI, ANTHROPIC, GEMINI = "sk-canary-openai-4f1c", "sk-ant-canary-b07e", "AIza-canary-gemini-93d2"
ECHO, HOOK, ALERT, PEPPER = (
    "canary-echo-key-6a55",
    "canary-hook-token-c3f8",
    "canary-alert-secret-18e4",
    "canary-pepper-77d1",
)
ADMIN, CLIENT, REDIS = "canary-admin-key-e2b9", "canary-client-key-05ac", "canary-redis-word-d4f7"
SECRETS = (OPENAI, ANTHROPIC, GEMINI, ECHO, HOOK, ALERT, PEPPER, ADMIN, CLIENT, REDIS)
OF_CLIENTS = (CLIENT, ADMIN, "canary-stranger-31fb")  # and a key that nobody knows
PROMPT = "canary-prompt-of-somebody-9b60"
MODELS = ("gpt-4o-mini", "claude-sonnet-5-5", "gemini-3.8-flash")
BEARER = {"authorization": f"Bearer {ADMIN}"}


def spellings(secret: str) -> list[bytes]:
    """A secret as it may be written: plain, in a URL, in base64 at any place, in hex."""
    plain = secret.encode()
    inner = [base64.b64encode(b"?" * pad + plain)[4 if pad else 0 : -4] for pad in range(3)]
    return [plain, quote(secret, safe="").encode(), plain.hex().encode(), *inner]


def found(secrets: tuple[str, ...], emitted: bytes) -> list[str]:
    return [secret for secret in secrets if any(spelling in emitted for spelling in spellings(secret))]


class Echo(http.server.BaseHTTPRequestHandler):
    """A vendor that says whatever it was sent, in each part of an answer; and a webhook. How is told by the model."""

    protocol_version = "HTTP/1.1"
    server: "EchoServer"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        sent = f"{self.requestline}\n{self.headers}"
        self.server.heard.append((self.path, sent.encode() + body))
        if self.path.startswith("/hook"):
            self._say(500, sent, {})
            return
        said = str(self.headers.get("authorization"))
        way = str(json.loads(body)["model"]).rpartition("-")[2]
        key = said.removeprefix("Bearer ")  # as some vendors repeat it; and it has no shape that tells it for a key
        error = {"error": {"message": f"Incorrect API key provided: {key}.", "type": said, "param": said, "code": key}}
        ways: dict[str, Callable[[], None]] = {
            "401": lambda: self._say(401, json.dumps(error), {"content-type": "application/json"}),
            "400": lambda: self._say(400, json.dumps(error), {"content-type": "application/json"}),
            "500": lambda: self._say(500, json.dumps(error), {"content-type": "application/json"}),
            "429": lambda: self._say(429, json.dumps(error), {"retry-after": said, "content-type": "application/json"}),
            "html": lambda: self._say(502, f"<html>{said}</html>", {"content-type": "text/html"}),
            "junk": lambda: self._say(200, f"junk {said}", {"content-type": "application/json"}),
            "header": lambda: self._say(503, "{}", {"x-request-id": said, "server": said, "openai-organization": said}),
            "moved": lambda: self._say(302, "", {"location": f"/{said}"}),
            "event": lambda: self._say(200, f"data: {json.dumps(error)}\n\n", {"content-type": "text/event-stream"}),
            "broken": lambda: self._say(200, f"data: {{{said}\n\n", {"content-type": "text/event-stream"}),
        }
        ways[way]()

    def _say(self, status: int, text: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


WAYS = ("401", "400", "500", "429", "html", "junk", "header", "moved", "event", "broken")


class EchoServer(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.heard: list[tuple[str, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    with EchoServer() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(PATIENCE)


class Watch:
    """Everything that was emitted, with where."""

    def __init__(self) -> None:
        self.emitted: list[tuple[str, bytes]] = []

    def answer(self, answer: httpx.Response) -> httpx.Response:
        lines = [f"{name}: {value}" for name, value in answer.headers.items()]
        where = f"{answer.request.method} {answer.request.url.path} -> {answer.status_code}"
        self.emitted.append((where, "\n".join(lines).encode("utf-8", "replace") + b"\n\n" + answer.content))
        return answer

    def process(self, house: Tollhouse, directory: Path) -> None:
        self.emitted.append(("standard output", house.stdout.encode()))
        self.emitted.append(("standard error", house.stderr.encode()))
        for file in directory.rglob("*"):
            if file.is_file():
                self.emitted.append((f"file {file.name}", str(file).encode() + b"\n" + file.read_bytes()))

    def redis(self, server: RedisServer) -> None:
        with redis.Redis(port=server.port, password=REDIS) as asked:
            for key in asked.scan_iter():
                self.emitted.append((f"Redis {key!r}", key + b"\n" + bytes(asked.dump(key) or b"")))

    def leaks(self, *secrets: str, but: str = "no such place") -> list[tuple[str, list[str]]]:
        return [(where, there) for where, said in self.emitted if but not in where and (there := found(secrets, said))]


@contextmanager
def protected() -> Iterator[RedisServer]:
    """A Redis that asks for a password."""
    with redis_server() as server:
        with redis.Redis(port=server.port) as asked:
            asked.config_set("requirepass", REDIS)
        yield server


def environ(vendors: Simulator, directory: Path, server: RedisServer | None) -> dict[str, str]:
    (directory / "secrets").mkdir()
    (directory / "secrets" / "anthropic").write_text(ANTHROPIC + "\n", encoding="utf-8")
    keys = environ_of(vendors)
    del keys["ANTHROPIC_API_KEY"]
    return {
        **keys,
        "OPENAI_API_KEY": OPENAI,
        "ANTHROPIC_API_KEY_FILE": str(directory / "secrets" / "anthropic"),
        "GEMINI_API_KEY": GEMINI,
        "ECHO_KEY": ECHO,
        "TOLLHOUSE_ADMIN_KEY": ADMIN,
        "TOLLHOUSE_CLIENT_KEYS": CLIENT,
        "TOLLHOUSE_ALERT_SECRET": ALERT,
        "TOLLHOUSE_KEY_SECRET": PEPPER,
        "TOLLHOUSE_DATA_DIR": str(directory / "data"),
        "TOLLHOUSE_LOG_LEVEL": "debug",
        **({"REDIS_URL": f"redis://:{REDIS}@127.0.0.1:{server.port}/0"} if server else {}),
    }


def config(echo: EchoServer) -> str:
    return f"""
providers: [{{name: echo, base_url: "{echo.url}/v1", key: ECHO_KEY}}]
alerts: {{webhook: "{echo.url}/hook/{HOOK}?token={HOOK}"}}
budgets: [{{daily: "0.0006", user: spender}}]
retries: {{rounds: 1, queue: 0}}
timeouts: {{first_byte: 5, first_byte_plain: 5, idle: 5}}
health: {{consecutive: 100, rate: 1}}
"""


def well(http: httpx.Client, provider: str) -> None:
    """In the eyes of the proxy, so that it is asked again. On a busy machine a store may be too slow for the first."""
    door = f"/providers/health/{provider}/reset"
    assert any(http.post(door, headers=BEARER).status_code == 200 for _ in range(20))


def clients(http: httpx.Client, vendors: Simulator, watch: Watch) -> str:
    """What those who ask for answers do; the id of a request that was answered."""
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 20, "user": "alice"}
    served = ""

    def ask(**fields: Any) -> httpx.Response:
        return watch.answer(http.post("/v1/chat/completions", json={**asked, **fields}))

    for model in MODELS:
        served = ask(model=model).headers["x-request-id"]
        ask(model=model, stream=True)
        ask(model=model, n=99, temperature="hot")
        ask(model=f"{model}-of-nobody")
    for vendor, model in zip(("openai", "anthropic", "gemini"), MODELS, strict=True):
        for error in ("api_key_invalid", "server_error", "rate_limit"):
            vendors.fault(vendor, "status", error=error, times=1)
            ask(model=f"{vendor}/{model}")
            well(http, vendor)
        for fault in ("reset", "html", "garbage", "redirect", "cut", "error_event"):
            vendors.fault(vendor, fault, times=1)
            ask(model=f"{vendor}/{model}", stream=fault in ("cut", "error_event"))
            well(http, vendor)
    for way in WAYS:
        for stream in (False, True):
            ask(model=f"echo/model-{way}", stream=stream)
            well(http, "echo")
    for model in (*MODELS[1:] * 3, *["openai/gpt-4o-mini"] * 20):  # dear ones, then cheap ones, until little is left
        ask(model=model, user="spender")
    judged = {"request_id": served, "score": 1, "comment": "good"}
    assert watch.answer(http.post("/v1/feedback", json=judged)).status_code == 200
    return served


def strangers(http: httpx.Client, watch: Watch) -> None:
    """What those do who have no key, or another one, or put theirs where none belongs."""
    for key in OF_CLIENTS[2:]:
        for scheme in ("Bearer", "bearer ", "Basic", ""):
            headers = {
                "authorization": f"{scheme} {key}".strip(),
                "x-api-key": key,
                "cookie": f"tollhouse_session={key}",
            }
            watch.answer(http.get("/providers/health", headers=headers))
            watch.answer(http.post("/v1/chat/completions", headers=headers, json={"model": "gpt-4o-mini"}))
            watch.answer(http.get("/v1/models", headers=headers))
        watch.answer(http.post("/dashboard/session", json={"key": key}))


def operators(http: httpx.Client, served: str, watch: Watch) -> tuple[str, str]:
    """What those who run it do, at every door; the text of a managed key, and of a session."""
    made = http.post("/keys", json={"name": "ci", "models": ["gpt-*"]}, headers=BEARER)
    managed = made.json()["key"]
    session = http.post("/dashboard/session", json={"key": ADMIN})
    cookie = session.cookies["tollhouse_session"]
    own = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}
    with httpx.Client(
        base_url=http.base_url, headers={"authorization": f"Bearer {managed}"}, timeout=PATIENCE
    ) as other:
        watch.answer(other.post("/v1/chat/completions", json={**own, "model": "gpt-4o-mini"}))
        watch.answer(other.post("/v1/chat/completions", json={**own, "model": "claude-sonnet-5-5"}))
    paths = watch.answer(http.get("/openapi.json")).json()["paths"]
    parts = {"provider": "openai", "request_id": served, "name": "ci", "model_id": "gpt-4o-mini"}
    pages = {"/dashboard": {"get": 0}, "/dashboard/snapshot": {"get": 0}, "/dashboard/assets/none": {"get": 0}}
    for path, item in {**paths, **pages}.items():
        for method in item.keys() - {"delete"}:
            for headers in (BEARER, {"cookie": f"tollhouse_session={cookie}"}, {}):
                if (method, path) not in {("post", "/keys/{name}/rotate"), ("post", "/keys")}:
                    body = {"key": ADMIN} if path == "/dashboard/session" and method == "post" else {"junk": 1}
                    sent = http.request(method, path.format(**parts), headers=headers, json=body)
                    if path != "/dashboard/session":
                        watch.answer(sent)
    for format in ("json", "csv"):
        watch.answer(http.get(f"/providers/costs/export?format={format}", headers=BEARER))
    watch.answer(http.get("/providers/decisions?limit=1000", headers=BEARER))
    watch.answer(http.delete("/keys/ci", headers=BEARER))
    watch.answer(http.get("/providers/health", headers={"authorization": f"Bearer {managed}"}))
    return managed, cookie


@pytest.mark.parametrize("shared", [False, True], ids=["SQLite", "Redis"])
def test_no_secret_leaves_the_process(tmp_path, echo, shared):
    watch = Watch()
    with protected() as server, Simulator.start() as vendors:
        environment = environ(vendors, tmp_path, server if shared else None)
        with Tollhouse.start(environment, config=config(echo)) as house:
            bearer = {"authorization": f"Bearer {CLIENT}"}
            with httpx.Client(base_url=house.url, headers=bearer, timeout=PATIENCE) as http:
                served = clients(http, vendors, watch)
            with httpx.Client(base_url=house.url, timeout=PATIENCE) as http:
                managed, session = operators(http, served, watch)
                strangers(http, watch)
            house.wait_log("budget alert", timeout=PATIENCE)
            house.signal(SIGTERM)
            assert house.wait() == 0
            watch.process(house, tmp_path / "data")
        if shared:
            watch.redis(server)
        assert len(watch.emitted) > 150
        assert watch.leaks(*SECRETS, managed, session, *OF_CLIENTS) == []
        assert watch.leaks(PROMPT, but="/v1/chat/completions") == []
        heard = [*vendors.requests(), *echo.heard]
        assert len(heard) > 50
        assert (
            found((*OF_CLIENTS, managed, session, ALERT, PEPPER, REDIS), json.dumps(heard, default=repr).encode()) == []
        )
        assert {path.partition("?")[0] for path, _ in echo.heard} == {"/v1/chat/completions", f"/hook/{HOOK}"}
        for path, sent in echo.heard:
            assert found((OPENAI, ANTHROPIC, GEMINI), sent) == []
            assert bool(found((ECHO,), sent)) == (not path.startswith("/hook"))


def test_no_secret_is_in_what_a_crash_leaves_behind(tmp_path, echo):
    watch = Watch()
    with Simulator.start() as vendors:
        environment = environ(vendors, tmp_path, None)
        module = ("tests.crashing", "after-send:3")
        with Tollhouse.start(environment, config=config(echo), module=module) as house:
            bearer = {"authorization": f"Bearer {CLIENT}"}
            body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 20}
            with httpx.Client(base_url=house.url, headers=bearer, timeout=PATIENCE) as http:
                for _ in range(2):
                    watch.answer(http.post("/v1/chat/completions", json=body))
                with pytest.raises(httpx.TransportError):
                    http.post("/v1/chat/completions", json=body)
            assert house.wait() < 0
            watch.process(house, tmp_path / "data")
        assert [where for where, _ in watch.emitted if where.startswith("file ")]
        assert watch.leaks(*SECRETS) == []
        assert watch.leaks(PROMPT, but="/v1/chat/completions") == []


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        pytest.param({"REDIS_URL": f"{REDIS}@host"}, "REDIS_URL", id="a URL of Redis that is none"),
        pytest.param({"OPENAI_BASE_URL": f"https://user:{OPENAI}@host/v1"}, "OPENAI_BASE_URL", id="a key in a URL"),
        pytest.param({"TOLLHOUSE_ADMIN_KEY": f"{ADMIN} {ADMIN}"}, "TOLLHOUSE_ADMIN_KEY", id="a key with a space"),
        pytest.param(
            {"OPENAI_API_KEY": "", "OPENAI_API_KEY_FILE": OPENAI}, "OPENAI_API_KEY_FILE", id="a key as a path"
        ),
        pytest.param({"PRIMARY_LLM_PROVIDER": OPENAI}, "PRIMARY_LLM_PROVIDER", id="a key in the wrong place"),
    ],
)
def test_no_secret_is_in_what_is_said_of_a_bad_configuration(tmp_path, broken, named):
    from tests.tollhouse import run

    done = run(
        "serve", "--port", "0", environ={"OPENAI_API_KEY": OPENAI, "TOLLHOUSE_DATA_DIR": str(tmp_path), **broken}
    )
    assert done.returncode == 2
    assert named in done.stderr
    assert found(SECRETS, (done.stdout + done.stderr).encode()) == []


def test_a_canary_would_be_found():
    """However it is written."""
    for written in (
        ADMIN,
        quote(f"/{ADMIN}?"),
        base64.b64encode(f"user:{ADMIN}".encode()).decode(),
        ADMIN.encode().hex(),
    ):
        assert found(SECRETS, f"something {written} something".encode()) == [ADMIN]
    for pad in ("", "a", "ab", "abc"):
        assert found(SECRETS, base64.b64encode(f"{pad}{REDIS}{pad}".encode())) == [REDIS]
