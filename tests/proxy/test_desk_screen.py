"""Tables for whatever reads on: in their place, whole, and without orders to the terminal."""

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from proxy.desk.screen import Cell, Column, drawn, fitting, plain, tame

COLUMNS = (Column("name"), Column("USD", right=True), Column("until"))


def test_columns_are_as_wide_as_they_must_be_and_two_spaces_apart():
    rows = [[Cell("a"), Cell("1.5"), Cell("now")], [Cell("long name"), Cell("12.25"), Cell()]]
    assert plain(COLUMNS, rows) == [
        "name         USD  until",
        "a            1.5  now",
        "long name  12.25  -",
    ]


def test_without_rows_there_is_the_head():
    assert plain(COLUMNS, []) == ["name  USD  until"]


def test_a_style_and_a_bar_leave_no_trace():
    assert plain(COLUMNS[:1], [[Cell("a", "bold red", full=50)]]) == ["name", "a"]


def test_nothing_is_cut_however_long():
    name = "x" * 5_000
    assert plain(COLUMNS[:1], [[Cell(name)]])[1] == name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gpt-4o", "gpt-4o"),
        ("zwölf Tölpel 模型", "zwölf Tölpel 模型"),
        ("[red]alice[/]", "[red]alice[/]"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\r\nb\tc", "a\\x0d\\x0ab\\x09c"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\x202eb"),
        ("\x00", "\\x00"),
    ],
)
def test_what_cannot_be_printed_is_written_out(text, shown):
    assert tame(text) == shown


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=5))
def test_each_row_is_one_line_whatever_is_in_it(rows):
    lines = plain(COLUMNS, [[Cell(text) for text in row] for row in rows])
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)


WIDE = (
    Column("name"),
    Column("spare", spare=True),
    Column("nothing"),
    Column("figure", right=True),
    Column("x", spare=True),
)
ROW = [Cell("12345678"), Cell("12345"), Cell(), Cell("50%", full=50), Cell("1")]


@pytest.mark.parametrize(
    ("room", "kept", "bars"),
    [
        pytest.param(44, [0, 1, 3, 4], True, id="all that has something to say, and a bar"),
        pytest.param(43, [0, 1, 3, 4], False, id="the bar goes first"),
        pytest.param(26, [0, 1, 3, 4], False, id="it just fits"),
        pytest.param(25, [0, 1, 3], False, id="then what is spare, from the end"),
        pytest.param(23, [0, 1, 3], False, id="it just fits again"),
        pytest.param(22, [0, 3], False, id="the next one"),
        pytest.param(1, [0, 3], False, id="never what is not spare"),
    ],
)
def test_a_narrow_terminal_is_shown_what_fits(room, kept, bars):
    assert fitting(WIDE, [ROW, ROW], room) == (kept, bars)


def test_a_cell_in_any_row_makes_a_column():
    assert fitting(WIDE, [[*ROW[:2], Cell("here"), *ROW[3:]], ROW], 100) == ([0, 1, 2, 3, 4], True)


def test_without_rows_there_is_nothing_to_fit():
    assert fitting(WIDE, [], 80) == ([], True)


@pytest.mark.parametrize("full", [50.0, 100.0, 250.0])
@pytest.mark.parametrize(("style", "code"), [("red", "31"), ("", "36")])
def test_a_bar_has_the_colour_of_its_cell_when_it_is_full_too(full, style, code):
    console = Console(file=StringIO(), force_terminal=True, color_system="standard", width=60, _environ={})
    console.print(drawn([Column("used")], [[Cell("x", style, full=full)]], console.width))
    assert isinstance(console.file, StringIO)
    assert f"\x1b[{code}m━" in console.file.getvalue()
