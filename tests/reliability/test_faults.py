"""A few faults, briefly: everybody is answered, or hears the right error. And the harness of `make faults` itself.

Nothing here asks how long it took: that is what `make faults` writes down.
"""

import argparse
import gzip
import random
from pathlib import Path
from typing import Any

import pytest

from tests.reliability import faults
from tests.reliability.ailments import AILMENTS, Ailment
from tests.reliability.crowd import Heard, arrivals, percentile, traced
from tests.reliability.report import page
from tests.reliability.ward import CONFIG, Cell, Siege, Ward, struck

ROOT = Path(__file__).resolve().parents[2]
NAMED = {ailment.name: ailment for ailment in AILMENTS}
HURRIED = CONFIG.replace("first_byte: 5, first_byte_plain: 5, idle: 5", "first_byte: 1, first_byte_plain: 1, idle: 1")
BRIEF = (
    "refuses connections", "resets connections", "500", "429, retry-after 30 s", "our key is refused",
    "hangs", "ends before the first part", "garbage", "stream breaks off after the first part",
)  # fmt: skip


@pytest.fixture(scope="module")
def ward():
    assert HURRIED != CONFIG
    with Ward.open(HURRIED) as ward:
        yield ward


@pytest.mark.parametrize("everyone", [False, True], ids=["the first candidate", "all candidates"])
@pytest.mark.parametrize("name", BRIEF)
async def test_a_client_hears_an_answer_or_the_right_error(ward, name, everyone):
    for stream in NAMED[name].forms:
        heard = await ward.cell(NAMED[name], stream=stream, everyone=everyone, rounds=1)
        cell = Cell(ailment=NAMED[name], stream=stream, everyone=everyone, heard=heard)
        assert len(heard) > 1
        assert cell.wrong == []


@pytest.mark.parametrize("name", ["refuses connections", "500", "hangs", "no quota left"])
async def test_all_are_answered_while_one_vendor_is_ill_and_few_notice(ward, name):
    ward.cure()
    siege = await ward.siege(NAMED[name], arrivals(2.5, 30, random.Random(7)), healthy=0.5, rate=30)
    assert siege.unanswered == {}
    assert len(siege.during) > 40
    assert 0 < siege.met < len(siege.during)
    assert len(siege.opened) == 1


async def test_the_cure_lets_the_first_candidate_answer_again(ward):
    ward.cure()
    heard = await ward.cell(None, stream=False, everyone=False, rounds=1)
    assert {one.provider for one in heard} == {"openai"}


def test_the_document_has_each_fault():
    """`make faults` writes it; it does not follow by itself."""
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert [name for name in NAMED if f"| {name} |" not in text] == []


def heard(**said: Any) -> Heard:
    usual = {"stream": False, "sent": 1.0, "status": 200, "text": "alpha", "finish": "stop", "first": 5.0}
    return Heard(**{**usual, **said})


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        pytest.param({}, True, id="a whole answer"),
        pytest.param({"stream": True, "done": True}, True, id="a whole stream"),
        pytest.param({"stream": True}, False, id="a stream without its end"),
        pytest.param({"text": ""}, False, id="nothing said"),
        pytest.param({"finish": None}, False, id="half an answer"),
        pytest.param({"code": "upstream_timeout"}, False, id="an error at the end"),
        pytest.param({"broken": "ClientPayloadError"}, False, id="a broken connection"),
        pytest.param({"status": 503}, False, id="an error"),
    ],
)
def test_only_a_whole_answer_is_an_answer(said, answered):
    assert heard(**said).answered is answered


ILL = Ailment(name="ill", fault="status", error=(502, "a", "b"))
LATE = Ailment(name="late", fault="cut", error=(502, "a"), late=True)
SLOW = Ailment(name="slow", fault="slow")
REFUSED = {"status": 502, "text": "", "finish": None, "code": "b", "message": "why"}


@pytest.mark.parametrize(
    ("ailment", "everyone", "said", "right"),
    [
        pytest.param(ILL, False, {}, True, id="one ill, and an answer"),
        pytest.param(ILL, False, REFUSED, False, id="one ill, and an error"),
        pytest.param(ILL, True, REFUSED, True, id="all ill, and an error"),
        pytest.param(ILL, True, {**REFUSED, "status": 500}, False, id="all ill, and another status"),
        pytest.param(ILL, True, {**REFUSED, "code": "c"}, False, id="all ill, and another code"),
        pytest.param(ILL, True, {**REFUSED, "message": ""}, False, id="all ill, and no word of why"),
        pytest.param(ILL, True, {}, False, id="all ill, and an answer"),
        pytest.param(SLOW, True, {}, True, id="all slow, and an answer"),
        pytest.param(LATE, False, {"stream": True, "finish": None, "code": "a"}, True, id="broken late, and an error"),
        pytest.param(LATE, False, {"stream": True, "finish": None}, False, id="broken late, and silence"),
        pytest.param(LATE, False, {"stream": True, "code": "a", "done": True}, False, id="broken late, and [DONE]"),
    ],
)
def test_what_is_right_depends_on_who_is_ill(ailment, everyone, said, right):
    cell = Cell(ailment=ailment, stream=False, everyone=everyone, heard=[heard(**said)])
    assert (cell.wrong == []) is right


