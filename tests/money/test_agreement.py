"""Four who tell what was spent, and the vendors who know: the counters, the statistics, both exports, to the
nano-dollar.

All failures here are of a kind whose bill is certain: refusals are free, and clients leave exactly when they have heard
all that the vendor has said.
"""

import asyncio
import csv
import io
import json
import random
from collections import Counter
from typing import Any

import msgspec
import pytest

from proxy.simulator import Simulator
from tests.money.fleet import Fleet, nano
from tests.money.load import Heard, Wish, mix, run
from tests.money.truth import truth

LEAVER = "gpt-4o-mini"  # a model whose tokens we count as its vendor does, and that thinks nothing in secret
FAULTS: tuple[dict[str, Any], ...] = (
    {"vendor": "openai", "fault": "status", "error": "server_error", "probability": 0.05},
    {"vendor": "openai", "fault": "status", "error": "rate_limit", "probability": 0.05},
    {"vendor": "openai", "fault": "status", "error": "bad_request", "probability": 0.02},
    {"vendor": "anthropic", "fault": "status", "error": "overloaded", "probability": 0.1},
    {"vendor": "gemini", "fault": "status", "error": "gateway_timeout", "probability": 0.05},
    {"vendor": "gemini", "fault": "status", "error": "exhausted", "probability": 0.05},
)
SIZES = [pytest.param(300, id="small"), pytest.param(2_000, id="full", marks=pytest.mark.long)]


def leavers(rng: random.Random, count: int) -> list[tuple[Wish, int]]:
    """Requests that are left in the middle, and after how many of the vendor's events it falls silent: the one that
    says who speaks, and a word each. We say as much, with an event for each of the vendor's. Their prompts are too
    short for the vendor's cache: what it saved is told at the very end."""
    wishes = mix(rng, count, models=[LEAVER], leaving=0, scale=0.3, prefix="leaver")
    found = []
    for wish in wishes:
        events = rng.randint(2, 9)
        found.append(
            (msgspec.structs.replace(wish, stream=True, cap=None, leave=events, system=wish.system[:900]), events)
        )
    return found


async def load_of(vendors: Simulator, fleet: Fleet, count: int) -> list[Heard]:
    """The whole load: a quarter without faults, a quarter with, a quarter with one vendor away, and the leavers."""
    rng = random.Random(count)
    heard: list[Heard] = []
    for phase in ("well", "ill", "away"):
        wishes = mix(rng, count // 4, leaving=0, prefix=phase)
        if phase == "ill":
            for fault in FAULTS:
                vendors.fault(**fault)
        if phase == "away":
            vendors.clear()
            vendors.fault("gemini", "refuse")
        heard += await run([named(wish) for wish in wishes], fleet.urls, clients=20)
    vendors.clear()
    for house in fleet.houses:
        await asyncio.to_thread(house.heal)  # who leaves must leave at the vendor that was asked for
    leaving = leavers(rng, count // 4)
    for wish, events in leaving:
        vendors.fault("openai", "hang_midstream", tag=f"{wish.tag}-", after_events=events, times=1)
    heard += await run([named(wish) for wish, _ in leaving], fleet.urls, clients=20)
    return heard


def named(wish: Wish) -> Wish:
    """Each request is a user of its own, so that each row of the ledger can be held against its own bill."""
    tag = f"{wish.tag}-"
    return msgspec.structs.replace(wish, tag=tag, user=tag, text=wish.text.replace(wish.tag, tag, 1))


@pytest.mark.parametrize("count", SIZES)
async def test_the_counters_the_statistics_and_the_exports_say_what_the_vendors_bill(vendors, redis, count):
    with Fleet(vendors, 2, redis=redis, environ={"LLM_DAILY_BUDGET": "100000"}) as fleet:
        heard = await load_of(vendors, fleet, count)
        assert vendors.wait(in_progress=0, timeout=30)
        counter = await asyncio.to_thread(fleet.settled)
        answers = {path: await asyncio.to_thread(fleet.ask, path, 1) for path in PATHS}
    bill = truth(vendors.ledger())
    assert [answer.complaint for answer in heard if answer.complaint] == []
    shapes(heard, vendors)
    exported = json.loads(answers["export?format=json"])
    table = list(csv.DictReader(io.StringIO(answers["export?format=csv"].decode())))
    by_user: Counter[str] = Counter()
    for row in exported:
        by_user[row["user"]] += row["cost_nano"]
    wrong = {tag: (by_user[tag], cost) for tag, cost in bill.tags.items() if by_user[tag] != cost}
    assert not wrong, f"(booked, billed) of {len(wrong)} requests: {dict(list(wrong.items())[:5])}"
    assert sum(row["cost_nano"] for row in exported) == bill.total
    assert sum(int(row["cost_nano"]) for row in table) == bill.total
    assert sum(nano(row["cost_usd"]) for row in table) == bill.total
    statistics = json.loads(answers["stats"])
    assert nano(statistics["totals"]["cost_usd"]) == bill.total
    models = statistics["by"]["model"]["top"]
    assert sum(nano(cell["cost_usd"]) for cell in models) == bill.total
    summary = json.loads(answers["summary"])
    assert nano(summary["this_month"]["spent_usd"]) == bill.total
    if len(bill.days) == 1:
        assert (counter.spent, counter.held) == (bill.total, 0)
        assert nano(summary["today"]["spent_usd"]) == bill.total
    assert statistics["totals"]["requests"] == len(heard)
    assert len(exported) == len(table) == statistics["totals"]["attempts"]


PATHS = ("summary", "stats", "export?format=json", "export?format=csv")


def shapes(heard: list[Heard], vendors: Simulator) -> None:
    """The load had something of everything, or agreement means little."""
    buckets: Counter[str] = Counter()
    for entry in vendors.ledger():
        buckets.update(name for name, count in entry["usage"].items() if count)
        buckets[entry["outcome"]] += 1
    assert {"cache_read", "out_reasoning", "out_text", "complete", "cancelled", "fault"} <= set(buckets)
    assert {answer.status for answer in heard} >= {200}
    assert any(answer.left for answer in heard)
