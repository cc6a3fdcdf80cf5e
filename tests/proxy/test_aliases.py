"""Aliases, groups and tasks as people write them down, and what is said when they are written wrongly."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Vendor
from proxy.aliases import read, repetitions, rows_of, shown, tasks
from proxy.catalog import LONGEST_NAME, Catalog, Group, Member
from proxy.environment import Environment, Secret
from proxy.prices import Limits, Model
from proxy.providers import Provider, Providers
from proxy.routing import DEFAULT_TASKS, STRATEGIES

LIMITS = Limits(context=9, max_output=9)
CATALOG = Catalog(
    [
        Model(provider="openai", model="gpt-4o", match=("gpt-4o-2*",), limits=LIMITS),
        Model(provider="openai", model="embedding", kind="embedding", limits=LIMITS),
        Model(provider="anthropic", model="claude-a", limits=LIMITS),
        Model(provider="anthropic", model="embedding-a", kind="embedding", limits=LIMITS),
    ]
)


def provider(name: str, vendor: Vendor = "openai", *models: Model) -> Provider:
    return Provider(name=name, vendor=vendor, base_url="http://x", key=Secret("k"), models=models)


LLAMA = Model(provider="groq", model="meta/llama", limits=LIMITS)
PROVIDERS = Providers(
    on=(provider("openai"), provider("groq", "openai", LLAMA)),
    off={"anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY", "xai": "XAI_API_KEY"},
)


def groups(text: str, catalog: Catalog | None = CATALOG) -> tuple[Group, ...]:
    env = Environment({})
    found = read(env, msgspec.yaml.decode(text), "aliases", catalog, PROVIDERS)
    assert env.faults == []
    return found


def faults(text: str, catalog: Catalog | None = CATALOG) -> list[str]:
    env = Environment({})
    read(env, msgspec.yaml.decode(text), "aliases", catalog, PROVIDERS)
    assert all("\n" not in fault for fault in env.faults)
    return env.faults


# --- what may stand there


def test_without_a_section_there_are_none():
    assert groups("null") == groups("{}") == ()


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("small: gpt-4o", Group(name="small", members=(Member(model="gpt-4o"),))),
        (
            "smart: [anthropic/claude-x, openai/gpt-9]",
            Group(name="smart", members=(Member(model="anthropic/claude-x"), Member(model="openai/gpt-9"))),
        ),
        (
            "cheap: {strategy: fallback, models: [gpt-4o, {model: openai/a, weight: 3, max_in_flight: 20}]}",
            Group(
                name="cheap",
                strategy="fallback",
                members=(Member(model="gpt-4o"), Member(model="openai/a", weight=3, most=20)),
            ),
        ),
        ("x: {models: gpt-4o}", Group(name="x", members=(Member(model="gpt-4o"),))),
        ("x: [{model: gpt-4o}]", Group(name="x", members=(Member(model="gpt-4o"),))),
        (
            r'"/gpt-3\\.5-(.*)/": [openai/\1, gpt-4o]',
            Group(name=r"gpt-3\.5-(.*)", pattern=True, members=(Member(model=r"openai/\1"), Member(model="gpt-4o"))),
        ),
    ],
    ids=["one", "several", "a strategy and weights", "a mapping with one", "a member that is a mapping", "a pattern"],
)
def test_a_group_may_be(text, group):
    assert groups(text) == (group,)


def test_their_order_is_that_of_the_file():
    found = groups("{b: gpt-4o, /x.*/: gpt-4o, a: gpt-4o}")
    assert [shown(group) for group in found] == ["b", "/x.*/", "a"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_group_may_have_any_strategy_there_is(strategy):
    assert groups(f"x: {{strategy: {strategy}, models: gpt-4o}}")[0].strategy == strategy


@pytest.mark.parametrize(
    "member",
    [
        pytest.param("gpt-4o-2026", id="by its other name"),
        pytest.param("meta/llama", id="with a slash that is no provider's"),
        pytest.param("gpt-99", id="plainly a vendor's"),
        pytest.param("groq/anything", id="pinned"),
        pytest.param("xai/grok", id="a provider that is off"),
        pytest.param("gemini/x", id="a vendor that is off"),
        pytest.param("claude-a", id="known of a vendor that is off"),
        pytest.param("claude-99", id="plainly of a vendor that is off"),
    ],
)
def test_a_member_may_be(member):
    assert groups(f"x: {member}")[0].members[0].model == member


@pytest.mark.parametrize("name", ["gpt-4o", "openai", "a/b", "mistral/large", "x" * LONGEST_NAME, "ähnlich", "a b"])
def test_an_alias_may_be_called(name):
    assert groups(f"{name}: gpt-4o")[0].name == name


def test_an_alias_may_shadow_a_model_which_its_members_still_mean():
    found = groups("{gpt-4o: [anthropic/claude-a, gpt-4o], other: gpt-4o, claude-a: openai/x, third: claude-a}")
    assert [member.model for member in found[0].members] == ["anthropic/claude-a", "gpt-4o"]


# --- what may not


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]", "aliases: expected a mapping of names to models"),
        ("smart", "aliases: expected a mapping of names to models"),
        ("x: []", "aliases.x: expected at least one model"),
        ("x: {models: []}", "aliases.x: expected at least one model"),
        ("x: null", "aliases.x: Expected `str | object | array`, got `null`"),
        ("x: 5", "aliases.x: Expected `str | object | array`, got `int`"),
        ("x: [5]", "aliases.x: Expected `str | object`, got `int` - at `$[0]`"),
        ("x: {}", "aliases.x: Object missing required field `models`"),
        ("x: {models: gpt-4o, wieght: 1}", "aliases.x: Object contains unknown field `wieght`"),
        ("x: [{model: gpt-4o, most: 1}]", "aliases.x: Object contains unknown field `most` - at `$[0]`"),
        (
            "x: {strategy: random, models: gpt-4o}",
            f"aliases.x: `strategy`: expected one of {', '.join(STRATEGIES)}; got 'random'",
        ),
        ("x: [{model: gpt-4o, weight: 0}]", "aliases.x: `gpt-4o`: `weight` is at least 1"),
        ("x: [{model: gpt-4o, weight: 1.5}]", "aliases.x: Expected `int`, got `float` - at `$[0].weight`"),
        ("x: [{model: gpt-4o, max_in_flight: 0}]", "aliases.x: `gpt-4o`: `max_in_flight` is at least 1"),
        ("x: ''", "aliases.x: ``: expected the name of a model"),
        (f"x: {'m' * (LONGEST_NAME + 1)}", f"aliases.x: `{'m' * 80}`: expected the name of a model"),
        ("auto: gpt-4o", "aliases.auto: the name `auto` is taken: it stands for the standard models of all providers"),
        ("openai/x: gpt-4o", "aliases.openai/x: names that begin with `openai/` are taken: they are the provider's "
         "own"),
        ("groq/x: gpt-4o", "aliases.groq/x: names that begin with `groq/` are taken: they are the provider's own"),
        ("xai/x: gpt-4o", "aliases.xai/x: names that begin with `xai/` are taken: they are the provider's own"),
        ("/x: gpt-4o", "aliases./x: a regular expression stands between two slashes"),
        ("/: gpt-4o", "aliases./: a regular expression stands between two slashes"),
        ("//: gpt-4o", "aliases.//: the regular expression is empty"),
        ("'/(/': gpt-4o", "aliases./(/: no regular expression: missing ), unterminated subpattern at position 0"),
        (r"'/(a)/': openai/\2", "aliases./(a)/: `openai/\\2`: a backslash is followed by the number of a group of the "
         "regular expression; it has 1"),
        (r"/a/: openai/\x", "aliases./a/: `openai/\\x`: a backslash is followed by the number of a group of the "
         "regular expression; it has 0"),
        (r"a: openai/\1", "aliases.a: `openai/\\1`: a backslash is followed by the number of a group of the "
         "regular expression; it has 0"),
        ("5: gpt-4o", "aliases: expected a printable name without spaces around it; got 5"),
        ("' x': gpt-4o", "aliases. x: expected a printable name without spaces around it; got ' x'"),
        ("'': gpt-4o", "aliases.: expected a printable name without spaces around it; got ''"),
        ('"a\\nb": gpt-4o', "aliases: expected a printable name without spaces around it; got 'a\\nb'"),
        (f"{'x' * (LONGEST_NAME + 1)}: gpt-4o", f"aliases: a name has at most {LONGEST_NAME} characters"),
        ("x: nobodys", "aliases.x: `nobodys`: no provider offers such a chat model"),
        ("x: mistral/large", "aliases.x: `mistral/large`: no provider offers such a chat model"),
        ("x: embedding", "aliases.x: `embedding`: no provider offers such a chat model"),
        ("x: openai/embedding", "aliases.x: `openai/embedding`: no provider offers such a chat model"),
        ("x: embedding-a", "aliases.x: `embedding-a`: no provider offers such a chat model"),
        ("x: auto", "aliases.x: `auto`: no provider offers such a chat model"),
        ("{x: gpt-4o, y: x}", "aliases.y: `x` is an alias itself; a member is a model"),
        ("{x: x}", "aliases.x: `x` is an alias itself; a member is a model"),
        ("{gpt-mine: gpt-4o, y: gpt-mine}", "aliases.y: `gpt-mine` is an alias itself; a member is a model"),
        ("'/(.+)+/': gpt-4o", "aliases./(.+)+/: this regular expression may take very long: at most 3 repetitions "
         "(`*`, `+`, `{…}`), and none of what can match in several ways itself"),
        ("'/.*.*.*.*/': gpt-4o", "aliases./.*.*.*.*/: this regular expression may take very long: at most 3 "
         "repetitions (`*`, `+`, `{…}`), and none of what can match in several ways itself"),
    ],
)  # fmt: skip
def test_a_wrong_group_is_one_line_with_its_name(text, said):
    assert faults(text) == [said]


def test_all_faults_are_told():
    said = faults("{auto: {strategy: x, models: [{model: a, weight: 0, max_in_flight: 0}]}, y: nobodys, '/(/': '\\1'}")
    assert [line.split(":")[0] for line in said] == [*["aliases.auto"] * 4, "aliases.y", "aliases./(/"]


def test_where_the_table_could_not_be_read_nobody_says_what_it_has_not():
    assert groups("{x: nobodys, y: x}", None)
    assert len(faults("{x: nobodys, y: []}", None)) == 1


def test_a_member_that_only_the_request_makes_known_is_taken_as_it_is():
    assert groups(r"'/(.*)-(x)/': ['\1', '\2-\1', 'openai/\1', 'xai/\1']")


# --- patterns that never end


@pytest.mark.parametrize(
    ("pattern", "nested", "repeats"),
    [
        ("abc", False, 0),
        ("a?b|c", False, 0),
        ("(?:a|b)-c?", False, 0),
        ("a*b+c{2,3}", False, 3),
        ("a{,}", False, 1),
        ("a{b", False, 0),
        ("(a+)+", True, 2),
        ("(?:a*)*", True, 2),
        ("(?P<x>a{2,})+", True, 2),
        ("((a+)b)+", True, 2),
        ("(a|a)*", True, 1),
        ("(a?){9}", True, 1),
        ("(ab)+", False, 1),
        ("(ab)?x+", False, 1),
        ("(a+)b+", False, 2),
        ("(a+)+b+", True, 3),
        ("(a+)?b+", False, 2),
        (r"(\+)+", False, 1),
        (r"(\))+", False, 1),
        ("([a+*|]b)+", False, 1),
        ("([]+]b)+", False, 1),
        (r"([\]+]b)+", False, 1),
        ("[^)]+", False, 1),
        ("(?i:ab)+", False, 1),
        ("(?<=a)b+", False, 1),
        ("(?i)ab+", False, 1),
        ("(a)(?(1)b|c)+", True, 1),
        ("a+?", False, 1),
    ],
)
def test_repetitions_are_counted_and_those_within_others_seen(pattern, nested, repeats):
    re.compile(pattern)
    assert repetitions(pattern) == (nested, repeats)


@given(st.text(alphabet=r"ab()[]{}|*+?\^-:P<>=!1,i ", max_size=30))
def test_whatever_is_written_is_read_to_its_end(text):
    nested, repeats = repetitions(text)
    assert 0 <= repeats <= len(text)
    assert not nested or repeats


# --- tasks


def told(section: object) -> list[str]:
    env = Environment({})
    tasks(env, section, "tasks", PROVIDERS)
    return env.faults


def test_tasks_go_where_the_file_says_and_else_where_they_always_went():
    env = Environment({})
    assert tasks(env, None, "tasks", PROVIDERS) == DEFAULT_TASKS == tasks(env, {}, "tasks", PROVIDERS)
    assert tasks(env, {"speed": "groq", "cost": "xai"}, "tasks", PROVIDERS) == {
        **DEFAULT_TASKS,
        "speed": "groq",
        "cost": "xai",
    }
    assert env.faults == []
    assert DEFAULT_TASKS["speed"] == "gemini"


KNOWN = "expected one of anthropic, gemini, groq, openai, xai; got"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ([], "tasks: expected a mapping of tasks to providers"),
        ("speed", "tasks: expected a mapping of tasks to providers"),
        ({"fun": "openai"}, "tasks: expected one of analytical, creative, synthesis, speed, cost; got 'fun'"),
        ({5: "openai"}, "tasks: expected one of analytical, creative, synthesis, speed, cost; got 5"),
        ({"speed": "mistral"}, f"tasks.speed: {KNOWN} 'mistral'"),
        ({"speed": ["openai"]}, f"tasks.speed: {KNOWN} ['openai']"),
        ({"speed": None}, f"tasks.speed: {KNOWN} None"),
    ],
)
def test_a_wrong_task_is_one_line(section, said):
    assert told(section) == [said]


def test_rows_are_the_providers_as_the_catalog_knows_them():
    row = rows_of(PROVIDERS.on)[1]
    assert (row.name, row.vendor, row.capabilities, row.models) == ("groq", "openai", None, (LLAMA,))
