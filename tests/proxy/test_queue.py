"""Who waits for a rate limit goes in order of urgency and deadline, one after the other."""

import asyncio

import pytest

from proxy import queue
from proxy.queue import Queue
from tests.proxy.accounts import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def test_the_most_urgent_go_first_and_among_them_who_has_the_least_time():
    line, went = Queue(), []

    async def waiter(name: str, urgency: int, deadline: float) -> None:
        assert await line.wait(0, urgency=urgency, deadline=deadline)
        went.append(name)

    await asyncio.gather(waiter("low", 2, 1.0), waiter("late", 1, 9.0), waiter("soon", 1, 3.0), waiter("high", 0, 99.0))
    assert went == ["high", "soon", "late", "low"]


async def test_who_came_first_goes_first_among_equals():
    line, went = Queue(), []

    async def waiter(n: int) -> None:
        await line.wait(0, urgency=1, deadline=5.0)
        went.append(n)

    await asyncio.gather(*map(waiter, range(8)))
    assert went == list(range(8))


async def test_who_goes_does_not_go_before_the_time():
    line = Queue()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await line.wait(0.03, urgency=1, deadline=5.0)
    assert loop.time() - began >= 0.03


async def test_who_leaves_keeps_nobody_waiting():
    line, went = Queue(), []

    async def waiter(n: int) -> None:
        await line.wait(0, urgency=1, deadline=float(n))
        went.append(n)

    tasks = [asyncio.create_task(waiter(n)) for n in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert went == [1, 2]


async def test_who_leaves_just_before_its_turn_keeps_nobody_waiting():
    line, went = Queue(), []

    async def waiter(n: int) -> None:
        await line.wait(0, urgency=1, deadline=float(n))
        went.append(n)
        if n == 0:
            tasks[1].cancel()

    tasks = [asyncio.create_task(waiter(n)) for n in range(3)]
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert went == [0, 2]
    assert await line.wait(0, urgency=1, deadline=1.0)


async def test_many_go_in_order_though_every_third_leaves():
    line, went = Queue(), []

    async def waiter(n: int) -> None:
        await line.wait(0, urgency=n % 3, deadline=float(-n))
        went.append(n)

    tasks = [asyncio.create_task(waiter(n)) for n in range(90)]
    await asyncio.sleep(0)
    for task in tasks[1::3]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert went == sorted(went, key=lambda n: (n % 3, -n))
    assert len(went) == 60
    await until(lambda: line._usher is None)
    assert (line._waiting, line._ready) == (0, [])


async def test_a_line_that_has_ended_begins_anew():
    line = Queue()
    assert await line.wait(0, urgency=1, deadline=1.0)
    assert await line.wait(0, urgency=1, deadline=1.0)


async def test_one_too_many_is_refused_at_once_and_there_is_room_again_when_others_have_gone():
    line = Queue()
    waiting = [asyncio.create_task(line.wait(60, urgency=1, deadline=1.0)) for _ in range(queue._MOST)]
    await asyncio.sleep(0)
    assert not await line.wait(60, urgency=0, deadline=0.0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await line.wait(0, urgency=1, deadline=1.0)


async def test_it_says_how_many_wait():
    line = Queue()
    waiting = [asyncio.create_task(line.wait(60, urgency=1, deadline=9.0)) for _ in range(3)]
    await until(lambda: len(line) == 3)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(line) == 0
