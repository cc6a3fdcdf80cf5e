"""The money in Redis. Redis may forget: it comes back empty, or as it was some time ago.

So the store has an epoch, and each replica knows which one, and how many of its own acts in it were done. Both go with
every act, and `lua/ground.lua` does nothing for a replica that knows better (`Lost`). Then the replicas hand over what
they know (`recover`), and until all have done so no money is held. Nothing of this outlives the process: a new one
takes the epoch that it finds.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Sequence
from importlib.resources import files
from typing import Any

import structlog

from proxy import ledger
from proxy.budget import Alert, Ask, Granted, Refused
from proxy.feedback import Feedback
from proxy.store import PAGE, Hold, Lost, Recovering, Settlement, StoreError, redis_words
from proxy.store.redis_lane import Lane, Word, unnumbered

PREFIX = "{tollhouse}"  # the braces keep all keys in one slot of a cluster
_ACTS = ("hold", "settle", "expired", "judge", "beat", "join", "restore", "done")
_COMMON = 8  # words that all acts have in common, up to the number of acts
_HEAD = 3  # of a reply: state, epoch, number of acts
_PAGE = 100  # acts that are sent at once; others have their turn between
_LIVING_MS = 30_000  # whoever was silent for longer is taken for dead


def script(name: str) -> str:
    """The text of lua/<name>.lua."""
    return files("proxy.store").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


def acts() -> dict[str, str]:
    """The acts on money, each on the ground that all have in common."""
    ground = script("ground")
    return {name: f"{ground}\n{script(name)}" for name in _ACTS}


class Money:
    """The acts on money of one replica. Each may raise `Lost`, `Recovering` or another `StoreError`.

    Of a recovery, in seconds: a new epoch stays closed for `quiet`, so that who beats each second has come to it; a
    replica that hands over nothing for `patience` is given up; after `longest` all are; `pause` is between two looks.
    `keep` is how many days a window is kept from its first row on.
    """

    def __init__(
        self, lane: Lane, replica: str, *, keep: int, quiet: float, patience: float, longest: float, pause: float
    ) -> None:
        self._lane = lane
        self._me = replica
        self._keep = keep * 86_400
        self._waits = tuple(int(seconds * 1_000) for seconds in (quiet, patience, longest))
        self._pause = pause
        self._digests = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in acts().items()}
        self._open = False
        self._know(b"", 0)
        self._peers: set[str] = set()
        self._untold: list[Alert] = []

    async def hold(self, ask: Ask) -> Granted | Refused:
        """See `Store.hold`. Whoever stops waiting may have been granted it all the same."""
        sent = self._epoch
        reply = await self._send("hold", 2, redis_words.hold(ask))
        self._heed(sent, reply)
        return redis_words.held(ask, reply[_HEAD:])

    async def settle(self, settlements: Sequence[Settlement]) -> list[Alert]:
        """See `Store.settle`: of many some may be done and some not; those that are done are not done again."""
        for start in range(0, len(settlements), _PAGE):
            await self._settle(settlements[start : start + _PAGE], handed=False)
        alerts, self._untold = self._untold, []
        return alerts

    async def _settle(self, settlements: Sequence[Settlement], *, handed: bool) -> None:
        sent = self._epoch
        reply = await self._send("settle", 2, redis_words.settle(settlements, handed=handed))
        self._heed(sent, reply)
        failure = None
        for settlement, said in zip(settlements, reply[_HEAD:], strict=True):
            if type(said) is not list:
                failure = failure or said
            elif len(said) > 1:  # what these set off is told, now or with the next, though others failed
                self._untold += redis_words.alerts(settlement, said[0], said[1:])
        if failure:
            raise _refusal(failure)

    async def expired(self) -> list[Hold]:
        """See `Store.expired`."""
        reply = await self._act("expired", PAGE)
        return [Hold(ledger.decode(row), amount) for amount, row in zip(reply[::2], reply[1::2], strict=True)]

    async def judge(self, feedback: Feedback) -> bool:
        """See `Store.judge`."""
        (done,) = await self._act("judge", *redis_words.judge(feedback))
        return bool(done)

    async def beat(self) -> None:
        """See `Store.beat`."""
        peers = await self._act("beat", _LIVING_MS)
        if self._open:  # in a recovery those who are waited for may not have come yet
            self._peers = {peer.decode() for peer in peers} - {self._me}

    async def recover(self, rows: AsyncIterator[Sequence[Settlement]], holds: Sequence[Hold]) -> None:
        """See `Store.recover`. What is there already is not done twice, so it may be begun anew at any time."""
        quiet, patience, longest = self._waits
        await self._act("join", secrets.token_hex(8), quiet, patience, longest, *sorted(self._peers))
        async for page in rows:
            for start in range(0, len(page), _PAGE):
                await self._settle(page[start : start + _PAGE], handed=True)
        for start in range(0, len(holds), _PAGE):
            each = [redis_words.restore(hold) for hold in holds[start : start + _PAGE]]
            await asyncio.gather(*(self._act("restore", *words) for words in each))  # they go together
        (missing,) = await self._act("done")
        while not self._open:
            await asyncio.sleep(self._pause)
            (missing,) = await self._act("done")
        if missing:
            structlog.get_logger().warning("replicas are missing", replicas=missing.decode().split("\n"))

    async def leave(self) -> None:
        """Nobody need wait for this replica any more, nor for its last words if the store is away."""
        if self._epoch:
            left = [self._lane.put("ZREM", f"{PREFIX}:{key}", self._me) for key in ("replicas", "awaited")]
            await asyncio.wait(left)
        await self._lane.close()

    async def _act(self, act: str, *words: Word) -> list[Any]:
        """One act; what its script returned after the head. Raises what it says."""
        sent = self._epoch
        reply = await self._send(act, len(words), unnumbered(*words))
        self._heed(sent, reply)
        return list(reply[_HEAD:])

    def _know(self, epoch: bytes, acts: int) -> None:
        self._epoch, self._acts = epoch, acts
        common = unnumbered(1, PREFIX, self._me, epoch, self._keep)
        self._heads = {act: unnumbered("EVALSHA", digest) + common for act, digest in self._digests.items()}

    def _send(self, act: str, number: int, told: bytes) -> asyncio.Future[Any]:
        """An act; the number of its arguments, and these as they go on the wire."""
        command = b"*%d\r\n%b$16\r\n%016d\r\n%b" % (_COMMON + number, self._heads[act], self._acts, told)
        return self._lane.send(command)

    def _heed(self, sent: bytes, reply: Any) -> None:
        """What the head of a reply says. Raises what there is instead of one."""
        try:
            state, epoch, acts = reply[:_HEAD]
        except (TypeError, ValueError):  # an exception that stands for the reply; a word of refusal
            raise _refusal(reply) from None
        if epoch == self._epoch:
            if acts > self._acts:
                self._acts = acts
        elif sent == self._epoch:  # what was sent before we knew better teaches nothing
            self._know(epoch, acts)
        self._open = state == b"open"


def _refusal(reply: Any) -> StoreError:
    match reply:
        case [b"lost"]:
            return Lost("Redis has forgotten something")
        case [b"recovering"]:
            return Recovering("Redis is being told again what it forgot")
    error = StoreError(f"Redis: {type(reply).__name__}")
    error.__cause__ = reply if isinstance(reply, BaseException) else None
    return error
