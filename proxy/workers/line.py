"""What supervisor and worker say to each other, over a pair of sockets: one byte each, and open files along with some.

When the supervisor dies, however it dies, its end is closed and the worker hears it: no worker is left behind.
"""

import contextlib
import socket
from collections.abc import Iterable

# The worker says:
BEGIN = b"b"  # the configuration is good: let me have my sockets
READY = b"r"  # I listen
SHUT = b"s"  # I listen no more
ASK = (
    b"f"  # the figures of the others, please; and to the others the supervisor says it, with a socket to write them to
)
# The supervisor says, too:
SOCKETS = b"l"  # the sockets to listen on
DRAIN = b"d"  # finish what is in flight, then end
CUT = b"c"  # end now
RECONFIGURE = b"h"  # read the configuration again
READ = b"g"  # the figures come here: the sockets to read them from

MOST = 64  # workers; so many files fit into one message


def say(line: socket.socket, word: bytes, files: Iterable[socket.socket] = ()) -> bool:
    """Whether it could be said: the other side may be dead, or not have listened for very long."""
    fds = [file.fileno() for file in files]
    with contextlib.suppress(OSError):
        return socket.send_fds(line, [word], fds) == 1
    return False


def heard(line: socket.socket) -> tuple[bytes, list[socket.socket]]:
    """The next word, and what came with it; b"" at the end. Raises `BlockingIOError` if there is nothing yet."""
    try:
        word, fds, _, _ = socket.recv_fds(line, 1, MOST)
    except ConnectionError:
        return b"", []
    return word, [socket.socket(fileno=fd) for fd in fds]
