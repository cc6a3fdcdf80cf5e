"""Everything that can be set, read once: the only room that looks at the environment and at files of configuration.

All faults are found at once, one line each, with what was expected; nothing is started on a bad configuration.
"""

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from adapters.base import Vendor
from proxy import catalog as catalogs
from proxy.catalog import Catalog
from proxy.prices import PriceTableError

T = TypeVar("T")
Strategy = Literal["fallback"]
STRATEGIES: tuple[Strategy, ...] = ("fallback",)
# Words of the contract that this version does not act on. To ignore them would be to promise what is not done.
NOT_YET = {
    "LLM_DAILY_BUDGET": "this version does not enforce budgets yet; it will not start as if it did. Unset it",
    "LLM_MONTHLY_BUDGET": "this version does not enforce budgets yet; it will not start as if it did. Unset it",
}
VENDORS: tuple[Vendor, ...] = ("gemini", "openai", "anthropic")  # the order in which a primary is looked for
_KEYS: Mapping[Vendor, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
}
_URLS: Mapping[Vendor, tuple[tuple[str, ...], str]] = {
    "openai": (("OPENAI_BASE_URL",), "https://api.openai.com/v1"),
    "anthropic": (("ANTHROPIC_BASE_URL",), "https://api.anthropic.com"),
    "gemini": (("GEMINI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"), "https://generativelanguage.googleapis.com"),
}


class SettingsError(ValueError):
    """The configuration cannot be used. `faults` has one line per fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class Secret:
    """A key that does not show itself: not in a log, not in a traceback, not in a page."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the one place that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds. A whole answer is written before its first byte comes, so that one is waited for longer."""

    connect: float = 5.0
    first_byte: float = 60.0  # of a streamed answer
    first_byte_plain: float = 300.0  # of an answer that comes whole
    idle: float = 120.0  # between two reads
    total: float = 900.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be more than 0 seconds")


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client may send, and what is fetched for it. Bytes and seconds."""

    body: int = 32 * 1024 * 1024
    image: int = 20 * 1024 * 1024
    image_seconds: float = 10.0
    images_from_private_networks: bool = False


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The optional YAML file."""

    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One account at one vendor."""

    name: str
    vendor: Vendor
    base_url: str
    key: Secret


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration. Handed down in parts, never whole and never as a global."""

    host: str
    port: int
    providers: tuple[Provider, ...]
    primary: str | None
    fallback: bool
    strategy: Strategy
    catalog: Catalog
    redis_url: Secret | None
    data_dir: Path
    client_keys: tuple[Secret, ...]
    admin_key: Secret | None
    log_format: Literal["json", "console"]
    log_level: str
    drain_seconds: float
    timeouts: Timeouts
    limits: Limits


