"""Who may open the doors of those who run it."""

from ipaddress import IPv6Address, ip_address
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")

Connection = ASGIConnection[Any, Any, Any, Any]


def guard(connection: Connection, _: BaseRouteHandler) -> None:
    """The admin key, or 401 `invalid_api_key`."""
    connection.app.state.admin.admit(connection.headers.get("authorization"))


def guard_unless_near(connection: Connection, handler: BaseRouteHandler) -> None:
    """The admin key, except from this machine itself."""
    if not near(connection):
        guard(connection, handler)


def near(connection: Connection) -> bool:
    """Whether it comes from loopback. What a proxy on this machine passes on does not."""
    if connection.client is None or any(name in connection.headers for name in _FORWARDED):
        return False
    try:
        address = ip_address(connection.client.host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
