"""Our cost against that of genai-prices, to the nano: each model of the table x lengths x caches x dates x variants.

Where the two differ the reason stands in `EXPLAINED`; docs/costs.md lists exactly these (TOLLHOUSE_BLESS=1 writes it).
"""

import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import cache, reduce
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

import genai_prices.types as oracle
import msgspec

from adapters.base import Usage
from proxy.cost import cost
from proxy.prices import Micro, Model, Price
from tests.test_pricing_table import COMPARED, PROVIDERS, THEIRS, VARIANTS, theirs

DOCS = Path(__file__).resolve().parents[2] / "docs" / "costs.md"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
A_WHILE = timedelta(days=1)
HEADING = "## Differences to genai-prices"
HEAD = """\
The tests compare our cost with that of [genai-prices](https://github.com/pydantic/genai-prices) 0.2.3 for each model
that both know, on both sides of each tier by length, with and without cached input, cache writes, audio, images and
searches, standard and by variant, around each day on which a price changes: equal to the nano-dollar, but for these.

"""
TAIL = """
What no answer tells cannot be billed, here or there, and is not in our cost:

- a factor for data residency: `region` of the table names it (OpenAI in us and eu, Anthropic in us: 1.1), but no answer
  says where it was processed;
- storage of Gemini's explicit caches, by the token and hour;
- free allowances (Gemini's searches): each search is billed, so the bill may be lower;
- queries of Google Maps, images by the piece, OpenAI's web searches: answers of a chat do not count them;
- that a cache of OpenAI is to last 12 hours: what is written counts as written for 30 minutes;
- video at a rate of its own (only `gemini-embedding-2` has one): it counts as text;
- prices by contract: discounts, commitments (Anthropic's priority tier), credits.
"""
LONG = 250_000  # a prompt of a model whose price does not go by length


class Case(NamedTuple):
    """One point of the grid; `info` is what genai-prices knows of the model."""

    model: Model
    price: Price
    info: oracle.ModelInfo
    when: datetime
    variant: str | None
    usage: Usage

    @property
    def cost(self) -> int:
        """Ours."""
        return cost(self.usage, self.price, self.variant)


def standard(case: Case) -> Case:
    chosen = VARIANTS[case.variant].items()
    known = [other for other in case.info.price_variants or () if other.when.items() <= chosen]
    held = any(other.constraint is None or other.constraint.active(case.when) for other in known)
    return case if held else case._replace(variant=None)


def by_the_query(case: Case) -> Case:
    unit = case.price.per_unit
    per_unit = msgspec.structs.replace(unit, web_search=unit.grounded_prompt or unit.web_search, grounded_prompt=None)
    return case._replace(price=msgspec.structs.replace(case.price, per_unit=per_unit))


def plain_writes(case: Case) -> Case:
    if case.model.model != "claude-2":
        return case
    text = case.usage.in_text + case.usage.cache_written
    plain = {"in_text": text, "cache_write_5m": 0, "cache_write_1h": 0}
    return case._replace(usage=msgspec.structs.replace(case.usage, **plain))


def as_text(case: Case) -> Case:
    silent: dict[str, Any] = dict.fromkeys(LITELLM_ONLY.get(case.model.model, ()))
    variants = {
        name: msgspec.structs.replace(other, per_mtok=msgspec.structs.replace(other.per_mtok, **silent))
        for name, other in case.price.variants.items()
        if other.per_mtok
    }
    per_mtok = msgspec.structs.replace(case.price.per_mtok, **silent)
    price = msgspec.structs.replace(case.price, per_mtok=per_mtok, variants={**case.price.variants, **variants})
    return case._replace(price=price)


def without_fee(case: Case) -> Case:
    per_unit = msgspec.structs.replace(case.price.per_unit, request=None)
    return case._replace(price=msgspec.structs.replace(case.price, per_unit=per_unit))


AUDIO = ("input_audio", "output_audio")
LITELLM_ONLY = {
    "gpt-4o-search-preview": ("cache_read",),
    "ft:gpt-4o": ("cache_read",),
    "ft:gpt-4o-mini": ("cache_read",),
    "gpt-4o-audio-preview": AUDIO,
    "gpt-4o-mini-audio-preview": AUDIO,
}

