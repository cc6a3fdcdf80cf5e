"""Asking a tollhouse whether it is well, in as little time and memory as can be: a container does it for ever."""

import argparse
import os
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from proxy.desk.trouble import BAD_NEWS, OK, Trouble
from proxy.environment import wrong_with

_URL = "http://127.0.0.1:8080"


def healthcheck(given: argparse.Namespace) -> int:
    """Say what it says."""
    named, url = ("--url", given.url) if given.url else ("TOLLHOUSE_URL", os.environ.get("TOLLHOUSE_URL") or _URL)
    if why := wrong_with(url):
        raise Trouble(f"{named}: expected a URL such as {_URL}; {why}")
    parts = urlsplit(url)
    path = parts.path.rstrip("/").removesuffix("/v1") + ("/healthz" if given.alive else "/readyz")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=given.timeout)
    try:
        connection.request("GET", path, headers={"connection": "close"})
        answer = connection.getresponse()
        said = answer.read(100).decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        print(f"tollhouse: no answer from {url}: {error or type(error).__name__}", file=sys.stderr)
        return BAD_NEWS
    finally:
        connection.close()
    print(said if said.isprintable() else "an answer of something else")
    return OK if answer.status == 200 else BAD_NEWS
