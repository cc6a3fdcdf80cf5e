"""The effective configuration, value by value, each with its origin; and what differs between two of them.

Nobody has to guess which of three places has won. No secret is shown: of one there is a fingerprint, the beginning of
its SHA-256, by which two of them can be told apart (and a client key be found by its name). Of a URL neither the user
nor the query is shown.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from proxy.aliases import shown as alias
from proxy.budget import Budget
from proxy.catalog import Catalog, Group
from proxy.cost import dollars
from proxy.environment import Secret, Sources
from proxy.health import Policy
from proxy.http1.proxies import Proxies
from proxy.providers import Provider
from proxy.settings import Alerting, Settings

Origin = Literal["default", "file", "environment", "argument"]
Shown = Iterator[tuple[str, Any]]


class Row(msgspec.Struct, frozen=True):
    """One value under its dotted name ("retries.rounds"). `source`: the variable, the path of the file, or the option
    of the command; None for a default."""

    name: str
    value: Any
    origin: Origin
    source: str | None = None


class Change(msgspec.Struct, frozen=True):
    """A value before and after; None also where there was, or is, no such value."""

    name: str
    before: Any
    after: Any


HIDDEN = frozenset({"sources", "files"})  # fields of `Settings` that are no values: where the others come from
# Field of `Settings` -> its name in what is shown, where that is another: these are the words of the file.
NAMES: Mapping[str, str] = {"groups": "aliases", "catalog": "models", "off": "without_key"}
# Dotted name -> the variables that may set it, which then go before the file. A secret knows its variable itself.
VARIABLES: Mapping[str, tuple[str, ...]] = {
    "providers.openai.base_url": ("OPENAI_BASE_URL",),
    "providers.anthropic.base_url": ("ANTHROPIC_BASE_URL",),
    "providers.gemini.base_url": ("GEMINI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"),
    "primary": ("PRIMARY_LLM_PROVIDER",),
    "fallback": ("ENABLE_LLM_FALLBACK",),
    "strategy": ("LLM_ROUTING_STRATEGY",),
    "health.consecutive": ("LLM_HEALTH_CONSECUTIVE_FAILURES",),
    "health.rate": ("LLM_HEALTH_FAILURE_RATE",),
    "health.window": ("LLM_HEALTH_WINDOW_SECONDS",),
    "health.least": ("LLM_HEALTH_MIN_REQUESTS",),
    "health.cooldown": ("LLM_HEALTH_COOLDOWN_SECONDS",),
    "models": ("TOLLHOUSE_PRICING",),
    "pricing": ("TOLLHOUSE_PRICING",),
    "data_dir": ("TOLLHOUSE_DATA_DIR",),
    "managed_keys": ("TOLLHOUSE_MANAGED_KEYS",),
    "anonymous": ("TOLLHOUSE_ALLOW_ANONYMOUS",),
    "log_prompts": ("TOLLHOUSE_LOG_PROMPTS",),
    "telemetry": (
        *("TOLLHOUSE_OTEL", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        *("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),
    ),
    "log_format": ("TOLLHOUSE_LOG",),
    "log_level": ("TOLLHOUSE_LOG_LEVEL",),
    "drain_seconds": ("TOLLHOUSE_DRAIN_SECONDS",),
    "drain_notice_seconds": ("TOLLHOUSE_DRAIN_NOTICE_SECONDS",),
    "proxies.http": ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"),
    "proxies.https": ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
    "proxies.exceptions": ("no_proxy", "NO_PROXY"),
}
# Dotted name -> the option of the command, and the value without it.
OPTIONS: Mapping[str, tuple[str, Any]] = {"host": ("--host", "127.0.0.1"), "port": ("--port", 8080)}
# Dotted name -> the value that it follows where nobody has set it, and what it is if it does not.
FOLLOWS: Mapping[str, tuple[str, Any]] = {"health.longest": ("health.cooldown", Policy().longest)}
_BUDGETS = ("LLM_DAILY_BUDGET", "LLM_MONTHLY_BUDGET")  # `proxy.spending` reads these first, and in this order
_FINGERPRINT = 8  # hex digits, as in the names of client keys (`proxy.auth`)


def rows(settings: Settings) -> list[Row]:
    """Every value that is in force, in the order of `Settings`."""
    found: list[Row] = []
    for field in settings.__struct_fields__:
        if field not in HIDDEN:
            show = _SHOWN.get(field, _parts)
            values = show(NAMES.get(field, field), getattr(settings, field))
            found += [_row(name, value, settings.sources) for name, value in values]
    return found


def difference(before: Sequence[Row], after: Sequence[Row]) -> list[Change]:
    """The values that are not the same any more, by name. That one comes from another place is no difference."""
    old, new = ({row.name: row.value for row in side} for side in (before, after))
    return [
        Change(name, old.get(name), new.get(name))
        for name in dict.fromkeys((*new, *old))
        if (name in old) != (name in new) or old[name] != new[name]
    ]


def fingerprint(secret: str) -> str:
    """What may be shown of a secret: good to tell two of them apart, of no use to a thief."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:_FINGERPRINT]


