"""Remote images, fetched for vendors that want bytes: the proxy must not become a way into its own network.

Every address that a name resolves to is checked before it is connected to, on every redirect, and the connection goes
to the address that was checked (a name that resolves anew could resolve differently).
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from adapters import media
from adapters.base import Failure, Fetched, Remote, invalid
from proxy.settings import Limits

if TYPE_CHECKING:
    import httpx

_MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Images:
    """Fetches images by URL. Bytes and seconds are bounded; addresses inside are refused unless allowed."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    async def fetch(self, wanted: Iterable[Remote]) -> Mapping[str, Fetched]:
        """All of them, side by side. Raises `Failure` (400) that names the first which cannot be had."""
        once = {remote.url: remote for remote in wanted}
        found = await asyncio.gather(*(self._fetch(remote) for remote in once.values()))
        return dict(zip(once, found, strict=True))

    async def _fetch(self, remote: Remote) -> Fetched:
        import httpx  # only here: most requests never need it

        try:
            async with (
                asyncio.timeout(self._limits.image_seconds),
                httpx.AsyncClient(trust_env=False, follow_redirects=False) as client,
            ):
                return await self._follow(client, remote)
        except TimeoutError:
            raise _refused(remote, "it did not come in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise _refused(remote, f"it could not be fetched ({type(error).__name__})") from error

    async def _follow(self, client: "httpx.AsyncClient", remote: Remote) -> Fetched:
        url = remote.url
        for _ in range(_MOST_REDIRECTS + 1):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise _refused(remote, "expected an http or https URL")
            address = await self._address(
                remote, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
            )
            pinned = parts._replace(netloc=_netloc(address, parts.port)).geturl()
            headers = {"host": parts.netloc.rpartition("@")[2], "accept": "image/*"}
            extensions = {"sni_hostname": parts.hostname}
            async with client.stream("GET", pinned, headers=headers, extensions=extensions) as response:
                if response.status_code in _REDIRECTS and "location" in response.headers:
                    url = urljoin(url, response.headers["location"])
                    continue
                if response.status_code != 200:
                    raise _refused(remote, f"its server answered with status {response.status_code}")
                return await self._read(remote, response)
        raise _refused(remote, "it was redirected too often")

    async def _address(self, remote: Remote, host: str, port: int) -> str:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(info[4][0]) for info in found]
        if not self._limits.images_from_private_networks and not all(map(is_public, addresses)):
            raise _refused(remote, "its address is not on the public internet")
        return addresses[0]

    async def _read(self, remote: Remote, response: "httpx.Response") -> Fetched:
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > self._limits.image:
                raise _refused(remote, f"it is larger than {self._limits.image} bytes")
        declared = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        kind = media.sniff(bytes(body[:16])) or declared
        if not kind.startswith("image/"):
            raise _refused(remote, f"it is of type '{kind or 'unknown'}', not an image")
        return Fetched(kind, bytes(body))


def is_public(address: str) -> bool:
    """True for addresses of the public internet; an IPv4 address inside an IPv6 one is judged as what it is."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if inner:
            return is_public(str(inner)) and not ip.is_multicast
    return ip.is_global and not ip.is_multicast


def _netloc(address: str, port: int | None) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port}" if port else host


def _refused(remote: Remote, why: str) -> Failure:
    return invalid(f"The image at {remote.param} cannot be used: {why}.", remote.param, "invalid_image_url")
