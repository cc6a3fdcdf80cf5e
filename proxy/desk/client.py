"""The admin API of a running tollhouse, asked with the admin key. Every fault becomes a `Trouble` that says what to do.

The key comes from the environment alone: an argument would be seen by everybody who lists processes, and be kept in the
history of the shell. It is sent to the URL that was named and nowhere else: redirects are not followed.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx  # the one room of these commands that speaks HTTP
import msgspec

from proxy import __version__
from proxy.desk.trouble import NOT_REACHED, USAGE, Trouble
from proxy.environment import Environment, Secret, wrong_with

URL = "http://127.0.0.1:8080"
_KEYS = ("TOLLHOUSE_ADMIN_KEY", "TOLLHOUSE_ADMIN_KEY_FILE")
_TIMEOUT = httpx.Timeout(connect=5, read=120, write=30, pool=5)  # a year of a large ledger takes a while to add up
_LONGEST_ERROR = 65_536  # bytes of an answer that says what is wrong; what is longer is none of ours
_ERRNO = re.compile(r"\[Errno -?[0-9]+\] ")
_AWAY = frozenset({429, 500, 502, 503, 504})  # asked again later, it may be told

T = TypeVar("T")


class _Error(msgspec.Struct):
    message: str
    code: str | None = None


class _Refusal(msgspec.Struct):
    error: _Error


class Client:
    """`with Client.of(url, environ) as client: client.get("/providers/health")`. Raises `Trouble`."""

    def __init__(
        self,
        url: str,
        key: Secret | None = None,
        variable: str | None = None,
        timeout: httpx.Timeout = _TIMEOUT,
    ) -> None:
        """`variable` is the one that `key` came from."""
        self.url = url
        self._variable = variable
        headers = {"user-agent": f"tollhouse/{__version__}", "accept-encoding": "identity"}
        if key:
            headers["authorization"] = f"Bearer {key.reveal()}"
        # A proxy of the environment has no business between us and this machine.
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=not _near(url))

    @classmethod
    def of(cls, url: str | None, environ: Mapping[str, str]) -> Self:
        """`url`, else `TOLLHOUSE_URL`, else this machine; the admin key from its variable, or from a file."""
        env = Environment(environ)
        named, where = ("--url", url) if url else ("TOLLHOUSE_URL", env.text("TOLLHOUSE_URL") or URL)
        if why := wrong_with(where):
            raise Trouble(f"{named}: expected a URL such as {URL}; {why}")
        key = env.secret(_KEYS[0])
        if env.faults:
            raise Trouble("\n".join(env.faults))
        try:
            httpx.URL(where).host.encode("idna")
        except (httpx.InvalidURL, UnicodeError):
            raise Trouble(f"{named}: expected a URL such as {URL}; no host can have this name") from None
        return cls(where.rstrip("/").removesuffix("/v1"), key, env.named(*_KEYS))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: str) -> bytes:
        """The body of a 2xx; so do the others."""
        return self._ask("GET", path, query=query)

    def post(self, path: str, body: object = None, **query: str) -> bytes:
        """`body` is sent as JSON, if there is one."""
        return self._ask("POST", path, body, query)

    def delete(self, path: str) -> bytes:
        """The same for a thing that is to go."""
        return self._ask("DELETE", path)

    @contextmanager
    def stream(self, path: str, **query: str) -> Iterator[Iterator[bytes]]:
        """The body of a 2xx as it comes, in pieces. A connection that breaks is a `Trouble`, not an end."""
        try:
            with self._http.stream("GET", path, params=query) as answer:
                self._check(answer)
                yield answer.iter_bytes()
        except httpx.HTTPError as error:
            raise self._unreached(error) from None

    def read(self, body: bytes, type: type[T]) -> T:
        """The body as what it should be."""
        try:
            return msgspec.json.decode(body, type=type)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            why = str(error) if isinstance(error, msgspec.ValidationError) else "it speaks no JSON"
            raise self._stranger(why) from None

    def _ask(self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None) -> bytes:
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            answer = self._http.request(method, path, params=query, headers=headers, content=content)
            self._check(answer)
            return answer.content
        except httpx.HTTPError as error:
            raise self._unreached(error) from None

    def _check(self, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        status = answer.status_code
        if answer.is_redirect:
            raise self._stranger(f"status {status}, to {answer.headers.get('location', 'nowhere')[:200]}")
        try:
            told = msgspec.json.decode(answer.read()[:_LONGEST_ERROR], type=_Refusal).error
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._stranger(f"status {status}, {answer.headers.get('content-type', 'no content')[:100]}") from None
        if status == 401:
            raise Trouble(f"{self.url} {self._key_trouble()}")
        if status == 404 and told.code is None:
            raise Trouble(
                f"The tollhouse at {self.url} does not know {answer.url.path}: it is older than this command."
            )
        later = f" Try again in {after} s." if (after := answer.headers.get("retry-after")) else ""
        raise Trouble(f"{told.message}{later}", NOT_REACHED if status in _AWAY else USAGE)

    def _key_trouble(self) -> str:
        if self._variable:
            return (
                f"refuses the admin key that {self._variable} holds or names. It must be the admin key of that server."
            )
        return f"asks for its admin key, and none is set. Set {_KEYS[0]}, or {_KEYS[1]} to a file that holds it."

    def _unreached(self, error: httpx.HTTPError) -> Trouble:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            hint = "Is it running (tollhouse serve)? If it listens elsewhere, say so with --url or TOLLHOUSE_URL."
            return Trouble(f"Cannot reach a tollhouse at {self.url}: {_reason(error)}. {hint}", NOT_REACHED)
        if isinstance(error, httpx.RemoteProtocolError):
            why = "the connection was broken off, or what answers speaks no HTTP"
            return Trouble(f"{self.url}: {why} ({_reason(error)}).", NOT_REACHED)
        return Trouble(f"No whole answer from {self.url}: {_reason(error)}.", NOT_REACHED)

    def _stranger(self, why: str) -> Trouble:
        hint = "Name the address of tollhouse itself with --url or TOLLHOUSE_URL."
        return Trouble(
            f"What answers at {self.url} is no tollhouse, or one of another version: {why}. {hint}", NOT_REACHED
        )


def _reason(error: httpx.HTTPError) -> str:
    said = str(error).strip().rstrip(".")
    return _ERRNO.sub("", said) if said else type(error).__name__


def _near(url: str) -> bool:
    """Whether a URL means this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")
