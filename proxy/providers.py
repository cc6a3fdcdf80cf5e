"""Who can be asked: the three vendors that the environment brings into being, and the `providers:` of the file.

A provider without its key is off, which is said and is no fault. Whatever is wrong is noted, one line a fault.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from adapters.base import Capabilities, Vendor
from proxy.environment import Environment, Secret, wrong_with
from proxy.presets import OTHER, PRESETS, Preset
from proxy.prices import Model, convert, faults

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
NO_KEY = "none"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*", re.ASCII)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One account at one vendor. `key` is None where none is needed; `key_header` is its place, if not the usual one.

    `capabilities` are those of models that nothing else is known of; None: what its vendor's newest can do.
    """

    name: str
    vendor: Vendor
    base_url: str
    key: Secret | None
    key_header: str | None = None
    capabilities: Capabilities | None = None
    models: tuple[Model, ...] = ()


class Providers(msgspec.Struct, frozen=True, kw_only=True):
    """Those that can be asked, in the order of preference; and those that are off, with the variable that is unset."""

    on: tuple[Provider, ...]
    off: Mapping[str, str]


class _Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of `providers:`. Capabilities: its models' own, under them its own, under them its preset's."""

    name: str
    preset: str | None = None
    base_url: str | None = None
    key: str | None = None
    capabilities: Capabilities = Capabilities()
    models: tuple[Model, ...] = ()


def read(env: Environment, rows: object, place: str) -> Providers:
    """All providers. `rows` is the file's `providers`, decoded, or None; `place` says where faults are."""
    on, off = _built_in(env)
    if rows is not None and not isinstance(rows, list):
        env.faults.append(f"{place}: expected a list")
        rows = None
    configured = [_configured(env, row, f"{place}[{at}]") for at, row in enumerate(rows or ())]
    found = [pair for pair in configured if pair]
    names = Counter(provider.name for provider, _ in found)
    env.faults += [f"{place}: {n} providers are called {name}" for name, n in names.items() if n > 1]
    on += [provider for provider, variable in found if provider.key or not variable]
    off |= {provider.name: variable for provider, variable in found if variable and not provider.key}
    return Providers(on=tuple(on), off=off)


def primary(env: Environment, providers: Providers) -> str | None:
    """The one that was named, else Gemini, else the first that has a key."""
    first = providers.on[0].name if providers.on else None
    names = dict.fromkeys(("openai", "anthropic", "gemini", *(row.name for row in providers.on), *providers.off))
    known = {name: name for name in names}
    said = f"one of {', '.join(names)}"
    wanted = env.read("PRIMARY_LLM_PROVIDER", lambda text: known[text.lower()], first, said)
    if wanted and providers.on and wanted in providers.off:
        env.faults.append(f"PRIMARY_LLM_PROVIDER: {wanted} has no key; set {providers.off[wanted]} or name another")
    return wanted


def _built_in(env: Environment) -> tuple[list[Provider], dict[str, str]]:
    on = []
    keys = {vendor: env.secret(*_KEYS[vendor]) for vendor in VENDORS}
    for vendor in VENDORS:
        names, default = _URLS[vendor]
        url = (env.text(*names) or default).rstrip("/")
        if not (key := keys[vendor]):
            continue
        if wrong := wrong_with(url):
            env.faults.append(f"{env.named(*names)}: expected an http or https URL such as {default}; {wrong}")
        on.append(Provider(name=vendor, vendor=vendor, base_url=url, key=key))
    return on, {vendor: names[0] for vendor, names in _KEYS.items() if not keys[vendor]}


def _configured(env: Environment, value: object, path: str) -> tuple[Provider, str | None] | None:
    """One row, and the variable of its key if it needs one; None if it is wrong, which is noted then."""
    given = dict(value) if isinstance(value, dict) else {}
    if isinstance(given.get("name"), str):
        path += f" {given['name'][:64]}" if given["name"].isprintable() else ""
    preset = _preset(given)
    resolved = _resolved(given, preset)
    wrong = faults(resolved if given else value, _Row, path)
    row = None if wrong else convert(resolved, _Row)
    wrong += _wrong(given, preset, path) if given else []
    wrong += _conflicts(row.models, path) if row else []
    env.faults += wrong
    if row is None or wrong:
        return None
    variable = row.key or preset.key
    key = env.secret(variable) if variable and variable != NO_KEY else None
    provider = Provider(
        name=row.name,
        vendor="openai",
        base_url=(row.base_url or preset.base_url or "").rstrip("/"),
        key=key,
        key_header=preset.key_header,
        capabilities=row.capabilities,
        models=row.models,
    )
    return provider, None if variable == NO_KEY else variable


