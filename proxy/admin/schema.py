"""`GET /openapi.json`: OpenAPI 3.1 of all doors.

Litestar walks the routes: paths, methods, parameters in paths, and what the docstrings say. What it cannot know of
handlers that read and write bytes stands in `proxy.admin.doors`, and is put in here: types, constraints, refusals,
examples. There is no page to show it: those that there are load their scripts from elsewhere.
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, Router, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Tag
from litestar.routes import ASGIRoute
from litestar.types import ControllerRouterHandler

from adapters.completion import encode
from proxy import __version__
from proxy.admin.answers.said import ErrorAnswer
from proxy.admin.doors import DOORS, JSON, TEXT, Door, Who
from proxy.admin.examples import EXAMPLES
from proxy.admin.session import COOKIE

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
_METHODS = ("get", "post", "put", "patch", "delete")
_PAGES = "/dashboard"  # pages and what they load, for browsers; no part of the API but what DOORS has of it
# Who may come in -> what must be shown, one of these; and how he may be refused.
_SECURITY: Mapping[Who, tuple[list[dict[str, list[str]]], tuple[int, ...]]] = {
    "admin": ([{"adminKey": []}, {"session": []}], (401, 403, 429)),
    "scraper": ([{"adminKey": []}, {"session": []}, {}], (401, 403, 429)),
    "client": ([{"clientKey": []}, {}], (401, 503)),
    "anybody": ([], ()),
}
_REFUSALS: Mapping[int, str] = {
    400: "The request is wrong; `param` says where.",
    401: "The key is missing or wrong (`invalid_api_key`).",
    403: "A page of somebody else asked (`cross_site_request`), or this machine was called by a name that is none of "
    "its own (`host_not_allowed`).",
    404: "There is no such thing; `code` says what was looked for.",
    409: "Somebody else was quicker, or the name is taken.",
    413: "The body is too large.",
    429: "Too many wrong keys came from this address; `retry-after` says when to ask again.",
    503: "The store that is needed cannot be reached; ask again in a moment.",
}
_PARTS: Mapping[str, tuple[str, str]] = {
    "provider": ("A provider, as `GET /providers/health` names it.", "openai"),
    "request_id": ("The id of a request: the header `x-request-id` of its answer.", "req_0f6c1f0a7d3e4b5c"),
    "name": ("The name of a key.", "ci"),
    "model_id": ("A model's name, or `provider/name`.", "gpt-4o-mini"),
}


class _Nowhere(Router):
    """Litestar's own routes of documentation are not wanted."""

    def register(self, value: ControllerRouterHandler) -> list[Any]:
        """Takes nothing."""
        return []


CONFIG = OpenAPIConfig(
    title="tollhouse",
    version=__version__,
    summary="One door to OpenAI, Anthropic and Gemini",
    description="Errors are OpenAI's error object, four members always. Money is a decimal of US dollars, in a string.",
    openapi_router=_Nowhere("/openapi", route_handlers=[]),
    render_plugins=[JsonRenderPlugin()],
    use_handler_docstrings=True,
    tags=[Tag(name=name) for name in dict.fromkeys(door.tag for door in DOORS.values())],
    components=Components(
        security_schemes={
            "adminKey": SecurityScheme(type="http", scheme="bearer", description="TOLLHOUSE_ADMIN_KEY"),
            "clientKey": SecurityScheme(
                type="http", scheme="bearer", description="TOLLHOUSE_CLIENT_KEYS, or a key of `POST /keys`"
            ),
            "session": SecurityScheme(
                type="apiKey", name=COOKIE, security_scheme_in="cookie", description="of `POST /dashboard/session`"
            ),
        }
    ),
)


@get("/openapi.json", media_type=MediaType.JSON, sync_to_thread=True)
def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
    """All doors of this server, described for programs (OpenAPI 3.1)."""
    state = request.app.state
    if "openapi" not in state:
        state["openapi"] = encode(document(request.app))
    return Response(state["openapi"], headers={"cache-control": "no-cache"})


