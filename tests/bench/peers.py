"""Who is measured: how each is started and told where the vendors are, in the leanest form that does the same work."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench import installation
from tests.bench.cases import CASES, PROMISED, Case
from tests.tollhouse import surroundings

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-bench-client"
VENDOR_KEYS = {"openai": "sk-bench-openai", "anthropic": "sk-ant-bench", "gemini": "AIza-bench"}
Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Place:
    """What a subject is given: a directory of its own, its port, the vendors' port, a Redis if it wants one."""

    directory: Path
    port: int
    vendors: int
    redis: str = ""

    @property
    def vendor(self) -> str:
        return f"http://127.0.0.1:{self.vendors}"

    def write(self, name: str, content: str) -> Path:
        file = self.directory / name
        file.write_text(content, encoding="utf-8")
        return file


@dataclass(frozen=True, slots=True)
class Launch:
    """The command of a subject, and its environment beyond what any process needs."""

    argv: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)


def _bearer(case: Case, place: Place) -> Headers:
    return [("authorization", f"Bearer {KEY}")]


@dataclass(frozen=True, slots=True)
class Subject:
    """One contestant. `about` says how it is set up; `pace` stretches its runs, because it answers less often."""

    title: str
    about: str
    launch: Callable[[Place, Path], Launch]
    install: Callable[[], installation.Installed]
    headers: Callable[[Case, Place], Headers] = _bearer
    model: Callable[[Case], str] = lambda case: case.model
    native: bool = False  # its clients speak the vendor's language, since it translates none
    redis: bool = False
    compiled: bool = False
    like: bool = False  # set up to do what we do beside forwarding, as far as it can
    rate: float = 50.0  # requests a second at which its times are taken
    cases: Sequence[str] = tuple(CASES)

    def language(self, case: Case) -> str:
        return case.vendor if self.native else "openai"


def _nginx(place: Place, home: Path) -> Launch:
    file = place.write("nginx.conf", NGINX % {"dir": place.directory, "port": place.port, "vendors": place.vendors})
    return Launch([str(home / "usr/sbin/nginx"), "-e", "stderr", "-p", str(place.directory), "-c", str(file)])


NGINX = """\
daemon off; worker_processes 1; pid %(dir)s/nginx.pid; error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 100000000; keepalive_timeout 1h; client_body_buffer_size 256k;
  client_body_temp_path %(dir)s/body; proxy_temp_path %(dir)s/proxy; fastcgi_temp_path %(dir)s/fastcgi;
  uwsgi_temp_path %(dir)s/uwsgi; scgi_temp_path %(dir)s/scgi;
  upstream vendors { server 127.0.0.1:%(vendors)d; keepalive 64; keepalive_requests 100000000; keepalive_timeout 1h; }
  server {
    listen 127.0.0.1:%(port)d;
    location / {
      proxy_pass http://vendors; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }
  }
}
"""


def _native_headers(case: Case, place: Place) -> Headers:
    """What each vendor's own SDK sends."""
    key = VENDOR_KEYS[case.vendor]
    return {
        "openai": [("authorization", f"Bearer {key}")],
        "anthropic": [("x-api-key", key), ("anthropic-version", "2023-06-01")],
        "gemini": [("x-goog-api-key", key)],
    }[case.vendor]


def _tollhouse(place: Place, home: Path) -> Launch:
    config = place.write("tollhouse.yaml", TOLLHOUSE)
    environ = {
        "TOLLHOUSE_CLIENT_KEYS": KEY,
        "TOLLHOUSE_CONFIG": str(config),
        "TOLLHOUSE_DATA_DIR": str(place.directory / "data"),
        "TOLLHOUSE_LOG": "json",
        "OPENAI_BASE_URL": f"{place.vendor}/v1",
        "ANTHROPIC_BASE_URL": place.vendor,
        "GEMINI_BASE_URL": place.vendor,
        "PYTHONPATH": str(ROOT),
        **{f"{vendor.upper()}_API_KEY": key for vendor, key in VENDOR_KEYS.items()},
        **({"REDIS_URL": place.redis} if place.redis else {}),
    }
    return Launch([str(home / "bin/python"), "-m", "proxy", "serve", "--port", str(place.port)], environ)


TOLLHOUSE = """\
budgets:
- {daily: "1000000", monthly: "9000000"}
- {user: "*", daily: "500000"}
"""


def _tollhouse_headers(case: Case, place: Place) -> Headers:
    return [*_bearer(case, place), ("x-tollhouse-user", "bench")]


def _ferrogw(place: Place, home: Path, *plugins: object, **more: str) -> Launch:
    config = {
        "strategy": {"mode": "fallback"},
        "targets": [{"virtual_key": vendor} for vendor in VENDOR_KEYS],
        "plugins": plugins,
    }
    environ = {
        "GATEWAY_CONFIG": str(place.write("config.json", json.dumps(config))),
        "PORT": str(place.port),
        "RATE_LIMIT_RPS": "1000000",
        "RATE_LIMIT_BURST": "1000000",
        "FERRO_MODEL_CATALOG_TIMEOUT": "0",  # it would ask a host that is not there
        "OPENAI_API_KEY": VENDOR_KEYS["openai"],
        "OPENAI_BASE_URL": f"{place.vendor}/v1",
        "ANTHROPIC_API_KEY": VENDOR_KEYS["anthropic"],
        "ANTHROPIC_BASE_URL": place.vendor,
        "GEMINI_API_KEY": VENDOR_KEYS["gemini"],
        "GEMINI_BASE_URL": f"{place.vendor}/v1beta",
        **more,
    }
    return Launch([str(home / "bin/ferrogw"), "serve"], environ)


