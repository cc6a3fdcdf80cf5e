"""Rows of the ledger, read again from what the export writes: nothing is lost on the way."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Usage
from proxy.desk import rows
from proxy.export import as_json, flat
from proxy.ledger import Entry
from proxy.stats import KINDS, Stats

names = st.text(max_size=20)
nano = st.integers(min_value=0, max_value=9 * 10**15)
tokens = st.integers(min_value=0, max_value=10**9)
times = st.floats(min_value=0, max_value=1e7, allow_nan=False)
entries = st.builds(
    Entry,
    id=names,
    request=names,
    at=st.integers(min_value=0, max_value=4_102_444_800_000),
    provider=names,
    model=names,
    served=names,
    asked=names,
    key=names,
    user=names,
    agent=names,
    team=names,
    stream=st.booleans(),
    status=st.integers(min_value=0, max_value=599),
    code=st.none() | names,
    last=st.booleans(),
    usage=st.builds(Usage, **dict.fromkeys(Usage.__struct_fields__, tokens)),
    tier=st.none() | names,
    cost=st.none() | nano,
    held=nano,
    unproven=nano,
    estimated=st.booleans(),
    orphan=st.booleans(),
    owner=names,
    price=st.none() | names,
    first=st.none() | times,
    total=times,
    score=st.none() | st.floats(min_value=-1, max_value=1),
    comment=names,
)


def exported(*pages: Sequence[Entry]) -> bytes:
    async def come() -> AsyncIterator[Sequence[Entry]]:
        for page in pages:
            yield page

    async def whole() -> bytes:
        return b"".join([part async for part in as_json(come())])

    return asyncio.run(whole())


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


@given(st.lists(entries, max_size=4), st.integers(min_value=1, max_value=700))
def test_what_was_exported_is_read_again_in_whatever_pieces_it_comes(ledger, size):
    body = exported(ledger[:2], ledger[2:])
    found = [rows.entry(rows.read(record)) for record in rows.records(cut(body, size))]
    assert found == ledger


@given(st.lists(entries, max_size=6))
def test_rows_that_are_added_up_here_come_to_what_the_api_says(ledger):
    here, there = Stats(), Stats()
    for record in rows.records([exported(ledger)]):
        here.add(rows.entry(rows.read(record)))
    for entry in ledger:
        there.add(entry)
    assert here.to_json() == there.to_json()


def test_a_column_of_a_later_version_is_left_out():
    entry = Entry(id="r/1", request="r", provider="p", model="m", cost=3)
    assert rows.entry({**flat(entry), "mood": "good"}) == entry


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(b"", "it is not whole", id="nothing"),
        pytest.param(b"[\n", "it is not whole", id="a beginning"),
        pytest.param(b'[\n{"id": 1},\n', "it is not whole", id="a row and a comma"),
        pytest.param(b'[\n{"id": 1}\n', "it is not whole", id="a row"),
        pytest.param(b"<html>\n</html>\n", "it is no export", id="a page"),
        pytest.param(b'{"id": 1}\n', "it is no export", id="an object"),
        pytest.param(b'[{"id": 1}]\n', "it is no export", id="an array in one line"),
        pytest.param(b"[]\n[]\n", "it is no export", id="two arrays"),
        pytest.param(b'[\n{"id": 1}\n]\n{"id": 2}\n', "it is no export", id="something after the end"),
    ],
)
def test_what_is_no_whole_export_is_not_taken_for_one(body, why):
    with pytest.raises(ValueError, match=why):
        list(rows.records([body]))


def test_an_export_without_rows_has_none():
    assert list(rows.records([b"[", b"]\n"])) == []


def test_lines_keep_their_ends_and_the_last_one_may_have_none():
    assert list(rows.lines([b"a\r", b"\nb", b"", b"c\n\nd"])) == [b"a\r\n", b"bc\n", b"\n", b"d"]


@pytest.mark.parametrize(
    ("row", "unknown"),
    [
        pytest.param({"cost_nano": None, "output_tokens": 1}, True, id="used, without a price"),
        pytest.param({"cost_nano": "", "output_tokens": "1", "cached_tokens": "0"}, True, id="the same, from CSV"),
        pytest.param({"cost_nano": None, "output_tokens": 0}, False, id="nothing was used"),
        pytest.param({"cost_nano": "", "output_tokens": "0", "web_searches": ""}, False, id="the same, from CSV"),
        pytest.param({"cost_nano": 0, "output_tokens": 1}, False, id="it is known to be free"),
        pytest.param({"cost_nano": "0", "output_tokens": "1"}, False, id="the same, from CSV"),
    ],
)
def test_what_was_used_without_a_known_price_is_counted_as_unpriced(row, unknown):
    assert rows.unpriced(row) is unknown


@pytest.mark.parametrize("kind", KINDS.values())
def test_each_kind_of_use_counts(kind):
    assert rows.unpriced({"cost_nano": None, kind: 1})
