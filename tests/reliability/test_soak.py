"""The soak: what it sees, it says; and in short it is run."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from xml.etree import ElementTree

import pytest

from proxy.simulator.ledger import Entry
from proxy.simulator.vocabulary import Usage
from tests.bench import page
from tests.money.load import Heard, Wish
from tests.reliability import report
from tests.reliability.soak import grown, in_log, lacking
from tests.reliability.soak_books import Books, compared, numbers
from tests.reliability.soak_clients import MANNERS, Crowd, outcome_of, take, trace_of
from tests.reliability.soak_page import DESCRIPTORS_DRIFT, MEMORY_DRIFT, Found, drawn, drifts, section
from tests.reliability.soak_watch import KINDS, Moment, Ports, descriptors, drift, rss, settled
from tests.tollhouse import ROOT

WISH = Wish(tag="s-1", model="gpt-4o-mini", system="", text="tag=s-1 river")
BOOKS = Books([], 1, 0, 150, 0, 0, 0)
HEARD = {"answered": 80, "vendors": 10, "store": 5, "left": 5}


def moment(at, *, memory=100.0, counts=HEARD, **kinds):
    there = {**dict.fromkeys(KINDS, 4), **kinds}
    return Moment(float(at), memory, memory + 20, there, {"in_flight_requests": 3.0}, counts)


def growing(name, by):
    """Evenly, by so much in the last 400 seconds of 600."""
    return [moment(at, **{name: 4 + by * at / 400}) for at in range(601)]


def found(moments, *, seconds=600.0, before=None, after=None):
    last = after or moment(seconds)
    return Found(seconds, 50, before or moment(0), moments, last, HEARD, {"x": 1}, {"stays": 1}, [], 3, BOOKS, [])


# ---- growth --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([5.0] * 30, 0.0, id="flat"),
        pytest.param([float(n) for n in range(30)], 29.0, id="it grows"),
        pytest.param([5.0, 900.0, 5.0] * 10, 0.0, id="a third is wild"),
        pytest.param(
            [n + (40.0 if n % 4 == 0 else 0.0) for n in range(30)], 29.0, id="it grows, and a quarter is wild"
        ),
        pytest.param([7.0], 0.0, id="a single point"),
        pytest.param([], 0.0, id="nothing"),
    ],
)
def test_the_drift_is_that_of_most_points(values, expected):
    assert drift([(float(at), value) for at, value in enumerate(values)]) == pytest.approx(expected, abs=0.6)


def test_the_first_third_is_warm_up():
    moments = [moment(at, memory=10.0 * min(at, 200)) for at in range(601)]
    assert settled(moments, 600.0)[0].at == 200
    assert {name: by for name, by, _ in drifts(found(moments))}["memory (PSS)"] == 0


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        pytest.param({}, None, id="flat"),
        pytest.param({"moments": growing("memory", MEMORY_DRIFT + 1)}, "memory (PSS) grew", id="memory"),
        pytest.param({"moments": growing("vendors", DESCRIPTORS_DRIFT + 1)}, "to vendors grew", id="vendors"),
        pytest.param({"moments": growing("others", DESCRIPTORS_DRIFT + 1)}, "descriptors, all grew", id="anything"),
        pytest.param({"after": moment(600, clients=5)}, "clients: 4 before, 5 after", id="a client"),
        pytest.param({"after": moment(600, files=5)}, "descriptors, files", id="a file"),
        pytest.param({"after": moment(600, vendors=5)}, "never more than 4", id="a vendor's connection"),
    ],
)  # fmt: skip
def test_what_grows_or_stays_is_complained_of(changed, complaint):
    said = list(grown(found(**{"moments": [moment(n) for n in range(600)], **changed})))
    assert said == [] if complaint is None else any(complaint in one for one in said)


@pytest.mark.parametrize(
    ("counts", "complaint"),
    [
        pytest.param({}, None, id="something of everything"),
        pytest.param({"store": 0}, "nobody store", id="Redis never went away"),
        pytest.param({"crossed": 1}, "ended under them", id="connections that end"),
    ],
)
def test_a_soak_must_have_been_one(counts, complaint):
    said = list(lacking({**HEARD, **counts}))
    assert said == [] if complaint is None else complaint in said[0]


def test_of_a_short_run_no_drift_is_judged():
    moments = [moment(at, memory=100.0 + at) for at in range(60)]
    assert list(grown(found(moments, seconds=60.0))) == []


def test_descriptors_are_told_apart_by_what_they_lead_to(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as ours, socket.create_server(("127.0.0.1", 0)) as theirs:
        here, there = ours.getsockname()[1], theirs.getsockname()[1]
        ports = Ports(here, frozenset({there}), 1)
        before = descriptors(os.getpid(), ports)
        with (
            socket.create_connection(("127.0.0.1", there)), socket.create_connection(("127.0.0.1", here)),
            ours.accept()[0], (tmp_path / "file").open("w"),
        ):  # fmt: skip
            after = descriptors(os.getpid(), ports)
    assert after - before == Counter(vendors=1, clients=1, files=1, others=1)  # the other end of the client's
    assert 1 < rss(os.getpid()) < 10_000


# ---- what clients hear ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heard", "outcome"),
    [
        (Heard(wish=WISH, status=200, text=WISH.echo, finish="stop"), "answered"),
        (Heard(wish=WISH, status=200, text=WISH.echo[:9], left=True), "left"),
        (Heard(wish=WISH, status=200, text="Echo: tag=s-2 river", left=True), "wrong"),
        (Heard(wish=WISH, status=200, text=WISH.echo), "wrong"),
        (Heard(wish=WISH, status=200, text=WISH.echo[:9], code="upstream_timeout"), "vendors"),
        (Heard(wish=WISH, status=200, text=WISH.echo[:9], broken="IncompleteReadError"), "broken"),
        (Heard(wish=WISH, status=503, code="budget_store_unavailable"), "store"),
        (Heard(wish=WISH, status=500, code="internal_error"), "unexpected"),
        (Heard(wish=WISH, status=429, code="budget_exceeded"), "unexpected"),
        (Heard(wish=WISH, status=204), "unexpected"),
    ],
)
def test_what_came_of_a_request_has_one_word(heard, outcome):
    assert outcome_of(heard) == outcome


def test_an_answer_is_read_whole_and_half_an_event_is_none():
    heard = Heard(wish=WISH, status=200)
    events = [{"choices": [{"delta": {"content": word}, "finish_reason": None}]} for word in ("Echo: ", WISH.text)]
    take(heard, [*(json.dumps(event).encode() for event in events), b'{"choices": [{"de'])
    take(heard, [b'{"choices": [{"delta": {}, "finish_reason": "stop"}]}'])
    assert outcome_of(heard) == "answered"


class Deaf(asyncio.Protocol):
    """A server that answers each request alike, whatever it is, with somebody else's answer."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        body = b'{"choices": [{"message": {"content": "Echo: tag=s-0"}, "finish_reason": "stop"}]}'
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


