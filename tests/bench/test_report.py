"""What a run says of itself: bars held or not, a page whose prose stays, samples by room, processes counted."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench import page, profile, report
from tests.bench.cases import CASES
from tests.bench.process import Cores, Server, cpu, pss, tree
from tests.bench.report import MUSTS
from tests.bench.rounds import Figures, Plan, Times
from tests.tollhouse import surroundings

ALL = ("nginx", "tollhouse-redis", "ferrogw", "ferrogw-like", "litellm", "litellm-like")


def figures(ours: float) -> Figures:
    """nginx at 10 us, ferrogw at 100 and 150, LiteLLM at 4,000 and 9,000, and `ours`, in each case."""
    found = Figures(versions=dict.fromkeys(ALL, "1.0"))
    for case in CASES:
        for name, micros in zip(ALL, (10.0, ours, 100.0, 150.0, 4000.0, 9000.0), strict=True):
            found.micros[case, name] += [micros * 0.9, micros, micros * 1.2]
    for name in ("direct", *ALL):
        found.times["plain", name].append(Times(p50=1.0 + ours / 100 * (name == "tollhouse-redis"), **OTHER))
    found.starts["tollhouse-redis"] += [9.0, ours / 100, 0.1]
    found.idle["tollhouse-redis"] += [ours]
    return found


OTHER = {"p99": 2.0, "first50": 0.5, "first99": 0.9}


@pytest.mark.parametrize(("ours", "held", "aimed"), [(15, 12, 12), (42, 11, 8), (60, 10, 4), (300, 0, 0)])
def test_each_bar_is_held_or_not(ours, held, aimed):
    lines = [must.line(figures(ours)) for must in MUSTS]
    assert sum("| held" in line for line in lines) == held, lines
    assert sum("the aim |" in line for line in lines) == aimed, lines


def test_what_was_not_measured_is_not_held():
    assert all(must.line(Figures()).endswith("| not measured |") for must in MUSTS)


def test_the_text_shows_medians_ratios_and_who_was_left_out():
    found = figures(50)
    found.left_out["portkey"] = "no npm here"
    text = report.text(found, Plan(list(CASES), ALL), {"system": "Linux"})
    assert "| **tollhouse**, Redis | 50.0 ± 7.5 |" in text
    assert "| LiteLLM (Python) | 400 |" in text
    assert "| LiteLLM (Python) | 80 |" in text
    assert "- Portkey (Node): left out: no npm here" in text
    assert "none was wrong" in text


def test_figures_can_be_kept_as_json():
    kept = figures(50).json()
    assert kept["micros"]["plain nginx"] == [9.0, 10.0, 12.0]
    assert kept["times"]["plain direct"][0]["p99"] == 2.0


def test_a_new_run_leaves_what_people_wrote(tmp_path):
    document = tmp_path / "performance.md"
    document.write_text("ours\n<!-- bench -->\nold\n<!-- /bench -->\nstays\n<!-- growth -->\n<!-- /growth -->\n")
    (tmp_path / "performance").mkdir()
    (tmp_path / "performance" / "growth.md").write_text("flat\n")
    for _ in range(2):
        page.put({"bench": "new"}, document)
        assert document.read_text() == (
            "ours\n<!-- bench -->\nnew\n<!-- /bench -->\nstays\n<!-- growth -->\nflat\n<!-- /growth -->\n"
        )


def test_the_document_has_a_place_for_each_section():
    text = page.DOCUMENT.read_text(encoding="utf-8")
    sections = dict.fromkeys(("bench", "profile", "growth", "replay"), "found")
    assert page.filled(text, sections).count("-->\nfound\n<!--") == len(sections)


STACKS = """\
process 1:"x";_run (asyncio/runners.py:118);gate (proxy/gate.py:10);forward (proxy/forward.py:20) 6
process 1:"x";_run (asyncio/runners.py:118);gate (proxy/gate.py:11);run_asgi (uvicorn/protocols/http/x.py:3) 2
process 1:"x";_run (asyncio/runners.py:118) 2
process 1:"x";Thread.run (threading.py:982);_worker (concurrent/futures/thread.py:81) 90
""".splitlines()


def test_samples_are_added_up_by_room_and_idle_threads_are_left_out():
    itself, within, total = profile.shares(STACKS)
    assert total == 10
    assert itself == {"proxy/forward": 6, "uvicorn": 2, profile.LOOP: 2}
    assert within["proxy/gate"] == 8
    assert "| proxy/forward | 60.0% | 60.0 | 60% |" in profile.table(STACKS, 100.0)
    assert profile.functions(STACKS).splitlines()[0] == " 60.0%  forward (proxy/forward.py)"


CHILD = "import time\nwhile time.process_time() < 0.1: pass\n"
PARENT = f"""
import subprocess, sys, time
subprocess.run([sys.executable, "-c", {CHILD!r}], check=True)
kept = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"],
    stdout=subprocess.PIPE)
kept.stdout.readline()
print("ready", flush=True)
time.sleep(60)
"""


def test_a_process_is_counted_and_ended_with_all_its_children(tmp_path):
    core = Cores.found().subject
    log = tmp_path / "log"
    server = Server([sys.executable, "-c", PARENT], surroundings({}), tmp_path, log, core)
    server.start()
    try:
        deadline = time.monotonic() + 30
        while "ready" not in log.read_text() and time.monotonic() < deadline:
            assert server.ended is None, log.read_text()
        family = tree(server.pid)
        assert len(family) == 2
        assert cpu(server.pid) >= 0.1
        assert pss(server.pid) > pss(family[1]) > 0
        assert all(os.sched_getaffinity(pid) == {core} for pid in family)
        server.pause()
        _until(lambda: all(_state(pid) == "T" for pid in family))
        server.resume()
        _until(lambda: all(_state(pid) != "T" for pid in family))
        server.pause()  # so that it has to be woken to be ended
    finally:
        server.stop()
    assert server.ended == -signal.SIGTERM
    # Not there, or ended and waiting for whoever adopted it to look.
    _until(lambda: all(_state(pid) in ("", "Z") for pid in family))


def _until(true: Callable[[], bool]) -> None:
    """What was signalled obeys a moment later."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline


def _state(pid: int) -> str:
    """The letter of proc(5); empty: it is not there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
