"""Providers of the configuration: what a row says, what its preset adds, and every fault that it can have."""

import msgspec
import pytest

from adapters.base import Capabilities
from proxy import providers
from proxy.environment import Environment
from proxy.presets import PLAIN, PRESETS
from proxy.providers import Provider, Providers

KEY = "gsk_canary1234567890"
GROQ = {"GROQ_API_KEY": KEY}
LIMITS = "limits: {context: 1000, max_output: 100}"
PRICED = LIMITS + ', prices: [{source: x, per_mtok: {input: "1", output: "2"}}]'
KNOWN = ", ".join(sorted(PRESETS))


def read(text: str, environ: dict[str, str]) -> tuple[Environment, Providers]:
    env = Environment(environ)
    return env, providers.read(env, msgspec.yaml.decode(text), "f.yaml: providers")


def found(text: str, environ: dict[str, str] | None = None) -> Provider:
    """The one provider that is on."""
    env, both = read(text, GROQ if environ is None else environ)
    assert env.faults == []
    (one,) = both.on
    return one


def faults(text: str, environ: dict[str, str] | None = None) -> list[str]:
    said = read(text, GROQ if environ is None else environ)[0].faults
    assert all("\n" not in fault and KEY not in fault for fault in said)
    return said


# --- a row and its preset


def test_a_name_is_enough_where_there_is_a_preset():
    one = found("[{name: groq}]")
    preset = PRESETS["groq"]
    assert (one.name, one.vendor, one.base_url) == ("groq", "openai", preset.base_url)
    assert one.capabilities == preset.capabilities
    assert one.key is not None
    assert one.key.reveal() == KEY
    assert (one.key_header, one.models) == (None, ())


def test_a_row_says_otherwise_key_by_key():
    one = found(
        """
        - name: azure-eu
          preset: azure
          base_url: https://eu.example/openai/v1/
          key: EU_KEY
          capabilities: {max_tokens_field: either, tools: false}
        """,
        {"EU_KEY": "one"},
    )
    assert (one.name, one.base_url, one.key_header) == ("azure-eu", "https://eu.example/openai/v1", "api-key")
    assert one.capabilities == msgspec.structs.replace(
        PRESETS["azure"].capabilities, max_tokens_field="either", tools=False
    )


def test_a_vendor_that_nobody_has_described_needs_a_url_and_a_key():
    one = found("[{name: new, base_url: 'http://new/v1', key: NEW_KEY}]", {"NEW_KEY": "k"})
    assert (one.base_url, one.capabilities) == ("http://new/v1", PLAIN)


def test_models_have_the_capabilities_of_their_provider_unless_they_say_otherwise():
    one = found(
        f"""
        - name: groq
          capabilities: {{tools: false}}
          models:
            - {{model: a, class: fast, preferred: true, {PRICED}}}
            - {{model: b, {LIMITS}, capabilities: {{tools: true, input: [text]}}}}
        """
    )
    shared = msgspec.structs.replace(PRESETS["groq"].capabilities, tools=False)
    assert [(model.provider, model.model) for model in one.models] == [("groq", "a"), ("groq", "b")]
    assert one.models[0].capabilities == shared
    assert one.models[1].capabilities == msgspec.structs.replace(shared, tools=True, input=("text",))
    assert one.models[0].preferred


def test_null_is_as_good_as_nothing():
    one = found("[{name: groq, preset: null, base_url: null, key: null, capabilities: null, models: null}]")
    assert one.capabilities == PRESETS["groq"].capabilities


@pytest.mark.parametrize("text", ["null", "[]"])
def test_without_rows_there_are_the_three(text):
    env, both = read(text, {"OPENAI_API_KEY": "k"})
    assert [one.name for one in both.on] == ["openai"]
    assert both.off == {"anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY"}
    assert env.faults == []


# --- keys


def test_a_provider_without_its_key_is_off_and_no_fault():
    env, both = read("[{name: groq}, {name: xai, key: MY_KEY}]", {})
    assert (both.on, env.faults) == ((), [])
    assert list(both.off.items())[3:] == [("groq", "GROQ_API_KEY"), ("xai", "MY_KEY")]


