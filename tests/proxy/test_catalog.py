"""How a model's name becomes the list of who may serve it."""

from datetime import date
from pathlib import Path

import msgspec
import pytest

from adapters.base import Capabilities, Failure, Kind
from proxy.catalog import CREATED, LONGEST_NAME, Catalog, Group, Member, ProviderRow, Route, load
from proxy.prices import Limits, Micro, Model, Price, PriceTableError, Rates

SHIPPED = load((Path(__file__).resolve().parents[2] / "pricing.yaml").read_bytes())
OPENAI = ProviderRow(name="openai", vendor="openai")
ANTHROPIC = ProviderRow(name="anthropic", vendor="anthropic")
GEMINI = ProviderRow(name="gemini", vendor="gemini")
ALL = [OPENAI, ANTHROPIC, GEMINI]
LLAMA = Model(
    provider="groq",
    model="meta/llama",
    match=("llama-*",),
    class_="standard",
    preferred=True,
    limits=Limits(context=8000, max_output=800),
    prices=(Price(source="made up", per_mtok=Rates(input=Micro(1), output=Micro(1))),),
)
GROQ = ProviderRow(name="groq", vendor="openai", models=(LLAMA,), capabilities=Capabilities(input=("text",)))
TWIN = msgspec.structs.replace(GROQ, name="twin")


def order(route: Route) -> list[str]:
    return [f"{target.provider}/{target.model}" for target in route.candidates]


STANDARD = {"openai": "gpt-6.1-sol", "anthropic": "claude-sonnet-5-5", "gemini": "gemini-3.8-flash"}


# --- names that are known


@pytest.mark.parametrize(
    ("name", "rows", "primary", "expected"),
    [
        pytest.param(
            "gpt-4o",
            ALL,
            "gemini",
            ["openai/gpt-4o", "gemini/gemini-3.8-flash", "anthropic/claude-sonnet-5-5"],
            id="the asked one, then the primary's equivalent, then the rest in order",
        ),
        pytest.param(
            "claude-sonnet-4-5-20250929",
            ALL,
            None,
            ["anthropic/claude-sonnet-4-5-20250929", "openai/gpt-6.1-sol", "gemini/gemini-3.8-flash"],
            id="a dated name stays as it is on the wire",
        ),
        pytest.param(
            "gemini-flash-lite-latest",
            ALL,
            "openai",
            ["gemini/gemini-flash-lite-latest", "openai/gpt-6-luna", "anthropic/claude-haiku-5-5"],
            id="an alias too",
        ),
        pytest.param(
            "claude-opus-5-5",
            [OPENAI, GEMINI],
            "gemini",
            ["gemini/gemini-4-argon", "openai/gpt-6-astra"],
            id="its vendor has no key: the equivalents serve",
        ),
        pytest.param("claude-opus-5-5", [ANTHROPIC], None, ["anthropic/claude-opus-5-5"], id="nobody else is there"),
        pytest.param(
            "gpt-4o",
            [*ALL, GROQ],
            "groq",
            ["openai/gpt-4o", "groq/meta/llama", *(f"{p}/{STANDARD[p]}" for p in ("anthropic", "gemini"))],
            id="a model of the configuration stands in",
        ),
        pytest.param(
            "meta/llama",
            [OPENAI, GROQ],
            None,
            ["groq/meta/llama", "openai/gpt-6.1-sol"],
            id="a name with a slash that is no provider's",
        ),
        pytest.param("llama-9", [GROQ], None, ["groq/llama-9"], id="a pattern of the configuration"),
        pytest.param(
            "ft:gpt-4o-2024-08-06:us::1",
            ALL,
            None,
            ["openai/ft:gpt-4o-2024-08-06:us::1"],
            id="a fine-tune has no equal",
        ),
    ],
)
def test_a_known_name_goes_to_who_offers_it_then_to_its_equivalents(name, rows, primary, expected):
    route = SHIPPED.route(name, rows, primary=primary)
    assert order(route) == expected
    assert (route.asked, route.pinned, route.auto) == (name, False, False)


