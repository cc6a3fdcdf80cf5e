"""The doors that clients use: OpenAI's endpoints, and the two that tell whether we live.

The endpoint that carries traffic is a raw ASGI route; the others are ordinary handlers.
"""

from typing import Any

from litestar import MediaType, Request, Response, asgi, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import Receive, Scope, Send

from adapters.base import Failure, Kind
from adapters.completion import encode, error_object
from proxy.downstream import Downstream


@asgi("/v1/chat/completions", copy_scope=False)
async def chat(scope: Scope, receive: Receive, send: Send) -> None:
    """POST a chat completion, plain or streamed."""
    state = scope["litestar_app"].state
    down = Downstream(scope, receive, send)
    if down.method != "POST":
        body = error_object(_no_such_url(f"Method {down.method} is not allowed here; use POST.", 405))
        await down.answer(405, [(b"content-type", b"application/json"), (b"allow", b"POST")], body)
        return
    await state.gate.serve(down, lambda: state.keyring.admit(down.header(b"authorization")))


@get("/v1/models", media_type=MediaType.JSON, sync_to_thread=False)
def models(request: Request[Any, Any, Any], state: State) -> bytes:
    """The models on offer, in OpenAI's shape."""
    state.keyring.admit(request.headers.get("authorization"))
    return encode({"object": "list", "data": state.listing()})


@get("/v1/models/{model_id:path}", media_type=MediaType.JSON, sync_to_thread=False)
def model(request: Request[Any, Any, Any], state: State, model_id: str) -> bytes:
    """One model, by its name; `provider/name` is understood too."""
    state.keyring.admit(request.headers.get("authorization"))
    name = model_id.removeprefix("/")
    for listed in state.listing():
        if name in (listed.id, f"{listed.owned_by}/{listed.id}"):
            return encode(listed)
    raise Failure(
        Kind.CALLER,
        f"The model '{name[:200]}' does not exist. GET /v1/models lists those that do.",
        status=404,
        type="invalid_request_error",
        code="model_not_found",
        param="model",
    )


@get("/healthz", media_type=MediaType.TEXT, sync_to_thread=False)
def healthz() -> str:
    """Alive."""
    return "ok"


@get("/readyz", media_type=MediaType.TEXT, sync_to_thread=False)
def readyz(state: State) -> Response[str]:
    """Ready for traffic; 503 while requests are only being finished."""
    return Response("draining", status_code=503) if state.draining else Response("ready")


def refuse(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Every error outside the raw route, in OpenAI's shape."""
    failure = error if isinstance(error, Failure) else _foreign(request, error)
    headers = error.headers or {} if isinstance(error, MethodNotAllowedException) else {}  # it says what is allowed
    return Response(error_object(failure), status_code=failure.status, media_type=MediaType.JSON, headers=headers)


def _foreign(request: Request[Any, Any, Any], error: Exception) -> Failure:
    if isinstance(error, NotFoundException):
        return _no_such_url(f"Invalid URL ({request.method} {request.url.path})", 404)
    if isinstance(error, HTTPException):
        return _no_such_url(error.detail, error.status_code)
    return Failure(Kind.TRANSIENT, "The proxy failed; its log says why.", status=500, code="internal_error")


def _no_such_url(message: str, status: int) -> Failure:
    return Failure(Kind.CALLER, message, status=status, type="invalid_request_error")


HANDLERS = (chat, models, model, healthz, readyz)
