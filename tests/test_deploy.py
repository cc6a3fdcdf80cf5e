"""What deploy/ ships: alerts and a dashboard speak of metrics that there are, with labels that they have; the alerts
pass promtool's own tests."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.metrics import LABELS, METRICS, Metrics
from tests.promtool import NotToBeHadError, promtool

ROOT = Path(__file__).resolve().parent.parent
PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTS = PROMETHEUS / "alerts.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "tollhouse.json"
SECONDS = 60.0

_NAME = re.compile(r"\b((?:tollhouse|process|python)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPED = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")
_OF_SCRAPE = {"instance", "job"}  # Prometheus adds them


def rules() -> list[dict[str, Any]]:
    return [rule for group in msgspec.yaml.decode(ALERTS.read_bytes())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Each with its name."""
    yield from ((rule["alert"], rule["expr"]) for rule in rules())
    yield from ((panel["title"], target["expr"]) for panel in panels() for target in panel["targets"])


def wrong(expression: str) -> Iterator[str]:
    """What an expression takes for granted and does not get."""
    known = set(_OF_SCRAPE)
    for said, matchers in _NAME.findall(expression):
        if said.startswith(("process_", "python_")):
            continue  # prometheus_client's own
        name = said.removeprefix("tollhouse_")
        if name not in METRICS:
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            if family not in METRICS or METRICS[family].kind != "histogram":
                yield f"there is no metric {said}"
                continue
            name = family
            known.add("le")
        here = {*METRICS[name].labels, *_OF_SCRAPE, *({"le"} if METRICS[name].kind == "histogram" else ())}
        known |= here
        for label, how, value in _MATCHER.findall(matchers):
            if label not in here:
                yield f"{said} has no label {label}"
            if label in LABELS and label not in {"model", "code"} and "$" not in value:
                values = value.split("|") if "~" in how else [value]
                yield from (f"{label} is never {one}" for one in values if one not in LABELS[label])
    for labels in _GROUPED.findall(expression):
        yield from (f"no metric here has {one}" for one in re.findall(r"\w+", labels) if one not in known)


@pytest.mark.parametrize(("name", "expression"), list(expressions()))
def test_each_expression_asks_for_what_there_is(name, expression):
    assert list(wrong(expression)) == []


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("rate(tollhouse_request_total[5m])", "there is no metric tollhouse_request_total"),
        ("tollhouse_store_up_sum", "there is no metric tollhouse_store_up_sum"),
        ('tollhouse_requests_total{user="a"}', "tollhouse_requests_total has no label user"),
        ('tollhouse_circuit_state{state="shut"}', "state is never shut"),
        ('tollhouse_attempts_total{outcome!~"ok|fine"}', "outcome is never fine"),
        ("sum by (model) (tollhouse_queue_waiting)", "no metric here has model"),
        ('tollhouse_store_up{le="1"}', "tollhouse_store_up has no label le"),
    ],
)
def test_an_expression_that_asks_for_something_else_is_seen(expression, complaint):
    assert complaint in list(wrong(expression))


def test_each_metric_of_ours_is_on_the_dashboard():
    """But for those of which it would have to tell each a story of its own."""
    shown = " ".join(expression for _, expression in expressions())
    assert [name for name in METRICS if f"tollhouse_{name}" not in shown] == []


def test_each_alert_says_what_it_means_and_what_to_do():
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description", "action"}, rule["alert"]
    assert len({rule["alert"] for rule in rules()}) == len(rules())


def test_each_alert_is_tested_by_name_and_each_test_speaks_of_one():
    tested = set(re.findall(r"\bTollhouse\w+", (PROMETHEUS / "alerts_test.yaml").read_text(encoding="utf-8")))
    assert tested == {rule["alert"] for rule in rules()}


def test_each_panel_has_a_place_a_title_and_a_word_of_what_it_shows():
    places: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        place = panel["gridPos"]
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not covered & places, f"{panel['title']} lies on another"
        assert max(x for x, _ in covered) < 24
        places |= covered
    numbers = [panel["id"] for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]]
    assert len(set(numbers)) == len(numbers)


@pytest.fixture(scope="module")
def tool() -> Path:
    try:
        return promtool()
    except NotToBeHadError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))


def run(tool: Path, *words: str, where: Path = PROMETHEUS) -> str:
    done = subprocess.run([tool, *words], cwd=where, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_alerts(tool):
    assert f"{len(rules())} rules found" in run(tool, "check", "rules", "alerts.yaml")


def test_the_alerts_go_off_when_they_should_and_only_then(tool):
    assert "SUCCESS" in run(tool, "test", "rules", "alerts_test.yaml")


@pytest.mark.parametrize("name", [rule["alert"] for rule in rules()])
def test_no_alert_can_be_lost_without_its_test_noticing(tool, tmp_path, name):
    for file in PROMETHEUS.iterdir():
        shutil.copy(file, tmp_path)
    text = ALERTS.read_text(encoding="utf-8")
    (tmp_path / "alerts.yaml").write_text(text.replace(f"alert: {name}\n", f"alert: {name}Lost\n"), encoding="utf-8")
    done = subprocess.run(
        [tool, "test", "rules", "alerts_test.yaml"], cwd=tmp_path, capture_output=True, timeout=SECONDS
    )
    assert done.returncode != 0


def test_prometheus_understands_each_question_of_the_dashboard(tool, tmp_path):
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    plain = [
        expr.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$provider", ".*") for expr in asked
    ]
    assert not any("$" in expr for expr in plain)
    rows = [{"record": f"panel:{at}", "expr": expr} for at, expr in enumerate(plain)]
    (tmp_path / "panels.json").write_text(json.dumps({"groups": [{"name": "panels", "rules": rows}]}), encoding="utf-8")
    assert f"{len(rows)} rules found" in run(tool, "check", "rules", "panels.json", where=tmp_path)


def test_prometheus_takes_what_we_say(tool):
    metrics = Metrics()
    metrics.opened("openai", "all", "key")
    done = subprocess.run([tool, "check", "metrics"], input=metrics.text(), capture_output=True, timeout=SECONDS)
    assert done.returncode in (0, 3), done.stderr
    ours = [line for line in done.stderr.decode().splitlines() if line.startswith("tollhouse_")]
    assert ours == []
