"""Where Redis is: a server, or the Sentinels that know which of several is the master.

redis-py has no URL for Sentinels. Ours is `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DB`; the user and
the password are the server's, and so is the TLS of `rediss+sentinel`. What is wrong is told without the URL, which may
hold a password. It is looked at before redis-py is loaded.
"""

import re
from urllib.parse import unquote

import msgspec

_PLAIN = ("redis://", "rediss://", "unix://")
_SENTINELS = re.compile(
    r"redis(?P<tls>s?)\+sentinel://(?:(?P<user>[^:@/]*):(?P<password>[^@/]*)@)?"
    r"(?P<hosts>[^/@?#]+)/(?P<service>[^/?#]+)(?:/(?P<db>\d{1,9})?)?"
)
_HOST = re.compile(r"(?:\[(?P<literal>[^\[\]]+)\]|(?P<name>[^\[\]:]+))(?::(?P<port>\d{1,5}))?")
_PORT = 26_379


class AddressError(ValueError):
    """Nobody can be asked there. What it says shows nothing of the URL."""


class Sentinels(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask (host and port each), and for which service. `user`, `password`, `db` and `tls` are the server's."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int
    user: str | None
    password: str | None
    tls: bool

    def __repr__(self) -> str:
        return "<sentinels>"


def read(url: str) -> Sentinels | None:
    """The Sentinels of a URL; None if it is that of a server. Raises `AddressError`."""
    if url.startswith(_PLAIN):
        return None
    if not url.startswith(("redis+", "rediss+")):
        raise AddressError("expected a URL such as redis://HOST:6379/0; what is set (not shown) is none")
    if "+sentinel://" not in url:
        raise AddressError(
            "expected redis, rediss, unix, redis+sentinel or rediss+sentinel before ://; "
            "of a cluster, the URL of the node that has the slot"
        )
    found = _SENTINELS.fullmatch(url)
    hosts = [_HOST.fullmatch(word) for word in found["hosts"].split(",")] if found else []
    if found is None or not all(hosts):
        raise AddressError(
            "expected redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DB; this (not shown) is not"
        )
    return Sentinels(
        hosts=tuple((host["literal"] or host["name"], int(host["port"] or _PORT)) for host in hosts if host),
        service=unquote(found["service"]),
        db=int(found["db"] or 0),
        user=unquote(found["user"] or "") or None,
        password=unquote(found["password"] or "") or None,
        tls=bool(found["tls"]),
    )
