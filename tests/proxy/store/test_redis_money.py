"""The money in Redis, where Redis itself is the trouble: silent, slow, restarted, or asked by many at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from proxy.budget import MOST, Ask, Granted, Limit
from proxy.ledger import Counter, Entry, labels
from proxy.store import Settlement, StoreError
from proxy.store.redis import RedisStore
from proxy.store.redis_money import script
from tests.redis_server import RedisServer, redis_server

GENEROUS = 5  # seconds: for a hang to be told from an answer, not for measuring
DAILY = Limit("daily", "all", "day", 100)


@pytest.fixture
async def raw(server: RedisServer) -> AsyncIterator[Any]:
    """Redis itself, empty."""
    async with Redis.from_url(server.url, decode_responses=True) as redis:
        await redis.flushall()
        yield redis


@pytest.fixture
async def store(server: RedisServer, raw: Any) -> AsyncIterator[RedisStore]:
    async with begun(server.url) as store:
        yield store


async def handed(*pages: list[Settlement]) -> AsyncIterator[list[Settlement]]:
    for page in pages:
        yield page


@asynccontextmanager
async def begun(url: str, **more: Any) -> AsyncIterator[RedisStore]:
    """A store that may be used: of a Redis that was empty its first replica begins the epoch."""
    store = RedisStore(url, **{"quiet": 0, "pause": 0.005, "timeout": 2, **more})
    await store.recover(handed(), [])
    yield store
    await store.close()


def entry(id: str, **more: Any) -> Entry:
    return Entry(**{"id": id, "request": id, "provider": "openai", "model": "gpt", **more})


def ask(id: str, most: int = 10, *limits: Limit, **more: Any) -> Ask:
    return Ask(entry=entry(id, **more), limits=limits, least=0, most=most)


async def today(store: RedisStore) -> Counter:
    return (await store.counters(labels(await store.now())[0])).get("all", Counter())


async def test_a_redis_that_falls_silent_fails_all_who_wait_and_no_late_reply_is_taken_for_anothers() -> None:
    with redis_server() as server:
        async with begun(server.url, timeout=0.1) as store, asyncio.timeout(GENEROUS):
            server.pause()
            for _ in range(2):  # on the connection that was there, then on a new one that nobody accepts
                failed = await asyncio.gather(
                    *(store.hold(ask(f"p{n}", n)) for n in range(200)), return_exceptions=True
                )
                assert {(type(error), str(error)) for error in failed} == {(StoreError, "Redis: TimeoutError")}
            server.resume()
            answers = await asyncio.gather(*(store.hold(ask(f"r{n}", n)) for n in range(200)))
            assert [answer.amount for answer in answers if isinstance(answer, Granted)] == list(range(200))
            assert await store.expired() == []


async def test_a_redis_that_is_slow_is_as_good_as_away() -> None:
    with redis_server() as server:
        async with slow(server.port) as (port, late), begun(f"redis://127.0.0.1:{port}/0", timeout=0.1) as store:
            assert isinstance(await store.hold(ask("a")), Granted)
            late.set()
            async with asyncio.timeout(GENEROUS):
                for act in (store.hold(ask("b")), store.settle([Settlement(entry("a"))]), store.beat(), store.now()):
                    with pytest.raises(StoreError, match="TimeoutError"):
                        await act
            late.clear()
            assert isinstance(await store.hold(ask("c", 7)), Granted)


@asynccontextmanager
async def slow(port: int) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A way to that port on which, while the event is set, replies take 200 ms longer."""
    late = asyncio.Event()
    ways: list[asyncio.StreamWriter] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool) -> None:
        ways.append(writer)
        while data := await reader.read(65_536):
            if back and late.is_set():
                await asyncio.sleep(0.2)  # the delay is what is tested
            writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, back, back=False), carry(there, writer, back=True), return_exceptions=True)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], late
    server.close()
    for way in ways:
        way.close()
    await asyncio.gather(*(way.wait_closed() for way in ways), return_exceptions=True)


async def test_a_redis_that_keeps_a_file_forgets_nothing_when_it_is_killed() -> None:
    with redis_server({"appendonly": "yes", "appendfsync": "always"}) as server:
        async with begun(server.url) as store:
            await store.hold(ask("open", 30))
            await store.settle([Settlement(entry("done", cost=5))])
            server.kill()
            with pytest.raises(StoreError):
                await store.hold(ask("away"))
            server.start()
            await store.beat()
            assert isinstance(await store.hold(ask("after", 2)), Granted)
            assert await today(store) == Counter(spent=5, held=32)
            assert [row.id async for page in store.rows(0, 2**52) for row in page] == ["done"]


async def test_hundreds_of_calls_at_once_take_a_handful_of_connections(store: RedisStore, raw: Any) -> None:
    asked = [store.hold(ask(f"r{n}", n)) for n in range(500)]
    read = [store.now() for _ in range(200)]
    answers = await asyncio.gather(*asked, *read)
    assert [answer.amount for answer in answers if isinstance(answer, Granted)] == list(range(500))
    assert (await raw.info("clients"))["connected_clients"] <= 1 + 16 + 1  # the money, the rest, this test


