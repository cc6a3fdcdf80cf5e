"""One contract, two stores: what a caller says of a request stands on its last row, as long as the row does."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.feedback import LONGEST_COMMENT, Feedback
from proxy.ledger import Entry
from proxy.store import PAGE, Hold, Lost, Settlement, Store, StoreError
from proxy.store.redis import RedisStore
from proxy.store.sqlite import SqliteStore
from tests.proxy.store.conftest import in_redis
from tests.proxy.store.replica import emptied
from tests.redis_server import RedisServer

Stores = tuple[Store, Store]
DAY = 86_400_000


def row(id: str = "req_1/1", **more: Any) -> Entry:
    return Entry(
        **{"id": id, "request": id.rpartition("/")[0], "provider": "openai", "model": "gpt", "key": "k", **more}
    )


def said(request: str = "req_1", score: float = -0.5, comment: str = "", **more: Any) -> Feedback:
    return Feedback(**{"request": request, "key": "k", "score": score, "comment": comment, **more})


async def settle(store: Store, *rows: Entry) -> None:
    await store.settle([Settlement(row) for row in rows])


async def ledger(store: Store) -> list[Entry]:
    return [row async for page in store.rows(0, 2**52) for row in page]


async def opinions(store: Store) -> dict[str, tuple[float | None, str]]:
    return {row.id: (row.score, row.comment) for row in await ledger(store)}


async def test_what_is_said_at_one_replica_the_other_tells_with_the_row(stores: Stores) -> None:
    one, other = stores
    at = await one.now()
    await settle(one, row(at=at, cost=3), row("req_2/1", at=at))
    assert await other.judge(said(comment="it was wrong, 'twice' 🌍\n"))
    assert await ledger(one) == [
        row(at=at, cost=3, score=-0.5, comment="it was wrong, 'twice' 🌍\n"),
        row("req_2/1", at=at),
    ]


async def test_the_later_word_takes_the_place_of_the_one_before(stores: Stores) -> None:
    one, other = stores
    await settle(one, row())
    assert await one.judge(said(score=-1, comment="no", at=2**41))
    assert await other.judge(said(score=1))
    assert await opinions(one) == {"req_1/1": (1.0, "")}


IDS: list[tuple[str, list[str], str]] = [
    ("the first attempt", ["req_1/1"], "req_1/1"),
    ("the last of two", ["req_1/1", "req_1/2"], "req_1/2"),
    ("of which only the last has a row", ["req_1/3"], "req_1/3"),
    ("after very many that were refused the money", ["req_1/100"], "req_1/100"),
    ("that was not held", ["req_1/1u"], "req_1/1u"),
    ("that was not held at the second attempt", ["req_1/2u"], "req_1/2u"),
    ("that ended without an answer", ["req_1/1", "req_1/end"], "req_1/end"),
    ("of which only the end has a row", ["req_1/end"], "req_1/end"),
]


@pytest.mark.parametrize(("ids", "last"), [case[1:] for case in IDS], ids=[case[0] for case in IDS])
async def test_a_request_is_found_by_its_id_and_its_last_row_has_what_was_said(
    ids: list[str], last: str, stores: Stores
) -> None:
    at = await stores[0].now()
    others = [row(f"{request}/1", at=at) for request in ("req_", "req_10", "req_1/1", "req_1a", "req_0")]
    await settle(stores[0], *others, *(row(id, at=at, last=id == last) for id in ids))
    assert await stores[1].judge(said())
    assert {id for id, (score, _) in (await opinions(stores[1])).items() if score is not None} == {last}


async def test_what_is_said_before_the_last_row_is_there_stands_on_it_when_it_is(stores: Stores) -> None:
    one, other = stores
    at = await one.now()
    await settle(one, row("req_1/1", at=at, last=False))
    assert await one.judge(said())
    await settle(other, row("req_1/2", at=at + 1))
    assert await opinions(other) == {"req_1/1": (None, ""), "req_1/2": (-0.5, "")}


async def test_what_was_said_of_an_orphan_stands_on_the_row_that_takes_its_place(stores: Stores) -> None:
    one, other = stores
    at = await one.now()
    await settle(one, row(at=at, orphan=True, cost=9))
    assert await one.judge(said())
    await settle(other, row(at=at - 3_600_000, cost=1))
    assert await ledger(one) == [row(at=at - 3_600_000, cost=1, score=-0.5)]
    assert await other.judge(said(score=1))


NOBODYS: list[tuple[str, Feedback]] = [
    ("a request that nobody made", said("req_9")),
    ("the beginning of an id", said("req")),
    ("a row that looks as if", said("req_8")),
    ("an attempt", said("req_1/1")),
    ("nothing", said("")),
    ("a slash", said("/")),
    ("what could be a pattern", said("req_*")),
    ("what could be a query", said("' OR 1=1 --")),
    ("another key's", said(key="other")),
    ("nobody's key", said(key="")),
]


@pytest.mark.parametrize("feedback", [case[1] for case in NOBODYS], ids=[case[0] for case in NOBODYS])
async def test_of_what_is_not_the_callers_own_nothing_is_kept(feedback: Feedback, stores: Stores) -> None:
    at = await stores[0].now()
    await settle(stores[0], row(at=at), row("req_8/1", at=at, request="req_7"))
    assert not await stores[1].judge(feedback)
    assert await opinions(stores[0]) == {"req_1/1": (None, ""), "req_8/1": (None, "")}


async def test_what_nobody_needs_a_key_for_anybody_may_judge(stores: Stores) -> None:
    await settle(stores[0], row(key=""))
    assert not await stores[1].judge(said())
    assert await stores[1].judge(said(key=""))


async def test_a_request_whose_money_is_only_held_is_not_over(stores: Stores) -> None:
    await stores[0].recover(_nothing(), [Hold(row(at=await stores[0].now()), 5)])
    assert not await stores[1].judge(said())


async def _nothing() -> AsyncIterator[list[Settlement]]:
    yield []


NAMES = ["o'hara \"; DROP TABLE feedback;--", "a\0b", "ü 🌍 \u2028", "%s {0} * | = :", "\\u0000", "[1]"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_any_word_is_only_a_word(name: str, stores: Stores) -> None:
    await settle(stores[0], row(f"{name}/1", key=name))
    comment = (name * LONGEST_COMMENT)[:LONGEST_COMMENT]
    assert await stores[1].judge(said(name, 0.1, comment, key=name))
    assert await opinions(stores[0]) == {f"{name}/1": (0.1, comment)}


@pytest.mark.parametrize("score", [-1.0, 1.0, 0.0, 0.1, -1 / 3, 1e-9, 5e-324])
async def test_a_score_comes_back_to_the_last_digit(score: float, stores: Stores) -> None:
    await settle(stores[0], row())
    await stores[0].judge(said(score=score))
    assert await opinions(stores[1]) == {"req_1/1": (score, "")}


async def test_no_row_is_written_with_what_was_said_of_it(stores: Stores) -> None:
    """Who reads rows and hands them on, hands on no opinion of long ago."""
    one, other = stores
    at = await one.now()
    await settle(one, row(at=at, score=1.0, comment="of long ago"))
    await one.recover(_nothing(), [Hold(row("req_2/1", at=at, score=1.0, comment="of long ago"), 5)])
    await settle(other, row("req_2/1", cost=0))
    assert await opinions(other) == {"req_1/1": (None, ""), "req_2/1": (None, "")}


async def test_of_many_pages_each_row_has_its_own(stores: Stores) -> None:
    at = await stores[0].now()
    rows = [row(f"r{n:04}/1", at=at) for n in range(PAGE + 20)]
    for start in range(0, len(rows), 100):
        await settle(stores[0], *rows[start : start + 100])
    judged = {f"r{n:04}": n / 1_000 for n in (0, 1, PAGE - 1, PAGE, PAGE + 19)}
    for request, score in judged.items():
        assert await stores[1].judge(said(request, score))
    found = await ledger(stores[0])
    assert [msgspec.structs.replace(entry, score=None) for entry in found] == rows
    assert {entry.request: entry.score for entry in found if entry.score is not None} == judged


async def test_what_was_said_is_forgotten_with_its_row_and_not_before(stores: Stores) -> None:
    one, other = stores
    now = await one.now()
    ages = {"old": 40, "young": 20}
    for id, days in ages.items():
        await settle(one, row(f"{id}/1", at=now - days * DAY))
        assert await other.judge(said(id, at=now - days * DAY + 1_000))
    await one.prune(30)
    assert await opinions(one) == {"young/1": (-0.5, "")}
    assert await kept(one) == {"young"}
    assert not await one.judge(said("old"))
    await one.prune(10)
    assert await kept(other) == set()


async def test_what_was_said_lives_as_long_as_its_row_whatever_the_clock_of_whoever_heard_it(stores: Stores) -> None:
    now = await stores[0].now()
    await settle(stores[0], row(at=now - 20 * DAY))
    assert await stores[0].judge(said(at=5))
    await stores[1].prune(30)
    assert await opinions(stores[1]) == {"req_1/1": (-0.5, "")}


async def kept(store: Any) -> set[str]:
    """The requests of which something is kept."""
    if isinstance(store, SqliteStore):
        return {
            id for (id,) in await store._run(lambda: store._file().execute("SELECT request FROM feedback").fetchall())
        }
    judged = set(await store._redis.zrange("{tollhouse}:judged", 0, -1))
    assert judged == set(await store._redis.hkeys("{tollhouse}:feedback"))
    return judged


# The file --------------------------------------------------------------------------------------------------------


async def test_in_a_file_no_row_is_read_but_those_of_the_request(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    await settle(store, row())
    asked: list[str] = []
    await store._run(lambda: store._file().set_trace_callback(asked.append))
    await store.judge(said())
    (query,) = [statement for statement in asked if "FROM ledger" in statement]
    plan = await store._run(lambda: store._file().execute(f"EXPLAIN QUERY PLAN {query}").fetchall())
    assert [step[-1] for step in plan] == ["SEARCH ledger USING INDEX sqlite_autoindex_ledger_1 (id>? AND id<?)"]
    await store.close()


# Redis -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def raw(server: RedisServer) -> AsyncIterator[Any]:
    """Redis itself, empty."""
    async with emptied(server.url) as redis:
        yield redis


@pytest.fixture
async def store(server: RedisServer, raw: Any) -> AsyncIterator[RedisStore]:
    one, other = in_redis(server.url)
    await one.recover(_nothing(), [])
    yield one
    await one.close()
    await other.close()


async def test_a_redis_that_forgot_is_not_taken_for_one_that_never_knew(store: RedisStore, raw: Any) -> None:
    await settle(store, row())
    await raw.flushall()
    with pytest.raises(Lost):
        await store.judge(said())
    assert await raw.keys("*") == []


async def test_in_redis_what_was_said_lives_as_long_as_the_hour_of_its_row(store: RedisStore) -> None:
    """Rows go by the hour: some live on for most of one."""
    at = await store.now() - 30 * DAY - 1
    await settle(store, row(at=at))
    await store.judge(said(at=at))
    await store.prune(30)
    assert await opinions(store) == {"req_1/1": (-0.5, "")} or await store.now() % 3_600_000 < 60_000


async def test_in_redis_what_was_said_is_forgotten_some_day_though_nobody_prunes(store: RedisStore, raw: Any) -> None:
    await settle(store, row(), row("req_2/1"))
    await store.judge(said("req_2"))
    now = await store.now()
    old = {f"old{n}": now - 400 * DAY - 1_000 - n for n in range(12)}
    await raw.zadd("{tollhouse}:judged", {**old, "young": now - 399 * DAY})
    await raw.hset("{tollhouse}:feedback", mapping=dict.fromkeys([*old, "young"], "[1]"))
    await store.judge(said("req_1"))
    assert await kept(store) == {"old0", "old1", "young", "req_1", "req_2"}, "ten at a time, the oldest first"


async def test_more_than_a_page_of_what_was_said_is_forgotten_at_once(store: RedisStore, raw: Any) -> None:
    await raw.zadd("{tollhouse}:judged", {f"r{n}": n for n in range(PAGE + 9)})
    await raw.hset("{tollhouse}:feedback", mapping={f"r{n}": "[1]" for n in range(PAGE + 9)})
    await store.prune(30)
    assert await kept(store) == set()


async def test_a_redis_that_is_away_is_a_store_error() -> None:
    store = RedisStore("redis://127.0.0.1:1/0")
    for act in (store.judge(said()), store.judge(said(key="\ud800"))):
        with pytest.raises(StoreError):
            await act
    await store.close()
