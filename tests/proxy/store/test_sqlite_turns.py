"""The file on the event loop: what one turn brings is one transaction, and nobody on the loop waits for the file."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.budget import Ask, Granted, Limit, Refused
from proxy.ledger import Counter, Entry, labels
from proxy.store import Settlement, Store, StoreError
from proxy.store.sqlite import SqliteStore
from tests.proxy.accounts import until

GENEROUS = 5
DAILY = Limit("daily", "all", "day", 100)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    yield store
    await store.close()


def entry(id: str, cost: int | None = None, at: int = 0) -> Entry:
    return Entry(id=id, request=id, provider="openai", model="gpt", cost=cost, at=at)


def ask(id: str, amount: int = 10, *limits: Limit) -> Ask:
    return Ask(entry=entry(id), limits=limits, least=amount, most=amount)


async def today(store: Store) -> Counter:
    return (await store.counters(labels(await store.now())[0])).get("all", Counter())


async def traced(store: SqliteStore) -> list[str]:
    said: list[str] = []
    await store._run(lambda: store._file().set_trace_callback(said.append))
    said.clear()
    return said


async def test_what_one_turn_of_the_loop_brings_is_one_transaction_and_one_change_of_each_counter(
    store: SqliteStore,
) -> None:
    said = await traced(store)
    asked = [store.hold(ask(f"r{n}", 10, DAILY)) for n in range(12)]
    answers = await asyncio.gather(*asked, store.settle([Settlement(entry("other", 5))]))
    assert sum(isinstance(answer, Granted) for answer in answers) == 10
    assert sum(isinstance(answer, Refused) for answer in answers) == 2, "each hold sees those before it"
    assert (said.count("BEGIN IMMEDIATE"), said.count("COMMIT")) == (1, 1)
    (change,) = [statement for statement in said if "INTO counter" in statement]
    assert (change.count("('day:"), change.count("('month:")) == (6, 6)
    assert await today(store) == Counter(spent=5, held=100)


async def test_what_many_users_add_in_one_turn_is_counted_for_each_of_them(store: SqliteStore) -> None:
    users = {f"u{n}": n + 1 for n in range(30)}
    rows = [Entry(id=user, request=user, provider="p", model="m", user=user, cost=cost) for user, cost in users.items()]
    await asyncio.gather(*(store.settle([Settlement(row) for row in rows[start::3]]) for start in range(3)))
    for label in labels(await store.now()):
        found = await store.counters(label)
        expected = {f"user={user}": Counter(spent=cost) for user, cost in users.items()}
        common = ("all", "provider=p", "model=m", "key=", "agent=")
        assert found == expected | dict.fromkeys(common, Counter(spent=sum(users.values())))


async def test_a_file_of_an_older_version_loses_the_index_of_its_holds(store: SqliteStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "store.db")) as older:
        older.execute("CREATE INDEX hold_expires ON hold (expires)")
        again = SqliteStore(tmp_path / "store.db")
        await again.open()
        assert older.execute("SELECT name FROM sqlite_master WHERE name = 'hold_expires'").fetchall() == []
        assert isinstance(await store.hold(ask("a")), Granted), "who has the file open goes on"
        assert isinstance(await again.hold(ask("b")), Granted)
        await again.close()


async def test_a_refusal_tells_what_was_used_then_and_not_what_came_after(store: SqliteStore) -> None:
    refusal, *_ = await asyncio.gather(store.hold(ask("a", 101, DAILY)), *(store.hold(ask(f"b{n}")) for n in range(3)))
    assert isinstance(refusal, Refused)
    assert refusal.counter == Counter()


async def test_more_than_go_together_are_done_all(store: SqliteStore) -> None:
    said = await traced(store)
    answers = await asyncio.gather(*(store.hold(ask(f"r{n}", 1)) for n in range(200)))
    assert all(isinstance(answer, Granted) for answer in answers)
    assert said.count("COMMIT") == 4
    assert await today(store) == Counter(held=200)


async def test_one_that_cannot_be_done_spoils_none_of_the_same_turn(store: SqliteStore) -> None:
    await store.settle([Settlement(entry("settled", 0))])
    bad = [
        store.hold(ask("settled")),
        store.settle([Settlement(entry("too much", 2**63))]),
        store.settle([Settlement(entry("\ud800", 1))]),
    ]
    good = [store.hold(ask(f"r{n}", 10, DAILY)) for n in range(5)]
    failed = await asyncio.gather(*bad, *good, return_exceptions=True)
    assert [type(answer) for answer in failed] == [StoreError] * 3 + [Granted] * 5
    assert await today(store) == Counter(held=50)


async def test_a_fault_of_our_own_is_raised_to_whoever_asked_and_to_nobody_else(store: SqliteStore) -> None:
    wrong = Limit("daily", "all", "year", 100)  # type: ignore[arg-type]  # no such window
    answers = await asyncio.gather(store.hold(ask("a", 1, wrong)), store.hold(ask("b", 1)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [KeyError, Granted]


async def test_while_another_process_has_the_file_the_loop_goes_on(store: SqliteStore, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waits = asyncio.gather(*(store.hold(ask(f"r{n}")) for n in range(3)))
    assert store._turns is not None
    while not store._turns._using.locked():  # noqa: ASYNC110  # until the thread waits
        await asyncio.sleep(0)
    more = asyncio.create_task(store.hold(ask("more")))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waits.done(), "the loop had its turn, and they wait elsewhere"
    other.execute("COMMIT")
    other.close()
    assert all(isinstance(answer, Granted) for answer in [*await waits, await more])
    assert await today(store) == Counter(held=40)


async def test_who_left_before_it_was_done_holds_up_nobody(store: SqliteStore) -> None:
    gone, stays = (asyncio.create_task(store.hold(ask(id))) for id in "ab")
    await asyncio.sleep(0)
    gone.cancel()
    assert isinstance(await stays, Granted)
    await store.settle([Settlement(entry("a", 0))])  # as the books do for whoever left
    assert await today(store) == Counter(held=10)


async def test_what_was_asked_before_the_end_is_done(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    asked = [asyncio.create_task(store.hold(ask(f"r{n}"))) for n in range(100)]
    await asyncio.sleep(0)
    await store.close()
    assert all(isinstance(answer, Granted) for answer in await asyncio.gather(*asked))
    with pytest.raises(StoreError, match="closed"):
        await store.hold(ask("late"))
    again = SqliteStore(tmp_path / "store.db")
    await again.open()
    assert await today(again) == Counter(held=1_000)
    await again.close()


async def test_the_log_is_brought_into_the_file_while_all_goes_on(store: SqliteStore, tmp_path: Path) -> None:
    """SQLite itself would do it on the loop, and sync the file there."""
    for start in range(0, 2_400, 12):
        ids = [f"r{n}" for n in range(start, start + 12)]
        held = await asyncio.gather(*(store.hold(ask(id, 1)) for id in ids))
        await store.settle([Settlement(entry(id, 1)) for id in ids])
        assert len(held) == 12
    assert (tmp_path / "store.db-wal").stat().st_size < 10 * 2**20
    await until(lambda: (tmp_path / "store.db").stat().st_size > 2**18)  # it is there, not in the log alone
    assert await today(store) == Counter(spent=2_400)


async def test_what_a_request_asks_reads_no_row_of_another_and_is_as_much_however_many_there_are(
    store: SqliteStore,
) -> None:
    said = await traced(store)

    async def request(id: str) -> list[str]:
        said.clear()
        answer = await store.hold(ask(id, 1, DAILY, Limit("monthly", "user=", "month", 100)))
        assert isinstance(answer, Granted)
        await store.settle([Settlement(entry(id, 1, answer.at), (DAILY,))])
        return [statement.partition("'")[0] for statement in said]

    before = await request("a")
    file = store._file()
    plans = [
        file.execute(f"EXPLAIN QUERY PLAN {s}").fetchall() for s in list(said) if s.startswith(("SELECT", "DELETE"))
    ]
    assert plans
    assert [step for plan in plans for step in plan if "SEARCH" not in step[-1]] == []
    for n in range(0, 600, 60):
        rows = [Entry(id=f"x{n + k}", request="x", provider="p", model=f"m{n + k}", cost=0) for k in range(60)]
        await store.settle([Settlement(row) for row in rows])
    assert await request("b") == before
