"""The till: what is asked of the store, what whoever is refused is told, and that each hold is settled once."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.base import Failure, Kind, Usage
from proxy.bound import End, Quote, Rules
from proxy.budget import MOST, Budget
from proxy.cost import Rate
from proxy.ledger import Counter, end, labels
from proxy.prices import Price, convert
from proxy.spending import Purse
from proxy.store import Lost, Recovering, StoreError
from proxy.till import Held, Till
from tests.proxy.accounts import NOW, OUTAGE, House, Moody, entry, row, until

PRICE = convert({"source": "test", "per_mtok": {"input": "1", "output": "2"}}, Price)  # 1 and 2 µ$ a token
RATE = Rate(input=1_000_000, output=2_000_000, units=0)
RULES = Rules(least_output=10, unbounded_share=0.5)
SERVED = End(sent=True, whole=True, usage=Usage(in_text=100, out_text=10))
LONGEST = 30.0


def quote(prompt: int = 100, most: int = 50, *, capped: bool = True) -> Quote:
    """100 tokens of prompt and 50 of answer: 0.1 + 0.1 m$."""
    return Quote(prompt=prompt, rate=RATE, choices=1, most=most, capped=capped)


async def untightened(cheap: Quote) -> Quote:
    raise AssertionError("the cheap bound was enough")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def store(house: House) -> Moody:
    return house.moody()


class Opened:
    """A till that is opened by `with`, with the budgets of a test."""

    def __init__(self, house: House, store: Moody, *nano: int, **rules: Any) -> None:
        self.budgets = [Budget(limit=limit, window="day") for limit in nano]
        self.rules = Rules(least_output=10, unbounded_share=0.5, **rules)
        books = house.books(store, self.budgets, self.rules)
        self.till = Till(books, Purse(self.budgets, self.rules), longest=LONGEST, wall=house.wall)

    async def __aenter__(self) -> Till:
        await self.till.open()
        return self.till

    async def __aexit__(self, *_: object) -> None:
        await self.till.close()


async def hold(till: Till, id: str = "r/1", of: Quote | None = None, tighten: Any = untightened) -> Held:
    return await till.hold(entry(id, served="gpt"), PRICE, of or quote(), tighten)


async def test_where_no_budget_applies_no_store_is_asked_and_the_journal_knows(house, store):
    async with Opened(house, store) as till:
        held = await hold(till)
        assert (held.amount, held.cap, held.entry.at) == (0, None, int(NOW * 1000))
        assert b" b {" in house.written()
        assert b'"cost":200000' in house.written(), "the bound, should we die"
        assert "hold" not in store.asked
        till.settle(held, SERVED)
    assert await house.counter() == Counter(spent=120_000)


async def test_what_has_no_price_is_refused_only_where_a_budget_applies(house, store):
    async with Opened(house, store, 10**9) as till:
        with pytest.raises(Failure) as caught:
            await till.hold(entry(served="gpt-9"), None, None, untightened)
    failure = caught.value
    assert (failure.kind, failure.status, failure.code, failure.param) == (
        Kind.UNSUPPORTED,
        400,
        "model_not_priced",
        "model",
    )
    assert "`openai/gpt-9`" in failure.message
    assert "hold" not in store.asked
    with capture_logs() as logs:
        async with Opened(house, house.moody()) as till:
            held = await till.hold(entry("r/2", served="gpt-9"), None, None, untightened)
            assert till.settle(held, SERVED).cost is None
    assert [line["model"] for line in logs if line["event"] == "cost unknown"] == ["gpt-9"]
    assert (await house.rows())["r/2"].cost is None


async def test_the_hold_pays_for_the_cap_and_the_cap_for_what_was_granted(house, store):
    async with Opened(house, store, 150_000) as till:
        exactly: list[Quote] = []

        async def tighten(cheap: Quote) -> Quote:
            exactly.append(cheap)
            return cheap

        held = await hold(till, of=quote(most=50), tighten=tighten)
        assert len(exactly) == 1, "before an answer is cut short, its prompt is counted"
        assert (held.amount, held.cap) == (150_000, 25), "what is left pays for 25 tokens beyond the prompt"
        assert held.quote is not None
        assert held.cap == held.quote.cap(held.amount)
        assert held.entry.held == 150_000
        assert till.books._holds["r/1"].amount == 150_000
        till.settle(held, SERVED)
    assert await house.counter() == Counter(spent=120_000)


@pytest.mark.parametrize(
    ("most", "cap"),
    [
        (2**20, 2**20),
        (2**43, (MOST - 100_000) // 2_000),
    ],
)
async def test_what_is_granted_in_full_pays_for_the_whole_cap_but_for_what_no_budget_can_hold(house, store, most, cap):
    async with Opened(house, store, MOST) as till:
        of = quote(most=most)
        held = await hold(till, of=of)
        assert (held.amount, held.cap) == (of.amount(most), cap)
        assert held.cap == of.cap(held.amount)
        till.settle(held, SERVED)


async def _as_it_is(cheap: Quote) -> Quote:
    return cheap


async def test_the_prompt_is_counted_exactly_only_when_the_cheap_bound_does_not_fit(house, store):
    asked: list[Quote] = []

    async def exact(cheap: Quote) -> Quote:
        asked.append(cheap)
        return quote(prompt=10)

    async with Opened(house, store, 150_000) as till:
        first = await hold(till, of=quote(most=20), tighten=exact)
        assert (asked, first.amount) == ([], 140_000)
        till.settle(first, End())
        await till.books.returned("r/1")
        second = await hold(till, "r/2", of=quote(prompt=400, most=50), tighten=exact)
        assert (len(asked), second.amount, second.cap) == (1, 110_000, 50)
        till.settle(second, End())


REFUSALS: list[tuple[str, Counter, str]] = [
    ("spent", Counter(spent=95_000), "0.000095 are spent; at least"),
    ("held", Counter(spent=1_000, held=94_000), "0.000001 are spent, 0.000094 held by requests in flight; at least"),
    ("unproven", Counter(unproven=95_000), "0 are spent, 0.000095 withheld as unproven; at least"),
    (
        "all",
        Counter(spent=1_000, held=2_000, unproven=92_000),
        "0.000001 are spent, 0.000002 held by requests in flight, 0.000092 withheld as unproven; at least",
    ),
]


@pytest.mark.parametrize(("before", "said"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
async def test_whoever_is_refused_is_told_what_is_left_and_until_when(house, store, before, said):
    async with Opened(house, store, 100_000) as till:
        till.books.book(row("before/1", cost=before.spent, unproven=before.unproven))
        await till.books.returned("before/1")
        if before.held:
            await hold(till, "held/1", of=Quote(prompt=before.held // 1000, rate=RATE, choices=1, most=0, capped=True))
        with pytest.raises(Failure) as caught:
            await hold(till, tighten=_as_it_is)
    failure = caught.value
    assert (failure.kind, failure.status, failure.type, failure.code) == (
        Kind.BUDGET,
        429,
        "insufficient_quota",
        "budget_exceeded",
    )
    assert f"The budget `daily` (all) does not allow this request: of USD 0.0001, {said} 0.00012 are needed" in (
        failure.message
    )
    over = end(labels(int(NOW * 1000))[0]) / 1000
    assert failure.retry_after == over - NOW
    assert failure.message.endswith("T00:00:00Z.")
    assert "r/1" not in till.books._holds


OUTAGES: list[tuple[str, StoreError, str]] = [
    ("away", OUTAGE, "cannot be reached"),
    ("lost", Lost("as if it came back empty"), "is being rebuilt"),
    ("recovering", Recovering("as if others were handing over"), "is being rebuilt"),
]


@pytest.mark.parametrize(("error", "said"), [case[1:] for case in OUTAGES], ids=[case[0] for case in OUTAGES])
async def test_where_the_store_cannot_be_asked_nothing_is_forwarded(house, store, error, said):
    async with Opened(house, store, 10**9) as till:
        store.failing["hold"] = error
        with pytest.raises(Failure) as caught:
            await hold(till)
        failure = caught.value
        assert (failure.kind, failure.status, failure.code) == (Kind.STORE, 503, "budget_store_unavailable")
        assert failure.retry_after == 1
        assert said in failure.message
        assert till.books._holds == {}


@pytest.mark.parametrize("error", [case[1] for case in OUTAGES], ids=[case[0] for case in OUTAGES])
async def test_with_allow_it_is_served_under_an_id_of_its_own_and_booked(house, store, error):
    """The first id may be given back by a row of no cost, which would take the true row's place."""
    async with Opened(house, store, 10**9, on_store_outage="allow") as till:
        store.failing["hold"] = error
        held = await hold(till)
        assert (held.entry.id, held.amount, held.cap) == ("r/1u", 0, None)
        assert b'"cost":200000' in house.written()
        store.failing.clear()
        till.settle(held, SERVED)
    assert (await house.rows())["r/1u"].cost == 120_000
    assert await house.counter() == Counter(spent=120_000)


