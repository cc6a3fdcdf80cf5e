"""Connections to Redis: to a server, or to whichever is the master when a connection is made.

Sentinels are asked with each new connection, not by a watch: who is no master any more breaks its connections, or
refuses to be written to, and either makes a new one.
"""

from typing import Any

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

from proxy.store import redis_address

_OF_SENTINELS = ("socket_timeout", "socket_connect_timeout", "retry", "protocol")


class _Sentinels(Sentinel):
    async def discover_master(self, service_name: str) -> Any:
        """As redis-py does, one after the other. One that keeps silent takes all the time that a connection may take:
        so the next one to ask begins with another."""
        first = self.sentinels[0]
        try:
            return await super().discover_master(service_name)
        except BaseException:
            if self.sentinels[0] is first:
                self.sentinels.append(self.sentinels.pop(0))
            raise


class _Pool(BlockingConnectionPool):
    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """As redis-py does; and those are closed that the server hung up while they lay idle. The one that came back
        last is taken first, so one far down is not looked at again, and its descriptor would stay open."""
        for idle in self._available_connections:
            if idle._reader is not None and idle._reader.at_eof():
                idle._close()  # type: ignore[no-untyped-call]  # redis-py left it out
        await super().ensure_connection(connection)


class _Masters(SentinelConnectionPool, _Pool):
    """Who finds no connection waits for one, as at a single server; redis-py's own pool would refuse."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


def pool_of(url: str, *, most: int, wait: float, **words: Any) -> ConnectionPool:
    """At most `most` connections; whoever finds none waits for `wait` seconds. `words` are those of a connection.

    With Sentinels, connections that are made of its `connection_kwargs` need it: whoever makes them keeps it. Raises
    `AddressError`.
    """
    found = redis_address.read(url)
    if found is None:
        return _Pool.from_url(url, max_connections=most, timeout=wait, **words)
    told = {name: words[name] for name in _OF_SENTINELS if name in words}
    sentinels = _Sentinels(found.hosts, sentinel_kwargs=told)  # type: ignore[no-untyped-call]  # redis-py left it out
    words |= {"ssl": found.tls, "db": found.db, "username": found.user, "password": found.password}
    return _Masters(found.service, sentinels, max_connections=most, timeout=wait, **words)  # type: ignore[no-untyped-call]  # redis-py left these out, too
