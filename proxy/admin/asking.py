"""What these doors are asked with, read strictly; and what they say when the store cannot answer."""

import re
from collections.abc import Awaitable
from datetime import date
from typing import Any, TypeVar

import structlog
from litestar import Request

from adapters.base import Failure, Kind, invalid
from proxy.store import Lost, Recovering, Store, StoreError

MOST = 1_000  # values of a dimension that can be asked for at once
FRESH = {"cache-control": "no-store"}
DAY = 86_400_000  # milliseconds
EPOCH = date(1970, 1, 1).toordinal()
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"[0-9]{1,9}")

T = TypeVar("T")


def unknown(param: str, message: str) -> Failure:
    return Failure(
        Kind.CALLER, message, status=404, type="invalid_request_error", code=f"{param}_not_found", param=param
    )


def known(request: Request[Any, Any, Any], *names: str) -> None:
    """Raises a `Failure` (400) for a parameter of any other name, and for one that is there twice."""
    there = " and ".join(f"'{name}'" for name in names)
    for name, said in request.query_params.dict().items():
        if name not in names:
            raise invalid(f"'{name[:40]}' is no parameter here; there is {there or 'none'}.", name[:40])
        if len(said) > 1:
            raise invalid(f"{name}: given {len(said)} times; give it once.", name)


async def asked(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except StoreError as error:
        raise away(error) from error


def away(error: StoreError) -> Failure:
    structlog.get_logger().warning("ledger not read", why=str(error))
    why = "is being rebuilt" if isinstance(error, Lost | Recovering) else "cannot be reached"
    message = f"The store that keeps the ledger {why}. Ask again in a moment."
    return Failure(Kind.STORE, message, status=503, code="budget_store_unavailable")


async def days(request: Request[Any, Any, Any], store: Store) -> tuple[date, date]:
    """The first and the last day that are asked for; without a word, this month up to today, by the store's clock."""
    first, last = (_date(request, name) for name in ("start_date", "end_date"))
    if first is None or last is None:
        today = date.fromordinal(EPOCH + await asked(store.now()) // DAY)
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


def number(request: Request[Any, Any, Any], name: str, default: int) -> int:
    said = request.query_params.get(name)
    if said is None:
        return default
    if not _NUMBER.fullmatch(said) or not 1 <= int(said) <= MOST:
        raise invalid(f"{name}: '{said[:40]}' is not a whole number from 1 to {MOST}.", name)
    return int(said)
