"""docs/telemetry.md says what the code does: its tables are made from the code; TOLLHOUSE_BLESS=1 writes them anew.

Each event that is logged anywhere must be described in `EVENTS`: which there are, and with which fields, is read off
the code itself.
"""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.metrics import LABELS, METRICS
from proxy.otel.conventions import ATTRIBUTES, INSTRUMENTS
from proxy.telemetry import FIELDS

ROOT = Path(__file__).resolve().parent.parent
BLESS = os.environ.get("TOLLHOUSE_BLESS") == "1"
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}

EVENTS = {
    "Redis may evict": "Redis is set to drop keys when it is full: budgets could be forgotten",
    "budget alert": "a budget has come to 90 or to 100 percent",
    "budget alert not sent": "the webhook was not told of it",
    "circuit closed": "a model, a provider or our way there is asked again as usual",
    "circuit half-open": "it is being tried whether it is well again",
    "circuit opened": "it failed too often and is not asked until the time told; `heard`: another replica saw it",
    "configuration not taken, the one before stays": "a fault of ours in taking a new configuration",
    "configuration refused, the one before stays": "the file has a fault; one line for each",
    "cost unknown": "an answer was given by a model without a price",
    "cutting off": "the grace is over, or a second signal came: what is in flight is cancelled",
    "dashboard fresh again": "the dashboard shows the present again",
    "dashboard not fresh": "what the dashboard shows grows old: it could not be made anew",
    "draining": "it was told to stop: what is in flight is finished",
    "export broken off": "the store went away while rows were exported; the file is not whole",
    "health board forgotten": "the store lost what replicas had told each other of health",
    "health not counted": "a fault of ours: an outcome was not taken into account",
    "health not shared": "the store is away: each replica goes by what it has seen itself",
    "health not understood": "another version wrote what this one cannot read",
    "health reset": "a circuit was closed by hand",
    "health reset here only": "a circuit was closed by hand, and the other replicas do not know yet",
    "health shared again": "replicas hear each other again",
    "internal error": "a fault of ours in serving a request, with its traceback",
    "journal damaged": "lines of the journal could not be read; they are named",
    "journal goes on in an old file": "a new file of the journal could not be made",
    "journal not written": "a row of spend is in memory alone until the store has it",
    "journal off": "there is no journal: what is spent is lost if the process dies",
    "journal taken over": "what a process before this one left behind is being delivered",
    "key not understood, what was known stays": "another version wrote a key that this one cannot read",
    "key not written": "a key could not be made or changed: the store is away",
    "keys not shared": "the store is away: a key that is revoked elsewhere is not known here to be so",
    "keys put up again": "the store had lost the managed keys, and has them again from this replica",
    "keys shared again": "changes of keys are heard again",
    "ledger not read": "somebody asked for costs while the store was away",
    "listening": "the port is open; with what is on and what is off",
    "not counted": "a fault of ours: what an attempt cost is not in the books",
    "orphan": "nobody settled an attempt in time: all that was held for it is charged",
    "prices broken, the table before stays": "the price table has a fault; one line for each",
    "prices loaded": "a new price table is in force; with what it changed",
    "prices not looked at": "a fault of ours in reading the price table",
    "prices not read, the table before stays": "the file of the price table cannot be read",
    "quotas kept here": "the store is away: each replica counts a key's quota by itself",
    "quotas kept in the store again": "all replicas count together again",
    "rate limited": "a vendor wants to hear nothing until the time told",
    "reasoning state away": "a vendor's reasoning could not be kept or found for a later turn",
    "reasoning state back": "it can be kept again",
    "replicas are missing": "Redis has fewer replicas than were asked for: a failover could lose what was acknowledged",
    "request": "a request is over: see above",
    "series not shared": "a fault of ours: what this replica saw is not on the others' dashboards",
    "series not understood": "another version wrote what this one's dashboard cannot read",
    "stopped": "the process ends",
    "store away": "the store cannot be reached; where a budget applies requests are refused",
    "store back": "it can be reached again; `waiting` rows are on their way there",
    "store new or forgetful: told what we know": "the store had lost the counters: they are made anew from journals",
    "telemetry delivered again": "the collector takes what is sent again; `lost` did not arrive",
    "telemetry lost": "the collector does not take what is sent",
    "telemetry not made": "a fault of ours: of a request no span was made",
    "the store is whole again": "the counters of the store are those of the journals",
    "usage not believed": "a vendor told more tokens than its model can take in: what was heard was counted instead",
}


