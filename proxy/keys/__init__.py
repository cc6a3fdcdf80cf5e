"""Managed client keys: what is kept of one, who may do what with it, and how it comes, changes and goes. Pure.

The key itself is shown once and never kept: what is kept is its HMAC-SHA-256 under a secret of ours, so that whoever
reads the store can neither use nor forge one (a key has 256 bits of its own: there is nothing to guess). Its name is
what the ledger counts by, so that a key that is rotated goes on with the same budgets.

    terms  what is asked of a key, as people write it, and read
"""

import hmac
import math
import re
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import msgspec
from msgspec.structs import replace

from proxy.budget import MOST, Budget
from proxy.cost import dollars
from proxy.keys.terms import LATEST, NAME, Draft, Fault, Patch, Terms, named, read
from proxy.ledger import WINDOWS
from proxy.quota import Quota
from proxy.stats import iso

__all__ = ["LONGEST_GRACE", "PREFIX", "Draft", "Fault", "Key", "Patch", "State", "Terms", "named", "read"]

PREFIX = "sk-th-"  # of each key: secret scanners find it, and the SDKs that look for "sk-" let it pass
LONGEST_GRACE = 604_800  # seconds: a week

Moment = Annotated[int, msgspec.Meta(ge=0, le=LATEST)]
Nano = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
State = Literal["good", "expired", "replaced", "revoked", "unknown"]

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LONGEST_NAME = 400  # characters of a model's; to hold patterns against one of megabytes takes seconds


class Key(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key as it is kept. Times in milliseconds since the epoch, 0: never; money in nano-dollars, 0: no budget."""

    name: str  # unique among all that ever were; the ledger's
    digest: str  # hex
    hint: str  # its last four characters, for people to tell it by
    created: Moment
    revision: int = 1  # grows with each change
    user: str = ""  # who spends with it: where it is set, no request can name another
    agent: str = ""
    team: str = ""
    expires: Moment = 0
    models: tuple[str, ...] = ()  # patterns of names that may be asked for ("gpt-4o*"); none: all
    daily: Nano = 0
    monthly: Nano = 0
    quota: Quota = Quota()
    revoked: Moment = 0
    digest_before: str = ""  # of the key that was rotated, which is good until `before_until`
    before_until: Moment = 0


# ---- how it comes, changes and goes -----------------------------------------------------------------------------


def created(name: str, terms: Terms, digest: str, hint: str, now: int) -> Key:
    """A new key. Raises `Fault` for a name that it may not have."""
    return replace(changed(Key(name=named(name), digest=digest, hint=hint, created=now), terms), revision=1)


def changed(key: Key, terms: Terms) -> Key:
    """The key under other terms; itself, if they are the same."""
    said = {name: getattr(terms, name) for name in terms.said}
    quota = {name: said.pop(name) for name in Quota.__struct_fields__ if name in said}
    after = replace(key, quota=replace(key.quota, **quota), **said)
    return key if after == key else _revised(after)


def rotated(key: Key, digest: str, hint: str, now: int, grace: int) -> Key:
    """The key with a new text; the one before is good for `grace` more milliseconds, those before that no more."""
    return _revised(replace(key, digest=digest, hint=hint, digest_before=key.digest, before_until=now + grace))


def revoked(key: Key, now: int) -> Key:
    """The key, good no more; itself, if it was revoked before."""
    return key if key.revoked else _revised(replace(key, revoked=max(now, 1)))


def _revised(key: Key) -> Key:
    return replace(key, revision=key.revision + 1)


def prevailing(known: Key, heard: Key) -> Key:
    """Which of two states of a key holds, where they came apart: one that is revoked, else the one that was changed
    more often, else the one that is heard now."""
    return max(heard, known, key=lambda key: (bool(key.revoked), key.revision))


# ---- who may do what with it ------------------------------------------------------------------------------------


def digest(secret: str, pepper: bytes) -> str:
    """What is kept of a key: its HMAC-SHA-256 in hex."""
    return hmac.digest(pepper, secret.encode("utf-8", "surrogatepass"), "sha256").hex()


def good(key: Key, digest: str, now: int) -> bool:
    """Whether somebody who presents a key of this digest may come in; compared in constant time."""
    return state(key, digest, now) == "good"


def until(key: Key, now: int) -> float:
    """Until when whoever is good now stays so, if the key stays as it is: then he is looked at again."""
    return min((at for at in (key.expires, key.before_until) if at > now), default=math.inf)


def state(key: Key, digest: str, now: int) -> State:
    """What there is to say to somebody who presents a key of this digest, which is known only if it is this one's."""
    current = hmac.compare_digest(key.digest, digest)
    before = bool(key.digest_before) and hmac.compare_digest(key.digest_before, digest)
    if not current and not before:
        return "unknown"
    if key.revoked:
        return "revoked"
    if not current and now >= key.before_until:
        return "replaced"
    return "expired" if 0 < key.expires <= now else "good"


def allows(models: tuple[str, ...], asked: str) -> bool:
    """Whether a model may be asked for by this name: as the client writes it, `provider/model` and aliases included."""
    if not models:
        return True
    return len(asked) <= _LONGEST_NAME and any(fnmatchcase(asked, pattern) for pattern in models)


def budgets(key: Key) -> tuple[Budget, ...]:
    """The budgets that it brings; they bound what is spent under its name, also while it ends what it had begun."""
    limits = zip(WINDOWS, (key.daily, key.monthly), strict=True)
    return tuple(
        Budget(limit=limit, window=window, dimension="key", value=key.name) for window, limit in limits if limit
    )


# ---- written down -----------------------------------------------------------------------------------------------

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Key)


def encode(key: Key) -> bytes:
    """The key as it is kept."""
    return _encoder.encode(key)


def decode(text: bytes) -> Key:
    """The key again; what a later version has added is passed over. Raises `ValueError`."""
    key = _decoder.decode(text)
    if not NAME.fullmatch(key.name) or not _DIGEST.fullmatch(key.digest):
        raise ValueError("a key has a name and a digest")
    return key


def to_json(key: Key, now: int) -> dict[str, Any]:
    """What people may know of it, at this time; what can be set is named as it is set. Never a digest."""
    status = "revoked" if key.revoked else "expired" if 0 < key.expires <= now else "active"
    return {
        "name": key.name,
        "status": status,
        "hint": key.hint,
        "created": iso(key.created),
        "user": key.user or None,
        "agent": key.agent or None,
        "team": key.team or None,
        "expires": _iso(key.expires),
        "models": list(key.models) or None,
        "daily": dollars(key.daily) if key.daily else None,
        "monthly": dollars(key.monthly) if key.monthly else None,
        "requests_per_minute": key.quota.requests or None,
        "tokens_per_minute": key.quota.tokens or None,
        "concurrent": key.quota.concurrent or None,
        "revoked": _iso(key.revoked),
        "previous_until": _iso(key.before_until) if key.before_until > now and not key.revoked else None,
    }


def _iso(at: int) -> str | None:
    return iso(at) if at else None
