"""Hostile requests against a real process: never a fault of ours, never a crash, always a well-formed error.

Each kind of `tests.hostile.clients` in turn; a second time in rounds, for the memory, among the long tests.
"""

import http.client
import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters import ADAPTERS
from adapters.base import NOTHING, Capabilities, Failure, Target
from adapters.envelope import seal
from proxy.simulator.client import Simulator
from proxy.simulator.ledger import Entry
from tests.conftest import LIMITS, ONCE, TIMEOUTS, environ_of
from tests.hostile import clients, wire, words
from tests.hostile.clients import KINDS, Sent, posted, request
from tests.hostile.words import MODELS, letter
from tests.money.fleet import nano
from tests.money.truth import Unpriced, price
from tests.tollhouse import PATIENCE, Tollhouse

TABLE = clients.table()
SHORT = "  head_seconds: 1\n  body_seconds: 1\n  unread_seconds: 1\n".replace("  ", ", ").replace("\n", "")
HURRIED = LIMITS.replace("}", f"{SHORT}}}")
MEGABYTE = 1_048_576


@pytest.fixture(scope="module")
def vendors(_simulator: Simulator) -> Simulator:
    """As they are after those who were here before."""
    return _simulator


@pytest.fixture(scope="module")
def house(_simulator: Simulator) -> Iterator[Tollhouse]:
    _simulator.reset()
    with Tollhouse.start(environ_of(_simulator), config=TIMEOUTS + LIMITS + ONCE) as house:
        yield house


def attack(house: Tollhouse, sent: Sent) -> str | None:
    """What was wrong with what came back, if anything was."""
    heard = wire.exchange(house.port, sent.raw, whole=sent.whole)
    method = sent.raw.split(b" ", 1)[0].decode("latin-1")
    try:
        answer = wire.parsed(heard, method)
    except http.client.HTTPException as error:
        return f"{error!r}: {heard[:200]!r}"
    if not answer.status:
        return None if not sent.whole else "no answer"
    if answer.status not in sent.wanted:
        return f"status {answer.status}: {answer.body[:200]!r}"
    if answer.rest:
        return f"more than one answer: {answer.rest[:200]!r}"
    if any("evil" in name.lower() for name, _ in answer.headers):
        return f"a header of theirs: {answer.headers}"
    return wire.complaint(answer) if method != "HEAD" else None


def complaints(house: Tollhouse, sents: list[Sent]) -> list[str]:
    found = ((sent, attack(house, sent)) for sent in sents)
    return [f"{sent.kind}, {sent.name}: {complaint}" for sent, complaint in found if complaint]


