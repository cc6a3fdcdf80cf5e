"""`tollhouse export`: the rows of the ledger in a file, or on standard output. What has come is counted on the way."""

import csv
import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from proxy.desk import rows, window
from proxy.desk.client import Client
from proxy.desk.rows import Row
from proxy.desk.screen import Screen
from proxy.desk.trouble import NOT_REACHED, OK, Trouble
from proxy.desk.whole import whole
from proxy.desk.window import Edge, Window
from proxy.stats import iso, usd

Format = Literal["csv", "json", "jsonl"]
_ENDS: Mapping[str, Format] = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_LONGEST_FIELD = 1 << 30  # of CSV; a model may be asked for by a name as long as a request may be
_EACH = 200  # rows, after which the progress is shown again

Rows = Iterator[tuple[Row, bytes]]  # a row, and how it is written


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be exported, and where to; without `format` the end of the file's name tells, else CSV."""

    since: Edge | None = None
    until: Edge | None = None
    format: Format | None = None
    to: Path | None = None


class _Tally(msgspec.Struct):
    """What went by."""

    rows: int = 0
    nano: int = 0
    unpriced: int = 0

    def add(self, row: Row) -> None:
        """Count one."""
        self.rows += 1
        self.nano += int(row["cost_nano"] or 0)
        self.unpriced += rows.unpriced(row)

    def __str__(self) -> str:
        unknown = f"; {self.unpriced:,} of them without a known price, which is not free" if self.unpriced else ""
        return f"{self.rows:,} rows, USD {usd(self.nano)} in all{unknown}"


_Came = Callable[[int, _Tally], None]  # is told how far it has come


def run(client: Client, screen: Screen, wanted: Wanted) -> int:
    """Write it. What was written, and what it cost in all, is said on standard error."""
    frame = _frame(client, wanted)
    form = _FORMS[wanted.format or _ENDS.get(wanted.to.suffix.lower() if wanted.to else "", "csv")]
    tally = _Tally()
    output = whole(wanted.to) if wanted.to else nullcontext(sys.stdout.buffer)
    with client.stream("/providers/costs/export", format=form.asked, **frame.days) as pieces, output as file:
        with _progress(frame, shown=bool(wanted.to) or not screen.terminal) as came:
            try:
                _write(file, form, form.read(pieces), frame, tally, came)
            except (ValueError, KeyError, msgspec.DecodeError, csv.Error) as error:
                raise Trouble(f"The rows that {client.url} sends cannot be read: {error}.", NOT_REACHED) from None
        file.flush()
    screen.note(f"{f'{wanted.to}: ' if wanted.to else ''}{tally}")
    return OK


def _frame(client: Client, wanted: Wanted) -> Window:
    """By the clock of the store, which stamps the rows: this machine's may be another."""
    now = 0
    if any(edge and edge.relative for edge in (wanted.since, wanted.until)):
        summary = client.read(client.get("/providers/costs/summary"), _Clock)
        now = window.at(summary.as_of)
    try:
        return window.window(wanted.since, wanted.until, now)
    except ValueError as error:
        raise Trouble(str(error)) from None


class _Clock(msgspec.Struct):
    as_of: str


def _write(file: BinaryIO, form: "_Form", parts: Rows, frame: Window, tally: _Tally, came: _Came) -> None:
    """The rows that lie in the window, and what stands around them."""
    for row, text in parts:
        if not row:  # a head
            file.write(text)
            continue
        moment = window.at(row["at"])
        if not frame.whole and not frame.holds(moment):
            continue
        file.write(form.between if tally.rows else form.before)
        file.write(text)
        tally.add(row)
        if tally.rows % _EACH == 0:
            came(moment, tally)
    file.write(form.after if tally.rows else form.empty)


def _json(pieces: Iterable[bytes]) -> Rows:
    return ((rows.read(record), record) for record in rows.records(pieces))


def _csv(pieces: Iterable[bytes]) -> Rows:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(line.decode() for line in rows.lines(pieces))
    header = next(reader, [])
    if not {"at", "cost_nano"} <= set(header):
        raise ValueError("it has not the columns of an export")
    yield {}, _line(header)
    for cells in reader:
        yield dict(zip(header, cells, strict=True)), _line(cells)


def _line(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


class _Form(msgspec.Struct, frozen=True):
    """How rows are read and written: what the API is asked for, and what stands around them."""

    asked: str
    read: Callable[[Iterable[bytes]], Rows]
    before: bytes = b""
    between: bytes = b""
    after: bytes = b""
    empty: bytes = b""


_FORMS: Mapping[Format, _Form] = {
    "csv": _Form("csv", _csv),
    "json": _Form("json", _json, before=b"[\n", between=b",\n", after=b"\n]\n", empty=b"[]\n"),
    "jsonl": _Form("json", _json, between=b"\n", after=b"\n"),
}


@contextmanager
def _progress(frame: Window, *, shown: bool) -> Iterator[_Came]:
    """How far we are, on standard error if it is a terminal. Rows come in the order of their time, and nobody knows how
    many there will be: the bar goes from the beginning of the window to its end."""
    if not (shown and sys.stderr.isatty()):
        yield lambda moment, tally: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("0 rows", total=None)
        begin = frame.start

        def came(moment: int, tally: _Tally) -> None:
            nonlocal begin
            begin = moment if begin is None else begin
            end = frame.end or int(time.time() * 1_000)
            said = f"{tally.rows:,} rows, USD {usd(tally.nano)}, {iso(moment)[:16]}Z"
            progress.update(task, description=said, total=max(end - begin, 1), completed=moment - begin)

        yield came
