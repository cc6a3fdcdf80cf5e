"""The name of a price: what a row of the ledger says about how it was billed."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from msgspec.structs import asdict, replace

from proxy.prices import Price, convert

NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)


def named(begin: datetime | None = None, **changed: object) -> str:
    row = {"source": "s", "per_mtok": {"input": "1", "output": "2"}, "valid_from": begin}
    return convert({**row, **changed}, Price).version


def test_a_price_is_named_by_its_first_day_and_a_digest_of_its_figures():
    """The figures of a ledger that is kept for years: this name may never change for these figures."""
    assert named() == "start/fc00c3cc"
    assert named(NEW_YEAR) == "2027-01-01/85c33e24"


@pytest.mark.parametrize(
    "same",
    [
        {"source": "somebody else"},
        {"per_mtok": {"output": "2.0", "input": "1"}},
        {"tiers": [], "variants": {}, "per_unit": {}, "region": {}},
    ],
    ids=["source", "order and spelling", "nothing said"],
)
def test_what_bills_the_same_has_the_same_name(same):
    assert named(**same) == named()


def test_the_order_of_variants_and_regions_does_not_matter():
    one = {"batch": {"multiply": "0.5"}, "fast": {"multiply": "2"}}
    assert named(variants=one) == named(variants=dict(reversed(one.items())))


@pytest.mark.parametrize(
    "other",
    [
        {"per_mtok": {"input": "1", "output": "2.000001"}},
        {"per_mtok": {"input": "1", "output": "2", "cache_read": "0"}},
        {"tiers": [{"above_prompt_tokens": 9, "per_mtok": {"input": "1"}}]},
        {"variants": {"batch": {"multiply": "1"}}},
        {"variants": {"fast": {"multiply": "1"}}},
        {"region": {"us": "1.1"}},
        {"per_unit": {"request": "0"}},
    ],
    ids=str,
)
def test_whatever_bills_otherwise_has_another_name(other):
    assert named(**other) != named()


def test_the_same_day_in_another_zone_has_the_same_name():
    there = NEW_YEAR.astimezone(timezone(timedelta(hours=-8)))
    assert there.date() != NEW_YEAR.date()
    assert named(there) == named(NEW_YEAR)


def test_the_name_is_made_once_and_is_no_part_of_the_price():
    price = convert({"source": "s", "per_mtok": {"input": "1", "output": "2"}}, Price)
    assert price.version is price.version
    assert price == replace(price)
    assert "version" not in asdict(price)
    dearer = replace(price, per_mtok=replace(price.per_mtok, input=price.per_mtok.output))
    assert dearer.version != price.version