def test_two_providers_of_one_model_are_both_asked_the_exact_name_first():
    by_pattern = Model(provider="a", model="x", match=("y*",), limits=LLAMA.limits, class_="standard")
    exact = Model(provider="b", model="yy", limits=LLAMA.limits)
    rows = [
        ProviderRow(name="a", vendor="openai", models=(by_pattern,)),
        ProviderRow(name="b", vendor="openai", models=(exact,)),
    ]
    assert order(SHIPPED.route("yy", rows)) == ["b/yy", "a/yy"]


def test_a_target_carries_what_the_model_can_do_and_hold():
    target = SHIPPED.route("claude-haiku-4-5-20251001", [ANTHROPIC]).candidates[0]
    assert (target.vendor, target.context, target.max_output) == ("anthropic", 200_000, 64_000)
    assert target.capabilities.temperature_xor_top_p
    assert target.capabilities.thinking_budget == (1024, 63_999)


@pytest.mark.parametrize("name", ["gpt-4o", "claude-opus-5-5", "meta/llama"])
def test_without_fallback_only_the_asked_model_is_a_candidate(name):
    rows = [*ALL, GROQ, TWIN]
    assert len(SHIPPED.route(name, rows, fallback=False).candidates) == 1


def test_who_has_no_equivalent_does_not_stand_in():
    rows = [OPENAI, ProviderRow(name="x", vendor="openai")]
    assert order(SHIPPED.route("gpt-4o", rows)) == ["openai/gpt-4o"]


def test_of_ones_own_models_the_preferred_one_of_the_class_stands_in():
    others = [
        msgspec.structs.replace(LLAMA, model="plain", preferred=False),
        msgspec.structs.replace(LLAMA, model="quick", class_="fast"),
    ]
    row = ProviderRow(name="groq", vendor="openai", models=(*others, LLAMA))
    assert order(SHIPPED.route("gpt-4o", [OPENAI, row])) == ["openai/gpt-4o", "groq/meta/llama"]


# --- pinned, auto, forwarded


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("openai/gpt-4o", "gpt-4o"),
        ("openai/something-new", "something-new"),
        ("groq/meta/llama", "meta/llama"),
        ("openai/gpt-4o/x", "gpt-4o/x"),
    ],
)
def test_a_provider_in_the_name_pins_to_it(name, wire):
    route = SHIPPED.route(name, [*ALL, GROQ], primary="gemini")
    assert route.pinned
    assert [target.model for target in route.candidates] == [wire]
    assert route.candidates[0].provider == name.partition("/")[0]


def test_auto_offers_the_preferred_standard_model_of_everyone_the_primary_first():
    route = SHIPPED.route("auto", ALL, primary="anthropic", fallback=False)
    assert route.auto
    assert order(route) == [f"{name}/{STANDARD[name]}" for name in ("anthropic", "openai", "gemini")]


def test_auto_without_anyone_is_a_503():
    with pytest.raises(Failure) as caught:
        SHIPPED.route("auto", [])
    assert (caught.value.status, caught.value.code, caught.value.kind) == (503, "no_provider_available", Kind.KEY)


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("gpt-7-nova", "openai"),
        ("chatgpt-5o-latest", "openai"),
        ("o5", "openai"),
        ("o12-mini", "openai"),
        ("ft:gpt-9:me::x", "openai"),
        ("ft:", "openai"),
        ("claude-sonnet-9", "anthropic"),
        ("gemini-5-neon", "gemini"),
        ("gemma-9-1b", "gemini"),
    ],
)
def test_a_name_that_is_plainly_a_vendors_is_forwarded_as_it_is_to_it_alone(name, provider):
    assert order(SHIPPED.route(name, [GROQ, *ALL])) == [f"{provider}/{name}"]
    assert SHIPPED.find(provider, name) is None


