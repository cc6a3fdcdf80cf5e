"""A vendor that plays what is written for it: raw bytes, over a thread for each connection."""

import re
import socket
import socketserver
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.hostile.vendors import Played

_CASE = re.compile(rb"\bcase=(\d+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PATIENCE = 30.0


class Player(socketserver.ThreadingTCPServer):
    """Plays the answer of that row whose number stands in the prompt (`case=17`)."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, table: Sequence[Played]) -> None:
        super().__init__(("127.0.0.1", 0), _Line)
        self.table = table
        self.heard: list[tuple[bytes, int]] = []  # request lines, and the rows that they were for
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self


class _Line(socketserver.BaseRequestHandler):
    server: Player
    request: socket.socket

    def handle(self) -> None:
        self.request.settimeout(_PATIENCE)
        try:
            row, line = self._asked()
            self.server.heard.append((line, row))
            self._play(self.server.table[row])
        except OSError:
            pass  # nobody listens any more: that is what most of them are for

    def _asked(self) -> tuple[int, bytes]:
        whole = b""
        while b"\r\n\r\n" not in whole:
            whole += self._more()
        head, _, body = whole.partition(b"\r\n\r\n")
        found = _LENGTH.search(head)
        while found and len(body) < int(found[1]):
            body += self._more()
        case = _CASE.search(body)
        return (int(case[1]) if case else 0), head.partition(b"\r\n")[0]

    def _more(self) -> bytes:
        if part := self.request.recv(65_536):
            return part
        raise ConnectionResetError

    def _play(self, played: Played) -> None:
        for part in played.parts():
            self.request.sendall(part)
        if played.hangs:
            while self.request.recv(65_536):
                pass
