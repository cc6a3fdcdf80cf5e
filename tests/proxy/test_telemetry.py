"""The log: one line a request, valid, with nothing secret in it, on a stream that may be gone.

Each test runs a process of its own: how a log is set up holds for a whole process.
"""

import json
import os
import subprocess
import sys

import msgspec
import pytest

from adapters.base import Failure, Kind, Usage
from proxy.routing import Out
from proxy.telemetry import FIELDS, Attempt, Decision, Record, Timings, line
from tests.tollhouse import PATIENCE, ROOT, Tollhouse, surroundings

START = "from proxy.telemetry import *; from proxy.log import configure, log_request"
SAY = "import structlog; log = structlog.get_logger()\n"


def said(code: str, *, format: str = "json", level: str = "info") -> str:
    """What a fresh process with this log writes to standard error."""
    start = f"{START}; configure({format!r}, {level!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", start + SAY + code],
        cwd=ROOT, env=surroundings({"COLUMNS": "200"}), capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


def lines(code: str, **options) -> list[dict]:
    return [json.loads(line) for line in said(code, **options).splitlines()]


FULL = """
from adapters.base import Failure, Kind, Usage
record = Record(
    "req_1", 12.5, model="gpt-4o", stream=True, user="u\\n\\x1b[2J", provider="gemini", served="gemini-3.8-flash",
    upstream_id="up_1", status=200, finish="stop", usage=Usage(in_text=3, out_text=5), warnings="dropped=seed",
    attempts=[Attempt("openai", "gpt-4o", "transient", 1.5, "broke"), Attempt("gemini", "g", "ok", 2.0, None, 1.5)],
    first_part=3.25, total=9.75, timings=Timings(vendors=2.5, overhead=0.75), cost_nano=12_500,
)
"""


def test_a_record_with_every_field_is_one_line():
    (said,) = lines(FULL + "log_request(record)")
    assert said.pop("timestamp").endswith("Z")
    assert said == {
        "event": "request",
        "level": "info",
        "request_id": "req_1",
        "model": "gpt-4o",
        "stream": True,
        "user": "u\n\x1b[2J",
        "provider": "gemini",
        "served": "gemini-3.8-flash",
        "upstream_id": "up_1",
        "status": 200,
        "finish": "stop",
        "usage": {"in_text": 3, "out_text": 5},
        "warnings": "dropped=seed",
        "attempts": [
            {"provider": "openai", "model": "gpt-4o", "outcome": "transient", "milliseconds": 1.5, "message": "broke"},
            {"provider": "gemini", "model": "g", "outcome": "ok", "milliseconds": 2.0, "started": 1.5},
        ],
        "input_tokens": 3,
        "output_tokens": 5,
        "cost_nano": 12_500,
        "cost_usd": "0.0000125",
        "first_part_ms": 3.25,
        "total_ms": 9.75,
        "queue_ms": 0.0,
        "hold_ms": 0.0,
        "vendors_ms": 2.5,
        "overhead_ms": 0.75,
    }


WHOLE = Record(
    "req_1",
    12.5,
    model="smart",
    stream=True,
    user="u",
    agent="a",
    team="t",
    key="k",
    provider="gemini",
    served="g",
    upstream_id="up_1",
    status=502,
    code="upstream_error",
    finish="stop",
    usage=Usage(in_text=3, cache_read=4, out_text=5, out_reasoning=6),
    cost_nano=0,
    estimated=True,
    attempts=[Attempt("gemini", "g", "ok", 2.0, None, 0.5, "g")],
    decision=Decision(strategy="cost", order=("gemini/g",), out=(Out("openai/x", "open", "it is"),), waited=1.0),
    warnings="dropped=seed",
    first_part=3.0,
    total=9.0,
    timings=Timings(queue=0.1, hold=0.2, connect=0.3, first_byte=0.4, vendors=0.5, overhead=0.6),
    trace="1" * 32,
    span="2" * 16,
    parent="3" * 16,
    sampled=True,
    prompt="user: hello",
    answer="hello",
    numbered=1,
)


def test_each_field_of_the_line_is_described_and_each_that_is_described_is_there():
    assert {*line(WHOLE), "event", "level", "timestamp"} == set(FIELDS)


def test_what_a_record_calls_by_the_same_name_is_said_as_it_is():
    names = set(FIELDS) & set(Record.__struct_fields__) - {"attempts"}
    said = line(WHOLE)
    assert {name: said[name] for name in names} == {
        name: msgspec.to_builtins(getattr(WHOLE, name)) for name in names
    }, "each in its own place"
    assert len(names) > 15


def test_the_whole_of_a_record_is_told_by_names_that_say_their_units():
    said = line(WHOLE)
    assert {name: said[name] for name in said if name.endswith("_ms")} == {
        "first_part_ms": 3.0,
        "total_ms": 9.0,
        "queue_ms": 0.1,
        "hold_ms": 0.2,
        "connect_ms": 0.3,
        "first_byte_ms": 0.4,
        "vendors_ms": 0.5,
        "overhead_ms": 0.6,
    }
    assert (said["input_tokens"], said["output_tokens"]) == (7, 11)
    assert (said["cost_nano"], said["cost_usd"]) == (0, "0"), "a cost of nothing is known"
    assert (said["trace_id"], said["span_id"], said["parent_span_id"]) == ("1" * 32, "2" * 16, "3" * 16)
    assert said["attempts"] == [
        {"provider": "gemini", "model": "g", "outcome": "ok", "milliseconds": 2.0, "started": 0.5}
    ]
    assert list(said["decision"]["out"]) == [{"name": "openai/x", "why": "open", "said": "it is"}]
    json.dumps(said)


