"""Where a request comes from, as far as browsers say it. Pure.

A page of somebody else can make the browser of whoever visits it send requests to us (CSRF), and by changing what its
own name means (DNS rebinding) even read the answers. Browsers say where a request comes from in `Sec-Fetch-Site` and
`Origin` (W3C Fetch Metadata, RFC 6454), which no page can change; what is no browser says nothing.
"""

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # methods that change nothing (RFC 9110, 9.2.1)


def ours(headers: Mapping[str, str]) -> bool | None:
    """Whether it comes from a page of our own; None if it does not say so, or if a person asked for it himself."""
    site = headers.get("sec-fetch-site")
    if site is not None and site != "none":
        return site == "same-origin"
    said = headers.get("origin")
    if said is None:
        return None
    return _authority(said) == headers.get("host", "").lower() != ""


def _authority(origin: str) -> str:
    """Host and port of an origin. Its scheme is left out: a proxy before us may have taken the TLS off."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return parts.netloc.lower() if parts.scheme in ("http", "https") else ""


def local(host: str) -> bool:
    """Whether a `Host` header names this machine: no page of somebody else can have such a name."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, 6.3: never resolved to anything but loopback
        return True
    return loopback(name)


def loopback(address: str) -> bool:
    """Whether it is an address of this machine's own."""
    try:
        known = ip_address(address)
    except ValueError:
        return False
    mapped = known.ipv4_mapped if isinstance(known, IPv6Address) else None
    return (mapped or known).is_loopback
