"""The words of the commands that run here: `serve`, `demo`, `check`, `explain`, `pricing`."""

import argparse

from proxy.cli import words

_SERVE = """\
examples:
  OPENAI_API_KEY=... tollhouse serve
  tollhouse serve --port 9000 --config tollhouse.yaml
  TOLLHOUSE_CLIENT_KEYS=... TOLLHOUSE_ADMIN_KEY=... tollhouse serve --host 0.0.0.0

It is ready when GET /readyz answers 200. SIGTERM lets requests in flight finish; SIGHUP, or a change of its files,
reads the configuration again."""

_HEALTHCHECK = """\
examples:
  tollhouse healthcheck
  tollhouse healthcheck --alive --url http://127.0.0.1:9000

It asks GET /readyz, or with --alive GET /healthz: of --url, else of TOLLHOUSE_URL, else of http://127.0.0.1:8080.
Exit codes: 0 it answers 200; 1 it does not."""

_DEMO = """\
examples:
  tollhouse demo
  tollhouse demo --port 0          # any port that is free; it says which

It prints what to paste into a shell. Nothing costs anything, and no key of yours is used."""

_CHECK = """\
examples:
  tollhouse check
  tollhouse check --live           # one request to each vendor that costs nothing
  tollhouse check --config new.yaml --json

Exit codes: 0 valid; 1 a vendor refuses its key or cannot be reached (--live); 2 not valid, one line for each fault."""

_EXPLAIN = """\
examples:
  tollhouse explain gpt-4o
  tollhouse explain gpt-4o --tokens 20000
  tollhouse explain auto --task creative --json

It reads the configuration and the store of this machine, not a running tollhouse; it sends nothing and writes nothing.
Exit code 2: the configuration is bad, or nobody can serve that model."""

_PRICING = """\
examples:
  tollhouse pricing check
  tollhouse pricing diff --from genai-prices
  tollhouse pricing update --from genai-prices --only 'openai/gpt-6*' --write"""

_FROM = """\
FROM is the word genai-prices (the installed package, pip install genai-prices), or a file: a price table of our own
format, genai-prices' data.json, or LiteLLM's model_prices_and_context_window.json. FILE is the table to work on; left
out, it is the one that serve would use (TOLLHOUSE_PRICING, else the one that came with tollhouse).
What FROM does not speak of stays as it is, unless it is a table of our own format.

examples:"""

_DIFF = f"""\
{_FROM}
  tollhouse pricing diff --from genai-prices
  tollhouse pricing diff --from model_prices_and_context_window.json --only 'gemini/*' pricing.yaml"""

_UPDATE = f"""\
{_FROM}
  tollhouse pricing update --from genai-prices                                  # says what would change
  tollhouse pricing update --from genai-prices --only 'openai/gpt-6*' --write   # changes it"""

_TABLE = """\
examples:
  tollhouse pricing check
  tollhouse pricing check my-pricing.yaml"""


def serve(parser: argparse.ArgumentParser) -> None:
    """`tollhouse serve`."""
    parser.description = "Run the proxy."
    parser.epilog = _SERVE
    _listen(parser)
    parser.add_argument("--worker", type=words.worker, help=argparse.SUPPRESS)
    parser.set_defaults(act=_serve)


def demo(parser: argparse.ArgumentParser) -> None:
    """`tollhouse demo`."""
    parser.description = "Run the proxy in front of three simulated vendors."
    parser.epilog = _DEMO
    _listen(parser)
    parser.set_defaults(act=_demo)


def _listen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=words.port, default=8080, help="port to listen on; 0: any (default: %(default)s)"
    )
    _config(parser)
    parser.add_argument(
        "--workers", type=words.workers, default=1, metavar="N", help="processes behind the port (default: %(default)s)"
    )


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="YAML file, instead of TOLLHOUSE_CONFIG")


