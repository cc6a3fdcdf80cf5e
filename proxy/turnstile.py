"""The turnstile: each request of a key that has a quota takes its place before anything is sent, and gives it back.

The store counts for all replicas. While it is away each counts by itself, with the same `proxy.quota`: a key may take
its quota once at each of them, and nobody is turned away for want of a store.
"""

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import structlog

from adapters.base import Failure, Kind
from proxy import quota
from proxy.downstream import Headers
from proxy.quota import Crowded, Entered, Entering, Limited, Quota, Usage
from proxy.store import Store, StoreError
from proxy.store.patience import Patience, end

_STORE_SECONDS = 0.25  # a slow store is worse than one that is away
_BREAK_AFTER = 3  # failures in a row; then nobody asks the store for a moment
_BREAK_SECONDS = 1.0
_AGAIN_SECONDS = 0.25  # until those who left are told again to a store that did not hear
_AT_ONCE = 64  # of those who left
_CLOSE_SECONDS = 2.0
_MILLI = 1_000
_FIGURES: dict[Limited, Callable[[Quota], str]] = {
    "requests": lambda quota: f"{quota.requests} requests a minute",
    "tokens": lambda quota: f"{quota.tokens} tokens a minute",
    "concurrency": lambda quota: f"{quota.concurrent} requests at once",
}


class _Place(msgspec.Struct):
    """Of one who is inside, or has left and the store was not told yet. `until`: the clock's time at which it runs out.

    `ours`: it is counted here; `told`: the store may count it.
    """

    key: str
    id: str
    until: float
    ours: bool
    told: bool
    quota: Quota
    tokens: int = 0


