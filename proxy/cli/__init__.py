"""The command `tollhouse`: what it is told is read here; what it does is loaded when it is asked for, so that `--help`
and a slip of the hand are answered at once."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from proxy import __version__
from proxy.cli import asking, verbs
from proxy.desk.trouble import Trouble

_QUIT = 130  # as a shell says it of a command that was interrupted
_UNHEARD = 141  # and of one whose reader went away
_EPILOG = """\
Configuration comes from environment variables; the README lists them all. The least that is needed:
  OPENAI_API_KEY=... tollhouse serve
and then, in any OpenAI SDK: base_url="http://127.0.0.1:8080/v1".
tollhouse COMMAND --help says more, with examples. Exit codes: 0 all is well, 1 the answer is bad news, 2 the command
line or the configuration is wrong, 3 no tollhouse could be reached."""


class Verb(NamedTuple):
    """A command: what it is for, in a line, and what adds its words to a parser."""

    summary: str
    build: Callable[[argparse.ArgumentParser], None]


VERBS: Mapping[str, Mapping[str, Verb]] = {
    "run": {
        "serve": Verb("run the proxy", verbs.serve),
        "demo": Verb("run it against simulated vendors; no keys needed", verbs.demo),
    },
    "look": {
        "healthcheck": Verb("say whether it is ready, by the exit code alone", verbs.healthcheck),
        "health": Verb("who is healthy, since when and why not; close a circuit by hand", asking.health),
        "explain": Verb("say whom a request would be sent to now, and why; nothing is sent", verbs.explain),
    },
    "spend": {
        "costs": Verb("what was spent, by model, user, team ...; how full the budgets are", asking.costs),
        "export": Verb("the ledger, row by row, as CSV or JSON", asking.export),
    },
    "keys": {
        "keys": Verb("make, list, show, rotate and revoke the keys of clients", asking.keys),
    },
    "configuration": {
        "check": Verb("say whether the configuration is valid, and what is on and off", verbs.check),
        "pricing": Verb("check the price table, compare it, bring it up to date", verbs.pricing),
    },
}


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and do what it says; `proxy.desk.trouble` has the exit codes."""
    words = sys.argv[1:] if argv is None else argv
    given = parser(words).parse_args(words)
    given.argv = tuple(words)
    try:
        code = given.act(given)
        sys.stdout.flush()
    except Trouble as trouble:
        for line in str(trouble).splitlines():
            print(f"tollhouse: {line}", file=sys.stderr)
        code = trouble.code
    except KeyboardInterrupt:
        code = _QUIT
    except BrokenPipeError:
        # What is still in the buffer has nowhere to go; at the exit Python would complain of that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _UNHEARD
    sys.exit(code)


def parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """For these words: a command that they do not name is known by its name alone."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="tollhouse",
        usage="tollhouse COMMAND ...\n       tollhouse --help",
        description=f"One OpenAI-compatible door to OpenAI, Anthropic and Gemini.\n\n{_listed()}",
        epilog=_EPILOG,
        formatter_class=raw,
    )
    top.add_argument("--version", action="version", version=f"tollhouse {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", prog="tollhouse", help=argparse.SUPPRESS)
    for group in VERBS.values():
        for name, verb in group.items():
            command = commands.add_parser(name, formatter_class=raw)
            if name in words:
                verb.build(command)
    return top


def _listed() -> str:
    """All commands, by what they are good for."""
    lines: list[str] = []
    for title, group in VERBS.items():
        lines += [f"{title}:", *(f"  {name:11} {verb.summary}" for name, verb in group.items()), ""]
    return "\n".join(lines).rstrip()
