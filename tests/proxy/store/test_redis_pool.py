"""Sentinels, for real: the master is lost or sent down, and everything goes on with the other, on all connections."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from redis.asyncio.connection import SSLConnection

from proxy.quota import Entered, Entering, Quota
from proxy.store import Lost, StoreError
from proxy.store.redis import RedisStore
from proxy.store.redis_pool import pool_of
from tests.proxy.store.replica import GENEROUS, Replica, replicas, totals
from tests.redis_sentinel import SERVICE, Watched, watched
from tests.redis_server import redis_server


@pytest.fixture
def three() -> Iterator[Watched]:
    with watched() as found:
        yield found


async def insist(act):
    """Ask again, as those do who ask the store; `Lost` is for whoever holds money."""
    async with asyncio.timeout(GENEROUS):
        while True:
            try:
                return await act()
            except Lost:
                raise
            except StoreError:
                await asyncio.sleep(0.01)


async def works(replica: Replica, name: str) -> None:
    """Each connection of a store: the money's, that of quotas and board, the bell's, and those of all the rest."""
    store = replica.store
    await replica.insist(lambda: replica.hold(name))
    assert await replica.insist(lambda: replica.settle(name)) == []
    quota = Quota(requests=100, concurrent=100)
    entering = Entering(key="k", id=name, quota=quota, tokens=0, seconds=60)
    assert isinstance(await insist(lambda: store.enter(entering)), Entered)
    await insist(lambda: store.remember({name: "text"}, 60))
    assert await insist(lambda: store.recall([name])) == {name: "text"}


async def rings(one: RedisStore, other: RedisStore, name: str) -> None:
    """What one pins makes the other's bell ring."""
    heard = asyncio.create_task(insist(other.bell))
    pinned = False
    async with asyncio.timeout(GENEROUS):
        while not heard.done():
            pinned = (await insist(lambda: one.pin(name, 0, b"text", ring=True))).serial > 0
            await asyncio.wait([heard], timeout=0.05)
    assert pinned
    assert (await insist(lambda: other.notices(0))).changed[name].text == b"text"


@pytest.mark.parametrize("killed", [True, False], ids=["the master is killed", "the master becomes a replica"])
async def test_money_and_health_go_on_with_the_new_master(three: Watched, killed: bool) -> None:
    async with asyncio.timeout(GENEROUS * 2), replicas(three.url, "one", "other", timeout=0.5) as (one, other):
        await works(one, "before")
        await rings(one.store, other.store, "before")
        await one.hold("open")
        three.replicated()
        if killed:
            three.master.kill()
        else:
            three.fail_over()
        await works(one, "after")
        await works(other, "also")
        await rings(one.store, other.store, "after")
        assert await one.insist(lambda: one.settle("open", 5)) == []
        spent = await insist(lambda: totals(other.store))
        assert (spent.spent, spent.held) == (3 + 3 + 3 + 5, 0), "nothing is lost, nothing is counted twice"


async def test_sentinels_that_keep_silent_are_not_asked_first_for_ever(three: Watched) -> None:
    """The kernel takes their connections, and nobody answers before whoever wants a master has lost patience."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [one.getsockname()[1], other.getsockname()[1], three.port]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        pool = pool_of(f"redis+sentinel://{hosts}/{SERVICE}", most=1, wait=1, socket_timeout=2 * GENEROUS)
        connection = pool.connection_class(**pool.connection_kwargs)
        async with asyncio.timeout(GENEROUS):
            while not connection.is_connected:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await connection.connect()
        assert vars(connection)["port"] == three.master.port
        await connection.disconnect()
        await pool.aclose()


async def test_a_service_that_no_sentinel_knows_is_a_store_error(three: Watched) -> None:
    store = RedisStore(f"redis+sentinel://:canary@127.0.0.1:{three.port}/nobodys", timeout=0.5)
    with pytest.raises(StoreError, match=r"^Redis: MasterNotFoundError$"):
        await store.open()
    with pytest.raises(StoreError, match=r"^Redis: MasterNotFoundError$"):
        await store.beat()
    await store.close()


async def test_who_finds_no_connection_to_the_master_waits_for_one(three: Watched) -> None:
    pool = pool_of(three.url, most=1, wait=GENEROUS)
    first = await pool.get_connection()
    second = asyncio.create_task(pool.get_connection())
    await asyncio.sleep(0)
    assert not second.done()
    await pool.release(first)
    assert await second is first
    await pool.release(first)
    await pool.aclose()


async def test_connections_that_were_hung_up_while_they_lay_idle_are_all_closed_when_one_is_taken() -> None:
    """Of three that were needed at once, one alone goes on being taken."""
    with redis_server() as server:
        pool = pool_of(server.url, most=3, wait=GENEROUS, protocol=2)
        taken = [await pool.get_connection() for _ in range(3)]
        for connection in taken:
            await pool.release(connection)
        ways = [connection._writer.transport for connection in taken]
        async with asyncio.timeout(GENEROUS):
            server.kill()
            while not all(connection._reader.at_eof() for connection in taken):  # noqa: ASYNC110  # no bell rings
                await asyncio.sleep(0)
        server.start()
        again = await pool.get_connection()
        assert all(way.is_closing() for way in ways)
        assert [connection for connection in taken if connection.is_connected] == [again]
        others = [await pool.get_connection() for _ in range(2)]
        assert {again, *others} == set(taken), "what was closed is connected anew when it is needed"
        assert all(connection.is_connected for connection in taken)
        for connection in taken:
            await pool.release(connection)
        await pool.aclose()


def test_what_the_url_says_of_the_server_is_for_the_server_alone() -> None:
    pool = pool_of("rediss+sentinel://user:word@h:1/s/3", most=1, wait=1, socket_timeout=2.0)
    words = pool.connection_kwargs
    assert (words["db"], words["username"], words["password"], words["socket_timeout"]) == (3, "user", "word", 2.0)
    assert issubclass(pool.connection_class, SSLConnection)
    sentinels = pool.sentinel_manager  # type: ignore[attr-defined]  # redis-py's pool of this kind has it
    asked = sentinels.sentinels[0].connection_pool
    assert asked.connection_kwargs["socket_timeout"] == 2.0
    assert not {"username", "password"} & {name for name, word in asked.connection_kwargs.items() if word}
    assert not issubclass(asked.connection_class, SSLConnection)