async def test_whoever_comes_when_too_many_wait_is_told_at_once(store: RedisStore) -> None:
    answers = await asyncio.gather(*(store.hold(ask(f"r{n}", 1)) for n in range(2_000)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, StoreError)]
    assert len(refused) == 2_000 - 1_024
    assert {str(error) for error in refused} == {"Redis: BlockingIOError"}
    assert (await today(store)).held == 2_000 - len(refused)


async def test_who_stops_waiting_takes_nobodys_answer_away(store: RedisStore) -> None:
    replies = [store._money._lane.put("ECHO", n) for n in range(20)]
    replies[3].cancel()
    answers = await asyncio.gather(*replies, return_exceptions=True)
    assert [answer for answer in answers if isinstance(answer, bytes)] == [b"%d" % n for n in range(20) if n != 3]


async def test_scripts_that_were_flushed_are_told_again(store: RedisStore, raw: Any) -> None:
    await raw.script_flush()
    with pytest.raises(StoreError, match="NoScriptError"):
        await store.hold(ask("a"))
    assert isinstance(await store.hold(ask("a")), Granted)


async def test_a_failure_is_told_by_its_name_and_tells_no_password(server: RedisServer) -> None:
    store = RedisStore(server.url.replace("//", "//user:hunter2@"))
    for act in (store.open(), store.hold(ask("a")), store.counters("day:2026-11-23")):
        with pytest.raises(StoreError) as raised:
            await act
        assert str(raised.value).startswith("Redis: ")
        assert "hunter2" not in str(raised.value)
    await store.close()


async def test_what_no_utf_8_can_say_is_a_store_error(store: RedisStore) -> None:
    for act in (store.hold(ask("a", user="\ud800")), store.settle([Settlement(entry("a", user="\ud800"))])):
        with pytest.raises(StoreError, match="UnicodeEncodeError"):
            await act
    assert await today(store) == Counter()


async def test_an_alert_is_not_lost_with_the_failure_of_another_row(store: RedisStore, raw: Any) -> None:
    await raw.sadd("{tollhouse}:at:bad", "not a time")
    with pytest.raises(StoreError, match="ResponseError"):
        await store.settle([Settlement(entry("good", cost=95), (DAILY,)), Settlement(entry("bad", cost=1), (DAILY,))])
    assert await today(store) == Counter(spent=95), "nothing is half done"
    assert [alert.percent for alert in await store.settle([])] == [90]
    assert await store.settle([]) == []


async def test_a_row_that_cannot_be_settled_is_the_only_one_that_is_not(store: RedisStore, raw: Any) -> None:
    await raw.sadd("{tollhouse}:at:bad", "not a time")
    rows = [entry(id, cost=cost, user="a\nb\u2028c") for id, cost in (("a", 1), ("bad", 2), ("c", 4))]
    await store.hold(ask("c", 9))
    with pytest.raises(StoreError, match="ResponseError"):
        await store.settle([Settlement(row) for row in rows])
    found = [row async for page in store.rows(0, 2**52) for row in page]
    assert {row.id: msgspec.structs.replace(row, at=0) for row in found} == {"a": rows[0], "c": rows[2]}
    assert await today(store) == Counter(spent=5)
    await raw.delete("{tollhouse}:at:bad")
    assert await store.settle([Settlement(row) for row in rows]) == []
    assert await today(store) == Counter(spent=7)


async def test_rows_of_one_batch_set_off_the_alert_that_they_come_to_together(store: RedisStore) -> None:
    told = await store.settle([Settlement(entry(f"r{n}", cost=30), (DAILY,)) for n in range(5)])
    assert [(alert.percent, alert.counter.spent) for alert in told] == [(90, 90), (100, 120)]


async def test_nothing_grows_for_ever(store: RedisStore, raw: Any) -> None:
    await store.beat()
    await store.hold(ask("open"))
    await store.settle([Settlement(entry("a", cost=95), (DAILY,)), Settlement(entry("b", cost=1, at=1), (DAILY,))])
    ages = {key: await raw.ttl(key) for key in await raw.keys("*")}
    lasting = {key.removeprefix("{tollhouse}:") for key, age in ages.items() if age == -1}
    assert lasting == {"epoch", "done", "replicas", "hold", "holds", "index"}
    assert len(ages) == 6 + 4 + 1 + 2 + 2  # counters of two days and months, alerts of one day, two hours, two ids
    assert max(ages.values()) <= 400 * 86_400
    assert ages["{tollhouse}:at:b"] <= 3 * 86_400 < ages["{tollhouse}:at:a"], "b named its time"


