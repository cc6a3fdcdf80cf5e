"""No budget is overspent: several replicas on one purse, clients that leave, one replica dies and another restarts.

The judge is the vendors' own bill. The full size is marked `long`; the small one is the same story in fewer words.
"""

import asyncio
import random
import re
from collections import Counter as Counts
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from proxy.cost import dollars
from proxy.ledger import Counter
from proxy.simulator import Simulator
from proxy.simulator.counting import O200k
from tests.money import load
from tests.money.fleet import ORPHANS, Fleet, nano
from tests.money.load import Heard, Wish, foreseen, mix, run
from tests.money.truth import Truth, price, read, truth

CAP = 300  # tokens that a client asks for, of a vendor that does not care
_SAID = re.compile(r"of USD ([0-9.]+), ([0-9.]+) are spent(?:, ([0-9.]+) held)?[^,;]*(?:, ([0-9.]+) withheld)?")


class Size(msgspec.Struct, frozen=True):
    """How much of it. `orphans`: wait until the holds of the dead are charged. `gone`: percent of the budget that must
    be used up in the end; to be refused takes no time, so that a few requests are gone while the large ones still hold
    most of it."""

    replicas: int
    clients: int
    requests: int
    orphans: bool
    gone: int


SMALL = Size(replicas=2, clients=15, requests=300, orphans=False, gone=25)
FULL = Size(replicas=4, clients=200, requests=5_000, orphans=True, gone=95)
SIZES = [pytest.param(SMALL, id="small"), pytest.param(FULL, id="full", marks=pytest.mark.long)]


@pytest.fixture(params=["redis", pytest.param("file", marks=pytest.mark.long)])
def purse(request):
    """The address of a Redis, or None: a file that all share."""
    return request.getfixturevalue("redis") if request.param == "redis" else None


