"""Everything that can be set, read once: the only room that asks the environment and files of configuration.

All faults are found at once, one line each, with what was expected; nothing is started on a bad configuration.
"""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from proxy import aliases, document, providers, resilience, spending
from proxy import catalog as catalogs
from proxy.bound import Rules
from proxy.budget import Budget
from proxy.catalog import Catalog, Group
from proxy.document import DocumentError
from proxy.environment import Environment, Secret, Sources, flag, reason, wrong_with
from proxy.health import Policy
from proxy.http1 import proxies
from proxy.http1.proxies import DIRECT, Proxies, ProxyError
from proxy.limits import Limits as Limits
from proxy.prices import PriceTableError
from proxy.providers import Provider
from proxy.resilience import Hedging, Retries
from proxy.routing import STRATEGIES
from proxy.store import redis_address
from proxy.timeouts import LONGEST, Timeouts

_OTLP = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")

_SOME_SECONDS = "a number of seconds, 0 or more"


class SettingsError(ValueError):
    """The configuration cannot be used. `faults` has one line per fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class Alerting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told when a budget comes to 90 and to 100 percent, beside the log and the metrics."""

    webhook: str | None = None  # POSTed to; signed with TOLLHOUSE_ALERT_SECRET if that is set

    def __post_init__(self) -> None:
        if self.webhook is not None and wrong_with(self.webhook.partition("?")[0]):
            raise ValueError("`webhook`: expected an http or https URL")  # not shown: such URLs hold tokens


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The optional YAML file."""

    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    spending: Rules = Rules()
    alerts: Alerting = Alerting()
    retries: Retries = Retries()
    hedging: Hedging = Hedging()
    budgets: Any = None  # read by `proxy.spending`
    providers: Any = None  # read by `proxy.providers`
    aliases: Any = None  # read by `proxy.aliases`, and so are the tasks
    tasks: Any = None
    health: Any = None  # read by `proxy.resilience`


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration. Handed down in parts, never whole and never as a global."""

    host: str
    port: int
    providers: tuple[Provider, ...]
    off: Mapping[str, str]  # providers without a key, and the variable that would bring each into being
    primary: str | None
    fallback: bool
    strategy: str
    tasks: Mapping[str, str]  # task -> provider
    groups: tuple[Group, ...]
    health: Policy
    retries: Retries
    hedging: Hedging
    catalog: Catalog
    pricing: Path
    budgets: tuple[Budget, ...]
    spending: Rules
    alerts: Alerting
    alert_secret: Secret | None
    redis_url: Secret | None
    data_dir: Path
    client_keys: tuple[Secret, ...]
    admin_key: Secret | None
    anonymous: bool  # beyond loopback without keys
    managed_keys: bool  # no client comes in without a key, even if the environment holds none
    key_secret: Secret | None  # what managed keys are hashed with; None: a secret that the store keeps
    log_prompts: int  # characters of a prompt and of an answer that the log may show; 0: none
    telemetry: bool  # OpenTelemetry; the rest of it is read by its SDK, from the variables that its specification names
    log_format: Literal["json", "console"]
    log_level: str
    drain_seconds: float
    drain_notice_seconds: float  # of these
    proxies: Proxies  # between us and the vendors
    timeouts: Timeouts
    limits: Limits
    files: tuple[Path, ...]  # that all of this was read from, the price table aside
    sources: Sources


def load(
    environ: Mapping[str, str],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    config: str | None = None,
    terminal: bool = False,
) -> Settings:
    """Read everything. `terminal` says whether a person watches the log. Raises `SettingsError` with all faults."""
    env = Environment(environ)
    settings = _read(env, host, port, config or env.text("TOLLHOUSE_CONFIG"), terminal, _proxies(env, environ))
    if env.faults:
        raise SettingsError(env.faults)
    return settings


