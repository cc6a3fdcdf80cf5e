"""The way through a proxy: CONNECT (RFC 9110, 9.3.6), and then the vendor's own TLS inside."""

import asyncio
import re
from typing import cast

from proxy.http1.proxies import Proxy

_MOST_SAID = 64 * 1024  # bytes of a proxy's answer
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?\r\n").match
_END = b"\r\n\r\n"


class Refused(ConnectionError):
    """The proxy does not let us through. What it says may be shown."""


class Tunnel(asyncio.Protocol):
    """A connection to a proxy until it has answered."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._answer: asyncio.Future[bytes] = loop.create_future()
        self._heard = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from asyncio's

    def data_received(self, data: bytes) -> None:
        """Some of the answer."""
        self._heard += data
        if not self._answer.done() and (_END in self._heard or len(self._heard) > _MOST_SAID):
            # The vendor's first words are for TLS to read: until we have begun with that, there are none.
            self.transport.pause_reading()
            self._answer.set_result(self._heard)

    def connection_lost(self, exc: Exception | None) -> None:
        """It closed."""
        if not self._answer.done():
            self._answer.set_result(b"")  # no exception: perhaps nobody is there any more who would take it

    async def open(self, proxy: Proxy, host: str, port: int) -> None:
        """Ask to be let through to a host. Raises `Refused`."""
        name = f"[{host}]" if ":" in host else host
        lines = [f"CONNECT {name}:{port} HTTP/1.1", f"host: {name}:{port}"]
        lines += [f"{header}: {value}" for header, value in proxy.headers.items()]
        self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        heard = await self._answer
        if not heard:
            raise Refused("the proxy closed the connection")
        status = _STATUS(heard)
        if status is None or not heard.endswith(_END) or heard.count(_END) > 1:
            raise Refused("the proxy does not speak HTTP")
        if not status[1].startswith(b"2"):
            raise Refused(f"the proxy answered with status {status[1].decode()}")
