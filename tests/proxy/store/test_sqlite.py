"""What only a file does: clocks that are set, workers that start together, disks that are full, files of old."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from proxy.budget import MOST, Ask, Granted, Limit, Refused
from proxy.ledger import Counter, Entry, labels
from proxy.store import PAGE, Hold, Settlement, StoreError
from proxy.store.sqlite import SqliteStore

DAILY = Limit("daily", "all", "day", 100)
MONTHLY = Limit("monthly", "all", "month", 150)
DAY = 86_400_000


class Clock:
    """Stands where it is put."""

    def __init__(self, text: str = "2026-11-23T12:00:00") -> None:
        self.put(text)

    def put(self, text: str) -> None:
        self.milli = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)

    def __call__(self) -> float:
        return self.milli / 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.db", wall=clock)
    await store.open()
    yield store
    await store.close()


def entry(id: str, at: int = 0, cost: int | None = None, orphan: bool = False) -> Entry:
    return Entry(id=id, request=id, at=at, provider="openai", model="gpt", cost=cost, orphan=orphan)


def ask(id: str, amount: int = 60, seconds: int = 960) -> Ask:
    return Ask(entry=entry(id), limits=(DAILY, MONTHLY), least=amount, most=amount, seconds=seconds)


async def settle(store: SqliteStore, *rows: Entry) -> None:
    await store.settle([Settlement(row) for row in rows])


async def spent(store: SqliteStore, label: str) -> Counter:
    return (await store.counters(label)).get("all", Counter())


async def test_what_is_held_before_midnight_and_settled_after_it_counts_on_the_day_of_the_hold(
    store: SqliteStore, clock: Clock
) -> None:
    clock.put("2026-11-30T23:59:59.999")
    answer = await store.hold(ask("a"))
    assert answer == Granted(60, clock.milli)
    clock.put("2026-12-01T00:00:00")
    assert isinstance(await store.hold(ask("b", 100)), Granted), "the new windows are untouched"
    await settle(store, entry("a", cost=50))
    for old, new in (("day:2026-11-30", "day:2026-12-01"), ("month:2026-11", "month:2026-12")):
        assert (await spent(store, old), await spent(store, new)) == (Counter(spent=50), Counter(held=100))


async def test_a_day_that_begins_does_not_begin_a_month(store: SqliteStore, clock: Clock) -> None:
    await settle(store, entry("a", cost=100))
    clock.put("2026-11-24T00:00:00")
    answer = await store.hold(ask("b"))
    assert answer == Refused(MONTHLY, "month:2026-11", Counter(spent=100))
    assert await store.hold(ask("c", 50)) == Granted(50, clock.milli)


async def test_a_clock_that_steps_back_over_midnight_finds_the_day_as_it_was_left(
    store: SqliteStore, clock: Clock
) -> None:
    assert isinstance(await store.hold(ask("a")), Granted)
    clock.put("2026-11-24T00:00:01")
    assert isinstance(await store.hold(ask("b")), Granted)
    clock.put("2026-11-23T23:59:59")
    refusal = await store.hold(ask("c"))
    assert isinstance(refusal, Refused)
    assert (refusal.limit, refusal.counter) == (MONTHLY, Counter(held=120))
    await settle(store, entry("b", cost=1), entry("a", cost=2))
    assert [row.id async for page in store.rows(0, MOST) for row in page] == ["a", "b"]
    for label, cost in (("day:2026-11-23", 2), ("day:2026-11-24", 1), ("month:2026-11", 3)):
        assert await spent(store, label) == Counter(spent=cost)


async def test_a_hold_is_an_orphan_from_its_last_second_on(store: SqliteStore, clock: Clock) -> None:
    await store.hold(ask("a", 10, seconds=3))
    await store.hold(ask("b", 10, seconds=2))
    for milli, ids in ((1_999, []), (2_000, ["b"]), (3_000, ["b", "a"])):
        clock.put("2026-11-23T12:00:00")
        clock.milli += milli
        assert [hold.entry.id for hold in await store.expired()] == ids


async def test_orphans_are_told_a_page_at_a_time(store: SqliteStore) -> None:
    for n in range(PAGE + 1):
        await store.hold(Ask(entry=entry(f"r{n}"), limits=(), least=0, most=1, seconds=0))
    page = await store.expired()
    assert len(page) == PAGE
    await settle(store, *(msgspec.structs.replace(hold.entry, cost=1, orphan=True) for hold in page))
    assert len(await store.expired()) == 1


async def test_a_large_ledger_is_pruned_in_steps(store: SqliteStore, clock: Clock) -> None:
    for start in range(0, 10_000, PAGE):
        await settle(store, *(entry(f"r{n}", at=clock.milli - 50 * DAY, cost=1) for n in range(start, start + PAGE)))
    left = [10_000]
    while left[-1]:
        await store.prune(30)
        left.append(sum([len(page) async for page in store.rows(0, MOST)]))
    assert len(left) == 3, "some thousands a call"
    assert await store.counters("day:2026-10-04") == {}


async def test_what_ended_within_the_days_is_kept(store: SqliteStore, clock: Clock) -> None:
    at = clock.milli - 30 * DAY
    await settle(store, entry("a", at=at, cost=1), entry("b", at=at - 1, cost=2), entry("c", at=at - DAY, cost=4))
    await store.prune(30)
    assert [row.id async for page in store.rows(0, MOST) for row in page] == ["a"]
    found = [await spent(store, label) for label in ("day:2026-10-22", "day:2026-10-23", "day:2026-10-24")]
    assert found == [Counter(), Counter(), Counter(spent=3)]
    assert await spent(store, "month:2026-10") == Counter(spent=7)


async def test_more_days_than_there_ever_were_forget_nothing(store: SqliteStore) -> None:
    await settle(store, entry("a", cost=1))
    await store.prune(10**7)
    assert await spent(store, "day:2026-11-23") == Counter(spent=1)


async def test_what_is_handed_over_is_added_once_and_what_is_there_stays(store: SqliteStore, clock: Clock) -> None:
    await store.hold(ask("held", 10))
    clock.milli += 1
    await settle(store, entry("done", cost=5), entry("lost", cost=20, orphan=True))

    full = Limit("daily", "all", "day", 14)

    async def rows() -> AsyncIterator[Sequence[Settlement]]:
        yield [Settlement(entry("done", clock.milli, 5), (full,)), Settlement(entry("lost", clock.milli, 2), (full,))]
        yield [Settlement(entry("new", clock.milli, 7), (full,))]

    await store.recover(rows(), [Hold(entry(id, clock.milli), 10) for id in ("held", "done", "new", "other")])
    assert await spent(store, "day:2026-11-23") == Counter(spent=14, held=20)
    for milli, ids in ((959_998, []), (1, ["held"]), (1, ["held", "other"])):
        clock.milli += milli
        assert [hold.entry.id for hold in await store.expired()] == ids
    alerts = await store.settle([Settlement(entry("x", cost=0), (full,))])
    assert [alert.percent for alert in alerts] == [90, 100], "what was handed over set off none"


async def test_a_fault_among_the_rows_books_none_of_them(store: SqliteStore) -> None:
    for fault in (entry("\ud800", cost=1), entry("b", cost=2**63), entry("b", at=2**62, cost=1)):
        with pytest.raises(StoreError):
            await settle(store, entry("a", cost=1), fault)
    assert [page async for page in store.rows(0, MOST)] == []
    assert await store.counters("day:2026-11-23") == {}


async def test_a_sum_that_no_integer_holds_is_an_error_and_not_a_float(store: SqliteStore) -> None:
    await settle(store, entry("a", cost=2**62))
    with pytest.raises(StoreError):
        await settle(store, entry("b", cost=2**62))
    assert await spent(store, "day:2026-11-23") == Counter(spent=2**62)


async def test_a_disk_that_is_full_takes_nothing_in_halves_and_is_used_again_when_it_is_not(store: SqliteStore) -> None:
    def limit(pages: int) -> None:
        store._file().execute(f"PRAGMA max_page_count={pages}")

    rows = [msgspec.structs.replace(entry(f"r{n}", cost=1), asked="x" * 3_000) for n in range(1_000)]
    await store._run(lambda: limit(1))  # SQLite takes what the file has already for the least
    with pytest.raises(StoreError, match="full"):
        await settle(store, *rows)
    await store._run(lambda: limit(10_000))
    assert await spent(store, "day:2026-11-23") == Counter()
    await settle(store, *rows)
    assert await spent(store, "day:2026-11-23") == Counter(spent=1_000)


async def test_a_commit_that_fails_leaves_no_transaction_behind(store: SqliteStore, clock: Clock) -> None:
    def deny(act: int, what: str | None, *_: object) -> int:
        return sqlite3.SQLITE_DENY if (act, what) == (sqlite3.SQLITE_TRANSACTION, "COMMIT") else sqlite3.SQLITE_OK

    await store._run(lambda: store._file().set_authorizer(deny))
    with pytest.raises(StoreError, match="authorized"):
        await store.hold(ask("a"))
    await store._run(lambda: store._file().set_authorizer(None))
    assert await spent(store, "day:2026-11-23") == Counter()
    assert await store.hold(ask("a", 100)) == Granted(100, clock.milli)


async def test_who_waits_for_another_process_gives_up_soon_and_may_come_again(
    store: SqliteStore, tmp_path: Path, clock: Clock
) -> None:
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await store._run(lambda: store._file().execute("PRAGMA busy_timeout").fetchall()) == [(250,)]
    for act in (store.hold(ask("a")), store.settle([Settlement(entry("b", cost=1))])):
        with pytest.raises(StoreError, match="locked"):
            await act
    assert await store.counters("day:2026-11-23") == {}, "who only reads waits for nobody"
    other.execute("COMMIT")
    other.close()
    assert await store.hold(ask("a")) == Granted(60, clock.milli)


async def test_a_store_that_could_not_be_opened_may_be_opened_later(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("no directory")
    store = SqliteStore(place / "store.db")
    with pytest.raises(StoreError):
        await store.open()
    with pytest.raises(StoreError, match="not open"):
        await store.hold(ask("a"))
    place.unlink()
    await store.open()
    file = store._file()
    await store.open()
    assert store._file() is file, "what is open stays open"
    assert isinstance(await store.hold(ask("a")), Granted)
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.hold(ask("b"))
    await store.close()


async def test_what_is_no_database_is_a_store_error_until_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("something else " * 100)
    store = SqliteStore(tmp_path / "store.db")
    with pytest.raises(StoreError):
        await store.open()
    (tmp_path / "store.db").unlink()
    await store.open()
    await store.close()


async def test_a_file_of_the_time_before_money_is_opened_and_keeps_its_states(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "store.db") as file:
        file.execute("CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL, expires INTEGER NOT NULL)")
        file.execute("INSERT INTO state VALUES ('a', '1', unixepoch() + 99)")
    file.close()
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    assert isinstance(await store.hold(ask("a")), Granted)
    assert await store.recall(["a"]) == {"a": "1"}
    await store.close()


async def test_workers_that_open_a_new_file_together_all_do(tmp_path: Path) -> None:
    for name in "abcde":
        stores = [SqliteStore(tmp_path / name / "store.db") for _ in range(8)]
        await asyncio.gather(*(store.open() for store in stores))
        for store in stores:
            await store.close()


WORKER = """
import asyncio, pathlib, sys
from proxy.budget import Ask, Limit
from proxy.ledger import Entry
from proxy.store import Settlement, StoreError
from proxy.store.sqlite import SqliteStore

