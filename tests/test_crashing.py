"""The death that tests order comes at the place and time that was ordered, and never somewhere else instead."""

import asyncio
import signal
import subprocess
import sys

import pytest

from proxy.simulator import Simulator
from tests import crashing
from tests.crashing import POINTS, Act, NoSuchPoint, found, install
from tests.money.load import Wish, run
from tests.tollhouse import ROOT, Tollhouse, environ_of, surroundings


class Died(BaseException):
    """Instead of SIGKILL, so that the test lives to tell."""


class Till:
    def __init__(self) -> None:
        self.rung: list[int] = []

    def ring(self, sum: int) -> int:
        self.rung.append(sum)
        return -sum

    async def hold(self, sum: int) -> int:
        return self.ring(sum)


@pytest.fixture
def point(monkeypatch):
    """A point on a class of this file, whose methods are as before afterwards."""

    def died() -> None:
        raise Died

    monkeypatch.setattr(crashing, "die", died)
    monkeypatch.setattr(Till, "ring", Till.ring)
    monkeypatch.setattr(Till, "hold", Till.hold)
    acts = {method: Act(__name__, "Till", method) for method in ("ring", "hold")}
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Till.__module__])
    for name, moment in (("before", False), ("after", True)):
        monkeypatch.setitem(POINTS, name, (tuple(acts.values()), moment))
        monkeypatch.setitem(POINTS, f"{name}-each", ((acts["ring"]._replace(once=True),), moment))


@pytest.mark.parametrize(
    ("point_of_death", "rung"),
    [
        ("before", []),
        ("after", [1]),
        ("before:2", [1]),
        ("after:2", [1, 2]),
        ("before:3", [1, 2]),
        ("after:3", [1, 2, 3]),
    ],
)
@pytest.mark.usefixtures("point")
def test_it_dies_at_the_nth_passage_before_or_after_the_act(point_of_death, rung):
    install(point_of_death)
    till = Till()
    with pytest.raises(Died):
        ring_thrice(till)
    assert till.rung == rung


def ring_thrice(till):
    for sum in (1, 2, 3):
        assert till.ring(sum) == -sum


@pytest.mark.parametrize(("point_of_death", "rung"), [("before:1", []), ("after:2", [1])])
@pytest.mark.usefixtures("point")
def test_what_is_awaited_is_passed_as_well(point_of_death, rung):
    """Two methods of one point count together: `hold` calls `ring`."""
    install(point_of_death)
    till = Till()
    with pytest.raises(Died):
        asyncio.run(till.hold(1))
    assert till.rung == rung


@pytest.mark.usefixtures("point")
def test_a_point_that_counts_objects_counts_the_first_call_on_each():
    install("before-each:2")
    first, second = Till(), Till()
    assert [first.ring(1), first.ring(2), first.ring(3)] == [-1, -2, -3]
    with pytest.raises(Died):
        second.ring(4)


@pytest.mark.parametrize("point", ["", "nowhere", "nowhere:2", "before-hold:0", "before-hold:x", "before-hold:-1"])
def test_a_wrong_point_fails_loudly(point):
    with pytest.raises(NoSuchPoint, match="no such point"):
        install(point)
    done = subprocess.run(
        [sys.executable, "-m", "tests.crashing", point, "--version"],
        cwd=ROOT,
        env=surroundings({}),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("crashing: no such point")


@pytest.mark.parametrize(
    "act", [Act("proxy.nowhere", "A", "b"), Act("proxy.upstream", "A", "b"), Act("proxy.upstream", "Reply", "b")]
)
def test_a_method_that_moved_fails_loudly(act):
    with pytest.raises(NoSuchPoint, match="is not there any more"):
        found(act)


@pytest.mark.parametrize("point", POINTS)
def test_each_point_is_still_where_it_was(point):
    assert all(callable(found(act)[1]) for act in POINTS[point][0])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("point", "received"),
    [
        ("before-send:1", 0), ("before-send:3", 2), ("after-send:1", 1), ("after-send:3", 3),
        ("before-first-part:2", 2), ("after-first-part:2", 2),
    ],
)  # fmt: skip
async def test_the_vendor_has_heard_what_was_sent_before_the_death(simulator: Simulator, point, received, stream):
    wishes = [Wish(tag=f"n{n}", model="gpt-4o-mini", system="", text=f"tag=n{n}", stream=stream) for n in range(4)]
    with Tollhouse.start(environ_of(simulator), module=("tests.crashing", point)) as house:
        answers = await run(wishes, [house.url], clients=1)
        assert house.wait() == -signal.SIGKILL
    deadly = int(point[-1])
    whole = [heard.whole for heard in answers]
    if point.startswith("after-first-part"):
        whole[deadly - 1] = False  # it may have been the last part as well
    assert whole == [n < deadly for n in range(1, 5)]
    assert simulator.wait("openai", received=received)
    assert simulator.wait(in_progress=0)
    assert [entry["client_tag"] for entry in simulator.ledger()] == [f"n{n}" for n in range(received)]
