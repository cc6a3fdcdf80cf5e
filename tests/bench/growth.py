"""What a request costs when other things grow: `python -m tests.bench.growth` measures it, draws docs/performance/*.svg
and writes docs/performance/growth.md, which docs/performance.md takes in.
"""

import argparse
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import uvloop

from proxy.fleet import Fleet
from proxy.health import Outcome, Policy
from proxy.store import Lost, Store, open_store
from tests.bench import page
from tests.bench.house import ADMIN, CLIENT, MODEL, OURS, PATIENCE, RUNS, House, Setting, housed, measured
from tests.bench.plot import Chart, Line, svg
from tests.bench.process import Cores
from tests.counting import fill
from tests.namesake import Namesake

FOLDER = page.DOCUMENT.with_suffix("")
STORES = ("sqlite", "redis")
TITLES = {"sqlite": "embedded store", "redis": "Redis"}
MODELS_EACH = 10  # models of which a replica says something

Points = Mapping[str, Sequence[tuple[int, float]]]  # by store: (value, microseconds)


class Curve(NamedTuple):
    """What grows, through which values, and how a house is set up for each. `most`: per store, where less must do."""

    title: str
    x: str
    values: Sequence[int]
    setting: Callable[[int], Setting]
    most: Mapping[str, int] = {}


# ---- what grows --------------------------------------------------------------------------------------------------


def _managed(number: int) -> Setting:
    async def prepare(house: House) -> House:
        key = house.key
        head = {"authorization": f"Bearer {ADMIN}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{house.port}", headers=head, timeout=PATIENCE) as http:
            for n in range(number):
                answer = await http.post("/keys", json={"name": f"somebody-{n}", "daily": "1000"})
                answer.raise_for_status()
                key = answer.json()["key"]
        return house._replace(key=key)

    return Setting(prepare=prepare)


def _environment(number: int) -> Setting:
    others = ",".join(f"sk-stranger-{n}" for n in range(number - 1))
    return Setting(environ={"TOLLHOUSE_CLIENT_KEYS": f"{others},{CLIENT}" if others else CLIENT})


def _budgets(number: int) -> Setting:
    """Three are ours: all traffic's two, and each user's."""
    return Setting(config=OURS + "".join(f"- {{user: somebody-{n}, daily: '10'}}\n" for n in range(number - 3)))


def _models(number: int) -> Setting:
    row = "- {{provider: openai, model: '{0}', match: ['{0}-20*'], limits: {{context: 1000000, max_output: 16384}}, "
    row += "prices: [{{source: x, per_mtok: {{input: '1', output: '2'}}}}]}}\n"

    def made(directory: Path) -> dict[str, str]:
        table = directory / "prices.yaml"
        names = [*(f"other-{n}" for n in range(number - 1)), MODEL]
        table.write_text("models:\n" + "".join(row.format(name) for name in names))
        return {"TOLLHOUSE_PRICING": str(table)}

    return Setting(made=made)


def _notices(number: int) -> Setting:
    """So many replicas have each put up how ten models stand."""

    async def prepare(house: House) -> House:
        async with _store(house) as store:
            for replica in range(number):
                fleet = Fleet(store, Policy(), replica=f"replica-{replica}", clock=time.monotonic, wall=time.time)
                await fleet.exchange.join()
                for n in range(MODELS_EACH):
                    ticket = await fleet.begin(f"provider-{replica}", f"model-{n}")
                    if ticket is not None:
                        fleet.end(ticket, Outcome(first=100.0, whole=300.0, tokens=10))
                fleet.gather()
                await fleet.exchange.round()
        return house

    return Setting(prepare=prepare)


def _rows(number: int) -> Setting:
    async def prepare(house: House) -> House:
        async with _store(house) as store:
            await fill(store, number)
        return house

    return Setting(prepare=prepare)


@asynccontextmanager
async def _store(house: House) -> AsyncIterator[Store]:
    """The store of a house, as another replica has it."""
    store = open_store(house.redis, house.directory, "growth")
    await store.open()
    try:
        try:
            await store.beat()
        except Lost:
            await store.recover(_nothing(), ())
        yield store
    finally:
        await store.close()


async def _nothing() -> AsyncIterator[Any]:
    return
    yield


