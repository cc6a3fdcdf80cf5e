"""What a request cost, and what it can cost at most: tokens in disjoint buckets times the price of their kind.

Money is an integer of nano-dollars. Prices are micro-dollars per million tokens, so that a token at $0.0375 a million
is still exact; the sum is divided once, rounded up, here and only here.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from operator import attrgetter, mul

import msgspec
from msgspec.structs import astuple

from adapters.base import Usage
from proxy.prices import PerUnit, Price, Rates

NANO = 1_000_000_000  # of a dollar
_PER_MICRO = 1_000  # nano-dollars
_PER_NANO = 1_000  # micro-dollars per million tokens, times tokens


def _input(rates: Rates) -> int:
    return rates.input or 0


def _output(rates: Rates) -> int:
    return rates.output or 0


def _quarter_more(rates: Rates) -> int:
    return -(-5 * _input(rates) // 4)  # Anthropic's factor for five minutes


def _twice(rates: Rates) -> int:
    return 2 * _input(rates)  # Anthropic's factor for an hour


def _half_again_twice(rates: Rates) -> int:
    return -(-5 * _input(rates) // 2)  # OpenAI's factor for twelve hours, 2.5


def _cached(rates: Rates) -> int:
    return rates.cache_read or rates.input_audio or _input(rates)


# Bucket of `Usage` -> its rate, and what stands in where a price does not name it: never less than what is billed.
_BUCKETS: Mapping[str, tuple[str, Callable[[Rates], int]]] = {
    "in_text": ("input", _input),
    "in_audio": ("input_audio", _input),
    "in_image": ("input_image", _input),
    "cache_read": ("cache_read", _input),
    "cache_read_audio": ("cache_read_audio", _cached),
    "cache_write_5m": ("cache_write_5m", _quarter_more),
    "cache_write_30m": ("cache_write_30m", _input),
    "cache_write_1h": ("cache_write_1h", _twice),
    "cache_write_12h": ("cache_write_12h", _half_again_twice),
    "out_text": ("output", _output),
    "out_reasoning": ("output_reasoning", _output),
    "out_audio": ("output_audio", _output),
    "out_image": ("output_image", _output),
}
_UNUSED = Usage()
_STAND_INS: Mapping[str, Callable[[Rates], int]] = {name: otherwise for name, otherwise in _BUCKETS.values()}


class Hints(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """What a request may use, as far as that makes it dearer. A search or a query of Maps is a call of that tool.

    What needs no asking is always thought possible: cached input, OpenAI's cache of 30 minutes, reasoning, images.
    """

    cache_5m: bool = False
    cache_1h: bool = False
    cache_12h: bool = False
    audio_in: bool = False
    image_in: bool = False
    audio_out: bool = False
    searches: int = 0
    maps: int = 0


class Rate(msgspec.Struct, frozen=True):
    """The dearest a request can be: micro-dollars per million tokens in and out, nano-dollars for all its fees."""

    input: int
    output: int
    units: int


def cost(usage: Usage, price: Price, tier: str | None = None) -> int:
    """Nano-dollars. `tier` is the service tier that was served, in OpenAI's words; the default one has no name here.

    The tier by length goes by the whole prompt, cached tokens included, and holds for the whole request.
    """
    step = _step(price, tier, usage.prompt) if tier or price.tiers else _USUAL
    try:
        figures: tuple[int, ...] = price.__dict__["_figures"][step]
    except KeyError:
        figures = _figures(price, tier, usage.prompt)
    amount: int = -(-sum(map(mul, astuple(usage), figures)) // _PER_NANO)
    unit = price.per_unit
    if (unit.request or usage.web_searches or usage.map_queries) and usage != _UNUSED:
        amount += _fees(unit, usage.web_searches, usage.map_queries)
    return amount


def _figures(price: Price, tier: str | None, prompt: int) -> tuple[int, ...]:
    """The rate of each field of `Usage`, in their order, 0 of what is no tokens. They are kept with the price: to look
    each of them up took as long as all the rest of the sum."""
    rates = price.rates(prompt, tier)
    names = (_BUCKETS.get(field, ("", None))[0] for field in Usage.__struct_fields__)
    figures = tuple(rate(rates, name) if name else 0 for name in names)
    price.__dict__.setdefault("_figures", {})[_step(price, tier, prompt)] = figures
    return figures


_above = attrgetter("above_prompt_tokens")
_USUAL = (None, 0, 0)  # nearly always


def _step(price: Price, tier: str | None, prompt: int) -> tuple[str | None, int, int]:
    """What the rates of a request depend on: the variant, and how many tiers by length it is beyond, of the price and
    of the variant."""
    tiers = price.tiers
    variant = price.variants.get(tier) if tier else None
    if variant is None and (not tiers or prompt <= tiers[0].above_prompt_tokens):
        return _USUAL
    beyond = bisect_left(tiers, prompt, key=_above)
    return (None, beyond, 0) if variant is None else (tier, beyond, bisect_left(variant.tiers, prompt, key=_above))


def rate(rates: Rates, name: str) -> int:
    """Micro-dollars per million tokens of the kind `name`, a field of `Rates`; what stands in if it is not named."""
    named = getattr(rates, name)
    return _STAND_INS.get(name, _input)(rates) if named is None else int(named)


def worst(prompt: int, price: Price, tier: str | None, *, hints: Hints) -> Rate:
    """The dearest at which each token of a request can be billed that has at most `prompt` tokens of input.

    Whoever is asked for `tier` may serve it or the standard one. For each `usage` within `prompt` and `hints`:
    `cost(usage, price, served) <= ceil((prompt * input + completion * output) / 1000) + units`.
    """
    step = _step(price, tier, prompt) if tier or price.tiers else _USUAL
    try:
        dearest: Rate = price.__dict__["_worst"][step, hints]
    except KeyError:
        variant = price.variants.get(tier) if tier else None
        tiers = (*price.tiers, *(variant.tiers if variant else ()))
        lengths = (0, *sorted({one.above_prompt_tokens + 1 for one in tiers if one.above_prompt_tokens < prompt}))
        dearest = _dearest(price, lengths, tier if variant else None, hints)
        price.__dict__.setdefault("_worst", {})[step, hints] = dearest  # few: each request asks for one of them
    return dearest


def _dearest(price: Price, lengths: Sequence[int], tier: str | None, hints: Hints) -> Rate:
    """The dearest of all lengths at which the rates change, standard and of `tier`."""
    kinds_in, kinds_out = _kinds(hints)
    reachable = [price.rates(length, served) for length in lengths for served in {None, tier}]
    return Rate(
        input=max(rate(rates, name) for rates, name in product(reachable, kinds_in)),
        output=max(rate(rates, name) for rates, name in product(reachable, kinds_out)),
        units=_fees(price.per_unit, hints.searches, hints.maps),
    )


def _kinds(hints: Hints) -> tuple[list[str], list[str]]:
    """The rates that may apply to a token of input, and to one of output."""
    inputs = {
        "input": True,
        "cache_read": True,
        "cache_write_30m": True,
        "cache_write_5m": hints.cache_5m,
        "cache_write_1h": hints.cache_1h,
        "cache_write_12h": hints.cache_12h,
        "input_audio": hints.audio_in,
        "cache_read_audio": hints.audio_in,
        "input_image": hints.image_in,
    }
    outputs = {"output": True, "output_reasoning": True, "output_image": True, "output_audio": hints.audio_out}
    return [name for name, used in inputs.items() if used], [name for name, used in outputs.items() if used]


def _fees(unit: PerUnit, searches: int, maps: int) -> int:
    """Nano-dollars for what is not counted in tokens, of one request."""
    micro: int = (unit.request or 0) + searches * (unit.web_search or 0) + maps * (unit.maps_query or 0)
    if searches:
        micro += unit.grounded_prompt or 0
    return micro * _PER_MICRO


@lru_cache(maxsize=1_024)  # an answer's cost is written twice: for its client, and in the log
def dollars(nano: int) -> str:
    """Nano-dollars as a decimal of dollars, exactly; `0.000012345`."""
    if 0 < nano < NANO:  # nearly always
        return f"0.{nano:09d}".rstrip("0")
    if nano < 0:
        return f"-{dollars(-nano)}"
    whole, rest = divmod(nano, NANO)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".") if rest else str(whole)
