"""The connections to one provider: those under way, and those that wait to be used again."""

import asyncio

from proxy.http1.connection import KEEPALIVE_SECONDS, Connection, Cut
from proxy.http1.dial import dial
from proxy.http1.route import Route


class Pool:
    """Lends connections. There is no limit to them: how many requests are under way is limited elsewhere."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []  # the one used last is at the end, and is used first: the rest may grow old
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Pool: {len(self._open)} open, {len(self._idle)} idle>"

    def lend(self, now: float) -> Connection | None:
        """One that is open already, if there is one; `now` is the loop's time. It is the borrower's until it is given
        back, or closed."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.alive(now):
                return connection
            connection.close()
        return None

    async def dial(self) -> Connection:
        """A new one, the borrower's too. Raises `OSError`."""
        connection = await dial(self._route, self._gone)
        if self._closed or connection.lost is not None or not connection.alive(connection.since):
            connection.abort()
            raise connection.lost or Cut("closed")
        self._open.add(connection)
        return connection

    def give_back(self, connection: Connection, now: float) -> None:
        """Whoever borrowed it is done with it. What can be used again is kept, the rest is closed at once."""
        if not connection.reusable:
            connection.abort()
            return
        connection.since = now
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweep_later(now)

    def _sweep_later(self, now: float) -> None:
        self._sweeping = asyncio.get_running_loop().call_at(now + KEEPALIVE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close what has waited for too long."""
        now = asyncio.get_running_loop().time()
        self._sweeping = None
        young = [connection for connection in self._idle if now - connection.since < KEEPALIVE_SECONDS]
        for connection in self._idle[: len(self._idle) - len(young)]:  # they lie in the order of their ages
            connection.close()
        self._idle = young
        if young:
            self._sweep_later(young[0].since)

    async def close(self) -> None:
        """Close all of them, those under way too. No more are made."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        self._idle.clear()
        for connection in [*self._open]:
            connection.abort()
        if self._open:
            self._emptied = self._emptied or asyncio.get_running_loop().create_future()
            await self._emptied

    def _gone(self, connection: Connection) -> None:
        self._open.discard(connection)
        if self._emptied is not None and not self._emptied.done() and not self._open:
            self._emptied.set_result(None)
