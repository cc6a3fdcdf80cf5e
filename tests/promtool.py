"""promtool, where it can be had: on the PATH, or out of Debian's package `prometheus`, unpacked and not installed.

The package is fetched once, by apt's own client with lists of its own, so that neither root nor an `apt-get update` is
needed; it is kept in the user's cache.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path.home() / ".cache" / "tollhouse-tests"
_SECONDS = 300.0  # for apt, on a slow line


class NotToBeHadError(Exception):
    """There is no promtool here, and this is why."""


def promtool() -> Path:
    """Where it is. Raises `NotToBeHadError`."""
    found = shutil.which("promtool")
    if found:
        return Path(found)
    kept = CACHE / "promtool"
    if not kept.exists():
        _fetch(kept)
    return kept


def _fetch(to: Path) -> None:
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise NotToBeHadError(f"promtool is not on the PATH, and there is no {tool} to fetch it with")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        here = Path(scratch)
        here.chmod(0o755)  # apt, as root, downloads as a user of its own
        apt = ["apt-get", "-qq", *_own(here)]
        try:
            _run([*apt, "download", "prometheus"], here)
        except NotToBeHadError:  # the machine's own lists are empty, or old
            apt += ["-o", f"Dir::State::lists={_folder(here / 'lists')}"]
            _run([*apt, "update"], here)
            _run([*apt, "download", "prometheus"], here)
        (package,) = here.glob("prometheus_*.deb")
        _run(["dpkg", "-x", str(package), "unpacked"], here)
        os.replace(here / "unpacked/usr/bin/promtool", to)  # at once: others may fetch it at the same time


def _own(here: Path) -> list[str]:
    """Options that keep apt off what is the machine's."""
    cache = _folder(here / "cache")
    return ["-o", f"Dir::Cache={cache}", "-o", f"Dir::Cache::archives={cache}/archives", "-o", "Debug::NoLocking=1"]


def _folder(path: Path) -> Path:
    (path / "partial").mkdir(parents=True)
    (path / "archives" / "partial").mkdir(parents=True)
    return path


def _run(words: list[str], where: Path) -> None:
    try:
        done = subprocess.run(words, cwd=where, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotToBeHadError(f"{words[0]}: {error}") from error
    if done.returncode:
        raise NotToBeHadError(f"{' '.join(words[:1])} failed: {done.stderr.strip()[-300:]}")
