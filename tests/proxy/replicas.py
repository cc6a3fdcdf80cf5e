"""Fleets for tests: a clock that goes when it is told, outcomes, and several replicas on one board."""

import asyncio
from collections.abc import Callable, Sequence

from adapters.base import Failure, Kind
from proxy.fleet import Fleet, Ticket
from proxy.health import Outcome, Policy
from proxy.store import Board
from tests.proxy.accounts import Hand
from tests.proxy.plain_board import Paper, PlainBoard

GENEROUS = 30  # seconds: for a hang to be told from an answer, not for measuring
NOW = 1_795_000_000.0  # seconds since the epoch
POLICY = Policy(consecutive=3, least=1_000, cooldown=300.0, probes=3, slow_start=0.0)
OK = Outcome(first=100.0, whole=300.0, tokens=10)
LEFT = Outcome(left=True)
OPENAI = ("openai", "gpt-4o")


def ill(kind: Kind = Kind.TRANSIENT, retry_after: float | None = None) -> Outcome:
    return Outcome(failure=Failure(kind, "so it is", retry_after=retry_after))


ILL = ill()


def fleet_on(board: Board, clock: Callable[[], float], *, replica: str = "a", policy: Policy = POLICY) -> Fleet:
    return Fleet(board, policy, replica=replica, clock=clock, wall=clock)


def alone(clock: Callable[[], float] | None = None, policy: Policy = POLICY) -> Fleet:
    """One that nobody else hears of."""
    hand = clock or Hand(NOW)
    board = PlainBoard(Paper(hand))
    return Fleet(board, policy, replica="a", clock=hand, wall=hand)


async def joined(boards: Sequence[Board], clock: Callable[[], float], policy: Policy = POLICY) -> list[Fleet]:
    """Replicas that share in rounds, whenever the test says so."""
    fleets = [fleet_on(board, clock, replica=f"r{n}", policy=policy) for n, board in enumerate(boards)]
    for fleet in fleets:
        await fleet.exchange.join()
    return fleets


async def rounds(*fleets: Fleet) -> None:
    """Until each has said what it saw, and heard what the others did."""
    for fleet in (*fleets, *fleets):
        await fleet.exchange.round()


async def begun(fleet: Fleet, provider: str = "openai", model: str = "gpt-4o", first_byte: float = 60.0) -> Ticket:
    ticket = await fleet.begin(provider, model, first_byte=first_byte)
    assert ticket is not None
    return ticket


async def asked(fleet: Fleet, *outcomes: Outcome, provider: str = "openai", model: str = "gpt-4o") -> None:
    """One request after the other; and nothing is laid aside any more."""
    for outcome in outcomes:
        fleet.end(await begun(fleet, provider, model), outcome)
    fleet.gather()


async def until(holds: Callable[[], bool]) -> None:
    """Look again and again."""
    async with asyncio.timeout(GENEROUS):
        while not holds():  # noqa: ASYNC110  # what is heard in the background rings no bell
            await asyncio.sleep(0.005)


def state(fleet: Fleet, provider: str = "openai", model: str = "gpt-4o") -> str:
    return fleet.standing(provider, model).state
