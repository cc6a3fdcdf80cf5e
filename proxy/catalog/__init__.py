"""Which model, at which provider, under which name: `pricing.yaml` + the configured providers -> `Route`.

Pure: the table comes as bytes, the providers and the aliases as rows; no clock, no environment, no network. How a name
resolves is told in docs/contract ("Requests"); the format of the table and of its prices is `proxy.prices`.

    route    the words that are used here
    group    which alias a name means
    unknown  models that the table does not know
"""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from functools import lru_cache

import msgspec

from adapters.base import Failure, Target
from proxy.catalog import group as aliases
from proxy.catalog.route import (
    AUTO,
    KEY_VARIABLES,
    LONGEST_NAME,
    REMEMBERED,
    Group,
    Listed,
    Member,
    ProviderRow,
    Route,
    no_key,
    no_such,
    nobody,
    target,
)
from proxy.catalog.unknown import guess, plainly
from proxy.prices import Class, Model, PriceTableError, read

__all__ = [
    "AUTO",
    "CREATED",
    "KEY_VARIABLES",
    "LONGEST_NAME",
    "REMEMBERED",
    "Catalog",
    "Group",
    "Listed",
    "Member",
    "ProviderRow",
    "Route",
    "guess",
    "load",
    "plainly",
]

CREATED = datetime(2026, 1, 1, tzinfo=UTC)  # what `/v1/models` says of a model whose release date is not known
OURS = "tollhouse"  # whose an alias is


