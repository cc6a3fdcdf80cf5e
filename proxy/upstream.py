"""The way to the vendors: the only room that speaks to them, and the one seam that another client would replace.

The client is our own, `proxy.http1`: it costs a fifth of aiohttp, and no other one that was measured costs little and
closes the connection of a cancelled request at once (pyreqwest lets it run on until the vendor answers). Redirects are
never followed: they would carry a key to who knows whom. Nothing is sent twice: a request that was perhaps received
may cost money, and who is asked next is not decided here.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Self

from adapters import ADAPTERS
from adapters.base import REMOVED, Call, Failure, Kind
from proxy.http1.connection import HEAD, SOME, WHOLE, Connection, Cut, Malformed
from proxy.http1.head import Head, Headers
from proxy.http1.pool import Pool
from proxy.http1.proxies import DIRECT, Proxies
from proxy.http1.route import route
from proxy.http1.tunnel import Refused
from proxy.providers import Provider
from proxy.timeouts import Timeouts, Timings

# An answer that comes whole is held in memory; no vendor's is larger than a few inline images.
LARGEST_ANSWER = 128 * 1024 * 1024
_DRAIN_SECONDS = 1.0
_HEADED_SECONDS = 1.0  # for the body to follow headers that came at the last moment
# Of the time that a vendor may take in all: who is left with less cannot be said to have kept silent for too long. With
# a little more than that, it is our own work before the sending that is missing.
_HURRIED = 0.9
_LEAST_KEY = 8  # characters: what is shorter is no secret ("none", "EMPTY"), and may be anybody's word
_NONE: Mapping[str, str] = MappingProxyType({})


def credentials(provider: Provider) -> Mapping[str, str]:
    """The headers that open the provider's door; none where no key is needed."""
    if provider.key is None:
        return {}
    if provider.key_header:
        return {provider.key_header: provider.key.reveal()}
    return ADAPTERS[provider.vendor, "chat"].headers(provider.key.reveal())


class _Line:
    """What one provider is asked by."""

    __slots__ = ("head", "pool", "time")
    time: Callable[[], float]  # the loop's, once it is open; to ask for the loop is a call of the system each time

    def __init__(self, provider: Provider, proxies: Proxies, agent: str) -> None:
        way = route(provider.base_url, proxies)
        self.pool = Pool(way)
        self.head = Head(
            way,
            {
                "content-type": "application/json",
                "accept": "application/json, text/event-stream",
                "accept-encoding": "identity",  # what comes compressed must be held in memory to be read
                "user-agent": agent,
                **credentials(provider),
            },
        )


class Upstream:
    """Keep-alive connections to all providers. `proxies`: who stands between us and them."""

    def __init__(
        self, providers: Sequence[Provider], timeouts: Timeouts, *, agent: str, proxies: Proxies = DIRECT
    ) -> None:
        self._timeouts = timeouts
        self._lines = {provider.name: _Line(provider, proxies, agent) for provider in providers}
        keys = {provider.name: provider.key.reveal() if provider.key else "" for provider in providers}
        self._keys = {name: key for name, key in keys.items() if len(key) >= _LEAST_KEY}

    async def __aenter__(self) -> Self:
        for line in self._lines.values():
            line.time = asyncio.get_running_loop().time
        return self

    async def __aexit__(self, *_: object) -> None:
        for line in self._lines.values():
            await line.pool.close()

    def conceal(self, provider: str, failure: Failure) -> None:
        """Take our key out of what the provider said, if it repeats it."""
        if key := self._keys.get(provider):
            failure.conceal(key)

    def concealed(self, provider: str, said: str) -> str:
        """The same for a header of an answer."""
        key = self._keys.get(provider)
        return said.replace(key, REMOVED) if key else said

    def send(
        self,
        provider: str,
        call: Call,
        timings: Timings | None = None,
        deadline: float | None = None,
        passing: Mapping[str, str] = _NONE,
    ) -> "Reply":
        """An attempt, to be entered with `async with`: sent then, and closed whatever happens.

        `timings` are the model's own, if it has any; `deadline` is how long the client waits, in seconds from then on;
        `passing` are headers that are not the call's own: the trace that it belongs to.
        """
        return Reply(self._lines[provider], call, timings or self._timeouts.general, deadline, passing)


