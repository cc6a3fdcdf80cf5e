"""What a request costs, counted instead of timed: `make steps ARGS='plain,stream --most 60'`.

The true server, with true sockets, its store and all that is on in the benchmark, under the same load; of each case the
instructions of bytecode, and the calls of Python's and of C's functions, a request. They do not care how busy the
machine is, so that a change of one part in a hundred is seen, where times drift by ten. Time goes along with them as
long as it is Python that takes it: an instruction takes some 5 ns here, and what it makes and drops as much again.
"""

import argparse
import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.bench.cases import CASES
from tests.bench.installation import ours
from tests.bench.load import Crowd
from tests.bench.peers import ROOT, SUBJECTS
from tests.bench.process import Cores
from tests.bench.stage import WARM, Actor, actor, vendors

AFTERWARDS = 0.4  # seconds in which what was put off is done
PATIENCE = 30.0  # seconds until the counts are written
Found = Mapping[str, list[int]]  # "file|function": instructions, calls, calls of C


async def counted(actor: Actor, case: str, seconds: float, file: Path) -> tuple[Found, int]:
    """What was done for so many good answers."""
    assert actor.server is not None
    question = actor.question(CASES[case])
    async with Crowd(actor.port, 32) as crowd:
        await crowd.closed(question, WARM)
        await asyncio.sleep(AFTERWARDS)
        os.kill(actor.server.pid, signal.SIGUSR1)
        tally = await crowd.closed(question, seconds)
        await asyncio.sleep(AFTERWARDS)
        os.kill(actor.server.pid, signal.SIGUSR2)
        found = await asyncio.to_thread(taken, file)
    if tally.wrong:
        raise SystemExit(f"{case}: {tally.wrong} wrong answers")
    return found, tally.good


def taken(file: Path) -> Found:
    """What the file says as soon as it is there; then it is gone."""
    end = time.monotonic() + PATIENCE
    while not file.exists():
        if time.monotonic() > end:
            raise SystemExit("the server does not tell what it has counted; its log is in build/bench/run")
        time.sleep(0.02)
    found: Found = json.loads(file.read_text())
    file.unlink()
    return found


def table(found: Found, good: int, most: int) -> list[str]:
    """The totals a request, then the files and the functions with the most instructions."""
    files: Counter[str] = Counter()
    short = {name: name.replace(f"{ROOT}/", "").rpartition("site-packages/")[2] for name in found}
    for name, (ops, _, _) in found.items():
        files[short[name].partition("|")[0]] += ops
    totals = [sum(column) / good for column in zip(*found.values(), strict=True)]
    lines = [f"{totals[0]:.0f} instructions, {totals[1]:.0f} calls of Python's functions, {totals[2]:.0f} of C's"]
    lines += [f"{ops / good:8.1f}  {name}" for name, ops in files.most_common(most)]
    dearest = sorted(found, key=lambda name: -found[name][0])[:most]
    for name in dearest:
        each = [number / good for number in found[name]]
        lines.append(f"{each[0]:8.1f} {each[1]:6.2f} {each[2]:6.2f}  {short[name]}")
    return lines


async def run(cases: list[str], subject: str, seconds: float, most: int) -> None:
    """Print each case's table."""
    cores = Cores.found()
    with vendors(cores) as mock, actor(subject, SUBJECTS[subject], ours(), mock, cores) as one:
        server = one.server
        assert server is not None
        argv, file = list(server.argv), one.place.directory / "steps.json"
        at = argv.index("proxy")
        server.argv = [*argv[:at], "tests.bench.counting", *argv[at + 1 :]]
        server.environ = {**server.environ, "STEPS": str(file)}
        await one.begin()
        for case in cases:
            found, good = await counted(one, case, seconds, file)
            print(f"{case}: {good} requests", *table(found, good, most), sep="\n", flush=True)


def main() -> None:
    """Read the command line, and count."""
    parser = argparse.ArgumentParser(prog="make steps", description=(__doc__ or "").partition(":")[0] + ".")
    parser.add_argument("cases", nargs="?", default="plain", help=f"with commas between: {', '.join(CASES)}")
    parser.add_argument("--subject", choices=("tollhouse", "tollhouse-redis"), default="tollhouse-redis")
    parser.add_argument("--seconds", type=float, default=3.0, help="of load for each case (default: 3)")
    parser.add_argument("--most", type=int, default=20, help="rows of files, and of functions (default: 20)")
    given = parser.parse_args()
    cases = given.cases.split(",")
    if unknown := [case for case in cases if case not in CASES]:
        parser.error(f"there is no case {unknown[0]}; there are {', '.join(CASES)}")
    asyncio.run(run(cases, given.subject, given.seconds, given.most))


if __name__ == "__main__":
    main()
