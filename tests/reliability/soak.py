"""`make soak`: ten minutes of everything at once: faults of vendors, clients that leave, a Redis that goes away and
comes back; docs/reliability.md has what came of it.

Exits with 1 if anything grew that should not, anybody heard what he should not, or the ledger is not the vendors'.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
import uvloop

from proxy.simulator import Simulator
from proxy.simulator.vocabulary import VENDORS
from tests.bench import page
from tests.bench.house import ADMIN
from tests.bench.process import Cores, Server, on_core
from tests.clientele import CLIENT
from tests.money.fleet import figures
from tests.redis_server import RedisServer, free_port, redis_server
from tests.reliability.ailments import AILMENTS, Ailment
from tests.reliability.report import DOCUMENT, SOAK
from tests.reliability.soak_books import compared, numbers
from tests.reliability.soak_clients import Crowd
from tests.reliability.soak_page import Found, drawn, drifts, section
from tests.reliability.soak_watch import Ports, Watch
from tests.tollhouse import ROOT, environ_of, surroundings

SECONDS, RATE = 600.0, 80.0
PACE = 2  # milliseconds between two events of a stream
# Short enough for faults to be met again and again; so much money that nobody is refused for it.
CONFIG = """
timeouts: {connect: 2, first_byte: 3, first_byte_plain: 3, idle: 3, total: 60}
health: {cooldown: 2, longest: 4, slow_start: 1}
limits: {unread_seconds: 12}
budgets: [{user: "*", daily: "100000"}]
"""
BUDGETS = {"LLM_DAILY_BUDGET": "1000000", "LLM_MONTHLY_BUDGET": "8000000"}
SICK = 3.0  # seconds that a fault stays, at most; then all are well for two thirds of that
CHANCES: Mapping[str, float] = {"drip": 0.02}  # how likely a fault strikes, where it is not `CHANCE`: bytes cost cores
CHANCE = 0.4
LIMITED = 2.0  # seconds that a rate-limited vendor asks for
EVERYBODY = 5  # each fifth fault is one of all vendors
SILENT = 2.0  # seconds that Redis says nothing
CROSSED = 1_000  # of so many clients one may ask on a connection just when it ends: nobody can help that
LEAST_DEEDS, DEEDS_EVERY = 3, 60.0
PATIENCE = 60.0  # seconds until all must be quiet after the load
JUDGED = 300.0  # seconds; what is shorter is warm-up, and its drift says nothing
# What the log must not have: a fault of ours, or something that got lost.
FAULTS = frozenset(
    {"internal error", "not counted", "orphan", "journal damaged", "journal not written", "journal off"}
    | {"health not counted", "telemetry not made", "series not shared"}
)


class Stage(NamedTuple):
    """Who plays."""

    server: Server
    vendors: Simulator
    redis: RedisServer
    ports: Ports
    url: str
    log: Path


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """All of them, from their start to their end; the proxy has a core of its own."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tollhouse-soak-")))
        redis = stack.enter_context(redis_server({"appendonly": "yes", "appendfsync": "everysec"}))
        vendors = stack.enter_context(Simulator.start(tokens="o200k", pace=PACE))
        (directory / "config.yaml").write_text(CONFIG, encoding="utf-8")
        environ = {
            **{"TOLLHOUSE_CLIENT_KEYS": CLIENT, "TOLLHOUSE_ADMIN_KEY": ADMIN, "TOLLHOUSE_LOG": "json"},
            **{"TOLLHOUSE_CONFIG": str(directory / "config.yaml"), "TOLLHOUSE_DATA_DIR": str(directory)},
            **{"REDIS_URL": redis.url, **BUDGETS, **environ_of(vendors)},
        }
        port = free_port()
        argv = [sys.executable, "-m", "proxy", "serve", "--port", str(port)]
        server = Server(argv, surroundings(environ), ROOT, directory / "log", Cores.found().subject)
        stack.callback(server.stop)
        server.start()
        places = (urlsplit(url).port or 0 for url in (vendors.openai, vendors.anthropic, vendors.gemini))
        ports = Ports(port, frozenset(places), redis.port)
        stage = Stage(server, vendors, redis, ports, f"http://127.0.0.1:{port}", directory / "log")
        if not await until(lambda: _ready(stage)):
            raise RuntimeError(f"it did not start: {stage.log.read_text(encoding='utf-8')}")
        yield stage


