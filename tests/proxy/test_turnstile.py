"""The turnstile: nobody takes more than the key's quota, nobody is turned away for want of a store, and each place is
given back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from adapters.base import Failure, Kind
from proxy.quota import Crowded, Entered, Entering, Quota, Usage
from proxy.turnstile import Turnstile, crowded, ratelimits
from tests.proxy.accounts import GENEROUS, OUTAGE, Hand, Moody, until

ONE = Quota(concurrent=1)
MILLI = 1_000


def asking(id: str = "a", quota: Quota = ONE, *, takes: int = 0, seconds: int = 60) -> Entering:
    return Entering(key="alice", id=id, quota=quota, tokens=takes, seconds=seconds)


class Door:
    """One file, and clocks; each `opened` is a replica with a turnstile and a way to the file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock, self.wall = Hand(100.0), Hand()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Turnstile, Moody]]:
        store = Moody(self.directory / "tollhouse.db", self.wall)
        await store.open()
        turnstile = Turnstile(store, wall=self.wall, clock=self.clock)
        await turnstile.open()
        try:
            async with asyncio.timeout(GENEROUS):
                yield turnstile, store
        finally:
            await turnstile.close()
            await store.close()

    def passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.wall.now += seconds


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


async def refused(turnstile: Turnstile, entering: Entering) -> Failure:
    with pytest.raises(Failure) as caught:
        await turnstile.enter(entering)
    return caught.value


async def inside(store: Moody) -> set[str]:
    """Who is inside, as the file has it."""
    found = await store._run(lambda: store._file().execute("SELECT state FROM quota").fetchall())
    return {id for (state,) in found for id in msgspec.json.decode(state, type=Usage).running}


async def free(store: Moody) -> bool:
    return not await inside(store)


async def test_who_has_no_quota_goes_through_and_no_store_is_asked(door):
    async with door.opened() as (turnstile, store):
        store.failing["enter"] = OUTAGE
        assert await turnstile.enter(asking(quota=Quota())) == Entered()
        turnstile.leave("alice", "a", Quota(), 50)
        assert (store.asked, turnstile._left, turnstile._inside) == (["open"], {}, {})


async def test_two_replicas_let_in_no_more_than_the_quota_together(door):
    quota = Quota(requests=5, tokens=100, concurrent=9)
    async with door.opened() as (one, _), door.opened() as (other, _):
        assert await one.enter(asking("a", quota, takes=30)) == Entered(4, 70)
        assert await other.enter(asking("b", quota, takes=30)) == Entered(3, 40)
        answers = await asyncio.gather(
            *((one, other)[n % 2].enter(asking(f"c{n}", quota, takes=10)) for n in range(9)), return_exceptions=True
        )
        assert sum(isinstance(answer, Entered) for answer in answers) == 3


async def test_whoever_is_turned_away_and_comes_again_when_told_is_let_in(door):
    quota = Quota(requests=7)
    async with door.opened() as (turnstile, _):
        for n in range(7):
            await turnstile.enter(asking(f"a{n}", quota))
        failure = await refused(turnstile, asking("b", quota))
        assert failure.retry_after == 8.572
        door.wall.now += 8.571
        assert (await refused(turnstile, asking("b", quota))).retry_after == 0.001
        door.wall.now += 0.001
        assert await turnstile.enter(asking("b", quota)) == Entered(0, None)


REFUSALS: list[tuple[Crowded, str]] = [
    (Crowded("requests", 8_572), "60 requests a minute. Ask again in 8.572 seconds."),
    (Crowded("tokens", 1), "900 tokens a minute; this request takes 250. Ask again in 0.001 seconds."),
    (Crowded("concurrency", 1_000), "3 requests at once. Ask again in 1.000 seconds."),
]