CURVES: Mapping[str, Curve] = {
    "prompt": Curve("Length of the prompt", "bytes", (200, 1_000, 10_000, 50_000, 200_000, 1_000_000), Setting),
    "keys": Curve("Managed client keys", "keys", (1, 10, 100, 1_000, 10_000), _managed),
    "environment": Curve("Client keys of the environment", "keys", (1, 10, 100, 1_000), _environment),
    "budgets": Curve("Budgets of other users", "budgets", (3, 10, 100, 1_000), _budgets),
    "models": Curve("Models in the price table", "models", (30, 100, 300, 1_000, 3_000), _models),
    "replicas": Curve("Replicas whose health notices stand on the board", "replicas", (1, 3, 10, 30, 100), _notices),
    "ledger": Curve("Rows in the ledger", "rows", (0, 1_000, 10_000, 100_000, 1_000_000), _rows, {"redis": 100_000}),
}


# ---- measured, drawn, told -----------------------------------------------------------------------------------------


async def grown(curve: Curve, stores: Sequence[str], vendor: str, seconds: float) -> Points:
    """All points of a curve, each on a house of its own."""
    found: dict[str, list[tuple[int, float]]] = {store: [] for store in stores}
    for value in curve.values:
        for store in stores:
            if value <= curve.most.get(store, value):
                setting = curve.setting(value)
                async with housed(setting, store, vendor) as house:
                    micros = await measured(house, setting.size, seconds)
                found[store].append((value, micros))
                print(f"{curve.title:50s} {value:>9,} {store:7s} {micros:8.1f} µs", flush=True)
    return found


def drawn(curve: Curve, points: Points) -> str:
    """The picture of a curve."""
    lines = [Line(TITLES[store], of) for store, of in points.items()]
    return svg(Chart(curve.title, curve.x, "CPU µs per request", lines, log=True))


def told(curve: Curve, points: Points) -> Iterator[str]:
    """Its rows of the table: the cost at each value, and whether it grew."""
    for store, of in points.items():
        low, high = of[0][1], of[-1][1]
        cells = ", ".join(f"{value:,}: {micros:.0f}" for value, micros in of)
        yield f"| {curve.title} | {TITLES[store]} | {cells} | {high / low:.2f} |"


TEXT = """\
CPU of the whole process in µs per request (200 B prompt unless it is the prompt that grows), everything on: client
key, three budgets, health, log line, metrics, journal. Each point is a fresh process; the lowest of {runs} runs of
{seconds:g} s with 16 clients, settlements included. What grows is there before the first request is measured.

| what grows | store | µs at each size | last against first |
|---|---|---|---|
{rows}

A prompt costs what its bytes cost: they are received, parsed once, and sent. All other lines should be flat; that a
request makes the same number of calls however much there is of them is held by `tests/test_hot_path.py`, which counts
them instead of timing them.

{pictures}
"""


def section(found: Mapping[str, Points], seconds: float) -> str:
    """The text of docs/performance/growth.md."""
    rows = [row for name, points in found.items() for row in told(CURVES[name], points)]
    pictures = [f"![{CURVES[name].title}](performance/growth-{name}.svg)" for name in found]
    return TEXT.format(runs=RUNS, seconds=seconds, rows="\n".join(rows), pictures="\n".join(pictures))


async def _main(only: Sequence[str], stores: Sequence[str], seconds: float, *, write: bool) -> None:
    os.sched_setaffinity(0, {Cores.found().rest})
    server, vendor = await Namesake().listen()
    found = {name: await grown(CURVES[name], stores, vendor, seconds) for name in only}
    server.close()
    text = section(found, seconds)
    print(text)
    if write:
        FOLDER.mkdir(exist_ok=True)
        for name, points in found.items():
            (FOLDER / f"growth-{name}.svg").write_text(drawn(CURVES[name], points), encoding="utf-8")
        (FOLDER / "growth.md").write_text(text, encoding="utf-8")
        page.put({})


def main(words: Sequence[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    parser.add_argument("--only", default=",".join(CURVES), help="curves, separated by commas; then nothing is written")
    parser.add_argument("--stores", default=",".join(STORES))
    parser.add_argument("--seconds", type=float, default=1.5, help="of each run")
    given = parser.parse_args(words)
    only, stores = given.only.split(","), given.stores.split(",")
    whole = set(only) == set(CURVES) and set(stores) == set(STORES)
    uvloop.run(_main(only, stores, given.seconds, write=whole))


if __name__ == "__main__":
    main(sys.argv[1:])
