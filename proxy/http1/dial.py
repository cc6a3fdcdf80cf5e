"""Making a connection: the name, its addresses, a proxy, TLS."""

import asyncio
import itertools
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, cast

from proxy.http1.connection import Connection
from proxy.http1.route import Route, tls
from proxy.http1.tunnel import Tunnel

Address = tuple[int, Any]  # its family, and what a socket of that family connects to

_HEAD_START = 0.25  # seconds that an address has before the next one is tried beside it (RFC 8305, 8)
_TLS_SHUTDOWN = 1.0  # seconds for the vendor to say goodbye too
# While a model thinks, nothing is sent for minutes: what stands in between must not take the connection for dead.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 60, "TCP_KEEPCNT": 5}


async def dial(route: Route, closed: Callable[[Connection], object]) -> Connection:
    """A new connection; `closed` is told when it is gone. Raises `OSError` (`ssl.SSLError` is one). Whoever cancels it
    leaves nothing open."""
    loop = asyncio.get_running_loop()
    proxy = route.proxy
    host, port = (proxy.host, proxy.port) if proxy is not None else (route.host, route.port)
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [(info[0], info[4]) for info in found]
    sock = await (first(addresses) if len(addresses) > 1 else _connected(*addresses[0]))
    # From here on the socket is the transport's, which closes it whatever happens.
    if route.tls is None and (proxy is None or not proxy.secure):
        _, plain = await loop.create_connection(lambda: Connection(loop, closed), sock=sock)
        return plain
    _, tunnel = await loop.create_connection(lambda: Tunnel(loop), sock=sock)
    return await _secured(tunnel, route, Connection(loop, closed))


async def _secured(tunnel: Tunnel, route: Route, connection: Connection) -> Connection:
    """TLS to the proxy, to the vendor, or to one through the other.

    It is begun here, on a transport that is open, and not by `create_connection`: of what that leaves behind when it is
    cancelled, nobody knows whether it is closed.
    """
    bare, proxy = tunnel.transport, route.proxy
    try:
        if proxy is not None and proxy.secure:
            # Without TLS of the vendor's own, the proxy is the one who is asked.
            inner: asyncio.BaseProtocol = connection if route.tls is None else tunnel
            tunnel.transport = await _started(bare, inner, tls(), proxy.host)
        if proxy is not None and route.tls is not None:
            await tunnel.open(proxy, route.host, route.port)
        if route.tls is not None:
            connection.connection_made(bare)  # so that it can close it, should the vendor speak before we know
            tunnel.transport = await _started(tunnel.transport, connection, route.tls, route.host)
    except BaseException:
        bare.abort()
        raise
    connection.connection_made(tunnel.transport)
    return connection


async def _started(
    transport: asyncio.Transport, protocol: asyncio.BaseProtocol, context: ssl.SSLContext, host: str
) -> asyncio.Transport:
    made = await asyncio.get_running_loop().start_tls(
        transport, protocol, context, server_hostname=host, ssl_shutdown_timeout=_TLS_SHUTDOWN
    )
    return cast(asyncio.Transport, made)  # None only if it was closed meanwhile, and then the handshake has failed


async def first(addresses: Sequence[Address], head_start: float = _HEAD_START) -> socket.socket:
    """A socket connected to whichever address answers first; the first ones have a head start (RFC 8305). Raises the
    `OSError` of the first if none does."""
    waiting = interleaved(addresses)
    trials: list[asyncio.Task[socket.socket]] = []
    try:
        while waiting or not all(map(asyncio.Task.done, trials)):
            if waiting:
                trials.append(asyncio.create_task(_connected(*waiting.pop(0))))
            pending = [trial for trial in trials if not trial.done()]
            done, _ = await asyncio.wait(
                pending, timeout=head_start if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for trial in done:
                if trial.exception() is None:
                    trials.remove(trial)
                    return trial.result()
        return trials[0].result()  # raises
    finally:
        for trial in trials:
            if not trial.done():
                trial.cancel()  # it closes its socket itself
            elif trial.exception() is None:
                trial.result().close()


def interleaved(addresses: Sequence[Address]) -> list[Address]:
    """IPv6 and IPv4 by turns, beginning with the one that the resolver put first: where one of them does not work, the
    other is not far away."""
    one = [address for address in addresses if address[0] == addresses[0][0]]
    other = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for pair in itertools.zip_longest(one, other) for address in pair if address is not None]


async def _connected(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if (option := getattr(socket, name, None)) is not None:  # not every system has all of them
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
