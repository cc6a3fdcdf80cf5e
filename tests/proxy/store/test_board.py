"""The notice board, over SQLite and over a real Redis: nothing is lost, nothing is overlooked."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.store import KEPT, OLD_NOTICE_SECONDS, Notice, Notices, Store, StoreError
from proxy.store.sqlite import SqliteStore
from tests.proxy.store.pinning import GENEROUS, NOBODY, count, late, outcome, up

Stores = tuple[Store, Store]


async def test_an_empty_board_has_nothing_to_tell_but_the_time(stores: Stores) -> None:
    told = await stores[0].notices(0)
    assert told == Notices(0, told.at, {})
    assert abs(told.at - await stores[1].now()) < 60_000


async def test_what_one_pins_the_other_reads(stores: Stores) -> None:
    one, other = stores
    first = await up(one, "a", b"1")
    second = await up(one, "b", b"2", ring=True)
    assert (first.text, second.text) == (b"1", b"2")
    assert 0 < first.serial < second.serial
    told = await other.notices(0)
    assert (told.serial, told.changed) == (second.serial, {"a": first, "b": second})


async def test_who_has_seen_the_notice_changes_it(stores: Stores) -> None:
    one, other = stores
    first = await up(one, "a", b"1")
    second = await up(other, "a", b"2", seen=first.serial)
    assert second == Notice(second.serial, b"2")
    assert second.serial > first.serial
    assert (await one.notices(0)).changed == {"a": second}


@pytest.mark.parametrize("seen", [0, 1, 2**52], ids=["none", "a number of long ago", "a number of some other board"])
async def test_who_has_not_seen_the_notice_gets_it_and_changes_nothing(stores: Stores, seen: int) -> None:
    one, other = stores
    first = await up(one, "a", b"1")
    assert await late(other, "a", seen=seen) == first
    told = await one.notices(0)
    assert (told.serial, told.changed) == (first.serial, {"a": first})


async def test_who_has_seen_a_notice_where_none_is_hears_that_none_is(stores: Stores) -> None:
    one, other = stores
    await up(one, "b", b"1")
    assert await late(other, "a", seen=7) == NOBODY
    assert list((await one.notices(0)).changed) == ["b"]


async def test_the_same_text_put_up_again_is_a_change(stores: Stores) -> None:
    one, other = stores
    first = await up(one, "a", b"1")
    again = await up(one, "a", b"1", seen=first.serial)
    assert again.serial > first.serial
    assert (await other.notices(first.serial)).changed == {"a": again}


async def test_who_comes_second_with_the_same_text_hears_that_it_was_another(stores: Stores) -> None:
    one, other = stores
    first = await up(one, "a", b"1")
    assert await other.pin("a", 0, b"1", ring=False) == first
    assert not first.ours


async def test_only_what_has_changed_since_is_told(stores: Stores) -> None:
    one, other = stores
    first = {key: await up(one, key, b"1") for key in "abc"}
    seen = await other.notices(0)
    assert seen.serial == first["c"].serial
    changed = await up(one, "b", b"2", seen=first["b"].serial)
    told = await other.notices(seen.serial)
    assert (told.serial, told.changed) == (changed.serial, {"b": changed})
    told = await other.notices(told.serial)
    assert (told.serial, told.changed) == (changed.serial, {})
    assert (await other.notices(first["a"].serial)).changed == {"b": changed, "c": first["c"]}


async def test_a_number_above_all_that_were_given_out_is_answered_with_a_lower_one(stores: Stores) -> None:
    last = await up(stores[0], "a", b"1")
    told = await stores[1].notices(last.serial + 10)
    assert (told.serial, told.changed) == (last.serial, {})


KEYS = ["", "a:b", "ünïcödé 🌍", 'it\'s "quoted"', "a\nb\r\n\u0000c", "%s ? * [x] {tollhouse}", "k" * 5_000, "0", "1e3"]
TEXTS = [
    b"",
    b"0",
    '{"ü": "🌍 \\""}'.encode(),
    b"\r\n*1\r\n$-1\r\n",
    bytes(range(256)),
    b"x" * 100_000,
    b"'; --",
    b"1e3",
]


async def test_keys_and_texts_of_all_sorts_come_back_as_they_were(stores: Stores) -> None:
    one, other = stores
    pinned = dict[str, Notice]()
    for number, key in enumerate(KEYS):
        for text in [*TEXTS[number:], *TEXTS[:number]]:
            pinned[key] = await up(one, key, text, seen=pinned.get(key, NOBODY).serial, ring=True)
            assert await late(other, key) == pinned[key]
    assert (await other.notices(0)).changed == pinned


async def test_a_key_that_is_no_text_is_a_store_error(stores: Stores) -> None:
    with pytest.raises(StoreError):
        await up(stores[0], "\ud800", b"1")
    assert (await stores[1].notices(0)).changed == {}


async def test_no_change_is_lost_though_many_change_the_same(stores: Stores) -> None:
    async with asyncio.timeout(GENEROUS):
        await asyncio.gather(*(count(store, key, 5) for key in "ab" for store in stores for _ in range(5)))
    assert {key: notice.text for key, notice in (await stores[0].notices(0)).changed.items()} == {
        "a": b"50",
        "b": b"50",
    }


async def test_whoever_asks_again_and_again_overlooks_nothing(stores: Stores) -> None:
    one, other = stores
    done = asyncio.Event()
    pinned: dict[str, Notice] = {}

    async def pin(store: Store, key: str) -> None:
        for number in range(20):
            pinned[key] = await up(store, key, b"%d" % number, seen=pinned.get(key, NOBODY).serial)

    async def read(store: Store) -> dict[str, Notice]:
        seen, since, at, last = dict[str, Notice](), 0, 0, False
        while not last:
            last = done.is_set()
            told = await store.notices(since)
            assert told.serial == max((since, *(notice.serial for notice in told.changed.values())))
            assert all(notice.serial > since for notice in told.changed.values())
            assert told.at >= at
            seen, since, at = {**seen, **told.changed}, told.serial, told.at
        return seen

    async with asyncio.timeout(GENEROUS), asyncio.TaskGroup() as group:
        readers = [group.create_task(read(store)) for store in (one, other)]
        await asyncio.gather(
            *(pin(store, f"{name}{n}") for name, store in zip("ab", stores, strict=True) for n in "123")
        )
        done.set()
    assert [reader.result() for reader in readers] == [pinned, pinned]
    serials = [notice.serial for notice in pinned.values()]
    assert len({*serials}) == len(serials) == 6


async def test_who_waits_for_the_bell_of_a_store_that_is_closed_hears_of_it(stores: Stores) -> None:
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(outcome(ring_after_ring(stores[0]))) for _ in range(3)]
        await stores[0].notices(0)
        await stores[0].close()
    assert [wait.result() for wait in waits] == ["the store is closed"] * 3
    assert await outcome(stores[0].bell()) == "the store is closed"


async def test_a_store_whose_bell_nobody_waited_for_is_closed_and_says_so(stores: Stores) -> None:
    before = asyncio.all_tasks()
    await stores[1].close()
    assert await outcome(stores[1].bell()) == "the store is closed"
    assert asyncio.all_tasks() <= before, "nothing begins anew"


async def ring_after_ring(store: Store) -> None:
    while True:
        await store.bell()


# The file --------------------------------------------------------------------------------------------------------


class Hand:
    """A clock that goes when it is told."""

    def __init__(self, now: float = 1_795_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def in_file(path: Path, wall: Hand) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path / "store.db", wall=wall)
    await store.open()
    yield store
    await store.close()


async def test_numbers_are_the_clock_in_microseconds_and_grow_though_it_stands_or_goes_back(tmp_path: Path) -> None:
    async with in_file(tmp_path, wall := Hand()) as store:
        start = int(wall.now) * 10**6
        assert (await up(store, "a")).serial == start
        assert (await up(store, "b")).serial == start + 1
        wall.now -= 3600
        assert (await up(store, "c")).serial == start + 2
        told = await store.notices(start)
        assert (told.at, list(told.changed)) == ((int(wall.now)) * 1000, ["b", "c"])
        wall.now += 7200
        assert (await up(store, "d")).serial == start + 3600 * 10**6


async def test_a_notice_in_a_file_that_nobody_changed_for_a_month_is_taken_down(tmp_path: Path) -> None:
    async with in_file(tmp_path, wall := Hand()) as store:
        for key in [*"abcdefghijkl"]:
            await up(store, key)
        wall.now += OLD_NOTICE_SECONDS - 1
        kept = await up(store, "kept")
        assert len((await store.notices(0)).changed) == 13
        wall.now += 2
        kept = await up(store, "kept", seen=kept.serial)
        assert [*(await store.notices(0)).changed] == ["k", "l", "kept"], "ten at a time, the oldest first"
        assert await late(store, "a", seen=5) == NOBODY
        wall.now += OLD_NOTICE_SECONDS
        assert (await up(store, "kept", seen=kept.serial)).serial > kept.serial, "what one changes is not old"
        assert [*(await store.notices(0)).changed] == ["kept"]


async def test_a_notice_in_a_file_that_is_to_be_kept_is_put_up_anew_when_it_is_old(tmp_path: Path) -> None:
    async with in_file(tmp_path, wall := Hand()) as store:
        kept = {f"{KEPT}{n}": await up(store, f"{KEPT}{n}", b"%d" % n) for n in range(12)}
        await up(store, "a")
        await up(store, KEPT[:-1])
        wall.now += OLD_NOTICE_SECONDS + 1
        first = await up(store, "b", seen=0)
        told = await store.notices(0)
        anew = {key: told.changed[key] for key in [*kept][:10]}
        assert [notice.serial for notice in anew.values()] == [*range(first.serial + 1, first.serial + 11)]
        assert {key: notice.text for key, notice in told.changed.items() if key in kept} == {
            key: notice.text for key, notice in kept.items()
        }
        assert (await store.notices(first.serial)).changed == anew, "whoever looks hears of them again"
        last = await up(store, "c")
        assert last.serial == told.serial + 1
        assert (await store.notices(0)).changed.keys() == {*kept, "b", "c"}, "the others are taken down"
        assert await late(store, f"{KEPT}0", seen=kept[f"{KEPT}0"].serial) == anew[f"{KEPT}0"]
        changed = await up(store, f"{KEPT}0", b"new", seen=anew[f"{KEPT}0"].serial)
        assert (await store.notices(last.serial + 2)).changed == {f"{KEPT}0": changed}


async def test_a_file_has_no_bell(tmp_path: Path) -> None:
    async with in_file(tmp_path, Hand()) as store:
        waits = asyncio.create_task(store.bell())
        await up(store, "a", b"1", ring=True)
        assert not waits.done()
        waits.cancel()
        await asyncio.wait([waits])


async def test_a_file_without_a_board_gets_one(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "store.db") as file:
        file.execute("CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL, expires INTEGER NOT NULL)")
    file.close()
    async with in_file(tmp_path, Hand()) as store:
        pinned = await up(store, "a", b"1")
    async with in_file(tmp_path, Hand(1.0)) as store:
        assert (await store.notices(0)).changed == {"a": pinned}


async def test_a_file_that_is_not_open_or_is_locked_by_somebody_is_a_store_error(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    assert await outcome(store.notices(0)) == await outcome(up(store, "a")) == "the store is not open"
    await store.open()
    lock = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    assert "locked" in str(await outcome(up(store, "a")))
    assert (await store.notices(0)).serial == 0, "who only reads does not wait for who writes"
    lock.execute("ROLLBACK")
    lock.close()
    assert await outcome(up(store, "a")) is None
    await store.close()


async def test_between_the_look_and_the_change_nobody_else_changes_a_file(tmp_path: Path) -> None:
    said: list[str] = []

    def come_between(statement: str) -> None:
        if statement.startswith("INSERT"):
            with sqlite3.connect(tmp_path / "store.db", timeout=0) as other:
                try:
                    other.execute("UPDATE board SET text = CAST('other' AS BLOB)")
                except sqlite3.OperationalError as error:
                    said.append(str(error))
            other.close()

    async with in_file(tmp_path, Hand()) as store:
        first = await up(store, "a", b"1")
        await store._run(lambda: store._file().set_trace_callback(come_between))
        await up(store, "a", b"2", seen=first.serial)
    assert said == ["database is locked"]


COUNTER = """
import asyncio, pathlib, sys
from proxy.store.sqlite import SqliteStore
from tests.proxy.store.pinning import count

async def main(path):
    store = SqliteStore(pathlib.Path(path))
    await store.open()
    await count(store, "a", 40)
    await store.close()

asyncio.run(main(sys.argv[1]))
"""


def counted(path: Path) -> list[int]:
    """How two processes ended that counted at the same time."""
    counters = [subprocess.Popen([sys.executable, "-c", COUNTER, str(path)]) for _ in range(2)]
    return [counter.wait(GENEROUS) for counter in counters]


async def test_processes_on_one_file_lose_no_change(tmp_path: Path) -> None:
    assert counted(tmp_path / "store.db") == [0, 0]
    async with in_file(tmp_path, Hand()) as store:
        told = await store.notices(0)
    assert {key: notice.text for key, notice in told.changed.items()} == {"a": b"80"}
