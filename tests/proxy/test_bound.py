"""The worst case of a request, what an amount of money pays for, and the row that is booked in the end."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Capabilities, Target, Usage
from proxy.bound import End, Quote, Rules, bill, credible, hints, quoted, wanted
from proxy.budget import MOST, PART
from proxy.cost import Hints, Rate, cost
from proxy.ledger import Entry
from proxy.prices import Price, convert
from proxy.tokens import TEXT, Media, allowance

TARGET = Target(
    provider="openai", vendor="openai", model="gpt-4o", capabilities=Capabilities(), context=128_000, max_output=16_384
)
ENTRY = Entry(id="r/1", request="r", provider="openai", model="gpt-4o")
NOTHING = Media()


def price(**more: object) -> Price:
    return convert({"source": "test", "per_mtok": {"input": "2", "output": "10"}, **more}, Price)


def quote(
    *, prompt: int = 1_000, input: int = 2_000_000, output: int = 10_000_000, units: int = 0, choices: int = 1,
    most: int = 16_384, capped: bool = False,
) -> Quote:  # fmt: skip
    rate = Rate(input=input, output=output, units=units)
    return Quote(prompt=prompt, rate=rate, choices=choices, most=most, capped=capped)


def test_the_worst_case_is_prompt_and_cap_at_the_dearest_rates():
    assert quote().amount(0) == 2_000_000
    assert quote().amount(100) == 3_000_000
    assert quote(choices=3, units=7).amount(100) == 5_000_007
    assert quote(prompt=1, input=1, output=0).amount(0) == 1  # rounded up


quotes = st.builds(
    quote,
    prompt=st.integers(0, 2_000_000),
    input=st.integers(0, 10**9),
    output=st.integers(0, 10**9),
    units=st.integers(0, 10**9),
    choices=st.integers(1, 8),
    most=st.integers(1, 128_000),
)


@given(quotes, st.integers(0, 10**15))
def test_an_amount_pays_for_its_cap_and_for_not_one_token_more(of: Quote, amount: int):
    cap = of.cap(amount)
    assert cap <= of.most
    if cap >= 1:
        assert of.amount(cap) <= amount
    if cap < of.most:
        assert of.amount(max(cap, 0) + 1) > amount


def test_what_costs_nothing_needs_no_cap():
    free = quote(output=0)
    assert free.cap(2_000_000) == free.most
    assert free.cap(1_999_999) == 0


RULES = Rules(least_output=100, unbounded_share=0.25)


@pytest.mark.parametrize(
    ("of", "tight", "least", "most", "share"),
    [
        (quote(capped=True, most=5_000), False, 5_000, 5_000, PART),
        (quote(capped=True, most=5_000), True, 100, 5_000, PART),
        (quote(capped=True, most=20), True, 20, 20, PART),
        (quote(), False, 1_600, 16_384, 250_000),
        (quote(most=500), False, 500, 500, 250_000),
        (quote(), True, 100, 16_384, 250_000),
    ],
)
def test_a_cap_is_lowered_only_when_the_prompt_was_counted_exactly(of, tight, least, most, share):
    assert wanted(of, RULES, tight=tight) == (of.amount(least), of.amount(most), share)


def test_a_client_with_a_cap_takes_that_and_one_without_what_the_model_can_give():
    free = quoted(10, price(), Hints(), TARGET, tier=None, cap=None, choices=2)
    assert (free.prompt, free.most, free.capped, free.choices) == (10, 16_384, False, 2)
    assert quoted(10, price(), Hints(), TARGET, tier=None, cap=50, choices=1).most == 50
    assert quoted(10, price(), Hints(), TARGET, tier=None, cap=10**9, choices=1).most == 16_384


def test_what_the_client_has_predicted_is_held_as_output_beyond_its_cap():
    def of(predicted: int) -> Quote:
        return quoted(10, price(), Hints(), TARGET, tier=None, cap=50, choices=1, predicted=predicted)

    assert of(7).amount(50) - of(0).amount(50) == 7 * 10_000


def test_a_search_may_read_as_much_as_the_model_can():
    searching = price(per_unit={"web_search": "0.01"})
    found = quoted(10, searching, Hints(searches=10), TARGET, tier=None, cap=1, choices=1)
    assert found.prompt == TARGET.context
    assert found.rate.units == 10 * 10_000_000


@pytest.mark.parametrize(
    ("body", "media", "model", "expected"),
    [
        (b"{}", NOTHING, "gpt-4o", Hints()),
        (b"{}", TEXT, "gpt-4o", Hints()),
        (b'{"cache_control":{"type":"ephemeral"}}', TEXT, "claude", Hints(cache_5m=True)),
        (b"{}", TEXT, "gpt-4o-search-preview", Hints(searches=10)),
        (b'{"cache_control":{"type":"ephemeral"}}', NOTHING, "claude", Hints(cache_5m=True)),
        (b'{"cache_control":{"ttl":"1h"}}', NOTHING, "claude", Hints(cache_5m=True, cache_1h=True)),
        (b'{"prompt_cache_retention":"24h"}', NOTHING, "gpt-5", Hints(cache_12h=True)),
        (b'{"prompt_cache_options":{"ttl":"12h"}}', NOTHING, "gpt-6", Hints(cache_12h=True)),
        (b'{"modalities":["text","audio"]}', NOTHING, "gpt-audio", Hints(audio_out=True)),
        (b"{}", Media(images=1), "gpt-4o", Hints(image_in=True)),
        (b"{}", Media(audio=5), "gpt-audio", Hints(audio_in=True)),
        (b"{}", Media(unknown=True), "gpt-audio", Hints(audio_in=True, image_in=True)),
        (b'{"web_search_options":{}}', NOTHING, "gpt-4o", Hints(searches=10)),
        (b'{"tools":[{"type":"web_search_20250305"}]}', NOTHING, "claude", Hints(searches=10)),
        (b'{"tools":[{"google_search":{}}]}', NOTHING, "gemini", Hints(searches=10)),
        (b'{"tools":[{"googleSearch":{}}]}', NOTHING, "gemini", Hints(searches=10)),
        (b"{}", NOTHING, "gpt-4o-search-preview", Hints(searches=10)),
    ],
)
def test_what_may_be_billed_is_read_off_the_request(body, media, model, expected):
    assert hints(body, media, model) == expected


RATE = Rate(input=2_000_000, output=10_000_000, units=0)
HELD = 50_000_000


def booked(end: End, held: int = HELD, of: Price | None = None, rate: Rate | None = RATE) -> Entry:
    return bill(ENTRY, of or price(), held, rate, end)


def test_what_the_vendor_said_is_what_it_costs():
    usage = Usage(in_text=100, out_text=10)
    entry = booked(End(sent=True, whole=True, usage=usage, tier="default"))
    assert (entry.cost, entry.unproven, entry.estimated, entry.held) == (300_000, 0, False, HELD)
    assert (entry.usage, entry.tier) == (usage, "default")


def test_a_bill_above_the_hold_lands_all_the_same():
    assert booked(End(sent=True, whole=True, usage=Usage(out_text=10)), held=5).cost == 100_000


def test_no_bill_is_larger_than_the_stores_can_add_up():
    entry = booked(End(sent=True, whole=True, usage=Usage(in_text=10**14)))
    assert entry.cost == MOST


@pytest.mark.parametrize("end", [End(), End(sent=True, refused=True), End(sent=False, prompt=9, text=9)])
def test_an_error_and_what_was_never_sent_cost_nothing(end):
    entry = booked(end)
    assert (entry.cost, entry.unproven, entry.estimated, entry.usage) == (0, 0, False, Usage())


def test_who_leaves_pays_for_the_prompt_and_for_what_was_said_so_far():
    entry = booked(End(sent=True, prompt=100, text=10, reasoning=5))
    assert entry.usage == Usage(in_text=100, out_text=10, out_reasoning=5)
    assert entry.cost == 100 * 2_000 + 15 * 10_000
    assert entry.estimated
    assert entry.unproven == allowance(15) * 10_000 + (64 + 12) * 2_000


def test_what_the_vendor_said_before_it_broke_off_goes_before_what_we_counted():
    told = Usage(in_text=70, cache_read=30, out_text=1)
    entry = booked(End(sent=True, usage=told, prompt=999, text=10))
    assert entry.usage == Usage(in_text=70, cache_read=30, out_text=10)
    assert entry.unproven == allowance(10) * 10_000
    more = Usage(in_text=70, out_text=50, out_reasoning=20)
    assert booked(End(sent=True, usage=more, text=10, reasoning=5)).usage == more
    assert told == Usage(in_text=70, cache_read=30, out_text=1)


def test_the_vendors_own_split_is_kept_where_it_says_more_than_ours():
    entry = booked(End(sent=True, usage=Usage(in_text=1, out_text=3, out_reasoning=4), text=10, reasoning=2))
    assert (entry.usage.out_text, entry.usage.out_reasoning) == (10, 4)


def test_of_what_was_never_heard_what_can_have_been_written_in_that_time_is_withheld():
    entry = booked(End(sent=True, prompt=100, silent=1.5))
    assert entry.cost == 200_000
    assert entry.unproven == (64 + 375 + 1_024) * 10_000 + (64 + 12) * 2_000
    assert booked(End(sent=True, prompt=100, silent=60)).unproven == HELD - 200_000


def test_thoughts_before_the_first_word_may_have_been_billed():
    assert booked(End(sent=True, prompt=100, text=10, silent=2)).unproven == (
        (allowance(10) + 500) * 10_000 + (64 + 12) * 2_000
    )


@pytest.mark.parametrize(("lasted", "onwards"), [(0.0, 0), (0.001, 1_024), (0.05, 100), (2.0, 3), (300.0, 1)])
def test_what_was_on_its_way_is_withheld_at_the_speed_at_which_it_came(lasted, onwards):
    entry = booked(End(sent=True, prompt=100, text=15, reasoning=5, lasted=lasted))
    assert entry.unproven == (allowance(20) + onwards) * 10_000 + (64 + 12) * 2_000


def test_an_answer_without_usage_is_counted():
    assert booked(End(sent=True, whole=True, prompt=100, text=10)).cost == 300_000


def test_an_estimate_never_exceeds_the_bound():
    entry = booked(End(sent=True, prompt=10**6, text=10**6))
    assert (entry.cost, entry.unproven) == (HELD, 0)


def test_of_a_vendor_that_went_beyond_its_cap_all_that_was_heard_is_booked():
    entry = booked(End(sent=True, beyond=True, prompt=0, text=6_000))
    assert (entry.cost, entry.unproven) == (60_000_000, 0)


def test_without_a_budget_nothing_is_withheld():
    entry = booked(End(sent=True, prompt=100, text=10), held=0)
    assert (entry.cost, entry.unproven) == (300_000, 0)


def test_a_price_that_is_not_known_is_not_zero():
    entry = bill(ENTRY, None, 0, None, End(sent=True, whole=True, usage=Usage(in_text=1)))
    assert entry.cost is None
    assert entry.usage == Usage(in_text=1)
    assert bill(ENTRY, None, 0, None, End(sent=True, prompt=5)).cost is None


def test_what_somebody_has_reckoned_is_not_reckoned_again_and_holds_only_for_what_was_told_in_full():
    told = End(sent=True, whole=True, usage=Usage(in_text=100, out_text=10), cost=7)
    assert booked(told).cost == 7
    assert bill(ENTRY, None, HELD, RATE, told).cost is None
    assert booked(msgspec.structs.replace(told, cost=MOST + 1)).cost == MOST
    cut = msgspec.structs.replace(told, whole=False)
    assert booked(cut).cost == cost(Usage(in_text=100, out_text=10), price())


@pytest.mark.parametrize(
    ("end", "free", "told"),
    [
        (End(), True, False),
        (End(sent=True, prompt=5), False, False),
        (End(sent=True, refused=True), True, False),
        (End(sent=True, whole=True, prompt=5), False, False),
        (End(sent=True, usage=Usage(in_text=1)), False, False),
        (End(sent=True, whole=True, usage=Usage(in_text=1)), False, True),
    ],
)
def test_what_an_end_says_of_itself_is_how_it_is_billed(end: End, free: bool, told: bool):
    assert (end.free, end.told) == (free, told)
    entry = booked(end)
    assert (entry.cost == 0, entry.estimated) == (free, not free and not told)


def test_without_a_rate_all_is_withheld():
    assert booked(End(sent=True, prompt=100, text=10), rate=None).unproven == HELD - 300_000


@given(
    st.builds(
        End,
        sent=st.just(True),
        whole=st.booleans(),
        usage=st.none() | st.builds(Usage, in_text=st.integers(0, 5_000), out_text=st.integers(0, 5_000)),
        text=st.integers(0, 5_000),
        reasoning=st.integers(0, 5_000),
        prompt=st.integers(0, 5_000),
    ),
    st.integers(1, 10**9),
)
def test_cost_and_what_is_unproven_come_to_the_hold_at_most_unless_the_vendor_said_more(end: End, held: int):
    entry = booked(msgspec.structs.replace(end), held=held)
    assert entry.cost is not None
    if end.told:
        assert end.usage is not None
        assert entry.cost == cost(end.usage, price())
        assert entry.unproven == 0
    else:
        assert 0 <= entry.cost + entry.unproven <= held


@pytest.mark.parametrize(
    "wrong",
    [
        {"unbounded_share": 0},
        {"unbounded_share": 1.5},
        {"least_output": 0},
        {"ledger_days": 3},
        {"on_store_outage": "x"},
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Rules)


def test_a_share_is_at_least_a_millionth():
    assert Rules(unbounded_share=1e-9).share == 1
    assert Rules().share == 100_000


@pytest.mark.parametrize(
    ("usage", "choices", "believed"),
    [
        (Usage(), 1, True),
        (Usage(in_text=128_000, out_text=16_384), 1, True),
        (Usage(in_text=1_000_000, web_searches=10), 1, True),  # it searched, and read it all again each time
        (Usage(out_text=3_000_000), 2, True),
        (Usage(out_text=3_000_000), 1, False),
        (Usage(in_text=3_000_000), 2, False),
        (Usage(cache_read=2**53), 1, False),
        (Usage(in_text=5, web_searches=2**40), 1, False),
        (Usage(in_text=5, map_queries=2**40), 1, False),
    ],
)
def test_what_no_model_can_have_used_is_not_believed(usage, choices, believed):
    assert credible(usage, TARGET, choices) is believed
