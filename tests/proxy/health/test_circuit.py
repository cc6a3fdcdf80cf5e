"""One breaker: when it opens, for how long, who may try it, and when it closes."""

from functools import reduce
from itertools import count

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from proxy.health.circuit import Bucket, Circuit, Policy, Tally, admit, counts, observe, reset, share, state

NOW = 1_800_000_000_000
SECOND = 1_000
MINUTE = 60 * SECOND
DAY = 86_400
POLICY = Policy()
FRESH = Circuit()


def ok(at: int = NOW) -> Tally:
    return Tally(ok=1, at=at)


def failed(at: int = NOW, *, why: str = "transient", trip: bool = False, cooldown: float | None = None) -> Tally:
    return Tally(failed=1, tail=1, at=at, why=why, trip=trip, cooldown=cooldown)


def passed(*names: str, at: int = NOW) -> Tally:
    return Tally(ok=len(names), at=at, passed=names)


def flunked(name: str, at: int = NOW, cooldown: float | None = None) -> Tally:
    return Tally(failed=1, tail=1, at=at, why="timeout", flunked=(name,), cooldown=cooldown)


def hear(circuit: Circuit, *tallies: Tally, policy: Policy = POLICY) -> Circuit:
    """One by one, each at its own time."""
    return reduce(lambda known, tally: observe(known, tally, policy, tally.at), tallies, circuit)


def tripped(policy: Policy = POLICY, cooldown: float | None = None) -> Circuit:
    return observe(FRESH, failed(trip=True, why="key", cooldown=cooldown), policy, NOW)


def probing(circuit: Circuit, *names: str, at: int, policy: Policy = POLICY) -> Circuit:
    """With places given out under these names."""
    for name in names:
        given = admit(circuit, name, policy, at)
        assert given is not None
        circuit = given
    return circuit


def recovered(circuit: Circuit, at: int, policy: Policy = POLICY) -> Circuit:
    for number in range(policy.probes):
        circuit = probing(circuit, f"{at}/{number}", at=at, policy=policy)
        circuit = observe(circuit, passed(f"{at}/{number}", at=at), policy, at)
    assert not circuit.opened
    return circuit


# ---- policy -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: 0} for name in ("consecutive", "least", "probes", "rate", "window", "cooldown", "longest")),
        *({name: -1} for name in ("consecutive", "least", "probes", "rate", "window", "cooldown", "slow_start")),
        *({name: float("nan")} for name in ("rate", "window", "cooldown", "longest", "slow_start")),
        {"rate": 1.01},
        {"window": DAY + 1},
        {"longest": DAY + 1},
        {"slow_start": 3_601},
        {"cooldown": 10, "longest": 9},
    ],
    ids=lambda wrong: " ".join(f"{name}={value}" for name, value in wrong.items()),
)
def test_a_policy_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Policy(**wrong)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Policy)


def test_a_policy_at_its_edges_is_taken():
    Policy(consecutive=1, least=1, probes=1, rate=1.0, window=DAY, cooldown=DAY, longest=DAY, slow_start=3_600)
    Policy(rate=0.001, window=0.001, cooldown=0.001, longest=0.001, slow_start=0)


def test_the_seeds_five_minutes_are_the_default():
    assert tripped().until == NOW + 5 * MINUTE


# ---- opening ------------------------------------------------------------------------------------------------------

F, S = failed(), ok()


@pytest.mark.parametrize(
    ("heard", "open_"),
    [
        pytest.param([F] * 4, False, id="four failures are not enough"),
        pytest.param([F] * 5, True, id="five in a row open it"),
        pytest.param([F] * 4 + [S] + [F] * 4, False, id="a success begins the row anew"),
        pytest.param([F] * 4 + [S] + [F] * 5, True, id="five after a success open it"),
        pytest.param([Tally(failed=4, tail=4, at=NOW, why="timeout"), F], True, id="four at once and one"),
        pytest.param([F, Tally(ok=1, failed=4, tail=4, at=NOW, why="timeout")], False, id="a success among them"),
        pytest.param([Tally(ok=1, failed=5, tail=5, at=NOW, why="timeout")], True, id="a success before all of them"),
        pytest.param([F, S] * 4 + [F], False, id="nine requests are too few for a rate"),
        pytest.param([F, S] * 4 + [S, F], True, id="ten requests, half of them failed"),
        pytest.param([F, S] * 4 + [S, S, F], False, id="eleven requests, fewer than half failed"),
        pytest.param([F, S] * 5, False, id="at half, but a success is no reason to open"),
        pytest.param([failed(trip=True, why="key")], True, id="one failure that leaves no doubt"),
        pytest.param([Tally(at=NOW)] * 20, False, id="what says nothing"),
        pytest.param([S] * 100, False, id="all is well"),
    ],
)
def test_it_opens_on_failures_in_a_row_on_a_rate_and_on_what_leaves_no_doubt(heard, open_):
    circuit = hear(FRESH, *heard)
    assert circuit.opened is open_
    assert state(circuit, NOW) == ("open" if open_ else "closed")