async def whatever_it_takes(act):
    while True:  # on a busy machine the others may have the file for longer than a caller waits
        try:
            return await act()
        except StoreError:
            pass

async def main(path, name):
    store = SqliteStore(pathlib.Path(path))
    await store.open()
    for n in range(10**6):
        entry = Entry(id=f"{name}{n}", request="r", provider="openai", model="gpt", cost=3)
        ask = Ask(entry=entry, limits=(), least=5, most=5)
        print("held", (await whatever_it_takes(lambda: store.hold(ask))).amount, flush=True)
        await whatever_it_takes(lambda: store.settle([Settlement(entry)]))
        print("spent", entry.id, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def work_until_killed(path: Path) -> list[str]:
    """What three workers said, who started together on a file that was not there."""
    command = [sys.executable, "-c", WORKER, str(path)]
    workers = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "abc"]
    said: list[str] = []
    for worker in workers:
        assert worker.stdout is not None
        said += [worker.stdout.readline() for _ in range(60)]
    for worker in workers:
        worker.kill()
        said += worker.communicate()[0].splitlines()
    return said


async def test_workers_that_start_together_and_are_killed_lose_nothing_that_was_committed(tmp_path: Path) -> None:
    said = work_until_killed(tmp_path / "store.db")
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    rows = {row.id async for page in store.rows(0, MOST) for row in page}
    whole = [words[1] for line in said if len(words := line.split()) == 2 and words[0] == "spent"]
    assert len(whole) >= 90, "each says two words for each row, and 60 were waited for"
    assert set(whole) <= rows
    day, month = [await store.counters(label) for label in labels(await store.now())]
    assert day == month
    assert day["all"].spent == 3 * len(rows)
    assert day["all"].held in {0, 5, 10, 15}, "each may have died between the two"
    await store.close()