@pytest.mark.parametrize("row", ["{name: ollama}", "{name: groq, key: none}", "{name: vllm, key: none}"])
def test_some_need_no_key(row):
    assert found(f"[{row}]").key is None


def test_a_server_of_ones_own_may_ask_for_a_key():
    env, both = read("[{name: vllm, key: VLLM_API_KEY}]", {})
    assert both.off["vllm"] == "VLLM_API_KEY"
    assert env.faults == []


def test_a_key_is_read_from_a_mounted_file(tmp_path):
    (tmp_path / "key").write_text(f"{KEY}\n")
    one = found("[{name: groq}]", {"GROQ_API_KEY_FILE": str(tmp_path / "key")})
    assert one.key is not None
    assert one.key.reveal() == KEY


def test_a_key_does_not_show_itself():
    assert KEY not in repr(found("[{name: groq}]"))


# --- faults


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{name: openai}", " openai: this name is taken: the environment configures openai"),
        (
            "{name: Groq, preset: groq}",
            " Groq: `name` is made of a-z, 0-9, _ and -, and begins with a letter or a digit",
        ),
        ("{name: a/b, preset: groq}", " a/b: `name` is made of a-z, 0-9, _ and -, and begins with a letter or a digit"),
        ('{name: "a\\nb", preset: groq}', ": `name` is made of a-z, 0-9, _ and -, and begins with a letter or a digit"),
        ("{preset: groq}", ": `name` is missing"),
        ("{name: 5, preset: groq}", ".name: Expected `str`, got `int`"),
        ("{name: [a], preset: groq}", ".name: Expected `str`, got `array`"),
        ("{name: groq, preset: [x]}", " groq.preset: Expected `str | null`, got `array`"),
        ("{name: groq, preset: 5}", " groq.preset: Expected `str | null`, got `int`"),
        ("{name: x, preset: grok}", f" x: no such preset; known are {KNOWN}"),
        ("{name: x, key: K}", f" x: `base_url` is missing; only these are known without one: {KNOWN}"),
        ("{name: x, base_url: 'http://x'}", " x: `key` is missing: the name of an environment variable, or none"),
        ("{name: azure}", " azure: `base_url` is missing, such as https://RESOURCE.openai.azure.com/openai/v1"),
        (
            "{name: groq, base_url: nowhere}",
            " groq: `base_url`: expected an http or https URL such as https://api.groq.com/openai/v1; this is none",
        ),
        (
            f"{{name: groq, base_url: 'https://{KEY}@host/v1'}}",
            " groq: `base_url`: expected an http or https URL such as https://api.groq.com/openai/v1; "
            "this one holds a user name or a password, which belong elsewhere",
        ),
        ("{name: groq, base_url: 5}", " groq.base_url: Expected `str | null`, got `int`"),
        (
            f"{{name: groq, key: {KEY}}}",
            " groq: `key`: expected the name of an environment variable, or none; what is there is not shown",
        ),
        ("{name: groq, key: 5}", " groq.key: Expected `str | null`, got `int`"),
        ("{name: groq, keys: X}", " groq: unknown key `keys`"),
        ("{name: groq, capabilities: {tool: true}}", " groq.capabilities: unknown key `tool`"),
        (
            f"{{name: groq, capabilities: {{tools: 5}}, models: [{{model: a, {LIMITS}}}]}}",
            " groq.capabilities.tools: Expected `bool`, got `int`",
        ),
        ("{name: groq, capabilities: [tools]}", " groq.capabilities: Expected `object`, got `array`"),
        ("{name: groq, models: {a: b}}", " groq.models: Expected `array`, got `object`"),
        ("{name: groq, models: [a]}", " groq.models[0]: Expected `object`, got `str`"),
        ("{name: groq, models: [{model: a}]}", " groq.models[0]: `limits` is missing"),
        (f"{{name: groq, models: [{{{LIMITS}}}]}}", " groq.models[0]: `model` is missing"),
        (
            f"{{name: groq, models: [{{model: a, {LIMITS}, capabilities: 5}}]}}",
            " groq.models[0].capabilities: Expected `object`, got `int`",
        ),
        (
            f"{{name: groq, models: [{{model: a, {LIMITS}, preferred: true}}]}}",
            " groq.models[0]: a preferred model has a class and a price",
        ),
        (
            f"{{name: groq, models: [{{model: a, provider: openai, {LIMITS}}}]}}",
            " groq: `provider` is no part of a model here: it is the name of the row",
        ),
        (f"{{name: groq, models: [{{model: a, {LIMITS}}}, {{model: a, {LIMITS}}}]}}", " groq: 2 models are called `a`"),
        (
            "{name: groq, models: ["
            + ", ".join(f"{{model: {name}, class: fast, preferred: true, {PRICED}}}" for name in "ab")
            + "]}",
            " groq: 2 preferred models of class fast, one at most",
        ),
        ("groq", ": Expected `object`, got `str`"),
        ("{}", ": `name` is missing"),
        ("null", ": Expected `object`, got `null`"),
    ],
)
def test_a_bad_row_is_one_fault_with_its_path(row, said):
    assert faults(f"[{row}]") == [f"f.yaml: providers[0]{said}"]


