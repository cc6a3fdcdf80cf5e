"""One contract, two stores: money is held all or not at all, settled once, and told of once, whoever does it."""

import asyncio
from typing import Any

import msgspec
import pytest

from adapters.base import Usage
from proxy.budget import MOST, Alert, Ask, Granted, Limit, Refused
from proxy.ledger import Counter, Entry, encode, labels
from proxy.store import Settlement, Store, StoreError

ALL = Limit("daily", "all", "day", 100)
DAY = 86_400_000
Stores = tuple[Store, Store]


def entry(id: str = "r/1", **more: Any) -> Entry:
    return Entry(**{"id": id, "request": id, "provider": "openai", "model": "gpt", "key": "k", "user": "ann", **more})


def ask(id: str = "r/1", *limits: Limit, least: int = 10, most: int = 10, seconds: int = 960, **more: Any) -> Ask:
    return Ask(entry=entry(id, **more), limits=limits, least=least, most=most, seconds=seconds)


async def granted(store: Store, ask: Ask) -> Granted:
    answer = await store.hold(ask)
    assert isinstance(answer, Granted), answer
    return answer


async def refused(store: Store, ask: Ask) -> Refused:
    answer = await store.hold(ask)
    assert isinstance(answer, Refused), answer
    return answer


async def settle(store: Store, row: Entry, *limits: Limit) -> list[Alert]:
    return await store.settle([Settlement(row, limits)])


async def counter(store: Store, scope: str = "all", label: str | None = None) -> Counter:
    return (await store.counters(label or labels(await store.now())[0])).get(scope, Counter())


async def ledger(store: Store, start: int = 0, end: int = 2**52) -> list[Entry]:
    return [row async for page in store.rows(start, end) for row in page]


async def test_a_hold_counts_in_six_scopes_and_two_windows_and_its_settlement_too(stores: Stores) -> None:
    one, other = stores
    at = (await granted(one, ask(most=70, agent="bot"))).at
    assert abs(at - await other.now()) < 60_000
    scopes = ("all", "provider=openai", "model=gpt", "key=k", "user=ann", "agent=bot")
    for label in labels(at):
        assert await other.counters(label) == dict.fromkeys(scopes, Counter(held=70))
    await settle(other, entry(agent="bot", at=at, cost=30, unproven=5))
    for label in labels(at):
        assert await one.counters(label) == dict.fromkeys(scopes, Counter(spent=30, unproven=5))


async def test_a_team_is_a_seventh_scope_and_no_team_is_none(stores: Stores) -> None:
    one, other = stores
    bound = Limit("daily of team=red", "team=red", "day", 100)
    at = (await granted(one, ask("a", bound, most=70, team="red"))).at
    await granted(one, ask("b", most=5))
    for label in labels(at):
        found = await other.counters(label)
        assert (found["all"], found["team=red"]) == (Counter(held=75), Counter(held=70))
        assert "team=" not in found
    assert (await refused(other, ask("c", bound, least=31, most=99, team="red"))).counter == Counter(held=70)
    await settle(other, entry("a", at=at, cost=30, team="red"))
    assert await counter(one, "team=red") == Counter(spent=30)


async def test_nobody_is_free_for_leaving_out_his_name(stores: Stores) -> None:
    nameless = Limit("daily of user=*", "user=", "day", 15)
    await granted(stores[0], ask("a", nameless, user=""))
    assert (await refused(stores[1], ask("b", nameless, user=""))).counter == Counter(held=10)


async def test_a_hold_takes_from_all_budgets_or_from_none(stores: Stores) -> None:
    one, other = stores
    tight, tighter = Limit("daily of user=ann", "user=ann", "day", 5), Limit("monthly", "all", "month", 4)
    for limits in ((ALL, tight), (tight, ALL), (tight, tighter, ALL)):
        answer = await refused(one, ask("a", *limits))
        assert answer.limit == (tighter if tighter in limits else tight), "the one with the least left is named"
        assert answer.label == labels(await one.now())[answer.limit.window == "month"]
        assert answer.counter == Counter()
        assert await other.counters(labels(await one.now())[0]) in ({}, {"all": Counter(), "user=ann": Counter()})


