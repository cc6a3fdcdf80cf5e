"""`tollhouse pricing`: what is said of a table, and that a file is changed rightly, or not at all."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy import pricing
from proxy.pricing import PricingError

TODAY = datetime(2026, 11, 22, 13, tzinfo=UTC)
TABLE = """\
# the head
models:
  - provider: p
    model: a  # the first
    limits: {context: 900000, max_output: 9}
    prices:
      - source: "a friend; 2026-11"
        per_mtok: {input: "1", output: "2"}  # of the page
        tiers:
          - {above_prompt_tokens: 100, per_mtok: {input: "2"}}
        variants:
          batch: {multiply: "0.5"}
          fast:
            per_mtok: {input: "3"}
            tiers:
              - above_prompt_tokens: 100
                per_mtok: {input: "6"}
        per_unit: {web_search: "0.01"}
      # a comment between
      - valid_from: 2026-12-01T00:00:00Z
        source: "a friend; 2026-11"
        per_mtok:
          input: "1.5"
          output: "2.5"  # soon
  - provider: p
    model: b
    retires: 2026-12-21
    limits: {context: 9, max_output: 9}
    prices: [{source: "hearsay", per_mtok: {input: "1", output: "2"}}]

  - provider: p
    model: c
    limits: {context: 9, max_output: 9}
    prices: []
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "pricing.yaml"
    file.write_text(TABLE)
    return file


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A table of our own format to compare with; a test writes it."""
    return tmp_path / "other.yaml"


def altered(*pairs: tuple[str, str]) -> str:
    """The table with words replaced, each of which is there once."""
    text = TABLE
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


# --- check


def test_check_says_what_is_missing_what_is_coming_and_how_old_the_sources_are(path, capsys):
    assert pricing.check(path, TODAY) == 0
    assert (
        capsys.readouterr().out
        == f"""\
{path}: valid, 3 models, 3 prices
without a price: 1
  p/c
to be retired within 30 days: 1
  p/b on 2026-12-21
price changes within 30 days: 13
  2026-12-01 p/a: input: 1 -> 1.5
  2026-12-01 p/a: above 100, input: 2 -> 1.5
  2026-12-01 p/a: batch, input: 0.5 -> none
  2026-12-01 p/a: batch, above 100, input: 1 -> none
  2026-12-01 p/a: fast, input: 3 -> none
  2026-12-01 p/a: fast, above 100, input: 6 -> none
  2026-12-01 p/a: output: 2 -> 2.5
  2026-12-01 p/a: above 100, output: 2 -> 2.5
  2026-12-01 p/a: batch, output: 1 -> none
  2026-12-01 p/a: batch, above 100, output: 1 -> none
  2026-12-01 p/a: fast, output: 2 -> none
  2026-12-01 p/a: fast, above 100, output: 2 -> none
  2026-12-01 p/a: per_unit.web_search: 0.01 -> none
sources:
  a friend; 2026-11: 2 prices, 21 days
  hearsay: 1 prices, no date, look again
