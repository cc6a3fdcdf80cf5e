"""Why a request went where it went, as this replica remembers it."""

from typing import Any

from litestar import MediaType, Request, Response, get
from litestar.datastructures import State
from litestar.params import FromPath

from adapters.completion import encode
from proxy import decisions
from proxy.admin.asking import FRESH, known, number, unknown
from proxy.admin.guard import guard
from proxy.decisions import Decisions

LATEST = 20  # decisions that are listed, if nobody says how many


@get("/providers/decisions", guards=[guard], media_type=MediaType.JSON, sync_to_thread=False)
def decisions_latest(request: Request[Any, Any, Any], state: State) -> Response[bytes]:
    """Why the last requests to this replica went where they went; at most `limit`, the last one first."""
    known(request, "limit")
    kept: Decisions = state.decisions
    found = kept.latest(number(request, "limit", LATEST))
    said = {"replica": state.replica, "kept": len(kept), "decisions": [decisions.to_json(one) for one in found]}
    return Response(encode(said), headers=FRESH)


@get("/providers/decisions/{request_id:str}", guards=[guard], media_type=MediaType.JSON, sync_to_thread=False)
def decision(state: State, request_id: FromPath[str]) -> Response[bytes]:
    """Why a request went where it went, if it is among the last of this replica."""
    kept: Decisions = state.decisions
    found = kept.find(request_id)
    if found is None:
        where = f"it is not among the last {kept.keep} of this replica ({state.replica})"
        raise unknown("request_id", f"Nothing is known of a request '{request_id[:100]}': {where}.")
    return Response(encode({"replica": state.replica, **decisions.to_json(found)}), headers=FRESH)


HANDLERS = (decisions_latest, decision)
