"""What the tests of reliability share: simulated vendors, a Redis that can be paused, and replicas on a store."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from proxy.simulator import Simulator
from tests.money.fleet import Fleet
from tests.redis_server import RedisServer, redis_server

ADMIN = "admin-key"
# Small figures, so that a test sees in seconds what takes minutes.
HEALTH = "health: {consecutive: 3, least: 1000, cooldown: 2, longest: 2, probes: 3, slow_start: 1}\n"


@pytest.fixture(scope="session")
def _vendors() -> Iterator[Simulator]:
    with Simulator.start() as simulator:
        yield simulator


@pytest.fixture
def vendors(_vendors: Simulator) -> Simulator:
    """The three vendors, as after their start."""
    _vendors.reset()
    return _vendors


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of one's own."""
    with redis_server() as server:
        yield server


@pytest.fixture(params=["redis", pytest.param("file", marks=pytest.mark.long)])
def store(request: pytest.FixtureRequest) -> str | None:
    """Where replicas meet: the address of a Redis, or None for a file that they share."""
    return request.getfixturevalue("redis").url if request.param == "redis" else None


@pytest.fixture
def replicas(vendors: Simulator) -> Iterator[Callable[..., Fleet]]:
    """`replicas(store, 3, config="...", environ={...})`: so many processes, ended with the test."""
    with ExitStack() as stack:

        def start(
            store: str | None, count: int = 3, *, config: str = HEALTH, environ: dict[str, str] | None = None
        ) -> Fleet:
            given = {"TOLLHOUSE_ADMIN_KEY": ADMIN, **(environ or {})}
            return stack.enter_context(Fleet(vendors, count, redis=store, config=config, environ=given))

        yield start
