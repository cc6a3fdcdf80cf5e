"""Two attempts at once: who says something first goes on, and nobody is left running."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from adapters.base import Failure, Kind
from proxy.race import Race

pytestmark = pytest.mark.anyio

LATER = 60.0  # seconds that no test waits for: what comes first is an event
Runner = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Track:
    """What the runners of one race did, in order. `happened` has an event for each line of the log."""

    def __init__(self) -> None:
        self.race = Race()
        self.log: list[str] = []
        self.happened: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def say(self, line: str) -> None:
        self.log.append(line)
        self.happened[line].set()

    def runner(self, name: str, after: str = "", failure: Failure | None = None, *, wins: bool = True) -> Runner:
        """One that waits until the line `after` is in the log, or not at all, then wins, and fails."""

        async def run() -> None:
            self.say(f"{name} begins")
            try:
                await self.happened[after or f"{name} begins"].wait()
                if wins:
                    self.race.won()
                    self.say(f"{name} wins")
                    await asyncio.sleep(0)
            except asyncio.CancelledError:
                self.say(f"{name} is cancelled")
                raise
            if failure is not None:
                self.say(f"{name} fails")
                raise failure

        return run


DOWN = Failure(Kind.TRANSIENT, "down")


async def test_who_answers_in_time_runs_alone():
    track = Track()
    assert await track.race.run(track.runner("a"), track.runner("b"), LATER) == [None]
    assert track.log == ["a begins", "a wins"]


async def test_the_second_wins_over_a_first_that_is_late_and_the_first_is_cancelled():
    track = Track()
    assert await track.race.run(track.runner("a", "never"), track.runner("b"), 0) == [None, None]
    assert track.log == ["a begins", "b begins", "b wins", "a is cancelled"]


async def test_the_first_may_still_win():
    track = Track()
    assert await track.race.run(track.runner("a", "b begins"), track.runner("b", "never"), 0) == [None, None]
    assert track.log == ["a begins", "b begins", "a wins", "b is cancelled"]


async def test_a_first_that_fails_before_the_time_is_told_and_the_second_is_not_begun():
    track = Track()
    first = track.runner("a", "", DOWN, wins=False)
    assert await track.race.run(first, track.runner("b"), LATER) == [DOWN]
    assert track.log == ["a begins", "a fails"]


async def test_a_first_that_fails_later_leaves_the_second_alone():
    track = Track()
    first = track.runner("a", "b begins", DOWN, wins=False)
    assert await track.race.run(first, track.runner("b", "a fails"), 0) == [DOWN, None]
    assert track.log[-1] == "b wins"


async def test_both_may_fail():
    track = Track()
    other = Failure(Kind.TIMEOUT, "late")
    first = track.runner("a", "b fails", DOWN, wins=False)
    assert await track.race.run(first, track.runner("b", "", other, wins=False), 0) == [DOWN, other]


async def test_who_has_won_may_still_fail():
    track = Track()
    assert await track.race.run(track.runner("a", "b begins", DOWN), track.runner("b", "never"), 0) == [DOWN, None]


async def test_a_winner_that_goes_on_for_long_is_not_joined_by_a_second():
    track = Track()
    over = asyncio.Event()

    async def talks() -> None:
        track.race.won()
        asyncio.get_running_loop().call_later(0.02, over.set)  # some time after the second would have begun
        await over.wait()

    assert await track.race.run(talks, track.runner("b"), 0.001) == [None]
    assert track.log == []


async def test_a_cancellation_from_outside_cancels_both_and_waits_for_them():
    track = Track()
    task = asyncio.create_task(track.race.run(track.runner("a", "never"), track.runner("b", "never"), 0))
    await track.happened["b begins"].wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert track.log[2:] == ["a is cancelled", "b is cancelled"]


@pytest.mark.parametrize("after", [LATER, 0], ids=["alone", "the first of two"])
async def test_a_winner_that_gives_up_by_itself_gives_up_the_whole_request(after):
    """Its client has left in a way that only it has seen."""
    track = Track()

    async def gives_up() -> None:
        if not after:
            await track.happened["b begins"].wait()
        track.race.won()
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await track.race.run(gives_up, track.runner("b", "never"), after)
    assert track.log == ([] if after else ["b begins", "b is cancelled"])


async def test_a_bug_is_raised_not_told_as_a_failure():
    track = Track()

    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await track.race.run(broken, track.runner("b"), LATER)