def _read(env: Environment, host: str, port: int, path: str | None, terminal: bool, between: Proxies) -> Settings:
    """What can be read; of what cannot, `env` has the faults."""
    file = _file(env, path)
    before = len(env.faults)
    found = providers.read(env, file.providers, f"{path}: providers")
    catalog = _catalog(env)
    sure = catalog if len(env.faults) == before else None
    client_keys = env.secrets("TOLLHOUSE_CLIENT_KEYS")
    admin_key = env.secret("TOLLHOUSE_ADMIN_KEY")
    managed = _managed(env, admin_key)
    anonymous = _anonymous(env, host, bool((client_keys or managed) and admin_key))
    return Settings(
        host=host,
        port=port,
        providers=found.on,
        off=found.off,
        primary=providers.primary(env, found),
        fallback=env.read("ENABLE_LLM_FALLBACK", flag, True, "true or false"),
        strategy=env.read("LLM_ROUTING_STRATEGY", _strategy, "fallback", f"one of {', '.join(STRATEGIES)}"),
        tasks=aliases.tasks(env, file.tasks, f"{path}: tasks", found),
        groups=aliases.read(env, file.aliases, f"{path}: aliases", sure, found),
        health=resilience.health(env, file.health, f"{path}: health"),
        retries=file.retries,
        hedging=file.hedging,
        catalog=catalog,
        pricing=_pricing(env),
        budgets=spending.read(env, file.budgets, f"{path}: budgets"),
        spending=file.spending,
        alerts=file.alerts,
        alert_secret=env.secret("TOLLHOUSE_ALERT_SECRET"),
        redis_url=_redis(env),
        data_dir=Path(env.text("TOLLHOUSE_DATA_DIR") or ".tollhouse"),
        client_keys=client_keys,
        admin_key=admin_key,
        anonymous=anonymous,
        managed_keys=managed,
        key_secret=env.secret("TOLLHOUSE_KEY_SECRET"),
        log_prompts=env.read("TOLLHOUSE_LOG_PROMPTS", _characters, 0, "a number of characters, at most 100000"),
        telemetry=env.read("TOLLHOUSE_OTEL", flag, bool(env.named(*_OTLP)), "true or false"),
        log_format=env.read("TOLLHOUSE_LOG", _format, "console" if terminal else "json", "json or console"),
        log_level=env.read("TOLLHOUSE_LOG_LEVEL", _level, "info", "debug, info, warning or error"),
        drain_seconds=env.read("TOLLHOUSE_DRAIN_SECONDS", _seconds, 30.0, _SOME_SECONDS),
        drain_notice_seconds=env.read("TOLLHOUSE_DRAIN_NOTICE_SECONDS", _seconds, 0.0, _SOME_SECONDS),
        proxies=between,
        timeouts=file.timeouts,
        limits=file.limits,
        files=(*([Path(path)] if path else ()), *env.files),
        sources=env.sources,
    )


def _managed(env: Environment, admin_key: Secret | None) -> bool:
    managed = env.read("TOLLHOUSE_MANAGED_KEYS", flag, False, "true or false")
    if managed and admin_key is None:
        env.faults.append("TOLLHOUSE_MANAGED_KEYS: needs TOLLHOUSE_ADMIN_KEY, with which such keys are made")
    return managed


def _redis(env: Environment) -> Secret | None:
    """Where the shared state is. The URL holds a password more often than not, so that no fault shows it."""
    url = env.secret("REDIS_URL")
    try:
        if url:
            redis_address.read(url.reveal())
    except redis_address.AddressError as error:
        env.faults.append(f"REDIS_URL: {error}")
    return url


