"""The table in force, and a target's name and price in it."""

from pathlib import Path

import msgspec

from adapters.base import Capabilities, Target
from proxy.catalog import Catalog, ProviderRow, load
from proxy.pricebook import Pricebook

SHIPPED = load((Path(__file__).resolve().parents[2] / "pricing.yaml").read_bytes())
ROWS = (ProviderRow(name="openai", vendor="openai"),)
NOW = 1_790_000_000


def target(model: str) -> Target:
    return Target(
        provider="openai", vendor="openai", model=model, capabilities=Capabilities(), context=1_000, max_output=100
    )


def test_a_dated_name_counts_as_the_entry_that_it_means():
    name, price = Pricebook(SHIPPED, ROWS).price(target("gpt-4o-2024-08-06"), NOW)
    assert name == "gpt-4o"
    assert price is not None


def test_a_name_that_nobody_knows_has_no_price():
    assert Pricebook(SHIPPED, ROWS).price(target("gpt-unheard-of"), NOW) == ("gpt-unheard-of", None)


def test_a_reload_puts_another_table_in_its_place():
    book = Pricebook(SHIPPED, ROWS)
    book.take(Catalog([msgspec.structs.replace(model, prices=(), preferred=False) for model in SHIPPED.models]))
    assert book.price(target("gpt-4o"), NOW) == ("gpt-4o", None)