async def until(so: Callable[[], bool]) -> bool:
    """Look again and again, off the loop, until it is so; False if it is not within a minute."""
    deadline = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(so):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.1)  # looked at again, not waited blindly
    return True


def _ready(stage: Stage) -> bool:
    with suppress(OSError):
        ask(stage, "/readyz")
        return True
    return False


def ask(stage: Stage, path: str) -> bytes:
    """GET an admin endpoint. Raises `OSError`."""
    head = {"authorization": f"Bearer {ADMIN}", "connection": "close"}
    with urllib.request.urlopen(urllib.request.Request(stage.url + path, headers=head), timeout=PATIENCE) as answer:
        return bytes(answer.read())


# ---- what is done to them ------------------------------------------------------------------------------------------


async def faults(vendors: Simulator, seconds: float, struck: list[str]) -> None:
    """Faults come and go, one kind after the other, until this is cancelled."""
    dice = random.Random(0)
    sick = min(SICK, seconds / len(AILMENTS) / 2)
    order = dice.sample(AILMENTS, len(AILMENTS))
    for number, ailment in enumerate(cycle(order)):
        await asyncio.sleep(sick * 2 / 3)  # for so long all are well
        chosen = VENDORS if number % EVERYBODY == 0 else (dice.choice(VENDORS),)
        await asyncio.to_thread(_strike, vendors, ailment, chosen)
        struck.append(ailment.name)
        await asyncio.sleep(sick)
        await asyncio.to_thread(vendors.clear)


def _strike(vendors: Simulator, ailment: Ailment, chosen: Sequence[str]) -> None:
    chance = CHANCES.get(ailment.fault, CHANCE)
    asked = {"retry_after": min(LIMITED, ailment.details["retry_after"])} if "retry_after" in ailment.details else {}
    for vendor in chosen:
        vendors.fault(vendor, ailment.fault, probability=chance, **{**ailment.details, **asked})


async def _silenced(redis: RedisServer) -> None:
    redis.pause()
    await asyncio.sleep(SILENT)  # for so long it says nothing
    redis.resume()


async def _restarted(redis: RedisServer) -> None:
    await asyncio.to_thread(redis.restart)


async def _killed(redis: RedisServer) -> None:
    redis.kill()
    await asyncio.to_thread(redis.start)


DEEDS = {"stopped": _silenced, "restarted": _restarted, "killed": _killed}


async def outages(redis: RedisServer, seconds: float, done: list[tuple[float, str]]) -> None:
    """Redis goes away, each way in turn, evenly over the time; it is there again before the end."""
    began, times = time.monotonic(), max(LEAST_DEEDS, round(seconds / DEEDS_EVERY))
    for number, (name, deed) in zip(range(times), cycle(DEEDS.items()), strict=False):
        await asyncio.sleep(began + (number + 0.5) * seconds / times - time.monotonic())
        done.append((time.monotonic() - began, name))
        await deed(redis)


# ---- measured ------------------------------------------------------------------------------------------------------


async def soaked(seconds: float, rate: float) -> Found:
    """All of it."""
    async with staged() as stage:
        crowd = Crowd(stage.ports.ours)
        watch = Watch(stage.server.pid, stage.ports, ADMIN, crowd)
        struck, done = list[str](), list[tuple[float, str]]()
        since = datetime.now(UTC).date().isoformat()
        async with aiohttp.ClientSession(headers={"connection": "close", "authorization": f"Bearer {ADMIN}"}) as http:
            before = await watch.look(http, 0.0)
            others = [asyncio.create_task(watch.run()), asyncio.create_task(faults(stage.vendors, seconds, struck))]
            outage = asyncio.create_task(outages(stage.redis, seconds, done))
            await crowd.come(rate, seconds)
            for task in others:
                task.cancel()
            ended = await asyncio.gather(*others, return_exceptions=True)
            await outage
            await asyncio.to_thread(stage.vendors.clear)
            quiet = await until(lambda: _quiet(stage))
            after = await watch.look(http, seconds)
        failed = [end for end in ended if not isinstance(end, asyncio.CancelledError)]
        complaints = [f"a part of the play failed: {end!r}" for end in failed]
        export = f"/providers/costs/export?format=json&start_date={since}"
        rows = json.loads(await asyncio.to_thread(ask, stage, export))
        summary = json.loads(await asyncio.to_thread(ask, stage, "/providers/costs/summary"))
        entries = await asyncio.to_thread(stage.vendors.ledger)
        await asyncio.to_thread(stage.server.stop)
        text = stage.log.read_text(encoding="utf-8", errors="replace").splitlines()
        complaints += [*in_log(text), *_exit(stage.server.ended)]
        if not quiet:
            complaints.append(f"after a minute somebody is in flight, money is held or rows wait: {after.gauges}")
    asked = numbers(json.loads(line) for line in text if line.startswith("{"))
    books = compared(rows, entries, asked)
    missing = {str(number) for number in crowd.heard} - set(asked.values())
    complaints += [f"no line of the log for {len(missing)} requests: {sorted(missing)[:5]}"] if missing else []
    month = figures(summary["this_month"])
    if (month.spent, month.unproven, month.held) != (books.spent, books.unproven, 0):
        complaints.append(f"the counters say {month}, the rows {books.spent} and {books.unproven}")
    found = Found(
        seconds, rate, before, watch.moments, after, crowd.counts, crowd.codes, crowd.manners, done, len(struck), books,
        [*complaints, *crowd.complaints, *books.complaints],
    )  # fmt: skip
    return found._replace(complaints=[*found.complaints, *grown(found), *lacking(found.counts)])


