"""The way of one request, from the door to the vendor and back, top to bottom.

Stream or not, well or ill, staying or leaving: everything goes through `Gate.serve` and its one `finally`. A vendor has
answered when its first translated part is in hand; until then the next candidate is asked, after it nobody.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import structlog

from adapters.base import Failure, Kind, Stamp
from adapters.completion import error_object
from adapters.envelope import Envelope, seal
from adapters.extent import Extent
from adapters.letter import unreadable
from adapters.sse import encode as event
from proxy import headers, ledger
from proxy.auth import NOBODY, Caller, permitted
from proxy.catalog import LONGEST_NAME, REMEMBERED
from proxy.chooser import Chooser
from proxy.crowd import Crowd
from proxy.downstream import Downstream
from proxy.headers import ASKED, WISHES, Asked, Wishes
from proxy.ledger import Entry
from proxy.prompts import answered, shortened
from proxy.quota import Entering, Quota
from proxy.routing.need import need
from proxy.telemetry import Record, Sink, milliseconds
from proxy.toll import Exchange
from proxy.traceparent import Trace, parse, passed
from proxy.trip import Trip, Trips
from proxy.turnstile import Turnstile, ratelimits


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What all requests share. `longest` is how long one may take, in seconds."""

    chooser: Chooser
    trips: Trips
    turnstile: Turnstile
    crowd: Crowd
    sinks: Sequence[Sink]
    largest_body: int
    extent: Extent
    longest: float
    traced: bool  # a request without a trace begins one
    prompts: int  # characters of a prompt and of an answer that the log may show
    clock: Callable[[], float]  # seconds, monotonic
    wall: Callable[[], float]  # seconds since the epoch

    async def serve(self, down: Downstream, admit: Callable[[Downstream], Caller]) -> None:
        """Serve one chat completion. Never raises but for a cancellation from outside."""
        token = next(_tokens)
        started = self.clock()
        record = Record(f"req_{token}", started, attempts=[])
        exchange: Exchange | None = None
        caller = NOBODY
        said: int | None = None  # tokens that it said it would take, since it was let in
        try:
            self.crowd.enter()
            asked = down.raw(ASKED)
            passing = self._trace(asked, record) if asked[0] or self.traced else {}
            caller = admit(down)
            self.crowd.join(caller.key)
            envelope = seal(down.here(self.largest_body) or await self._arrival(down), self.extent)
            wishes = WISHES[asked[2:], self.longest]
            entry = _entry(envelope, caller, wishes, record)
            permitted(caller, envelope.model)
            route = self.chooser.route(envelope.model)
            down.watch()
            exchange = Exchange(
                envelope,
                Stamp(f"chatcmpl-{token}", int(self.wall())),
                down,
                record,
                entry,
                started + wishes.patience,
                started + wishes.endurance,
                passing=passing,
                aside=down.coming,
                keep=self.prompts > 0,
            )
            if caller.quota is not None:
                said = await self._enter(caller, caller.quota, exchange)
            task = _task(envelope, wishes) if envelope.metadata else wishes.task
            await self.trips.go(Trip(route=route, exchange=exchange, task=task or None, urgency=wishes.urgency))
        except Failure as failure:
            await _refuse(failure, down, record)
        except asyncio.CancelledError:
            if not down.left:
                await _refuse(_shutting_down(), down, record)
                raise
            record.status, record.code = 499, "client_left"
        except RecursionError as error:  # what is nested so deeply is the letter
            await _refuse(unreadable(error), down, record)
        except Exception:
            structlog.get_logger().exception("internal error", request_id=record.request_id)
            await _refuse(_ours(), down, record)
        finally:
            self.crowd.leave(caller.key)
            down.unwatch()
            record.total = milliseconds(self.clock() - started)
            if exchange is not None:
                self.trips.close(exchange)
                if said is not None or self.prompts:
                    self._close(exchange, caller, said)
            for sink in self.sinks:
                sink(record)

    async def _arrival(self, down: Downstream) -> bytes:
        """The body, when it has come; how long that took is neither our time nor a vendor's."""
        began = self.clock()
        body = await down.body(self.largest_body)
        down.coming = self.clock() - began
        return body

    def _trace(self, asked: Asked, record: Record) -> Mapping[str, str]:
        """The trace that the request belongs to, by the values of `ASKED`, and the headers that take it on."""
        came, state = (None if value is None else value.decode("latin-1") for value in asked[:2])
        trace = parse(came)
        if trace is None and not self.traced:
            return {}
        record.trace = trace.id if trace else os.urandom(16).hex()
        record.parent = trace.span if trace else None
        record.sampled = trace.sampled if trace else True
        record.span = os.urandom(8).hex() if self.traced else None
        ours = Trace(record.trace, record.span or record.parent or "", record.sampled)
        return passed(ours, state if trace else None)

    async def _enter(self, caller: Caller, quota: Quota, exchange: Exchange) -> int:
        """A place within the quota of its key, for so many tokens. Raises `Failure` (429)."""
        said = need(exchange.envelope).prompt
        entering = Entering(
            key=caller.key,
            id=exchange.record.request_id,
            quota=quota,
            tokens=said,
            seconds=int(self.longest) + 1,
        )
        began = self.clock()
        exchange.more = ratelimits(await self.turnstile.enter(entering), quota)
        exchange.apart(self.clock() - began)
        return said

    def _close(self, exchange: Exchange, caller: Caller, said: int | None) -> None:
        """Give the place back, and show what was said. Never waits, never raises."""
        record = exchange.record
        if said is not None and caller.quota is not None:
            self.turnstile.leave(caller.key, record.request_id, caller.quota, exchange.tokens(said) - said)
        if self.prompts:
            record.prompt = shortened(exchange.envelope, self.prompts)
            if exchange.spoken is not None:
                record.answer = answered("".join(exchange.spoken.heard.text()), self.prompts)


