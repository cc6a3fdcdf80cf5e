"""What is said of the health of providers and models: each figure by a table, and who is shown at all."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.completion import encode
from proxy.catalog import Catalog, ProviderRow
from proxy.health import Cell, Policy, Standing
from proxy.health.circuit import Bucket, Circuit
from proxy.health.pace import Sketch, sketch
from proxy.health.ratelimit import Window
from proxy.prices import Class, Limits, Micro, Model, Price, Rates
from proxy.stats import iso
from proxy.vitals import LINE, PROVIDER, circuit_json, counted, health, models, standing_json

NOON = 1_795_435_200_000  # 2026-11-23T12:00:00Z
POLICY = Policy(window=60.0, probes=3, slow_start=30.0)
LIMITS = Limits(context=1_000, max_output=100)


def model(provider: str, name: str, class_: Class | None = None, **fields: Any) -> Model:
    prices = (Price(source="s", per_mtok=Rates(input=Micro(1), output=Micro(1))),)
    preferred = class_ is not None
    return Model(
        provider=provider, model=name, limits=LIMITS, class_=class_, preferred=preferred, prices=prices, **fields
    )


OPENAI = ProviderRow(name="openai", vendor="openai")
OLLAMA = ProviderRow(
    name="ollama",
    vendor="openai",
    models=(model("ollama", "small", "fast"), model("ollama", "embed", kind="embedding")),
)
CATALOG = Catalog(
    [
        model("openai", "big", "frontier", match=("big-*",)),
        model("openai", "mini", "fast"),
        model("openai", "std", "standard"),
        model("openai", "old"),
        model("openai", "vectors", kind="embedding"),
        model("gemini", "flash", "fast"),
    ]
)


# --- who is shown


def test_of_each_provider_those_that_stand_in_are_shown_and_those_of_which_something_is_known():
    shared = {("openai", "std"): Cell(), ("openai", "zed"): Cell(), ("openai", PROVIDER): Cell()}
    own = {("openai", "old"): Cell(), ("openai", "zed"): Cell(), ("openai", LINE): Cell(), ("gone", "m"): Cell()}
    assert models(CATALOG, [OPENAI, OLLAMA], shared, own) == {
        "openai": ["big", "std", "mini", "old", "zed"],
        "ollama": ["small"],
    }


def test_a_provider_of_which_nothing_is_known_is_shown_all_the_same():
    bare = ProviderRow(name="bare", vendor="openai")
    assert models(CATALOG, [bare], {}) == {"bare": []}


@pytest.mark.parametrize(
    ("row", "name", "known", "under"),
    [
        pytest.param(OPENAI, "big", {}, "big", id="a model by its own name"),
        pytest.param(OPENAI, "big-2026-11-01", {}, "big", id="a dated name counts as its entry"),
        pytest.param(OLLAMA, "small", {}, "small", id="a model of the configuration"),
        pytest.param(OPENAI, "small", {}, None, id="a model of another provider"),
        pytest.param(OPENAI, "none", {}, None, id="a model that nobody knows"),
        pytest.param(OPENAI, "vectors", {}, None, id="a model that does not chat"),
        pytest.param(OLLAMA, "embed", {}, None, id="one of the configuration that does not chat"),
        pytest.param(OPENAI, "other", {("openai", "other"): 1}, "other", id="what all unknown names are counted under"),
        pytest.param(OPENAI, "openai/other", {("openai", "other"): 1}, "other", id="the same, as the log names it"),
        pytest.param(OPENAI, "openai/", {}, None, id="a provider without a model"),
        pytest.param(OPENAI, "ollama/big", {}, None, id="with the name of another provider"),
        pytest.param(OPENAI, "other", {("ollama", "other"): 1}, None, id="but not those of another provider"),
        pytest.param(OPENAI, "", {("openai", ""): 1}, None, id="the provider's own cell is no model"),
        pytest.param(OPENAI, "line", {("openai", "line"): 1}, None, id="nor is our way there"),
    ],
)
def test_under_which_name_a_model_is_counted(row, name, known, under):
    assert counted(CATALOG, row, name, {}, known) == under


# --- a circuit

CLOSED = {
    "state": "closed",
    "since": None,
    "until": None,
    "next_probe": None,
    "why": None,
    "failure_rate": None,
    "window": {"seconds": 60.0, "ok": 0, "failed": 0},
    "consecutive_failures": 0,
    "openings": 0,
    "probes": {"in_flight": 0, "passed": 0},
    "share": 1.0,
}
HALF_OPEN = Circuit(opened=True, since=NOON - 9_000, until=NOON - 1_000, why="timeout", openings=2, consecutive=4)


def half_open(**fields: Any) -> Circuit:
    return msgspec.structs.replace(HALF_OPEN, **fields)


SINCE, UNTIL = "2026-11-23T11:59:51.000Z", "2026-11-23T11:59:59.000Z"
PROBED = {"state": "half_open", "since": SINCE, "until": UNTIL, "why": "timeout", "openings": 2,
          "consecutive_failures": 4}  # fmt: skip


@pytest.mark.parametrize(
    ("circuit", "said"),
    [
        pytest.param(Circuit(), {}, id="nothing was ever heard of it"),
        pytest.param(
            Circuit(window=(Bucket(NOON - 10_000, 3, 1),), consecutive=1),
            {
                "failure_rate": 0.25,
                "window": {"seconds": 60.0, "ok": 3, "failed": 1},
                "consecutive_failures": 1,
            },
            id="closed, and one in four has failed",
        ),
        pytest.param(
            Circuit(window=(Bucket(NOON - 90_000, 3, 1), Bucket(NOON - 10_000, 2, 1))),
            {"failure_rate": 0.3333, "window": {"seconds": 60.0, "ok": 2, "failed": 1}},
            id="what is older than the window does not count",
        ),
        pytest.param(
            Circuit(opened=True, since=NOON - 1, until=NOON + 299_999, why="overloaded", openings=1, consecutive=5),
            {
                "state": "open",
                "since": "2026-11-23T11:59:59.999Z",
                "until": "2026-11-23T12:04:59.999Z",
                "next_probe": "2026-11-23T12:04:59.999Z",
                "why": "overloaded",
                "openings": 1,
                "consecutive_failures": 5,
            },
            id="open: until when, and why",
        ),
        pytest.param(
            half_open(),
            {**PROBED, "next_probe": "2026-11-23T12:00:00.000Z"},
            id="half-open: a probe may go now",
        ),
        pytest.param(
            half_open(probes={"a": NOON + 1}),
            {**PROBED, "next_probe": None, "probes": {"in_flight": 1, "passed": 0}},
            id="half-open: no other probe while the first is on its way",
        ),
        pytest.param(
            half_open(probes={"a": NOON, "b": NOON + 1}, passed=1),
            {**PROBED, "next_probe": "2026-11-23T12:00:00.000Z", "probes": {"in_flight": 1, "passed": 1}},
            id="half-open: one has passed, one is on its way, of one nothing is heard any more",
        ),
        pytest.param(
            Circuit(since=NOON - 15_000, until=NOON - 16_000, openings=1, cooldown=1, why="timeout"),
            {"since": "2026-11-23T11:59:45.000Z", "openings": 1, "share": 0.5},
            id="closed again, half way through the slow start: nothing is wrong now",
        ),
    ],
)
def test_what_is_said_of_a_circuit(circuit, said):
    assert circuit_json(circuit, POLICY, NOON) == {**CLOSED, **said}


# --- how a candidate stands


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        pytest.param(Standing(), {}, id="well"),
        pytest.param(
            Standing(
                state="open", scope="line", since=NOON, until=NOON + 1, why="unreachable", share=0.12345, first=12.34
            ),
            {
                "state": "open",
                "scope": "line",
                "since": "2026-11-23T12:00:00.000Z",
                "until": "2026-11-23T12:00:00.001Z",
                "why": "unreachable",
                "share": 0.123,
                "expected_first_part_ms": 12.3,
            },
            id="there is no way there",
        ),
        pytest.param(
            Standing(blocked=NOON + 1, scope="provider"),
            {"rate_limited_until": "2026-11-23T12:00:00.001Z"},
            id="rate limited is not sick: whose circuit it is says nothing",
        ),
    ],
)
def test_how_a_candidate_stands(standing, said):
    usual = {
        "state": "closed",
        "scope": None,
        "since": None,
        "until": None,
        "why": None,
        "share": 1.0,
        "rate_limited_until": None,
        "expected_first_part_ms": None,
    }
    assert standing_json(standing) == {**usual, **said}


# --- all of it


def told(cells: dict, own: dict | None = None, **standings: Standing) -> dict[str, Any]:
    shown = {"openai": list(standings) or ["big"]}
    stood = {("openai", name): standings.get(name, Standing()) for name in shown["openai"]}
    said = health(shown, cells, own or {}, stood, POLICY, NOON)
    openai: dict[str, Any] = json.loads(encode(said))["openai"]
    return openai


NONE = {"p50": None, "p95": None, "p99": None}
NO_TOTALS = {"ok": 0, "failed": 0, "rate_limited": 0, "others": 0, "since": None}
RATES = {key: CLOSED[key] for key in ("failure_rate", "window", "consecutive_failures")}


def test_of_who_was_never_asked_all_is_said_and_nothing_is_known():
    assert told({}) == {
        **CLOSED,
        "totals": NO_TOTALS,
        "own": {"line": CLOSED},
        "models": {
            "big": {
                **CLOSED,
                "totals": NO_TOTALS,
                "first_part_ms": NONE,
                "total_ms": NONE,
                "tokens_per_second": {"p50": None},
                "limits": {},
                "rate_limited_until": None,
                "in_flight": 0,
                "stalled": False,
                "standing": standing_json(Standing()),
                "own": {**RATES, "totals": NO_TOTALS},
            }
        },
    }


def test_what_all_have_seen_and_what_this_one_has_seen_are_told_apart():
    shared = Cell(circuit=HALF_OPEN, ok=90, failed=7, limited=2, others=1, born=NOON - 1)
    alone = Cell(circuit=Circuit(consecutive=2, window=(Bucket(NOON, 1, 1),)), ok=9, failed=2, limited=1, others=3,
                 born=NOON)  # fmt: skip
    said = told({("openai", "big"): shared}, {("openai", "big"): alone})["models"]["big"]
    assert {key: said[key] for key in CLOSED} == circuit_json(HALF_OPEN, POLICY, NOON)
    assert said["totals"] == {"ok": 90, "failed": 7, "rate_limited": 2, "others": 1, "since": iso(NOON - 1)}
    assert said["own"] == {
        "failure_rate": 0.5,
        "window": {"seconds": 60.0, "ok": 1, "failed": 1},
        "consecutive_failures": 2,
        "totals": {"ok": 9, "failed": 2, "rate_limited": 1, "others": 3, "since": iso(NOON)},
    }


def test_a_provider_has_a_circuit_of_its_own_and_a_way_there():
    key = Circuit(opened=True, since=NOON, until=NOON + 5_000, why="key")
    line = Circuit(opened=True, since=NOON, until=NOON + 1_000, why="unreachable")
    said = told({("openai", PROVIDER): Cell(circuit=key, failed=3)}, {("openai", LINE): Cell(circuit=line)})
    assert {name: said[name] for name in CLOSED} == circuit_json(key, POLICY, NOON)
    assert said["totals"]["failed"] == 3
    assert said["own"]["line"] == circuit_json(line, POLICY, NOON)
    assert said["models"]["big"]["state"] == "closed"


def test_what_this_replica_goes_by_is_said_with_its_own_requests():
    standing = Standing(state="open", scope="line", until=NOON + 1, in_flight=4, stalled=True)
    said = told({}, None, big=standing, mini=Standing(in_flight=1))["models"]
    assert said["big"]["standing"] == standing_json(standing)
    assert (said["big"]["in_flight"], said["big"]["stalled"], said["big"]["state"]) == (4, True, "closed")
    assert (said["mini"]["in_flight"], said["mini"]["stalled"]) == (1, False)


def sketched(*values: float) -> Sketch:
    whole = Sketch()
    for value in values:
        whole = whole.joined(sketch([value]))
    return whole


def test_percentiles_are_of_what_they_say():
    cell = Cell(
        first=sketched(*range(1, 101)),
        whole=sketched(*(1_000 * n for n in range(1, 101))),
        speed=sketched(40.0, 50.0, 60.0),
    )
    said = told({("openai", "big"): cell})["models"]["big"]
    assert said["first_part_ms"] == {f"p{percent}": pytest.approx(percent, rel=0.06) for percent in (50, 95, 99)}
    assert said["total_ms"] == {f"p{percent}": pytest.approx(1_000 * percent, rel=0.06) for percent in (50, 95, 99)}
    assert said["tokens_per_second"] == {"p50": pytest.approx(50, rel=0.06)}


@pytest.mark.parametrize(
    ("window", "said"),
    [
        pytest.param(
            Window(100, 40, NOON, NOON + 60_000),
            {"limit": 100, "left": 40, "resets_at": "2026-11-23T12:01:00.000Z"},
            id="as it was told a moment ago",
        ),
        pytest.param(
            Window(100, 40, NOON - 30_000, NOON + 30_000),
            {"limit": 100, "left": 70, "resets_at": "2026-11-23T12:00:30.000Z"},
            id="it fills up bit by bit",
        ),
        pytest.param(
            Window(100, 0, NOON - 60_000, NOON), {"limit": 100, "left": 100, "resets_at": None}, id="full again"
        ),
        pytest.param(
            Window(100, -30, NOON, NOON + 60_000),
            {"limit": 100, "left": 0, "resets_at": "2026-11-23T12:01:00.000Z"},
            id="more was sent than there was: nothing is left, not less",
        ),
    ],
)
def test_what_a_vendors_limit_has_left(window, said):
    cell = Cell(windows={"tokens": window, "requests": window})
    limits = told({("openai", "big"): cell})["models"]["big"]["limits"]
    assert limits == {"requests": said, "tokens": said}
    assert list(limits) == ["requests", "tokens"]


@pytest.mark.parametrize(
    ("blocked", "said"),
    [
        pytest.param(NOON + 1, "2026-11-23T12:00:00.001Z", id="until then"),
        pytest.param(NOON, None, id="it is over"),
        pytest.param(0, None, id="it never was"),
    ],
)
def test_until_when_a_model_is_rate_limited(blocked, said):
    assert told({("openai", "big"): Cell(blocked=blocked)})["models"]["big"]["rate_limited_until"] == said


buckets = st.builds(Bucket, st.integers(NOON - 100_000, NOON), st.integers(0, 50), st.integers(0, 50))
circuits = st.builds(
    Circuit,
    opened=st.booleans(),
    since=st.integers(0, NOON),
    until=st.integers(0, 2 * NOON),
    cooldown=st.integers(0, 3_600_000),
    why=st.sampled_from(["", "timeout", "key"]),
    openings=st.integers(0, 30),
    consecutive=st.integers(0, 1_000),
    window=st.lists(buckets, max_size=8).map(tuple),
    probes=st.dictionaries(st.text(max_size=3), st.integers(NOON - 10, NOON + 10), max_size=4),
    passed=st.integers(0, 3),
)


@given(circuits)
def test_whatever_a_circuit_is_the_same_is_said_of_it(circuit):
    said = circuit_json(circuit, POLICY, NOON)
    assert said.keys() == CLOSED.keys()
    assert 0 <= said["share"] <= 1
    assert said["failure_rate"] is None or 0 <= said["failure_rate"] <= 1
    if said["state"] == "closed":
        assert (said["until"], said["next_probe"], said["why"]) == (None, None, None)
    if said["state"] == "open":
        assert said["next_probe"] == said["until"] > iso(NOON)
    if said["next_probe"] is not None:
        assert said["next_probe"] >= iso(NOON)
