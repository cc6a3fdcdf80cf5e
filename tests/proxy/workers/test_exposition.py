"""One text of several, that Prometheus reads."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy.workers.exposition import merged


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"up 1.0", b'up{worker="1"} 1.0'),
        (b'up{a="b"} 1.0', b'up{worker="1",a="b"} 1.0'),
        (b'up{a="} {"} 1.0', b'up{worker="1",a="} {"} 1.0'),
        (b"up 1.0 {not a label}", b'up{worker="1"} 1.0 {not a label}'),
    ],
)
def test_each_line_says_whose_it_is(line, expected):
    assert merged({1: b"# HELP up Says.\n# TYPE up gauge\n" + line + b"\n"}).splitlines()[2] == expected


def figures(count: int, *labels: str) -> bytes:
    registry = CollectorRegistry()
    counter = Counter("asked", "Requests", ["model"], registry=registry)
    for label in labels:
        counter.labels(label).inc(count)
    Histogram("took_seconds", "Of each", registry=registry, buckets=(1, 2)).observe(count)
    Gauge("present", 'Says "so"', registry=registry).set(count)
    return generate_latest(registry)


def test_a_metric_of_all_workers_stands_together_and_what_one_alone_has_is_not_lost():
    extra = b"# HELP alone Of one\n# TYPE alone gauge\nalone 7.0\n"
    text = merged({2: figures(2, "b", 'odd "}'), 1: figures(1, "a", "b"), 3: extra}).decode()
    assert text.count("# TYPE asked_total counter") == 1
    found = {family.name: family.samples for family in text_string_to_metric_families(text)}
    asked = {(one.labels["worker"], one.labels["model"]): one.value for one in found["asked"] if one.name[-1] == "l"}
    assert asked == {("1", "a"): 1, ("1", "b"): 1, ("2", "b"): 2, ("2", 'odd "}'): 2}
    assert [(one.labels["worker"], one.value) for one in found["present"]] == [("1", 1), ("2", 2)]
    assert [one.labels for one in found["alone"]] == [{"worker": "3"}]
    assert {one.labels["worker"] for one in found["took_seconds"] if one.name.endswith("_bucket")} == {"1", "2"}


def test_of_nobody_there_is_nothing():
    assert merged({}) == b""
