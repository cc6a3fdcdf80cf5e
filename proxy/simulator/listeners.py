"""The listening sockets: one door per vendor and one for control. A vendor's door can be shut and opened again."""

import asyncio
import socket
from collections.abc import Callable

from proxy.simulator.connection import Connection, Handler
from proxy.simulator.vocabulary import VENDORS, VendorName

BACKLOG = 1024


class Door:
    """A port. It keeps its number while it is shut, so that a client finds it again."""

    def __init__(self, host: str, port: int, handle: Handler) -> None:
        self.host, self.port, self.handle = host, port, handle
        self.peers: set[Connection] = set()
        self.server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen, on the same port as before if there was one."""
        sock = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.host, self.port))
        self.port = sock.getsockname()[1]
        factory: Callable[[], Connection] = lambda: Connection(self.handle, self.peers)  # noqa: E731 - the loop wants a new one each call
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(factory, sock=sock, backlog=BACKLOG)

    def shut(self) -> None:
        """Refuse new connections and end the idle ones: a pooled connection would hide that nobody listens."""
        if self.server is not None:
            self.server.close()
            self.server = None
        for peer in list(self.peers):
            peer.keep_alive = False
            if not peer.busy:
                peer.close()

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class Listeners:
    """The vendors' doors by name."""

    def __init__(self, doors: dict[VendorName, Door]) -> None:
        self.doors = doors

    async def keep_closed(self, closed: set[VendorName]) -> None:
        """Shut the doors that are to be shut, open all others."""
        for vendor in VENDORS:
            door = self.doors[vendor]
            if vendor in closed and door.server is not None:
                door.shut()
            elif vendor not in closed and door.server is None:
                await door.open()