"""
    )


@pytest.mark.parametrize(
    ("today", "line"),
    [
        (datetime(2026, 11, 20, tzinfo=UTC), "to be retired within 30 days: none"),
        (datetime(2026, 12, 21, tzinfo=UTC), "to be retired within 30 days: 1"),
        (datetime(2026, 12, 22, tzinfo=UTC), "to be retired within 30 days: none"),
        (datetime(2026, 10, 31, tzinfo=UTC), "price changes within 30 days: none"),
        (datetime(2026, 12, 1, tzinfo=UTC), "price changes within 30 days: none"),
        (datetime(2026, 12, 31, tzinfo=UTC), "  a friend; 2026-11: 2 prices, 60 days"),
        (datetime(2027, 1, 1, tzinfo=UTC), "  a friend; 2026-11: 2 prices, 61 days, look again"),
        (datetime(2026, 1, 1, tzinfo=UTC), "  a friend; 2026-11: 2 prices, 0 days"),
    ],
)
def test_check_goes_by_the_day(path, capsys, today, line):
    pricing.check(path, today)
    assert line in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (altered(('"1.5"', '"-1"'), ("max_output: 9}\n    prices: []", "max: 9}\n    prices: []")).encode(),
         ["models[0] p/a.prices[1].per_mtok.input: not a decimal", "models[2] p/c.limits: unknown key `max`",
          "models[2] p/c.limits: `max_output` is missing"]),
        (b"\xff", ["not YAML"]),
        (TABLE.encode("utf-16"), ["write it in UTF-8"]),
    ],
    ids=["faults", "bytes", "utf-16"],
)  # fmt: skip
def test_each_fault_of_a_table_is_a_line(path, content, why):
    path.write_bytes(content)
    with pytest.raises(PricingError) as caught:
        pricing.check(path, TODAY)
    for line, said in zip(str(caught.value).splitlines(), why, strict=True):
        assert line.startswith(f"{path}: {said}")


def test_files_that_cannot_be_read_are_told(path, tmp_path):
    with pytest.raises(PricingError, match=r"gone\.yaml: No such file"):
        pricing.check(tmp_path / "gone.yaml", TODAY)
    with pytest.raises(PricingError, match=r"gone\.json: No such file"):
        pricing.diff(path, str(tmp_path / "gone.json"), "*", TODAY)
    (tmp_path / "t.yaml").write_text("models: [{provider: x}]")
    with pytest.raises(PricingError, match="is missing"):
        pricing.diff(path, str(tmp_path / "t.yaml"), "*", TODAY)


# --- diff


def said(capsys) -> list[str]:
    """What was printed, but for the last line, which counts."""
    lines: list[str] = capsys.readouterr().out.splitlines()
    return lines[:-1]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([("# the head\n", ""), ('input: "1.5"', 'input: "1.50"')], [], id="words"),
        pytest.param([('"hearsay"', '"somebody"')], [], id="a source"),
        pytest.param([('"2.5"', '"3"')], ["p/a: from 2026-12-01, output: 2.5 -> 3"], id="a day to come"),
        pytest.param(
            [('{input: "2"}', '{input: "4"}')],
            ["p/a: above 100, input: 2 -> 4", "p/a: batch, above 100, input: 1 -> 2"],
            id="a tier, and what is a factor of it",
        ),
        pytest.param(
            [('output: "2"}  #', 'output: "2", input_audio: "7"}  #'), ('web_search: "0.01"', 'maps_query: "0.02"')],
            [
                "p/a: input_audio: none -> 7",
                "p/a: above 100, input_audio: none -> 7",
                "p/a: batch, input_audio: none -> 3.5",
                "p/a: batch, above 100, input_audio: none -> 3.5",
                "p/a: fast, input_audio: none -> 7",
                "p/a: fast, above 100, input_audio: none -> 7",
                "p/a: per_unit.maps_query: none -> 0.02",
                "p/a: per_unit.web_search: 0.01 -> none",
            ],
            id="added and gone",
        ),
        pytest.param([("model: b", "model: d")], ["p/b: gone", "p/d: added"], id="models"),
        pytest.param(
            [("    prices: []", '    prices: [{source: "x", per_mtok: {input: "0", output: "0"}}]')],
            ["p/c: input: none -> 0", "p/c: output: none -> 0"],
            id="a first price",
        ),
    ],
)
def test_diff_tells_each_figure_and_by_its_exit_code_whether_there_is_one(path, other, capsys, changes, lines):
    other.write_text(altered(*changes))
    assert pricing.diff(path, str(other), "*", TODAY) == (1 if lines else 0)
    assert sorted(said(capsys)) == sorted(lines)


def test_diff_of_tables_of_ours_looks_at_the_past_too(path, other, capsys):
    other.write_text(altered(('"2"}  #', '"3"}  #')))
    later = datetime(2027, 1, 1, tzinfo=UTC)
    assert pricing.diff(path, str(other), "*", later) == 1
    assert "p/a: output: 2 -> 3" in said(capsys)


def test_diff_can_be_kept_to_some_models(path, other, capsys):
    other.write_text(altered(("model: b", "model: d"), ('"2.5"', '"3"')))
    assert pricing.diff(path, str(other), "p/a", TODAY) == 1
    assert said(capsys) == ["p/a: from 2026-12-01, output: 2.5 -> 3"]


SILENT = """{
  "a": {
    "litellm_provider": "p",
    "input_cost_per_token": 1e-06,
    "output_cost_per_token": 2e-06,
    "output_cost_per_token_fast": 4e-06
  }
}"""


def test_what_others_do_not_speak_of_is_no_difference(path, other, capsys):
    """Not the batch, not the fee, not the price of December; but a price without tiers is a word on long prompts."""
    other.write_text(SILENT)
    assert pricing.diff(path, str(other), "*", TODAY) == 1
    assert said(capsys) == [
        "p/a: above 100, input: 2 -> 1",
        "p/a: fast, output: 2 -> 4",
        "p/a: fast, above 100, output: 2 -> 4",
    ]


NONSENSE = """{
  "a": {"litellm_provider": "p", "input_cost_per_token": -1, "output_cost_per_token": 2},
  "b": {"litellm_provider": "p", "search_context_cost_per_query": 7}
}"""


def test_a_model_whose_figures_are_nonsense_is_left_out_and_told(path, other, capsys):
    other.write_text(NONSENSE)
    assert pricing.diff(path, str(other), "*", TODAY) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("tollhouse: other.yaml: p/a left out: not a decimal")
    assert second.startswith("tollhouse: other.yaml: p/b left out: cannot be read (AttributeError: ")