def _ferrogw_lean(place: Place, home: Path) -> Launch:
    return _ferrogw(place, home, ALLOW_UNAUTHENTICATED_PROXY="true")


def _ferrogw_like(place: Place, home: Path) -> Launch:
    limit = {"spend_limit_usd": 1_000_000.0, "input_per_m_tokens": 3.0, "output_per_m_tokens": 15.0}
    plugins = [
        {"name": name, "type": kind, "stage": stage, "enabled": True, "config": config}
        for name, kind, config in (("budget", "ratelimit", limit), ("request-logger", "logging", {"level": "info"}))
        for stage in ("before_request", "after_request")
    ]
    return _ferrogw(place, home, *plugins, MASTER_KEY=KEY)


def _portkey(place: Place, home: Path) -> Launch:
    script = home / "node_modules/@portkey-ai/gateway/build/start-server.js"
    return Launch(["node", str(script), f"--port={place.port}", "--headless"], {"NODE_ENV": "production"})


def _portkey_headers(case: Case, place: Place) -> Headers:
    name = {"openai": "openai", "anthropic": "anthropic", "gemini": "google"}[case.vendor]
    tail = {"openai": "/v1", "anthropic": "/v1", "gemini": ""}[case.vendor]
    return [
        ("authorization", f"Bearer {VENDOR_KEYS[case.vendor]}"),
        ("x-portkey-provider", name),
        ("x-portkey-custom-host", f"{place.vendor}{tail}"),
    ]


def _litellm(place: Place, home: Path, *, like: bool = False) -> Launch:
    models = []
    for vendor, key in VENDOR_KEYS.items():
        model = next(case.model for case in CASES.values() if case.vendor == vendor)
        base = {"openai": f"{place.vendor}/v1", "anthropic": place.vendor, "gemini": f"{place.vendor}/v1beta"}[vendor]
        params: dict[str, object] = {"model": f"{vendor}/{model}", "api_base": base, "api_key": key}
        if like:
            params |= {"max_budget": 9_000_000, "budget_duration": "30d"}
        models.append({"model_name": model, "litellm_params": params})
    settings: dict[str, object] = {"telemetry": False}
    told = {"model_list": models, "general_settings": {"master_key": KEY}, "litellm_settings": settings}
    if like:
        settings |= {"json_logs": True, "callbacks": ["prometheus"]}
        daily = {vendor: {"budget_limit": 1_000_000, "time_period": "1d"} for vendor in VENDOR_KEYS}
        store = urlsplit(place.redis)
        told["router_settings"] = {
            "redis_host": store.hostname,
            "redis_port": store.port,
            "provider_budget_config": daily,
        }
    config = place.write("config.yaml", json.dumps(told))
    argv = [str(home / "bin/litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(place.port)]
    return Launch(argv, {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"})


def _litellm_like(place: Place, home: Path) -> Launch:
    return _litellm(place, home, like=True)


_FERROGW = Subject(
    "ferrogw (Go)", "no key check, no budget, no plugin", _ferrogw_lean, installation.ferrogw, compiled=True
)
_LITELLM = Subject(
    "LiteLLM (Python)",
    "one worker, a master key, no database, no budget",
    _litellm,
    installation.litellm,
    rate=10.0,
)


SUBJECTS: Mapping[str, Subject] = {
    "nginx": Subject(
        "nginx",
        "one worker, keep-alive to the vendor, no buffering of answers, no log; clients speak each vendor's language",
        _nginx,
        installation.nginx,
        _native_headers,
        native=True,
    ),
    "tollhouse-redis": Subject(
        "**tollhouse**, Redis",
        "client key, three budget scopes (daily, monthly, daily of each user), health, JSON log line, metrics, journal",
        _tollhouse,
        installation.ours,
        _tollhouse_headers,
        redis=True,
    ),
    "tollhouse": Subject(
        "**tollhouse**, embedded store",
        "the same, its state in a SQLite file",
        _tollhouse,
        installation.ours,
        _tollhouse_headers,
    ),
    "ferrogw": _FERROGW,
    "ferrogw-like": replace(
        _FERROGW,
        title="ferrogw, the same on",
        about="its key check, its budget of each key (in memory), its log of requests, its metrics",
        launch=_ferrogw_like,
        like=True,
        cases=PROMISED,
    ),
    "portkey": Subject(
        "Portkey (Node)",
        "no key check: each request brings the vendor's key and its address; without Gemini's streams, which it ends "
        "without `[DONE]`",
        _portkey,
        installation.portkey,
        _portkey_headers,
        rate=25.0,
        cases=tuple(case for case in CASES if case != "gemini-stream"),
    ),
    "litellm": _LITELLM,
    "litellm-like": replace(
        _LITELLM,
        title="LiteLLM, the same on",
        about="the same with a JSON log, Prometheus' metrics, and, kept in Redis, daily budgets of the vendors and "
        "monthly ones of the models; its budgets of keys and users want a database, and are off",
        launch=_litellm_like,
        redis=True,
        like=True,
        cases=PROMISED,
    ),
}


def environ_of(launch: Launch) -> dict[str, str]:
    """What the process gets: nothing of ours that it does not need, least of all somebody's real keys."""
    return surroundings({"PYTHONDONTWRITEBYTECODE": "", **launch.environ, "NO_PROXY": "127.0.0.1"})
