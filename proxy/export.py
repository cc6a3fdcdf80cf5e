"""The ledger, row by row, for other programs: JSON and CSV, written as the rows come, so that any number of them fits.

One flat row per attempt: every field of `ledger.Entry`, every bucket of its usage. What its caller said of a request
stands on its last row.
"""

import csv
import io
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import msgspec

from proxy.cost import dollars
from proxy.ledger import Entry
from proxy.stats import KINDS, iso

Value = str | int | float | bool | None
Pages = AsyncIterator[Sequence[Entry]]
# Column -> what stands in it. Money twice: to read, and to reckon with.
_FIELDS: Mapping[str, Callable[[Entry], Value]] = {
    "id": lambda entry: entry.id,
    "request": lambda entry: entry.request,
    "at": lambda entry: iso(entry.at),
    "provider": lambda entry: entry.provider,
    "model": lambda entry: entry.model,
    "served": lambda entry: entry.served,
    "asked": lambda entry: entry.asked,
    "key": lambda entry: entry.key,
    "user": lambda entry: entry.user,
    "agent": lambda entry: entry.agent,
    "team": lambda entry: entry.team,
    "stream": lambda entry: entry.stream,
    "status": lambda entry: entry.status,
    "code": lambda entry: entry.code,
    "last": lambda entry: entry.last,
    "tier": lambda entry: entry.tier,
    "cost_usd": lambda entry: None if entry.cost is None else dollars(entry.cost),
    "cost_nano": lambda entry: entry.cost,
    "held_usd": lambda entry: dollars(entry.held),
    "held_nano": lambda entry: entry.held,
    "unproven_usd": lambda entry: dollars(entry.unproven),
    "unproven_nano": lambda entry: entry.unproven,
    "estimated": lambda entry: entry.estimated,
    "orphan": lambda entry: entry.orphan,
    "owner": lambda entry: entry.owner,
    "price": lambda entry: entry.price,
    "first_part_ms": lambda entry: entry.first,
    "total_ms": lambda entry: entry.total,
    "score": lambda entry: entry.score,
    "comment": lambda entry: entry.comment,
}
COLUMNS: tuple[str, ...] = (*_FIELDS, *KINDS.values())
# A spreadsheet takes a cell that begins so for a formula and runs it, whoever wrote it: names and comments are clients'
# own words. Some pass over what cannot be seen before it. The last four are of full width.
_FORMULA = re.compile(
    r"[\t\r\n]|[\s\0-\x1f\x7f-\xa0\xad\u200b-\u200f\u2060-\u2064\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]"
)
_encode = msgspec.json.Encoder().encode


def flat(entry: Entry) -> dict[str, Value]:
    """A row as `COLUMNS` name it."""
    row: dict[str, Value] = {column: read(entry) for column, read in _FIELDS.items()}
    row.update(zip(KINDS.values(), msgspec.structs.astuple(entry.usage), strict=True))
    return row


async def as_json(pages: Pages) -> AsyncIterator[bytes]:
    """One array, one row a line."""
    before = b"[\n"
    async for page in pages:
        if page:
            yield before + b",\n".join(_encode(flat(entry)) for entry in page)
            before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


async def as_csv(pages: Pages) -> AsyncIterator[bytes]:
    """A header and one row a line (RFC 4180); no value is an empty cell. A text that a spreadsheet might take for a
    formula has an apostrophe before it, which spreadsheets do not show."""
    yield _lines([COLUMNS])
    async for page in pages:
        if page:
            yield _lines([[_cell(value) for value in flat(entry).values()] for entry in page])


def _lines(rows: Sequence[Sequence[Value]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: Value) -> Value:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


FORMATS: Mapping[str, tuple[str, Callable[[Pages], AsyncIterator[bytes]]]] = {
    "json": ("application/json", as_json),
    "csv": ("text/csv; header=present", as_csv),
}
