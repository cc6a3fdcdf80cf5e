"""A process dies at each act of the way of a request: nothing that was spent is lost, and no more than what was held
at that moment is counted twice or for nothing."""

import asyncio
import itertools
import random
import signal

import msgspec
import pytest

from proxy.ledger import Counter
from tests.crashing import POINTS
from tests.money.fleet import Fleet, counted, rows
from tests.money.load import Heard, mix, run
from tests.money.truth import truth

BUDGET = {"LLM_DAILY_BUDGET": "1000"}  # so much that nothing is refused: what is asked here is what is counted
MODELS = ("gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash")
WRITTEN = ("after-journal", "before-settle", "after-settle")  # from here on nothing has to be guessed
# The small table: what is lost first if something is wrong; the full one has each point, in both stores.
SMALL = [
    ("file", "after-hold:2", False), ("file", "after-send:2", True), ("file", "after-first-part:2", True),
    ("file", "before-journal:2", False), ("file", "after-journal:2", True), ("file", "before-settle:2", False),
    ("redis", "after-send:2", False), ("redis", "before-settle:2", True),
]  # fmt: skip
FULL = [
    (store, f"{point}:{number}", stream)
    for store, point, (number, stream) in itertools.product(("file", "redis"), POINTS, ((1, False), (2, True)))
]
CASES = [pytest.param(*case, id="-".join(map(str, case))) for case in SMALL]
CASES += [
    pytest.param(*case, id="-".join(map(str, case)), marks=pytest.mark.long) for case in FULL if case not in SMALL
]


@pytest.mark.parametrize(("kept", "point", "stream"), CASES)
async def test_a_death_loses_nothing_and_overcounts_no_more_than_was_held(request, vendors, kept, point, stream):
    redis = request.getfixturevalue("redis") if kept == "redis" else None
    with Fleet(vendors, 1, redis=redis, environ=BUDGET, running=False) as fleet:
        await until_it_dies(fleet, point, stream)
        assert vendors.wait(in_progress=0, timeout=10)
        at_death = await counted(fleet.store())
        await asyncio.to_thread(fleet.revive, 0)
        (heard,) = await ask(fleet, 99, stream)
        assert heard.whole, heard
        assert fleet.houses[0].stop() == 0  # it hands over what waits, and then nobody counts any more
        counter, ledger = await counted(fleet.store()), await rows(fleet.store())
    bill = truth(vendors.ledger())
    whole = counter.used + counter.held
    assert whole >= bill.total, f"lost {bill.total - whole} of {bill.total}: {counter}"
    assert whole - bill.total <= at_death.held, f"{whole - bill.total} too much; held was {at_death}"
    if point.partition(":")[0] in WRITTEN:
        assert counter == Counter(spent=bill.total), "the journal knew all of it"
    booked = Counter(spent=sum(row.cost or 0 for row in ledger), unproven=sum(row.unproven for row in ledger))
    assert (booked.spent, booked.unproven) == (counter.spent, counter.unproven)
    assert len({row.id for row in ledger}) == len(ledger)


@pytest.mark.parametrize(
    "point",
    [
        "after-send:2", pytest.param("before-first-part:2", marks=pytest.mark.long),
        pytest.param("before-journal:2", marks=pytest.mark.long), "after-journal:2",
    ],
)  # fmt: skip
async def test_without_a_budget_the_journal_alone_knows_and_loses_nothing_either(vendors, point):
    with Fleet(vendors, 1, running=False) as fleet:
        await until_it_dies(fleet, point, stream=True)
        assert vendors.wait(in_progress=0, timeout=10)
        await asyncio.to_thread(fleet.revive, 0)
        (heard,) = await ask(fleet, 99, stream=True)
        assert heard.whole, heard
        assert fleet.houses[0].stop() == 0
        counter, ledger = await counted(fleet.store()), await rows(fleet.store())
    bill = truth(vendors.ledger())
    orphans = sum(row.cost or 0 for row in ledger if row.orphan)
    assert bill.total <= counter.used <= bill.total + orphans
    assert sum(row.orphan for row in ledger) <= 1


async def ask(fleet: Fleet, number: int, stream: bool) -> list[Heard]:
    """One request, always the same one of that number."""
    rng, model = random.Random(number), MODELS[number % len(MODELS)]
    (wish,) = mix(rng, 1, models=[model], leaving=0, scale=0.1, prefix=f"n{number}")
    return await run([msgspec.structs.replace(wish, stream=stream)], fleet.urls, clients=1)


async def until_it_dies(fleet: Fleet, point: str, stream: bool) -> None:
    """Requests, one after the other, to a tollhouse that will kill itself."""
    with fleet.start(0, module=("tests.crashing", point)) as house:
        fleet.urls[0] = house.url
        for number in itertools.count():
            assert number < 20, f"{point} was not passed in 20 requests"
            (heard,) = await ask(fleet, number, stream)
            assert heard.complaint is None
            if heard.broken:
                break
        assert await asyncio.to_thread(house.wait) == -signal.SIGKILL