# What differs, and how our cost would come to theirs. Each is needed: a reason that explains nothing fails, and so does
# a difference without a reason.
EXPLAINED: dict[str, Callable[[Case], Case]] = {
    "Batch, flex, priority and fast have their prices here on any date. genai-prices knows most of them only from the "
    "day on which somebody checked them (October 2026), and some not at all; there it bills the standard price.": (
        standard
    ),
    "Gemini before 3 bills a search by the prompt, however many queries it took. genai-prices multiplies the fee by "
    "the count that it is given.": by_the_query,
    "A write to the cache of a model that has no price for it (`claude-2`, which has no cache) costs the usual factor "
    "of plain input. genai-prices bills it as plain input.": plain_writes,
    f"Of {', '.join(f'`{name}`' for name in LITELLM_ONLY)} genai-prices has no price for cached input or for audio, "
    "and bills them as plain text. Ours are the vendor's, by way of LiteLLM.": as_text,
    "OpenAI's search models search with every request, and its answers do not say so: each of their requests is billed "
    "one search here. genai-prices bills none.": without_fee,
}


def reasons(case: Case, said: int) -> tuple[str, ...] | None:
    """The fewest reasons that together turn our cost into theirs; None if nothing does."""
    for number in range(1, len(EXPLAINED) + 1):
        for chosen in combinations(EXPLAINED, number):
            if reduce(lambda so_far, reason: EXPLAINED[reason](so_far), chosen, case).cost == said:
                return chosen
    return None


def dates(model: Model, info: oracle.ModelInfo) -> set[datetime]:
    """Now, and around each day on which either of the two has a change."""
    rows = info.prices if isinstance(info.prices, list) else []
    constraints = [part.constraint for part in (*rows, *(info.price_variants or ()))]
    starts = {c.start_date for c in constraints if isinstance(c, oracle.StartDateConstraint)}
    begins = {row.valid_from for row in model.prices if row.valid_from}
    begins |= {datetime(day.year, day.month, day.day, tzinfo=UTC) for day in starts}
    around = {begin + step for begin in begins for step in (-timedelta(microseconds=1), timedelta(), A_WHILE)}
    return {NOW, *around}


def lengths(price: Price, info: oracle.ModelInfo, when: datetime, variant: str | None) -> set[int]:
    """Prompts on both sides of each tier of either."""
    steps = [*price.tiers, *(price.variants[variant].tiers if variant in price.variants else ())]
    starts = {step.above_prompt_tokens for step in steps}
    for figure in info.get_prices(when, VARIANTS[variant]).__dict__.values():
        starts |= {tier.start for tier in figure.tiers} if isinstance(figure, oracle.TieredPrices) else set()
    return {1, LONG} | {start + more for start in starts for more in (0, 1)}


def usages(model: Model, price: Price, prompt: int) -> Iterator[Usage]:
    """Ways in which a prompt of that length may be made up, each with an answer of another length."""
    cached, written = prompt // 3, prompt // 5
    yield Usage(in_text=prompt)
    yield Usage(in_text=prompt, out_text=7, web_searches=1)
    yield Usage(in_text=prompt - cached, cache_read=cached, out_text=5_001)
    if model.provider == "anthropic":
        plain = prompt - cached - 2 * written
        yield Usage(in_text=plain, cache_read=cached, cache_write_5m=written, cache_write_1h=written, out_reasoning=9)
        yield Usage(cache_write_1h=prompt, out_text=3, web_searches=2)
    if model.provider == "openai":
        yield Usage(in_text=prompt - written, cache_write_30m=written, out_text=11, out_reasoning=13)
    if model.provider == "gemini":
        yield Usage(in_text=prompt, out_text=1, web_searches=3)
    if price.per_mtok.input_audio is not None:
        yield Usage(in_text=prompt - cached, in_audio=cached, out_text=5)
        yield Usage(in_text=prompt - cached, cache_read_audio=cached, out_text=5)
    if price.per_mtok.output_audio is not None:
        yield Usage(in_text=prompt, out_text=3, out_audio=977)
    if price.per_mtok.input_image is not None:
        yield Usage(in_text=prompt - cached, in_image=cached)


