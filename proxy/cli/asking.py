"""The words of the commands that ask a running tollhouse: `health`, `costs`, `export`, `keys`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.cli import words
from proxy.desk import window
from proxy.desk.trouble import Trouble

if TYPE_CHECKING:
    from proxy.desk.client import Client
    from proxy.desk.screen import Screen

_ASKING = """\
It asks a running tollhouse: the one that --url names, else TOLLHOUSE_URL, else http://127.0.0.1:8080. The admin key is
read from TOLLHOUSE_ADMIN_KEY, or from the file that TOLLHOUSE_ADMIN_KEY_FILE names. It is never an argument: everybody
who lists the processes of this machine would see it, and the shell would keep it in its history."""

_EXIT = """2 the command line, the key or a name is wrong; 3 no tollhouse could be
reached, or it cannot say now"""

_HEALTH = f"""\
examples:
  tollhouse health
  tollhouse health openai --watch
  tollhouse health --json | jq '.providers.openai.state'
  tollhouse health reset openai            # its circuits, and those of all its models
  tollhouse health reset openai gpt-4o     # of this model alone

p50 and p95: milliseconds until the first part of a stream, and until the end of any answer. failed: how many of those
in the current window. Where it does not write to a terminal, --watch prints one line for each change.

{_ASKING}

Exit codes: 0 no circuit is open; 1 one is; {_EXIT}."""

_COSTS = f"""\
examples:
  tollhouse costs                          # this month, by model
  tollhouse costs --by user --since 7d
  tollhouse costs --by team --since 2026-11-01 --until 2026-11-15
  tollhouse costs --since 24h --json | jq -r .stats.totals.cost_usd

--since and --until: 24h, 90m are exactly so long ago; 7d (--since alone) is the last seven days by the calendar, today
among them; 2026-11-23 is that day, as a whole; 2026-11-23T14:30Z a moment. All in UTC. Budgets are shown as they stand
now. Without --since: since the beginning of the month.

{_ASKING}

Exit codes: 0; 1 a budget is used up; {_EXIT}."""

_EXPORT = f"""\
examples:
  tollhouse export --since 1h -o last-hour.csv
  tollhouse export --since 2026-11-01 --until 2026-11-30 -o november.json
  tollhouse export --since 24h --json | jq -r 'select(.status >= 400) | .request'

One row for each attempt. A FILE is there whole or not at all. How many rows there were, and what they cost in all, is
said on standard error. --since and --until: as tollhouse costs --help says.

{_ASKING}

Exit codes: 0; {_EXIT}."""

_KEYS = f"""\
examples:
  KEY=$(tollhouse keys create ci --team platform --monthly 50)
  tollhouse keys list
  tollhouse keys rotate ci --grace 1h
  tollhouse keys revoke ci --yes

A key is shown once, when it is made, and never kept: who has lost it rotates it. Revoked is for good, on all replicas.

{_ASKING}

Exit codes: 0; {_EXIT}."""

_CREATE = """\
examples:
  KEY=$(tollhouse keys create ci)
  tollhouse keys create alice --user alice --daily 5 --expires 90d
  tollhouse keys create batch --team data --models 'gpt-4o*,smart' --rpm 60 --concurrent 4

