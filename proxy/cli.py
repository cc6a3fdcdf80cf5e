"""The command `tollhouse`."""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from proxy import __version__
from proxy.auth import Keyring
from proxy.cost import dollars
from proxy.environment import reason
from proxy.routing import TASKS, Need
from proxy.settings import Settings, SettingsError, load, routing_state, shipped_prices

_NO_VENDOR = """\
No vendor is configured: there is nobody to forward requests to.
Set at least one of these (or NAME_FILE, a file that holds the key):
  OPENAI_API_KEY       https://platform.openai.com/api-keys
  ANTHROPIC_API_KEY    https://platform.claude.com/settings/keys
  GEMINI_API_KEY       https://aistudio.google.com/apikey
To see it work without a key: make demo (or: tollhouse demo)."""

_EPILOG = """\
Configuration comes from environment variables; the README lists them all. The least that is needed:
  OPENAI_API_KEY=... tollhouse serve
and then, in any OpenAI SDK: base_url="http://127.0.0.1:8080/v1"."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and do what it says. Exit code 2: the configuration is bad."""
    arguments = _parser().parse_args(argv)
    try:
        sys.exit(arguments.act(arguments))
    except SettingsError as error:
        for fault in error.faults:
            print(f"tollhouse: {fault}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="tollhouse",
        description="One OpenAI-compatible door to OpenAI, Anthropic and Gemini.",
        epilog=_EPILOG,
        formatter_class=raw,
    )
    parser.add_argument("--version", action="version", version=f"tollhouse {__version__}")
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listen = argparse.ArgumentParser(add_help=False)
    listen.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    listen.add_argument("--port", type=_port, default=8080, help="port to listen on; 0: any (default: %(default)s)")
    listen.add_argument("--config", metavar="FILE", help="YAML file, instead of TOLLHOUSE_CONFIG")
    listen.add_argument("--workers", type=_workers, default=1, metavar="N", help="processes; this version runs one")
    serve = verbs.add_parser("serve", parents=[listen], help="run the proxy")
    serve.set_defaults(act=_serve)
    demo = verbs.add_parser("demo", parents=[listen], help="run it against simulated vendors; no keys needed")
    demo.set_defaults(act=_demo)
    check = verbs.add_parser("check", help="say whether the configuration is valid, and what is on and off")
    check.add_argument("--config", metavar="FILE", help="YAML file, instead of TOLLHOUSE_CONFIG")
    check.add_argument("--live", action="store_true", help="ask each vendor, too, whether it takes its key")
    check.set_defaults(act=_check)
    _explain_verb(verbs.add_parser("explain", help="say whom a request would be sent to now, and why; nothing is sent"))
    _pricing_verbs(verbs.add_parser("pricing", help="check the price table, compare it, bring it up to date"))
    return parser


def _explain_verb(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="as a client would name it: gpt-4o, anthropic/NAME, auto, an alias"
    )
    parser.add_argument("--task", choices=TASKS, help="what the request is for, as x-tollhouse-task says it")
    parser.add_argument(
        "--tokens", type=_tokens, default=1_000, metavar="N", help="length of the prompt (default: %(default)s)"
    )
    parser.add_argument("--stream", action="store_true", help="the answer is to be streamed")
    parser.add_argument("--config", metavar="FILE", help="YAML file, instead of TOLLHOUSE_CONFIG")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(act=_explain)


_FROM = """\
FROM is the word genai-prices (the installed package, pip install genai-prices), or a file: a price table of our own
format, genai-prices' data.json, or LiteLLM's model_prices_and_context_window.json. FILE is the table to work on; left
out, it is the one that serve would use (TOLLHOUSE_PRICING, else the one that came with tollhouse).
What FROM does not speak of stays as it is, unless it is a table of our own format."""


def _pricing_verbs(parser: argparse.ArgumentParser) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    check = verbs.add_parser(
        "check", help="valid? what has no price, what changes soon, how old the sources are. Exit code 2: not valid"
    )
    diff = verbs.add_parser(
        "diff", help="say where another table differs; exit code 1 if it does", epilog=_FROM, formatter_class=raw
    )
    update = verbs.add_parser(
        "update", help="take over another table's figures, with --write", epilog=_FROM, formatter_class=raw
    )
    for verb in (check, diff):
        verb.add_argument("file", nargs="?", metavar="FILE", help="a price table (YAML)")
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


def _pricing(given: argparse.Namespace, verb: str) -> int:
    from proxy import pricing  # only here: a server has no use for it

    path = Path(given.file or os.environ.get("TOLLHOUSE_PRICING", "").strip() or shipped_prices())
    today = datetime.now(UTC)
    try:
        if verb == "check":
            return pricing.check(path, today)
        if verb == "diff":
            return pricing.diff(path, given.source, given.only, today)
        return pricing.update(path, given.source, given.only, today, write=given.write)
    except pricing.PricingError as error:
        for line in str(error).splitlines():
            print(f"tollhouse: {line}", file=sys.stderr)
        return 2


