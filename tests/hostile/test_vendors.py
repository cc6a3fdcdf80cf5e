"""Hostile answers of vendors: each client hears a right answer or a well-formed error, and no money is wrong.

One house, and one vendor behind all three formats that plays `tests.hostile.vendors`. A third of the table in each run,
all of it among the long tests.
"""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMITS, ONCE
from tests.hostile import vendors, wire
from tests.hostile.clients import request
from tests.hostile.player import Player
from tests.hostile.vendors import KINDS, SAID, Played
from tests.hostile.words import MODELS
from tests.money.fleet import nano
from tests.tollhouse import PATIENCE, Tollhouse

TABLE = vendors.table()
HASTE = "timeouts: {connect: 2, first_byte: 0.5, first_byte_plain: 0.5, idle: 0.5, total: 20}\n"
BUDGET = "budgets: [{daily: 1000}]\n"
KEYS = {"OPENAI_API_KEY": "sk-canary-1", "ANTHROPIC_API_KEY": "sk-ant-canary-2", "GEMINI_API_KEY": "AIza-canary-3"}
# Whoever fails is asked again all the same: there is no one else here.
PATIENT = {"ENABLE_LLM_FALLBACK": "false", "LLM_HEALTH_CONSECUTIVE_FAILURES": "1000000"}
PATIENT["LLM_HEALTH_MIN_REQUESTS"] = "1000000"
MEGABYTE = 1 << 20
# A request here has fifty tokens of answer, and hardly more of a prompt.
MOST_NANO = 2_000_000


@pytest.fixture(scope="module")
def player() -> Iterator[Player]:
    with Player(TABLE) as player:
        yield player


@pytest.fixture(scope="module")
def house(player: Player) -> Iterator[Tollhouse]:
    urls = {"OPENAI_BASE_URL": f"{player.url}/v1", "ANTHROPIC_BASE_URL": player.url, "GEMINI_BASE_URL": player.url}
    with Tollhouse.start({**KEYS, **PATIENT, **urls}, config=HASTE + LIMITS + ONCE + BUDGET) as house:
        yield house


def asked(house: Tollhouse, player: Player, row: int) -> wire.Answer:
    """The answer to a request that was sent on to the player, once: a circuit that is open is closed for it."""
    played = TABLE[row]
    say = [{"role": "user", "content": f"case={row}"}]
    model = f"{played.vendor}/{MODELS[played.vendor]}"
    body = json.dumps({"model": model, "stream": played.stream, "messages": say, "max_tokens": 50})
    for _ in range(3):
        before = len(player.heard)
        answer = wire.parsed(wire.exchange(house.port, request(body.encode())))
        if len(player.heard) > before:
            assert len(player.heard) == before + 1
            return answer
        house.heal()
    raise AssertionError(f"never asked: {answer.body[:300]!r}")


def complaint(played: Played, answer: wire.Answer) -> str | None:
    """What was wrong with what the client heard, if anything was."""
    if any("evil" in name.lower() for name, _ in answer.headers) or b"canary" in answer.body:
        return f"a header of theirs, or a key of ours: {answer}"
    if answer.status == 500 or answer.status < 200 or answer.rest:
        return f"{answer}"
    try:
        text = _said(played, answer)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{error!r}: {answer.body[:300]!r}"
    if played.well is None:
        return wire.complaint(answer)
    return wire.complaint(answer) or (None if text == (SAID if played.well else None) else f"it heard {text!r:.100}")


def _said(played: Played, answer: wire.Answer) -> str | None:
    """What the client was told; None if it was refused, or told in the end that this was not all."""
    if answer.status != 200:
        return None
    # OpenAI's own words are passed on as they came, whatever they are, if they are JSON.
    raw = played.kind == "types" and played.vendor == "openai"
    if played.stream:
        chunks = _streamed(answer.body)
        return SAID if raw else None if chunks is None else "".join(map(_words, chunks))
    whole = json.loads(answer.body)
    return SAID if raw else str(whole["choices"][0]["message"].get("content"))


