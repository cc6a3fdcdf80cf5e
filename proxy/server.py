"""Runs the application: uvicorn, and how it stops.

A SIGTERM does not close the door at once: `/readyz` answers 503, what is in flight is finished, then the process ends
with 0. uvicorn by itself would stop listening first, and whoever asks `/readyz` would learn nothing.
"""

import asyncio
import gc
import math
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType

import structlog
import uvicorn
from litestar import Litestar

from proxy.settings import Settings

_COLLECT = (10_000, 20, 20)  # new objects, and rounds of the younger ones, until the collector looks


class Server(uvicorn.Server):
    """A server that drains. `announce` is told the port once it is open."""

    def __init__(self, config: uvicorn.Config, app: Litestar, grace: float, announce: Callable[[int], None]) -> None:
        super().__init__(config)
        self._app = app
        self._grace = grace
        self._announce = announce
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port, and say so."""
        self._loop = asyncio.get_running_loop()
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

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second one ends what is still there."""
        if self._loop is None or self._app.state.draining:
            self.should_exit = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._cut)
            return
        self._app.state.draining = True
        self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._draining = asyncio.ensure_future(self._finish())

    async def _finish(self) -> None:
        """Wait for those who are here now, with the door open; then close it, and wait for those who came meanwhile."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._grace
        here = set(self.server_state.tasks)
        structlog.get_logger().info("draining", requests=len(here), seconds=self._grace)
        if here:
            await asyncio.wait(here, timeout=self._grace)
        # At the end uvicorn cancels what is left, and each request settles in its own `finally`.
        self.config.timeout_graceful_shutdown = max(1, math.ceil(end - loop.time()))
        self.should_exit = True

    def _cut(self) -> None:
        structlog.get_logger().warning("cutting off", requests=len(self.server_state.tasks))
        for task in self.server_state.tasks:
            task.cancel()


def run(app: Litestar, settings: Settings, announce: Callable[[int], None]) -> str | None:
    """Serve until told to stop. If the server could not be started, why."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
    )
    server = Server(config, app, settings.drain_seconds, announce)
    try:
        server.run()
    except SystemExit as error:  # how uvicorn says that it could not start
        return _why(error.__context__)
    return None


def _why(error: BaseException | None) -> str:
    if not isinstance(error, OSError):
        return "the log says why"
    # asyncio words it with the address, which has been said already; what has no number of the system says it itself.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror)