def logged() -> Iterator[tuple[str, str, list[str]]]:
    """Each call that logs an event, as the code has it: the event, its level, its fields."""
    for file in sorted((ROOT / "proxy").rglob("*.py")):
        if "simulator" in file.parts:  # it plays the vendors, and logs nothing of ours
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                first = node.args[0] if node.args else None
                ours = "log" in ast.unparse(node.func.value) and not ast.unparse(node.func.value).startswith("logging")
                if ours and isinstance(first, ast.Constant):
                    fields = [keyword.arg or "…" for keyword in node.keywords]
                    yield str(first.value), LEVELS[node.func.attr], fields


def fields() -> Iterator[str]:
    yield "| field | unit | meaning | there if |"
    yield "|---|---|---|---|"
    for name, field in FIELDS.items():
        yield f"| `{name}` | {field.unit} | {field.meaning} | {field.when or 'always'} |"


def events() -> Iterator[str]:
    found: dict[str, tuple[set[str], list[str]]] = {}
    for event, level, names in logged():
        levels, said = found.setdefault(event, (set(), []))
        levels.add(level)
        hidden = {"exc_info", *said}
        said += [name for name in names if name not in hidden]
    yield "| event | level | fields | meaning |"
    yield "|---|---|---|---|"
    for event, (levels, said) in sorted(found.items(), key=lambda pair: pair[0].lower()):
        with_it = ", ".join(name if name == "…" else f"`{name}`" for name in said)
        yield f"| `{event}` | {', '.join(sorted(levels))} | {with_it} | {EVENTS.get(event, '')} |"


def metrics() -> Iterator[str]:
    yield "| metric | type | unit | labels | meaning |"
    yield "|---|---|---|---|---|"
    for name, metric in METRICS.items():
        unit = next((unit for unit in ("seconds", "dollars") if unit in name.split("_")), "")
        named = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `tollhouse_{name}` | {metric.kind} | {unit} | {named} | {metric.meaning} |"


def labels() -> Iterator[str]:
    yield "| label | values that are not names |"
    yield "|---|---|"
    for label, values in LABELS.items():
        yield f"| `{label}` | {', '.join(f'`{value}`' for value in values)} |"


def attributes() -> Iterator[str]:
    yield "| attribute | span | type | meaning |"
    yield "|---|---|---|---|"
    for name, attribute in ATTRIBUTES.items():
        yield f"| `{name}` | {attribute.spans} | {attribute.type} | {attribute.meaning} |"


def instruments() -> Iterator[str]:
    yield "| instrument | unit | further attributes | meaning |"
    yield "|---|---|---|---|"
    for name, made in INSTRUMENTS.items():
        yield f"| `{name}` | `{made.unit}` | {', '.join(f'`{one}`' for one in made.more)} | {made.meaning} |"


GENERATED = {
    "fields": fields,
    "events": events,
    "metrics": metrics,
    "labels": labels,
    "attributes": attributes,
    "instruments": instruments,
}


@pytest.mark.parametrize("part", GENERATED)
def test_the_page_says_what_the_code_says(part: str) -> None:
    path = ROOT / "docs" / "telemetry.md"
    text = path.read_text(encoding="utf-8")
    between = re.compile(rf"(<!-- {part}: generated -->\n).*?(<!-- end -->)", re.DOTALL)
    assert between.search(text), f"docs/telemetry.md has no place for {part}"
    fresh = between.sub(lambda found: found[1] + "\n".join(GENERATED[part]()) + "\n" + found[2], text)
    if BLESS:
        path.write_text(fresh, encoding="utf-8")
    assert fresh == (path.read_text(encoding="utf-8") if BLESS else text), (
        "run the tests with TOLLHOUSE_BLESS=1, then read the change"
    )


def test_each_event_that_is_logged_is_described() -> None:
    found = {event for event, _, _ in logged()}
    assert sorted(found - set(EVENTS)) == [], "describe them in EVENTS"
    assert len(found) > 40


def test_no_event_is_described_that_nobody_logs() -> None:
    assert sorted(set(EVENTS) - {event for event, _, _ in logged()}) == []


def test_an_event_is_found_however_its_logger_is_called() -> None:
    found = dict((event, level) for event, level, _ in logged())
    assert found["request"] == "info"
    assert found["internal error"] == "error"
    assert found["circuit opened"] == "warning"
    assert "memory" not in found, "a command of Redis"
