"""Price tables that others publish, read as prices of ours: genai-prices (package or JSON) and LiteLLM's JSON.

Figures are decimals from the text, never floats. A model with a figure that we cannot hold (negative, dearer than $1000
a million, finer than a millionth) is left out whole, and that is told: who is wrong in one place is not to be trusted
in the next.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from proxy.prices import Model, Price, convert, read

Json = dict[str, Any]
Rows = tuple[Price, ...]

_GENAI_PROVIDERS = {"gemini": "google"}
_GENAI_NAMES = {  # what their patterns do not find by our name, or take for another model
    "ft:gpt-4o": "ft:gpt-4o-2024-08-06",
    "ft:gpt-4o-mini": "ft:gpt-4o-mini-2024-07-18",
    "gemini-1.5-flash-8b": "gemini-flash-1.5-8b",
}
_GENAI_RATES = {
    "input_mtok": "input",
    "output_mtok": "output",
    "output_reasoning_mtok": "output_reasoning",
    "cache_read_mtok": "cache_read",
    "cache_write_5m_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "cache_audio_read_mtok": "cache_read_audio",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
    "input_video_mtok": "input_video",
}
_GENAI_FEES = {"web_searches_kcount": "web_search", "requests_kcount": "request"}
_LITELLM_RATES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "output_reasoning",
    "cache_read_input_token_cost": "cache_read",
    "cache_read_input_audio_token_cost": "cache_read_audio",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_creation_input_token_cost_above_12hr": "cache_write_12h",
    "input_cost_per_audio_token": "input_audio",
    "output_cost_per_audio_token": "output_audio",
    "input_cost_per_image_token": "input_image",
    "output_cost_per_image_token": "output_image",
    "input_cost_per_video_token": "input_video",
}
_LITELLM_KEY = re.compile(r"(?P<rate>.+?)(?:_above_(?P<thousands>[0-9]+)k_tokens)?(?:_(?P<variant>[a-z]+))?", re.ASCII)
_MOST_PLACES = 20  # before or behind the point; more would only fill the message that refuses it
_WRITES = {"openai": "cache_write_30m"}  # how long what is plainly written stays; elsewhere it is five minutes


class SourceError(ValueError):
    """It cannot be read as a price table of any kind that we know."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask. `prices` says what a model of ours costs, None if it is not known there, or raises `ValueError`.

    `whole`: what it does not name is not there. `dated`: it knows of changes to come; otherwise it speaks of today.
    `models` are the entries of a table in our own format.
    """

    name: str
    prices: Callable[[Model], Rows | None]
    whole: bool = False
    dated: bool = True
    models: tuple[Model, ...] = ()


def package() -> Source:
    """The installed `genai-prices`. Raises `SourceError` if it is not."""
    try:
        from genai_prices import __version__, data  # only here: it is no part of an installation, and slow to import
    except ImportError:
        raise SourceError("genai-prices is not installed: pip install genai-prices") from None
    return _genai(f"genai-prices {__version__}", [_plain(provider) for provider in data.providers])


def parse(name: str, text: bytes) -> Source:
    """A file: LiteLLM's table or genai-prices' in JSON, or a table of ours in YAML. Raises `SourceError`."""
    if text.lstrip()[:1] in (b"[", b"{"):
        try:
            table = json.loads(text, parse_float=_decimal)
        except (ValueError, RecursionError):
            table = None  # YAML may begin with a bracket, too
        if isinstance(table, list) and all(isinstance(row, dict) and "models" in row for row in table):
            return _genai(name, table)
        if isinstance(table, dict) and "models" not in table:
            return _litellm(name, table)
    models, found = read(text)
    if found:
        raise SourceError("\n".join(f"{name}: {fault}" for fault in found))
    own = {(model.provider, model.model): model.prices for model in models}
    return Source(
        name=name, whole=True, models=tuple(models), prices=lambda model: own.get((model.provider, model.model))
    )


# --- genai-prices


def _genai(name: str, providers: list[Json]) -> Source:
    listed = {provider.get("id"): provider["models"] for provider in providers}

    def prices(model: Model) -> Rows | None:
        infos = listed.get(_GENAI_PROVIDERS.get(model.provider, model.provider), [])
        wanted = _GENAI_NAMES.get(model.model, model.model)
        found = next((info for info in infos if wanted == info["id"]), None)
        found = found or next((info for info in infos if _matches(info["match"], wanted)), None)
        return _genai_rows(found, model, name) if found and found.get("prices") else None

    return Source(name=name, prices=prices)


_CLAUSES: Mapping[str, Callable[[Any, str], bool]] = {  # they take no notice of capitals, but in a pattern
    "or": lambda parts, text: any(_matches(part, text) for part in parts),
    "and": lambda parts, text: all(_matches(part, text) for part in parts),
    "regex": lambda said, text: re.search(said, text) is not None,
    "equals": lambda said, text: text.lower() == said.lower(),
    "starts_with": lambda said, text: text.lower().startswith(said.lower()),
    "ends_with": lambda said, text: text.lower().endswith(said.lower()),
    "contains": lambda said, text: said.lower() in text.lower(),
}


def _matches(clause: Json, text: str) -> bool:
    """Whether a name fits a clause of genai-prices, which has one key."""
    return all(_CLAUSES[kind](said, text) for kind, said in clause.items())


def _genai_rows(info: Json, model: Model, source: str) -> Rows:
    rows = info["prices"] if isinstance(info["prices"], list) else [{"prices": info["prices"]}]
    extra = info.get("price_variants") or []
    days = {_starts(part) for part in (*rows, *extra)}
    found: list[Price] = []
    for day in sorted(days | {None}, key=lambda start: start or date.min):
        held = [row["prices"] for row in rows if _held(row, day)]
        if not held:
            continue
        variants: dict[str, Json] = {}
        for part in extra:
            if _held(part, day):  # the first that names a figure has it, unlike with rows
                known = variants.setdefault(_variant(part), {})
                known.update({key: figure for key, figure in part["prices"].items() if known.get(key) is None})
        variants.pop("", None)
        price = _genai_price(held[-1], variants, model, source, day)
        if not found or msgspec.structs.replace(price, valid_from=found[-1].valid_from) != found[-1]:
            found.append(price)
    return tuple(found)


def _starts(part: Json) -> date | None:
    constraint = part.get("constraint")
    if not constraint:
        return None
    if "start_date" not in constraint:
        raise ValueError("its price goes by the time of day")
    said = constraint["start_date"]
    return said if isinstance(said, date) else date.fromisoformat(said)


def _held(part: Json, day: date | None) -> bool:
    start = _starts(part)
    return start is None or (day is not None and start <= day)


def _variant(part: Json) -> str:
    """Our name of what a price depends on: "batch", "fast", a service tier; empty for the default one."""
    when = part["when"]
    if len(when) != 1:
        raise ValueError(f"its price goes by {' and '.join(when)} together")
    (name,) = when.values()
    return "" if name in ("default", "standard") else str(name)


def _genai_price(standard: Json, variants: Json, model: Model, source: str, day: date | None) -> Price:
    fees = {ours: _figure(standard[key], 1_000) for key, ours in _GENAI_FEES.items() if standard.get(key) is not None}
    priced = {name: _genai_rates(said, model) for name, said in variants.items()}
    begin = {"valid_from": datetime(day.year, day.month, day.day, tzinfo=UTC)} if day else {}
    table = {"source": source, **_genai_rates(standard, model), "per_unit": _by_prompt(fees, model), **begin}
    return convert({**table, "variants": {name: rates for name, rates in priced.items() if rates["per_mtok"]}}, Price)


def _genai_rates(said: Json, model: Model) -> Json:
    """`per_mtok` and `tiers`; each tier names all rates that go by length."""
    names = {**_GENAI_RATES, "cache_write_mtok": _WRITES.get(model.provider, "cache_write_5m")}
    rates = {names[key]: figure for key, figure in said.items() if key in names and figure is not None}
    tiered = {name: figure for name, figure in rates.items() if isinstance(figure, dict)}
    starts = sorted({int(tier["start"]) for figure in tiered.values() for tier in figure["tiers"]})
    tiers = [
        {"above_prompt_tokens": start, "per_mtok": {name: _figure(_at(fig, start)) for name, fig in tiered.items()}}
        for start in starts
    ]
    base = {name: _figure(figure["base"] if name in tiered else figure) for name, figure in rates.items()}
    return {"per_mtok": base, "tiers": tiers}


def _at(figure: Json, start: int) -> Any:
    steps = sorted(figure["tiers"], key=lambda tier: int(tier["start"]))
    return [figure["base"], *(tier["price"] for tier in steps if int(tier["start"]) <= start)][-1]


def _plain(value: Any) -> Any:
    """What the package holds as objects, as its JSON would have it."""
    if type(value).__module__.startswith("genai_prices."):
        return {key.rstrip("_"): _plain(part) for key, part in vars(value).items() if part is not None}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


# --- LiteLLM


def _litellm(name: str, table: Json) -> Source:
    def prices(model: Model) -> Rows | None:
        keys = (model.model, f"{model.provider}/{model.model}")
        entries = (table.get(key) for key in keys)
        said = next((e for e in entries if isinstance(e, dict) and e.get("litellm_provider") == model.provider), None)
        return (_litellm_price(said, model, name),) if said else None

    return Source(name=name, prices=prices, dated=False)


def _litellm_price(said: Json, model: Model, source: str) -> Price:
    levels: dict[tuple[str, int], dict[str, str]] = {("", 0): {}}
    for variant, above, rate, figure in _litellm_rates(said, model):
        levels.setdefault((variant, above), {})[rate] = figure
    variants = {name: _level(levels, name) for name in sorted({variant for variant, _ in levels}) if name}
    entry = said.get("provider_specific_entry") or {}
    if "fast" in entry:
        variants.setdefault("fast", {"multiply": _figure(entry["fast"])})
    fees = {}
    if searches := said.get("search_context_cost_per_query"):
        fees["web_search"] = _figure(searches.get("search_context_size_medium", 0))
    if (maps := said.get("google_maps_grounding_cost_per_query")) is not None:
        fees["maps_query"] = _figure(maps)
    region = {place: _figure(entry[place]) for place in ("us", "eu") if place in entry}
    for place in ("us", "eu"):
        if (factor := said.get(f"regional_processing_uplift_multiplier_{place}")) is not None:
            region[place] = _figure(factor)
    rest = {"variants": variants, "per_unit": _by_prompt(fees, model), "region": region}
    return convert({"source": source, **_level(levels, ""), **rest}, Price)


def _litellm_rates(said: Json, model: Model) -> Iterator[tuple[str, int, str, str]]:
    """(variant, above, rate, figure): the names of the fields say it all."""
    names = {**_LITELLM_RATES, "cache_creation_input_token_cost": _WRITES.get(model.provider, "cache_write_5m")}
    for key, figure in said.items():
        word = _LITELLM_KEY.fullmatch(key) if key not in names else None
        rate = names.get(word["rate"] if word else key)
        if rate is None or figure is None:
            continue
        variant = (word and word["variant"]) or ""
        above = int(word["thousands"] or 0) * 1_000 if word else 0
        yield {"batches": "batch"}.get(variant, variant), above, rate, _figure(figure, Decimal(1) / 1_000_000)


def _level(levels: Mapping[tuple[str, int], dict[str, str]], variant: str) -> Json:
    steps = sorted(above for name, above in levels if name == variant and above)
    tiers = [{"above_prompt_tokens": above, "per_mtok": levels[variant, above]} for above in steps]
    return {"per_mtok": levels.get((variant, 0), {}), "tiers": tiers}


# --- both


def _decimal(text: str) -> Decimal | str:
    """A number of JSON; as it is written if it is beyond all numbers, for `_figure` to refuse."""
    try:
        return Decimal(text)
    except ArithmeticError:
        return text


def _figure(said: Any, per: int | Decimal = 1) -> str:
    """A figure as our table writes it; `per` is how many units it is the price of."""
    if isinstance(said, bool) or not isinstance(said, int | str | Decimal):
        raise ValueError(f"not a figure: {said!r}")
    try:
        exact = Decimal(said) / per
    except ArithmeticError:
        raise ValueError(f"not a figure: {said!r}") from None
    if not exact.is_finite() or (exact and not -_MOST_PLACES < exact.adjusted() < _MOST_PLACES):
        raise ValueError(f"not a figure: {said!r}")
    plain = f"{exact:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _by_prompt(fees: dict[str, str], model: Model) -> dict[str, str]:
    """Others have one name for a search; a model of ours may bill it by the prompt."""
    if not any(row.per_unit.grounded_prompt for row in model.prices):
        return fees
    return {("grounded_prompt" if name == "web_search" else name): fee for name, fee in fees.items()}
