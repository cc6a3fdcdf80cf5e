"""What was really spent: the simulated vendors' own ledger, priced by the shipped table; nano-dollars.

The vendors' ledger knows nothing of us: it is written by another process, from what that process sent. Only the price
table and the one pure function that multiplies are ours; tests of their own hold both to other people's figures.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from adapters.base import Usage
from proxy import catalog
from proxy.catalog import Catalog
from proxy.cost import cost
from proxy.simulator.ledger import Entry
from tests.tollhouse import ROOT

UNTAGGED = ""


class Unpriced(Exception):
    """A vendor billed a model that the table has no price for: then there is no truth to compare with."""


class Truth(msgspec.Struct, kw_only=True):
    """Nano-dollars, in all and by the tags of the requests, and how many requests were billed more than nothing."""

    total: int
    tags: dict[str, int]
    models: dict[str, int]
    days: dict[str, int]  # by the UTC day of the vendor's clock, "2026-11-23"
    billed: int


@cache
def table() -> Catalog:
    """The price table that comes with the installation."""
    return catalog.load((ROOT / "pricing.yaml").read_bytes())


def read(entries: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """The entries of `Simulator.ledger()`."""
    return [msgspec.convert(entry, Entry) for entry in entries]


def usage(entry: Entry) -> Usage:
    """The vendor's buckets in our words. Both tell apart exactly what that vendor's wire tells apart: OpenAI's cache
    writes and Anthropic's pictures are plain input to both."""
    return Usage(**msgspec.structs.asdict(entry.usage))


def price(entry: Entry) -> int:
    """What one entry costs. Raises `Unpriced`, but not for what cost no tokens: a refusal is free at any price."""
    used = usage(entry)
    if used == Usage():
        return 0
    model = table().find(entry.vendor, entry.model)
    row = model.price_at(int(entry.started)) if model else None
    if row is None:
        raise Unpriced(f"{entry.vendor}/{entry.model}")
    return cost(used, row)


def truth(entries: Iterable[Mapping[str, Any]]) -> Truth:
    """The vendors' bill. Several entries of one tag (attempts at several vendors) add up."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    total = billed = 0
    for entry in read(entries):
        nano = price(entry)
        total += nano
        billed += nano > 0
        sums["tags"][entry.client_tag or UNTAGGED] += nano
        sums["models"][f"{entry.vendor}/{entry.model}"] += nano
        sums["days"][datetime.fromtimestamp(entry.started, UTC).date().isoformat()] += nano
    return Truth(
        total=total, tags=dict(sums["tags"]), models=dict(sums["models"]), days=dict(sums["days"]), billed=billed
    )