def _words(chunk: dict[str, Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


def _streamed(body: bytes) -> list[dict[str, Any]] | None:
    """All of its chunks; None if it ended in an error, as it should: one, and nothing behind it."""
    *events, last = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event]
    chunks = [json.loads(event) for event in events]
    if last == b"[DONE]":
        return chunks
    if set(json.loads(last)["error"]) != {"message", "type", "param", "code"}:
        raise ValueError("no error object")
    return None


def unharmed(house: Tollhouse) -> None:
    """It lives, it has logged no fault of ours and no key, and has booked nothing that cannot be."""
    answer = wire.parsed(wire.exchange(house.port, request(b"", head=b"GET /readyz HTTP/1.1")), "GET")
    assert answer.status == 200
    faults = [line for line in house.logs if line["level"] in ("error", "critical")]
    assert [line for line in faults if line["event"] != "usage not believed"] == []
    assert not re.search("Traceback|canary", house.stderr)


def rows(house: Tollhouse) -> list[dict[str, Any]]:
    """The ledger."""
    span = "start_date=2020-01-01&end_date=2099-12-31&format=json"
    with urllib.request.urlopen(f"{house.url}/providers/costs/export?{span}", timeout=PATIENCE) as answer:
        said = json.load(answer)
    return list(said["rows"] if isinstance(said, dict) else said)


def play(house: Tollhouse, player: Player, some: list[int]) -> None:
    heard = ((TABLE[row], complaint(TABLE[row], asked(house, player, row))) for row in some)
    wrong = [f"{p.kind}, {p.name}, {p.vendor}, {p.stream=}: {what}" for p, what in heard if what]
    assert wrong == []
    unharmed(house)
    booked = [nano(row["cost_usd"]) for row in rows(house) if row["cost_usd"] is not None]
    assert all(0 <= cost < MOST_NANO for cost in booked), max(booked)
    assert [line for line, _ in player.heard if vendors.ELSEWHERE.encode() in line] == []


def test_there_are_more_than_two_hundred_of_them():
    assert len(TABLE) > 200
    assert {(played.kind, played.vendor) for played in TABLE} == {(k, v) for k in KINDS for v in MODELS}


SLOW = ("without end", "10 MB", "silence", "silent", "bomb")  # one vendor's will do in each run


def of_kind(kind: str, *, all: bool = False) -> list[int]:
    found = [row for row, played in enumerate(TABLE) if played.kind == kind]
    if all:
        return found
    dear = [row for row in found if any(word in TABLE[row].name for word in SLOW)]
    cheap = [row for row in found if row not in dear]
    third = cheap if len(cheap) < 100 else cheap[:: len(cheap) // 80]
    return sorted([*third, *(row for at, row in enumerate(dear) if at % 6 == 0 or TABLE[row].vendor == "gemini")])


@pytest.mark.parametrize("kind", KINDS)
def test_no_hostile_answer_does_harm(house, player, kind):
    play(house, player, of_kind(kind))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_none_of_all_hostile_answers_does_harm(house, player, kind):
    play(house, player, of_kind(kind, all=True))


def test_a_bill_that_cannot_be_true_is_estimated_and_said_loudly(house, player):
    for stream in (False, True):
        row = next(row for row, p in enumerate(TABLE) if (p.kind, p.name, p.stream) == ("usages", "all: huge", stream))
        answer = asked(house, player, row)
        assert complaint(TABLE[row], answer) is None
        assert "x-tollhouse-cost-usd" not in dict(answer.headers)
        assert house.wait_log("usage not believed", timeout=PATIENCE, prompt=2**53)["level"] == "error"
    assert all(nano(row["cost_usd"]) < MOST_NANO for row in rows(house) if row["cost_usd"] is not None)


def test_memory_is_back_after_lines_without_end(house, player):
    """What was too large is not kept: not even until somebody tidies up."""
    lines = [row for row, played in enumerate(TABLE) if "a line without end" in played.name][:3]
    for row in lines:
        asked(house, player, row)
    before = resident(house)
    for row in lines:
        asked(house, player, row)
    assert resident(house) - before < 64 * MEGABYTE


def resident(house: Tollhouse) -> int:
    """Bytes of memory."""
    status = Path(f"/proc/{house.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]  # or the test fails
