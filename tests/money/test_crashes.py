"""A process dies at each act of the way of a request: nothing that was spent is lost, and no more than what was held
at that moment is counted twice or for nothing."""

import asyncio
import http.client
import itertools
import random
import signal

import msgspec
import pytest

from proxy.cost import dollars
from proxy.ledger import Counter
from tests.crashing import POINTS
from tests.money.fleet import Fleet, counted, rows
from tests.money.load import Heard, foreseen, mix, run
from tests.money.test_agreement import named
from tests.money.truth import truth

BUDGET = {"LLM_DAILY_BUDGET": "1000"}  # so much that nothing is refused: what is asked here is what is counted
MODELS = ("gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash")
WRITTEN = ("after-journal", "before-settle", "after-settle")  # from here on nothing has to be guessed
# The small table: what is lost first if something is wrong; the full one has each point, in both stores.
SMALL = [
    ("file", "after-hold:2", False), ("file", "after-send:2", True), ("file", "after-first-part:2", True),
    ("file", "before-journal:4", False), ("file", "after-journal:4", True), ("file", "before-settle:2", False),
    ("redis", "after-send:2", False), ("redis", "before-settle:2", True),
]  # fmt: skip
# The journal is told twice of a request: that it begins, and what it cost.
FULL = [
    (store, f"{point}:{2 * number if 'journal' in point else number}", stream)
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
        pytest.param("before-journal:4", marks=pytest.mark.long), "after-journal:4",
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


@pytest.mark.parametrize(
    ("clients", "requests"),
    [pytest.param(15, 300, id="small"), pytest.param(60, 1_500, id="full", marks=pytest.mark.long)],
)
async def test_all_who_share_a_file_die_at_once_under_load_and_the_file_knows_it_all(vendors, clients, requests):
    wishes = [named(wish) for wish in mix(random.Random(requests), requests, leaving=0.1)]
    budget = foreseen(wishes) * 2 // 3
    config = "spending: {unbounded_share: 0.01}\n"  # or all that is left would be held by those who die
    with Fleet(vendors, 4, environ={"LLM_DAILY_BUDGET": dollars(budget)}, config=config) as fleet:

        async def kill() -> None:
            for house in fleet.houses:
                house.signal(signal.SIGKILL)

        first = await run(wishes, fleet.urls, clients=clients, moments={requests // 9: kill})
        assert vendors.wait(in_progress=0, timeout=30)
        at_death, before = await counted(fleet.store()), truth(vendors.ledger()).total
        assert before <= at_death.used + at_death.held
        await asyncio.gather(*(asyncio.to_thread(fleet.revive, number) for number in range(4)))
        others = [named(wish) for wish in mix(random.Random(0), requests, prefix="again")]
        answers = await run(others, fleet.urls, clients=clients)
        assert vendors.wait(in_progress=0, timeout=30)
        counter = await asyncio.to_thread(fleet.settled, 1, patience=3)
        assert [house.stop() for house in fleet.houses] == [0] * 4
        ledger = await rows(fleet.store())
    bill, share = truth(vendors.ledger()), 100 / budget
    told = f"used {at_death.used * share:.1f}, held {at_death.held * share:.1f} when all died, billed"
    print(f"of the budget {told} {before * share:.1f}; in the end {bill.total * share:.1f}", counter, len(first))
    assert [heard.complaint for heard in (*first, *answers) if heard.complaint] == []
    assert any(heard.broken for heard in first)
    assert any(heard.code == "budget_exceeded" for heard in answers)
    assert at_death.held > 0, "nothing was in flight"
    assert before < bill.total <= budget * len(bill.days)
    booked = sum((row.cost or 0) + row.unproven for row in ledger)
    assert len({row.id for row in ledger}) == len(ledger)
    assert booked == counter.used
    assert booked + counter.held >= bill.total
    assert {tag for tag, cost in bill.tags.items() if cost} <= {row.user for row in ledger}, "forgotten"


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
            if heard.broken or not await asyncio.to_thread(settles, fleet):
                break
        assert await asyncio.to_thread(house.wait) == -signal.SIGKILL


def settles(fleet: Fleet) -> bool:
    """Whether what was asked is settled in the end, and it lives: the answer is there before, and the next request
    would be held for while it dies."""
    try:
        return not fleet.settled().held
    except (OSError, http.client.HTTPException):
        return False
