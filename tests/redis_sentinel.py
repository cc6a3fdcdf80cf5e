"""A real Redis that fails over: a master, a replica that has all of it, and one Sentinel that watches both."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from tests.redis_server import PATIENCE, RedisServer, find_redis_server, free_port, redis_server

SERVICE = "tolls"
AT_ONCE = {"repl-diskless-sync-delay": "0"}
# Milliseconds. Not the pings: a replica that was not heard of for five of them cannot become the master.
HASTE = {"info-period": 100, "ask-period": 50, "publish-period": 100}


class Watched(NamedTuple):
    """`port` is the Sentinel's."""

    master: RedisServer
    replica: RedisServer
    port: int

    @property
    def url(self) -> str:
        """As tollhouse has it."""
        return f"redis+sentinel://127.0.0.1:{self.port}/{SERVICE}/0"

    def fail_over(self) -> None:
        """By order: the master lives on, and becomes the other's replica."""
        with asking(self.port) as sentinel, asking(self.master.port) as master:
            _until(lambda: sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE))
            _until(lambda: master.info("replication")["role"] == "slave")

    def replicated(self) -> None:
        """Wait until the replica has all that the master was told."""
        with asking(self.master.port) as master:
            master.ping()  # WAIT is for what was written before the last command of its connection
            _until(lambda: master.wait(1, 100) == 1)


def asking(port: int) -> Redis:
    return Redis(port=port, decode_responses=True, protocol=2)


@contextmanager
def watched() -> Iterator[Watched]:
    """All three, once each knows of the others; they are gone afterwards."""
    with redis_server(AT_ONCE) as master, redis_server({"replicaof": f"127.0.0.1 {master.port}", **AT_ONCE}) as replica:
        with asking(replica.port) as there:
            _until(lambda: there.info("replication")["master_link_status"] == "up")
        with tempfile.TemporaryDirectory(prefix="tollhouse-sentinel-") as directory:
            port = free_port()
            file = Path(directory) / "sentinel.conf"  # it writes there, too
            file.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {directory}\nsentinel monitor {SERVICE} 127.0.0.1 {master.port} 1\n"
                f"sentinel down-after-milliseconds {SERVICE} 300\nsentinel failover-timeout {SERVICE} 2000\n"
            )
            process = subprocess.Popen(
                [find_redis_server(), str(file), "--sentinel"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            try:
                with asking(port) as sentinel:
                    _until(lambda: sentinel.ping())
                    words = [str(word) for pair in HASTE.items() for word in pair]
                    with suppress(ResponseError):  # before 7.0 it cannot be told to make haste, and takes ten seconds
                        sentinel.execute_command("SENTINEL", "DEBUG", *words)
                    _until(lambda: len(sentinel.sentinel_slaves(SERVICE)) == 1)
                yield Watched(master, replica, port)
            finally:
                process.terminate()
                process.wait(PATIENCE)


def _until(true: Callable[[], object]) -> None:
    """Ask again until it is so."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if true():
                return
        except (RedisError, OSError):
            pass
        if time.monotonic() > deadline:
            raise TimeoutError("it never was so")
        time.sleep(0.01)  # asked again, not waited blindly
