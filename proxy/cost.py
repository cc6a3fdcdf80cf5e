"""What a request cost: tokens in disjoint buckets times the price of their kind, rounded up once, here and only here.

Money is an integer of nano-dollars. Prices are micro-dollars per million tokens, so that a token at $0.0375 a million
is still exact; the sum is divided once.
"""

from collections.abc import Callable, Mapping

import msgspec

from adapters.base import Usage
from proxy.prices import Price, Rates

NANO = 1_000_000_000  # of a dollar
_PER_MICRO = 1_000  # nano-dollars
_MILLION = 1_000_000


def _input(rates: Rates) -> int:
    return rates.input or 0


def _output(rates: Rates) -> int:
    return rates.output or 0


def _twice(rates: Rates) -> int:
    return 2 * _input(rates)  # Anthropic's factor for an hour


def _half_again_twice(rates: Rates) -> int:
    return -(-5 * _input(rates) // 2)  # OpenAI's factor for twelve hours, 2.5


# Bucket of `Usage` -> its rate, and what stands in where a price does not name it: never less than what is billed.
_BUCKETS: Mapping[str, tuple[str, Callable[[Rates], int]]] = {
    "in_text": ("input", _input),
    "in_audio": ("input_audio", _input),
    "in_image": ("input_image", _input),
    "cache_read": ("cache_read", _input),
    "cache_read_audio": ("cache_read_audio", lambda rates: rates.cache_read or rates.input_audio or _input(rates)),
    "cache_write_5m": ("cache_write_5m", _input),
    "cache_write_30m": ("cache_write_30m", _input),
    "cache_write_1h": ("cache_write_1h", _twice),
    "cache_write_12h": ("cache_write_12h", _half_again_twice),
    "out_text": ("output", _output),
    "out_reasoning": ("output_reasoning", _output),
    "out_audio": ("output_audio", _output),
    "out_image": ("output_image", _output),
}
_UNITS: Mapping[str, str] = {"web_searches": "web_search", "map_queries": "maps_query"}


def cost(usage: Usage, price: Price, tier: str | None = None) -> int:
    """Nano-dollars. `tier` is the service tier that was served, in OpenAI's words; the default one has no name here.

    The tier by length goes by the whole prompt, cached tokens included, and holds for the whole request.
    """
    rates = price.rates(usage.prompt, tier)
    micro: int = sum(
        tokens * _rate(rates, *_BUCKETS[bucket])
        for bucket, tokens in msgspec.structs.asdict(usage).items()
        if tokens and bucket in _BUCKETS
    )
    units: int = sum(getattr(usage, bucket) * (getattr(price.per_unit, unit) or 0) for bucket, unit in _UNITS.items())
    return -(-micro * _PER_MICRO // _MILLION) + units * _PER_MICRO


def _rate(rates: Rates, name: str, otherwise: Callable[[Rates], int]) -> int:
    rate = getattr(rates, name)
    return otherwise(rates) if rate is None else int(rate)


def dollars(nano: int) -> str:
    """Nano-dollars as a decimal of dollars, exactly; `0.000012345`."""
    whole, rest = divmod(nano, NANO)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".") if rest else str(whole)