@pytest.mark.parametrize(("answer", "said"), REFUSALS, ids=[answer.limit for answer, _ in REFUSALS])
def test_whoever_is_turned_away_is_told_which_limit_it_is_and_when_to_come_again(answer, said):
    failure = crowded(asking(quota=Quota(requests=60, tokens=900, concurrent=3), takes=250), answer)
    assert (failure.kind, failure.status, failure.type, failure.code) == (
        Kind.CALLER,
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
    )
    assert failure.kind.callers_fault, "nobody else is asked, and no vendor is blamed"
    assert failure.message == f"Rate limit reached for the key `alice`: {said}"
    assert failure.retry_after == answer.wait / MILLI


async def test_a_place_that_was_left_is_free_for_all_replicas(door):
    async with door.opened() as (one, _), door.opened() as (other, store):
        await one.enter(asking("a"))
        assert (await refused(other, asking("b"))).message.startswith("Rate limit reached for the key `alice`: 1 requ")
        one.leave("alice", "a", ONE, 0)
        await until(lambda: free(store))
        await other.enter(asking("b"))


async def test_the_tokens_that_it_took_in_truth_count_when_it_has_left(door):
    quota = Quota(tokens=100)
    async with door.opened() as (turnstile, _):
        await turnstile.enter(asking("a", quota, takes=60))
        turnstile.leave("alice", "a", quota, -50)
        await until(lambda: not turnstile._left)
        assert await turnstile.enter(asking("b", quota, takes=20)) == Entered(None, 70)
        turnstile.leave("alice", "b", quota, 60)
        await until(lambda: not turnstile._left)
        assert (await refused(turnstile, asking("c", quota, takes=20))).retry_after == 6


async def test_to_leave_is_no_error_for_who_never_came_or_has_left(door):
    async with door.opened() as (turnstile, store):
        await turnstile.enter(asking("a"))
        for id in ("b", "a", "a"):
            turnstile.leave("alice", id, ONE, 5)
        await until(lambda: not turnstile._left)
        assert store.asked.count("leave") == 1
        assert turnstile._inside == {}


# The store is away -----------------------------------------------------------------------------------------------


async def test_while_the_store_is_away_each_replica_counts_by_itself_and_says_so_once(door):
    with capture_logs() as logs:
        async with door.opened() as (one, first), door.opened() as (other, second):
            first.failing["enter"] = second.failing["enter"] = OUTAGE
            for turnstile in (one, other):
                assert await turnstile.enter(asking("a", Quota(requests=2, concurrent=2))) == Entered(1, None)
                assert await turnstile.enter(asking("b", Quota(requests=2, concurrent=2))) == Entered(0, None)
                assert (await refused(turnstile, asking("c", Quota(requests=2)))).retry_after == 30
    away = [line for line in logs if line["event"] == "quotas kept here"]
    assert [(line["log_level"], line["why"], line["exc_info"]) for line in away] == [
        ("warning", "as if the cable were cut", False)
    ] * 2


async def test_a_place_that_was_taken_here_is_given_back_here(door):
    async with door.opened() as (turnstile, store):
        store.failing["enter"] = OUTAGE
        quota = Quota(tokens=100, concurrent=1)
        await turnstile.enter(asking("a", quota, takes=90))
        assert "1 requests at once" in (await refused(turnstile, asking("b", quota, takes=5))).message
        turnstile.leave("alice", "a", quota, -10)
        assert await turnstile.enter(asking("b", quota, takes=5)) == Entered(None, 15)


async def test_when_the_store_is_back_it_counts_again_and_what_was_taken_here_is_still_given_back_here(door):
    with capture_logs() as logs:
        async with door.opened() as (turnstile, store):
            store.failing["enter"] = OUTAGE
            await turnstile.enter(asking("a"))
            store.failing.clear()
            await turnstile.enter(asking("b"))
            assert await inside(store)
            assert turnstile._ours.keys() == {"alice"}, "one of those here is still inside"
            turnstile.leave("alice", "a", ONE, 0)
            assert turnstile._ours == {}
            assert await inside(store) == {"b"}, "who was let in by the store has not left"
            turnstile.leave("alice", "b", ONE, 0)
            await until(lambda: free(store))
    assert [line["event"] for line in logs] == ["quotas kept here", "quotas kept in the store again"]