def test_all_faults_of_all_rows_are_told_at_once():
    said = faults("[{name: openai, key: sk-x, base_url: y}, {name: groq}, {name: 5, what: 6}, {name: x, preset: y}]")
    assert [line.partition(":")[2].split(":")[0].strip() for line in said] == [
        "providers[0] openai",
        "providers[2].name",
        "providers[2]",
        *["providers[2]"] * 2,
        "providers[3] x",
    ]


@pytest.mark.parametrize("text", ["{groq: {}}", "groq", "5"])
def test_what_is_no_list_is_a_fault(text):
    assert faults(text) == ["f.yaml: providers: expected a list"]


def test_a_name_is_one_providers_only():
    assert faults("[{name: groq}, {name: groq, base_url: 'http://x'}]") == [
        "f.yaml: providers: 2 providers are called groq"
    ]


def test_a_bad_key_is_a_fault_of_its_variable():
    assert faults("[{name: groq}]", {"GROQ_API_KEY": "two words"}) == [
        "GROQ_API_KEY: expected printable ASCII without spaces"
    ]


def test_a_bad_url_of_the_three_is_a_fault_of_its_variable():
    assert faults("[]", {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "nowhere"}) == [
        "OPENAI_BASE_URL: expected an http or https URL such as https://api.openai.com/v1; this is none"
    ]


# --- the primary


@pytest.mark.parametrize(
    ("environ", "primary"),
    [
        pytest.param(GROQ, "groq", id="the only one"),
        pytest.param({**GROQ, "ANTHROPIC_API_KEY": "k"}, "anthropic", id="the three go first"),
        pytest.param({**GROQ, "ANTHROPIC_API_KEY": "k", "PRIMARY_LLM_PROVIDER": "Groq"}, "groq", id="the one named"),
    ],
)
def test_the_primary_may_be_one_of_the_file(environ, primary):
    env, both = read("[{name: groq}]", environ)
    assert providers.primary(env, both) == primary
    assert env.faults == []


def test_a_primary_that_is_off_is_a_fault():
    env, both = read("[{name: groq}]", {"OPENAI_API_KEY": "k", "PRIMARY_LLM_PROVIDER": "groq"})
    providers.primary(env, both)
    assert env.faults == ["PRIMARY_LLM_PROVIDER: groq has no key; set GROQ_API_KEY or name another"]


def test_a_primary_that_nobody_is_called_is_a_fault_that_lists_the_names():
    env, both = read("[{name: groq}, {name: xai}]", {**GROQ, "PRIMARY_LLM_PROVIDER": "grok"})
    providers.primary(env, both)
    assert env.faults == ["PRIMARY_LLM_PROVIDER: expected one of openai, anthropic, gemini, groq, xai; got 'grok'"]


def test_where_nobody_has_a_key_that_is_said_elsewhere():
    env, both = read("[{name: groq}]", {"PRIMARY_LLM_PROVIDER": "groq"})
    assert providers.primary(env, both) == "groq"
    assert env.faults == []


def test_capabilities_of_a_row_are_those_of_the_adapters():
    assert set(msgspec.to_builtins(PLAIN)) == set(Capabilities.__struct_fields__)
