"""Subjects that run: started with the vendors behind them, asked, measured, ended."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cases import CASES, Case, asked
from tests.bench.installation import BUILD, Installed, NotInstalledError
from tests.bench.load import Crowd, Question, Tally
from tests.bench.peers import ROOT, VENDOR_KEYS, Place, Subject, environ_of
from tests.bench.process import Cores, Server, cpu, on_core, pss
from tests.redis_server import free_port, redis_server

RUNS = BUILD / "run"  # a folder for each run, by its process: logs, configurations, embedded stores
READY = 90.0  # seconds a subject may take to its first good answer
WARM = 0.3  # seconds; a subject has been idle while all others had their turn
AFTERWARDS = 0.4  # seconds in which a subject does what it has put off; it counts as well


@dataclass(frozen=True, slots=True)
class Vendors:
    """The mock process."""

    port: int

    async def count(self) -> dict[str, int]:
        """What it has served since it was last asked."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /count HTTP/1.1\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        counted: dict[str, int] = json.loads(await reader.readexactly(int(head.split(b"length: ")[1])))
        writer.close()
        return counted


@contextmanager
def vendors(cores: Cores) -> Iterator[Vendors]:
    with on_core(cores.rest):
        mock = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.mock"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
    assert mock.stdin is not None
    assert mock.stdout is not None
    try:
        yield Vendors(int(mock.stdout.readline()))
    finally:
        mock.stdin.close()  # it ends with its standard input
        mock.stdout.close()
        mock.wait()


class Actor:
    """One subject that runs; without a subject, the direct way to the vendors."""

    def __init__(self, name: str, subject: Subject | None, place: Place, server: Server | None) -> None:
        self.name, self.subject, self.place, self.server = name, subject, place, server
        self.redis: int | None = None  # the process of its store

    @property
    def port(self) -> int:
        return self.place.port if self.subject else self.place.vendors

    def question(self, case: Case) -> Question:
        if self.subject is None:
            headers = [("authorization", f"Bearer {VENDOR_KEYS[case.vendor]}")]
            return Question.of(case, case.vendor, asked(case, case.vendor, case.model, headers))
        language = self.subject.language(case)
        headers_of = self.subject.headers(case, self.place)
        return Question.of(case, language, asked(case, language, self.subject.model(case), headers_of))

    async def begin(self) -> float:
        """Start it; seconds until its first good answer."""
        assert self.server is not None
        self.server.start()
        question = self.question(CASES["plain"])
        while True:
            now = time.monotonic()
            if self.server.ended is not None or now > self.server.begun + READY:
                raise NotInstalledError(f"it does not answer: {_tail(self.server.log)}")
            try:
                async with Crowd(self.port, 1) as crowd:
                    if (await crowd.closed(question, 0.0)).good:
                        return time.monotonic() - self.server.begun
            except OSError:
                pass
            await asyncio.sleep(0.005)

    def end(self) -> None:
        """Stop it; it can begin again."""
        if self.server is not None:
            self.server.stop()

    @contextmanager
    def awake(self) -> Iterator[None]:
        """It runs meanwhile; afterwards it stands still again."""
        if self.server is not None:
            self.server.resume()
        try:
            yield
        finally:
            self.sleep()

    def sleep(self) -> None:
        """It stands still: what it does in the background, or has put off, would take the caches from others."""
        if self.server is not None:
            self.server.pause()

    def spent(self) -> float:
        """Seconds of processor time so far."""
        return cpu(self.server.pid) if self.server else 0.0

    def memory(self) -> float:
        """Megabytes now."""
        return pss(self.server.pid) if self.server else 0.0


def _tail(log: Path) -> str:
    return " | ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:])[-300:]


@dataclass(frozen=True, slots=True)
class Measured:
    """One case on one subject, once. Times in seconds."""

    tally: Tally
    seconds: float
    cpu: float
    store: float
    served: dict[str, int]

    @property
    def micros(self) -> float:
        """Microseconds of processor time for each good answer."""
        return self.cpu / max(1, self.tally.good) * 1e6

    @property
    def faults(self) -> list[str]:
        """Wrong answers, and what the vendors' count says otherwise."""
        heard = {"requests": self.tally.good, "names": self.tally.good}
        heard |= {"prompt": self.tally.prompt, "answer": self.tally.answer}
        count = [] if heard == self.served else [f"heard {heard}, served {self.served}"]
        wrong = [f"{self.tally.wrong} wrong answers"] if self.tally.wrong else []
        return [*wrong, *self.tally.complaints, *count]


async def crowded(actor: Actor, case: Case, mock: Vendors, size: int, seconds: float) -> Measured:
    """So many connections, always busy. What comes before is to warm up, and is not counted."""
    question = actor.question(case)
    async with Crowd(actor.port, size) as crowd:
        await crowd.closed(question, WARM)
        await asyncio.sleep(AFTERWARDS / 2)
        await mock.count()
        before, store, begun = actor.spent(), _store(actor), time.monotonic()
        tally = await crowd.closed(question, seconds)
        lasted = time.monotonic() - begun
        await asyncio.sleep(AFTERWARDS)
        spent, stored = actor.spent() - before, _store(actor) - store
    return Measured(tally, lasted, spent, stored, await mock.count())


async def steady(actor: Actor, case: Case, mock: Vendors, seconds: float, rate: float) -> Measured:
    """So many requests a second, for times."""
    question = actor.question(case)
    async with Crowd(actor.port, 16) as crowd:
        await crowd.closed(question, 0.0)
        await mock.count()
        tally = await crowd.steady(question, seconds, rate)
    return Measured(tally, seconds, 0.0, 0.0, await mock.count())


def _store(actor: Actor) -> float:
    return cpu(actor.redis) if actor.redis else 0.0


def sweep() -> None:
    """Remove what runs left behind that are over: the last one's logs stay until the next one."""
    for folder in RUNS.glob("*"):
        if not Path(f"/proc/{folder.name}").exists() or folder.name == str(os.getpid()):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def actor(name: str, subject: Subject, installed: Installed, mock: Vendors, cores: Cores) -> Iterator[Actor]:
    """A subject that can be begun; ended at the end."""
    directory = RUNS / str(os.getpid()) / name
    directory.mkdir(parents=True)
    with ExitStack() as stack:
        url, store = "", None
        if subject.redis:
            with on_core(cores.rest):
                redis = stack.enter_context(redis_server())
            url, store = redis.url, redis.pid
        place = Place(directory, free_port(), mock.port, url)
        launch = subject.launch(place, installed.home)
        server = Server(launch.argv, environ_of(launch), ROOT, directory / "log", cores.subject)
        stack.callback(server.stop)
        here = Actor(name, subject, place, server)
        here.redis = store
        yield here


def direct(mock: Vendors) -> Actor:
    return Actor("direct", None, Place(BUILD, 0, mock.port), None)
