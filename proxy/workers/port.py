"""The port that all workers listen on, each with a socket of its own.

SO_REUSEPORT lets the kernel deal new connections out evenly; from one socket that all inherit, the worker that wakes
first takes as many as it can (of 256 that came at once to four workers, the luckiest got 116 instead of 64). It has a
weakness: what waits at the socket of a worker that dies is reset. So the supervisor keeps each socket open, and the
worker's successor goes on with it.
"""

import os
import socket
import sys

from proxy.desk.trouble import BAD_NEWS, Trouble

_DEALT = sys.platform == "linux"  # elsewhere the kernel does not balance, and one socket has to do for all


class Port:
    """Bound, not listened on. `close` when it is over."""

    def __init__(self, anchors: list[socket.socket]) -> None:
        self._number = int(anchors[0].getsockname()[1])
        self._anchors = anchors  # not listened on, they get no connection; but they keep the address

    @classmethod
    def bind(cls, host: str, port: int) -> "Port":
        """All addresses of a host; 0: any port. Raises `Trouble`."""
        anchors: list[socket.socket] = []
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in dict.fromkeys(found):
                if port and _DEALT:
                    _bound(family, address, shared=False).close()  # shared, a stranger's port could be bound, too
                anchors.append(_bound(family, address, shared=_DEALT))
        except OSError as error:
            for anchor in anchors:
                anchor.close()
            raise Trouble(f"cannot listen on {host} port {port}: {why(error)}", BAD_NEWS) from error
        return cls(anchors)

    @property
    def number(self) -> int:
        """The one that it is, if any would do."""
        return self._number

    def sockets(self) -> list[socket.socket]:
        """New ones for a worker, one for each address, which whoever asks for them closes. Raises `OSError`."""
        return [
            _bound(anchor.family, anchor.getsockname(), shared=True) if _DEALT else anchor.dup()
            for anchor in self._anchors
        ]

    def close(self) -> None:
        """Let the address go."""
        for anchor in self._anchors:
            anchor.close()


def _bound(family: int, address: object, *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)  # type: ignore[arg-type]  # as getaddrinfo and getsockname word it
    except OSError:
        made.close()
        raise
    return made


def why(error: BaseException | None) -> str:
    """Why a port could not be opened, without the address, which has been said already."""
    if not isinstance(error, OSError):
        return "the log says why"
    # asyncio words it with the address; what has no number of the system says it itself.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror)
