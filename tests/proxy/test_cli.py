"""The command line, as a person meets it: real processes, their output and their exit codes."""

import hashlib
import json
import re
import shlex
import signal
import socket
import subprocess
import sys

import pytest

from proxy.cli import parser
from tests.tollhouse import PATIENCE, ROOT, Tollhouse, environ_of, run, surroundings

KEY = "sk-canary-1234567890"


def test_help_says_what_there_is_and_what_is_needed():
    done = run("--help")
    assert done.returncode == 0
    for word in ("serve", "demo", "check", "OPENAI_API_KEY", "base_url"):
        assert word in done.stdout


COMMANDS = ["serve", "demo", "healthcheck", "health", "explain", "costs", "export", "keys", "check", "pricing"]
VERBS = [
    *([command] for command in COMMANDS),
    *(["keys", verb] for verb in ("create", "list", "show", "rotate", "revoke")),
    *(["pricing", verb] for verb in ("check", "diff", "update")),
]


def test_help_lists_the_commands_by_what_they_are_good_for():
    said = run("--help").stdout
    for title, words in (
        ("run", ["serve", "demo"]),
        ("look", ["healthcheck", "health", "explain"]),
        ("spend", ["costs", "export"]),
        ("keys", ["keys"]),
        ("configuration", ["check", "pricing"]),
    ):
        _, _, rest = said.partition(f"\n{title}:\n")
        listed = [line.split()[0] for line in rest.partition("\n\n")[0].splitlines()]
        assert listed == words


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_each_command_is_explained_with_examples_that_can_be_parsed(words):
    """And no example is cut off, nor wider than a screen."""
    said = run(*words, "--help").stdout
    assert max(map(len, said.splitlines())) <= 120
    _, _, examples = said.partition("examples:\n")
    lines = [line for line in examples.partition("\n\n")[0].splitlines() if "tollhouse" in line]
    assert len(lines) >= 2
    for line in lines:
        command = re.split(r"[|#)]| -- ", line.partition("tollhouse ")[2])[0]
        parser(shlex.split(command)).parse_args(shlex.split(command))


