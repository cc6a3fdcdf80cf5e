"""`tollhouse keys`: the keys that clients present. A new one is shown once: alone on standard output, so that a shell
can take it, and everything else on standard error."""

import sys
from collections.abc import Callable, Mapping, Sequence

import msgspec

from proxy.desk.client import Client, part
from proxy.desk.screen import Cell, Column, Screen
from proxy.desk.trouble import OK, USAGE, Trouble

_STYLES = {"active": "green", "revoked": "red", "expired": "yellow"}


class _Key(msgspec.Struct, kw_only=True):
    """A key as the API shows it; what it does not say is nothing, or no limit."""

    name: str
    status: str = ""
    hint: str | None = None
    user: str | None = None
    agent: str | None = None
    team: str | None = None
    created: str | None = None
    expires: str | None = None
    revoked: str | None = None
    previous_until: str | None = None
    models: list[str] | None = None
    daily: str | None = None
    monthly: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None


class _New(_Key, kw_only=True):
    """With the key itself, this once."""

    key: str


class _All(msgspec.Struct):
    keys: list[_Key]


# What there is to say of a key, and how.
_FIELDS: Mapping[str, Callable[[_Key], str]] = {
    "name": lambda key: key.name,
    "status": lambda key: key.status,
    "key": lambda key: f"...{key.hint}" if key.hint else "",
    "user": lambda key: key.user or "",
    "agent": lambda key: key.agent or "",
    "team": lambda key: key.team or "",
    "models": lambda key: ",".join(key.models or ()),
    "daily USD": lambda key: key.daily or "",
    "monthly USD": lambda key: key.monthly or "",
    "requests/min": lambda key: str(key.requests_per_minute or ""),
    "tokens/min": lambda key: str(key.tokens_per_minute or ""),
    "at once": lambda key: str(key.concurrent or ""),
    "created": lambda key: _moment(key.created),
    "expires": lambda key: _moment(key.expires),
    "revoked": lambda key: _moment(key.revoked),
    "old key until": lambda key: _moment(key.previous_until),
}
_RIGHT = frozenset({"daily USD", "monthly USD", "requests/min", "tokens/min", "at once"})
_COLUMNS = tuple(Column(name, name in _RIGHT, spare=name not in ("name", "status", "key")) for name in _FIELDS)


class Draft(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A key to be made: what `POST /keys` takes."""

    name: str
    user: str | None = None
    agent: str | None = None
    team: str | None = None
    expires: str | None = None
    models: list[str] = []
    daily: str | None = None
    monthly: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None


def create(client: Client, screen: Screen, draft: Draft, *, as_json: bool) -> int:
    """Make one, and print it."""
    return _handed(client, screen, client.post("/keys", draft), as_json=as_json)


def rotate(client: Client, screen: Screen, name: str, grace: int, *, as_json: bool) -> int:
    """Another key under the same name; the old one is good for `grace` more seconds."""
    body = client.post(f"/keys/{part(name)}/rotate", {"grace_seconds": grace})
    return _handed(client, screen, body, as_json=as_json)


def show_all(client: Client, screen: Screen, *, as_json: bool) -> int:
    """Print all there are, those revoked too."""
    body = client.get("/keys")
    keys = client.read(body, _All).keys
    if as_json:
        screen.raw(body)
    elif keys or not screen.terminal:
        screen.table(_COLUMNS, [_cells(key) for key in keys])
    else:
        screen.say("There are no managed keys yet; tollhouse keys create NAME makes one.")
    return OK


def show(client: Client, screen: Screen, name: str, *, as_json: bool) -> int:
    """Print one of them."""
    body = client.get(f"/keys/{part(name)}")
    key = client.read(body, _Key)
    if as_json:
        screen.raw(body)
    else:
        screen.table(*_upright(key, whole=not screen.terminal))
    return OK


def revoke(client: Client, screen: Screen, name: str, *, sure: bool, as_json: bool) -> int:
    """Let it be good no more, nowhere, for good. Who is on a terminal is asked whether he means it."""
    if not sure:
        _confirm(name)
    body = client.delete(f"/keys/{part(name)}")
    if as_json:
        screen.raw(body)
    else:
        screen.say(f"The key {name} is revoked.")
    return OK


def _confirm(name: str) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Trouble(f"Revoking cannot be undone, and there is nobody to ask: tollhouse keys revoke {name} --yes")
    question = f"Revoke the key {name}? Its holders are refused at once, and it cannot be undone. [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Trouble("Nothing was revoked.", USAGE)


def _handed(client: Client, screen: Screen, body: bytes, *, as_json: bool) -> int:
    """A new key, to standard output."""
    new = client.read(body, _New)
    if as_json:
        screen.raw(body)
        return OK
    print(new.key, flush=True)
    screen.note(f"this is the key {new.name}. It is shown this once: keep it where secrets are kept.")
    said = ", ".join(f"{name} {text}" for name, read in _FIELDS.items() if name != "name" and (text := read(new)))
    if said:
        screen.note(said)
    return OK


def _cells(key: _Key) -> list[Cell]:
    return [Cell(read(key), _STYLES.get(key.status, "") if name == "status" else "") for name, read in _FIELDS.items()]


def _upright(key: _Key, *, whole: bool) -> tuple[Sequence[Column], Sequence[Sequence[Cell]]]:
    """One line for each field; unless it is to be `whole`, for each that has something to say."""
    named = zip(_FIELDS, _cells(key), strict=True)
    return (Column("field"), Column("value")), [(Cell(name), cell) for name, cell in named if whole or cell.text]


def _moment(moment: str | None) -> str:
    return f"{moment[:19]}Z" if moment else ""