def test_only_what_happened_within_the_window_counts_for_the_rate():
    policy = Policy(consecutive=100)
    old = hear(FRESH, *[failed(NOW)] * 9, policy=policy)
    assert hear(old, failed(NOW + 59 * SECOND), policy=policy).opened
    later = NOW + 71 * SECOND
    assert counts(old, policy, later) == (0, 0)
    assert not hear(old, failed(later), policy=policy).opened


def test_a_window_is_whole_until_its_oldest_sixth_is_over():
    circuit = observe(FRESH, ok(NOW + 9 * SECOND), POLICY, NOW + 9 * SECOND)
    assert counts(circuit, POLICY, NOW + 70 * SECOND - 1) == (1, 0)
    assert counts(circuit, POLICY, NOW + 70 * SECOND) == (0, 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(-2 * SECOND, 20 * SECOND)), max_size=60))
def test_the_window_counts_what_it_says_to_within_a_sixth(events):
    policy = Policy(consecutive=10_000, least=10_000)
    circuit, now, seen = FRESH, NOW, []
    for good, later in events:
        now += later
        seen.append((good, now))
        circuit = observe(circuit, ok(now) if good else failed(now), policy, now)
    for good, found in zip((True, False), counts(circuit, policy, now), strict=True):
        whole = [at for was, at in seen if was is good and at > now - 60 * SECOND]
        wider = [at for was, at in seen if was is good and at > now - 70 * SECOND]
        # What the clock showed once, before it stepped back, has not been forgotten too early by more than that step.
        assert len([at for at in whole if at > max(at for _, at in seen) - 60 * SECOND]) <= found <= len(wider)
    assert len(circuit.window) <= 8, "it does not grow with what it counts"


def test_what_was_seen_a_while_ago_counts_for_then():
    circuit = observe(FRESH, failed(NOW - 2 * MINUTE), POLICY, NOW)
    assert counts(circuit, POLICY, NOW) == (0, 0)
    assert circuit.consecutive == 1


def test_a_window_that_another_policy_counted_is_read():
    odd = replace(FRESH, window=(Bucket(NOW - 33, 1, 2), Bucket(NOW - 5, 3, 4)))
    assert counts(observe(odd, ok(), POLICY, NOW), POLICY, NOW) == (5, 6)


def test_a_window_too_short_to_be_divided_counts_all_the_same():
    tiny = Policy(window=0.001)
    assert counts(observe(FRESH, ok(), tiny, NOW), tiny, NOW) == (1, 0)


# ---- how long -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "cooldown"),
    [
        pytest.param(None, 300, id="nothing: five minutes"),
        pytest.param(20, 20, id="less"),
        pytest.param(900, 900, id="more"),
        pytest.param(10**9, 3_600, id="no more than the longest"),
        pytest.param(0, 1, id="nobody is asked again at once"),
        pytest.param(0.0004, 1, id="nor nearly at once"),
    ],
)
def test_a_vendors_word_shortens_and_lengthens(said, cooldown):
    circuit = tripped(cooldown=said)
    assert (circuit.since, circuit.until) == (NOW, NOW + cooldown * SECOND)
    assert state(circuit, circuit.until - 1) == "open"
    assert state(circuit, circuit.until) == "half_open"


def test_a_policy_shorter_than_a_second_is_obeyed():
    brief = Policy(cooldown=0.2)
    assert tripped(brief).cooldown == tripped(brief, cooldown=0).cooldown == 200