@pytest.mark.parametrize(
    ("record", "there", "gone"),
    [
        (Record("r", 0.0), set(), {"queue_ms", "cost_usd", "input_tokens", "trace_id", "sampled", "span_id"}),
        (Record("r", 0.0, cost_nano=0, usage=Usage()), {"cost_usd", "input_tokens", "output_tokens"}, {"queue_ms"}),
        (
            Record("r", 0.0, attempts=[Attempt("p", "m", "ok", 1.0)]),
            {"queue_ms", "hold_ms", "vendors_ms"},
            {"connect_ms", "first_byte_ms", "overhead_ms", "first_part_ms"},
        ),
        (
            Record("r", 0.0, timings=Timings(connect=0.0, first_byte=0.0, overhead=0.0), first_part=0.0),
            {"connect_ms", "first_byte_ms", "overhead_ms", "first_part_ms"},
            {"queue_ms"},
        ),
        (Record("r", 0.0, trace="1" * 32, parent="3" * 16), {"trace_id", "sampled", "parent_span_id"}, {"span_id"}),
        (Record("r", 0.0, span="2" * 16, sampled=True), set(), {"span_id", "sampled", "trace_id"}),
    ],
    ids=[
        "of a refusal hardly anything",
        "a cost of nothing and a usage of nothing are known",
        "once somebody was asked no time is unknown that is ours to measure",
        "a time of nothing is known",
        "a trace that is only passed on",
        "no span without its trace",
    ],
)
def test_of_what_is_not_known_there_is_no_field(record, there, gone):
    said = set(line(record))
    assert there <= said
    assert not gone & said


def test_the_record_is_not_changed_by_being_told():
    before = repr(WHOLE)
    line(WHOLE)
    assert repr(WHOLE) == before


def test_what_is_not_known_is_not_said():
    (said,) = lines("log_request(Record('req_1', 0.0))")
    assert set(said) == {"event", "level", "timestamp", "request_id", "stream", "total_ms"}


@pytest.mark.parametrize(
    ("failure", "code"),
    [(Failure(Kind.KEY, "m", status=503, code="x"), "x"), (Failure(Kind.TIMEOUT, "m", status=504), "timeout")],
    ids=["by its code", "by its kind where it has none"],
)
def test_a_failure_is_noted(failure, code):
    record = Record("req_1", 0.0)
    record.fail(failure)
    assert (record.status, record.code) == (failure.status, code)


def test_a_fresh_record_shares_no_attempts_with_another():
    one, two = Record("a", 0.0), Record("b", 0.0, usage=Usage())
    one.attempts.append(Attempt("p", "m", "ok", 1.0))
    assert two.attempts == []


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
@pytest.mark.parametrize("format", ["json", "console"])
def test_the_level_filters(level, heard, format):
    text = said(
        "for word in ('debug', 'info', 'warning', 'error'): getattr(log, word)(f'<{word}>')", format=format, level=level
    )
    assert [word for word in ("debug", "info", "warning", "error") if f"<{word}>" in text] == heard


def test_the_console_is_for_people():
    text = said(FULL + "log_request(record)", format="console")
    assert text.count("\n") == 1
    assert "request" in text
    assert "provider=gemini" in text
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


def test_on_the_console_words_of_clients_do_not_move_the_cursor():
    text = said(FULL + "log_request(record)", format="console")
    assert "\x1b" not in text
    assert "\\x0a\\x1b[2J" in text


WITH_A_KEY = """
def send(key):
    raise RuntimeError("broke")
try:
    send("sk-" + "canary")
except RuntimeError:
    log.exception("internal error")
"""


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_traceback_does_not_show_local_variables(format):
    text = said(WITH_A_KEY, format=format)
    assert "RuntimeError: broke" in text
    assert "sk-canary" not in text


def test_what_json_cannot_hold_is_told_as_text():
    (line,) = lines("log.info('x', at=object, odd=float('nan'), raw=b'1', path=__import__('pathlib').Path('/a'))")
    assert line["path"] == "/a"
    assert line["odd"] is None


def test_what_libraries_log_comes_in_the_same_form():
    said = lines(
        "import asyncio, logging\n"
        "logging.getLogger('uvicorn.error').warning('careful: %s', 1)\n"
        "logging.getLogger('httpx').info('GET https://host/?key=sk-canary')\n"
        "logging.getLogger('asyncio').error('lost', exc_info=ValueError('why'))\n"
        "logging.getLogger('uvicorn.error').error('cut off', exc_info=asyncio.CancelledError())\n",
        level="debug",
    )
    assert [(line["level"], line["logger"], line["event"]) for line in said] == [
        ("warning", "uvicorn.error", "careful: 1"),
        ("error", "asyncio", "lost"),
    ]
    assert "ValueError: why" in said[1]["exception"]


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_log_that_nobody_reads_any_more_fails_nobody(format):
    read, write = os.pipe()
    os.close(read)
    code = (
        f"{START}; configure({format!r}, 'info'); log_request(Record('req_1', 0.0)); "
        "import os; os.write(1, b'still here'); os._exit(0)"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=surroundings({}),
            stdout=subprocess.PIPE,
            stderr=write,
            timeout=30,
        )
    finally:
        os.close(write)
    assert done.stdout == b"still here"


def test_the_line_of_a_request_holds_no_secret_and_no_prompt(tollhouse: Tollhouse, http):
    answer = http.post(
        "/v1/chat/completions",
        json={"model": "gpt-4o", "messages": [{"role": "user", "content": "a private word"}], "user": "somebody"},
        headers={"authorization": "Bearer client-canary"},
    )
    said = tollhouse.wait_log("request", request_id=answer.headers["x-request-id"])
    assert (said["status"], said["provider"], said["user"]) == (200, "openai", "somebody")
    assert set(said) <= set(FIELDS)
    for secret in ("canary", "private"):
        assert secret not in tollhouse.stderr
