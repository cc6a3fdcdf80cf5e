"""A rolling restart under load: each replica in turn is told to stop and replaced by another; nobody notices.

The balancer learns of it from `/readyz` alone, two probes late: for so long, and a little longer, a replica that drains
keeps its door open (TOLLHOUSE_DRAIN_NOTICE_SECONDS), and connections that are idle. In Kubernetes a `preStop` pause of
a few seconds does the first of these: the endpoint is taken off the service meanwhile.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx2
import msgspec
import openai
import pytest

from proxy.simulator import Simulator
from tests.money.fleet import Fleet
from tests.money.truth import truth
from tests.reliability.balancer import FAILURES, PROBE_SECONDS, Balancer
from tests.reliability.watch import until

NOTICED = PROBE_SECONDS * (FAILURES + 1)
MODELS = ("openai/gpt-4o-mini", "anthropic/claude-sonnet-5-5", "gemini/gemini-3.8-flash")
PATIENCE = 60.0


class Size(msgspec.Struct, frozen=True):
    """`pace`: milliseconds between two words of a vendor; `words`: the longest answer; `rounds` of restarts; `kept`:
    seconds that a client keeps an idle connection, None: as OpenAI's SDK does by itself, for 5 seconds."""

    clients: int
    words: int
    pace: float
    rounds: int
    kept: float | None
    notice: float  # seconds; more than that, and than the balancer takes to notice


SIZES = [
    pytest.param(Size(clients=10, words=20, pace=15, rounds=1, kept=0.4, notice=NOTICED + 0.4), id="short"),
    pytest.param(
        Size(clients=60, words=200, pace=30, rounds=2, kept=None, notice=6), id="long", marks=pytest.mark.long
    ),
]


class Load:
    """Clients that ask without a pause, each over the connections that all share, and never a second time."""

    def __init__(self, url: str, size: Size) -> None:
        http = openai.DefaultAsyncHttpxClient(limits=httpx2.Limits(keepalive_expiry=size.kept)) if size.kept else None
        self._sdk = openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=PATIENCE, http_client=http
        )
        self._size = size
        self._over = False
        self.whole = Counter[str]()  # answers, by "plain" and "stream"
        self.broken: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self._sdk, asyncio.TaskGroup() as group:
            for number in range(self._size.clients):
                group.create_task(self._client(random.Random(number)))
            try:
                yield
            finally:
                self._over = True

    async def _client(self, dice: random.Random) -> None:
        while not self._over:
            kind = dice.choice(("plain", "stream"))
            wish = f"words {dice.randint(1, self._size.words)}"
            try:
                text = await self._ask(dice.choice(MODELS), wish, stream=kind == "stream")
                assert len(text.split()) == int(wish.split()[1]), f"{wish}: {text!r}"
                self.whole[kind] += 1
            except (openai.OpenAIError, AssertionError) as error:
                self.broken.append(f"{kind}: {type(error).__name__}: {error} {error.__cause__!r}")

    async def _ask(self, model: str, wish: str, *, stream: bool) -> str:
        messages: Any = [{"role": "user", "content": wish}]
        if not stream:
            answer = await self._sdk.chat.completions.create(model=model, messages=messages)
            return answer.choices[0].message.content or ""
        parts, ended = [], False
        async for chunk in await self._sdk.chat.completions.create(model=model, messages=messages, stream=True):
            for choice in chunk.choices:
                parts.append(choice.delta.content or "")
                ended = ended or choice.finish_reason is not None
        assert ended, "the stream was cut"
        return "".join(parts)


@pytest.fixture
def speakers(request: pytest.FixtureRequest, size: Size) -> Iterator[Simulator]:
    """Vendors that take their time, so that there is always somebody in the middle of an answer."""
    with Simulator.start(pace=size.pace) as simulator:
        yield simulator


@pytest.mark.parametrize("size", SIZES)
async def test_a_rolling_restart_costs_no_request_and_no_stream(
    size: Size, speakers: Simulator, redis: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"TOLLHOUSE_DRAIN_NOTICE_SECONDS": str(size.notice), "LLM_DAILY_BUDGET": "100"}
    with Fleet(speakers, 3, redis=redis.url, environ=environ, running=False) as fleet:
        fleet.houses = list(await asyncio.gather(*(asyncio.to_thread(fleet.start, number) for number in range(3))))
        ports = [house.port for house in fleet.houses]
        async with Balancer(lambda: ports) as balancer:
            load = Load(f"http://127.0.0.1:{balancer.port}", size)
            async with load.running():
                for number in [number for _ in range(size.rounds) for number in range(3)]:
                    await served(load, size.clients)
                    # As a Deployment does it: the next one starts while this one drains.
                    old = fleet.houses[number]
                    stopping = asyncio.create_task(asyncio.to_thread(old.stop))
                    fleet.houses[number] = await asyncio.to_thread(fleet.start, number)
                    assert await stopping == 0
                    assert [line["exception"] for line in old.logs if line["event"] == "internal error"] == []
                    ports[number] = fleet.houses[number].port
                    await until(partial(balancer.ready, ports[number]), "the new one is ready")
                await served(load, size.clients)
        assert speakers.wait(in_progress=0)
        fleet.urls = [house.url for house in fleet.houses]
        spent = await asyncio.to_thread(fleet.settled)
    with capsys.disabled():
        print(f"\n{3 * size.rounds} replicas restarted; {dict(load.whole)} answered, {len(load.broken)} not")
    assert load.broken == []
    assert balancer.refused == 0
    assert min(load.whole["plain"], load.whole["stream"]) > size.clients
    assert {entry["outcome"] for entry in speakers.ledger()} == {"complete"}
    assert (spent.spent, spent.held) == (truth(speakers.ledger()).total, 0)


async def served(load: Load, more: int) -> None:
    """Wait until so many more were answered, or somebody was not."""
    before = load.whole.total()
    await until(lambda: load.broken or load.whole.total() >= before + more, "answers")