def test_the_cooldown_grows_while_probes_fail_up_to_the_longest():
    circuit, grown = tripped(), []
    for number in range(6):
        grown.append(circuit.cooldown // SECOND)
        assert circuit.openings == number + 1
        at = circuit.until
        circuit = observe(probing(circuit, "a", at=at), flunked("a", at), POLICY, at)
        assert (circuit.since, circuit.why, circuit.probes) == (at, "timeout", {})
    assert grown == [300, 600, 1_200, 2_400, 3_600, 3_600]


def test_a_vendors_word_is_not_doubled_and_many_of_them_do_not_make_it_longer():
    circuit = tripped(cooldown=15)
    for _ in range(20):
        at = circuit.until
        circuit = observe(probing(circuit, "a", at=at), flunked("a", at, cooldown=15), POLICY, at)
        assert circuit.cooldown == 15 * SECOND
    at = circuit.until
    assert observe(probing(circuit, "a", at=at), flunked("a", at), POLICY, at).cooldown == 300 * SECOND


@pytest.mark.parametrize(
    ("rest", "cooldown", "openings"),
    [
        pytest.param(0, 600, 2, id="again at once: longer"),
        pytest.param(599, 600, 2, id="again before it was well for two cooldowns: longer"),
        pytest.param(600, 300, 1, id="well for two cooldowns: forgiven"),
        pytest.param(-1, 600, 2, id="again at once, by a clock that stepped back"),
    ],
)
def test_openings_that_follow_at_once_are_longer_and_others_are_forgiven(rest, cooldown, openings):
    closed = recovered(tripped(), NOW + 300 * SECOND)
    at = closed.since + rest * SECOND
    again = observe(closed, failed(at, trip=True), POLICY, at)
    assert (again.cooldown, again.openings) == (cooldown * SECOND, openings)


# ---- half-open ----------------------------------------------------------------------------------------------------

HALF_OPEN = tripped()
AT = HALF_OPEN.until


@pytest.mark.parametrize("circuit", [FRESH, replace(HALF_OPEN, until=AT + 1)], ids=["closed", "open"])
def test_only_a_half_open_circuit_has_places(circuit):
    assert admit(circuit, "a", POLICY, AT) is None


def test_one_probe_goes_first_and_the_others_once_it_has_passed():
    one = probing(HALF_OPEN, "a", at=AT)
    assert admit(one, "b", POLICY, AT) is None
    three = probing(observe(one, passed("a", at=AT), POLICY, AT), "b", "c", at=AT)
    assert admit(three, "d", POLICY, AT) is None, "never more than three in all"
    two = observe(three, passed("b", at=AT), POLICY, AT)
    assert state(two, AT) == "half_open"
    assert admit(two, "d", POLICY, AT) is None
    closed = observe(two, passed("c", at=AT + 5), POLICY, AT + 5)
    assert closed == replace(HALF_OPEN, opened=False, since=AT + 5, window=(), consecutive=0)


def test_where_one_probe_is_enough_it_closes_with_it():
    single = Policy(probes=1)
    assert not observe(probing(HALF_OPEN, "a", at=AT), passed("a", at=AT), single, AT).opened


def test_probes_that_pass_at_once_count_each():
    three = probing(observe(probing(HALF_OPEN, "a", at=AT), passed("a", at=AT), POLICY, AT), "b", "c", at=AT)
    assert not observe(three, passed("b", "c", at=AT), POLICY, AT).opened


def test_one_that_fails_among_others_that_pass_opens_it_again():
    two = probing(observe(probing(HALF_OPEN, "a", at=AT), passed("a", at=AT), POLICY, AT), "b", "c", at=AT)
    both = passed("b", at=AT).joined(flunked("c", at=AT))
    again = observe(two, both, POLICY, AT)
    assert (again.opened, again.since, again.passed, again.probes) == (True, AT, 0, {})
    assert admit(again, "d", POLICY, again.until) is not None


@pytest.mark.parametrize("first", [False, True], ids=["the first", "one of the others"])
def test_a_probe_that_says_nothing_frees_its_place_and_counts_for_nothing(first):
    before = HALF_OPEN if not first else observe(probing(HALF_OPEN, "a", at=AT), passed("a", at=AT), POLICY, AT)
    asked = probing(before, "b", at=AT)
    freed = observe(asked, Tally(at=AT, void=("b",)), POLICY, AT)
    assert freed == before


def test_a_probe_that_is_not_heard_of_any_more_loses_its_place():
    lost = probing(HALF_OPEN, "a", at=AT)
    assert admit(lost, "b", POLICY, AT + 2 * MINUTE - 1) is None
    given = probing(lost, "b", at=AT + 2 * MINUTE)
    assert set(given.probes) == {"b"}
    late = observe(given, passed("a", at=AT + 3 * MINUTE), POLICY, AT + 3 * MINUTE)
    assert (late.passed, set(late.probes)) == (0, {"b"}), "whose place was given away counts no more"


def test_a_slow_probe_counts_as_long_as_nobody_has_its_place():
    lost = probing(HALF_OPEN, "a", at=AT)
    assert observe(lost, passed("a", at=AT + 9 * MINUTE), POLICY, AT + 9 * MINUTE).passed == 1


@pytest.mark.parametrize("when", [NOW + SECOND, AT + SECOND], ids=["open", "half-open"])
@pytest.mark.parametrize(
    "late",
    [
        pytest.param(ok(), id="a success"),
        pytest.param(Tally(ok=100, at=NOW), id="many successes"),
        pytest.param(failed(), id="a failure"),
        pytest.param(Tally(failed=100, tail=100, at=NOW, why="timeout"), id="many failures"),
        pytest.param(failed(trip=True, cooldown=3_000), id="one that leaves no doubt"),
        pytest.param(passed("x", "y", "z"), id="probes that nobody knows, and that passed"),
        pytest.param(flunked("x"), id="a probe that nobody knows, and that failed"),
        pytest.param(Tally(at=NOW, void=("x",)), id="a probe that nobody knows, and that said nothing"),
    ],
)
def test_what_was_sent_before_it_opened_neither_closes_nor_prolongs_it(late, when):
    asked = probing(HALF_OPEN, "a", at=AT)
    assert replace(observe(asked, late, POLICY, when), window=asked.window) == asked


def test_a_probe_of_a_replica_whose_clock_is_ahead_counts():
    asked = probing(HALF_OPEN, "a", at=AT)
    assert observe(asked, passed("a", at=AT - 5), POLICY, AT - 5).passed == 1


# ---- afterwards ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "part"),
    [
        pytest.param(0, 0.1, id="a tenth at first"),
        pytest.param(-5, 0.1, id="a tenth, when the clock steps back"),
        pytest.param(15, 0.5, id="half after half the time"),
        pytest.param(30, 1.0, id="all in the end"),
        pytest.param(3_000, 1.0, id="no more than all"),
    ],
)
def test_traffic_comes_back_bit_by_bit(after, part):
    closed = recovered(tripped(), AT)
    assert share(closed, POLICY, AT + after * SECOND) == part
    assert share(closed, Policy(slow_start=0), AT + after * SECOND) == 1.0


