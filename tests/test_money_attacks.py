"""Whoever holds a client key and wants more than the budget allows, or wants it unseen; and vendors who count oddly."""

import asyncio
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters import openai
from adapters.base import NOTHING, Capabilities, Target, Usage
from adapters.envelope import seal
from proxy import tokens
from proxy.bound import End, bill, hints, quoted
from proxy.budget import MOST
from proxy.catalog import LONGEST_NAME
from proxy.cost import NANO, Hints
from proxy.export import flat
from proxy.ledger import Entry, name
from proxy.prices import Price, convert
from proxy.simulator.client import Simulator
from proxy.store import open_store
from proxy.tokenizer import Tokenizer
from tests.adapters.golden import request_cases
from tests.conftest import LIMITS, ONCE, TIMEOUTS, environ_of
from tests.money import fleet, truth
from tests.tollhouse import Tollhouse

ASK: list[Any] = [{"role": "user", "content": "words 100"}]
EACH = "budgets: [{user: '*', daily: '%s'}]\nspending: {unbounded_share: 1}\n"
ACME = """
providers:
  - name: acme
    key: ACME_KEY
    base_url: "%s"
    models:
      - model: gpt-4o-acme
        limits: {context: 131072, max_output: 32768}
        prices: [{source: x, per_mtok: {input: "2.5", output: "10"}}]
"""
TARGET = Target(
    provider="openai", vendor="openai", model="gpt-4o", capabilities=Capabilities(), context=128_000, max_output=16_384
)
PRICE = convert({"source": "test", "per_mtok": {"input": "2.5", "output": "10"}}, Price)
# One for all: to make one takes longer than to ask. It keeps no connection, for houses come and go.
HTTP = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0))
Start = Callable[..., Tollhouse]


@pytest.fixture(scope="module")
def _exact() -> Iterator[Simulator]:
    with Simulator.start(tokens="o200k") as vendors:
        yield vendors


@pytest.fixture
def vendors(_exact: Simulator) -> Simulator:
    """Three vendors who count as OpenAI does, as after their start."""
    _exact.reset()
    return _exact


@pytest.fixture
def start(vendors: Simulator, tmp_path: Path) -> Iterator[Start]:
    """Start a tollhouse; all of a test share one directory."""
    houses: list[Tollhouse] = []

    def started(config: str = "", **environ: str) -> Tollhouse:
        more = {"TOLLHOUSE_DATA_DIR": str(tmp_path / "data"), "ENABLE_LLM_FALLBACK": "false", "ACME_KEY": "sk-acme"}
        config = TIMEOUTS + LIMITS + ONCE + config
        houses.append(Tollhouse.start({**environ_of(vendors), **more, **environ}, config=config))
        return houses[-1]

    yield started
    for house in houses:
        house.stop()


def ask(house: Tollhouse, body: bytes | dict[str, Any], user: str = "mallory") -> httpx.Response:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    given = {"content-type": "application/json", "x-tollhouse-user": user}
    return HTTP.post(f"{house.url}/v1/chat/completions", content=content, headers=given, timeout=20)


def rows(house: Tollhouse) -> list[dict[str, Any]]:
    return list(HTTP.get(f"{house.url}/providers/costs/export", params={"format": "json"}, timeout=20).json())


def booked(house: Tollhouse, directory: Path) -> list[dict[str, Any]]:
    """All rows, once everything is counted: a process that ends in peace has booked what it knows."""
    assert house.stop() == 0
    entries = asyncio.run(fleet.rows(open_store(None, directory / "data", "observer")))
    return [flat(entry) for entry in entries]


# --- what is held covers what is billed


def test_what_is_held_for_each_golden_request_covers_what_is_billed_for_it(vendors, start, tmp_path):
    house = start(EACH % 9_000_000)
    billed: dict[str, int] = {}
    for case in request_cases():
        vendors.clear_ledger()
        file, user = case.file(), name(f"{case.name}.{case.vendor}")
        request = {**msgspec.json.decode(file.request), "model": f"{case.vendor}/{file.models[case.vendor]}"}
        ask(house, request, user)
        assert vendors.wait(in_progress=0)
        if nano := truth.truth(vendors.ledger()).total:
            billed[user] = nano
    held = {row["user"]: row["held_nano"] for row in booked(house, tmp_path)}
    assert {user: (nano, held[user]) for user, nano in billed.items() if held[user] < nano} == {}
    assert len(billed) > 100


