"""The books after a death: of a process, whose journal the next one takes over; of a store, which is told again."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from proxy import books as room
from proxy.books import Books
from proxy.journal import JournalError
from proxy.ledger import Counter, labels
from proxy.store import Hold, Lost, StoreError
from proxy.store.redis import RedisStore
from tests.proxy.accounts import GENEROUS, NOW, OUTAGE, House, ask, entry, held, row, until
from tests.redis_server import RedisServer, redis_server

NEVER = 3_600.0  # seconds between two beats, where none is to come


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(room, "_BEAT_SECONDS", 0.005)  # nobody waits for a second here
    return House(tmp_path)


@pytest.fixture
def unbeaten(monkeypatch: pytest.MonkeyPatch, house: House) -> None:
    monkeypatch.setattr(room, "_BEAT_SECONDS", NEVER)


async def test_an_attempt_that_began_in_a_process_that_died_is_an_orphan_at_its_bound(house):
    dead = house.journal()
    dead.open()
    dead.begin(row("r1/1", cost=70))
    dead.begin(row("r2/1", cost=None))
    dead.close()
    with capture_logs() as logs:
        async with house.opened(house.moody()):
            pass
    rows = await house.rows()
    assert {id: (row.cost, row.orphan, row.status) for id, row in rows.items()} == {
        "r1/1": (70, True, 500),
        "r2/1": (None, True, 500),
    }
    assert {"event": "journal taken over", "rows": 0, "orphans": 2, "log_level": "info"} in logs
    async with house.opened(house.moody()):
        pass
    assert await house.counter() == Counter(spent=70)


async def test_what_the_store_would_not_take_before_the_end_it_gets_from_the_next_process(house):
    store = house.moody()
    store.failing["settle"] = OUTAGE
    async with house.opened(store) as books:
        for i in range(3):
            books.book(row(f"r{i}/1", at=int(NOW - 86_400 * i) * 1000))
    assert await house.rows() == {}
    async with house.opened(house.moody()):
        pass
    assert set(await house.rows()) == {f"r{i}/1" for i in range(3)}


@pytest.mark.usefixtures("unbeaten")
@pytest.mark.parametrize("total", [0.0, 599_000.0], ids=["a short one", "one that took ten minutes"])
async def test_a_restart_settles_the_latest_rows_again_and_counts_none_twice(house, total):
    """SQLite does not sync each commit: a power cut takes the last ones, and only the journal has them."""
    at = int(NOW * 1000 - total)
    async with house.opened(house.moody()) as books:
        books.book(row(at=at, total=total))
        books.book(row("old/1", at=at - 1_300_000))
    again = house.moody()
    async with house.opened(again) as books:
        await until(lambda: not books._waiting)
    assert dict(again.told) == {"r/1": 1}
    assert (await house.counter()).spent == 10
    for file in house.directory.glob("tollhouse.db*"):
        file.unlink()
    async with house.opened(house.moody()):
        pass
    assert set(await house.rows()) == {"r/1"}


async def test_a_true_row_is_not_forgotten_for_the_orphan_of_another_process(house):
    for number, last in enumerate([row(cost=3), row(cost=100, orphan=True)]):
        journal = house.journal()
        journal.open()
        journal.append(last)
        if number:
            journal.delivered(["r/1"])
        journal.close()
    async with house.opened(house.moody()):
        pass
    assert not (await house.rows())["r/1"].orphan


async def test_a_budget_without_a_journal_is_refused_and_without_one_it_goes_on(house):
    (house.directory / "journal").write_text("no directory")
    with pytest.raises(JournalError):
        await house.books(house.moody()).open()
    with capture_logs() as logs:
        async with house.opened(house.moody(), budgets=()) as books:
            books.begin(entry())
            books.book(row())
    assert [line["event"] for line in logs if line["event"].startswith("journal")] == ["journal off"]
    assert set(await house.rows()) == {"r/1"}


@pytest.mark.usefixtures("unbeaten")
async def test_many_who_hear_that_the_store_forgot_are_one_recovery(house):
    store = house.moody()
    async with house.opened(store) as books:
        store.failing["hold"] = Lost("as if it came back empty")
        store.shut["recover"] = asyncio.Event()
        for number in range(3):
            with pytest.raises(Lost):
                await books.hold(ask(f"r{number}/1"))
            await until(lambda: "recover" in store.asked)
        store.shut["recover"].set()
        await until(lambda: not books._lost.is_set() and "hold" not in store.failing)
        assert isinstance(await books.hold(ask()), Hold)
        assert not books._lost.is_set()
    assert store.asked.count("recover") == 1


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
async def raw(server: RedisServer) -> AsyncIterator[Any]:
    """Redis itself, empty."""
    async with Redis.from_url(server.url, decode_responses=True) as redis:
        await redis.flushall()
        yield redis


def in_redis(server: RedisServer) -> RedisStore:
    """A store that need not wait for others in a recovery."""
    return RedisStore(server.url, replica="ours", quiet=0, pause=0.005, timeout=GENEROUS)


async def today(books: Books) -> Counter:
    label, _ = labels(await books.store.now())
    return (await books.store.counters(label)).get("all", Counter())


async def by_a_hold(books: Books) -> None:
    with pytest.raises(Lost):
        await books.hold(ask("r9/1"))


async def by_a_row(books: Books) -> None:
    books.book(row("r9/1", at=int(books._wall() * 1000), cost=0))


async def by_the_beat(books: Books) -> None:
    """The beat that follows hears of it first."""


@pytest.mark.parametrize("heard", [by_a_hold, by_a_row, by_the_beat])
async def test_a_store_that_forgot_is_told_all_rows_and_all_open_holds_whoever_hears_of_it(
    house, server, raw, monkeypatch, heard
):
    if heard is not by_the_beat:
        monkeypatch.setattr(room, "_BEAT_SECONDS", NEVER)
    async with house.opened(in_redis(server)) as books:
        house.wall.now = await books.store.now() / 1000
        ours, settled = await held(books, "r1/1"), await held(books, "r2/1", most=50)
        books.book(msgspec.structs.replace(settled, cost=30))
        await books.returned("r2/1")
        assert await today(books) == Counter(spent=30, held=100)
        with capture_logs() as logs:
            await raw.flushall()
            await heard(books)
            await until(lambda: any(line["event"] == "the store is whole again" for line in logs))
        assert await today(books) == Counter(spent=30, held=100)
        books.book(msgspec.structs.replace(ours, cost=60))
        await books.returned("r1/1")
        assert await today(books) == Counter(spent=90)
        assert isinstance(await books.hold(ask("r3/1")), Hold)
        assert set(books._holds) == {"r3/1"}


async def test_a_redis_that_dies_while_money_is_held_and_comes_back_empty_is_told_again(house, raw):
    with redis_server() as own:
        async with house.opened(in_redis(own)) as books:
            house.wall.now = await books.store.now() / 1000
            ours = await held(books, "r1/1")
            own.kill()
            with pytest.raises(StoreError):
                await books.hold(ask("r2/1"))
            books.book(row("r3/1", at=ours.at, cost=7))
            with capture_logs() as logs:
                own.start()
                await until(lambda: not books._waiting)
                await until(lambda: any(line["event"] == "store back" for line in logs))
            assert await today(books) == Counter(spent=7, held=100)
            assert (await books.store.recall(["none"]), set(books._holds)) == ({}, {"r1/1"})


async def test_rows_wait_for_a_redis_that_is_not_there_yet(house):
    with redis_server() as own:
        own.stop()
        with capture_logs() as logs:
            async with house.opened(in_redis(own)) as books:
                books.book(row("r1/1", cost=7))
                await until(lambda: any(line["event"] == "store away" for line in logs))
                own.start()
                await until(lambda: not books._waiting)
                await until(lambda: any(line["event"] == "store back" for line in logs))
                assert [r.id async for page in books.store.rows(0, 2**52) for r in page] == ["r1/1"]
    said = [line["event"] for line in logs if line["event"] in ("store away", "store back")]
    assert said == ["store away", "store back"]