@pytest.mark.parametrize("circuit", [FRESH, reset(tripped(), NOW), tripped()], ids=["never", "by hand", "it is open"])
def test_there_is_no_slow_start_without_a_recovery(circuit):
    assert share(circuit, POLICY, NOW) == 1.0


def test_after_a_recovery_old_failures_do_not_open_it_again():
    sick = hear(FRESH, *[failed()] * 20)
    closed = recovered(sick, sick.until)
    assert counts(closed, POLICY, closed.since) == (0, 0)
    assert not hear(closed, *[failed(closed.since)] * 4).opened


def test_a_reset_closes_it_as_if_nothing_had_been_wrong():
    assert reset(probing(HALF_OPEN, "a", at=AT), AT) == Circuit(since=AT)
    assert observe(reset(HALF_OPEN, AT), failed(AT, trip=True), POLICY, AT).cooldown == 300 * SECOND


# ---- tallies that add up ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tallies", "why", "cooldown"),
    [
        pytest.param([failed(why="a", cooldown=1), failed(why="b", cooldown=2)], "b", 2, id="the last failure"),
        pytest.param([failed(why="a", cooldown=1), failed(why="b")], "b", None, id="which has no word of its own"),
        pytest.param([failed(why="a", cooldown=1), ok()], "a", 1, id="not the success after it"),
        pytest.param([failed(why="a", trip=True), failed(why="b", cooldown=2)], "a", None, id="the one that tripped"),
        pytest.param([failed(why="a", trip=True), failed(why="b", trip=True, cooldown=2)], "a", None, id="the first"),
        pytest.param([failed(why="a", cooldown=1), failed(why="b", trip=True)], "b", None, id="the later, tripping"),
    ],
)
def test_the_reason_and_the_word_belong_to_one_failure(tallies, why, cooldown):
    joined = reduce(Tally.joined, tallies)
    assert (joined.why, joined.cooldown) == (why, cooldown)