def healthcheck(parser: argparse.ArgumentParser) -> None:
    """`tollhouse healthcheck`."""
    parser.description = "Ask a tollhouse whether it is ready for traffic: for containers, where there is no curl."
    parser.epilog = _HEALTHCHECK
    parser.add_argument("--url", help="instead of TOLLHOUSE_URL")
    parser.add_argument("--alive", action="store_true", help="whether it runs, ready or not")
    parser.add_argument(
        "--timeout", type=words.seconds, default=3.0, metavar="SECONDS", help="for the answer (default: 3)"
    )
    parser.set_defaults(act=_healthcheck)


def check(parser: argparse.ArgumentParser) -> None:
    """`tollhouse check`."""
    parser.description = "Say whether the configuration is valid, and what is on and off. No port is opened."
    parser.epilog = _CHECK
    _config(parser)
    parser.add_argument("--live", action="store_true", help="ask each vendor, too, whether it takes its key")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(act=_check)


def explain(parser: argparse.ArgumentParser) -> None:
    """`tollhouse explain`."""
    from proxy.routing import TASKS

    parser.description = "Say whom a request would be sent to now, in which order, at what cost, and why."
    parser.epilog = _EXPLAIN
    parser.add_argument(
        "model", metavar="MODEL", help="as a client would name it: gpt-4o, anthropic/NAME, auto, an alias"
    )
    parser.add_argument("--task", choices=TASKS, help="what the request is for, as x-tollhouse-task says it")
    parser.add_argument(
        "--tokens", type=words.tokens, default=1_000, metavar="N", help="length of the prompt (default: %(default)s)"
    )
    parser.add_argument("--stream", action="store_true", help="the answer is to be streamed")
    _config(parser)
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(act=_explain)


def pricing(parser: argparse.ArgumentParser) -> None:
    """`tollhouse pricing check|diff|update`."""
    raw = argparse.RawDescriptionHelpFormatter
    parser.description = "Look at the table of models and prices."
    parser.epilog = _PRICING
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="valid? what has no price, what changes soon, how old the sources are. Exit code 2: not valid",
        epilog=_TABLE,
        formatter_class=raw,
    )
    diff = commands.add_parser(
        "diff", help="say where another table differs; exit code 1 if it does", epilog=_DIFF, formatter_class=raw
    )
    update = commands.add_parser(
        "update", help="take over another table's figures, with --write", epilog=_UPDATE, formatter_class=raw
    )
    for verb in (check, diff):
        verb.add_argument("file", nargs="?", metavar="FILE", help="a price table (YAML)")
        verb.add_argument("--json", action="store_true", help="for machines")
    update.add_argument("--file", metavar="FILE", help="a price table (YAML)")
    for verb in (diff, update):
        verb.add_argument("--from", dest="source", required=True, metavar="FROM", help="see below")
        verb.add_argument("--only", default="*", metavar="GLOB", help="these models alone: 'openai/gpt-6*'")
    update.add_argument(
        "--write",
        action="store_true",
        help="change the file, in place: figures, added buckets, dated changes; all of it or nothing",
    )
    check.set_defaults(act=lambda given: _pricing(given, "check"))
    diff.set_defaults(act=lambda given: _pricing(given, "diff"))
    update.set_defaults(act=lambda given: _pricing(given, "update"))


def _serve(given: argparse.Namespace) -> int:
    if given.workers > 1 and given.worker is None:
        from proxy.cli import supervising

        return supervising.serve(given)
    from proxy.cli import running

    return running.serve(given)


def _demo(given: argparse.Namespace) -> int:
    if given.workers > 1:
        from proxy.cli import supervising

        return supervising.demo(given)
    from proxy.cli import running

    return running.demo(given)


def _healthcheck(given: argparse.Namespace) -> int:
    from proxy.cli import probing

    return probing.healthcheck(given)


def _check(given: argparse.Namespace) -> int:
    from proxy.cli import running

    return running.check(given)


def _explain(given: argparse.Namespace) -> int:
    from proxy.cli import running

    return running.explain(given)


def _pricing(given: argparse.Namespace, verb: str) -> int:
    from proxy.cli import running

    return running.pricing(given, verb)
