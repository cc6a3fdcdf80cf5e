"""The ledger as files: all of it, in order, safe to open."""

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Usage
from proxy.export import COLUMNS, FORMATS, Pages, as_csv, as_json, flat
from proxy.ledger import Entry
from proxy.stats import KINDS

FULL = Entry(
    id="req_1/2",
    request="req_1",
    at=1_795_435_200_007,
    provider="openai",
    model="gpt-4o",
    served="gpt-4o-2024-08-06",
    asked="auto",
    key="key-01234567",
    user="alice",
    agent="crawler",
    team="blue",
    stream=True,
    status=503,
    code="overloaded",
    last=False,
    usage=Usage(**{bucket: number for number, bucket in enumerate(Usage.__struct_fields__, start=1)}),
    tier="flex",
    cost=1_500_000_001,
    held=2_000_000_000,
    unproven=7,
    estimated=True,
    orphan=True,
    owner="0f3c",
    price="openai/gpt-4o#1",
    first=12.5,
    total=99.25,
    score=-0.25,
    comment="cut off",
)
FULL_ROW = {
    "id": "req_1/2",
    "request": "req_1",
    "at": "2026-11-23T12:00:00.007Z",
    "provider": "openai",
    "model": "gpt-4o",
    "served": "gpt-4o-2024-08-06",
    "asked": "auto",
    "key": "key-01234567",
    "user": "alice",
    "agent": "crawler",
    "team": "blue",
    "stream": True,
    "status": 503,
    "code": "overloaded",
    "last": False,
    "tier": "flex",
    "cost_usd": "1.500000001",
    "cost_nano": 1_500_000_001,
    "held_usd": "2",
    "held_nano": 2_000_000_000,
    "unproven_usd": "0.000000007",
    "unproven_nano": 7,
    "estimated": True,
    "orphan": True,
    "owner": "0f3c",
    "price": "openai/gpt-4o#1",
    "first_part_ms": 12.5,
    "total_ms": 99.25,
    "score": -0.25,
    "comment": "cut off",
    **{kind: number for number, kind in enumerate(KINDS.values(), start=1)},
}
BARE = Entry(id="req_2/1", request="req_2", provider="gemini", model="gemini-3.8-flash")
# A field of the ledger -> its columns, where they are called otherwise.
RENAMED = {
    "usage": set(KINDS.values()),
    "cost": {"cost_usd", "cost_nano"},
    "held": {"held_usd", "held_nano"},
    "unproven": {"unproven_usd", "unproven_nano"},
    "first": {"first_part_ms"},
    "total": {"total_ms"},
}


async def pages_of(*pages: Sequence[Entry]) -> AsyncIterator[Sequence[Entry]]:
    for page in pages:
        yield page


async def written(write: Callable[[Pages], AsyncIterator[bytes]], *pages: Sequence[Entry]) -> str:
    return b"".join([chunk async for chunk in write(pages_of(*pages))]).decode()


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_field_of_the_ledger_has_its_column():
    assert flat(FULL) == FULL_ROW
    assert tuple(flat(FULL)) == tuple(flat(BARE)) == COLUMNS
    assert set().union(*(RENAMED.get(field, {field}) for field in Entry.__struct_fields__)) == set(COLUMNS)


def test_the_example_has_a_value_of_its_own_in_every_field():
    usual = msgspec.structs.asdict(BARE)
    assert [field for field, value in msgspec.structs.asdict(FULL).items() if value == usual[field]] == []


def test_what_is_not_known_is_null_in_json_and_empty_in_csv():
    empty = {name: value for name, value in flat(BARE).items() if value is None}
    assert empty.keys() == {"code", "tier", "cost_usd", "cost_nano", "price", "first_part_ms", "score"}


@pytest.mark.parametrize(
    "pages", [[], [[]], [[FULL]], [[], [FULL, BARE], []], [[FULL], [BARE]], [[FULL], [], [BARE, BARE]]], ids=len
)
async def test_both_formats_hold_all_rows_in_their_order_however_they_come(pages):
    rows = [row for page in pages for row in page]
    assert json.loads(await written(as_json, *pages)) == [flat(row) for row in rows]
    assert [line["id"] for line in read_csv(await written(as_csv, *pages))] == [row.id for row in rows]


async def test_json_has_a_row_on_each_line():
    lines = (await written(as_json, [FULL], [BARE])).splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("[", "]", 4)
    assert json.loads(lines[1].rstrip(",")) == FULL_ROW


async def test_csv_has_its_header_and_rfc_4180_lines():
    text = await written(as_csv, [FULL])
    assert text.startswith(",".join(COLUMNS) + "\r\n")
    assert text.endswith("\r\n")
    [line] = read_csv(text)
    assert line == {
        name: {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
        for name, value in FULL_ROW.items()
    }


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+49", "'+49"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("\uff1d1", "'\uff1d1"),
        (" =1", "' =1"),
        ("\0=1", "'\0=1"),
        ("\ufeff\u200b\xa0\x1b+1", "'\ufeff\u200b\xa0\x1b+1"),
        (" 1=1", " 1=1"),
        ("\0", "\0"),
        ("a=b", "a=b"),
        ("1-2", "1-2"),
        ("'=1", "'=1"),
        ("", ""),
        ('a,"b"\r\nc;=1', 'a,"b"\r\nc;=1'),
    ],
)
async def test_a_name_that_a_spreadsheet_would_run_gets_an_apostrophe(name, cell):
    row = msgspec.structs.replace(FULL, user=name, asked=name, team=name, comment=name)
    [line] = read_csv(await written(as_csv, [row]))
    assert [line[column] for column in ("user", "asked", "team", "comment")] == [cell] * 4
    assert json.loads(await written(as_json, [row]))[0]["comment"] == name


async def test_a_number_below_zero_is_no_formula():
    [line] = read_csv(await written(as_csv, [msgspec.structs.replace(FULL, cost=0, unproven=0, total=-1.0)]))
    assert (line["total_ms"], line["score"]) == ("-1.0", "-0.25")


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(WORDS, WORDS, st.none() | WORDS, WORDS)
async def test_whatever_people_are_called_and_say_both_files_can_be_read(user, asked, code, comment):
    row = msgspec.structs.replace(FULL, user=user, asked=asked, code=code, comment=comment)
    read: list[dict[str, Any]] = json.loads(await written(as_json, [row, BARE]))
    assert read == [flat(row), flat(BARE)]
    lines = read_csv(await written(as_csv, [row, BARE]))
    assert [line["id"] for line in lines] == [row.id, BARE.id]
    assert lines[0]["user"] in (user, f"'{user}")
    assert lines[0]["comment"] in (comment, f"'{comment}")


async def test_what_comes_is_written_before_more_is_asked_for():
    asked: list[int] = []

    async def pages() -> AsyncIterator[Sequence[Entry]]:
        for number in range(3):
            asked.append(number)
            yield [BARE]

    for _, write in FORMATS.values():
        asked.clear()
        chunks = write(pages())
        said = b""
        while BARE.id.encode() not in said:
            said += await anext(chunks)
        assert asked == [0]
        await chunks.aclose()  # type: ignore[attr-defined]  # it is a generator
