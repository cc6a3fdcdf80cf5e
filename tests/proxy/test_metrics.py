"""The numbers for Prometheus: what a row of the ledger adds, how budgets stand, and that labels stay few."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.base import Usage
from proxy.budget import Alert, Budget, Limit
from proxy.ledger import Counter, Entry
from proxy.metrics import OTHER, TOKENS, Metrics

DOLLAR = 1_000_000_000


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Values of one metric, by the values of its labels in the order of their names; without those of zero."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name == f"tollhouse_{name}" and sample.value
    }


def row(**more) -> Entry:
    fields = {"id": "a", "request": "a", "provider": "openai", "model": "gpt-4o", "price": "v1", "status": 200, **more}
    return Entry(**fields)


def after(*entries: Entry) -> Metrics:
    metrics = Metrics()
    for entry in entries:
        metrics.observe(entry)
    return metrics


MODEL = ("gpt-4o", "openai")


@pytest.mark.parametrize(
    ("entries", "name", "found"),
    [
        ([row(cost=DOLLAR // 2), row(cost=1)], "spend_dollars_total", {MODEL: 0.500000001}),
        ([row(cost=1)], "spend_dollars_total", {MODEL: 1e-9}),
        ([row(cost=0)], "spend_dollars_total", {}),
        ([row(cost=None)], "spend_dollars_total", {}),
        ([row(cost=DOLLAR, orphan=True)], "spend_dollars_total", {MODEL: 1.0}),
        ([row(cost=DOLLAR, last=False)], "spend_dollars_total", {MODEL: 1.0}),
        ([row(cost=None), row(cost=0), row(cost=5)], "requests_unpriced_total", {MODEL: 1.0}),
        ([row(cost=None, price=None, model="made up")], "requests_unpriced_total", {(OTHER, "openai"): 1.0}),
        (
            [row(), row(), row(stream=True), row(status=502)],
            "requests_total",
            {(*MODEL, "200", "false"): 2.0, (*MODEL, "200", "true"): 1.0, (*MODEL, "502", "false"): 1.0},
        ),
        ([row(last=False), row(orphan=True)], "requests_total", {}),
        ([row(price=None, model="made up")], "requests_total", {(OTHER, "openai", "200", "false"): 1.0}),
        (
            [row(usage=Usage(in_text=3, out_text=5, web_searches=2)), row(usage=Usage(in_text=4), last=False)],
            "tokens_total",
            {("in_text", *MODEL): 7.0, ("out_text", *MODEL): 5.0},
        ),
        ([row(total=1500.0), row(total=500.0), row(last=False, total=9.0)], "request_seconds_sum", {MODEL: 2.0}),
        ([row(total=1500.0), row(orphan=True)], "request_seconds_count", {MODEL: 1.0}),
        ([row(first=250.0), row(first=None), row(first=0.0)], "first_part_seconds_count", {MODEL: 2.0}),
        ([row(first=250.0)], "first_part_seconds_sum", {MODEL: 0.25}),
    ],
    ids=str,
)
def test_a_row_of_the_ledger_is_counted(entries, name, found):
    assert samples(after(*entries), name) == pytest.approx(found, abs=0)


def test_every_kind_of_token_has_its_own_number():
    usage = Usage(**{kind: number for number, kind in enumerate(TOKENS, 1)})
    found = samples(after(row(usage=usage)), "tokens_total")
    assert found == {(kind, *MODEL): float(number) for number, kind in enumerate(TOKENS, 1)}
    assert sum(found.values()) == usage.prompt + usage.completion, "all of them, each once"


def test_what_clients_make_up_is_no_label():
    metrics = after(row())
    before = metrics.text().count(b"\n")
    for number in range(100):
        more = {"user": f"canary{number}", "agent": f"canary{number}", "served": "canary", "asked": "canary"}
        metrics.observe(row(id=f"canary{number}", key="canary", code="canary", **more))
    assert metrics.text().count(b"\n") == before
    for number in range(100):
        metrics.observe(row(model=f"canary{number}", price=None))
    assert metrics.text().count(b"\n") < before * 2
    assert b"canary" not in metrics.text()


def test_an_alert_is_counted_by_budget_and_percent():
    metrics = Metrics()
    each = Limit("daily of user=*", "user=alice", "day", 5)
    for limit, percent in ((each, 90), (each, 90), (Limit("monthly", "all", "month", 5), 100)):
        metrics.alert(Alert(limit, "label", percent, Counter()))
    assert samples(metrics, "budget_alerts_total") == {
        ("daily of user=*", "90", "day"): 2.0,
        ("monthly", "100", "month"): 1.0,
    }


def test_budgets_stand_as_they_were_last_told():
    metrics = Metrics()
    daily, alice = Budget(limit=10 * DOLLAR, window="day"), Budget(limit=DOLLAR, window="month", dimension="user")
    metrics.budgets([(daily, Counter(spent=DOLLAR)), (alice, Counter(spent=DOLLAR))])
    metrics.budgets([(daily, Counter(spent=2 * DOLLAR, held=DOLLAR // 4, unproven=DOLLAR // 2))])
    for word, value in (("limit", 10.0), ("spent", 2.0), ("held", 0.25), ("unproven", 0.5)):
        assert samples(metrics, f"budget_{word}_dollars") == {("daily", "day"): value}


def test_a_budget_for_each_value_has_no_numbers_of_its_own():
    metrics = Metrics()
    metrics.budgets([(Budget(limit=DOLLAR, window="day", dimension="user", value="*"), Counter(spent=1))])
    assert samples(metrics, "budget_limit_dollars") == {}


@pytest.mark.parametrize("up", [True, False])
def test_it_is_seen_whether_the_store_is_there_and_what_waits_for_it(up):
    metrics = Metrics()
    metrics.store(up=up, undelivered=7)
    assert samples(metrics, "store_up") == ({(): 1.0} if up else {})
    assert samples(metrics, "journal_undelivered") == {(): 7.0}


def test_two_of_them_share_nothing():
    after(row(cost=DOLLAR))
    assert samples(Metrics(), "spend_dollars_total") == {}
