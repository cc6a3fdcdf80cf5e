"""How many requests may be served at once, by all and by one key: who comes on top is told so at once.

It protects this process, and counts what this process serves. What a key may have of all replicas together is its
quota, and the turnstile's affair.
"""

import math
from collections import defaultdict

from adapters.base import Failure, Kind

_AGAIN_SECONDS = 1


class Crowd:
    """One per process. `most` and `most_per_key` may change while there are people inside; None: as many as like.

    Who is turned away has come in all the same, and leaves as soon as it has been told.
    """

    def __init__(self, most: int | None = None, most_per_key: int | None = None) -> None:
        self.serving = 0
        self._of_key: defaultdict[str, int] = defaultdict(int)
        self.limit(most, most_per_key)

    def limit(self, most: int | None, most_per_key: int | None) -> None:
        """From now on. Nobody who is inside is thrown out."""
        self.most = math.inf if most is None else most
        self.most_per_key = math.inf if most_per_key is None else most_per_key

    def enter(self) -> None:
        """One more, whoever it is. Raises `Failure` (503 `overloaded`)."""
        self.serving = serving = self.serving + 1
        if serving > self.most:
            raise Failure(
                Kind.OVERLOADED,
                f"The proxy is overloaded: it serves {self.most} requests at once. Ask again in a moment.",
                status=503,
                code="overloaded",
                retry_after=_AGAIN_SECONDS,
            )

    def join(self, key: str) -> None:
        """It is one of this key; none is "". Raises `Failure` (429)."""
        if not key:
            return
        self._of_key[key] = inside = self._of_key[key] + 1
        if inside > self.most_per_key:
            raise Failure(
                Kind.CALLER,
                f"The key `{key}` has {self.most_per_key} requests under way, and may not have more at once.",
                status=429,
                type="rate_limit_error",
                code="rate_limit_exceeded",
                retry_after=_AGAIN_SECONDS,
            )

    def leave(self, key: str) -> None:
        """It is over, however it ended; `key` if it had joined one, else ""."""
        self.serving -= 1
        if key:
            inside = self._of_key[key] - 1
            if inside:
                self._of_key[key] = inside
            else:
                del self._of_key[key]
