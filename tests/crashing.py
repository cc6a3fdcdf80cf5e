"""tollhouse that dies at a place of our choosing: `python -m tests.crashing POINT[:N] serve ...`.

The real command line, in which the objects on the way of a request are wrapped from outside: at the Nth passage of the
named point the process kills itself with SIGKILL, as a power cut or the kernel would. The product has no hook for it.
"""

import asyncio
import functools
import importlib
import inspect
import itertools
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn


class Act(NamedTuple):
    """A method on the way of a request; `once`: only its first call on an object is a passage; `turn`: what it does is
    done when the turn of the event loop is over."""

    module: str
    owner: str
    method: str
    once: bool = False
    turn: bool = False


_STORES = (("proxy.store.sqlite", "SqliteStore"), ("proxy.store.redis", "RedisStore"))
_HOLD = tuple(Act(module, store, "hold") for module, store in _STORES)
_SETTLE = tuple(Act(module, store, "settle") for module, store in _STORES)
_SEND = Act("proxy.upstream", "Reply", "__aenter__")
_SENT = Act("proxy.http1.connection", "Connection", "ask", turn=True)  # then the kernel has it
_START = Act("proxy.line", "Line", "start")
_WRITE = Act("proxy.line", "Line", "write", once=True)
_ANSWER = Act("proxy.line", "Line", "answer")  # both at once
_JOURNAL = tuple(Act("proxy.journal", "Journal", method) for method in ("append", "begin"))

# Point -> what is passed, and whether the process dies after it. In the order in which a request comes by.
POINTS: Mapping[str, tuple[tuple[Act, ...], bool]] = {
    "before-hold": (_HOLD, False),
    "after-hold": (_HOLD, True),
    "before-send": ((_SEND,), False),
    "after-send": ((_SENT,), True),
    "before-first-part": ((_START, _ANSWER), False),
    "after-first-part": ((_WRITE, _ANSWER), True),
    "before-journal": (_JOURNAL, False),
    "after-journal": (_JOURNAL, True),
    "before-settle": (_SETTLE, False),
    "after-settle": (_SETTLE, True),
}


class NoSuchPoint(Exception):
    """The name of a point is wrong, or the product has no such method any more."""


class Passage:
    """Counts how often a point was passed, and kills at the Nth time."""

    def __init__(self, deadly: int) -> None:
        self.deadly = deadly
        self._counts = itertools.count(1)
        self._lock = threading.Lock()

    def counts(self) -> bool:
        """Pass once; whether this was the one."""
        with self._lock:
            return next(self._counts) == self.deadly


def die() -> NoReturn:
    """At once: nothing is closed, written or said any more."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable: nobody survives SIGKILL")


def install(point: str) -> None:
    """Wrap what `POINT[:N]` names. Raises `NoSuchPoint` if there is nothing of that name to wrap."""
    name, _, number = point.partition(":")
    if name not in POINTS or not (number or "1").isdecimal() or int(number or 1) < 1:
        raise NoSuchPoint(f"no such point: {point!r}; there are: {', '.join(POINTS)}, each with :N, from 1")
    acts, after = POINTS[name]
    passage = Passage(int(number or 1))
    for act in acts:
        owner, method = found(act)
        setattr(owner, act.method, _wrapped(method, passage, after=after, act=act))


def found(act: Act) -> tuple[type, Callable[..., Any]]:
    """The class and its method. Raises `NoSuchPoint` if they are not where they were."""
    try:
        owner = getattr(importlib.import_module(act.module), act.owner)
        method = owner.__dict__[act.method]
    except (ImportError, AttributeError, KeyError):
        where = f"{act.module}.{act.owner}.{act.method}"
        raise NoSuchPoint(f"no such point: {where} is not there any more") from None
    return owner, method


def _wrapped(method: Callable[..., Any], passage: Passage, *, after: bool, act: Act) -> Callable[..., Any]:
    """The method, with death before or after it."""
    known: weakref.WeakSet[object] = weakref.WeakSet()

    def doomed(passing: object) -> bool:
        if act.once:
            if passing in known:
                return False
            known.add(passing)
        deadly = passage.counts()
        if deadly and not after:
            die()
        return deadly

    @functools.wraps(method)
    async def waiting(self: object, *args: Any, **kwargs: Any) -> Any:
        deadly = doomed(self)
        result = await method(self, *args, **kwargs)
        if deadly:
            try:
                await asyncio.sleep(0)  # uvloop hands to the kernel what was written when its round is over
            finally:
                die()  # even if whoever waited is not waited for any more
        return result

    @functools.wraps(method)
    def plain(self: object, *args: Any, **kwargs: Any) -> Any:
        deadly = doomed(self)
        result = method(self, *args, **kwargs)
        if deadly and act.turn:
            asyncio.get_running_loop().call_soon(die)  # behind what it has put off itself
        elif deadly:
            die()
        return result

    return waiting if inspect.iscoroutinefunction(method) else plain


def main(words: list[str]) -> None:
    """Install the point, then be tollhouse."""
    try:
        install(words[0] if words else "")
    except NoSuchPoint as error:
        sys.exit(f"crashing: {error}")
    from proxy.cli import main as tollhouse

    tollhouse(words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