def _port(text: str) -> int:
    if not (text.isdecimal() and text.isascii()) or int(text[:6]) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535; got {text!r}")
    return int(text)


def _tokens(text: str) -> int:
    if not (text.isdecimal() and text.isascii()) or len(text) > 9:
        raise argparse.ArgumentTypeError(f"expected a number of tokens, at most nine digits; got {text[:40]!r}")
    return int(text)


def _workers(text: str) -> int:
    if text != "1":
        raise argparse.ArgumentTypeError("this version runs one process; start more replicas behind a balancer")
    return 1


def _settings(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    return load(
        environ,
        host=getattr(arguments, "host", "127.0.0.1"),
        port=getattr(arguments, "port", 8080),
        config=arguments.config,
        terminal=sys.stderr.isatty(),
    )


def _serve(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments, os.environ)
    if not settings.providers:
        print(_NO_VENDOR, file=sys.stderr)
        return 2
    return _run(settings, demo=False)


def _demo(arguments: argparse.Namespace) -> int:
    from proxy import demo  # only here: the simulator is no part of a server

    with demo.vendors(os.environ) as environ:
        return _run(_settings(arguments, environ), demo=True)


def _run(settings: Settings, *, demo: bool) -> int:
    import structlog  # here, and the server too: --help and a bad configuration are answered without them

    from proxy import app, server, telemetry

    telemetry.configure(settings.log_format, settings.log_level)
    log = structlog.get_logger()
    if settings.budgets and (why := _not_writable(settings.data_dir)):
        needed = "the budgets need it for the journal of what is spent"
        print(f"tollhouse: TOLLHOUSE_DATA_DIR: cannot write to {settings.data_dir}: {why}; {needed}", file=sys.stderr)
        return 2

    def announce(port: int) -> None:
        url = f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}:{port}"
        log.info("listening", url=f"{url}/v1", version=__version__, **state(settings))
        if demo:
            from proxy.demo import snippets

            print(snippets(url), flush=True)

    if why := server.run(app.build(settings), settings, announce):
        print(f"tollhouse: cannot listen on {settings.host} port {settings.port}: {why}", file=sys.stderr)
        return 1
    log.info("stopped")
    return 0


def _not_writable(directory: Path) -> str | None:
    """Why files cannot be made in a directory, which is made if it is not there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return None
    except OSError as error:
        return reason(error)


def _check(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments, os.environ)
    for name, value in state(settings).items():
        print(f"{name:10} {value}")
    if not settings.providers:
        print(_NO_VENDOR, file=sys.stderr)
        return 2
    print("The configuration is valid.")
    if not arguments.live:
        return 0
    from proxy import live  # only here: it asks vendors, with a client of its own

    findings = live.ask(settings.providers)
    for name, finding in findings.items():
        print(f"{name:10} {finding or 'ok'}")
    return 1 if any(findings.values()) else 0


def _explain(arguments: argparse.Namespace) -> int:
    from proxy import explain, telemetry  # only here: it opens the store

    settings = _settings(arguments, os.environ)
    if not settings.providers:
        print(_NO_VENDOR, file=sys.stderr)
        return 2
    telemetry.configure(settings.log_format, "error")  # what is wrong with the store is part of the answer
    size: int = arguments.tokens
    need = Need(prompt=size, least=size, task=arguments.task, stream=arguments.stream)
    return explain.run(settings, arguments.model, need, as_json=arguments.json)


def state(settings: Settings) -> dict[str, str]:
    """What is on and what is off, and why: for the log at start-up, and for `check`."""
    named = {provider.name for provider in settings.providers}
    off = [name if f"{name.upper()}_API_KEY" == key else f"{name} ({key})" for name, key in settings.off.items()]
    models = [model for model in settings.catalog.models if model.provider in named]
    offered = {(model.provider, model.model) for model in models if model.kind == "chat"}
    names = Keyring(settings.client_keys).names
    offered |= {(row.name, model.model) for row in settings.providers for model in row.models if model.kind == "chat"}
    return {
        "vendors": ", ".join(f"{p.name} ({p.base_url})" for p in settings.providers) or "none",
        "no key for": ", ".join(off) or "none",
        "models": str(len(offered)),
        "primary": settings.primary or "none",
        **routing_state(settings),
        "fallback": "on" if settings.fallback else "off (ENABLE_LLM_FALLBACK=false)",
        "store": "Redis (REDIS_URL)" if settings.redis_url else f"a file in {settings.data_dir}",
        "budgets": ", ".join(f"{b.name} USD {dollars(b.limit)}" for b in settings.budgets) or "none",
        "auth": f"client keys {', '.join(names)}" if names else "open (no client keys)",
    }
