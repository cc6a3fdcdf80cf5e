"""The way to the vendors: what is sent, and what its errors tell."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adapters.base import Call, Failure, Kind, Reading, Warnings
from proxy.environment import Secret
from proxy.providers import Provider
from proxy.settings import Timeouts
from proxy.upstream import Reply, Upstream, credentials

TIMES = Timeouts(connect=2, first_byte=2, first_byte_plain=2, idle=2, total=10)


def call(path: str = "/chat/completions", *, stream: bool = False) -> Call:
    return Call(path=path, body=b'{"a":1}', reading=Reading(stream=stream), warnings=Warnings())


def provider(url: str) -> Provider:
    return Provider(name="openai", vendor="openai", base_url=url, key=Secret("sk-canary"))


@asynccontextmanager
async def vendor(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that says `answer` to whatever it hears, and then closes."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heard.append(head + await reader.readexactly(7))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


async def asked(url: str, path: str = "/chat/completions") -> tuple[int, bytes]:
    async with (
        Upstream([provider(url)], TIMES, agent="test/1") as upstream,
        upstream.send("openai", call(path)) as reply,
    ):
        return reply.status, await reply.body()


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def test_a_request_carries_key_agent_and_body_and_no_more_than_it_must() -> None:
    async with vendor(OK) as (port, heard):
        assert await asked(f"http://127.0.0.1:{port}/v1") == (200, b"ok")
    head, _, body = heard[0].partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "post /v1/chat/completions http/1.1"
    assert {line.partition(":")[0] for line in lines[1:]} == {
        "host", "accept", "accept-encoding", "authorization", "content-length", "content-type", "user-agent",
    }  # fmt: skip
    assert "authorization: bearer sk-canary" in lines
    assert body == b'{"a":1}'


@pytest.mark.parametrize(
    ("key", "header", "sent"),
    [
        (Secret("k"), None, {"authorization": "Bearer k"}),
        (Secret("k"), "api-key", {"api-key": "k"}),
        (None, None, {}),
        (None, "api-key", {}),
    ],
    ids=["the usual header", "a header of the vendor's own", "no key", "no key for the vendor's own header"],
)
def test_the_key_goes_where_the_vendor_looks_for_it(key: Secret | None, header: str | None, sent: object) -> None:
    one = Provider(name="azure", vendor="openai", base_url="http://x", key=key, key_header=header)
    assert credentials(one) == sent


async def test_a_path_is_sent_as_it_is_spelled() -> None:
    async with vendor(OK) as (port, heard):
        await asked(f"http://127.0.0.1:{port}", "/v1beta/models/a%2Fb%3Fc:generateContent?alt=sse")
    assert heard[0].startswith(b"POST /v1beta/models/a%2Fb%3Fc:generateContent?alt=sse HTTP/1.1\r\n")


async def test_a_redirect_is_not_followed() -> None:
    async with vendor(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n") as (port, _):
        assert (await asked(f"http://127.0.0.1:{port}"))[0] == 302


async def test_nobody_there_is_unreachable_and_says_so_without_the_address() -> None:
    async with vendor(OK) as (port, _):
        pass
    with pytest.raises(Failure) as failure:
        await asked(f"http://127.0.0.1:{port}")
    assert failure.value.kind is Kind.UNREACHABLE
    assert str(port) not in failure.value.message


async def test_a_name_that_nobody_has_is_unreachable() -> None:
    with pytest.raises(Failure) as failure:
        await asked("http://nobody.invalid")
    assert failure.value.kind is Kind.UNREACHABLE
    assert "nobody.invalid" not in failure.value.message


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "upstream_connection_error"),
        (b"garbage\r\n\r\n", "upstream_connection_error"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", "upstream_stream_truncated"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", "upstream_stream_truncated"),
    ],
    ids=["nothing", "no HTTP", "less than declared", "chunks without an end"],
)
async def test_a_broken_answer_is_transient(answer: bytes, code: str) -> None:
    async with vendor(answer) as (port, _):
        with pytest.raises(Failure) as failure:
            await asked(f"http://127.0.0.1:{port}")
    assert (failure.value.kind, failure.value.code) == (Kind.TRANSIENT, code)


async def test_draining_does_not_wait_for_a_vendor_that_never_ends() -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Upstream([provider(f"http://127.0.0.1:{port}")], TIMES, agent="t") as upstream:
        async with upstream.send("openai", call(stream=True)) as reply:
            assert isinstance(reply, Reply)
            assert await reply.read() == b"ok"
            await reply.drain()
        await asyncio.wait_for(gone.wait(), 5)
