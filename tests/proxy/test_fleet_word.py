"""What a replica has to say of a cell, when it is said late: in its order, at its times, and never too much of it."""

import msgspec
import pytest

from adapters.base import Failure, Kind
from proxy.fleet import word
from proxy.fleet.word import Posting, Word
from proxy.health import Cell, Outcome, Policy, Report
from proxy.health import cell as cells
from proxy.health.circuit import Circuit

POLICY = Policy(consecutive=3, least=1_000, cooldown=100.0, probes=2)
NOW = 1_000_000
ILL = Outcome(failure=Failure(Kind.TRANSIENT, "so it is"))
OK = Outcome(whole=100.0)


def seen(outcome: Outcome, at: int, probe: str | None = None) -> Report:
    return cells.report(outcome, "model", POLICY, at, probe)


def opened(since: int) -> Cell:
    return Cell(circuit=Circuit(opened=True, since=since, until=since + 100_000, cooldown=100_000, openings=1))


def test_a_posting_is_read_as_it_was_written() -> None:
    posting = Posting(cells.observed(opened(NOW), seen(OK, NOW), POLICY, NOW), {"a": NOW})
    assert word.decode(word.encode(posting)) == posting


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"cell": 1}', b"\xff"])
def test_what_is_no_posting_is_refused(text: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
        word.decode(text)


def test_places_that_were_given_count_where_the_circuit_is_as_it_was() -> None:
    said = Word(places={"p": NOW + 120_000}, since=NOW, report=seen(OK, NOW + 100_000, "p"))
    assert word.applied(opened(NOW), said, POLICY).circuit.passed == 1
    assert word.applied(opened(NOW + 50_000), said, POLICY).circuit.passed == 0
    closed = word.applied(Cell(circuit=Circuit(since=NOW)), said, POLICY)
    assert closed.circuit.probes == {}


def test_places_are_known_before_anything_is_heard_of_them() -> None:
    said = Word(places={"p": NOW + 120_000}, since=NOW)
    assert word.applied(opened(NOW), said, POLICY).circuit.probes == {"p": NOW + 120_000}


@pytest.mark.parametrize(("since", "failed"), [(NOW, 3), (NOW + 1, 0)], ids=["seen since it closed", "seen before"])
def test_what_was_seen_before_a_circuit_closed_is_only_counted(since: int, failed: int) -> None:
    report = seen(ILL, NOW).joined(seen(ILL, NOW)).joined(seen(ILL, NOW))
    cell = word.applied(Cell(circuit=Circuit(since=since)), Word(report=report), POLICY)
    assert cell.circuit.opened is bool(failed)
    assert cell.circuit.consecutive == failed
    assert cell.failed == 3


def test_what_only_counts_frees_the_places_of_its_probes() -> None:
    report = seen(OK, NOW, "p").joined(seen(ILL, NOW, "q")).joined(seen(Outcome(left=True), NOW, "r"))
    voided = word.voided(report)
    assert voided.tally.void == ("p", "q", "r")
    assert (voided.ok, voided.failed, voided.others) == (1, 1, 1)
    assert not voided.tally.ok + voided.tally.failed


@pytest.mark.parametrize(("since", "opened_"), [(NOW, False), (NOW + 1, True)], ids=["before it", "after it"])
def test_a_reset_closes_what_was_opened(since: int, opened_: bool) -> None:
    assert word.applied(opened(since), Word(reset=NOW), POLICY).circuit.opened is opened_


def test_what_waits_is_one_word_until_the_circuit_turns() -> None:
    words = word.with_report(word.with_report((), seen(OK, NOW)), seen(ILL, NOW))
    assert [said.report and (said.report.ok, said.report.failed) for said in words] == [(1, 1)]
    words = word.with_report(word.ended(words), seen(ILL, NOW))
    assert [said.report and (said.report.ok, said.report.failed) for said in words] == [(1, 1), (0, 1)]
    words = word.with_report(word.with_reset(words, NOW), seen(OK, NOW))
    assert [(said.reset, said.report is not None) for said in words] == [(0, True), (0, True), (NOW, True)]


def test_places_of_one_circuit_are_one_word() -> None:
    circuit = opened(NOW).circuit
    words = word.with_place(word.with_place((), "p", 1, circuit), "q", 2, circuit)
    assert words == (Word(places={"p": 1, "q": 2}, since=NOW),)


def test_of_very_many_words_the_oldest_only_count() -> None:
    words: tuple[Word, ...] = (Word(ended=True),)
    for turn in range(50):
        at = NOW + turn
        words = word.with_report(words, seen(Outcome(failure=Failure(Kind.MODEL, "")), at))
        words = word.ended(words)
        words = word.with_reset(words, at)
        words = word.ended(words)
    assert len(words) <= 9
    assert sum(said.report.failed for said in words if said.report) == 50
    first = words[0].report
    assert first is not None
    assert first.tally.failed <= 1
    assert words[-1].reset == NOW + 49
    assert max(said.reset for said in words[:2]) > NOW


def test_what_one_saw_alone_opens_nothing() -> None:
    trips = seen(Outcome(failure=Failure(Kind.MODEL, "")), NOW, "p")
    tally = word.alone(trips).tally
    assert (tally.failed, tally.tail, tally.trip, tally.flunked) == (1, 1, False, ())
