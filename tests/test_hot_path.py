"""What a request costs does not grow, and nothing is done twice or without need: proved by counting, not by time.

`tests.counting` serves the requests in a process of its own and says what each took. One more process is a server as it
is run, of which we ask what it has imported.
"""

import fcntl
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from proxy.simulator.client import Simulator
from tests.conftest import environ_of
from tests.namesake import Namesake, mark, words
from tests.namesake import environ_of as namesakes
from tests.phrases import ODD, PLACE, parts, whole
from tests.redis_server import redis_server
from tests.tollhouse import PATIENCE, ROOT, Tollhouse

# By vendor, as the shipped table has them.
MODELS = {"openai": "gpt-4.1-mini", "anthropic": "claude-haiku-4-5", "gemini": "gemini-2.5-flash"}
STORES = ("sqlite", "redis")
LONG = 150_000  # bytes of a prompt
MANY = 1_000  # keys of the environment
SOME = 300  # managed keys; budgets of other people
CLIENT, ADMIN = "sk-client-of-ours", "sk-admin-of-ours"
OURS = "budgets:\n  - {user: '*', daily: '100'}\n"
# What no request of these needs.
UNNEEDED = ("anthropic", "google.genai", "openai", "tiktoken", "opentelemetry.sdk", "proxy.simulator")


def body(model: str, size: int = 200, number: int = 8, *, stream: bool = False) -> str:
    """A request whose prompt has about so many bytes, for an answer of so many words."""
    asked: dict[str, Any] = {"model": model, "user": "alice"}
    asked["messages"] = [{"role": "user", "content": f"{mark('abc', 'well', number)} {'x' * size}"}]
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(asked)


def table(number: int) -> str:
    """A price table of so many models of OpenAI's, each with a pattern; the one that is asked for is the last."""
    row = "  - {{provider: openai, model: '{0}', match: ['{0}-20*'], limits: {{context: 128000, max_output: 16384}}, "
    row += "prices: [{{source: x, per_mtok: {{input: '1', output: '2'}}}}]}}\n"
    names = [*(f"other-{n}" for n in range(number - 1)), MODELS["openai"]]
    return "models:\n" + "".join(row.format(name) for name in names)


def others(number: int) -> str:
    """Budgets, ours and so many of other people's."""
    return OURS + "".join(f"  - {{user: somebody-{n}, daily: '10'}}\n" for n in range(number))


def scenes(directory: Path, environ: dict[str, str], store: str) -> dict[str, Any]:
    """What is asked, of which house: see `tests.counting.scene`."""
    plain = {"plain": {"body": body(MODELS["openai"])}}
    house = {"environ": environ, "config": OURS, "key": CLIENT, "asks": plain}
    asks: dict[str, Any] = {}
    for vendor, model in MODELS.items():
        asks |= {vendor: {"body": body(model)}, f"{vendor} long": {"body": body(model, LONG)}}
        asks |= {f"{vendor} stream": {"body": body(model, stream=True)}}
        asks |= {f"{vendor} long stream": {"body": body(model, LONG, stream=True)}}
    asks["openai wordy"] = {"body": body(MODELS["openai"], number=2_000)}
    tables = {number: directory / f"{number}.yaml" for number in (30, 300)}
    for number, path in tables.items():
        path.write_text(table(number))
    strangers = ",".join(f"sk-stranger-{n}" for n in range(MANY - 1))
    keys = {"environ": {**environ, "TOLLHOUSE_CLIENT_KEYS": f"{strangers},{CLIENT}"}}
    models = {"TOLLHOUSE_PRICING": str(tables[300])}
    crowd = {"config": others(SOME), "keys": SOME, "rows": 3_000, "environ": {**keys["environ"], **models}}
    found = {"vendors": {**house, "asks": asks}, "few": house, "all of it": {**house, **crowd}}
    if store == "redis":
        return found  # a new Redis is not asked for money at once, so that each house takes seconds to open
    return found | {
        "keys of the environment": {**house, **keys},
        "one managed key": {**house, "keys": 1},
        "managed keys": {**house, "keys": SOME},
        "budgets": {**house, "config": others(SOME)},
        "few models": {**house, "environ": {**environ, "TOLLHOUSE_PRICING": str(tables[30])}},
        "models": {**house, "environ": {**environ, **models}},
        "rows of the ledger": {**house, "rows": 3_000},
    }


