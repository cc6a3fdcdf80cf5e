"""The clients and the vendors of the benchmark: what is right both count the same, and what is wrong is seen."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.bench import wire
from tests.bench.cases import CASES, Case, asked, usage_of
from tests.bench.load import Crowd, Question, Tally
from tests.bench.mock import Connection, Ledger
from tests.bench.stage import Measured, Vendors

Twist = Callable[[bytes], bytes]
PLAIN, STREAM = CASES["plain"], CASES["stream"]


@asynccontextmanager
async def mock() -> AsyncIterator[Vendors]:
    """The vendors, on a port of their own."""
    ledger = Ledger()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(ledger), "127.0.0.1", 0)
    async with server:
        yield Vendors(server.sockets[0].getsockname()[1])


@asynccontextmanager
async def proxy(port: int, twist: Twist) -> AsyncIterator[int]:
    """Somebody between them who does `twist` to each answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection("127.0.0.1", port)
        away.write(await message(reader))
        writer.write(twist(await message(there)))
        await writer.drain()
        away.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def message(reader: asyncio.StreamReader) -> bytes:
    data = await reader.readuntil(wire.HEAD_END)
    begin, length = wire.head(data) or (0, 0)
    while wire.ends(data, begin, length) is None:
        data += await reader.read(65536)
    return data


def question(case: Case, language: str = "") -> Question:
    language = language or case.vendor
    return Question.of(case, language, asked(case, language, case.model, [("authorization", "Bearer sk")]))


async def once(port: int, asks: Question, size: int = 1) -> Tally:
    async with Crowd(port, size) as crowd:
        return await crowd.closed(asks, 0.0)


@pytest.mark.parametrize("name", CASES)
async def test_both_count_the_same_in_each_case(name):
    async with mock() as vendors:
        tally = await once(vendors.port, question(CASES[name]), size=8)
        measured = Measured(tally, 1.0, 8e-3, 0.0, await vendors.count())
    assert (tally.good, measured.faults) == (8, [])
    assert measured.micros == pytest.approx(1000)


async def test_a_count_begins_anew():
    async with mock() as vendors:
        await once(vendors.port, question(PLAIN))
        first, second = await vendors.count(), await vendors.count()
    assert (first["requests"], second["requests"]) == (1, 0)


async def test_a_crowd_asks_again_until_the_time_is_over():
    async with mock() as vendors, Crowd(vendors.port, 4) as crowd:
        tally = await crowd.closed(question(PLAIN), 0.05)
        served = await vendors.count()
    assert tally.good == served["names"] == served["requests"] > 4


async def test_a_steady_crowd_asks_as_often_as_it_was_told():
    async with mock() as vendors, Crowd(vendors.port, 4) as crowd:
        tally = await crowd.steady(question(STREAM), 0.1, 200)
    assert (tally.good, tally.complaints, len(tally.first)) == (20, [], 20)
    assert all(0 < first <= whole for first, whole in zip(tally.first, tally.whole, strict=True))


def _swapped(answer: bytes) -> bytes:
    return answer.replace(b"bench-", b"bench_")


def _short(answer: bytes) -> bytes:
    return answer.replace(b"word07 ", b"       ")


def _twice(answer: bytes) -> bytes:
    return answer.replace(b"word08 ", b"word07 ")


def _misframed(answer: bytes) -> bytes:
    return answer.replace(b"word07 ", b"word")


def _endless(answer: bytes) -> bytes:
    return answer.replace(b"data: [DONE]", b"data: [GONE]")


def _dearer(answer: bytes) -> bytes:
    return answer.replace(b'"completion_tokens":', b'"completion_tokens":1')


def _refused(answer: bytes) -> bytes:
    return answer.replace(b"HTTP/1.1 200", b"HTTP/1.1 503")


def _nothing(answer: bytes) -> bytes:
    return b""


@pytest.mark.parametrize(
    ("case", "twist", "complaint"),
    [
        (PLAIN, _swapped, "not the answer to"),
        (STREAM, _swapped, "not the answer to"),
        (STREAM, _short, "not the answer to"),
        (STREAM, _twice, "not the answer to"),
        (STREAM, _endless, "no [DONE]"),
        (STREAM, _dearer, "usage"),
        (STREAM, _misframed, "no length of a chunk"),
        (PLAIN, _refused, "503"),
        (PLAIN, _nothing, "the connection was lost"),
    ],
)
async def test_what_is_wrong_with_an_answer_is_seen(case, twist, complaint):
    async with mock() as vendors, proxy(vendors.port, twist) as port:
        tally = await once(port, question(case))
        measured = Measured(tally, 1.0, 0.0, 0.0, await vendors.count())
    assert (tally.good, tally.wrong) == (0, 1)
    assert measured.faults[0] == "1 wrong answers"
    assert complaint in measured.faults[1]
    assert measured.faults[2].startswith("heard {'requests': 0,")


async def test_a_request_that_was_sent_twice_is_seen():
    async with mock() as vendors:
        asks = question(PLAIN)
        reader, writer = await asyncio.open_connection("127.0.0.1", vendors.port)
        for _ in range(2):
            writer.write(asks.before + b"bench-00000001" + asks.after)
            await message(reader)
        writer.close()
        tally = Tally(good=1, prompt=11, answer=101)
        measured = Measured(tally, 1.0, 0.0, 0.0, await vendors.count())
    served = {"requests": 2, "names": 1, "prompt": 22, "answer": 202}
    assert measured.faults == [f"heard {{'requests': 1, 'names': 1, 'prompt': 11, 'answer': 101}}, served {served}"]


async def test_what_is_nothing_of_ours_is_refused():
    async with mock() as vendors:
        reader, writer = await asyncio.open_connection("127.0.0.1", vendors.port)
        writer.write(b"POST /v1/embeddings HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
        answer = await message(reader)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("name", CASES)
def test_a_prompt_is_as_long_as_its_case_says(name):
    case = CASES[name]
    before, after = asked(case, case.vendor, case.model, [])
    body = json.loads((before + b"bench-00000000" + after).partition(b"\r\n\r\n")[2])
    said = (body.get("messages") or body["contents"])[-1]
    assert len(said.get("content") or said["parts"][0]["text"]) == case.prompt


def test_a_usage_is_always_as_wide():
    assert {(len(str(one)), len(str(two)), len(str(one + two))) for one, two in map(usage_of, range(9000))} == {
        (2, 3, 3)
    }


def test_a_chunked_message_is_whole_only_at_its_end():
    whole = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + wire.chunk(b"a" * 12) + b"3;x=y\r\nbcd\r\n0\r\n\r\n"
    )
    begin, length = wire.head(whole) or (0, 0)
    assert wire.head(whole[: begin - 1]) is None
    assert [cut for cut in range(len(whole) + 1) if wire.ends(whole[:cut], begin, length) is not None] == [len(whole)]
    assert wire.body(whole, begin, length) == b"a" * 12 + b"bcd"
