"""Whether a model has stopped to answer: by those who wait, before the first of them is given up."""

import math

import pytest

from proxy.fleet.waiting import Sent, Waiting, patience, stalled
from proxy.health import Cell
from proxy.health.pace import Sketch, sketch

NEVER = -math.inf


def sent(at: float, first_byte: float = 60.0, *, stream: bool = True) -> Sent:
    return Sent(at, first_byte, stream)


@pytest.mark.parametrize(
    ("oldest", "answered", "expected"),
    [
        pytest.param((), NEVER, False, id="nobody waits"),
        pytest.param((0, 1), NEVER, False, id="two that wait for long are no proof"),
        pytest.param((0, 1, 2), NEVER, True, id="three that wait for long are"),
        pytest.param((0, 1, 2, 99), NEVER, True, id="and a new one does not change it"),
        pytest.param((0, 1, 95), NEVER, False, id="the third does not wait for long yet"),
        pytest.param((0, 1, 90), NEVER, False, id="nor when it waits for exactly so long as may be"),
        pytest.param((0, 1, 89), NEVER, True, id="but then"),
        pytest.param((5, 6, 7), 4, True, id="somebody was answered before they were sent"),
        pytest.param((5, 6, 7), 6, False, id="somebody was answered since the first of them was sent"),
        pytest.param((5, 6, 7), 5, False, id="or just then"),
    ],
)
def test_a_model_is_stalled_when_three_wait_in_vain(oldest: tuple[float, ...], answered: float, expected: bool) -> None:
    usual = Cell(first=times(1.0))  # then patience is ten seconds
    assert stalled([sent(at) for at in oldest], answered, 100.0, usual) is expected


def times(seconds: float, many: int = 100) -> Sketch:
    """The same time again and again; it is kept to within 5 %."""
    return Sketch({bucket: many for bucket in sketch([seconds * 1000]).counts})


@pytest.mark.parametrize(
    ("cell", "waits", "expected"),
    [
        pytest.param(Cell(), sent(0), 30.0, id="nothing is known: half of the timeout"),
        pytest.param(Cell(), sent(0, 180.0), 90.0, id="and a model that thinks has a longer one"),
        pytest.param(Cell(first=times(1.0)), sent(0), 10.0, id="three times of what is quick is never too little"),
        pytest.param(Cell(first=times(5.0)), sent(0), 15.0, id="three times of what is usual"),
        pytest.param(Cell(first=times(50.0)), sent(0), 30.0, id="never so long that the timeout comes first"),
        pytest.param(Cell(first=times(1.0)), sent(0, 2.0), 1.0, id="nor when the timeout is short"),
        pytest.param(Cell(whole=times(5.0)), sent(0, stream=False), 15.0, id="answers that do not stream"),
        pytest.param(Cell(first=times(1.0), whole=times(9.0)), sent(0, stream=False), 27.0, id="are not streams"),
        pytest.param(Cell(first=times(1.0, 19)), sent(0), 30.0, id="few that stream"),
        pytest.param(Cell(first=times(5.0, 20)), sent(0), 15.0, id="enough that stream"),
    ],
)
def test_patience_is_a_multiple_of_what_is_usual(cell: Cell, waits: Sent, expected: float) -> None:
    assert patience(cell, waits) == pytest.approx(expected, rel=0.06)


USUAL = Cell(first=times(1.0))


def test_those_that_wait_are_those_neither_answered_nor_ended() -> None:
    waiting = Waiting()
    requests = [sent(number) for number in range(5)]
    for one in requests:
        waiting.begin(one)
    assert waiting.in_flight == 5
    waiting.end(requests[0])
    waiting.answered(requests[1], 1.5)
    assert waiting.in_flight == 4
    assert waiting.stalled(USUAL, 20.0)
    waiting.end(requests[1])
    waiting.end(requests[2])
    assert waiting.in_flight == 2
    assert not waiting.stalled(USUAL, 20.0)


def test_one_answer_is_enough_for_all() -> None:
    waiting = Waiting()
    requests = [sent(0) for _ in range(4)]
    for one in requests:
        waiting.begin(one)
    waiting.answered(requests[3], 1.0)
    assert not waiting.stalled(USUAL, 50.0)


def test_an_answer_after_the_end_is_none() -> None:
    waiting = Waiting()
    requests = [sent(0) for _ in range(4)]
    for one in requests:
        waiting.begin(one)
    waiting.end(requests[3])
    waiting.answered(requests[3], 1.0)
    assert waiting.stalled(USUAL, 50.0)


@pytest.mark.parametrize(
    ("first_byte", "now", "expected"),
    [(60.0, 10.0, False), (60.0, 10.1, True), (2.0, 1.0, False), (2.0, 1.1, True)],
    ids=["as long as it may", "longer", "a short timeout", "longer than half of it"],
)
def test_the_least_patience_is_ten_seconds_or_half_the_timeout(first_byte: float, now: float, expected: bool) -> None:
    waiting = Waiting()
    for _ in range(3):
        waiting.begin(sent(0, first_byte))
    assert waiting.stalled(USUAL, now) is expected


def test_who_is_usually_slow_is_given_its_time() -> None:
    waiting = Waiting()
    for _ in range(3):
        waiting.begin(sent(0))
    slow = Cell(first=times(5.0))
    assert not waiting.stalled(slow, 13.0)
    assert waiting.stalled(slow, 17.0)
