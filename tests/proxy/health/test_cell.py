"""What outcomes say to what is known of a model, of a provider, and of our own way there."""

from functools import reduce

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from adapters.base import Failure, Kind
from proxy.health import cell as cells
from proxy.health.cell import EFFECTS, Cell, Outcome, Report, Scope, decode, encode, observed, report, urgent
from proxy.health.circuit import Bucket, Circuit, Policy, Tally
from proxy.health.pace import Pace, Sketch, sketch
from proxy.health.ratelimit import Window

NOW = 1_800_000_000_000
SECOND = 1_000
POLICY = Policy()
ROOM = {"tokens": Window(100, 40, NOW, NOW + 30 * SECOND)}
SCOPES: tuple[Scope, ...] = ("model", "provider", "line")


def failing(kind: Kind, retry_after: float | None = None, **more) -> Outcome:
    return Outcome(failure=Failure(kind, "Broke.", retry_after=retry_after), **more)


WELL = Outcome(first=200.0, whole=1_200.0, tokens=50, windows=ROOM)

# outcome: what model, provider and line are told of it
SAYS = {
    "an answer: all is well": (WELL, "ok", "ok", "ok"),
    "it broke: the model failed, the way there is well": (failing(Kind.TRANSIENT), "failed", "none", "ok"),
    "it is too busy: the model failed, the way there is well": (failing(Kind.OVERLOADED), "failed", "none", "ok"),
    "it says nothing in time: the model failed": (failing(Kind.TIMEOUT), "failed", "none", "none"),
    "no connection: our own way failed, and nobody else": (failing(Kind.UNREACHABLE), "none", "none", "failed"),
    "we are too fast: no sickness": (failing(Kind.RATE_LIMITED), "none", "none", "ok"),
    "no money left there: the provider is out": (failing(Kind.QUOTA), "none", "trip", "ok"),
    "our key is bad: the provider is out, the model is not": (failing(Kind.KEY), "none", "trip", "ok"),
    "it does not know its own model: the model is out": (failing(Kind.MODEL), "trip", "none", "ok"),
    "it does not know what the client named": (failing(Kind.MODEL, known=False), "none", "none", "ok"),
    "a name that was made up is no proof against our key": (failing(Kind.KEY, known=False), "none", "failed", "ok"),
    "nor against our account": (failing(Kind.QUOTA, known=False), "none", "failed", "ok"),
    "a bad request, perhaps never sent: the caller's fault": (failing(Kind.CALLER), "none", "none", "none"),
    "a request too long: the caller's fault": (failing(Kind.TOO_LONG), "none", "none", "ok"),
    "against its policy: the caller's fault": (failing(Kind.POLICY), "none", "none", "ok"),
    "this request only: the vendor is well": (failing(Kind.REQUEST), "none", "none", "ok"),
    "it cannot honour a parameter: nothing was sent": (failing(Kind.UNSUPPORTED), "none", "none", "none"),
    "our own budget: nothing was sent": (failing(Kind.BUDGET), "none", "none", "none"),
    "our own store: nothing was sent": (failing(Kind.STORE), "none", "none", "none"),
    "the client left": (Outcome(left=True), "none", "none", "none"),
    "the client left who was not served in time": (failing(Kind.TIMEOUT, left=True), "none", "none", "none"),
    "the client left, though it was refused": (failing(Kind.KEY, left=True), "none", "none", "none"),
}


def effect(tally: Tally) -> str:
    if tally.trip:
        return "trip"
    return "ok" if tally.ok else "failed" if tally.failed else "none"


@pytest.mark.parametrize(("outcome", "model", "provider", "line"), SAYS.values(), ids=SAYS.keys())
def test_whose_fault_it_was_decides_who_is_told(outcome, model, provider, line):
    for scope, told in zip(SCOPES, (model, provider, line), strict=True):
        tally = report(outcome, scope, POLICY, NOW).tally
        assert (scope, effect(tally), tally.at) == (scope, told, NOW)
        assert tally.why == (outcome.failure.kind.value if told in ("failed", "trip") else "")
        assert tally.tail == tally.failed == (told in ("failed", "trip"))


