"""What is booked in one turn is written at once, with what begins in it or when it is over; and never is anybody told
that it failed but the log."""

from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.journal import Journal
from proxy.journal.scribe import Scribe
from proxy.ledger import Entry, encode

NOW = 1_795_392_000.0  # 2026-11-23 00:00 UTC


def entry(id: str) -> Entry:
    return Entry(id=id, request=id, provider="openai", model="gpt-4o", cost=7)


class Turn:
    """A turn of an event loop, and the journal of a process in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.later: list[Callable[[], None]] = []
        self.journal = Journal(directory, "one", wall=lambda: NOW)
        self.scribe = Scribe(self.journal, self.later.append)

    def open(self) -> None:
        self.journal.open()
        self.scribe.open = True

    def over(self) -> None:
        later, self.later[:] = [*self.later], []
        for act in later:
            act()

    def written(self) -> list[str]:
        """Letter and id of each record, as they stand in the file."""
        lines = (self.directory / "2026-11-23.one.log").read_text(encoding="utf-8").splitlines()
        return [line[9] + line.partition('"id":"')[2].partition('"')[0] for line in lines]


@pytest.fixture
def turn(tmp_path: Path) -> Turn:
    made = Turn(tmp_path)
    made.open()
    return made


def test_rows_of_one_turn_are_written_when_it_is_over_and_its_end_is_asked_for_once(turn):
    turn.scribe.book(entry("a"))
    turn.scribe.book(entry("b"))
    assert (turn.written(), len(turn.later)) == ([], 1)
    turn.over()
    assert turn.written() == ["ra", "rb"]
    assert turn.journal.undelivered == 2
    turn.scribe.book(entry("c"))
    turn.over()
    assert turn.written() == ["ra", "rb", "rc"], "each once, and the next turn has an end, too"


def test_the_first_that_goes_on_writes_down_all_that_begins_and_what_waits(turn):
    turn.scribe.book(entry("a"))
    turn.scribe.begin(entry("b"))
    turn.scribe.begin(entry("c"))
    turn.scribe.book(entry("c"))  # it left before it was forwarded
    assert turn.written() == []
    turn.scribe.flush()
    assert turn.written() == ["bb", "bc", "ra", "rc"]
    turn.scribe.flush()
    turn.scribe.book(entry("b"))
    turn.over()
    assert turn.written() == ["bb", "bc", "ra", "rc", "rb"]
    assert Journal(turn.directory, "two", wall=lambda: NOW).open().begun == [], "while we live, ours are left alone"
    turn.journal._unlock()  # as a death would
    found = Journal(turn.directory, "two", wall=lambda: NOW).open()
    assert ([row.id for row in found.undelivered], found.begun) == (["a", "c", "b"], [])


def test_a_death_before_the_end_of_a_turn_leaves_the_attempt_begun(turn):
    turn.scribe.begin(entry("a"))
    turn.scribe.flush()
    turn.scribe.book(entry("a"))
    turn.journal._unlock()
    found = Journal(turn.directory, "two", wall=lambda: NOW).open()
    assert (found.undelivered, [row.id for row in found.begun]) == ([], ["a"])


def test_a_row_is_written_as_it_was_told_to_who_booked_it(turn):
    told = [turn.scribe.book(entry(id)) for id in ("a", "b")]
    turn.scribe.begin(entry("c"))
    turn.scribe.flush()
    told.append(turn.scribe.book(entry("c")))
    turn.over()
    assert told == [encode(entry(id)) for id in ("a", "b", "c")]
    lines = (turn.directory / "2026-11-23.one.log").read_bytes().splitlines()
    assert [line[11:] for line in lines if line[9:10] == b"r"] == told


def test_a_row_that_no_text_can_say_is_complained_of_and_spoils_no_other(turn):
    with capture_logs() as logs:
        assert turn.scribe.book(entry("\ud800")) == b""
        turn.scribe.book(entry("a"))
        turn.over()
    assert [line["event"] for line in logs] == ["journal not written"]
    assert turn.written() == ["ra"]


def test_whoever_cannot_wait_for_the_end_of_the_turn_has_it_written_now(turn):
    turn.scribe.flush()
    turn.scribe.book(entry("a"))
    turn.scribe.flush()
    assert turn.written() == ["ra"]
    turn.over()
    assert turn.written() == ["ra"]


def test_what_cannot_be_written_is_said_once_and_nobody_is_stopped(turn):
    turn.journal.close()
    with capture_logs() as logs:
        turn.scribe.begin(entry("a"))
        turn.scribe.flush()
        turn.scribe.book(entry("b"))
        turn.scribe.book(entry("c"))
        turn.over()
    assert [(line["event"], line["why"]) for line in logs] == [
        ("journal not written", "the journal is not open"),
        ("journal not written", "the journal is not open"),
    ]


def test_without_a_journal_nothing_is_written_and_nothing_kept(tmp_path):
    turn = Turn(tmp_path)
    turn.scribe.book(entry("a"))
    turn.scribe.begin(entry("b"))
    turn.over()
    turn.open()
    turn.over()
    assert turn.written() == []
