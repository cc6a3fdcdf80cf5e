"""The commands that ask a running tollhouse: real processes, a real tollhouse in front of simulated vendors."""

import asyncio
import contextlib
import csv
import io
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from adapters.base import Usage
from proxy.desk.screen import tame
from proxy.desk.window import at
from proxy.export import COLUMNS
from proxy.ledger import DIMENSIONS, Entry
from proxy.stats import iso
from proxy.store import Settlement
from proxy.store.sqlite import SqliteStore
from tests.tollhouse import PATIENCE, ROOT, Tollhouse, environ_of, run, surroundings

ADMIN = "admin-canary-1234567890"
CONFIG = "health: {consecutive: 2}\nretries: {rounds: 1, queue: 0}\n"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NAME = "[red]al\u202eice\x1b[2J"  # somebody who would like to give orders to a terminal
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


def entry(number: int, at: int, **fields: Any) -> Entry:
    usual: dict[str, Any] = {"provider": "openai", "model": "gpt-4o", "status": 200, "cost": number, "total": 5.0}
    used = Usage(in_text=10, cache_read=1, out_text=2, out_reasoning=3)
    return Entry(id=f"req_{number:06}/1", request=f"req_{number:06}", at=at, usage=used, **{**usual, **fields})


def ledger(now: int) -> list[Entry]:
    """Rows of the last days: four around the last hour, and a thousand before, enough to fill a pipe."""
    recent = [
        entry(1_001, now - 30 * MINUTE, user="alice", team="blue"),
        entry(1_002, now - 50 * MINUTE, user=NAME, cost=None, estimated=True),
        entry(1_003, now - 70 * MINUTE, user="bob", status=500, code="x", orphan=True),
        entry(1_004, now - 90 * MINUTE, provider="anthropic", model="claude-sonnet-5-5", unproven=7),
    ]
    return [*(entry(number, now - 3 * DAY + number, asked='a,"b\n') for number in range(1, 1_001)), *recent]