@pytest.mark.parametrize("size", SIZES)
async def test_replicas_together_never_spend_more_than_the_budget(vendors, purse, size):
    wishes = mix(random.Random(size.requests), size.requests, leaving=0.15)
    budget = foreseen(wishes) // 4
    with Fleet(vendors, size.replicas, redis=purse, environ={"LLM_DAILY_BUDGET": dollars(budget)}) as fleet:

        async def kill() -> None:
            await asyncio.to_thread(fleet.kill, 0)

        async def come_back() -> None:
            await asyncio.to_thread(fleet.revive, 0)
            await asyncio.to_thread(fleet.revive, 1)

        # Both while there is money left: a budget for a quarter of the requests is gone after a quarter of them.
        moments = {size.requests // 12: kill, size.requests // 6: come_back}
        answers = await run(wishes, fleet.urls, clients=size.clients, moments=moments)
        assert vendors.wait(in_progress=0, timeout=30)
        bill = truth(vendors.ledger())
        patience = ORPHANS if size.orphans else 1.0
        counter = await asyncio.to_thread(fleet.settled, 1, patience=patience)
    allowed = budget * len(bill.days)  # at midnight there is a new one
    first, share = share_at_first_refusal(answers, budget), 100 / budget
    told = f"{first:.1f} % at the first refusal; in the end billed {bill.total * share:.1f}, used"
    print(f"of the budget: {told} {counter.used * share:.1f}, held {counter.held * share:.1f}")  # pytest -rP shows it
    print(
        Counts((heard.status, heard.code or heard.broken) for heard in answers), sum(heard.again for heard in answers)
    )
    judge(answers, bill)
    assert bill.total <= allowed
    if len(bill.days) == 1:
        assert counter.used + counter.held <= budget
        assert bill.total <= counter.used + counter.held
        gone = counter.used + (0 if size.orphans else counter.held)
        assert gone * 100 >= budget * size.gone, f"{counter} of {budget}"
        assert not (size.orphans and counter.held), "holds that nobody gives back"


def judge(answers: Sequence[Heard], bill: Truth) -> None:
    """Each answer is its request's and costs what the vendor bills; some were refused, and only for their budget."""
    assert [heard.complaint for heard in answers if heard.complaint] == []
    refused = [heard for heard in answers if heard.status == 429]
    assert {heard.code for heard in refused} == {"budget_exceeded"}
    assert {heard.status for heard in answers} <= {0, 200, 429, 503}
    assert len(refused) > len(answers) // 3
    assert any(heard.broken for heard in answers), "nobody noticed that a replica was killed"
    for heard in answers:
        if heard.whole and not heard.wish.stream:
            assert heard.cost is not None
            assert nano(heard.cost) == bill.tags[heard.wish.tag], heard.wish.tag
        if heard.status == 429:
            assert bill.tags.get(heard.wish.tag, 0) == 0, "refused, and forwarded all the same"


HEDGED = "hedging: {enabled: true, spend: 1.0, least: 0.02}\nretries: {share: 1, base: 0.01}\n"


@pytest.mark.parametrize("size", SIZES)
async def test_two_at_once_and_again_never_spend_more_than_the_budget(vendors, purse, size):
    """Once it is known how fast the vendor is as a rule, it is often slow, so that a second is asked as well, and
    breaks now and then, so that another is asked; they are dearer, too."""
    wishes = mix(random.Random(size.requests + 1), size.requests, models=("gpt-4o-mini",), leaving=0.1, scale=0.5)
    budget = foreseen(wishes)

    async def sicken() -> None:
        vendors.fault("openai", "status", status=500, probability=0.1)
        vendors.fault("openai", "slow", delay_ms=1_000, probability=0.4)

    environ = {"LLM_DAILY_BUDGET": dollars(budget)}
    with Fleet(vendors, size.replicas, redis=purse, environ=environ, config=HEDGED) as fleet:
        answers = await run(wishes, fleet.urls, clients=size.clients, moments={size.requests // 3: sicken})
        assert vendors.wait(in_progress=0, timeout=30)
        counter = await asyncio.to_thread(fleet.settled)
        lost = [line for house in fleet.houses for line in house.logs if _lost(line)]
    assert [heard.complaint for heard in answers if heard.complaint] == []
    assert {heard.status for heard in answers} <= {0, 200, 429, 502, 503}
    assert any(heard.code == "budget_exceeded" for heard in answers)
    assert len(lost) > 3, "hardly anybody was asked beside another"
    bill = truth(vendors.ledger())
    print(f"{len(lost)} lost a race; of {budget}: billed {bill.total}, {counter}")
    for heard in answers:
        if heard.whole and heard.cost is not None:
            assert nano(heard.cost) <= bill.tags[heard.wish.tag], heard.wish.tag
    assert bill.total <= budget * len(bill.days)
    if len(bill.days) == 1:
        assert counter.held == 0
        assert bill.total <= counter.used <= budget


def _lost(line: dict[str, Any]) -> bool:
    return any(attempt["outcome"] == "hedge_lost" for attempt in line.get("attempts", ()))


def share_at_first_refusal(answers: Sequence[Heard], budget: int) -> float:
    """Percent of the budget that was spent, held or withheld when somebody was refused for the first time."""
    first = min((heard for heard in answers if heard.status == 429), key=lambda heard: heard.order)
    said = _SAID.search(first.message)
    assert said is not None, first.message
    return sum(nano(amount) for amount in said.groups()[1:] if amount) * 100 / budget


@pytest.mark.parametrize("size", SIZES)
async def test_each_user_has_a_budget_of_its_own_and_nobody_spends_anothers(vendors: Simulator, redis, size):
    wishes = [wish for wish in mix(random.Random(8), size.requests, leaving=0.1, scale=0.5) if wish.user]
    users = {user: [wish for wish in wishes if wish.user == user] for user in ("alice", "bob", "carol")}
    budget = min(foreseen(asked) for asked in users.values()) // 4
    config = f'budgets: [{{user: "*", daily: "{dollars(budget)}"}}, {{user: carol, daily: "9000"}}]\n'
    with Fleet(vendors, size.replicas, redis=redis, config=config) as fleet:
        answers = await run(wishes, fleet.urls, clients=size.clients)
        assert vendors.wait(in_progress=0, timeout=30)
        await asyncio.to_thread(fleet.settled)
    assert [heard.complaint for heard in answers if heard.complaint] == []
    bill = truth(vendors.ledger())
    for user, asked in users.items():
        spent = sum(bill.tags.get(wish.tag, 0) for wish in asked)
        refused = [heard for heard in answers if heard.wish.user == user and heard.status == 429]
        if user == "carol":
            assert (refused, spent > 2 * budget) == ([], True)
        else:
            assert refused
            assert budget // 2 < spent <= budget * len(bill.days)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash"])
async def test_an_answer_is_no_longer_than_what_is_left_pays_for(vendors: Simulator, model, stream):
    """Without a cap of its own the request leaves with one that fits what could be held for it."""
    wish = Wish(tag="long", model=model, system="", text="tag=long " + " river stone" * 2_000, stream=stream)
    budget = foreseen([wish]) * 6 // 10
    config = "spending: {unbounded_share: 1}\n"
    with Fleet(vendors, 1, environ={"LLM_DAILY_BUDGET": dollars(budget)}, config=config) as fleet:
        (heard,) = await run([wish], fleet.urls, clients=1)
        assert vendors.wait(in_progress=0)
        counter = await asyncio.to_thread(fleet.settled)
    bill = truth(vendors.ledger())
    assert (heard.complaint, heard.finish) == (None, "length")
    assert counter == Counter(spent=bill.total)
    assert budget // 2 < bill.total <= budget


@pytest.mark.parametrize(
    ("model", "stream"),
    [("gpt-4o-mini", True), ("claude-haiku-4-5", True), ("gemini-2.5-flash", True), ("gemini-2.5-flash", False)],
)
async def test_a_vendor_that_ignores_the_limit_is_cut_where_the_held_money_ends(talkers: Simulator, model, stream):
    """An answer that comes whole is billed before anybody sees it: that one is counted in full, beyond its hold."""
    vendors = talkers
    wish = Wish(tag="on", model=model, system="", text="tag=on and on", stream=stream, cap=CAP)
    words = ["Echo: ", wish.text, *[" and on"] * 20_000]
    vendors.script(load.VENDORS[model], {"text": words, "unbounded": True})
    with Fleet(vendors, 1, environ={"LLM_DAILY_BUDGET": "100"}) as fleet:
        (heard,) = await run([wish], fleet.urls, clients=1)
        assert vendors.wait(in_progress=0, timeout=30)
        counter = await asyncio.to_thread(fleet.settled)
    (entry,) = read(vendors.ledger())
    assert heard.status == 200
    if not stream:
        assert counter == Counter(spent=price(entry))
        return
    assert heard.code == "budget_exceeded"
    said = O200k().count(heard.text)
    assert CAP <= said <= 8 * CAP  # tokenizers differ; what a busy machine takes in one read is passed on whole
    delivered = msgspec.structs.replace(entry.usage, out_text=said)
    assert counter.used >= price(msgspec.structs.replace(entry, usage=delivered))
