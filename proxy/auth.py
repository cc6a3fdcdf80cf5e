"""Who may come in: bearer keys, kept as digests, compared in constant time."""

import hashlib
import hmac
from collections.abc import Iterable

from adapters.base import Failure, Kind
from proxy.environment import Secret


class Keyring:
    """The keys that clients may present. An empty ring is an open door: settings see to it that it faces loopback."""

    def __init__(self, keys: Iterable[Secret]) -> None:
        self._digests = tuple(_digest(key.reveal()) for key in keys)

    @property
    def open(self) -> bool:
        """True if no key is asked for."""
        return not self._digests

    def admit(self, authorization: str | None) -> str:
        """The name of the key that the header holds, empty on an open ring; else a `Failure` (401 `invalid_api_key`).

        A key's name is the beginning of its digest: good enough to count by and to point at, of no use to a thief.
        """
        if self.open:
            return ""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise _refused("You didn't provide an API key. Send it as 'Authorization: Bearer KEY'.")
        presented = _digest(key.strip())
        # Every digest is compared, whichever fits: how long it takes says nothing.
        if not any([hmac.compare_digest(presented, digest) for digest in self._digests]):
            raise _refused("Incorrect API key provided.")
        return _name(presented)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all keys, as budgets and statistics know them."""
        return tuple(map(_name, self._digests))


def _name(digest: bytes) -> str:
    return f"key-{digest.hex()[:8]}"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _refused(message: str) -> Failure:
    return Failure(Kind.CALLER, message, status=401, type="invalid_request_error", code="invalid_api_key")