async def test_what_was_counted_here_is_forgotten_when_the_store_counts_again(door):
    async with door.opened() as (turnstile, store):
        store.failing["enter"] = OUTAGE
        await turnstile.enter(asking("a"))
        turnstile.leave("alice", "a", ONE, 0)
        assert turnstile._ours.keys() == {"alice"}
        store.failing.clear()
        await turnstile.enter(asking("b"))
        assert turnstile._ours == {}


async def test_a_store_that_lets_in_but_does_not_answer_hears_that_the_request_has_left(door):
    with capture_logs() as logs:
        async with door.opened() as (turnstile, store):
            store.mute.add("enter")
            assert await turnstile.enter(asking("a")) == Entered()
            assert await inside(store)
            turnstile.leave("alice", "a", ONE, 0)
            await until(lambda: free(store))
    assert logs[0]["why"] == "no answer in time"


async def test_who_is_turned_away_here_is_not_inside_though_the_store_let_it_in_unheard(door):
    quota = Quota(tokens=100, concurrent=2)
    async with door.opened() as (turnstile, store):
        store.failing["enter"] = OUTAGE
        await turnstile.enter(asking("a", quota, takes=90))
        store.failing.clear()
        store.mute.add("enter")
        await refused(turnstile, asking("b", quota, takes=20))
        store.mute.clear()
        await until(lambda: not turnstile._left)
        door.passes(1)
        assert await turnstile.enter(asking("c", quota, takes=0)) == Entered(None, 100), "its tokens are back, too"
        assert await inside(store) == {"c"}


async def test_whom_the_store_turned_away_it_need_not_be_told_of(door):
    async with door.opened() as (turnstile, _):
        await turnstile.enter(asking("a"))
        await refused(turnstile, asking("b"))
        assert turnstile._left == {}


async def test_a_client_that_leaves_while_the_store_is_asked_keeps_no_place(door):
    async with door.opened() as (turnstile, store):
        store.mute.add("enter")
        task = asyncio.create_task(turnstile.enter(asking("a")))
        await until(lambda: inside(store))
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await until(lambda: free(store))
        assert turnstile._inside == {}
        assert turnstile._failures == 0, "it is not the store's fault"


async def test_a_store_that_is_away_is_left_alone_for_a_moment_and_then_asked_by_one(door):
    async with door.opened() as (turnstile, store):
        store.failing["enter"] = OUTAGE
        quota = Quota(requests=1_000)
        for n in range(9):
            await turnstile.enter(asking(f"a{n}", quota))
        assert store.asked.count("enter") == 3
        door.clock.now += 1.0
        store.shut["enter"] = asyncio.Event()
        asked = asyncio.gather(*(turnstile.enter(asking(f"b{n}", quota)) for n in range(9)))
        await until(lambda: len(turnstile._inside) == 9 + 8)
        assert store.asked.count("enter") == 4
        store.shut["enter"].set()
        await asked
        assert store.asked.count("enter") == 4
        store.failing.clear()
        door.clock.now += 1.0
        await turnstile.enter(asking("c", quota))
        await turnstile.enter(asking("d", quota))
        assert store.asked.count("enter") == 6


async def test_of_who_was_let_in_unasked_the_store_hears_nothing(door):
    async with door.opened() as (turnstile, store):
        store.failing["enter"] = OUTAGE
        for n in range(4):
            await turnstile.enter(asking(f"a{n}", Quota(concurrent=9)))
            turnstile.leave("alice", f"a{n}", Quota(concurrent=9), 0)
        await until(lambda: not turnstile._left)
        assert store.asked.count("leave") == 3


async def test_whoever_leaves_while_the_store_is_away_has_left_when_it_is_back(door):
    async with door.opened() as (turnstile, store):
        await turnstile.enter(asking("a"))
        store.failing["leave"] = OUTAGE
        turnstile.leave("alice", "a", ONE, 0)
        await until(lambda: store.asked.count("leave") >= 2)
        assert await inside(store)
        store.failing.clear()
        await until(lambda: free(store))
        assert turnstile._left == {}