The key alone goes to standard output, everything else to standard error. --user, --agent and --team: who spends with
it; what a request says of these then counts for nothing."""

_ROTATE = """\
examples:
  tollhouse keys rotate ci                 # the old one is refused at once
  KEY=$(tollhouse keys rotate ci --grace 1h)"""

_REVOKE = """\
examples:
  tollhouse keys revoke ci                 # asks whether you mean it
  tollhouse keys revoke ci --yes"""

_LIST = """\
examples:
  tollhouse keys list
  tollhouse keys list --json | jq -r '.keys[] | select(.status == "active") | .name'"""

_SHOW = """\
examples:
  tollhouse keys show ci
  tollhouse keys show ci --json"""


def health(parser: argparse.ArgumentParser) -> None:
    """`tollhouse health [PROVIDER]` and `tollhouse health reset PROVIDER [MODEL]`."""
    parser.usage = "tollhouse health [PROVIDER] [--watch] [options]\n       tollhouse health reset PROVIDER [MODEL]"
    parser.description = "Who is healthy, as all replicas see it: since when, why not, until when."
    parser.epilog = _HEALTH
    parser.add_argument("words", nargs="*", metavar="PROVIDER", help="this one alone")
    parser.add_argument("--watch", action="store_true", help="look again and again, until Ctrl-C")
    parser.add_argument(
        "--every", type=words.seconds, default=2.0, metavar="SECONDS", help="between two looks (default: 2)"
    )
    _where(parser, "exactly what the API said; with --watch one line each time")
    parser.set_defaults(act=_health)


def costs(parser: argparse.ArgumentParser) -> None:
    """`tollhouse costs`."""
    from proxy.ledger import DIMENSIONS

    parser.description = "What was spent, by whom or on what, and how full the budgets are."
    parser.epilog = _COSTS
    parser.add_argument("--by", choices=DIMENSIONS, default="model", help="(default: %(default)s)")
    parser.add_argument(
        "--top", type=words.count, default=50, metavar="N", help="how many are shown one by one (default: %(default)s)"
    )
    _window(parser)
    _where(parser, 'what the API said: {"summary": ..., "stats": ...}')
    parser.set_defaults(act=_costs)


def export(parser: argparse.ArgumentParser) -> None:
    """`tollhouse export`."""
    parser.description = "The ledger, row by row, for other programs."
    parser.epilog = _EXPORT
    _window(parser)
    parser.add_argument(
        "--format", choices=("csv", "json", "jsonl"), help="(default: by the end of FILE's name, else csv)"
    )
    parser.add_argument("-o", dest="file", metavar="FILE", help="instead of standard output")
    _where(parser, "the same as --format jsonl: a row a line")
    parser.set_defaults(act=_export)


def keys(parser: argparse.ArgumentParser) -> None:
    """`tollhouse keys create|list|show|rotate|revoke`."""
    raw = argparse.RawDescriptionHelpFormatter
    parser.description = "The keys that clients present."
    parser.epilog = _KEYS
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="make one, and show it, once", epilog=_CREATE, formatter_class=raw)
    listed = commands.add_parser("list", help="all of them", epilog=_LIST, formatter_class=raw)
    shown = commands.add_parser("show", help="one of them", epilog=_SHOW, formatter_class=raw)
    rotate = commands.add_parser("rotate", help="another key under the same name", epilog=_ROTATE, formatter_class=raw)
    revoke = commands.add_parser("revoke", help="let it be refused, for good", epilog=_REVOKE, formatter_class=raw)
    for verb in (create, shown, rotate, revoke):
        verb.add_argument("name", metavar="NAME", help="what it is called in budgets, costs and the log")
    _terms(create)
    rotate.add_argument(
        "--grace", type=words.told(window.duration), default=0, metavar="TIME",
        help="how long the old key is good besides: 1h, 7d (default: not at all)",
    )  # fmt: skip
    revoke.add_argument("--yes", action="store_true", help="do not ask")
    for verb in (create, listed, shown, rotate, revoke):
        _where(verb, "exactly what the API said")
    create.set_defaults(act=_create)
    listed.set_defaults(act=_list)
    shown.set_defaults(act=_show)
    rotate.set_defaults(act=_rotate)
    revoke.set_defaults(act=_revoke)


def _terms(create: argparse.ArgumentParser) -> None:
    """What a key may do."""
    create.add_argument("--user", metavar="NAME", help="who spends with it")
    create.add_argument("--agent", metavar="NAME", help="the program that does")
    create.add_argument("--team", metavar="NAME", help="the team that pays for it")
    create.add_argument("--expires", metavar="WHEN", help="90d, or a moment such as 2027-01-31 (default: never)")
    create.add_argument(
        "--models", type=words.patterns, default=[], metavar="GLOBS", help="'gpt-4o*,smart' (default: all)"
    )
    create.add_argument("--daily", metavar="USD", help="a budget of its own: 12.50 (default: none)")
    create.add_argument("--monthly", metavar="USD", help="the same, for a month")
    create.add_argument("--rpm", type=words.count, metavar="N", help="requests a minute (default: no limit)")
    create.add_argument("--tpm", type=words.count, metavar="N", help="tokens a minute, prompt and answer together")
    create.add_argument("--concurrent", type=words.count, metavar="N", help="requests at once")


def _window(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", type=words.told(window.since), metavar="WHEN", help="24h, 7d, 2026-11-23")
    parser.add_argument("--until", type=words.told(window.until), metavar="WHEN", help="2h, 2026-11-23 (default: now)")


def _where(parser: argparse.ArgumentParser, json: str) -> None:
    parser.add_argument("--url", help="of a running tollhouse, instead of TOLLHOUSE_URL (default: this machine)")
    parser.add_argument("--json", action="store_true", help=json)


def _open(given: argparse.Namespace) -> "tuple[Client, Screen]":
    """Whom to ask, and where to print; loaded only now."""
    from proxy.desk.client import Client
    from proxy.desk.screen import Screen

    return Client.of(given.url, os.environ), Screen()


def _health(given: argparse.Namespace) -> int:
    from proxy.desk import health

    client, screen = _open(given)
    with client:
        match given.words:
            case ["reset", provider, *model] if len(model) <= 1 and not given.watch:
                return health.reset(client, screen, provider, *model or [None], as_json=given.json)
            case ["reset", *_] | [_, _, *_]:
                raise Trouble("expected: tollhouse health [PROVIDER] [--watch], or health reset PROVIDER [MODEL]")
        provider = given.words[0] if given.words else None
        if given.watch:
            return health.watch(client, screen, provider, as_json=given.json, every=given.every)
        return health.show(client, screen, provider, as_json=given.json)


def _costs(given: argparse.Namespace) -> int:
    from proxy.desk import costs

    client, screen = _open(given)
    asked = costs.Asked(by=given.by, top=given.top, since=given.since, until=given.until)
    with client:
        return costs.show(client, screen, asked, as_json=given.json)


def _export(given: argparse.Namespace) -> int:
    from proxy.desk import export

    client, screen = _open(given)
    to = Path(given.file) if given.file not in (None, "", "-") else None
    format: export.Format | None = given.format or ("jsonl" if given.json else None)
    with client:
        return export.run(client, screen, export.Wanted(since=given.since, until=given.until, format=format, to=to))


def _create(given: argparse.Namespace) -> int:
    from proxy.desk import keys

    client, screen = _open(given)
    draft = keys.Draft(
        name=given.name,
        user=given.user,
        agent=given.agent,
        team=given.team,
        expires=given.expires,
        models=given.models,
        daily=given.daily,
        monthly=given.monthly,
        requests_per_minute=given.rpm,
        tokens_per_minute=given.tpm,
        concurrent=given.concurrent,
    )
    with client:
        return keys.create(client, screen, draft, as_json=given.json)


def _list(given: argparse.Namespace) -> int:
    from proxy.desk import keys

    client, screen = _open(given)
    with client:
        return keys.show_all(client, screen, as_json=given.json)


def _show(given: argparse.Namespace) -> int:
    from proxy.desk import keys

    client, screen = _open(given)
    with client:
        return keys.show(client, screen, given.name, as_json=given.json)


def _rotate(given: argparse.Namespace) -> int:
    from proxy.desk import keys

    client, screen = _open(given)
    grace = -(-given.grace // window.SECOND)
    with client:
        return keys.rotate(client, screen, given.name, grace, as_json=given.json)


def _revoke(given: argparse.Namespace) -> int:
    from proxy.desk import keys

    client, screen = _open(given)
    with client:
        return keys.revoke(client, screen, given.name, sure=given.yes, as_json=given.json)
