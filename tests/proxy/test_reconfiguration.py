"""A configuration that is taken within one process: what is read and when, what is in force then, what is let go of.

`tests/test_reconfiguration.py` has the same in a real process, with real signals.
"""

import asyncio
import gc
import re
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from litestar import Litestar

from proxy.admin.figures import metrics
from proxy.app import Clocks, Wiring
from proxy.catalog import Catalog
from proxy.catalog import load as table
from proxy.reconfiguration import Reconfiguration, Refused
from proxy.settings import Settings, load
from tests.proxy.accounts import GENEROUS, NOW, until

PRICES = "models: [{provider: openai, model: %s, limits: {context: 1000, max_output: 100}, prices: []}]\n"
FIRST, SECOND = "aliases: {first: openai/gpt-old}\n", "aliases: {second: openai/gpt-old}\n"


class House:
    """One process and its files. `reads`: how often the configuration was read."""

    def __init__(self, directory: Path) -> None:
        self.config, self.prices, self._directory = directory / "config.yaml", directory / "prices.yaml", directory
        self.config.write_text(FIRST)
        self.prices.write_text(PRICES % "gpt-old")
        self.reads = 0
        self.naps = asyncio.Queue[asyncio.Event]()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.wiring = Wiring(self.read(), (), Clocks(lambda: 1.0, lambda: NOW, Random(1)), None)

    def read(self, **more: str) -> Settings:
        self.reads += 1
        environ = {
            "OPENAI_API_KEY": "sk-x",
            "TOLLHOUSE_DATA_DIR": str(self._directory),
            "TOLLHOUSE_PRICING": str(self.prices),
            **more,
        }
        return load(environ, config=str(self.config))

    async def turned(self, _: Settings) -> None:
        """The alerts do not matter here."""

    def watched(
        self, turn: Callable[[Settings], Awaitable[None]] | None = None, read: Callable[[], Settings] | None = None
    ) -> Reconfiguration:
        wiring, self.reads = self.wiring, 0
        return Reconfiguration(
            wiring.engine,
            wiring.estate,
            read=read or self.read,
            take=wiring.take,
            turn=turn or self.turned,
            files=(self.config,),
            sleep=self._sleep,
        )

    async def _sleep(self, _: float) -> None:
        awake = asyncio.Event()
        await self.naps.put(awake)
        await awake.wait()

    async def nap(self) -> asyncio.Event:
        """Somebody sleeps; what is returned wakes him."""
        async with asyncio.timeout(GENEROUS):
            return await self.naps.get()

    @property
    def aliases(self) -> list[str]:
        return [group.name for group in self.wiring.state["settings"].groups]

    @property
    def models(self) -> list[str]:
        return [model.model for model in self.wiring.state["book"].catalog.models]


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[House]:
    house = House(directory)
    async with house.wiring.lifespan(Litestar(openapi_config=None)):
        yield house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path) as found:
        yield found


async def test_a_file_that_is_being_written_is_read_when_it_stands_still(house: House) -> None:
    watch = house.watched()
    watch.start()
    asleep = await house.nap()
    house.config.write_text("")  # which is good YAML, and a configuration
    asleep.set()
    asleep = await house.nap()
    house.config.write_text(SECOND)
    asleep.set()
    asleep = await house.nap()
    assert house.reads == 0
    asleep.set()
    await until(lambda: house.aliases == ["second"])
    assert house.reads == 1
    await watch.close()


async def test_a_hundred_signals_at_once_are_one_and_one_more_while_it_is_read_is_another(house: House) -> None:
    watch = house.watched()
    for _ in range(100):
        watch.ask()
    await until(lambda: house.reads)
    for _ in range(100):
        watch.ask()
    await until(lambda: house.reads == 2)
    assert await watch.reload() == []
    assert house.reads == 3
    await watch.close()


async def test_a_name_and_the_model_that_it_stands_for_are_there_at_the_same_time(house: House) -> None:
    watch = house.watched()
    house.prices.write_text(PRICES % "gpt-new")
    house.config.write_text("aliases: {newer: gpt-new}\n")
    await watch.reload()
    assert (house.aliases, house.models) == (["newer"], ["gpt-new"])
    await watch.close()


FIRMS = {
    "drain_seconds": ("TOLLHOUSE_DRAIN_SECONDS", "7"),
    "drain_notice_seconds": ("TOLLHOUSE_DRAIN_NOTICE_SECONDS", "7"),
    "data_dir": ("TOLLHOUSE_DATA_DIR", "elsewhere"),
    "redis_url": ("REDIS_URL", "redis://canary@127.0.0.1:1"),
    "log_level": ("TOLLHOUSE_LOG_LEVEL", "error"),
}