def shown_url(url: str) -> str:
    """A URL without its user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "not shown"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _row(name: str, value: Any, sources: Sources) -> Row:
    if isinstance(value, Secret):
        sealed = {"set": True, "fingerprint": fingerprint(value.reveal())}
        return Row(name, sealed, "environment", value.source) if value.source else _written(name, sealed, sources)
    variable = _variable(name, sources)
    return Row(name, value, "environment", variable) if variable else _written(name, value, sources)


def _variable(name: str, sources: Sources) -> str | None:
    """The variable that has set it, if one has."""
    if name.startswith("budgets["):
        used = [variable for variable in _BUDGETS if variable in sources.variables]
        at = int(name[8:-1])
        return used[at] if at < len(used) else None
    return next((variable for variable in VARIABLES.get(name, ()) if variable in sources.variables), None)


def _written(name: str, value: Any, sources: Sources) -> Row:
    """A value that no variable has set."""
    place = name.partition("[")[0] if name.startswith("budgets[") else name
    if place in sources.members:
        return Row(name, value, "file", sources.file)
    option, usual = OPTIONS.get(name, ("", value))
    if value != usual:
        return Row(name, value, "argument", option)
    leader, usual = FOLLOWS.get(name, ("", value))
    if value != usual:
        return msgspec.structs.replace(_row(leader, value, sources), name=name)
    return Row(name, value, "default")


def _parts(name: str, value: Any) -> Shown:
    """All that it is made of, down to what has no parts. What is empty is told as such."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _parts(f"{name}.{key}", part)
    elif isinstance(value, tuple) and value:
        for at, part in enumerate(value):
            yield from _parts(f"{name}[{at}]", part)
    else:
        yield name, value if isinstance(value, Secret) else _plain(value)


def _plain(value: Any) -> Any:
    """As JSON has it."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=str))


def _providers(name: str, value: Sequence[Provider]) -> Shown:
    """Each by its name; `order` is that of preference."""
    yield f"{name}.order", [provider.name for provider in value]
    for provider in value:
        place = f"{name}.{provider.name}"
        yield f"{place}.vendor", provider.vendor
        yield f"{place}.base_url", shown_url(provider.base_url)
        yield f"{place}.key", provider.key
        yield f"{place}.key_header", provider.key_header
        yield f"{place}.capabilities", _plain(provider.capabilities)
        yield f"{place}.models", _plain(provider.models)


def _groups(name: str, value: Sequence[Group]) -> Shown:
    for group in value:
        yield f"{name}.{alias(group)}", _plain(group)
    if not value:
        yield name, {}


def _budgets(name: str, value: Sequence[Budget]) -> Shown:
    for at, budget in enumerate(value):
        yield f"{name}[{at}]", {"name": budget.name, "limit_usd": dollars(budget.limit)}
    if not value:
        yield name, []


def _alerts(name: str, value: Alerting) -> Shown:
    """Whoever has the address can write there: in most of them a part of the path is a token."""
    yield f"{name}.webhook", Secret(value.webhook) if value.webhook else None


def _proxies(name: str, value: Proxies) -> Shown:
    """Where they are, without the user and the password."""
    for scheme in ("http", "https"):
        proxy = value.by_scheme.get(scheme)
        place = proxy and _place("https" if proxy.secure else "http", proxy.host, proxy.port)
        yield f"{name}.{scheme}", place
    places = [one.host if one.itself else f".{one.host}" for one in value.exceptions]
    spared = zip(value.exceptions, places, strict=True)
    yield f"{name}.exceptions", [_place(one.scheme, str(one.network or place), one.port) for one, place in spared]


def _place(scheme: str, host: str, port: int | None) -> str:
    """As in a URL."""
    start, end = f"{scheme}://" if scheme else "", f":{port}" if port else ""
    return f"{start}[{host}]{end}" if ":" in host and end else f"{start}{host}{end}"


def _catalog(name: str, value: Catalog) -> Shown:
    """How many there are; what they cost is in the table that `pricing` names."""
    yield name, len(value.models)


_SHOWN: Mapping[str, Callable[[str, Any], Shown]] = {
    "providers": _providers,
    "groups": _groups,
    "budgets": _budgets,
    "alerts": _alerts,
    "catalog": _catalog,
    "proxies": _proxies,
}
