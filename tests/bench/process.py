"""Processes that are measured: started on one core, ended by their own ids, their processor time and memory counted."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 10.0  # seconds to end politely
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the subject runs, and where everything else does."""

    subject: int
    rest: int

    @classmethod
    def found(cls) -> "Cores":
        mine = sorted(os.sched_getaffinity(0))
        return cls(mine[0], mine[-1])


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started in here runs on this core, with all its threads and children."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(slots=True)
class Server:
    """A process and its descendants."""

    argv: Sequence[str]
    environ: Mapping[str, str]
    cwd: Path
    log: Path
    core: int
    begun: float = 0.0
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        """Start it; `begun` is when, by the monotonic clock."""
        # A session of its own: Ctrl-C at a terminal reaches us alone, and we end it.
        with self.log.open("ab") as log, on_core(self.core):
            self.begun = time.monotonic()
            self._process = subprocess.Popen(
                list(self.argv),
                cwd=self.cwd,
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was not started"
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """The exit code, once it has one."""
        return None if self._process is None else self._process.poll()

    def pause(self) -> None:
        """It stands still, with all its threads and children."""
        self._tell(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        self._tell(signal.SIGCONT)

    def _tell(self, number: signal.Signals) -> None:
        for pid in tree(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        """End it, and what it has left behind. Harmless once it has ended."""
        if self._process is None or self._process.poll() is not None:
            return
        self.resume()  # who stands still hears nothing
        family = tree(self.pid)
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        for pid in family:
            with suppress(ProcessLookupError):
                if os.getsid(pid) == self.pid:  # not somebody who got the number since
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()


def tree(root: int) -> list[int]:
    """The process and all who descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                parents.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    family = [root]
    for pid in family:  # it grows while it is walked
        family += parents.get(pid, [])
    return family


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third one on: the second, a name, may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def cpu(root: int) -> float:
    """Seconds of processor time, of user and system, of the whole tree: threads and children that have ended, too.

    By each process's own clock (clock_getcpuclockid(3)), which counts nanoseconds; /proc counts hundredths of seconds.
    """
    spent = 0.0
    for pid in tree(root):
        with suppress(OSError):
            spent += time.clock_gettime((~pid << 3) | 2)
            spent += sum(map(int, _stat(pid)[13:15])) / _TICKS
    return spent


def pss(root: int) -> float:
    """Megabytes of memory of the whole tree, what is shared counted by share (/proc/PID/smaps_rollup)."""
    total = 0
    for pid in tree(root):
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024
