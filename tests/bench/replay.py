"""An hour of real traffic, ten times as fast: `python -m tests.bench.replay` sends it through tollhouse to a vendor
that streams at a vendor's pace, draws docs/performance/replay.svg, and writes docs/performance/replay.md.

The trace is that of `tests.reliability.savings`: times, tokens of prompts and of answers. Its arrivals are ten times as
fast; its streams are not: each is held as long as a vendor that says 50 tokens a second would hold it.
"""

import argparse
import asyncio
import csv
import gzip
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter  # uvloop's own clock counts whole milliseconds
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import uvloop

from tests.bench import page
from tests.bench.house import ADMIN, House, Setting, housed
from tests.bench.plot import Chart, Line, svg
from tests.bench.process import Cores, cpu, pss
from tests.bench.street import Row, Street, Times
from tests.namesake import EACH_PART, EVERY_SECONDS, THINKING_SECONDS
from tests.reliability.savings import TRACE

FOLDER = page.DOCUMENT.with_suffix("")
SPEED = 10
WHOLE = 3_600 / SPEED  # seconds
DIRECT_SECONDS = 60.0
SCRAPED_SECONDS = 15  # Prometheus's way


class Moment(NamedTuple):
    """One second of the replay: CPU as a share of a core, megabytes; clients that are being answered, and connections
    that the vendor holds open."""

    at: float
    share: float
    memory: float
    clients: int
    vendors: int


class Found(NamedTuple):
    """What came of it. `wrong`: what clients complained of; `late`: by how much a request left late, at most."""

    times: list[Times]
    wrong: list[str]
    moments: list[Moment]
    spent: float  # seconds of CPU


def trace(seconds: float) -> list[Row]:
    """What arrives within so many seconds of the replay."""
    with gzip.open(TRACE, "rt", newline="") as file:
        rows = [Row(float(r["seconds"]) / SPEED, int(r["prompt"]), int(r["output"])) for r in csv.DictReader(file)]
    return [row for row in rows if row.at < seconds]


async def watched(street: Street, house: House, moments: list[Moment]) -> None:
    """Look once a second, and read the metrics as a Prometheus would."""
    began = then = perf_counter()
    spent = cpu(house.pid)
    url, head = f"http://127.0.0.1:{house.port}/metrics", {"authorization": f"Bearer {ADMIN}"}
    async with httpx.AsyncClient(headers=head) as http:
        while True:
            await asyncio.sleep(1)
            now, new = perf_counter(), cpu(house.pid)
            share = (new - spent) / (now - then)
            moments.append(Moment(now - began, share, pss(house.pid), street.busy, street.vendor.lines))
            then, spent = now, new
            if len(moments) % SCRAPED_SECONDS == 0:
                (await http.get(url)).raise_for_status()


async def replayed(seconds: float, direct: float) -> tuple[Found, Found]:
    """Through tollhouse, and directly to the vendor."""
    os.sched_setaffinity(0, {Cores.found().rest})
    street = Street()
    server, address = await street.vendor.listen()
    port = urlsplit(address).port
    assert port is not None
    await street.run(port, trace(direct))
    found = Found(street.times, street.wrong, [], 0.0)
    street.close()
    moments: list[Moment] = []
    async with housed(Setting(), "redis", address) as house:
        before = cpu(house.pid)
        watching = asyncio.ensure_future(watched(street, house, moments))
        await street.run(house.port, trace(seconds))
        watching.cancel()
        street.close()
        through = Found(street.times, street.wrong, moments, cpu(house.pid) - before)
    server.close()
    return through, found


# ---- told ----------------------------------------------------------------------------------------------------------


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which that part of them is; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else 0.0


def drawn(moments: Sequence[Moment]) -> str:
    """Three pictures over the time of the trace, in minutes."""
    minutes = [moment.at * SPEED / 60 for moment in moments]
    held = {"by clients": [m.clients for m in moments], "to the vendor": [m.vendors for m in moments]}
    cores, memory = [100 * m.share for m in moments], [m.memory for m in moments]
    panels: Mapping[tuple[str, str], Mapping[str, Sequence[float]]] = {
        ("Connections held", "connections"): held,
        ("CPU", "% of a core"): {"tollhouse": cores},
        ("Memory (PSS)", "MB"): {"tollhouse": memory},
    }
    return svg(
        *(
            Chart(title, "minute of the trace", unit,
                  [Line(name, list(zip(minutes, values, strict=True))) for name, values in lines.items()])
            for (title, unit), lines in panels.items()
        )
    )  # fmt: skip


