"""The numbers for Prometheus: what a row of the ledger adds, how budgets stand, and that labels stay few."""

import sys
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.base import Kind, Usage
from proxy import __version__
from proxy.budget import Alert, Budget, Limit
from proxy.health import Cell
from proxy.health.circuit import Circuit
from proxy.ledger import Counter, Entry
from proxy.metrics import LABELS, METRICS, TOKENS, Metrics
from proxy.routing.candidate import OTHER
from proxy.telemetry import Attempt, Decision, Record, Timings

DOLLAR = 1_000_000_000
NOW = 1_000_000


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


def attempt(outcome: str = "ok", model: str = "gpt-4o", *, started: float = 0.0, took: float = 1.0) -> Attempt:
    return Attempt("openai", model, outcome, took, None, started, model)


def told(record: Record) -> Metrics:
    metrics = Metrics()
    metrics.over([record])
    return metrics


def over(*attempts: Attempt, **more) -> Record:
    """A request that the last of these has answered; without any, one that was refused."""
    fields = {"provider": "openai", "served": attempts[-1].model} if attempts and attempts[-1].outcome == "ok" else {}
    return Record("r", 0.0, attempts=list(attempts), **{"numbered": len(attempts), **fields, **more})


MINI = ("gpt-4o-mini", "openai")
RACED = Decision(strategy="fallback", hedged=True)


@pytest.mark.parametrize(
    ("record", "name", "found"),
    [
        (over(attempt()), "attempts_total", {(*MODEL[:1], "ok", "openai"): 1.0}),
        (
            over(attempt("timeout"), attempt("timeout"), attempt(model="gpt-4o-mini")),
            "attempts_total",
            {("gpt-4o", "timeout", "openai"): 2.0, ("gpt-4o-mini", "ok", "openai"): 1.0},
        ),
        (over(attempt()), "retries_total", {}),
        (over(attempt("timeout"), attempt("timeout"), attempt()), "retries_total", {MODEL: 2.0}),
        (over(attempt("timeout"), attempt(model="gpt-4o-mini")), "retries_total", {}),
        (over(attempt("timeout"), attempt(model="gpt-4o-mini")), "fallbacks_total", {MINI: 1.0}),
        (over(attempt("budget"), attempt(model="gpt-4o-mini")), "fallbacks_total", {MINI: 1.0}),
        (over(attempt("timeout"), attempt()), "fallbacks_total", {}),
        (over(attempt("hedge_lost"), attempt(model="gpt-4o-mini")), "fallbacks_total", {}),
        (over(attempt("cancelled"), attempt(model="gpt-4o-mini")), "fallbacks_total", {}),
        (over(attempt("timeout"), attempt("transient", "gpt-4o-mini")), "fallbacks_total", {}),
        (over(attempt()), "hedges_total", {}),
        (
            over(attempt("hedge_lost", took=30), attempt(model="gpt-4o-mini", started=10, took=20), decision=RACED),
            "hedges_total",
            {("won",): 1.0},
        ),
        (
            over(attempt("hedge_lost", "gpt-4o-mini", started=10, took=5), attempt(took=20), decision=RACED),
            "hedges_total",
            {("lost",): 1.0},
        ),
        (
            over(attempt("timeout", took=5), attempt(started=6, took=5), decision=RACED),
            "hedges_total",
            {("lost",): 1.0},
        ),
        (
            over(attempt("timeout"), attempt("timeout", "gpt-4o-mini"), decision=RACED),
            "hedges_total",
            {("failed",): 1.0},
        ),
        (over(attempt(), decision=RACED), "hedges_total", {("lost",): 1.0}),
        (over(code="model_not_found"), "requests_refused_total", {("model_not_found",): 1.0}),
        (over(attempt("budget"), code="budget_exceeded"), "requests_refused_total", {("budget_exceeded",): 1.0}),
        (
            over(attempt("unsupported"), code="unsupported_parameter", numbered=0),
            "requests_refused_total",
            {("unsupported_parameter",): 1.0},
        ),
        (over(attempt("timeout"), code="timeout"), "requests_refused_total", {}),
        (over(attempt("budget"), attempt("timeout"), code="timeout"), "requests_refused_total", {}),
        (over(attempt()), "requests_refused_total", {}),
        (over(attempt(), timings=Timings(overhead=1.5)), "overhead_seconds_sum", {(): 0.0015}),
        (over(attempt(), timings=Timings(overhead=0.0)), "overhead_seconds_count", {(): 1.0}),
        (over(attempt(), timings=Timings()), "overhead_seconds_count", {}),
        (over(attempt(), timings=Timings(hold=2.0)), "hold_seconds_sum", {(): 0.002}),
        (over(attempt(), timings=Timings()), "hold_seconds_count", {}),
        (over(attempt(), timings=Timings(queue=250.0)), "queue_seconds_sum", {(): 0.25}),
        (over(attempt(), timings=Timings()), "queue_seconds_count", {}),
        (over(attempt(), timings=Timings(first_byte=400.0)), "vendor_first_byte_seconds_sum", {MODEL: 0.4}),
        (over(attempt("timeout"), timings=Timings(first_byte=400.0)), "vendor_first_byte_seconds_sum", {}),
        (over(attempt(), timings=Timings()), "vendor_first_byte_seconds_count", {}),
    ],
    ids=[
        "an attempt is counted",
        "each attempt is counted by its outcome",
        "the first attempt is no retry",
        "who is asked again is retried, as often as that is",
        "who is asked next is not retried",
        "who answers after another has failed stands in",
        "who answers where another could not be paid stands in",
        "who answers after having failed himself does not stand in",
        "who wins a race does not stand in",
        "who answers after another was cancelled does not stand in",
        "where nobody answers nobody stands in",
        "one alone is no race",
        "the second one wins",
        "the first one wins",
        "one that had failed before was not in the race",
        "nobody wins",
        "one of whose rival nothing is known wins",
        "a request that was sent to nobody is refused",
        "a request without money is refused",
        "a request that nobody can take is refused",
        "a request that failed at a vendor is not refused",
        "a request that failed at a vendor after one without money is not refused",
        "a request that went well is not refused",
        "our own time",
        "our own time of nothing is known",
        "our own time that is not known",
        "the store's time",
        "no hold, no time",
        "waiting",
        "who did not wait is not counted",
        "the vendor's first byte",
        "the first byte of nobody",
        "the first byte that is not known",
    ],
)
def test_a_request_is_counted(record, name, found):
    assert samples(told(record), name) == pytest.approx(found)


