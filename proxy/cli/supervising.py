"""`serve` and `demo` with several workers: what the process does that starts them. It loads next to nothing."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from proxy.workers.port import Port
from proxy.workers.supervisor import Supervisor


def serve(given: argparse.Namespace) -> int:
    """Until told to stop."""
    return _supervisor(given, os.environ, lambda _: None).run()


def demo(given: argparse.Namespace) -> int:
    """The same, in front of simulated vendors."""
    from proxy import demo  # only here: the simulator is no part of a server

    with demo.vendors(os.environ) as environ:
        host = f"[{given.host}]" if ":" in given.host else given.host

        def announce(port: int) -> None:
            print(demo.snippets(f"http://{host}:{port}", environ[demo.CONTROL]), flush=True)

        return _supervisor(given, environ, announce).run()


def _supervisor(given: argparse.Namespace, environ: Mapping[str, str], announce: Callable[[int], None]) -> Supervisor:
    plain = environ.get("TOLLHOUSE_LOG", "").strip().lower() or ("console" if sys.stderr.isatty() else "json")
    return Supervisor(
        ("serve", *given.argv[1:]),
        given.workers,
        bind=partial(Port.bind, given.host, given.port),
        environ=environ,
        log=_log_json if plain == "json" else _log_plain,
        announce=announce,
    )


def _log_json(event: str, **fields: Any) -> None:
    line = {"event": event, **fields, "level": "error", "timestamp": _now()}
    print(json.dumps(line), file=sys.stderr, flush=True)


def _log_plain(event: str, **fields: Any) -> None:
    said = " ".join(f"{name}={value!r}" for name, value in fields.items())
    print(f"{_now()} [error    ] {event} {said}", file=sys.stderr, flush=True)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