@pytest.mark.parametrize(("outcome", "model", "provider", "line"), SAYS.values(), ids=SAYS.keys())
def test_a_probe_says_the_same_under_its_name(outcome, model, provider, line):
    names = {"ok": "passed", "failed": "flunked", "trip": "flunked", "none": "void"}
    for scope, told in zip(SCOPES, (model, provider, line), strict=True):
        tally = report(outcome, scope, POLICY, NOW, "p").tally
        assert {name: getattr(tally, name) for name in ("passed", "flunked", "void")} == {
            name: ("p",) if name == names[told] else () for name in ("passed", "flunked", "void")
        }
        assert effect(tally) == told


def test_every_kind_of_failure_is_in_the_tables():
    assert set(EFFECTS) == {None, *Kind}
    assert {outcome.failure.kind if outcome.failure else None for outcome, *_ in SAYS.values()} == {None, *Kind}


@pytest.mark.parametrize(("outcome", "model", "provider", "line"), SAYS.values(), ids=SAYS.keys())
def test_every_outcome_is_counted_once_whoever_counts(outcome, model, provider, line):
    for scope in SCOPES:
        said = report(outcome, scope, POLICY, NOW)
        cell = observed(Cell(ok=10, failed=10, limited=10, others=10), said, POLICY, NOW)
        counted = {name: getattr(cell, name) - 10 for name in ("ok", "failed", "limited", "others")}
        limited = outcome.failure is not None and outcome.failure.kind is Kind.RATE_LIMITED
        where = (
            "ok"
            if model == "ok"
            else "limited"
            if limited
            else "failed"
            if {"failed", "trip"} & {model, provider, line}
            else "others"
        )
        assert counted == {"ok": 0, "failed": 0, "limited": 0, "others": 0, where: 1}


@pytest.mark.parametrize(("outcome", "model", "provider", "line"), SAYS.values(), ids=SAYS.keys())
def test_what_is_heard_too_late_is_counted_and_says_nothing_to_the_circuit(outcome, model, provider, line):
    for scope in SCOPES:
        late = report(outcome, scope, POLICY, NOW, late=True)
        assert late.tally == Tally(at=NOW)
        assert replace(late, tally=Tally()) == replace(report(outcome, scope, POLICY, NOW), tally=Tally())


def test_a_probe_is_never_too_late():
    assert report(WELL, "model", POLICY, NOW, "p", late=True).tally.passed == ("p",)


# ---- how long -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "said", "cooldown"),
    [
        pytest.param(Kind.TRANSIENT, None, None, id="it broke: as the policy says"),
        pytest.param(Kind.TRANSIENT, 7.0, 7.0, id="it broke, and knows for how long"),
        pytest.param(Kind.TIMEOUT, None, None, id="it hangs: as the policy says"),
        pytest.param(Kind.OVERLOADED, None, 15.0, id="too busy: soon over"),
        pytest.param(Kind.OVERLOADED, 5.0, 15.0, id="too busy, but not sooner"),
        pytest.param(Kind.OVERLOADED, 60.0, 60.0, id="too busy, slow down"),
        pytest.param(Kind.MODEL, 5.0, None, id="a model that is not there is not there in five seconds"),
    ],
)
def test_a_cooldown_follows_the_kind_and_the_vendors_word(kind, said, cooldown):
    assert report(failing(kind, said), "model", POLICY, NOW).tally.cooldown == cooldown


@pytest.mark.parametrize("kind", [Kind.KEY, Kind.QUOTA])
@pytest.mark.parametrize(
    ("said", "cooldown"), [(None, None), (1.0, None), (300.0, None), (301.0, 301.0)], ids=lambda value: f"{value}"
)
def test_our_key_and_our_money_are_not_well_sooner_than_the_policy_says(kind, said, cooldown):
    assert report(failing(kind, said), "provider", POLICY, NOW).tally.cooldown == cooldown