def test_the_model_of_an_attempt_is_never_the_clients_word():
    metrics = Metrics()
    for number in range(100):
        tried = [Attempt("openai", f"canary{number}", "timeout", 1.0), Attempt("openai", f"canary{number}", "ok", 1.0)]
        metrics.over([over(*tried, user=f"canary{number}", model=f"canary{number}", timings=Timings(first_byte=1.0))])
    assert b"canary" not in metrics.text()
    assert samples(metrics, "attempts_total") == {(OTHER, "timeout", "openai"): 100.0, (OTHER, "ok", "openai"): 100.0}
    assert samples(metrics, "retries_total") == {(OTHER, "openai"): 100.0}


def test_of_many_requests_and_rows_few_are_laid_aside_and_all_are_counted():
    metrics = Metrics()
    records, rows = [over(attempt()) for _ in range(1_000)], [row(cost=DOLLAR) for _ in range(1_000)]
    free = sys.getrefcount(records[0]), sys.getrefcount(rows[0])
    for record in records:
        metrics.over([record])
    assert sum(sys.getrefcount(records[n]) > free[0] for n in range(1_000)) < 64
    for entry in rows:
        metrics.observe(entry)
    assert sum(sys.getrefcount(rows[n]) > free[1] for n in range(1_000)) < 64
    assert samples(metrics, "attempts_total") == {("gpt-4o", "ok", "openai"): 1_000.0}
    assert samples(metrics, "spend_dollars_total") == {MODEL: 1_000.0}
    assert samples(metrics, "requests_total") == {(*MODEL, "200", "false"): 1_000.0}, "a second look adds nothing"


def test_it_is_no_matter_how_many_are_counted_together():
    records = [
        over(attempt("timeout"), attempt(), timings=Timings(hold=1.0, first_byte=float(n), overhead=0.5), code=None)
        if n % 5 == 0
        else over(attempt(model=f"m{n % 3}"), timings=Timings(queue=float(n % 2), first_byte=9.0))
        if n % 7
        else over(code=f"c{n % 4}")
        for n in range(60)
    ]
    rows = [
        row(
            model=f"m{n % 3}",
            provider="ab"[n % 2],
            price=None if n % 11 == 0 else "v1",
            cost=None if n % 4 == 0 else n * DOLLAR,
            status=200 if n % 6 else 502,
            stream=n % 5 == 0,
            last=n % 8 != 0,
            orphan=n % 13 == 0,
            total=float(n),
            first=None if n % 3 else float(n),
            usage=Usage(in_text=n, cache_read=n % 2, out_text=1),
        )
        for n in range(60)
    ]
    together, alone = Metrics(), Metrics()
    for record, entry in zip(records, rows, strict=True):
        together.over([record])
        together.observe(entry)
        alone.over([record])
        alone.observe(entry)
        alone.text()
    for name, metric in METRICS.items():
        ends = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        for end in ends:
            found = samples(together, name + end)
            assert found == pytest.approx(samples(alone, name + end)), name
    assert len(samples(together, "requests_total")) > 9


