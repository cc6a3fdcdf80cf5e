"""The doors of those who run it: what is spent, and each row of it; who is healthy, and why a request went where it
went; and the figures for Prometheus.

All of them ask for the admin key. Money is read from the store, and health is what all replicas have told each other,
so every replica says the same; what only one of them knows says which it is (`replica`).
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import aclosing
from datetime import date
from ipaddress import IPv6Address, ip_address
from typing import Any, TypeVar

import structlog
from litestar import MediaType, Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath
from litestar.response import Stream
from prometheus_client import CONTENT_TYPE_LATEST

from adapters.base import Failure, Kind, invalid
from adapters.completion import encode
from proxy import decisions, vitals
from proxy.budget import EACH, Budget
from proxy.catalog import ProviderRow
from proxy.decisions import Decisions
from proxy.export import FORMATS
from proxy.fleet import Fleet
from proxy.ledger import Counter, Entry, labels
from proxy.pricebook import Pricebook
from proxy.stats import TOP, Stats, iso, summary
from proxy.store import Lost, Recovering, Store, StoreError

MOST = 1_000  # values of a dimension that can be asked for at once
HOURS_WITHIN = 31  # days: over longer times there are no figures by the hour
LATEST = 20  # decisions that are listed, if nobody says how many
_AT_ONCE = 50  # rows that are worked on before traffic has its turn again: a millisecond
_DAY = 86_400_000  # milliseconds
_EPOCH = date(1970, 1, 1).toordinal()
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BEYOND = 1 << 53  # a serial number that the board never comes to; numbers of Redis are exact up to here
_NUMBER = re.compile(r"[0-9]{1,9}")
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
_FRESH = {"cache-control": "no-store"}
_PROMETHEUS = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")  # Litestar says it again

Connection = ASGIConnection[Any, Any, Any, Any]
T = TypeVar("T")


def guard(connection: Connection, _: BaseRouteHandler) -> None:
    """The admin key, or 401 `invalid_api_key`."""
    connection.app.state.admin.admit(connection.headers.get("authorization"))


def guard_unless_near(connection: Connection, handler: BaseRouteHandler) -> None:
    """The admin key, except from this machine itself."""
    if not _near(connection):
        guard(connection, handler)


def _near(connection: Connection) -> bool:
    """Whether it comes from loopback. What a proxy on this machine passes on does not."""
    if connection.client is None or any(name in connection.headers for name in _FORWARDED):
        return False
    try:
        address = ip_address(connection.client.host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


@get("/providers/costs/summary", guards=[guard], media_type=MediaType.JSON)
async def costs_summary(state: State) -> Response[bytes]:
    """Today, this month, and how each budget stands."""
    store: Store = state.store
    at = await _asked(store.now())
    day, month = [await _asked(store.counters(label)) for label in labels(at)]
    return Response(encode(summary(state.budgets, at, day, month)), headers=_FRESH)


@get("/providers/costs/stats", guards=[guard], media_type=MediaType.JSON)
async def costs_stats(request: Request[Any, Any, Any], state: State) -> Response[bytes]:
    """The rows of some days, added up; at most `top` values of each dimension, the rest as one."""
    top = _number(request, "top", TOP)
    first, last = await _days(request, state.store)
    stats = Stats(hours=last.toordinal() - first.toordinal() < HOURS_WITHIN)
    try:
        async for rows in _portions(state.store, first, last):
            for row in rows:
                stats.add(row)
    except StoreError as error:
        raise _away(error) from error
    figures = await asyncio.to_thread(stats.to_json, top)
    said = {"start_date": first.isoformat(), "end_date": last.isoformat(), **figures}
    return Response(encode(said), headers=_FRESH)


@get("/providers/costs/export", guards=[guard])
async def costs_export(request: Request[Any, Any, Any], state: State) -> Stream:
    """The rows of some days, one by one, in a file of any size."""
    name = request.query_params.get("format", "json")
    if name not in FORMATS:
        raise invalid(f"format: '{name[:40]}' is not known; it is one of {', '.join(FORMATS)}.", "format")
    media_type, write = FORMATS[name]
    first, last = await _days(request, state.store)
    rows = _portions(state.store, first, last)
    opening = await _asked(_next(rows))  # a store that is away is heard of before the answer begins
    file = f"tollhouse-{first}-to-{last}.{name}"
    headers = {**_FRESH, "content-disposition": f'attachment; filename="{file}"'}
    return Stream(write(_whole(opening, rows)), media_type=media_type, headers=headers)


@get("/metrics", guards=[guard_unless_near], media_type=_PROMETHEUS)
async def metrics(state: State) -> Response[bytes]:
    """The figures of this replica, as Prometheus reads them; and how the budgets stand, if the store can be asked."""
    named = [budget for budget in state.budgets if budget.value != EACH]
    if named:
        with contextlib.suppress(StoreError):
            state.metrics.budgets(await _standing(state.store, named))
    return Response(state.metrics.text(), headers=_FRESH)


@get("/providers/health", guards=[guard], media_type=MediaType.JSON)
async def health(request: Request[Any, Any, Any], state: State) -> Response[bytes]:
    """How each provider and model is, as all replicas see it and as this one does; `provider=` of one alone."""
    _known(request, "provider")
    fleet: Fleet = state.fleet
    book: Pricebook = state.book
    one = request.query_params.get("provider")
    rows = book.rows if one is None else (_row(book, one),)
    told = await _told(state.store)
    shared, own, now = fleet.shared(), fleet.own(), fleet.now()
    shown = vitals.models(book.catalog, rows, shared, own)
    standings = {(provider, name): fleet.standing(provider, name) for provider in shown for name in shown[provider]}
    providers = vitals.health(shown, shared, own, standings, fleet.policy, now)
    said = {"at": iso(now), "replica": state.replica, "shared": told, "providers": providers}
    return Response(encode(said), headers=_FRESH)


@post("/providers/health/{provider:str}/reset", guards=[guard], media_type=MediaType.JSON, status_code=200)
async def health_reset(request: Request[Any, Any, Any], state: State, provider: FromPath[str]) -> Response[bytes]:
    """Close the circuits of a provider and of all its models, or of one model (`model=`), on all replicas."""
    _known(request, "model")  # a misspelt one would close them all
    fleet: Fleet = state.fleet
    book: Pricebook = state.book
    row, model = _row(book, provider), request.query_params.get("model")
    if model is not None:
        counted = vitals.counted(book.catalog, row, model, fleet.shared(), fleet.own())
        if counted is None:
            raise _unknown("model", f"Nothing is known of a model '{model[:100]}' at {provider}.")
        model = counted
    log = structlog.get_logger()
    try:
        names = await fleet.reset(provider, model)
    except StoreError as error:
        log.warning("health reset here only", provider=provider, model=model, why=str(error))
        message = (
            f"The circuits are closed on this replica only ({state.replica}): the store that tells the others cannot "
            "be reached. They are told when it is back."
        )
        raise Failure(Kind.STORE, message, status=503, code="health_store_unavailable") from error
    log.info("health reset", provider=provider, model=model, reset=names)
    return Response(encode({"reset": names}), headers=_FRESH)


@get("/providers/decisions", guards=[guard], media_type=MediaType.JSON, sync_to_thread=False)
def decisions_latest(request: Request[Any, Any, Any], state: State) -> Response[bytes]:
    """Why the last requests to this replica went where they went; at most `limit`, the last one first."""
    _known(request, "limit")
    kept: Decisions = state.decisions
    found = kept.latest(_number(request, "limit", LATEST))
    said = {"replica": state.replica, "kept": len(kept), "decisions": [decisions.to_json(one) for one in found]}
    return Response(encode(said), headers=_FRESH)


@get("/providers/decisions/{request_id:str}", guards=[guard], media_type=MediaType.JSON, sync_to_thread=False)
def decision(state: State, request_id: FromPath[str]) -> Response[bytes]:
    """Why a request went where it went, if it is among the last of this replica."""
    kept: Decisions = state.decisions
    found = kept.find(request_id)
    if found is None:
        where = f"it is not among the last {kept.keep} of this replica ({state.replica})"
        raise _unknown("request_id", f"Nothing is known of a request '{request_id[:100]}': {where}.")
    return Response(encode({"replica": state.replica, **decisions.to_json(found)}), headers=_FRESH)


def _row(book: Pricebook, provider: str) -> ProviderRow:
    for row in book.rows:
        if row.name == provider:
            return row
    there = ", ".join(row.name for row in book.rows) or "none"
    raise _unknown("provider", f"There is no provider '{provider[:100]}' here. There are: {there}.")


def _unknown(param: str, message: str) -> Failure:
    return Failure(
        Kind.CALLER, message, status=404, type="invalid_request_error", code=f"{param}_not_found", param=param
    )


def _known(request: Request[Any, Any, Any], name: str) -> None:
    """Raises a `Failure` (400) for a parameter of any other name."""
    for other in request.query_params:
        if other != name:
            raise invalid(f"'{other[:40]}' is no parameter here; there is '{name}'.", other[:40])


async def _told(store: Store) -> bool:
    """Whether the others can be heard now."""
    try:
        await store.notices(_BEYOND)
    except StoreError:
        return False
    return True


async def _standing(store: Store, named: Sequence[Budget]) -> list[tuple[Budget, Counter]]:
    """Each budget with the counter of its scope, in the windows of this moment."""
    windows = {label.partition(":")[0]: await store.counters(label) for label in labels(await store.now())}
    return [(budget, windows[budget.window].get(budget.scope, Counter())) for budget in named]


async def _portions(store: Store, first: date, last: date) -> AsyncGenerator[Sequence[Entry]]:
    """The rows of these days, a few at a time; in between, others have their turn."""
    start, end = ((day - _EPOCH) * _DAY for day in (first.toordinal(), last.toordinal() + 1))
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


async def _asked(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except StoreError as error:
        raise _away(error) from error


def _away(error: StoreError) -> Failure:
    structlog.get_logger().warning("ledger not read", why=str(error))
    why = "is being rebuilt" if isinstance(error, Lost | Recovering) else "cannot be reached"
    message = f"The store that keeps the ledger {why}. Ask again in a moment."
    return Failure(Kind.STORE, message, status=503, code="budget_store_unavailable")


async def _days(request: Request[Any, Any, Any], store: Store) -> tuple[date, date]:
    """The first and the last day that are asked for; without a word, this month up to today, by the store's clock."""
    first, last = (_date(request, name) for name in ("start_date", "end_date"))
    if first is None or last is None:
        today = date.fromordinal(_EPOCH + await _asked(store.now()) // _DAY)
        first, last = first or today.replace(day=1), last or today
    if first > last:
        raise invalid(f"start_date: {first} is after end_date, {last}.", "start_date")
    return first, last


def _date(request: Request[Any, Any, Any], name: str) -> date | None:
    said = request.query_params.get(name)
    if said is None:
        return None
    try:
        if not _DATE.fullmatch(said):
            raise ValueError
        return date.fromisoformat(said)
    except ValueError:
        raise invalid(f"{name}: '{said[:40]}' is not a date; write it as YYYY-MM-DD, in UTC.", name) from None


def _number(request: Request[Any, Any, Any], name: str, default: int) -> int:
    said = request.query_params.get(name)
    if said is None:
        return default
    if not _NUMBER.fullmatch(said) or not 1 <= int(said) <= MOST:
        raise invalid(f"{name}: '{said[:40]}' is not a whole number from 1 to {MOST}.", name)
    return int(said)


HANDLERS = (
    costs_summary,
    costs_stats,
    costs_export,
    metrics,
    health,
    health_reset,
    decisions_latest,
    decision,
)