def document(app: Litestar) -> Json:
    """The description of an application: its routes, each with what `DOORS` says of it."""
    whole: Json = app.openapi_schema.to_schema()
    schemas, components = msgspec.json.schema_components(_types(), ref_template=_REF)
    named = dict(zip(map(_key, _types()), schemas, strict=True))
    paths = {path: item for path, item in whole["paths"].items() if not path.startswith(_PAGES)}
    for operation, door in DOORS.items():
        method, _, path = operation.partition(" ")
        drawn = whole["paths"].get(path, {}).get(method.lower())
        if drawn is not None or path in _raw(app):
            paths.setdefault(path, {})[method.lower()] = _operation(door, drawn or {}, named)
    whole["paths"] = dict(sorted(paths.items()))
    whole["components"]["schemas"] = _clean({**whole["components"].get("schemas", {}), **components})
    return whole


def _raw(app: Litestar) -> set[str]:
    """Routes that Litestar does not look into."""
    return {route.path for route in app.routes if isinstance(route, ASGIRoute)}


def _types() -> list[Any]:
    """All types that are to be described, once each."""
    asked = [door.body for door in DOORS.values() if isinstance(door.body, type)]
    answered = [shape for door in DOORS.values() for shape in door.answers.values() if shape is not None]
    return list({_key(shape): shape for shape in (ErrorAnswer, *asked, *answered)}.values())


def _key(shape: Any) -> str:
    return str(shape)


def _operation(door: Door, drawn: Json, named: Mapping[str, Json]) -> Json:
    security, implied = _SECURITY[door.who]
    operation: Json = {
        "tags": [door.tag],
        "summary": door.summary,
        "description": drawn.get("description", door.summary),
        "operationId": door.id,
        "security": security,
        "responses": _responses(door, implied, named),
    }
    if parameters := [*map(_part, drawn.get("parameters", ())), *_queries(door)]:
        operation["parameters"] = parameters
    if door.body is not None:
        schema = named[_key(door.body)] if isinstance(door.body, type) else door.body
        content = {JSON: {"schema": schema, "examples": {"one": {"value": door.body_example}}}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _responses(door: Door, implied: Iterable[int], named: Mapping[str, Json]) -> Json:
    good: Json = {"description": HTTPStatus(door.status).description or door.summary}
    if door.answers:
        good["content"] = {media: _content(door, media, shape, named) for media, shape in door.answers.items()}
    error = {"content": {JSON: {"schema": named[_key(ErrorAnswer)]}}}
    refused = {str(status): {"description": _REFUSALS[status], **error} for status in {*implied, *door.refuses}}
    words = {
        str(status): {"description": said, "content": {TEXT: {"schema": {"type": "string"}}}}
        for status, said in door.texts.items()
    }
    rest = {"default": {"description": "OpenAI's error object, whatever it came to.", **error}} if door.any else {}
    return {str(door.status): good, **dict(sorted({**refused, **words}.items())), **rest}


def _content(door: Door, media: str, shape: Any, named: Mapping[str, Json]) -> Json:
    if shape is None:
        return {"schema": {"type": "string"}}
    content: Json = {"schema": named[_key(shape)]}
    if example := EXAMPLES.get(door.id):
        content["examples"] = {"one": {"value": msgspec.to_builtins(example())}}
    return content


def _part(parameter: Json) -> Json:
    """A parameter in the path."""
    meaning, example = _PARTS[parameter["name"]]
    return {
        "name": parameter["name"],
        "in": "path",
        "required": True,
        "description": meaning,
        "schema": {"type": "string", "minLength": 1},
        "example": example,
    }


def _queries(door: Door) -> list[Json]:
    return [
        {
            "name": query.name,
            "in": "query",
            "required": False,
            "description": query.meaning,
            "schema": dict(query.schema),
            "example": query.example,
        }
        for query in door.query
    ]


def _clean(value: Any) -> Any:
    """Docstrings on one line, as they are read."""
    if isinstance(value, dict):
        return {key: _clean(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_clean(part) for part in value]
    return " ".join(value.split()) if isinstance(value, str) else value


HANDLERS = (openapi,)