@pytest.mark.parametrize("words", [["health"], ["costs"], ["export"], ["keys"]], ids=" ".join)
def test_who_asks_a_running_tollhouse_says_where_it_is_and_why_the_key_is_no_argument(words):
    said = " ".join(run(*words, "--help").stdout.split())
    for word in ("TOLLHOUSE_URL", "http://127.0.0.1:8080", "TOLLHOUSE_ADMIN_KEY", "TOLLHOUSE_ADMIN_KEY_FILE"):
        assert word in said
    assert "It is never an argument" in said
    assert "3 no tollhouse could be reached" in said


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["fly"], *([*words, "--help"] for words in VERBS)], ids=" ".join
)
def test_help_and_slips_are_answered_without_loading_what_does_the_work(words):
    """Their import takes many times as long as all the rest; `python -X importtime` says it of each."""
    heavy = {"aiohttp", "asyncio", "httpx", "litestar", "redis", "rich", "structlog", "tiktoken", "uvicorn", "yaml"}
    if words[0] not in ("costs", "explain"):  # they offer the dimensions of the ledger, and the tasks
        heavy |= {"adapters", "proxy.settings", "proxy.prices"}
    code = f"""
import sys
from proxy.cli import main
try:
    main({words!r})
except SystemExit:
    pass
print("loaded:", *sorted({heavy!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=surroundings({}), capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "loaded:", done.stderr


def test_version():
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tollhouse ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["serve", "--port", "x"], "argument --port: expected a port from 0 to 65535; got 'x'"),
        (["serve", "--port", "65536"], "argument --port: expected a port from 0 to 65535; got '65536'"),
        (["serve", "--port=-1"], "argument --port: expected a port from 0 to 65535; got '-1'"),
        (["serve", "--port", "9" * 5000], "argument --port: expected a port from 0 to 65535"),
        (["serve", "--workers", "0"], "argument --workers: expected a number of processes from 1 to 64; got '0'"),
        (["serve", "--workers", "65"], "argument --workers: expected a number of processes from 1 to 64; got '65'"),
        (["serve", "--workers", "x"], "argument --workers: expected a number of processes from 1 to 64; got 'x'"),
        (["healthcheck", "--url", "x"], "tollhouse: --url: expected a URL such as http://127.0.0.1:8080; this is none"),
        (["check", "--port", "1"], "unrecognized arguments: --port 1"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_told_in_a_line(words, said):
    done = run(*words)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_without_a_key_the_three_variables_are_named_and_the_demo(verb):
    done = run(verb)
    assert done.returncode == 2
    for word in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "make demo"):
        assert word in done.stderr


def test_check_of_a_valid_configuration_says_what_is_on_and_off():
    done = run(
        "check", environ={"OPENAI_API_KEY": KEY, "REDIS_URL": f"redis://:{KEY}@host", "ENABLE_LLM_FALLBACK": "no"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("The configuration is valid.\n")
    assert KEY not in done.stdout
    told = dict((line[:10].strip(), line[11:]) for line in done.stdout.splitlines()[:-1])
    assert told["vendors"] == "openai (https://api.openai.com/v1)"
    assert told["no key for"] == "anthropic, gemini"
    assert told["primary"] == "openai"
    assert told["fallback"] == "off (ENABLE_LLM_FALLBACK=false)"
    assert int(told["models"]) > 10
    assert told["store"] == "Redis (REDIS_URL)"


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_a_bad_configuration_is_one_line_a_fault_before_a_port_is_opened(verb, tmp_path):
    (tmp_path / "config.yaml").write_text("timeouts: {conect: 1}")
    with socket.create_server(("127.0.0.1", 0)) as taken:  # who tried to open this one would say that it is taken
        port = ["--port", str(taken.getsockname()[1])] if verb == "serve" else []
        done = run(
            verb,
            *port,
            "--config",
            str(tmp_path / "config.yaml"),
            environ={"OPENAI_API_KEY": f"{KEY} {KEY}", "TOLLHOUSE_LOG_LEVEL": "loud", "LLM_DAILY_BUDGET": "x"},
        )
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("tollhouse: ") for line in lines)
    for word in ("OPENAI_API_KEY", "TOLLHOUSE_LOG_LEVEL", "LLM_DAILY_BUDGET", "`conect` - at `$.timeouts`"):
        assert word in done.stderr
    assert KEY not in done.stderr


def test_check_as_json_says_the_same():
    environ = {"OPENAI_API_KEY": KEY, "LLM_DAILY_BUDGET": "5"}
    done = run("check", "--json", environ=environ)
    said = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (said["valid"], said["faults"], said["live"]) == (True, [], None)
    assert said["state"]["budgets"] == "daily USD 5"
    plain = run("check", environ=environ).stdout.splitlines()
    assert [f"{name:10} {value}" for name, value in said["state"].items()] == plain[:-1]


@pytest.mark.parametrize(
    ("environ", "faults"),
    [
        pytest.param(
            {"OPENAI_API_KEY": KEY, "LLM_DAILY_BUDGET": "x"}, ["LLM_DAILY_BUDGET: expected"], id="a bad value"
        ),
        pytest.param({"OPENAI_API_KEY": f"{KEY} {KEY}"}, ["OPENAI_API_KEY: expected"], id="a bad key"),
        pytest.param({}, ["No vendor is configured"], id="no vendor"),
    ],
)
def test_check_as_json_of_a_bad_configuration_has_its_faults(environ, faults):
    done = run("check", "--json", environ=environ)
    said = json.loads(done.stdout)
    assert done.returncode == 2
    assert said["valid"] is False
    assert all(fault.startswith(start) for fault, start in zip(said["faults"], faults, strict=True))
    assert KEY not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("environ", "admin", "auth"),
    [
        ({}, "open (no TOLLHOUSE_ADMIN_KEY)", "open (no client keys), until a managed key is made"),
        ({"TOLLHOUSE_ADMIN_KEY": KEY}, "the admin key", "open (no client keys), until a managed key is made"),
        (
            {"TOLLHOUSE_ADMIN_KEY": KEY, "TOLLHOUSE_MANAGED_KEYS": "true"},
            "the admin key",
            "managed keys (TOLLHOUSE_MANAGED_KEYS)",
        ),
    ],
)
def test_check_says_which_doors_are_open(environ, admin, auth):
    state = json.loads(run("check", "--json", environ={"OPENAI_API_KEY": KEY, **environ}).stdout)["state"]
    assert (state["admin"], state["auth"]) == (admin, auth)


def test_beyond_loopback_it_does_not_start_without_keys():
    done = run("serve", "--host", "0.0.0.0", "--port", "0", environ={"OPENAI_API_KEY": KEY})
    assert done.returncode == 2
    assert "--host 0.0.0.0: listening beyond loopback needs TOLLHOUSE_CLIENT_KEYS" in done.stderr


@pytest.mark.parametrize("verb", ["serve", "demo"])
def test_a_port_that_is_in_use_is_told_in_a_line(verb):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(verb, "--port", str(port), environ={"OPENAI_API_KEY": KEY})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"tollhouse: cannot listen on 127.0.0.1 port {port}: Address already in use"


def test_a_host_that_is_not_of_this_machine_is_told_in_a_line():
    done = run("serve", "--host", "::1%none", "--port", "0", environ={"OPENAI_API_KEY": KEY})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("tollhouse: cannot listen on ::1%none port 0: ")
    assert "Traceback" not in done.stderr


def test_at_the_start_it_says_where_it_listens_and_what_is_on():
    environ = {"ANTHROPIC_API_KEY": KEY, "TOLLHOUSE_CLIENT_KEYS": f"{KEY}a,{KEY}b"}
    with Tollhouse.start(environ, "--workers", "1") as house:
        (line,) = [line for line in house.logs if line["event"] == "listening"]
        assert line["url"] == f"http://127.0.0.1:{house.port}/v1"
        names = [f"key-{hashlib.sha256(f'{KEY}{end}'.encode()).hexdigest()[:8]}" for end in "ab"]
        assert line["auth"] == f"client keys {', '.join(names)}"  # what a budget calls them; not what they are
        assert line["primary"] == "anthropic"
    assert house.stop() == 0
    assert house.stdout == ""
    assert KEY not in house.stderr


def test_a_server_reads_its_configuration_again_from_where_it_was_told(tmp_path):
    (tmp_path / "config.yaml").write_text("hedging: {enabled: false}")
    with Tollhouse.start({"OPENAI_API_KEY": KEY}, "--config", str(tmp_path / "config.yaml")) as house:
        (tmp_path / "config.yaml").write_text("hedging: {enabled: true}")
        house.signal(signal.SIGHUP)
        taken = house.wait_log("configuration taken", timeout=PATIENCE)
    assert "hedging" in str(taken["changes"])


def test_an_ipv6_address_is_a_url_in_brackets():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
    with Tollhouse.start({"OPENAI_API_KEY": KEY}, "--host", "::1") as house:
        assert house.url.startswith("http://[::1]:")


# --- pricing


def test_pricing_says_what_it_can_do():
    done = run("pricing", "--help")
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in ("check", "diff", "update"))
    for verb in ("diff", "update"):
        done = run("pricing", verb, "--help")
        for word in (
            "genai-prices",
            "data.json",
            "model_prices_and_context_window.json",
            "TOLLHOUSE_PRICING",
            "--only",
        ):
            assert word in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pricing"], "the following arguments are required: COMMAND"),
        (["pricing", "diff"], "the following arguments are required: --from"),
        (["pricing", "check", "a", "b"], "unrecognized arguments: b"),
        (["pricing", "check", "--write"], "unrecognized arguments: --write"),
    ],
)
def test_what_pricing_does_not_understand_is_told_in_a_line(words, said):
    done = run(*words)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]


def test_the_table_that_came_with_it_is_the_one_that_is_looked_at():
    done = run("pricing", "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].partition(": ")[2].startswith("valid, 1")


def test_another_table_is_named_by_the_environment_and_by_a_word_before_that(tmp_path):
    (tmp_path / "bad.yaml").write_text("{models: [], model: 1}")
    (tmp_path / "good.yaml").write_text("models: []")
    environ = {"TOLLHOUSE_PRICING": str(tmp_path / "bad.yaml")}
    done = run("pricing", "check", environ=environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"tollhouse: {tmp_path}/bad.yaml: unknown key `model`\n"
    done = run("pricing", "check", str(tmp_path / "good.yaml"), environ=environ)
    assert done.returncode == 0


def test_diff_and_update_take_a_table_from_the_command_line(tmp_path):
    entry = "{provider: p, model: m, limits: {context: 9, max_output: 9}, prices: [%s]}"
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    for file, dollars in ((old, "1"), (new, "2")):
        price = f'{{source: s, per_mtok: {{input: "{dollars}", output: "1"}}}}'
        file.write_text(f"models: [{entry % price}]")
    done = run("pricing", "diff", "--from", str(new), str(old))
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, "p/m: input: 1 -> 2")
    assert run("pricing", "diff", "--from", str(new), "--only", "q/*", str(old)).returncode == 0
    assert run("pricing", "update", "--from", str(new), "--file", str(old)).returncode == 0
    assert old.read_text() != new.read_text()
    assert run("pricing", "update", "--from", str(new), "--file", str(old), "--write").returncode == 0
    assert run("pricing", "diff", "--from", str(new), str(old)).returncode == 0


def test_a_check_of_prices_as_json_says_the_same():
    said = json.loads(run("pricing", "check", "--json").stdout)
    plain = run("pricing", "check").stdout.splitlines()
    assert plain[0] == f"{said['file']}: valid, {said['models']} models, {said['prices']} prices"
    lists = {"without a price": "without_price", "to be retired within 30 days": "to_be_retired"}
    lists["price changes within 30 days"] = "changes_soon"
    for title, name in lists.items():
        assert f"{title}: {len(said[name]) or 'none'}" in plain
        assert {f"  {line}" for line in said[name]} <= set(plain)
    assert sum(prices for prices, _ in said["sources"].values()) == said["prices"]


def test_a_diff_as_json_names_each_figure(tmp_path):
    entry = "{provider: p, model: %s, limits: {context: 9, max_output: 9}, prices: [%s]}"
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    for file, dollars, other in ((old, "1", "gone"), (new, "2", "added")):
        price = f'{{source: s, per_mtok: {{input: "{dollars}", output: "1"}}}}'
        file.write_text(f"models: [{entry % ('m', price)}, {entry % (other, price)}]")
    done = run("pricing", "diff", "--json", "--from", str(new), str(old))
    same = {"provider": "p", "from": None, "figure": None, "old": None, "new": None}
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "source": "new.yaml",
        "changes": [
            {**same, "model": "m", "figure": "input", "old": "1", "new": "2", "what": "changed"},
            {**same, "model": "gone", "what": "gone"},
            {**same, "model": "added", "what": "added"},
        ],
    }
    done = run("pricing", "diff", "--json", "--from", str(old), str(old))
    assert (done.returncode, json.loads(done.stdout)["changes"]) == (0, [])


# --- check --live


def checked(vendors, key: str | None = None, **environ: str) -> tuple[int, dict[str, str], str]:
    done = run("check", "--live", environ={**environ_of(vendors, key), **environ})
    _, _, findings = done.stdout.partition("The configuration is valid.\n")
    return done.returncode, dict(line.split(maxsplit=1) for line in findings.splitlines()), done.stdout + done.stderr


def test_keys_that_are_taken_are_ok(simulator):
    code, findings, _ = checked(simulator)
    assert (code, findings) == (0, {"gemini": "ok", "openai": "ok", "anthropic": "ok"})


def test_one_key_that_is_refused_is_told_without_the_key(simulator):
    code, findings, output = checked(simulator, ANTHROPIC_API_KEY="bad-canary")
    assert code == 1
    assert findings == {"gemini": "ok", "openai": "ok", "anthropic": "key refused (status 401)"}
    assert "canary" not in output


def test_check_live_as_json_names_each_finding(simulator):
    environ = {**environ_of(simulator), "ANTHROPIC_API_KEY": "bad-canary"}
    done = run("check", "--live", "--json", environ=environ)
    assert done.returncode == 1
    assert json.loads(done.stdout)["live"] == {
        "gemini": None,
        "openai": None,
        "anthropic": "key refused (status 401)",
    }
    assert "canary" not in done.stdout + done.stderr


def test_who_is_interrupted_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        waiting = subprocess.Popen(
            [sys.executable, "-m", "proxy", "check", "--live"],
            cwd=ROOT,
            env=surroundings({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": url}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = silent.accept()
        with connection:
            waiting.send_signal(signal.SIGINT)
            _, said = waiting.communicate(timeout=PATIENCE)
    assert (waiting.returncode, said) == (130, "")


def test_budgets_without_a_place_for_their_journal_are_refused(tmp_path):
    (tmp_path / "file").write_text("no directory")
    where = str(tmp_path / "file" / "data")
    environ = {"OPENAI_API_KEY": KEY, "LLM_DAILY_BUDGET": "1", "TOLLHOUSE_DATA_DIR": where}
    done = run("serve", "--port", "0", environ=environ)
    assert done.returncode == 2
    assert f"TOLLHOUSE_DATA_DIR: cannot write to {where}: Not a directory; the budgets need it" in done.stderr
