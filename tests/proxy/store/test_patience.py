"""A timeout that does not count the time in which nobody listened."""

import asyncio
import time

import pytest

from proxy.store.patience import Patience


async def test_what_never_comes_is_given_up():
    with pytest.raises(TimeoutError):
        async with Patience(0.01):
            await asyncio.Future()


async def test_what_came_while_the_loop_was_late_is_heard():
    """The same with `asyncio.timeout` is a TimeoutError."""
    loop = asyncio.get_running_loop()
    reader, writer = asyncio.Future[None](), loop.create_future()
    async with Patience(0.05):
        loop.call_soon(time.sleep, 0.2)  # the loop itself is what is late here, so this is no wait for anything
        loop.call_soon(loop.call_soon, reader.set_result, None)
        await reader
        loop.call_soon(loop.call_soon, writer.set_result, None)
        await writer


async def test_a_cancellation_from_outside_stays_one():
    async def wait():
        async with Patience(5):
            await asyncio.Future()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_is_done_in_time_leaves_no_timer_behind():
    async with Patience(0.001):
        pass
    await asyncio.sleep(0)


async def test_who_is_cancelled_in_the_moment_in_which_the_time_is_over_stays_cancelled():
    async def wait():
        async with Patience(0.001) as patience:
            try:
                await asyncio.Future()
            except asyncio.CancelledError:
                assert patience._expired
                patience._task.cancel()
                raise

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(wait())