async def test_a_place_that_has_run_out_need_not_be_given_back(door):
    async with door.opened() as (turnstile, store):
        await turnstile.enter(asking("a", seconds=30))
        store.failing["leave"] = OUTAGE
        turnstile.leave("alice", "a", ONE, 0)
        door.clock.now += 29.9
        await until(lambda: store.asked.count("leave") >= 2)
        assert "a" in turnstile._left
        door.clock.now += 0.1
        await until(lambda: not turnstile._left)


async def test_one_whom_the_store_will_not_hear_of_holds_up_nobody(door):
    quota = Quota(concurrent=200)
    async with door.opened() as (turnstile, store):
        for n in range(150):
            await turnstile.enter(asking(f"a{n}", quota))
        turnstile._inside["a0"].key = "\ud800"  # no UTF-8 can say it
        for n in range(150):
            turnstile.leave("alice", f"a{n}", quota, 0)
        await until(lambda: turnstile._left.keys() == {"a0"})
        assert await inside(store) == {"a0"}


async def test_a_fault_in_the_store_turns_nobody_away_and_is_told_with_its_place(door):
    with capture_logs() as logs:
        async with door.opened() as (turnstile, store):
            store.failing["enter"] = ZeroDivisionError("as if it were a bug")
            assert await turnstile.enter(asking("a")) == Entered()
    assert [line["exc_info"] for line in logs if line["event"] == "quotas kept here"] == [True]


async def test_at_the_end_all_who_have_left_are_told_of(door):
    quota = Quota(concurrent=200)
    async with door.opened() as (turnstile, store):
        for n in range(200):
            await turnstile.enter(asking(f"a{n}", quota))
        assert len(await inside(store)) == 200
        for n in range(200):
            turnstile.leave("alice", f"a{n}", quota, 0)
        await turnstile.close()
        assert turnstile._left == {}
        assert await free(store)


async def test_at_the_end_nobody_waits_for_a_store_that_is_away(door):
    async with door.opened() as (turnstile, store):
        await turnstile.enter(asking("a"))
        store.shut["leave"] = asyncio.Event()
        turnstile.leave("alice", "a", ONE, 0)
        await turnstile.close()
        assert turnstile._left.keys() == {"a"}
        assert store.asked.count("leave") in (1, 2)


async def test_a_turnstile_that_was_never_opened_can_be_closed(door):
    await Turnstile(Moody(door.directory / "x.db", door.wall), wall=door.wall, clock=door.clock).close()


HEADERS: list[tuple[str, Quota, Entered, list[tuple[bytes, bytes]]]] = [
    ("no quota", Quota(), Entered(), []),
    ("places alone", Quota(concurrent=3), Entered(), []),
    (
        "requests",
        Quota(requests=60),
        Entered(59),
        [(b"x-ratelimit-limit-requests", b"60"), (b"x-ratelimit-remaining-requests", b"59")],
    ),
    (
        "tokens of which none are left",
        Quota(tokens=1_000_000, concurrent=1),
        Entered(None, 0),
        [(b"x-ratelimit-limit-tokens", b"1000000"), (b"x-ratelimit-remaining-tokens", b"0")],
    ),
    (
        "both",
        Quota(requests=1, tokens=2),
        Entered(0, 1),
        [
            (b"x-ratelimit-limit-requests", b"1"),
            (b"x-ratelimit-remaining-requests", b"0"),
            (b"x-ratelimit-limit-tokens", b"2"),
            (b"x-ratelimit-remaining-tokens", b"1"),
        ],
    ),
]


@pytest.mark.parametrize(("quota", "entered", "told"), [c[1:] for c in HEADERS], ids=[c[0] for c in HEADERS])
def test_what_is_left_is_told_in_the_headers_that_clients_of_openai_read(quota, entered, told):
    assert ratelimits(entered, quota) == told