def figure(house: Tollhouse, name: str) -> float:
    """A metric without labels."""
    with urllib.request.urlopen(f"{house.url}/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])  # type: ignore[index]  # or the test fails


def unharmed(house: Tollhouse, simulator: Simulator) -> None:
    """It is there and ready, nobody is waited for, and it has logged no fault of ours and no key."""
    assert wire.parsed(wire.exchange(house.port, request(b"", head=b"GET /readyz HTTP/1.1")), "GET").status == 200
    assert simulator.wait(in_progress=0, timeout=PATIENCE)
    assert any(figure(house, "tollhouse_in_flight_requests") == 0 for _ in range(1_000))
    assert [line for line in house.logs if line["level"] in ("error", "critical")] == []
    assert not re.search("Traceback|canary", house.stderr)


def resident(house: Tollhouse) -> int:
    """Bytes of memory."""
    status = Path(f"/proc/{house.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]  # or the test fails


def test_there_are_more_than_a_thousand_of_them():
    assert len(TABLE) > 1_000
    assert len({(sent.kind, sent.name) for sent in TABLE}) == len(TABLE)


@pytest.mark.parametrize("kind", KINDS)
def test_no_hostile_request_does_harm(house, vendors, kind):
    vendors.clear_requests()
    assert complaints(house, [sent for sent in TABLE if sent.kind == kind]) == []
    unharmed(house, vendors)
    arrived = vendors.requests() if kind != "nesting" else []  # these nobody here can read
    assert all(where in r["path"] for r in arrived if (where := PATHS[r["vendor"]])), "asked for something else"
    assert [r for r in arrived if any("evil" in name.lower() for name in r["headers"])] == []
    assert [r for r in arrived if clients.SMUGGLED in json.dumps(r)] == []


PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "gemini": "/v1beta/models/"}


@pytest.mark.parametrize("place", ["arguments", "a format"])
def test_nothing_is_nested_just_so_deeply_that_one_can_read_it_and_the_next_cannot(house, place):
    """Where the interpreter ends: each reader stands at another height of its stack."""
    before, behind = words.NESTED[place]
    for vendor in words.VENDORS:
        for depth in range(940, 990):
            tower = before.replace(b"%s", MODELS[vendor].encode()) + b"[" * depth + b"]" * depth + behind
            answer = wire.parsed(wire.exchange(house.port, request(tower)))
            assert answer.status in (200, 400), (vendor, depth)
            assert wire.complaint(answer) is None


def test_what_was_forwarded_is_booked_as_the_vendors_bill_it(house, vendors):
    """After all of that: each answer that a vendor was asked for is in the ledger, at its price."""
    vendors.order("DELETE", "/ledger")
    before = spent(house)
    ours = [sent for sent in TABLE if sent.kind in ("duplicates", "texts", "types", "numbers")]
    assert complaints(house, ours) == []
    assert vendors.wait(in_progress=0, timeout=PATIENCE)
    bill = sum(priced(entry) for entry in vendors.ledger())
    assert bill > 0
    assert spent(house) - before == bill


def priced(entry: dict[str, Any]) -> int:
    """Of what has no price, it is only known that it was asked for."""
    try:
        return price(msgspec.convert(entry, Entry))
    except Unpriced:
        return 0


def spent(house: Tollhouse) -> int:
    """Nano-dollars, once all rows are there."""
    total = -1
    for _ in range(200):
        with urllib.request.urlopen(f"{house.url}/providers/costs/summary", timeout=PATIENCE) as answer:
            before, total = total, nano(json.load(answer)["this_month"]["spent_usd"])
        if before == total and figure(house, "tollhouse_journal_undelivered") == 0:
            break
    return total


# ---- names that go into a URL ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", words.NAMES, ids=lambda name: repr(name[:30]))
def test_the_name_of_a_model_is_one_segment_of_a_path_and_nothing_else(name, stream):
    target = Target(
        provider="gemini", vendor="gemini", model=name, capabilities=Capabilities(), context=1_000, max_output=1_000
    )
    envelope = seal(msgspec.json.encode(letter(stream=stream)))
    adapter = ADAPTERS["gemini", "chat"]
    try:
        calls = [adapter.request(envelope, target, NOTHING)]
    except Failure:
        return  # it is not asked for at all
    if (counting := adapter.counting(calls[0], target)) is not None:
        calls.append(counting)
    for call in calls:
        verb = r"(?:generateContent|streamGenerateContent\?alt=sse|countTokens)"
        assert re.fullmatch(rf"/v1beta/models/(?:[\w.~-]|%[0-9A-F]{{2}})*:{verb}", call.path)


# ---- who takes his time, and who leaves ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hurried(_simulator: Simulator) -> Iterator[Tollhouse]:
    """It waits for nobody for longer than a second."""
    with Tollhouse.start(environ_of(_simulator), config=TIMEOUTS + HURRIED + ONCE) as house:
        yield house


SAY = [{"role": "user", "content": "words 400000"}]
WHOLE = request(posted(MODELS["openai"]))
CUTS = [1, 15, 30, 60, WHOLE.index(b"\r\n\r\n") + 2, WHOLE.index(b"\r\n\r\n") + 4, len(WHOLE) - 20, len(WHOLE) - 1]


def test_who_does_not_go_on_is_told_so_and_shown_out(hurried, simulator):
    """All at once: each has sent a part of a request, and sends no more."""
    open_ones = [socket.create_connection(("127.0.0.1", hurried.port), PATIENCE) for _ in CUTS]
    for at, one in zip(CUTS, open_ones, strict=True):
        one.sendall(WHOLE[:at])
    for one in open_ones:
        heard = b""
        while part := one.recv(65_536):
            heard += part
        one.close()
        answer = wire.parsed(heard)
        assert (answer.status, wire.complaint(answer)) == (408, None)
        assert json.loads(answer.body)["error"]["code"] == "request_timeout"
    assert simulator.requests() == []
    unharmed(hurried, simulator)


def test_who_leaves_at_any_moment_leaves_nothing_behind(house, simulator):
    for at in (*CUTS, len(WHOLE)):
        for reset in (False, True):
            one = socket.create_connection(("127.0.0.1", house.port), PATIENCE)
            one.sendall(WHOLE[:at])
            if reset:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            one.close()
    unharmed(house, simulator)


@pytest.mark.parametrize("vendor", words.VENDORS)
def test_nobody_waits_for_who_does_not_read(hurried, simulator, vendor):
    """It is still there, and has not taken a byte."""
    long = posted(MODELS[vendor], stream=True, messages=SAY, max_tokens=500_000)
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        one.settimeout(PATIENCE)
        one.connect(("127.0.0.1", hurried.port))
        one.sendall(request(long))
        assert simulator.wait(vendor, received=1, timeout=PATIENCE)
        unharmed(hurried, simulator)


# ---- memory --------------------------------------------------------------------------------------------------------


def test_memory_is_back_where_it_was(house, vendors):
    """After one round of the largest there are, for what is made once."""
    large = sorted(TABLE, key=lambda sent: len(sent.raw))[-60:]
    assert complaints(house, large) == []
    before = resident(house)
    assert complaints(house, large) == []
    assert resident(house) - before < 16 * MEGABYTE


@pytest.mark.long
def test_memory_is_where_it_was_after_ten_rounds_of_all(house, vendors):
    sizes = []
    for _ in range(10):
        assert complaints(house, TABLE) == []
        sizes.append(resident(house))
    unharmed(house, vendors)
    assert sizes[-1] - sizes[2] < 16 * MEGABYTE, sizes
