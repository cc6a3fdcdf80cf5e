"""Starts the workers, passes on what they are told, and puts another in the place of one that dies.

It serves nothing and loads nothing that does. Until a worker has been ready, whatever ends one ends all: so a bad
configuration is told as it is without workers. From then on the others go on serving, whatever becomes of one.
"""

import contextlib
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import proxy
from proxy.desk.trouble import BAD_NEWS, OK
from proxy.workers import line
from proxy.workers.port import Port

_SETTLED = 10.0  # seconds that a worker lives, after which its death is the first one again
_PAUSE, _LONGEST = 0.5, 30.0  # seconds until a second death in a row is made good, and at most
_STOPS = (signal.SIGTERM, signal.SIGINT)
# Where this very package is found: not in the directory that it happens to be started in.
_START = "import sys; sys.path.append(sys.argv.pop(1)); from proxy.cli import main; main()"
_ROOT = str(Path(proxy.__file__).resolve().parent.parent)

Log = Callable[..., None]


class Slot:
    """The place of a worker, and who has it now."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.sockets: list[socket.socket] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.line: socket.socket | None = None
        self.ready = False
        self.started = 0.0
        self.deaths = 0  # in a row
        self.due: float | None = None  # when the next one is to be started

    def close(self) -> None:
        """Nobody waits at this door."""
        for one in self.sockets:
            one.close()
        self.sockets = []


class Supervisor:
    """`words` are those of the command that a worker runs. `log` writes a line of the log: event, then fields.
    `announce` is told the port once a worker listens.
    """

    def __init__(
        self,
        words: Sequence[str],
        workers: int,
        *,
        bind: Callable[[], Port],
        environ: Mapping[str, str],
        log: Log,
        announce: Callable[[int], None],
    ) -> None:
        self._announce = announce
        self._words, self._environ, self._log, self._bind = words, dict(environ), log, bind
        self._slots = [Slot(number) for number in range(1, workers + 1)]
        self._port: Port | None = None
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._stops = 0  # how often we were told to stop
        self._ready = False  # somebody has been
        self._code = OK

    def run(self) -> int:
        """Until told to stop, or nobody can start. The exit code; raises `Trouble` if the port cannot be had."""
        with self._listening():
            try:
                self._start(self._slots[0])
                while any(slot.process or slot.due is not None for slot in self._slots):
                    self._turn()
            finally:
                self._end()
        return self._code

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """To signals: of each a byte comes here, so that one wait is for everything."""
        here, there = socket.socketpair()
        here.setblocking(False)
        there.setblocking(False)
        numbers = (*_STOPS, signal.SIGHUP, signal.SIGCHLD)
        before = {number: signal.signal(number, lambda got, _: self._signals.append(got)) for number in numbers}
        woken = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
        self._selector.register(here, selectors.EVENT_READ)
        try:
            with here, there:
                yield
        finally:
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _turn(self) -> None:
        dues = [slot.due for slot in self._slots if slot.due is not None]
        for key, _ in self._selector.select(max(0.0, min(dues) - time.monotonic()) if dues else None):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    key.fileobj.recv(4096)  # type: ignore[union-attr]  # a socket; the signals themselves are noted
            else:
                self._hear(key.data)
        while self._signals:
            self._signalled(self._signals.pop(0))
        for slot in self._slots:
            if slot.process is not None and slot.process.poll() is not None:
                self._died(slot, slot.process.returncode)
            if slot.due is not None and slot.due <= time.monotonic():
                self._start(slot)

    def _start(self, slot: Slot) -> None:
        slot.due, slot.ready, slot.started = None, False, time.monotonic()
        slot.line, theirs = socket.socketpair()
        slot.line.setblocking(False)
        with theirs:
            fd = theirs.fileno()
            slot.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, _ROOT, *self._words, "--worker", f"{slot.number}:{fd}"],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                pass_fds=(fd,),
                process_group=0,  # Ctrl-C in a terminal goes to the whole group: they hear of it from us, once
            )
        self._selector.register(slot.line, selectors.EVENT_READ, slot)

    def _hear(self, slot: Slot) -> None:
        assert slot.line is not None
        try:
            word, _ = line.heard(slot.line)
        except BlockingIOError:
            return
        acts: dict[bytes, Callable[[Slot], None]] = {
            b"": self._hung_up,
            line.BEGIN: self._begin,
            line.READY: self._is_ready,
            line.SHUT: Slot.close,
            line.ASK: self._introduce,
        }
        acts[word](slot)

    def _hung_up(self, slot: Slot) -> None:
        assert slot.line is not None
        self._selector.unregister(slot.line)

    def _begin(self, slot: Slot) -> None:
        """Its configuration is good: it may listen, and the others may start."""
        assert slot.line is not None
        if self._stops:
            line.say(slot.line, line.DRAIN)
            return
        if self._port is None:
            self._port = self._bind()
            for other in self._slots[1:]:
                self._start(other)
        if not slot.sockets:
            slot.sockets = self._port.sockets()
        line.say(slot.line, line.SOCKETS, slot.sockets)

    def _is_ready(self, slot: Slot) -> None:
        slot.ready = True
        if not self._ready and self._port is not None:
            self._ready = True
            self._announce(self._port.number)

    def _introduce(self, slot: Slot) -> None:
        """Give it a line to each of the others; what goes over it does not come past us."""
        assert slot.line is not None
        ours: list[socket.socket] = []
        for other in self._slots:
            if other is not slot and other.ready and other.line is not None:
                here, there = socket.socketpair()
                with there:
                    if line.say(other.line, line.ASK, [there]):
                        ours.append(here)
        line.say(slot.line, line.READ, ours)
        for one in ours:
            one.close()

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._tell(line.RECONFIGURE)
        if number not in _STOPS:
            return
        self._stops += 1
        for slot in self._slots:
            slot.due = None
        self._tell(line.DRAIN if self._stops == 1 else line.CUT)
        if self._stops > 2:
            self._kill()

    def _tell(self, word: bytes) -> None:
        for slot in self._slots:
            if slot.line is not None:
                line.say(slot.line, word)

    def _died(self, slot: Slot, code: int) -> None:
        if slot.line is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(slot.line)
            slot.line.close()
        slot.process = slot.line = None
        slot.ready = False
        if self._stops:
            slot.close()
            self._code = self._code or (OK if code == OK else BAD_NEWS)
        elif not self._ready:  # nobody has ever been: it is not the fault of this one
            self._code = code if code > 0 else BAD_NEWS
            self._stops = 1
            self._tell(line.DRAIN)
            if code < 0:
                self._log("no worker could start", worker=slot.number, why=_why(code))
        else:
            self._replace(slot, code)

    def _replace(self, slot: Slot, code: int) -> None:
        now = time.monotonic()
        slot.deaths = 1 if now - slot.started >= _SETTLED else slot.deaths + 1
        pause = pause_after(slot.deaths)
        if pause:
            slot.close()  # the others are there for those who come meanwhile
        slot.due = now + pause
        self._log("worker died", worker=slot.number, why=_why(code), deaths=slot.deaths, replaced_in_seconds=pause)

    def _kill(self) -> None:
        for slot in self._slots:
            if slot.process is not None:
                slot.process.kill()

    def _end(self) -> None:
        """Nothing is left behind, whatever went wrong: a worker whose line is closed drains by itself."""
        for slot in self._slots:
            if slot.line is not None:
                slot.line.close()
            slot.close()
        if self._port is not None:
            self._port.close()
        for slot in self._slots:
            if slot.process is not None:
                slot.process.wait()
        self._selector.close()


def pause_after(deaths: int) -> float:
    """Seconds until a worker is replaced, after so many deaths in a row: none, and then longer each time."""
    return min(_PAUSE * 2.0 ** min(deaths - 2, 16), _LONGEST) if deaths > 1 else 0.0


def _why(code: int) -> str:
    """What an exit code says; negative: a signal."""
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