def test_only_attempts_at_the_first_candidate_count_as_met():
    attempts = [{"provider": "openai", "outcome": "transient"}, {"provider": "gemini", "outcome": "ok"}]
    assert struck({"attempts": attempts})
    assert not struck({"attempts": attempts[1:]})
    assert not struck({"attempts": [{"provider": "openai", "outcome": "ok"}]})
    assert not struck({})


def siege(ailment: Ailment = ILL, elsewhere: int = 0, **said: Any) -> Siege:
    before = [heard(first=2.0)] * 4
    during = [heard(sent=2.0, first=900.0), heard(sent=4.0, first=12.0), heard(sent=5.0, **said)]
    counts = {"rate": 50, "met": 1, "elsewhere": elsewhere}
    return Siege(ailment=ailment, began=1.5, before=before, during=during, opened=[3.0], **counts)


def test_the_page_tells_what_was_measured():
    cell = Cell(ailment=ILL, stream=False, everyone=False, heard=[heard(first=7.0)] * 2)
    everyone = Cell(ailment=ILL, stream=False, everyone=True, heard=[heard(**REFUSED), heard()])
    late = Cell(ailment=LATE, stream=True, everyone=False, heard=[heard(stream=True, code="a", total=8.0)])
    pairs = [(one, [heard(first=4.0)]) for one in (cell, everyone, late)]
    text = page(pairs, [siege(elsewhere=2), siege(LATE, code="a")], seconds=60, healthy=10)
    assert "| ill | whole | 2/2 answered | 3 ms | 3 ms | 502 `b`, answered, 1 wrong |" in text
    assert "| late | 1/1 right | 200 `a` | 8 ms |" in text
    assert "| ill | 3/3 = 100 % | 1 | 1, 2 elsewhere | 10 ms | 898 ms | 900 ms |" in text
    assert "| late | 2/3 = 66.666 %; 1 `a` | 1 | 1 | 10 ms | 898 ms | 900 ms |" in text


def test_what_should_not_be_is_complained_of():
    cell = Cell(ailment=ILL, stream=True, everyone=True, heard=[heard()])
    assert list(faults.complaints([(cell, [])], [siege(), siege(LATE, code="a")])) == [
        "ill, stream, all: 1 of 1 wrong: 200 None None "
    ]
    assert list(faults.complaints([], [siege(code="a")])) == ["ill: 66.6667% answered: {'a': 1}"]


def test_clients_come_as_often_as_told_and_the_same_in_each_run():
    times = arrivals(60, 50, random.Random(1))
    assert times == arrivals(60, 50, random.Random(1)) == sorted(times)
    assert 2_800 < len(times) < 3_200
    assert 0 < times[0] < times[-1] < 60


@pytest.mark.parametrize(
    ("name", "column", "moment"),
    [("t.csv", "TIMESTAMP", "2023-11-16 18:15:{:02}.6805900"), ("t.csv.gz", "seconds", "{}.000")],
)
def test_a_trace_is_run_faster_until_it_has_the_rate(tmp_path, name, column, moment):
    file = tmp_path / name
    lines = [f"{column},tokens", *(f"{moment.format(second)},44" for second in range(0, 50, 10))]
    text = "\n".join(lines).encode()
    file.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert traced(file, 100, 0.25) == pytest.approx([0, 5, 10, 15, 20])
    assert traced(file, 12, 0.25) == pytest.approx([0, 5, 10])


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [([], 0.5, None), ([3.0], 0.99, 3.0), ([4, 1, 3, 2], 0.5, 3), (range(200), 0.99, 198)],
)
def test_percentiles_are_values_that_were_seen(values, part, expected):
    assert percentile(values, part) == expected


def test_the_command_line_has_defaults_for_the_document():
    given = faults.arguments([])
    assert (given.seconds, given.rate, given.output) == (60, 50, ROOT / "docs" / "reliability.md")
    assert faults.arguments(["--only", "hang", "--only", "cut"]).only == ["hang", "cut"]
    assert isinstance(given, argparse.Namespace)
