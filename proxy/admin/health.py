"""Who is healthy, as all replicas have told each other; and a circuit closed by hand."""

from typing import Any

import structlog
from litestar import MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from adapters.base import Failure, Kind
from adapters.completion import encode
from proxy import vitals
from proxy.admin.asking import FRESH, known, unknown
from proxy.admin.guard import guard
from proxy.catalog import ProviderRow
from proxy.fleet import Fleet
from proxy.pricebook import Pricebook
from proxy.stats import iso
from proxy.store import Store, StoreError

_BEYOND = 1 << 53  # a serial number that the board never comes to; numbers of Redis are exact up to here


@get("/providers/health", guards=[guard], media_type=MediaType.JSON)
async def health(request: Request[Any, Any, Any], state: State) -> Response[bytes]:
    """How each provider and model is, as all replicas see it and as this one does; `provider=` of one alone."""
    known(request, "provider")
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
    return Response(encode(said), headers=FRESH)


@post("/providers/health/{provider:str}/reset", guards=[guard], media_type=MediaType.JSON, status_code=200)
async def health_reset(request: Request[Any, Any, Any], state: State, provider: FromPath[str]) -> Response[bytes]:
    """Close the circuits of a provider and of all its models, or of one model (`model=`), on all replicas."""
    known(request, "model")  # a misspelt one would close them all
    fleet: Fleet = state.fleet
    book: Pricebook = state.book
    row, model = _row(book, provider), request.query_params.get("model")
    if model is not None:
        counted = vitals.counted(book.catalog, row, model, fleet.shared(), fleet.own())
        if counted is None:
            raise unknown("model", f"Nothing is known of a model '{model[:100]}' at {provider}.")
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
    return Response(encode({"reset": names}), headers=FRESH)


def _row(book: Pricebook, provider: str) -> ProviderRow:
    for row in book.rows:
        if row.name == provider:
            return row
    there = ", ".join(row.name for row in book.rows) or "none"
    raise unknown("provider", f"There is no provider '{provider[:100]}' here. There are: {there}.")


async def _told(store: Store) -> bool:
    """Whether the others can be heard now."""
    try:
        await store.notices(_BEYOND)
    except StoreError:
        return False
    return True


HANDLERS = (health, health_reset)
