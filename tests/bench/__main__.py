"""tollhouse and its peers side by side, and docs/performance.md from what came of it.

examples:
  make bench                                            everything; less than 15 minutes
  make bench ARGS='--subjects nginx,tollhouse-redis --only plain,stream --rounds 1'
  make bench ARGS='--subjects tollhouse-redis --only plain --profile plain'
"""

import argparse
import compileall
import json
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import uvloop

from tests.bench import page, profile, report
from tests.bench.cases import CASES
from tests.bench.installation import NotInstalledError
from tests.bench.peers import SUBJECTS
from tests.bench.process import Cores
from tests.bench.rounds import Figures, Plan, Run
from tests.bench.stage import sweep, vendors
from tests.tollhouse import ROOT

PROFILED = "tollhouse-redis"


def names(table: object, text: str) -> list[str]:
    known = list(table) if isinstance(table, dict) else []
    chosen = text.split(",")
    if unknown := set(chosen) - set(known):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(known)}")
    return [name for name in known if name in chosen]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cases, subjects = list(CASES), list(SUBJECTS)
    parser.add_argument("--only", metavar="CASE,...", type=lambda text: names(CASES, text), default=cases)
    parser.add_argument("--subjects", metavar="NAME,...", type=lambda text: names(SUBJECTS, text), default=subjects)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement (default: 1.5)")
    parser.add_argument("--steady", type=float, default=4.0, help="seconds of each at a low rate; 0: none (default: 4)")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--profile", metavar="CASE,...", type=lambda text: names(CASES, text), default=[])
    parser.add_argument("--json", metavar="FILE", type=Path, help="all figures")
    parser.add_argument("--write", action="store_true", help="docs/performance.md, though not everything was measured")
    given = parser.parse_args()
    given.whole = (given.only, given.subjects) == (cases, subjects)
    return given


async def run(given: argparse.Namespace, runner: Run) -> tuple[Figures, str]:
    """The figures, and the profiles as text."""
    figures = await runner.everything()
    parts = []
    for case in given.profile or (["plain", "stream", "anthropic-stream"] if given.whole else []):
        for one in runner.actors:
            if one.name != PROFILED if given.whole else not one.name.startswith("tollhouse"):
                continue
            try:
                with one.awake():
                    file = await profile.take(one, case, CASES[case], given.connections)
            except NotInstalledError as error:
                runner.say(f"no profile: {error}")
                continue
            runner.say(f"{file} and {file.with_suffix('.svg').name}")
            lines = file.read_text(encoding="utf-8").splitlines()
            if given.profile:
                print(f"{one.name}, {case}", profile.functions(lines), sep="\n", flush=True)
            parts.append(f"### {CASES[case].title}\n\n{profile.table(lines, figures.micro(case, one.name) or 0.0)}")
    return figures, "\n\n".join(parts)


def main() -> int:
    given = arguments()
    plan = Plan(given.only, given.subjects, given.rounds, given.seconds, given.steady, given.connections)
    cores = Cores.found()
    # So that what was started is ended; a shell that starts us in the background has Ctrl-C ignored.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    machine = report.machine()
    for room in ("proxy", "adapters"):
        compileall.compile_dir(ROOT / room, quiet=1)  # as an installation does: a start is not to be timed with it
    sweep()
    with ExitStack() as stack:
        mock = stack.enter_context(vendors(cores))
        os.sched_setaffinity(0, {cores.rest})
        try:
            figures, profiles = uvloop.run(run(given, Run(plan, cores, mock, stack)))
        except KeyboardInterrupt:
            return 130
    text = report.text(figures, plan, machine)
    print(text, *([profiles] if profiles else []), sep="\n\n")
    if given.json:
        given.json.write_text(json.dumps(figures.json() | {"machine": machine}, indent=1), encoding="utf-8")
    if figures.faults:
        print("\nThe document stays as it was: not everything was right.", file=sys.stderr)
    elif given.whole or given.write:
        page.put({"bench": text, **({"profile": profiles} if profiles else {})})
    return 1 if figures.faults else 0


if __name__ == "__main__":
    sys.exit(main())
