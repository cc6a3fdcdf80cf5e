"""What runs here, on the configuration of this machine: `serve`, `demo`, `check`, `explain`, `pricing`."""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from proxy import __version__, footprint
from proxy.cost import dollars
from proxy.desk.trouble import BAD_NEWS, OK, USAGE, Trouble
from proxy.environment import reason
from proxy.routing import Need
from proxy.settings import Settings, SettingsError, load, routing_state, shipped_prices

if TYPE_CHECKING:
    from proxy.workers.worker import Worker

_NO_VENDOR = """\
No vendor is configured: there is nobody to forward requests to.
Set at least one of these (or NAME_FILE, a file that holds the key):
  OPENAI_API_KEY       https://platform.openai.com/api-keys
  ANTHROPIC_API_KEY    https://platform.claude.com/settings/keys
  GEMINI_API_KEY       https://aistudio.google.com/apikey
To see it work without a key: make demo (or: tollhouse demo)."""


class Checked(msgspec.Struct, kw_only=True):
    """What `check --json` says. `live`: what is wrong with each vendor's key or address, null if nothing is."""

    valid: bool
    faults: list[str] = []
    state: dict[str, str] = {}
    live: dict[str, str | None] | None = None


def _read(given: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    return load(
        environ,
        host=getattr(given, "host", "127.0.0.1"),
        port=getattr(given, "port", 8080),
        config=given.config,
        terminal=sys.stderr.isatty(),
    )


def _settings(given: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    try:
        return _read(given, environ)
    except SettingsError as error:
        raise Trouble("\n".join(error.faults), USAGE) from None


def serve(given: argparse.Namespace) -> int:
    """Run until told to stop."""
    settings = _settings(given, os.environ)
    if not settings.providers:
        print(_NO_VENDOR, file=sys.stderr)
        return USAGE
    worker = None
    if given.worker is not None:
        from proxy.workers.worker import Worker  # only here: alone, there is nobody to be tied to

        worker = Worker.of(*given.worker)
    return _run(settings, lambda: _read(given, os.environ), worker=worker)


def demo(given: argparse.Namespace) -> int:
    """The same, in front of simulated vendors."""
    from proxy import demo  # only here: the simulator is no part of a server

    with demo.vendors(os.environ) as environ:
        return _run(_settings(given, environ), lambda: _read(given, environ), control=environ[demo.CONTROL])


def _run(
    settings: Settings, again: Callable[[], Settings], *, control: str | None = None, worker: "Worker | None" = None
) -> int:
    if hasattr(signal, "SIGHUP"):  # it asks for the configuration to be read anew: until somebody listens, for nothing
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with footprint.spared():
        import structlog  # here, and the server too: --help and a bad configuration are answered without them

        from proxy import app, otel, server
        from proxy.admin import figures
        from proxy.log import bind, configure

    if settings.telemetry and (why := otel.missing()):
        raise Trouble(why)
    configure(settings.log_format, settings.log_level)
    log = structlog.get_logger()
    if settings.budgets and (why := _not_writable(settings.data_dir)):
        needed = "the budgets need it for the journal of what is spent"
        raise Trouble(f"TOLLHOUSE_DATA_DIR: cannot write to {settings.data_dir}: {why}; {needed}")

    def announce(port: int) -> None:
        url = f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}:{port}"
        process = {"pid": os.getpid()} if worker else {}
        dashboard = f"{url}/dashboard"
        log.info("listening", url=f"{url}/v1", dashboard=dashboard, version=__version__, **process, **state(settings))
        if control is not None:
            from proxy.demo import snippets

            print(snippets(url, control), flush=True)

    sockets = None
    if worker is not None and not (sockets := worker.sockets()):
        return OK  # all of us are told to stop before we have begun
    built = app.build(settings, again=again)
    if worker is not None:
        bind(worker=worker.number)
        worker.tells = partial(figures.figures, built.state)
        built.state["together"] = worker.figures
    if why := server.run(built, settings, announce, worker, sockets):
        raise Trouble(f"cannot listen on {settings.host} port {settings.port}: {why}", BAD_NEWS)
    log.info("stopped")
    return OK


def _not_writable(directory: Path) -> str | None:
    """Why files cannot be made in a directory, which is made if it is not there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return None
    except OSError as error:
        return reason(error)


def check(given: argparse.Namespace) -> int:
    """Say what is wrong, or what is on and off."""
    try:
        settings = _read(given, os.environ)
    except SettingsError as error:
        if not given.json:
            raise Trouble("\n".join(error.faults), USAGE) from None
        return _told(Checked(valid=False, faults=list(error.faults)))
    checked = Checked(valid=bool(settings.providers), state=state(settings))
    if not checked.valid:
        checked.faults.append(_NO_VENDOR)
    elif given.live:
        from proxy import live  # only here: it asks vendors, with a client of its own

        checked.live = live.ask(settings.providers)
    return _told(checked) if given.json else _said(checked)


def _code(checked: Checked) -> int:
    if not checked.valid:
        return USAGE
    return BAD_NEWS if any((checked.live or {}).values()) else OK


def _told(checked: Checked) -> int:
    print(msgspec.json.format(msgspec.json.encode(checked)).decode())
    return _code(checked)


def _said(checked: Checked) -> int:
    for name, value in checked.state.items():
        print(f"{name:10} {value}")
    for fault in checked.faults:
        print(fault, file=sys.stderr)
    if checked.valid:
        print("The configuration is valid.")
    for name, finding in (checked.live or {}).items():
        print(f"{name:10} {finding or 'ok'}")
    return _code(checked)


def explain(given: argparse.Namespace) -> int:
    """Say whom a request would be sent to."""
    from proxy import explain  # only here: it opens the store
    from proxy.log import configure

    settings = _settings(given, os.environ)
    if not settings.providers:
        print(_NO_VENDOR, file=sys.stderr)
        return USAGE
    configure(settings.log_format, "error")  # what is wrong with the store is part of the answer
    size: int = given.tokens
    need = Need(prompt=size, least=size, task=given.task, stream=given.stream)
    return explain.run(settings, given.model, need, as_json=given.json)


def pricing(given: argparse.Namespace, verb: str) -> int:
    """Look at a price table."""
    from proxy import pricing  # only here: a server has no use for it

    path = Path(given.file or os.environ.get("TOLLHOUSE_PRICING", "").strip() or shipped_prices())
    today = datetime.now(UTC)
    try:
        if verb == "check":
            return pricing.check(path, today, as_json=given.json)
        if verb == "diff":
            return pricing.diff(path, given.source, given.only, today, as_json=given.json)
        return pricing.update(path, given.source, given.only, today, write=given.write)
    except pricing.PricingError as error:
        raise Trouble(str(error)) from None


def state(settings: Settings) -> dict[str, str]:
    """What is on and what is off, and why: for the log at start-up, and for `check`."""
    named = {provider.name for provider in settings.providers}
    off = [name if f"{name.upper()}_API_KEY" == key else f"{name} ({key})" for name, key in settings.off.items()]
    models = [model for model in settings.catalog.models if model.provider in named]
    offered = {(model.provider, model.model) for model in models if model.kind == "chat"}
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
        "auth": _auth(settings),
        "admin": "the admin key" if settings.admin_key else "open (no TOLLHOUSE_ADMIN_KEY)",
    }


def _auth(settings: Settings) -> str:
    from proxy.auth import Keyring  # only here: it brings the event loop along, and the log

    names = Keyring(settings.client_keys).names
    if names:
        return f"client keys {', '.join(names)}"
    if settings.managed_keys:
        return "managed keys (TOLLHOUSE_MANAGED_KEYS)"
    return "open (no client keys), until a managed key is made"
