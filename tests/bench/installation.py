"""Puts each peer into an environment of its own under build/bench/, once: later runs find it there."""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.bench.interpreter import quickest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench"
PATIENCE = 240.0  # seconds for one command of an installer
FERROGW, PORTKEY, LITELLM, PY_SPY = "1.5.10", "1.15.2", "1.109.1", "0.4.3"
METRICS = "prometheus-client==0.26.0"  # LiteLLM tells metrics where it is there
# With newer ones of what Portkey stands on, each stream through it ends in its 500: "TypeError: immutable".
HONO_SERVER = "1.13.8"
# LiteLLM's newest release asks for versions of these that were not to be had when this was written; neither of them is
# on the way of a request here.
LOOSE = ("certifi", "litellm-proxy-extras")


@dataclass(frozen=True, slots=True)
class Installed:
    """Where it is, and what exactly."""

    home: Path
    version: str


class NotInstalledError(Exception):
    """It cannot be had here, and why."""


def _run(argv: Sequence[str | Path], cwd: Path | None = None) -> str:
    """The command's standard output. Installers get the surroundings as they are: they say where packages come from."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalledError(f"{words[0]}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise NotInstalledError(f"{' '.join(words[:4])} ... said: {said[-1][:200]}")
    return done.stdout


def _once(home: Path, stamp: str, install: Callable[[], object]) -> None:
    """Install unless exactly this is there already. Another run that installs at this moment is waited for."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = home / "stamp"
        if file.exists() and file.read_text(encoding="utf-8") == stamp:
            return
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        install()
        file.write_text(stamp, encoding="utf-8")


def _environment(home: Path, *requirements: str | Path, loose: Sequence[str] = ()) -> None:
    """A virtual environment of the best Python at hand with these, by uv: it can overrule what a package asks for."""
    uv = Path(sys.executable).with_name("uv")
    # By uv as well: a distribution's Python may lack what `venv` needs. `home` is there already.
    _run([uv, "venv", "--no-config", "--quiet", "--allow-existing", "--python", quickest().path, home])
    overrides = home / "overrides.txt"
    overrides.write_text("\n".join(loose), encoding="utf-8")
    _run([uv, "pip", "install", "--no-config", "--python", home / "bin/python", "--override", overrides, *requirements])


def ours() -> Installed:
    """What runs, as it is pinned; our own rooms are those of this checkout."""
    home, pins = BUILD / "tollhouse", ROOT / "requirements/serve.txt"
    python = quickest().version
    stamp = f"{python} {hashlib.sha256(pins.read_bytes()).hexdigest()}"
    _once(home, stamp, lambda: _environment(home, "--require-hashes", "-r", pins))
    return Installed(home, f"{version('tollhouse')} on Python {python}")


def nginx() -> Installed:
    """Debian's package, unpacked: no root is needed, and nothing of the machine is changed. Else the machine's own."""
    home = BUILD / "nginx"

    def unpack() -> None:
        _run(["apt-get", "download", "nginx"], home)
        _run(["dpkg", "-x", *home.glob("nginx_*.deb"), home])

    try:
        _once(home, "debian", unpack)
        return Installed(home, _nginx_version(home / "usr/sbin/nginx"))
    except NotInstalledError:
        return Installed(Path("/"), _nginx_version(Path("/usr/sbin/nginx")))


def _nginx_version(binary: Path) -> str:
    """Asked of itself: so it also shows that it runs here."""
    try:
        done = subprocess.run([binary, "-v"], capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotInstalledError(f"nginx: {error}") from error
    return done.stderr.strip().rpartition("/")[2]


def ferrogw() -> Installed:
    home = BUILD / "ferrogw"
    _once(home, FERROGW, lambda: _environment(home, f"ferrogw=={FERROGW}"))
    return Installed(home, FERROGW)


def portkey() -> Installed:
    home = BUILD / "portkey"
    node = _run(["node", "--version"]).strip()
    wanted = {"dependencies": {"@portkey-ai/gateway": PORTKEY}, "overrides": {"@hono/node-server": HONO_SERVER}}

    def install() -> None:
        (home / "package.json").write_text(json.dumps(wanted), encoding="utf-8")
        _run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", home], home)

    _once(home, json.dumps(wanted), install)
    return Installed(home, f"{PORTKEY}, Node {node.removeprefix('v')}")


def litellm() -> Installed:
    home = BUILD / "litellm"
    python = quickest().version
    wanted = f"litellm[proxy]=={LITELLM}", METRICS
    _once(home, f"{python} {wanted}", lambda: _environment(home, *wanted, loose=LOOSE))
    return Installed(home, f"{LITELLM} on Python {python}")


def py_spy() -> Path:
    """The profiler's command."""
    home = BUILD / "py-spy"
    _once(home, PY_SPY, lambda: _environment(home, f"py-spy=={PY_SPY}"))
    return home / "bin/py-spy"
