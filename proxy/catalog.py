"""Which model, at which provider, under which name: `pricing.yaml` + the configured providers -> `Route`.

Pure: the table comes as bytes, the providers as rows; no clock, no environment, no network. How a name resolves is
told in docs/contract ("Requests"); the format of the table and of its prices is `proxy.prices`.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from functools import lru_cache, partial

import msgspec

from adapters.base import Capabilities, Failure, Kind, Target, Vendor
from proxy.prices import Class, Limits, Model, PriceTableError, read

AUTO = "auto"
LONGEST_NAME = 200  # characters; no vendor has a longer one, and what is longer is not worth remembering
REMEMBERED = 1024  # answers to names that are not in the table as they stand
CREATED = datetime(2026, 1, 1, tzinfo=UTC)  # what `/v1/models` says of a model whose release date is not known

# The vendors' own names, and the variable that brings each of them into being.
KEY_VARIABLES: Mapping[str, str] = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
}
_PLAINLY: Mapping[str, re.Pattern[str]] = {
    "openai": re.compile(r"(?:gpt-|chatgpt-|o[0-9]+(?:-|$)|ft:)"),
    "anthropic": re.compile(r"claude-"),
    "gemini": re.compile(r"(?:gemini-|gemma-)"),
}
_GEMINI_VERSION = re.compile(r"gemini-([0-9]+)(?:\.([0-9]+))?(?:-|$)")

# What to assume of a model that the table does not know: the least that its generation is known to take.
_UNKNOWN: Mapping[Vendor, tuple[Limits, Capabilities]] = {
    "openai": (
        Limits(context=1_050_000, max_output=128_000),
        Capabilities(mid_system=True, max_tokens_field="max_completion_tokens"),
    ),
    "anthropic": (
        Limits(context=1_000_000, max_output=128_000),
        Capabilities(
            input=("text", "image", "file"),
            sampling=False,
            penalties=False,
            efforts=("low", "medium", "high"),
            thinking=("adaptive",),
            thinking_off=False,
            forced_tool=False,
            mid_system=True,
        ),
    ),
    "gemini": (
        Limits(context=1_048_576, max_output=65_536),
        Capabilities(
            input=("text", "image", "audio", "video", "file"),
            sampling=False,
            penalties=False,
            efforts=("low", "high"),
            thinking_off=False,
            call_ids=True,
        ),
    ),
}


class ProviderRow(msgspec.Struct, frozen=True, kw_only=True):
    """A provider that can be asked now. `models` are its own, from the configuration; they go before the table's.

    `capabilities` are those of its models that nothing else is known of; None: what its vendor's newest can do.
    """

    name: str
    vendor: Vendor
    capabilities: Capabilities | None = None
    models: tuple[Model, ...] = ()


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Who may serve a request, in order of preference, at least one. `asked` is the client's own word."""

    asked: str
    candidates: tuple[Target, ...]
    pinned: bool = False
    auto: bool = False


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A model as `GET /v1/models` shows it; `created` in seconds since the epoch."""

    id: str
    created: int
    owned_by: str
    object: str = "model"


class Catalog:
    """All known models, found by provider and name."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = tuple(models)
        self._exact = {(model.provider, model.model): model for model in self.models}
        patterns = [(pattern, model) for model in self.models for pattern in model.match]
        self._patterns = sorted(patterns, key=lambda pair: -len(pair[0]))  # the longest says most
        self._preferred = {(model.provider, model.class_): model for model in self.models if model.preferred}
        self._remembered = lru_cache(maxsize=REMEMBERED)(self._search)

    def find(self, provider: str, name: str) -> Model | None:
        """The entry of `name` at `provider`: by its exact name, else by the longest pattern that fits."""
        exact = self._exact.get((provider, name))
        if exact is not None or len(name) > LONGEST_NAME:
            return exact
        return self._remembered(provider, name)

    def _search(self, provider: str, name: str) -> Model | None:
        for pattern, model in self._patterns:
            if model.provider == provider and fnmatchcase(name, pattern):
                return model
        if not name.startswith("ft:"):
            return None
        # A fine-tuned model can do what its base can, at a price of its own; nothing else was trained like it.
        base = self.find(provider, name.split(":")[1])
        return base and msgspec.structs.replace(base, class_=None, preferred=False, prices=())

    def offer(self, row: ProviderRow, name: str) -> Model | None:
        """What `row` has under `name`: of its own models, else of the table."""
        for model in row.models:
            if name == model.model or any(fnmatchcase(name, pattern) for pattern in model.match):
                return model
        return self.find(row.name, name)

    def preferred(self, row: ProviderRow, class_: Class) -> Model | None:
        """The model of `class_` that `row` stands in with for another vendor's."""
        own = (model for model in row.models if model.preferred and model.class_ == class_)
        return next(own, self._preferred.get((row.name, class_)))

    def route(
        self, name: str, providers: Sequence[ProviderRow], *, primary: str | None = None, fallback: bool = True
    ) -> Route:
        """Who may serve `name`; a `Failure` 404 if nobody can. `providers` are available, in order, `primary` first.

        Without `fallback` only the model that was asked for; `auto` keeps all its candidates, to choose from.
        """
        rows = sorted(providers, key=lambda row: row.name != primary)
        if name == AUTO:
            return self._auto(rows)
        provider, _, rest = name.partition("/")
        if rest and (pinned := next((row for row in rows if row.name == provider), None)):
            model = self.offer(pinned, rest) or guess(pinned, rest)
            return Route(asked=name, candidates=(_target(pinned, model, rest),), pinned=True)
        if rest and provider in KEY_VARIABLES:
            raise _no_key(name, provider)
        return self._named(name, rows, fallback)

    def _auto(self, rows: Sequence[ProviderRow]) -> Route:
        pairs = [(row, model) for row in rows if (model := self.preferred(row, "standard"))]
        if not pairs:
            raise Failure(
                Kind.KEY, "No provider is configured that could serve `auto`.", status=503, code="no_provider_available"
            )
        candidates = tuple(_target(row, model, model.model) for row, model in pairs)
        return Route(asked=AUTO, candidates=candidates, auto=True)

    def _named(self, name: str, rows: Sequence[ProviderRow], fallback: bool) -> Route:
        offers = [(row, model) for row in rows if (model := self.offer(row, name))]
        offers.sort(key=lambda offer: offer[1].model != name)  # who has it by its exact name goes first
        asked = offers[0][1] if offers else self._elsewhere(name)
        if asked is None:
            return _forward(name, rows)
        targets = [_target(row, model, name) for row, model in offers]
        if fallback and asked.class_ is not None:
            offering = {target.provider for target in targets}
            stand_ins = [(row, self.preferred(row, asked.class_)) for row in rows if row.name not in offering]
            targets += [_target(row, model, model.model) for row, model in stand_ins if model]
        if not targets:
            raise _no_key(name, asked.provider)
        return Route(asked=name, candidates=tuple(targets if fallback else targets[:1]))

    def _elsewhere(self, name: str) -> Model | None:
        """The entry of `name` at a vendor that has no key here: its equivalents may serve."""
        found = (self.find(vendor, name) for vendor in KEY_VARIABLES)
        return next((model for model in found if model), None)

    def listing(self, providers: Sequence[ProviderRow], today: date | None = None) -> list[Listed]:
        """The chat models on offer, each name once; those retired before `today` (UTC) are left out."""
        shown: dict[str, Listed] = {}
        for row in providers:
            own = {model.model: model for model in self.models if model.provider == row.name}
            own |= {model.model: model for model in row.models}
            for model in own.values():
                if model.kind == "chat" and not (today and model.retires and model.retires < today):
                    shown.setdefault(model.model, _listed(model, row.name))
        return list(shown.values())


