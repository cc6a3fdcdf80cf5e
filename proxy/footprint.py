"""What a server does not load: packages that are here for something else, and that libraries of ours take up wherever
they find them.

Each of those libraries can do without: it asks for the package, and goes on if there is none. So for as long as they
are imported there is none. That saves an idle server 10 MB, and a fifth of the work of its start (docs/performance);
none of them has an option for it.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# Package -> who would take it up, and why it is installed all the same.
SPARED: Mapping[str, str] = {
    "attr": "litestar, for schemas of its classes; rich brings it to structlog, too",
    "attrs": "litestar, for schemas of its classes",
    "greenlet": "structlog, for values of each of its threads; whoever drives a browser has it",
    "opentelemetry": "redis, for metrics that nobody asks it for; our own exporter loads it when it is wanted",
    "pydantic": "litestar, for models of which no door has any; the SDKs of the vendors bring it along",
    "rich": "structlog, for coloured tracebacks; the tables of the commands are made with it",
}


@contextmanager
def spared() -> Iterator[None]:
    """As if the packages of `SPARED` were not installed, for what is imported meanwhile; who has one keeps it.

    A None in `sys.modules` is how Python is told that there is no such package. It is told so in all threads: for the
    start, before there is a second one.
    """
    hidden = [name for name in SPARED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # documented, and not in typeshed
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
