"""The format of pricing.yaml: what its figures mean, and what it refuses."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy.prices import Limits, Micro, Model, Price, PriceTableError, Rates, Tier, Variant, convert, faults, read

NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)


# --- one figure


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("0", 0),
        ("0.0375", 37_500),
        ("2", 2_000_000),
        ("1.8", 1_800_000),
        ("0.000001", 1),
        ("999.5", 999_500_000),
        ("1000", 10**9),
    ],
)
def test_a_quoted_decimal_is_read_as_exact_millionths(text, micro):
    assert Micro.parse(text) == micro
    assert type(Micro.parse(text)) is Micro


@pytest.mark.parametrize(
    ("figure", "why"),
    [
        (0.1, "in quotes"),
        (2, "in quotes"),
        (None, "in quotes"),
        ("-1", "zero or more"),
        ("1e3", "not a decimal"),
        ("", "not a decimal"),
        (".5", "not a decimal"),
        ("0.0000001", "six places"),
        ("٣", "not a decimal"),
        ("NaN", "not a decimal"),
        ("1\n", "not a decimal"),
        ("1000.000001", "more than 1000"),
        ("9" * 5000, "more than 1000"),
    ],
    ids=repr,
)
def test_what_is_no_price_is_refused_and_the_reason_told(figure, why):
    with pytest.raises(ValueError, match=why):
        Micro.parse(figure)


# --- one row


def rates(**text: str) -> Rates:
    return Rates(**{bucket: Micro.parse(figure) for bucket, figure in text.items()})


PRICE = Price(
    source="made up",
    per_mtok=rates(input="2", output="10", cache_read="0.000001"),
    tiers=(
        Tier(above_prompt_tokens=100, per_mtok=rates(input="4", output="15")),
        Tier(above_prompt_tokens=200, per_mtok=rates(input="8")),
    ),
    variants={
        "batch": Variant(multiply=Micro.parse("0.5")),
        "free": Variant(multiply=Micro.parse("0")),
        "priority": Variant(
            per_mtok=rates(input="3"), tiers=(Tier(above_prompt_tokens=150, per_mtok=rates(input="6")),)
        ),
        "fast": Variant(per_mtok=rates(output="20")),
    },
)


@pytest.mark.parametrize(
    ("prompt", "variant", "expected"),
    [
        pytest.param(0, None, ("2", "10"), id="standard"),
        pytest.param(100, None, ("2", "10"), id="a prompt as long as the tier is not above it"),
        pytest.param(101, None, ("4", "15"), id="one token more and the whole request is dearer"),
        pytest.param(201, None, ("8", "10"), id="what a tier does not name stays as in the row"),
        pytest.param(101, "batch", ("2", "7.5"), id="a factor goes onto the tier"),
        pytest.param(101, "free", ("0", "0"), id="a factor of nought"),
        pytest.param(101, "priority", ("3", "15"), id="own rates replace key by key, their tiers are their own"),
        pytest.param(151, "priority", ("6", "15"), id="tier of a variant"),
        pytest.param(101, "fast", ("4", "20"), id="own rates without tiers hold at any length"),
        pytest.param(101, "flex", ("4", "15"), id="a variant without a price is standard"),
    ],
)
def test_the_rates_of_a_request_follow_its_prompt_and_the_variant_served(prompt, variant, expected):
    found = PRICE.rates(prompt, variant)
    assert (found.input, found.output) == tuple(map(Micro.parse, expected))


def test_a_factor_rounds_up_never_down():
    assert PRICE.rates(0, "batch").cache_read == 1
    assert PRICE.rates(0, "batch").cache_write_5m is None


def priced(*begins: datetime | None) -> Model:
    rows = tuple(
        Price(source="x", valid_from=begin, per_mtok=rates(input=str(at), output="1"))
        for at, begin in enumerate(begins)
    )
    return Model(provider="p", model="m", limits=Limits(context=2, max_output=1), prices=rows)


@pytest.mark.parametrize(
    ("begins", "when", "row"),
    [
        pytest.param((None, NEW_YEAR), NEW_YEAR - timedelta(microseconds=1), 0, id="just before"),
        pytest.param((None, NEW_YEAR), NEW_YEAR, 1, id="on the dot"),
        pytest.param((None, NEW_YEAR), int(NEW_YEAR.timestamp()), 1, id="in epoch seconds"),
        pytest.param((None, NEW_YEAR), int(NEW_YEAR.timestamp()) - 1, 0, id="in epoch seconds, before"),
        pytest.param((NEW_YEAR,), NEW_YEAR - timedelta(days=1), None, id="before the first price"),
        pytest.param((), NEW_YEAR, None, id="unknown"),
    ],
)
def test_the_last_price_that_has_begun_holds(begins, when, row):
    price = priced(*begins).price_at(when)
    assert price == (None if row is None else priced(*begins).prices[row])


def test_a_table_error_has_its_faults_as_lines():
    error = PriceTableError(["one", "two"])
    assert (str(error), error.faults) == ("one\ntwo", ("one", "two"))


# --- faults

ENTRY = {"provider": "p", "model": "m", "limits": {"context": 9, "max_output": 9}}
ROW = {"source": "s", "per_mtok": {"input": "1", "output": "1"}}
DAY = datetime(2026, 1, 1, tzinfo=UTC)
TIERS: list[dict] = [{"above_prompt_tokens": n, "per_mtok": {}} for n in (2, 1)]


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"colour": 1}, ["e: unknown key `colour`"], id="unknown key"),
        pytest.param({"limits": {"context": 9}}, ["e.limits: `max_output` is missing"], id="missing key"),
        pytest.param(
            {"limits": {"context": 0, "max_output": 1.5}},
            ["e.limits.context: Expected `int` >= 1", "e.limits.max_output: Expected `int`, got `float`"],
            id="two at once",
        ),
        pytest.param(
            {"limits": {"context": 9, "max_output": 10}},
            ["e.limits: `max_output` and `max_input` fit into `context`"],
            id="window",
        ),
        pytest.param(
            {"limits": {"context": 9, "max_output": 9, "max_input": 10}},
            ["e.limits: `max_output` and `max_input` fit into `context`"],
            id="window of the prompt",
        ),
        pytest.param({"class": "giant"}, ["e.class: Invalid enum value 'giant'"], id="class"),
        pytest.param({"match": ["a", 1]}, ["e.match[1]: Expected `str`, got `int`"], id="list member"),
        pytest.param({"capabilities": {"tool": True}}, ["e.capabilities: unknown key `tool`"], id="capability"),
        *(
            pytest.param(
                {"preferred": True, **half}, ["e: a preferred model has a class and a price"], id=f"preferred {id}"
            )
            for half, id in (({}, "alone"), ({"class": "fast"}, "without a price"), ({"prices": [ROW]}, "of no class"))
        ),
        pytest.param(
            {"prices": [{}]}, ["e.prices[0]: `source` is missing", "e.prices[0]: `per_mtok` is missing"], id="row"
        ),
        pytest.param({"prices": [ROW | {"source": ""}]}, ["e.prices[0]: every figure has a source"], id="source"),
        pytest.param(
            {"prices": [ROW | {"per_mtok": {"output": "1"}}]}, ["e.prices[0]: `per_mtok` has no `input`"], id="input"
        ),
        pytest.param(
            {"prices": [ROW | {"per_mtok": {"input": "1"}}]},
            ["e: a chat model's `per_mtok` has an `output`"],
            id="output",
        ),
        pytest.param(
            {"prices": [ROW | {"variants": {"batch": {"multiply": 0.5}}}]},
            ["e.prices[0].variants.batch.multiply: write the figure in quotes: 0.5"],
            id="float",
        ),
        pytest.param(
            {"prices": [ROW | {"variants": {"batch": {}}}]},
            ["e.prices[0].variants.batch: a variant has either `multiply` or `per_mtok`"],
            id="empty variant",
        ),
        pytest.param(
            {"prices": [ROW | {"variants": {"batch": {"multiply": "1", "tiers": TIERS}}}]},
            ["e.prices[0].variants.batch: `tiers` of a variant go with `per_mtok`, not with `multiply`"],
            id="tiers of a factor",
        ),
        pytest.param(
            {"prices": [ROW | {"variants": {"batch": {"per_mtok": {}, "tiers": TIERS}}}]},
            ["e.prices[0].variants.batch: tiers must ascend by `above_prompt_tokens`"],
            id="tiers of a variant",
        ),
        pytest.param(
            {"prices": [ROW | {"tiers": TIERS}]},
            ["e.prices[0]: tiers must ascend by `above_prompt_tokens`"],
            id="tiers",
        ),
        pytest.param(
            {"prices": [ROW | {"valid_from": datetime(2026, 1, 1)}]},
            ["e.prices[0].valid_from: Expected `datetime` with a timezone component"],
            id="no zone",
        ),
        pytest.param(
            {"prices": [ROW, ROW]},
            ["e: `prices` ascend by `valid_from`, and only the first may do without"],
            id="undated",
        ),
        pytest.param(
            {"prices": [ROW | {"valid_from": DAY}, ROW | {"valid_from": DAY}]},
            ["e: `prices` ascend by `valid_from`, and only the first may do without"],
            id="same day",
        ),
        pytest.param({"prices": [ROW | {"valid_from": DAY}]}, [], id="a first date"),
        pytest.param({"released": "2026-01-01", "retires": "2026-01-01"}, [], id="retired at once"),
        pytest.param({"prices": {}}, ["e.prices: Expected `array`, got `object`"], id="no list"),
        pytest.param(
            {"released": "2026-01-02", "retires": "2026-01-01"},
            ["e: `retires` is before `released`"],
            id="retired unborn",
        ),
    ],
)
def test_every_fault_of_an_entry_is_told_with_its_place(change, lines):
    assert faults(ENTRY | change, Model, "e") == lines


def test_what_is_no_mapping_is_told_too():
    assert faults([], Model, "e") == ["e: Expected `object`, got `array`"]
    assert faults("x", dict[str, Model], "e") == ["e: Expected `object`, got `str`"]


MINIMAL = "{provider: p, model: m, limits: {context: 9, max_output: 9}"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param("models: []", [], id="empty"),
        pytest.param("models: [", ["not YAML: while parsing a flow node"], id="syntax"),
        pytest.param("[" * 2_000, ["not YAML: "], id="depth"),
        pytest.param(b"models: \xff", ["not YAML: "], id="bytes"),
        pytest.param("models: [2026-13-45]", ["not YAML: month must be in 1..12"], id="date"),
        pytest.param("[]", ["the table is a mapping with a list `models`"], id="list"),
        pytest.param("models: {}", ["the table is a mapping with a list `models`"], id="mapping of models"),
        pytest.param("{models: [], model: 1}", ["unknown key `model`"], id="key"),
        pytest.param("{models: [], families: 1}", ["families: Expected `object`, got `int`"], id="families"),
        pytest.param(
            "{models: [], model: 1, families: 1}",
            ["unknown key `model`", "families: Expected `object`, got `int`"],
            id="key and families",
        ),
        pytest.param("{models: [], families: {f: {x: 1}}}", ["families.f: unknown key `x`"], id="family"),
        pytest.param("models: [1]", ["models[0]: Expected `object`, got `int`"], id="no entry"),
        pytest.param(
            f"models: [{MINIMAL}, family: f}}, {{provider: p}}]",
            [
                "models[0] p/m: no such family: `f`",
                "models[1] p/None: `model` is missing",
                "models[1] p/None: `limits` is missing",
            ],
            id="faults of two entries",
        ),
        pytest.param(
            f"{{families: {{f: {{}}}}, models: [{MINIMAL}, family: f, capabilities: 1}}]}}",
            ["models[0] p/m.capabilities: Expected `object`, got `int`"],
            id="capabilities",
        ),
    ],
)
def test_a_table_tells_all_its_faults(text, lines):
    found = read(text if isinstance(text, bytes) else text.encode())[1]
    assert len(found) == len(lines)
    assert all(line.startswith(beginning) for line, beginning in zip(found, lines, strict=True))
    assert not any("\n" in line for line in found)


def test_an_entry_has_the_capabilities_of_its_family_with_its_own_on_top():
    entry = f"{MINIMAL}, family: f, capabilities: {{tools: true}}}}"
    (model,), found = read(f"{{families: {{f: {{tools: false, prefill: true}}}}, models: [{entry}]}}".encode())
    assert not found
    assert (model.capabilities.tools, model.capabilities.prefill) == (True, True)


def test_the_one_unknown_type_is_the_only_one_that_is_asked_for():
    with pytest.raises(AssertionError):
        convert("x", Path)