async def test_a_hold_is_settled_once_whoever_settles_it_again(house, store):
    async with Opened(house, store, 10**9) as till:
        held = await hold(till)
        till.settle(held, SERVED)
        till.settle(held, End())
        till.settle_later(held, _soon(End()))
    assert store.told["r/1"] == 1
    assert await house.counter() == Counter(spent=120_000)


async def _soon(end: End) -> End:
    return end


async def test_what_is_counted_later_stays_held_until_then_and_the_end_waits_for_it(house, store):
    counted = asyncio.Event()

    async def counting() -> End:
        await counted.wait()
        return SERVED

    opened = Opened(house, store, 10**9)
    till = await opened.__aenter__()
    held = await hold(till)
    till.settle_later(held, counting())
    assert (await house.counter()).held == 200_000
    closing = asyncio.create_task(till.close())
    await until(lambda: till._late)
    assert not closing.done()
    counted.set()
    await closing
    assert (await house.counter(), till._late, till.books._holds) == (Counter(spent=120_000), set(), {})


async def test_what_cannot_be_counted_is_settled_all_the_same_and_its_hold_withheld(house, store):
    async def broken() -> End:
        raise RuntimeError("no tokenizer")

    with capture_logs() as logs:
        async with Opened(house, store, 10**9) as till:
            till.settle_later(await hold(till), broken())
            await until(lambda: not till._late)
            assert till.books._holds.keys() <= till.books._waiting.keys()
    assert await house.counter() == Counter(unproven=200_000), "nobody knows, and budgets do not give it out again"
    assert (await house.rows())["r/1"].estimated
    assert [line["attempt"] for line in logs if line["event"] == "not counted"] == ["r/1"]


async def test_a_client_that_leaves_while_its_prompt_is_counted_holds_nothing(house, store):
    counting = asyncio.Event()

    async def never(_: Quote) -> Quote:
        counting.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with Opened(house, store, 150_000) as till:
        asking = asyncio.create_task(hold(till, of=quote(prompt=400), tighten=never))
        await counting.wait()
        asking.cancel()
        await asyncio.wait([asking])
        assert (await house.counter(), till.books._holds, till.books._waiting) == (Counter(), {}, {})


async def test_a_hold_lives_a_minute_longer_than_the_longest_request(house, store):
    async with Opened(house, store, 10**9) as till:
        held = await hold(till)
        house.wall.now += LONGEST + 59
        assert await store.expired() == []
        house.wall.now += 1
        assert [one.entry.id for one in await store.expired()] == ["r/1"]
        house.wall.now = NOW
        till.settle(held, End())
