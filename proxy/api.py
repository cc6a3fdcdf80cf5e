"""The doors that clients use: OpenAI's endpoints, and the two that tell whether we live.

The endpoint that carries traffic is a raw ASGI route; the others are ordinary handlers.
"""

import math
import time
from collections.abc import Coroutine
from typing import Any

import structlog
from litestar import MediaType, Request, Response, asgi, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.params import FromPath
from litestar.types import Receive, Scope, Send

from adapters.base import Failure, Kind
from adapters.completion import encode, error_object
from proxy.admin.origin import local, ours
from proxy.auth import NOBODY, Caller, Keyring
from proxy.catalog import Listed
from proxy.downstream import Downstream
from proxy.feedback import parse
from proxy.front import CHAT
from proxy.gate import Gate
from proxy.keys import allows
from proxy.store import StoreError

_BROWSERS = ("host", "origin", "sec-fetch-site")
_LONGEST_FEEDBACK = 32 * 1024  # bytes: the longest comment, however it is escaped
_CODES = {413: "request_too_large"}  # of refusals that the framework makes


@asgi(CHAT, copy_scope=False)
async def chat(scope: Scope, receive: Receive, send: Send) -> None:
    """POST a chat completion, plain or streamed."""
    await serve(scope["litestar_app"].state, scope, receive, send)


async def serve(state: State, scope: Scope, receive: Receive, send: Send) -> None:
    """The same, with what the doors know. Never raises but for a cancellation from outside."""
    down = Downstream(scope, receive, send)
    if down.method != "POST":
        body = error_object(_no_such_url(f"Method {down.method} is not allowed here; use POST.", 405))
        await down.answer(405, [(b"content-type", b"application/json"), (b"allow", b"POST")], body)
        return
    await state["answer"](down)


class Door:
    """The door of the endpoint that carries traffic, by the configuration that holds now: each request would have to
    look that up in the state. `anonymous`: nobody needs a key, wherever this process listens."""

    gate: Gate
    keyring: Keyring

    def __init__(self, *, anonymous: bool) -> None:
        self._anonymous = anonymous

    def answer(self, down: Downstream) -> Coroutine[Any, Any, None]:
        """A POST. Never raises but for a cancellation from outside."""
        return self.gate.serve(down, self._admitted)

    def _admitted(self, down: Downstream) -> Caller:
        """Who asks. Where no key is wanted, any page that a person of this machine visits could spend its money:
        browsers say where a request comes from, and only they do. A page whose name leads to this machine (DNS
        rebinding) passes for one of ours; but it calls us by that name."""
        caller = self.keyring.admit(down.header(b"authorization"))
        if caller is NOBODY:  # as `keyring.open` says, which asks more
            named = {name: said for name in _BROWSERS if (said := down.header(name.encode())) is not None}
            rebound = not self._anonymous and not local(named.get("host", ""))
            if named.keys() != {"host"} and (rebound or ours(named) is False):
                raise Failure(
                    Kind.CALLER,
                    "This was asked by a page of another site. With client keys (TOLLHOUSE_CLIENT_KEYS), pages that "
                    "have one may ask.",
                    status=403,
                    type="invalid_request_error",
                    code="cross_site_request",
                )
        return caller


def _listing(request: Request[Any, Any, Any], state: State) -> list[Listed]:
    """What the caller may ask for."""
    caller: Caller = state.keyring.admit(request.headers.get("authorization"))
    listed: list[Listed] = state.listing()
    return [one for one in listed if allows(caller.models, one.id) or allows(caller.models, _full(one))]


def _full(listed: Listed) -> str:
    return f"{listed.owned_by}/{listed.id}"


@get("/v1/models", media_type=MediaType.JSON, sync_to_thread=False)
def models(request: Request[Any, Any, Any], state: State) -> bytes:
    """The models on offer, in OpenAI's shape."""
    return encode({"object": "list", "data": _listing(request, state)})


@get("/v1/models/{model_id:path}", media_type=MediaType.JSON, sync_to_thread=False)
def model(request: Request[Any, Any, Any], state: State, model_id: FromPath[str]) -> bytes:
    """One model, by its name; `provider/name` is understood too."""
    name = model_id.removeprefix("/")
    for listed in _listing(request, state):
        if name in (listed.id, _full(listed)):
            return encode(listed)
    raise Failure(
        Kind.CALLER,
        f"The model '{name[:200]}' does not exist. GET /v1/models lists those that do.",
        status=404,
        type="invalid_request_error",
        code="model_not_found",
        param="model",
    )


@post("/v1/feedback", media_type=MediaType.JSON, status_code=200)
async def feedback(request: Request[Any, Any, Any], state: State) -> bytes:
    """What the caller says of an answer that it was given; said again, it takes the place of what was said before."""
    caller: Caller = state.keyring.admit(request.headers.get("authorization"))
    said = parse(await _body(request), caller.key, int(time.time() * 1000))
    try:
        await state.books.landed(said.request)
        known = await state.store.judge(said)
    except StoreError as error:
        message = "The store that keeps what is said of answers cannot be reached. Say it again in a moment."
        raise Failure(Kind.STORE, message, status=503, code="feedback_store_unavailable", retry_after=1) from error
    if not known:
        message = f"There is no request '{said.request[:100]}' of this key that is over."
        raise Failure(
            Kind.CALLER,
            message,
            status=404,
            type="invalid_request_error",
            code="request_not_found",
            param="request_id",
        )
    return encode({"object": "feedback", "request_id": said.request, "score": said.score, "comment": said.comment})


async def _body(request: Request[Any, Any, Any]) -> bytes:
    """All of it. Raises a `Failure` (413) as soon as it is more than this door takes."""
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > _LONGEST_FEEDBACK:
            raise Failure(
                Kind.CALLER,
                f"The body of the request is larger than {_LONGEST_FEEDBACK} bytes.",
                status=413,
                type="invalid_request_error",
                code="request_too_large",
            )
    return bytes(parts)


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
    headers = dict(error.headers or {}) if isinstance(error, MethodNotAllowedException) else {}  # what is allowed
    if failure.retry_after is not None:
        headers["retry-after"] = str(math.ceil(failure.retry_after))
    return Response(error_object(failure), status_code=failure.status, media_type=MediaType.JSON, headers=headers)


def _foreign(request: Request[Any, Any, Any], error: Exception) -> Failure:
    if not isinstance(error, HTTPException):
        structlog.get_logger().error("internal error", door=f"{request.method} {request.url.path}", exc_info=error)
    if isinstance(error, NotFoundException):
        return _no_such_url(f"Invalid URL ({request.method} {request.url.path})", 404)
    if isinstance(error, HTTPException):
        return _no_such_url(error.detail, error.status_code, _CODES.get(error.status_code))
    return Failure(Kind.TRANSIENT, "The proxy failed; its log says why.", status=500, code="internal_error")


def _no_such_url(message: str, status: int, code: str | None = None) -> Failure:
    return Failure(Kind.CALLER, message, status=status, type="invalid_request_error", code=code)


HANDLERS = (chat, models, model, feedback, healthz, readyz)
