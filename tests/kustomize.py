"""A real kustomize, where it can be had: on the PATH, as `kubectl kustomize`, or built by Go from its module, once,
into the user's cache.

`python -m tests.kustomize` renders deploy/overlays into deploy/rendered (`make manifests`). Each rendered file says by
a digest what it was rendered from, so that a file that is behind is seen on machines that have no kustomize.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
RENDERED = DEPLOY / "rendered"
OVERLAYS = ("standalone", "sidecar-example")
CACHE = Path.home() / ".cache" / "tollhouse-tests"
_MODULE = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"
_SOURCES = ("base", "sidecar", "redis", "overlays")
_SECONDS = 600.0  # to build it; a minute on two idle cores


class NotToBeHadError(Exception):
    """There is no kustomize here, and this is why."""


def kustomize() -> list[str]:
    """The words that render the folder that follows. Raises `NotToBeHadError`."""
    for words in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(words[0]):
            return words
    kept = CACHE / "kustomize"
    if not kept.exists():
        _build(kept)
    return [str(kept), "build"]


def rendered(overlay: str) -> str:
    """What kustomize makes of an overlay."""
    done = subprocess.run(
        [*kustomize(), str(DEPLOY / "overlays" / overlay)], capture_output=True, text=True, timeout=_SECONDS
    )
    if done.returncode:
        raise ValueError(done.stderr)
    return f"{head()}{done.stdout}"


def head() -> str:
    """The first lines of a rendered file."""
    return f"# Rendered by `make manifests`: change deploy/ instead.\n# Of sources with SHA-256 {digest()}\n"


def digest() -> str:
    """Of all that is rendered from: names and contents."""
    said = hashlib.sha256()
    for file in sources():
        said.update(f"{file.relative_to(DEPLOY).as_posix()}\n".encode())
        said.update(hashlib.sha256(file.read_bytes()).digest())
    return said.hexdigest()


def sources() -> Iterator[Path]:
    """In the order of their names."""
    for folder in _SOURCES:
        yield from sorted(file for file in (DEPLOY / folder).rglob("*") if file.is_file())


def _build(to: Path) -> None:
    if shutil.which("go") is None:
        raise NotToBeHadError("kustomize and kubectl are not on the PATH, and there is no Go to build one with")
    scratch = CACHE / f"go-{os.getpid()}"
    scratch.mkdir(parents=True)
    try:
        done = subprocess.run(
            ["go", "install", _MODULE],
            env={**os.environ, "GOBIN": str(scratch), "GOFLAGS": "-trimpath"},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        if done.returncode:
            raise NotToBeHadError(f"go install failed: {done.stderr.strip()[-300:]}")
        os.replace(scratch / "kustomize", to)  # at once: others may build it at the same time
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotToBeHadError(f"go: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def main() -> None:
    """Render all of them anew."""
    RENDERED.mkdir(exist_ok=True)
    for overlay in OVERLAYS:
        try:
            text = rendered(overlay)
        except NotToBeHadError as error:
            sys.exit(str(error))
        (RENDERED / f"{overlay}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