@pytest.mark.parametrize(
    ("name", "rows", "says"),
    [
        pytest.param("llama-4", ALL, "`llama-4` does not exist here. GET /v1/models", id="nobody's"),
        pytest.param("", ALL, "does not exist", id="empty"),
        pytest.param("ollama", ALL, "does not exist", id="o without a digit"),
        pytest.param("/", ALL, "does not exist", id="slash"),
        pytest.param("groq/", [GROQ], "does not exist", id="nothing after the slash"),
        pytest.param("openai", [GEMINI], "does not exist", id="a vendor alone"),
        pytest.param("x" * LONGEST_NAME, ALL, f"`{'x' * LONGEST_NAME}`", id="just short enough to repeat"),
        pytest.param("mistral/large", ALL, "does not exist", id="unknown provider"),
        pytest.param("gpt-7", [GEMINI], "set OPENAI_API_KEY", id="unknown, its vendor without a key"),
        pytest.param("claude-opus-5-5", [], "set ANTHROPIC_API_KEY", id="known, nobody there"),
        pytest.param("gemini/x", [OPENAI], "set GEMINI_API_KEY", id="pinned, its vendor without a key"),
        pytest.param("ft:gpt-4o-2024-08-06:a::b", [GEMINI], "set OPENAI_API_KEY", id="no equivalent to serve"),
        pytest.param("text-embedding-3-small", ALL, "no chat model but of kind embedding", id="embedding"),
        pytest.param("gemini/gemini-embedding-001", ALL, "no chat model", id="embedding, pinned"),
        pytest.param("x" * 10_000, ALL, "x" * LONGEST_NAME + "…", id="too long to repeat"),
    ],
)
def test_a_name_that_nobody_can_serve_is_a_404_that_says_what_to_do(name, rows, says):
    with pytest.raises(Failure) as caught:
        SHIPPED.route(name, rows)
    failure = caught.value
    assert (failure.status, failure.type) == (404, "invalid_request_error")
    assert (failure.code, failure.param, failure.kind) == ("model_not_found", "model", Kind.CALLER)
    assert says in failure.message
    assert len(failure.message) < 2 * LONGEST_NAME


def test_without_fallback_a_known_model_whose_vendor_has_no_key_is_still_served_by_nobody():
    with pytest.raises(Failure, match="set ANTHROPIC_API_KEY"):
        SHIPPED.route("claude-opus-5-5", [OPENAI], fallback=False)


def test_a_table_of_ones_own_may_know_other_providers():
    table = Catalog([LLAMA])
    assert order(table.route("llama-2", [ProviderRow(name="groq", vendor="openai")])) == ["groq/llama-2"]


# --- who was asked for by name, and who only stands in


@pytest.mark.parametrize(
    ("name", "rows", "fallback", "stand_ins", "candidates"),
    [
        pytest.param("gpt-4o", ALL, True, 1, 3, id="one offers it"),
        pytest.param("meta/llama", [OPENAI, GROQ, TWIN], True, 2, 3, id="two offer it"),
        pytest.param("meta/llama", [OPENAI, GROQ, TWIN], False, 1, 1, id="two offer it, one is asked"),
        pytest.param("claude-opus-5-5", [OPENAI, GEMINI], True, 0, 2, id="its vendor has no key"),
        pytest.param("gpt-7-nova", ALL, True, 1, 1, id="forwarded as it is"),
        pytest.param("openai/gpt-4o", ALL, True, 1, 1, id="pinned"),
        pytest.param("auto", ALL, True, 3, 3, id="auto: all are equal"),
    ],
)
def test_the_first_stand_in_is_told(name, rows, fallback, stand_ins, candidates):
    route = SHIPPED.route(name, rows, fallback=fallback)
    assert (route.stand_ins, len(route.candidates)) == (stand_ins, candidates)
    assert (route.group, route.weights, route.most) == (None, (), ())


# --- aliases and groups


def group(name: str, *models: str | Member, pattern: bool = False, strategy: str | None = None) -> Group:
    members = tuple(Member(model=model) if isinstance(model, str) else model for model in models)
    return Group(name=name, members=members, pattern=pattern, strategy=strategy)


def test_a_group_is_its_members_in_their_order_with_their_weights():
    cheap = group(
        "cheap", "gemini/gemini-3.8-flash", Member(model="openai/gpt-6-luna", weight=3, most=20), strategy="cost"
    )
    route = SHIPPED.route("cheap", ALL, primary="openai", fallback=False, groups=[cheap])
    assert order(route) == ["gemini/gemini-3.8-flash", "openai/gpt-6-luna"]
    assert (route.asked, route.auto, route.pinned, route.group) == ("cheap", True, False, cheap)
    assert (route.weights, route.most, route.stand_ins) == ((1, 3), (None, 20), 2)


