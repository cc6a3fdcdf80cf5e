"""Rows of the ledger as the export writes them, read again. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from proxy.desk.window import at
from proxy.ledger import Entry
from proxy.stats import KINDS

Row = Mapping[str, Any]  # by `export.COLUMNS`
_BUCKETS = {kind: bucket for bucket, kind in KINDS.items()}
_RENAMED = {
    "cost_nano": "cost",
    "held_nano": "held",
    "unproven_nano": "unproven",
    "first_part_ms": "first",
    "total_ms": "total",
}
_READ: Mapping[str, Callable[[Any], Any]] = {"at": at}
_COMMA = b","
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What comes in pieces of any size, line by line, each with its end; the last one may have none."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


def records(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The rows of an array that has one row a line (`export.as_json`), without what stands between them. Raises
    `ValueError` if it is no such array, or not a whole one."""
    begun = ended = False
    for line in map(bytes.strip, lines(pieces)):
        if ended or (not begun and not line.startswith(b"[")):
            raise ValueError("it is no export")
        if not begun and line == b"[":
            begun = True
        elif line == (b"]" if begun else b"[]"):
            begun = ended = True
        elif begun:
            yield line.removesuffix(_COMMA)
        else:
            raise ValueError("it is no export")
    if not ended:
        raise ValueError("it is not whole")


def read(record: bytes) -> Row:
    """One of them. Raises `msgspec.DecodeError`."""
    return _decode(record)


def entry(row: Row) -> Entry:
    """The row as the ledger keeps it; columns that this version does not know are left out. Raises `ValueError`."""
    fields: dict[str, Any] = {"usage": {_BUCKETS[kind]: row[kind] for kind in _BUCKETS if kind in row}}
    for column, value in row.items():
        name = _RENAMED.get(column, column)
        if name in Entry.__struct_fields__:
            fields[name] = _READ[name](value) if name in _READ else value
    return msgspec.convert(fields, Entry)


def unpriced(row: Row) -> bool:
    """Whether something was used whose price nobody knows; of a row of JSON or of CSV."""
    return row.get("cost_nano") in (None, "") and any(row.get(kind) not in (0, "0", "", None) for kind in _BUCKETS)
