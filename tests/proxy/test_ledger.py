"""Windows, names and rows: whatever is said of spending later stands on these."""

import calendar
import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Usage
from proxy.ledger import ALL, DIMENSIONS, WINDOWS, Counter, Entry, decode, encode, end, labels, name, ordered

FULL = Entry(
    id="req_1/2",
    request="req_1",
    at=1_795_348_800_123,
    provider="anthropic",
    model="claude",
    served="claude-2026",
    asked='my "alias"\n',
    key="k\0",
    user="ü 🌍",
    agent="bot",
    stream=True,
    status=429,
    code="rate_limited",
    last=False,
    usage=Usage(in_text=3, out_reasoning=9_000_000_000_000_000),
    tier="flex",
    cost=9_007_199_254_740_993,  # no double holds it
    held=2**62,
    unproven=1,
    estimated=True,
    orphan=True,
    price="2026-11@abc",
    first=0.1,
    total=12.75,
)
BARE = Entry(id="req_1/1", request="req_1", provider="openai", model="gpt")


def milli(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("time", "day", "month"),
    [
        ("1970-01-01T00:00:00", "day:1970-01-01", "month:1970-01"),
        ("2026-11-22T23:59:59.999", "day:2026-11-22", "month:2026-11"),
        ("2026-11-23T00:00:00", "day:2026-11-23", "month:2026-11"),
        ("2026-11-30T23:59:59.999", "day:2026-11-30", "month:2026-11"),
        ("2026-12-31T23:59:59.999", "day:2026-12-31", "month:2026-12"),
        ("2027-01-01T00:00:00", "day:2027-01-01", "month:2027-01"),
        ("2028-02-29T12:00:00", "day:2028-02-29", "month:2028-02"),
    ],
)
def test_a_time_lies_in_one_day_and_one_month_of_utc(time: str, day: str, month: str) -> None:
    assert labels(milli(time)) == (day, month)
    assert [label.partition(":")[0] for label in labels(milli(time))] == list(WINDOWS)


@pytest.mark.parametrize("zone", ["UTC", "EAST-14", "WEST+12"])
def test_windows_are_those_of_utc_wherever_the_machine_stands(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        context.setenv("TZ", zone)
        time.tzset()
        assert labels(milli("2026-11-30T12:00:00")) == ("day:2026-11-30", "month:2026-11")
        assert end("month:2026-11") == milli("2026-12-01T00:00:00")
    time.tzset()


@pytest.mark.parametrize(
    ("label", "time"),
    [
        ("day:2026-11-23", "2026-11-24T00:00:00"),
        ("day:2026-12-31", "2027-01-01T00:00:00"),
        ("day:2028-02-28", "2028-02-29T00:00:00"),
        ("month:2026-02", "2026-03-01T00:00:00"),
        ("month:2026-11", "2026-12-01T00:00:00"),
        ("month:2026-12", "2027-01-01T00:00:00"),
    ],
)
def test_a_window_ends_where_the_next_begins(label: str, time: str) -> None:
    assert end(label) == milli(time)


@given(st.integers(0, milli("9998-12-31T00:00:00")))
def test_a_time_is_within_its_windows_to_the_millisecond(at: int) -> None:
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
    lengths = (1, calendar.monthrange(time.year, time.month)[1])
    for label, days in zip(labels(at), lengths, strict=True):
        assert end(label) - days * 86_400_000 <= at < end(label)
        assert label in labels(end(label) - 1)
        assert label not in labels(end(label))


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        (None, ""),
        (7, ""),
        (["ann"], ""),
        ("", ""),
        ("  ", ""),
        (" ann\n", "ann"),
        ("Ann Ö. 🌍", "Ann Ö. 🌍"),
        ("a\0b\x1b[31m\u202ec", "a?b?[31m?c"),
        ("\ud800", "?"),
        ("*", "*"),
        ("x" * 128, "x" * 128),
        (" " + "x" * 128 + " ", "x" * 128),
    ],
)
def test_a_name_is_counted_as_it_can_be_printed(said: object, counted: str) -> None:
    assert name(said) == counted


def test_a_name_that_is_too_long_is_told_by_its_beginning_and_its_digest() -> None:
    one, other = name("x" * 129), name("x" * 130)
    assert one != other
    assert one[:111] == other[:111] == "x" * 111
    assert one[111] == "~"
    assert len(one) == len(other) == 128


@given(st.text(st.characters(), max_size=300) | st.integers() | st.none())
def test_a_name_is_short_and_printable_whatever_was_said(said: object) -> None:
    counted = name(said)
    assert len(counted) <= 128
    assert all(c.isprintable() for c in counted)
    assert name(counted) == counted
    counted.encode()


def test_a_row_counts_in_all_of_the_traffic_and_once_per_dimension() -> None:
    assert FULL.scopes == ("all", "provider=anthropic", "model=claude", "key=k\0", "user=ü 🌍", "agent=bot")
    assert BARE.scopes == (ALL, "provider=openai", "model=gpt", "key=", "user=", "agent=")
    assert len(FULL.scopes) == len(DIMENSIONS)
    teamed = msgspec.structs.replace(FULL, team="red")
    assert teamed.scopes == (*FULL.scopes, "team=red")


@pytest.mark.parametrize("row", [FULL, BARE], ids=["full", "bare"])
def test_a_row_is_one_line_and_the_same_row_again(row: Entry) -> None:
    line = encode(row)
    assert b"\n" not in line
    assert decode(line) == decode(line.decode()) == row


def test_what_is_not_said_of_a_row_is_not_written() -> None:
    assert set(msgspec.json.decode(encode(BARE))) <= {"id", "request", "provider", "model", "usage"}
    assert decode(b'{"id":"a","request":"r","provider":"p","model":"m"}').cost is None


def test_rows_of_a_later_version_are_read_and_no_rows_are_not() -> None:
    assert decode(b'{"id":"a","request":"r","provider":"p","model":"m","new":1}').id == "a"
    for line in (b"", b"{", b'{"id":"a"}', b'{"id":1,"request":"r","provider":"p","model":"m"}'):
        with pytest.raises(msgspec.DecodeError):
            decode(line)


def test_no_two_rows_share_their_usage() -> None:
    BARE.usage.in_text += 1
    assert Entry(id="b", request="b", provider="p", model="m").usage.in_text == 0
    BARE.usage.in_text -= 1


def test_an_export_is_ordered_by_time_and_then_by_id() -> None:
    rows = [msgspec.structs.replace(BARE, id=id, at=at) for at, id in ((2, "a"), (1, "b"), (1, "Z"), (1, "a"))]
    assert [(row.at, row.id) for row in ordered(rows)] == [(1, "Z"), (1, "a"), (1, "b"), (2, "a")]
    assert ordered(rows[::-1]) == ordered(rows)


def test_what_is_unproven_is_used_and_what_is_held_is_not() -> None:
    assert Counter(spent=1, held=2, unproven=4).used == 5
