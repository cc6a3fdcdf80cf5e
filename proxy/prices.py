"""The price and model table `pricing.yaml` as Structs: what may stand in it, and every fault that it has.

Money has no floats here. A decimal of the file, always quoted, becomes an integer of millionths (`Micro`): USD per
million tokens in micro-dollars ("0.0375" -> 37_500), a factor in millionths ("1.8" -> 1_800_000), USD per unit in
micro-dollars ("0.014" -> 14_000). Six places suffice for every published price (the finest is "0.0025").
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec

from adapters.base import Capabilities

T = TypeVar("T")
Class = Literal["frontier", "standard", "fast"]
Kind = Literal["chat", "embedding"]
Count = Annotated[int, msgspec.Meta(gt=0)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]

MILLION = 1_000_000
DEAREST = 1000  # USD per million tokens: whatever costs more is a price per token or a slip of the decimal point
_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]{1,6})?", re.ASCII)


class PriceTableError(ValueError):
    """The table cannot be used. `faults` has one line per fault, each beginning with the entry it is in."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class Micro(int):
    """A decimal of at most six places, times a million. The unit is that of the field."""

    @classmethod
    def parse(cls, text: object) -> "Micro":
        """Read a quoted decimal; a float is refused, for "0.1" is exact and 0.1 is not."""
        if not isinstance(text, str):
            raise ValueError(f"write the figure in quotes: {text!r}")
        if not _DECIMAL.fullmatch(text):
            raise ValueError(f"not a decimal with at most six places, zero or more: {text!r}")
        whole, _, fraction = text.partition(".")
        if len(whole) > 9 or int(whole) * MILLION + int(fraction.ljust(6, "0")) > DEAREST * MILLION:
            raise ValueError(f"more than {DEAREST}: {text!r}")
        return cls(int(whole) * MILLION + int(fraction.ljust(6, "0")))