def guess(row: ProviderRow, name: str) -> Model:
    """A model that no entry knows: price unknown, equivalent to nothing, abilities those of its generation."""
    limits, newest = _UNKNOWN[row.vendor]
    if row.vendor == "gemini":
        newest = _gemini(name, newest)
    elif row.vendor == "openai" and row.name != "openai":
        newest = Capabilities()  # it speaks OpenAI's format, but its models are not OpenAI's
    return Model(provider=row.name, model=name, limits=limits, capabilities=row.capabilities or newest)


def _gemini(name: str, newest: Capabilities) -> Capabilities:
    """Gemini changed its spelling of thinking with 2.5 and with 3; Gemma has no instructions of its own."""
    change = partial(msgspec.structs.replace, newest, sampling=True)
    if name.startswith("gemma-"):
        return change(input=("text", "image"), efforts=(), json_with_tools=False, call_ids=False, system=False)
    version = _GEMINI_VERSION.match(name)
    if version is None or int(version[1]) >= 3:
        return newest
    old = change(efforts=(), json_with_tools=False, call_ids=False)
    if (int(version[1]), int(version[2] or 0)) < (2, 5):
        return msgspec.structs.replace(old, thinking_off=True)
    # The narrowest range of the three: 512 is flash-lite's least, 24576 flash's most; pro cannot do without thinking.
    return msgspec.structs.replace(old, thinking_budget=(512, 24_576))


