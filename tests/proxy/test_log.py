"""The lines of requests past structlog: when they are written, in which order, and what stands in them.

What is in a line, and what structlog makes of all others, is in test_telemetry.py.
"""

import asyncio
import io
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from proxy.log import Lines
from proxy.telemetry import Record
from tests.tollhouse import PATIENCE, ROOT, surroundings

SECOND = 1_000_000_000
NEW_YEAR = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp()) * SECOND


class Paper(io.BytesIO):
    """A stream that knows what came at once."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[str]] = []  # of each, the requests or events

    def write(self, said) -> int:
        lines = [json.loads(line) for line in bytes(said).splitlines()]
        self.writes.append([line.get("request_id", line["event"]) for line in lines])
        return super().write(said)

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def lines(paper: Paper) -> Lines:
    lines = Lines()
    lines.stream = paper
    return lines


def record(name: str) -> Record:
    return Record(name, 0.0)


async def turn() -> None:
    """Until all that was due in this turn of the loop is done."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_soon(over.set)
    await over.wait()


def test_requests_that_end_in_one_turn_of_the_loop_are_one_write_in_their_order(lines, paper):
    async def serve() -> None:
        lines.add(record("a"))
        lines.add(record("b"))
        assert paper.writes == [], "nothing is written before the turn is over"
        await turn()
        lines.add(record("c"))
        await turn()

    asyncio.run(serve())
    assert paper.writes == [["a", "b"], ["c"]]
    assert paper.getvalue().count(b"\n") == 3
    assert paper.getvalue().endswith(b"\n")


def test_each_turn_with_nothing_to_say_writes_nothing(lines, paper):
    lines.flush()
    lines.add(record("a"))
    lines.flush()
    assert paper.writes == [["a"]]


def test_where_there_is_no_loop_a_line_is_written_at_once(lines, paper):
    lines.add(record("a"))
    assert paper.writes == [["a"]]
    lines.add(record("b"))
    assert paper.writes == [["a"], ["b"]]


def test_what_is_kept_when_the_loop_ends_is_not_lost(lines, paper):
    async def serve() -> None:
        lines.add(record("a"))

    asyncio.run(serve())
    assert paper.writes == [["a"]]


def test_where_nobody_reads_any_more_a_request_does_not_fail_for_it(lines, paper):
    paper.close()
    lines.add(record("a"))
    lines.stream = Paper()
    lines.add(record("b"))
    assert lines.stream.writes == [["b"]]


def test_what_is_bound_is_said_in_each_line(lines, paper):
    lines.bind(worker=3)
    lines.add(record("a"))
    lines.add(record("b"))
    assert [line["worker"] for line in paper.lines()] == [3, 3]


def test_a_line_has_nothing_of_a_longer_one_before_it(paper, lines):
    for size in (3_000, 1, 700, 5_000, 0, 2):
        lines.add(Record(f"a{size}", 0.0, prompt="x" * size, key="k"))
    assert [(line["request_id"], len(line["prompt"])) for line in paper.lines()] == [
        ("a3000", 3_000),
        ("a1", 1),
        ("a700", 700),
        ("a5000", 5_000),
        ("a0", 0),
        ("a2", 2),
    ]


def test_what_is_bound_holds_from_the_next_line_on(paper):
    lines = Lines(lambda: NEW_YEAR)
    lines.stream = paper
    lines.add(record("a"))
    lines.bind(worker=3)
    lines.bind(site="x")
    lines.add(record("b"))
    assert [(line.get("worker"), line.get("site")) for line in paper.lines()] == [(None, None), (3, "x")]


def test_a_line_has_the_time_at_which_its_request_was_over_not_that_of_its_writing(paper):
    lines = Lines(iter([NEW_YEAR, NEW_YEAR + SECOND]).__next__)
    lines.stream = paper

    async def serve() -> None:
        lines.add(record("a"))
        lines.add(record("b"))

    asyncio.run(serve())
    assert [line["timestamp"] for line in paper.lines()] == [
        "2027-01-01T00:00:00.000000Z",
        "2027-01-01T00:00:01.000000Z",
    ]


def test_without_a_stream_nothing_is_kept_for_a_later_one(lines, paper):
    lines.stream = None
    lines.add(record("a"))
    lines.stream = paper
    lines.add(record("b"))
    assert paper.writes == [["b"]]


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ([NEW_YEAR], ["2027-01-01T00:00:00.000000Z"]),
        ([NEW_YEAR + 1_999], ["2027-01-01T00:00:00.000001Z"]),
        (
            [NEW_YEAR - 1, NEW_YEAR, NEW_YEAR + SECOND - 1, NEW_YEAR + SECOND],
            [
                "2026-12-31T23:59:59.999999Z",
                "2027-01-01T00:00:00.000000Z",
                "2027-01-01T00:00:00.999999Z",
                "2027-01-01T00:00:01.000000Z",
            ],
        ),
        ([NEW_YEAR, NEW_YEAR - SECOND], ["2027-01-01T00:00:00.000000Z", "2026-12-31T23:59:59.000000Z"]),
    ],
    ids=["a whole second", "less than two microseconds", "across seconds and years", "a clock that was put back"],
)
def test_each_line_has_the_time_of_its_own(paper, at, said):
    lines = Lines(iter(at).__next__)
    lines.stream = paper
    for number in range(len(at)):
        lines.add(record(str(number)))
    assert [line["timestamp"] for line in paper.lines()] == said


# How a log is set up holds for a whole process: these have one of their own, whose standard error is paper.
TOLD = """
import asyncio, json, sys, structlog
from proxy.log import bind, configure, log_request
from tests.proxy.test_log import Paper, record, turn
paper = Paper()
paper.buffer = paper
sys.stderr = paper
configure("json", {level!r})
log = structlog.get_logger()
{code}
sys.stdout.write(json.dumps(paper.writes))
"""


def told(code: str, level: str = "info") -> list[list[str]]:
    """What was written at once, in a fresh process with this log."""
    done = subprocess.run(
        [sys.executable, "-c", TOLD.format(code=code, level=level)],
        cwd=ROOT, env=surroundings({}), capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    writes: list[list[str]] = json.loads(done.stdout)
    return writes


MIXED = """
async def serve():
    log_request(record("a"))
    log_request(record("b"))
    log.warning("careful")
    log_request(record("c"))
    log.error("broken")
    await turn()
    log_request(record("d"))
    await turn()
asyncio.run(serve())
"""


def test_any_other_line_takes_along_before_it_what_was_said_before_it():
    assert told(MIXED) == [["a", "b"], ["careful"], ["c"], ["broken"], ["d"]]


def test_above_info_there_are_no_lines_of_requests():
    assert told(MIXED, level="warning") == [["careful"], ["broken"]]
    assert told(MIXED, level="error") == [["broken"]]
