"""A timeout that does not count the time in which nobody listened."""

import asyncio
import time

import pytest

from proxy.store import patience
from proxy.store.patience import Patience
from tests.proxy.accounts import GENEROUS, until


def ticking():
    """The timers of this event loop."""
    return [ticks for (loop, _), ticks in patience._ticking.items() if loop is asyncio.get_running_loop()]


async def test_what_never_comes_is_given_up_after_all_its_steps():
    with pytest.raises(TimeoutError), Patience(0.01) as ours:
        await asyncio.Future()
    assert ours._ticks.count == patience._STEPS + 1, "the first may have been the end of a step that was under way"


async def test_what_came_while_the_loop_was_late_is_heard():
    """The same with `asyncio.timeout` is a TimeoutError."""
    loop = asyncio.get_running_loop()
    reader, writer = asyncio.Future[None](), loop.create_future()
    with Patience(0.05):
        loop.call_soon(time.sleep, 0.2)  # the loop itself is what is late here, so this is no wait for anything
        loop.call_soon(loop.call_soon, reader.set_result, None)
        await reader
        loop.call_soon(loop.call_soon, writer.set_result, None)
        await writer


async def test_a_cancellation_from_outside_stays_one():
    async def wait():
        with Patience(5):
            await asyncio.Future()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_is_done_in_time_leaves_no_timer_behind():
    with Patience(0.001):
        pass
    await until(lambda: not ticking())


async def test_many_share_one_timer_and_each_is_given_up_in_its_own_time():
    given_up: list[str] = []

    async def wait(name, seconds):
        try:
            with Patience(seconds):
                await asyncio.Future()
        except TimeoutError:
            given_up.append(name)

    early = [asyncio.create_task(wait(name, 0.05)) for name in ("a", "b")]
    patient = asyncio.create_task(wait("patient", 60))
    await until(lambda: any(ticks.count > 1 for ticks in ticking()))
    late = asyncio.create_task(wait("late", 0.05))
    await asyncio.sleep(0)
    assert {ticks._seconds: len(ticks.waiting) for ticks in ticking()} == {0.05: 3, 60: 1}
    async with asyncio.timeout(GENEROUS):
        await asyncio.wait(early)
        assert given_up == ["a", "b"], "who came later has more time left"
        await late
    assert given_up == ["a", "b", "late"]
    patient.cancel()
    await asyncio.wait([patient])
    assert patient.cancelled()


def test_nothing_is_left_of_an_event_loop_that_ended_while_somebody_waited():
    async def leave():
        with Patience(60):
            await asyncio.sleep(0)

    for _ in range(3):
        asyncio.run(leave())
    assert len([1 for loop, _ in patience._ticking if loop.is_closed()]) == 1, "and that one goes with the next"


def test_where_no_task_is_nobody_can_wait():
    async def told():
        found = asyncio.get_running_loop().create_future()

        def enter():
            try:
                with Patience(1):
                    found.set_result("let in")
            except RuntimeError as error:
                found.set_result(str(error))

        asyncio.get_running_loop().call_soon(enter)
        return await found

    assert asyncio.run(told()) == "there is no task that could wait"


async def test_who_is_cancelled_in_the_moment_in_which_the_time_is_over_stays_cancelled():
    async def wait():
        with Patience(0.001) as ours:
            try:
                await asyncio.Future()
            except asyncio.CancelledError:
                assert ours._expired
                ours._task.cancel()
                raise

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(wait())
