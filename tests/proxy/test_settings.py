"""What can be set: each variable of the contract, good and bad; the YAML file; and that no secret is ever shown."""

import math
import re
from pathlib import Path

import msgspec
import pytest

from adapters.base import Capabilities, Target
from proxy import settings as real
from proxy.aliases import rows_of
from proxy.environment import Environment, Secret, wrong_with
from proxy.health import Policy
from proxy.limits import Limits
from proxy.providers import Provider
from proxy.resilience import Hedging, Retries
from proxy.routing import DEFAULT_TASKS, STRATEGIES
from proxy.settings import Settings, SettingsError, is_loopback, routing_state, shipped_prices
from proxy.timeouts import Timeouts

KEY = "sk-canary-1234567890"
ONE = {"OPENAI_API_KEY": KEY}
DOLLARS = 'expected USD as a decimal, more than 0 and at most 9000000, such as "12.50"; got '
LONG = "must be more than 0 and at most 1000000 seconds"
ALL = {**ONE, "ANTHROPIC_API_KEY": KEY, "GEMINI_API_KEY": KEY}
SMALL = str(Path(__file__).with_name("one_model.yaml"))  # reading the shipped table takes longer than all the rest


def load(environ, **options) -> Settings:
    return real.load({"TOLLHOUSE_PRICING": SMALL, **environ}, **options)


def faults(environ, **options) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(environ, **options)
    assert all(fault and "\n" not in fault for fault in caught.value.faults)
    return caught.value.faults


def fault(environ, **options) -> str:
    said = faults(environ, **options)
    assert len(said) == 1, said
    return said[0]


def provider(environ, name):
    return next(found for found in load(environ).providers if found.name == name)


def key_of(found: Provider) -> str:
    assert found.key is not None
    return found.key.reveal()


# --- each variable


def test_with_nothing_set_everything_has_its_default():
    settings = load({})
    assert settings.providers == ()
    assert settings.primary is None
    assert settings.fallback is True
    assert settings.strategy == "fallback"
    assert settings.tasks == DEFAULT_TASKS
    assert settings.groups == ()
    assert (settings.health, settings.retries, settings.hedging) == (Policy(), Retries(), Hedging())
    assert settings.redis_url is settings.admin_key is None
    assert settings.client_keys == ()
    assert settings.data_dir == Path(".tollhouse")
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert (settings.log_format, settings.log_level) == ("json", "info")
    assert settings.drain_seconds == 30
    assert settings.catalog.models
    assert settings.limits.image == 20 * 1024 * 1024
    assert settings.limits.images_from_private_networks is False