def cases(model: Model) -> Iterator[Case]:
    info = theirs(model)
    assert info
    for when, variant in product(sorted(dates(model, info)), VARIANTS):
        price = model.price_at(when)
        assert price
        for prompt in sorted(lengths(price, info, when, variant)):
            for usage in usages(model, price, prompt):
                yield Case(model, price, info, when, variant, usage)


def their_cost(case: Case) -> int:
    """Nano-dollars, rounded up once, as ours."""
    usage = case.usage
    counts = {
        "input_tokens": usage.prompt,
        "output_tokens": usage.completion,
        "cache_read_tokens": usage.cached,
        "cache_audio_read_tokens": usage.cache_read_audio,
        "cache_write_tokens": usage.cache_written,
        "cache_write_1h_tokens": usage.cache_write_1h,
        "input_audio_tokens": usage.in_audio + usage.cache_read_audio,
        "output_audio_tokens": usage.out_audio,
        "input_image_tokens": usage.in_image,
        "web_searches": usage.web_searches,
    }
    said = case.info.calc_price(
        oracle.Usage(**{key: count for key, count in counts.items() if count}),
        PROVIDERS[THEIRS[case.model.provider]],
        genai_request_timestamp=case.when,
        price_context=VARIANTS[case.variant],
    )
    return int((Decimal(said.total_price) * 10**9).to_integral_value(ROUND_CEILING))


@cache
def differences() -> tuple[int, list[tuple[Case, int]]]:
    """How many points were compared, and those at which the two differ, with theirs."""
    compared, found = 0, []
    for case in (case for model in COMPARED for case in cases(model)):
        compared += 1
        if case.cost != (said := their_cost(case)):
            found.append((case, said))
    return compared, found


def shown(case: Case, said: int) -> str:
    counted = {key: count for key, count in msgspec.structs.asdict(case.usage).items() if count}
    return f"{case.model.provider}/{case.model.model} {case.when} {case.variant} {counted}: {case.cost}, theirs {said}"


def test_our_cost_is_that_of_genai_prices_or_the_difference_is_explained():
    compared, found = differences()
    assert compared > 10_000
    unexplained = [shown(case, said) for case, said in found if reasons(case, said) is None]
    assert not unexplained, "\n".join([f"{len(unexplained)} of {compared}", *unexplained[:40]])


def test_the_documentation_lists_exactly_the_differences_that_there_are():
    _, found = differences()
    needed = {reason for case, said in found for reason in reasons(case, said) or ()}
    assert needed == set(EXPLAINED)
    section = f"{HEADING}\n\n{HEAD}{''.join(f'- {reason}' + chr(10) for reason in EXPLAINED)}{TAIL}"
    text = DOCS.read_text(encoding="utf-8")
    before, heading, rest = text.partition(HEADING)
    after = re.search(r"\n## .*", rest, re.DOTALL)
    fresh = before + section + (after[0] if after else "")
    if os.environ.get("TOLLHOUSE_BLESS") == "1":
        DOCS.write_text(fresh if heading else f"{text.rstrip()}\n\n{section}", encoding="utf-8")
        return
    assert heading
    assert fresh == text, "run the tests with TOLLHOUSE_BLESS=1, then read the change"


def test_the_grid_sees_one_figure_that_is_wrong():
    """A tenth of a cent on a million cached tokens of a long prompt."""
    case = next(
        case for model in COMPARED if model.model == "gpt-6-astra" for case in cases(model) if long_cached(case)
    )
    step = case.price.tiers[0]
    wrong = msgspec.structs.replace(step.per_mtok, cache_read=Micro((step.per_mtok.cache_read or 0) + 1_000))
    tiers = (msgspec.structs.replace(step, per_mtok=wrong),)
    assert case.cost == their_cost(case)
    broken = case._replace(price=msgspec.structs.replace(case.price, tiers=tiers))
    assert broken.cost != their_cost(broken)
    assert reasons(broken, their_cost(broken)) is None


def long_cached(case: Case) -> bool:
    return case.usage.prompt == 272_001 and case.usage.cache_read > 0 and case.variant is None and case.when == NOW
