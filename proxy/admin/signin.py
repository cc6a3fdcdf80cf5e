"""Signing in to the dashboard with the admin key, and out. A page that stays open looks at `GET` every few minutes: so
its session goes on, for half a day at most."""

from typing import Any

import msgspec
from litestar import MediaType, Request, Response, delete, get, post
from litestar.datastructures import Cookie, State

from adapters.base import invalid
from adapters.completion import encode
from proxy.admin.asking import FRESH
from proxy.admin.guard import admit, foreign, sessions_of
from proxy.admin.origin import ours
from proxy.admin.session import COOKIE, SECONDS
from proxy.stats import iso

LARGEST = 16_384  # bytes of a body: a key is far shorter
_MILLI = 1_000

Asked = Request[Any, Any, Any]


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """What is sent to sign in: the admin key."""

    key: str


@post("/dashboard/session", status_code=204, request_max_body_size=LARGEST)
async def session_begin(request: Asked) -> Response[None]:
    """Sign in: the answer sets a cookie that opens these doors for half an hour. Without an admin key there is nothing
    to sign in to, and no cookie."""
    _from_here(request)
    try:
        said = msgspec.json.decode(await request.body(), type=SignIn)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # their words name members, and never a value
        raise invalid(f'Expected {{"key": "..."}}: {error}.', "key") from None
    admit(request, f"Bearer {said.key}")
    sessions = sessions_of(request)
    text = sessions and sessions.begin()
    return Response(None, status_code=204, headers=FRESH, cookies=[_cookie(request, text)] if text else [])


@get("/dashboard/session", media_type=MediaType.JSON, sync_to_thread=False)
def session_state(request: Asked, state: State) -> Response[bytes]:
    """Whether one must sign in, whether one has, and until when. A session whose half hour is half over is renewed, but
    not for ever: after twelve hours one must sign in again."""
    sessions = sessions_of(request)
    came = request.cookies.get(COOKIE)
    expiry = sessions and sessions.expiry(came)
    cookies = []
    if sessions and came and expiry and expiry - sessions.now() < SECONDS / 2 and (text := sessions.renewed(came)):
        cookies.append(_cookie(request, text))
        expiry = sessions.expiry(text)
    said = {
        "needed": not state.admin.open,
        "signed_in": expiry is not None,
        "expires_at": iso(expiry * _MILLI) if expiry else None,
    }
    return Response(encode(said), headers=FRESH, cookies=cookies)


@delete("/dashboard/session", sync_to_thread=False)
def session_end(request: Asked) -> Response[None]:
    """Sign out: the cookie is taken away."""
    _from_here(request)
    return Response(None, status_code=204, headers=FRESH, cookies=[_cookie(request, "")])


def _from_here(request: Asked) -> None:
    if ours(request.headers) is False:
        raise foreign()


def _cookie(request: Asked, text: str) -> Cookie:
    """Not for scripts, nor for pages of others; and once it came over TLS, for TLS only."""
    secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    age = SECONDS if text else 0
    return Cookie(COOKIE, value=text, path="/", max_age=age, httponly=True, samesite="strict", secure=secure)


HANDLERS = (session_begin, session_state, session_end)
