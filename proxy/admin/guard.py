"""Who may open the doors of those who run it: whoever has the admin key, or has signed in to the dashboard with it.

Where no admin key is configured, the doors are open to this machine; but not to pages of others in its browsers.
"""

import math
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from adapters.base import Failure, Kind
from proxy.admin.origin import SAFE, local, loopback, ours
from proxy.admin.session import COOKIE, Sessions

_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")

Connection = ASGIConnection[Any, Any, Any, Any]


def guard(connection: Connection, _: BaseRouteHandler) -> None:
    """The admin key, or a session that began with it; else a `Failure`: 401 `invalid_api_key`, 403, 429.

    A session is sent by the browser, whoever made it do so: where something is changed, a page of ours must have asked.
    """
    state = connection.app.state
    authorization = connection.headers.get("authorization")
    if state.admin.open:
        _open(connection)
    elif authorization is None and _signed_in(connection):
        if _changes(connection) and not ours(connection.headers):
            raise foreign()
    else:
        admit(connection, authorization)


def guard_unless_near(connection: Connection, handler: BaseRouteHandler) -> None:
    """The admin key, except from this machine itself, which has called it by a name of this machine."""
    if not (near(connection) and _called_local(connection)):
        guard(connection, handler)


def admit(connection: Connection, authorization: str | None) -> None:
    """The admin key, as this header holds it; else a `Failure`: 401, or 429 for whoever has guessed too often."""
    sessions = sessions_of(connection)
    address = connection.client.host if connection.client else ""
    if authorization is None or sessions is None:
        connection.app.state.admin.admit(authorization)
        return
    if wait := math.ceil(sessions.throttle.wait(address, sessions.now())):
        raise Failure(
            Kind.CALLER,
            f"Too many wrong keys came from this address. Ask again in {wait} s.",
            status=429,
            type="rate_limit_error",
            code="too_many_attempts",
            retry_after=wait,
        )
    try:
        connection.app.state.admin.admit(authorization)
    except Failure:
        sessions.throttle.failed(address, sessions.now())
        raise


def sessions_of(connection: Connection) -> Sessions | None:
    """Those that are kept here; None where nobody can sign in."""
    sessions: Sessions | None = connection.app.state.get("sessions")
    return sessions


def foreign() -> Failure:
    """403, for what a page of somebody else made a browser ask."""
    return Failure(
        Kind.CALLER,
        "This was not asked by a page of this server. A program sends the admin key: 'Authorization: Bearer KEY'.",
        status=403,
        type="invalid_request_error",
        code="cross_site_request",
    )


def near(connection: Connection) -> bool:
    """Whether it comes from loopback. What a proxy on this machine passes on does not."""
    forwarded = any(name in connection.headers for name in _FORWARDED)
    return _from_loopback(connection) and not forwarded


def _open(connection: Connection) -> None:
    """Without an admin key. A page may add any header, and have any name that leads to this machine; but it cannot make
    its browser call it by a name of this machine, nor be silent about where the page is from. The address of the caller
    is not looked at: whoever calls from this machine may name another (`X-Forwarded-For`), and pages can do that."""
    anonymous = connection.app.state.get("anonymous", False)
    if not anonymous and not _called_local(connection):
        raise Failure(
            Kind.CALLER,
            "Without TOLLHOUSE_ADMIN_KEY this is for callers on this machine, who call it localhost or 127.0.0.1.",
            status=403,
            type="invalid_request_error",
            code="host_not_allowed",
        )
    if _changes(connection) and ours(connection.headers) is False:
        raise foreign()


def _changes(connection: Connection) -> bool:
    return connection.scope.get("method") not in SAFE


def _signed_in(connection: Connection) -> bool:
    sessions = sessions_of(connection)
    return sessions is not None and sessions.expiry(connection.cookies.get(COOKIE)) is not None


def _from_loopback(connection: Connection) -> bool:
    return connection.client is not None and loopback(connection.client.host)


def _called_local(connection: Connection) -> bool:
    """No browser leaves the name out."""
    host = connection.headers.get("host")
    return host is None or local(host)
