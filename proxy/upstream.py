"""The way to the vendors: the only room that speaks to them, and the one seam that a test or another client replaces.

The HTTP client is pyreqwest (hyper and rustls): of those measured the cheapest that has TLS verification, HTTP/2,
keep-alive and proxies right. Redirects are never followed: they would carry a key to who knows whom.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, ConnectTimeoutError, PyreqwestError
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from adapters import ADAPTERS
from adapters.base import Call, Failure, Kind
from proxy.settings import Provider, Timeouts

# An answer that comes whole is held in memory; no vendor's is larger than a few inline images.
LARGEST_ANSWER = 128 * 1024 * 1024
_DRAIN_SECONDS = 1.0


class Upstream:
    """Keep-alive connections to all providers."""

    def __init__(self, providers: Sequence[Provider], timeouts: Timeouts, *, agent: str) -> None:
        self._timeouts = timeouts
        self._urls = {provider.name: provider.base_url for provider in providers}
        self._headers = {
            provider.name: {
                "content-type": "application/json",
                "accept": "application/json, text/event-stream",
                **ADAPTERS[provider.vendor, "chat"].headers(provider.key.reveal()),
            }
            for provider in providers
        }
        self._agent = agent
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        self._client = (
            ClientBuilder()
            .user_agent(self._agent)
            .follow_redirects(False)
            .referer(False)
            .http2(True)
            .connect_timeout(timedelta(seconds=self._timeouts.connect))
            .build()
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    def send(self, provider: str, call: Call) -> "Reply":
        """An attempt, to be entered with `async with`: sent then, and closed whatever happens."""
        assert self._client is not None, "enter the upstream first"
        request = (
            self._client.post(self._urls[provider] + call.path)
            .headers(self._headers[provider])
            .headers(call.headers)
            .body_bytes(call.body)
            .streamed_read_buffer_limit(0)  # else the first bytes of a stream wait for 64 KB of company
            .build_streamed()
        )
        return Reply(request, self._timeouts, stream=call.reading.stream)


class Reply:
    """One answer of a vendor. To leave the context is to close it: a body that was not read to its end takes its
    connection down with it, so that the vendor hears at once that nobody listens any more."""

    def __init__(self, request: StreamRequest, timeouts: Timeouts, *, stream: bool) -> None:
        self._request = request
        self._timeouts = timeouts
        self._first_byte = timeouts.first_byte if stream else timeouts.first_byte_plain
        self._deadline = 0.0
        self._response: Response | None = None

    async def __aenter__(self) -> Self:
        now = asyncio.get_running_loop().time()
        self._deadline = now + self._timeouts.total
        try:
            async with asyncio.timeout_at(min(now + self._first_byte, self._deadline)):
                self._response = await self._request.__aenter__()
        except ConnectTimeoutError as error:
            raise _unreachable("no connection in time") from error
        except ConnectError as error:
            raise _unreachable(_innermost(error)) from error
        except PyreqwestError as error:
            raise _broken(error) from error
        except TimeoutError as error:
            raise _silent() from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._request.__aexit__(kind, error, trace)

    @property
    def status(self) -> int:
        """The HTTP status."""
        assert self._response is not None
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, with lower-case names."""
        assert self._response is not None
        return dict(self._response.headers)

    def header(self, name: str) -> str | None:
        """One header, without reading the others."""
        assert self._response is not None
        return self._response.get_header(name)

    async def read(self) -> bytes | None:
        """The next bytes as they come, None at the end. Raises `Failure` when the vendor breaks off or falls silent."""
        assert self._response is not None
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(min(now + self._timeouts.idle, self._deadline)):
                chunk = await self._response.body_reader.read_chunk()
        except PyreqwestError as error:
            raise _broken(error) from error
        except TimeoutError as error:
            raise _silent() from error
        return None if chunk is None else bytes(chunk)

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


def _broken(error: PyreqwestError) -> Failure:
    return Failure(
        Kind.TRANSIENT, f"The connection to the provider broke: {_innermost(error)}.", code="upstream_connection_error"
    )


def _silent() -> Failure:
    return Failure(Kind.TIMEOUT, "The provider did not answer in time.", status=504, code="upstream_timeout")


def _innermost(error: PyreqwestError) -> str:
    """The first cause of an error: the others only say that something failed, and name our URL."""
    causes = getattr(error, "details", {}).get("causes") or []
    return str(causes[-1]["message"]) if causes else error.message