NAMES = st.lists(st.sampled_from("abc"), max_size=2).map(tuple)
TIMES = st.integers(0, 5)
TALLIES = st.one_of(
    st.builds(ok, TIMES),
    st.builds(Tally, at=TIMES, void=NAMES),
    st.builds(
        failed,
        TIMES,
        why=st.sampled_from(["timeout", "transient"]),
        trip=st.booleans(),
        cooldown=st.none() | st.sampled_from([0, 5, 9_999]),
    ),
    st.builds(passed, st.sampled_from("abc"), at=TIMES),
    st.builds(flunked, st.sampled_from("abc"), at=TIMES),
)
MANY = st.lists(TALLIES, min_size=1, max_size=8).map(lambda tallies: reduce(Tally.joined, tallies))


@given(MANY, MANY, MANY)
def test_tallies_add_up_however_they_are_grouped(a, b, c):
    assert a.joined(b).joined(c) == a.joined(b.joined(c))


@given(MANY)
def test_a_tally_of_nothing_adds_nothing(tally):
    assert tally.joined(Tally()) == tally
    assert Tally().joined(tally) == tally


PLAIN = st.lists(st.booleans(), min_size=1, max_size=30).map(
    lambda oks: [ok(NOW) if good else failed(NOW) for good in oks]
)


@given(PLAIN, PLAIN)
def test_what_is_heard_at_once_is_what_is_heard_one_by_one_while_it_stays_closed(before, tallies):
    calm = Policy(consecutive=1_000, least=1_000)
    circuit = hear(FRESH, *before, policy=calm)
    assert observe(circuit, reduce(Tally.joined, tallies), calm, NOW) == hear(circuit, *tallies, policy=calm)


@given(PLAIN, PLAIN)
def test_what_opens_it_at_once_opens_it_one_by_one(before, tallies):
    """By failures in a row: of a sum only those before its first and after its last success are seen as a row."""
    policy = Policy(least=1_000)
    circuit = hear(FRESH, *before, policy=policy)
    at_once = observe(circuit, reduce(Tally.joined, tallies), policy, NOW)
    assert at_once.opened <= hear(circuit, *tallies, policy=policy).opened


# ---- any order of anything ----------------------------------------------------------------------------------------

WAITS = [0, 1, 900, 30 * SECOND, 119 * SECOND, 2 * MINUTE, 5 * MINUTE, 20 * MINUTE, 3 * 60 * MINUTE]