class Turnstile:
    """One per process. `wall` in seconds since the epoch; `clock` in seconds, monotonic."""

    def __init__(self, store: Store, *, wall: Callable[[], float], clock: Callable[[], float]) -> None:
        self._store, self._wall, self._clock = store, wall, clock
        self._ours: dict[str, Usage] = {}  # by key: what is counted here
        self._inside: dict[str, _Place] = {}
        self._left: dict[str, _Place] = {}
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._failures, self._closed_until = 0, 0.0

    async def open(self) -> None:
        """Begin to tell the store who has left."""
        self._tasks = [asyncio.create_task(self._tell())]

    async def close(self) -> None:
        """Tell the store of all who have left, as far as it hears it now; other places run out by themselves."""
        await end(self._tasks)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                while self._left and not self._failures:
                    await self._tell_some()

    async def enter(self, entering: Entering) -> Entered:
        """Take a place, a request and its tokens. Raises `Failure` (429 `rate_limit_exceeded`) if there are none."""
        if not entering.quota:
            return Entered()
        until = self._clock() + entering.seconds
        place = _Place(entering.key, entering.id, until, ours=False, told=True, quota=entering.quota)
        answer = await self._ask(entering, place)
        if answer is None:
            place.ours = True
            answer = self._decide(entering)
        if isinstance(answer, Crowded):
            if place.ours:
                self._give_back(place, entering)
            raise crowded(entering, answer)
        self._inside[place.id] = place
        return answer

    def leave(self, key: str, id: str, quota: Quota, tokens: int) -> None:
        """Give the place back; see `Store.leave`. Never waits and never raises."""
        place = self._inside.pop(id, None)
        if place is None:
            return
        if place.ours:
            self._leave_us(place, tokens)
        place.tokens = tokens
        self._leave_store(place)

    # ---- the store --------------------------------------------------------------------------------------------------

    async def _ask(self, entering: Entering, place: _Place) -> Entered | Crowded | None:
        """What the store says; None if it is away. Then it may have let the request in all the same."""
        if self._clock() < self._closed_until:
            place.told = False
            return None
        if self._failures >= _BREAK_AFTER:
            self._closed_until = self._clock() + _BREAK_SECONDS  # one asks for all
        try:
            with Patience(_STORE_SECONDS):
                answer = await self._store.enter(entering)
        except asyncio.CancelledError:
            self._give_back(place, entering)
            raise
        except Exception as error:  # whatever it is, it is no reason to turn anybody away
            self._failed(error)
            return None
        self._worked()
        return answer

    def _give_back(self, place: _Place, entering: Entering) -> None:
        """Nobody came in, whatever the store has heard."""
        place.tokens = -entering.tokens
        self._leave_store(place)

    def _leave_store(self, place: _Place) -> None:
        if place.told:
            self._left[place.id] = place
            self._news.set()

    async def _tell(self) -> None:
        """Tell the store of those who have left, until it has heard, or until their places have run out."""
        while True:
            await self._news.wait()
            if not self._left:
                self._news.clear()
            elif not await self._tell_some():
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _tell_some(self) -> bool:
        """Whether all who were told of are done with."""
        places = [place for _, place in zip(range(_AT_ONCE), self._left.values(), strict=False)]
        heard = await asyncio.gather(*map(self._hears, places))
        now = self._clock()
        for place, done in zip(places, heard, strict=True):
            if self._left.pop(place.id, place) is place and not done and now < place.until:
                self._left[place.id] = place  # behind the others, in case it is its fault
        return all(heard)

    async def _hears(self, place: _Place) -> bool:
        try:
            with Patience(_STORE_SECONDS):
                await self._store.leave(place.key, place.id, place.quota, place.tokens)
        except Exception as error:  # whatever it is, others have to leave, too
            self._failed(error)
            return False
        self._worked()
        return True

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            why, bug = str(error) or "no answer in time", not isinstance(error, StoreError | TimeoutError)
            risk = "each replica counts by itself: a key may take its quota once at each"
            structlog.get_logger().warning("quotas kept here", why=why, risk=risk, exc_info=bug)
        if self._failures >= _BREAK_AFTER:
            self._closed_until = self._clock() + _BREAK_SECONDS

    def _worked(self) -> None:
        if self._failures:
            structlog.get_logger().info("quotas kept in the store again")
            self._ours = {key: usage for key, usage in self._ours.items() if usage.running}
        self._failures, self._closed_until = 0, 0.0

    # ---- by ourselves -----------------------------------------------------------------------------------------------

    def _decide(self, entering: Entering) -> Entered | Crowded:
        usage = self._ours.get(entering.key, Usage())
        self._ours[entering.key], answer = quota.enter(usage, entering, self._now())
        return answer

    def _leave_us(self, place: _Place, tokens: int) -> None:
        usage = quota.leave(self._ours.get(place.key, Usage()), place.id, place.quota, tokens, self._now())
        if usage.running or self._failures:
            self._ours[place.key] = usage
        else:
            self._ours.pop(place.key, None)  # the store counts again

    def _now(self) -> int:
        return int(self._wall() * _MILLI)


def crowded(entering: Entering, refused: Crowded) -> Failure:
    """What whoever is turned away is told: which limit of its key it is, and when to come again."""
    seconds = refused.wait / _MILLI
    takes = f"; this request takes {entering.tokens}" if refused.limit == "tokens" else ""
    return Failure(
        Kind.CALLER,
        f"Rate limit reached for the key `{entering.key}`: {_FIGURES[refused.limit](entering.quota)}{takes}. Ask again "
        f"in {seconds:.3f} seconds.",
        status=429,
        type="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after=seconds,
    )


def ratelimits(entered: Entered, quota: Quota) -> Headers:
    """What is left of the quota, in the headers that OpenAI uses for it; nothing of what has no limit."""
    rows = (("requests", quota.requests, entered.requests), ("tokens", quota.tokens, entered.tokens))
    return [
        (f"x-ratelimit-{what}-{name}".encode(), b"%d" % number)
        for name, limit, left in rows
        if left is not None
        for what, number in (("limit", limit), ("remaining", left))
    ]
