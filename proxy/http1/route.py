"""Where a provider is, and by which way: taken from its base URL and the proxies, once."""

import ssl
from collections.abc import Mapping
from functools import cache
from urllib.parse import urlsplit

import msgspec

from proxy.http1.proxies import DIRECT, Proxies, Proxy

_PORTS = {"http": 80, "https": 443}


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`authority` is host and port as a request names them; `before` and `headers` are what a proxy wants of requests
    that it sees itself."""

    host: str
    port: int
    authority: str
    prefix: str  # of all paths
    tls: ssl.SSLContext | None
    proxy: Proxy | None = None
    before: str = ""
    headers: Mapping[str, str] = {}


def route(base_url: str, proxies: Proxies = DIRECT) -> Route:
    """The way to a base URL that `proxy.environment.wrong_with` found nothing wrong with."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    port = parts.port or _PORTS[parts.scheme]
    name = f"[{host}]" if ":" in host else host
    authority = name if port == _PORTS[parts.scheme] else f"{name}:{port}"
    secure = parts.scheme == "https"
    proxy = proxies.between(parts.scheme, host, port)
    seen = proxy is not None and not secure  # what is not encrypted, the proxy reads and sends on itself
    return Route(
        host=host,
        port=port,
        authority=authority,
        prefix=parts.path.rstrip("/"),
        tls=tls() if secure else None,
        proxy=proxy,
        before=f"http://{authority}" if seen else "",
        headers=proxy.headers if seen and proxy is not None else {},
    )


@cache  # it reads all authorities of the system, which takes longer than all else at the start
def tls() -> ssl.SSLContext:
    """How vendors prove who they are: certificate and name are verified, against the authorities of the system or those
    of SSL_CERT_FILE and SSL_CERT_DIR, which OpenSSL itself reads."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
