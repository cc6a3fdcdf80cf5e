"""The table in force, and a target's name and price in it."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from adapters.base import Capabilities, Target
from proxy import ledger
from proxy.catalog import LONGEST_NAME, REMEMBERED, Catalog, ProviderRow, load
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
    assert book.price(target("gpt-4o"), NOW)[1] is not None
    book.take(Catalog([msgspec.structs.replace(model, prices=(), preferred=False) for model in SHIPPED.models]))
    assert book.price(target("gpt-4o"), NOW) == ("gpt-4o", None)


def test_a_name_is_looked_for_once_and_the_price_is_that_of_the_time():
    looked: list[str] = []

    class Watched(Catalog):
        def offer(self, row, name):
            looked.append(name)
            return super().offer(row, name)

    model = msgspec.structs.replace(SHIPPED.models[0], provider="openai", model="m", match=(), preferred=False)
    late = msgspec.structs.replace(
        next(price for one in SHIPPED.models for price in one.prices), valid_from=datetime.fromtimestamp(NOW, UTC)
    )
    later = msgspec.structs.replace(late, valid_from=datetime.fromtimestamp(NOW + 9, UTC))
    book = Pricebook(Watched([msgspec.structs.replace(model, prices=(late, later))]), ROWS)
    rows = {-1: None, 0: late, 8: late, 9: later, 10: later}
    for beyond in (*rows, *reversed(rows), 9, -1, 8):  # who began earlier may ask later
        assert book.price(target("m"), NOW + beyond) == ("m", rows[beyond])
    assert looked == ["m"]


def test_the_names_that_clients_make_up_are_counted_as_names_and_not_kept_without_end():
    book = Pricebook(SHIPPED, ROWS)
    long, odd = "x" * (LONGEST_NAME + 1), "gp\nt"
    assert book.price(target(odd), NOW) == ("gp?t", None) == (ledger.name(odd), None)
    assert book.price(target(long), NOW) == (ledger.name(long), None)
    assert list(book._known) == [("openai", odd)]
    for number in range(REMEMBERED):
        book.price(target(f"made-up-{number}"), NOW)
    assert len(book._known) <= REMEMBERED
    assert book.price(target("made-up-0"), NOW) == ("made-up-0", None)


def test_a_name_means_something_else_at_another_provider():
    rows = (*ROWS, ProviderRow(name="other", vendor="openai"))
    book = Pricebook(SHIPPED, rows)
    assert book.price(target("gpt-4o"), NOW)[1] is not None
    assert book.price(msgspec.structs.replace(target("gpt-4o"), provider="other"), NOW) == ("gpt-4o", None)