class House(NamedTuple):
    """A tollhouse whose ledger is known, and the environment with which it is asked."""

    url: str
    environ: Mapping[str, str]
    rows: Sequence[Entry]
    now: int  # when it was filled: what came later is of other tests

    def get(self, path: str, **query: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {ADMIN}"}
        return httpx.get(self.url + path, params=query, headers=headers, timeout=PATIENCE).raise_for_status()


def fill(directory: Path, rows: Sequence[Entry]) -> None:
    """Put rows into the store of a tollhouse that is not there yet."""

    async def settle() -> None:
        store = SqliteStore(directory / "tollhouse.db")
        await store.open()
        await store.settle([Settlement(row) for row in rows])
        await store.close()

    asyncio.run(settle())


@pytest.fixture(scope="module")
def _house(_simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("data")
    now = int(time.time() * 1_000)
    rows = ledger(now)

    fill(directory, rows)
    environ = {**environ_of(_simulator), "TOLLHOUSE_ADMIN_KEY": ADMIN, "TOLLHOUSE_DATA_DIR": str(directory)}
    environ |= {"LLM_MONTHLY_BUDGET": "50", "TOLLHOUSE_CLIENT_KEYS": "client-canary"}
    with Tollhouse.start(environ, config=CONFIG) as tollhouse:
        asking = {"TOLLHOUSE_URL": tollhouse.url, "TOLLHOUSE_ADMIN_KEY": ADMIN, "PYTHONUTF8": "1"}
        yield House(tollhouse.url, asking, rows, now)


@pytest.fixture
def house(_house: House, simulator) -> House:
    """With vendors as after their start, and all circuits closed."""
    for provider in ("openai", "anthropic", "gemini"):
        url = f"{_house.url}/providers/health/{provider}/reset"
        httpx.post(url, headers={"authorization": f"Bearer {ADMIN}"}, timeout=PATIENCE).raise_for_status()
    return _house


def asked(
    house: House, *words: str, code: int = 0, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """`tollhouse WORDS`, which ends with that code, and shows no key and no traceback."""
    done = run(*words, environ={**house.environ, **(environ or {})})
    assert done.returncode == code, (done.stdout[-2_000:], done.stderr)
    assert "canary" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def table(text: str) -> list[dict[str, str]]:
    """A table as it was printed plainly: columns two spaces apart, told by its head."""
    head, *lines = text.splitlines()
    starts = [found.start() for found in re.finditer(r"(?<!\S)\S(?:.(?!  ))*.?", head)]
    assert starts
    names = re.split(r" {2,}", head.strip())
    return [dict(zip(names, re.split(r" {2,}", line.strip()), strict=True)) for line in lines if line.strip()]


def break_openai(house: House, simulator) -> None:
    """Until its circuit is open."""
    simulator.fault("openai", "status", status=503)
    for _ in range(2):
        httpx.post(
            f"{house.url}/v1/chat/completions",
            json={**BODY, "model": "openai/gpt-4o"},
            headers={"authorization": "Bearer client-canary"},
            timeout=PATIENCE,
        )


# --- health


def test_health_tells_each_provider_and_model_and_all_is_well(house):
    rows = table(asked(house, "health").stdout)
    assert [row["state"] for row in rows] == ["closed"] * len(rows)
    assert {"openai", "openai/gpt-6-luna", "anthropic", "anthropic/claude-sonnet-5-5", "gemini"} <= {
        row["name"] for row in rows
    }


def test_an_open_circuit_is_bad_news_and_a_reset_is_the_end_of_it(house, simulator):
    break_openai(house, simulator)
    done = asked(house, "health", "openai", code=1)
    (row,) = [row for row in table(done.stdout) if row["name"] == "openai/gpt-4o"]
    assert (row["state"], row["why"], row["failed"]) == ("open", "overloaded", "2/2")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["since"])
    assert row["until"] > row["since"]
    assert {row["name"].partition("/")[0] for row in table(done.stdout)} == {"openai"}
    assert asked(house, "health", "anthropic").returncode == 0
    assert asked(house, "health", "--json", code=1)

    done = asked(house, "health", "reset", "openai", "gpt-4o")
    assert done.stdout == "Closed, on all replicas: openai/gpt-4o.\n"
    assert asked(house, "health", "reset", "openai").stdout.endswith(", openai, openai (way there).\n")
    assert asked(house, "health").returncode == 0


def test_health_as_json_is_what_the_api_says(house):
    said = json.loads(asked(house, "health", "--json", "anthropic").stdout)
    there = house.get("/providers/health", provider="anthropic").json()
    assert said.keys() == there.keys()
    assert said["providers"].keys() == {"anthropic"}
    assert said["replica"] == there["replica"]
    assert json.loads(asked(house, "health", "reset", "gemini", "--json").stdout).keys() == {"reset"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["health", "nobody"], "There is no provider 'nobody' here. There are: gemini, openai, anthropic."),
        (["health", "reset", "nobody"], "There is no provider 'nobody' here."),
        (["health", "reset", "openai", "nothing"], "Nothing is known of a model 'nothing' at openai."),
        (["health", "reset"], "expected: tollhouse health [PROVIDER] [--watch], or health reset PROVIDER [MODEL]"),
        (["health", "reset", "a", "b", "c"], "expected: tollhouse health [PROVIDER]"),
        (["health", "reset", "openai", "--watch"], "expected: tollhouse health [PROVIDER]"),
        (["health", "openai", "gpt-4o"], "expected: tollhouse health [PROVIDER]"),
        (["health", "--every", "0"], "argument --every: expected a number of seconds from 0.1 to 3600; got '0'"),
        (["health", "--every", "x"], "argument --every: expected a number of seconds from 0.1 to 3600; got 'x'"),
        (["costs", "--since", "x"], "argument --since: expected a time such as 24h or 7d, a day (2026-11-23) or a"),
        (["costs", "--until", "7d"], "argument --until: expected a time such as 90m or 2h, a day (2026-11-23) or a"),
        (["costs", "--since", "1h", "--until", "2h"], "--since: it is not before --until"),
        (["export", "--since", "1h", "--until", "2h"], "--since: it is not before --until"),
        (["costs", "--by", "mood"], "argument --by: invalid choice: 'mood'"),
        (["costs", "--top", "0"], "argument --top: expected a whole number from 1 to 999999999; got '0'"),
        (["costs", "--top", "2000"], "top: '2000' is not a whole number from 1 to 1000."),
        (["export", "--format", "xml"], "argument --format: invalid choice: 'xml'"),
        (["export", "-o", "none/x.csv"], "none/x.csv: cannot be written: No such file or directory"),
        (["keys"], "the following arguments are required: COMMAND"),
        (["keys", "create"], "the following arguments are required: NAME"),
        (["keys", "create", "x", "--rpm", "many"], "argument --rpm: expected a whole number from 1 to 999999999; got"),
        (["keys", "rotate", "x", "--grace", "1"], "argument --grace: expected a time such as 90s, 15m, 24h, 7d or 2w"),
        (["health", "--url", "nowhere"], "--url: expected a URL such as http://127.0.0.1:8080; this is none"),
        (["health", "--key", "admin"], "unrecognized arguments: --key"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(house, words, said):
    done = asked(house, *words, code=2)
    assert done.stdout == ""
    assert said in done.stderr.splitlines()[-1]


class Running:
    """A command that does not end by itself: what it has said so far is waited for."""

    def __init__(self, environ: Mapping[str, str], *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "proxy", *words],
            cwd=ROOT,
            env=surroundings(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """The next one; a command that hangs is ended by the timeout of whoever runs these tests."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def interrupt(self) -> tuple[int, str]:
        """Ctrl-C; the exit code, and standard error."""
        self._process.send_signal(signal.SIGINT)
        _, said = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, said

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def test_watching_tells_each_change_in_a_line_and_ends_quietly(house, simulator):
    with Running(house.environ, "health", "openai", "--watch", "--every", "0.1") as watching:
        assert watching.line().startswith("name ")
        break_openai(house, simulator)
        while " -> " not in (line := watching.line()):
            assert line
        assert re.fullmatch(r"\S+Z  openai/gpt-4o: closed -> open \(overloaded\)\n", line)
        asked(house, "health", "reset", "openai")
        assert re.fullmatch(r"\S+Z  openai/gpt-4o: open -> closed\n", watching.line())
        assert watching.interrupt() == (130, "")


def test_watching_as_json_is_a_line_each_time(house):
    with Running(house.environ, "health", "--watch", "--every", "0.1", "--json") as watching:
        looks = [json.loads(watching.line()) for _ in range(3)]
        assert watching.interrupt() == (130, "")
    assert all("providers" in look for look in looks)
    assert looks[0]["at"] < looks[1]["at"] < looks[2]["at"]


def test_a_tollhouse_that_goes_away_is_waited_for_and_said_once(simulator):
    with Tollhouse.start(environ_of(simulator)) as before:
        watched = {"TOLLHOUSE_URL": before.url}
        with Running(watched, "health", "gemini", "--watch", "--every", "0.1", "--json") as watching:
            first = json.loads(watching.line())["replica"]
            before.stop()
            with Tollhouse.start(environ_of(simulator), "--port", str(before.port)):
                while json.loads(watching.line())["replica"] == first:
                    pass
                code, said = watching.interrupt()
    assert code == 130
    assert "Traceback" not in said
    assert 1 <= len(said.splitlines()) <= 3
    assert len(set(said.splitlines())) == len(said.splitlines())


def test_who_cannot_be_reached_at_first_is_not_waited_for(house):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    done = asked(house, "health", "--watch", "--url", url, code=3)
    assert done.stderr.startswith(f"tollhouse: Cannot reach a tollhouse at {url}: Connection refused.")


# --- the key, and the way


def test_the_key_may_be_in_a_file(house, tmp_path):
    (tmp_path / "key").write_text(f"{ADMIN}\n")
    environ = {"TOLLHOUSE_ADMIN_KEY": "", "TOLLHOUSE_ADMIN_KEY_FILE": str(tmp_path / "key")}
    assert asked(house, "health", environ=environ).stdout


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"TOLLHOUSE_ADMIN_KEY": ""}, "asks for its admin key, and none is set. Set TOLLHOUSE_ADMIN_KEY, or"),
        ({"TOLLHOUSE_ADMIN_KEY": "wrong"}, "refuses the admin key that TOLLHOUSE_ADMIN_KEY holds or names."),
    ],
)
def test_without_the_right_key_it_says_which_variable_was_looked_at(house, environ, said):
    done = asked(house, "costs", code=2, environ=environ)
    assert said in done.stderr


def test_a_proxy_of_the_environment_has_no_business_on_this_machine(house):
    proxies = {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }
    assert asked(house, "health", environ=proxies).stdout


# --- costs


def test_costs_of_whole_days_are_what_the_api_says(house):
    done = asked(house, "costs", "--since", "7d", "--by", "provider", "--json")
    said = json.loads(done.stdout)
    first = said["stats"]["start_date"]
    assert said["stats"] == house.get("/providers/costs/stats", start_date=first, top="50").json()
    assert said["summary"].keys() == house.get("/providers/costs/summary").json().keys()
    totals = said["stats"]["totals"]
    assert totals["attempts"] >= len(house.rows)
    assert Decimal(totals["cost_usd"]) >= Decimal(sum(row.cost or 0 for row in house.rows)) / 10**9


def test_costs_of_the_last_hour_are_of_that_hour_exactly(house):
    said = json.loads(asked(house, "costs", "--since", "1h", "--until", iso(house.now), "--json").stdout)["stats"]
    assert house.now - HOUR <= at(said["start"]) < house.now - 51 * MINUTE  # the clock that counts is the store's
    assert at(said["end"]) == house.now
    assert [row["value"] for row in said["by"]["user"]["top"]] == ["alice", NAME]
    assert (said["totals"]["attempts"], said["totals"]["unpriced_attempts"]) == (2, 1)
    assert said["totals"]["cost_usd"] == "0.000001001"


def recent(house: House) -> list[str]:
    """The window of the last four rows."""
    return ["--since", iso(house.now - 2 * HOUR), "--until", iso(house.now)]


def test_costs_are_a_table_by_what_is_asked_for_with_totals_budgets_and_caveats(house):
    done = asked(house, "costs", "--by", "user", *recent(house))
    head, spent, budgets, caveats = done.stdout.split("\n\n")
    assert head.splitlines() == [
        f"From {iso(house.now - 2 * HOUR)} to {iso(house.now)}: USD 0.000003008",
        "4 requests, 1 of them errors; 4 attempts",
    ]
    figures = ("user", "cost USD", "requests", "errors", "tokens in", "tokens out", "share")
    assert [tuple(row[name] for name in figures) for row in table(spent)] == [
        ("(none)", "0.000001004", "1", "0", "11", "5", "33.4%"),
        ("bob", "0.000001003", "1", "1", "11", "5", "33.3%"),
        ("alice", "0.000001001", "1", "0", "11", "5", "33.3%"),
        ("[red]al\\x202eice\\x1b[2J", "0.000000000", "1", "0", "11", "5", "0.0%"),
    ]
    (budget,) = table(budgets)
    assert (budget["budget"], budget["limit USD"], budget["used"]) == ("monthly", "50", "0.00%")
    assert caveats.splitlines() == [
        "Attempts without a known price: 1. They cost something, which is not in the sum.",
        "Estimated attempts: 1, USD 0. The vendor did not say what was used.",
        "Orphans: 1, USD 0.000001003. Charged in full, as nobody has settled them yet.",
        "Unproven: USD 0.000000007. It may have been billed besides, and is not in the sum.",
    ]


def test_what_is_beyond_the_top_is_one_row(house):
    done = asked(house, "costs", "--by", "user", "--top", "1", *recent(house))
    rows = table(done.stdout.split("\n\n")[1])
    assert [(row["user"], row["cost USD"]) for row in rows] == [
        ("(none)", "0.000001004"),
        ("(3 others)", "0.000002004"),
    ]


@pytest.mark.parametrize("by", DIMENSIONS)
def test_costs_are_told_by_each_dimension(house, by):
    rows = table(asked(house, "costs", "--by", by, *recent(house)).stdout.split("\n\n")[1])
    expected = {getattr(row, by) or "(none)" for row in house.rows[-4:]}
    assert {row[by] for row in rows} == {tame(name) for name in expected}


def test_a_time_in_which_nothing_was_spent_has_no_table(house):
    done = asked(house, "costs", "--since", "2020-01-01", "--until", "2020-01-31")
    assert done.stdout.startswith("From 2020-01-01 to 2020-01-31, whole days, UTC: USD 0\n0 requests, 0 of them errors")
    assert "model" not in done.stdout


def test_a_budget_that_is_used_up_is_bad_news(simulator, tmp_path):
    fill(tmp_path, [entry(1, int(time.time() * 1_000), cost=2_000_000_000, user="alice")])
    environ = {**environ_of(simulator), "LLM_MONTHLY_BUDGET": "2", "TOLLHOUSE_DATA_DIR": str(tmp_path)}
    config = "budgets: [{user: '*', monthly: '10'}]\n"
    with Tollhouse.start(environ, config=config) as tollhouse:
        done = run("costs", environ={"TOLLHOUSE_URL": tollhouse.url})
    assert done.returncode == 1, done.stderr
    rows = table(done.stdout.split("\n\n")[2])
    assert [(row["budget"], row["limit USD"], row["left USD"], row["used"]) for row in rows] == [
        ("monthly", "2", "0", "100.00%"),
        ("monthly of user=alice", "10", "8", "20.00%"),
    ]


# --- export


def test_an_export_of_whole_days_is_what_the_api_sends(house):
    first, last = iso(house.now - 4 * DAY)[:10], iso(house.now - 2 * DAY)[:10]
    for name in ("csv", "json"):
        there = house.get("/providers/costs/export", format=name, start_date=first, end_date=last).text
        done = asked(house, "export", "--since", first, "--until", last, "--format", name)
        assert done.stdout.replace("\r\n", "\n") == there.replace("\r\n", "\n")
        assert done.stderr == "tollhouse: 1,000 rows, USD 0.0005005 in all\n"


@pytest.mark.parametrize(
    ("ending", "read"),
    [
        pytest.param("csv", lambda text: list(csv.DictReader(io.StringIO(text))), id="CSV"),
        pytest.param("json", json.loads, id="JSON"),
        pytest.param("jsonl", lambda text: [json.loads(line) for line in text.splitlines()], id="a row a line"),
    ],
)
def test_the_last_hour_goes_to_a_file_in_the_form_that_its_name_tells(house, tmp_path, ending, read):
    file = tmp_path / f"hour.{ending}"
    done = asked(house, "export", "--since", "1h", "--until", iso(house.now), "-o", str(file))
    assert done.stdout == ""
    assert done.stderr == (
        f"tollhouse: {file}: 2 rows, USD 0.000001001 in all; 1 of them without a known price, which is not free\n"
    )
    rows = read(file.read_bytes().decode())
    assert [row["id"] for row in rows] == ["req_001002/1", "req_001001/1"]
    assert tuple(rows[0]) == COLUMNS
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["--format", "json"], "[]\n"),
        (["--json"], ""),
        (["--format", "csv"], ",".join(COLUMNS) + "\n"),
        ([], ",".join(COLUMNS) + "\n"),
    ],
)
def test_an_export_of_nothing_is_empty_and_whole(house, words, body):
    done = asked(house, "export", "--since", "2020-01-01T00:00Z", "--until", "2020-01-01T00:01Z", *words)
    assert done.stdout == body
    assert done.stderr == "tollhouse: 0 rows, USD 0 in all\n"


def test_rows_are_filtered_to_the_millisecond(house):
    edge = house.rows[500].at
    words = ["export", "--json", "--since", iso(edge), "--until", iso(edge + 2)]
    assert [json.loads(line)["id"] for line in asked(house, *words).stdout.splitlines()] == [
        "req_000501/1",
        "req_000502/1",
    ]


def test_a_broken_download_leaves_no_half_file_and_what_was_there(tmp_path):
    (tmp_path / "x.json").write_text("old")
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    row = b'[\n{"id":"r/1","at":"2026-11-23T12:00:00.000Z","cost_nano":1}'
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(head + b"%x\r\n%b\r\n" % (len(row), row))

        thread = threading.Thread(target=answer)
        thread.start()
        done = run("export", "-o", str(tmp_path / "x.json"), "--url", url)
        thread.join()
    assert (done.returncode, done.stdout) == (3, "")
    assert "the connection was broken off" in done.stderr
    assert (tmp_path / "x.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_reader_that_goes_away_is_no_error(house):
    command = f"'{sys.executable}' -m proxy export --since {iso(house.now - 4 * DAY)[:10]} | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, env=surroundings(house.environ), capture_output=True, timeout=PATIENCE
    )
    assert done.stdout.startswith(b"id,request,at")
    assert done.stderr == b""


# --- keys


def test_a_key_is_made_used_rotated_and_revoked(house):
    words = ["--user", "carol", "--agent", "cron", "--team", "blue", "--expires", "90d", "--models", "gpt-4o*,smart"]
    words += ["--daily", "5", "--monthly", "50.25", "--rpm", "60", "--tpm", "90000", "--concurrent", "4"]
    done = run("keys", "create", "ci", *words, environ=house.environ)
    assert done.returncode == 0, done.stderr
    key = done.stdout.removesuffix("\n")
    assert re.fullmatch(r"sk-th-\S{40,}", key)
    assert key not in done.stderr
    assert "this is the key ci. It is shown this once" in done.stderr

    (row,) = [row for row in table(asked(house, "keys", "list").stdout) if row["name"] == "ci"]
    assert row | {"created": "", "expires": ""} == {
        "name": "ci",
        "status": "active",
        "key": f"...{key[-4:]}",
        "user": "carol",
        "agent": "cron",
        "team": "blue",
        "models": "gpt-4o*,smart",
        "daily USD": "5",
        "monthly USD": "50.25",
        "requests/min": "60",
        "tokens/min": "90000",
        "at once": "4",
        "created": "",
        "expires": "",
        "revoked": "-",
        "old key until": "-",
    }
    shown = {row["field"]: row["value"] for row in table(asked(house, "keys", "show", "ci").stdout)}
    assert shown == row
    assert json.loads(asked(house, "keys", "show", "ci", "--json").stdout)["team"] == "blue"
    assert spends(house, key) == 200

    done = run("keys", "rotate", "ci", "--grace", "1h", environ=house.environ)
    other = done.stdout.strip()
    assert other != key
    assert "old key until" in done.stderr
    assert (spends(house, key), spends(house, other)) == (200, 200)

    assert asked(house, "keys", "revoke", "ci", "--yes").stdout == "The key ci is revoked.\n"
    assert (spends(house, key), spends(house, other)) == (401, 401)
    assert table(asked(house, "keys", "show", "ci").stdout)[1] == {"field": "status", "value": "revoked"}


def spends(house: House, key: str) -> int:
    """The status that a client with that key hears."""
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{house.url}/v1/chat/completions", json=BODY, headers=headers, timeout=PATIENCE).status_code


def test_a_new_key_as_json_is_what_the_api_says(house):
    said = json.loads(run("keys", "create", "as-json", "--json", environ=house.environ).stdout)
    assert (said["name"], said["key"][:6]) == ("as-json", "sk-th-")
    again = json.loads(run("keys", "rotate", "as-json", "--json", environ=house.environ).stdout)
    assert again["key"] != said["key"]
    assert json.loads(asked(house, "keys", "revoke", "as-json", "--yes", "--json").stdout)["status"] == "revoked"
    assert "as-json" in {key["name"] for key in json.loads(asked(house, "keys", "list", "--json").stdout)["keys"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "nobody"], "There is no managed key 'nobody'."),
        (["revoke", "nobody", "--yes"], "There is no managed key 'nobody'."),
        (["rotate", "nobody"], "There is no managed key 'nobody'."),
        (
            ["revoke", "nobody"],
            "Revoking cannot be undone, and there is nobody to ask: tollhouse keys revoke nobody --yes",
        ),
        (["create", "Not A Name"], "name: expected 1 to 63 of a-z"),
        (["create", "x", "--daily", "much"], "daily"),
        (["create", "x", "--expires", "soon"], "expires"),
    ],
)
def test_what_a_key_cannot_be_is_told(house, words, said):
    done = asked(house, "keys", *words, code=2)
    assert done.stdout == ""
    assert said in done.stderr


# --- a terminal


class Terminal:
    """A command on a pseudo-terminal of 120 columns: what a person sees, orders to the terminal and all."""

    def __init__(self, environ: Mapping[str, str], *words: str) -> None:
        self._ours, theirs = pty.openpty()
        surrounds = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40", **environ}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "proxy", *words],
            cwd=ROOT,
            env=surroundings(surrounds),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.seen = ""

    def until(self, text: str) -> None:
        """Read on until that stands there."""
        while text not in self.seen:
            assert self._more(), self.seen

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read to the end; the exit code."""
        with contextlib.suppress(OSError):  # how Linux says that the other side is closed
            while self._more():
                pass
        return self._process.wait(PATIENCE)

    def _more(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], PATIENCE)
        assert ready, self.seen
        said = os.read(self._ours, 65_536)
        self.seen += said.decode(errors="replace")
        return bool(said)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        os.close(self._ours)


def bare(text: str) -> str:
    """Without the orders to the terminal that rich gives."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")


def test_on_a_terminal_a_state_has_a_colour_and_moments_are_told_by_their_distance(house, simulator):
    break_openai(house, simulator)
    with Terminal(house.environ, "health", "openai") as terminal:
        assert terminal.end() == 1
    (line,) = [line for line in bare(terminal.seen).splitlines() if line.startswith("openai/gpt-4o ")]
    assert re.search(r"open +\d+s ago +overloaded +in \dm? ?", line) or re.search(r"open .* ago +overloaded +in ", line)
    assert "\x1b[1;31mopen" in terminal.seen
    assert "\x1b[32mclosed" in terminal.seen


def test_on_a_terminal_costs_have_bars_and_nobodys_name_gives_orders(house):
    with Terminal(house.environ, "costs", "--by", "user", *recent(house)) as terminal:
        assert terminal.end() == 0
    seen = bare(terminal.seen)
    assert "━" in seen
    assert "[red]al\\x202eice\\x1b[2J" in seen
    assert "\x1b[2J" not in terminal.seen
    assert "\u202e" not in terminal.seen


def test_on_a_narrow_terminal_no_figure_is_broken_and_what_is_left_out_is_named(house):
    with Terminal({**house.environ, "COLUMNS": "60"}, "costs", "--by", "user", *recent(house)) as terminal:
        assert terminal.end() == 0
    seen = bare(terminal.seen)
    assert "0.000001004" in seen
    assert "(no room for: " in seen
    assert "tokens out" in seen.partition("(no room for: ")[2].partition(")")[0]


def test_watching_on_a_terminal_redraws_until_ctrl_c(house, simulator):
    with Terminal(house.environ, "health", "openai", "--watch", "--every", "0.1") as terminal:
        terminal.until("Ctrl-C ends it")
        break_openai(house, simulator)
        terminal.until("\x1b[1;31mopen")
        terminal.interrupt()
        assert terminal.end() == 130
    assert "Traceback" not in terminal.seen


def test_an_export_to_a_file_shows_its_progress_on_a_terminal(house, tmp_path):
    first = iso(house.now - 4 * DAY)[:10]
    with Terminal(house.environ, "export", "--since", first, "-o", str(tmp_path / "x.csv")) as terminal:
        assert terminal.end() == 0
    assert re.search(r"[1-9][0-9,]* rows, USD 0\.\d+, \d{4}-\d\d-\d\dT", bare(terminal.seen))
    with (tmp_path / "x.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) >= len(house.rows)


@pytest.mark.parametrize(
    ("name", "answer", "code", "status"),
    [
        ("no", "n\n", 2, "active"),
        ("nothing", "\n", 2, "active"),
        ("the-end", "\x04", 2, "active"),
        ("yes", "y\n", 0, "revoked"),
    ],
)
def test_who_revokes_on_a_terminal_is_asked_whether_he_means_it(house, name, answer, code, status):
    run("keys", "create", name, environ=house.environ)
    with Terminal(house.environ, "keys", "revoke", name) as terminal:
        terminal.until("it cannot be undone. [y/N] ")
        terminal.type(answer)
        assert terminal.end() == code
    assert json.loads(asked(house, "keys", "show", name, "--json").stdout)["status"] == status


def test_ctrl_c_is_quiet(house, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Running({}, "export", "-o", str(tmp_path / "x.csv"), "--url", url) as waiting:
            connection, _ = silent.accept()
            with connection:
                assert waiting.interrupt() == (130, "")
    assert list(tmp_path.iterdir()) == []