TEXT = """\
{requests:,} requests of Azure's LLM inference trace of conversations (2023-11-16, CC-BY 4.0), arrivals {speed} times as
fast: {rate:.0f} a second. Every answer is a stream: {thinking:g} s until its first token, then {each} tokens every
{every:g} s, that is {pace:.0f} tokens a second as vendors say them, so that a stream is held for its true length. Three
vendors in turn; client key, three budgets, Redis, health, log line, metrics (scraped every {scraped} s), journal. The
proxy had one core, clients and vendor the other. Clients check each word.

| | p50 | p99 | most |
|---|--:|--:|--:|
| to the first token, beyond what the vendor took: through tollhouse | {through} |
| the same, directly to the vendor ({directly:,} requests) | {direct} |
| **added time to the first token** | {added} |

| errors | answers | CPU per request | CPU of a core, mean / most | memory, begin / most | most held by clients |
|--:|--:|--:|--:|--:|--:|
| {cells} |

A request has {parts:.0f} parts on average, each of which is a read from the vendor and a write to the client.

![Connections held, CPU and memory over the hour](performance/replay.svg)
"""


def section(through: Found, direct: Found, rows: Sequence[Row]) -> str:
    """The text of docs/performance/replay.md."""
    parts = (0.50, 0.99, 1.0)
    ours, theirs = ([quantile([t.added for t in f.times], part) * 1e3 for part in parts] for f in (through, direct))
    return TEXT.format(
        requests=len(rows),
        speed=SPEED,
        rate=len(rows) / max(rows[-1].at, 1.0),
        thinking=THINKING_SECONDS,
        each=EACH_PART,
        every=EVERY_SECONDS,
        pace=EACH_PART / EVERY_SECONDS,
        scraped=SCRAPED_SECONDS,
        directly=len(direct.times),
        through=_cells(ours),
        direct=_cells(theirs),
        added=_cells([a - b for a, b in zip(ours, theirs, strict=True)]),
        cells=" | ".join(_summary(through)),
        parts=sum(-(-max(1, row.output) // EACH_PART) for row in rows) / len(rows),
    )


def _summary(through: Found) -> Iterator[str]:
    """What the head of the second table says."""
    moments = through.moments or [Moment(0, 0, 0, 0, 0)]
    yield f"{len(through.wrong)}"
    yield f"{len(through.times):,}"
    yield f"{through.spent / max(1, len(through.times)) * 1e6:.0f} µs"
    yield f"{100 * sum(m.share for m in moments) / len(moments):.0f} % / {100 * max(m.share for m in moments):.0f} %"
    yield f"{moments[0].memory:.0f} / {max(m.memory for m in moments):.0f} MB"
    yield f"{max(m.clients for m in moments):,}"


def _cells(milliseconds: Sequence[float]) -> str:
    return " | ".join(f"{value:.2f} ms" for value in milliseconds)


def main(words: Sequence[str]) -> int:
    """The command; 1 if anything was wrong with an answer."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.replay", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=3_600 / SPEED, help="of the replay; of a part nothing is written"
    )
    parser.add_argument("--direct", type=float, default=DIRECT_SECONDS, help="seconds of it directly to the vendor")
    given = parser.parse_args(words)
    through, direct = uvloop.run(replayed(given.seconds, given.direct))
    text = section(through, direct, trace(given.seconds))
    print(text, *through.wrong[:10], *direct.wrong[:10], sep="\n")
    if given.seconds >= WHOLE:
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / "replay.svg").write_text(drawn(through.moments), encoding="utf-8")
        (FOLDER / "replay.md").write_text(text, encoding="utf-8")
        page.put({})
    return 1 if through.wrong or direct.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
