"""Numbers for Prometheus, in a registry of their own. They are for curves and alarms; the ledger is for the money.

Dollars are floats here: a metric may be off by less than anybody sees, and nothing decides on it. Labels are bounded:
what a client made up (a model without a price, a user's name) is never one.
"""

from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from adapters.base import Usage
from proxy import ledger
from proxy.budget import EACH, Alert, Budget
from proxy.cost import NANO
from proxy.ledger import Entry

CONTENT_TYPE = CONTENT_TYPE_LATEST
OTHER = "other"  # the model of a row without a price: its name is the client's word
TOKENS = tuple(bucket for bucket in Usage.__struct_fields__ if bucket not in ("web_searches", "map_queries"))
_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_MILLI = 1_000


class _Model(NamedTuple):
    """What is counted for one model of one provider."""

    spend: Counter
    first: Histogram
    total: Histogram
    unpriced: Counter


class Metrics:
    """One per process; used on the event loop. Replicas and workers count each their own: Prometheus adds them up."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._alerts = self._counter(
            "tollhouse_budget_alerts_total", "Thresholds that budgets came to", "budget", "window", "percent"
        )
        self._budgets = {
            word: self._gauge(f"tollhouse_budget_{word}_dollars", text, "budget", "window")
            for word, text in (
                ("limit", "What may be spent in the window"),
                ("spent", "What was spent in the window"),
                ("held", "What requests in flight may still cost"),
                ("unproven", "What vendors may have billed beyond the spent"),
            )
        }
        self._spend = self._counter(
            "tollhouse_spend_dollars_total", "What attempts cost; an orphan in full", "provider", "model"
        )
        self._requests = self._counter(
            "tollhouse_requests_total", "Requests that are over", "provider", "model", "status", "stream"
        )
        self._unpriced = self._counter(
            "tollhouse_requests_unpriced_total", "Attempts whose cost is not known", "provider", "model"
        )
        self._first = self._histogram("tollhouse_first_part_seconds", "Until the first part of the answer")
        self._total = self._histogram("tollhouse_request_seconds", "Until the request was over")
        self._tokens = self._counter("tollhouse_tokens_total", "Tokens, in disjoint kinds", "provider", "model", "kind")
        self._undelivered = self._gauge("tollhouse_journal_undelivered", "Rows that the store does not have yet")
        self._store_up = self._gauge("tollhouse_store_up", "Whether the store can be reached")
        self._of_model: dict[tuple[str, str], _Model] = {}
        self._of_request: dict[tuple[str, str, int, bool], Counter] = {}
        self._of_tokens: dict[tuple[str, str, str], Counter] = {}

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, ("provider", "model"), registry=self._registry, buckets=_SECONDS)

    def alert(self, alert: Alert) -> None:
        """A budget came to a threshold. The label is the budget's name: "daily of user=*" for each user's."""
        self._alerts.labels(alert.limit.budget, alert.limit.window, str(alert.percent)).inc()

    def budgets(self, figures: Iterable[tuple[Budget, ledger.Counter]]) -> None:
        """All budgets and how they stand. One for each value (`*`) is left out; one that is not told any more goes."""
        for gauge in self._budgets.values():
            gauge.clear()
        for budget, counter in figures:
            if budget.value == EACH:
                continue
            for word, nano in (
                ("limit", budget.limit),
                ("spent", counter.spent),
                ("held", counter.held),
                ("unproven", counter.unproven),
            ):
                self._budgets[word].labels(budget.name, budget.window).set(nano / NANO)

    def store(self, *, up: bool, undelivered: int) -> None:
        """How the store is, and how many rows wait for it in the journal."""
        self._store_up.set(up)
        self._undelivered.set(undelivered)

    def observe(self, entry: Entry) -> None:
        """Count a row of the ledger.

        An orphan counts as spent and not as a request. If its true row turns up, that counts too: spent may be told too
        high then, never too low.
        """
        model = OTHER if entry.price is None else entry.model
        of_model = self._model(entry.provider, model)
        if entry.cost is None:
            of_model.unpriced.inc()
        elif entry.cost > 0:
            of_model.spend.inc(entry.cost / NANO)
        for kind in TOKENS:
            if count := getattr(entry.usage, kind):
                self._tokens_of(entry.provider, model, kind).inc(count)
        if entry.last and not entry.orphan:
            self._request(entry.provider, model, entry.status, entry.stream).inc()
            of_model.total.observe(entry.total / _MILLI)
            if entry.first is not None:
                of_model.first.observe(entry.first / _MILLI)

    # prometheus_client takes a lock and makes strings for each `labels`; its children are kept here instead.

    def _model(self, provider: str, model: str) -> _Model:
        found = self._of_model.get((provider, model))
        if found is None:
            found = self._of_model[provider, model] = _Model(
                self._spend.labels(provider, model),
                self._first.labels(provider, model),
                self._total.labels(provider, model),
                self._unpriced.labels(provider, model),
            )
        return found

    def _request(self, provider: str, model: str, status: int, stream: bool) -> Counter:
        found = self._of_request.get((provider, model, status, stream))
        if found is None:
            found = self._requests.labels(provider, model, str(status), str(stream).lower())
            self._of_request[provider, model, status, stream] = found
        return found

    def _tokens_of(self, provider: str, model: str, kind: str) -> Counter:
        found = self._of_tokens.get((provider, model, kind))
        if found is None:
            found = self._of_tokens[provider, model, kind] = self._tokens.labels(provider, model, kind)
        return found

    def text(self) -> bytes:
        """All of it, in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self._registry)