def test_a_policy_that_is_shorter_than_a_busy_vendor_is_obeyed():
    brief = Policy(cooldown=2)
    assert report(failing(Kind.OVERLOADED), "model", brief, NOW).tally.cooldown == 2


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        pytest.param(None, 10, id="nothing: ten seconds"),
        pytest.param(7.0, 7, id="its word"),
        pytest.param(0.5, 0.5, id="a part of a second"),
        pytest.param(0.0004, 0.001, id="never too early"),
        pytest.param(0.0, 0, id="at once"),
        pytest.param(1e7, 86_400, id="a day at most"),
    ],
)
def test_a_rate_limit_moves_the_models_traffic_until_its_time(said, seconds):
    limited = failing(Kind.RATE_LIMITED, said, windows=ROOM)
    heard = report(limited, "model", POLICY, NOW)
    assert (heard.blocked, heard.windows) == (NOW + int(seconds * SECOND), ROOM)
    for scope in ("provider", "line"):
        assert (report(limited, scope, POLICY, NOW).blocked, report(limited, scope, POLICY, NOW).windows) == (0, {})
    cell = observed(Cell(), heard, POLICY, NOW)
    assert (cell.blocked, cell.circuit.opened, cell.circuit.consecutive) == (heard.blocked, False, 0)


def test_the_later_time_of_two_is_kept():
    early, late = (report(failing(Kind.RATE_LIMITED, wait), "model", POLICY, NOW) for wait in (1.0, 9.0))
    assert late.joined(early).blocked == early.joined(late).blocked == late.blocked
    assert observed(observed(Cell(), late, POLICY, NOW), early, POLICY, NOW).blocked == late.blocked


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.RATE_LIMITED])
def test_no_other_failure_is_a_rate_limit(kind):
    heard = report(failing(kind, 7.0), "model", POLICY, NOW)
    assert (heard.blocked, heard.limited) == (0, 0)


# ---- how fast -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "first", "whole", "speed", "pace"),
    [
        pytest.param(WELL, 200.0, 1_200.0, 50.0, 200.0, id="a stream: fifty tokens in a second"),
        pytest.param(Outcome(whole=500.0, tokens=50), None, 500.0, 100.0, 500.0, id="a whole answer"),
        pytest.param(Outcome(first=200.0), 200.0, None, None, 200.0, id="a stream of unknown length"),
        pytest.param(Outcome(whole=500.0), None, 500.0, None, 500.0, id="an answer of no tokens"),
        pytest.param(Outcome(first=9.0, whole=9.0, tokens=5), 9.0, 9.0, None, 9.0, id="all at once"),
        pytest.param(Outcome(first=0.0, whole=9.0), 0.0, 9.0, None, 0.0, id="at once is a time, too"),
        pytest.param(Outcome(), None, None, None, None, id="nothing to be learnt"),
        pytest.param(Outcome(left=True, first=200.0, whole=500.0), None, None, None, None, id="the client left"),
        pytest.param(failing(Kind.TIMEOUT, first=2.0, whole=9.0), None, None, None, None, id="it failed"),
    ],
)
def test_what_went_well_tells_how_fast_it_is(outcome, first, whole, speed, pace):
    heard = report(outcome, "model", POLICY, NOW)
    expected = [Sketch() if value is None else sketch([value]) for value in (first, whole, speed)]
    assert [heard.first, heard.whole, heard.speed] == expected
    assert heard.pace == (Pace() if pace is None else Pace(pace, 1.0, NOW))
    assert replace(report(outcome, "line", POLICY, NOW), tally=Tally(), ok=0, failed=0, others=0) == Report()


# ---- what is known ------------------------------------------------------------------------------------------------


