"""What a command shows: tables for people on a terminal, and the same plainly for whatever reads on.

Plainly is without colours, lines or cuts: columns as wide as their widest cell, two spaces apart, a dash where there is
nothing, every column in its place, so that `grep`, `awk` and `cut` find what they look for. What others chose to be
called is never an order to the terminal.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rich.console import Console, Group

_GAP = "  "
_NOTHING = "-"
_BAR = 16  # characters
_PLAIN_BAR = "cyan"  # of a share, which is neither good nor bad


class Cell(msgspec.Struct, frozen=True):
    """What stands in a table. `style` is rich's, for a terminal; `full` in percent draws a bar there, too."""

    text: str = ""
    style: str = ""
    full: float | None = None


class Column(msgspec.Struct, frozen=True):
    """The head of a column; figures stand to the `right`. Where a terminal is narrow, what is `spare` is left out."""

    name: str
    right: bool = False
    spare: bool = False


class Screen:
    """Standard output, and standard error for what is said besides."""

    def __init__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure:
                reconfigure(errors="backslashreplace")  # a name that this terminal cannot write ends no command
        self.terminal = sys.stdout.isatty()
        self._console: Console | None = None

    def say(self, line: str = "", style: str = "") -> None:
        """A line of text."""
        if not self.terminal:
            print(tame(line), flush=True)
            return
        from rich.text import Text  # only here: who reads on has no use for it

        self.console.print(Text(tame(line), style), soft_wrap=True)

    def note(self, line: str) -> None:
        """A line beside the answer: on standard error."""
        print(f"tollhouse: {tame(line)}", file=sys.stderr)

    def raw(self, body: bytes) -> None:
        """What the API said, as it said it, and the end of its line."""
        print(body.decode().rstrip("\n"), flush=True)

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
        """A head, and the rows; on a terminal without the columns that have nothing to say."""
        if not self.terminal:
            print("\n".join(plain(columns, rows)), flush=True)
            return
        self.console.print(drawn(columns, rows, self.console.width))

    @contextmanager
    def live(self) -> Iterator[Callable[[Sequence[Column], Sequence[Sequence[Cell]], str], None]]:
        """For a terminal: what is handed over, a table and a line below it, takes the place of what was shown."""
        from rich.console import Group
        from rich.live import Live
        from rich.text import Text

        with Live(console=self.console, auto_refresh=False, vertical_overflow="visible") as place:

            def show(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], below: str) -> None:
                place.update(Group(drawn(columns, rows, self.console.width), Text(tame(below), "dim")), refresh=True)

            yield show

    @property
    def console(self) -> "Console":
        """Rich's, on standard output; made when it is first needed."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(highlight=False, markup=False, emoji=False)
        return self._console


def drawn(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], room: int) -> "Group":
    """A table as rich draws it, of what fits and has something to say. Figures are never broken: names are."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    kept, bars = fitting(columns, rows, room)
    table = Table(box=None, pad_edge=False, header_style="bold")
    drawn: list[list[Text | ProgressBar]] = [[] for _ in rows]
    for index in kept:
        column = columns[index]
        cells = [row[index] for row in rows]
        folds = index == kept[0]
        table.add_column(column.name, justify="right" if column.right else "left", overflow="fold", no_wrap=not folds)
        for row, cell in zip(drawn, cells, strict=True):
            row.append(Text(tame(cell.text), cell.style))
        if bars and any(cell.full is not None for cell in cells):
            table.add_column("", width=_BAR)
            for row, cell in zip(drawn, cells, strict=True):
                full = min(max(cell.full or 0.0, 0.0), 100.0)
                style = cell.style or _PLAIN_BAR  # a full one too: rich would draw a budget that is used up in green
                row.append(ProgressBar(completed=full, width=_BAR, complete_style=style, finished_style=style))
    for row in drawn:
        table.add_row(*row)
    out = [columns[index].name for index in said(rows, len(columns)) if index not in kept]
    note = [Text(f"(no room for: {', '.join(out)})", "dim")] if out else []
    return Group(table, *note)


def said(rows: Sequence[Sequence[Cell]], count: int) -> list[int]:
    """Which of so many columns have something to say."""
    return [index for index in range(count) if any(row[index].text for row in rows)]


def fitting(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], room: int) -> tuple[list[int], bool]:
    """Which columns a terminal has room for, and whether for bars: these go first, then what is spare, from the end."""
    kept = said(rows, len(columns))
    wide = {index: max(len(columns[index].name), *(len(tame(row[index].text)) for row in rows)) for index in kept}
    bars = sum(any(row[index].full is not None for row in rows) for index in kept)

    def width() -> int:
        return sum(wide[index] + len(_GAP) for index in kept) - len(_GAP)

    if width() + bars * (_BAR + len(_GAP)) <= room:
        return kept, True
    for index in reversed(kept.copy()):
        if width() > room and columns[index].spare:
            kept.remove(index)
    return kept, False


def plain(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> list[str]:
    """A table as lines of text."""
    lines = [[column.name for column in columns], *([tame(cell.text) or _NOTHING for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        _GAP.join(
            text.rjust(width) if column.right else text.ljust(width)
            for text, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in lines
    ]


def tame(text: str) -> str:
    """A text that moves no cursor and ends no line: what cannot be printed is written out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