# What JSON spells in fewer tokens than the vendor reads: a line end and a letter are one token there, two here.
DENSE = ">\r\u00e9"
words = st.sampled_from(
    ["word ", "\n", "\t", "\r", '"', "\\", "/", ">", "=", "u", "n", "\u00e9", "\x00", "\u4e2d", "\U0001f600"]
)
contents = (
    st.lists(words, min_size=1, max_size=4)
    .map("".join)
    .flatmap(lambda text: st.integers(1, 400).map(lambda times: text * times))
)
roles = st.sampled_from(["user", "assistant", "system"])


@settings(max_examples=60, deadline=None)
@example([("user", DENSE * 400)])
@example([("user", "x")] * 300)
@given(st.lists(st.tuples(roles, contents), min_size=1, max_size=20))
def test_no_prompt_comes_to_more_tokens_than_its_bounds(messages):
    tokenizer = Tokenizer()
    body = {"model": "gpt-4o", "messages": [{"role": role, "content": text} for role, text in messages]}

    async def counted() -> tuple[int, int]:
        told = 3  # OpenAI's cookbook: 3 for the answer, 3 for each message, and what is in it
        for role, text in messages:
            told += 3 + await tokenizer.count(role, "gpt-4o") + await tokenizer.count(text, "gpt-4o")
        both = [await tokenizer.count(text, "gpt-4o") for text in (raw.decode(), tokens.texts(raw))]
        return told, max(both)

    for raw in (json.dumps(body).encode(), msgspec.json.encode(body)):
        told, found = asyncio.run(counted())
        assert tokens.prompt_bound(raw, tokens.TEXT, TARGET) >= told
        assert tokens.prompt_bound(raw, tokens.TEXT, TARGET, text=found) >= told


def test_a_prompt_that_json_spells_in_fewer_tokens_is_held_as_the_vendor_counts_it(vendors, start):
    house = start(EACH % "0.04")
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": DENSE * 4000}], "max_tokens": 16}
    assert ask(house, asked).status_code == 200
    (row,) = rows(house)
    assert row["held_nano"] >= truth.truth(vendors.ledger()).total == row["cost_nano"]