async def test_the_crowd_does_all_that_clients_do_and_sees_a_wrong_answer():
    server = await asyncio.get_running_loop().create_server(Deaf, "127.0.0.1", 0)
    crowd = Crowd(server.sockets[0].getsockname()[1], seed=3)
    await crowd.come(1_000, 0.4)
    server.close()
    assert set(crowd.manners) == set(MANNERS)
    assert crowd.counts["left"] > 0
    assert crowd.counts["wrong"] > 100
    assert "another's answer" in crowd.complaints[0]
    assert crowd.heard == []


# ---- the ledger ----------------------------------------------------------------------------------------------------


def row(request="req_1", provider="openai", cost=150, **more):
    usual = {"estimated": False, "orphan": False, "unproven_nano": 0, "status": 200, "code": None}
    return {"id": f"{request}/1", "request": request, "provider": provider, "cost_nano": cost, **usual, **more}


def entry(tokens=1, tag="s-1", vendor="openai", model="gpt-4o-mini"):
    used = Entry(vendor, model, usage=Usage(in_text=tokens), started=1_795_737_600.0, client_tag=tag)
    return {**{name: getattr(used, name) for name in used.__struct_fields__}, "usage": {"in_text": tokens}}


@pytest.mark.parametrize(
    ("rows", "entries", "complaint"),
    [
        pytest.param([row()], [entry()], None, id="equal"),
        pytest.param([row(cost=0), row()], [entry(0), entry()], None, id="two attempts"),
        pytest.param([row(cost=0)], [], None, id="it never came to the vendor"),
        pytest.param([row(cost=140, estimated=True, unproven_nano=10)], [entry()], None, id="an estimate"),
        pytest.param([row(cost=149)], [entry()], "149 booked, 150 billed", id="too little"),
        pytest.param([row(cost=151)], [entry()], "151 booked, 150 billed", id="too much"),
        pytest.param([row()], [], "150 booked, 0 billed", id="for nothing"),
        pytest.param([], [entry()], "no row says so", id="forgotten"),
        pytest.param([row(provider="gemini", cost=0)], [entry()], "no row says so", id="another provider's"),
        pytest.param([row(estimated=True, cost=1)], [entry()], "less is booked", id="an estimate that is too low"),
        pytest.param([row(orphan=True)], [entry()], "an orphan", id="an orphan"),
        pytest.param([row(cost=None)], [], "no price", id="no price"),
        pytest.param([row(request="req_2", cost=0)], [], "nobody knows", id="a row of nobody"),
    ],
)
def test_rows_are_held_against_the_vendors_own_ledger(rows, entries, complaint):
    books = compared(rows, entries, {"req_1": "1"})
    assert books.complaints == [] if complaint is None else complaint in books.complaints[0]


