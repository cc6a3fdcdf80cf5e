"""The effective configuration: every value, where it comes from, no secret; and what differs between two of them."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import settings as real
from proxy.auth import Keyring
from proxy.configuration import HIDDEN, NAMES, OPTIONS, VARIABLES, Change, Row, difference, fingerprint, rows, shown_url
from proxy.environment import Environment, Secret, Sources
from proxy.providers import Provider
from proxy.settings import Settings

SMALL = str(Path(__file__).with_name("one_model.yaml"))  # reading the shipped table takes longer than all the rest
CANARY = "canary-0123456789"
FILE = f"""
timeouts: {{total: 600, models: {{"openai/*": {{idle: 30}}}}}}
limits: {{body: 1000}}
spending: {{least_output: 64}}
alerts: {{webhook: "https://user-agent.example/services/{CANARY}?token={CANARY}"}}
retries: {{rounds: 3}}
hedging: {{enabled: true}}
budgets:
  - {{daily: "1.5", user: alice}}
  - {{monthly: 20}}
providers:
  - {{name: groq}}
  - {{name: mine, base_url: "http://127.0.0.1:9/v1", key: MY_KEY, models: []}}
aliases: {{smart: [openai/gpt-4o], "/gpt-3.*/": openai/gpt-4o}}
tasks: {{speed: openai}}
health: {{consecutive: 7}}
"""
ENVIRON = {
    "OPENAI_API_KEY": f"sk-{CANARY}",
    "GOOGLE_API_KEY": f"AIza-{CANARY}",
    "GROQ_API_KEY": f"gsk-{CANARY}",
    "MY_KEY": f"mine-{CANARY}",
    "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:8/gemini",
    "PRIMARY_LLM_PROVIDER": "groq",
    "LLM_MONTHLY_BUDGET": "40",
    "LLM_HEALTH_COOLDOWN_SECONDS": "5000",
    "REDIS_URL": f"redis://user:{CANARY}@127.0.0.1:6379/0",
    "TOLLHOUSE_CLIENT_KEYS": f"one-{CANARY},two-{CANARY}",
    "TOLLHOUSE_ADMIN_KEY": f"admin-{CANARY}",
    "TOLLHOUSE_ALERT_SECRET": f"alert-{CANARY}",
    "TOLLHOUSE_KEY_SECRET": f"pepper-{CANARY}",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
    "TOLLHOUSE_ALLOW_ANONYMOUS": "false",
    "HTTPS_PROXY": f"https://user:{CANARY}@proxy.example:8443/{CANARY}?{CANARY}",
    "https_proxy": " ",
    "all_proxy": f"http://{CANARY}:word@[::1]:3128",
    "NO_PROXY": "example.com, .below.example:8443, 10.0.0.0/8, ::1, https://localhost:1",
}


def load(environ: dict[str, str], file: str | None = None, place: Path | None = None, **options: Any) -> Settings:
    if file is not None:
        assert place is not None
        (place / "config.yaml").write_text(file, encoding="utf-8")
        options["config"] = str(place / "config.yaml")
    return real.load({"TOLLHOUSE_PRICING": SMALL, **environ}, **options)


@pytest.fixture
def full(tmp_path: Path) -> dict[str, Row]:
    """All values of a configuration that sets something of everything, by name."""
    file = FILE.replace("  - {monthly: 20}\n", "  - {monthly: 20, team: search}\n")
    settings = load(ENVIRON, file, tmp_path, port=9_000)
    found = rows(settings)
    assert len({row.name for row in found}) == len(found)
    return {row.name: row for row in found}


def test_every_value_of_the_settings_is_shown(full):
    """A new field of `Settings` is shown by itself; what it is set by is for `VARIABLES`, or for the file."""
    for field in Settings.__struct_fields__:
        name = NAMES.get(field, field)
        there = [shown for shown in full if shown == name or shown.startswith((f"{name}.", f"{name}["))]
        assert bool(there) != (field in HIDDEN), field


def test_every_part_of_a_provider_is_shown(full):
    for field in set(Provider.__struct_fields__) - {"name"}:
        assert f"providers.mine.{field}" in full, field


def test_every_field_has_somebody_who_sets_it():
    by_secret = {"alert_secret", "redis_url", "client_keys", "admin_key", "key_secret"}
    by_variable = {name.partition(".")[0] for name in VARIABLES}
    by_file = set(real.File.__struct_fields__)
    derived = {"without_key"}
    for field in set(Settings.__struct_fields__) - HIDDEN:
        assert NAMES.get(field, field) in by_secret | by_variable | by_file | derived | OPTIONS.keys(), field


def test_each_variable_is_one_that_is_read():
    asked = set()

    class Listening(dict[str, str]):
        def get(self, name: str, default: Any = None) -> Any:
            asked.add(name)
            return super().get(name, default)

    keys = {"OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "x", "GEMINI_API_KEY": "x"}
    real.load(Listening({**keys, "TOLLHOUSE_PRICING": SMALL}))
    assert {variable for variables in VARIABLES.values() for variable in variables} <= asked


@pytest.mark.parametrize(
    ("name", "value", "origin", "source"),
    [
        ("host", "127.0.0.1", "default", None),
        ("port", 9_000, "argument", "--port"),
        ("providers.order", ["gemini", "openai", "groq", "mine"], "default", None),
        ("providers.openai.base_url", "https://api.openai.com/v1", "default", None),
        ("providers.gemini.base_url", "http://127.0.0.1:8/gemini", "environment", "GOOGLE_GEMINI_BASE_URL"),
        ("providers.mine.base_url", "http://127.0.0.1:9/v1", "file", "FILE"),
        ("providers.groq.vendor", "openai", "default", None),
        ("providers.mine.models", [], "file", "FILE"),
        ("without_key.anthropic", "ANTHROPIC_API_KEY", "default", None),
        ("primary", "groq", "environment", "PRIMARY_LLM_PROVIDER"),
        ("fallback", True, "default", None),
        ("tasks.speed", "openai", "file", "FILE"),
        ("health.consecutive", 7, "file", "FILE"),
        ("health.cooldown", 5_000.0, "environment", "LLM_HEALTH_COOLDOWN_SECONDS"),
        ("health.longest", 5_000.0, "environment", "LLM_HEALTH_COOLDOWN_SECONDS"),
        ("health.window", 60.0, "default", None),
        ("retries.rounds", 3, "file", "FILE"),
        ("retries.base", 0.25, "default", None),
        ("hedging.enabled", True, "file", "FILE"),
        ("models", 1, "environment", "TOLLHOUSE_PRICING"),
        ("pricing", SMALL, "environment", "TOLLHOUSE_PRICING"),
        ("budgets[0]", {"name": "monthly", "limit_usd": "40"}, "environment", "LLM_MONTHLY_BUDGET"),
        ("budgets[1]", {"name": "daily of user=alice", "limit_usd": "1.5"}, "file", "FILE"),
        ("budgets[2]", {"name": "monthly of team=search", "limit_usd": "20"}, "file", "FILE"),
        ("spending.least_output", 64, "file", "FILE"),
        ("data_dir", ".tollhouse", "default", None),
        ("anonymous", False, "environment", "TOLLHOUSE_ALLOW_ANONYMOUS"),
        ("proxies.http", "http://[::1]:3128", "environment", "all_proxy"),
        ("proxies.https", "http://[::1]:3128", "environment", "all_proxy"),
        (
            "proxies.exceptions",
            ["example.com", ".below.example:8443", "10.0.0.0/8", "::1/128", "https://localhost:1"],
            "environment",
            "NO_PROXY",
        ),
        ("telemetry", True, "environment", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("timeouts.total", 600.0, "file", "FILE"),
        ("timeouts.first_byte", None, "default", None),
        ("timeouts.models.openai/*.idle", 30.0, "file", "FILE"),
        ("timeouts.models.openai/*.total", None, "default", None),
        ("limits.body", 1_000, "file", "FILE"),
        ("limits.image_seconds", 10.0, "default", None),
    ],
)
def test_each_value_has_its_origin(full, tmp_path, name, value, origin, source):
    place = str(tmp_path / "config.yaml")
    assert full[name] == Row(name, value, origin, place if source == "FILE" else source)


def test_an_alias_is_shown_as_it_stands_in_the_file(full):
    assert full["aliases.smart"].value["members"][0]["model"] == "openai/gpt-4o"
    assert (full["aliases.smart"].origin, full["aliases./gpt-3.*/"].origin) == ("file", "file")


@pytest.mark.parametrize(
    ("name", "secret", "variable"),
    [
        ("providers.openai.key", f"sk-{CANARY}", "OPENAI_API_KEY"),
        ("providers.gemini.key", f"AIza-{CANARY}", "GOOGLE_API_KEY"),
        ("providers.groq.key", f"gsk-{CANARY}", "GROQ_API_KEY"),
        ("providers.mine.key", f"mine-{CANARY}", "MY_KEY"),
        ("redis_url", ENVIRON["REDIS_URL"], "REDIS_URL"),
        ("client_keys[0]", f"one-{CANARY}", "TOLLHOUSE_CLIENT_KEYS"),
        ("client_keys[1]", f"two-{CANARY}", "TOLLHOUSE_CLIENT_KEYS"),
        ("admin_key", f"admin-{CANARY}", "TOLLHOUSE_ADMIN_KEY"),
        ("alert_secret", f"alert-{CANARY}", "TOLLHOUSE_ALERT_SECRET"),
        ("key_secret", f"pepper-{CANARY}", "TOLLHOUSE_KEY_SECRET"),
    ],
)
def test_of_a_secret_there_is_a_fingerprint_and_its_variable(full, name, secret, variable):
    print_ = hashlib.sha256(secret.encode()).hexdigest()[:8]
    assert full[name] == Row(name, {"set": True, "fingerprint": print_}, "environment", variable)


def test_the_address_of_alerts_is_a_secret(full, tmp_path):
    row = full["alerts.webhook"]
    assert row.value["set"] is True
    assert (row.origin, row.source) == ("file", str(tmp_path / "config.yaml"))


def test_a_secret_of_a_file_tells_the_variable_that_names_it(tmp_path):
    (tmp_path / "key").write_text("sk-of-a-file\n", encoding="utf-8")
    found = {row.name: row for row in rows(load({"OPENAI_API_KEY_FILE": str(tmp_path / "key")}))}
    row = found["providers.openai.key"]
    assert (row.value["fingerprint"], row.source) == (fingerprint("sk-of-a-file"), "OPENAI_API_KEY_FILE")
    assert str(tmp_path / "key") not in msgspec.json.encode(list(found.values())).decode()


def test_a_client_key_is_found_by_its_name(full):
    (name, _) = Keyring([Secret(f"one-{CANARY}"), Secret("x")]).names
    assert full["client_keys[0]"].value["fingerprint"] == name.removeprefix("key-")


def test_no_secret_is_shown_anywhere(full):
    assert CANARY not in msgspec.json.encode(list(full.values())).decode()
    assert CANARY not in repr(full)


@pytest.mark.parametrize(
    ("environ", "http", "https"),
    [
        ({}, (None, None), (None, None)),
        ({"HTTPS_PROXY": "https://u:p@one:1"}, (None, None), ("https://one:1", "HTTPS_PROXY")),
        ({"http_proxy": "one", "HTTP_PROXY": "two"}, ("http://one:80", "http_proxy"), (None, None)),
        (
            {"https_proxy": "https://one", "ALL_PROXY": "two:2"},
            ("http://two:2", "ALL_PROXY"),
            ("https://one:443", "https_proxy"),
        ),
    ],
)
def test_a_proxy_is_shown_without_who_uses_it_and_with_its_variable(environ, http, https):
    found = {row.name: (row.value, row.source) for row in rows(load(environ))}
    assert (found["proxies.http"], found["proxies.https"]) == (http, https)


def test_with_nothing_set_everything_is_there_and_is_a_default():
    found = rows(real.load({"TOLLHOUSE_PRICING": SMALL}))
    expected: dict[str, object] = {
        "providers.order": [],
        "primary": None,
        "aliases": {},
        "budgets": [],
        "client_keys": [],
        "admin_key": None,
        "redis_url": None,
        "timeouts.models": {},
        "alerts.webhook": None,
        "without_key.openai": "OPENAI_API_KEY",
    }
    assert {row.name: row.value for row in found if row.name in expected} == expected
    assert {row.name for row in found if row.origin != "default"} == {"models", "pricing"}
    assert all(row.source is None for row in found if row.origin == "default")


def test_all_of_it_can_be_written_as_json(full):
    assert msgspec.json.decode(msgspec.json.encode(list(full.values())), type=list[Row]) == list(full.values())


def test_the_order_is_always_the_same(tmp_path):
    one, two = (rows(load({"OPENAI_API_KEY": "sk"}, "retries: {rounds: 3}", tmp_path)) for _ in range(2))
    assert one == two
    assert [row.name for row in one][:2] == ["host", "port"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://user:word@host:8443/path?key=1#part", "https://host:8443/path"),
        ("https://us@er:word@host/path", "https://host/path"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("http://[::1", "not shown"),
    ],
)
def test_a_url_has_no_user_and_no_query(url, shown):
    assert shown_url(url) == shown


# --- what differs


def test_what_has_changed_is_told_with_what_was_before(tmp_path):
    before = rows(load({"OPENAI_API_KEY": f"sk-{CANARY}", "LLM_DAILY_BUDGET": "1"}))
    environ = {"OPENAI_API_KEY": f"sk-new-{CANARY}", "LLM_DAILY_BUDGET": "2", "ENABLE_LLM_FALLBACK": "true"}
    after = rows(load(environ, "retries: {rounds: 4}\naliases: {quick: openai/gpt-4o}", tmp_path))
    changes = difference(before, after)
    assert {change.name for change in changes} == {
        *("providers.openai.key", "budgets[0]", "retries.rounds", "aliases", "aliases.quick")
    }
    by_name = {change.name: change for change in changes}
    assert by_name["retries.rounds"] == Change("retries.rounds", 2, 4)
    assert by_name["budgets[0]"].after == {"name": "daily", "limit_usd": "2"}
    assert by_name["providers.openai.key"].before == {"set": True, "fingerprint": fingerprint(f"sk-{CANARY}")}
    assert (by_name["aliases.quick"].before, by_name["aliases"].after) == (None, None)
    assert CANARY not in msgspec.json.encode(changes).decode()


def test_where_a_value_comes_from_is_no_difference(tmp_path):
    before = rows(load({}))
    assert difference(before, rows(load({"ENABLE_LLM_FALLBACK": "true"}, "retries: {rounds: 2}", tmp_path))) == []


VALUES = st.one_of(st.none(), st.integers(), st.text(max_size=3))
SIDES = st.dictionaries(st.sampled_from("abcdef"), VALUES).map(
    lambda given: [Row(name, value, "default") for name, value in given.items()]
)


@given(SIDES, SIDES)
def test_applied_to_what_was_before_the_changes_give_what_is_after(before, after):
    old, new = ({row.name: row.value for row in side} for side in (before, after))
    changes = difference(before, after)
    assert len({change.name for change in changes}) == len(changes)
    for change in changes:
        assert (old.get(change.name), new.get(change.name)) == (change.before, change.after)
        assert (change.name in old, change.before) != (change.name in new, change.after)
    same = {name: value for name, value in old.items() if name not in {change.name for change in changes}}
    assert {**same, **{change.name: change.after for change in changes if change.name in new}} == new


# --- what is noted while reading


def test_what_was_asked_for_and_is_set_is_noted_and_nothing_else():
    env = Environment({"ONE": "1", "TWO": " ", "THREE": "3", "OTHER": "secret"})
    assert env.text("TWO", "ONE") == "1"
    assert env.named("MISSING") is None
    assert env.read("THREE", int, 0, "a number") == 3
    assert env.sources == Sources(variables=frozenset({"ONE", "THREE"}))
    assert "secret" not in repr(env.sources)


def test_of_a_file_the_names_are_noted_and_no_values():
    env = Environment({})
    content = {
        "retries": {"rounds": 3, "base": None},
        "budgets": [{"daily": CANARY}, "not a row"],
        "providers": [{"name": "groq", "key": CANARY}, {"name": 5}],
        7: {"deep": [[1]]},
    }
    env.note("config.yaml", content)
    assert env.sources.file == "config.yaml"
    assert env.sources.members == {
        *("retries", "retries.rounds", "budgets", "budgets[0]", "budgets[0].daily", "budgets[1]", "providers"),
        *("providers.groq", "providers.groq.name", "providers.groq.key", "providers[1]", "providers[1].name"),
        *("7", "7.deep", "7.deep[0]", "7.deep[0][0]"),
    }
    assert CANARY not in repr(env.sources)


@pytest.mark.parametrize("content", [None, "text", 5, []])
def test_a_file_that_says_nothing_is_noted_all_the_same(content):
    env = Environment({})
    env.note("config.yaml", content)
    assert env.sources == Sources(file="config.yaml")


def test_a_secret_knows_where_it_was_read(tmp_path):
    (tmp_path / "key").write_text("three\n", encoding="utf-8")
    env = Environment({"ONE": "one", "LIST": "a,b", "THREE_FILE": str(tmp_path / "key")})
    read = [env.secret("ZERO", "ONE"), *env.secrets("LIST"), env.secret("THREE")]
    assert [(secret.reveal(), secret.source) for secret in read if secret] == [
        *(("one", "ONE"), ("a", "LIST"), ("b", "LIST"), ("three", "THREE_FILE"))
    ]
    assert repr(read[0]) == "<secret>"