async def test_a_row_that_takes_the_place_of_an_orphan_in_another_hour_leaves_none_behind(store: RedisStore) -> None:
    now = await store.now()
    row = entry("a", at=now - 40 * 86_400_000, cost=3)
    await store.settle([Settlement(entry("a", at=now, cost=9, orphan=True)), Settlement(row)])
    assert [found async for page in store.rows(0, 2**52) for found in page] == [row]
    assert await today(store) == Counter()
    await store.settle([Settlement(entry("a", at=now, cost=3))])
    assert await today(store) == Counter(), "settled is settled, whatever time it names"


async def test_what_is_not_over_yet_is_not_forgotten(store: RedisStore) -> None:
    await store.settle([Settlement(entry("a", cost=5))])
    await store.prune(0)
    assert await today(store) == Counter(spent=5)
    assert [row.id async for page in store.rows(0, 2**52) for row in page] == ["a"]


@pytest.mark.parametrize("start", [date(1970, 1, 1), date(1999, 12, 1), date(2024, 1, 1), date(2096, 1, 1)])
async def test_days_are_named_as_python_names_them(start: date, raw: Any) -> None:
    first = (start - date(1970, 1, 1)).days
    code = "local found = {} for n = 0, 3999 do found[n + 1] = civil(ARGV[5] + n) end return found"
    named = await raw.eval(f"{script('ground')}\n{code}", 1, "{tollhouse}", "me", "", 0, 1, first)
    assert named == [(start + timedelta(n)).isoformat() for n in range(4_000)]


TIMES = [0, 1, 86_399_999, 86_400_000, 951_782_399_999, 951_782_400_000, 1_709_251_199_999, 1_795_348_800_000]


async def test_windows_and_hours_of_a_time_are_those_of_the_ledger(raw: Any) -> None:
    code = "local l = labels(tonumber(ARGV[5])) return {l.day, l.month, ledger(tonumber(ARGV[5]))}"
    for at in TIMES:
        named = await raw.eval(f"{script('ground')}\n{code}", 1, "{tollhouse}", "me", "", 0, 1, at)
        hour = datetime.fromtimestamp(at / 1_000, UTC).strftime("ledger:%Y-%m-%dT%H")
        assert named == [*labels(at), hour], at


async def test_a_share_of_what_is_left_is_cut_to_the_nano_dollar(store: RedisStore) -> None:
    large = (MOST - 7_919 * k for k in range(9))  # times a share, doubles miss some of them by one
    for n, nano in enumerate([*large, 1_000_001, 999_999]):
        for share in (1, 333_333, 999_999):
            limit = Limit("daily", f"user=u{n}.{share}", "day", nano)
            asked = Ask(entry=entry(f"r{n}.{share}"), limits=(limit,), least=0, most=nano, share=share)
            answer = await store.hold(asked)
            assert isinstance(answer, Granted)
            assert answer.amount == nano * share // 1_000_000


@pytest.mark.parametrize(("policy", "said"), [("allkeys-lru", ["Redis may evict"]), ("noeviction", [])])
async def test_a_redis_that_would_evict_counters_is_named(policy: str, said: list[str]) -> None:
    with redis_server({"maxmemory-policy": policy}) as evicting, capture_logs() as logs:
        store = RedisStore(evicting.url)
        await store.open()
        await store.close()
    assert [line["event"] for line in logs] == said


async def test_what_a_request_asks_is_as_much_however_many_rows_holds_and_scopes_there_are(
    store: RedisStore, raw: Any
) -> None:
    async def request(id: str) -> dict[str, int]:
        await raw.config_resetstat()
        answer = await store.hold(ask(id, 1, DAILY, Limit("monthly", "user=", "month", 100)))
        assert isinstance(answer, Granted)
        await store.settle([Settlement(entry(id, at=answer.at, cost=1), (DAILY,))])
        return {name: told["calls"] for name, told in (await raw.info("commandstats")).items()}

    await request("first")  # of its day
    before = await request("a")
    for n in range(0, 500, 50):
        await asyncio.gather(*(store.hold(ask(f"o{n + k}", 0, user=f"u{n + k}", model=f"m{n}")) for k in range(50)))
        await store.settle([Settlement(entry(f"x{n + k}", cost=0, user=f"v{n + k}")) for k in range(50)])
    assert await request("b") == before
    assert not before.keys() & {
        f"cmdstat_{name}" for name in ("keys", "scan", "hgetall", "hkeys", "zrange", "smembers")
    }


async def test_a_counter_beyond_what_doubles_can_tell_is_exact_all_the_same(store: RedisStore) -> None:
    await store.settle([Settlement(entry(f"r{n}", cost=MOST + n)) for n in range(5)])
    assert (await today(store)).spent == 5 * MOST + 10


async def test_each_row_is_written_with_its_time_once(store: RedisStore, raw: Any) -> None:
    now = await store.now()
    await store.settle([Settlement(entry("named", at=now, cost=1)), Settlement(entry("unnamed", cost=1))])
    (hour,) = await raw.keys("{tollhouse}:ledger:*")
    assert [row.count('"at":') for row in await raw.hvals(hour)] == [1, 1]
