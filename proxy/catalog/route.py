"""The words of the catalog: who can be asked, which aliases there are, and who may serve a request."""

from collections.abc import Mapping

import msgspec

from adapters.base import Capabilities, Failure, Kind, Target, Vendor
from proxy.prices import Model

AUTO = "auto"
LONGEST_NAME = 200  # characters; no vendor has a longer one, and what is longer is not worth remembering
REMEMBERED = 1024  # answers to names that are not in a table as they stand

# The vendors' own names, and the variable that brings each of them into being.
KEY_VARIABLES: Mapping[str, str] = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
}


class ProviderRow(msgspec.Struct, frozen=True, kw_only=True):
    """A provider that can be asked now. `models` are its own, from the configuration; they go before the table's.

    `capabilities` are those of its models that nothing else is known of; None: what its vendor's newest can do.
    """

    name: str
    vendor: Vendor
    capabilities: Capabilities | None = None
    models: tuple[Model, ...] = ()


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One model of a group: `provider/name`, or a name alone, which is all who offer it. `most`: in flight at once."""

    model: str
    weight: int = 1
    most: int | None = None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """An alias: a name that stands for one model or for several. `pattern`: the name is a regular expression, which the
    whole of the asked name must match; `\\1` in a member's name is what its first group matched."""

    name: str
    members: tuple[Member, ...]
    strategy: str | None = None  # None: the one of the settings
    pattern: bool = False


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Who may serve a request, in order of preference, at least one. `asked` is the client's own word.

    The strategy orders those before `stand_ins`: who was asked for by name goes before who only stands in.
    """

    asked: str
    candidates: tuple[Target, ...]
    pinned: bool = False
    auto: bool = False  # nobody was asked for by name: `auto`, or a group
    stand_ins: int = 1_000  # index of the first candidate that stands in for who was asked for by name
    group: Group | None = None
    weights: tuple[int, ...] = ()  # of the candidates, in a group
    most: tuple[int | None, ...] = ()


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A model as `GET /v1/models` shows it; `created` in seconds since the epoch."""

    id: str
    created: int
    owned_by: str
    object: str = "model"


def target(row: ProviderRow, model: Model, name: str) -> Target:
    """A model at a provider, under a name that is its own or another of its. A `Failure` 404 if it cannot chat."""
    if model.kind != "chat":
        raise not_found(f"The model `{_shown(name)}` is no chat model but of kind {model.kind}. See GET /v1/models.")
    return Target(
        provider=row.name,
        vendor=row.vendor,
        model=name,
        capabilities=model.capabilities,
        context=model.limits.context,
        max_output=model.limits.max_output,
    )


def _shown(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"


def not_found(message: str) -> Failure:
    """404 `model_not_found`."""
    return Failure(
        Kind.CALLER, message, status=404, type="invalid_request_error", code="model_not_found", param="model"
    )


def no_such(name: str) -> Failure:
    """Nobody offers it, and it is nobody's in particular."""
    return not_found(f"The model `{_shown(name)}` does not exist here. GET /v1/models lists those that do.")


def no_key(name: str, provider: str) -> Failure:
    """It is the model of a provider that cannot be asked."""
    cure = f"set {KEY_VARIABLES[provider]}" if provider in KEY_VARIABLES else "configure it"
    return not_found(
        f"The model `{_shown(name)}` is offered by {provider}, which has no key here: {cure}, "
        "or choose one that GET /v1/models lists."
    )


def nobody(name: str) -> Failure:
    """503: `auto`, or a group, and none of those it stands for can be asked."""
    return Failure(
        Kind.KEY,
        f"No provider is configured that could serve `{_shown(name)}`.",
        status=503,
        code="no_provider_available",
    )
