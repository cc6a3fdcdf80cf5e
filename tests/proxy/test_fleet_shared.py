"""Several replicas on one board, in rounds: over the plain board, a real SQLite file, and a real Redis."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from adapters.base import Kind
from proxy.fleet import Fleet, Ticket
from proxy.health import Outcome
from proxy.health.ratelimit import Window
from proxy.store import Board, Notice
from proxy.store.redis import RedisStore
from proxy.store.sqlite import SqliteStore
from tests.proxy.accounts import Hand
from tests.proxy.plain_board import Paper, PlainBoard
from tests.proxy.replicas import (
    GENEROUS,
    ILL,
    LEFT,
    NOW,
    OK,
    OPENAI,
    POLICY,
    asked,
    begun,
    fleet_on,
    ill,
    joined,
    rounds,
    state,
    until,
)
from tests.redis_server import RedisServer, redis_server

SOON = msgspec.structs.replace(POLICY, cooldown=0.005)  # a store's clock goes by itself


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


class Place:
    """A board, three ways to it, and how it is made to forget."""

    def __init__(self, kind: str, boards: list[Board], wipe: Callable[[], Any]) -> None:
        self.kind, self.boards, self.wipe = kind, boards, wipe


@pytest.fixture
def clock() -> Hand:
    """Of the replicas, and of the plain board."""
    return Hand(NOW)


@pytest.fixture(params=["plain", "sqlite", "redis"])
async def place(request: pytest.FixtureRequest, tmp_path: Path, clock: Hand) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        if request.param == "plain":
            paper = Paper(clock)
            yield Place("plain", [PlainBoard(paper) for _ in range(3)], paper.wipe)
        elif request.param == "sqlite":
            path = tmp_path / "tollhouse.db"
            files = [SqliteStore(path) for _ in range(3)]
            for file in files:
                await file.open()
                stack.push_async_callback(file.close)

            def wipe_file() -> None:
                with sqlite3.connect(path) as connection:
                    connection.execute("DELETE FROM board")
                connection.close()

            yield Place("sqlite", [*files], wipe_file)
        else:
            server: RedisServer = request.getfixturevalue("server")
            stores = [RedisStore(server.url, replica=f"r{n}", timeout=5) for n in range(3)]
            for store in stores:
                stack.push_async_callback(store.close)
            await stores[0]._redis.flushall()  # what the tests before have left
            yield Place("redis", [*stores], lambda: server.restart())


@pytest.fixture
async def fleets(place: Place, clock: Hand) -> list[Fleet]:
    return await joined(place.boards, clock)


def of_all(fleets: list[Fleet], provider: str = "openai", model: str = "gpt-4o") -> list[str]:
    return [state(fleet, provider, model) for fleet in fleets]


def counts(fleet: Fleet) -> tuple[int, int, int, int]:
    cell = fleet.shared()[OPENAI]
    return cell.ok, cell.failed, cell.limited, cell.others


def same(fleets: list[Fleet]) -> bool:
    first, *others = (fleet.shared() for fleet in fleets)
    return all(other == first for other in others)


async def test_an_opening_is_seen_by_all(fleets: list[Fleet]) -> None:
    await asked(fleets[0], *[ILL] * 3)
    await rounds(*fleets)
    assert of_all(fleets) == ["open"] * 3
    first, *others = (fleet.standing(*OPENAI) for fleet in fleets)
    assert first.until - first.since == 300_000
    assert first.why == "transient"
    assert [(other.since, other.until, other.why) for other in others] == [(first.since, first.until, first.why)] * 2
    assert same(fleets)


async def test_what_each_saw_a_part_of_opens_it_for_all(fleets: list[Fleet]) -> None:
    for fleet in fleets:
        await asked(fleet, ILL)
    assert of_all(fleets) == ["closed"] * 3
    await rounds(*fleets)
    assert of_all(fleets) == ["open"] * 3
    assert same(fleets)


async def test_a_provider_that_refuses_our_key_is_seen_by_all(fleets: list[Fleet]) -> None:
    await asked(fleets[0], ill(Kind.KEY))
    await rounds(*fleets)
    assert of_all(fleets) == ["open"] * 3
    assert of_all(fleets, model="never-asked") == ["open"] * 3
    assert of_all(fleets, provider="gemini") == ["closed"] * 3


async def test_a_line_is_its_replicas_own(fleets: list[Fleet]) -> None:
    await asked(fleets[0], *[ill(Kind.UNREACHABLE)] * 3)
    await rounds(*fleets)
    assert of_all(fleets) == ["open", "closed", "closed"]
    assert set(fleets[1].shared()) == {OPENAI, ("openai", "")}
    assert fleets[1].own() == {}


async def test_all_outcomes_are_counted_once_by_all(fleets: list[Fleet]) -> None:
    for fleet in fleets:
        await asked(fleet, OK, OK, LEFT, ILL, OK, ill(Kind.RATE_LIMITED, 1))
    await rounds(*fleets)
    assert [counts(fleet) for fleet in fleets] == [(9, 3, 3, 3)] * 3
    assert [fleet.shared()[OPENAI].first.total for fleet in fleets] == [9] * 3
    own = [fleet.own()[OPENAI] for fleet in fleets]
    assert [(cell.ok, cell.failed, cell.limited, cell.others) for cell in own] == [(3, 1, 1, 1)] * 3


async def test_a_rate_limit_and_the_limits_are_told_to_all(fleets: list[Fleet]) -> None:
    now = fleets[0].now()
    window = Window(100, 7, now, now + 60_000)
    limited = Outcome(failure=ill(Kind.RATE_LIMITED, 600).failure, windows={"requests": window})
    await asked(fleets[0], limited)
    await rounds(*fleets)
    blocked = {fleet.standing(*OPENAI).blocked for fleet in fleets}
    assert len(blocked) == 1
    assert 599_000 < min(blocked) - now < 601_000
    assert [fleet.standing(*OPENAI).windows for fleet in fleets] == [{"requests": window}] * 3


async def test_what_one_sends_is_not_taken_off_the_limits_of_others(fleets: list[Fleet]) -> None:
    now = fleets[0].now()
    await asked(fleets[0], Outcome(whole=1.0, windows={"requests": Window(100, 7, now, now + 10**6)}))
    await rounds(*fleets)
    ticket = await fleets[1].begin(*OPENAI, (0, 0))
    assert ticket is not None
    fleets[1].sent(ticket)
    await asked(fleets[2], LEFT)
    await rounds(*fleets)
    left = [fleet.standing(*OPENAI).windows["requests"].remaining for fleet in fleets]
    assert left == [7, pytest.approx(6, abs=0.1), 7]  # some grows again in the meantime


async def test_a_reset_by_one_closes_it_for_all(fleets: list[Fleet]) -> None:
    await asked(fleets[0], *[ILL] * 3)
    await asked(fleets[1], ill(Kind.KEY), model="o3")
    await rounds(*fleets)
    assert await fleets[2].reset("openai") == ["openai/gpt-4o", "openai/o3", "openai"]
    await fleets[0].exchange.round()
    await fleets[1].exchange.round()
    assert of_all(fleets) == ["closed"] * 3
    assert of_all(fleets, model="o3") == ["closed"] * 3


async def test_who_comes_later_reads_what_stands_there(place: Place, fleets: list[Fleet]) -> None:
    await asked(fleets[0], *[ILL] * 3)
    await fleets[0].exchange.round()
    (late,) = await joined(place.boards[1:2], Hand(NOW))
    assert state(late) == "open"


# ---- probes ---------------------------------------------------------------------------------------------------------


async def all_begin(fleets: list[Fleet], each: int = 6) -> list[tuple[Fleet, Ticket]]:
    """All at the same time; those that have a place."""
    asking = [fleet for fleet in fleets for _ in range(each)]
    tickets = await asyncio.gather(*(fleet.begin(*OPENAI) for fleet in asking))
    return [(fleet, ticket) for fleet, ticket in zip(asking, tickets, strict=True) if ticket is not None]


@pytest.fixture
async def half_open(place: Place, clock: Hand) -> list[Fleet]:
    """Replicas that know of a circuit whose cooldown is over."""
    fleets = await joined(place.boards, clock, SOON)
    await asked(fleets[0], *[ILL] * 3)
    await rounds(*fleets)
    if place.kind == "plain":
        clock.now += 1
    async with asyncio.timeout(GENEROUS):
        while of_all(fleets) != ["half_open"] * 3:
            await rounds(*fleets)  # the time is the store's, where there is one
    return fleets


async def test_there_are_no_more_probes_in_the_fleet_than_the_policy_allows(half_open: list[Fleet]) -> None:
    fleets = half_open
    sent = await all_begin(fleets)
    assert len(sent) == 1
    assert await all_begin(fleets) == []
    sent[0][0].end(sent[0][1], OK)
    await rounds(*fleets)
    sent = await all_begin(fleets)
    assert len(sent) == SOON.probes - 1
    await rounds(*fleets)
    assert await all_begin(fleets) == []
    for fleet, ticket in sent:
        fleet.end(ticket, OK)
    await rounds(*fleets)
    assert of_all(fleets) == ["closed"] * 3
    assert len(await all_begin(fleets)) == 18


async def test_who_has_not_heard_that_a_place_is_taken_does_not_get_it(half_open: list[Fleet]) -> None:
    one, other, _ = half_open
    assert await one.begin(*OPENAI) is not None
    assert await other.begin(*OPENAI) is None


async def test_a_probe_that_fails_opens_it_for_all(half_open: list[Fleet]) -> None:
    ticket = await begun(half_open[1])
    await rounds(*half_open)
    half_open[1].end(ticket, ill(Kind.TRANSIENT, 600))
    await rounds(*half_open)
    assert of_all(half_open) == ["open"] * 3
    assert [fleet.shared()[OPENAI].circuit.openings for fleet in half_open] == [2] * 3


async def test_who_hears_that_it_is_closed_while_asking_for_a_place_needs_none(half_open: list[Fleet]) -> None:
    one, other, _ = half_open
    for _ in range(SOON.probes):
        await asked(one, OK)
    await one.exchange.round()
    assert (state(one), state(other)) == ("closed", "half_open")
    assert (await begun(other)).probes == {}


# ---- forgotten, and away --------------------------------------------------------------------------------------------


async def test_a_board_that_was_forgotten_is_put_up_again(place: Place, fleets: list[Fleet]) -> None:
    await asked(fleets[0], *[ILL] * 3)
    await asked(fleets[1], OK, OK, provider="gemini", model="flash")
    await rounds(*fleets)
    known = fleets[2].shared()
    place.wipe()
    await asked(fleets[1], OK, provider="gemini", model="flash")
    await until_told(fleets)
    (late,) = await joined(place.boards[:1], Hand(NOW))
    assert set(late.shared()) == set(known)
    assert late.shared()[OPENAI] == known[OPENAI]
    assert late.shared()["gemini", "flash"].ok == 3
    assert same([late, *fleets])


async def until_told(fleets: list[Fleet]) -> None:
    """A server that was started again may refuse the first who come."""
    async with asyncio.timeout(GENEROUS):
        while True:
            with capture_logs():
                await rounds(*fleets)
                if same(fleets):
                    return


async def test_a_board_that_has_one_notice_less_gets_it_again(place: Place, fleets: list[Fleet]) -> None:
    """The store takes down what nobody has changed for very long."""
    await asked(fleets[0], OK)
    await rounds(*fleets)
    await asked(fleets[0], OK, provider="gemini", model="flash")
    place.wipe()
    await asked(fleets[0], OK)
    with capture_logs():
        await fleets[0].exchange.say([sheet for sheet in fleets[0]._view if sheet.name == "openai/gpt-4o"])
        await until_told(fleets)
    (late,) = await joined(place.boards[1:2], Hand(NOW))
    assert late.shared()[OPENAI].ok == 2


async def test_the_time_is_the_stores(place: Place) -> None:
    """However wrong our own clock is."""
    late = fleet_on(place.boards[0], Hand(NOW - 86_400))
    early = fleet_on(place.boards[1], Hand(NOW + 86_400), replica="b")
    for fleet in (late, early):
        await fleet.exchange.join()
    assert abs(late.now() - early.now()) < 10_000


# ---- in the background ----------------------------------------------------------------------------------------------


@pytest.fixture
async def opened(place: Place, clock: Hand) -> AsyncIterator[list[Fleet]]:
    """Replicas with their tasks."""
    fleets = [fleet_on(board, clock, replica=f"r{n}") for n, board in enumerate(place.boards)]
    for fleet in fleets:
        await fleet.open()
    yield fleets
    for fleet in fleets:
        await fleet.close()


async def test_an_opening_comes_to_all_by_itself(opened: list[Fleet]) -> None:
    await asked(opened[0], *[ILL] * 3)
    await until(lambda: of_all(opened) == ["open"] * 3)


async def test_a_reset_comes_to_all_by_itself(opened: list[Fleet]) -> None:
    await asked(opened[0], *[ILL] * 3)
    await until(lambda: of_all(opened) == ["open"] * 3)
    await opened[1].reset("openai")
    await until(lambda: of_all(opened) == ["closed"] * 3)


async def test_what_is_not_urgent_comes_to_all_by_and_by(opened: list[Fleet]) -> None:
    for fleet in opened:
        await asked(fleet, OK, ILL, LEFT)
    await until(lambda: all(OPENAI in f.shared() and counts(f) == (3, 3, 0, 3) for f in opened))


async def test_whoever_stops_says_what_is_unsaid(place: Place, fleets: list[Fleet]) -> None:
    leaving = fleet_on(place.boards[0], Hand(NOW), replica="leaving")
    await leaving.open()
    await asked(leaving, OK)
    await leaving.close()
    await fleets[1].exchange.round()
    assert counts(fleets[1]) == (1, 0, 0, 0)


# ---- the log --------------------------------------------------------------------------------------------------------


async def test_each_replicas_log_tells_each_turn_once(half_open: list[Fleet]) -> None:
    fleets = half_open
    with capture_logs() as logs:
        (ticket,) = [ticket for _, ticket in await all_begin(fleets[:1])]
        await rounds(*fleets)
        fleets[0].end(ticket, OK)
        await asked(fleets[0], OK, OK)
        await rounds(*fleets)
        await rounds(*fleets)
    told = sorted((line["event"], line["heard"]) for line in logs)
    assert told == [
        ("circuit closed", False),
        ("circuit closed", True),
        ("circuit closed", True),
        ("circuit half-open", False),
        ("circuit half-open", True),
        ("circuit half-open", True),
    ]


async def test_what_two_replicas_see_at_once_is_told_once_by_each(fleets: list[Fleet]) -> None:
    with capture_logs() as logs:
        for fleet in fleets[:2]:
            await asked(fleet, *[ILL] * 3, ill(Kind.RATE_LIMITED, 60))
        await rounds(*fleets)
        await rounds(*fleets)
    assert sorted((line["event"], line["heard"]) for line in logs) == [
        ("circuit opened", False),
        ("circuit opened", False),
        ("circuit opened", True),
        ("rate limited", False),
        ("rate limited", False),
        ("rate limited", True),
    ]
    assert same(fleets)


# ---- a Redis that falls silent --------------------------------------------------------------------------------------


async def test_a_silent_redis_stops_nobody_and_hears_all_of_it_once_when_it_speaks_again(clock: Hand) -> None:
    """What it was told in its silence it may do later, though nobody waits for the answer any more."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(redis_server())
        stores = [RedisStore(server.url, replica=f"r{n}", timeout=0.1) for n in range(2)]
        for store in stores:
            stack.push_async_callback(store.close)
        fleets = await joined(stores, clock)
        await asked(fleets[0], OK)
        await rounds(*fleets)
        server.pause()
        with capture_logs() as logs:
            for _ in range(2):
                for fleet in fleets:
                    await asked(fleet, OK, ILL, LEFT)
                    await fleet.exchange.say(list(fleet._view))
        assert [line["event"] for line in logs] == ["health not shared"] * 2
        assert (await begun(fleets[0])).probes == {}
        server.resume()
        await until_told(fleets)
        assert [counts(fleet) for fleet in fleets] == [(5, 4, 0, 4)] * 2