def test_all_that_was_heard_is_known():
    cell = observed(Cell(), report(WELL, "model", POLICY, NOW), POLICY, NOW)
    width = POLICY.window * SECOND // 6
    assert cell == Cell(
        circuit=Circuit(window=(Bucket(int(NOW - NOW % width), 1, 0),)),
        ok=1,
        born=NOW,
        windows=ROOM,
        first=sketch([200.0]),
        whole=sketch([1_200.0]),
        speed=sketch([50.0]),
        pace=Pace(200.0, 1.0, NOW),
    )
    assert observed(cell, Report(), POLICY, NOW + 5) == cell


def test_a_model_that_fails_again_and_again_is_out():
    cell = Cell()
    for _ in range(5):
        cell = observed(cell, report(failing(Kind.TIMEOUT), "model", POLICY, NOW), POLICY, NOW)
    assert (cell.circuit.opened, cell.circuit.why, cell.failed) == (True, "timeout", 5)


def test_a_reset_closes_and_frees_and_forgets_no_counts():
    sick = Cell(circuit=Circuit(opened=True, why="key", until=NOW), ok=5, blocked=NOW + 9, windows=ROOM, born=3)
    assert cells.reset(sick, NOW) == Cell(circuit=Circuit(since=NOW), ok=5, born=3)


@pytest.mark.parametrize(
    ("change", "at_once"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param({"circuit": Circuit(opened=True, since=5, until=9)}, True, id="it opened"),
        pytest.param({"circuit": Circuit(since=5)}, True, id="it was reset"),
        pytest.param({"circuit": Circuit(until=9)}, True, id="it lasts longer"),
        pytest.param({"blocked": 9}, True, id="it is rate limited"),
        pytest.param({"circuit": Circuit(consecutive=3, passed=1)}, False, id="it counted"),
        pytest.param({"ok": 5, "windows": ROOM, "first": sketch([5])}, False, id="it answered"),
    ],
)
def test_what_moves_traffic_is_told_at_once_and_the_rest_by_and_by(change, at_once):
    assert urgent(Cell(), Cell(**change)) is at_once


# ---- reports add up -----------------------------------------------------------------------------------------------

KINDS = st.sampled_from([None, *Kind])
OUTCOMES = st.builds(
    lambda kind, left, wait, first, more, tokens, window: Outcome(
        failure=Failure(kind, "Broke.", retry_after=wait) if kind else None,
        left=left,
        first=first,
        whole=None if first is None else first + more,
        tokens=tokens,
        windows={} if window is None else {"tokens": Window(9, 1, NOW + window, NOW)},
    ),
    KINDS,
    st.booleans(),
    st.none() | st.floats(0, 1_000),
    st.none() | st.floats(1, 1e5),
    st.floats(0, 1e5),
    st.integers(0, 500),
    st.none() | st.integers(0, 99),
)
REPORTS = st.builds(
    lambda outcome, scope, later, probe: report(outcome, scope, POLICY, NOW + later, probe),
    OUTCOMES,
    st.sampled_from(SCOPES),
    st.integers(0, 3_000),
    st.none() | st.sampled_from("ab"),
)


def nearly(heard: Report | Cell) -> tuple[object, ...]:
    """To be compared: an average adds up to within the precision of a float."""
    pace = heard.pace.faded(NOW + 5_000)
    return replace(heard, pace=Pace()), pytest.approx(pace.sum), pytest.approx(pace.weight)


@given(REPORTS, REPORTS, REPORTS)
def test_reports_add_up_however_they_are_grouped(a, b, c):
    assert nearly(a.joined(b).joined(c)) == nearly(a.joined(b.joined(c)))


@given(REPORTS)
def test_a_report_of_nothing_adds_nothing(heard):
    assert heard.joined(Report()) == heard
    assert Report().joined(heard) == heard