class Breaker(RuleBasedStateMachine):
    """What is true of a circuit whatever it hears, and by whichever clock."""

    @initialize(
        consecutive=st.integers(1, 4),
        least=st.sampled_from([1, 3, 1_000]),
        probes=st.integers(1, 4),
        cooldown=st.sampled_from([0.5, 30, 300]),
        longest=st.sampled_from([300, 1_000]),
    )
    def begin(self, **numbers: float) -> None:
        self.policy = msgspec.convert(numbers, Policy)
        self.now = NOW
        self.circuit = FRESH
        self.names = count()
        self.asked: dict[str, int] = {}  # probes of this half-open period that are on their way, and until when
        self.gone: list[str] = []  # probes of former times
        self.through = 0  # probes of this period that have passed

    def hear(self, tally: Tally) -> None:
        before, self.circuit = self.circuit, observe(self.circuit, tally, self.policy, self.now)
        after = self.circuit
        bad = any(name in self.asked for name in tally.flunked)
        good = [name for name in tally.passed if name in self.asked]
        if (before.opened and bad) or (after.opened and not before.opened):
            self.opening(before, tally)
        elif before.opened and self.through + len(good) >= self.policy.probes:
            assert (after.opened, after.since, after.openings) == (False, self.now, before.openings)
            self.period()
        else:
            same = ("opened", "since", "until", "cooldown", "why", "openings")
            assert all(getattr(after, name) == getattr(before, name) for name in same)
            self.through += len(good) if before.opened else 0
            for name in (*good, *tally.void):
                self.asked.pop(name, None)

    def opening(self, before: Circuit, tally: Tally) -> None:
        after, longest = self.circuit, self.policy.longest * SECOND
        assert tally.failed
        assert (after.opened, after.since, after.why) == (True, self.now, tally.why)
        if tally.cooldown is None:
            assert after.cooldown >= min(self.policy.cooldown * SECOND, longest)
            assert not before.opened or after.cooldown >= min(2 * before.cooldown, longest), "a failed probe: longer"
        elif tally.cooldown >= 1:
            assert after.cooldown == min(tally.cooldown * SECOND, longest)
        self.period()

    def period(self) -> None:
        self.gone += self.asked
        self.asked, self.through = {}, 0

    @rule(wait=st.sampled_from(WAITS) | st.integers(-50, 50))
    def time_passes(self, wait: int) -> None:
        self.now += wait

    @rule()
    def the_cooldown_is_over(self) -> None:
        self.now = max(self.now, self.circuit.until)

    @rule(tally=st.lists(st.booleans(), min_size=1, max_size=6), why=st.sampled_from(["timeout", "transient"]))
    def requests_end(self, tally: list[bool], why: str) -> None:
        self.hear(reduce(Tally.joined, (ok(self.now) if good else failed(self.now, why=why) for good in tally)))

    @rule(cooldown=st.none() | st.sampled_from([0, 0.1, 20, 700, 10**7]), trip=st.booleans())
    def a_request_fails_with_a_word(self, cooldown: float | None, trip: bool) -> None:
        self.hear(failed(self.now, why="key", trip=trip, cooldown=cooldown))

    @rule()
    def somebody_asks_for_a_place(self) -> None:
        name = f"probe {next(self.names)}"
        given = admit(self.circuit, name, self.policy, self.now)
        living = {asked: until for asked, until in self.asked.items() if until > self.now}
        free = (self.policy.probes - self.through if self.through else 1) - len(living)
        assert (given is not None) == (state(self.circuit, self.now) == "half_open" and free > 0)
        if given is not None:
            self.circuit = given
            self.gone += self.asked.keys() - living.keys()
            self.asked = {**living, name: self.now + 2 * MINUTE}

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), kind=st.sampled_from([passed, passed, passed, flunked, None]))
    def a_probe_ends(self, data: st.DataObject, kind) -> None:
        name = data.draw(st.sampled_from(sorted(self.asked)))
        self.hear(kind(name, at=self.now) if kind else Tally(at=self.now, void=(name,)))

    @precondition(lambda self: self.gone)
    @rule(data=st.data(), kind=st.sampled_from([passed, flunked, None]))
    def a_probe_of_former_times_ends(self, data: st.DataObject, kind) -> None:
        name = data.draw(st.sampled_from(self.gone))
        self.hear(kind(name, at=self.now) if kind else Tally(at=self.now, void=(name,)))

    @rule()
    def somebody_resets_it(self) -> None:
        self.circuit = reset(self.circuit, self.now)
        assert state(self.circuit, self.now) == "closed"
        assert share(self.circuit, self.policy, self.now) == 1.0
        self.period()

    @invariant()
    def no_more_probes_than_places(self) -> None:
        living = [until for until in self.circuit.probes.values() if until > self.now]
        assert self.circuit.passed == self.through < self.policy.probes
        assert self.circuit.probes == self.asked
        # The clock may have stepped back by a moment since a place was given away.
        assert len(living) + self.circuit.passed <= self.policy.probes
        assert self.circuit.opened or not (self.circuit.probes or self.circuit.passed)

    @invariant()
    def it_is_open_for_a_reason_and_for_a_bounded_time(self) -> None:
        circuit = self.circuit
        if circuit.opened:
            assert circuit.why
            assert circuit.openings >= 1
            assert circuit.until - circuit.since == circuit.cooldown
            assert 0 < circuit.cooldown <= self.policy.longest * SECOND
        else:
            assert circuit.consecutive < self.policy.consecutive

    @invariant()
    def it_can_be_written_down(self) -> None:
        assert msgspec.json.decode(msgspec.json.encode(self.circuit), type=Circuit) == self.circuit

    @invariant()
    def its_share_is_a_share(self) -> None:
        assert 0.1 <= share(self.circuit, self.policy, self.now) <= 1.0


TestBreaker = Breaker.TestCase
TestBreaker.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
