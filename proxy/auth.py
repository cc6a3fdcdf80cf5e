"""Who may come in: bearer keys, those of the environment and those that are managed. Kept as digests, and found by
them, so that it takes the same time however many there are."""

import hashlib
from collections.abc import Callable, Iterable, Mapping

import msgspec

from adapters.base import Failure, Kind
from proxy import keys
from proxy.environment import Secret
from proxy.keys import Key, State
from proxy.quota import Quota
from proxy.roster import Roster

_BEARER = "Bearer "
_MOST_MET = 4_096  # headers that are remembered, by their digests
_MOST_SHOWN = 20  # patterns in one message
_REFUSED: Mapping[State, str] = {
    "expired": "This API key has expired.",
    "replaced": "This API key was replaced by a newer one.",
    "revoked": "This API key was revoked.",
}


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who came in. `key` is the name of the key, as budgets and the ledger know it; empty on an open ring.

    `user`, `agent` and `team` are set by the key: where they are, no request can name another. `models`: patterns of
    the names that may be asked for; none: all. `quota`: what it may take of the door; None: as much as it likes.
    """

    key: str = ""
    user: str = ""
    agent: str = ""
    team: str = ""
    models: tuple[str, ...] = ()
    quota: Quota | None = None


NOBODY = Caller()


class _Met(msgspec.Struct, frozen=True):
    """A managed key that came in, as it was then, and until when it is good; milliseconds since the epoch."""

    key: Key
    caller: Caller
    until: float


class Keyring:
    """The keys that clients may present: `keys` of the environment, and those of the `roster`, if there is one.

    A ring without a key is an open door, if it is not `managed`: settings see to it that it faces loopback. It closes
    with the first key that is ever made. `wall` in seconds since the epoch; None: the roster's.
    """

    def __init__(
        self,
        keys: Iterable[Secret],
        roster: Roster | None = None,
        *,
        managed: bool = False,
        wall: Callable[[], float] | None = None,
    ) -> None:
        # Found by digests: how long it takes tells of a digest, and whoever knows that has no key by it. They are those
        # of the whole header, as nearly everybody writes it: it need not be taken apart.
        self._callers = {_digest(_BEARER + key): Caller(key=_name(key)) for key in (key.reveal() for key in keys)}
        self._met: dict[bytes, _Met] = {}
        self._roster, self._managed, self._wall = roster, managed, wall

    @property
    def open(self) -> bool:
        """True if no key is asked for. Where keys were made before, one is asked for while nobody can say which."""
        roster = self._roster
        if self._callers or self._managed:
            return False
        return roster is None or not (roster.closed or (roster.sealed and not roster.read))

    def admit(self, authorization: str | None) -> Caller:
        """Who presents the key that the header holds, `NOBODY` on an open ring; else a `Failure`: 401
        `invalid_api_key`, or 503 `key_store_unavailable` while nobody knows which keys there are.

        The name of a key of the environment is the beginning of its digest: good enough to count by and to point at, of
        no use to a thief.
        """
        said = authorization or ""
        if said:
            digest = _digest(said)
            caller = self._callers.get(digest) or self._again(digest)
            if caller is not None:
                return caller
        if not self._callers and self.open:
            return NOBODY
        scheme, _, word = said.partition(" ")
        presented = word.strip()
        if scheme.lower() != "bearer" or not presented:
            raise self._asked()
        if self._callers and (caller := self._callers.get(_digest(_BEARER + presented))) is not None:
            return caller
        if self._roster is None:
            raise _refused("Incorrect API key provided.")
        now = self._now(self._roster)
        key = self._roster.find(presented, now)
        if key is None:
            raise self._unknown(self._roster, presented, now)
        caller = _caller(key)
        self._meet(_digest(said), _Met(key, caller, keys.until(key, now)))
        return caller

    def _again(self, digest: bytes) -> Caller | None:
        """Who has come in with this header before, if the key is what it was, and still good. To find it by its HMAC
        takes ten times as long."""
        met, roster = self._met.get(digest), self._roster
        if met is None or roster is None or roster.get(met.key.name) is not met.key:
            return None
        return met.caller if self._now(roster) < met.until else None

    def _meet(self, digest: bytes, met: "_Met") -> None:
        if len(self._met) >= _MOST_MET:
            self._met.clear()
        self._met[digest] = met

    def _now(self, roster: Roster) -> int:
        """Milliseconds since the epoch."""
        return roster.now() if self._wall is None else int(self._wall() * 1000)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all keys of the environment, as budgets and statistics know them."""
        return tuple(caller.key for caller in self._callers.values())

    def _asked(self) -> Failure:
        """No key was presented."""
        roster = self._roster
        sure = self._callers or self._managed or roster is None or roster.read or roster.closed
        message = "You didn't provide an API key. Send it as 'Authorization: Bearer KEY'."
        return _refused(message) if sure else _away()

    def _unknown(self, roster: Roster, presented: str, now: int) -> Failure:
        state = roster.state(presented, now)
        if state == "unknown" and not roster.read:
            return _away()
        return _refused(_REFUSED.get(state, "Incorrect API key provided."))


def permitted(caller: Caller, model: str) -> None:
    """Raises a `Failure` (403 `model_not_allowed`) if the caller's key may not ask for a model by this name."""
    if not caller.models or keys.allows(caller.models, model):
        return
    more = len(caller.models) - _MOST_SHOWN
    shown = ", ".join(caller.models[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")
    raise Failure(
        Kind.CALLER,
        f"This API key may not ask for the model '{model[:200]}'. It may ask for: {shown}.",
        status=403,
        type="invalid_request_error",
        code="model_not_allowed",
        param="model",
    )


def _caller(key: Key) -> Caller:
    quota = key.quota or None
    return Caller(key=key.name, user=key.user, agent=key.agent, team=key.team, models=key.models, quota=quota)


def _name(key: str) -> str:
    return f"key-{_digest(key).hex()[:8]}"


def _digest(said: str) -> bytes:
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).digest()


def _refused(message: str) -> Failure:
    return Failure(Kind.CALLER, message, status=401, type="invalid_request_error", code="invalid_api_key")


def _away() -> Failure:
    return Failure(
        Kind.STORE,
        "The store that keeps the client keys cannot be reached, and was not since this replica started: nobody knows "
        "whether this key is one of them. Ask again in a moment.",
        status=503,
        code="key_store_unavailable",
        retry_after=1,
    )
