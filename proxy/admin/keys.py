"""The keys that clients present: made, changed, revoked. The text of a key is in one answer, of the act that made it,
and nowhere else."""

import re
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

import msgspec
import structlog
from litestar import MediaType, Request, Response, delete, get, patch, post
from litestar.datastructures import State
from litestar.params import FromPath

from adapters.base import Failure, Kind, invalid
from adapters.completion import encode
from proxy import keys
from proxy.admin.asking import FRESH, known, unknown
from proxy.admin.guard import guard
from proxy.keys import Draft, Fault, Key, Patch, Terms
from proxy.keys.index import KeyRevoked, KeyTaken, KeyUnknown
from proxy.roster import Roster
from proxy.spending import nano
from proxy.store import StoreError

_UNSURE = "The store that keeps the keys did not answer: nobody knows whether it was done. Look, and ask again."
LARGEST = 131_072  # bytes of a body: a hundred of the longest patterns in four bytes a letter are less

# What a complaint of msgspec is about.
_ABOUT = re.compile(r"`\$\.(\w+)|(?:unknown|required) field `([^`]{1,40})`")

Asked = Request[Any, Any, Any]
T = TypeVar("T")


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how many seconds the text before is good beside the new one."""

    grace_seconds: Annotated[int, msgspec.Meta(ge=0, le=keys.LONGEST_GRACE)] = 0


@post("/keys", guards=[guard], media_type=MediaType.JSON, request_max_body_size=LARGEST)
async def key_create(request: Asked, state: State) -> Response[bytes]:
    """A new key. Its text is in `key`, this once."""
    roster = _roster(request, state)
    draft = await _body(request, Draft)
    key, text = await _done(roster.create(draft.name, _terms(draft, roster)), draft.name)
    _log("key created", key)
    return _shown(roster, key, text, status=201)


@get("/keys", guards=[guard], media_type=MediaType.JSON, sync_to_thread=False)
def key_list(request: Asked, state: State) -> Response[bytes]:
    """All keys that were ever made, by name; those revoked too."""
    roster = _roster(request, state)
    now = roster.now()
    return Response(encode({"keys": [keys.to_json(key, now) for key in roster.all()]}), headers=FRESH)


@get("/keys/{name:str}", guards=[guard], media_type=MediaType.JSON, sync_to_thread=False)
def key_one(request: Asked, state: State, name: FromPath[str]) -> Response[bytes]:
    """One key."""
    roster = _roster(request, state)
    key = roster.get(name)
    if key is None:
        raise _nobody(name)
    return _shown(roster, key)


@patch("/keys/{name:str}", guards=[guard], media_type=MediaType.JSON, request_max_body_size=LARGEST)
async def key_change(request: Asked, state: State, name: FromPath[str]) -> Response[bytes]:
    """The key under other terms: what is not named stays, what is null is taken away."""
    roster = _roster(request, state)
    terms = _terms(await _body(request, Patch), roster)
    key = await _done(roster.change(name, terms), name)
    _log("key changed", key, terms=terms.said)
    return _shown(roster, key)


@post("/keys/{name:str}/rotate", guards=[guard], media_type=MediaType.JSON, status_code=200)
async def key_rotate(request: Asked, state: State, name: FromPath[str]) -> Response[bytes]:
    """Another text for the same key, in `key`, this once; the one before is good for `grace_seconds` more."""
    roster = _roster(request, state)
    rotation = await _body(request, Rotation)
    key, text = await _done(roster.rotate(name, rotation.grace_seconds), name)
    _log("key rotated", key, grace_seconds=rotation.grace_seconds)
    return _shown(roster, key, text)


@delete("/keys/{name:str}", guards=[guard], media_type=MediaType.JSON, status_code=200)
async def key_revoke(request: Asked, state: State, name: FromPath[str]) -> Response[bytes]:
    """The key is good no more, for good. Whoever asks again hears the same."""
    roster = _roster(request, state)
    here = (
        f"The key is revoked on this replica only ({state.replica}): the store that tells the others cannot be "
        "reached. They are told when it is back."
    )
    key = await _done(roster.revoke(name), name, here)
    _log("key revoked", key)
    return _shown(roster, key)


# ---- what is asked with -----------------------------------------------------------------------------------------


def _roster(request: Asked, state: State) -> Roster:
    """Raises a `Failure` while nobody knows what keys there are: an empty list would be a lie."""
    known(request)
    roster: Roster = state.roster
    if not roster.read:
        raise _away("The store that keeps the keys cannot be reached, and was not since this replica started.")
    return roster


async def _body(request: Asked, shape: type[T]) -> T:
    """The body, which may be left out where nothing must be said."""
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # their words name members, and never a value
        about = _ABOUT.search(str(error))
        raise invalid(f"{str(error)[:300]}.", (about[1] or about[2]) if about else None) from None


def _terms(said: Patch, roster: Roster) -> Terms:
    try:
        return keys.read(said, roster.now(), nano)
    except Fault as fault:
        raise invalid(str(fault), fault.param) from fault


# ---- what is answered -------------------------------------------------------------------------------------------


async def _done(act: Awaitable[T], name: str, untold: str = _UNSURE) -> T:
    try:
        return await act
    except Fault as fault:
        raise invalid(str(fault), fault.param) from fault
    except KeyUnknown:
        raise _nobody(name) from None
    except KeyTaken:
        why = "a key of this name, or was one: a name is not given twice"
        raise _conflict(f"There is {why}, so that what it spent stays its own.", "key_exists", "name") from None
    except KeyRevoked:
        message = f"The key '{name}' was revoked, and stays so. Make another one."
        raise _conflict(message, "key_revoked", None) from None
    except StoreError as error:
        structlog.get_logger().warning("key not written", key=name, why=str(error))
        raise _away(untold) from error


def _nobody(name: str) -> Failure:
    return unknown("key", f"There is no managed key '{name[:100]}'. GET /keys lists those that there are.")


def _conflict(message: str, code: str, param: str | None) -> Failure:
    return Failure(Kind.CALLER, message, status=409, type="invalid_request_error", code=code, param=param)


def _away(message: str) -> Failure:
    return Failure(Kind.STORE, message, status=503, code="key_store_unavailable", retry_after=1)


def _shown(roster: Roster, key: Key, text: str | None = None, status: int = 200) -> Response[bytes]:
    shown = keys.to_json(key, roster.now())
    return Response(encode({"key": text, **shown} if text else shown), status_code=status, headers=FRESH)


def _log(event: str, key: Key, **more: Any) -> None:
    """Who did what, and never a key's text."""
    structlog.get_logger().info(event, key=key.name, by="admin", **more)


HANDLERS = (key_create, key_list, key_one, key_change, key_rotate, key_revoke)