async def test_a_refusal_tells_how_far_its_budget_is_used(stores: Stores) -> None:
    one, other = stores
    at = (await granted(one, ask("a", ALL, most=40))).at
    await settle(one, entry("a", at=at, cost=20, unproven=5))
    await granted(other, ask("b", ALL, most=30, least=30))
    answer = await refused(one, ask("c", ALL, least=46, most=99))
    assert answer == Refused(ALL, labels(at)[0], Counter(spent=20, held=30, unproven=5))


GRANTS = [  # limit, least, most, share; what is granted when 20 are held: None is a refusal
    (100, 10, 50, 1_000_000, 50),
    (100, 10, 90, 1_000_000, 80),
    (100, 80, 80, 1_000_000, 80),
    (100, 81, 81, 1_000_000, None),
    (100, 10, 90, 500_000, 40),
    (100, 50, 90, 500_000, 50),
    (100, 10, 30, 500_000, 30),
    (100, 10, 90, 333_333, 26),
    (100, 0, 90, 1, 0),
    (20, 0, 5, 1_000_000, 0),
    (19, 0, 5, 1_000_000, None),
    (MOST, 1, MOST, 1_000_000, MOST - 20),
    (MOST, 1, MOST, 999_999, (MOST - 20) * 999_999 // 1_000_000),
    (MOST - 1, 1, MOST, 333_333, (MOST - 21) * 333_333 // 1_000_000),
]


async def test_anything_from_least_to_most_is_granted_and_no_more_than_a_share_of_what_is_left(stores: Stores) -> None:
    for n, (nano, least, most, share, amount) in enumerate(GRANTS):
        limit = Limit("daily of user=*", f"user=u{n}", "day", nano)
        await granted(stores[0], ask(f"first{n}", user=f"u{n}", most=20))
        asked = ask(f"second{n}", limit, user=f"u{n}", least=least, most=most)
        answer = await stores[1].hold(msgspec.structs.replace(asked, share=share))
        assert (answer.amount if isinstance(answer, Granted) else None) == amount, GRANTS[n]


async def test_fifty_holds_at_once_from_two_replicas_never_take_more_than_there_is(stores: Stores) -> None:
    answers = await asyncio.gather(*(stores[n % 2].hold(ask(f"r{n}", ALL, least=7, most=7)) for n in range(50)))
    assert sum(isinstance(answer, Granted) for answer in answers) == 100 // 7
    assert await counter(stores[0]) == Counter(held=100 // 7 * 7)


async def test_the_same_id_held_twice_is_one_hold(stores: Stores) -> None:
    one, other = stores
    first = await granted(one, ask("a", ALL, most=60))
    assert await granted(other, ask("a", ALL, most=99)) == first
    assert await counter(one) == Counter(held=60)


async def test_who_was_settled_is_not_held_again(stores: Stores) -> None:
    one, other = stores
    await settle(one, entry("dead", orphan=True, cost=10))
    await settle(one, entry("done", cost=10))
    for id in ("dead", "done"):
        with pytest.raises(StoreError):
            await other.hold(ask(id, ALL))
    assert await counter(one) == Counter(spent=20)


async def test_what_was_decided_of_an_id_stands_though_there_is_nothing_left(stores: Stores) -> None:
    one, other = stores
    first = await granted(one, ask("held", ALL, most=60))
    await granted(one, ask("gone", ALL, most=40))
    await settle(one, entry("gone", cost=40))
    assert await granted(other, ask("held", ALL, least=60, most=60)) == first
    with pytest.raises(StoreError, match="settled already"):
        await other.hold(ask("gone", ALL, least=60, most=60))
    assert (await refused(other, ask("new", ALL))).counter == Counter(held=60, spent=40)
    assert await counter(one) == Counter(held=60, spent=40), "nothing was held twice"


async def test_a_text_that_comes_with_its_row_is_the_row(stores: Stores) -> None:
    one, other = stores
    at = (await granted(one, ask("held"))).at
    rows = [entry("timed", at=at + 1, cost=1), entry("held", cost=2), entry("timeless", cost=3)]
    await one.settle([Settlement(row, (), encode(row)) for row in rows])
    found = {row.id: row for row in await ledger(other)}
    assert found["timed"] == rows[0]
    assert found["held"] == entry("held", at=at, cost=2), "the time of its hold, of which the text says nothing"
    assert found["timeless"] == entry("timeless", at=found["timeless"].at, cost=3)
    assert found["timeless"].at >= at


async def test_a_cost_above_its_hold_lands_all_the_same(stores: Stores) -> None:
    one, other = stores
    at = (await granted(one, ask("a", ALL, most=100))).at
    await settle(other, entry("a", at=at, cost=250), ALL)
    assert await counter(one) == Counter(spent=250)
    assert (await refused(one, ask("b", ALL, least=1))).counter == Counter(spent=250)


async def test_a_row_settled_by_many_at_once_counts_once(stores: Stores) -> None:
    at = (await granted(stores[0], ask("a", most=50))).at
    rows = [entry("a", at=at, cost=30), entry("a", at=at, cost=30, orphan=True)]
    await asyncio.gather(*(settle(stores[n % 2], rows[0]) for n in range(10)))
    await stores[1].settle([Settlement(row) for row in rows * 2])
    assert await counter(stores[0]) == Counter(spent=30)
    assert await ledger(stores[0]) == [rows[0]]


async def test_a_row_without_a_hold_is_booked(stores: Stores) -> None:
    before = await stores[0].now()
    await settle(stores[0], entry("a", cost=30))
    await settle(stores[0], entry("b", cost=None, unproven=3))
    assert await counter(stores[1]) == Counter(spent=30, unproven=3)
    after = await stores[0].now()
    assert [before <= row.at <= after for row in await ledger(stores[1])] == [True, True]


async def test_a_row_that_does_not_know_its_time_takes_that_of_its_hold(stores: Stores) -> None:
    at = (await granted(stores[0], ask("a"))).at
    await settle(stores[1], entry("a", cost=3))
    assert await ledger(stores[0]) == [entry("a", at=at, cost=3)]


async def test_a_hold_goes_back_where_it_was_taken_though_the_row_counts_elsewhere(stores: Stores) -> None:
    """Who got no answer to his hold settles it by his own clock."""
    one, other = stores
    at = (await granted(one, ask("a"))).at - 40 * DAY
    await settle(other, entry("a", at=at, cost=3))
    assert await counter(one) == Counter()
    for label in labels(at):
        assert await counter(one, "user=ann", label) == Counter(spent=3)


async def test_an_orphan_is_charged_until_its_settlement_turns_up(stores: Stores) -> None:
    one, other = stores
    await granted(one, ask("young"))
    at = (await granted(one, ask("old", most=50, seconds=-1))).at
    for _ in range(2):  # to look takes nothing away
        (hold,) = await other.expired()
        assert (hold.entry.id, hold.entry.at, hold.amount) == ("old", at, 50)
    orphan = msgspec.structs.replace(hold.entry, cost=50, orphan=True)
    await asyncio.gather(settle(one, orphan), settle(other, orphan))
    await settle(one, msgspec.structs.replace(orphan, cost=40))
    assert await other.expired() == []
    assert await counter(one) == Counter(spent=50, held=10)
    late = entry("old", at=at, cost=7, unproven=2, stream=True)
    for row in (late, late, orphan):
        await settle(other, row)
    assert await counter(one) == Counter(spent=7, unproven=2, held=10)
    assert await ledger(one) == [late]


async def test_what_an_orphan_was_charged_goes_back_where_it_was_charged(stores: Stores) -> None:
    now = await stores[0].now()
    await settle(stores[0], entry("a", at=now, cost=50, unproven=4, orphan=True, agent="bot", team="red"))
    await settle(stores[1], entry("a", at=now - 40 * DAY, cost=3, agent="cat", team="blue"))
    for scope in ("all", "user=ann", "agent=bot", "agent=cat", "team=red", "team=blue"):
        assert await counter(stores[0], scope) == Counter()
    for label in labels(now - 40 * DAY):
        for scope, cost in (("all", 3), ("agent=bot", 0), ("agent=cat", 3), ("team=red", 0), ("team=blue", 3)):
            assert await counter(stores[0], scope, label) == Counter(spent=cost)


async def test_each_threshold_is_told_of_once_over_all_replicas(stores: Stores) -> None:
    rows = [entry(f"r{n}", cost=5) for n in range(24)]
    told = await asyncio.gather(*(settle(stores[n % 2], row, ALL) for n, row in enumerate(rows)))
    alerts = sorted((alert for some in told for alert in some), key=lambda alert: alert.percent)
    assert [(alert.limit, alert.percent, alert.counter.spent) for alert in alerts] == [(ALL, 90, 90), (ALL, 100, 100)]
    assert {alert.label for alert in alerts} == {labels(await stores[0].now())[0]}
    higher = msgspec.structs.replace(ALL, nano=130)
    assert [alert.percent for alert in await settle(stores[0], entry("more"), higher)] == [90], "another limit"


async def test_one_row_may_cross_both_thresholds_of_many_budgets(stores: Stores) -> None:
    month = Limit("monthly of user=ann", "user=ann", "month", 100)
    far = Limit("daily of key=k", "key=k", "day", 1_000)
    alerts = await settle(stores[0], entry(cost=99, unproven=1), ALL, month, far)
    assert {(alert.limit, alert.percent) for alert in alerts} == {(ALL, 90), (ALL, 100), (month, 90), (month, 100)}
    assert all(alert.counter == Counter(spent=99, unproven=1) for alert in alerts)
    assert await settle(stores[1], entry("b", cost=1), ALL, month, far) == []


async def test_a_budget_that_is_used_up_is_told_of_once_at_a_refusal(stores: Stores) -> None:
    await settle(stores[0], entry("a", cost=95))
    asked = [stores[n % 2].hold(ask(f"r{n}", ALL)) for n in range(10)]
    alerts = [answer.alert for answer in await asyncio.gather(*asked) if isinstance(answer, Refused)]
    assert len(alerts) == 10
    assert [alert for alert in alerts if alert] == [
        Alert(ALL, labels(await stores[0].now())[0], 100, Counter(spent=95))
    ]
    assert [alert.percent for alert in await settle(stores[1], entry("b", cost=9), ALL)] == [90]


async def test_neither_what_is_only_held_nor_what_is_not_the_last_word_sets_off_an_alert(stores: Stores) -> None:
    await settle(stores[0], entry("a", cost=60))
    await granted(stores[0], ask("b", ALL, most=40))
    assert (await refused(stores[1], ask("c", ALL))).alert is None
    await settle(stores[0], entry("d", cost=35))
    asked = ask("e", ALL)
    assert (await refused(stores[0], msgspec.structs.replace(asked, final=False))).alert is None
    assert (await refused(stores[1], asked)).alert is not None


async def test_the_largest_amounts_stay_exact(stores: Stores) -> None:
    odd = MOST - 1
    ninety = -(-odd * 9 // 10)
    limit = Limit("daily", "all", "day", odd)
    at = (await granted(stores[0], ask("a", limit, least=odd, most=MOST))).at
    assert (await refused(stores[1], ask("b", limit, least=1))).counter == Counter(held=odd)
    assert await settle(stores[1], entry("a", at=at, cost=ninety - 1), limit) == []
    assert [a.percent for a in await settle(stores[0], entry("c", at=at, cost=1), limit)] == [90]
    assert await settle(stores[1], entry("d", at=at, cost=odd - ninety - 1), limit) == []
    assert [a.percent for a in await settle(stores[0], entry("e", at=at, unproven=1), limit)] == [100]
    assert await counter(stores[0]) == Counter(spent=odd - 1, unproven=1)


NAMES = ["o'hara \"; DROP TABLE hold;--", "a\0b", "ü 🌍 \u2028", "x" * 128, "%s {0} * | = :", "\\u0000", "*"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_any_name_is_only_a_name(name: str, stores: Stores) -> None:
    one, other = stores
    limit = Limit(f"daily of user={name}", f"user={name}", "day", 10)
    row = entry(f"{name}/1", user=name, model=name, key=name, agent=name, asked=name, code=name, usage=Usage(in_text=3))
    at = (await granted(one, Ask(entry=row, limits=(limit,), least=10, most=10))).at
    assert (await refused(other, ask("b", limit, user=name, least=1))).limit == limit
    assert await counter(other, f"agent={name}") == Counter(held=10)
    row = msgspec.structs.replace(row, at=at, cost=9, first=0.5, total=1.25, status=200, price="p")
    assert [(a.limit, a.percent) for a in await settle(other, row, limit)] == [(limit, 90)]
    assert await counter(one, f"user={name}") == Counter(spent=9)
    assert await ledger(one) == [row]


async def test_the_ledger_is_told_oldest_first_from_the_start_up_to_the_end(stores: Stores) -> None:
    now = await stores[0].now()
    known = [entry(id, at=now + at, cost=1) for at, ids in ((0, "b"), (1, "Aaé🌍"), (2, "c")) for id in ids]
    await stores[0].settle([Settlement(row) for row in known[::-1]])
    for start, end in [(0, 3), (0, 2), (0, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 9), (-5, 0)]:
        wanted = [row for row in known if start <= row.at - now < end]
        assert await ledger(stores[1], now + start, now + end) == wanted, (start, end)


async def test_a_ledger_of_many_pages_is_told_whole(stores: Stores) -> None:
    at = await stores[0].now()
    rows = [entry(f"r{n:04}", at=at + n // 700, cost=1) for n in range(1_201)]
    for start in range(0, 1_201, 100):
        await stores[0].settle([Settlement(row) for row in rows[start : start + 100]])
    assert await ledger(stores[1]) == rows


async def test_what_is_older_is_forgotten_and_what_is_not_stays(stores: Stores) -> None:
    now = await stores[0].now()
    ages = {"today": 0, "young": 29 * DAY, "old": 31 * DAY, "older": 70 * DAY}
    for id, age in ages.items():
        await settle(stores[0], entry(id, at=now - age, cost=100), ALL)
    at = (await granted(stores[0], ask("held"))).at
    await stores[1].prune(30)
    assert [row.id for row in await ledger(stores[0])] == ["young", "today"]
    assert await counter(stores[0]) == Counter(spent=100, held=10)
    assert (await counter(stores[0], label=labels(now - 29 * DAY)[0])).spent == 100
    assert await stores[0].counters(labels(now - 70 * DAY)[0]) == {}
    assert await stores[0].counters(labels(now - 70 * DAY)[1]) == {}
    assert await settle(stores[0], entry("held", at=at, cost=1), ALL) == [], "what was said today stays said"


async def test_an_empty_store_has_nothing_to_tell(stores: Stores) -> None:
    assert await ledger(stores[0]) == []
    assert await stores[0].expired() == []
    assert await stores[0].counters("day:2026-11-23") == {}
    assert await stores[0].settle([]) == []
    await stores[0].prune(30)
    await stores[0].beat()
