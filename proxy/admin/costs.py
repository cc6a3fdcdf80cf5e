"""What is spent: how each budget stands, rows added up, and each row of them. Money is read from the store, so every
replica says the same."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import date
from typing import Any

import structlog
from litestar import MediaType, Request, Response, get
from litestar.datastructures import State
from litestar.response import Stream

from adapters.base import invalid
from adapters.completion import encode
from proxy.admin.asking import DAY, EPOCH, FRESH, asked, away, days, known, number
from proxy.admin.guard import guard
from proxy.export import FORMATS
from proxy.ledger import Entry, labels
from proxy.stats import TOP, Stats, summary
from proxy.store import Store, StoreError

HOURS_WITHIN = 31  # days: over longer times there are no figures by the hour
_AT_ONCE = 50  # rows that are worked on before traffic has its turn again: a millisecond


@get("/providers/costs/summary", guards=[guard], media_type=MediaType.JSON)
async def costs_summary(request: Request[Any, Any, Any], state: State) -> Response[bytes]:
    """Today, this month, and how each budget stands."""
    known(request)
    store: Store = state.store
    at = await asked(store.now())
    day, month = [await asked(store.counters(label)) for label in labels(at)]
    return Response(encode(summary(state.purse.all(), at, day, month)), headers=FRESH)


@get("/providers/costs/stats", guards=[guard], media_type=MediaType.JSON)
async def costs_stats(request: Request[Any, Any, Any], state: State) -> Response[bytes]:
    """The rows of some days, added up; at most `top` values of each dimension, the rest as one."""
    known(request, "start_date", "end_date", "top")
    top = number(request, "top", TOP)
    first, last = await days(request, state.store)
    stats = Stats(hours=last.toordinal() - first.toordinal() < HOURS_WITHIN)
    try:
        async for rows in _portions(state.store, first, last):
            for row in rows:
                stats.add(row)
    except StoreError as error:
        raise away(error) from error
    figures = await asyncio.to_thread(stats.to_json, top)
    said = {"start_date": first.isoformat(), "end_date": last.isoformat(), **figures}
    return Response(encode(said), headers=FRESH)


@get("/providers/costs/export", guards=[guard])
async def costs_export(request: Request[Any, Any, Any], state: State) -> Stream:
    """The rows of some days, one by one, in a file of any size."""
    known(request, "start_date", "end_date", "format")
    name = request.query_params.get("format", "json")
    if name not in FORMATS:
        raise invalid(f"format: '{name[:40]}' is not known; it is one of {', '.join(FORMATS)}.", "format")
    media_type, write = FORMATS[name]
    first, last = await days(request, state.store)
    rows = _portions(state.store, first, last)
    opening = await asked(_next(rows))  # a store that is away is heard of before the answer begins
    file = f"tollhouse-{first}-to-{last}.{name}"
    headers = {**FRESH, "content-disposition": f'attachment; filename="{file}"'}
    return Stream(write(_whole(opening, rows)), media_type=media_type, headers=headers)


async def _portions(store: Store, first: date, last: date) -> AsyncGenerator[Sequence[Entry]]:
    """The rows of these days, a few at a time; in between, others have their turn."""
    start, end = ((day - EPOCH) * DAY for day in (first.toordinal(), last.toordinal() + 1))
    async for page in store.rows(start, end):
        for index in range(0, len(page), _AT_ONCE):
            yield page[index : index + _AT_ONCE]
            await asyncio.sleep(0)


async def _next(rows: AsyncGenerator[Sequence[Entry]]) -> Sequence[Entry]:
    """Not `anext` with a default: of a generator that has ended, Python 3.11 makes a `SystemError` of that."""
    async for portion in rows:
        return portion
    return ()


async def _whole(opening: Sequence[Entry], rows: AsyncGenerator[Sequence[Entry]]) -> AsyncIterator[Sequence[Entry]]:
    """All of it, or an error: then the connection is broken off, so that half a file is not taken for a whole one."""
    async with aclosing(rows):
        yield opening
        try:
            async for portion in rows:
                yield portion
        except StoreError as error:
            structlog.get_logger().error("export broken off", why=str(error))
            raise


HANDLERS = (costs_summary, costs_stats, costs_export)