def count(told: dict[str, Any]) -> dict[str, Any]:
    """What `tests.counting` says of these scenes. Of the surroundings it gets nothing: coverage would count itself."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.counting"],
        input=json.dumps(told),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=8 * PATIENCE,
    )
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"failed": done.stderr[-2_000:]}
    return found


@pytest.fixture(scope="session")
def counted(tmp_path_factory, testrun_uid) -> dict[str, dict[str, Any]]:
    """What was counted, by store; once, however many workers run these tests."""
    directory = tmp_path_factory.mktemp("hot-path")
    kept = tmp_path_factory.getbasetemp().parent / f"counted-{testrun_uid}.json"
    with kept.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # who comes second waits for the first
        file.seek(0)
        if not (found := file.read()):
            found = json.dumps(count_all(directory))
            file.write(found)
    counts: dict[str, dict[str, Any]] = json.loads(found)
    assert [said["failed"] for said in counts.values() if "failed" in said] == []
    return counts


def count_all(directory: Path) -> dict[str, dict[str, Any]]:
    with Namesake().aside() as address, redis_server() as server, ThreadPoolExecutor(len(STORES)) as threads:
        environ = {**namesakes(address), "TOLLHOUSE_CLIENT_KEYS": CLIENT, "TOLLHOUSE_ADMIN_KEY": ADMIN}
        environ |= {"LLM_DAILY_BUDGET": "1000", "LLM_MONTHLY_BUDGET": "9000"}
        stores: dict[str, dict[str, str]] = {"sqlite": {}, "redis": {"REDIS_URL": server.url}}
        told = [scenes(directory, environ | more, store) for store, more in stores.items()]
        return dict(zip(stores, threads.map(count, told), strict=True))


def grown(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the other took more calls or steps, beyond a few: a read more or less of a socket, a wait that was over
    before it began. The means take in what other tasks do, afterwards or in any case."""
    more = other["calls"] > one["calls"] + max(150, one["calls"] // 10)
    more |= other["steps"] > one["steps"] + max(2_000, one["steps"] // 10)
    return more or bool(other["mean_calls"] > 2 * one["mean_calls"] + 300)


def shown(*counts: dict[str, Any]) -> str:
    return " / ".join(f"{count['calls']} calls, {count['steps']} steps" for count in counts)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("vendor", MODELS)
@pytest.mark.parametrize("way", ["", " stream"], ids=["plain", "streamed"])
def test_a_long_prompt_takes_as_many_calls_as_a_short_one(counted, store, vendor, way):
    asked = counted[store]["scenes"]["vendors"]
    short, long = asked[f"{vendor}{way}"], asked[f"{vendor} long{way}"]
    assert long["sent"] > 100 * short["sent"]
    assert not grown(short, long), shown(short, long)


@pytest.mark.parametrize(
    ("store", "few", "many"),
    [
        ("sqlite", "few", "keys of the environment"),
        ("sqlite", "one managed key", "managed keys"),
        ("sqlite", "few", "budgets"),
        ("sqlite", "few models", "models"),
        ("sqlite", "few", "rows of the ledger"),
        ("sqlite", "few", "all of it"),
        ("redis", "few", "all of it"),
    ],
)
def test_a_request_takes_as_many_calls_however_much_there_is_of_other_things(counted, store, few, many):
    one, other = (counted[store]["scenes"][name]["plain"] for name in (few, many))
    assert not grown(one, other), shown(one, other)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("way", ["", " stream"], ids=["plain", "streamed"])
def test_a_body_that_is_passed_on_is_parsed_once(counted, store, way):
    found = counted[store]["scenes"]["vendors"][f"openai long{way}"]
    assert [size for size in found["read"] if size > LONG] == [found["sent"]]


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("vendor", ["anthropic", "gemini"])
@pytest.mark.parametrize("way", ["", " stream"], ids=["plain", "streamed"])
def test_a_body_that_is_translated_is_glanced_at_and_read_once(counted, store, vendor, way):
    """The glance finds the model, which says whether there is anything to translate."""
    found = counted[store]["scenes"]["vendors"][f"{vendor} long{way}"]
    assert len([size for size in found["read"] if size > LONG]) <= 2
    assert len([size for size in found["written"] if size > LONG]) == 1


@pytest.mark.parametrize("store", STORES)
def test_nothing_is_tokenized_within_budget_when_the_vendor_tells_the_usage(counted, store):
    for name, asked in counted[store]["scenes"].items():
        assert {way: found["tokenized"] for way, found in asked.items() if found["tokenized"]} == {}, name
    assert "tiktoken" not in counted[store]["modules"]


def test_an_answer_of_the_clients_own_format_is_passed_on_byte_by_byte(counted):
    found = counted["sqlite"]["scenes"]["vendors"]
    answer = found["openai"]["answer"]
    assert answer == whole(b"/chat/completions", 8).replace(PLACE, b"abc").decode()
    assert ODD in answer
    assert words("abc") in answer
    stream = b"".join(parts(b"/chat/completions", 8, 1)).replace(PLACE, b"abc").decode()
    assert found["openai stream"]["answer"] == stream


@pytest.mark.parametrize("store", STORES)
def test_a_long_answer_of_the_clients_own_format_is_read_once_and_never_written(counted, store):
    found = counted[store]["scenes"]["vendors"]["openai wordy"]
    size = len(found["answer"])
    assert size > 8_000
    assert [read for read in found["read"] if read > size // 2] == [size]
    assert [written for written in found["written"] if written > size // 2] == []


def test_a_server_that_has_served_has_loaded_neither_sdk_nor_tokenizer(simulator: Simulator):
    """The interpreter itself says what a real process imports, line by line."""
    with Tollhouse.start({**environ_of(simulator), "PYTHONPROFILEIMPORTTIME": "1"}) as house:
        with openai.OpenAI(base_url=f"{house.url}/v1", api_key="none", max_retries=0) as client:
            for model in MODELS.values():
                asked: Any = {"model": model, "messages": [{"role": "user", "content": "Hello there"}]}
                assert client.chat.completions.create(**asked).usage
                assert list(client.chat.completions.create(**asked, stream=True))
        house.stop()
        loaded = re.findall(r"^import time: +[0-9]+ \| +[0-9]+ \| +(\S+)$", house.stderr, re.MULTILINE)
    assert "proxy.gate" in loaded, "the interpreter has said nothing"
    assert [name for name in loaded if any(name == one or name.startswith(f"{one}.") for one in UNNEEDED)] == []
