"""The books over a store that is away, slow, forgetful or back: no row is lost, none counts twice, no hold stays."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from proxy import books as room
from proxy.budget import Refused
from proxy.ledger import Counter
from proxy.store import Hold, StoreError, breaker
from tests.proxy.accounts import GENEROUS, OUTAGE, House, Moody, ask, held, row, until

NEVER = 3_600.0  # seconds between two beats, where none is to come


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(room, "_BEAT_SECONDS", 0.005)  # nobody waits for a second here
    return House(tmp_path)


@pytest.fixture
def unbeaten(monkeypatch: pytest.MonkeyPatch, house: House) -> None:
    monkeypatch.setattr(room, "_BEAT_SECONDS", NEVER)


def events(logs: Any, *names: str) -> list[str]:
    return [line["event"] for line in logs if line["event"] in names]


async def test_a_row_is_in_the_journal_before_the_store_hears_of_it(house):
    store, seen = house.moody(), []
    store.shut["settle"] = asyncio.Event()
    async with house.opened(store) as books:
        books.book(row())
        asyncio.get_running_loop().call_soon(lambda: seen.append(house.written()))
        assert "settle" not in store.asked
        await until(lambda: "settle" in store.asked)
        assert b'"r/1"' in seen[0], "before the next turn of the event loop is begun"
        assert await house.rows() == {}
        store.shut["settle"].set()
        await until(lambda: not books._waiting)
    assert set(await house.rows()) == {"r/1"}


class Auditor(Moody):
    """Looks into the journal whenever it is told of rows."""

    house: Any = None
    unwritten: tuple[str, ...] = ()

    async def settle(self, settlements: Any) -> Any:
        ids, written = [settlement.entry.id for settlement in settlements], self.house.written()
        self.unwritten += tuple(id for id in ids if b'"%b"' % id.encode() not in written)
        alerts = await super().settle(settlements)
        if settlements[0].entry.id == "r1/1":  # the next batch is booked in the turn in which it is taken
            self.house.books_now.book(row("r3/1"))
        return alerts


async def test_no_row_comes_to_the_store_that_is_not_in_the_journal_and_the_last_are_written_at_the_end(house):
    store = Auditor(house.directory / "tollhouse.db", house.wall)
    store.house = house
    async with house.opened(store) as books:
        house.books_now = books
        books.book(row("r1/1"))
        books.book(row("r2/1"))
        await until(lambda: store.told["r3/1"])
        assert (dict(store.told), store.unwritten) == ({"r1/1": 1, "r2/1": 1, "r3/1": 1}, ())
        books._breaker.failures = breaker._AFTER  # so that the end does not wait for the store
        books._scribe._soon = lambda act: None  # and has no turn left
        books.book(row("r4/1"))
    assert "r4/1" in {row.id for row in house.journal().open().undelivered}


async def test_attempts_whose_money_comes_at_once_are_on_the_disk_before_any_goes_on(house):
    seen: list[int] = []

    async def ask_and_look(id: str) -> None:
        await held(books, id)
        seen.append(house.written().count(b" b {"))

    async with house.opened(house.moody()) as books:
        await asyncio.gather(*(ask_and_look(f"r{i}/1") for i in range(8)))
        begun = books._scribe.journal._logs[-1].begun
        assert (len(begun), len(seen)) == (8, 8)
        assert all(number > at for at, number in enumerate(seen)), "whoever goes on is written down"
        assert len(set(begun.values())) < 8, "several with one write"


async def test_who_leaves_in_the_moment_in_which_its_money_is_held_gives_it_back(house):
    class Late(Moody):
        async def hold(self, ask: Any) -> Any:
            answer = await super().hold(ask)
            asyncio.get_running_loop().call_soon(asking.cancel)
            return answer

    async with house.opened(Late(house.directory / "tollhouse.db", house.wall)) as books:
        asking = asyncio.create_task(books.hold(ask()))
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: not books._waiting)
        assert (await house.counter(), books._holds) == (Counter(), {})
        gone = (await house.rows())["r/1"]
        assert (gone.cost, gone.held, gone.status, gone.last) == (0, 0, 499, False)
        assert books._scribe.journal._logs[-1].begun == {}


async def test_each_row_is_delivered_exactly_once_however_many_come_at_once(house):
    store = house.moody()
    async with house.opened(store) as books:
        for i in range(300):
            books.book(row(f"r{i}/1"))
            if i % 50 == 0:
                await asyncio.sleep(0)
    assert dict(store.told) == {f"r{i}/1": 1 for i in range(300)}
    assert (await house.counter()).spent == 1500


async def test_what_was_held_is_given_back_by_its_row_and_nothing_is_left_of_it(house, monkeypatch):
    async with house.opened(house.moody()) as books:
        ours = await held(books)
        assert b" b {" in house.written(), "if we die, the next process knows of it even where the store does not"
        monkeypatch.setattr(room, "_STORE_SECONDS", NEVER)  # not by the end of its patience
        assert (await house.counter()).held == 100
        books.book(msgspec.structs.replace(ours, cost=70))
        async with asyncio.timeout(GENEROUS):
            await books.returned("r/1")
        assert await house.counter() == Counter(spent=70)
        assert (books._holds, books._waiting, books._watched) == ({}, {}, {})


async def test_a_store_that_is_away_at_the_start_has_all_rows_when_it_comes(house):
    store = house.moody()
    store.failing["open"] = OUTAGE
    with capture_logs() as logs:
        async with house.opened(store) as books:
            books.book(row("r1/1"))
            with pytest.raises(StoreError):
                await books.hold(ask())
            beaten = len(store.asked) + 5
            await until(lambda: len(store.asked) > beaten)
            assert events(logs, "store away", "store back") == ["store away"]
            del store.failing["open"]
            books.book(row("r2/1"))
            await until(lambda: not books._waiting)
            beaten = len(store.asked) + 5
            await until(lambda: len(store.asked) > beaten)
    assert set(await house.rows()) == {"r1/1", "r2/1"}
    assert events(logs, "store away", "store back") == ["store away", "store back"]


@pytest.mark.usefixtures("unbeaten")
async def test_after_three_failures_nobody_asks_the_store_for_a_second_and_then_one_does(house):
    store = house.moody()
    store.failing["hold"], store.shut["settle"] = OUTAGE, asyncio.Event()

    async def asks(*ids: str) -> int:
        before = len([verb for verb in store.asked if verb == "hold"])
        answers = await asyncio.gather(*(books.hold(ask(id)) for id in ids), return_exceptions=True)
        assert all(isinstance(answer, StoreError) for answer in answers)
        return len([verb for verb in store.asked if verb == "hold"]) - before

    async with house.opened(store) as books:
        assert [await asks(f"r{i}/1") for i in range(5)] == [1, 1, 1, 0, 0]
        house.clock.now += 0.99
        assert await asks("late/1") == 0
        house.clock.now += 0.02
        asked = len(store.asked)
        store.shut["hold"] = asyncio.Event()
        many = asyncio.create_task(asks("a/1", "b/1", "c/1"))
        await until(lambda: len(store.asked) > asked)
        store.shut.pop("hold").set()
        assert await many == 1, "one asks for all: a silent store costs each who asks a while"
        house.clock.now += 1.01
        store.failing.clear()
        assert isinstance(await books.hold(ask("back/1")), Hold)
        assert isinstance(await books.hold(ask("on/1")), Hold)
        store.shut["settle"].set()


@pytest.mark.parametrize(("leaves", "status"), [(False, 503), (True, 499)], ids=["timed out", "client left"])
@pytest.mark.parametrize("verb", ["mute", "failing"])
async def test_a_hold_that_nobody_heard_of_is_given_back_and_a_late_one_is_refused(house, leaves, status, verb):
    store = house.moody()
    if verb == "mute":
        store.mute.add("hold")  # the money is taken, the answer is lost
    elif leaves:
        store.shut["hold"] = asyncio.Event()
    else:
        store.failing["hold"] = OUTAGE
    async with house.opened(store) as books:
        asking = asyncio.create_task(books.hold(ask()))
        await until(lambda: "hold" in store.asked)
        if leaves:
            asking.cancel()
        with pytest.raises(asyncio.CancelledError if leaves else StoreError):
            await asking
        await until(lambda: store.told["r/1"])
        await until(lambda: not books._waiting)
        assert await house.counter() == Counter()
        gone = (await house.rows())["r/1"]
        assert (gone.cost, gone.status, gone.last, gone.held) == (0, status, False, 0)
        assert books._holds == {}
        with pytest.raises(StoreError, match="settled already"):
            await Moody.__mro__[1].hold(store, ask())  # type: ignore[attr-defined]  # the real store's: it comes late


async def test_a_hold_that_waits_for_a_locked_file_does_not_stay(house):
    store = house.moody()
    async with house.opened(store) as books:
        other = sqlite3.connect(house.directory / "tollhouse.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError):
            await books.hold(ask())
        other.execute("ROLLBACK")
        other.close()
        await until(lambda: not books._waiting)
        assert (await house.counter(), set(await house.rows())) == (Counter(), {"r/1"})
        assert isinstance(await books.hold(ask("r/2")), Hold)


async def test_a_row_that_no_store_can_take_does_not_hold_up_the_others(house):
    bad = row("bad/1", cost=2**63)  # more than SQLite's integers
    async with house.opened(house.moody()) as books:
        books.book(bad)
        for i in range(20):
            books.book(row(f"r{i}/1"))
        await until(lambda: list(books._waiting) == ["bad/1"])
        assert len(await house.rows()) == 20
        assert isinstance(await books.hold(ask()), Hold)
    async with house.opened(house.moody()) as books:
        assert "bad/1" in books._waiting, "the journal still has it"


async def test_what_nobody_thought_of_stops_neither_the_rows_nor_the_beat(house):
    store = house.moody()
    store.failing = {verb: KeyError("a bug") for verb in ("settle", "expired")}
    async with house.opened(store) as books:
        books.book(row())
        await until(lambda: "settle" in store.asked and "expired" in store.asked)
        store.failing["hold"] = KeyError("a bug")
        with pytest.raises(StoreError):
            await books.hold(ask("r/2"))
        store.failing.clear()
        await until(lambda: not books._waiting)
        swept = store.asked.count("expired")
        await until(lambda: store.asked.count("expired") > swept)
    assert set(await house.rows()) == {"r/1", "r/2"}


async def test_holds_past_their_time_are_orphans_once_and_ours_are_none(house):
    store = house.moody()
    async with house.opened(store) as books:
        await Moody.__mro__[1].hold(store, ask("dead/1", seconds=1))  # type: ignore[attr-defined]  # mypy knows no order of bases; somebody else holds it
        ours = await held(books, "ours/1", seconds=1)
        house.wall.now += 2
        swept = store.asked.count("expired") + 3
        await until(lambda: store.asked.count("expired") >= swept)
        await until(lambda: not books._waiting)
        (orphan,) = (await house.rows()).values()
        assert (orphan.id, orphan.orphan, orphan.cost, orphan.held, orphan.code) == ("dead/1", True, 100, 100, "orphan")
        assert await house.counter() == Counter(spent=100, held=100)
        assert house.written().count(b'"dead/1"') == 1 + house.written().count(b'["dead/1"')  # checkpoints name it too
        books.book(msgspec.structs.replace(ours, cost=1))
        books.book(row("dead/1", at=orphan.at, cost=3))  # it was not dead
    assert await house.counter() == Counter(spent=4)


async def test_a_hold_that_was_given_up_is_no_orphan_however_long_the_store_was_away(house):
    store = house.moody()
    store.mute.add("hold")
    store.failing["settle"] = OUTAGE
    async with house.opened(store) as books:
        with pytest.raises(StoreError):
            await books.hold(ask(seconds=1))
        house.wall.now += 2
        swept = store.asked.count("expired") + 2
        with capture_logs() as logs:
            await until(lambda: store.asked.count("expired") >= swept)
        store.failing.clear()
        await until(lambda: not books._waiting)
    assert events(logs, "orphan") == []
    assert not (await house.rows())["r/1"].orphan
    assert await house.counter() == Counter()


async def test_every_tenth_beat_looks_for_orphans_and_every_sixtieth_forgets_what_is_old(house):
    store = house.moody()
    async with house.opened(store):
        await until(lambda: store.asked.count("prune") == 2)
    beats = [store.asked[:i].count("beat") - 1 for i, verb in enumerate(store.asked) if verb == "expired"]
    assert beats[:7] == [1, 11, 21, 31, 41, 51, 61]  # the one before the first is the beat of the start
    assert [store.asked[:i].count("beat") - 1 for i, verb in enumerate(store.asked) if verb == "prune"] == [1, 61]


async def test_who_leaves_while_it_waits_for_its_money_leaves_nothing_behind(house):
    store = house.moody()
    store.shut["settle"] = asyncio.Event()
    async with house.opened(store) as books:
        books.book(row())
        waiting = asyncio.create_task(books.returned("r/1"))
        await until(lambda: books._watched)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        await until(lambda: not books._watched)
        await books.returned("r/1")  # no longer than a moment, whatever the store does
        assert books._watched == {}
        store.shut["settle"].set()


async def test_an_alert_is_told_whether_a_row_or_a_refusal_set_it_off(house):
    with capture_logs() as logs:
        async with house.opened(house.moody()) as books:
            books.book(row(cost=950_000), (ask().limits))
            await until(lambda: not books._waiting)
            final = msgspec.structs.replace(ask("r/2", most=10**6), least=10**6)
            assert isinstance(await books.hold(final), Refused)
    assert [line["percent"] for line in logs if line["event"] == "budget alert"] == [90, 100]


async def test_a_true_row_that_comes_while_its_orphan_is_settled_is_settled_after_it(house):
    store = house.moody()
    store.shut["settle"] = asyncio.Event()
    async with house.opened(store) as books:
        books.book(row(cost=100, orphan=True))
        await until(lambda: "settle" in store.asked)
        books.book(row(cost=3))
        store.shut["settle"].set()
        await until(lambda: store.told["r/1"] == 2)
    assert await house.counter() == Counter(spent=3)


class Interrupted(Moody):
    """Fails once, and meanwhile another row is booked."""

    books: Any = None

    async def settle(self, settlements: Any) -> Any:
        if "settle" not in self.asked:
            asyncio.get_running_loop().call_soon(self.books.book, row("r2/1"))
            self.failing["settle"] = OUTAGE
        try:
            return await super().settle(settlements)
        finally:
            self.failing.clear()


@pytest.mark.usefixtures("unbeaten")
async def test_a_row_that_comes_while_a_failure_is_seen_to_does_not_wait_for_the_next_beat(house):
    store = Interrupted(house.directory / "tollhouse.db", house.wall)
    async with house.opened(store) as store.books:
        store.books.book(row("r1/1"))
        await until(lambda: store.told["r1/1"] and store.told["r2/1"])
