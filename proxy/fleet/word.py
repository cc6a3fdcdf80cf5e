"""What this replica has to say of a cell, and what becomes of a cell when it is said. Pure.

A word ends with each turn of the circuit, so that words that are said late, one after the other, repeat what happened
in its order and at its times: an opening and the recovery after it do not become one heap of failures and successes.
"""

import msgspec

from proxy.health import Cell, Policy, Report
from proxy.health import cell as cells
from proxy.health.circuit import Circuit, Tally

_MOST = 8  # words that wait; older ones only count


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """First `reset`, then `places`, then `report`. Milliseconds of the shared clock."""

    reset: int = 0  # closed by hand then
    places: dict[str, int] = {}  # that were given to probes without asking the board, and until when
    since: int = 0  # of the circuit that gave them
    report: Report | None = None
    ended: bool = False  # the circuit has turned: what comes is another word


class Posting(msgspec.Struct, frozen=True, omit_defaults=True):
    """A cell as it stands on the board. `said`: by replica, the mark of the last of its words that is in it.

    So whoever does not know whether a pin was done learns it from whatever stands there later.
    """

    cell: Cell
    said: dict[str, int] = {}


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Posting).decode  # raises `msgspec.MsgspecError` for what another version has written


def applied(cell: Cell, word: Word, policy: Policy) -> Cell:
    """The cell, once this is said. What happened before the circuit last turned says nothing of it any more."""
    if word.reset and word.reset >= cell.circuit.since:
        cell = cells.reset(cell, word.reset)
    circuit = cell.circuit
    if word.places and circuit.opened and circuit.since == word.since:
        circuit = msgspec.structs.replace(circuit, probes={**circuit.probes, **word.places})
        cell = msgspec.structs.replace(cell, circuit=circuit)
    if word.report is None:
        return cell
    late = circuit.since > word.report.tally.at
    return cells.observed(cell, voided(word.report) if late else word.report, policy, word.report.tally.at)


def voided(report: Report) -> Report:
    """Without what it says to the circuit: it is only counted. The places of its probes are free."""
    tally = report.tally
    return msgspec.structs.replace(report, tally=Tally(at=tally.at, void=tally.passed + tally.flunked + tally.void))


def with_report(words: tuple[Word, ...], report: Report) -> tuple[Word, ...]:
    """What was seen, after all that waits."""
    words, last = _open(words)
    report = report if last.report is None else last.report.joined(report)
    return (*words, msgspec.structs.replace(last, report=report))


def with_place(words: tuple[Word, ...], probe: str, until: int, circuit: Circuit) -> tuple[Word, ...]:
    """A place that was given, after all that waits."""
    words, last = _open(words)
    return (*words, msgspec.structs.replace(last, places={**last.places, probe: until}, since=circuit.since))


def with_reset(words: tuple[Word, ...], now: int) -> tuple[Word, ...]:
    """Closed by hand, after all that waits."""
    return (*_fewer(words), Word(reset=now))


def ended(words: tuple[Word, ...]) -> tuple[Word, ...]:
    """The circuit has turned."""
    return (*words[:-1], msgspec.structs.replace(words[-1], ended=True))


def _open(words: tuple[Word, ...]) -> tuple[tuple[Word, ...], Word]:
    if words and not words[-1].ended:
        return words[:-1], words[-1]
    return _fewer(words), Word()


def _fewer(words: tuple[Word, ...]) -> tuple[Word, ...]:
    """Room for one more: of the oldest only the counts are kept."""
    if len(words) < _MOST:
        return words
    first, second, *later = words
    report = second.report
    if first.report is not None:
        report = voided(first.report).joined(report or Report())
    return (msgspec.structs.replace(second, reset=max(first.reset, second.reset), report=report), *later)


def alone(report: Report) -> Report:
    """As a circuit hears it that nothing opens and that gives no places: for what one replica alone has seen."""
    tally = report.tally
    return msgspec.structs.replace(
        report, tally=Tally(ok=tally.ok, failed=tally.failed, tail=tally.tail, at=tally.at, why=tally.why)
    )
