"""The line charts: read as what they are, XML."""

import itertools
from xml.etree import ElementTree

import pytest

from tests.bench.plot import HEIGHT, Chart, Line, shown, steps, svg

SVG = "{http://www.w3.org/2000/svg}"


def points(picture: str) -> list[list[tuple[float, float]]]:
    """The lines that are drawn, in pixels."""
    lines = ElementTree.fromstring(picture).iter(f"{SVG}polyline")
    return [[(float(x), float(y)) for x, y in (p.split(",") for p in line.attrib["points"].split())] for line in lines]


def test_a_flat_line_is_drawn_flat_and_powers_of_ten_stand_equally_far_apart():
    flat = Line("flat", [(1, 50), (10, 50), (100, 50), (1_000, 50)])
    (drawn,) = points(svg(Chart("CPU", "keys", "µs", [flat], log=True)))
    assert len({y for _, y in drawn}) == 1
    apart = {round(b[0] - a[0]) for a, b in itertools.pairwise(drawn)}
    assert len(apart) == 1


def test_what_grows_rises():
    (drawn,) = points(svg(Chart("CPU", "keys", "µs", [Line("grows", [(0, 1), (5, 10)])])))
    assert drawn[1][1] < drawn[0][1]
    assert drawn[1][0] > drawn[0][0]


def test_nought_stands_at_one_where_the_axis_is_logarithmic():
    (drawn,) = points(svg(Chart("CPU", "rows", "µs", [Line("rows", [(0, 1), (1, 1), (10, 1)])], log=True)))
    assert drawn[0] == drawn[1]


def test_several_charts_stand_below_each_other():
    chart = Chart("a < b & c", "x", "y", [Line("one", [(1, 1), (2, 2)]), Line("two", [(1, 2)])])
    picture = ElementTree.fromstring(svg(chart, chart))
    assert picture.attrib["height"] == str(2 * HEIGHT)
    assert len(list(picture.iter(f"{SVG}polyline"))) == 4
    assert [text.text for text in picture.iter(f"{SVG}text")].count("a < b & c") == 2


def test_a_chart_of_nothing_is_a_chart():
    assert points(svg(Chart("nothing", "x", "y", []))) == []
    assert points(svg(Chart("one", "x", "y", [Line("point", [(3, 0)])])))


@pytest.mark.parametrize(
    ("most", "expected"),
    [(0, [0, 1]), (10, [0, 2, 4, 6, 8, 10]), (11, [0, 2.5, 5, 7.5, 10, 12.5]), (0.4, [0, 0.1, 0.2, 0.3, 0.4])],
)
def test_ticks_are_round_numbers(most, expected):
    assert steps(most) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0"), (1.5, "1.5"), (1_000, "1000"), (10_000, "10k"), (1_000_000, "1M")]
)
def test_numbers_are_short(number, expected):
    assert shown(number) == expected