def test_on_a_terminal_the_log_is_for_people():
    assert load({}, terminal=True).log_format == "console"
    assert load({"TOLLHOUSE_LOG": "json"}, terminal=True).log_format == "json"


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("ENABLE_LLM_FALLBACK", "false", "fallback", False),
        ("ENABLE_LLM_FALLBACK", " TRUE ", "fallback", True),
        ("ENABLE_LLM_FALLBACK", "0", "fallback", False),
        *(("LLM_ROUTING_STRATEGY", name.title(), "strategy", name) for name in STRATEGIES),
        ("TOLLHOUSE_DATA_DIR", "/var/lib/tollhouse", "data_dir", Path("/var/lib/tollhouse")),
        ("TOLLHOUSE_LOG", "Console", "log_format", "console"),
        ("TOLLHOUSE_LOG_LEVEL", "DEBUG", "log_level", "debug"),
        ("TOLLHOUSE_DRAIN_SECONDS", "0", "drain_seconds", 0.0),
        ("TOLLHOUSE_DRAIN_SECONDS", "2.5", "drain_seconds", 2.5),
        ("TOLLHOUSE_DRAIN_NOTICE_SECONDS", "5", "drain_notice_seconds", 5.0),
        ("ENABLE_LLM_FALLBACK", "  ", "fallback", True),
    ],
)
def test_a_variable_is_obeyed(name, value, field, expected):
    assert getattr(load({name: value}), field) == expected


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ENABLE_LLM_FALLBACK", "perhaps", "expected true or false; got 'perhaps'"),
        ("LLM_ROUTING_STRATEGY", "random", f"expected one of {', '.join(STRATEGIES)}; got 'random'"),
        ("PRIMARY_LLM_PROVIDER", "mistral", "expected one of openai, anthropic, gemini; got 'mistral'"),
        ("TOLLHOUSE_LOG", "xml", "expected json or console; got 'xml'"),
        ("TOLLHOUSE_LOG_LEVEL", "loud", "expected debug, info, warning or error; got 'loud'"),
        ("TOLLHOUSE_ALLOW_ANONYMOUS", "maybe", "expected true or false; got 'maybe'"),
        *(
            ("TOLLHOUSE_DRAIN_SECONDS", value, f"expected a number of seconds, 0 or more; got '{value}'")
            for value in ("soon", "-1", "nan", "inf", "1e300")
        ),
        ("LLM_DAILY_BUDGET", "five", f"{DOLLARS}'five'"),
        ("LLM_MONTHLY_BUDGET", "0", f"{DOLLARS}'0'"),
        (
            "REDIS_URL", "redis+cluster://:canary@h",
            "expected redis, rediss, unix, redis+sentinel or rediss+sentinel before ://; "
            "of a cluster, the URL of the node that has the slot",
        ),
        (
            "REDIS_URL", "redis+sentinel://:canary@h",
            "expected redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DB; this (not shown) is not",
        ),
        ("REDIS_URL", "localhost:6379", "expected a URL such as redis://HOST:6379/0; what is set (not shown) is none"),
        ("TOLLHOUSE_CLIENT_KEYS", " , ,", "expected keys, separated by commas; there is none"),
        ("TOLLHOUSE_CLIENT_KEYS", "a b", "expected keys of printable ASCII without spaces, separated by commas"),
        ("TOLLHOUSE_CLIENT_KEYS", "schlüssel", "expected keys of printable ASCII without spaces, separated by commas"),
        ("TOLLHOUSE_ADMIN_KEY", "a\tb", "expected printable ASCII without spaces"),
        ("OPENAI_API_KEY", "a b", "expected printable ASCII without spaces"),
        ("GOOGLE_API_KEY", "k\ney", "expected printable ASCII without spaces"),
        ("TOLLHOUSE_PRICING", "/none.yaml", "cannot read /none.yaml: No such file or directory"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_fault_that_names_the_variable_and_what_was_expected(name, value, said):
    assert fault({name: value}) == f"{name}: {said}"


def test_all_faults_are_told_at_once():
    said = faults(
        {
            "OPENAI_API_KEY": "a b",
            "OPENAI_BASE_URL": "nowhere",
            "LLM_DAILY_BUDGET": "-1",
            "ENABLE_LLM_FALLBACK": "no?",
            "TOLLHOUSE_CONFIG": "/no/such.yaml",
            "TOLLHOUSE_LOG": "x",
            "TOLLHOUSE_PRICING": "/no/prices.yaml",
            "REDIS_URL": "x",
        },
        host="0.0.0.0",
    )
    assert sorted(line.partition(":")[0] for line in said) == [
        "--host 0.0.0.0",
        "/no/such.yaml",
        "ENABLE_LLM_FALLBACK",
        "LLM_DAILY_BUDGET",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "REDIS_URL",
        "TOLLHOUSE_LOG",
        "TOLLHOUSE_PRICING",
    ]


# --- vendors


@pytest.mark.parametrize(
    ("environ", "name", "url"),
    [
        ({"OPENAI_API_KEY": KEY}, "openai", "https://api.openai.com/v1"),
        ({"ANTHROPIC_API_KEY": KEY}, "anthropic", "https://api.anthropic.com"),
        ({"GEMINI_API_KEY": KEY}, "gemini", "https://generativelanguage.googleapis.com"),
        ({"GOOGLE_API_KEY": KEY}, "gemini", "https://generativelanguage.googleapis.com"),
        ({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://[::1]:8000/v1/"}, "openai", "http://[::1]:8000/v1"),
        ({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "http://a"}, "anthropic", "http://a"),
        ({"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": "http://g"}, "gemini", "http://g"),
        (
            {"GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": "http://x", "GOOGLE_GEMINI_BASE_URL": "http://g"},
            "gemini",
            "http://x",
        ),
    ],
)
def test_a_vendor_exists_if_its_key_is_set(environ, name, url):
    settings = load(environ)
    assert [found.name for found in settings.providers] == [name]
    assert settings.providers[0].base_url == url
    assert key_of(settings.providers[0]) == KEY
    assert settings.primary == name


def test_of_two_keys_for_gemini_its_own_name_wins():
    assert key_of(provider({"GEMINI_API_KEY": "one", "GOOGLE_API_KEY": "two"}, "gemini")) == "one"


@pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GEMINI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"])
def test_a_bad_base_url_is_a_fault_of_the_variable_that_was_set(name):
    assert fault({**ALL, name: "ftp://x"}).startswith(f"{name}: expected an http or https URL such as https://")


def test_the_base_url_of_a_vendor_without_a_key_does_not_matter():
    assert load({"OPENAI_BASE_URL": "nowhere"}).providers == ()


@pytest.mark.parametrize(
    "url",
    [
        "nowhere", "ftp://host", "http://", "http://[", "http://host:99999", "http://host:0", "http://host:x",
        "http://ho st", "http://hóst", "http://user@host", "http://user:word@host/v1", "http://host/v1?key=1",
        "http://host/v1#part", "http://host/\x7f",
    ],
)  # fmt: skip
def test_a_url_to_which_no_path_can_be_appended_is_refused(url):
    why = wrong_with(url)
    assert why
    assert url not in why


@pytest.mark.parametrize("url", ["http://host", "https://host:1/v1", "http://127.0.0.1:8000", "http://[::1]:80/a/b"])
def test_any_other_url_is_taken(url):
    assert wrong_with(url) is None


# --- the primary


@pytest.mark.parametrize(
    ("environ", "primary"),
    [
        pytest.param(ALL, "gemini", id="gemini, if it has a key"),
        pytest.param({"ANTHROPIC_API_KEY": KEY, "OPENAI_API_KEY": KEY}, "openai", id="else the first with a key"),
        pytest.param({**ALL, "PRIMARY_LLM_PROVIDER": "Anthropic"}, "anthropic", id="the one that was named"),
    ],
)
def test_the_primary(environ, primary):
    assert load(environ).primary == primary


def test_a_primary_without_a_key_is_a_fault():
    assert fault({**ONE, "PRIMARY_LLM_PROVIDER": "gemini"}) == (
        "PRIMARY_LLM_PROVIDER: gemini has no key; set GEMINI_API_KEY or name another"
    )


def test_where_no_vendor_has_a_key_that_is_said_elsewhere():
    assert load({"PRIMARY_LLM_PROVIDER": "gemini"}).providers == ()


# --- secrets in files


FILES = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"]


@pytest.mark.parametrize("name", FILES)
def test_a_key_is_read_from_a_mounted_file(name, tmp_path):
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert key_of(load({f"{name}_FILE": str(file)}).providers[0]) == KEY


def test_client_keys_and_the_admin_key_are_read_from_files_too(tmp_path):
    (tmp_path / "clients").write_text("one\ntwo, three\n\n")
    (tmp_path / "admin").write_text("boss\n")
    settings = load(
        {
            "TOLLHOUSE_CLIENT_KEYS_FILE": str(tmp_path / "clients"),
            "TOLLHOUSE_ADMIN_KEY_FILE": str(tmp_path / "admin"),
        },
        host="0.0.0.0",
    )
    assert [key.reveal() for key in settings.client_keys] == ["one", "two", "three"]
    assert settings.admin_key is not None
    assert settings.admin_key.reveal() == "boss"


def test_the_variable_itself_wins_over_its_file():
    assert key_of(provider({**ONE, "OPENAI_API_KEY_FILE": "/no/such"}, "openai")) == KEY


@pytest.mark.parametrize("name", [*FILES, "TOLLHOUSE_CLIENT_KEYS", "TOLLHOUSE_ADMIN_KEY", "REDIS_URL"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "cannot read {}: No such file or directory", id="missing"),
        pytest.param(b" \n", "{} is empty; expected a key in it", id="empty"),
        pytest.param(b"\xff\xfe", "cannot read {}: not text in UTF-8", id="not text"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_fault(name, content, said, tmp_path):
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    assert fault({f"{name}_FILE": str(file)}) == f"{name}_FILE: {said.format(file)}"


def test_a_file_that_is_a_directory_is_a_fault(tmp_path):
    assert (
        fault({"OPENAI_API_KEY_FILE": str(tmp_path)}) == f"OPENAI_API_KEY_FILE: cannot read {tmp_path}: Is a directory"
    )


def test_a_bad_key_in_a_file_is_a_fault_of_the_file(tmp_path):
    (tmp_path / "key").write_text("two words")
    said = fault({"OPENAI_API_KEY_FILE": str(tmp_path / "key")})
    assert said == "OPENAI_API_KEY_FILE: expected printable ASCII without spaces"


# --- nothing secret is shown


def test_settings_do_not_show_a_secret():
    environ = {
        **ALL,
        "TOLLHOUSE_CLIENT_KEYS": f"{KEY},{KEY}",
        "TOLLHOUSE_ADMIN_KEY": KEY,
        "REDIS_URL": f"redis://:{KEY}@host:6379/0",
    }
    settings = load(environ)
    for shown in (
        repr(settings),
        str(settings),
        f"{settings}",
        msgspec.json.encode([settings.redis_url], enc_hook=str),
    ):
        assert KEY not in str(shown)
    assert settings.redis_url is not None
    assert KEY in settings.redis_url.reveal()


@pytest.mark.parametrize(
    "environ",
    [
        *(
            pytest.param({**ALL, name: f"https://{KEY}@host/v1"}, id=f"{name} with a user name")
            for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GEMINI_BASE_URL")
        ),
        pytest.param({**ONE, "OPENAI_BASE_URL": f"https://host/v1?key={KEY}"}, id="in the query of a URL"),
        pytest.param({**ONE, "OPENAI_BASE_URL": KEY}, id="instead of a URL"),
        *(
            pytest.param({**ONE, name: KEY}, id=f"in {name}")
            for name in (
                "PRIMARY_LLM_PROVIDER", "ENABLE_LLM_FALLBACK", "LLM_ROUTING_STRATEGY", "TOLLHOUSE_LOG",
                "LLM_DAILY_BUDGET", "TOLLHOUSE_LOG_LEVEL", "TOLLHOUSE_DRAIN_SECONDS", "TOLLHOUSE_ALLOW_ANONYMOUS",
                "REDIS_URL", "ANTHROPIC_API_KEY_FILE", "TOLLHOUSE_ADMIN_KEY_FILE", "REDIS_URL_FILE",
            )
        ),
        pytest.param({"REDIS_URL": f"http://:{KEY}@host"}, id="the password of Redis"),
        pytest.param({"REDIS_URL": f"redis://:{KEY} @host"}, id="the password of Redis, with a space"),
        pytest.param({"OPENAI_API_KEY": f"{KEY} {KEY}"}, id="twice"),
        pytest.param({"TOLLHOUSE_LOG": "sk-short"}, id="a short one"),
        pytest.param({"TOLLHOUSE_CLIENT_KEYS": f"{KEY} {KEY}"}, id="client keys with a space between"),
    ],
)  # fmt: skip
def test_a_secret_in_a_wrong_place_is_not_shown_either(environ):
    said = "\n".join(faults(environ))
    assert KEY not in said
    assert "sk-" not in said


def test_a_secret_does_not_show_itself():
    secret = Secret(KEY)
    assert {repr(secret), str(secret), f"{secret}", f"{secret!r:>8}"} == {"<secret>"}


# --- who can reach it


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_on_loopback_no_key_is_asked_for(host):
    assert is_loopback(host)
    assert load(ONE, host=host).host == host


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.168.1.1", "8.8.8.8", "myhost", "127.1", "localhost.evil.example"]
)
def test_beyond_loopback_keys_are_asked_for(host):
    assert not is_loopback(host)
    assert fault(ONE, host=host).startswith(f"--host {host}: listening beyond loopback needs TOLLHOUSE_CLIENT_KEYS (or")


@pytest.mark.parametrize(
    ("more", "good"),
    [
        ({"TOLLHOUSE_CLIENT_KEYS": "a", "TOLLHOUSE_ADMIN_KEY": "b"}, True),
        ({"TOLLHOUSE_MANAGED_KEYS": "true", "TOLLHOUSE_ADMIN_KEY": "b"}, True),
        ({"TOLLHOUSE_MANAGED_KEYS": "false", "TOLLHOUSE_ADMIN_KEY": "b"}, False),
        ({"TOLLHOUSE_ALLOW_ANONYMOUS": "true"}, True),
        ({"TOLLHOUSE_CLIENT_KEYS": "a"}, False),
        ({"TOLLHOUSE_ADMIN_KEY": "b"}, False),
        ({"TOLLHOUSE_ALLOW_ANONYMOUS": "false"}, False),
    ],
    ids=[
        *("both keys", "managed keys", "no managed keys", "a word that allows it"),
        *("client keys alone", "an admin key alone", "a word that does not"),
    ],
)
def test_beyond_loopback_with(more, good):
    if good:
        assert load({**ONE, **more}, host="0.0.0.0").host == "0.0.0.0"
    else:
        assert "--host 0.0.0.0" in fault({**ONE, **more}, host="0.0.0.0")


# --- the YAML file


def written(tmp_path, text: str | bytes) -> str:
    file = tmp_path / "config.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(file)


def test_the_file_is_obeyed(tmp_path):
    path = written(
        tmp_path, "timeouts: {connect: 1, total: 2.5}\nlimits: {body: 1000, images_from_private_networks: true}"
    )
    for settings in (load({"TOLLHOUSE_CONFIG": path}), load({"TOLLHOUSE_CONFIG": "/no/such"}, config=path)):
        assert (settings.timeouts.connect, settings.timeouts.total, settings.timeouts.idle) == (1, 2.5, 120)
        assert (settings.limits.body, settings.limits.images_from_private_networks) == (1000, True)


@pytest.mark.parametrize("text", ["", "# nothing\n", "null"], ids=["empty", "a comment", "null"])
def test_a_file_that_says_nothing_changes_nothing(text, tmp_path):
    assert load({}, config=written(tmp_path, text)).timeouts == load({}).timeouts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timeout: {}", "Object contains unknown field `timeout`"),
        ("timeouts: {conect: 1}", "Object contains unknown field `conect` - at `$.timeouts`"),
        ("timeouts: {models: {'openai/*': {total: 0}}}", f"`models.openai/*.total` {LONG} - at `$.timeouts`"),
        ("retries: {rounds: 0}", "`rounds` is from 1 to 10 - at `$.retries`"),
        ("hedging: {spend: 7}", "`spend` is more than 0 and at most 1 - at `$.hedging`"),
        ("health: {least: 0}", "health: `consecutive`, `least` and `probes` are at least 1"),
        ("aliases: {x: []}", "aliases.x: expected at least one model"),
        ("tasks: {fun: openai}", "tasks: expected one of analytical, creative, synthesis, speed, cost; got 'fun'"),
        ("timeouts: {connect: soon}", "Expected `float`, got `str` - at `$.timeouts.connect`"),
        ("limits: {body: true}", "Expected `int`, got `bool` - at `$.limits.body`"),
        ("limits: {body: 0}", "`body` must be at least 1 - at `$.limits`"),
        ("limits: {image: -5}", "`image` must be at least 1 - at `$.limits`"),
        ("limits: {image_seconds: 0}", f"`image_seconds` {LONG} - at `$.limits`"),
        *(
            (f"timeouts: {{idle: {value}}}", f"`idle` {LONG} - at `$.timeouts`")
            for value in ("0", "-1", ".inf", ".nan", "1.0e+300")
        ),
        ("[]", "Expected `object`, got `array`"),
        ("0", "Expected `object`, got `int`"),
        ("1: 2", "Expected `str` - at `key` in `$`"),
        ("a: [", "no valid YAML in line 2, column 1: did not find expected node content"),
        ("x: 2020-13-45", "Object contains unknown field `x`"),
        (b"\xff", "no valid YAML: "),
        (b"\x00", "no valid YAML: "),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_fault_with_its_path(text, said, tmp_path):
    path = written(tmp_path, text)
    assert fault({}, config=path).startswith(f"{path}: {said}")


def test_a_missing_file_is_a_fault():
    assert fault({"TOLLHOUSE_CONFIG": "/no/such.yaml"}) == "/no/such.yaml: No such file or directory"


# --- the price table


def test_the_price_table_comes_with_the_installation():
    assert shipped_prices().is_file()
    assert real.load({}).catalog.models


def test_another_price_table_may_be_named(tmp_path):
    path = written(tmp_path, Path(SMALL).read_text().replace("gpt-4o", "gpt-mine"))
    assert [model.model for model in load({"TOLLHOUSE_PRICING": path}).catalog.models] == ["gpt-mine"]


def test_each_fault_of_a_price_table_is_told_with_its_path(tmp_path):
    path = written(tmp_path, "models: [{provider: openai}, {model: x}]")
    said = faults({"TOLLHOUSE_PRICING": path})
    assert len(said) >= 2
    assert all(line.startswith(f"{path}: ") for line in said)


def test_an_environment_notes_faults_and_goes_on():
    env = Environment({"A": "x", "B": "2"})
    assert env.read("A", int, 7, "a number") == 7
    assert env.read("B", int, 7, "a number") == 2
    assert math.isnan(env.read("C", float, math.nan, "a number"))
    assert env.faults == ["A: expected a number; got 'x'"]


# --- providers of the file


def test_providers_of_the_file_come_after_the_three(tmp_path):
    path = written(tmp_path, "providers: [{name: ollama}, {name: groq}, {name: xai}]")
    settings = load({**ONE, "GROQ_API_KEY": KEY}, config=path)
    assert [found.name for found in settings.providers] == ["openai", "ollama", "groq"]
    assert settings.off == {"anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY", "xai": "XAI_API_KEY"}
    assert settings.primary == "openai"
    assert KEY not in repr(settings)


def test_their_faults_are_told_with_all_others(tmp_path):
    path = written(tmp_path, "providers: [{name: openai}, {name: x, preset: y}]\ntimeout: 5")
    said = faults({"TOLLHOUSE_LOG": "xml"}, config=path)
    assert [line.split(":")[0] for line in said] == [path, path, path, "TOLLHOUSE_LOG"]
    assert [line.removeprefix(f"{path}: ").split(":")[0] for line in said[:3]] == [
        "Object contains unknown field `timeout`",
        "providers[0] openai",
        "providers[1] x",
    ]


# --- money


def test_budgets_come_from_variables_and_from_the_file(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("budgets: [{user: '*', daily: '0.5'}]\nspending: {least_output: 64, on_store_outage: allow}\n")
    found = load({**ONE, "LLM_MONTHLY_BUDGET": "20"}, config=str(config))
    assert [(budget.name, budget.limit) for budget in found.budgets] == [
        ("monthly", 20 * 10**9),
        ("daily of user=*", 5 * 10**8),
    ]
    assert (found.spending.least_output, found.spending.on_store_outage) == (64, "allow")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budgets: [{user: a}]", "budgets[0]: a budget has `daily` or `monthly` or both"),
        ("budgets: 5", "budgets: expected a list of budgets"),
        ("spending: {on_store_outage: maybe}", "Invalid enum value 'maybe' - at `$.spending.on_store_outage`"),
        ("spending: {unbounded_share: 2}", "`unbounded_share` is more than 0 and at most 1 - at `$.spending`"),
        ("alerts: {webhook: nowhere}", "`webhook`: expected an http or https URL - at `$.alerts`"),
    ],
)
def test_a_fault_in_the_files_money_is_said_with_its_place(tmp_path, text, said):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert fault(ONE, config=str(config)).endswith(said)


def test_a_webhook_may_have_a_query_and_its_secret_is_one():
    found = load({**ONE, "TOLLHOUSE_ALERT_SECRET": KEY})
    assert found.alert_secret is not None
    assert found.alert_secret.reveal() == KEY
    assert real.Alerting(webhook="https://example.com/hook?wait=true").webhook


# --- routing, health, retries


def test_the_file_says_how_candidates_are_chosen(tmp_path):
    path = written(
        tmp_path,
        """
        aliases: {smart: [anthropic/claude-x, gpt-4o], cheap: {strategy: cost, models: [openai/a]}}
        tasks: {speed: groq}
        health: {probes: 1, cooldown: 60}
        retries: {rounds: 1}
        hedging: {enabled: true, spend: 0.1}
        providers: [{name: groq}]
        """,
    )
    settings = load({**ONE, "LLM_ROUTING_STRATEGY": "latency", "LLM_HEALTH_COOLDOWN_SECONDS": "30"}, config=path)
    assert [(group.name, len(group.members), group.strategy) for group in settings.groups] == [
        ("smart", 2, None),
        ("cheap", 1, "cost"),
    ]
    assert settings.tasks == {**DEFAULT_TASKS, "speed": "groq"}
    assert settings.health == Policy(probes=1, cooldown=30)
    assert (settings.retries, settings.hedging) == (Retries(rounds=1), Hedging(enabled=True, spend=0.1))


def test_their_faults_are_told_with_those_of_the_rest_of_the_file(tmp_path):
    path = written(tmp_path, "aliases: {x: []}\ntasks: {fun: x}\nhealth: {a: 1}\nlimits: {body: 0}")
    said = faults({}, config=path)
    assert [line.removeprefix(f"{path}: ").split(":")[0] for line in said] == [
        "`body` must be at least 1 - at `$.limits`",
        "tasks",
        "aliases.x",
        "health",
    ]


@pytest.mark.parametrize(
    "broken",
    [{"TOLLHOUSE_PRICING": "/none.yaml"}, {"OPENAI_BASE_URL": "nowhere"}],
    ids=["the table", "a provider"],
)
def test_where_something_could_not_be_read_no_member_of_an_alias_is_blamed(tmp_path, broken):
    assert "aliases" not in fault({**ONE, **broken}, config=written(tmp_path, "aliases: {x: nobodys}"))
    assert "aliases.x: `nobodys`" in fault(ONE, config=written(tmp_path, "aliases: {x: nobodys}"))


def test_the_state_at_the_start_says_how_candidates_are_chosen(tmp_path):
    path = written(
        tmp_path,
        "aliases: {smart: [anthropic/a, gpt-4o], cheap: {strategy: cost, models: [openai/a]}, /x.*/: gemini/x}\n"
        "hedging: {enabled: true}\nhealth: {consecutive: 3, rate: 0.25, least: 4, window: 5, cooldown: 6, longest: 70}",
    )
    state = routing_state(load({**ONE, "LLM_ROUTING_STRATEGY": "cost"}, config=path))
    assert state == {
        "strategy": "cost",
        "groups": "smart (2), cheap (1 cost), /x.*/ (1)",
        "health": "opens at 3 failures in a row, or 25% of 4 or more requests in 5 s; for 6 s, at most 70 s",
        "hedging": "on (at most 5% on top)",
        "idle": "no member has a key: /x.*/",
    }


def test_the_state_without_groups_is_short():
    state = routing_state(load(ONE))
    assert (state["groups"], state["hedging"], "idle" in state) == ("none", "off", False)


# --- proxies between us and the vendors


def test_the_state_tells_of_proxies_and_of_no_password():
    environ = {**ONE, "HTTPS_PROXY": f"http://user:{KEY}@proxy.example:3128", "http_proxy": "other.example"}
    state = routing_state(load(environ))
    assert state["proxies"] == "http by other.example:80, https by proxy.example:3128"
    assert "proxies" not in routing_state(load(ONE))


def test_a_proxy_that_cannot_be_used_is_a_fault_like_any_other():
    said = faults({**ONE, "ALL_PROXY": f"socks5://user:{KEY}@proxy.example", "LLM_DAILY_BUDGET": "much"})
    assert [one.partition(":")[0] for one in said] == ["ALL_PROXY", "LLM_DAILY_BUDGET"]
    assert KEY not in "".join(said)


# --- the README


def examples() -> list[str]:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```yaml\n(# TOLLHOUSE_CONFIG.*?)```", readme, re.DOTALL)


def test_what_the_readme_calls_the_defaults_are_the_defaults(tmp_path):
    given, usual = load(ALL, config=written(tmp_path, examples()[0])), load(ALL)
    for name in Settings.__struct_fields__:
        if name not in ("providers", "catalog", "timeouts", "files", "sources"):
            assert getattr(given, name) == getattr(usual, name), name
    for thinking in (Capabilities(), Capabilities(efforts=("low",))):
        target = Target(provider="p", vendor="openai", model="m", capabilities=thinking, context=9, max_output=9)
        assert given.timeouts.of(target) == usual.timeouts.of(target)


def test_the_defaults_of_the_readme_are_complete():
    said = msgspec.yaml.decode(examples()[0])
    assert said.keys() == set(real.File.__struct_fields__)
    for name, kind in (
        ("health", Policy),
        ("retries", Retries),
        ("hedging", Hedging),
        ("timeouts", Timeouts),
        ("limits", Limits),
    ):
        assert said[name].keys() == set(kind.__struct_fields__), name


def test_the_readmes_example_of_routing_is_obeyed(tmp_path):
    path = written(tmp_path, examples()[1])
    settings = real.load(ALL, config=path)
    assert "idle" not in routing_state(settings)
    rows = rows_of(settings.providers)

    def asked(name: str) -> list[str]:
        route = settings.catalog.route(name, rows, groups=settings.groups)
        return [f"{target.provider}/{target.model}" for target in route.candidates]

    assert asked("smart") == ["anthropic/claude-opus-5-5", "openai/gpt-6.1-sol"]
    assert asked("small") == asked("gpt-3.5-turbo") == ["openai/gpt-6-luna"]
    assert asked("gpt-4o") == ["anthropic/claude-sonnet-5-5"]
    assert asked("claude-3-haiku-20240307") == ["anthropic/claude-haiku-5-5"]
    cheap = settings.catalog.route("cheap", rows, groups=settings.groups)
    assert (cheap.weights, cheap.most) == ((1, 3), (None, 20))
    assert settings.tasks["creative"] == "openai"
    assert (settings.health.consecutive, settings.hedging.spend, settings.retries.rounds) == (3, 0.1, 3)