def test_what_a_search_will_find_is_held_however_short_the_question(vendors, start):
    house = start(EACH % "1")  # a million tokens of Claude are two dollars
    refused = ask(house, {"model": "claude-sonnet-5-5", "messages": ASK, "max_tokens": 300, "web_search_options": {}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
    assert vendors.ledger("anthropic") == []


def test_a_prediction_is_held_as_output_for_it_is_billed_as_that_when_rejected(vendors, start):
    house = start(EACH % "0.03")
    usage = {"prompt_tokens": 4020, "completion_tokens": 4016, "total_tokens": 8036}
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    vendors.script("openai", {"raw": json.dumps({"choices": [choice], "usage": usage})}, repeat=True)
    asked = {"model": "gpt-4o", "messages": ASK, "max_tokens": 16}
    prediction = {"type": "content", "content": "word " * 4000}
    assert ask(house, {**asked, "prediction": prediction}).status_code == 429
    rich = start(EACH % "1")
    assert ask(rich, {**asked, "prediction": prediction}, "alice").status_code == 200
    (row,) = [row for row in rows(rich) if row["user"] == "alice"]
    assert row["held_nano"] >= row["cost_nano"] == 4020 * 2_500 + 4016 * 10_000


def test_more_choices_than_there_is_money_in_the_world_are_held_as_all_of_it():
    quote = quoted(10, PRICE, Hints(), TARGET, tier=None, cap=None, choices=2**62)
    assert quote.amount(quote.most) == MOST


@pytest.mark.parametrize("asked", [{"max_tokens": 1}, {"max_completion_tokens": 1}, {"max_tokens": 1, "n": 2}])
def test_a_cap_that_the_provider_is_said_to_refuse_bounds_nothing_unless_it_leaves(vendors, start, asked, tmp_path):
    refused = "        capabilities: {refused: [max_tokens, max_completion_tokens]}\n"
    house = start(ACME % vendors.openai + refused, LLM_DAILY_BUDGET="5")
    assert ask(house, {"model": "gpt-4o-acme", "messages": [{"role": "user", "content": "words 900"}], **asked})
    (sent,) = vendors.requests("openai")
    (row,) = booked(house, tmp_path)
    assert row["held_nano"] >= row["cost_nano"] > 0, sent["body"]


# --- a letter that two readers read differently

PICTURE = '{"type":"image_url","image_url":{"url":"https://pictures.example/1.png"}}'


@pytest.mark.parametrize(
    "body",
    [
        f'{{"model":"m","messages":[{{"role":"user","content":[{PICTURE}],"content":"hi"}}]}}',
        f'{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"messages":[{{"role":"user","content":[{PICTURE}]}}],'
        f'"messages":[{{"role":"user","content":"hi"}}]}}',
        f'{{"model":"m","messages":[{{"role":"user","content":[{PICTURE}],"c\\u006fntent":"hi"}}]}}',
    ],
    ids=["content", "messages", "escaped"],
)
def test_a_picture_that_only_another_reader_sees_may_be_anything(body):
    assert tokens.media(seal(body.encode())) == tokens.UNKNOWN


def test_a_picture_that_is_said_once_is_a_picture():
    body = f'{{"model":"m","messages":[{{"role":"user","content":[{PICTURE},{PICTURE}]}}]}}'
    assert tokens.media(seal(body.encode())) == tokens.Media(images=2)


@pytest.mark.parametrize(
    ("members", "name", "said"),
    [
        ('"messages":[{"role":"user","content":"dear"}],"messages":[]', b'"messages"', b"[]"),
        ('"messages":[],"stream":false,"stream":true', b'"stream"', b"true"),
        ('"messages":[],"prediction":{"content":"dear"},"prediction":null', b'"prediction"', b"null"),
    ],
)
def test_what_is_said_twice_leaves_once_as_we_have_read_it(members, name, said):
    sent = openai.request(seal(f'{{"model":"gpt-4o",{members}}}'.encode()), TARGET, NOTHING).body
    assert sent.count(name) == 1
    assert name + b":" + said in sent


@pytest.mark.parametrize(
    "options",
    [
        '{"include_usage":false,"include_usage":true}',
        '{"include_usage":true,"include_usage":false}',
        '{"include_usage":true},"stream_options":{"include_usage":true}',
    ],
)
def test_the_usage_is_asked_for_whoever_reads_it(options):
    raw = f'{{"model":"gpt-4o","messages":[],"stream":true,"stream_options":{options}}}'.encode()
    sent = openai.request(seal(raw), TARGET, NOTHING).body
    assert sent.count(b'"include_usage":true') == sent.count(b'"include_usage"') == 1


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ('"messages":[],"prompt_cache_options":{"ttl":"12\\u0068"}', Hints(cache_12h=True)),
        ('"messages":[],"prompt_cache_options":{"ttl":"\\u00312h"}', Hints(cache_12h=True)),
        ('"messages":[{"content":[{"c\\u0061che_control":{"ttl":"\\u0031h"}}]}]', Hints(cache_5m=True, cache_1h=True)),
    ],
)
def test_letters_in_disguise_hide_nothing_that_costs(members, found):
    call = openai.request(seal(f'{{"model":"gpt-4o",{members}}}'.encode()), TARGET, NOTHING)
    assert hints(call.body, tokens.TEXT, TARGET.model) == found
    assert call.reading.caches_long == found.cache_12h


# --- vendors who count oddly

WORDS = "hello world " * 50  # 101 tokens
FLOOR = 100 * 10_000  # nano-dollars: that many words were said
TOLD: dict[str, Any] = {
    "nothing": None,
    "an empty object": {},
    "zeros": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    "less than nothing": {"prompt_tokens": -5, "completion_tokens": -5},
    "only the prompt": {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10},
    "more than there are": {"prompt_tokens": 10**18, "completion_tokens": 10**18},
    "a mad float": {"prompt_tokens": 1e308, "completion_tokens": 1e308},
    "texts": {"prompt_tokens": "10", "completion_tokens": "101"},
    "true": {"prompt_tokens": True, "completion_tokens": True},
    "a list": [10, 101],
    "odd details": {"prompt_tokens": 10, "completion_tokens": 101, "completion_tokens_details": [1]},
}