class _Environment:
    """Reads variables; what is wrong is noted, not raised, so that all of it can be told."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.faults: list[str] = []

    def text(self, *names: str) -> str | None:
        """The first of `names` that is set to something."""
        return next((value for name in names if (value := self._environ.get(name, "").strip())), None)

    def read(self, name: str, parse: Callable[[str], T], default: T, expected: str) -> T:
        """`name` as `parse` reads it; a `ValueError` becomes a fault that says what was expected."""
        value = self.text(name)
        if value is None:
            return default
        try:
            return parse(value)
        except (ValueError, KeyError):
            self.faults.append(f"{name}: expected {expected}; got {value!r}")
            return default

    def secret(self, *names: str) -> str | None:
        """The first of `names` that is set, or the content of the file that `NAME_FILE` names."""
        for name in names:
            if value := self.text(name):
                return value
            if path := self.text(f"{name}_FILE"):
                try:
                    if content := Path(path).read_text().strip():
                        return content
                    self.faults.append(f"{name}_FILE: {path} is empty; expected a key in it")
                except (OSError, UnicodeDecodeError) as error:
                    self.faults.append(f"{name}_FILE: cannot read {path}: {_why(error)}")
        return None


def _why(error: Exception) -> str:
    return (error.strerror or "unreadable") if isinstance(error, OSError) else "not text in UTF-8"


def load(
    environ: Mapping[str, str],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    config: str | None = None,
    terminal: bool = False,
) -> Settings:
    """Read everything. `terminal` says whether a person watches the log. Raises `SettingsError` with all faults."""
    env = _Environment(environ)
    file = _file(env, config or env.text("TOLLHOUSE_CONFIG"))
    providers = _providers(env)
    for name, why in NOT_YET.items():
        if env.text(name):
            env.faults.append(f"{name}: {why}")
    client_keys = tuple(Secret(key) for key in _list(env.secret("TOLLHOUSE_CLIENT_KEYS") or ""))
    admin_key = env.secret("TOLLHOUSE_ADMIN_KEY")
    _check_open(env, host, bool(client_keys and admin_key))
    settings = Settings(
        host=host,
        port=port,
        providers=providers,
        primary=_primary(env, providers),
        fallback=env.read("ENABLE_LLM_FALLBACK", _flag, True, "true or false"),
        strategy=env.read("LLM_ROUTING_STRATEGY", _strategy, "fallback", f"one of {', '.join(STRATEGIES)}"),
        catalog=_catalog(env),
        redis_url=Secret(url) if (url := env.secret("REDIS_URL")) else None,
        data_dir=Path(env.text("TOLLHOUSE_DATA_DIR") or ".tollhouse"),
        client_keys=client_keys,
        admin_key=Secret(admin_key) if admin_key else None,
        log_format=env.read("TOLLHOUSE_LOG", _format, "console" if terminal else "json", "json or console"),
        log_level=env.read("TOLLHOUSE_LOG_LEVEL", _level, "info", "debug, info, warning or error"),
        drain_seconds=env.read("TOLLHOUSE_DRAIN_SECONDS", _seconds, 30.0, "a number of seconds, 0 or more"),
        timeouts=file.timeouts,
        limits=file.limits,
    )
    if env.faults:
        raise SettingsError(env.faults)
    return settings


def _providers(env: _Environment) -> tuple[Provider, ...]:
    found = []
    for vendor in VENDORS:
        names, default = _URLS[vendor]
        key = env.secret(*_KEYS[vendor])
        url = (env.text(*names) or default).rstrip("/")
        if not key:
            continue
        if not key.isascii() or not key.isprintable() or " " in key:
            env.faults.append(f"{_KEYS[vendor][0]}: expected a key of printable ASCII without spaces")
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            env.faults.append(f"{names[0]}: expected an http or https URL such as {default}; got {url!r}")
        found.append(Provider(name=vendor, vendor=vendor, base_url=url, key=Secret(key)))
    return tuple(found)


def _primary(env: _Environment, providers: tuple[Provider, ...]) -> str | None:
    """The one that was named, else Gemini, else the first that has a key."""
    first = providers[0].name if providers else None
    wanted = env.read("PRIMARY_LLM_PROVIDER", _vendor, first, "one of openai, anthropic, gemini")
    if env.text("PRIMARY_LLM_PROVIDER") and wanted and wanted not in {provider.name for provider in providers}:
        env.faults.append(f"PRIMARY_LLM_PROVIDER: {wanted} has no key; set {wanted.upper()}_API_KEY or name another")
    return wanted


def _vendor(text: str) -> str:
    return VENDORS[VENDORS.index(text.lower())]


def _strategy(text: str) -> Strategy:
    return STRATEGIES[STRATEGIES.index(text.lower())]


def _flag(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}[
        text.lower()
    ]


def _format(text: str) -> Literal["json", "console"]:
    words: dict[str, Literal["json", "console"]] = {"json": "json", "console": "console"}
    return words[text.lower()]


def _level(text: str) -> str:
    return {word: word for word in ("debug", "info", "warning", "error")}[text.lower()]


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 1e6:
        raise ValueError(text)
    return seconds


def _list(text: str) -> list[str]:
    return [word for part in text.replace("\n", ",").split(",") if (word := part.strip())]


def is_loopback(host: str) -> bool:
    """True if nobody outside this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_open(env: _Environment, host: str, keys: bool) -> None:
    anonymous = env.read("TOLLHOUSE_ALLOW_ANONYMOUS", _flag, False, "true or false")
    if not (is_loopback(host) or keys or anonymous):
        env.faults.append(
            f"--host {host}: listening beyond loopback needs TOLLHOUSE_CLIENT_KEYS and TOLLHOUSE_ADMIN_KEY, "
            "or TOLLHOUSE_ALLOW_ANONYMOUS=true"
        )


def _file(env: _Environment, path: str | None) -> File:
    if path is None:
        return File()
    try:
        raw: Any = msgspec.yaml.decode(Path(path).read_bytes())
        return msgspec.convert(raw or {}, File)
    except OSError as error:
        env.faults.append(f"{path}: {_why(error)}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        env.faults.append(f"{path}: {error}")
    return File()


def _catalog(env: _Environment) -> Catalog:
    """The price table: the one that was named, else the one that came with the installation."""
    named = env.text("TOLLHOUSE_PRICING")
    path = Path(named) if named else shipped_prices()
    try:
        return catalogs.load(path.read_bytes())
    except OSError as error:
        env.faults.append(f"TOLLHOUSE_PRICING: cannot read {path}: {_why(error)}")
    except PriceTableError as error:
        env.faults.extend(f"{path}: {fault}" for fault in error.faults)
    return Catalog(())


def shipped_prices() -> Path:
    """The price table of this installation: inside the package, or at the root of a checkout."""
    here = Path(__file__).resolve().parent
    packed = here / "assets" / "pricing.yaml"
    return packed if packed.exists() else here.parent / "pricing.yaml"