def _proxies(env: Environment, environ: Mapping[str, str]) -> Proxies:
    """Who stands in between. The lower spelling counts, even if it is empty."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        env.named(name if name in environ else name.upper())
    try:
        return proxies.read(environ)
    except ProxyError as error:
        env.faults.append(str(error))
        return DIRECT


def _strategy(text: str) -> str:
    return {name: name for name in STRATEGIES}[text.lower()]


def _format(text: str) -> Literal["json", "console"]:
    words: dict[str, Literal["json", "console"]] = {"json": "json", "console": "console"}
    return words[text.lower()]


def _level(text: str) -> str:
    return {word: word for word in ("debug", "info", "warning", "error")}[text.lower()]


def _characters(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 6 or int(text) > 100_000:
        raise ValueError(text)
    return int(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= LONGEST:
        raise ValueError(text)
    return seconds


def is_loopback(host: str) -> bool:
    """True if nobody outside this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _anonymous(env: Environment, host: str, keys: bool) -> bool:
    """Whether callers without a key are welcome beyond loopback; a fault if they could come without being so."""
    allowed = env.read("TOLLHOUSE_ALLOW_ANONYMOUS", flag, False, "true or false")
    if not (is_loopback(host) or keys or allowed):
        env.faults.append(
            f"--host {host}: listening beyond loopback needs TOLLHOUSE_CLIENT_KEYS (or TOLLHOUSE_MANAGED_KEYS=true) "
            "and TOLLHOUSE_ADMIN_KEY, or TOLLHOUSE_ALLOW_ANONYMOUS=true"
        )
    return allowed


def _file(env: Environment, path: str | None) -> File:
    if path is None:
        return File()
    try:
        raw = document.read(Path(path).read_bytes())
    except OSError as error:
        env.faults.append(f"{path}: {reason(error)}")
        return File()
    except DocumentError as error:
        env.faults.append(f"{path}: {error}")
        return File()
    env.note(path, raw)
    try:
        return File() if raw is None else msgspec.convert(raw, File)
    except msgspec.ValidationError as error:
        env.faults.append(f"{path}: {error}")
        rest = raw if isinstance(raw, dict) else {}
        untyped = ("providers", "budgets", "aliases", "tasks", "health")
        return msgspec.convert({name: rest.get(name) for name in untyped}, File)


def _pricing(env: Environment) -> Path:
    named = env.text("TOLLHOUSE_PRICING")
    return Path(named) if named else shipped_prices()


def _catalog(env: Environment) -> Catalog:
    """The price table: the one that was named, else the one that came with the installation."""
    path = _pricing(env)
    try:
        return catalogs.load(path.read_bytes())
    except OSError as error:
        env.faults.append(f"TOLLHOUSE_PRICING: cannot read {path}: {reason(error)}")
    except PriceTableError as error:
        env.faults.extend(f"{path}: {fault}" for fault in error.faults)
    return Catalog(())


def shipped_prices() -> Path:
    """The price table of this installation: inside the package, or at the root of a checkout."""
    here = Path(__file__).resolve().parent
    packed = here / "assets" / "pricing.yaml"
    return packed if packed.exists() else here.parent / "pricing.yaml"


def routing_state(settings: Settings) -> Mapping[str, str]:
    """Who is chosen and how, in words: for the log at start-up, and for `check`."""
    health, hedging = settings.health, settings.hedging
    rows = aliases.rows_of(settings.providers)
    said = [
        f"{aliases.shown(group)} ({' '.join([str(len(group.members)), *filter(None, [group.strategy])])})"
        for group in settings.groups
    ]
    idle = [aliases.shown(group) for group in settings.groups if not settings.catalog.serves(group, rows)]
    state = {
        "strategy": settings.strategy,
        "groups": ", ".join(said) or "none",
        "health": f"opens at {health.consecutive} failures in a row, or {health.rate:.0%} of {health.least} or more "
        f"requests in {health.window:g} s; for {health.cooldown:g} s, at most {health.longest:g} s",
        "hedging": f"on (at most {hedging.spend:.0%} on top)" if hedging.enabled else "off",
    }
    if idle:
        state["idle"] = f"no member has a key: {', '.join(idle)}"
    if between := settings.proxies.by_scheme:
        state["proxies"] = ", ".join(f"{scheme} by {proxy.host}:{proxy.port}" for scheme, proxy in between.items())
    return state
