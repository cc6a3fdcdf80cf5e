"""The way to the vendors: what is sent, and what its errors tell."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress

import pytest

from adapters.base import Call, Failure, Kind, Reading, Warnings
from proxy.environment import Secret
from proxy.http1 import proxies
from proxy.providers import Provider
from proxy.timeouts import Timeouts, Timings
from proxy.upstream import Reply, Upstream, credentials


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that serves."""
    return "asyncio", {"use_uvloop": True}


TIMES = Timeouts(connect=2, first_byte=2, first_byte_plain=2, idle=2, total=10)


def call(path: str = "/chat/completions", *, stream: bool = False) -> Call:
    return Call(path=path, body=b'{"a":1}', reading=Reading(stream=stream), warnings=Warnings())


def provider(url: str) -> Provider:
    return Provider(name="openai", vendor="openai", base_url=url, key=Secret("sk-canary"))


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    """A server, and its URL. At the end all callers have to be gone."""
    callers: set[asyncio.Task[None]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.add(asyncio.create_task(served(reader, writer)))

    server = await asyncio.start_server(called, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(20):
            await asyncio.gather(*callers)


@asynccontextmanager
async def vendor(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that says `answer` to whatever it hears, and then closes."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heard.append(head + await reader.readexactly(7))
        writer.write(answer)

    async with serving(serve) as url:
        yield int(url.rpartition(":")[2]), heard


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


async def test_what_a_connection_took_is_told_by_the_request_that_made_it_and_no_other() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(7)
            writer.write(OK)

    took = []
    async with serving(serve) as url, Upstream([provider(url)], TIMES, agent="test/1") as upstream:
        for _ in range(2):
            async with upstream.send("openai", call()) as reply:
                assert await reply.body() == b"ok"
                took.append(reply.connecting)
    assert [milliseconds is None for milliseconds in took] == [False, True]


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

    async with serving(serve) as url, Upstream([provider(url)], PATIENT, agent="t") as upstream:
        async with upstream.send("openai", call(stream=True)) as reply:
            assert isinstance(reply, Reply)
            assert await reply.read() == b"ok"
            await asyncio.wait_for(reply.drain(), 20)
        await asyncio.wait_for(gone.wait(), 20)


# --- whose patience it was

SHORT = 0.05
LONG = 3600.0  # who waits for that has forgotten the test, which waits for less
PATIENT = Timeouts(connect=LONG, first_byte=LONG, first_byte_plain=LONG, idle=LONG, total=LONG)


def timings(**given: float) -> Timings:
    return Timings(
        **{"connect": LONG, "first_byte": LONG, "first_byte_plain": LONG, "idle": LONG, "total": LONG, **given}
    )


@asynccontextmanager
async def silent(start: bytes = b"", timeouts: Timeouts = PATIENT) -> AsyncIterator[Upstream]:
    """An upstream to a vendor that says `start`, and nothing more for as long as one listens."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(start)
        await reader.read()

    async with serving(serve) as url, Upstream([provider(url)], timeouts, agent="t") as upstream:
        yield upstream


async def failure_of(reply: Reply) -> Failure:
    with pytest.raises(Failure) as caught:
        async with asyncio.timeout(20), reply:
            await reply.body()
    return caught.value


HEADED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
BEGUN = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"


@pytest.mark.parametrize(
    ("start", "stream", "given"),
    [
        pytest.param(b"", True, {"first_byte": SHORT}, id="the first byte of a stream"),
        pytest.param(b"", False, {"first_byte_plain": SHORT}, id="the first byte of a whole answer"),
        pytest.param(HEADED, True, {"first_byte": SHORT}, id="headers are no answer"),
        pytest.param(BEGUN, True, {"idle": SHORT}, id="between two reads"),
        pytest.param(BEGUN, True, {"total": SHORT}, id="all of it"),
        pytest.param(b"", True, {"total": SHORT}, id="all of it, with nothing said"),
    ],
)
async def test_each_attempt_has_its_models_own_patience(start: bytes, stream: bool, given: dict[str, float]) -> None:
    async with silent(start) as upstream:
        failure = await failure_of(upstream.send("openai", call(stream=stream), timings(**given)))
    assert (failure.kind, failure.status, failure.code) == (Kind.TIMEOUT, 504, "upstream_timeout")


async def test_without_timings_the_general_ones_hold() -> None:
    hasty = Timeouts(connect=LONG, first_byte=SHORT, first_byte_plain=LONG, idle=LONG, total=LONG)
    async with silent(timeouts=hasty) as upstream:
        failure = await failure_of(upstream.send("openai", call(stream=True)))
    assert failure.kind is Kind.TIMEOUT


@pytest.mark.parametrize("start", [b"", BEGUN], ids=["nothing said", "in the middle"])
async def test_a_clients_deadline_that_is_over_is_not_the_vendors_fault(start: bytes) -> None:
    async with silent(start) as upstream:
        failure = await failure_of(upstream.send("openai", call(stream=True), timings(), SHORT))
    assert (failure.kind, failure.status, failure.code) == (Kind.CALLER, 504, "deadline_exceeded")
    assert failure.type == "server_error"


async def test_a_deadline_does_not_make_anybody_more_patient() -> None:
    async with silent() as upstream:
        failure = await failure_of(upstream.send("openai", call(stream=True), timings(total=SHORT), LONG))
        assert failure.kind is Kind.TIMEOUT
        failure = await failure_of(upstream.send("openai", call(stream=True), timings(first_byte=SHORT), 0.5 * LONG))
        assert failure.kind is Kind.TIMEOUT


async def test_a_deadline_of_hardly_less_than_all_the_time_there_is_excuses_no_vendor() -> None:
    async with silent() as upstream:
        failure = await failure_of(upstream.send("openai", call(stream=True), timings(total=SHORT), 0.95 * SHORT))
    assert failure.kind is Kind.TIMEOUT


@pytest.mark.parametrize("deadline", [0.0, -3.0])
async def test_after_the_deadline_nothing_is_sent_not_even_where_a_connection_is_at_hand(deadline: float) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(65536):
            heard.append(head)
            if head.endswith(b'{"a":1}'):
                writer.write(OK)

    async with serving(serve) as url, Upstream([provider(url)], PATIENT, agent="t") as upstream:
        async with upstream.send("openai", call()) as reply:
            assert await reply.body() == b"ok"
        before = b"".join(heard)
        failure = await failure_of(upstream.send("openai", call(), timings(), deadline))
        async with upstream.send("openai", call()) as reply:
            assert await reply.body() == b"ok"
        assert b"".join(heard) == before + before
    assert (failure.kind, failure.code) == (Kind.CALLER, "deadline_exceeded")


@pytest.mark.parametrize(
    ("total", "more", "kind"),
    [
        pytest.param(LONG, SHORT, Kind.CALLER, id="the client has that much more"),
        pytest.param(SHORT, LONG, Kind.REQUEST, id="nobody has more than all the time, and the vendor is well"),
        pytest.param(LONG, -1.0, Kind.CALLER, id="the time is over"),
    ],
)
async def test_an_answer_that_has_begun_has_a_deadline_of_its_own(total: float, more: float, kind: Kind) -> None:
    async with (
        silent(BEGUN) as upstream,
        upstream.send("openai", call(stream=True), timings(total=total), LONG / 2) as reply,
    ):
        assert await reply.read()
        reply.begun(more)
        with pytest.raises(Failure) as caught:
            await reply.read()
    assert caught.value.kind is kind


async def test_who_has_time_is_served_within_the_deadline() -> None:
    async with (
        vendor(OK) as (port, _),
        Upstream([provider(f"http://127.0.0.1:{port}")], TIMES, agent="t") as upstream,
        upstream.send("openai", call(), timings(), 10.0) as reply,
    ):
        assert await reply.body() == b"ok"


async def test_who_cannot_be_connected_to_in_time_is_unreachable() -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # fill its queue: to whoever comes now the kernel says nothing
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with Upstream([provider(url)], Timeouts(connect=20), agent="t") as upstream:
            failure = await failure_of(upstream.send("openai", call(), timings(connect=SHORT)))
    assert (failure.kind, failure.code) == (Kind.UNREACHABLE, "upstream_connection_error")


# --- what is sent, and what becomes of the connection


async def test_headers_of_a_trace_are_passed_on() -> None:
    async with (
        vendor(OK) as (port, heard),
        Upstream([provider(f"http://127.0.0.1:{port}")], TIMES, agent="t") as upstream,
        upstream.send("openai", call(), passing={"traceparent": "00-1-2-01"}) as reply,
    ):
        assert await reply.body() == b"ok"
    assert b"\r\ntraceparent: 00-1-2-01\r\n" in heard[0]


async def test_what_would_break_out_of_a_header_is_not_sent() -> None:
    async with vendor(OK) as (port, heard), Upstream([provider(f"http://127.0.0.1:{port}")], TIMES, agent="t") as up:
        failure = await failure_of(up.send("openai", call(), passing={"traceparent": "a\r\nx: y"}))
        assert heard == []
    assert (failure.kind, failure.code) == (Kind.TRANSIENT, "upstream_connection_error")


@asynccontextmanager
async def talking(*said: bytes) -> AsyncIterator[tuple[Upstream, list[int], asyncio.Event]]:
    """An upstream to a vendor that says so to each request, piece by piece, one each time that it is nudged. The list
    holds the number of requests that each connection brought; the event is set when one of them is closed."""
    brought: list[int] = []
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = len(brought)
        brought.append(0)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(7)
                brought[at] += 1
                for piece in said:
                    writer.write(piece)
                    await asyncio.sleep(0)
        finally:
            gone.set()

    async with serving(serve) as url, Upstream([provider(url)], TIMES, agent="t") as upstream:
        yield upstream, brought, gone


CHUNKS = (HEADED, b"2\r\nab\r\n", b"2\r\ncd\r\n", b"0\r\n", b"\r\n")


async def test_who_reads_a_stream_to_its_end_leaves_the_connection_to_the_next_one() -> None:
    async with talking(*CHUNKS) as (upstream, brought, _):
        for _ in range(3):
            async with upstream.send("openai", call(stream=True)) as reply:
                parts = []
                while (part := await reply.read()) is not None:
                    parts.append(part)
                assert b"".join(parts) == b"abcd"
                assert all(parts)
                assert await reply.read() is None
                assert reply.buffered() == b""
                await reply.drain()
    assert brought == [3]


async def test_a_body_that_has_come_is_here_and_need_not_be_waited_for() -> None:
    async with talking(OK) as (upstream, brought, _):
        for _ in range(2):
            async with upstream.send("openai", call()) as reply:
                assert reply.here() == b"ok"
                assert reply.here() is None
                assert await reply.body() == b""
    assert brought == [2]


async def test_a_body_of_which_a_part_has_come_is_to_be_waited_for() -> None:
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab"
    async with silent(half) as upstream, upstream.send("openai", call()) as reply:
        assert reply.here() is None
        assert reply.buffered() == b"ab"


async def test_a_body_of_nothing_is_not_waited_for_either() -> None:
    async with talking(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as (upstream, brought, _):
        for _ in range(2):
            async with upstream.send("openai", call()) as reply:
                assert (reply.here() or await reply.body()) == b""
    assert brought == [2]


async def test_who_drains_a_stream_after_its_end_leaves_the_connection_to_the_next_one() -> None:
    async with talking(*CHUNKS) as (upstream, brought, _):
        for _ in range(3):
            async with upstream.send("openai", call(stream=True)) as reply:
                assert await reply.read()
                await reply.drain()
    assert brought == [3]


async def test_what_was_not_read_closes_its_connection_at_once() -> None:
    async with talking(OK) as (upstream, brought, gone):
        for _ in range(2):
            gone.clear()
            async with upstream.send("openai", call()) as reply:
                assert reply.status == 200
            await asyncio.wait_for(gone.wait(), 20)
    assert brought == [1, 1]


@pytest.mark.parametrize("said", [(), (HEADED,), (HEADED, b"2\r\nab\r\n")], ids=["sent", "headed", "begun"])
async def test_who_is_cancelled_closes_the_connection_at_once(said: tuple[bytes, ...]) -> None:
    async with talking(*said) as (upstream, brought, gone):

        async def ask() -> bytes:
            async with upstream.send("openai", call(stream=True)) as reply:
                return await reply.body()

        asking = asyncio.create_task(ask())
        async with asyncio.timeout(20):
            while brought != [1]:  # noqa: ASYNC110 - the vendor is at hand: it takes a few rounds of the loop
                await asyncio.sleep(0)
            asking.cancel()
            await gone.wait()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_a_read_that_is_given_up_loses_nothing() -> None:
    async with talking(*CHUNKS) as (upstream, _, _), upstream.send("openai", call(stream=True)) as reply:
        heard = b""
        part: bytes | None = b""
        while part is not None:
            heard += part
            reading = asyncio.create_task(reply.read())
            await asyncio.sleep(0)
            reading.cancel()
            try:
                part = await reading
            except asyncio.CancelledError:
                part = await reply.read()
        assert heard == b"abcd"


async def test_what_had_arrived_is_at_hand_when_the_vendor_breaks_off() -> None:
    async with (
        vendor(HEADED + b"2\r\nab\r\n") as (port, _),
        Upstream([provider(f"http://127.0.0.1:{port}")], TIMES, agent="t") as upstream,
        upstream.send("openai", call(stream=True)) as reply,
    ):
        assert await reply.read() == b"ab"
        with pytest.raises(Failure) as failure:
            await reply.read()
        assert reply.buffered() == b""
    assert failure.value.code == "upstream_stream_truncated"


async def test_what_was_not_read_is_at_hand_for_who_counts() -> None:
    async with silent(BEGUN) as upstream, upstream.send("openai", call(stream=True)) as reply:
        async with asyncio.timeout(20):
            while not (heard := reply.buffered()):  # noqa: ASYNC110 - there is nothing else to wait by
                await asyncio.sleep(0)
        assert heard == b"ok"


async def test_an_answer_that_does_not_end_is_not_gathered_for_ever() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9000000000\r\n\r\n")
        part = bytes(1024 * 1024)
        while True:
            writer.write(part)
            await writer.drain()

    async with serving(serve) as url, Upstream([provider(url)], TIMES, agent="t") as upstream:
        failure = await failure_of(upstream.send("openai", call()))
    assert (failure.kind, failure.code) == (Kind.TRANSIENT, "upstream_malformed_output")


async def test_a_stream_that_stops_in_the_middle_has_the_patience_between_two_reads() -> None:
    async with silent(BEGUN) as upstream, upstream.send("openai", call(stream=True), timings(idle=SHORT)) as reply:
        assert await reply.read() == b"ok"
        with pytest.raises(Failure) as caught:
            await asyncio.wait_for(reply.read(), 20)
    assert caught.value.kind is Kind.TIMEOUT


async def test_a_whole_answer_that_stops_in_the_middle_has_the_patience_between_two_reads() -> None:
    async with silent(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok") as upstream:
        failure = await failure_of(upstream.send("openai", call(), timings(idle=SHORT)))
    assert failure.kind is Kind.TIMEOUT


async def test_what_is_not_encrypted_is_asked_of_the_proxy_and_a_proxy_that_is_not_there_is_told_of() -> None:
    proxied = "http://api.example.invalid/v1"
    async with vendor(OK) as (port, heard):
        named = proxies.read({"HTTP_PROXY": f"http://u:p@127.0.0.1:{port}"})
        async with (
            Upstream([provider(proxied)], TIMES, agent="t", proxies=named) as upstream,
            upstream.send("openai", call()) as reply,
        ):
            assert await reply.body() == b"ok"
    assert heard[0].startswith(b"POST http://api.example.invalid/v1/chat/completions HTTP/1.1\r\n")
    assert b"\r\nhost: api.example.invalid\r\n" in heard[0]
    async with Upstream([provider(proxied)], TIMES, agent="t", proxies=named) as upstream:
        failure = await failure_of(upstream.send("openai", call()))
    assert failure.kind is Kind.UNREACHABLE


async def test_a_proxy_that_lets_nobody_through_is_told_of() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

    async with serving(serve) as url:
        named = proxies.read({"HTTPS_PROXY": url})
        async with Upstream([provider("https://api.example.invalid")], TIMES, agent="t", proxies=named) as upstream:
            failure = await failure_of(upstream.send("openai", call()))
    assert failure.kind is Kind.UNREACHABLE
    assert failure.message == "The provider could not be reached: the proxy answered with status 407."


async def test_an_upstream_that_is_closed_reaches_nobody() -> None:
    async with vendor(OK) as (port, heard):
        async with Upstream([provider(f"http://127.0.0.1:{port}")], TIMES, agent="t") as upstream:
            pass
        assert (await failure_of(upstream.send("openai", call()))).kind is Kind.UNREACHABLE
        assert heard == []
