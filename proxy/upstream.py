"""The way to the vendors: the only room that speaks to them, and the one seam that another client would replace.

The client is aiohttp, used directly. Of those measured it is the cheapest whose cancelled request closes its connection
at once, headers or not (pyreqwest lets a cancelled request run on until the vendor answers; httpx costs ten times as
much). Redirects are never followed: they would carry a key to who knows whom.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import Self
from weakref import WeakSet

import aiohttp
from aiohttp.tracing import Trace
from yarl import URL

from adapters import ADAPTERS
from adapters.base import REMOVED, Call, Failure, Kind
from proxy.providers import Provider
from proxy.timeouts import Timeouts, Timings

# An answer that comes whole is held in memory; no vendor's is larger than a few inline images.
LARGEST_ANSWER = 128 * 1024 * 1024
# Shorter than any vendor's own: a connection that the other side is about to close must not be taken for good.
_KEEPALIVE_SECONDS = 30.0
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


class Connecting:
    """What was learnt of a connection while it was made: nothing, if it was there already."""

    def __init__(self) -> None:
        self.milliseconds: float | None = None


_connecting: ContextVar[Connecting] = ContextVar("_connecting")  # of the request that is being sent


class _Connector(aiohttp.TCPConnector):
    """Says how long a connection took to make. aiohttp's own tracing would, too; but it costs each request a tenth of
    all that the client costs, connection or not."""

    def __init__(self) -> None:
        super().__init__(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS)
        self._known = WeakSet[object]()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - so it is called in aiohttp
    ) -> aiohttp.connector.Connection:
        """A connection, from the pool or a new one."""
        began = asyncio.get_running_loop().time()
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        if protocol is not None and protocol not in self._known:
            self._known.add(protocol)
            _connecting.get().milliseconds = round((asyncio.get_running_loop().time() - began) * 1000, 3)
        return connection


class Upstream:
    """Keep-alive connections to all providers."""

    def __init__(self, providers: Sequence[Provider], timeouts: Timeouts, *, agent: str) -> None:
        self._timeouts = timeouts
        self._urls = {provider.name: provider.base_url for provider in providers}
        self._headers = {
            provider.name: {
                "content-type": "application/json",
                "accept": "application/json, text/event-stream",
                "accept-encoding": "identity",  # what comes compressed must be held in memory to be read
                "user-agent": agent,
                **credentials(provider),
            }
            for provider in providers
        }
        keys = {provider.name: provider.key.reveal() if provider.key else "" for provider in providers}
        self._keys = {name: key for name, key in keys.items() if len(key) >= _LEAST_KEY}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=_Connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

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
        assert self._session is not None, "enter the upstream first"
        timings = timings or self._timeouts.general
        connecting = Connecting()
        request = partial(
            self._session.post,
            URL(self._urls[provider] + call.path, encoded=True),
            data=call.body,
            headers={**passing, **self._headers[provider], **call.headers},
            allow_redirects=False,
            # All but the connecting is timed by `Reply`, which knows what it waits for.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timings.connect),
        )
        return Reply(request, timings, connecting, stream=call.reading.stream, deadline=deadline)


class Reply:
    """One answer of a vendor. To leave the context is to close it: a body that was not read to its end takes its
    connection down with it, so that the vendor hears at once that nobody listens any more."""

    def __init__(
        self,
        request: Callable[[], Awaitable[aiohttp.ClientResponse]],
        timings: Timings,
        connecting: Connecting,
        *,
        stream: bool,
        deadline: float | None,
    ) -> None:
        self._request = request
        self._timings = timings
        self._connecting = connecting
        self._first_byte = timings.first_byte if stream else timings.first_byte_plain
        self._seconds = timings.total if deadline is None else min(timings.total, deadline)
        self._hurried = self._seconds < _HURRIED * timings.total
        self._entered = self._deadline = 0.0
        self._begun = False
        self._first: float | None = 0.0  # by when the first byte of the body is wanted; None: it has come
        self._response: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> Self:
        if self._seconds <= 0:
            raise _too_late()
        now = self._entered = asyncio.get_running_loop().time()
        self._deadline = now + self._seconds
        _connecting.set(self._connecting)
        patience = self._first = now + self._first_byte
        try:
            async with asyncio.timeout_at(min(patience, self._deadline)):
                self._response = await self._request()
        except aiohttp.ConnectionTimeoutError as error:
            raise _unreachable("no connection in time") from error
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(_why(error)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, TimeoutError):
                raise self._silence(patience) from error
            raise _broken(error, "upstream_connection_error") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._response is not None:
            self._response.close()

    @property
    def status(self) -> int:
        """The HTTP status."""
        assert self._response is not None
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names in any case."""
        assert self._response is not None
        return self._response.headers

    @property
    def connecting(self) -> float | None:
        """Milliseconds that the connection took; None if it was open already."""
        return self._connecting.milliseconds

    def begun(self, deadline: float) -> None:
        """The answer has begun: from now on the client waits for so many seconds, whatever it said before."""
        passed = asyncio.get_running_loop().time() - self._entered
        self._seconds = min(self._timings.total, passed + deadline)
        self._hurried = self._seconds < _HURRIED * self._timings.total
        self._deadline = self._entered + self._seconds
        self._begun = True

    async def read(self) -> bytes | None:
        """The next bytes as they come, None at the end. Raises `Failure` when the vendor breaks off or falls silent."""
        assert self._response is not None
        now = asyncio.get_running_loop().time()
        # Headers are no answer: who sends them at once, and nothing else, has the time of the first byte, not more.
        patience = now + self._timings.idle if self._first is None else max(self._first, now + _HEADED_SECONDS)
        try:
            async with asyncio.timeout_at(min(patience, self._deadline)):
                data = await self._response.content.readany()
            self._first = None
            return data or None
        except TimeoutError as error:
            raise self._silence(patience) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(error, "upstream_stream_truncated") from error

    def _silence(self, patience: float) -> Failure:
        """What came to its end: our patience with the vendor, or the client's with us."""
        if self._deadline >= patience:
            return _silent()
        return _too_late() if self._hurried else _too_long() if self._begun else _silent()

    def buffered(self) -> bytes:
        """What has arrived and was not read yet; never waits, never raises."""
        content = self._response.content if self._response is not None else None
        if content is None or content.exception() is not None:
            return b""
        return content.read_nowait()

    async def body(self) -> bytes:
        """All of the body."""
        parts: list[bytes] = []
        size = 0
        while (part := await self.read()) is not None:
            parts.append(part)
            size += len(part)
            if size > LARGEST_ANSWER:
                raise Failure(Kind.TRANSIENT, "The provider's answer does not end.", code="upstream_malformed_output")
        return b"".join(parts)

    async def drain(self) -> None:
        """Read what is left after the answer's proper end, so that the connection can be used again."""
        self._deadline = min(self._deadline, asyncio.get_running_loop().time() + _DRAIN_SECONDS)
        try:
            while await self.read() is not None:
                pass
        except Failure:
            pass  # the answer was complete: what the connection does now is nobody's loss


def _unreachable(why: str) -> Failure:
    return Failure(Kind.UNREACHABLE, f"The provider could not be reached: {why}.", code="upstream_connection_error")


def _broken(error: Exception, code: str) -> Failure:
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


def _why(error: Exception) -> str:
    """What went wrong, without the address that it went wrong with: that is ours to know."""
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(inner, OSError) and inner.errno:
        return os.strerror(inner.errno) if inner.errno > 0 else str(inner.strerror)  # below 0 are the resolver's
    return type(error).__name__
