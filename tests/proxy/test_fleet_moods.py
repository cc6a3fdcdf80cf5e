"""A board that is away, that hangs, that does what it is told and says nothing, that speaks in tongues: nobody waits,
and what was seen is told to the others exactly once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from adapters.base import Kind
from proxy.fleet import Fleet, word
from proxy.store import StoreError
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

KEY = "health:openai/gpt-4o"


@pytest.fixture
def clock() -> Hand:
    return Hand(NOW)


@pytest.fixture
def paper(clock: Hand) -> Paper:
    return Paper(clock)


@pytest.fixture
def boards(paper: Paper) -> list[PlainBoard]:
    return [PlainBoard(paper) for _ in range(3)]


@pytest.fixture
async def fleets(boards: list[PlainBoard], clock: Hand) -> list[Fleet]:
    return await joined(boards, clock)


@pytest.fixture
async def opened(boards: list[PlainBoard], clock: Hand) -> AsyncIterator[list[Fleet]]:
    found = [fleet_on(board, clock, replica=f"r{n}") for n, board in enumerate(boards)]
    for fleet in found:
        await fleet.open()
    yield found
    for board, fleet in zip(boards, found, strict=True):
        board.away = False
        if board.shut is not None:
            board.shut.set()
        await fleet.close()


def counts(fleet: Fleet) -> tuple[int, int, int]:
    cell = fleet.shared()[OPENAI]
    return cell.ok, cell.failed, cell.others


def events(logs: list[Any]) -> list[str]:
    return [line["event"] for line in logs]


# ---- away -----------------------------------------------------------------------------------------------------------


async def test_a_board_that_is_away_is_said_once_and_once_when_it_is_back(
    boards: list[PlainBoard], fleets: list[Fleet]
) -> None:
    boards[0].away = True
    with capture_logs() as logs:
        for _ in range(3):
            await asked(fleets[0], OK)
            await fleets[0].exchange.round()
        boards[0].away = False
        await rounds(fleets[0])
    assert events(logs) == ["health not shared", "health shared again"]
    assert logs[0]["why"] == "the store is away"


async def test_each_goes_on_alone_and_both_are_heard_when_it_is_back(
    boards: list[PlainBoard], fleets: list[Fleet], clock: Hand
) -> None:
    for board in boards:
        board.away = True
    for fleet in fleets:
        await fleet.exchange.round()
    await asked(fleets[0], OK, OK, *[ILL] * 3)
    await asked(fleets[1], OK, OK, OK)
    assert [state(fleet) for fleet in fleets] == ["open", "closed", "closed"]
    for board in boards:
        board.away = False
    clock.now += 1
    await rounds(*fleets)
    assert [state(fleet) for fleet in fleets] == ["open"] * 3
    assert [counts(fleet) for fleet in fleets] == [(5, 3, 0)] * 3


async def test_what_had_recovered_while_the_board_was_away_is_not_opened_by_its_return(
    boards: list[PlainBoard], fleets: list[Fleet], clock: Hand
) -> None:
    boards[0].away = True
    await fleets[0].exchange.round()
    for _ in range(12):
        await asked(fleets[0], ill(Kind.MODEL))
        assert state(fleets[0]) == "open"
        while state(fleets[0]) != "half_open":
            clock.now += 60
        await asked(fleets[0], OK, OK, OK)
        assert state(fleets[0]) == "closed"
        clock.now += 1
    boards[0].away = False
    await rounds(*fleets)
    assert [state(fleet) for fleet in fleets] == ["closed"] * 3
    assert counts(fleets[1])[:2] == (36, 12)


async def test_what_was_opened_and_closed_alone_is_known_to_all_at_its_own_time(
    boards: list[PlainBoard], fleets: list[Fleet], clock: Hand
) -> None:
    boards[0].away = True
    await fleets[0].exchange.round()
    await asked(fleets[0], *[ILL] * 3)
    since = fleets[0].standing(*OPENAI).since
    clock.now += 100
    await asked(fleets[0], LEFT, LEFT)
    boards[0].away = False
    await rounds(*fleets)
    assert {fleet.standing(*OPENAI).since for fleet in fleets} == {since}


async def test_probes_that_went_without_the_board_are_known_to_it_later(
    boards: list[PlainBoard], fleets: list[Fleet], clock: Hand
) -> None:
    await asked(fleets[0], *[ILL] * 3)
    await rounds(*fleets)
    clock.now += POLICY.cooldown
    boards[0].away = True
    await fleets[0].exchange.round()
    first = await begun(fleets[0])
    assert await fleets[0].begin(*OPENAI) is None
    fleets[0].end(first, OK)
    second, third = await begun(fleets[0]), await begun(fleets[0])
    boards[0].away = False
    await rounds(*fleets)
    assert await fleets[1].begin(*OPENAI) is None
    for ticket in (second, third):
        fleets[0].end(ticket, OK)
    await rounds(*fleets)
    assert [state(fleet) for fleet in fleets] == ["closed"] * 3


async def test_failures_from_before_a_reset_that_come_late_do_not_open_it_again(
    boards: list[PlainBoard], fleets: list[Fleet], clock: Hand
) -> None:
    await asked(fleets[1], *[ILL] * 2)
    await rounds(*fleets)
    boards[0].away = True
    await fleets[0].exchange.round()
    clock.now += 1
    await asked(fleets[0], *[ill(Kind.MODEL)] * 2)
    clock.now += 1
    await fleets[1].reset("openai")
    boards[0].away = False
    await rounds(*fleets)
    assert [state(fleet) for fleet in fleets] == ["closed"] * 3
    assert counts(fleets[2]) == (0, 4, 0)


async def test_a_reset_that_cannot_be_told_is_done_here_and_told_later(
    boards: list[PlainBoard], fleets: list[Fleet], clock: Hand
) -> None:
    await asked(fleets[0], *[ILL] * 3)
    await rounds(*fleets)
    clock.now += 1
    boards[1].away = True
    with pytest.raises(StoreError):
        await fleets[1].reset("openai")
    assert [state(fleet) for fleet in fleets] == ["open", "closed", "open"]
    boards[1].away = False
    await rounds(*fleets)
    assert [state(fleet) for fleet in fleets] == ["closed"] * 3


async def test_a_reset_that_is_told_late_does_not_close_what_was_opened_after_it(
    boards: list[PlainBoard], fleets: list[Fleet], clock: Hand
) -> None:
    await asked(fleets[1], *[ILL] * 2)
    await rounds(*fleets)
    clock.now += 1
    boards[1].away = True
    with pytest.raises(StoreError):
        await fleets[1].reset("openai")
    clock.now += 1
    await asked(fleets[0], ill(Kind.MODEL))
    await fleets[0].exchange.round()
    boards[1].away = False
    await rounds(*fleets)
    assert [state(fleet) for fleet in fleets] == ["open"] * 3


async def test_a_replica_that_starts_without_a_board_finds_it_later(clock: Hand, paper: Paper) -> None:
    board = PlainBoard(paper)
    board.away = True
    with capture_logs() as logs:
        fleet = fleet_on(board, clock)
        await fleet.open()
        await asked(fleet, *[ILL] * 3)
        assert state(fleet) == "open"
        board.away = False
        await until(lambda: KEY in paper.standing)
        await until(lambda: "health shared again" in events(logs))
    await fleet.close()
    assert events(logs) == ["health not shared", "circuit opened", "health shared again"]


async def test_a_replica_that_stops_does_not_wait_for_a_board_that_hangs(
    opened: list[Fleet], boards: list[PlainBoard]
) -> None:
    boards[0].shut = asyncio.Event()
    await asked(opened[0], OK)
    async with asyncio.timeout(GENEROUS):
        await opened[0].close()
    assert not boards[0].shut.is_set()


# ---- nobody hears the answer ----------------------------------------------------------------------------------------


async def test_what_was_done_without_an_answer_is_not_told_again(boards: list[PlainBoard], fleets: list[Fleet]) -> None:
    boards[0].mute = True
    for _ in range(3):
        await asked(fleets[0], OK, ILL)
        await fleets[0].exchange.round()
    await asked(fleets[1], OK)
    await fleets[1].exchange.round()
    boards[0].mute = False
    await rounds(*fleets)
    assert [counts(fleet) for fleet in fleets] == [(4, 3, 0)] * 3


async def test_a_place_that_was_given_without_an_answer_is_the_same_place(
    boards: list[PlainBoard], fleets: list[Fleet], clock: Hand
) -> None:
    await asked(fleets[0], *[ILL] * 3)
    await rounds(*fleets)
    clock.now += POLICY.cooldown
    boards[0].mute = True
    ticket = await begun(fleets[0])
    assert list(ticket.probes) == ["model"]
    boards[0].mute = False
    await rounds(*fleets)
    assert [len(fleet.shared()[OPENAI].circuit.probes) for fleet in fleets] == [1] * 3


async def test_a_process_of_the_same_name_is_heard_though_its_clock_is_behind(
    fleets: list[Fleet], paper: Paper
) -> None:
    for number in (3, 2, 1):
        paper.wall = Hand(NOW + 60 * number)
        fleet = fleet_on(PlainBoard(paper), Hand(NOW + 60 * number), replica="reborn")
        await fleet.exchange.join()
        await asked(fleet, OK)
        await asked(fleets[0], OK)
        await fleets[0].exchange.round()  # comes first
        await said(fleet)
    await rounds(*fleets)
    assert counts(fleets[1]) == (6, 0, 0)


@pytest.mark.parametrize("arrived", [True, False])
async def test_whoever_stops_says_all_that_is_unsaid(
    boards: list[PlainBoard], fleets: list[Fleet], arrived: bool
) -> None:
    """What may have arrived, and what came after it."""
    boards[0].mute, boards[0].away = arrived, not arrived
    await asked(fleets[0], OK)
    assert not await fleets[0].exchange.say(list(fleets[0]._view))
    boards[0].mute = boards[0].away = False
    await asked(fleets[0], OK)
    await fleets[0].close()
    await fleets[1].exchange.round()
    assert counts(fleets[1]) == (2, 0, 0)


async def said(fleet: Fleet) -> None:
    """What it has to say, without looking before."""
    assert await fleet.exchange.say(list(fleet._view))


async def test_who_comes_second_adds_what_he_saw(fleets: list[Fleet]) -> None:
    """Though the time of both his words is the same."""
    await asked(fleets[0], OK)
    await said(fleets[0])
    await asked(fleets[1], OK)
    await fleets[1].exchange.round()
    await asked(fleets[0], OK)
    await said(fleets[0])
    assert counts(fleets[0]) == (3, 0, 0)


async def test_a_notice_that_was_taken_down_is_put_up_again_with_all_that_is_known(
    fleets: list[Fleet], paper: Paper
) -> None:
    await asked(fleets[0], OK)
    await said(fleets[0])
    del paper.standing[KEY]
    await asked(fleets[0], OK)
    await said(fleets[0])
    await fleets[1].exchange.round()
    assert counts(fleets[1]) == (2, 0, 0)


async def test_who_finds_the_board_forgotten_reads_what_stands_there_by_now(
    fleets: list[Fleet], paper: Paper, boards: list[PlainBoard], clock: Hand
) -> None:
    await asked(fleets[0], OK)
    await rounds(*fleets)
    paper.wipe()
    (new,) = await joined([PlainBoard(paper)], clock)
    await asked(new, *[ILL] * 3, model="o3")
    await said(new)
    with capture_logs() as logs:
        await fleets[0].exchange.round()
    assert state(fleets[0], "openai", "o3") == "open"
    assert events(logs) == ["health board forgotten", "circuit opened"]


async def test_what_was_read_later_but_is_older_is_not_believed(
    fleets: list[Fleet], boards: list[PlainBoard], paper: Paper
) -> None:
    await asked(fleets[1], OK)
    await said(fleets[1])
    boards[0].stuck = asyncio.Event()
    looking = asyncio.create_task(fleets[0].exchange.look())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stuck, boards[0].stuck = boards[0].stuck, None
    await asked(fleets[0], OK, OK)
    await said(fleets[0])
    stuck.set()
    await looking
    assert counts(fleets[0]) == (3, 0, 0)


async def test_the_marks_of_those_that_are_gone_are_forgotten(paper: Paper, clock: Hand) -> None:
    for number in range(70):
        (fleet,) = await joined([PlainBoard(paper)], clock)
        fleet._view.replica = f"process {number}"
        await asked(fleet, OK)
        await said(fleet)
        clock.now += 1
    assert sorted(word.decode(paper.standing[KEY].text).said) == sorted(f"process {n}" for n in range(6, 70))
    clock.now += 3_630
    await asked(fleet, OK)
    await said(fleet)
    assert list(word.decode(paper.standing[KEY].text).said) == ["process 69"]


# ---- slow -----------------------------------------------------------------------------------------------------------


async def test_what_is_seen_while_a_pin_is_on_its_way_is_neither_lost_nor_told_twice(
    boards: list[PlainBoard], fleets: list[Fleet]
) -> None:
    await asked(fleets[0], OK)
    boards[0].shut = asyncio.Event()
    saying = asyncio.create_task(fleets[0].exchange.say(list(fleets[0]._view)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asked(fleets[0], OK, ILL)
    await asked(fleets[1], OK)
    await fleets[1].exchange.round()
    boards[0].shut.set()
    assert await saying
    await rounds(*fleets)
    assert [counts(fleet) for fleet in fleets] == [(3, 1, 0)] * 3


async def test_one_pin_is_on_its_way_for_each_cell(boards: list[PlainBoard], fleets: list[Fleet]) -> None:
    await asked(fleets[0], OK)
    boards[0].shut = asyncio.Event()
    saying = [asyncio.create_task(fleets[0].exchange.say(list(fleets[0]._view))) for _ in range(5)]
    await asyncio.sleep(0)
    boards[0].shut.set()
    await asyncio.gather(*saying)
    assert boards[0].pins == 2  # the model's and the provider's


async def test_a_board_that_hangs_delays_nobody_but_a_probe_and_that_one_not_for_long(
    boards: list[PlainBoard], fleets: list[Fleet], clock: Hand
) -> None:
    await asked(fleets[0], *[ILL] * 3)
    await rounds(*fleets)
    clock.now += POLICY.cooldown
    boards[0].shut = asyncio.Event()
    with capture_logs() as logs:
        ticket = await begun(fleets[0])
    assert list(ticket.probes) == ["model"]
    assert events(logs) == ["health not shared", "circuit half-open"]
    assert logs[0]["why"] == "no answer in time"
    assert await fleets[0].begin(*OPENAI) is None
    other = fleets[0].begin("gemini", "flash")
    with pytest.raises(StopIteration):
        other.send(None)  # it has not waited for anything


async def test_a_client_that_leaves_while_a_place_is_asked_for_keeps_none(
    boards: list[PlainBoard], fleets: list[Fleet], clock: Hand
) -> None:
    tickets = [await begun(fleets[0]) for _ in range(4)]
    for ticket, kind in zip(tickets, [*[Kind.TRANSIENT] * 3, Kind.KEY], strict=True):
        fleets[0].end(ticket, ill(kind))
    await rounds(*fleets)
    clock.now += POLICY.cooldown
    for doors in range(1, 8):
        asking = asyncio.create_task(fleets[0].begin(*OPENAI))
        for _ in range(doors):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        if not asking.cancelled() and (sent := asking.result()) is not None:
            fleets[0].end(sent, LEFT)
        await rounds(*fleets)
        places = [cell.circuit.probes for fleet in fleets for cell in fleet.shared().values()]
        assert places == [{}] * 6, doors


async def test_a_client_that_leaves_when_the_place_was_given_gives_it_back(
    boards: list[PlainBoard], fleets: list[Fleet], clock: Hand
) -> None:
    await asked(fleets[0], *[ILL] * 3)
    await rounds(*fleets)
    clock.now += POLICY.cooldown
    boards[0].stuck = asyncio.Event()
    pins = boards[0].pins
    asking = asyncio.create_task(fleets[0].begin(*OPENAI))
    await until(lambda: boards[0].pins > pins)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    boards[0].stuck = None
    await rounds(*fleets)
    assert await fleets[1].begin(*OPENAI) is not None


# ---- the bell -------------------------------------------------------------------------------------------------------


async def test_where_the_bell_is_out_of_order_everybody_looks(opened: list[Fleet], boards: list[PlainBoard]) -> None:
    for board in boards:
        board.broken = True
    for _ in range(2):
        await asked(opened[0], *[ILL] * 3)
        await until(lambda: [state(fleet) for fleet in opened] == ["open"] * 3)
        await opened[1].reset("openai")
        await until(lambda: [state(fleet) for fleet in opened] == ["closed"] * 3)


async def test_who_never_looks_hears_the_bell(clock: Hand, paper: Paper) -> None:
    fleets = [fleet_on(PlainBoard(paper, look_seconds=3_600), clock, replica=name) for name in "ab"]
    for fleet in fleets:
        await fleet.open()
    await asked(fleets[0], *[ILL] * 3)
    await until(lambda: state(fleets[1]) == "open")
    await fleets[1].reset("openai")
    await until(lambda: state(fleets[0]) == "closed")
    await asked(fleets[1], ill(Kind.RATE_LIMITED, 60))
    await until(lambda: fleets[0].standing(*OPENAI).blocked > 0)
    for fleet in fleets:
        await fleet.close()


async def test_what_both_saw_a_part_of_rings_the_bell(clock: Hand, paper: Paper) -> None:
    fleets = [fleet_on(PlainBoard(paper, look_seconds=3_600), clock, replica=name) for name in "abc"]
    for fleet in fleets:
        await fleet.open()
    await asked(fleets[0], ILL, ILL)
    await until(lambda: KEY in paper.standing)
    await asked(fleets[1], ILL)
    await until(lambda: [state(fleet) for fleet in fleets] == ["open"] * 3)
    for fleet in fleets:
        await fleet.close()


async def test_what_is_enough_together_with_what_is_heard_rings_the_bell(clock: Hand, paper: Paper) -> None:
    fleets = [fleet_on(PlainBoard(paper, look_seconds=3_600), clock, replica=name) for name in "abc"]
    for fleet in fleets:
        await fleet.open()
    await asked(fleets[0], ILL, ILL)
    await until(lambda: KEY in paper.standing)
    await asked(fleets[1], ILL)
    with capture_logs() as logs:
        await fleets[1].exchange.look()
    assert state(fleets[1]) == "open"
    assert [(line["event"], line["heard"]) for line in logs] == [("circuit opened", False)]
    await until(lambda: [state(fleet) for fleet in fleets] == ["open"] * 3)
    for fleet in fleets:
        await fleet.close()


async def test_only_what_is_urgent_is_said_at_once(fleets: list[Fleet]) -> None:
    await asked(fleets[0], OK, ILL, LEFT)
    assert not fleets[0]._view.urgent.is_set()
    await asked(fleets[0], *[ILL] * 2)
    assert fleets[0]._view.urgent.is_set()


async def test_when_the_bell_breaks_somebody_looks(clock: Hand, paper: Paper, fleets: list[Fleet]) -> None:
    await asked(fleets[0], *[ILL] * 3)
    await said(fleets[0])
    text = paper.standing.pop(KEY).text
    board = PlainBoard(paper, look_seconds=3_600)
    board.broken = True
    fleet = fleet_on(board, clock)
    await fleet.open()
    paper.put(KEY, text)
    await until(lambda: state(fleet) == "open")
    await fleet.close()


async def test_who_always_comes_second_tries_again(opened: list[Fleet], boards: list[PlainBoard]) -> None:
    await asked(opened[0], OK)
    await until(lambda: OPENAI in opened[1].shared())
    boards[0].rivals = 10
    await asked(opened[0], OK)
    await until(lambda: counts(opened[1]) == (2, 0, 0))


async def test_outcomes_that_are_not_urgent_go_many_at_once(opened: list[Fleet], boards: list[PlainBoard]) -> None:
    for _ in range(200):
        await asked(opened[0], OK)
    await until(lambda: OPENAI in opened[1].shared() and counts(opened[1]) == (200, 0, 0))
    assert boards[0].pins <= 20


# ---- strange notices ------------------------------------------------------------------------------------------------


async def test_what_is_not_understood_is_said_once_and_left_alone(
    fleets: list[Fleet], paper: Paper, boards: list[PlainBoard]
) -> None:
    paper.put(KEY, b'{"cell": {"circuit": "a wheel"}}')
    with capture_logs() as logs:
        for fleet in fleets:
            await asked(fleet, OK)
        await rounds(*fleets)
        paper.put(KEY, b'{"cell": {"circuit": "a mill"}}')
        await rounds(*fleets)
    assert events(logs) == ["health not understood"] * 3
    assert logs[0]["key"] == KEY
    assert paper.standing[KEY].text == b'{"cell": {"circuit": "a mill"}}'
    assert [counts(fleet) for fleet in fleets] == [(1, 0, 0)] * 3


async def test_where_a_strange_notice_stands_each_gives_places_of_its_own(
    fleets: list[Fleet], paper: Paper, clock: Hand
) -> None:
    await asked(fleets[0], *[ILL] * 3)
    await rounds(*fleets)
    clock.now += POLICY.cooldown
    paper.put(KEY, b"?")
    with capture_logs():
        first = [await fleet.begin(*OPENAI) for fleet in fleets]
        again = [await fleet.begin(*OPENAI) for fleet in fleets]
    assert all(first)
    assert not any(again)


async def test_what_is_understood_again_is_shared_again(fleets: list[Fleet], paper: Paper) -> None:
    await asked(fleets[1], OK)
    await fleets[1].exchange.round()
    good = paper.standing[KEY].text
    paper.put(KEY, b"?")
    with capture_logs():
        await asked(fleets[0], OK, ILL)
        await rounds(*fleets)
        paper.put(KEY, good)
        await rounds(*fleets)
    assert [counts(fleet) for fleet in fleets] == [(2, 1, 0)] * 3


@pytest.mark.parametrize("key", ["budget:openai", "health:", "health:/gpt", "healthy:openai/gpt", ""])
async def test_notices_of_others_are_none_of_ours(fleets: list[Fleet], paper: Paper, key: str) -> None:
    paper.put(key, b"?")
    with capture_logs() as logs:
        await rounds(*fleets)
    assert logs == []
    assert fleets[0].shared() == {}


async def test_a_model_may_have_slashes(fleets: list[Fleet]) -> None:
    await asked(fleets[0], OK, provider="groq", model="openai/gpt-oss")
    await rounds(*fleets)
    assert set(fleets[1].shared()) == {("groq", "openai/gpt-oss"), ("groq", "")}


async def test_a_board_full_of_others_cells_does_not_fill_the_process(fleets: list[Fleet], paper: Paper) -> None:
    await asked(fleets[1], OK)
    await fleets[1].exchange.round()
    text = paper.standing.pop(KEY).text
    for number in range(1_500):
        paper.put(f"health:old/{number}", text)
    await asked(fleets[0], OK, ILL)
    await rounds(fleets[0])
    assert 900 < len(fleets[0].shared()) <= 1_001
    await asked(fleets[0], *[ILL] * 3, provider="old", model="1400")
    assert fleets[0].shared()["old", "1400"].failed == 3
    await rounds(fleets[0])
    assert fleets[0].shared()["old", "1400"].ok == 1


# ---- exactly once ---------------------------------------------------------------------------------------------------

MOODS = ("away", "mute", "well", "round", "say", "ask", "later")
STEPS = st.lists(st.tuples(st.sampled_from(MOODS), st.integers(0, 2)), min_size=1, max_size=40)


async def exactly_once(steps: list[tuple[str, int]]) -> None:
    clock = Hand(NOW)
    paper = Paper(clock)
    boards = [PlainBoard(paper) for _ in range(3)]
    fleets = await joined(boards, clock)
    told = 0
    for mood, at in steps:
        board, fleet = boards[at], fleets[at]
        if mood in ("away", "mute", "well"):
            board.away, board.mute = mood == "away", mood == "mute"
        elif mood == "round":
            await fleet.exchange.round()
        elif mood == "later":
            clock.now += 60
        elif mood == "say":
            await fleet.exchange.say(list(fleet._view))
        elif mood == "ask":
            told += 1
            await asked(fleet, OK)
    for board in boards:
        board.away = board.mute = False
    await rounds(*fleets)
    assert [fleet.shared()[OPENAI].ok for fleet in fleets if told] == [told] * 3 * bool(told)
    assert sum(fleet.own()[OPENAI].ok for fleet in fleets if fleet.own()) == told


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_whatever_the_board_does_each_outcome_is_told_exactly_once(steps: list[tuple[str, int]]) -> None:
    with capture_logs():
        asyncio.run(exactly_once(steps))