def _exit(code: int | None) -> list[str]:
    return [] if code == 0 else [f"it ended with {code}"]


def _quiet(stage: Stage) -> bool:
    """Whether nobody is served, no money is held and no row waits, by what it says itself, and no vendor is asked."""
    with suppress(OSError):
        text = ask(stage, "/metrics").decode()
        gauges = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        waits = [float(gauges[f"tollhouse_{name}"]) for name in ("in_flight_requests", "journal_undelivered")]
        held = figures(json.loads(ask(stage, "/providers/costs/summary"))["this_month"]).held
        busy = sum(vendor["in_progress"] for vendor in stage.vendors.open().values())
        return not any([*waits, held, busy])
    return False


# ---- judged --------------------------------------------------------------------------------------------------------


def in_log(lines: Sequence[str]) -> Iterator[str]:
    """What the log must not have: what is no line of it, a traceback, a fault of ours."""
    for line in lines:
        said = json.loads(line) if line.startswith("{") else {"event": "not a line of the log", "exception": line}
        if said["event"] in FAULTS or "exception" in said or "Traceback" in line:
            yield f"in the log: {line[:300]}"


def grown(found: Found) -> Iterator[str]:
    """What grew, or did not go back."""
    if found.seconds >= JUDGED:
        for name, by, most in drifts(found):
            if by > most:
                yield f"{name} grew by {by:.1f}, at most {most:g} are allowed"
    before, after = found.before.descriptors, found.after.descriptors
    for kind in ("clients", "files", "others"):
        if after[kind] > before[kind]:
            yield f"descriptors, {kind}: {before[kind]} before, {after[kind]} after"
    for kind in ("vendors", "redis"):
        most = max((moment.descriptors[kind] for moment in found.moments), default=0)
        if after[kind] > most:
            yield f"descriptors, {kind}: {after[kind]} after, and never more than {most} during the load"


def lacking(counts: Mapping[str, int]) -> Iterator[str]:
    """What a soak must have had, or means little; and what it may have had hardly ever."""
    for name in ("answered", "vendors", "store", "left"):
        if not counts.get(name):
            yield f"nobody {name}: that was no soak"
    crossed, asked = counts.get("crossed", 0), sum(counts.values())
    if crossed > asked / CROSSED:
        yield f"{crossed} of {asked} asked on a connection that ended under them"


def main(words: Sequence[str] | None = None) -> int:
    """The command; 1 if there are complaints."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the load; of less nothing is written")
    parser.add_argument("--rate", type=float, default=RATE, help="clients a second")
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md all the same")
    given = parser.parse_args(words)
    with on_core(Cores.found().rest):
        found = uvloop.run(soaked(given.seconds, given.rate))
    text = section(found)
    print(text, *found.complaints[:20], f"{len(found.complaints)} complaints", sep="\n")
    if given.write or given.seconds >= SECONDS:
        SOAK.parent.mkdir(exist_ok=True)
        SOAK.with_suffix(".svg").write_text(drawn(found), encoding="utf-8")
        SOAK.write_text(text, encoding="utf-8")
        page.put({}, DOCUMENT)
    return 1 if found.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
