"""The page and its assets. They hold no data: whoever has not signed in sees a form.

All of it is ours or vendored (assets/vendor/vendored.json), and nothing on the page may speak to anybody else: the
content security policy says so, and allows neither scripts nor styles inside the page.
"""

import functools
import hashlib
from pathlib import Path
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.params import FromPath

from proxy.admin.asking import unknown

ASSETS = Path(__file__).parent / "assets"
_PAGE = "page.html"
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    "": "text/plain",  # licences
    ".md": "text/plain",
}
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
STRICT = {
    "content-security-policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Asset(msgspec.Struct, frozen=True):
    """One file as it is served. `etag` is strong: of the very bytes."""

    content: bytes
    media_type: str
    etag: str


@functools.cache
def assets() -> dict[str, Asset]:
    """All files, by their path; read once, when the first of them is asked for."""
    return {
        file.relative_to(ASSETS).as_posix(): _asset(file)
        for file in sorted(ASSETS.rglob("*"))
        if file.is_file() and file.suffix in _TYPES
    }


def _asset(file: Path) -> Asset:
    content = file.read_bytes()
    return Asset(content, _TYPES[file.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


@get("/dashboard", media_type=MediaType.HTML, sync_to_thread=False, include_in_schema=False)
def page(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The page."""
    return _served(request, assets()[_PAGE])


@get("/dashboard/assets/{path:path}", sync_to_thread=False, include_in_schema=False)
def asset(request: Request[Any, Any, Any], path: FromPath[str]) -> Response[bytes]:
    """A file of the page; 304 if the browser has it already."""
    found = assets().get(path.removeprefix("/"))
    if found is None:
        raise unknown("asset", "The dashboard has no such file.")
    return _served(request, found)


def _served(request: Request[Any, Any, Any], asset: Asset) -> Response[bytes]:
    # "no-cache": kept, but asked for each time; so that after an update nobody has half of the old page.
    headers = {**STRICT, "etag": asset.etag, "cache-control": "no-cache"}
    known = {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}
    if asset.etag in known:
        return Response(b"", status_code=304, headers=headers, media_type=asset.media_type)
    return Response(asset.content, headers=headers, media_type=asset.media_type)


HANDLERS = (page, asset)