def test_a_request_is_found_by_the_trace_id_that_its_client_made():
    line = {"event": "request", "request_id": "req_1", "trace_id": trace_of(77)}
    other = {"event": "request", "request_id": "req_2", "trace_id": "0" * 31 + "1"}
    assert numbers([line, other, {"event": "listening"}]) == {"req_1": "77"}


# ---- the log and the page ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ('{"event": "request", "status": 500}', False),
        ('{"event": "store away", "why": "x"}', False),
        ('{"event": "internal error"}', True),
        ('{"event": "store away", "exception": "x"}', True),
        ("Traceback (most recent call last):", True),
        ("Fatal Python error", True),
    ],
)
def test_a_fault_of_ours_in_the_log_is_seen(line, bad):
    assert bool(list(in_log([line]))) is bad


def test_the_page_and_the_picture_show_what_was_found():
    moments = [moment(at, counts={word: at * n for word, n in HEARD.items()}) for at in range(600)]
    text, picture = section(found(moments)), drawn(found(moments))
    assert "| memory (PSS) | 100.0 MB | 100.0 MB | 100.0 MB | 100.0 MB | +0.0 | +4 |" in text
    assert "Complaints: none." in text
    lines = list(ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}polyline"))
    assert len(lines) == 2 + 4 + 2 + 2 + 4
    assert all(line.attrib["points"] for line in lines)


def test_neither_who_writes_the_page_destroys_what_the_other_wrote(tmp_path):
    """`make faults` writes all of it but what is between the markers, `make soak` that alone."""
    document = tmp_path / "reliability.md"
    document.write_text(report.page([], [], seconds=1, healthy=1), encoding="utf-8")
    faults, _, _ = document.read_text(encoding="utf-8").partition("<!-- soak -->")
    page.put({"soak": section(found([moment(at) for at in range(9)]))}, document)
    text = document.read_text(encoding="utf-8")
    assert text.startswith(faults)
    assert "| memory (PSS) |" in text
    assert text.rstrip().endswith("<!-- /soak -->")
    if report.SOAK.exists():
        assert report.SOAK.read_text(encoding="utf-8").strip() in report.page([], [], seconds=1, healthy=1)


@pytest.mark.long
def test_twenty_seconds_of_everything_leave_nothing_behind():
    words = [sys.executable, "-m", "tests.reliability.soak", "--seconds", "20", "--rate", "40"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert done.stdout.rstrip().endswith("0 complaints")
