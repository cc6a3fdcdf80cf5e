"""Line charts as SVG, without a dependency: on a white card, fit to be read on a light page and on a dark one.

Colours are those of Okabe and Ito, which people who see few colours can tell apart; lines are dashed differently, too.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 300  # of one chart
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 40, 44
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "", "6 3")
_INK, _GRID = "#24292f", "#d8dee4"
_TICKS = 5
_MARKED = 12  # points: lines of more have no marks
_At = Callable[[float, float], tuple[float, float]]  # from (x, y) to pixels


class Line(NamedTuple):
    """One line: what it is called, and its points (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


class Chart(NamedTuple):
    """`x` and `y` say what the axes are, with their units. `log`: of x; what is below 1 stands at 1. y begins at 0."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log: bool = False


def svg(*charts: Chart) -> str:
    """A picture of these, one below the other."""
    height = HEIGHT * len(charts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{_INK}">',
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
    ]
    for at, chart in enumerate(charts):
        parts += [f'<g transform="translate(0 {at * HEIGHT})">', *_drawn(chart), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _drawn(chart: Chart) -> Iterator[str]:
    points = [point for line in chart.lines for point in line.points] or [(0.0, 0.0)]
    xs = [_placed(x, chart.log) for x, _ in points]
    low, high = min(xs), max(max(xs), min(xs) + 1e-9)
    ticks = steps(max(y for _, y in points))
    top = ticks[-1]

    def at(x: float, y: float) -> tuple[float, float]:
        across = (_placed(x, chart.log) - low) / (high - low)
        right = _LEFT + across * (WIDTH - _LEFT - _RIGHT)
        return round(right, 1), round(HEIGHT - _BOTTOM - y / top * (HEIGHT - _TOP - _BOTTOM), 1)

    yield f'<text x="{_LEFT}" y="18" font-weight="600">{escape(chart.title)}</text>'
    yield from _axes(chart, at, ticks, low, high)
    for number, line in enumerate(chart.lines):
        yield from _line(line, [at(x, y) for x, y in line.points], number)


def _axes(chart: Chart, at: _At, ticks: Sequence[float], low: float, high: float) -> Iterator[str]:
    for y in ticks:
        _, down = at(10**low if chart.log else low, y)
        yield f'<line x1="{_LEFT}" y1="{down}" x2="{WIDTH - _RIGHT}" y2="{down}" stroke="{_GRID}"/>'
        yield f'<text x="{_LEFT - 6}" y="{down + 4}" text-anchor="end">{shown(y)}</text>'
    if chart.log:
        across = [10.0**n for n in range(math.ceil(low), math.floor(high) + 1)]
    else:
        across = [x for x in steps(high) if low <= x <= high]
    for x in across:
        right, _ = at(x, 0)
        yield f'<text x="{right}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{shown(x)}</text>'
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    yield f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">{escape(chart.x)}</text>'
    turned = (HEIGHT - _BOTTOM + _TOP) / 2
    yield f'<text transform="translate(14 {turned}) rotate(-90)" text-anchor="middle">{escape(chart.y)}</text>'


def _line(line: Line, places: Sequence[tuple[float, float]], number: int) -> Iterator[str]:
    colour, dashes = _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]
    drawn = " ".join(f"{right},{down}" for right, down in places)
    style = f'fill="none" stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dashes}"'
    yield f'<polyline points="{drawn}" {style}><title>{escape(line.name)}</title></polyline>'
    if len(places) <= _MARKED:
        for right, down in places:
            yield f'<circle cx="{right}" cy="{down}" r="3" fill="{colour}"/>'
    begin = _LEFT + 150 * number
    yield f'<line x1="{begin}" y1="30" x2="{begin + 22}" y2="30" {style}/>'
    yield f'<text x="{begin + 28}" y="34">{escape(line.name)}</text>'


def _placed(x: float, log: bool) -> float:
    return math.log10(max(x, 1.0)) if log else x


def steps(most: float) -> list[float]:
    """Round numbers from 0 to `most` or just above."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / _TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * by for by in (1, 2, 2.5, 5, 10) if unit * by >= rough - 1e-12)
    return [round(step * n, 12) for n in range(math.ceil(most / step - 1e-9) + 1)]


def shown(number: float) -> str:
    """As short as it goes: 1.5, 200, 10k, 1M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= size * (1 if letter == "M" else 10):
            return f"{number / size:g}{letter}"
    return f"{number:g}"