def _preset(given: Mapping[str, Any]) -> Preset:
    """The preset of a row; `OTHER` for vendors that nobody has described."""
    named = given.get("preset") or given.get("name")
    return PRESETS.get(named, OTHER) if isinstance(named, str) else OTHER


def _wrong(given: Mapping[str, Any], preset: Preset, path: str) -> list[str]:
    """What types cannot tell. No value is shown that may be a key in the wrong place."""
    name, named, models = given.get("name"), given.get("preset"), given.get("models")
    if isinstance(name, str) and name in _KEYS:
        return [f"{path}: this name is taken: the environment configures {name}"]
    if named is not None and not isinstance(named, str):
        found = []
    elif named is not None and named not in PRESETS:  # what else is missing, the right one may have
        found = [f"no such preset; known are {', '.join(sorted(PRESETS))}"]
    else:
        found = [*_wrong_url(given.get("base_url"), preset), *_wrong_key(given.get("key"), preset)]
    if isinstance(name, str) and not _NAME.fullmatch(name):
        found.append("`name` is made of a-z, 0-9, _ and -, and begins with a letter or a digit")
    if isinstance(models, list) and any("provider" in model for model in models if isinstance(model, dict)):
        found.append("`provider` is no part of a model here: it is the name of the row")
    return [f"{path}: {fault}" for fault in found]


def _wrong_url(url: object, preset: Preset) -> Iterator[str]:
    example = preset.base_url or preset.example
    if url is None and preset is OTHER:
        yield f"`base_url` is missing; only these are known without one: {', '.join(sorted(PRESETS))}"
    elif url is None and preset.base_url is None:
        yield f"`base_url` is missing, such as {example}"
    elif isinstance(url, str) and (why := wrong_with(url)):
        yield f"`base_url`: expected an http or https URL such as {example}; {why}"


def _wrong_key(key: object, preset: Preset) -> Iterator[str]:
    if key is None and preset is OTHER:
        yield f"`key` is missing: the name of an environment variable, or {NO_KEY}"
    elif isinstance(key, str) and key != NO_KEY and not _VARIABLE.fullmatch(key):
        yield f"`key`: expected the name of an environment variable, or {NO_KEY}; what is there is not shown"


def _resolved(given: Mapping[str, Any], preset: Preset) -> dict[str, Any]:
    """The row with its models complete: each with the provider's name, and with capabilities key by key."""
    shared: dict[str, Any] = msgspec.to_builtins(preset.capabilities)
    row = {key: value for key, value in given.items() if value is not None}
    own = row.setdefault("capabilities", {})
    if isinstance(own, dict):
        row["capabilities"] = shared | own
        shared = shared if faults(own, Capabilities, "") else shared | own  # what is wrong there is told once
    models = row.get("models")
    if isinstance(models, list):
        row["models"] = [_model(model, str(given.get("name")), shared) for model in models]
    return row


def _model(model: object, provider: str, shared: dict[str, Any]) -> object:
    if not isinstance(model, dict) or "provider" in model:
        return model
    own = model.get("capabilities", {})
    return {**model, "provider": provider, "capabilities": shared | own if isinstance(own, dict) else own}


def _conflicts(models: Sequence[Model], path: str) -> Iterator[str]:
    """What is wrong between the models of a row."""
    names = Counter(model.model for model in models)
    yield from (f"{path}: {n} models are called `{name}`" for name, n in names.items() if n > 1)
    chosen = Counter(model.class_ for model in models if model.preferred)
    yield from (f"{path}: {n} preferred models of class {class_}, one at most" for class_, n in chosen.items() if n > 1)
