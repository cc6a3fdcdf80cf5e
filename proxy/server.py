"""Runs the application: uvicorn, and how it stops.

A SIGTERM does not close the door at once: `/readyz` answers 503, what is in flight is finished, then the process ends
with 0. uvicorn by itself would stop listening first, and whoever asks `/readyz` would learn nothing. Meanwhile each
answer says `connection: close`, so that no client sends its next request into a connection that is about to go.
"""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Iterable
from types import FrameType

import structlog
import uvicorn
from litestar import Litestar

from proxy.front import Front
from proxy.listener import listening
from proxy.settings import Settings
from proxy.workers.port import why
from proxy.workers.worker import Worker

_COLLECT = (10_000, 20, 20)  # new objects, and rounds of the younger ones, until the collector looks
_CLOSE = (b"connection", b"close")
_LINGER_SECONDS = 0.25  # at least, for the next request on a connection whose answer could not say that it closes
_NEWS_SECONDS = 1.0  # for a client to take the news that it is cut off; who does not read is left without
_LOOK_SECONDS = 0.02

Announce = Callable[[int], None]


class Server(uvicorn.Server):
    """A server that drains. `announce` is told the port once it is open.

    `grace`: seconds for those who are being served; `notice`: of these, how long the door stays open at least, and a
    connection that was to be kept is left to its client.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        app: Litestar,
        announce: Announce,
        *,
        grace: float,
        notice: float = 0.0,
        worker: Worker | None = None,
    ) -> None:
        super().__init__(config)
        self._app, self._announce = app, announce
        self._grace, self._notice = grace, min(notice, grace)
        self._worker = worker
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None
        self._over = asyncio.Event()  # nobody is waited for any more
        self._end = 0.0  # when it comes to that by itself

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port, and say so."""
        self._loop = asyncio.get_running_loop()
        if self._worker is not None:
            self._worker.attach(drain=self._drain, cut=self._cut, reconfigure=self._app.state.reconfigure)
        await super().startup(sockets)
        # What is there now stays, and hardly anything of a request is in a cycle: that the collector looked at all of
        # it again and again cost a fifth of a request.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECT)
        if hasattr(signal, "SIGHUP"):  # Windows has none
            self._loop.add_signal_handler(signal.SIGHUP, self._app.state.reconfigure)
        if self.started:
            self._announce(self.servers[0].sockets[0].getsockname()[1])
            if self._worker is not None:
                self._worker.ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second one ends what is still there.

        Not of a worker: it is its supervisor who says so. Whoever stops a whole group of processes signals both, and
        the supervisor passes it on: the second time that a worker hears of it, nobody has asked a second time.
        """
        if self._loop is None:
            self.should_exit = True
        elif self._draining is None:
            self._loop.call_soon_threadsafe(self._drain)
        elif self._worker is None:
            self._loop.call_soon_threadsafe(self._cut)

    def _drain(self) -> None:
        if self._draining is None:
            self._app.state.draining = True
            self._draining = asyncio.ensure_future(self._finish())

    async def _finish(self) -> None:
        """Wait for those who are here now, with the door open; then let it be closed."""
        self._end = self._now() + self._grace
        open_until = self._now() + self._notice
        here = set(self.server_state.tasks)
        structlog.get_logger().info("draining", requests=len(here), seconds=self._grace)
        self._part()
        await self._gone(here)
        idle_until = min(self._now() + max(self._notice, _LINGER_SECONDS), self._end) if here else 0.0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(open_until):
                await self._over.wait()
        # On a connection that was to be kept, its client may be about to ask: until it has given up to use it again.
        while self._now() < idle_until and self._idle() and not self._over.is_set():  # noqa: ASYNC110  # uvicorn rings no bell
            await asyncio.sleep(_LOOK_SECONDS)
        self.should_exit = True

    def _idle(self) -> bool:
        """Whether a connection is open on which nothing is asked."""
        cycles = (getattr(connection, "cycle", None) for connection in self.server_state.connections)
        return any(cycle is None or cycle.response_complete for cycle in cycles)

    def _part(self) -> None:
        """Every answer that begins from now on says that its connection will be closed, and closes it."""
        self.config.encoded_headers.append(_CLOSE)  # uvicorn makes each second's headers of these
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        for connection in self.server_state.connections:
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_started:
                cycle.keep_alive = False

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the door, wait for those who came meanwhile, cut off who is still there; then close the rooms.

        In place of uvicorn's, which closes the rooms while requests that it has cut off still settle in them.
        """
        for server in self.servers:
            server.close()
        for one in sockets or ():
            one.close()
        if self._worker is not None:
            self._worker.shut()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._gone(self.server_state.tasks)
        if self.server_state.tasks:
            await self._cut_off()
        await self._flushed()
        await self.lifespan.shutdown()

    async def _gone(self, tasks: Iterable["asyncio.Task[None]"]) -> None:
        """Wait until these are over, or nobody is waited for any more."""
        over = asyncio.ensure_future(self._over.wait())
        try:
            while (left := [task for task in tasks if not task.done()]) and not self._over.is_set():
                patience = self._end - self._now()
                if patience <= 0:
                    self._over.set()
                await asyncio.wait({*left, over}, timeout=max(0.0, patience), return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()

    async def _flushed(self) -> None:
        """Wait until all that was written has been sent; not for ever, to those who do not read it."""
        end = self._now() + _NEWS_SECONDS
        while self.server_state.connections and self._now() < end:  # noqa: ASYNC110  # uvicorn rings no bell for it
            await asyncio.sleep(_LOOK_SECONDS)

    async def _cut_off(self) -> None:
        """Each request says so to its client and settles; one whose client does not read it is cut off once more."""
        structlog.get_logger().warning("cutting off", requests=len(self.server_state.tasks))
        for _ in range(2):
            if tasks := set(self.server_state.tasks):
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks, timeout=_NEWS_SECONDS)

    def _cut(self) -> None:
        self._over.set()
        self.should_exit = True

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def run(
    app: Litestar,
    settings: Settings,
    announce: Announce,
    worker: Worker | None = None,
    sockets: list[socket.socket] | None = None,
) -> str | None:
    """Serve until told to stop; a worker, on the `sockets` that it was given. If it could not be started, why."""
    config = uvicorn.Config(
        Front(app),
        host=settings.host,
        port=settings.port,
        http=listening(settings.limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `Front` sees to them, where anybody asks
    )
    grace, notice = settings.drain_seconds, settings.drain_notice_seconds
    server = Server(config, app, announce, grace=grace, notice=notice, worker=worker)
    try:
        server.run(sockets)
    except SystemExit as error:  # how uvicorn says that it could not start
        return why(error.__context__)
    return None