@pytest.mark.parametrize(
    ("members", "rows", "expected"),
    [
        pytest.param(
            ["meta/llama"], [GROQ, TWIN], ["groq/meta/llama", "twin/meta/llama"], id="all who offer the model"
        ),
        pytest.param(["gpt-4o"], ALL, ["openai/gpt-4o"], id="no equivalents"),
        pytest.param(["gpt-7-nova"], ALL, ["openai/gpt-7-nova"], id="plainly a vendor's"),
        pytest.param(["openai/new"], ALL, ["openai/new"], id="pinned, unknown"),
        pytest.param(["openai/a", "anthropic/b"], [OPENAI], ["openai/a"], id="a provider that is off is left out"),
        pytest.param(["claude-opus-5-5", "gpt-4o"], [OPENAI], ["openai/gpt-4o"], id="a vendor that is off is left out"),
        pytest.param(["xai/grok", "gpt-4o"], [OPENAI], ["openai/gpt-4o"], id="any provider that is off"),
        pytest.param(["gpt-4o", "openai/gpt-4o", "openai/b"], ALL, ["openai/gpt-4o", "openai/b"], id="no one twice"),
        pytest.param(["text-embedding-3-small", "gpt-4o"], ALL, ["openai/gpt-4o"], id="who cannot chat is left out"),
        pytest.param(["other", "gpt-4o"], ALL, ["openai/gpt-4o"], id="no chains"),
    ],
)
def test_the_members_of_a_group(members, rows, expected):
    groups = [group("mine", *members), group("other", "gpt-4o-mini")]
    assert order(SHIPPED.route("mine", rows, groups=groups)) == expected


def test_of_one_who_is_named_twice_the_first_weight_holds():
    mine = group("mine", Member(model="gpt-4o", weight=5, most=2), Member(model="openai/gpt-4o", weight=9))
    route = SHIPPED.route("mine", ALL, groups=[mine])
    assert (route.weights, route.most) == ((5,), (2,))


def test_an_alias_goes_before_the_model_of_its_name_whose_own_it_may_be():
    groups = [group("gpt-4o", "anthropic/claude-sonnet-5-5", "gpt-4o")]
    route = SHIPPED.route("gpt-4o", ALL, groups=groups)
    assert order(route) == ["anthropic/claude-sonnet-5-5", "openai/gpt-4o"]


def test_a_member_that_is_nobodys_here_is_a_404():
    with pytest.raises(Failure, match="set ANTHROPIC_API_KEY"):
        SHIPPED.members("claude-opus-5-5", [OPENAI])


def test_a_group_none_of_whose_members_is_on_is_a_503():
    with pytest.raises(Failure, match="No provider is configured that could serve `mine`") as caught:
        SHIPPED.route("mine", [OPENAI], groups=[group("mine", "gemini/x", "claude-opus-5-5")])
    assert (caught.value.status, caught.value.code) == (503, "no_provider_available")


PATTERNS = [
    group("exact", "gpt-4o"),
    group(r"gpt-3\.5-.*", "openai/gpt-6-luna", pattern=True),
    group(r"claude-([0-9])-(.*)", r"anthropic/claude-\2-\1", pattern=True),
    group(".*", "anthropic/claude-haiku-5-5", pattern=True),
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("exact", ["openai/gpt-4o"], id="an exact name goes first"),
        pytest.param("gpt-3.5-turbo", ["openai/gpt-6-luna"], id="the first pattern that fits"),
        pytest.param("gpt-3x5-turbo", ["anthropic/claude-haiku-5-5"], id="a dot is a dot"),
        pytest.param("claude-9-opus", ["anthropic/claude-opus-9"], id="with what was matched"),
        pytest.param("my gpt-3.5-turbo", ["anthropic/claude-haiku-5-5"], id="matched whole"),
        pytest.param("gemini-3.8-flash", ["anthropic/claude-haiku-5-5"], id="before the model of the name"),
        pytest.param("gemini/gemini-3.8-flash", ["gemini/gemini-3.8-flash"], id="pinned is pinned"),
        pytest.param("auto", [f"{p}/{STANDARD[p]}" for p in ("openai", "anthropic", "gemini")], id="auto is auto"),
        pytest.param("x" * LONGEST_NAME, ["anthropic/claude-haiku-5-5"], id="as long as may be"),
    ],
)
def test_a_pattern_takes_what_it_matches(name, expected):
    assert order(SHIPPED.route(name, ALL, groups=PATTERNS)) == expected