class _Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a mapping of the file decodes to: unknown keys are faults, not comments."""


class Rates(_Row, frozen=True):
    """Micro-dollars per million tokens, by bucket of `adapters.base.Usage`. None: not priced apart."""

    input: Micro | None = None
    output: Micro | None = None
    cache_read: Micro | None = None
    cache_write_5m: Micro | None = None
    cache_write_30m: Micro | None = None
    cache_write_1h: Micro | None = None
    cache_write_12h: Micro | None = None
    input_audio: Micro | None = None
    input_image: Micro | None = None
    input_video: Micro | None = None
    cache_read_audio: Micro | None = None
    output_audio: Micro | None = None
    output_image: Micro | None = None
    output_reasoning: Micro | None = None

    def under(self, top: "Rates") -> "Rates":
        """These rates, with those that `top` names in their place."""
        named = {key: rate for key, rate in msgspec.structs.asdict(top).items() if rate is not None}
        return msgspec.structs.replace(self, **named)

    def times(self, factor: int) -> "Rates":
        """All rates times `factor` (in millionths), rounded up to a whole micro-dollar: never billed too low."""
        pairs = msgspec.structs.asdict(self).items()
        return Rates(**{key: Micro(-(-rate * factor // MILLION)) for key, rate in pairs if rate is not None})


class Tier(_Row, frozen=True):
    """Rates of a request whose prompt, cached tokens included, is longer: for all its tokens, not the excess."""

    above_prompt_tokens: Count
    per_mtok: Rates


def _ascending(tiers: tuple[Tier, ...]) -> None:
    starts = [tier.above_prompt_tokens for tier in tiers]
    if starts != sorted(set(starts)):
        raise ValueError("tiers must ascend by `above_prompt_tokens`")


def _tiered(rates: Rates, tiers: tuple[Tier, ...], prompt: int) -> Rates:
    for tier in reversed(tiers):
        if prompt > tier.above_prompt_tokens:
            return rates.under(tier.per_mtok)
    return rates


class Variant(_Row, frozen=True):
    """Another way to be served (batch, flex, priority, fast, ...): a factor on everything, or rates of its own.

    Own rates replace the standard ones key by key, with `tiers` of their own: without, they hold at any length.
    """

    multiply: Micro | None = None
    per_mtok: Rates | None = None
    tiers: tuple[Tier, ...] = ()

    def __post_init__(self) -> None:
        if (self.multiply is None) == (self.per_mtok is None):
            raise ValueError("a variant has either `multiply` or `per_mtok`")
        if self.multiply is not None and self.tiers:
            raise ValueError("`tiers` of a variant go with `per_mtok`, not with `multiply`")
        _ascending(self.tiers)


class PerUnit(_Row, frozen=True):
    """Micro-dollars for one unit of what is not counted in tokens. Free allowances are not subtracted."""

    web_search: Micro | None = None  # a call (OpenAI, Anthropic), or a query (Gemini from 3 on)
    grounded_prompt: Micro | None = None  # a request that searched, whatever the number of queries (Gemini before 3)
    maps_query: Micro | None = None
    request: Micro | None = None
    image: Micro | None = None  # no answer of a chat says how many: it is kept here, and billed nowhere


class Price(_Row, frozen=True, dict=True):
    """What a model costs from `valid_from` on (None: ever since). `source` says who said so, and when."""

    source: str
    per_mtok: Rates
    valid_from: Instant | None = None
    tiers: tuple[Tier, ...] = ()
    variants: dict[str, Variant] = {}
    region: dict[str, Micro] = {}  # data residency -> factor on everything
    per_unit: PerUnit = PerUnit()

    def __post_init__(self) -> None:
        if self.per_mtok.input is None:
            raise ValueError("`per_mtok` has no `input`")
        if not self.source:
            raise ValueError("every figure has a source")
        _ascending(self.tiers)

    def rates(self, prompt: int = 0, variant: str | None = None) -> Rates:
        """The rates of one request: tier by its `prompt` tokens (cached included), then the `variant` served.

        A variant that the row does not name leaves the standard rates; `variant in price.variants` tells.
        """
        standard = _tiered(self.per_mtok, self.tiers, prompt)
        chosen = self.variants.get(variant) if variant else None
        if chosen is None:
            return standard
        if chosen.multiply is not None:
            return standard.times(chosen.multiply)
        return standard.under(_tiered(chosen.per_mtok or Rates(), chosen.tiers, prompt))

    @cached_property
    def version(self) -> str:
        """Names these figures for good: "2026-11-01/3fa9c1d2", the first day (or "start") and a digest.

        What bills the same has the same name, in whatever order it was written and whoever said so.
        """
        begin = self.valid_from.astimezone(UTC) if self.valid_from else None
        figures = _said({**msgspec.structs.asdict(self), "source": None, "valid_from": begin and begin.isoformat()})
        digest = hashlib.sha256(msgspec.json.encode(figures, order="deterministic")).hexdigest()
        return f"{begin.date().isoformat() if begin else 'start'}/{digest[:8]}"


def _said(value: Any) -> Any:
    """Structs as mappings, figures as plain numbers, and without what says nothing: a new field changes no digest."""
    if isinstance(value, msgspec.Struct):
        return _said(msgspec.structs.asdict(value))
    if isinstance(value, dict):
        return {key: _said(part) for key, part in value.items() if part not in (None, {}, (), PerUnit())}
    if isinstance(value, tuple):
        return [_said(part) for part in value]
    return int(value) if isinstance(value, Micro) else value


class Limits(_Row, frozen=True):
    """In tokens. `context` holds prompt and answer together; `max_input` where the prompt has a bound of its own."""

    context: Count
    max_output: Count
    max_input: Count | None = None

    def __post_init__(self) -> None:
        if max(self.max_output, self.max_input or 0) > self.context:
            raise ValueError("`max_output` and `max_input` fit into `context`")


class Model(_Row, frozen=True):
    """One entry: a model at a provider. `model` is its name on the wire, `match` are globs of its other names.

    `class_` (in the file: `class`) ranks models across vendors; None means that nothing is equivalent to it.
    """

    provider: str
    model: str
    limits: Limits
    match: tuple[str, ...] = ()
    kind: Kind = "chat"
    class_: Class | None = msgspec.field(default=None, name="class")
    preferred: bool = False
    released: date | None = None
    retires: date | None = None
    capabilities: Capabilities = Capabilities()
    prices: tuple[Price, ...] = ()

    def __post_init__(self) -> None:
        begins = [row.valid_from for row in self.prices]
        dated = [begin for begin in begins[1:] if begin is not None]
        known = dated if not begins or begins[0] is None else [begins[0], *dated]
        if len(dated) < len(begins) - 1 or known != sorted(set(known)):
            raise ValueError("`prices` ascend by `valid_from`, and only the first may do without")
        if self.kind == "chat" and any(row.per_mtok.output is None for row in self.prices):
            raise ValueError("a chat model's `per_mtok` has an `output`")
        if self.preferred and (self.class_ is None or not self.prices):
            raise ValueError("a preferred model has a class and a price")
        if self.released and self.retires and self.retires < self.released:
            raise ValueError("`retires` is before `released`")

    def price_at(self, when: datetime | int) -> Price | None:
        """The price of a request that began at `when` (aware, or seconds since the epoch); None: unknown, not free."""
        seconds = when.timestamp() if isinstance(when, datetime) else when
        for row in reversed(self.prices):
            if row.valid_from is None or row.valid_from.timestamp() <= seconds:
                return row
        return None


def _from_text(kind: type[Any], value: object) -> object:
    """msgspec's hook for the one type that it does not know."""
    assert kind is Micro, kind
    return Micro.parse(value)


