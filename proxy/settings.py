"""Everything that can be set, read once: the only room that asks the environment and files of configuration.

All faults are found at once, one line each, with what was expected; nothing is started on a bad configuration.
"""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from proxy import catalog as catalogs
from proxy import providers, spending
from proxy.bound import Rules
from proxy.budget import Budget
from proxy.catalog import Catalog
from proxy.environment import Environment, Secret, flag, reason, wrong_with
from proxy.prices import PriceTableError
from proxy.providers import Provider

Strategy = Literal["fallback"]
STRATEGIES: tuple[Strategy, ...] = ("fallback",)
_LONGEST = 1e6  # seconds; clocks and timers overflow somewhere above it


class SettingsError(ValueError):
    """The configuration cannot be used. `faults` has one line per fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


def _check_seconds(name: str, seconds: float) -> None:
    if not 0 < seconds <= _LONGEST:
        raise ValueError(f"`{name}` must be more than 0 and at most {_LONGEST:.0f} seconds")


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds. A whole answer is written before its first byte comes, so that one is waited for longer."""

    connect: float = 5.0
    first_byte: float = 60.0  # of a streamed answer
    first_byte_plain: float = 300.0  # of an answer that comes whole
    idle: float = 120.0  # between two reads
    total: float = 900.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            _check_seconds(name, getattr(self, name))


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client may send, and what is fetched for it. Bytes and seconds."""

    body: int = 32 * 1024 * 1024
    image: int = 20 * 1024 * 1024
    image_seconds: float = 10.0
    images_from_private_networks: bool = False

    def __post_init__(self) -> None:
        _check_seconds("image_seconds", self.image_seconds)
        for name in ("body", "image"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1 byte")


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
    budgets: Any = None  # read by `proxy.spending`
    providers: Any = None  # read by `proxy.providers`


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration. Handed down in parts, never whole and never as a global."""

    host: str
    port: int
    providers: tuple[Provider, ...]
    off: Mapping[str, str]  # providers without a key, and the variable that would bring each into being
    primary: str | None
    fallback: bool
    strategy: Strategy
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
    log_format: Literal["json", "console"]
    log_level: str
    drain_seconds: float
    timeouts: Timeouts
    limits: Limits


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
    path = config or env.text("TOLLHOUSE_CONFIG")
    file = _file(env, path)
    found = providers.read(env, file.providers, f"{path}: providers")
    client_keys = env.secrets("TOLLHOUSE_CLIENT_KEYS")
    admin_key = env.secret("TOLLHOUSE_ADMIN_KEY")
    _check_open(env, host, bool(client_keys and admin_key))
    settings = Settings(
        host=host,
        port=port,
        providers=found.on,
        off=found.off,
        primary=providers.primary(env, found),
        fallback=env.read("ENABLE_LLM_FALLBACK", flag, True, "true or false"),
        strategy=env.read("LLM_ROUTING_STRATEGY", _strategy, "fallback", f"one of {', '.join(STRATEGIES)}"),
        catalog=_catalog(env),
        pricing=_pricing(env),
        budgets=spending.read(env, file.budgets, f"{path}: budgets"),
        spending=file.spending,
        alerts=file.alerts,
        alert_secret=env.secret("TOLLHOUSE_ALERT_SECRET"),
        redis_url=_redis(env),
        data_dir=Path(env.text("TOLLHOUSE_DATA_DIR") or ".tollhouse"),
        client_keys=client_keys,
        admin_key=admin_key,
        log_format=env.read("TOLLHOUSE_LOG", _format, "console" if terminal else "json", "json or console"),
        log_level=env.read("TOLLHOUSE_LOG_LEVEL", _level, "info", "debug, info, warning or error"),
        drain_seconds=env.read("TOLLHOUSE_DRAIN_SECONDS", _seconds, 30.0, "a number of seconds, 0 or more"),
        timeouts=file.timeouts,
        limits=file.limits,
    )
    if env.faults:
        raise SettingsError(env.faults)
    return settings


def _redis(env: Environment) -> Secret | None:
    """Where the shared state is. The URL holds a password more often than not, so that no fault shows it."""
    url = env.secret("REDIS_URL")
    if url and not url.reveal().startswith(("redis://", "rediss://", "redis+", "rediss+", "unix://")):
        env.faults.append("REDIS_URL: expected a URL such as redis://HOST:6379/0; what is set (not shown) is none")
    return url


def _strategy(text: str) -> Strategy:
    return STRATEGIES[STRATEGIES.index(text.lower())]


def _format(text: str) -> Literal["json", "console"]:
    words: dict[str, Literal["json", "console"]] = {"json": "json", "console": "console"}
    return words[text.lower()]


def _level(text: str) -> str:
    return {word: word for word in ("debug", "info", "warning", "error")}[text.lower()]


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= _LONGEST:
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


def _check_open(env: Environment, host: str, keys: bool) -> None:
    anonymous = env.read("TOLLHOUSE_ALLOW_ANONYMOUS", flag, False, "true or false")
    if not (is_loopback(host) or keys or anonymous):
        env.faults.append(
            f"--host {host}: listening beyond loopback needs TOLLHOUSE_CLIENT_KEYS and TOLLHOUSE_ADMIN_KEY, "
            "or TOLLHOUSE_ALLOW_ANONYMOUS=true"
        )


def _file(env: Environment, path: str | None) -> File:
    if path is None:
        return File()
    try:
        raw: Any = msgspec.yaml.decode(Path(path).read_bytes())
    except OSError as error:
        env.faults.append(f"{path}: {reason(error)}")
        return File()
    except ValueError as error:  # msgspec's errors, PyYAML's, and those of the dates it makes
        env.faults.append(f"{path}: {' '.join(str(error).split())}")
        return File()
    try:
        return File() if raw is None else msgspec.convert(raw, File)
    except msgspec.ValidationError as error:
        env.faults.append(f"{path}: {error}")
        rest = raw if isinstance(raw, dict) else {}
        return File(providers=rest.get("providers"), budgets=rest.get("budgets"))


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
