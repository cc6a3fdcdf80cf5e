"""Budgets, minutes and turns as the page draws them."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.budget import Budget
from proxy.cost import NANO
from proxy.dashboard.figures import POINTS, TURNS, begin, minutes, money, turns
from proxy.ledger import Counter, end, labels
from proxy.pulse import Money, Pulse, Turn
from proxy.series import KEPT, MINUTE, Minute, Point, Series
from proxy.store.sqlite import SqliteStore

AT = 1_795_435_200_000  # 2026-11-23T12:00:00Z
DAY, MONTH = labels(AT)


class Known(Pulse):
    """One that has seen these points."""

    def __init__(self, directory: Path, budgets: Sequence[Budget], points: Sequence[Point] = ()) -> None:
        store = SqliteStore(directory / "tollhouse.db")
        super().__init__(store, lambda: budgets, store, "a", clock=lambda: 0.0, wall=lambda: AT / 1_000)
        self.known = points

    def points(self, label: str, scope: str) -> Sequence[Point]:
        return self.known


def counters(**used: int) -> dict[str, Counter]:
    return {name.replace("__", "="): Counter(spent=nano) for name, nano in used.items()}


@pytest.mark.parametrize(
    "label", ["day:2026-11-23", "month:2026-11", "month:2026-01", "day:2024-03-01", "month:2024-03"]
)
def test_a_window_begins_where_its_own_label_does(label):
    which = 0 if label.startswith("day") else 1
    assert labels(begin(label))[which] == label
    assert labels(begin(label) - 1)[which] != label
    assert begin(label) < end(label)


def test_a_budget_with_its_curve_and_where_it_leads(tmp_path):
    start = begin(DAY)
    seen = [(start + 1_000, 0), (start + 6 * 3_600_000, NANO // 4), (AT + 5, NANO)]
    found = Money(AT, counters(all=NANO // 2), counters(all=NANO))
    (row,), costs = money(Known(tmp_path, [Budget(limit=2 * NANO, window="day")], seen), found)
    assert row["points"] == [
        [start, "0"],
        [start + 1_000, "0"],
        [start + 6 * 3_600_000, "0.25"],
        [AT, "0.5"],
    ], "what was seen later than the counters is not there yet"
    assert (row["starts_at_ms"], row["ends_at_ms"]) == (start, end(DAY))
    assert row["projection"] == {"state": "within", "used_at_end_usd": "1", "reached_at": None}
    assert row["used_percent"] == "25.00"
    assert costs["today"]["spent_usd"] == "0.5"
    assert costs["this_month"]["spent_usd"] == "1"
    assert "budgets" not in costs


def test_a_budget_that_will_not_do(tmp_path):
    found = Money(AT, counters(all=3 * NANO // 2), counters())
    (row,), _ = money(Known(tmp_path, [Budget(limit=2 * NANO, window="day")]), found)
    assert row["projection"] == {
        "state": "over",
        "used_at_end_usd": "3",
        "reached_at": "2026-11-23T16:00:00.000Z",
    }


def test_a_budget_of_which_nothing_is_used_yet(tmp_path):
    (row,), _ = money(Known(tmp_path, [Budget(limit=2 * NANO, window="day")]), Money(AT, {}, {}))
    assert row["points"] == [[begin(DAY), "0"], [AT, "0"]]
    assert row["projection"] == {"state": "within", "used_at_end_usd": "0", "reached_at": None}


def test_a_curve_never_passes_what_is_used_now(tmp_path):
    """A day's counters may be read a moment before the month's."""
    found = Money(AT, counters(), counters(all=NANO))
    (row,), _ = money(Known(tmp_path, [Budget(limit=9 * NANO, window="month")], [(AT - 5, 2 * NANO)]), found)
    assert [used for _, used in row["points"]] == ["0", "1", "1"]
    assert row["starts_at_ms"] == begin(MONTH)


def test_each_value_of_a_budget_for_each_has_a_row(tmp_path):
    budgets = [Budget(limit=NANO, window="day", dimension="user", value="*")]
    found = Money(AT, counters(user__alice=NANO // 2, user__bob=NANO // 4), {})
    rows, _ = money(Known(tmp_path, budgets), found)
    assert [(row["scope"], row["spent_usd"]) for row in rows] == [("user=alice", "0.5"), ("user=bob", "0.25")]
    assert [row["points"][-1][1] for row in rows] == ["0.5", "0.25"]


def test_a_long_curve_is_thinned(tmp_path):
    start = begin(DAY)
    seen = [(start + n * 1_000 + 1, n) for n in range(5_000)]
    found = Money(AT, counters(all=6_000), {})
    (row,), _ = money(Known(tmp_path, [Budget(limit=NANO, window="day")], seen), found)
    assert len(row["points"]) == POINTS
    assert row["points"][0] == [start, "0"]
    assert row["points"][-1] == [AT, "0.000006"]


def test_minutes_are_columns_of_equal_length():
    last = AT // MINUTE
    whole = Series(
        {
            last: Minute(requests=2, errors=1, failed=1, cost=NANO, attempts={"b": 2}, failures={"b": 1}, first={0: 1}),
            last - KEPT + 1: Minute(requests=1, retries=1, hedges=1, attempts={"a": 1}),
        }
    )
    found = minutes(whole, AT)
    assert found["start_ms"] == AT - (KEPT - 1) * MINUTE
    columns = [found[name] for name in ("requests", "errors", "failed", "cost_usd", "retries", "hedges")]
    columns += [*found["first_part_ms"].values(), *found["attempts"].values(), *found["failures"].values()]
    assert {len(column) for column in columns} == {KEPT}
    assert (found["requests"][0], found["requests"][-1], sum(found["requests"])) == (1, 2, 3)
    assert (found["errors"][-1], found["failed"][-1], found["retries"][0], found["hedges"][0]) == (1, 1, 1, 1)
    assert sum(map(Decimal, found["cost_usd"])) == 1
    assert found["first_part_ms"]["p50"][-1] == found["first_part_ms"]["p95"][-1] == 1.0
    assert found["first_part_ms"]["p50"][0] is None
    assert {name: sum(column) for name, column in found["attempts"].items()} == {"a": 1, "b": 2}
    assert {name: sum(column) for name, column in found["failures"].items()} == {"a": 0, "b": 1}


def turn(at: int = AT, model: str = "gpt", why: str = "timeout") -> Turn:
    return Turn(at, "openai", model, "open", why)


def test_turns_are_told_the_last_one_first():
    found = turns([turn(AT - 1), turn(AT - 3, ""), turn(AT - 2, "line", "")], AT)
    assert [(one["at"][-4:], one["scope"], one["model"], one["why"]) for one in found] == [
        ("999Z", "model", "gpt", "timeout"),
        ("998Z", "line", None, None),
        ("997Z", "provider", None, "timeout"),
    ]
    assert found[0].keys() == {"at", "provider", "scope", "model", "state", "why"}


def test_turns_of_long_ago_are_not_told_nor_more_than_many():
    assert turns([turn(AT - KEPT * MINUTE)], AT) == []
    assert len(turns([turn(AT - n) for n in range(TURNS + 5)], AT)) == TURNS