def convert(value: object, kind: type[T]) -> T:
    """A decoded mapping as its Struct; the first fault is a `msgspec.ValidationError`."""
    return msgspec.convert(value, kind, dec_hook=_from_text)


def faults(value: object, kind: Any, path: str) -> list[str]:
    """All faults of `value` as a `kind`, one line each, where msgspec stops at the first."""
    try:
        convert(value, kind)
    except msgspec.ValidationError as error:
        found = [line for key, part, inner in _parts(value, kind) for line in faults(part, inner, path + key)]
        found += _key_faults(value, kind, path)
        return found or [f"{path}: {error}"]
    return []


def _parts(value: object, kind: Any) -> Iterator[tuple[str, object, Any]]:
    """The members of `value` that have a type of their own: path's end, member, type."""
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            if field.encode_name in value:
                yield f".{field.encode_name}", value[field.encode_name], field.type
    elif isinstance(value, dict) and origin is dict:
        for key, member in value.items():
            yield f".{key}", member, inner[1]
    elif isinstance(value, list) and origin is tuple and inner[1:] == (...,):
        for at, member in enumerate(value):
            yield f"[{at}]", member, inner[0]


def _key_faults(value: object, kind: Any, path: str) -> list[str]:
    """Keys of a mapping that its Struct does not know, and those that it misses."""
    if not (isinstance(value, Mapping) and isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return []
    known = {field.encode_name: field.required for field in msgspec.structs.fields(kind)}
    unknown = [f"{path}: unknown key `{key}`" for key in value if key not in known]
    return unknown + [f"{path}: `{key}` is missing" for key, must in known.items() if must and key not in value]


def read(text: bytes) -> tuple[list[Model], list[str]]:
    """The entries of a table (YAML) that can be read, families resolved; and what is wrong with the others."""
    try:
        table = msgspec.yaml.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return [], [f"not YAML: {' '.join(str(error).split())}"]
    if not isinstance(table, dict) or not isinstance(table.get("models"), list):
        return [], ["the table is a mapping with a list `models`"]
    found = [f"unknown key `{key}`" for key in table if key not in ("models", "families")]
    families = table.get("families", {})
    broken = faults(families, dict[str, Capabilities], "families")
    if broken:
        return [], found + broken  # every entry that names one would only say so again
    models: list[Model] = []
    for at, entry in enumerate(table["models"]):
        path = f"models[{at}]"
        if isinstance(entry, dict):
            path += f" {entry.get('provider')}/{entry.get('model')}"
            family = str(entry.get("family", ""))
            if family and family not in families:
                found.append(f"{path}: no such family: `{family}`")
            entry = _resolved(entry, families.get(family, {}))
        wrong = faults(entry, Model, path)
        found += wrong
        if not wrong:
            models.append(convert(entry, Model))
    return models, found


def _resolved(entry: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """The entry with its family's capabilities under its own, key by key."""
    own = entry.get("capabilities", {})
    rest = {key: value for key, value in entry.items() if key != "family"}
    return rest | {"capabilities": shared | own} if isinstance(own, dict) else rest