@pytest.mark.parametrize("name", FIRMS)
async def test_what_is_bound_at_the_start_is_refused_and_nothing_else_of_that_change_is_taken(
    house: House, name: str
) -> None:
    house.config.write_text(SECOND)
    variable, value = FIRMS[name]
    watch = house.watched(read=lambda: house.read(**{variable: value}))
    with pytest.raises(Refused, match=f"^`{name}` has changed, which needs a restart") as refused:
        await watch.reload()
    assert "canary" not in str(refused.value)
    assert house.aliases == ["first"]
    await watch.close()


LISTENER = (Path(__file__).resolve().parents[2] / "proxy" / "listener.py").read_text()


@pytest.mark.parametrize("limit", sorted(set(re.findall(r"\blimits\.(\w+)", LISTENER)) - {"Limits"}))
async def test_a_limit_of_the_listener_needs_a_restart(house: House, limit: str) -> None:
    watch = house.watched()
    house.config.write_text(f"{SECOND}limits: {{{limit}: 7}}\n")
    with pytest.raises(Refused) as refused:
        await watch.reload()
    assert refused.value.faults == (
        f"`limits.{limit}` has changed, which needs a restart; nothing of this change was applied",
    )
    assert house.aliases == ["first"]
    await watch.close()


async def test_a_limit_of_requests_is_in_force_at_once(house: House) -> None:
    watch = house.watched()
    house.config.write_text("limits: {body: 7, depth: 7, concurrent: 7}\n")
    assert {change.name for change in await watch.reload()} == {
        *("aliases", "aliases.first", "limits.body", "limits.depth", "limits.concurrent")
    }
    await watch.close()


async def test_prices_that_are_found_while_a_change_is_taken_stay_in_force(house: House) -> None:
    newest: Catalog = table((PRICES % "gpt-newest").encode())

    async def meanwhile(_: Settings) -> None:
        house.wiring.state["book"].take(newest)

    watch = house.watched(meanwhile)
    house.config.write_text(SECOND)
    await watch.reload()
    assert (house.aliases, house.models) == (["second"], ["gpt-newest"])
    await watch.close()


async def test_what_is_no_longer_in_force_is_not_kept_for_as_long_as_a_request_may_take(house: House) -> None:
    watch = house.watched()
    house.config.write_text(SECOND)
    await watch.reload()
    former = weakref.ref(house.wiring.state["book"])
    house.config.write_text(FIRST)
    await watch.reload()
    gc.collect()
    assert former() is None
    await watch.close()


async def test_a_change_that_fails_half_way_leaves_nothing_open_and_the_one_before_in_force(house: House) -> None:
    async def fails(_: Settings) -> None:
        raise OSError("so it is")

    watch = house.watched(fails)
    house.config.write_text(SECOND)
    gc.collect()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        with pytest.raises(OSError, match="so it is"):
            await watch.reload()
        gc.collect()
    assert [str(one.message) for one in told if issubclass(one.category, ResourceWarning)] == []
    assert house.aliases == ["first"]
    await watch.close()


async def test_patterns_that_change_places_are_a_change(house: House) -> None:
    watch = house.watched()
    one, other = "'/a.*/': openai/gpt-old", "'/.*b/': openai/gpt-old"
    house.config.write_text(f"aliases: {{{one}, {other}}}\n")
    await watch.reload()
    house.config.write_text(f"aliases: {{{other}, {one}}}\n")
    (change,) = await watch.reload()
    assert (change.name, change.before, change.after) == ("aliases", ["/a.*/", "/.*b/"], ["/.*b/", "/a.*/"])
    assert house.aliases == [".*b", "a.*"]
    await watch.close()


async def test_a_budget_that_is_taken_away_is_no_figure_any_more(house: House) -> None:
    watch = house.watched()
    state = house.wiring.state
    for config, there in (('budgets: [{daily: "7"}]\n', True), (FIRST, False)):
        house.config.write_text(config)
        await watch.reload()
        told = (await metrics.fn(state=state)).content
        assert (b'budget_limit_dollars{budget="daily",window="day"} 7.0' in told) is there
        assert b"build_info{" in told
    await watch.close()


@pytest.mark.parametrize("lose", ["deleted", "a directory"])
async def test_a_file_that_is_lost_changes_nothing(house: House, lose: str) -> None:
    watch = house.watched()
    house.config.unlink()
    if lose == "a directory":
        house.config.mkdir()
    with pytest.raises(Refused):
        await watch.reload()
    assert house.aliases == ["first"]
    await watch.close()
