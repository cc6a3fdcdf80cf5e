"""`tollhouse pricing update`: a file is changed rightly, each line that was not meant as it was, or not at all."""

import re
from pathlib import Path

import pytest

from proxy import pricing
from proxy.catalog import load
from proxy.pricing import PricingError
from proxy.settings import shipped_prices
from tests.proxy.test_pricing import TABLE, TODAY, altered


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "pricing.yaml"
    file.write_text(TABLE)
    return file


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A table to take figures from; a test writes it."""
    return tmp_path / "other.yaml"


def update(path: Path, other: Path, *changes: tuple[str, str], write: bool = True) -> list[tuple[str, str]]:
    """Write the other table, take it over, and return the lines that differ: old, new."""
    other.write_text(altered(*changes))
    assert pricing.update(path, str(other), "*", TODAY, write=write) == 0
    old, new = TABLE.splitlines(), path.read_text().splitlines()
    assert len(old) == len(new)
    return [(was, becomes) for was, becomes in zip(old, new, strict=True) if was != becomes]


def test_without_write_nothing_is_written(path, other, capsys):
    assert update(path, other, ('"2.5"', '"3"'), write=False) == []
    assert capsys.readouterr().out.splitlines()[-1] == "Nothing was written; --write does it."


def test_no_differences_write_nothing(path, other):
    before = path.stat()
    assert update(path, other) == []
    assert path.stat() == before


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (('{input: "1", output: "2"}  #', '{input: "9", output: "2"}  #'),
         '        per_mtok: {input: "9", output: "2"}  # of the page'),
        (('{input: "2"}', '{input: "2.25"}'),
         '          - {above_prompt_tokens: 100, per_mtok: {input: "2.25"}}'),
        (('{input: "3"}', '{input: "3.5"}'), '            per_mtok: {input: "3.5"}'),
        (('{input: "6"}', '{input: "6.5"}'), '                per_mtok: {input: "6.5"}'),
        (('web_search: "0.01"', 'web_search: "0.02"'), '        per_unit: {web_search: "0.02"}'),
        (('output: "2.5"', 'output: "3"'), '          output: "3"  # soon'),
    ],
    ids=["rate", "tier", "variant", "tier of a variant", "fee", "day to come"],
)  # fmt: skip
def test_one_figure_is_one_line(path, other, change, line):
    path.chmod(0o640)
    assert [new for _, new in update(path, other, change)] == [line]
    assert path.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in path.parent.iterdir() if file.name.startswith(".")] == []


def test_what_is_added_goes_to_the_end_of_its_mapping(path, other):
    (pair,) = update(path, other, ('output: "2"}  #', 'output: "2", cache_read: "0.1"}  #'))
    assert pair[1] == '        per_mtok: {input: "1", output: "2", cache_read: "0.1"}  # of the page'


def test_an_added_figure_of_a_block_is_a_line_of_its_own(path, other):
    other.write_text(
        altered(('          output: "2.5"  # soon\n', '          output: "2.5"\n          cache_read: "1"\n'))
    )
    pricing.update(path, str(other), "*", TODAY, write=True)
    assert path.read_text() == altered(("  # soon\n", '  # soon\n          cache_read: "1"\n'))


def test_the_row_names_the_source_and_a_public_one_the_month(path, other):
    assert update(path, other, ('"hearsay", per_mtok: {input: "1"', '"the page", per_mtok: {input: "4"')) == [
        ('    prices: [{source: "hearsay", per_mtok: {input: "1", output: "2"}}]',
         '    prices: [{source: "the page", per_mtok: {input: "4", output: "2"}}]'),
    ]  # fmt: skip
    other.write_text('{"b": {"litellm_provider": "p", "input_cost_per_token": 5e-06, "output_cost_per_token": 2e-06}}')
    pricing.update(path, str(other), "*", TODAY, write=True)
    assert '{source: "other.yaml; 2026-11", per_mtok: {input: "5", output: "2"}}' in path.read_text()


def test_a_price_of_a_new_day_is_a_copy_of_its_row(path, other):
    row = '      - valid_from: 2027-01-01T00:00:00Z\n        source: "the page"\n        per_mtok:\n' \
          '          input: "7"\n          output: "2.5"  # soon\n'  # fmt: skip
    fresh = altered(('          output: "2.5"  # soon\n', f'          output: "2.5"  # soon\n{row}'))
    other.write_text(fresh)
    pricing.update(path, str(other), "*", TODAY, write=True)
    assert path.read_text() == fresh


def test_the_shipped_table_gets_back_what_was_taken_out_of_it(tmp_path, capsys):
    """A figure, an added bucket and a dated price, from the installed genai-prices."""
    shipped = shipped_prices().read_text()
    start = shipped.index("    model: gemini-3.8-flash\n")
    dated = shipped.index("      - valid_from: 2027-01-01", start)
    text = shipped[:dated] + shipped[shipped.index("  - provider:", start) :]
    text = text.replace(
        '{input: "10", output: "50", cache_read: "1",', '{output: "50", cache_read: "3", input: "10",', 1
    )
    path = tmp_path / "pricing.yaml"
    path.write_text(text)
    assert pricing.update(path, "genai-prices", "*", TODAY, write=True) == 0
    assert "from 2027-01-01, output: 3.75 -> 7.5" in capsys.readouterr().out
    was, now = load(shipped.encode()), load(path.read_bytes())
    assert [[row.version for row in m.prices] for m in now.models] == [
        [r.version for r in m.prices] for m in was.models
    ]
    assert re.findall("#.*", path.read_text()) == re.findall("#.*", shipped)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param([("model: b", "model: d")], "a whole entry is for people to write", id="models"),
        pytest.param([('multiply: "0.5"', 'multiply: "0.6"')], "is a factor", id="factor"),
        pytest.param([("  - {above_prompt_tokens: 100,", "  - {above_prompt_tokens: 99,")], "no tier above 99",
                     id="tier"),
        pytest.param([('web_search: "0.01"', 'maps_query: "0.02"')], "what is gone is for people", id="gone"),
        pytest.param([("          batch: {", '          flex: {multiply: "0.5"}\n          batch: {')], "no `flex`",
                     id="variant"),
        pytest.param([("    prices: []", '    prices: [{source: "x", per_mtok: {input: "0", output: "0"}}]')],
                     "it has no price yet", id="first price"),
        pytest.param([('"hearsay", per_mtok: {input: "1", output: "2"}}',
                       '"hearsay", per_mtok: {input: "1", output: "2"}}, '
                       '{source: "x", valid_from: 2027-01-01T00:00:00Z, per_mtok: {input: "2", output: "2"}}')],
                     "not written as lines of its own", id="row"),
    ],
)  # fmt: skip
def test_what_has_no_place_of_its_own_is_told_and_nothing_is_written(path, other, changes, why):
    other.write_text(altered(*changes, ('"2.5"', '"3"')))
    with pytest.raises(PricingError, match=f"Nothing was written(.|\n)*{why}"):
        pricing.update(path, str(other), "*", TODAY, write=True)
    assert path.read_text() == TABLE


def test_a_figure_that_two_entries_share_is_left_alone(path, other):
    """An anchor: whoever edits it in one place edits it in the other."""
    price, dearer = '[{source: "hearsay", per_mtok: {input: "1"', '[{source: "hearsay", per_mtok: {input: "8"'
    shared = altered((price, f"&x {price}"), ("    prices: []", "    prices: *x"))
    path.write_text(shared)
    other.write_text(altered((price, dearer), ("    prices: []", f'    prices: {price}, output: "2"}}}}]')))
    with pytest.raises(PricingError, match="Nothing was written"):
        pricing.update(path, str(other), "*", TODAY, write=True)
    assert path.read_text() == shared


def test_through_a_link_the_file_is_written_and_the_link_stays(path, other, tmp_path):
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    other.write_text(altered(('"2.5"', '"3"')))
    pricing.update(link, str(other), "*", TODAY, write=True)
    assert link.is_symlink()
    assert '"3"  # soon' in path.read_text()


def test_a_file_that_cannot_be_written_is_told_and_stays(path, other, monkeypatch):
    other.write_text(altered(('"2.5"', '"3"')))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(PricingError, match="No space left on device"):
        pricing.update(path, str(other), "*", TODAY, write=True)
    assert path.read_text() == TABLE
    assert sorted(file.name for file in path.parent.iterdir()) == ["other.yaml", "pricing.yaml"]