class Catalog:
    """All known models, found by provider and name. `digest`: the SHA-256 of the table that they were read from."""

    def __init__(self, models: Sequence[Model], digest: bytes = b"") -> None:
        self.models = tuple(models)
        self.digest = digest
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
        self,
        name: str,
        providers: Sequence[ProviderRow],
        *,
        primary: str | None = None,
        fallback: bool = True,
        groups: Sequence[Group] = (),
    ) -> Route:
        """Who may serve `name`; a `Failure` 404 if nobody can. `providers` are available, in order, `primary` first.

        Without `fallback` only the model that was asked for; `auto` and groups keep all their candidates, to choose
        from. A group goes before a model of its name, not before `auto`; a pattern not before `provider/model` either.
        """
        if len(name) > LONGEST_NAME:  # it would be forwarded, logged and counted, again and again
            raise no_such(name)
        rows = sorted(providers, key=lambda row: row.name != primary)
        if name == AUTO:
            return self._auto(rows)
        if group := aliases.named(groups, name):
            return self._grouped(name, group, rows)
        if pinned := self._pinned(name, rows):
            return Route(asked=name, candidates=(pinned,), pinned=True, stand_ins=1)
        if group := aliases.fitting(groups, name):
            return self._grouped(name, group, rows)
        return self._named(name, rows, fallback)

    def members(self, name: str, providers: Sequence[ProviderRow]) -> list[Target]:
        """Who a member of a group is: `provider/name`, or all who offer the very model. A `Failure` 404 for nobody."""
        if pinned := self._pinned(name, providers):
            return [pinned]
        targets, asked = self._asked(name, providers)
        if not targets:
            raise no_key(name, asked.provider)
        return targets

    def _grouped(self, name: str, group: Group, rows: Sequence[ProviderRow]) -> Route:
        seats: dict[tuple[str, str], tuple[Target, Member]] = {}
        for member in group.members:
            with contextlib.suppress(Failure):  # its provider is off; what cannot be at all was told at the start
                for found in self.members(member.model, rows):
                    seats.setdefault((found.provider, found.model), (found, member))
        if not seats:
            raise nobody(name)
        return Route(
            asked=name,
            candidates=tuple(found for found, _ in seats.values()),
            auto=True,
            stand_ins=len(seats),
            group=group,
            weights=tuple(member.weight for _, member in seats.values()),
            most=tuple(member.most for _, member in seats.values()),
        )

    def _auto(self, rows: Sequence[ProviderRow]) -> Route:
        pairs = [(row, model) for row in rows if (model := self.preferred(row, "standard"))]
        if not pairs:
            raise nobody(AUTO)
        candidates = tuple(target(row, model, model.model) for row, model in pairs)
        return Route(asked=AUTO, candidates=candidates, auto=True, stand_ins=len(candidates))

    def _pinned(self, name: str, rows: Sequence[ProviderRow]) -> Target | None:
        provider, _, rest = name.partition("/")
        row = next((row for row in rows if row.name == provider), None) if rest else None
        if row:
            return target(row, self.offer(row, rest) or guess(row, rest), rest)
        if rest and provider in KEY_VARIABLES:
            raise no_key(name, provider)
        return None

    def _asked(self, name: str, rows: Sequence[ProviderRow]) -> tuple[list[Target], Model]:
        """Who offers the very model, and its entry. Nobody, if it is that of a vendor that has no key here."""
        offers = [(row, model) for row in rows if (model := self.offer(row, name))]
        offers.sort(key=lambda offer: offer[1].model != name)  # who has it by its exact name goes first
        if not offers and (known := self._elsewhere(name)):
            return [], known
        offers = offers or [_forward(name, rows)]
        return [target(row, model, name) for row, model in offers], offers[0][1]

    def _named(self, name: str, rows: Sequence[ProviderRow], fallback: bool) -> Route:
        offers, asked = self._asked(name, rows)
        targets = list(offers)
        if fallback and asked.class_ is not None:
            offering = {offer.provider for offer in offers}
            stand_ins = [(row, self.preferred(row, asked.class_)) for row in rows if row.name not in offering]
            targets += [target(row, model, model.model) for row, model in stand_ins if model]
        if not targets:
            raise no_key(name, asked.provider)
        kept = tuple(targets if fallback else targets[:1])
        return Route(asked=name, candidates=kept, stand_ins=min(len(offers), len(kept)))

    def _elsewhere(self, name: str) -> Model | None:
        """The entry of `name` at a vendor that has no key here: its equivalents may serve."""
        found = (self.find(vendor, name) for vendor in KEY_VARIABLES)
        return next((model for model in found if model), None)

    def listing(
        self, providers: Sequence[ProviderRow], today: date | None = None, groups: Sequence[Group] = ()
    ) -> list[Listed]:
        """The chat models on offer, each name once; those retired before `today` (UTC) are left out.

        Aliases come first, but for patterns, and for those none of whose members can be asked.
        """
        shown: dict[str, Listed] = {}
        for group in groups:
            if not group.pattern and self.serves(group, providers):
                shown[group.name] = Listed(id=group.name, created=int(CREATED.timestamp()), owned_by=OURS)
        for row in providers:
            own = {model.model: model for model in self.models if model.provider == row.name}
            own |= {model.model: model for model in row.models}
            for model in own.values():
                if model.kind == "chat" and not (today and model.retires and model.retires < today):
                    shown.setdefault(model.model, _listed(model, row.name))
        return list(shown.values())

    def serves(self, group: Group, providers: Sequence[ProviderRow]) -> bool:
        """Whether at least one member can be asked; one whose name is only known with the request's, may be."""
        for member in group.members:
            with contextlib.suppress(Failure):
                if group.pattern and aliases.REFERENCE.search(member.model.partition("/")[0]):
                    return True
                if self.members(member.model, providers):
                    return True
        return False


def _forward(name: str, rows: Sequence[ProviderRow]) -> tuple[ProviderRow, Model]:
    """A name that no entry knows but that is plainly a vendor's goes there as it is."""
    vendor = plainly(name)
    if vendor is None:
        raise no_such(name)
    for row in rows:
        if row.name == vendor:
            return row, guess(row, name)
    raise no_key(name, vendor)


def _listed(model: Model, owner: str) -> Listed:
    released = datetime(*model.released.timetuple()[:3], tzinfo=UTC) if model.released else CREATED
    return Listed(id=model.model, created=int(released.timestamp()), owned_by=owner)


def load(text: bytes) -> Catalog:
    """Read a price table (YAML). Everything that is wrong with it is said at once, in a `PriceTableError`."""
    models, found = read(text)
    found += _conflicts(models)
    if found:
        raise PriceTableError(found)
    return Catalog(models, hashlib.sha256(text).digest())


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
