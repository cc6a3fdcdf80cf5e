"""Sums that agree: of rows, of counters, of what is shown one by one and what is shown as one."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Usage
from proxy.budget import EACH, Budget, limits, settled
from proxy.cost import NANO
from proxy.export import as_csv
from proxy.ledger import DIMENSIONS, OPTIONAL, Counter, Entry, labels
from proxy.stats import KINDS, TOP, Stats, iso, summary, usd

NOON = 1_795_435_200_000  # 2026-11-23T12:00:00Z
DAY, HOUR = 86_400_000, 3_600_000
TODAY, MONTH = labels(NOON)


def entry(number: int = 1, **fields: Any) -> Entry:
    usual: dict[str, Any] = {"at": NOON, "provider": "openai", "model": "gpt-4o", "status": 200, "cost": 1}
    return Entry(id=f"req_{number:06}/1", request=f"req_{number:06}", **{**usual, **fields})


def stats_of(rows: Iterable[Entry], **options: Any) -> dict[str, Any]:
    stats = Stats(**options)
    for row in rows:
        stats.add(row)
    return stats.to_json()


def nano(decimal: str) -> int:
    return int(Decimal(decimal) * NANO)


# What happened: a row in the end, what was held for it, and what it was charged as an orphan before, if it was one.
Event = tuple[Entry, int, int | None]
AMOUNTS = st.integers(0, 10**12)
USAGES = st.builds(Usage, **{bucket: st.integers(0, 3) for bucket in Usage.__struct_fields__})
ENTRIES = st.builds(
    Entry,
    id=st.just(""),
    request=st.just(""),
    at=st.integers(NOON - 22 * DAY - 12 * HOUR, NOON + 7 * DAY + 12 * HOUR - 1),
    provider=st.sampled_from(["openai", "anthropic"]),
    model=st.sampled_from(["gpt-4o", "a=b", ""]),
    key=st.sampled_from(["", "team"]),
    user=st.sampled_from(["", "alice", "=1+1", "*", "others"]),
    agent=st.text(max_size=2),
    team=st.sampled_from(["", "red"]),
    status=st.sampled_from([0, 200, 429, 503]),
    code=st.sampled_from([None, "budget_exceeded"]),
    last=st.booleans(),
    usage=USAGES,
    cost=st.none() | AMOUNTS,
    unproven=AMOUNTS,
    estimated=st.booleans(),
    orphan=st.booleans(),
    first=st.none() | st.floats(0, 10**6),
    total=st.floats(0, 10**6),
    score=st.none() | st.floats(-1, 1),
)
EVENTS = st.lists(st.tuples(ENTRIES, AMOUNTS, st.none() | AMOUNTS), max_size=12).map(
    lambda events: [
        (msgspec.structs.replace(row, id=f"req_{number}/1", request=f"req_{number}"), *rest)
        for number, (row, *rest) in enumerate(events)
    ]
)
BUDGETS = (
    Budget(limit=5 * NANO, window="day"),
    Budget(limit=50 * NANO, window="month"),
    Budget(limit=NANO, window="month", dimension="user", value="alice"),
    Budget(limit=2 * NANO, window="month", dimension="user", value=EACH),
    Budget(limit=3 * NANO, window="day", dimension="model", value=EACH),
)


def count(events: Iterable[Event]) -> dict[str, dict[str, Counter]]:
    """The counters that a store comes to."""
    counters: dict[str, dict[str, Counter]] = defaultdict(lambda: defaultdict(Counter))
    for row, held, charged in events:
        orphan = None if charged is None else msgspec.structs.replace(row, cost=charged, unproven=0, orphan=True)
        acts = [Counter(held=held)]
        acts += [settled(row, held)] if orphan is None else [settled(orphan, held), settled(row, 0, orphan)]
        for act in acts:
            for label in labels(row.at):
                for scope in row.scopes:
                    counter = counters[label][scope]
                    counter.spent += act.spent
                    counter.held += act.held
                    counter.unproven += act.unproven
    return counters


async def exported(rows: Sequence[Entry]) -> list[dict[str, str]]:
    async def pages() -> AsyncIterator[Sequence[Entry]]:
        left = iter(rows)
        while page := list(islice(left, 5)):
            yield page

    text = b"".join([chunk async for chunk in as_csv(pages())]).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def spent_by(shown: dict[str, Any], money: str) -> dict[str, tuple[int, int]]:
    """What is said of each value, if there was anything to say."""
    assert shown["others"] is None
    said = {row["value"]: (nano(row[money]), nano(row["unproven_usd"])) for row in shown["top"]}
    return {value: sums for value, sums in said.items() if any(sums)}


@settings(deadline=None)
@given(EVENTS)
async def test_counters_rows_and_the_export_agree_to_the_nano_dollar(events):
    rows = [row for row, _, _ in events]
    counters = count(events)
    stats = stats_of(rows)
    told = summary(BUDGETS, NOON, counters[TODAY], counters[MONTH])
    assert told["this_month"]["spent_usd"] == stats["totals"]["cost_usd"]
    assert told["this_month"]["unproven_usd"] == stats["totals"]["unproven_usd"]
    assert told["this_month"]["held_usd"] == told["today"]["held_usd"] == "0"
    days = {day["start"]: day for day in stats["over"]["day"]}
    today = days.get("2026-11-23", {"cost_usd": "0", "unproven_usd": "0"})
    assert (told["today"]["spent_usd"], told["today"]["unproven_usd"]) == (today["cost_usd"], today["unproven_usd"])
    for dimension in DIMENSIONS:
        of_rows = spent_by(stats["by"][dimension], "cost_usd")
        if dimension in OPTIONAL:
            of_rows.pop("", None)  # the rows that have none are a cell; a counter of them there is not
        assert spent_by(told["this_month"]["by"][dimension], "spent_usd") == of_rows
    lines = await exported(rows)
    assert sum(int(line["cost_nano"] or 0) for line in lines) == nano(stats["totals"]["cost_usd"])
    assert sum(Decimal(line["cost_usd"] or 0) for line in lines) == Decimal(stats["totals"]["cost_usd"])
    assert sum(int(line["unproven_nano"]) for line in lines) == nano(stats["totals"]["unproven_usd"])
    for kind, total in stats["totals"]["usage"].items():
        assert sum(int(line[kind]) for line in lines) == total


SUMS = {
    "requests": lambda row: row.last,
    "errors": lambda row: row.last and (row.status >= 400 or row.code is not None),
    "attempts": lambda row: 1,
    "unpriced_attempts": lambda row: row.cost is None and row.usage != Usage(),
    "estimated_attempts": lambda row: row.estimated,
    "orphan_attempts": lambda row: row.orphan,
    "cost_usd": lambda row: row.cost or 0,
    "unproven_usd": lambda row: row.unproven,
    "estimated_cost_usd": lambda row: (row.cost or 0) if row.estimated else 0,
    "orphan_cost_usd": lambda row: (row.cost or 0) if row.orphan else 0,
    "feedback": lambda row: row.score is not None,
}


def figure(cell: dict[str, Any], name: str) -> int:
    said = cell["feedback"]["count"] if name == "feedback" else cell[name]
    return nano(said) if name.endswith("_usd") else said


@given(st.lists(ENTRIES, max_size=12), st.integers(1, 3))
def test_every_cell_is_the_sum_of_its_rows_whatever_is_shown_as_one(rows, top):
    stats = Stats()
    for row in rows:
        stats.add(row)
    told = stats.to_json(top)
    for name, read in SUMS.items():
        total = sum(map(read, rows))
        assert figure(told["totals"], name) == total
        for dimension in DIMENSIONS:
            shown = told["by"][dimension]
            for cell in shown["top"]:
                assert figure(cell, name) == sum(read(r) for r in rows if getattr(r, dimension) == cell["value"])
            others = [shown["others"]] if shown["others"] else []
            assert len(shown["top"]) <= top
            assert sum(figure(cell, name) for cell in (*shown["top"], *others)) == total
        for cells in told["over"].values():
            assert sum(figure(cell, name) for cell in cells) == total


def test_the_dearest_are_shown_and_the_rest_is_one_cell_with_their_number():
    rows = [entry(n, user=f"user{n}", cost=n, total=8.0, usage=Usage(in_text=n)) for n in range(1, 6)]
    stats = Stats()
    for row in rows:
        stats.add(row)
    shown = stats.to_json(top=2)["by"]["user"]
    assert [cell["value"] for cell in shown["top"]] == ["user5", "user4"]
    assert shown["others"]["values"] == 3
    assert shown["others"]["cost_usd"] == "0.000000006"
    assert shown["others"]["usage"]["input_tokens"] == 6
    assert shown["others"]["latency_ms"]["total"]["count"] == 3


@pytest.mark.parametrize(
    ("ago", "hour", "day", "month"),
    [
        (0, "2026-11-23T12:00:00Z", "2026-11-23", "2026-11"),
        (-1, "2026-11-23T12:00:00Z", "2026-11-23", "2026-11"),
        (1, "2026-11-23T11:00:00Z", "2026-11-23", "2026-11"),
        (12 * HOUR + 1, "2026-11-22T23:00:00Z", "2026-11-22", "2026-11"),
        (22 * DAY + 12 * HOUR, "2026-11-01T00:00:00Z", "2026-11-01", "2026-11"),
        (22 * DAY + 12 * HOUR + 1, "2026-10-31T23:00:00Z", "2026-10-31", "2026-10"),
    ],
)
def test_a_row_counts_in_the_utc_hour_day_and_month_of_its_hold(ago, hour, day, month):
    over = stats_of([entry(at=NOON - ago)])["over"]
    assert {window: [cell["start"] for cell in cells] for window, cells in over.items()} == {
        "hour": [hour],
        "day": [day],
        "month": [month],
    }


def test_times_go_forward_and_hours_can_be_left_out():
    rows = [entry(1), entry(2, at=NOON - DAY), entry(3, at=NOON - 30 * DAY)]
    over = stats_of(rows, hours=False)["over"]
    assert [cell["start"] for cell in over["day"]] == ["2026-10-24", "2026-11-22", "2026-11-23"]
    assert over.keys() == {"day", "month"}


def test_the_kinds_name_every_bucket_of_usage_in_its_order():
    assert tuple(KINDS) == Usage.__struct_fields__
    assert len(set(KINDS.values())) == len(KINDS)


def test_an_unknown_price_is_said_only_where_something_was_used():
    rows = [
        entry(1, cost=None),
        entry(2, cost=None, usage=Usage(out_text=5)),
        entry(3, cost=0, usage=Usage(out_text=5)),
    ]
    assert stats_of(rows)["totals"]["unpriced_attempts"] == 1


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"status": 399}, 0),
        ({"status": 400}, 1),
        ({"status": 200, "code": "overloaded"}, 1),
        ({"status": 503, "last": False}, 0),
    ],
)
def test_an_error_is_what_the_client_heard_in_the_end(fields, errors):
    assert stats_of([entry(**fields)])["totals"]["errors"] == errors


MICROSECONDS = st.integers(0, 1 << 41) | st.integers(0, 100)


@given(st.lists(MICROSECONDS, min_size=1, max_size=60))
def test_a_percentile_is_at_most_a_32nd_off_its_nearest_rank(times):
    latency = stats_of(entry(n, total=time / 1_000, first=time / 1_000) for n, time in enumerate(times))["totals"]
    exact = sorted(min(time, (1 << 40) - 1) for time in times)
    assert latency["latency_ms"]["total"] == latency["latency_ms"]["first_part"]
    told = latency["latency_ms"]["total"]
    assert told["count"] == len(times)
    assert told["mean"] == pytest.approx(sum(exact) / len(exact) / 1_000, abs=0.001)
    for percent in (50, 95, 99):
        nearest = exact[math.ceil(len(exact) * percent / 100) - 1]
        assert abs(told[f"p{percent}"] * 1_000 - nearest) <= nearest / 32 + 0.5, (percent, nearest)


def test_short_times_are_exact():
    for micro in range(32):
        assert stats_of([entry(total=micro / 1_000)])["totals"]["latency_ms"]["total"]["p50"] == micro / 1_000


def test_percentiles_tell_the_slow_from_the_usual():
    rows = [entry(n, total=100.0) for n in range(97)] + [entry(n, total=9_000.0) for n in range(97, 100)]
    told = stats_of(rows)["totals"]["latency_ms"]["total"]
    assert told == {"count": 100, "mean": 367.0, "p50": 100.352, "p95": 100.352, "p99": 9175.04}


@pytest.mark.parametrize(
    ("fields", "total", "first"),
    [
        ({}, 1, 0),
        ({"first": 3.0}, 1, 1),
        ({"last": False, "first": 3.0}, 0, 0),
        ({"orphan": True}, 0, 0),
    ],
)
def test_the_time_of_a_request_is_that_of_its_last_attempt_if_it_is_known(fields, total, first):
    told = stats_of([entry(total=5.0, **fields)])["totals"]["latency_ms"]
    assert (told["total"]["count"], told["first_part"]["count"]) == (total, first)
    assert (told["total"]["p99"] is None) == (total == 0)


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ([], {"count": 0, "mean_score": None}),
        ([None, None], {"count": 0, "mean_score": None}),
        ([1.0], {"count": 1, "mean_score": 1.0}),
        ([None, 0.0], {"count": 1, "mean_score": 0.0}),
        ([-1.0, 1.0], {"count": 2, "mean_score": 0.0}),
        ([-1.0, -1.0, 1.0], {"count": 3, "mean_score": -0.333333}),
        ([0.1] * 10, {"count": 10, "mean_score": 0.1}),
        ([0.0000004, 0.25], {"count": 2, "mean_score": 0.125}),
        ([-0.0000007], {"count": 1, "mean_score": -0.000001}),
    ],
    ids=str,
)
def test_what_callers_said_is_counted_and_its_mean_is_exact_to_the_millionth(scores, told):
    stats = stats_of(entry(n, score=score) for n, score in enumerate(scores))
    assert stats["totals"]["feedback"] == told
    if scores:
        assert stats["by"]["user"]["top"][0]["feedback"] == stats["over"]["day"][0]["feedback"] == told


def test_what_was_said_of_those_shown_as_one_is_one_mean():
    stats = Stats()
    for n, score in enumerate([1.0, 0.5, -0.25, None]):
        stats.add(entry(n, user=f"user{n}", cost=9 - n, score=score))
    shown = stats.to_json(top=1)["by"]["user"]
    assert shown["others"]["feedback"] == {"count": 2, "mean_score": 0.125}


def test_nothing_spent_is_said_as_well():
    told = stats_of([])
    assert told["totals"]["cost_usd"] == "0"
    assert told["by"]["user"] == {"top": [], "others": None}
    assert told["over"] == {"hour": [], "day": [], "month": []}


def standing(budget: Budget, at: int = NOON, **scopes: Counter) -> list[dict[str, Any]]:
    counters = {scope.replace("_", "="): counter for scope, counter in scopes.items()}
    day, month = (counters, {}) if budget.window == "day" else ({}, counters)
    rows: list[dict[str, Any]] = summary([budget], at, day, month)["budgets"]
    return rows


def test_a_budget_is_told_with_all_that_decides_over_the_next_request():
    [row] = standing(Budget(limit=10 * NANO, window="day"), all=Counter(spent=5 * NANO, held=NANO, unproven=NANO // 2))
    assert row == {
        "name": "daily",
        "scope": "all",
        "window": "day",
        "limit_usd": "10",
        "spent_usd": "5",
        "held_usd": "1",
        "unproven_usd": "0.5",
        "left_usd": "3.5",
        "used_percent": "55.00",
        "resets_at": "2026-11-24T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("limit", "spent", "left", "percent"),
    [
        (NANO, 0, "1", "0.00"),
        (NANO, NANO - 1, "0.000000001", "99.99"),
        (NANO, NANO, "0", "100.00"),
        (NANO, NANO + 1, "-0.000000001", "100.00"),
        (NANO, 3 * NANO, "-2", "300.00"),
        (NANO, 2 * NANO + NANO // 2, "-1.5", "250.00"),
        (0, 0, "0", "100.00"),
        (1, 0, "0.000000001", "0.00"),
        (3, 1, "0.000000002", "33.33"),
    ],
)
def test_what_is_left_may_be_below_zero_and_a_percent_is_never_rounded_up(limit, spent, left, percent):
    [row] = standing(Budget(limit=limit, window="day"), all=Counter(spent=spent))
    assert (row["left_usd"], row["used_percent"]) == (left, percent)


def test_a_counter_below_zero_does_not_lift_a_limit():
    [row] = standing(Budget(limit=NANO, window="day"), all=Counter(held=-5))
    assert row["left_usd"] == "1"


@pytest.mark.parametrize(
    ("window", "at", "resets"),
    [
        ("day", NOON, "2026-11-24T00:00:00Z"),
        ("month", NOON, "2026-12-01T00:00:00Z"),
        ("month", NOON + 10 * DAY, "2027-01-01T00:00:00Z"),
        ("day", NOON + 7 * DAY, "2026-12-01T00:00:00Z"),
    ],
)
def test_a_budget_says_when_it_begins_anew(window, at, resets):
    [row] = standing(Budget(limit=1, window=window), at)
    assert row["resets_at"] == resets


def test_a_named_budget_is_told_though_nothing_was_spent():
    [row] = standing(Budget(limit=NANO, window="month", dimension="user", value="alice"), user_bob=Counter(spent=1))
    assert (row["name"], row["scope"], row["spent_usd"]) == ("monthly of user=alice", "user=alice", "0")


def test_a_budget_for_each_has_a_row_for_each_but_those_with_their_own():
    own = Budget(limit=9, window="day", dimension="user", value="alice")
    other = Budget(limit=9, window="month", dimension="user", value="bob")
    each = Budget(limit=5, window="day", dimension="user", value=EACH)
    counters = {
        "user=alice": Counter(spent=1),
        "user=bob": Counter(spent=2),
        "user=a=b": Counter(unproven=3),
        "user=*": Counter(held=3),
        "user=": Counter(spent=2),
        "agent=bob": Counter(spent=7),
        "all": Counter(spent=5),
    }
    rows = summary([own, other, each], NOON, counters, {})["budgets"]
    assert [row["scope"] for row in rows[2:]] == ["user=a=b", "user=", "user=bob", "user=*"]
    assert {row["name"] for row in rows[2:]} == {"daily of user=*"}


def test_of_very_many_the_most_used_are_told_and_the_others_counted():
    counters = {f"user={n:03}": Counter(spent=n, unproven=1) for n in range(TOP + 7)}
    told = summary([Budget(limit=5, window="day", dimension="user", value=EACH)], NOON, counters, {})
    assert len(told["budgets"]) == TOP
    assert told["budgets"][0]["scope"] == f"user={TOP + 6:03}"
    assert told["budgets_left_out"] == 7
    assert told["today"]["by"]["user"]["others"] == {
        "values": 7,
        "spent_usd": usd(sum(range(7))),
        "held_usd": "0",
        "unproven_usd": "0.000000007",
    }


@given(EVENTS, ENTRIES)
def test_every_limit_that_a_request_meets_is_among_the_budgets_told(events, row):
    counters = count([*events, (msgspec.structs.replace(row, at=NOON), 0, None)])
    told = summary(BUDGETS, NOON, counters[TODAY], counters[MONTH])["budgets"]
    shown = {(line["name"], line["scope"], line["window"], line["limit_usd"]) for line in told}
    assert {(limit.budget, limit.scope, limit.window, usd(limit.nano)) for limit in limits(BUDGETS, row)} <= shown


def test_a_model_with_an_equals_sign_keeps_its_name():
    told = summary([], NOON, {"all": Counter(1, 2, 3), "model=a=b": Counter(1, 2, 3)}, {})
    assert told["as_of"] == "2026-11-23T12:00:00.000Z"
    assert told["today"]["date"] == "2026-11-23"
    assert told["this_month"]["month"] == "2026-11"
    assert told["this_month"]["spent_usd"] == "0"
    assert told["today"]["by"]["model"]["top"] == [
        {"value": "a=b", "spent_usd": "0.000000001", "held_usd": "0.000000002", "unproven_usd": "0.000000003"}
    ]


@pytest.mark.parametrize(("nano", "text"), [(0, "0"), (-1, "-0.000000001"), (-1_500_000_000, "-1.5"), (NANO, "1")])
def test_money_below_zero_is_a_decimal_too(nano, text):
    assert usd(nano) == text


@pytest.mark.parametrize(
    ("at", "text"), [(0, "1970-01-01T00:00:00.000Z"), (1_795_435_200_007, "2026-11-23T12:00:00.007Z")]
)
def test_a_time_is_told_to_the_millisecond(at, text):
    assert iso(at) == text