def _forward(name: str, rows: Sequence[ProviderRow]) -> Route:
    """A name that no entry knows but that is plainly a vendor's goes there as it is."""
    vendor = next((vendor for vendor, plainly in _PLAINLY.items() if plainly.match(name)), None)
    if vendor is None:
        raise _not_found(f"The model `{_shown(name)}` does not exist here. GET /v1/models lists those that do.")
    for row in rows:
        if row.name == vendor:
            return Route(asked=name, candidates=(_target(row, guess(row, name), name),))
    raise _no_key(name, vendor)


def _target(row: ProviderRow, model: Model, name: str) -> Target:
    if model.kind != "chat":
        raise _not_found(f"The model `{_shown(name)}` is no chat model but of kind {model.kind}. See GET /v1/models.")
    return Target(
        provider=row.name,
        vendor=row.vendor,
        model=name,
        capabilities=model.capabilities,
        context=model.limits.context,
        max_output=model.limits.max_output,
    )


def _listed(model: Model, owner: str) -> Listed:
    released = datetime(*model.released.timetuple()[:3], tzinfo=UTC) if model.released else CREATED
    return Listed(id=model.model, created=int(released.timestamp()), owned_by=owner)


def _shown(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"


def _not_found(message: str) -> Failure:
    return Failure(
        Kind.CALLER, message, status=404, type="invalid_request_error", code="model_not_found", param="model"
    )


def _no_key(name: str, provider: str) -> Failure:
    cure = f"set {KEY_VARIABLES[provider]}" if provider in KEY_VARIABLES else "configure it"
    return _not_found(
        f"The model `{_shown(name)}` is offered by {provider}, which has no key here: {cure}, "
        "or choose one that GET /v1/models lists."
    )


def load(text: bytes) -> Catalog:
    """Read a price table (YAML). Everything that is wrong with it is said at once, in a `PriceTableError`."""
    models, found = read(text)
    found += _conflicts(models)
    if found:
        raise PriceTableError(found)
    return Catalog(models)


def _conflicts(models: Sequence[Model]) -> list[str]:
    """What is wrong between entries: names that are taken, classes without exactly one preferred model."""
    names = Counter((model.provider, model.model) for model in models)
    patterns = Counter((model.provider, pattern) for model in models for pattern in model.match)
    found = [f"{provider}/{name}: {n} entries" for (provider, name), n in names.items() if n > 1]
    found += [f"{provider}: pattern `{glob}` is there {n} times" for (provider, glob), n in patterns.items() if n > 1]
    for model in models:
        for provider, name in names:
            if provider == model.provider and name != model.model:
                taken = [glob for glob in model.match if fnmatchcase(name, glob)]
                found += [f"{provider}/{model.model}: pattern `{glob}` takes the name `{name}`" for glob in taken]
    classes = {(model.provider, model.class_) for model in models if model.class_}
    chosen = Counter((model.provider, model.class_) for model in models if model.preferred)
    return found + [
        f"{provider}/{class_}: {chosen[provider, class_]} preferred models, exactly one is needed"
        for provider, class_ in sorted(classes)
        if chosen[provider, class_] != 1
    ]
