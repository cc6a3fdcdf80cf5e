"""Who has signed in to the dashboard: a cookie that a browser keeps, of which nothing is kept here.

The cookie is `EXPIRY.BEGAN.NONCE.HMAC`. The key of the HMAC is derived from the admin key, so every replica knows the
cookies of all others, and another admin key ends all sessions. It is good for half an hour, and goes on if it is
renewed in time, until twelve hours after signing in. To sign out is to forget it: whoever has copied it before can use
it, and renew it, until then.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable

from proxy.admin.throttle import Throttle
from proxy.environment import Secret

COOKIE = "tollhouse_session"
SECONDS = 30 * 60
LONGEST = 12 * 3_600  # seconds from signing in: however often it is renewed, then the key is asked for again
_LABEL = b"tollhouse dashboard session 2"


def sign(admin_key: str, now: int, nonce: str, began: int | None = None) -> str:
    """A session that begins `now`, or goes on since it `began` (seconds since the epoch). `nonce` has no dot in it."""
    began = now if began is None else began
    said = f"{min(now + SECONDS, began + LONGEST)}.{began}.{nonce}"
    return f"{said}.{_mac(admin_key, said)}"


def valid(text: str, admin_key: str, now: int) -> int | None:
    """When this session is over, in seconds since the epoch; None if it is none, or over."""
    said, _, mac = text.rpartition(".")
    expiry, _, _ = said.partition(".")
    if not hmac.compare_digest(mac.encode("utf-8", "surrogatepass"), _mac(admin_key, said).encode()):
        return None
    return int(expiry) if int(expiry) > now else None


def _mac(admin_key: str, said: str) -> str:
    derived = hmac.digest(admin_key.encode("utf-8", "surrogatepass"), _LABEL, hashlib.sha256)
    return hmac.digest(derived, said.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()


class Sessions:
    """Those of one admin key; without a key there are none. One per key that is in force. `wall` in seconds since the
    epoch. `throttle` outlives the key."""

    def __init__(
        self, admin_key: Secret | None, *, wall: Callable[[], float], throttle: Throttle | None = None
    ) -> None:
        self._key = admin_key
        self._wall = wall
        self.throttle = throttle or Throttle()

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._wall()

    def begin(self) -> str | None:
        """The text of a new one; None if there is no key, so that nobody needs one."""
        return self._signed(None)

    def renewed(self, text: str) -> str | None:
        """The text of the same one, for half an hour from now, or until it has lasted long enough; None if it is none,
        or over."""
        return self._signed(int(text.split(".")[1])) if self.expiry(text) else None

    def _signed(self, began: int | None) -> str | None:
        if self._key is None:
            return None
        return sign(self._key.reveal(), int(self._wall()), secrets.token_hex(16), began)

    def expiry(self, text: str | None) -> int | None:
        """When the session of this cookie is over; None if it is none."""
        if text is None or self._key is None:
            return None
        return valid(text, self._key.reveal(), int(self._wall()))
