"""What tests share: three simulated vendors, and tollhouse in front of them, each a real process on loopback."""

import signal
from collections.abc import Iterator

import httpx
import openai
import pytest

from proxy.simulator.client import Simulator
from tests.tollhouse import Tollhouse

# A shell that starts us in the background has Ctrl-C ignored, and so would all commands that are started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Short enough for a test to wait for a vendor that hangs, long enough for a busy machine.
TIMEOUTS = "timeouts: {connect: 2, first_byte: 2, first_byte_plain: 2, idle: 2, total: 30}\n"
LIMITS = "limits: {body: 1048576, images_from_private_networks: true}\n"
# Whoever fails is asked once: what happens then is told by the tests of retries, which have houses of their own.
ONCE = "retries: {rounds: 1, queue: 0}\n"


@pytest.fixture(scope="session")
def _simulator() -> Iterator[Simulator]:
    with Simulator.start() as simulator:
        yield simulator


@pytest.fixture
def simulator(_simulator: Simulator) -> Simulator:
    """The three vendors, as after their start."""
    _simulator.reset()
    return _simulator


def environ_of(simulator: Simulator) -> dict[str, str]:
    """The environment that points at the simulated vendors."""
    return {
        "OPENAI_API_KEY": "sk-openai-canary",
        "OPENAI_BASE_URL": simulator.openai,
        "ANTHROPIC_API_KEY": "sk-ant-canary",
        "ANTHROPIC_BASE_URL": simulator.anthropic,
        "GEMINI_API_KEY": "AIza-gemini-canary",
        "GEMINI_BASE_URL": simulator.gemini,
    }


@pytest.fixture(scope="session")
def _tollhouse(_simulator: Simulator) -> Iterator[Tollhouse]:
    with Tollhouse.start(environ_of(_simulator), config=TIMEOUTS + LIMITS + ONCE) as tollhouse:
        yield tollhouse


@pytest.fixture
def tollhouse(_tollhouse: Tollhouse, simulator: Simulator) -> Tollhouse:
    """The proxy, in front of vendors as after their start, and in its eyes as well as on the first day."""
    return _tollhouse.heal()


@pytest.fixture
def client(tollhouse: Tollhouse) -> Iterator[openai.OpenAI]:
    """The official SDK, which asks once and does not ask again by itself."""
    with openai.OpenAI(base_url=f"{tollhouse.url}/v1", api_key="client-key", max_retries=0) as client:
        yield client


@pytest.fixture
def http(tollhouse: Tollhouse) -> Iterator[httpx.Client]:
    """Plain HTTP to the proxy."""
    with httpx.Client(base_url=tollhouse.url, timeout=20) as http:
        yield http