# ---- others who read the board --------------------------------------------------------------------------------------


class Listener:
    """Somebody else who reads the board."""

    prefix = "news:"

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.forgotten = 0

    def hear(self, key: str, notice: Notice) -> None:
        self.heard.append((key, notice.text))

    def forget(self) -> None:
        self.forgotten += 1
        self.heard.clear()


async def test_others_hear_of_their_notices_and_of_a_board_that_was_forgotten(
    place: Place, fleets: list[Fleet]
) -> None:
    listener = Listener()
    assert fleets[1].exchange.looked.is_set(), "it has joined"
    fleets[1].exchange.readers.append(listener)
    await place.boards[0].pin("news:a", 0, b"one", ring=True)
    await place.boards[0].pin("olds:a", 0, b"none of theirs", ring=True)
    await asked(fleets[0], *[ILL] * 3)
    await rounds(*fleets)
    assert listener.heard == [("news:a", b"one")]
    assert state(fleets[1]) == "open", "and who reads it for health hears of that all the same"
    place.wipe()
    async with asyncio.timeout(GENEROUS):
        while not listener.forgotten:
            with capture_logs():
                await rounds(fleets[1])
    assert listener.heard == []


async def test_an_opening_is_told_once_by_whoever_saw_it(place: Place, clock: Hand) -> None:
    told: list[tuple[str, str, str]] = []
    watched = Fleet(
        place.boards[0], POLICY, replica="w", clock=clock, wall=clock, opened=lambda *said: told.append(said)
    )
    heard: list[tuple[str, str, str]] = []
    other = Fleet(
        place.boards[1], POLICY, replica="o", clock=clock, wall=clock, opened=lambda *said: heard.append(said)
    )
    await watched.exchange.join()
    await other.exchange.join()
    await asked(watched, *[ILL] * 3)
    await asked(watched, ill(Kind.KEY), provider="gemini", model="flash")
    await rounds(watched, other)
    assert ("openai", "gpt-4o", "transient") in told
    assert ("gemini", "all", "key") in told
    assert len(told) == len(set(told))
    assert heard == []
