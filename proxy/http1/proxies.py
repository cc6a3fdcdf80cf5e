"""Which proxy stands between us and a host: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, as httpx reads them.

Both spellings count, the lower one first. In NO_PROXY, `example.com` means that name and all below it, `.example.com`
only those below, `localhost` and addresses themselves, `*` everything; `:PORT` and `SCHEME://` may narrow them. Beyond
httpx, an address may be that of a network (10.0.0.0/8), and `*.example.com` is `.example.com`.
"""

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

_SCHEMES = ("http", "https")
_PORTS = {"http": 80, "https": 443}


class ProxyError(ValueError):
    """A proxy cannot be used. What it says shows nothing of the value, which may hold a password."""


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """`headers` are what it wants to be told: a password, so that it never shows itself."""

    host: str
    port: int
    secure: bool  # whether it is spoken to by TLS itself
    headers: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return "<proxy>"


class _Exception(msgspec.Struct, frozen=True):
    """One entry of NO_PROXY."""

    host: str  # "" for any
    scheme: str = ""
    port: int | None = None
    itself: bool = True
    below: bool = False
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None

    def covers(self, scheme: str, host: str, port: int) -> bool:
        if (self.scheme and self.scheme != scheme) or (self.port is not None and self.port != port):
            return False
        if self.network is not None:
            address = _address(host)
            return address is not None and address in self.network
        return not self.host or (self.itself and host == self.host) or (self.below and host.endswith("." + self.host))


class Proxies(msgspec.Struct, frozen=True, kw_only=True):
    """Proxies by scheme, and who is asked without one."""

    by_scheme: Mapping[str, Proxy] = {}
    exceptions: tuple[_Exception, ...] = ()

    def between(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy that stands between us and a host, if one does."""
        proxy = self.by_scheme.get(scheme)
        if proxy is None:
            return None
        host = host.lower()
        return None if any(one.covers(scheme, host, port) for one in self.exceptions) else proxy


DIRECT = Proxies()


def read(environ: Mapping[str, str]) -> Proxies:
    """What the environment says. Raises `ProxyError` for a proxy that cannot be used."""
    exceptions = [entry.strip() for entry in _said(environ, "no_proxy").split(",")]
    if "*" in exceptions:
        return DIRECT
    found = {}
    for scheme in _SCHEMES:
        for name in (f"{scheme}_proxy", "all_proxy"):
            if url := _said(environ, name):
                found[scheme] = _proxy(name.upper(), url)
                break
    return Proxies(by_scheme=found, exceptions=tuple(_exception(entry) for entry in exceptions if entry))


def _said(environ: Mapping[str, str], name: str) -> str:
    if name == "http_proxy" and "REQUEST_METHOD" in environ:
        return environ.get(name, "").strip()  # under CGI, the other spelling is a header that any client may send
    said = environ.get(name)
    return (environ.get(name.upper(), "") if said is None else said).strip()


def _proxy(name: str, url: str) -> Proxy:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ProxyError(f"{name}: expected a URL such as http://HOST:PORT") from None
    if parts.scheme.startswith("socks"):
        raise ProxyError(f"{name}: SOCKS proxies are not supported; expected a URL such as http://HOST:PORT")
    if parts.scheme not in _PORTS or not host or port == 0:
        raise ProxyError(f"{name}: expected a URL such as http://HOST:PORT")
    return Proxy(
        host=host, port=port or _PORTS[parts.scheme], secure=parts.scheme == "https", headers=_credentials(parts)
    )


def _credentials(parts: SplitResult) -> Mapping[str, str]:
    if not parts.username and not parts.password:
        return {}
    said = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return {"proxy-authorization": f"Basic {b64encode(said.encode()).decode()}"}


def _exception(entry: str) -> _Exception:
    scheme, _, rest = entry.rpartition("://")
    scheme = "" if scheme == "all" else scheme
    try:
        return _Exception("", scheme, network=ipaddress.ip_network(rest.strip("[]"), strict=False))
    except ValueError:
        pass
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = rest.lower(), None  # it will fit nobody
    address = _address(host)
    if address is not None:
        return _Exception("", scheme, port, network=ipaddress.ip_network(address))
    exact = bool(scheme) or host == "localhost"
    if host.startswith("*."):
        return _Exception(host[2:], scheme, port, itself=False, below=True)
    if host.startswith("."):
        return _Exception(host[1:], scheme, port, itself=False, below=True)
    return _Exception(host.removeprefix("*"), scheme, port, below=not exact or host.startswith("*"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
