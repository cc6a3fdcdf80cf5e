"""What the tests of the money share: vendors that count as OpenAI does, so that a bill can be checked to the token."""

from collections.abc import Iterator

import pytest

from proxy.simulator import Simulator
from tests.redis_server import redis_server


@pytest.fixture(scope="session")
def _vendors() -> Iterator[Simulator]:
    with Simulator.start(tokens="o200k") as simulator:
        yield simulator


@pytest.fixture
def vendors(_vendors: Simulator) -> Simulator:
    """The three vendors, as after their start."""
    _vendors.reset()
    return _vendors


@pytest.fixture(scope="session")
def _talkers() -> Iterator[Simulator]:
    with Simulator.start(tokens="o200k", pace=2) as simulator:
        yield simulator


@pytest.fixture
def talkers(_talkers: Simulator) -> Simulator:
    """Vendors that speak at their ease, a word in two milliseconds, so that they can be interrupted."""
    _talkers.reset()
    return _talkers


@pytest.fixture
def redis() -> Iterator[str]:
    """The address of a Redis of one's own: counters of another test would be counted here."""
    with redis_server({"appendonly": "yes", "appendfsync": "everysec"}) as server:
        yield server.url