@given(st.lists(REPORTS, min_size=1, max_size=12), st.lists(REPORTS, min_size=1, max_size=12))
def test_hearing_reports_at_once_is_hearing_them_one_by_one_but_for_the_circuit(before, after):
    def hear(cell: Cell, reports: list[Report]) -> Cell:
        return reduce(lambda known, heard: observed(known, heard, POLICY, NOW), reports, cell)

    cell = hear(Cell(), before)
    one_by_one, at_once = hear(cell, after), hear(cell, [reduce(Report.joined, after)])
    assert nearly(replace(at_once, circuit=Circuit())) == nearly(replace(one_by_one, circuit=Circuit()))
    tripped = any(heard.tally.trip for heard in after)
    if tripped and not cell.circuit.opened:
        assert at_once.circuit.opened
        assert one_by_one.circuit.opened
    if not at_once.circuit.opened and not one_by_one.circuit.opened:
        assert at_once.circuit.consecutive == one_by_one.circuit.consecutive


# ---- on the board -------------------------------------------------------------------------------------------------

CELLS = st.lists(REPORTS, max_size=20).map(
    lambda reports: reduce(lambda known, heard: observed(known, heard, POLICY, NOW), reports, Cell())
)


@given(CELLS)
def test_what_is_written_is_read(cell):
    assert decode(encode(cell)) == cell


def test_a_cell_of_which_nothing_is_known_is_short():
    assert encode(Cell()) == b"{}"
    assert decode(b"{}") == Cell()


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        pytest.param(b'{"ok":5,"mood":{"x":[1]}}', Cell(ok=5), id="a member of a later version"),
        pytest.param(b'{"circuit":{"opened":true,"mood":1}}', Cell(circuit=Circuit(opened=True)), id="deeper, too"),
        pytest.param(
            b'{"circuit":{"window":[[7,1,2,"more"],[8]]}}',
            Cell(circuit=Circuit(window=(Bucket(7, 1, 2), Bucket(8)))),
            id="buckets that hold more, and less",
        ),
        pytest.param(
            b'{"windows":{"tokens":[9,8,7,6,"more"]}}',
            Cell(windows={"tokens": Window(9, 8, 7, 6)}),
            id="a limit that holds more",
        ),
        pytest.param(b'{"first":{"counts":{"57":3}}}', Cell(first=Sketch({57: 3})), id="numbers for names"),
    ],
)
def test_what_another_version_wrote_is_read(text, cell):
    assert decode(text) == cell


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no",
        b"[]",
        b"null",
        b'{"ok":"five"}',
        b'{"ok":5',
        b'{"circuit":null}',
        b'{"circuit":{"window":[[]]}}',
        b'{"windows":{"tokens":[1]}}',
        b'{"first":{"counts":{"x":1}}}',
        b'{"pace":{"sum":null}}',
        b"\xff",
        b"[" * 100_000,
        b'{"mood":' + b"[" * 100_000,
    ],
    ids=lambda text: repr(text[:30]),
)
def test_garbage_is_refused(text):
    with pytest.raises(msgspec.MsgspecError):
        decode(text)


answers = st.builds(
    Outcome,
    first=st.none() | st.floats(1, 1e5),
    whole=st.none() | st.floats(1, 1e5),
    tokens=st.integers(0, 500),
    windows=st.just({}) | st.builds(lambda at: {"requests": Window(100, 50, at, at + 60_000)}, st.integers(0, NOW)),
)


@given(st.lists(answers, min_size=1, max_size=80), st.sampled_from(SCOPES))
def test_answers_in_a_row_say_together_what_they_say_one_by_one(outcomes, scope):
    one_by_one = reduce(Report.joined, (report(outcome, scope, POLICY, NOW) for outcome in outcomes))
    together = cells.well(outcomes, scope, NOW)
    assert replace(together, pace=Pace()) == replace(one_by_one, pace=Pace())
    assert together.pace.weight == one_by_one.pace.weight
    assert together.pace.sum == pytest.approx(one_by_one.pace.sum)