def event(text: str | None, usage: Any = None, finish: str | None = None) -> str:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    told = {} if usage is None else {"usage": usage}
    return f"data: {json.dumps({'id': 'x', 'choices': [choice], **told})}\n\n"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_who_counts_oddly_gives_nothing_away_and_breaks_nothing(vendors, start, stream, tmp_path):
    config = ACME % vendors.openai
    house = start(config, LLM_DAILY_BUDGET="5")
    for user, usage in TOLD.items():
        message = {"message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}
        said = json.dumps({"choices": [message]} | ({} if usage is None else {"usage": usage}))
        events = [event(WORDS), event(None, usage, "stop"), "data: [DONE]\n\n"]
        vendors.script("openai", {"raw_chunks": events} if stream else {"raw": said})
        answer = ask(house, {"model": "gpt-4o-acme", "messages": ASK, "max_tokens": 500, "stream": stream}, user)
        assert (answer.status_code, "error" in answer.text) == (200, False), (user, answer.text)
    found = {row["user"]: row["cost_nano"] for row in booked(house, tmp_path)}
    assert set(found) == set(TOLD)
    assert {user: nano for user, nano in found.items() if not FLOOR <= nano <= 1.3 * FLOOR} == {}
    assert [line for line in house.logs if line["event"] in ("store away", "internal error")] == []


@pytest.mark.parametrize(
    "usage",
    [
        Usage(in_text=2**53, out_text=2**53),
        Usage(out_text=2**62),
    ],
)
def test_no_bill_is_larger_than_the_stores_can_add_up(usage):
    entry = Entry(id="r/1", request="r", provider="acme", model="m")
    assert bill(entry, PRICE, 5, None, End(sent=True, whole=True, usage=usage)).cost == MOST


def test_an_absurd_bill_is_not_believed_and_shuts_nobodys_budget(vendors, start, tmp_path):
    """No model reads more tokens than there are: what was heard is counted instead, and the log says so."""
    house = start(EACH % 1000)
    usage = {"input_tokens": 2**53, "output_tokens": 2**53}
    message = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "x"}], "usage": usage}
    vendors.script("anthropic", {"raw": json.dumps({**message, "stop_reason": "end_turn"})})
    asked = {"messages": ASK, "max_tokens": 50}
    assert ask(house, {"model": "claude-sonnet-5-5", **asked}).status_code == 200
    assert ask(house, {"model": "claude-sonnet-5-5", **asked}, "alice").status_code == 200
    assert ask(house, {"model": "claude-sonnet-5-5", **asked}).status_code == 200
    found = booked(house, tmp_path)
    assert {row["user"] for row in found} == {"mallory", "alice"}
    assert all(0 < row["cost_nano"] < NANO for row in found)
    assert [row["estimated"] for row in found].count(True) == 1
    assert [line["level"] for line in house.logs if line["event"] == "usage not believed"] == ["error"]
    assert [line for line in house.logs if line["event"] == "store away"] == []


