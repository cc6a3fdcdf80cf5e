"""What is configured, and where each value comes from."""

from typing import Any

from litestar import MediaType, Request, Response, get
from litestar.datastructures import State

from adapters.completion import encode
from proxy.admin.asking import FRESH, known
from proxy.admin.guard import guard
from proxy.configuration import rows


@get("/providers/configuration", guards=[guard], media_type=MediaType.JSON, sync_to_thread=False)
def configuration(request: Request[Any, Any, Any], state: State) -> Response[bytes]:
    """The configuration that is in force, value by value, each with its origin; of secrets only fingerprints."""
    known(request)
    return Response(encode({"replica": state.replica, "values": rows(state.settings)}), headers=FRESH)


HANDLERS = (configuration,)
