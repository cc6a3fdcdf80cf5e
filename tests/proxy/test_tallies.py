"""Counters and histograms, against prometheus_client's own: the same text for the same observations."""

import re
from typing import Any

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from proxy.tallies import Counter, Histogram

BOUNDS = (0.005, 0.01, 0.25, 1.0, 2.5, 10.0)
LABELS = ("provider", "model")


def text(registry: CollectorRegistry) -> str:
    """What Prometheus reads; without the times at which children were made, of which we tell none."""
    lines = generate_latest(registry).decode().split("\n")  # a label may hold what else ends a line
    return "\n".join(line for line in lines if not re.match(r"(# \w+ )?house_\w+_created\b", line))


class Pair:
    """The same metric twice: ours, and prometheus_client's own."""

    def __init__(self, kind: str, labels: tuple[str, ...] = ()) -> None:
        self.ours, self.theirs = CollectorRegistry(), CollectorRegistry()
        self._made: tuple[Any, ...]
        if kind == "counter":
            self._made = (
                Counter("house_things_total", 'Things: "a" \\ b', labels, self.ours),
                prometheus_client.Counter("house_things_total", 'Things: "a" \\ b', labels, registry=self.theirs),
            )
        else:
            self._made = (
                Histogram("house_seconds", "Until it was over", labels, self.ours, BOUNDS),
                prometheus_client.Histogram(
                    "house_seconds", "Until it was over", labels, registry=self.theirs, buckets=BOUNDS
                ),
            )

    def each(self, act) -> None:
        for made in self._made:
            act(made)

    def same(self) -> str:
        """The text of both."""
        ours = text(self.ours)
        assert ours == text(self.theirs)
        return ours


NAMES = st.text(max_size=8)
AMOUNTS = st.floats(min_value=0, max_value=1e12)
VALUES = st.one_of(st.sampled_from([0.0, *BOUNDS]), st.floats(min_value=-1.0, max_value=1e6))


@given(st.lists(AMOUNTS, max_size=20))
def test_a_counter_without_labels_tells_what_the_other_tells(amounts):
    pair = Pair("counter")
    for amount in amounts:
        pair.each(lambda made, amount=amount: made.inc(amount))
    pair.same()


@given(st.lists(st.tuples(NAMES, NAMES, AMOUNTS), max_size=20))
def test_a_counter_with_labels_tells_what_the_other_tells_whatever_the_labels_say(seen):
    pair = Pair("counter", LABELS)
    for provider, model, amount in seen:
        pair.each(lambda made, said=(provider, model), amount=amount: made.labels(*said).inc(amount))
    pair.same()


@given(st.lists(VALUES, max_size=30))
def test_a_histogram_without_labels_tells_what_the_other_tells(values):
    pair = Pair("histogram")
    for value in values:
        pair.each(lambda made, value=value: made.observe(value))
    pair.same()


@given(st.lists(st.tuples(NAMES, NAMES, VALUES), max_size=20))
def test_a_histogram_with_labels_tells_what_the_other_tells(seen):
    pair = Pair("histogram", LABELS)
    for provider, model, value in seen:
        pair.each(lambda made, said=(provider, model), value=value: made.labels(*said).observe(value))
    pair.same()


@pytest.mark.parametrize("kind", ["counter", "histogram"])
def test_one_without_labels_is_there_from_the_start_and_one_with_labels_when_it_is_first_named(kind):
    assert "\nhouse_" in Pair(kind).same()
    named = Pair(kind, LABELS)
    assert "\nhouse_" not in named.same()
    named.each(lambda made: made.labels("openai", "gpt"))
    assert 'provider="openai"' in named.same()


def test_a_counter_counts_by_one_if_nothing_else_is_said():
    pair = Pair("counter")
    pair.each(lambda made: made.inc())
    assert "house_things_total 1.0" in pair.same()


def test_a_value_at_the_end_of_a_bucket_belongs_to_it():
    pair = Pair("histogram")
    pair.each(lambda made: made.observe(0.25))
    assert 'le="0.01"} 0.0' in pair.same()
    assert 'le="0.25"} 1.0' in pair.same()


@given(st.lists(st.lists(VALUES, max_size=70), max_size=4))
def test_values_that_are_taken_together_are_told_as_if_one_by_one(several):
    pair = Pair("histogram")
    ours, theirs = pair._made
    for values in several:
        ours.labels().take(values)
        for value in values:
            theirs.observe(value)
    ours.settle()
    pair.same()
    ours.settle()
    pair.same()


def test_of_values_that_are_taken_few_are_laid_aside_however_long_nobody_looks():
    pair = Pair("histogram")
    ours, theirs = pair._made
    for _ in range(64):
        assert "house_seconds_count 0.0" in text(pair.ours)
        ours.labels().take([0.1])
        theirs.observe(0.1)
    pair.same()


def test_a_value_beyond_all_buckets_is_counted_all_the_same():
    pair = Pair("histogram")
    pair.each(lambda made: made.observe(1e9))
    assert 'le="10.0"} 0.0' in pair.same()
    assert 'le="+Inf"} 1.0' in pair.same()
    assert "house_seconds_count 1.0" in pair.same()


def test_a_child_that_is_kept_is_the_one_that_is_told():
    pair = Pair("counter", LABELS)

    def keep(made) -> None:
        child = made.labels("openai", "gpt")
        child.inc()
        made.labels("gemini", "flash").inc(5)
        child.inc(2)

    pair.each(keep)
    assert '{model="gpt",provider="openai"} 3.0' in pair.same()


def test_what_is_told_before_more_is_counted_is_not_changed_by_it():
    pair = Pair("histogram")
    pair.each(lambda made: made.observe(0.1))
    before = pair.same()
    pair.each(lambda made: made.observe(0.1))
    assert pair.same() != before
    assert "house_seconds_count 1.0" in before
