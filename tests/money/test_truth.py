"""The truth is reckoned by hand here, or nothing that is compared with it means anything."""

import msgspec
import pytest

from proxy.simulator.ledger import Entry
from proxy.simulator.vocabulary import Usage
from tests.money.truth import Unpriced, price, truth

NOVEMBER, DECEMBER = 1_795_737_600.0, 1_796_083_200.0  # 2026-11-27 and 2026-12-01, both at 0:00 UTC


def entry(vendor="openai", model="gpt-4o-mini", started=NOVEMBER, tag=None, **used):
    return Entry(vendor, model, status=200, usage=Usage(**used), started=started, client_tag=tag, outcome="complete")


@pytest.mark.parametrize(
    ("entry", "nano"),
    [
        (entry(), 0),
        (entry(in_text=1), 150),
        (entry(in_text=1000, cache_read=1024, out_text=10, out_reasoning=5), 150_000 + 76_800 + 6_000 + 3_000),
        (entry("anthropic", "claude-haiku-4-5", in_text=7, out_text=2), 7_000 + 10_000),
        (entry("anthropic", "claude-haiku-4-5", cache_read=9, cache_write_5m=4, cache_write_1h=2), 900 + 5_000 + 4_000),
        (entry("gemini", "gemini-2.5-flash", in_text=3, in_audio=2, out_reasoning=1), 900 + 2_000 + 2_500),
        (entry("gemini", "gemini-4-argon", in_text=1, out_text=1), 12_000),
        (entry("gemini", "gemini-4-argon", started=DECEMBER, in_text=1, out_text=1), 24_000),
        (entry("openai", "nobody-has-heard-of-it"), 0),
    ],
)
def test_an_entry_costs_what_the_table_says(entry, nano):
    assert price(entry) == nano


def test_what_cannot_be_priced_is_no_truth():
    with pytest.raises(Unpriced, match="openai/nobody"):
        price(entry(model="nobody-has-heard-of-it", in_text=1))


def test_the_truth_adds_up_by_tag_model_and_day():
    entries = [
        entry(in_text=1, tag="a"),
        entry("anthropic", "claude-haiku-4-5", in_text=1, tag="a"),
        entry(in_text=2, started=DECEMBER),
        entry(tag="free"),
    ]
    found = truth(msgspec.to_builtins(entries))
    assert (found.total, found.billed) == (1_450, 3)
    assert found.tags == {"a": 1_150, "": 300, "free": 0}
    assert found.models == {"openai/gpt-4o-mini": 450, "anthropic/claude-haiku-4-5": 1_000}
    assert found.days == {"2026-11-27": 1_150, "2026-12-01": 300}