class Aftermath:
    """A `Sink` that tells others of many requests together: of those that ended in one turn of the event loop, at its
    end; at once where there is no loop. Told one by one, each of them would look at its clock and its bounds each time.
    """

    def __init__(self, *told: Callable[[Sequence[Record]], None]) -> None:
        self._told = told
        self._kept: list[Record] = []

    def __call__(self, record: Record) -> None:
        """The request is over."""
        kept = self._kept
        kept.append(record)
        if len(kept) == 1:
            try:
                asyncio.get_running_loop().call_soon(self._tell)
            except RuntimeError:  # no loop, nobody to wait for
                self._tell()

    def _tell(self) -> None:
        kept, self._kept = self._kept, []
        for tell in self._told:
            tell(kept)


def _named() -> Iterator[str]:
    """Names of 32 hexadecimal digits: twelve say when they were drawn, in milliseconds; the others are random, many by
    one call of the system.

    So requests of one moment are neighbours wherever rows are kept by name: in a large ledger one page is written for
    many rows, and not one for each.
    """
    while True:
        drawn = f"{int(time.time() * 1_000):012x}"
        for chance in os.urandom(_NAMES * 10).hex(" ", 10).split():
            yield drawn + chance


_NAMES = 64
_tokens = _named()


class _Models(dict[str, tuple[str, str]]):
    """What models are called in a record, and in a row, by what clients call them: few, again and again."""

    def __missing__(self, model: str) -> tuple[str, str]:
        found = model[:LONGEST_NAME], ledger.name(model)
        if len(model) <= LONGEST_NAME:
            if len(self) >= REMEMBERED:
                self.clear()
            self[model] = found
        return found


MODELS = _Models()


def _task(envelope: Envelope, wishes: Wishes) -> str:
    """What the request is for; "": nobody says, or nobody knows the word."""
    if wishes.task is not None:
        return wishes.task
    return headers.known_task(ledger.name(envelope.metadata.get("task")))


def _entry(envelope: Envelope, caller: Caller, wishes: Wishes, record: Record) -> Entry:
    """Who spends. What the key says goes before what the request says: nobody spends in another's name."""
    key, stream, team = caller.key, envelope.stream, caller.team
    user, agent = caller.user or wishes.user, caller.agent or wishes.agent
    if user is None:
        said = envelope.user or envelope.metadata.get("user")
        user = ledger.name(said) if said else ""
    if agent is None:
        agent = ledger.name(envelope.metadata.get("agent")) if envelope.metadata else ""
    record.model, asked = MODELS[envelope.model]
    record.stream, record.key = stream, key or None
    record.user, record.agent, record.team = user or None, agent or None, team or None
    return Entry(
        id="",
        request=record.request_id,
        provider="",
        model="",
        asked=asked,
        key=key,
        user=user,
        agent=agent,
        team=team,
        stream=stream,
    )


async def _refuse(failure: Failure, down: Downstream, record: Record) -> None:
    """Tell the client what went wrong, in the way that is still open."""
    record.fail(failure)
    body = failure.body if failure.body and b"\n" not in failure.body else error_object(failure)
    if not down.started:
        await down.answer(failure.status, [*headers.JSON, *headers.refusal(failure, record)], body)
    elif not down.ended:
        # As an event, and without a proper end: half an answer must not look like a whole one.
        await down.write(event(body), more=False)


def _ours() -> Failure:
    return Failure(Kind.TRANSIENT, "The proxy failed; its log says why.", status=500, code="internal_error")


def _shutting_down() -> Failure:
    return Failure(
        Kind.TRANSIENT,
        "The proxy is shutting down; ask again.",
        status=503,
        code=headers.SHUTTING_DOWN,
        retry_after=1,
    )