def test_what_is_counted_while_another_thread_reads_is_not_lost():
    metrics = Metrics()
    over_now = threading.Event()

    def read() -> None:
        while not over_now.is_set():
            metrics.text()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(20_000):
            metrics.over([over(attempt(model=f"m{number // 40}"))])
            metrics.observe(row(cost=DOLLAR))
    finally:
        over_now.set()
        reader.join()
        sys.setswitchinterval(before)
    assert samples(metrics, "spend_dollars_total") == {MODEL: 20_000.0}
    assert sum(samples(metrics, "attempts_total").values()) == 20_000


def test_codes_of_refusals_stay_few_whatever_they_are():
    metrics = Metrics()
    for number in range(200):
        metrics.over([over(code=f"code{number % 100}")])
    found = samples(metrics, "requests_refused_total")
    assert sum(found.values()) == 200
    assert found[OTHER,] == 72, "36 codes that came too late, twice"
    assert len(found) == 65


def circuits(shared, own=(), now=NOW) -> dict[tuple[str, ...], float]:
    metrics = Metrics()
    metrics.circuits({("gone", "x"): Cell()}, {}, now)
    metrics.circuits(dict(shared), dict(own), now)
    return samples(metrics, "circuit_state")


SHUT = Cell(circuit=Circuit(opened=True, until=NOW + 1))


@pytest.mark.parametrize(
    ("shared", "own", "found"),
    [
        ({("openai", "m"): Cell()}, {}, {("m", "openai", "closed")}),
        ({("openai", "m"): SHUT}, {}, {("m", "openai", "open")}),
        ({("openai", "m"): Cell(circuit=Circuit(opened=True, until=NOW))}, {}, {("m", "openai", "half_open")}),
        ({("openai", ""): SHUT}, {}, {("all", "openai", "open")}),
        ({}, {("openai", "line"): SHUT}, {("line", "openai", "open")}),
        ({("openai", "m"): SHUT}, {("openai", "m"): Cell()}, {("m", "openai", "open")}),
        ({}, {}, set()),
    ],
    ids=[
        "closed",
        "open",
        "half open once its time has come",
        "a provider as a whole",
        "our own way there",
        "a model's circuit is everybody's",
        "who is not told any more is gone",
    ],
)
def test_each_circuit_is_in_one_state(shared, own, found):
    assert circuits(shared, own) == dict.fromkeys(found, 1.0)


def test_the_states_that_a_circuit_is_not_in_are_told_too():
    metrics = Metrics()
    metrics.circuits({("openai", "m"): SHUT}, {}, NOW)
    assert metrics.text().count(b"tollhouse_circuit_state{") == 3


def test_openings_and_what_is_under_way_and_what_was_lost_are_counted():
    metrics = Metrics()
    metrics.opened("openai", "all", "key")
    metrics.opened("openai", "all", "key")
    metrics.gauges(in_flight=7, waiting=3)
    metrics.lost("span", 4)
    metrics.lost("span", 5)
    metrics.lost("metric", 1)
    assert samples(metrics, "circuit_openings_total") == {("all", "openai", "key"): 2.0}
    assert (samples(metrics, "in_flight_requests"), samples(metrics, "queue_waiting")) == ({(): 7.0}, {(): 3.0})
    assert samples(metrics, "telemetry_lost_total") == {("span",): 9.0, ("metric",): 1.0}
    metrics.gauges(in_flight=0, waiting=0)
    assert samples(metrics, "in_flight_requests") == {}


def test_it_says_which_version_runs_and_how_the_process_does():
    metrics = Metrics()
    assert samples(metrics, "build_info") == {(__version__,): 1.0}
    for name in (b"process_cpu_seconds_total", b"process_resident_memory_bytes", b"process_open_fds", b"python_gc_"):
        assert name in metrics.text()


@pytest.mark.parametrize("name", METRICS)
def test_names_say_their_units_and_kinds(name):
    metric = METRICS[name]
    assert name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert (metric.kind == "histogram") <= name.endswith("_seconds")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.meaning
    assert not metric.meaning.endswith(".")


def test_all_words_that_are_ours_for_labels_are_told():
    assert set(LABELS) <= {label for metric in METRICS.values() for label in metric.labels}
    assert {kind.value for kind in Kind} <= set(LABELS["outcome"])


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