def test_auto_is_nobodys_alias():
    assert SHIPPED.route("auto", ALL, groups=[group("auto", "gpt-4o")]).group is None


def test_no_pattern_takes_a_name_beyond_measure():
    with pytest.raises(Failure, match="does not exist"):
        SHIPPED.route("x" * (LONGEST_NAME + 1), ALL, groups=PATTERNS)


def test_a_pattern_tells_which_group_it_was():
    found = SHIPPED.route("gpt-3.5-turbo", ALL, groups=PATTERNS).group
    assert found == PATTERNS[1]


@pytest.mark.parametrize(
    ("mine", "rows", "served"),
    [
        pytest.param(group("a", "gemini/x", "openai/x"), [OPENAI], True, id="one is on"),
        pytest.param(group("a", "gemini/x", "claude-opus-5-5"), [OPENAI], False, id="all are off"),
        pytest.param(group("(a)", r"openai/\1", pattern=True), [OPENAI], True, id="a pattern whose provider is on"),
        pytest.param(group("(a)", r"gemini/\1", pattern=True), [OPENAI], False, id="a pattern whose provider is off"),
        pytest.param(group("(a)", r"x-\1", pattern=True), [OPENAI], True, id="who knows what a pattern will name"),
        pytest.param(group("a", r"x-\1"), [OPENAI], False, id="without a pattern it is a name like any other"),
    ],
)
def test_whether_anybody_of_a_group_can_be_asked(mine, rows, served):
    assert SHIPPED.serves(mine, rows) is served


def test_the_list_begins_with_the_aliases_that_are_served_and_no_patterns():
    groups = [*PATTERNS, group("off", "gemini/x"), group("gpt-4o", "openai/gpt-6-luna")]
    listed = SHIPPED.listing([OPENAI], groups=groups)
    assert [(entry.id, entry.owned_by) for entry in listed[:2]] == [("exact", "tollhouse"), ("gpt-4o", "tollhouse")]
    assert {entry.created for entry in listed[:2]} == {int(CREATED.timestamp())}
    names = [entry.id for entry in listed]
    assert len(names) == len(set(names))
    assert {entry.owned_by for entry in listed[2:]} == {"openai"}


# --- the table


def test_a_fine_tuned_model_can_do_what_its_base_can_at_an_unknown_price():
    tuned, base = SHIPPED.find("openai", "ft:o4-mini-2025-04-16:us::1"), SHIPPED.find("openai", "o4-mini")
    assert tuned
    assert base
    assert (tuned.capabilities, tuned.limits) == (base.capabilities, base.limits)
    assert (tuned.prices, tuned.class_, tuned.preferred) == ((), None, False)


def test_a_fine_tuned_model_stands_in_for_nobody():
    table = Catalog([msgspec.structs.replace(LLAMA, provider="openai", model="gpt-x")])
    tuned = table.find("openai", "ft:gpt-x:us::1")
    assert tuned
    assert not tuned.preferred


def test_the_longest_pattern_that_fits_wins_and_the_exact_name_over_all():
    names = {"a": ("x*",), "b": ("x-y*",), "x-y": ()}
    limits = Limits(context=1, max_output=1)
    table = Catalog([Model(provider="p", model=name, match=globs, limits=limits) for name, globs in names.items()])
    found = [table.find("p", name) for name in ("x", "x-y-z", "x-y", "y")]
    assert [model and model.model for model in found] == ["a", "b", "x-y", None]
    assert table.find("q", "x") is None