CLAUDE = {
    "type": "message",
    "role": "assistant",
    "stop_reason": "end_turn",
    "content": [{"type": "text", "text": WORDS}],
}
GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": WORDS}]}, "finishReason": "STOP"}]}
CLAUDES = [
    {"type": "message_start", "message": {"type": "message", "role": "assistant", "content": [], "model": "m"}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": WORDS}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 0}},
    {"type": "message_stop"},
]


@pytest.mark.parametrize(
    ("vendor", "said"),
    [
        ("anthropic", CLAUDE),
        ("anthropic", {**CLAUDE, "usage": {"input_tokens": 0, "output_tokens": 0}}),
        ("anthropic", {**CLAUDE, "usage": {"input_tokens": 9, "output_tokens": 0}}),
        ("anthropic", CLAUDES),
        ("gemini", GEMINI),
        ("gemini", {**GEMINI, "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}}),
        ("gemini", {**GEMINI, "usageMetadata": {"candidatesTokenCount": 101, "totalTokenCount": 101}}),
        ("gemini", [{**GEMINI, "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}}]),
    ],
)
def test_a_vendor_that_forgets_to_count_is_estimated_and_not_free(vendors, start, vendor, said, tmp_path):
    house = start(LLM_DAILY_BUDGET="5")
    stream = isinstance(said, list)
    events = [f"event: {one.get('type')}\ndata: {json.dumps(one)}\n\n" for one in said] if stream else None
    vendors.script(vendor, {"raw_chunks": events} if stream else {"raw": json.dumps(said)})
    model = {"anthropic": "claude-sonnet-5-5", "gemini": "gemini-3.8-flash"}[vendor]
    answer = ask(house, {"model": model, "messages": ASK, "max_tokens": 500, "stream": stream})
    assert (answer.status_code, "error" in answer.text) == (200, False)
    (row,) = booked(house, tmp_path)
    assert (row["estimated"], row["output_tokens"]) == (True, 101)
    assert row["input_tokens"] > 0
    assert row["cost_nano"] > 0


@pytest.mark.parametrize("status", [201, 202, 206])
def test_an_answer_with_another_good_status_is_no_refusal_and_not_free(vendors, start, status, tmp_path):
    config = ACME % vendors.openai
    house = start(config, LLM_DAILY_BUDGET="5")
    vendors.script("openai", {"raw": "{}", "raw_status": status})
    assert ask(house, {"model": "gpt-4o-acme", "messages": ASK, "max_tokens": 50}).status_code == 502
    (row,) = booked(house, tmp_path)
    assert row["cost_nano"] > 0
    assert row["cost_nano"] + row["unproven_nano"] == row["held_nano"]


# --- names


def test_a_name_of_a_megabyte_makes_no_row_of_a_megabyte(vendors, start, tmp_path):
    house = start()
    assert ask(house, {"model": "gpt-4" + "x" * 500_000, "messages": ASK}).status_code == 404
    ask(house, {"model": "gpt-4" + "x" * (LONGEST_NAME - 5), "messages": ASK})
    ask(house, {"model": "gpt-4\x00\n", "messages": ASK})
    found = booked(house, tmp_path)
    assert len(found) == 2
    for row in found:
        assert all(len(row[key]) <= 200 and row[key].isprintable() for key in ("model", "served", "asked"))


@pytest.mark.parametrize("spelled", ["josé".encode(), "josé".encode("latin-1")], ids=["UTF-8", "Latin-1"])
def test_a_name_is_the_same_however_its_header_is_spelled(vendors, start, spelled):
    house = start("budgets: [{user: josé, daily: '0.0001'}]\n")
    for headers, body in (({b"x-tollhouse-user": spelled}, {}), ({}, {"user": "josé"})):
        asked = {"model": "gpt-4o", "messages": ASK, **body}
        refused = httpx.post(f"{house.url}/v1/chat/completions", json=asked, headers=headers, timeout=20)
        assert refused.status_code == 429
        assert "of user=josé" in refused.json()["error"]["message"]


HOSTILE = [
    *('=HYPERLINK("http://x","y")', "+1", "-1+1", "@SUM(A1)", 'a"b,c', "<script>alert(1)</script>", "a|s", "a=b|h"),
    *("user=alice", "day:2026-11-23", "__proto__", "x" * 1000, "%s%n", "*", "{tollhouse}:hold", "\\u0000", "''"),
]


def test_whatever_users_are_called_the_sums_agree(vendors, start, tmp_path):
    house = start(LLM_DAILY_BUDGET="5")
    for user in HOSTILE:
        assert ask(house, {"model": "gpt-4o", "messages": ASK, "user": user}, "").status_code == 200
    found = booked(house, tmp_path)
    assert {row["user"] for row in found} == {name(user) for user in HOSTILE}
    again = start(LLM_DAILY_BUDGET="5")
    summary = httpx.get(f"{again.url}/providers/costs/summary", timeout=20).json()
    nano = sum(row["cost_nano"] for row in found)
    assert nano == truth.truth(vendors.ledger()).total
    assert Decimal(summary["today"]["spent_usd"]) * NANO == Decimal(summary["budgets"][0]["spent_usd"]) * NANO == nano
    by = summary["today"]["by"]["user"]["top"]
    assert {one["value"] for one in by} >= {name(user) for user in HOSTILE}
    assert sum(Decimal(one["spent_usd"]) for one in by) * NANO == nano
    csv = httpx.get(f"{again.url}/providers/costs/export", params={"format": "csv"}, timeout=20).text
    cells = [cell.strip('"') for line in csv.splitlines()[1:] for cell in line.split(",")]
    assert not [cell for cell in cells if cell[:1] in "=+-@" and cell[:1]]
