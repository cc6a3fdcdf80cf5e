"""The client's end of the line, on ASGI's own three callables."""

import asyncio
from typing import Any

import pytest

from adapters.base import Failure
from proxy.downstream import Downstream


class Line:
    """A client as ASGI shows it: what it sends is given, what it is told is kept, and it leaves when told to."""

    def __init__(self, *parts: bytes, headers: dict[str, str] | None = None, leaves: bool = False) -> None:
        self._messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": i + 1 < len(parts) or leaves}
            for i, part in enumerate(parts)
        ]
        self.heard: list[Any] = []
        self.gone = asyncio.Event()
        if leaves:
            self.gone.set()
        self.scope: Any = {
            "type": "http",
            "method": "POST",
            "headers": [(k.encode(), v.encode()) for k, v in (headers or {}).items()],
        }

    async def receive(self) -> Any:
        if self._messages:
            return self._messages.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.heard.append(message)

    def down(self) -> Downstream:
        return Downstream(self.scope, self.receive, self.send)


async def test_a_body_in_pieces_is_read_as_one() -> None:
    assert await Line(b"ab", b"c", b"").down().body(3) == b"abc"


@pytest.mark.parametrize(
    "line",
    [(b"abcd",), (b"ab", b"cd"), (b"", b"abcd")],
    ids=["in one piece", "in two pieces", "late"],
)
async def test_a_body_that_is_too_large_is_refused(line: tuple[bytes, ...]) -> None:
    with pytest.raises(Failure) as refused:
        await Line(*line).down().body(3)
    assert (refused.value.status, refused.value.code) == (413, "request_too_large")


async def test_a_body_that_is_declared_too_large_is_refused_unread() -> None:
    line = Line(b"ab", headers={"content-length": "4"})
    with pytest.raises(Failure, match="larger than 3 bytes"):
        await line.down().body(3)
    assert len(line._messages) == 1


async def test_a_client_that_leaves_while_it_sends_cancels_its_request() -> None:
    down = Line(b"ab", leaves=True).down()
    with pytest.raises(asyncio.CancelledError):
        await down.body(10)
    assert down.left


async def test_a_client_that_leaves_later_cancels_whoever_serves_it() -> None:
    line = Line(b"{}")
    down = line.down()

    async def serve() -> None:
        await down.body(10)
        down.watch()
        await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    line.gone.set()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert down.left


async def test_who_reads_nothing_for_too_long_has_left() -> None:
    down = Line(b"{}").down()

    async def write() -> None:
        down.bound(-5.0)  # its time is over; a moment is given all the same
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(write())
    assert down.left


async def test_a_client_that_was_answered_may_leave() -> None:
    line = Line(b"{}")
    down = line.down()
    await down.body(10)
    down.watch()
    await down.answer(200, [(b"a", b"b")], b"hello")
    down.unwatch()
    line.gone.set()
    await asyncio.sleep(0)
    assert not down.left
    assert down.ended
    assert line.heard == [
        {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b"), (b"content-length", b"5")]},
        {"type": "http.response.body", "body": b"hello", "more_body": False},
    ]


def test_a_header_is_found_by_its_name() -> None:
    down = Line(headers={"a": "1", "b": "ü"}).down()
    assert down.header(b"a") == "1"
    assert down.header(b"c") is None
    assert down.method == "POST"


def test_many_headers_are_asked_for_at_once_as_they_came() -> None:
    down = Line(headers={"a": "1", "b": "ü"}).down()
    assert down.raw((b"b", b"c", b"a")) == ("ü".encode(), None, b"1")


def test_of_a_header_that_came_twice_the_first_counts() -> None:
    line = Line()
    line.scope["headers"] = [(b"a", b"1"), (b"a", b"2")]
    assert line.down().header(b"a") == "1"
    assert line.down().raw((b"a",)) == (b"1",)


async def test_a_body_that_has_not_come_is_waited_for() -> None:
    down = Line(b"{}").down()
    assert down.here(10) is None
    assert await down.body(10) == b"{}"


async def test_a_client_that_hangs_up_with_all_of_its_answer_has_not_left() -> None:
    line = Line(b"{}")
    down = line.down()
    await down.body(10)
    down.watch()
    await down.start(200, [])
    await down.write(b"all", more=False)
    line.gone.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not down.left