def test_a_name_beyond_measure_is_not_searched_for():
    assert SHIPPED.find("gemini", "gemma-3-" + "x" * LONGEST_NAME) is None
    table = Catalog([LLAMA])
    names = ["llama-".ljust(length, "x") for length in (LONGEST_NAME, LONGEST_NAME + 1)]
    assert [table.find("groq", name) for name in names] == [LLAMA, None]


# --- the list


def test_the_list_shows_the_chat_models_of_those_present_each_name_once():
    twin = ProviderRow(name="twin", vendor="openai", models=(SHIPPED.models[0],))
    listed = SHIPPED.listing([ANTHROPIC, twin, GROQ])
    names = [entry.id for entry in listed]
    assert len(names) == len(set(names))
    assert names[-1] == "meta/llama"
    assert {entry.owned_by for entry in listed} == {"anthropic", "groq"}
    assert not any(name.startswith(("gpt-", "gemini-", "text-embedding")) for name in names)


def test_the_list_shows_nothing_but_chat_models():
    kinds = {model.model: model.kind for model in SHIPPED.models}
    assert {kinds[entry.id] for entry in SHIPPED.listing(ALL)} == {"chat"}


def test_the_list_tells_the_release_or_else_a_constant():
    created = {entry.id: entry.created for entry in SHIPPED.listing(ALL)}
    assert created["gpt-5"] == 1_754_524_800  # 2025-08-07T00:00:00Z
    assert created["gpt-6.2-sol"] == int(CREATED.timestamp()) == 1_767_225_600  # 2026-01-01T00:00:00Z
    assert {entry.object for entry in SHIPPED.listing(ALL)} == {"model"}


@pytest.mark.parametrize(
    ("today", "there"), [(None, True), (date(2026, 11, 30), True), (date(2026, 12, 1), False)], ids=str
)
def test_the_list_leaves_out_what_is_retired(today, there):
    assert ("claude-sonnet-4-5" in [entry.id for entry in SHIPPED.listing(ALL, today)]) is there


# --- tables that contradict themselves

LIMITS = "limits: {context: 9, max_output: 9}"
PRICED = 'class: fast, preferred: true, prices: [{source: s, per_mtok: {input: "1", output: "1"}}]'


@pytest.mark.parametrize(
    ("entries", "lines"),
    [
        pytest.param(["model: a"], [], id="fine"),
        pytest.param(["model: a", "model: a"], ["p/a: 2 entries"], id="twice"),
        pytest.param(["model: a, match: [x]", "model: b, match: [x]"], ["p: pattern `x` is there 2 times"], id="globs"),
        pytest.param(["model: a, match: ['a*']"], [], id="its own name"),
        pytest.param(["model: a, match: ['a*']", "model: ab"], ["p/a: pattern `a*` takes the name `ab`"], id="shadow"),
        pytest.param(["model: a, class: fast"], ["p/fast: 0 preferred models, exactly one is needed"], id="none"),
        pytest.param(
            [f"model: a, {PRICED}", f"model: b, {PRICED}"],
            ["p/fast: 2 preferred models, exactly one is needed"],
            id="two",
        ),
        pytest.param([f"model: a, {PRICED}", "model: b, class: fast"], [], id="one"),
        pytest.param(
            ["model: a, x: 1", "model: b", "model: b"], ["models[0] p/a: unknown key `x`", "p/b: 2 entries"], id="all"
        ),
    ],
)
def test_what_contradicts_itself_is_refused_with_all_its_faults(entries, lines):
    text = "models:\n" + "".join(f"  - {{provider: p, {LIMITS}, {entry}}}\n" for entry in entries)
    if not lines:
        assert len(load(text.encode()).models) == len(entries)
        return
    with pytest.raises(PriceTableError) as caught:
        load(text.encode())
    assert list(caught.value.faults) == lines
    assert str(caught.value) == "\n".join(lines)


@pytest.mark.parametrize("prefix", ["openai/", "gpt-", "claude-", "gemini/"])
def test_a_name_that_is_longer_than_any_vendors_is_nobodys(prefix):
    longest = prefix.ljust(LONGEST_NAME, "x")
    assert SHIPPED.route(longest, ALL).candidates[0].model in (longest, longest.removeprefix(prefix))
    with pytest.raises(Failure) as caught:
        SHIPPED.route(longest + "x", ALL)
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