class Reply:
    """One answer of a vendor. To leave the context is to close it: a body that was not read to its end takes its
    connection down with it, so that the vendor hears at once that nobody listens any more."""

    connecting: float | None = None  # milliseconds that the connection took; None if it was open already
    status = 0
    headers: Mapping[str, str] = _NONE  # names in any case

    _begun = False
    _first: float | None = 0.0  # by when the first byte of the body is wanted; None: it has come
    _connection: Connection | None = None  # from its head until the answer was read

    def __init__(
        self, line: _Line, call: Call, timings: Timings, deadline: float | None, passing: Mapping[str, str]
    ) -> None:
        self._line, self._call, self._timings, self._passing = line, call, timings, passing
        self._seconds = timings.total if deadline is None or deadline > timings.total else deadline

    async def __aenter__(self) -> Self:
        line, call, timings = self._line, self._call, self._timings
        seconds = self._seconds
        if seconds <= 0:
            raise _too_late()
        now = line.time()
        deadline = self._deadline = now + seconds
        patience = self._first = now + (timings.first_byte if call.reading.stream else timings.first_byte_plain)
        try:
            more = {**self._passing, **call.headers} if call.headers else self._passing
            head = line.head.made(call.path, len(call.body), more)
        except ValueError as error:
            raise _broken(error, "upstream_connection_error") from error
        connection = line.pool.lend(now) or await self._dialled(now, patience)
        try:
            connection.ask(head, call.body)
            if not await connection.until(HEAD, patience, deadline):
                raise self._silence(patience)
            if not connection.headed:
                raise _broken(connection.lost, "upstream_connection_error") from connection.lost
        except BaseException:
            connection.abort()
            raise
        self._connection = connection
        self.status = connection.status
        self.headers = Headers(connection.head)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def _dialled(self, now: float, patience: float) -> Connection:
        until = min(now + self._timings.connect, patience, self._deadline)
        try:
            async with asyncio.timeout_at(until):
                connection = await self._line.pool.dial()
        except TimeoutError as error:
            if until < min(patience, self._deadline):
                raise _unreachable("no connection in time") from error
            raise self._silence(patience) from error
        except (OSError, ValueError) as error:
            raise _unreachable(_why(error)) from error
        self.connecting = round((self._line.time() - now) * 1000, 3)
        return connection

    def begun(self, deadline: float) -> None:
        """The answer has begun: from now on the client waits for so many seconds, whatever it said before."""
        entered = self._deadline - self._seconds
        self._seconds = min(self._timings.total, self._line.time() - entered + deadline)
        self._deadline = entered + self._seconds
        self._begun = True

    async def read(self) -> bytes | None:
        """The next bytes as they come, None at the end. Raises `Failure` when the vendor breaks off or falls silent."""
        connection = self._connection
        if connection is None:
            return None
        if not connection.parts and not connection.complete and not await self._until(connection, SOME):
            raise self._silence(connection.patience)
        return self._taken(connection)

    def here(self) -> bytes | None:
        """All of the body, if it has come already; else `body` waits for it."""
        connection = self._connection
        return self._taken(connection) if connection is not None and connection.complete else None

    async def body(self) -> bytes:
        """All of the body."""
        parts: list[bytes] = []
        while (connection := self._connection) is not None:
            if not connection.complete and not await self._until(connection, WHOLE):
                raise self._silence(connection.patience)
            part = self._taken(connection) or b""
            if not parts and self._connection is None:
                return part  # nearly all come in one
            parts.append(part)
            if sum(map(len, parts)) > LARGEST_ANSWER:
                raise Failure(Kind.TRANSIENT, "The provider's answer does not end.", code="upstream_malformed_output")
        return b"".join(parts)

    def _until(self, connection: Connection, wanted: int) -> asyncio.Future[bool]:
        now = self._line.time()
        idle = self._timings.idle
        # Headers are no answer: who sends them at once, and nothing else, has the time of the first byte, not more.
        patience = now + idle if self._first is None or connection.parts else max(self._first, now + _HEADED_SECONDS)
        return connection.until(wanted, patience, self._deadline, idle)

    def _taken(self, connection: Connection) -> bytes | None:
        """What has come, and the connection given back once that is all. Raises `Failure` if it broke off before."""
        data, complete = None, connection.complete
        if connection.parts:
            self._first = None
            data = connection.take()
        elif not complete:
            raise _broken(connection.lost, "upstream_stream_truncated") from connection.lost
        if complete:
            self._connection = None
            line = self._line
            line.pool.give_back(connection, line.time())
        return data

    def _silence(self, patience: float) -> Failure:
        """What came to its end: our patience with the vendor, or the client's with us."""
        if self._deadline >= patience:
            return _silent()
        if self._seconds < _HURRIED * self._timings.total:
            return _too_late()
        return _too_long() if self._begun else _silent()

    def buffered(self) -> bytes:
        """What has arrived and was not read yet; never waits, never raises."""
        return self._connection.take() if self._connection is not None else b""

    async def drain(self) -> None:
        """Read what is left after the answer's proper end, so that the connection can be used again."""
        if self._connection is None:
            return
        self._deadline = min(self._deadline, self._line.time() + _DRAIN_SECONDS)
        try:
            while await self.read() is not None:
                pass
        except Failure:
            pass  # the answer was complete: what the connection does now is nobody's loss


def _unreachable(why: str) -> Failure:
    return Failure(Kind.UNREACHABLE, f"The provider could not be reached: {why}.", code="upstream_connection_error")


def _broken(error: Exception | None, code: str) -> Failure:
    return Failure(Kind.TRANSIENT, f"The connection to the provider broke: {_why(error)}.", code=code)


def _silent() -> Failure:
    return Failure(Kind.TIMEOUT, "The provider did not answer in time.", status=504, code="upstream_timeout")


def _too_long() -> Failure:
    """A stream that went on and on: the vendor said much, or the client read slowly. The vendor is well."""
    return Failure(Kind.REQUEST, "The stream took longer than any may take.", status=504, code="upstream_timeout")


def _too_late() -> Failure:
    """The client's own deadline: it says nothing of the vendor, and leaves no time for another one."""
    return Failure(
        Kind.CALLER, "The request's deadline was over before it was answered.", status=504, code="deadline_exceeded"
    )


# What OpenSSL found wrong with a certificate (X509_V_ERR_...). Its own words may hold the host's name.
_CERTIFICATE = {
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself",
    19: "is of an unknown authority",
    20: "is of an unknown authority",
    62: "is another host's",
    64: "is another address's",
}


def _why(error: BaseException | None) -> str:
    """What went wrong, without the address that it went wrong with: that is ours to know."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate {_CERTIFICATE.get(error.verify_code, 'is not valid')}"
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)  # below 0 are the resolver's
    return _WORDS.get(type(error), type(error).__name__)


_WORDS: Mapping[type, str] = {Cut: "it was closed", Malformed: "what came is not HTTP"}
