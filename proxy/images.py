"""Remote images, fetched for vendors that want bytes: the proxy must not become a way into its own network.

Every address that a name resolves to is checked before it is connected to, on every redirect, and the connection goes
to the address that was checked (a name that resolves anew could resolve differently). What comes is taken as it is on
the wire, so that nothing unfolds to more than was counted.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from adapters import media
from adapters.base import Failure, Fetched, Remote, invalid
from proxy import __version__
from proxy.limits import Limits

if TYPE_CHECKING:
    import httpx

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

MOST_IMAGES = 100  # of one request; no vendor takes more of this size
_AT_ONCE = 8
_PORTS = {"http": 80, "https": 443}
_MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KINDS = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_UNSEEN = frozenset({"image/heic", "image/heif"})  # Gemini takes them; their bytes do not begin with a fixed word
_HEADERS = {"accept": "image/*", "accept-encoding": "identity", "user-agent": f"tollhouse/{__version__}"}


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as this machine resolves it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in found]


class Images:
    """Fetches images by URL. Bytes and seconds are bounded; addresses inside are refused unless allowed."""

    def __init__(
        self, limits: Limits, *, resolve: Resolve = resolve, allowed: Callable[[str], bool] | None = None
    ) -> None:
        self._limits = limits
        self._resolve = resolve
        self._tls: ssl.SSLContext | None = None
        self._allowed = allowed or (_any if limits.images_from_private_networks else is_public)

    async def fetch(self, wanted: Iterable[Remote]) -> Mapping[str, Fetched]:
        """All of them, side by side. Raises `Failure` (400) that names the first which cannot be had."""
        once = {remote.url: remote for remote in wanted}
        if len(once) > MOST_IMAGES:
            raise _refused([*once.values()][MOST_IMAGES], f"at most {MOST_IMAGES} are fetched for one request")
        import httpx  # only here: most requests never need it

        if self._tls is None:
            self._tls = httpx.create_ssl_context(trust_env=False)  # once: it reads all the authorities
        seconds = self._limits.image_seconds
        try:
            async with (
                httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=seconds, headers=_HEADERS) as client,
                asyncio.TaskGroup() as group,  # if one cannot be had, nobody waits for the others
            ):
                haul = _Haul(client, self._limits, self._resolve, self._allowed)
                tasks = [group.create_task(haul.fetch(remote)) for remote in once.values()]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return {url: task.result() for url, task in zip(once, tasks, strict=True)}


class _Haul:
    """The images of one request: a few at once, and all of them together no more than a client may send itself."""

    def __init__(
        self, client: "httpx.AsyncClient", limits: Limits, resolve: Resolve, allowed: Callable[[str], bool]
    ) -> None:
        self._client = client
        self._limits = limits
        self._resolve = resolve
        self._allowed = allowed
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._size = 0

    async def fetch(self, remote: Remote) -> Fetched:
        """One image. Raises `Failure` (400)."""
        import httpx

        try:
            async with self._turn, asyncio.timeout(self._limits.image_seconds):
                return await self._follow(remote, httpx.URL(remote.url))
        except (TimeoutError, httpx.TimeoutException):
            raise _refused(remote, "it did not come in time") from None
        except (httpx.HTTPError, OSError) as error:
            raise _refused(remote, f"it could not be fetched ({type(error).__name__})") from error
        except (httpx.InvalidURL, ValueError) as error:  # IDNA's errors and getaddrinfo's are ValueErrors
            raise _refused(remote, "expected an http or https URL") from error

    async def _follow(self, remote: Remote, url: "httpx.URL") -> Fetched:
        for _ in range(_MOST_REDIRECTS + 1):
            if url.scheme not in _PORTS or not url.host or not 0 < _port(url) < 65536:
                raise _refused(remote, "expected an http or https URL")
            if url.userinfo:
                raise _refused(remote, "expected a URL without user name and password")
            response = await self._ask(url, await self._addresses(remote, url))
            try:
                if response.status_code not in _REDIRECTS or "location" not in response.headers:
                    return await self._read(remote, response)
                url = url.join(response.headers["location"])
            finally:
                await response.aclose()
        raise _refused(remote, "it was redirected too often")

    async def _addresses(self, remote: Remote, url: "httpx.URL") -> Sequence[str]:
        host = url.raw_host.decode("ascii")
        found = await self._resolve(host, _port(url))
        if not found or not all(map(self._allowed, found)):
            raise _refused(remote, "its address is not on the public internet")
        return found

    async def _ask(self, url: "httpx.URL", addresses: Sequence[str]) -> "httpx.Response":
        """Connect to the addresses themselves, one after the other; the name is for the server and its certificate."""
        import httpx

        for address in addresses[:-1]:
            with contextlib.suppress(httpx.ConnectError):
                return await self._ask_at(url, address)
        return await self._ask_at(url, addresses[-1])

    async def _ask_at(self, url: "httpx.URL", address: str) -> "httpx.Response":
        request = self._client.build_request(
            "GET",
            url.copy_with(host=address),
            headers={"host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        return await self._client.send(request, stream=True)

    async def _read(self, remote: Remote, response: "httpx.Response") -> Fetched:
        if response.status_code != 200:
            raise _refused(remote, f"its server answered with status {response.status_code}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise _refused(remote, "its server compresses it, though asked not to")
        declared = response.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._limits.image:
            raise _refused(remote, f"it is larger than {self._limits.image} bytes")
        body = bytearray()
        async for part in response.aiter_raw():
            body += part
            self._size += len(part)
            if len(body) > self._limits.image:
                raise _refused(remote, f"it is larger than {self._limits.image} bytes")
            if self._size > self._limits.body:
                raise _refused(remote, f"all images of the request together are larger than {self._limits.body} bytes")
        return Fetched(_kind(remote, response.headers.get("content-type", ""), bytes(body[:16])), bytes(body))


def _port(url: "httpx.URL") -> int:
    return _PORTS[url.scheme] if url.port is None else url.port


def _kind(remote: Remote, declared: str, head: bytes) -> str:
    """The type that its bytes give away: what a server declares is believed only where bytes say nothing."""
    said = declared.partition(";")[0].strip().lower()
    kind = media.sniff(head) or (said if said in _UNSEEN else None)
    if kind not in _KINDS | _UNSEEN:
        raise _refused(remote, f"it is not a PNG, JPEG, GIF or WebP image (its server calls it '{said[:100]}')")
    return kind


# Where Python's own tables differ by version or say too little: IPv4 as others know it, and clouds' metadata.
_INSIDE = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT, and metadata at Alibaba
            "168.63.129.16/32",  # Azure's host
            "192.0.0.0/24",  # protocol assignments, and metadata at Oracle
            "192.88.99.0/24",  # 6to4 relays
            "2001::/23",  # protocol assignments, Teredo among them
            "3fff::/20",  # documentation
        ),
    )
)
_UNICAST = ipaddress.IPv6Network("2000::/3")  # the only IPv6 addresses that are given out
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """True for addresses of the public internet; an IPv4 address inside an IPv6 one is judged as what it is."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = (
            ip.ipv4_mapped or ip.sixtofour or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)
        )
        if inner:
            return is_public(str(inner))
        if ip not in _UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _INSIDE)


def _any(_: str) -> bool:
    return True


def _refused(remote: Remote, why: str) -> Failure:
    return invalid(f"The image at {remote.param} cannot be used: {why}.", remote.param, "invalid_image_url")
