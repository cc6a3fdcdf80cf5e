"""From when, until when: each way to write it, by tables; what holds for all of them, by hypothesis."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.desk.window import DAY, Edge, Window, at, duration, since, span, until, window
from proxy.stats import iso

NOW = 1_795_442_706_789  # 2026-11-23T14:05:06.789Z
MIDNIGHT = 1_795_392_000_000
HOUR, MINUTE = 3_600_000, 60_000
moments = st.integers(min_value=0, max_value=4_102_444_800_000)  # to 2100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1s", 1_000),
        ("90s", 90_000),
        ("15m", 15 * MINUTE),
        ("24h", 24 * HOUR),
        ("7d", 7 * DAY),
        ("2w", 14 * DAY),
        ("999999s", 999_999_000),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text, expected):
    assert duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "7", "d", "7 d", "-7d", "7D", "1.5h", "0h", "1h30m", "7days", "1000000s", "٣d", "7d\n", "1y"]
)
def test_what_is_no_duration_is_told_with_what_would_be_one(text):
    with pytest.raises(ValueError, match=r"expected a time such as 90s, 15m, 24h, 7d or 2w; got "):
        duration(text)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        pytest.param("1h", NOW - HOUR, id="an hour ago, exactly"),
        pytest.param("24h", NOW - 24 * HOUR, id="24 hours ago, exactly: not the beginning of a day"),
        pytest.param("90m", NOW - 90 * MINUTE, id="minutes"),
        pytest.param("30s", NOW - 30_000, id="seconds"),
        pytest.param("1d", MIDNIGHT, id="one day is today"),
        pytest.param("7d", MIDNIGHT - 6 * DAY, id="seven days, today among them"),
        pytest.param("1w", MIDNIGHT - 6 * DAY, id="a week is seven days"),
        pytest.param("999999d", 0, id="more days than there were"),
        pytest.param("999999h", 0, id="more hours than there were"),
        pytest.param("2026-11-23", MIDNIGHT, id="the beginning of a day"),
        pytest.param("1970-01-01", 0, id="the first day there is"),
        pytest.param("2026-11-23T14:05Z", MIDNIGHT + 14 * HOUR + 5 * MINUTE, id="a moment"),
        pytest.param("2026-11-23T14:05", MIDNIGHT + 14 * HOUR + 5 * MINUTE, id="a moment without a zone is UTC"),
        pytest.param("2026-11-23 14:05:06.789Z", NOW, id="a moment as the ledger writes it"),
        pytest.param("2026-11-23T15:05:06+01:00", NOW - 789, id="a moment of another zone"),
    ],
)
def test_since_is_a_time_ago_a_day_or_a_moment(text, start):
    assert since(text).resolve(NOW) == start


@pytest.mark.parametrize(
    ("text", "end"),
    [
        pytest.param("2h", NOW - 2 * HOUR, id="two hours ago"),
        pytest.param("2026-11-23", MIDNIGHT + DAY, id="the end of that day"),
        pytest.param("2026-11-23T00:00Z", MIDNIGHT, id="a moment is itself"),
        pytest.param("9999-12-31", 253_402_300_800_000, id="the end of the last day there is"),
    ],
)
def test_until_is_a_time_ago_the_end_of_a_day_or_a_moment(text, end):
    assert until(text).resolve(NOW) == end


@pytest.mark.parametrize("read", [since, until])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11",
        "2026-13-01",
        "2026-02-30",
        "1969-12-31",
        "20261123",
        "2026-W48-1",
        "2026-11-23T25:00Z",
        "2026-11-23T14:05+99:00",
        "0001-01-01T00:00+14:00",
        "1970-01-01T00:00+00:01",
        "2026-11-23Z",
        "٢٠٢٦-11-23",
        "2026-11-23\n",
    ],
)
def test_what_is_no_time_is_told_with_what_would_be_one(read, text):
    with pytest.raises(ValueError, match=r"expected a time such as .*, a day \(2026-11-23\) or a moment"):
        read(text)


@pytest.mark.parametrize("text", ["7d", "1w"])
def test_until_takes_no_days_as_nobody_knows_which_end_is_meant(text):
    with pytest.raises(ValueError, match="expected a time such as 90m or 2h, a day"):
        until(text)


def test_a_word_that_is_wrong_is_not_repeated_at_length():
    with pytest.raises(ValueError, match="got") as caught:
        since("x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("first", "last", "days", "whole"),
    [
        pytest.param(None, None, {}, True, id="neither"),
        pytest.param(
            "2026-11-01", "2026-11-02", {"start_date": "2026-11-01", "end_date": "2026-11-02"}, True,
            id="days",
        ),
        pytest.param("7d", None, {"start_date": "2026-11-17"}, True, id="seven days"),
        pytest.param("1h", None, {"start_date": "2026-11-23"}, False, id="an hour of today"),
        pytest.param("15h", None, {"start_date": "2026-11-22"}, False, id="hours from yesterday on"),
        pytest.param(None, "2h", {"end_date": "2026-11-23"}, False, id="until two hours ago"),
        pytest.param(
            "2026-11-22T10:00Z", "2026-11-23T00:00Z", {"start_date": "2026-11-22", "end_date": "2026-11-22"}, False,
            id="up to midnight, which is not of the next day",
        ),
        pytest.param(
            "2026-11-22T10:00Z", "2026-11-23T00:01Z", {"start_date": "2026-11-22", "end_date": "2026-11-23"}, False,
            id="a minute of the next day",
        ),
        pytest.param(None, "1970-01-01T00:00Z", {"end_date": "1970-01-01"}, True, id="nothing at all"),
    ],
)  # fmt: skip
def test_the_days_that_hold_it_are_asked_for(first, last, days, whole):
    found = window(first and since(first), last and until(last), NOW)
    assert (found.days, found.whole) == (days, whole)


@pytest.mark.parametrize(
    ("first", "last"), [("2026-11-23", "2026-11-22"), ("1h", "2h"), ("1h", "1h"), ("2026-11-24", "1h")]
)
def test_a_window_that_ends_before_it_begins_is_refused(first, last):
    with pytest.raises(ValueError, match="--since: it is not before --until"):
        window(since(first), until(last), NOW)


def test_only_what_counts_from_now_needs_a_clock():
    assert [since(text).relative for text in ("1h", "7d", "2026-11-23", "2026-11-23T14:05Z")] == [
        True,
        True,
        False,
        False,
    ]


@given(moments, moments, moments)
def test_what_a_window_holds_lies_in_the_days_that_are_asked_for(start, length, moment):
    found = Window(start, start + length + 1)
    first, last = found.days["start_date"], found.days["end_date"]
    if found.holds(moment):
        assert first <= iso(moment)[:10] <= last
    assert found.holds(start)
    assert not found.holds(start + length + 1)
    assert first == iso(start)[:10]
    assert last == iso(start + length)[:10]


@given(moments)
def test_a_moment_of_the_ledger_is_read_as_it_was_written(moment):
    assert at(iso(moment)) == moment
    assert since(iso(moment)) == Edge(at=moment)


@given(st.dates(min_value=datetime(1970, 1, 1).date()))
def test_a_day_lasts_until_the_next_one(day):
    begin = since(day.isoformat()).at
    assert until(day.isoformat()).at == begin + DAY
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=begin) == datetime(
        day.year, day.month, day.day, tzinfo=UTC
    )


@given(st.text(max_size=30))
def test_whatever_is_written_is_read_or_refused(text):
    for read in (duration, since, until):
        try:
            read(text)
        except ValueError as error:
            assert "expected" in str(error)  # noqa: PT017  # that it is refused is one of two good ends


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (-5, "0s"),
        (999, "0s"),
        (45_000, "45s"),
        (59_999, "59s"),
        (60_000, "1m"),
        (HOUR - 1, "59m"),
        (HOUR, "1h"),
        (3 * HOUR + 5 * MINUTE, "3h 5m"),
        (DAY - 1, "23h 59m"),
        (DAY, "1d"),
        (2 * DAY + 4 * HOUR + 59 * MINUTE, "2d 4h"),
        (400 * DAY, "400d"),
    ],
)
def test_how_long_that_is_in_two_units_at_most(length, said):
    assert span(length) == said
