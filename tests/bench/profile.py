"""Where the time of a subject goes: py-spy looks at it under load, and its samples are added up by room."""

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.bench.cases import Case
from tests.bench.installation import BUILD, NotInstalledError, py_spy
from tests.bench.load import Crowd
from tests.bench.stage import Actor

RATE = 400  # samples a second
_FRAME = re.compile(r"(?P<name>[^()]*) \((?P<file>[^():]*)(?::\d+)?\)")
_OURS = re.compile(r"(?:.*/)?((?:proxy|adapters)/.+?)(?:/__init__)?\.py$")
# A thread that waits for work holds no core, though py-spy cannot tell.
_IDLE = re.compile(r"(?:^|;)(_worker \(concurrent/futures/thread|wait \(threading)\.py:\d+\)$")
LOOP = "event loop: uvloop, libuv and the kernel under it"


def room(file: str) -> str:
    """Who a file belongs to: a room of ours, a package, the standard library, or the loop that runs them all.

    py-spy names files as they would be imported: without the folder of the library.
    """
    if file == "asyncio/runners.py" or file.startswith("uvloop"):
        return LOOP
    if ours := _OURS.match(file):
        return ours[1]
    top = file.partition("/")[0].removesuffix(".py")
    return f"Python's {top}" if top in sys.stdlib_module_names else top


def functions(lines: Iterable[str], most: int = 40) -> str:
    """The dearest functions by themselves, one a line, for a terminal."""
    itself: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if not _IDLE.search(stack):
            itself[re.sub(r":\d+\)$", ")", stack.rpartition(";")[2])] += int(count)
    return "\n".join(f"{count / itself.total():6.1%}  {name}" for name, count in itself.most_common(most))


def shares(lines: Iterable[str]) -> tuple[Counter[str], Counter[str], int]:
    """Of collapsed stacks: samples of each room itself (and of what it calls that is not Python), with what it calls,
    and all samples."""
    itself: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if _IDLE.search(stack):
            continue
        rooms = [room(frame["file"]) for part in stack.split(";") if (frame := _FRAME.fullmatch(part))]
        if rooms:
            itself[rooms[-1]] += int(count)
            for name in set(rooms):
                within[name] += int(count)
    return itself, within, itself.total()


def table(lines: Iterable[str], micros: float, least: float = 0.01) -> str:
    """Markdown: share of each room, and microseconds a request if a request costs so many."""
    itself, within, total = shares(lines)
    rows = ["| where | by itself | µs a request | with what it calls |", "|---|---|---|---|"]
    for name, count in itself.most_common():
        share = count / max(1, total)
        if share < least:
            break
        rows.append(f"| {name} | {share:.1%} | {share * micros:.1f} | {within[name] / total:.0%} |")
    return "\n".join(rows)


async def take(actor: Actor, name: str, case: Case, connections: int, seconds: float = 5.0) -> Path:
    """Collapsed stacks of the subject under load, in a file that flame graph viewers read; and a picture next to it."""
    if actor.server is None:
        raise NotInstalledError("there is no process on the direct way")
    command = await asyncio.to_thread(py_spy)
    question = actor.question(case)
    file = BUILD / f"profile-{actor.name}-{name}"
    forms = (("raw", file.with_suffix(".txt")), ("flamegraph", file.with_suffix(".svg")))
    async with Crowd(actor.port, connections) as crowd:
        await crowd.closed(question, 0.2)
        for form, output in forms:
            spy = await asyncio.create_subprocess_exec(
                *(str(command), "record", "--pid", str(actor.server.pid), "--duration", f"{seconds:.0f}"),
                *("--rate", str(RATE), "--format", form, "--output", str(output), "--subprocesses"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said = asyncio.ensure_future(spy.communicate())
            await crowd.closed(question, seconds + 0.5)
            out, _ = await said
            if spy.returncode:
                raise NotInstalledError(f"py-spy said: {out.decode(errors='replace')[-300:]}")
    return forms[0][1]
